//! Floods of acquisitions that are given up at once: what nobody waits for any more is not sent, and what was sent is released.

use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use redlock_runtime::{Error, LockGuard, LockManager, LockManagerBuilder};
use redlock_tests::wait::eventually_async;
use redlock_tests::{RedisServer, Servers};
use tokio::runtime::{Builder, Runtime};

/// So many acquisitions of a name each.
const FLOOD: usize = 20_000;

/// So many where all may be sent, and released.
const SENT: usize = 4_000;

/// So many are more than are handed over in one go.
const WAITED: usize = 1_500;

type Acquiring = Pin<Box<dyn Future<Output = Result<LockGuard, Error>> + Send>>;

#[test]
fn a_flood_that_is_dropped_after_some_polls_is_not_sent() {
    // Three times what is handed over in one go, and the releases.
    check_flood(1, FLOOD, 8_000, &on_one_thread(), |locks| locks);
}

#[test]
fn neither_is_one_of_locks_without_fencing_whose_commands_are_shorter() {
    check_flood(1, FLOOD, 8_000, &on_one_thread(), |locks| locks.fencing(false));
}

#[test]
fn one_on_several_threads_and_nodes_is_sent_and_released_once_at_most() {
    // What is handed over is written meanwhile: an acquire, the commit of its first token, and one release. Each of the two
    // connections that may be made meanwhile tries four scripts out.
    check_flood(
        3,
        SENT,
        3 * SENT as u64 + 8,
        &Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap(),
        |locks| locks,
    );
}

fn on_one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn check_flood(
    nodes: usize,
    flood: usize,
    most: u64,
    runtime: &Runtime,
    setting: impl FnOnce(LockManagerBuilder) -> LockManagerBuilder,
) {
    let servers = Servers::start(nodes);
    let locks = setting(patient(&servers)).build().unwrap();
    runtime.block_on(async {
        locks.lock("x").acquire().await.unwrap().release().await.unwrap();
        let before: Vec<_> = servers.iter().map(commands).collect();

        let mut polled: Vec<_> = (0..flood).map(|number| acquiring(&locks, number)).collect();
        for _ in 0..3 {
            polled
                .retain_mut(|acquiring| acquiring.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            // What was handed over is written.
            tokio::task::yield_now().await;
        }
        drop(polled);

        let is_empty = async || servers.iter().all(|server| server.probe().keys_like("redlock:*").is_empty());
        eventually_async("no key of the flood is left", is_empty).await;
        locks.shutdown().await;
        for (server, before) in servers.iter().zip(before) {
            let sent = commands(server) - before;
            assert!(sent <= most, "{sent} commands for {flood} acquisitions that nobody waited for");
            assert!(server.probe().keys_like("redlock:*").is_empty(), "nothing comes behind the last release");
        }
    });
}

/// Does not ask again, nor give a node up, because the machine is slow.
fn patient(servers: &Servers) -> LockManagerBuilder {
    LockManager::builder().nodes(servers.urls()).node_timeout(Duration::from_secs(9))
}

fn acquiring(locks: &LockManager, number: usize) -> Acquiring {
    Box::pin(locks.lock(format!("flood-{number}")).ttl(Duration::from_secs(60)).acquire())
}

/// How many acquisitions and releases were carried out.
fn commands(server: &RedisServer) -> u64 {
    let counts = server.probe().command_counts();
    counts.of("evalsha") + counts.of("eval")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_tasks_that_are_aborted_leaves_nothing() {
    let servers = Servers::start(3);
    let locks = patient(&servers).build().unwrap();
    locks.lock("x").acquire().await.unwrap().release().await.unwrap();
    let before: Vec<_> = servers.iter().map(commands).collect();
    let tasks: Vec<_> = (0..SENT).map(|number| tokio::spawn(acquiring(&locks, number))).collect();
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    for task in tasks {
        // Some were granted before, and are given back by the drop of this.
        let _ = task.await;
    }
    let is_empty = async || servers.iter().all(|server| server.probe().keys_like("redlock:*").is_empty());
    eventually_async("no key of the flood is left", is_empty).await;
    locks.shutdown().await;
    for (server, before) in servers.iter().zip(before) {
        let sent = commands(server) - before;
        assert!(sent <= 3 * SENT as u64, "{sent} commands for {SENT} acquisitions");
    }
}

#[tokio::test]
async fn a_flood_that_is_waited_for_is_granted_to_its_end() {
    let servers = Servers::start(3);
    let locks = LockManager::builder().nodes(servers.urls()).node_timeout(Duration::from_secs(30)).build().unwrap();
    let tasks: Vec<_> = (0..WAITED)
        .map(|number| {
            let acquiring = acquiring(&locks, number);
            tokio::spawn(async move { acquiring.await.unwrap().release().await.unwrap() })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let is_empty = async || servers.iter().all(|server| server.probe().keys_like("redlock:*").is_empty());
    eventually_async("all were released", is_empty).await;
}
