//! The servers to try things out with are there for as long as their program is.

use std::process::{Command, Stdio};

use redlock_tests::process::example;
use redlock_tests::wait::eventually;
use redlock_tests::{Probe, Program};

/// An example, as it was built beside this test.
fn ports(line: &str) -> Vec<u16> {
    let nodes = line.strip_prefix("export REDLOCK_NODES=").unwrap_or_else(|| panic!("{line}"));
    nodes.split(',').map(|url| url.strip_prefix("redis://127.0.0.1:").unwrap().parse().unwrap()).collect()
}

#[test]
fn the_servers_to_try_things_out_with_are_gone_when_their_program_is_however_it_ended() {
    for (count, arguments) in [(3, &[][..]), (5, &["5"])] {
        for how in ["ctrl-C", "SIGTERM", "SIGKILL"] {
            let directory = tempfile::tempdir().unwrap();
            let mut command = Command::new(example("servers"));
            let mut program = Program::start(command.args(arguments).env("TMPDIR", directory.path()));
            let ports = ports(&program.line());
            assert_eq!(ports.len(), count);
            assert!(ports.iter().all(|port| Probe::new(*port).is_up()), "{how}: {ports:?}");
            match how {
                "ctrl-C" => program.interrupt(),
                "SIGTERM" => program.terminate(),
                _ => program.kill(),
            }
            if how != "SIGKILL" {
                let ended = program.wait();
                assert!(ended.status.success(), "{how}: {ended:?}");
                assert!(ports.iter().all(|port| !Probe::new(*port).is_up()), "{how}: it ends when its servers have");
            }
            eventually("no server is left", || ports.iter().all(|port| !Probe::new(*port).is_up()));
            eventually("no directory is left", || directory.path().read_dir().unwrap().next().is_none());
        }
    }
}

#[test]
fn the_servers_to_try_things_out_with_are_gone_when_their_program_panics() {
    let directory = tempfile::tempdir().unwrap();
    // What it prints finds nobody, and that is a panic.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(example("servers"));
    let command = command.env("TMPDIR", directory.path()).stdin(Stdio::null()).stdout(writer);
    let output = command.stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains("panicked"), "{told}");
    eventually("no directory is left, which goes with its server", || {
        directory.path().read_dir().unwrap().next().is_none()
    });
}

#[test]
fn an_example_that_fails_says_which_nodes_did_not_answer_and_why() {
    let nodes = "redis://127.0.0.1:1,redis://127.0.0.1:2,redis://127.0.0.1:3";
    let output = Command::new(example("nightly_report")).env("REDLOCK_NODES", nodes).arg("0").output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    let told: Vec<_> = out.lines().filter(|line| line.contains("0 of 3 nodes answered")).collect();
    assert_eq!(told.len(), 3, "{out}");
    for line in told {
        assert!(line.contains("redis://127.0.0.1:1: ") && line.to_lowercase().contains("refused"), "{line}");
    }
}
