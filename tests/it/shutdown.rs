//! The end of a manager: nobody waits, nobody holds, nothing stays behind, and all in time.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redlock_runtime::{Error, LockManager, LostReason, OnShutdown, redlock};
use redlock_tests::clock::timed;
use redlock_tests::wait::{eventually, eventually_async};
use redlock_tests::{Program, Servers};
use tokio::runtime::Builder;
use tokio::sync::Notify;

use crate::common::{all_have_x, connections, key, manager, none_has_x, prompt, unhurried};

const LONG: Duration = Duration::from_secs(60);

/// Longer than the machine is ever busy with something else, and shorter than any TTL and any bound that is not meant to be
/// over.
const PROMPT: Duration = Duration::from_secs(20);

/// The connections of ours.
fn connected(servers: &Servers) -> usize {
    servers.iter().map(|server| connections(&server.probe())).sum()
}

/// The keys of locks, on all servers.
fn locked(servers: &Servers) -> usize {
    servers.iter().map(|server| server.probe().keys_like("redlock:*").len()).sum()
}

/// A manager that does not wait for async bodies.
fn hasty(servers: &Servers) -> LockManager {
    unhurried().nodes(servers.urls()).on_shutdown(OnShutdown::Cancel).build().unwrap()
}

fn is_shut_down(error: &Error) -> bool {
    matches!(error, Error::Lost { reason: LostReason::ShutDown, .. })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_hold_are_told_and_their_locks_released_when_they_let_go_and_the_connections_closed() {
    let servers = Servers::start(3);
    let (locks, others) = (hasty(&servers), manager(&servers));
    let guards = [locks.lock("a").ttl(LONG), locks.lock("b").ttl(LONG).renew(false), locks.lock("d").ttl(LONG)]
        .map(async |request| request.acquire().await.unwrap());
    let [a, b, d] = futures::future::join_all(guards).await.try_into().unwrap();
    // The background's connections, too.
    drop(locks.lock("c").acquire().await.unwrap());

    let ending = {
        let locks = locks.clone();
        tokio::spawn(async move { locks.shutdown_within(LONG).await })
    };
    assert!(is_shut_down(&a.lost().await) && is_shut_down(&b.lost().await));
    assert!(!a.is_valid() && a.remaining() == Duration::ZERO && is_shut_down(&a.extend(LONG).await.unwrap_err()));
    assert!(servers.holding(&key("a")) >= 2 && servers.holding(&key("b")) >= 2, "they are kept for their holders");
    a.release().await.unwrap();
    drop(b);
    let _token = d.detach();
    let report = ending.await.unwrap();
    assert_eq!((report.released, report.unconfirmed), (3, 0), "{report}");
    assert_eq!(report.still_held, [""; 0]);
    assert_eq!(servers.holding(&key("a")) + servers.holding(&key("b")), 0);
    eventually_async("no connection is left", async || connected(&servers) == 0).await;

    // Whatever is asked for now says so, and makes no connection.
    assert!(matches!(locks.lock("a").acquire().await, Err(Error::ShutDown)));
    assert!(matches!(locks.lock("a").try_acquire().await, Err(Error::ShutDown)));
    assert!(matches!(locks.clone().statistics().await, Err(Error::ShutDown)));
    assert!(matches!(locks.inspect("a").await, Err(Error::ShutDown)));
    assert!(matches!(locks.is_locked("a").await, Err(Error::ShutDown)));
    assert!(matches!(locks.reset("a").await, Err(Error::ShutDown)));
    assert!(matches!(locks.reset_all().await, Err(Error::ShutDown)));
    assert_eq!(connected(&servers), 0);

    others.lock("a").acquire().await.unwrap().release().await.unwrap();
    others.shutdown().await;
    eventually_async("no connection is left", async || connected(&servers) == 0).await;
}

/// Sets a flag when it is dropped.
struct Ends(Arc<AtomicBool>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[redlock(name = "body", manager = locks, ttl = 60)]
async fn body(locks: &LockManager, began: &Notify, ends: Ends) -> Result<(), Error> {
    let _ends = ends;
    began.notify_one();
    std::future::pending().await
}

#[tokio::test]
async fn an_async_body_is_dropped_before_its_lock_is_released() {
    let servers = Servers::start(3);
    let (locks, others) = (hasty(&servers), manager(&servers));
    let (began, is_over) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let running = {
        let (locks, began, ends) = (locks.clone(), Arc::clone(&began), Ends(Arc::clone(&is_over)));
        tokio::spawn(async move { body(&locks, &began, ends).await })
    };
    began.notified().await;
    let next = {
        let is_over = Arc::clone(&is_over);
        tokio::spawn(async move {
            let guard = others.lock("body").acquire().await.unwrap();
            assert!(is_over.load(Ordering::SeqCst), "two are inside");
            guard.release().await.unwrap();
        })
    };
    let report = locks.shutdown_within(LONG).await;
    assert_eq!((report.released, report.unconfirmed), (1, 0));
    assert!(is_shut_down(&running.await.unwrap().unwrap_err()));
    next.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_node_does_not_keep_a_shutdown_beyond_its_bound_and_gets_its_releases_later() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let guard = locks.lock("x").ttl(LONG).acquire().await.unwrap();
    all_have_x(&servers).await;
    servers[1].hang();
    drop(guard);
    let bound = Duration::from_millis(500);
    let (report, took) = timed(locks.shutdown_within(bound)).await;
    assert_eq!((report.released, report.unconfirmed), (0, 1));
    assert!(took >= bound && took < bound + PROMPT, "{took:?}");
    let is_free = async || [0, 2].iter().all(|node| !servers[*node].probe().exists(&key("x")));
    eventually_async("the others have released it", is_free).await;
    servers[1].resume();
    none_has_x(&servers).await;
    eventually_async("no connection is left", async || connected(&servers) == 0).await;
}

#[tokio::test]
async fn nodes_that_refuse_do_not_keep_a_shutdown_because_of_who_waited() {
    for (nodes, killed) in [(1, 0..1), (3, 0..1), (3, 0..3)] {
        let servers = Servers::start(nodes);
        let locks = manager(&servers);
        let held = unhurried().nodes(servers.urls()).build().unwrap().lock("x").acquire().await.unwrap();
        for node in killed {
            servers[node].kill();
        }
        // Long enough to be counted.
        locks.lock("x").timeout(Duration::from_millis(500)).acquire().await.unwrap_err();
        let (report, took) = timed(locks.shutdown_within(LONG)).await;
        assert_eq!(report.to_string(), "no lock was held");
        // What a node counts goes by itself after fifteen seconds.
        assert!(took < Duration::from_secs(10), "{took:?}");
        drop(held);
    }
}

#[tokio::test]
async fn with_no_time_at_all_everything_is_still_on_its_way() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let guard = locks.lock("x").ttl(LONG).acquire().await.unwrap();
    let report = locks.shutdown_within(Duration::ZERO).await;
    assert_eq!((report.released, report.still_held), (0, vec!["x".to_owned()]));
    assert!(!guard.is_valid());
    drop(guard);
    none_has_x(&servers).await;
    eventually_async("no connection is left", async || connected(&servers) == 0).await;
}

#[tokio::test]
async fn shutdowns_at_the_same_time_and_one_behind_the_other_agree() {
    let servers = Servers::start(3);
    let locks = hasty(&servers);
    let guard = locks.lock("x").ttl(LONG).acquire().await.unwrap();
    let let_go = async {
        guard.lost().await;
        guard.release().await.unwrap();
    };
    let both = tokio::join!(locks.shutdown_within(LONG), locks.shutdown_within(LONG), let_go);
    assert_eq!((both.0.released, both.1.released), (1, 1));
    assert_eq!((both.0.unconfirmed, both.1.unconfirmed), (0, 0));
    assert_eq!(servers.holding(&key("x")), 0);
    let (report, took) = timed(locks.shutdown_within(LONG)).await;
    assert_eq!((report.released, report.unconfirmed), (0, 0));
    assert!(took < PROMPT, "{took:?}");
}

#[test]
fn a_shutdown_works_where_nothing_else_runs() {
    let servers = Servers::start(3);
    let runtime = || Builder::new_current_thread().enable_all().build().unwrap();
    // On a plain thread, with a guard of a runtime that has ended.
    let locks = prompt(&servers);
    drop(runtime().block_on(locks.lock("x").ttl(LONG).acquire()).unwrap());
    locks.shutdown_blocking();
    assert_eq!(servers.holding(&key("x")), 0);

    // Inside a runtime that is blocked by it.
    let locks = prompt(&servers);
    runtime().block_on(async {
        drop(locks.lock("x").ttl(LONG).acquire().await.unwrap());
        let report = locks.shutdown_within_blocking(LONG);
        assert_eq!((report.still_held.len(), report.unconfirmed), (0, 0));
        assert_eq!(servers.holding(&key("x")), 0);
    });

    // Polled once on a runtime that ends.
    let locks = hasty(&servers);
    let guard = runtime().block_on(async {
        let guard = locks.lock("x").ttl(LONG).acquire().await.unwrap();
        let mut shutdown = Box::pin(locks.shutdown_within(LONG));
        assert!(futures::poll!(&mut shutdown).is_pending());
        guard
    });
    eventually("its holder is told", || !guard.is_valid());
    drop(guard);
    eventually("nothing is left", || servers.holding(&key("x")) == 0);
    eventually("no connection is left", || connected(&servers) == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_acquires_while_a_shutdown_begins_leaves_nothing() {
    let servers = Servers::start(3);
    for round in 0..20 {
        let locks = manager(&servers);
        let acquiring: Vec<_> =
            (0..8).map(|name| tokio::spawn(locks.lock(format!("{name}")).ttl(LONG).acquire())).collect();
        tokio::time::sleep(Duration::from_micros(400 * round)).await;
        let ending = {
            let locks = locks.clone();
            tokio::spawn(async move { locks.shutdown_within(LONG).await })
        };
        for acquired in acquiring {
            match acquired.await.unwrap() {
                Ok(guard) => guard.release().await.unwrap(),
                Err(error) => assert!(matches!(error, Error::ShutDown), "{error}"),
            }
        }
        let report = ending.await.unwrap();
        assert_eq!((report.still_held.len(), report.unconfirmed), (0, 0));
        assert_eq!(locked(&servers), 0, "round {round}");
    }
}

#[tokio::test]
async fn a_lock_with_a_min_hold_is_kept_over_a_shutdown() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    drop(locks.lock("x").min_hold(Duration::from_secs(20)).acquire().await.unwrap());
    let report = locks.shutdown_within(LONG).await;
    assert_eq!((report.still_held.len(), report.unconfirmed), (0, 0));
    assert!(manager(&servers).lock("x").try_acquire().await.unwrap().is_none());
}

/// The promise of a deploy: the TTL is 30 s.
#[test]
fn a_process_that_is_asked_to_end_frees_its_locks_at_once_and_ends_by_itself() {
    let servers = Servers::start(3);
    for signal in [Program::terminate, Program::interrupt] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holder"));
        let holder = Program::start(command.env("REDLOCK_NODES", servers.nodes()).args([
            "name=x",
            "on_signal=true",
            "drain=false",
        ]));
        assert_eq!(holder.line(), "acquired");
        eventually("all nodes have the key", || servers.holding(&key("x")) == 3);
        let locks = manager(&servers);
        signal(&holder);
        let acquired = locks.lock("x").timeout(PROMPT).acquire_blocking();
        acquired.expect("the lock is free long before its key expires").release_blocking().unwrap();
        let ended = holder.wait();
        assert!(ended.status.success(), "{ended:?}");
        let lost = "lost: lock `x` was lost: the lock manager was shut down";
        assert_eq!(ended.lines, [lost, "released", "shut down: 1 lock was released"]);
        eventually("nothing is left", || servers.holding(&key("x")) == 0);
    }
}
