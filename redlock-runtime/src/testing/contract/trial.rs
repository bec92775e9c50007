//! What all that is tried out needs: two nodes of one store, keys that nobody else has, and requests with their answers in words.

use std::fmt::{Debug, Display};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::{BrokenPromise, LONG};
use crate::node::{
    Acquire, BoxFuture, Changes, Commit, CounterRule, Extend, Keep, Listener, Node, NodeError, Outcome, Release, Vote,
};
use crate::platform::entropy::fresh_owner;
use crate::platform::{clock, tasks};

/// How long a request may take before it counts as one that is not answered.
const ANSWER: Duration = Duration::from_secs(10);

/// How much later than its TTL a key may end: the store may look for keys that have ended now and then.
const LATE: Duration = Duration::from_secs(5);

/// How much sooner it may seem to end, because clocks do not run alike.
const EARLY: Duration = Duration::from_millis(10);

/// How long the store is left alone between two looks at it.
const PAUSE: Duration = Duration::from_millis(20);

/// The first TTL of a key that is to end, and what follows if the machine was too slow for it.
const SHORT: [Duration; 3] = [Duration::from_millis(400), Duration::from_secs(2), Duration::from_secs(10)];

/// Two nodes of one store.
#[derive(Clone)]
pub(super) struct Trial {
    /// As this process has it.
    pub(super) here: Client,
    /// As another one has it.
    pub(super) there: Client,
    /// What all keys of this trial begin with.
    prefix: Arc<str>,
}

impl Trial {
    /// The trial, and what is told of changes here.
    pub(super) fn new(here: Arc<dyn Node>, there: Arc<dyn Node>) -> (Self, Arc<Told>) {
        let prefix = format!("redlock:ConfigurableLock.check-node-{}-", fresh_owner()).into();
        let told = Arc::<Told>::default();
        here.watch(Changes::new(0, Arc::clone(&told) as Arc<dyn Listener>));
        there.watch(Changes::new(0, Arc::<Told>::default()));
        (Self { here: Client(here), there: Client(there), prefix }, told)
    }

    /// A key that nothing else uses.
    pub(super) fn key(&self, name: &str) -> Arc<str> {
        format!("{}{name}", self.prefix).into()
    }

    pub(super) fn has_counters(&self) -> bool {
        self.here.0.has_counters()
    }

    /// A key of this owner that has ended: another one that was set later, for as long, has.
    pub(super) async fn expired(&self, name: &str, owner: &Arc<str>) -> Result<Arc<str>, BrokenPromise> {
        let (key, later) = (self.key(name), self.key(&format!("{name}-later")));
        let asked = clock::now();
        self.here.granted("of a free key", &key, owner, SHORT[0]).await?;
        self.here.granted("of a free key", &later, owner, SHORT[0]).await?;
        self.there.ends("acquire", "a key whose TTL was over", &later, asked + SHORT[0]).await?;
        Ok(key)
    }

    /// A key of this owner with which something was done before it would have ended; and when that is.
    pub(super) async fn before_it_ends(
        &self,
        name: &str,
        owner: &Arc<str>,
        during: impl AsyncFn(&Arc<str>) -> Result<(), BrokenPromise>,
    ) -> Result<(Arc<str>, Instant), BrokenPromise> {
        in_time(async |number, ttl| {
            let (key, asked) = (self.key(&format!("{name}-{number}")), clock::now());
            self.here.granted("of a free key", &key, owner, ttl).await?;
            during(&key).await?;
            Ok((key, asked + ttl))
        })
        .await
    }
}

/// Does something with a key that is to be over before the key ends, and again with a longer TTL if it was not.
pub(super) async fn in_time<T>(
    during: impl AsyncFn(&str, Duration) -> Result<T, BrokenPromise>,
) -> Result<T, BrokenPromise> {
    let mut tries = SHORT.into_iter().enumerate();
    loop {
        let (number, ttl) = tries.next().unwrap_or((SHORT.len(), LONG));
        let asked = clock::now();
        let result = during(&number.to_string(), ttl).await;
        let took = clock::now().saturating_duration_since(asked);
        // A request without an answer has none with a longer TTL either.
        if took < ttl || took >= ANSWER || number == SHORT.len() {
            return result;
        }
    }
}

/// What was told of changes.
#[derive(Default)]
pub(super) struct Told {
    /// The keys; `None` is any. A std mutex: it is never held across an await.
    keys: Mutex<Vec<Option<String>>>,
    changed: Notify,
}

impl Listener for Told {
    fn changed(&self, _: usize, key: Option<&str>) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).push(key.map(str::to_owned));
        self.changed.notify_waiters();
    }
}

impl Told {
    /// Forgets what it was told of so far.
    pub(super) fn forget(&self) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Whether it is told within this time that the key may have changed.
    pub(super) async fn hears_of(&self, key: &str, within: Duration) -> bool {
        let heard = async {
            loop {
                let more = self.changed.notified();
                let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if keys.iter().any(|told| told.as_deref().is_none_or(|told| told == key)) {
                    return;
                }
                more.await;
            }
        };
        timeout(within, heard).await.is_ok()
    }
}

/// One who asks.
#[derive(Clone)]
pub(super) struct Client(pub(super) Arc<dyn Node>);

impl Client {
    /// The answer to a request, which runs as a task of its own, because it may panic.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        method: &'static str,
        situation: impl Display,
        expected: impl Display,
        question: impl for<'a> FnOnce(&'a dyn Node) -> BoxFuture<'a, Result<T, NodeError>> + Send + 'static,
    ) -> Result<T, BrokenPromise> {
        let broken = |came: &dyn Display| BrokenPromise::new(method, &situation, &expected, came);
        let node = Arc::clone(&self.0);
        let asked = tasks::spawn(async move { timeout(ANSWER, question(&*node)).await });
        match asked.await {
            Ok(Ok(Ok(answer))) => Ok(answer),
            Ok(Ok(Err(error))) => Err(broken(&format_args!("an error: {error}"))),
            Ok(Err(_)) => Err(broken(&format_args!("no answer within {ANSWER:?}"))),
            Err(_) => Err(broken(&"a panic")),
        }
    }

    /// The answer has to be this.
    async fn answers<T: Debug + PartialEq + Send + 'static>(
        &self,
        method: &'static str,
        situation: &str,
        expected: T,
        question: impl for<'a> FnOnce(&'a dyn Node) -> BoxFuture<'a, Result<T, NodeError>> + Send + 'static,
    ) -> Result<(), BrokenPromise> {
        let came = self.ask(method, situation, shown(&expected), question).await?;
        same(method, situation, expected, came)
    }

    /// A vote, granted or not.
    pub(super) async fn vote(
        &self,
        situation: &str,
        expected: &str,
        key: &Arc<str>,
        owner: &Arc<str>,
        ttl: Duration,
        counter: Option<CounterRule>,
    ) -> Result<Vote, BrokenPromise> {
        let ask = Acquire { key: Arc::clone(key), owner: Arc::clone(owner), ttl, is_watched: true, counter };
        self.ask("acquire", situation, expected, |node| node.acquire(ask)).await
    }

    /// The key has to be granted.
    pub(super) async fn granted(
        &self,
        situation: &str,
        key: &Arc<str>,
        owner: &Arc<str>,
        ttl: Duration,
    ) -> Result<(), BrokenPromise> {
        let Vote { held, .. } = self.vote(situation, "a grant", key, owner, ttl, None).await?;
        held.map_or(Ok(()), |_| Err(BrokenPromise::new("acquire", situation, "a grant", "a refusal")))
    }

    /// The key has to be refused in favour of this holder; answers for how long that one has it, if the node tells.
    pub(super) async fn refused(
        &self,
        situation: &str,
        key: &Arc<str>,
        owner: &Arc<str>,
        holder: &Arc<str>,
    ) -> Result<Option<Duration>, BrokenPromise> {
        const EXPECTED: &str = "a refusal that names the owner who has it";
        let Vote { held, .. } = self.vote(situation, EXPECTED, key, owner, LONG, None).await?;
        match held {
            Some(held) if held.owner == *holder => Ok(held.remaining),
            Some(_) => Err(BrokenPromise::new("acquire", situation, EXPECTED, "a refusal that names somebody else")),
            None => Err(BrokenPromise::new("acquire", situation, EXPECTED, "a grant")),
        }
    }

    pub(super) async fn extend(
        &self,
        situation: &str,
        key: &Arc<str>,
        owner: &Arc<str>,
        ttl: Duration,
        expected: Outcome,
    ) -> Result<(), BrokenPromise> {
        let ask = Extend { key: Arc::clone(key), owner: Arc::clone(owner), ttl };
        self.answers("extend", situation, expected, |node| node.extend(ask)).await
    }

    pub(super) async fn release(
        &self,
        situation: &str,
        key: &Arc<str>,
        owner: &Arc<str>,
        expected: Outcome,
    ) -> Result<(), BrokenPromise> {
        self.release_as(situation, key, owner, None, expected).await
    }

    /// Gives the key to another owner.
    pub(super) async fn keep(
        &self,
        situation: &str,
        key: &Arc<str>,
        owner: &Arc<str>,
        (next, ttl): (&Arc<str>, Duration),
        expected: Outcome,
    ) -> Result<(), BrokenPromise> {
        self.release_as(situation, key, owner, Some(Keep { owner: Arc::clone(next), ttl }), expected).await
    }

    async fn release_as(
        &self,
        situation: &str,
        key: &Arc<str>,
        owner: &Arc<str>,
        keep: Option<Keep>,
        expected: Outcome,
    ) -> Result<(), BrokenPromise> {
        let ask = Release { key: Arc::clone(key), owner: Arc::clone(owner), keep };
        self.answers("release", situation, expected, |node| node.release(ask)).await
    }

    /// The counter after a commit.
    pub(super) async fn commit(
        &self,
        situation: &str,
        key: &Arc<str>,
        owner: &Arc<str>,
        token: u64,
        expected: Option<u64>,
    ) -> Result<(), BrokenPromise> {
        let ask = Commit { key: Arc::clone(key), owner: Arc::clone(owner), token, keep_for: LONG };
        self.answers("commit", situation, expected, |node| node.commit(ask)).await
    }

    /// The key has to end, not sooner than this, and not much later; it is somebody else's then, for long.
    pub(super) async fn ends(
        &self,
        method: &'static str,
        situation: &str,
        key: &Arc<str>,
        end: Instant,
    ) -> Result<(), BrokenPromise> {
        let early = end.saturating_duration_since(self.ends_by(method, situation, key, end).await?);
        let is_early = early > EARLY;
        let came = || format!("a grant to another owner {early:?} before");
        if is_early { Err(BrokenPromise::new(method, situation, "that it lives for its TTL", came())) } else { Ok(()) }
    }

    /// The key has to end, not much later than this; answers at which moment somebody else has it.
    pub(super) async fn ends_by(
        &self,
        method: &'static str,
        situation: &str,
        key: &Arc<str>,
        end: Instant,
    ) -> Result<Instant, BrokenPromise> {
        let another = fresh_owner();
        loop {
            let asked = clock::now();
            let Vote { held, .. } = self.vote(situation, "an answer", key, &another, LONG, None).await?;
            if held.is_none() {
                return Ok(clock::now());
            }
            if asked > end + LATE {
                let came = format!("refusals for {LATE:?}");
                return Err(BrokenPromise::new(method, situation, "a grant to another owner", came));
            }
            sleep(PAUSE).await;
        }
    }

    /// The key has to be this owner's up to this moment at least.
    pub(super) async fn stays(
        &self,
        method: &'static str,
        situation: &str,
        key: &Arc<str>,
        owner: &Arc<str>,
        until: Instant,
    ) -> Result<(), BrokenPromise> {
        let another = fresh_owner();
        loop {
            let is_over = clock::now() > until;
            let is_held = self.refused(situation, key, &another, owner).await;
            is_held.map_err(|broken| {
                BrokenPromise::new(method, situation, "that the key is still its owner's", broken.came)
            })?;
            if is_over {
                return Ok(());
            }
            sleep(PAUSE).await;
        }
    }
}

/// What comes has to be what is expected.
pub(super) fn same<T: Debug + PartialEq>(
    method: &'static str,
    situation: &str,
    expected: T,
    came: T,
) -> Result<(), BrokenPromise> {
    let is_same = came == expected;
    is_same.then_some(()).ok_or_else(|| BrokenPromise::new(method, situation, shown(expected), shown(came)))
}

fn shown(value: impl Debug) -> String {
    format!("{value:?}")
}
