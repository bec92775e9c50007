//! Nobody waits for much longer than the others, whatever he wants.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use redlock_runtime::LockManager;
use redlock_tests::Servers;
use redlock_tests::clock::timed;
use redlock_tests::wait::LIMIT;

use crate::common::manager;
use crate::common::waiters::LONG;

/// How many processes there are, and how often each of them gets what it wants.
const PROCESSES: usize = 8;
const TURNS: usize = 12;

/// How many things there are to want.
const THINGS: usize = 8;

/// What a process wants at a turn: two, three or five of the things, in an order of its own.
fn wanted(process: usize, turn: usize) -> Vec<String> {
    let count = [2, 3, 5][(process + turn) % 3];
    // An odd step comes past all of them.
    let step = 1 + 2 * (process % 4);
    (0..count).map(|other| format!("thing:{}", (process * 3 + turn + other * step) % THINGS)).collect()
}

async fn use_things(locks: LockManager, process: usize) -> Vec<Duration> {
    let mut waits = Vec::new();
    for turn in 0..TURNS {
        let request = locks.lock_all(wanted(process, turn)).ttl(LONG).timeout(LIMIT);
        let (guard, waited) = timed(request.acquire()).await;
        let guard = guard.expect("nobody waits for ever");
        waits.push(waited);
        tokio::time::sleep(Duration::from_millis(3)).await;
        guard.release().await.unwrap();
    }
    waits
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_who_wants_several_names_waits_for_much_longer_than_others() {
    let servers = Servers::start(3);
    let processes = (0..PROCESSES).map(|process| tokio::spawn(use_things(manager(&servers), process)));
    let mut waits = Vec::new();
    for process in processes.collect::<Vec<_>>() {
        waits.extend(process.await.unwrap());
    }
    waits.sort_unstable();
    let (median, longest) = (waits[waits.len() / 2], waits[waits.len() - 1]);
    println!("of {} waits half are up to {median:?}, the longest {longest:?}", waits.len());
    assert!(longest < 20 * median, "{longest:?} is more than twenty times {median:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_among_busy_readers_gets_its_turn_within_three_of_their_reads() {
    let servers = Servers::start(3);
    let (is_over, longest_read) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let readers = (0..8).map(|process| {
        let (locks, is_over, longest_read) = (manager(&servers), Arc::clone(&is_over), Arc::clone(&longest_read));
        tokio::spawn(async move {
            let mut turns = 0;
            while !is_over.load(Ordering::SeqCst) {
                let guard = locks.read("x").ttl(LONG).timeout(LIMIT).acquire().await.expect("readers get in, too");
                let reading = async {
                    tokio::time::sleep(Duration::from_millis(160 + 20 * process)).await;
                    guard.release().await.unwrap();
                };
                let ((), took) = timed(reading).await;
                longest_read.fetch_max(u64::try_from(took.as_micros()).unwrap(), Ordering::SeqCst);
                turns += 1;
            }
            turns
        })
    });
    let readers: Vec<_> = readers.collect();
    let locks = manager(&servers);
    let mut longest_wait = Duration::ZERO;
    for _ in 0..5 {
        // The readers are busy again.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let (writer, waited) = timed(locks.write("x").ttl(LONG).timeout(LIMIT).acquire()).await;
        longest_wait = longest_wait.max(waited);
        writer.expect("it is not starved").release().await.unwrap();
    }
    is_over.store(true, Ordering::SeqCst);
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }
    let longest_read = Duration::from_micros(longest_read.load(Ordering::SeqCst));
    println!("a writer waited for {longest_wait:?} at most, beside reads of up to {longest_read:?}");
    assert!(longest_wait < 3 * longest_read, "{longest_wait:?} beside reads of up to {longest_read:?}");
}
