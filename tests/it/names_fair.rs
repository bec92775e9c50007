//! Of those who want different names at once, none is overtaken for ever: whoever waits for longest has precedence.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redlock_runtime::{Error, LockManager};
use redlock_tests::Servers;
use redlock_tests::clock::timed;
use redlock_tests::wait::eventually_async;
use tokio::sync::Barrier;

use crate::common::waiters::{Asked, LONG, PROMPT, run};
use crate::common::{key, manager, waiting};

/// So many want some of so many names, and so often each.
const WHO: usize = 8;
const TURNS: usize = 60;

/// How long each keeps what it has.
const HOLD: Duration = Duration::from_millis(1);

/// Some names, others each time: two, three or five of eight.
fn some_names(who: usize, turn: usize) -> Vec<String> {
    let mix = ((who * TURNS + turn) as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let count = [2, 3, 5][usize::try_from(mix >> 60).unwrap() % 3];
    let (first, step) = ((mix >> 40) % 8, [1, 3, 5, 7][usize::try_from(mix >> 50).unwrap() % 4]);
    (0..count).map(|number| format!("name-{}", (first + number * step) % 8)).collect()
}

/// How long somebody waited, and how many others got what they wanted meanwhile.
#[derive(Clone, Copy)]
struct Wait {
    time: Duration,
    others: usize,
}

async fn waits(managers: Vec<LockManager>) -> Vec<Wait> {
    let (had, waits, begin) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())), Arc::new(Barrier::new(WHO)));
    let contenders = managers.into_iter().enumerate().map(|(who, locks)| {
        let (had, waits, begin) = (Arc::clone(&had), Arc::clone(&waits), Arc::clone(&begin));
        tokio::spawn(async move {
            drop(locks.lock(format!("connected-{who}")).acquire().await.unwrap());
            begin.wait().await;
            for turn in 0..TURNS {
                let before = had.load(Ordering::SeqCst);
                let request = locks.lock_all(some_names(who, turn)).ttl(LONG);
                let (guard, time) = timed(request.acquire()).await;
                let others = had.fetch_add(1, Ordering::SeqCst) - before;
                waits.lock().unwrap().push(Wait { time, others });
                tokio::time::sleep(HOLD).await;
                match guard.unwrap().release().await {
                    // It is seen through.
                    Ok(()) | Err(Error::QuorumUnreachable { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        })
    });
    for contender in contenders.collect::<Vec<_>>() {
        contender.await.unwrap();
    }
    let mut waits = waits.lock().unwrap();
    std::mem::take(&mut *waits)
}

/// Tells how many others had theirs, at most, while somebody waited for his: more than ten times as many as in the median is too many.
fn check(what: &str, mut waits: Vec<Wait>) -> Result<(), String> {
    waits.sort_by_key(|wait| wait.time);
    let (median, longest) = (waits[waits.len() / 2].time, waits[waits.len() - 1].time);
    println!("{what}: {} waits, median {median:?}, longest {longest:?}", waits.len());
    waits.sort_by_key(|wait| wait.others);
    let (median, most) = (waits[waits.len() / 2].others, waits[waits.len() - 1].others);
    println!("{what}: {median} others had theirs meanwhile in the median, {most} at most");
    if most <= 10 * median.max(1) {
        Ok(())
    } else {
        Err(format!("{what}: {most} others, where the median is {median}"))
    }
}

/// Whoever is overtaken without end is so each time; whom a busy machine stops for a while is not.
async fn check_one_of_three(what: &str, locks: impl Fn() -> LockManager) {
    let mut unfair = Vec::new();
    for _ in 0..3 {
        match check(what, waits((0..WHO).map(|_| locks()).collect()).await) {
            Ok(()) => return,
            Err(how) => unfair.push(how),
        }
    }
    panic!("{unfair:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_wants_several_names_is_not_overtaken_for_ever() {
    for count in [1, 3] {
        let servers = Servers::start(count);
        // An attempt that one server decides waits for its answer, and others do without it meanwhile. That may last on a busy machine, and
        // is not what keeps them behind each other.
        let locks =
            || LockManager::builder().nodes(servers.urls()).node_timeout(Duration::from_millis(100)).build().unwrap();
        check_one_of_three(&format!("N = {count}"), locks).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_on_nodes_in_memory() {
    let nodes = || ["memory://fair-1", "memory://fair-2", "memory://fair-3"];
    let locks = || LockManager::builder().nodes(nodes()).build().unwrap();
    check_one_of_three("in memory", locks).await;
}

/// A lock's key and its fencing counter.
fn key_and_counter(name: &str) -> [String; 2] {
    let key = key(name);
    [key.clone(), format!("redlock-fence:{{{key}}}")]
}

#[tokio::test]
async fn a_report_is_believed_although_who_had_one_of_the_names_has_gone_again() {
    let servers = Servers::start(3);
    let (locks, others) = (manager(&servers), manager(&servers));
    let held = others.lock("x").ttl(LONG).acquire().await.unwrap();
    others.lock("y").acquire().await.unwrap().release().await.unwrap();
    let waiter = tokio::spawn(locks.lock_all(["x", "y"]).ttl(LONG).acquire());
    eventually_async("it waits", async || waiting(&others, "x + y").await == 1).await;
    let ((), took) = timed(async {
        for _ in 0..12 {
            let asked = Asked::so_far(&servers);
            let [key, counter] = key_and_counter("y");
            // Before anybody can ask: who waits for both finds the same as before.
            let script = "redis.call('SET', KEYS[1], 'somebody', 'PX', 60000) redis.call('INCRBY', KEYS[2], 1000) redis.call('DEL', KEYS[1])";
            servers.iter().for_each(|server| run(&server.probe(), &["EVAL", script, "2", &key, &counter]));
            eventually_async("it asks", async || asked.so_many_again() > 0).await;
        }
    })
    .await;
    // Were these taken for reports in vain, each would be believed twice as late as the one before.
    assert!(took < PROMPT, "{took:?}");
    held.release().await.unwrap();
    waiter.await.unwrap().unwrap().release().await.unwrap();
}
