//! The floor, with a release message that wakes those who wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::{PushInfo, PushKind, Script, Value};
use redlock_compare::{Contestant, Orders};
use redlock_tests::clock::monotonic_nanoseconds;
use tokio::sync::{OwnedMutexGuard, watch};
use tokio::time::timeout;

use super::floor::{ByHand, DELETE_IF_OURS, is_okay, is_one};
use super::nodes::Nodes;
use super::whole_milliseconds;

const DELETE_IF_OURS_AND_TELL: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then \
    redis.call('DEL', KEYS[1]) redis.call('PUBLISH', KEYS[1], '') return 1 end return 0";

/// What stands before a name in its key, which is the channel on which its releases are published too.
const PREFIX: &str = "floor-push:";

/// How long somebody waits at most who was refused: a message may be lost.
const SAFETY_NET: Duration = Duration::from_millis(50);

/// The floor, with a message of each release. Who waits and was told of it by a majority asks all nodes again.
#[derive(Clone)]
pub(super) struct Push {
    nodes: Nodes,
    ttl: u64,
    /// The hash of the script that undoes a lost attempt.
    undo: Arc<str>,
    /// The hash of the script that releases.
    release: Arc<str>,
    board: Arc<Board>,
}

/// What was told of each name. A std mutex: it is never held across an await.
#[derive(Default)]
struct Board(Mutex<HashMap<String, watch::Sender<Releases>>>);

/// How often each node told of a release.
type Releases = Vec<u64>;

impl Board {
    fn told(&self, node: usize, push: &PushInfo) {
        // Of a pattern's message: the pattern, the channel, the text.
        if let (PushKind::PMessage, Some(Value::BulkString(channel))) = (&push.kind, push.data.get(1))
            && let Ok(channel) = str::from_utf8(channel)
            && let Some(releases) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(channel)
        {
            releases.send_modify(|releases| releases[node] += 1);
        }
    }

    fn watch(&self, key: &str, nodes: usize) -> watch::Receiver<Releases> {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match names.get(key) {
            Some(releases) => releases.subscribe(),
            None => names.entry(key.to_owned()).or_insert(watch::Sender::new(vec![0; nodes])).subscribe(),
        }
    }
}

impl Push {
    pub(super) async fn connect(orders: &Orders) -> Self {
        let (undo, release) = (Script::new(DELETE_IF_OURS), Script::new(DELETE_IF_OURS_AND_TELL));
        let board = Arc::new(Board::default());
        let told = Arc::clone(&board);
        let pushes = Arc::new(move |node, push: &PushInfo| told.told(node, push));
        let mut nodes = Nodes::connect(&orders.nodes, &[&undo, &release], Some(pushes)).await;
        nodes.listen(&format!("{PREFIX}*")).await;
        let (undo, release) = (undo.get_hash().into(), release.get_hash().into());
        Self { nodes, ttl: whole_milliseconds(orders.ttl), undo, release, board }
    }
}

impl Contestant for Push {
    type Held = ByHand;

    async fn acquire(&self, name: &str) -> ByHand {
        let key = self.key(name);
        let mut releases = self.board.watch(&key, self.nodes.count());
        loop {
            // Before the attempt: a release behind it must not be missed.
            let before = releases.borrow_and_update().clone();
            let lock = ByHand::new(key.clone());
            let granted = self.nodes.ask(&lock.set(self.ttl), is_okay).await;
            if granted >= self.nodes.majority() {
                return lock;
            }
            if self.nodes.count() > 1 {
                self.nodes.ask(&lock.delete(&self.undo), is_one).await;
            }
            let is_released = |now: &Releases| {
                now.iter().zip(&before).filter(|(now, before)| now > before).count() >= self.nodes.majority()
            };
            // The votes were split, perhaps: nobody will tell.
            let pause = if granted > 0 { jitter() } else { SAFETY_NET };
            // Over or told, the next thing is the same.
            let _ = timeout(pause, releases.wait_for(is_released)).await;
        }
    }

    async fn release(&self, held: ByHand) {
        let released = self.nodes.ask(&held.delete(&self.release), is_one).await;
        assert!(released >= self.nodes.majority(), "the lock was held");
    }

    fn key(&self, name: &str) -> String {
        format!("{PREFIX}{name}")
    }
}

/// The same behind a line in the process, one for each name: only the first speaks to Redis.
#[derive(Clone)]
pub(super) struct Line {
    push: Push,
    lines: Arc<Mutex<HashMap<String, FirstInLine>>>,
}

/// Whose turn it is; tokio's mutex is fair.
type FirstInLine = Arc<tokio::sync::Mutex<()>>;

impl Line {
    pub(super) async fn connect(orders: &Orders) -> Self {
        Self { push: Push::connect(orders).await, lines: Arc::default() }
    }

    fn of(&self, name: &str) -> FirstInLine {
        Arc::clone(self.lines.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default())
    }
}

impl Contestant for Line {
    type Held = (ByHand, OwnedMutexGuard<()>);

    async fn acquire(&self, name: &str) -> Self::Held {
        let turn = self.of(name).lock_owned().await;
        (self.push.acquire(name).await, turn)
    }

    async fn release(&self, (held, turn): Self::Held) {
        self.push.release(held).await;
        drop(turn);
    }

    fn key(&self, name: &str) -> String {
        self.push.key(name)
    }
}

/// Up to a millisecond.
fn jitter() -> Duration {
    Duration::from_nanos(monotonic_nanoseconds() % 1_000_000)
}
