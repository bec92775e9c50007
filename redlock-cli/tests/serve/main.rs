//! `redlock serve`, on real servers: what it tells, whom it lets in, and the page in a real browser.

mod access;
mod browser;
mod crowds;
mod http;
mod locks;
mod page;

use std::process::Command;

use redlock_runtime::LockManager;
use redlock_tests::{Program, Servers};

use http::Place;

/// `redlock serve` on a free port, with these arguments.
fn serve(servers: &Servers, arguments: &[&str]) -> (Program, Place) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redlock"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--nodes", &servers.nodes()]).args(arguments);
    let program = Program::start(&mut command);
    let place = place_of(&program);
    (program, place)
}

/// Where it says that it listens.
fn place_of(program: &Program) -> Place {
    let line = program.line();
    let port = line.strip_prefix("serving http://127.0.0.1:").and_then(|rest| rest.strip_suffix('/'));
    Place { port: port.and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("it said: {line}")) }
}

fn manager(servers: &Servers) -> LockManager {
    LockManager::builder().nodes(servers.urls()).owner_label("the test").build().unwrap()
}

/// Has every server keep so many keys as locks have them, for long; by scripts that a busy server answers soon, too, before anybody looks.
fn fill(servers: &Servers, locks: usize) {
    const AT_ONCE: usize = 2_000;
    const SCRIPT: &str = "for number = tonumber(ARGV[1]), tonumber(ARGV[2]) do \
        redis.call('SET', 'redlock:ConfigurableLock.tenant-' .. number % 97 .. ':job-' .. number, 'owner-' .. number, 'PX', 3600000 + number) end";
    for server in servers.answering() {
        for first in (1..=locks).step_by(AT_ONCE) {
            let mut eval = redis::cmd("EVAL");
            eval.arg(SCRIPT).arg(0).arg(first).arg(locks.min(first + AT_ONCE - 1));
            server.probe().run::<()>(&eval).unwrap();
        }
    }
}
