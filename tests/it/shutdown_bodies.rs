//! A shutdown lets those who hold a lock finish, and never lets two inside: a key stays under a body that still runs.

use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use redlock_runtime::{Error, LockManager, LostReason, OnShutdown, redlock};
use redlock_tests::clock::timed;
use redlock_tests::wait::{LIMIT, eventually, eventually_async};
use redlock_tests::{Program, Servers};
use tokio::runtime::Builder;
use tokio::sync::Notify;

use crate::common::waiters::UNHURRIED;
use crate::common::{key, manager, unhurried};

const LONG: Duration = Duration::from_secs(60);

#[redlock(name = "x", manager = locks, ttl = ttl, guard = lock)]
fn sync_body(
    locks: &LockManager,
    ttl: Duration,
    inside: impl FnOnce(&redlock_runtime::LockGuard),
) -> Result<(), Error> {
    inside(lock);
    Ok(())
}

#[redlock(name = "x", manager = locks, ttl = 60)]
async fn body(locks: &LockManager, began: &Notify, end: &Notify) -> Result<u8, Error> {
    began.notify_one();
    end.notified().await;
    Ok(1)
}

#[redlock(name = "x", manager = locks)]
async fn waits(locks: &LockManager) -> Result<(), Error> {
    Ok(())
}

fn is_shut_down(error: &Error) -> bool {
    matches!(error, Error::Lost { reason: LostReason::ShutDown, .. })
}

/// The key is there, and has just been made to live longer.
fn is_renewed(servers: &Servers) -> impl FnMut() -> bool {
    let mut before = None;
    move || {
        let left = servers[0].probe().pttl(&key("x")).remaining();
        let was = std::mem::replace(&mut before, left);
        left.expect("it is there") > was.unwrap_or(Duration::MAX)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lock_of_a_sync_body_is_renewed_until_the_body_ends_while_waiters_go_at_once() {
    let servers = Servers::start(3);
    for on_shutdown in [OnShutdown::Drain, OnShutdown::Cancel] {
        let locks = unhurried().nodes(servers.urls()).on_shutdown(on_shutdown).build().unwrap();
        let others = manager(&servers);
        let (end, ended) = channel::<()>();
        let (inside, mut is_inside) = tokio::sync::oneshot::channel();
        let running = {
            let locks = locks.clone();
            thread::spawn(move || {
                sync_body(&locks, Duration::from_secs(3), |guard| {
                    inside.send(()).unwrap();
                    ended.recv().unwrap();
                    // It is told in time, and still has the lock.
                    assert_eq!(guard.is_valid(), on_shutdown == OnShutdown::Drain);
                })
            })
        };
        (&mut is_inside).await.unwrap();
        let waiter = {
            let locks = locks.clone();
            tokio::spawn(async move { waits(&locks).await })
        };
        let ending = {
            let locks = locks.clone();
            tokio::spawn(async move { locks.shutdown_within(LONG).await })
        };
        assert!(matches!(waiter.await.unwrap(), Err(Error::ShutDown)));
        eventually("the key is renewed", is_renewed(&servers));
        assert!(others.lock("x").try_acquire().await.unwrap().is_none(), "two are inside");
        assert!(!ending.is_finished());
        end.send(()).unwrap();
        let report = ending.await.unwrap();
        assert_eq!((report.released, report.unconfirmed), (1, 0), "{report}");
        assert_eq!(report.still_held, [""; 0]);
        running.join().unwrap().unwrap();
        assert_eq!(locks.losses(), 0, "it had the lock to its end");
        assert_eq!(servers.holding(&key("x")), 0);
    }
}

#[test]
fn a_sync_body_that_outlives_the_bound_is_named_and_its_key_left_to_it() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    sync_body(&locks, LONG, |guard| {
        let report = locks.shutdown_within_blocking(Duration::from_millis(100));
        assert_eq!((report.released, report.unconfirmed), (0, 0));
        assert_eq!(report.still_held, ["x"]);
        assert!(report.to_string().contains("still held: `x`"), "{report}");
        assert!(!guard.is_valid());
        assert!(servers.holding(&key("x")) >= 2, "it was released under the body");
        // Another one has nothing to wait for, and says the same.
        assert_eq!(locks.shutdown_within_blocking(LONG).still_held, ["x"]);
    })
    .unwrap();
    eventually("the body's end releases it", || servers.holding(&key("x")) == 0);
    assert_eq!(locks.losses(), 1);
}

#[test]
fn a_key_that_is_left_to_a_body_is_not_renewed() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    sync_body(&locks, Duration::from_secs(2), |_| {
        assert_eq!(locks.shutdown_within_blocking(Duration::ZERO).still_held, ["x"]);
        eventually("it expires", || servers.holding(&key("x")) == 0);
    })
    .unwrap();
}

#[tokio::test]
async fn a_guard_that_is_kept_counts_as_a_body() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let (kept, gone) = (locks.lock("kept"), locks.lock("gone"));
    let (kept, gone) = (kept.ttl(LONG).acquire().await.unwrap(), gone.ttl(LONG).acquire().await.unwrap());
    drop(gone);
    let report = locks.shutdown_within(Duration::from_secs(4)).await;
    assert_eq!(report.still_held, ["kept"]);
    assert_eq!(report.unconfirmed, 0);
    assert_eq!(servers.holding(&key("gone")), 0);
    assert!(is_shut_down(&kept.lost().await) && servers.holding(&key("kept")) >= 2);
    kept.release().await.unwrap();
    eventually_async("nothing is left", async || servers.holding(&key("kept")) == 0).await;
}

#[tokio::test]
async fn an_async_body_may_finish_within_the_bound() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let (began, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let running = {
        let (locks, began, end) = (locks.clone(), Arc::clone(&began), Arc::clone(&end));
        tokio::spawn(async move { body(&locks, &began, &end).await })
    };
    began.notified().await;
    let ending = {
        let locks = locks.clone();
        tokio::spawn(async move { locks.shutdown_within(LONG).await })
    };
    assert!(matches!(waits(&locks).await, Err(Error::ShutDown | Error::WouldDeadlock { .. })));
    assert!(servers.holding(&key("x")) >= 2 && !ending.is_finished() && !running.is_finished());
    end.notify_one();
    assert_eq!(running.await.unwrap().unwrap(), 1);
    let report = ending.await.unwrap();
    assert_eq!((report.released, report.still_held.len(), report.unconfirmed), (1, 0, 0), "{report}");
    assert_eq!(servers.holding(&key("x")), 0);
}

#[tokio::test]
async fn an_async_body_that_does_not_finish_is_cancelled_within_the_bound() {
    let servers = Servers::start(3);
    for (on_shutdown, bound) in [(OnShutdown::Drain, Duration::from_secs(12)), (OnShutdown::Cancel, LONG)] {
        let locks = unhurried().nodes(servers.urls()).on_shutdown(on_shutdown).build().unwrap();
        let (began, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let running = {
            let (locks, began, end) = (locks.clone(), Arc::clone(&began), Arc::clone(&end));
            tokio::spawn(async move { body(&locks, &began, &end).await })
        };
        began.notified().await;
        let (report, took) = timed(locks.shutdown_within(bound)).await;
        assert_eq!((report.released, report.still_held.len(), report.unconfirmed), (1, 0, 0), "{report}");
        assert!(took < LONG / 2 && (on_shutdown == OnShutdown::Cancel || took > bound / 2), "{took:?}");
        assert!(is_shut_down(&running.await.unwrap().unwrap_err()));
        assert_eq!(servers.holding(&key("x")), 0);
    }
}

/// A process that holds, or wants, the lock `x` of these servers as its arguments say, and ends by a signal.
fn program(servers: &Servers, arguments: &[&str]) -> Program {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holder"));
    command.env("REDLOCK_NODES", servers.nodes()).args(["name=x", "on_signal=true", UNHURRIED]).args(arguments);
    Program::start(&mut command)
}

#[test]
fn a_process_that_is_asked_to_end_keeps_the_lock_of_a_sync_body_until_that_has_ended() {
    let servers = Servers::start(3);
    let mut holder = program(&servers, &["body=sync", "bound_ms=60000", "ttl_ms=9000"]);
    assert_eq!(holder.line(), "acquired");
    holder.terminate();
    eventually("the key is renewed", is_renewed(&servers));
    assert!(manager(&servers).lock("x").try_acquire_blocking().unwrap().is_none(), "two are inside");
    holder.tell("end");
    let ended = holder.wait();
    assert!(ended.status.success(), "{ended:?}");
    assert!(ended.lines.contains(&"shut down: 1 lock was released".to_owned()), "{ended:?}");
    assert_eq!(servers.holding(&key("x")), 0);
    assert!(!ended.errors.contains("WARN") && !ended.errors.contains("ERROR"), "{}", ended.errors);
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let servers = Servers::start(3);
    for (signal, code) in [(Program::terminate as fn(&Program), 143), (Program::interrupt, 130)] {
        let holder = program(&servers, &["body=sync", "bound_ms=60000"]);
        let locks = manager(&servers);
        assert_eq!(holder.line(), "acquired");
        signal(&holder);
        // Two signals at once are one; the second is to be told apart.
        let waiting = {
            let locks = locks.clone();
            move || locks.lock("x").try_acquire_blocking().unwrap().is_none()
        };
        assert!(waiting());
        let status = loop {
            // Whatever it has noticed by now: the one behind it is the second.
            signal(&holder);
            if let Some(line) = holder.line_within(Duration::from_millis(200)) {
                panic!("it says {line}");
            }
            if holder.errors().contains("second signal") {
                break holder.wait().status;
            }
        };
        assert_eq!(status.code(), Some(code));
        locks.reset_blocking("x").unwrap();
    }
}

#[test]
fn what_a_deploy_logs_is_no_warning() {
    let servers = Servers::start(3);
    // A silent job that is cut off.
    let mut silent = program(&servers, &["body=silent", "drain=false", "linger=true"]);
    assert_eq!(silent.line(), "acquired");
    silent.terminate();
    let parts = ["INFO", "skipped: the lock manager was shut down", "function=\"holder::silent\"", "lock=x "];
    let says_so = |line: String| parts.iter().all(|part| line.contains(part));
    eventually("it says why", || silent.errors().lines().map(without_colours).any(says_so));
    // The body, which is gone, has asked for a line as well.
    silent.tell("end\nend");
    let ended = silent.wait();
    assert!(ended.status.success(), "{ended:?}");
    for loud in ["WARN", "ERROR", "panicked"] {
        assert!(!ended.errors.contains(loud), "{}", ended.errors);
    }

    // Those who wait in functions that can return no error.
    let locks = manager(&servers);
    let guard = locks.lock("x").acquire_blocking().unwrap();
    let counted =
        || servers.iter().any(|server| server.probe().get("Waiting.ConfigurableLock.x").as_deref() == Some("1"));
    for body in ["body=migrate", "body=migrate_async"] {
        eventually("nobody waits any more", || !counted());
        let mut waiter = program(&servers, &[body, "linger=true"]);
        eventually("it waits", counted);
        waiter.terminate();
        eventually("it says so", || waiter.errors().contains("waits for the process to end"));
        waiter.tell("end");
        let ended = waiter.wait();
        assert!(ended.status.success(), "{ended:?}");
        assert_eq!(ended.lines, ["shut down: no lock was held"]);
        for loud in ["WARN", "ERROR", "panicked"] {
            assert!(!ended.errors.contains(loud), "{}", ended.errors);
        }
    }
    guard.release_blocking().unwrap();
}

/// A line as a terminal shows it.
fn without_colours(line: &str) -> String {
    let mut parts = line.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |plain, part| plain + part.split_once('m').map_or("", |(_, text)| text))
}

#[redlock(name = "x", manager = locks)]
async fn migrate_async(locks: &LockManager) {
    unreachable!("the lock is never free");
}

#[redlock(name = "x", manager = locks)]
fn migrate(locks: &LockManager) {
    unreachable!("the lock is never free");
}

#[tokio::test]
async fn an_async_call_that_can_return_no_error_stays_pending_after_a_shutdown() {
    let locks = LockManager::builder().nodes(["memory://migrate-async"]).build().unwrap();
    let guard = locks.lock("x").acquire().await.unwrap();
    let mut waiting = Box::pin(migrate_async(&locks));
    assert!(futures::poll!(&mut waiting).is_pending());
    assert_eq!(locks.shutdown_within(Duration::ZERO).await.still_held, ["x"]);
    for mut call in [waiting, Box::pin(migrate_async(&locks))] {
        for _ in 0..20 {
            assert!(futures::poll!(&mut call).is_pending());
            tokio::task::yield_now().await;
        }
    }
    drop(guard);
}

#[test]
fn a_sync_call_that_can_return_no_error_blocks_until_its_runtime_ends() {
    let locks = LockManager::builder().nodes(["memory://migrate"]).build().unwrap();
    let _guard = locks.lock("x").acquire_blocking().unwrap();
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let calls: Vec<_> = [true, false]
        .into_iter()
        .map(|waits| {
            if !waits {
                // It comes when nobody acquires any more.
                let _ = locks.shutdown_within_blocking(Duration::ZERO);
            }
            let locks = locks.clone();
            runtime.spawn_blocking(move || migrate(&locks))
        })
        .collect();
    for call in &calls {
        assert!(!call.is_finished());
    }
    // Or the process would not end.
    let (has_ended, ended) = channel();
    thread::spawn(move || {
        drop(runtime);
        has_ended.send(()).unwrap();
    });
    ended.recv_timeout(LIMIT).expect("the runtime ends");
    // Not by a panic of its own, which would have a message.
    for call in calls {
        let ended = futures::executor::block_on(call).unwrap_err().into_panic();
        assert!(matches!(ended.downcast_ref(), Some(Error::ShutDown)));
    }
}

/// Who tells of a loss, how loud, and what stdout says in the end.
fn check_told_once(body: &str, level: &str, end: &str) {
    let servers = Servers::start(3);
    let mut holder = program(&servers, &[body, "ttl_ms=1500"]);
    assert_eq!(holder.line(), "acquired");
    for server in &servers {
        server.probe().set(&key("x"), "somebody");
    }
    eventually("the loss is told", || holder.errors().contains("no longer has this owner's key"));
    if !level.contains("ERROR") {
        holder.tell("end");
    }
    assert_eq!(holder.line(), end);
    holder.terminate();
    let ended = holder.wait();
    let loud: Vec<_> = ended.errors.lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).collect();
    assert!(matches!(&*loud, [once] if once.contains(level)), "{body}: {loud:#?}");
}

#[test]
fn a_loss_is_told_once() {
    check_told_once("body=sync", "WARN", "ended: Ok(1)");
    check_told_once("body=continue", "WARN", "ended: Ok(1)");
    let lost = "ended: Err(Lost { name: \"x\", reason: Taken })";
    check_told_once("body=async", "WARN", lost);
    check_told_once("body=silent", "ERROR", "ended: None");
}
