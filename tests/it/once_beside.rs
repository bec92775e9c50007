//! One run per fire beside what else a lock is asked for: `max_hold`, `on_lost`, `guard`, `require_lock!`, and a shutdown.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use redlock_runtime::testing::MemoryNode;
use redlock_runtime::{
    Error, LockGuard, LockManager, LostReason, OnShutdown, Run, SkipReason, Timeout, redlock, require_lock,
};
use redlock_tests::clock::timed;
use redlock_tests::wait::{LIMIT, eventually_async};
use redlock_tests::{Sentinel, Servers};
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::Level;

use crate::common::events::Events;
use crate::common::once::{already_ran, job, mark, new_job, no_key_is_left, run};
use crate::common::{key, manager, unhurried};

const HOUR: Duration = Duration::from_secs(60 * 60);

#[redlock(name = "job", once = fire, timeout = -1, ttl = 2, max_hold = "300ms", manager = locks)]
async fn never_ends(locks: &LockManager, fire: u64) -> Result<(), Error> {
    std::future::pending().await
}

#[redlock(name = "job", once = fire, timeout = -1, ttl = 2, max_hold = "300ms", silent, manager = locks)]
async fn never_ends_silently(locks: &LockManager, fire: u64) -> Option<u8> {
    std::future::pending().await
}

#[redlock(name = "job", once = fire, timeout = -1, ttl = 2, max_hold = "300ms", guard = lock, manager = locks)]
fn ends_too_late(locks: &LockManager, fire: u64) -> Result<u64, Error> {
    while lock.is_valid() {
        std::thread::yield_now();
    }
    Ok(lock.fire().expect("it is for one"))
}

#[tokio::test]
async fn a_body_that_max_hold_cuts_off_completes_nothing_and_who_comes_next_runs_the_fire() {
    let servers = Servers::start(3);
    let (locks, others) = (new_job(&servers).await, manager(&servers));
    for (fire, way) in [(7, "async"), (8, "silent"), (9, "sync"), (10, "by hand")] {
        match way {
            "async" => {
                let lost = never_ends(&locks, fire).await.unwrap_err();
                assert!(matches!(lost, Error::Lost { reason: LostReason::MaxHold, .. }), "{lost}");
            }
            "silent" => assert_eq!(never_ends_silently(&locks, fire).await, None),
            "sync" => assert_eq!(ends_too_late(&locks, fire).unwrap(), fire, "its own value wins"),
            _ => {
                let request = job(&locks, fire).ttl(Duration::from_secs(2)).max_hold(Duration::from_millis(300));
                let lost = request.run(async |_| std::future::pending::<Result<(), Error>>().await).await.unwrap_err();
                assert!(matches!(lost, Error::Lost { reason: LostReason::MaxHold, .. }), "{lost}");
            }
        }
        let last = locks.last_run("job").await.unwrap().map(|last| last.fire);
        assert_eq!(last, (fire > 7).then(|| fire - 1), "{way}");
        assert_eq!(run(job(&others, fire).timeout(LIMIT)).await.unwrap(), Run::Ran(Some(fire)), "{way}");
    }
}

#[redlock(name = "goes-on", once = fire, timeout = -1, ttl = 4, max_hold = 1, on_lost = "continue", guard = lock, manager = locks)]
async fn goes_on(locks: &LockManager, fire: u64, others: Option<&LockManager>) -> Result<u64, Error> {
    let own = lock.fencing_token();
    let lost = lock.lost().await;
    assert!(matches!(lost, Error::Lost { reason: LostReason::MaxHold, .. }), "{lost}");
    if let Some(others) = others {
        let request = others.lock("goes-on").once(fire).timeout(LIMIT);
        let token = request.run(async |guard| Ok::<_, Error>(guard.fencing_token())).await?.ran();
        assert!(token > Some(own), "it was made up for: {token:?} after {own}");
        return Ok(token.unwrap_or_default());
    }
    Ok(own)
}

#[tokio::test]
async fn a_body_that_goes_on_behind_the_loss_completes_nothing_and_that_is_told() {
    let servers = Servers::start(3);
    let (locks, others) = (manager(&servers), manager(&servers));
    locks.reset_marks("goes-on").await.unwrap();
    let events = Events::from_now();
    let told = || events.count(Level::ERROR, &["lock=goes-on", "its fire was not completed and may run again"]);
    let own = goes_on(&locks, 7, None).await.unwrap();
    assert!(own > 0);
    assert_eq!((told(), locks.losses()), (1, 1));
    assert_eq!(locks.last_run("goes-on").await.unwrap(), None);

    // Another runs it meanwhile, and its mark is not touched.
    let theirs = goes_on(&locks, 8, Some(&others)).await.unwrap();
    assert_eq!((told(), locks.losses()), (2, 2));
    let last = locks.last_run("goes-on").await.unwrap().expect("the other has completed it");
    assert_eq!((last.fire, last.fencing_token, last.is_confirmed), (8, theirs, true));
    eventually_async("no key is left", async || servers.holding(&key("goes-on")) == 0).await;
}

#[redlock(name = "taken", once = fire, timeout = -1, manager = locks)]
async fn taken_away(locks: &LockManager, fire: u64, others: &LockManager) -> Result<u64, Error> {
    assert!(others.reset("taken").await? > 0);
    Ok(fire)
}

#[tokio::test]
async fn a_lock_that_was_taken_away_unnoticed_marks_nothing_either() {
    let servers = Servers::start(3);
    let (locks, others) = (manager(&servers), manager(&servers));
    locks.reset_marks("taken").await.unwrap();
    let events = Events::from_now();
    assert_eq!(taken_away(&locks, 7, &others).await.unwrap(), 7);
    assert_eq!(events.count(Level::ERROR, &["lock=taken", "its fire may run again", "fire=7"]), 1);
    assert_eq!(locks.last_run("taken").await.unwrap(), None);
}

#[redlock(name = "job", once = fire, timeout = -1, guard = lock, manager = locks)]
async fn split(locks: &LockManager, fire: u64, before: &AtomicU32, leaves_early: bool) -> Result<Option<u64>, Error> {
    before.fetch_add(1, Ordering::Relaxed);
    if leaves_early {
        return Ok(None);
    }
    require_lock!();
    assert!(lock.is_valid());
    Ok(lock.fire())
}

#[redlock(name = "job", once = fire, timeout = -1, guard = lock, manager = locks)]
fn split_blocking(locks: &LockManager, fire: u64, before: &AtomicU32, end: Result<(), Error>) -> Result<u64, Error> {
    before.fetch_add(1, Ordering::Relaxed);
    require_lock!();
    end.map(|()| lock.fire().expect("it is for one"))
}

#[tokio::test]
async fn what_stands_behind_require_lock_runs_once_and_what_stands_before_it_each_time() {
    let servers = Servers::start(3);
    let (locks, others) = (new_job(&servers).await, manager(&servers));
    let before = AtomicU32::new(0);
    assert_eq!(split(&locks, 7, &before, false).await.unwrap(), Some(7));
    let again = split(&others, 7, &before, false).await.unwrap_err();
    assert!(matches!(again, Error::AlreadyRan { fire: 7, completed: 7, .. }), "{again}");
    assert!(matches!(split_blocking(&others, 7, &before, Ok(())), Err(Error::AlreadyRan { .. })));
    // Whoever learnt that it ran may have had the lock for a moment.
    no_key_is_left(&servers).await;
    assert!(matches!(split_blocking(&locks, 8, &before, Err(Error::ShutDown)), Err(Error::ShutDown)));
    assert_eq!(split_blocking(&others, 8, &before, Ok(())).unwrap(), 8, "the one that failed completed nothing");
    assert!(matches!(split_blocking(&locks, 8, &before, Ok(())), Err(Error::AlreadyRan { .. })));
    assert_eq!(before.load(Ordering::Relaxed), 6);

    // A body that ends well has run, wherever it ends, if it had the lock; without it, it completes nothing.
    eventually_async("nothing of the attempts before is in the way", async || servers.holding(&key("job")) == 0).await;
    assert_eq!(split(&locks, 9, &before, true).await.unwrap(), None);
    assert_eq!(run(job(&others, 9)).await.unwrap(), already_ran(9));
    let guard = locks.lock("job").acquire().await.unwrap();
    assert_eq!(split(&others, 10, &before, true).await.unwrap(), None);
    guard.release().await.unwrap();
    assert_eq!(run(job(&others, 10)).await.unwrap(), Run::Ran(Some(10)));
}

#[redlock(name = "job", once = fire, timeout = -1, manager = locks)]
async fn until_told(locks: &LockManager, fire: u64, began: &Notify, end: &Notify) -> Result<u64, Error> {
    began.notify_one();
    end.notified().await;
    Ok(fire)
}

#[tokio::test]
async fn a_shutdown_that_drains_completes_the_fire_and_one_that_cancels_leaves_it_to_others() {
    let servers = Servers::start(3);
    let others = new_job(&servers).await;
    for (on_shutdown, fire) in [(OnShutdown::Drain, 7), (OnShutdown::Cancel, 8)] {
        let locks = unhurried().nodes(servers.urls()).on_shutdown(on_shutdown).build().unwrap();
        let (began, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let running = tokio::spawn({
            let (locks, began, end) = (locks.clone(), Arc::clone(&began), Arc::clone(&end));
            async move { until_told(&locks, fire, &began, &end).await }
        });
        began.notified().await;
        let standing_by = tokio::spawn(run(job(&locks, fire).timeout(LIMIT)));
        let elsewhere = tokio::spawn(run(job(&others, fire).timeout(LIMIT)));
        let ending = tokio::spawn({
            let locks = locks.clone();
            async move { locks.shutdown_within(LIMIT * 2).await }
        });
        let left = standing_by.await.unwrap();
        assert!(matches!(left, Err(Error::ShutDown)), "whoever stands by in the process that ends is gone: {left:?}");
        if on_shutdown == OnShutdown::Drain {
            assert!(!running.is_finished());
            end.notify_one();
        }
        let (ran, made_up_for) = (running.await.unwrap(), elsewhere.await.unwrap().unwrap());
        if on_shutdown == OnShutdown::Drain {
            assert_eq!((ran.unwrap(), made_up_for), (fire, already_ran(fire)));
        } else {
            let lost = ran.unwrap_err();
            assert!(matches!(lost, Error::Lost { reason: LostReason::ShutDown, .. }), "{lost}");
            assert_eq!(made_up_for, Run::Ran(Some(fire)));
        }
        let report = ending.await.unwrap();
        assert_eq!((report.unconfirmed, report.still_held.len()), (0, 0), "{report}");
    }
}

#[tokio::test]
async fn a_fire_whose_service_fails_over_while_it_runs_is_completed_at_the_new_master() {
    let service = Sentinel::start();
    let builder = unhurried().nodes([service.url()]).wait_replicas(1, LIMIT / 2).node_timeout(LIMIT);
    let (locks, others) = (builder.clone().build().unwrap(), builder.build().unwrap());
    assert_eq!(locks.reset_marks("job").await.unwrap(), 0);
    let guard = job(&locks, 7).timeout(LIMIT).acquire().await.unwrap();
    let new = service.force_failover();
    guard.complete().await.unwrap();
    let stored = new.probe().get(&mark("job")).expect("it has the mark");
    assert!(stored.starts_with("7:"), "{stored}");
    assert_eq!(run(job(&others, 7).timeout(LIMIT)).await.unwrap(), already_ran(7));
    assert_eq!(run(job(&others, 8).timeout(LIMIT)).await.unwrap(), Run::Ran(Some(8)));
}

/// A manager of three nodes in memory, which others of the same test share.
fn in_memory(test: &str) -> LockManager {
    let nodes = ["a", "b", "c"].map(|node| format!("memory://once-beside-{test}-{node}"));
    LockManager::builder().nodes(nodes).build().unwrap()
}

fn node(test: &str, node: &str) -> MemoryNode {
    MemoryNode::named(&format!("once-beside-{test}-{node}"))
}

#[tokio::test(start_paused = true)]
async fn a_run_that_lasts_for_hours_of_virtual_time_completes_its_fire() {
    let (locks, others) = (in_memory("hours"), in_memory("hours"));
    let body = async |_: &LockGuard| {
        sleep(9 * HOUR).await;
        Ok::<_, Error>(())
    };
    let running = job(&locks, 7).run(body);
    let standing_by = async {
        sleep(HOUR).await;
        run(job(&others, 7).timeout(10 * HOUR)).await
    };
    let (ran, stood_by) = tokio::join!(running, standing_by);
    assert_eq!((ran.unwrap(), stood_by.unwrap()), (Run::Ran(()), already_ran(7)));
    let held = job(&locks, 8).acquire().await.unwrap();
    let (left, took) = timed(run(job(&others, 8).timeout(HOUR))).await;
    assert_eq!(left.unwrap(), Run::Skipped(SkipReason::HeldElsewhere));
    assert!(took >= HOUR, "{took:?}");
    held.complete().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_process_dies_is_made_up_for_when_its_ttl_is_over_in_virtual_time() {
    let (locks, others) = (in_memory("dies"), in_memory("dies"));
    let ttl = Duration::from_secs(30);
    mem::forget(job(&locks, 7).ttl(ttl).renew(false).acquire().await.unwrap());
    let (ran, took) = timed(run(job(&others, 7).timeout(2 * ttl))).await;
    assert_eq!(ran.unwrap(), Run::Ran(Some(7)));
    assert!(took + Duration::from_secs(2) > ttl && took < 2 * ttl, "{took:?}");

    let most = Duration::from_secs(90);
    let cut_off = job(&others, 8).max_hold(most).run(async |_| std::future::pending::<Result<(), Error>>().await);
    let (lost, took) = timed(cut_off).await;
    assert!(matches!(lost, Err(Error::Lost { reason: LostReason::MaxHold, .. })), "{lost:?}");
    assert!(took <= most && took > most / 2, "{took:?}");
    assert_eq!(others.last_run("job").await.unwrap().map(|last| last.fire), Some(7));
    assert_eq!(run(job(&locks, 8).timeout(2 * ttl)).await.unwrap(), Run::Ran(Some(8)));
}

#[tokio::test(start_paused = true)]
async fn marks_outlive_the_restart_of_one_node_and_expire_with_their_retention() {
    let (locks, others) = (in_memory("marks"), in_memory("marks"));
    for (fire, restarted) in (7..).zip(["a", "b", "c", "a"]) {
        assert_eq!(run(job(&locks, fire).timeout(HOUR)).await.unwrap(), Run::Ran(Some(fire)));
        node("marks", restarted).restart_empty();
        assert_eq!(run(job(&others, fire).timeout(Timeout::Skip)).await.unwrap(), already_ran(fire), "{restarted}");
        // It votes again, and takes part in the next.
        sleep(HOUR).await;
    }
    sleep(7 * 24 * HOUR).await;
    assert_eq!(others.last_run("job").await.unwrap(), None);
}
