//! The least that a quorum lock can do: two commands, sent to all nodes at once, done when a majority answered.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Script, Value};
use redlock_compare::{Contestant, Orders};
use tokio::time::sleep;
use uuid::Uuid;

use super::nodes::Nodes;
use super::whole_milliseconds;

pub(super) const DELETE_IF_OURS: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

/// Between two looks of somebody who waits.
const PAUSE: Duration = Duration::from_millis(1);

/// `SET NX PX`, and a compare-and-delete by EVALSHA; who waits asks every millisecond.
#[derive(Clone)]
pub(super) struct Floor {
    nodes: Nodes,
    ttl: u64,
    /// The hash of the script that deletes.
    delete: Arc<str>,
}

/// What a lock by hand has to remember.
pub(super) struct ByHand {
    pub(super) key: String,
    pub(super) owner: String,
}

impl ByHand {
    pub(super) fn new(key: String) -> Self {
        Self { key, owner: Uuid::new_v4().to_string() }
    }

    pub(super) fn set(&self, ttl: u64) -> Cmd {
        let mut set = redis::cmd("SET");
        set.arg(&self.key).arg(&self.owner).arg("NX").arg("PX").arg(ttl);
        set
    }

    pub(super) fn delete(&self, script: &str) -> Cmd {
        let mut delete = redis::cmd("EVALSHA");
        delete.arg(script).arg(1).arg(&self.key).arg(&self.owner);
        delete
    }
}

impl Floor {
    pub(super) async fn connect(orders: &Orders) -> Self {
        let delete = Script::new(DELETE_IF_OURS);
        let nodes = Nodes::connect(&orders.nodes, &[&delete], None).await;
        Self { nodes, ttl: whole_milliseconds(orders.ttl), delete: delete.get_hash().into() }
    }
}

impl Contestant for Floor {
    type Held = ByHand;

    async fn acquire(&self, name: &str) -> ByHand {
        loop {
            let lock = ByHand::new(self.key(name));
            if self.nodes.ask(&lock.set(self.ttl), is_okay).await >= self.nodes.majority() {
                return lock;
            }
            self.nodes.ask(&lock.delete(&self.delete), is_one).await;
            sleep(PAUSE).await;
        }
    }

    async fn release(&self, held: ByHand) {
        let deleted = self.nodes.ask(&held.delete(&self.delete), is_one).await;
        assert!(deleted >= self.nodes.majority(), "the lock was held");
    }

    fn key(&self, name: &str) -> String {
        format!("floor:{name}")
    }
}

/// The same two steps with the scripts of ours, called with what ours gives them for a lock that nobody else wants.
#[derive(Clone)]
pub(super) struct Fenced {
    nodes: Nodes,
    ttl: u64,
    /// The hash of the script that acquires.
    acquire: Arc<str>,
    /// The hash of `commit.lua`.
    commit: Arc<str>,
    /// The hash of `release.lua`.
    release: Arc<str>,
}

impl Fenced {
    pub(super) async fn connect(orders: &Orders) -> Self {
        let acquire = Script::new(concat!(
            include_str!("../../../../redlock-runtime/src/node/redis/lua/acquire.lua"),
            include_str!("../../../../redlock-runtime/src/node/redis/lua/raise.lua"),
            include_str!("../../../../redlock-runtime/src/node/redis/lua/contend.lua"),
            include_str!("../../../../redlock-runtime/src/node/redis/lua/acquire_told.lua")
        ));
        let commit = Script::new(include_str!("../../../../redlock-runtime/src/node/redis/lua/commit.lua"));
        let release = Script::new(include_str!("../../../../redlock-runtime/src/node/redis/lua/release.lua"));
        let nodes = Nodes::connect(&orders.nodes, &[&acquire, &commit, &release], None).await;
        let [acquire, commit, release] = [acquire, commit, release].map(|script| script.get_hash().into());
        Self { nodes, ttl: whole_milliseconds(orders.ttl), acquire, commit, release }
    }
}

impl Contestant for Fenced {
    type Held = ByHand;

    async fn acquire(&self, name: &str) -> ByHand {
        let lock = ByHand::new(self.key(name));
        let least = microseconds_since_1970();
        // A node that is alone begins a counter that it may have forgotten; of several none does before a commit.
        let first = if self.nodes.count() == 1 { (least + TWICE_THE_SKEW).to_string() } else { String::new() };
        let fence = format!("redlock-fence:{{{}}}", lock.key);
        let mut acquire = redis::cmd("EVALSHA");
        acquire.arg(&*self.acquire).arg(2).arg(&lock.key).arg(&fence);
        acquire.arg(&lock.owner).arg(self.ttl).arg(least).arg(first).arg(RETENTION_MILLISECONDS);
        // A counter is never as small as 1, which says that there is none.
        let counted = self.nodes.ask(&acquire, |answer| matches!(answer, Value::Int(2..))).await;
        if counted < self.nodes.majority() {
            let mut commit = redis::cmd("EVALSHA");
            commit.arg(&*self.commit).arg(2).arg(&lock.key).arg(&fence);
            commit.arg(&lock.owner).arg(least + TWICE_THE_SKEW).arg(RETENTION_MILLISECONDS);
            let committed = self.nodes.ask(&commit, |answer| matches!(answer, Value::Int(_))).await;
            assert!(committed >= self.nodes.majority(), "nobody else wants this lock");
        }
        lock
    }

    async fn release(&self, held: ByHand) {
        let mut release = held.delete(&self.release);
        release.arg(0);
        let released = self.nodes.ask(&release, is_one).await;
        assert!(released >= self.nodes.majority(), "the lock was held");
    }

    fn key(&self, name: &str) -> String {
        format!("floor-fenced:{name}")
    }
}

/// How long the runtime has nodes keep a counter.
const RETENTION_MILLISECONDS: u64 = 24 * 60 * 60 * 1000;
/// Twice the default `max_clock_skew`, in microseconds.
const TWICE_THE_SKEW: u128 = 120_000_000;

#[expect(clippy::disallowed_methods, reason = "fencing counters follow the time of day")]
fn microseconds_since_1970() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_micros())
}

pub(super) fn is_okay(answer: &Value) -> bool {
    matches!(answer, Value::Okay)
}

pub(super) fn is_one(answer: &Value) -> bool {
    matches!(answer, Value::Int(1))
}
