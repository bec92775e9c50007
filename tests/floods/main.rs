//! Floods of acquisitions that are given up at once: what nobody waits for any more is not sent, and what was sent is released.

use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use futures::future::join_all;
use redlock_runtime::{Error, LockGuard, LockManager, LockManagerBuilder};
use redlock_tests::clock::{now, timed};
use redlock_tests::wait::eventually_async;
use redlock_tests::{Cluster, RedisServer, Servers, unhurried};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Mutex;

/// So many acquisitions of a name each.
const FLOOD: usize = 20_000;

/// So many where all may be sent, and released.
const SENT: usize = 4_000;

/// So many are more than are handed over in one go.
const WAITED: usize = 1_500;

/// So many of the other kinds.
const FEW: usize = 1_000;

const TTL: Duration = Duration::from_secs(60);

/// The keys of a flood are gone this much after its last acquisition was dropped.
const PROMISED: Duration = Duration::from_secs(1);

/// One flood at a time: each measures how long it takes, and what else there is.
static TURN: Mutex<()> = Mutex::const_new(());

type Acquiring = Pin<Box<dyn Future<Output = Result<LockGuard, Error>> + Send>>;

/// An acquisition of whatever kind of lock; what it gets is given back at once.
type Polled = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Acquisitions that are polled a few times and dropped.
struct Flood {
    /// How many there are.
    count: usize,
    /// How many commands are sent to each server at most.
    most: u64,
    /// One of them.
    acquire: fn(&LockManager, usize) -> Polled,
}

fn plain(locks: &LockManager, number: usize) -> Polled {
    let acquiring = acquiring(locks, number);
    Box::pin(async move { drop(acquiring.await) })
}

#[test]
fn a_flood_that_is_dropped_after_some_polls_is_not_sent() {
    // Three times what is handed over in one go, and the releases.
    check_flood(1, &Flood { count: FLOOD, most: 8_000, acquire: plain }, &on_one_thread(), |locks| locks);
}

#[test]
fn neither_is_one_of_locks_without_fencing_whose_commands_are_shorter() {
    let flood = Flood { count: FLOOD, most: 8_000, acquire: plain };
    check_flood(1, &flood, &on_one_thread(), |locks| locks.fencing(false));
}

/// What is handed over is written meanwhile. Each of the two connections that may be made meanwhile tries four scripts out.
const BESIDE: u64 = 8;

#[test]
fn one_on_several_threads_and_nodes_is_sent_and_released_once_at_most() {
    // An acquire, the commit of its first token, and one release.
    let flood = Flood { count: SENT, most: 3 * SENT as u64 + BESIDE, acquire: plain };
    check_flood(3, &flood, &on_two_threads(), |locks| locks);
}

#[test]
fn without_tokens_at_most_twice_as_many_commands_are_sent_as_were_polled() {
    let flood = Flood { count: SENT, most: 2 * SENT as u64 + BESIDE, acquire: plain };
    check_flood(3, &flood, &on_two_threads(), |locks| locks.fencing(false));
}

#[test]
fn a_flood_for_the_permits_of_a_lock_each_is_given_back() {
    let acquire = |locks: &LockManager, number: usize| -> Polled {
        let acquiring = locks.lock(format!("flood-{number}")).permits(2).ttl(TTL).acquire();
        Box::pin(async move { drop(acquiring.await) })
    };
    let flood = Flood { count: FEW, most: 3 * FEW as u64 + BESIDE, acquire };
    check_flood(3, &flood, &on_one_thread(), |locks| locks);
}

#[test]
fn a_flood_for_several_names_each_is_given_back() {
    let acquire = |locks: &LockManager, number: usize| -> Polled {
        let names = [format!("flood-{number}"), format!("flood-{number}-too")];
        let acquiring = locks.lock_all(names).ttl(TTL).acquire();
        Box::pin(async move { drop(acquiring.await) })
    };
    let flood = Flood { count: FEW, most: 3 * FEW as u64 + BESIDE, acquire };
    check_flood(3, &flood, &on_one_thread(), |locks| locks);
}

#[test]
fn a_flood_on_a_cluster_is_given_back() {
    let cluster = Cluster::start();
    let locks = || patient([cluster.url()]).build().unwrap();
    let flood = Flood { count: FEW, most: 3 * FEW as u64 + BESIDE, acquire: plain };
    check_floods(&cluster.masters(), locks, &flood, &on_one_thread());
}

fn on_one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn on_two_threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn check_flood(
    nodes: usize,
    flood: &Flood,
    runtime: &Runtime,
    setting: impl Fn(LockManagerBuilder) -> LockManagerBuilder,
) {
    let servers = Servers::start(nodes);
    let locks = || setting(patient(servers.urls())).build().unwrap();
    check_floods(&servers.iter().collect::<Vec<_>>(), locks, flood, runtime);
}

/// So many floods in a row that are late are no fault of a busy machine.
const LATE: usize = 5;

/// How long keys stay is the machine's, too, which others may use: one flood is through in time, and all else is so of each.
fn check_floods(servers: &[&RedisServer], locks: impl Fn() -> LockManager, flood: &Flood, runtime: &Runtime) {
    let _turn = TURN.blocking_lock();
    let floods = (0..LATE).map(|_| flood_on(servers, &locks(), flood, runtime));
    let mut late = Vec::new();
    for (took, usual) in floods {
        // A second on a quiet machine; how busy this one is shows in what locks take that are waited for.
        if took < PROMISED.max(10 * usual) {
            return;
        }
        late.push(format!("{took:?}, and {usual:?} for {WAITED} locks that are waited for"));
    }
    panic!("{late:#?}");
}

/// How long keys stayed behind the last drop, and how long locks take that are waited for.
fn flood_on(servers: &[&RedisServer], locks: &LockManager, flood: &Flood, runtime: &Runtime) -> (Duration, Duration) {
    runtime.block_on(async {
        locks.lock("x").acquire().await.unwrap().release().await.unwrap();
        let usual = usual(locks).await;
        let before: Vec<_> = servers.iter().map(|server| commands(server)).collect();
        let most_keys = || servers.iter().map(|server| held(server).len()).max().unwrap_or_default();

        let mut polled: Vec<_> = (0..flood.count).map(|number| (flood.acquire)(locks, number)).collect();
        let mut peak = 0;
        for _ in 0..3 {
            polled
                .retain_mut(|acquiring| acquiring.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            // What was handed over is written.
            tokio::task::yield_now().await;
            peak = peak.max(most_keys());
        }
        drop(polled);
        let dropped = now();
        let are_gone = async || {
            let keys = most_keys();
            peak = peak.max(keys);
            keys == 0
        };
        eventually_async("no key of the flood is left", are_gone).await;
        let took = dropped.elapsed();
        locks.shutdown().await;
        for (server, before) in servers.iter().zip(before) {
            let sent = commands(server) - before;
            assert!(sent <= flood.most, "{sent} commands for {} acquisitions that nobody waited for", flood.count);
            assert_eq!(held(server), [""; 0], "nothing comes behind the last release");
        }
        println!("{} acquisitions: {peak} keys at most, gone after {took:?}, beside {usual:?}", flood.count);
        // For each key that there was a command set it, and another one took it away.
        assert!(peak as u64 <= flood.most / 2, "{peak} keys");
        (took, usual)
    })
}

/// The keys of locks on this server, of whatever kind.
fn held(server: &RedisServer) -> Vec<String> {
    let probe = server.probe();
    let mut keys = probe.keys_like("redlock:*");
    keys.extend(probe.keys_like("redlock-permit-*"));
    keys
}

/// How long it takes this machine now to acquire and release as many locks as are handed over in one go, and some more.
async fn usual(locks: &LockManager) -> Duration {
    let (released, took) = timed(join_all(
        (0..WAITED).map(|number| async move { locks.lock(format!("usual-{number}")).acquire().await?.release().await }),
    ))
    .await;
    assert!(released.iter().all(Result::is_ok), "{released:?}");
    took
}

/// Does not ask again, nor give a node up, because the machine is slow.
fn patient(urls: impl IntoIterator<Item = String>) -> LockManagerBuilder {
    unhurried().nodes(urls).node_timeout(Duration::from_secs(9))
}

fn acquiring(locks: &LockManager, number: usize) -> Acquiring {
    Box::pin(locks.lock(format!("flood-{number}")).ttl(TTL).acquire())
}

/// How many acquisitions and releases were carried out.
fn commands(server: &RedisServer) -> u64 {
    let counts = server.probe().command_counts();
    counts.of("evalsha") + counts.of("eval")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_tasks_that_are_aborted_leaves_nothing() {
    let _turn = TURN.lock().await;
    let servers = Servers::start(3);
    let locks = patient(servers.urls()).build().unwrap();
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
    let _turn = TURN.lock().await;
    let servers = Servers::start(3);
    let locks = unhurried().nodes(servers.urls()).node_timeout(Duration::from_secs(30)).build().unwrap();
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
