//! Nothing is left behind: whatever happens to a future, a guard or a runtime, and whatever the nodes did.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use redlock_runtime::{Error, LockManager, LockRequest, Timeout};
use redlock_tests::clock::timed;
use redlock_tests::wait::{eventually, eventually_async};
use redlock_tests::{RedisServer, Servers};
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

use crate::common::kinds::Kind;
use crate::common::polls::poll_and_drop;
use crate::common::{all_have_x, key, manager, none_has_x, prompt, unhurried};

/// A lock that would be there for a minute if it was not released.
fn long(locks: &LockManager) -> LockRequest {
    long_of(Kind::Mutex, locks)
}

fn long_of(kind: Kind, locks: &LockManager) -> LockRequest {
    kind.request(locks).ttl(Duration::from_secs(60))
}

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn multi_thread() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[track_caller]
fn check_nothing_left(servers: &Servers) {
    eventually("no node holds a key", || servers.iter().all(|server| keys_of_locks(server).is_empty()));
}

#[test]
fn a_guard_dropped_on_any_runtime_releases_on_every_node() {
    let servers = Servers::start(3);
    let locks = prompt(&servers);
    for runtime in [current_thread(), multi_thread()] {
        runtime.block_on(async { drop(long(&locks).acquire().await.unwrap()) });
        check_nothing_left(&servers);
        runtime.block_on(LocalSet::new().run_until(async { drop(long(&locks).acquire().await.unwrap()) }));
        check_nothing_left(&servers);
    }
}

#[test]
fn a_guard_that_outlives_its_runtime_releases_when_it_is_dropped() {
    let servers = Servers::start(3);
    let locks = prompt(&servers);
    for runtime in [current_thread(), multi_thread()] {
        let guard = runtime.block_on(long(&locks).acquire()).unwrap();
        drop(runtime);
        assert!(servers.holding(&key("x")) >= 2);
        drop(guard);
        check_nothing_left(&servers);
    }
}

#[test]
fn a_guard_that_is_still_held_when_its_runtime_is_dropped_is_released() {
    let servers = Servers::start(3);
    let locks = prompt(&servers);
    for runtime in [current_thread(), multi_thread()] {
        let request = long(&locks);
        runtime.block_on(async {
            let (held, is_held) = tokio::sync::oneshot::channel();
            tokio::spawn(async move {
                let _guard = request.acquire().await.unwrap();
                held.send(()).unwrap();
                std::future::pending::<()>().await;
            });
            is_held.await.unwrap();
        });
        drop(runtime);
        check_nothing_left(&servers);
    }
}

#[test]
fn a_panic_releases_while_it_unwinds() {
    let servers = Servers::start(3);
    let locks = prompt(&servers);
    for runtime in [current_thread(), multi_thread()] {
        let request = long(&locks);
        let panicked = runtime.block_on(async {
            let body = async move {
                let _guard = request.acquire().await.unwrap();
                panic!("the body panics, as this test wants");
            };
            tokio::spawn(body).await
        });
        assert!(panicked.unwrap_err().is_panic());
        check_nothing_left(&servers);
    }
}

#[test]
fn a_blocked_runtime_does_not_keep_the_lock_of_a_guard_that_was_dropped_on_it() {
    let servers = Servers::start(3);
    let locks = prompt(&servers);
    current_thread().block_on(async {
        drop(long(&locks).acquire().await.unwrap());
        // Blocks the only thread of the runtime, on which the guard was made.
        long(&locks).timeout(Duration::from_secs(10)).acquire_blocking().unwrap().release_blocking().unwrap();
    });
    check_nothing_left(&servers);
}

#[test]
fn an_acquire_dropped_after_any_number_of_polls_leaves_no_key() {
    let servers = Servers::start(3);
    for runtime in [current_thread(), multi_thread()] {
        // With connections that are there, and with connections that are still to be made.
        for (kind, is_connected) in Kind::ALL.into_iter().flat_map(|kind| [(kind, true), (kind, false)]) {
            let mut completed = 0;
            for polls in 0.. {
                let locks = prompt(&servers);
                runtime.block_on(async {
                    if is_connected {
                        long_of(kind, &locks).acquire().await.unwrap().release().await.unwrap();
                    }
                    let is_done = poll_and_drop(long_of(kind, &locks).acquire(), polls).await.is_some();
                    completed += usize::from(is_done);
                    nothing_left(&servers, polls).await;
                });
                if completed == 3 {
                    break;
                }
                assert!(polls < 200, "the acquisition never completes");
            }
        }
    }
}

#[test]
fn a_release_dropped_after_any_number_of_polls_leaves_no_key() {
    let servers = Servers::start(3);
    let locks = prompt(&servers);
    for runtime in [current_thread(), multi_thread()] {
        for (kind, polls) in Kind::ALL.into_iter().flat_map(|kind| (0..12).map(move |polls| (kind, polls))) {
            runtime.block_on(async {
                let guard = long_of(kind, &locks).acquire().await.unwrap();
                poll_and_drop(guard.release(), polls).await;
                nothing_left(&servers, polls).await;
            });
        }
    }
}

/// Locks, and what is noted about their owners.
fn keys_of_locks(server: &RedisServer) -> Vec<String> {
    let patterns = ["redlock:*", "redlock-permit-*", "redlock-rw:*", "redlock-readers:*", "redlock-holder:*"];
    patterns.into_iter().flat_map(|pattern| server.probe().keys_like(pattern)).collect()
}

/// How many of the servers have a key, whatever it holds.
fn having(servers: &Servers, key: &str) -> usize {
    servers.iter().filter(|server| server.probe().exists(key)).count()
}

async fn nothing_left(servers: &Servers, polls: usize) {
    let is_empty = async || servers.iter().all(|server| keys_of_locks(server).is_empty());
    eventually_async(format!("no node holds a key after {polls} polls"), is_empty).await;
}

#[test]
fn a_runtime_that_is_not_driven_any_more_keeps_nothing() {
    check_undriven_runtime(&Servers::start(3));
}

#[test]
fn nor_does_it_where_a_server_does_not_tell_by_which_number_it_knows_a_connection() {
    let rules = ["--user", "default", "on", "nopass", "~*", "&*", "+@all", "-client|id"];
    check_undriven_runtime(&Servers::start_with(3, &rules));
}

fn check_undriven_runtime(servers: &Servers) {
    let locks = prompt(servers);
    let runtime = current_thread();
    for polls in 0..4 {
        runtime.block_on(async {
            long(&locks).acquire().await.unwrap().release().await.unwrap();
            let mut acquire = pin!(long(&locks).acquire());
            for _ in 0..polls {
                let _ = acquire.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                tokio::task::yield_now().await;
            }
        });
        check_nothing_left(servers);
    }
}

#[test]
fn an_attempt_cancelled_while_a_majority_hangs_leaves_nothing_after_they_wake_up() {
    let servers = Servers::start(3);
    let locks = prompt(&servers);
    let runtime = current_thread();
    runtime.block_on(async {
        long(&locks).acquire().await.unwrap().release().await.unwrap();
        servers[1].hang();
        servers[2].hang();
        let limit = Duration::from_millis(100);
        assert!(tokio::time::timeout(limit, long(&locks).acquire()).await.is_err());
    });
    drop(runtime);
    servers[1].resume();
    servers[2].resume();
    check_nothing_left(&servers);
}

#[tokio::test]
async fn a_node_that_was_hung_when_it_was_asked_holds_nothing_after_it_wakes_up() {
    for kind in Kind::ALL {
        let servers = Servers::start(3);
        let locks = manager(&servers);
        long_of(kind, &locks).acquire().await.unwrap().release().await.unwrap();
        servers[1].hang();
        let guard = long_of(kind, &locks).acquire().await.unwrap();
        guard.release().await.unwrap();
        servers[1].resume();
        eventually_async("the straggler is released behind", async || {
            servers.iter().all(|server| keys_of_locks(server).is_empty())
        })
        .await;
        // Nothing was merely late: the release came behind the acquire, not before it.
        let locks_after = long_of(kind, &locks).acquire().await.unwrap();
        let holding = || kind.keys().iter().map(|key| having(&servers, key)).max();
        eventually_async("all three hold it again", async || holding() == Some(3)).await;
        locks_after.release().await.unwrap();
    }
}

#[tokio::test]
async fn the_release_of_a_lock_reaches_a_node_that_was_hung_meanwhile() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let guard = long(&locks).acquire().await.unwrap();
    all_have_x(&servers).await;
    servers[0].hang();
    guard.release().await.unwrap();
    servers[0].resume();
    eventually_async("the last node is released", async || servers.holding(&key("x")) == 0).await;
}

#[tokio::test]
async fn a_node_restarted_between_two_calls_is_asked_again_without_anybody_noticing() {
    let server = RedisServer::start();
    let locks = unhurried().nodes([server.url()]).build().unwrap();
    for _ in 0..3 {
        locks.lock("x").try_acquire().await.unwrap().expect("free").release().await.unwrap();
        server.restart();
    }
}

#[tokio::test]
async fn a_forgotten_script_is_sent_again_within_the_call() {
    for kind in Kind::ALL {
        let servers = Servers::start(3);
        let locks = prompt(&servers);
        let flush = || servers.iter().for_each(|server| server.probe().script_flush());
        long_of(kind, &locks).acquire().await.unwrap().release().await.unwrap();
        flush();
        let guard = long_of(kind, &locks).try_acquire().await.unwrap().expect("free");
        flush();
        guard.extend(Duration::from_secs(60)).await.unwrap();
        flush();
        guard.release().await.unwrap();
        locks.shutdown().await;
        assert!(kind.keys().iter().all(|key| having(&servers, key) == 0));
    }
}

#[tokio::test]
async fn the_release_of_a_lock_that_somebody_else_took_leaves_his_key() {
    let servers = Servers::start(3);
    let locks = prompt(&servers);
    let guard = long(&locks).acquire().await.unwrap();
    for server in &servers {
        server.probe().set(&key("x"), "somebody");
    }
    let error = guard.release().await.unwrap_err();
    assert!(matches!(&error, Error::NotHeld { name } if name == "x"), "{error}");
    assert_eq!(servers.values(&key("x")), vec![Some("somebody".to_owned()); 3]);
}

#[tokio::test]
async fn a_lock_outlives_its_release_for_as_long_as_min_hold_says() {
    let servers = Servers::start(3);
    let locks = prompt(&servers);
    let guard = locks.lock("x").min_hold(Duration::from_secs(40)).acquire().await.unwrap();
    all_have_x(&servers).await;
    guard.release().await.unwrap();
    locks.shutdown().await;
    for server in &servers {
        let remaining = server.probe().pttl(&key("x")).remaining().unwrap();
        assert!(remaining > Duration::from_secs(35) && remaining <= Duration::from_secs(40), "{remaining:?}");
    }
}

#[tokio::test]
async fn errors_of_a_minority_are_not_noticed_and_leave_nothing() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    long(&locks).acquire().await.unwrap().release().await.unwrap();
    let probe = servers[0].probe();
    for (setting, normal) in
        [(["maxmemory", "1"], ["maxmemory", "0"]), (["min-replicas-to-write", "1"], ["min-replicas-to-write", "0"])]
    {
        probe.config_set(setting[0], setting[1]);
        let guard = long(&locks).try_acquire().await.unwrap().expect("two nodes are well");
        guard.release().await.unwrap();
        probe.config_set(normal[0], normal[1]);
        none_has_x(&servers).await;
    }
    // Of a server of its own: one of the three would hand its keys on.
    let master = RedisServer::start();
    probe.replica_of(master.port());
    let guard = long(&locks).try_acquire().await.unwrap().expect("two nodes are well");
    guard.release().await.unwrap();
    probe.replica_of_no_one();
    none_has_x(&servers).await;
}

#[tokio::test]
async fn an_error_that_decides_says_what_the_nodes_said() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    servers[0].probe().config_set("maxmemory", "1");
    servers[1].probe().run::<()>(redis::cmd("LPUSH").arg(key("x")).arg("not a lock")).unwrap();
    let error = locks.lock("x").try_acquire().await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("OOM") && source.contains("WRONGTYPE"), "{source}");
}

#[test]
fn a_guard_in_a_thread_local_is_released_when_its_thread_ends() {
    thread_local! {
        static HELD: std::cell::RefCell<Option<redlock_runtime::LockGuard>> = const { std::cell::RefCell::new(None) };
    }
    let servers = Servers::start(3);
    let locks = prompt(&servers);
    let request = long(&locks);
    std::thread::spawn(move || {
        // Made before tokio's own, and so destroyed behind them.
        HELD.with(|held| held.replace(None));
        let guard = request.acquire_blocking().unwrap();
        HELD.with(|held| held.replace(Some(guard)));
    })
    .join()
    .unwrap();
    check_nothing_left(&servers);
}

#[tokio::test]
async fn nothing_is_acquired_behind_a_shutdown() {
    let servers = Servers::start(3);
    let locks = prompt(&servers);
    long(&locks).acquire().await.unwrap().release().await.unwrap();
    none_has_x(&servers).await;
    servers[0].hang();
    servers[1].hang();
    let waiting = tokio::spawn(long(&locks).acquire());
    eventually_async("it asks", async || servers[2].probe().exists(&key("x"))).await;
    locks.shutdown().await;
    servers[0].resume();
    servers[1].resume();
    let acquired = waiting.await.unwrap();
    assert!(matches!(acquired, Err(Error::ShutDown)), "{acquired:?}");
    none_has_x(&servers).await;
}

#[tokio::test]
async fn a_lock_that_may_expire_sooner_is_still_kept_for_its_min_hold() {
    let servers = Servers::start(3);
    let locks = prompt(&servers);
    let short = Duration::from_millis(200);
    let request = locks.lock("x").ttl(short).renew(false).min_hold(Duration::from_secs(20));
    let guard = request.acquire().await.unwrap();
    tokio::time::sleep(short * 2).await;
    guard.release().await.unwrap();
    assert!(prompt(&servers).lock("x").try_acquire().await.unwrap().is_none());
    for (least, most) in [(Duration::MAX, None), (Duration::ZERO, Some(Duration::ZERO))] {
        let request = locks.lock("y").min_hold(least);
        let request = if let Some(most) = most { request.max_hold(most) } else { request };
        assert!(matches!(request.acquire().await, Err(Error::Config { .. })));
    }
}

/// What the extension script does, late: on a connection that was held up.
fn extend_late(server: &RedisServer, owner: &str) -> i64 {
    let script = include_str!("../../redlock-runtime/src/node/redis/lua/extend.lua");
    server.probe().run(redis::cmd("EVAL").arg(script).arg(1).arg(key("x")).arg(owner).arg(600_000)).unwrap()
}

#[tokio::test]
async fn an_extension_that_arrives_behind_the_release_does_not_prolong_a_kept_key() {
    let servers = Servers::start(3);
    let locks = prompt(&servers);
    let least = Duration::from_secs(40);
    let guard = locks.lock("x").min_hold(least).acquire().await.unwrap();
    all_have_x(&servers).await;
    let owner = servers[0].probe().get(&key("x")).unwrap();
    assert_eq!(extend_late(&servers[0], &owner), 1, "the script is not the one that the test takes it for");
    guard.release().await.unwrap();
    locks.shutdown().await;
    for server in &servers {
        assert_eq!(extend_late(server, &owner), 0);
        assert!(server.probe().pttl(&key("x")).remaining().unwrap() <= least);
    }
    // Held, although by nobody: whoever does not wait is refused at once, not as by a split vote.
    assert!(prompt(&servers).lock("x").try_acquire().await.unwrap().is_none());
}

#[tokio::test]
async fn a_kept_key_is_released_however_often_its_release_comes() {
    let release = include_str!("../../redlock-runtime/src/node/redis/lua/release.lua");
    let server = RedisServer::start();
    let probe = server.probe();
    probe.set_for(&key("x"), "me", Duration::from_secs(60));
    let send = |owner: &str, keep: u64| -> i64 {
        probe.run(redis::cmd("EVAL").arg(release).arg(1).arg(key("x")).arg(owner).arg(keep)).unwrap()
    };
    assert_eq!(send("somebody", 20_000), 0);
    for keep in [20_000, 30_000, 0] {
        assert_eq!(send("me", keep), 1);
        let remaining = probe.pttl(&key("x")).remaining().unwrap();
        assert!(remaining > Duration::from_secs(10) && remaining <= Duration::from_secs(20), "{remaining:?}");
    }
}

#[tokio::test]
async fn a_node_that_asks_for_a_password_or_a_right_has_no_vote_and_the_error_says_so() {
    let servers = Servers::start(3);
    let [closed, limited] = [&servers[0], &servers[1]];
    closed.probe().config_set("requirepass", "secret");
    let guard = manager(&servers).lock("x").try_acquire().await.unwrap().expect("two nodes are well");
    guard.release().await.unwrap();

    let rules = redis::cmd("ACL").arg("SETUSER").arg("default").arg("-evalsha").arg("-eval").to_owned();
    limited.probe().run::<()>(&rules).unwrap();
    let error = manager(&servers).lock("x").try_acquire().await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("NOAUTH") && source.contains("no permissions") && !source.contains("secret"), "{source}");
    eventually_async("the grant of the third is given back", async || keys_of_locks(&servers[2]).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiter_that_asks_hung_nodes_is_let_go_by_a_shutdown_at_once() {
    let servers = Servers::start(3);
    let patience = Duration::from_secs(20);
    for timeout in [Timeout::Forever, Timeout::Skip] {
        let locks = unhurried().nodes(servers.urls()).node_timeout(patience).build().unwrap();
        long(&locks).acquire().await.unwrap().release().await.unwrap();
        none_has_x(&servers).await;
        servers[0].hang();
        servers[1].hang();
        let mut waiting = tokio::spawn(long(&locks).timeout(timeout).acquire());
        eventually_async("it asks", async || servers[2].probe().exists(&key("x"))).await;
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut waiting).await.is_err());
        let ending = tokio::spawn(async move { locks.shutdown_within(patience).await });
        let (acquired, took) = timed(waiting).await;
        assert!(matches!(acquired.unwrap(), Err(Error::ShutDown)));
        assert!(took < patience / 2, "{took:?}");
        servers[0].resume();
        servers[1].resume();
        let report = ending.await.unwrap();
        assert_eq!(report.unconfirmed, 0);
        none_has_x(&servers).await;
    }
}
