//! Nobody waits for much longer than the others, whatever he wants.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use redlock_tests::Servers;
use redlock_tests::clock::timed;
use redlock_tests::wait::LIMIT;

use crate::common::manager;
use crate::common::waiters::LONG;

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
