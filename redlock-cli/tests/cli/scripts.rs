//! Locks that scripts hold by their tokens.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Output, Stdio};
use std::time::Duration;

use redlock_tests::wait::{as_promised, eventually, eventually_some};
use redlock_tests::{Program, Servers};
use tempfile::TempDir;

use crate::common::{code, eventually_free, key, manager, output, printed, processes, redlock};

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
    let token = eventually_some("all nodes have the key", || {
        let token = printed(&servers, &["acquire", "--ttl", "20s", "x"]);
        assert_eq!(token.lines().count(), 1);
        // What a node grants that is not heard before the lock is detached is given back; then once more.
        let is_everywhere = servers.holding(&key("x")) == 3;
        assert!(is_everywhere || with_stdin(&servers, &["release"], &token).status.success());
        is_everywhere.then_some(token)
    });
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
fn a_lock_that_a_script_holds_shows_the_machine_and_the_script() {
    let servers = Servers::start(3);
    let (locks, redlock) = (manager(&servers), env!("CARGO_BIN_EXE_redlock"));
    let owner = || locks.inspect_blocking("x").unwrap().owner_label;
    for script in ["echo $$; \"$R\" acquire x; :", "echo $$; token=$(\"$R\" acquire x) || exit; echo \"$token\""] {
        let mut command = std::process::Command::new("sh");
        let output = command.args(["-c", script]).env("R", redlock).env("REDLOCK_NODES", servers.nodes()).output();
        let output = String::from_utf8(output.unwrap().stdout).unwrap();
        let [pid, token] = output.lines().collect::<Vec<_>>()[..] else { panic!("{script}: {output}") };
        // At once: its process has ended, and says no more.
        let label = owner().expect("it has an owner");
        assert!(label.ends_with(&format!(" pid {pid} sh")), "{script}: {label}");
        // A busy machine leaves out what it did not learn in time.
        eventually(format!("{label} is listed"), || printed(&servers, &["list", "--long"]).contains(&label));
        assert!(with_stdin(&servers, &["extend", "--ttl", "60s"], token).status.success());
        assert_eq!(owner(), Some(label));
        assert!(with_stdin(&servers, &["release"], token).status.success());
        eventually_free(&servers, "x");
        assert_eq!(owner(), None);
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
fn a_token_that_would_go_nowhere_is_refused_before_the_lock_is_taken() {
    let servers = Servers::start(1);
    let redlock = env!("CARGO_BIN_EXE_redlock");
    for script in ["exec $R acquire x >&-", "exec $R acquire x >/dev/null", "exec $R acquire --token-file /dev/null x"]
    {
        let mut command = std::process::Command::new("sh");
        let output = command.args(["-c", script]).env("R", redlock).env("REDLOCK_NODES", servers.nodes()).output();
        let output = output.unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), told.lines().count()), (Some(125), 1), "{script}: {told}");
        assert!(told.contains("/dev/null"), "{told}");
        // Its fencing token would have stayed.
        assert!(servers[0].probe().keys().is_empty(), "{script}");
    }
}

#[test]
fn a_token_replaces_no_file_that_a_shell_writes_to() {
    let (servers, directory) = (Servers::start(1), TempDir::new().unwrap());
    let file = directory.path().join("out");
    let written = |script: &str| {
        std::fs::write(&file, "").unwrap();
        let mut command = std::process::Command::new("bash");
        let command = command.args(["-c", script]).env("R", env!("CARGO_BIN_EXE_redlock")).env("FILE", &file);
        let status = command.env("REDLOCK_NODES", servers.nodes()).stderr(Stdio::null()).status().unwrap();
        assert_eq!(manager(&servers).reset_blocking("x").unwrap(), usize::from(status.success()));
        let text = std::fs::read_to_string(&file).unwrap();
        let shown = text.lines().map(|line| if line.len() > 30 { "token" } else { line });
        (status.code(), shown.map(str::to_owned).collect::<Vec<_>>())
    };
    let all = (Some(0), ["before", "token", "behind"].map(str::to_owned).to_vec());
    let refused = (Some(125), ["before", "behind"].map(str::to_owned).to_vec());
    for place in ["", "--token-file /dev/stdout", "--token-file /dev/fd/1", "--token-file \"$FILE\""] {
        let script = format!("exec >\"$FILE\"; echo before; $R acquire {place} x; code=$?; echo behind; exit $code");
        assert_eq!(written(&script), all, "{place}");
    }
    let other =
        "exec 5>\"$FILE\"; echo before >&5; $R acquire --token-file /dev/fd/5 x; code=$?; echo behind >&5; exit $code";
    assert_eq!(written(other), refused);
    // A pipe is written to, whatever its number.
    let pipe = "$R acquire --token-file >(cat >\"$FILE\") x; code=$?; wait $!; sleep 0.2; exit $code";
    assert_eq!(written(pipe), (Some(0), vec!["token".to_owned()]));
}

#[test]
fn whoever_ends_waits_no_longer_than_for_one_answer_of_nodes_that_hang() {
    let (servers, directory) = (Servers::start(3), TempDir::new().unwrap());
    let file = directory.path().join("token");
    let path = file.to_str().unwrap();
    let promised = |program: &Program, what: &str| {
        let pid = program.pid().cast_signed();
        // One node timeout, and room for a busy machine; it was two to five seconds once.
        as_promised(Duration::from_millis(1500), what, || !processes().iter().any(|seen| seen.pid == pid));
    };
    let locks = manager(&servers);
    let guard = locks.lock("x").acquire_blocking().unwrap();
    // By the same connections as the acquisition: what is seen here has been heard.
    eventually("all nodes have it", || locks.inspect_blocking("x").unwrap().votes == 3);
    std::fs::write(&file, guard.detach().to_string()).unwrap();
    servers[2].hang();
    let releases = Program::start(&mut redlock(&servers, &["release", "--token-file", path]));
    promised(&releases, "a lock is released, though a node hangs");
    assert!(releases.wait().status.success());
    servers.iter().take(2).for_each(redlock_tests::RedisServer::hang);
    let waiting = [&["acquire", "y"][..], &["run", "y", "--", "true"]].map(|command| {
        let program = Program::start(&mut redlock(&servers, command));
        eventually("it says that no node answers", || program.errors().contains("0 of 3 nodes answer"));
        program
    });
    for program in waiting {
        program.terminate();
        promised(&program, "a wait is ended, though all nodes hang");
        assert_eq!(program.wait().status.code(), Some(128 + 15));
    }
    servers.iter().for_each(redlock_tests::RedisServer::resume);
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
