//! What passes between a command and whoever reads and writes its streams.

use std::io::{Read, Write};
use std::process::Stdio;
use std::thread;

use redlock_tests::Servers;

use crate::common::{eventually_free, redlock};

/// Bytes of all values, a megabyte.
fn megabyte(number: u32) -> Vec<u8> {
    let mut state = number.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut bytes = Vec::with_capacity(1 << 20);
    while bytes.len() < 1 << 20 {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        bytes.extend(state.to_le_bytes());
    }
    bytes
}

#[test]
fn a_hundred_megabytes_of_anything_pass_through_untouched() {
    let servers = Servers::start(1);
    let mut child =
        redlock(&servers, &["run", "x", "--", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let writer = thread::spawn(move || (0..100).for_each(|number| stdin.write_all(&megabyte(number)).unwrap()));
    let mut read = vec![0; 1 << 20];
    for number in 0..100 {
        stdout.read_exact(&mut read).unwrap();
        assert!(read == megabyte(number), "megabyte {number} is another");
    }
    assert_eq!(stdout.read(&mut read).unwrap(), 0);
    writer.join().unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn stdout_and_stderr_are_the_commands_alone() {
    let servers = Servers::start(1);
    let output = redlock(&servers, &["run", "x", "--", "sh", "-c", "printf out; printf err >&2"]).output().unwrap();
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"out"[..], &b"err"[..]));
}

#[test]
fn a_reader_that_stops_to_read_ends_the_command_as_it_would_without_us() {
    let servers = Servers::start(1);
    let mut child = redlock(&servers, &["run", "x", "--", "yes"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut some = [0; 100];
    stdout.read_exact(&mut some).unwrap();
    drop(stdout);
    assert_eq!(child.wait().unwrap().code(), Some(128 + 13));
    eventually_free(&servers, "x");
}

#[test]
fn a_run_whose_streams_are_closed_runs() {
    let servers = Servers::start(1);
    let script = format!("exec {} run x -- true <&- >&- 2>&-", env!("CARGO_BIN_EXE_redlock"));
    let status = std::process::Command::new("sh").args(["-c", &script]).env("REDLOCK_NODES", servers.nodes()).status();
    assert!(status.unwrap().success());
}
