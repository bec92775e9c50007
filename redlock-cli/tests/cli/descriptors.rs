//! What a command has of the descriptors of those who start it.

use std::process::Command;

use redlock_tests::Servers;

use crate::common::{eventually_free, redlock};

fn descriptors(command: &mut Command) -> String {
    let output = command.output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Says which descriptors it has; that of the folder itself is among them in every case.
const LIST: &str = "ls /proc/self/fd | tr '\\n' ' '";

#[test]
fn a_command_inherits_no_descriptor_of_ours() {
    let servers = Servers::start(3);
    let bare = descriptors(Command::new("sh").args(["-c", LIST]));
    let under = descriptors(&mut redlock(&servers, &["run", "x", "--", "sh", "-c", LIST]));
    assert_eq!(under, bare);
}

#[test]
fn a_command_has_the_descriptors_that_its_caller_gave_it() {
    let servers = Servers::start(1);
    let script = format!("exec 9</dev/null; exec {} run x -- sh -c \"$LIST\"", env!("CARGO_BIN_EXE_redlock"));
    let listed =
        descriptors(Command::new("sh").args(["-c", &script]).env("LIST", LIST).env("REDLOCK_NODES", servers.nodes()));
    assert!(listed.split(' ').any(|number| number == "9"), "{listed}");
}

#[test]
fn what_a_command_leaves_running_does_not_keep_the_lock() {
    let servers = Servers::start(3);
    let script = "sleep 60 >/dev/null 2>&1 </dev/null & echo $!";
    let output = redlock(&servers, &["run", "x", "--", "sh", "-c", script]).output().unwrap();
    eventually_free(&servers, "x");
    let left: u32 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    // It is none of ours, and goes on.
    nix::sys::signal::kill(crate::common::pid(left), nix::sys::signal::Signal::SIGKILL).unwrap();
}
