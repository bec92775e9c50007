//! A fire that is marked before its body, and what comes between the two: a shutdown, a drop, an answer that is lost. It runs at most
//! once, and only whoever has begun has run it.

use std::time::Duration;

use redlock_runtime::{Error, LockGuard, LockManager, LockManagerBuilder, LockRequest, OnShutdown, OnceAt, Run};
use redlock_tests::proxy::{Direction, Flow};
use redlock_tests::wait::{LIMIT, eventually, eventually_async};
use redlock_tests::{Proxy, Servers};
use tokio::task::JoinHandle;

use crate::common::once::{already_ran, job, marks, new_job, no_key_is_left, run};
use crate::common::polls::poll_and_drop;
use crate::common::{key, unhurried};

fn at_start(locks: &LockManager, fire: u64) -> LockRequest {
    job(locks, fire).once_at(OnceAt::Start)
}

/// How many servers have the mark of the fire.
fn marked(servers: &Servers, fire: u64) -> usize {
    let of_fire = |mark: &String| mark.starts_with(&format!("{fire}:"));
    marks(servers).iter().flatten().filter(|mark| of_fire(mark)).count()
}

/// A manager whose servers are behind proxies.
struct Behind {
    servers: Servers,
    proxies: Vec<Proxy>,
    locks: LockManager,
    /// Which is not behind them.
    others: LockManager,
}

impl Behind {
    async fn new(change: impl FnOnce(LockManagerBuilder) -> LockManagerBuilder) -> Self {
        let servers = Servers::start(3);
        let proxies: Vec<_> = servers.answering().map(Proxy::start).collect();
        let builder = unhurried().nodes(proxies.iter().map(Proxy::url)).node_timeout(LIMIT);
        let locks = change(builder).build().unwrap();
        let others = new_job(&servers).await;
        // So that all servers know the scripts.
        let guard = job(&locks, 1).acquire().await.unwrap();
        eventually("all have granted it", || servers.holding(&key("job")) == 3);
        guard.complete().await.unwrap();
        no_key_is_left(&servers).await;
        Self { servers, proxies, locks, others }
    }

    fn set(&self, direction: Direction, flow: Flow) {
        self.proxies.iter().for_each(|proxy| proxy.set(direction, flow));
    }

    /// Asks for the fire, until the servers have granted the lock, and nobody was told.
    fn until_granted(&self, fire: u64) -> JoinHandle<Result<LockGuard, Error>> {
        self.set(Direction::Replies, Flow::Hold);
        let acquiring = tokio::spawn(at_start(&self.locks, fire).ttl(LIMIT).acquire());
        eventually("it is granted", || self.servers.holding(&key("job")) == 3);
        acquiring
    }

    /// Asks for the fire, until its mark is on the way to the servers, where it is kept.
    fn until_marking(&self, fire: u64) -> JoinHandle<Result<LockGuard, Error>> {
        let acquiring = self.until_granted(fire);
        self.set(Direction::Requests, Flow::Hold);
        self.set(Direction::Replies, Flow::Forward);
        // Requests alone: the grants wait at the proxies until these have woken.
        let is_marking = |proxy: &&Proxy| proxy.waiting(Direction::Requests) > 0;
        eventually("it is being marked", || self.proxies.iter().filter(is_marking).count() > 1);
        assert_eq!(marked(&self.servers, fire), 0);
        acquiring
    }

    /// Begins to shut the manager down.
    async fn shut_down(&self) -> JoinHandle<redlock_runtime::ShutdownReport> {
        let locks = self.locks.clone();
        let ending = tokio::spawn(async move { locks.shutdown_within(2 * LIMIT).await });
        let is_shut_down = async || matches!(self.locks.lock("other").try_acquire().await, Err(Error::ShutDown));
        eventually_async("it is being shut down", is_shut_down).await;
        ending
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_before_the_mark_is_sent_leaves_the_fire_to_others() {
    let behind = Behind::new(|builder| builder).await;
    let acquiring = behind.until_granted(7);
    let ending = behind.shut_down().await;
    let ended = acquiring.await.unwrap();
    assert!(matches!(ended, Err(Error::ShutDown)), "{ended:?}");
    behind.set(Direction::Replies, Flow::Forward);
    assert_eq!(ending.await.unwrap().unconfirmed, 0);
    no_key_is_left(&behind.servers).await;
    assert_eq!(marked(&behind.servers, 7), 0);
    assert_eq!(run(at_start(&behind.others, 7).timeout(LIMIT)).await.unwrap(), Run::Ran(Some(7)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_during_the_mark_lets_the_fire_run_that_nobody_else_will() {
    let behind = Behind::new(|builder| builder).await;
    let acquiring = behind.until_marking(7);
    let ending = behind.shut_down().await;
    assert!(!acquiring.is_finished());
    behind.set(Direction::Requests, Flow::Forward);
    let guard = acquiring.await.unwrap().expect("it has the lock, as whoever has begun");
    assert!(guard.is_valid());
    assert!(marked(&behind.servers, 7) > 1);
    assert!(!ending.is_finished(), "it may finish");
    guard.complete().await.unwrap();
    assert_eq!(run(at_start(&behind.others, 7).timeout(LIMIT)).await.unwrap(), already_ran(7));
    let report = ending.await.unwrap();
    assert_eq!((report.released, report.unconfirmed, report.still_held.len()), (1, 0, 0), "{report}");
    no_key_is_left(&behind.servers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_that_cancels_during_the_mark_claims_the_fire_and_nobody_begins_it() {
    let behind = Behind::new(|builder| builder.on_shutdown(OnShutdown::Cancel)).await;
    let acquiring = behind.until_marking(7);
    let ending = behind.shut_down().await;
    behind.set(Direction::Requests, Flow::Forward);
    let ended = acquiring.await.unwrap();
    assert!(matches!(ended, Err(Error::ShutDown)), "{ended:?}");
    let report = ending.await.unwrap();
    assert_eq!((report.released, report.unconfirmed, report.still_held.len()), (1, 0, 0), "{report}");
    no_key_is_left(&behind.servers).await;
    assert_eq!(run(at_start(&behind.others, 7).timeout(LIMIT)).await.unwrap(), already_ran(7));
    assert_eq!(run(at_start(&behind.others, 8).timeout(LIMIT)).await.unwrap(), Run::Ran(Some(8)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_whose_answers_are_lost_is_found_by_who_tries_again_and_the_fire_does_not_run() {
    let behind = Behind::new(|builder| builder.node_timeout(Duration::from_secs(2))).await;
    let acquiring = behind.until_marking(7);
    behind.set(Direction::Replies, Flow::Swallow);
    behind.set(Direction::Requests, Flow::Forward);
    eventually("it is marked", || marked(&behind.servers, 7) > 1);
    let ended = acquiring.await.unwrap();
    assert!(matches!(ended, Err(Error::NotCompleted { fire: 7, confirmed: 0, .. })), "{ended:?}");
    behind.set(Direction::Replies, Flow::Forward);
    behind.proxies.iter().for_each(Proxy::cut);
    assert_eq!(run(at_start(&behind.locks, 7).timeout(LIMIT)).await.unwrap(), already_ran(7), "its own mark");
    assert_eq!(run(at_start(&behind.locks, 8).timeout(LIMIT)).await.unwrap(), Run::Ran(Some(8)));
    no_key_is_left(&behind.servers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_whose_answers_are_lost_for_a_moment_is_sent_again_and_the_fire_runs() {
    let behind = Behind::new(|builder| builder).await;
    let acquiring = behind.until_marking(7);
    behind.set(Direction::Replies, Flow::Swallow);
    behind.set(Direction::Requests, Flow::Forward);
    eventually("it is marked", || marked(&behind.servers, 7) > 1);
    behind.set(Direction::Replies, Flow::Forward);
    behind.proxies.iter().for_each(Proxy::cut);
    let guard = acquiring.await.unwrap().expect("its own mark is no reason not to run");
    assert!(marked(&behind.servers, 7) > 1);
    guard.complete().await.unwrap();
    assert_eq!(run(at_start(&behind.others, 7).timeout(LIMIT)).await.unwrap(), already_ran(7));
    no_key_is_left(&behind.servers).await;
}

#[tokio::test]
async fn dropped_at_any_poll_of_the_mark_a_fire_has_not_begun_and_nobody_begins_it_twice() {
    let servers = Servers::start(3);
    let (locks, others) = (new_job(&servers).await, crate::common::manager(&servers));
    let (mut begun, mut left, mut claimed) = (0, 0, 0);
    for fire in 1.. {
        let polls = usize::try_from(fire).unwrap() / 4;
        let acquired = poll_and_drop(at_start(&locks, fire).timeout(LIMIT).acquire(), polls).await;
        let has_begun = acquired.is_some();
        if let Some(acquired) = acquired {
            drop(acquired.unwrap());
            begun += 1;
        }
        no_key_is_left(&servers).await;
        let ran = run(at_start(&others, fire).timeout(LIMIT)).await.unwrap();
        match (has_begun, ran) {
            (false, Run::Ran(_)) => left += 1,
            (false, Run::Skipped(_)) => claimed += 1,
            (true, ran) => assert_eq!(ran, already_ran(fire)),
        }
        no_key_is_left(&servers).await;
        if begun == 8 {
            break;
        }
        assert!(polls < 200, "it never begins");
    }
    assert!(left > 0 && claimed > 0, "dropped before the mark {left} times, and after it {claimed} times");
}
