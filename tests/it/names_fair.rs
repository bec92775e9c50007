//! Of those who want different names at once, none is overtaken for ever: whoever waits for longest has precedence.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redlock_runtime::{Error, LockManager};
use redlock_tests::Servers;
use redlock_tests::clock::timed;
use tokio::sync::Barrier;

use crate::common::waiters::LONG;

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

fn check(what: &str, mut waits: Vec<Wait>) {
    waits.sort_by_key(|wait| wait.time);
    let (median, longest) = (waits[waits.len() / 2].time, waits[waits.len() - 1].time);
    println!("{what}: {} waits, median {median:?}, longest {longest:?}", waits.len());
    waits.sort_by_key(|wait| wait.others);
    let (median, most) = (waits[waits.len() / 2].others, waits[waits.len() - 1].others);
    println!("{what}: {median} others had theirs meanwhile in the median, {most} at most");
    assert!(most <= 10 * median.max(1), "{what}: {most} others, where the median is {median}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_wants_several_names_is_not_overtaken_for_ever() {
    for count in [1, 3] {
        let servers = Servers::start(count);
        // An attempt that one server decides waits for its answer, and others do without it meanwhile. That may last on a busy machine, and
        // is not what keeps them behind each other.
        let locks =
            || LockManager::builder().nodes(servers.urls()).node_timeout(Duration::from_millis(100)).build().unwrap();
        check(&format!("N = {count}"), waits((0..WHO).map(|_| locks()).collect()).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_on_nodes_in_memory() {
    let nodes = || ["memory://fair-1", "memory://fair-2", "memory://fair-3"];
    let locks = || LockManager::builder().nodes(nodes()).build().unwrap();
    check("in memory", waits((0..WHO).map(|_| locks()).collect()).await);
}
