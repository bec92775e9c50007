//! Locks that scripts hold by their tokens.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Output, Stdio};
use std::time::Duration;

use redlock_tests::wait::eventually;
use redlock_tests::{Program, Servers};
use tempfile::TempDir;

use crate::common::{code, eventually_free, key, manager, output, printed, redlock};

fn with_stdin(servers: &Servers, arguments: &[&str], stdin: &str) -> Output {
    let mut command = redlock(servers, arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // One that refuses its arguments reads nothing.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

#[test]
fn a_script_acquires_extends_and_releases_by_stdin() {
    let servers = Servers::start(3);
    let token = printed(&servers, &["acquire", "--ttl", "20s", "x"]);
    assert_eq!(token.lines().count(), 1);
    eventually("all nodes have the key", || servers.holding(&key("x")) == 3);
    assert_eq!(code(&servers, &["acquire", "-n", "x"]), 75);
    assert_eq!(code(&servers, &["acquire", "-n", "-E", "4", "x"]), 4);
    assert!(with_stdin(&servers, &["extend", "--ttl", "60s"], &token).status.success());
    eventually("a majority lives longer", || {
        let lives = servers.iter().filter_map(|server| server.probe().pttl(&key("x")).remaining());
        lives.filter(|remaining| *remaining > Duration::from_secs(30)).count() >= 2
    });
    assert!(with_stdin(&servers, &["release"], &token).status.success());
    eventually_free(&servers, "x");
    for command in [&["release"][..], &["extend"]] {
        let late = with_stdin(&servers, command, &token);
        assert_eq!(late.status.code(), Some(122), "{late:?}");
    }
}

#[test]
fn a_token_may_stand_in_a_file_that_only_its_owner_reads() {
    let servers = Servers::start(1);
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("token");
    let path = file.to_str().unwrap();
    assert_eq!(printed(&servers, &["acquire", "--token-file", path, "x"]), "");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(code(&servers, &["extend", "--token-file", path]), 0);
    assert_eq!(code(&servers, &["release", "--token-file", path]), 0);
    eventually_free(&servers, "x");
    assert_eq!(code(&servers, &["acquire", "--token-file", "/nowhere/token", "x"]), 125);
    eventually_free(&servers, "x");
}

#[test]
fn a_token_is_no_argument() {
    let servers = Servers::start(1);
    let token = printed(&servers, &["acquire", "x"]);
    for command in ["extend", "release"] {
        let refused = output(&servers, &[command, token.trim()]);
        assert_eq!(refused.status.code(), Some(125), "{refused:?}");
    }
    assert_eq!(servers.holding(&key("x")), 1);
    for text in ["", "nonsense", &format!("x{token}")] {
        let refused = with_stdin(&servers, &["release"], text);
        let told = String::from_utf8(refused.stderr).unwrap();
        assert_eq!((refused.status.code(), told.lines().count()), (Some(125), 1), "{told}");
        assert!(told.contains("redlock acquire"), "{told}");
    }
}

#[test]
fn a_token_that_nobody_reads_leaves_no_lock() {
    let servers = Servers::start(3);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let status = redlock(&servers, &["acquire", "x"]).stdout(full).stderr(Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(125));
    eventually_free(&servers, "x");
}

#[test]
fn an_acquisition_that_is_interrupted_leaves_no_key_and_no_waiter() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let guard = locks.lock("x").acquire_blocking().unwrap();
    let program = Program::start(&mut redlock(&servers, &["acquire", "x"]));
    eventually("it waits", || locks.inspect_blocking("x").unwrap().waiting == 1);
    program.terminate();
    assert_eq!(program.wait().status.code(), Some(128 + 15));
    guard.release_blocking().unwrap();
    eventually_free(&servers, "x");
    eventually("nobody is counted as waiting", || locks.inspect_blocking("x").unwrap().waiting == 0);
}
