//! What somebody tries who has not read the manual, and what goes wrong around a process.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use redlock_tests::wait::{eventually, eventually_some};
use redlock_tests::{Program, Servers};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{code, eventually_free, is_free, key, manager, output, printed, redlock, send};

const NO_NODE: &str = "redis://127.0.0.1:1";

#[test]
fn any_length_of_time_is_taken_or_refused_in_one_line_and_nothing_panics_or_hangs() {
    let servers = Servers::start(1);
    for option in ["--max-hold", "--kill-after", "--wait"] {
        assert_eq!(code(&servers, &["run", option, "365000d", "x", "--", "sh", "-c", "exit 7"]), 7, "{option}");
    }
    for option in ["--max-hold", "--kill-after", "--wait", "--min-hold", "--ttl"] {
        for length in ["9223372036854775807", "18446744073709551615", "1e300", "-1", "nan"] {
            let argument = format!("{option}={length}");
            let output = output(&servers, &["run", &argument, "x", "--", "true"]);
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!((output.status.code(), said.lines().count()), (Some(125), 1), "{argument}: {said}");
        }
    }
    for once in ["0", "0s", "999ms", "10000d", "@0", "@99999999999999"] {
        let output = output(&servers, &["run", "--once", once, "x", "--", "true"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.lines().count()), (Some(125), 1), "{once}: {said}");
    }
    eventually_free(&servers, "x");
}

#[test]
fn a_cron_line_that_says_that_nothing_is_wrong_mails_nothing() {
    let servers = Servers::start(1);
    let _guard = manager(&servers).lock("x").acquire_blocking().unwrap();
    for (code, lines) in [("0", 0), ("9", 1)] {
        let output = output(&servers, &["run", "-n", "-E", code, "x", "--", "true"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.lines().count()), (code.parse().ok(), lines), "{said}");
    }
}

#[test]
fn whoever_says_nothing_is_told_what_to_write_in_one_line() {
    let servers = Servers::start(1);
    let output = output(&servers, &[]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(said.lines().count() == 1 && said.len() < 200 && said.contains("redlock run"), "{said}");
}

#[test]
fn what_cannot_be_printed_is_no_success_and_a_reader_who_is_gone_changes_no_verdict() {
    let servers = Servers::start(1);
    let commands: [&[&str]; 7] =
        [&["man"], &["completions", "bash"], &["--help"], &["doctor"], &["top"], &["inspect", "x"], &["last", "x"]];
    for arguments in commands {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = redlock(&servers, arguments).stdin(Stdio::null()).stdout(full).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.lines().count()), (Some(125), 1), "{arguments:?}: {said}");
    }
    let without_reader = |arguments: &[&str]| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = redlock(&servers, arguments).stdin(Stdio::null()).stdout(writer).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(without_reader(&["--nodes", NO_NODE, "doctor"]), (Some(2), String::new()));
    assert_eq!(without_reader(&["last", "x"]), (Some(1), String::new()));
    assert_eq!(without_reader(&["man"]), (Some(0), String::new()));
}

#[test]
fn a_signal_ends_a_script_s_wait_for_a_lock_and_one_that_was_ignored_does_not() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let guard = locks.lock("x").acquire_blocking().unwrap();
    let ending = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];
    let programs: Vec<_> =
        ending.map(|signal| (Program::start(&mut redlock(&servers, &["acquire", "x"])), signal)).into();
    let mut nohup = Command::new("sh");
    let script = format!("trap '' HUP INT; exec {} acquire x", env!("CARGO_BIN_EXE_redlock"));
    let nohup = Program::start(nohup.env("REDLOCK_NODES", servers.nodes()).args(["-c", &script]));
    eventually("all of them wait", || locks.inspect_blocking("x").unwrap().waiting == 7);
    for (program, signal) in programs {
        send(&program, signal);
        let ended = program.wait();
        // Ended by itself, and in order: nothing that was begun is left for a TTL.
        assert_eq!(ended.status.code(), Some(128 + signal as i32), "{signal}: {ended:?}");
        assert!(ended.lines.is_empty(), "{signal}: {ended:?}");
    }
    send(&nohup, Signal::SIGHUP);
    send(&nohup, Signal::SIGINT);
    eventually("it alone waits", || locks.inspect_blocking("x").unwrap().waiting == 1);
    guard.release_blocking().unwrap();
    let ended = nohup.wait();
    assert!(ended.status.success() && ended.lines.len() == 1, "{ended:?}");
    assert!(!is_free(&servers, "x"));
}

#[test]
fn a_wait_that_takes_a_while_says_once_who_has_the_lock_if_somebody_wants_to_know() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let _a = locks.lock("a").owner_label("the holder").acquire_blocking().unwrap();
    let _permits = [0, 1].map(|_| locks.lock("slots").owner_label("a permit").permits(2).acquire_blocking().unwrap());
    let _reads = locks.read("shared").acquire_blocking().unwrap();
    let _writes = locks.write("written").owner_label("the writer").acquire_blocking().unwrap();
    // Started first, so that it has waited for longer.
    let script = Program::start(&mut redlock(&servers, &["run", "a", "--", "true"]));
    eventually("it waits", || locks.inspect_blocking("a").unwrap().waiting == 1);
    let waits = [
        (&["run", "-v", "a", "--", "true"][..], "waiting for lock `a`, held by the holder, for "),
        (&["run", "-v", "free", "a", "--", "true"], "waiting for lock `a` (one of 2), held by the holder, for "),
        (&["acquire", "--verbose", "a"], "waiting for lock `a`, held by the holder, for "),
        (
            &["run", "-v", "--permits", "2", "slots", "--", "true"],
            "`slots`, 2 of whose permits are taken, one of them held by a permit, for ",
        ),
        (&["run", "-v", "--write", "shared", "--", "true"], "waiting for lock `shared`, which one reader has"),
        (
            &["run", "-v", "--read", "written", "--", "true"],
            "waiting for lock `written`, which a writer has, held by the writer",
        ),
    ];
    let programs = waits.map(|(arguments, expect)| (Program::start(&mut redlock(&servers, arguments)), expect));
    for (program, expect) in &programs {
        eventually("it says who has the lock", || program.errors().contains(expect));
    }
    // A while later none has said it again.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    for (program, expect) in programs {
        program.terminate();
        let ended = program.wait();
        assert_eq!((ended.status.code(), ended.errors.lines().count()), (Some(128 + 15), 1), "{expect}: {ended:?}");
    }
    script.terminate();
    let ended = script.wait();
    assert_eq!((ended.status.code(), ended.errors.as_str()), (Some(128 + 15), ""), "a script is told nothing");
}

#[test]
fn a_token_is_kept_from_others_and_an_old_one_until_there_is_a_new_one() {
    let (servers, folder) = (Servers::start(1), TempDir::new().unwrap());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().mode() & 0o777;
    let (file, link) = (path("token"), path("link"));
    fs::write(&file, "old").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let mut opened_before = File::open(&file).unwrap();
    symlink(&file, &link).unwrap();

    assert_eq!(code(&servers, &["acquire", "--token-file", &link, "x"]), 0);
    assert_eq!(mode("token"), 0o600);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    let mut seen = String::new();
    opened_before.read_to_string(&mut seen).unwrap();
    assert_eq!(seen, "old", "whoever had it open does not see the token");

    // One that is not acquired leaves the token of the one that is.
    assert_eq!(code(&servers, &["acquire", "-n", "--token-file", &file, "x"]), 75);
    assert_eq!(code(&servers, &["extend", "--token-file", &file]), 0);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let released = output(&servers, &["release", "--token-file", &link]);
    let said = String::from_utf8(released.stderr).unwrap();
    assert!(released.status.success() && said.contains("chmod 600") && said.lines().count() == 1, "{said}");
    assert!(is_free(&servers, "x"));
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "nothing else is left: {names:?}");

    // A pipe is no file that could be replaced.
    let pipe = path("pipe");
    mkfifo(pipe.as_str(), Mode::from_bits_truncate(0o600)).unwrap();
    let reader = std::thread::spawn(move || fs::read_to_string(pipe).unwrap());
    assert_eq!(code(&servers, &["acquire", "--token-file", &path("pipe"), "y"]), 0);
    let token = reader.join().unwrap();
    let mut release = redlock(&servers, &["release"]).stdin(Stdio::piped()).spawn().unwrap();
    release.stdin.take().unwrap().write_all(token.as_bytes()).unwrap();
    assert!(release.wait().unwrap().success());
    for place in ["/nonexistent/token", "."] {
        assert_eq!(code(&servers, &["acquire", "--token-file", place, "z"]), 125);
    }
    assert!(is_free(&servers, "z"));
}

/// All words of an object, and of what is in it.
fn words(value: &Value) -> Vec<String> {
    let mut words: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
    words.sort();
    words
}

#[test]
fn readers_and_writers_are_seen_wherever_locks_are_and_in_one_vocabulary() {
    let servers = Servers::start(1);
    let locks = manager(&servers);
    let read = locks.read("shared").acquire_blocking().unwrap();
    let _written = locks.write("written").acquire_blocking().unwrap();
    let _permit = locks.lock("slots").permits(2).acquire_blocking().unwrap();
    let json = |arguments: &[&str]| -> Value { serde_json::from_str(&printed(&servers, arguments)).unwrap() };
    let shared = json(&["inspect", "--json", "shared"]);
    assert_eq!((&shared["shared"]["readers"], &shared["shared"]["writer"]), (&1.into(), &"free".into()), "{shared}");
    assert_eq!(json(&["inspect", "--json", "written"])["shared"]["writer"], "held");
    assert!(printed(&servers, &["inspect", "written"]).contains("writer"));

    // A busy machine leaves out what it did not learn in time.
    let (seen, written, slots) = eventually_some("all locks are seen with all that belongs to them", || {
        let all = json(&["top", "--json"]);
        let of = |name: &str| all["locks"].as_array()?.iter().find(|lock| lock["name"] == name).cloned();
        let (seen, written, slots) = (of("shared")?, of("written")?, of("slots")?);
        let is_whole = seen["shared"].is_object() && written["shared"].is_object() && slots["permits"][0].is_object();
        is_whole.then_some((seen, written, slots))
    });
    assert_eq!((&seen["shown_state"], &written["shown_state"]), (&"1 read".into(), &"written".into()));
    // `failures` are those of a question, which a table does not ask of each lock; the rest of what it adds is for pages.
    let inspected = words(&shared).into_iter().filter(|word| word != "failures");
    let missing: Vec<_> = inspected.filter(|word| !words(&seen).contains(word)).collect();
    assert!(missing.is_empty(), "{missing:?}: {seen}");
    assert_eq!(words(&seen["shared"]), words(&shared["shared"]));
    let permit = &eventually_some("its permits are told", || {
        let permit = json(&["inspect", "--json", "slots"])["permits"][0].clone();
        permit.is_object().then_some(permit)
    });
    let missing: Vec<_> =
        words(&slots["permits"][0]).into_iter().filter(|word| !words(permit).contains(word)).collect();
    assert!(missing.is_empty(), "{missing:?}: {permit}");
    assert_eq!(seen["fencing_token"].is_string(), shared["fencing_token"].is_string());

    // What is read or written is not free.
    for name in ["shared", "written"] {
        assert_eq!(code(&servers, &["wait", "-w", "100ms", name]), 75, "{name}");
    }
    let waiting = Program::start(&mut redlock(&servers, &["wait", "--json", "shared"]));
    assert_eq!(waiting.line_within(std::time::Duration::from_millis(200)), None);
    read.release_blocking().unwrap();
    assert!(waiting.wait().status.success());
    assert_eq!(servers.holding(&key("shared")), 0);
}

#[test]
fn whoever_has_too_few_file_descriptors_is_told_so_and_nothing_panics() {
    for command in ["run x -- true", "acquire x", "wait x", "top", "list", "serve"] {
        for limit in 4..9 {
            let mut shell = Command::new("sh");
            let script = format!("ulimit -n {limit}; exec {} {command}", env!("CARGO_BIN_EXE_redlock"));
            let ended =
                shell.args(["-c", &script]).env("REDLOCK_NODES", NO_NODE).stdin(Stdio::null()).output().unwrap();
            let said = String::from_utf8(ended.stderr).unwrap();
            let told = said.contains("file descriptors (`ulimit -u`, `ulimit -n`)") || said.contains("open files");
            assert!(told && !said.contains("panicked"), "{command}, {limit}: {said}");
            assert_eq!((ended.status.code(), said.lines().count()), (Some(125), 1), "{command}, {limit}: {said}");
        }
    }
}

#[test]
fn a_wait_for_nodes_that_do_not_answer_says_so() {
    let servers = Servers::start(1);
    for command in [&["run", "x", "--", "true"][..], &["acquire", "x"]] {
        let program = Program::start(redlock(&servers, command).args([] as [&str; 0]).env("REDLOCK_NODES", NO_NODE));
        eventually("it says why it waits", || program.errors().contains("0 of 1 nodes answer, and 1 are needed"));
        program.terminate();
        let ended = program.wait();
        assert_eq!((ended.status.code(), ended.errors.lines().count()), (Some(143), 1), "{ended:?}");
    }
}
