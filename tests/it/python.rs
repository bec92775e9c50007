//! One fleet with Python: configurable-redlock on the same servers, under the same names.

use std::path::Path;
use std::time::Duration;

use redlock_runtime::{Error, LockManager, Run, SkipReason};
use redlock_tests::clock::monotonic_nanoseconds;
use redlock_tests::python::{Class, Python};
use redlock_tests::wait::{eventually, eventually_async};
use redlock_tests::{Program, Servers};
use tokio::runtime::Runtime;

use crate::common::counters::{counter, marker, waiting};
use crate::common::once::{already_ran, job, new_job, run};
use crate::common::waiters::PROMPT;
use crate::common::{key, manager, unhurried};

/// A Python process does not give up, nor does a test, before it had this long.
const LONG: Duration = Duration::from_secs(10);

fn python() -> Option<Python> {
    Python::in_directory(Path::new(env!("CARGO_TARGET_TMPDIR")))
}

fn holder(python: &Python, class: Class, servers: &Servers, arguments: &[&str]) -> Program {
    python.start("holder.py", class, servers, arguments)
}

#[test]
fn while_python_holds_a_lock_rust_skips_it_or_waits_and_gets_it_after_its_release() {
    let Some(python) = python() else { return };
    for class in Class::ALL {
        let servers = Servers::start(3);
        let locks = manager(&servers);
        let mut holds = holder(&python, class, &servers, &["name=x", "timeout=0"]);
        assert_eq!(holds.line(), "acquired", "{class:?}");
        assert!(locks.lock("x").try_acquire_blocking().unwrap().is_none(), "{class:?}");
        // Long enough for busy servers to say so.
        let error = locks.lock("x").timeout(Duration::from_secs(2)).acquire_blocking().unwrap_err();
        assert!(matches!(error, Error::NotAcquired { .. }), "{class:?}: {error}");
        let runtime = Runtime::new().unwrap();
        let waiter = runtime.spawn(locks.lock("x").timeout(LONG).acquire());
        eventually("it waits", || waiting(&servers, "x") == 1);
        assert!(!waiter.is_finished());
        holds.tell("");
        let guard = runtime.block_on(waiter).unwrap().unwrap();
        assert_eq!(holds.line(), "released", "{class:?}");
        assert!(guard.is_valid(), "Python's release took our key");
        guard.release_blocking().unwrap();
    }
}

#[test]
fn a_python_holder_keeps_a_fire_waiting_and_marks_nothing_and_no_mark_keeps_python_out() {
    let Some(python) = python() else { return };
    for class in Class::ALL {
        let servers = Servers::start(3);
        let runtime = Runtime::new().unwrap();
        let locks = runtime.block_on(new_job(&servers));
        let last = || locks.last_run_blocking("job").unwrap().map(|last| last.fire);
        let mut holds = holder(&python, class, &servers, &["name=job", "timeout=0"]);
        assert_eq!(holds.line(), "acquired", "{class:?}");
        let skipped = runtime.block_on(run(job(&locks, 7))).unwrap();
        assert_eq!(skipped, Run::Skipped(SkipReason::HeldElsewhere), "{class:?}");
        let standing_by = runtime.spawn(run(job(&locks, 7).timeout(LONG)));
        eventually("it waits", || waiting(&servers, "job") == 1);
        assert!(!standing_by.is_finished());
        holds.tell("");
        assert_eq!(holds.line(), "released", "{class:?}");
        assert_eq!(runtime.block_on(standing_by).unwrap().unwrap(), Run::Ran(Some(7)), "Python marked nothing");
        assert_eq!(last(), Some(7));

        // While a fire runs, Python is excluded; what was completed means nothing to it, and it leaves the mark alone.
        let guard = job(&locks, 8).acquire_blocking().unwrap();
        let skips = holder(&python, class, &servers, &["name=job", "timeout=-1"]);
        assert_eq!(skips.line(), "skipped", "{class:?}");
        let waits = holder(&python, class, &servers, &["name=job", "timeout=0"]);
        eventually("it waits", || waiting(&servers, "job") == 1);
        guard.complete_blocking().unwrap();
        take_and_release(waits);
        assert_eq!(last(), Some(8));
        assert_eq!(runtime.block_on(run(job(&locks, 8).timeout(LONG))).unwrap(), already_ran(8));
    }
}

#[test]
fn python_and_rust_mean_the_same_database_by_the_same_url() {
    let Some(python) = python() else { return };
    let servers = Servers::start(1);
    for end in ["?db=1", "/1", "/1?db=1"] {
        let url = format!("{}{end}", servers[0].url());
        let mut holds = holder(&python, Class::Sync, &servers, &["name=x", "timeout=0", &format!("nodes={url}")]);
        assert_eq!(holds.line(), "acquired");
        let locks = unhurried().nodes([url.clone()]).build().unwrap();
        assert!(locks.lock("x").try_acquire_blocking().unwrap().is_none(), "both are inside: {url}");
        holds.tell("");
        assert_eq!(holds.line(), "released");
        let guard = locks.lock("x").try_acquire_blocking().unwrap().expect("Python released it");
        guard.release_blocking().unwrap();
    }
}

#[test]
fn a_release_by_python_wakes_a_rust_waiter() {
    let Some(python) = python() else { return };
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let runtime = Runtime::new().unwrap();
    let took = [Class::Sync, Class::Async, Class::Sync, Class::Async, Class::Sync].map(|class| {
        let mut holds = holder(&python, class, &servers, &["name=x", "timeout=0"]);
        assert_eq!(holds.line(), "acquired");
        let waiter = runtime.spawn(locks.lock("x").acquire());
        eventually("it waits", || waiting(&servers, "x") == 1);
        let told = monotonic_nanoseconds();
        holds.tell("");
        let guard = runtime.block_on(waiter).unwrap().unwrap();
        let took = Duration::from_nanos(monotonic_nanoseconds() - told);
        guard.release_blocking().unwrap();
        eventually("nobody waits", || waiting(&servers, "x") == 0);
        took
    });
    println!("from the word to Python to the lock in Rust: {took:?}");
    // The slow poll alone would be there three quarters of its pause after the attempt before it, at the earliest.
    assert!(took.iter().all(|took| *took < PROMPT), "{took:?}");
}

#[test]
fn while_rust_holds_a_lock_python_skips_it_gives_up_or_waits_as_its_timeout_says() {
    let Some(python) = python() else { return };
    for class in Class::ALL {
        let servers = Servers::start(3);
        let guard = manager(&servers).lock("x").acquire_blocking().unwrap();
        let waits = holder(&python, class, &servers, &["name=x", "timeout=0"]);
        let skips = holder(&python, class, &servers, &["name=x", "timeout=-1"]);
        let gives_up = holder(&python, class, &servers, &["name=x", "timeout=0.5"]);
        assert_eq!(skips.line(), "skipped", "{class:?}");
        assert_eq!(gives_up.line(), "raised ObjectLockTimeout", "{class:?}");
        eventually("one waits", || waiting(&servers, "x") == 1);
        assert!(guard.is_valid() && servers.holding(&key("x")) >= 2, "{class:?}");
        guard.release_blocking().unwrap();
        take_and_release(waits);
    }
}

/// Whoever waited gets its turn.
fn take_and_release(mut program: Program) {
    assert_eq!(program.line(), "acquired");
    program.tell("");
    assert_eq!(program.line(), "released");
    assert!(program.wait().status.success());
}

#[test]
fn those_who_wait_in_either_language_are_counted_together_until_they_stop() {
    let Some(python) = python() else { return };
    let servers = Servers::start(3);
    let (locks, others) = (manager(&servers), manager(&servers));
    let guard = others.lock("x").acquire_blocking().unwrap();
    let arguments = ["name=x", "timeout=0", "stats_name=jobs"];
    let programs = Class::ALL.map(|class| holder(&python, class, &servers, &arguments));
    let runtime = Runtime::new().unwrap();
    let waiter = runtime.spawn(locks.lock("x").stats_name("jobs").acquire());
    let everywhere = || others.statistics_blocking().unwrap().get("jobs").map_or(0, |name| name.everywhere);
    eventually("all three are counted", || everywhere() == 3);
    assert_eq!(waiting(&servers, "jobs"), 3);

    // Python's stay counted when ours is not any more.
    waiter.abort();
    eventually("two are counted", || everywhere() == 2);
    guard.release_blocking().unwrap();
    // Either of them may be the first, and the other waits until it is told.
    let mut programs = programs.into_iter();
    let (mut one, mut other) = (programs.next().unwrap(), programs.next().unwrap());
    one.tell("");
    other.tell("");
    for program in [one, other] {
        assert_eq!([program.line(), program.line()], ["acquired", "released"]);
        assert!(program.wait().status.success());
    }
    eventually("nobody is counted", || everywhere() == 0);
    assert_eq!(waiting(&servers, "jobs"), 0);
}

#[test]
fn a_contended_name_is_listed_once_whoever_listed_it() {
    const NAME: &str = "Läufe {x} 夜😀";
    let Some(python) = python() else { return };
    for class in Class::ALL {
        for python_is_first in [true, false] {
            let servers = Servers::start(1);
            let probe = servers[0].probe();
            let locks = manager(&servers);
            let runtime = Runtime::new().unwrap();
            let guard = locks.lock(NAME).acquire_blocking().unwrap();
            let mut arrivals =
                [python_is_first, !python_is_first].into_iter().enumerate().map(|(before, is_python)| {
                    let name = format!("name={NAME}");
                    let program = is_python.then(|| holder(&python, class, &servers, &[&name, "timeout=0"]));
                    let waiter = (!is_python).then(|| runtime.spawn(locks.lock(NAME).acquire()));
                    let after = i64::try_from(before).unwrap() + 1;
                    eventually("it is counted", || waiting(&servers, NAME) == after);
                    eventually("it is marked", || probe.get(&marker(NAME)).as_deref() == Some("1"));
                    (program, waiter)
                });
            let waiters: Vec<_> = arrivals.by_ref().collect();
            // Python sets the marker before it adds to the list.
            eventually("it is listed", || !probe.list("ConfigurableLockKeys").is_empty());
            drop(arrivals);
            let listed = probe.list("ConfigurableLockKeys");
            let expect = r#""Waiting.ConfigurableLock.L\u00e4ufe {x} \u591c\ud83d\ude00""#;
            assert_eq!(listed, [expect], "{class:?}, Python first: {python_is_first}");
            let lasts = probe.pttl(&marker(NAME)).remaining().is_none();
            assert_eq!(lasts, python_is_first, "a marker of ours expires");
            assert!(probe.pttl(&counter(NAME)).remaining().is_some(), "a counter that we wrote expires");
            drop(waiters);
            guard.release_blocking().unwrap();
        }
    }
}

/// How often each takes the lock.
const TURNS: usize = 6;

/// How long each leaves it to others in between: who polls, as Python does, finds it free now and then.
const PAUSE: Duration = Duration::from_millis(150);

const HOLD: Duration = Duration::from_millis(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_both_never_overlaps() {
    let Some(python) = tokio::task::spawn_blocking(python).await.unwrap() else { return };
    let servers = Servers::start(3);
    let arguments = [
        "name=x".to_owned(),
        format!("turns={TURNS}"),
        format!("pause_ms={}", PAUSE.as_millis()),
        format!("hold_ms={}", HOLD.as_millis()),
    ];
    let arguments = arguments.each_ref().map(String::as_str);
    let programs = [Class::Sync, Class::Async, Class::Sync, Class::Async]
        .map(|class| python.start("turns.py", class, &servers, &arguments));
    let tasks = [0; 4].map(|_| tokio::spawn(take_turns(manager(&servers))));
    let mut held: Vec<(u64, u64, &str)> = Vec::new();
    for task in tasks {
        held.extend(task.await.unwrap().into_iter().map(|(begin, end)| (begin, end, "Rust")));
    }
    for program in programs {
        let ended = tokio::task::spawn_blocking(|| program.wait_within(Duration::from_secs(60))).await.unwrap();
        assert!(ended.status.success(), "{}", ended.errors);
        held.extend(ended.lines.iter().map(|line| read_turn(line)));
    }
    assert_eq!(held.len(), 8 * TURNS);
    held.sort_unstable();
    for pair in held.windows(2) {
        let [(_, end, one), (begin, _, other)] = pair else { unreachable!("windows of two") };
        assert!(end <= begin, "{one} until {end}, {other} from {begin}: two at once");
    }
    eventually_async("nobody is counted", async || waiting(&servers, "x") == 0).await;
}

fn read_turn(line: &str) -> (u64, u64, &'static str) {
    let times: Vec<u64> = line.split(' ').skip(1).map(|time| time.parse().unwrap()).collect();
    let [begin, end] = times[..] else { panic!("Python said {line:?}") };
    (begin, end, "Python")
}

async fn take_turns(locks: LockManager) -> Vec<(u64, u64)> {
    let mut held = Vec::new();
    for _ in 0..TURNS {
        let guard = locks.lock("x").acquire().await.unwrap();
        let begin = monotonic_nanoseconds();
        tokio::time::sleep(HOLD).await;
        held.push((begin, monotonic_nanoseconds()));
        guard.release().await.unwrap();
        tokio::time::sleep(PAUSE).await;
    }
    held
}
