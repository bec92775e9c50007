//! Crowds that want the same locks: nobody holds one beside another, and everybody gets his turn.

use std::collections::HashMap;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use redlock_runtime::{LockGuard, LockManager};
use redlock_tests::clock::monotonic_nanoseconds;
use redlock_tests::proxy::Flow;
use redlock_tests::wait::eventually_async;
use redlock_tests::{Account, Program, Proxy, RedisServer, Servers};
use tokio::sync::Barrier;

use crate::common::waiters::in_line;
use crate::common::waiters::{How, LONG, starts_to_wait};
use crate::common::{key, manager, unhurried};

/// Lets two processes of four tasks each want one name for a few seconds, each holding it for at most a millisecond.
fn check_fairness(count: usize) {
    let servers = Servers::start(count);
    let arguments = ["tasks=4", "seconds=3", "ttl_ms=10000", "names=1", "hold_ms=1"];
    let crowd = [0, 1].map(|_| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crowd"));
        Program::start(command.env("REDLOCK_NODES", servers.nodes()).args(arguments))
    });
    let mut account = Account::new(Duration::from_secs(1));
    for (process, program) in crowd.into_iter().enumerate() {
        let ended = program.wait();
        assert!(ended.status.success(), "{ended:?}");
        for line in &ended.lines {
            if !account.note_held(process, line) {
                println!("N = {count}, process {process}: {line}");
            }
        }
    }
    account.check_no_overlap();
    let turns = account.turns();
    let (fewest, most) = (turns.values().min().unwrap(), turns.values().max().unwrap());
    println!("N = {count}: {} turns in all, {fewest} to {most} for each of {}", account.held(), turns.len());
    assert_eq!(turns.len(), 8, "somebody never had a turn: {turns:?}");
    assert!(fewest * 4 >= *most, "{turns:?}");
}

#[test]
fn of_two_processes_that_want_one_name_each_task_gets_its_turns() {
    for count in [1, 3] {
        check_fairness(count);
    }
}

/// Who is inside, by name.
#[derive(Default)]
struct Inside(Mutex<HashMap<String, u64>>);

impl Inside {
    /// Says when somebody is inside who should not be.
    async fn hold(&self, guard: &LockGuard, task: u64, time: Duration) {
        let previous = self.0.lock().unwrap().insert(guard.name().to_owned(), task);
        assert_eq!(previous, None, "somebody holds {} beside task {task}", guard.name());
        tokio::time::sleep(time).await;
        assert!(guard.is_valid());
        assert_eq!(self.0.lock().unwrap().remove(guard.name()), Some(task));
    }
}

/// How long the crowd goes on, in nanoseconds.
const STRESS: u64 = 5_000_000_000;

/// What a task does, over and over, in an order that depends on its number.
async fn wild(locks: LockManager, inside: Arc<Inside>, task: u64, until: u64, served: Arc<AtomicUsize>) {
    for turn in 0.. {
        if monotonic_nanoseconds() >= until {
            return;
        }
        let mix = (task * 31 + turn).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let request = locks.lock(format!("name-{}", mix % 3)).ttl(LONG);
        let pause = Duration::from_micros(mix % 4000);
        let had = match mix % 7 {
            // Gives up in the middle of whatever it does.
            0 => tokio::time::timeout(pause, request.acquire()).await.ok().map(Result::unwrap),
            1 => request.timeout(pause).acquire().await.ok(),
            2 => request.try_acquire().await.unwrap(),
            3 => tokio::task::spawn_blocking(|| request.acquire_blocking()).await.unwrap().ok(),
            _ => Some(request.acquire().await.unwrap()),
        };
        let Some(guard) = had else { continue };
        inside.hold(&guard, task, pause / 4).await;
        served.fetch_add(1, Ordering::Relaxed);
        match mix % 5 {
            0 => drop(guard),
            1 => drop(tokio::time::timeout(pause / 8, guard.release()).await),
            2 => tokio::task::spawn_blocking(|| guard.release_blocking()).await.unwrap().unwrap(),
            _ => guard.release().await.unwrap(),
        }
    }
}

#[test]
fn a_wild_crowd_on_two_runtimes_and_threads_never_overlaps_and_leaves_nothing() {
    for count in [1, 3] {
        let servers = Servers::start(count);
        // Two that know nothing of each other, as in two processes, each on two runtimes.
        let managers = [0, 1].map(|_| {
            // A busy machine is no reason to give a node up.
            let builder = unhurried().nodes(servers.urls()).node_timeout(Duration::from_secs(2));
            builder.build().unwrap()
        });
        let runtimes = [1, 2].map(|workers| {
            tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build().unwrap()
        });
        let (inside, served) = (Arc::<Inside>::default(), Arc::<AtomicUsize>::default());
        let until = monotonic_nanoseconds() + STRESS;
        let tasks: Vec<_> = (0..16_usize)
            .map(|task| {
                let locks = managers[task / 2 % 2].clone();
                let wild = wild(locks, Arc::clone(&inside), task as u64, until, Arc::clone(&served));
                runtimes[task % 2].spawn(wild)
            })
            .collect();
        runtimes[0].block_on(async {
            // Whoever waits without a limit gets it in the end, or this would not end.
            let ended = tokio::time::timeout(Duration::from_secs(20), join_all(tasks)).await;
            ended.expect("somebody waits for ever").into_iter().for_each(|task| task.unwrap());
            for locks in managers {
                locks.shutdown().await;
            }
            eventually_async("nothing is left", async || {
                (0..3).all(|name| servers.holding(&key(&format!("name-{name}"))) == 0)
            })
            .await;
            eventually_async("no mark of a waiter is left", async || {
                let is_counter = |key: &String| key.starts_with("redlock-fence:");
                servers.iter().all(|server| server.probe().keys_like("redlock*").iter().all(is_counter))
            })
            .await;
            // The list of counters stays, and says that nobody waits.
            let counted = |server: &RedisServer| {
                let counters = server.probe().keys_like("Waiting.*");
                counters.iter().filter_map(|counter| server.probe().get(counter)).all(|waiting| waiting == "0")
            };
            assert!(servers.iter().all(counted), "somebody is still counted");
        });
        println!("N = {count}: {} times held", served.load(Ordering::Relaxed));
        // How often is up to the machine; that each task had a turn or two is enough to have met others.
        assert!(served.load(Ordering::Relaxed) > 32, "the crowd hardly got anywhere");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_takes_a_lock_over_and_over_lets_others_have_it_in_between() {
    const TURNS: usize = 300;
    for count in [1, 3] {
        let servers = Servers::start(count);
        let (winners, begin) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Barrier::new(3)));
        let contend = |contender: usize| {
            let (locks, winners, begin) = (manager(&servers), Arc::clone(&winners), Arc::clone(&begin));
            tokio::spawn(async move {
                // Who has no connection yet would have no turn before the others have had all of theirs.
                locks.lock(format!("connected-{contender}")).acquire().await.unwrap().release().await.unwrap();
                begin.wait().await;
                for _ in 0..TURNS {
                    let guard = locks.lock("x").ttl(LONG).acquire().await.unwrap();
                    winners.lock().unwrap().push(contender);
                    guard.release().await.unwrap();
                }
            })
        };
        for contender in (0..3).map(contend).collect::<Vec<_>>() {
            contender.await.unwrap();
        }
        let winners = std::mem::take(&mut *winners.lock().unwrap());
        // As long as all three want it.
        let ends = (0..3).filter_map(|contender| winners.iter().rposition(|winner| *winner == contender)).min();
        let contended = &winners[..ends.unwrap()];
        let longest = contended.chunk_by(|one, next| one == next).map(<[usize]>::len).max().unwrap_or(0);
        let of_each = [0, 1, 2].map(|contender| contended.iter().filter(|winner| **winner == contender).count());
        println!("N = {count}: {of_each:?} turns while all wanted it, at most {longest} in a row");
        let (fewest, most) = (of_each.iter().min().unwrap(), of_each.iter().max().unwrap());
        assert!(fewest * 4 >= *most, "{of_each:?}, at most {longest} in a row, N = {count}");
    }
}

/// How many turns a process may take before another one has its: four in a row, and as many again whenever the other comes too
/// late, which on a busy machine it may several times.
const PATIENCE: usize = 48;

/// How many want a turn there: without standing back the other has its own after all of them.
const CROWD: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_with_many_waiters_stands_back_for_one_of_another_process() {
    for count in [1, 3] {
        let servers = Servers::start(count);
        // A little away, so that a local hand-over is sooner at the servers than whoever is woken by them.
        let proxies: Vec<_> = servers.iter().map(Proxy::start).collect();
        let manager = || unhurried().nodes(proxies.iter().map(Proxy::url)).build().unwrap();
        let (crowded, other) = (manager(), manager());
        let guard = crowded.lock("x").ttl(LONG).acquire().await.unwrap();
        for proxy in &proxies {
            proxy.set_both(Flow::Delay(Duration::from_millis(5)));
        }
        let other = starts_to_wait(&servers, &other, How::InATask).await;
        let turns = Arc::<AtomicUsize>::default();
        let take_turn = |_| {
            let (acquire, turns) = (in_line(&crowded), Arc::clone(&turns));
            tokio::spawn(async move {
                let guard = acquire.await.unwrap();
                turns.fetch_add(1, Ordering::Relaxed);
                guard.release().await.unwrap();
            })
        };
        let crowd: Vec<_> = (0..CROWD).map(take_turn).collect();
        guard.release().await.unwrap();
        let guard = other.await.unwrap().unwrap();
        let before = turns.load(Ordering::Relaxed);
        println!("N = {count}: {before} turns before the other process had its");
        assert!(before <= PATIENCE, "{before} turns, N = {count}");
        guard.release().await.unwrap();
        join_all(crowd).await.into_iter().for_each(|turn| turn.unwrap());
    }
}
