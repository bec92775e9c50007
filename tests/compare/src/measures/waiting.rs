use std::mem;
use std::time::Duration;

use redlock_tests::clock::monotonic_nanoseconds;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{between, end_of};
use crate::{Contestant, Waiter};

/// Until a waiter that is woken surely waits; one that asks now and then anyway does not notice.
const SURELY_WAITING: Duration = Duration::from_millis(3);

/// One name passes from task to task until the time is over.
pub(crate) async fn hand_over(contestant: impl Contestant, milliseconds: u64) -> Vec<i64> {
    let until = end_of(milliseconds);
    let mut taken = Vec::new();
    let mut held = contestant.acquire("relay").await;
    while monotonic_nanoseconds() < until {
        let next = {
            let contestant = contestant.clone();
            tokio::spawn(async move {
                let held = contestant.acquire("relay").await;
                (held, monotonic_nanoseconds())
            })
        };
        sleep(SURELY_WAITING).await;
        let released = monotonic_nanoseconds();
        contestant.release(held).await;
        let (next, acquired) = next.await.expect("nobody ends this task");
        taken.push(between(released, acquired));
        held = next;
    }
    contestant.release(held).await;
    taken
}

/// Tasks want one name again and again.
pub(crate) async fn compete(contestant: impl Contestant, tasks: usize, until: u64) -> Vec<Waiter> {
    let mut running = JoinSet::new();
    for task in 0..tasks {
        let contestant = contestant.clone();
        running.spawn(async move {
            let mut waiter = Waiter { acquired: 0, longest: 0 };
            loop {
                let asked = monotonic_nanoseconds();
                if asked >= until {
                    return waiter;
                }
                let held = contestant.acquire("crowd").await;
                waiter.longest = waiter.longest.max(monotonic_nanoseconds() - asked);
                waiter.acquired += 1;
                // 0 to 1 ms, without the timer's precision of one.
                let end = monotonic_nanoseconds() + (waiter.acquired * 7 + task as u64 * 3) % 10 * 100_000;
                while monotonic_nanoseconds() < end {
                    tokio::task::yield_now().await;
                }
                contestant.release(held).await;
            }
        });
    }
    running.join_all().await
}

/// Tasks wait for one name and want it once each.
pub(crate) async fn burst(contestant: impl Contestant, waiters: usize, bursts: usize) -> Vec<i64> {
    let mut taken = Vec::new();
    for _ in 0..bursts {
        let mut held = Some(contestant.acquire("burst").await);
        let mut waiting = JoinSet::new();
        for _ in 0..waiters {
            let contestant = contestant.clone();
            waiting.spawn(async move {
                let held = contestant.acquire("burst").await;
                let acquired = monotonic_nanoseconds();
                contestant.release(held).await;
                acquired
            });
        }
        sleep(SURELY_WAITING * 3).await;
        let released = monotonic_nanoseconds();
        if let Some(held) = mem::take(&mut held) {
            contestant.release(held).await;
        }
        let last = waiting.join_all().await.into_iter().max().unwrap_or(released);
        taken.push(between(released, last));
    }
    taken
}
