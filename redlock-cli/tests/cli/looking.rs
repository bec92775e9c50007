//! What shows and mends locks.

use std::time::Duration;

use redlock_tests::wait::{eventually, eventually_some};
use redlock_tests::{Program, Servers};
use serde_json::Value;

use crate::common::{PATIENT, code, eventually_free, is_free, key, manager, output, printed, redlock};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn locks_are_listed_and_inspected() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    assert_eq!(printed(&servers, &["list"]), "");
    let _guards = ["a", "b c"].map(|name| locks.lock(name).owner_label("me").acquire_blocking().unwrap());
    eventually("it is labelled", || locks.inspect_blocking("a").unwrap().owner_label.is_some());
    let mut names: Vec<_> = printed(&servers, &["list"]).lines().map(str::to_owned).collect();
    names.sort();
    assert_eq!(names, ["a", "b c"]);
    let long = printed(&servers, &["list", "--long"]);
    assert!(long.contains("a: held by me"), "{long}");
    assert_eq!(
        printed(&servers, &["list", "--json"]).lines().map(json).filter(|lock| lock["name"].is_string()).count(),
        2
    );
    let lock = json(&printed(&servers, &["inspect", "--json", "a"]));
    assert_eq!((&lock["state"], &lock["owner"], &lock["votes"]), (&"held".into(), &"me".into(), &3.into()), "{lock}");
    assert!(lock["fencing_token"].as_u64().is_some_and(|token| token > 0) && lock["remaining_ms"].is_u64(), "{lock}");
    let told = printed(&servers, &["inspect", "a"]);
    assert!(told.starts_with("a: held\n") && told.contains("owner         me"), "{told}");
    assert_eq!(json(&printed(&servers, &["inspect", "--json", "free"]))["state"], "free");
}

#[test]
fn what_somebody_wrote_into_a_label_does_not_move_the_cursor() {
    let servers = Servers::start(1);
    let locks = manager(&servers);
    let _guard = locks.lock("\u{202e}x").owner_label("\u{202e}me").acquire_blocking().unwrap();
    eventually("it is labelled", || locks.inspect_blocking("\u{202e}x").unwrap().owner_label.is_some());
    let told = printed(&servers, &["inspect", "\u{202e}x"]);
    assert!(!told.contains('\u{202e}') && told.contains("\\u{202e}me"), "{told}");
}

#[test]
fn locks_whose_names_no_other_command_could_have_made_are_seen_and_reset() {
    let servers = Servers::start(3);
    let name = "new\nline\u{1b}[2J";
    for server in &servers {
        server.probe().set_for(&key(name), "\"python\"", Duration::from_secs(60));
    }
    assert_eq!(printed(&servers, &["list"]), "new\\u{a}line\\u{1b}[2J\n");
    assert_eq!(json(&printed(&servers, &["list", "--json"]))["name"], name);
    for arguments in [&["list", "--long"][..], &["inspect", name], &["top"]] {
        let told = printed(&servers, arguments);
        assert!(told.contains("new\\u{a}line\\u{1b}[2J") && !told.contains('\u{1b}'), "{arguments:?}: {told}");
    }
    assert_eq!(json(&printed(&servers, &["inspect", "--json", name]))["state"], "held");
    assert_eq!(code(&servers, &["wait", "-w", "100ms", name]), 75);
    let all = json(&printed(&servers, &["top", "--json"]));
    assert_eq!(
        (&all["locks"][0]["name"], &all["locks"][0]["shown"]),
        (&name.into(), &"new\\u{a}line\\u{1b}[2J".into())
    );
    // Such a lock is mended, and none is made.
    assert_eq!(code(&servers, &["run", "-n", name, "--", "true"]), 125);
    assert_eq!(printed(&servers, &["reset", PATIENT, name]), "new\\u{a}line\\u{1b}[2J: taken, on 3 nodes\n");
    assert!(is_free(&servers, name));
}

#[test]
fn a_wait_that_no_node_answers_does_not_say_that_somebody_holds_the_lock() {
    let servers = Servers::start(3);
    servers.iter().for_each(redlock_tests::RedisServer::hang);
    let waited = output(&servers, &["wait", "-w", "600ms", "x"]);
    servers.iter().for_each(redlock_tests::RedisServer::resume);
    let told = String::from_utf8(waited.stderr).unwrap();
    assert_eq!(waited.status.code(), Some(69), "{told}");
    assert!(told.lines().all(|line| line.contains("redlock doctor")), "{told}");
}

#[test]
fn a_list_that_may_lack_a_lock_says_so() {
    let servers = Servers::start(3);
    servers[0].kill();
    eventually("both others are in time", || code(&servers, &["list"]) == 0);
    servers[1].kill();
    assert_eq!(code(&servers, &["list"]), 69);
    assert_eq!(code(&servers, &["inspect", "x"]), 69);
}

#[test]
fn a_lock_is_reset_whoever_holds_it_or_only_if_that_is_who_was_seen() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let hold = |label: &str| {
        let guard = locks.lock("x").owner_label(label).acquire_blocking().unwrap();
        eventually("it is labelled, on all nodes", || {
            let told = locks.inspect_blocking("x").unwrap();
            told.votes == 3 && told.owner_label.as_deref() == Some(label)
        });
        guard.detach()
    };
    let first = hold("first");
    for other in ["second", "", "1", &(first.fencing_token() + 1).to_string()] {
        assert_eq!(code(&servers, &["reset", "--if-owner", other, "x"]), 122, "{other}");
    }
    assert!(locks.is_locked_blocking("x").unwrap());
    assert_eq!(code(&servers, &["reset", "--if-owner", &first.fencing_token().to_string(), "x"]), 0);
    eventually_free(&servers, "x");
    let _second = hold("second");
    assert_eq!(code(&servers, &["reset", "--if-owner", &first.fencing_token().to_string(), "x"]), 122);
    assert_eq!(code(&servers, &["reset", "--if-owner", "second", "x"]), 0);
    eventually_free(&servers, "x");
    let _third = hold("third");
    assert!(printed(&servers, &["reset", PATIENT, "x"]).contains("taken, on 3 nodes"));
    assert!(printed(&servers, &["reset", "x"]).contains("nobody held it"));
}

#[test]
fn what_was_reset_is_told_to_programs_too() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let reset = |arguments: &[&str]| {
        let arguments: Vec<_> = ["reset", "--json"].iter().chain(arguments).copied().collect();
        json(&printed(&servers, &arguments))
    };
    let told = |owner: Option<&str>, permit: Option<u32>, marks: bool, nodes: Option<u32>| serde_json::json!({ "name": "x", "owner": owner, "permit": permit, "marks": marks, "nodes": nodes });
    let hold = || {
        let guard = locks.lock("x").acquire_blocking().unwrap();
        let told = || locks.inspect_blocking("x").unwrap();
        eventually("all nodes have it, and its token", || told().votes == 3 && told().fencing_token.is_some());
        guard.detach()
    };
    hold();
    assert_eq!(reset(&["x"]), told(None, None, false, Some(3)));
    assert_eq!(reset(&["x"]), told(None, None, false, Some(0)));
    assert_eq!(reset(&["--permit", "1", "x"]), told(None, Some(1), false, Some(0)));
    assert_eq!(reset(&["--marks", "x"]), told(None, None, true, Some(0)));
    let owner = hold().fencing_token().to_string();
    assert_eq!(reset(&["--if-owner", &owner, "x"]), told(Some(&owner), None, false, None));
    eventually_free(&servers, "x");
}

#[test]
fn somebody_waits_until_a_lock_is_free() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    assert_eq!(code(&servers, &["wait", "x"]), 0);
    let guard = locks.lock("x").acquire_blocking().unwrap();
    assert_eq!(code(&servers, &["wait", "-w", "200ms", "x"]), 75);
    let program = Program::start(&mut redlock(&servers, &["wait", "--json", "x"]));
    assert_eq!(program.line_within(Duration::from_millis(200)), None);
    guard.release_blocking().unwrap();
    assert_eq!(json(&program.line())["state"], "free");
    assert!(program.wait().status.success());
}

#[test]
fn each_change_of_a_lock_is_a_line() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let program = Program::start(&mut redlock(&servers, &["watch", "--json", "x"]));
    let next = || json(&program.line());
    assert_eq!(next()["state"], "free");
    for label in ["first", "second"] {
        let guard = locks.lock("x").owner_label(label).acquire_blocking().unwrap();
        let held = next();
        assert_eq!(held["state"], "held", "{held}");
        if held["owner"].is_null() {
            assert_eq!(next()["owner"], label);
        }
        guard.release_blocking().unwrap();
        // While the release is on its way to the last node, nobody may know.
        while next()["state"] != "free" {}
    }
}

#[test]
fn who_looks_on_goes_on_when_nodes_are_gone_for_a_while() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let guard = locks.lock("x").ttl(Duration::from_secs(60)).acquire_blocking().unwrap();
    let watching = Program::start(&mut redlock(&servers, &["watch", "--json", "x"]));
    assert_eq!(json(&watching.line())["state"], "held");
    let waiting = Program::start(&mut redlock(&servers, &["wait", "--json", "x"]));
    drop(guard.detach());
    servers[0].kill();
    servers[1].kill();
    for program in [&watching, &waiting] {
        eventually("it says that too few nodes answer", || program.errors().contains("1 of 3 nodes answered"));
    }
    // Empty, so that the lock is free as far as a majority says.
    servers[0].restart();
    servers[1].restart();
    assert_eq!(json(&waiting.line())["state"], "free");
    while json(&watching.line())["state"] != "free" {}
}

#[test]
fn each_change_of_any_lock_is_a_line() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let before = locks.lock("before").acquire_blocking().unwrap();
    let program = Program::start(&mut redlock(&servers, &["watch", "--json"]));
    let until = |name: &str, state: &str| loop {
        let seen = json(&program.line());
        if seen["name"] == name && seen["state"] == state {
            return;
        }
    };
    until("before", "held");
    let after = locks.lock("after").acquire_blocking().unwrap();
    until("after", "held");
    before.release_blocking().unwrap();
    until("before", "free");
    after.release_blocking().unwrap();
    until("after", "free");
}

#[test]
fn somebody_who_stops_to_read_ends_what_is_printed() {
    let servers = Servers::start(1);
    let script = format!("{} watch x | head -n 1", env!("CARGO_BIN_EXE_redlock"));
    let locks = manager(&servers);
    let mut command = std::process::Command::new("sh");
    let program = Program::start(command.args(["-c", &script]).env("REDLOCK_NODES", servers.nodes()));
    assert!(program.line().starts_with("x: free"));
    // What it prints next finds nobody.
    let _guard = locks.lock("x").acquire_blocking().unwrap();
    let ended = program.wait();
    assert!(ended.status.success() && ended.errors.is_empty(), "{ended:?}");
}

#[test]
fn what_a_doctor_notes_of_new_servers_that_work_says_that_they_do() {
    let servers = Servers::start(3);
    // A machine that is busy at this moment is warned of.
    let report = eventually_some("nothing kept the doctor waiting", || {
        let told = output(&servers, &["doctor"]);
        told.status.success().then(|| String::from_utf8(told.stdout).unwrap())
    });
    let (notes, verdict): (Vec<_>, Vec<_>) = report
        .lines()
        .skip_while(|line| !line.is_empty())
        .filter(|line| !line.is_empty())
        .partition(|line| line.contains("note: "));
    assert_eq!((notes.len(), verdict), (2, vec!["healthy: every node works"]), "{report}");
    assert!(notes[0].starts_with("note: locks work. ") && notes[1].starts_with("note: nothing is wrong; "), "{report}");
    assert!(notes[1].contains("wait 6m 15s (1.25 times that)"), "{report}");
}

#[test]
fn a_doctor_says_by_its_exit_code_whether_locks_work() {
    let servers = Servers::start_with(3, &["--appendonly", "yes", "--appendfsync", "always"]);
    let report = output(&servers, &["doctor"]);
    assert!(report.status.code().is_some_and(|code| code <= 1), "{report:?}");
    assert!(String::from_utf8_lossy(&report.stdout).contains("round trip"), "{report:?}");
    servers[0].kill();
    let degraded = eventually_some("both others are in time", || {
        let told = output(&servers, &["doctor", "--json"]);
        (told.status.code() == Some(1)).then_some(told)
    });
    assert_eq!(json(&String::from_utf8(degraded.stdout).unwrap())["verdict"], "degraded");
    servers[1].kill();
    let unusable = output(&servers, &["doctor", "--json"]);
    assert_eq!(unusable.status.code(), Some(2), "{unusable:?}");
    let unusable = json(&String::from_utf8(unusable.stdout).unwrap());
    assert_eq!((&unusable["verdict"], unusable["nodes"].as_array().unwrap().len()), (&"unusable".into(), 3));
}
