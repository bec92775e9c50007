//! Those who wait for "x", and those who have it.

use std::future::Future;
use std::pin::Pin;
use std::process::Command;
use std::task::{Context, Waker};
use std::time::Duration;

use redis::cmd;
use redlock_runtime::{Error, LockGuard, LockManager};
use redlock_tests::probe::CommandCounts;
use redlock_tests::wait::{LIMIT, eventually_async};
use redlock_tests::{Probe, Program, Servers};
use tokio::task::JoinHandle;

use super::{RARE_POLL, key};

/// Half of the shortest slow poll: whoever gets the lock sooner was woken.
pub(crate) const PROMPT: Duration = Duration::from_secs(RARE_POLL.as_secs() / 2);

/// Longer than any test: nothing expires but where it shall.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Somebody who wants a lock, in a task or a thread of his own.
pub(crate) type Waiter = JoinHandle<Result<LockGuard, Error>>;

/// How a waiter waits.
#[derive(Clone, Copy, Debug)]
pub(crate) enum How {
    InATask,
    BlockingAThread,
}

/// How often each of the nodes was asked so that it reports the next change.
pub(crate) struct Asked<'a> {
    servers: &'a Servers,
    /// By node.
    before: Vec<(usize, u64)>,
}

impl<'a> Asked<'a> {
    pub(crate) fn so_far(servers: &'a Servers) -> Self {
        Self::so_far_of(servers, 0..servers.len())
    }

    pub(crate) fn so_far_of(servers: &'a Servers, nodes: impl IntoIterator<Item = usize>) -> Self {
        let before = nodes.into_iter().map(|node| (node, watched(&servers[node].probe()))).collect();
        Self { servers, before }
    }

    /// Returns when each of the nodes was asked since.
    pub(crate) async fn again(&self) {
        eventually_async("somebody waits", async || self.all_again()).await;
    }

    /// Whether each of the nodes was asked since.
    pub(crate) fn all_again(&self) -> bool {
        self.so_many_again() == self.before.len()
    }

    /// How many of the nodes were asked since.
    pub(crate) fn so_many_again(&self) -> usize {
        let is_asked = |&&(node, before): &&(usize, u64)| watched(&self.servers[node].probe()) > before;
        self.before.iter().filter(is_asked).count()
    }
}

/// How many attempts a node got that it reports the next change after.
pub(crate) fn watched(probe: &Probe) -> u64 {
    watched_of(&probe.command_counts())
}

/// The same, of what a node has counted.
pub(crate) fn watched_of(counts: &CommandCounts) -> u64 {
    // Each new connection tries it out once, behind the other.
    counts.of("client|caching").saturating_sub(counts.of("client|tracking"))
}

/// Starts to wait for "x"; returns when all nodes have refused and will report the next change.
pub(crate) async fn starts_to_wait(servers: &Servers, locks: &LockManager, how: How) -> Waiter {
    let asked = Asked::so_far(servers);
    let request = locks.lock("x").ttl(LONG);
    let waiter = match how {
        How::InATask => tokio::spawn(request.acquire()),
        How::BlockingAThread => tokio::task::spawn_blocking(|| request.acquire_blocking()),
    };
    asked.again().await;
    waiter
}

/// The lock, which the waiter gets as soon as somebody tells him.
pub(crate) async fn promptly(what: &str, waiter: Waiter) -> LockGuard {
    had_within(PROMPT, what, waiter).await
}

/// The lock, which the waiter gets although perhaps nobody tells him.
pub(crate) async fn eventually_had(what: &str, waiter: Waiter) -> LockGuard {
    had_within(LIMIT, what, waiter).await
}

async fn had_within(limit: Duration, what: &str, waiter: Waiter) -> LockGuard {
    let got = tokio::time::timeout(limit, waiter).await;
    got.unwrap_or_else(|_| panic!("{what}: nothing within {limit:?}")).unwrap().unwrap()
}

/// Lets somebody hold "x" on every node, who is none of ours.
pub(crate) fn somebody_holds(servers: &Servers, ttl: Duration) {
    servers.iter().for_each(|server| server.probe().set_for(&key("x"), "somebody", ttl));
}

pub(crate) fn run(probe: &Probe, arguments: &[&str]) {
    let mut command = cmd(arguments[0]);
    command.arg(&arguments[1..]);
    let _: redis::Value = probe.run(&command).unwrap();
}

/// Something that happens to what it is given, and what it is called.
pub(crate) type Named<T> = (&'static str, fn(&T));

/// An argument of the holder: gives busy servers time to answer.
pub(crate) const UNHURRIED: &str = "node_timeout_ms=3000";

/// A process that takes a lock, and holds it as its arguments say.
pub(crate) fn holder(servers: &Servers, arguments: &[&str]) -> Program {
    Program::start(Command::new(env!("CARGO_BIN_EXE_holder")).env("REDLOCK_NODES", servers.nodes()).args(arguments))
}

/// Keys of other people's that expire too, so that the server does not get round to ours in time.
pub(crate) fn fill(probe: &Probe) {
    let script = "for i = 1, 10000 do redis.call('SET', 'other' .. i, 'v', 'EX', 3600) end";
    run(probe, &["EVAL", script, "0"]);
}

pub(crate) type Acquire = Pin<Box<dyn Future<Output = Result<LockGuard, Error>> + Send>>;

/// An acquisition of "x" that stands in line already.
pub(crate) fn in_line(locks: &LockManager) -> Acquire {
    in_line_for(locks, "x")
}

/// The same of another lock.
pub(crate) fn in_line_for(locks: &LockManager, name: &str) -> Acquire {
    let mut acquire: Acquire = Box::pin(locks.lock(name).ttl(LONG).acquire());
    assert!(poll_once(&mut acquire).is_none(), "it has to wait");
    acquire
}

pub(crate) fn poll_once(acquire: &mut Acquire) -> Option<Result<LockGuard, Error>> {
    match acquire.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

/// Polls an acquisition now and then, which has to wait, until something is so.
pub(crate) async fn polled_until(acquire: &mut Acquire, what: &str, mut is_so: impl FnMut() -> bool) {
    eventually_async(what, async || {
        assert!(poll_once(acquire).is_none(), "it has to wait");
        is_so()
    })
    .await;
}

pub(crate) fn spawn_in_line(locks: &LockManager) -> Waiter {
    tokio::spawn(in_line(locks))
}

pub(crate) fn release_by_hand(servers: &Servers) {
    servers.iter().for_each(|server| _ = server.probe().del(&key("x")));
}
