//! Jobs that run once.

use std::process::Stdio;

use redlock_tests::wait::eventually;
use redlock_tests::{RedisServer, Servers};

use crate::common::{code, manager, output, printed, redlock};

#[test]
fn the_moment_of_a_run_is_shown_as_one() {
    let servers = Servers::start(3);
    printed(&servers, &["reset", "--marks", "job"]);
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let due = now - 3600 - 120;
    assert_eq!(code(&servers, &["run", "--once", &format!("@{due}"), "job", "--", "true"]), 0);
    let last = printed(&servers, &["last", "job"]);
    assert!(last.starts_with(&format!("fire {due}000 (20")), "{last}");
    assert!(last.contains(" UTC, 1h 2m ago), fencing token "), "{last}");
    let inspected = printed(&servers, &["inspect", "job"]);
    assert!(inspected.contains(&format!("last run      fire {due}000 (20")), "{inspected}");
    let json: serde_json::Value = serde_json::from_str(&printed(&servers, &["last", "--json", "job"])).unwrap();
    assert_eq!(json["fire"], due * 1000);
    // What was measured is rounded everywhere.
    let _guard = manager(&servers).lock("job").acquire_blocking().unwrap();
    eventually("it has an owner", || printed(&servers, &["list", "--long"]).contains(", for "));
    let line = printed(&servers, &["list", "--long"]);
    let (_, left) = line.split_once(", for ").unwrap();
    let is_short = |length: &str| length.chars().filter(char::is_ascii_digit).count() <= 3;
    assert!(left.split(", ").take(2).all(is_short), "{line}");
}

#[test]
fn of_two_machines_with_the_same_cron_line_one_runs_it() {
    let servers = Servers::start(3);
    // A new job, on servers that were just started.
    printed(&servers, &["reset", "--marks", "job"]);
    let line = ["run", "-E", "0", "--once", "1h", "job", "--", "echo", "ran"];
    for _ in 0..2 {
        let both =
            [0, 1].map(|_| redlock(&servers, &line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        let outputs = both.map(|machine| machine.wait_with_output().unwrap());
        assert!(outputs.iter().all(|output| output.status.success()), "{outputs:?}");
        let ran = outputs.iter().filter(|output| output.stdout == b"ran\n").count();
        assert_eq!(ran, 1, "{outputs:?}");
        let mark = format!("redlock-done:{{{}}}", crate::common::key("job"));
        eventually("all nodes have the mark", || servers.holding(&mark) == 3);
        // And once more when it is to be run again.
        printed(&servers, &["reset", "--marks", "job"]);
    }
}

#[test]
fn a_run_that_fails_is_made_up_for_and_one_that_ended_well_is_not_repeated() {
    let servers = Servers::start(3);
    manager(&servers).reset_marks_blocking("job").unwrap();
    assert_eq!(code(&servers, &["run", "--once", "7", "job", "--", "false"]), 1);
    assert_eq!(code(&servers, &["last", "job"]), 1);
    assert_eq!(code(&servers, &["run", "--once", "7", "job", "--", "true"]), 0);
    let again = output(&servers, &["run", "--once", "7", "job", "--", "echo", "ran"]);
    assert_eq!((again.status.code(), again.stdout.len()), (Some(75), 0), "{again:?}");
    assert!(String::from_utf8_lossy(&again.stderr).contains("already ran"), "{again:?}");
    eventually("the fire is known", || printed(&servers, &["last", "--json", "job"]).contains("\"fire\":7"));
    // Of a number nobody knows when it was.
    assert!(printed(&servers, &["last", "job"]).starts_with("fire 7, fencing token "));
    assert_eq!(code(&servers, &["run", "--once", "8", "job", "--", "true"]), 0);
}

#[test]
fn a_cure_is_a_command_with_the_name_of_the_lock_as_a_shell_reads_it() {
    let servers = Servers::start(3);
    let name = "it's late $HOME";
    let cure = r"`redlock reset --marks 'it'\''s late $HOME'`";
    let told = |arguments: &[&str]| {
        let output = output(&servers, arguments);
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let line = ["run", "-n", "--once", "1h", name, "--", "true"];
    let doubt = told(&line);
    assert!(doubt.contains("in doubt") && doubt.contains(cure), "{doubt}");
    // As it says, by a shell.
    let command = cure.trim_matches('`').replacen("redlock", env!("CARGO_BIN_EXE_redlock"), 1);
    let mut shell = std::process::Command::new("sh");
    let output = shell.args(["-c", &command]).env("REDLOCK_NODES", servers.nodes()).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("{name}: no completed run is left on any node; none had one\n")
    );
    assert_eq!(code(&servers, &line), 0);
    let ran = told(&line);
    assert!(ran.contains("already ran") && ran.contains(cure) && !ran.contains("reset_marks"), "{ran}");
    for (arguments, option) in [
        (&["run", "--ttl", "1h", "x", "--", "true"][..], "`--longest-ttl`"),
        (&["run", "--once", "30d", "x", "--", "true"], "`--marks-retention`"),
        (&["run", "--permits", "2", "--once", "1h", "x", "--", "true"], "`--once` together with `--permits`"),
    ] {
        let told = told(arguments);
        assert!(told.contains(option) && !told.contains("of the builder"), "{told}");
    }
}

#[test]
fn a_run_that_nobody_can_know_is_not_run_and_the_cure_is_said() {
    let servers = Servers::start(3);
    let doubt = output(&servers, &["run", "-n", "--once", "1h", "job", "--", "echo", "ran"]);
    let told = String::from_utf8(doubt.stderr).unwrap();
    assert_eq!((doubt.status.code(), doubt.stdout.len(), told.lines().count()), (Some(69), 0, 1), "{told}");
    assert!(told.contains("redlock reset --marks"), "{told}");
}

#[test]
fn a_run_that_ended_well_and_could_not_be_recorded_is_no_success() {
    let servers = Servers::start(3);
    manager(&servers).reset_marks_blocking("job").unwrap();
    // For longer than a lock takes to be given back, and than anything else here waits for.
    let ids: Vec<_> = servers.iter().map(|server| server.pid().to_string()).collect();
    let script = format!("kill -STOP {}", ids.join(" "));
    let began = redlock_tests::clock::now();
    let ended = output(&servers, &["run", "--ttl", "8s", "--once", "9", "job", "--", "sh", "-c", &script]);
    let took = began.elapsed();
    servers.iter().for_each(RedisServer::resume);
    let told = String::from_utf8(ended.stderr).unwrap();
    assert_eq!((ended.status.code(), told.lines().count()), (Some(69), 1), "{told}");
    assert!(told.contains("the command ended well, and"), "{told}");
    assert!(took > std::time::Duration::from_secs(6), "it was given up while it could be recorded: {took:?}");
}

#[test]
fn a_run_whose_holder_is_killed_before_it_is_recorded_is_no_success() {
    let servers = Servers::start(3);
    manager(&servers).reset_marks_blocking("job").unwrap();
    let ids: Vec<_> = servers.iter().map(|server| server.pid().to_string()).collect();
    let script = format!("kill -STOP {}", ids.join(" "));
    let program = redlock_tests::Program::start(&mut redlock(
        &servers,
        &["run", "--once", "9", "job", "--", "sh", "-c", &script],
    ));
    let front = program.pid().cast_signed();
    let holder = crate::common::holder_of(&program);
    let children = || crate::common::processes().into_iter().filter(|seen| seen.parent == front).count();
    let is_hung = |server: &RedisServer| {
        crate::common::processes().iter().any(|seen| seen.pid == server.pid().cast_signed() && seen.state == 'T')
    };
    eventually("the command has ended", || children() == 1 && servers.iter().all(is_hung));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(holder), nix::sys::signal::Signal::SIGKILL).unwrap();
    let ended = program.wait();
    servers.iter().for_each(RedisServer::resume);
    assert!(matches!(ended.status.code(), Some(69 | 122)), "{ended:?}");
    assert!(!ended.errors.is_empty());
}
