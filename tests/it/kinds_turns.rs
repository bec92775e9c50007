//! Nobody waits for much longer than the others, whatever he wants.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use redlock_tests::Servers;
use redlock_tests::wait::{LIMIT, eventually_async};

use crate::common::manager;
use crate::common::waiters::LONG;

const READERS: u64 = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_among_busy_readers_gets_its_turn_within_three_of_their_reads() {
    let servers = Servers::start(3);
    let (is_over, reads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let readers = (0..READERS).map(|process| {
        let (locks, is_over, reads) = (manager(&servers), Arc::clone(&is_over), Arc::clone(&reads));
        tokio::spawn(async move {
            let mut turns = 0;
            while !is_over.load(Ordering::SeqCst) {
                let guard = locks.read("x").ttl(LONG).timeout(LIMIT).acquire().await.expect("readers get in, too");
                reads.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(160 + 20 * process)).await;
                guard.release().await.unwrap();
                turns += 1;
            }
            turns
        })
    });
    let readers: Vec<_> = readers.collect();
    let locks = manager(&servers);
    let (mut most, so_far) = (0, || reads.load(Ordering::SeqCst));
    for _ in 0..5 {
        // The readers are busy again.
        let before = so_far();
        eventually_async("all have read", async || so_far() >= before + READERS).await;
        let before = so_far();
        let writer = locks.write("x").ttl(LONG).timeout(LIMIT).acquire().await;
        most = most.max(so_far() - before);
        writer.expect("it is not starved").release().await.unwrap();
    }
    is_over.store(true, Ordering::SeqCst);
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }
    println!("{most} reads of {READERS} readers began while a writer waited, at most");
    assert!(most <= 3 * READERS, "{most} reads of {READERS} readers began while a writer waited");
}
