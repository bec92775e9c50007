//! Processes that have less than a lock needs, or are not what they were: a call fails and says why, the next one tries again, and
//! nothing panics.

use std::collections::HashMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

use redlock_tests::process::Ended;
use redlock_tests::{Certificates, Program, Servers};

/// How long such a program may take; the bounds of its calls are shorter.
const LIMIT: Duration = Duration::from_secs(60);

/// What a program said of each of its calls, and what it wrote to stderr.
struct Said {
    of: HashMap<String, Vec<String>>,
    errors: String,
}

fn run(which: &str, nodes: &str) -> Said {
    let authority = tempfile::NamedTempFile::new().unwrap();
    fs::write(authority.path(), Certificates::new().authority()).unwrap();
    let program = Program::start(
        Command::new(env!("CARGO_BIN_EXE_hardship"))
            .arg(which)
            .env("REDLOCK_NODES", nodes)
            .env("SSL_CERT_FILE", authority.path()),
    );
    let Ended { status, lines, errors } = program.wait_within(LIMIT);
    assert!(status.success(), "{status}: {lines:#?}\n{errors}");
    let mut of = HashMap::<_, Vec<_>>::new();
    for line in &lines {
        let (what, how) = line.split_once(": ").expect("each line says of what it tells");
        of.entry(what.to_owned()).or_default().push(how.to_owned());
    }
    Said { of, errors }
}

impl Said {
    #[track_caller]
    fn check(&self, what: &str, expect: &str) {
        let said = self.of.get(what).unwrap_or_else(|| panic!("nothing of {what}: {:#?}", self.of));
        for said in said {
            let is_so = if expect == "ok" { said == "ok" } else { said.contains(expect) };
            assert!(is_so, "{what}: {said}, not {expect}");
        }
    }

    #[track_caller]
    fn check_panics(&self, most: usize) {
        let panics = self.errors.matches("panicked at").count();
        assert!(panics <= most, "{panics} panics: {}", self.errors);
    }
}

#[test]
fn without_descriptors_a_call_fails_and_the_next_one_tries_again() {
    let servers = Servers::start(3);
    let said = run("descriptors", &servers.nodes());
    for when in ["1st", "2nd"] {
        for call in ["blocking", "async", "annotated", "statistics", "list"] {
            said.check(&format!("{when} {call}"), "could not be started: Too many open files");
        }
        said.check(&format!("{when} certificates"), "cannot be read now");
    }
    said.check("again certificates", "ok");
    check_again(&said);
}

#[test]
fn with_however_few_descriptors_a_call_fails_or_works_and_the_next_one_tries_again() {
    let servers = Servers::start(1);
    for few in 0..16 {
        let said = run(&format!("descriptors_{few}"), &servers.nodes());
        let first = &said.of["1st blocking"][0];
        let is_told = first == "ok" || first.contains("Too many open files") || first.contains("nodes answered");
        assert!(is_told, "{few}: {first}");
        said.check("again blocking", "ok");
        said.check_panics(0);
    }
}

#[test]
fn without_threads_a_call_fails_and_the_next_one_tries_again() {
    let servers = Servers::start(3);
    let said = run("threads", &servers.nodes());
    for when in ["1st", "2nd"] {
        for call in ["blocking", "async", "annotated", "statistics", "list"] {
            said.check(&format!("{when} {call}"), "the thread that releases and renews locks could not be started");
        }
    }
    check_again(&said);
}

fn check_again(said: &Said) {
    for call in ["blocking", "async", "annotated", "statistics", "list", "acquired", "after the drop"] {
        said.check(&format!("again {call}"), "ok");
    }
    said.check_panics(0);
}

#[test]
fn without_a_thread_to_look_up_a_name_the_node_fails_and_is_tried_again() {
    let servers = Servers::start(1);
    let said = run("names", &servers.nodes().replace("127.0.0.1", "localhost"));
    said.check("the thread for all of them", "ok");
    for call in ["blocking", "async"] {
        said.check(&format!("1st {call}"), "no thread can be started to look up the host");
        said.check(&format!("again {call}"), "ok");
    }
    said.check_panics(0);
}

#[test]
fn in_a_destructor_after_tokios_thread_locals_are_gone_a_blocking_call_works_and_a_polled_one_is_an_error() {
    let servers = Servers::start(3);
    let said = run("destructor", &servers.nodes());
    said.check("tokio is gone", "true");
    for call in ["acquire", "extend", "release", "annotated", "statistics", "inspect", "after the drop"] {
        said.check(call, "ok");
    }
    said.check("is valid", "true");
    for call in ["polled acquire", "polled annotated"] {
        said.check(call, "use its blocking twin");
    }
    said.check("after shutdown", "was shut down");
    said.check("the thread ended well", "true");
    said.check_panics(0);
}

#[test]
fn on_a_runtime_without_a_driver_a_lock_is_refused_by_the_name_of_what_is_missing() {
    let servers = Servers::start(3);
    let said = run("drivers", &servers.nodes());
    let missing =
        [("no io", "no IO driver"), ("no time", "no time driver"), ("neither", "no time driver and no IO driver")];
    for (which, missing) in missing {
        for call in ["acquire", "annotated", "in a task"] {
            said.check(&format!("{which} {call}"), missing);
        }
        // What is asked elsewhere, or held already, does not need it.
        for call in ["statistics", "extend", "release", "after the drop"] {
            said.check(&format!("{which} {call}"), "ok");
        }
    }
    said.check("no io memory", "ok");
    said.check("no time memory", "no time driver");
    // Each is found out once, which takes a panic that is caught.
    said.check_panics(4);
}

#[test]
fn a_child_that_was_forked_is_told_so_at_once_and_has_locks_of_its_own() {
    let servers = Servers::start(3);
    let said = run("fork", &servers.nodes());
    for call in ["acquire", "async", "statistics", "extend", "release"] {
        said.check(&format!("child {call}"), "this process was forked from process");
    }
    said.check("child holds", "false, for 0ns");
    said.check("child within its timeout", "true");
    said.check("child has what the parent holds", "false");
    for call in ["annotated", "annotated async", "own", "own async", "memory", "after the drop"] {
        said.check(&format!("child {call}"), "ok");
    }
    said.check("child installs", "installed already");
    said.check("the child ended well", "true");
    said.check("parent holds", "true");
    for call in ["memory", "annotated", "release", "acquire"] {
        said.check(&format!("parent {call}"), "ok");
    }
    said.check_panics(0);
}

#[test]
fn a_manager_that_was_not_used_before_a_fork_serves_either_process() {
    let servers = Servers::start(3);
    let said = run("fork_before_use", &servers.nodes());
    for call in ["child acquire", "child annotated", "parent acquire", "parent annotated"] {
        said.check(call, "ok");
    }
    // Somebody chose it, so the environment is not asked instead.
    said.check("2nd child annotated", "this process was forked from process");
    said.check("the child ended well", "true");
    said.check_panics(0);
}
