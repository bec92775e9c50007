//! What a run ends with.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use redlock_tests::Servers;
use tempfile::TempDir;

use crate::common::{code, eventually_free, is_free, key, manager, output, printed, redlock};

#[test]
fn a_run_ends_as_its_command_does() {
    let servers = Servers::start(1);
    for (script, expect) in
        [("exit 0", 0), ("exit 1", 1), ("exit 3", 3), ("exit 255", 255), ("kill -KILL $$", 137), ("kill -TERM $$", 143)]
    {
        assert_eq!(code(&servers, &["run", "x", "--", "sh", "-c", script]), expect, "{script}");
        eventually_free(&servers, "x");
    }
}

#[test]
fn a_lock_that_is_not_acquired_has_a_code_of_its_own() {
    let servers = Servers::start(3);
    let _guard = manager(&servers).lock("x").acquire_blocking().unwrap();
    let ran = |options: &[&str]| {
        let arguments: Vec<_> = ["run"].iter().chain(options).chain(&["x", "--", "echo", "ran"]).copied().collect();
        let output = output(&servers, &arguments);
        assert!(output.stdout.is_empty(), "{output:?}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(told.lines().count(), 1, "{told}");
        assert!(told.starts_with("redlock: ") && told.contains("held elsewhere"), "{told}");
        output.status.code()
    };
    assert_eq!(ran(&["-n"]), Some(75));
    assert_eq!(ran(&["-w", "0"]), Some(75));
    // Long enough to connect and to be refused on a busy machine.
    assert_eq!(ran(&["-w", "2s"]), Some(75));
    assert_eq!(ran(&["-n", "-E", "3"]), Some(3));
    // How long it was is rounded.
    let told = output(&servers, &["run", "-w", "2001ms", "x", "--", "true"]);
    let told = String::from_utf8(told.stderr).unwrap();
    let (_, waited) = told.split_once(" within ").unwrap();
    assert!(waited.split_once("s: ").is_some_and(|(waited, _)| waited.len() <= 3), "{told}");
}

#[test]
fn without_a_majority_of_the_nodes_a_run_ends_with_a_code_of_its_own_and_the_cure() {
    let servers = Servers::start(3);
    servers[0].kill();
    servers[1].kill();
    let output = output(&servers, &["run", "-n", "-E", "3", "x", "--", "echo", "ran"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len(), told.lines().count()), (Some(69), 0, 1), "{told}");
    assert!(told.contains("1 of 3 nodes answered") && told.contains("redlock doctor"), "{told}");
}

#[test]
fn a_command_that_cannot_be_started_gives_the_lock_back() {
    let servers = Servers::start(3);
    let directory = TempDir::new().unwrap();
    let no_program = directory.path().join("text");
    fs::write(&no_program, "no program").unwrap();
    fs::set_permissions(&no_program, fs::Permissions::from_mode(0o644)).unwrap();
    for (command, expect) in
        [("/nowhere/at/all", 127), ("not-to-be-found-anywhere", 127), (no_program.to_str().unwrap(), 126)]
    {
        let output = output(&servers, &["run", "x", "--", command]);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), told.lines().count()), (Some(expect), 1), "{told}");
        assert!(told.contains(command), "{told}");
        eventually_free(&servers, "x");
    }
}

#[test]
fn a_command_that_cannot_be_started_has_its_code_also_where_nobody_reads_why() {
    let servers = Servers::start(1);
    let directory = TempDir::new().unwrap();
    let no_program = directory.path().join("text");
    fs::write(&no_program, "no program").unwrap();
    for (command, expect) in [("/nowhere/at/all", 127), (no_program.to_str().unwrap(), 126)] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let status = redlock(&servers, &["run", "x", "--", command]).stderr(writer).status().unwrap();
        assert_eq!(status.code(), Some(expect), "{command}");
        eventually_free(&servers, "x");
    }
}

#[test]
fn a_script_whose_interpreter_is_missing_is_told_so() {
    let servers = Servers::start(1);
    let directory = TempDir::new().unwrap();
    let script = directory.path().join("script");
    fs::write(&script, "#!/nowhere/at/all\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let output = output(&servers, &["run", "x", "--", script.to_str().unwrap()]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), told.lines().count()), (Some(127), 1), "{told}");
    assert!(told.contains("interpreter") && !told.contains("PATH"), "{told}");
}

#[test]
fn a_ttl_that_cannot_be_renewed_in_time_is_refused_with_the_cure() {
    let servers = Servers::start(1);
    let output = output(&servers, &["run", "--ttl", "60ms", "x", "--", "echo", "ran"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len(), told.lines().count()), (Some(125), 0, 1), "{told}");
    assert!(told.contains("60ms is too short") && told.contains("write 200ms or more"), "{told}");
}

#[test]
fn wrong_arguments_and_settings_are_ours() {
    let servers = Servers::start(1);
    for arguments in [
        &["run", "x"][..],
        &["run", "--", "true"],
        &["run", "-n", "-w", "1", "x", "--", "true"],
        &["run", "--ttl", "1ms", "x", "--", "true"],
        &["run", "--ttl", "60ms", "x", "--", "true"],
        &["run", "--nodes", "", "x", "--", "true"],
        &["run", "-E", "-1", "x", "--", "true"],
        &["run", "--permits", "0", "x", "--", "true"],
        &["run", "--permits", "2", "--once", "1h", "x", "--", "true"],
        &["run", "a\nb", "--", "true"],
        &["run", "--nodes", "http://x", "x", "--", "true"],
        &["run", "--read", "x", "y", "--", "true"],
        &["run", "--read", "--write", "x", "--", "true"],
        &["run", "--read", "--once", "1h", "x", "--", "true"],
        &["acquire", "--read", "x"],
        &["acquire", "x", "y"],
        &["rnu"],
    ] {
        let output = output(&servers, arguments);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), told.lines().count()), (Some(125), 1), "{arguments:?}: {told}");
    }
    assert!(is_free(&servers, "x"));
}

#[test]
fn help_has_examples_and_exit_codes() {
    let servers = Servers::start(1);
    let help = printed(&servers, &["--help"]);
    assert!(help.contains("Examples:") && help.contains("Exit codes:") && help.contains("122"), "{help}");
    for command in
        ["run", "acquire", "list", "inspect", "reset", "wait", "watch", "last", "extend", "release", "doctor"]
    {
        let help = printed(&servers, &[command, "--help"]);
        assert!(help.contains("Examples:"), "{command}: {help}");
    }
    assert!(printed(&servers, &["completions", "bash"]).contains("redlock"));
    assert!(printed(&servers, &["man"]).contains(".TH"));
    assert!(printed(&servers, &["man", "run"]).contains("max"));
}

#[test]
fn a_command_is_told_of_its_lock() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    locks.reset_marks_blocking("job").unwrap();
    let script = "echo \"$REDLOCK_NAME|$REDLOCK_FENCING_TOKEN|$REDLOCK_FIRE|$REDLOCK_PERMIT\"";
    let told = |options: &[&str]| {
        let arguments: Vec<_> =
            ["run"].iter().chain(options).chain(&["job", "--", "sh", "-c", script]).copied().collect();
        let line = printed(&servers, &arguments);
        line.trim().split('|').map(str::to_owned).collect::<Vec<_>>()
    };
    let first = told(&[]);
    let second = told(&["--once", "7"]);
    let third = told(&["--permits", "2"]);
    let token = |told: &[String]| told[1].parse::<u64>().unwrap();
    assert!(token(&first) < token(&second));
    assert!(token(&third) > 0);
    assert_eq!((first[0].as_str(), first[2].as_str(), first[3].as_str()), ("job", "", ""));
    assert_eq!((second[2].as_str(), second[3].as_str()), ("7", ""));
    assert_eq!((third[2].as_str(), third[3].is_empty()), ("", false));
    // Of a run inside another, the inner one's.
    let inner = format!("{} run inner -- sh -c '{script}'", env!("CARGO_BIN_EXE_redlock"));
    let nested = printed(&servers, &["run", "--permits", "2", "outer", "--", "sh", "-c", &inner]);
    assert!(nested.starts_with("inner|") && nested.trim().ends_with("||"), "{nested}");
}

#[test]
fn while_it_runs_the_lock_is_held_by_who_says_so() {
    let servers = Servers::start(3);
    let (mut program, _) = crate::common::started(&servers, &[], "echo $$; read line");
    redlock_tests::wait::eventually("all nodes have it", || servers.holding(&key("x")) == 3);
    let locks = manager(&servers);
    redlock_tests::wait::eventually("its label is noted", || {
        locks.inspect_blocking("x").unwrap().owner_label.is_some()
    });
    let label = locks.inspect_blocking("x").unwrap().owner_label.unwrap();
    assert!(label.ends_with(&format!("pid {} sh", program.pid())), "{label}");
    program.tell("go");
    assert!(program.wait().status.success());
}
