//! A voter that somebody else wrote: nothing that it does, or does not do, harms more than its own vote.

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio::task::JoinError;
use tokio::time::timeout;

use super::super::check::{CarryOut, Examination, Examining, Step, Tells, Trial, try_out};
use super::super::counters::{Answer, Counted, Counting, Number, Recorded};
use super::super::inspect::{Cursor, Deleted, Inspecting, Listed, LockRecord, OwnerLabel, Page};
use super::super::{Action, Changes, Command, Delivery, Failure, NodeStatus, PendingReply, Reply, Voter, VoterId};
use super::{Acquire, BoxFuture, Commit, CounterRule, Extend, Held, Keep, Node, NodeError, Outcome, Release, Vote};
use crate::node::identity;
use crate::node::limits::Limits;
use crate::platform::{clock, tasks};
use crate::protocol::DEAD_AFTER_TIMEOUTS;
use crate::protocol::{Ballot, Counter, RELEASED, RETENTION, ServerInfo, StoredMark, confirmation};
use crate::values::keys::{CounterKeys, Keys, LockKeys};

/// Somebody else's node as a voter.
pub(crate) struct ForeignNode {
    /// What it is called.
    label: String,
    /// What its requests have too.
    shared: Arc<Shared>,
    /// The age below which it does not vote.
    longest_ttl: Duration,
    /// What is taken for granted if it does not say who it is.
    unknown: Arc<ServerInfo>,
}

struct Shared {
    node: Arc<dyn Node>,
    /// Whether it keeps fencing counters.
    has_counters: bool,
    /// How long a request may take before it is given up.
    dead_after: Duration,
    /// Whether one of the requests that are on their way is overdue.
    is_late: AtomicBool,
    /// How many requests are on their way.
    on_their_way: AtomicUsize,
    /// Whether nothing but releases is asked any more.
    is_closed: AtomicBool,
    /// Who is told of changes of keys.
    changes: OnceLock<Changes>,
    /// In which order requests on a key come.
    requests: Arc<Requests>,
}

impl ForeignNode {
    pub(crate) fn new(node: Arc<dyn Node>, limits: Limits) -> Self {
        let Limits { node_timeout, longest_ttl, .. } = limits;
        let shared = Shared {
            has_counters: node.has_counters(),
            dead_after: node_timeout * DEAD_AFTER_TIMEOUTS,
            is_late: AtomicBool::new(false),
            on_their_way: AtomicUsize::new(0),
            is_closed: AtomicBool::new(false),
            changes: OnceLock::new(),
            requests: Arc::default(),
            node,
        };
        let unknown = Arc::new(identity::unknown(clock::now(), longest_ttl));
        Self { label: shared.node.label().to_owned(), shared: Arc::new(shared), longest_ttl, unknown }
    }

    pub(crate) fn has_counters(&self) -> bool {
        self.shared.has_counters
    }

    fn answer<T: Send + 'static>(
        &self,
        reply_timeout: Duration,
        question: impl for<'a> FnOnce(&'a dyn Node) -> BoxFuture<'a, Result<T, NodeError>> + Send + 'static,
    ) -> Answer<T> {
        let node = Arc::clone(&self.shared.node);
        // Whoever asks does so on a task of its own, which a panic ends.
        Box::pin(async move { within(reply_timeout, question(&*node)).await })
    }
}

impl fmt::Debug for ForeignNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ForeignNode").field(&self.label).finish()
    }
}

impl Voter for ForeignNode {
    fn label(&self) -> &str {
        &self.label
    }

    fn id(&self) -> VoterId<'_> {
        VoterId::Object(Arc::as_ptr(&self.shared.node).cast::<()>().addr())
    }

    fn ask(&self, command: Arc<Command>) -> PendingReply {
        Arc::clone(&self.shared).ask(command)
    }

    fn known(&self, _: &str) -> NodeStatus {
        match catch_unwind(AssertUnwindSafe(|| self.shared.node.identity())) {
            Ok(None) => NodeStatus::Introduced(Arc::clone(&self.unknown)),
            Ok(Some(is)) => {
                let server_info = ServerInfo::new(clock::now(), is.age, self.longest_ttl, is.run_id, is.role);
                NodeStatus::Introduced(Arc::new(server_info))
            }
            Err(_) => NodeStatus::Unreachable,
        }
    }

    fn uses_sockets(&self) -> bool {
        // Whoever wrote it says so himself if it does.
        false
    }

    fn keeps_marks(&self) -> bool {
        false
    }

    fn grants_permits(&self) -> bool {
        false
    }

    fn reserves_tokens(&self) -> bool {
        false
    }

    fn overdue(&self, _: &str) {
        self.shared.is_late.store(true, Ordering::Release);
    }

    fn report_to(&self, changes: Changes) {
        // It is told once.
        let _ = self.shared.changes.set(changes.clone());
        if catch_unwind(AssertUnwindSafe(|| self.shared.node.watch(changes))).is_err() {
            tracing::error!(
                node = self.label,
                "it panicked when it was told where to report changes, and reports none"
            );
        }
    }

    fn close(&self) {
        self.shared.is_closed.store(true, Ordering::Release);
    }
}

impl Shared {
    fn ask(self: Arc<Self>, command: Arc<Command>) -> PendingReply {
        if let Some(reason) = self.refuses(&command) {
            return PendingReply::new(std::future::ready(Reply::not_sent(reason)));
        }
        PendingReply::new(async move {
            // All of this at the first poll: from then on it does not depend on whoever polls.
            let in_order = self.requests.append(command.key());
            let request = OnItsWay::new(Arc::clone(&self));
            let carried_out = tasks::spawn(async move {
                let _request = request;
                self.carry_out(in_order, &command).await
            });
            carried_out.await.unwrap_or_else(|error| nobody_knows(told(&error)))
        })
    }

    /// Why it is not asked, if it is not. What is owed is asked for in any case.
    fn refuses(&self, command: &Command) -> Option<&'static str> {
        if matches!(command.action, Action::Release { .. }) {
            return None;
        }
        if self.is_closed.load(Ordering::Acquire) {
            return Some("the lock manager was shut down");
        }
        if matches!(command.action, Action::Commit { .. }) && !self.has_counters {
            return Some("it has no fencing counters");
        }
        // What nobody waits for any more is not late.
        let is_late = self.is_late.load(Ordering::Acquire) && self.on_their_way.load(Ordering::Acquire) > 0;
        is_late.then_some("it has not answered an earlier request in time")
    }

    async fn carry_out(&self, in_order: RequestInOrder, command: &Command) -> Reply {
        let _in_order = in_order.after_those_before(self.dead_after).await;
        if command.is_recalled() {
            return Reply::not_sent("it was cancelled before it was sent");
        }
        match timeout(self.dead_after, self.put(command)).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(error)) => Reply::Failed(error.into_failure()),
            Err(_) => nobody_knows(format!("no answer within {:?}", self.dead_after)),
        }
    }

    async fn put(&self, command: &Command) -> Result<Reply, NodeError> {
        let (key, owner) = (Arc::clone(command.key()), Arc::clone(&command.owner));
        let keep_for = command.retention;
        Ok(match command.action {
            Action::Acquire { ttl, is_watched } => {
                let fence = command.fence.as_ref();
                let counter = fence.filter(|_| self.has_counters).map(|proposal| CounterRule {
                    least: proposal.least(),
                    first: self.counter(None).grant(*proposal).number(),
                    keep_for,
                });
                let Vote { held, counter } =
                    self.node.acquire(Acquire { key, owner, ttl, is_watched, counter }).await?;
                let counter = fence.map(|_| self.counter(counter));
                match held {
                    None => Reply::Granted { counter, is_wanted: false, mark: None },
                    Some(Held { owner, remaining }) => {
                        Reply::NotOurs { owner: Some(owner), remaining, counter, mark: None }
                    }
                }
            }
            Action::Adopt { ttl } => self.adopt(command, ttl).await?,
            Action::Commit { token } => {
                let stored = self.node.commit(Commit { key, owner, token, keep_for }).await?;
                let is_confirmed = confirmation(token, stored.map(Counter::Known)) == Ballot::Granted;
                if is_confirmed { Reply::Done } else { Reply::NOT_OURS }
            }
            Action::Extend { ttl, .. } => match self.node.extend(Extend { key, owner, ttl }).await? {
                Outcome::Done => Reply::Done,
                Outcome::OtherOwner => Reply::NOT_OURS,
                Outcome::NoKey => Reply::Missing,
            },
            Action::Mark => return Err(NodeError::not_sent(KEEPS_NO_MARKS)),
            Action::Release { keep, .. } => {
                let before = command.predecessor.as_deref();
                let keep = match before.and_then(|before| Some((before, before.gets_back?))) {
                    Some((before, ttl)) => Some(Keep { owner: Arc::clone(&before.owner), ttl }),
                    None => (!keep.is_zero()).then(|| Keep { owner: format!("{owner}{RELEASED}").into(), ttl: keep }),
                };
                let mut released = self.node.release(Release { key: Arc::clone(&key), owner, keep }).await?;
                if let (Outcome::OtherOwner, Some(before)) = (released, before.filter(|it| it.gets_back.is_none())) {
                    let owner = Arc::clone(&before.owner);
                    released = self.node.release(Release { key, owner, keep: None }).await?;
                }
                match released {
                    Outcome::Done => Reply::Done,
                    Outcome::OtherOwner | Outcome::NoKey => Reply::NOT_OURS,
                }
            }
        })
    }

    /// Gives a key to another owner, with what every node can do: a release that leaves the key to somebody compares and sets,
    /// and does nothing to a key which is that one's already.
    async fn adopt(&self, command: &Command, ttl: Duration) -> Result<Reply, NodeError> {
        let (key, owner) = (|| Arc::clone(command.key()), || Arc::clone(&command.owner));
        let before = command.predecessor.as_ref().map_or_else(owner, |before| Arc::clone(&before.owner));
        let keep = Some(Keep { owner: owner(), ttl });
        let is_ours = match self.node.release(Release { key: key(), owner: before, keep }).await? {
            // One that was adopted before lives from then on, and not from now.
            Outcome::Done => match self.node.extend(Extend { key: key(), owner: owner(), ttl }).await? {
                Outcome::Done => true,
                Outcome::NoKey => return Ok(Reply::Missing),
                Outcome::OtherOwner => false,
            },
            Outcome::NoKey => return Ok(Reply::Missing),
            Outcome::OtherOwner => false,
        };
        let fence = command.fence.as_ref();
        if is_ours && (fence.is_none() || !self.has_counters) {
            return Ok(Reply::Granted { counter: fence.map(|_| self.counter(None)), is_wanted: false, mark: None });
        }
        // Only a refusal tells whose the key is, and what the counter is.
        let rule = CounterRule { least: 1, first: None, keep_for: command.retention };
        let counter = fence.filter(|_| self.has_counters).map(|_| rule);
        let ask = Acquire { key: key(), owner: owner(), ttl, is_watched: false, counter };
        let Vote { held, counter } = self.node.acquire(ask).await?;
        let counter = fence.map(|_| self.counter(counter));
        Ok(match held {
            Some(Held { owner, .. }) if owner == command.owner => {
                Reply::Granted { counter, is_wanted: false, mark: None }
            }
            Some(Held { owner, remaining }) => Reply::NotOurs { owner: Some(owner), remaining, counter, mark: None },
            // It has ended meanwhile: it was not to be taken anew.
            None => {
                let _ = self.node.release(Release { key: key(), owner: owner(), keep: None }).await?;
                Reply::Missing
            }
        })
    }

    /// What the node has as a fencing counter says, or that it has none.
    fn counter(&self, stored: Option<u64>) -> Counter {
        if !self.has_counters {
            return Counter::Forgotten;
        }
        let age = self.node.identity().map_or(Duration::MAX, |identity| identity.age);
        Counter::read(stored, age, RETENTION)
    }
}

fn nobody_knows(reason: impl Into<Arc<str>>) -> Reply {
    Reply::Failed(Failure { reason: reason.into(), delivery: Delivery::Unknown(None) })
}

fn told(error: &JoinError) -> &'static str {
    if error.is_panic() { "it panicked" } else { "its tokio runtime has ended" }
}

/// One of the requests that are on their way, however it ends.
struct OnItsWay(Arc<Shared>);

impl OnItsWay {
    fn new(shared: Arc<Shared>) -> Self {
        // What was late before is over, or was never on its way.
        if shared.on_their_way.fetch_add(1, Ordering::AcqRel) == 0 {
            shared.is_late.store(false, Ordering::Release);
        }
        Self(shared)
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        self.0.on_their_way.fetch_sub(1, Ordering::AcqRel);
        if self.0.is_late.swap(false, Ordering::AcqRel)
            && let Some(changes) = self.0.changes.get()
        {
            // What was not asked meanwhile is not watched.
            changes.any();
        }
    }
}

/// Requests on one key come one after another: whoever releases it and acquires it again must find it released.
#[derive(Default)]
struct Requests {
    /// A std mutex: it is never held across an await.
    last: Mutex<Last>,
    /// How many there were.
    count: AtomicUsize,
}

/// The last request on each key: which one, and what ends with it.
type Last = HashMap<Arc<str>, (usize, oneshot::Receiver<()>)>;

/// One of them; it is over when this is dropped.
struct RequestInOrder {
    requests: Arc<Requests>,
    key: Arc<str>,
    number: usize,
    /// Ends with the request before.
    before: Option<oneshot::Receiver<()>>,
    /// Dropped with it, which is all that the next one waits for.
    _over: oneshot::Sender<()>,
}

impl Requests {
    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(self: &Arc<Self>, key: &Arc<str>) -> RequestInOrder {
        let (over, is_over) = oneshot::channel();
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let before = self.last().insert(Arc::clone(key), (number, is_over)).map(|(_, before)| before);
        RequestInOrder { requests: Arc::clone(self), key: Arc::clone(key), number, before, _over: over }
    }
}

impl RequestInOrder {
    /// Returns when those before it on its key are over, to be kept while it lasts; the one before may be on a runtime that does not run.
    async fn after_those_before(mut self, reply_timeout: Duration) -> Self {
        if let Some(before) = self.before.take() {
            let _ = timeout(reply_timeout, before).await;
        }
        self
    }
}

impl Drop for RequestInOrder {
    fn drop(&mut self) {
        let mut last = self.requests.last();
        if last.get(&self.key).is_some_and(|(number, _)| *number == self.number) {
            last.remove(&self.key);
        }
    }
}

async fn within<T>(reply_timeout: Duration, answer: BoxFuture<'_, Result<T, NodeError>>) -> Result<T, Arc<str>> {
    match timeout(reply_timeout, answer).await {
        Ok(answer) => answer.map_err(NodeError::into_reason),
        Err(_) => Err(format!("no answer within {reply_timeout:?}").into()),
    }
}

/// It counts nobody: those who wait are counted on another node, or known only in their own process.
impl Counting for ForeignNode {
    fn record(&self, _: &Arc<str>, numbers: Vec<Number>, _: Duration) -> Answer<Vec<Recorded>> {
        let record = |number: Number| match number.waiting {
            Some(1..) => Err(Arc::from("it does not count those who wait")),
            Some(0) | None => Ok(None),
        };
        Box::pin(std::future::ready(Ok(numbers.into_iter().map(record).collect())))
    }

    fn enlist(&self, _: Vec<Arc<CounterKeys>>, _: &Keys, _: Duration) -> Answer<()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn count(&self, _: &Keys, _: Duration) -> Answer<Vec<Counted>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}

impl Inspecting for ForeignNode {
    /// It has no labels: there is no place for what no lock depends on.
    fn record_labels(&self, _: Vec<OwnerLabel>, _: Duration) -> Answer<()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn look(&self, keys: Arc<LockKeys>, reply_timeout: Duration) -> Answer<Option<LockRecord>> {
        let held = self.answer(reply_timeout, move |node| node.inspect(Arc::clone(&keys.lock)));
        Box::pin(async move {
            Ok(held.await?.map(|Held { owner, remaining }| LockRecord { owner, remaining, label: None }))
        })
    }

    /// Also one that votes, and cannot be inspected.
    fn answers(&self, nobodys: Arc<LockKeys>, reply_timeout: Duration) -> Answer<()> {
        let extended = self.answer(reply_timeout, move |node| {
            let (key, owner) = (Arc::clone(&nobodys.lock), Arc::from("nobody"));
            node.extend(Extend { key, owner, ttl: reply_timeout })
        });
        Box::pin(async move { extended.await.map(drop) })
    }

    fn page(&self, wanted: Listed, _: Cursor, reply_timeout: Duration) -> Answer<Page> {
        // It has plain locks alone.
        let Listed::Locks(prefix) = wanted else { return Box::pin(std::future::ready(Ok(Page::default()))) };
        let keys = self.answer(reply_timeout, move |node| node.list(prefix));
        Box::pin(async move { Ok(Page { keys: keys.await?, next: None }) })
    }

    fn reset(&self, locks: Vec<Arc<LockKeys>>, reply_timeout: Duration) -> Answer<Vec<Deleted>> {
        let node = Arc::clone(&self.shared.node);
        Box::pin(async move {
            let reset = locks.iter().map(|keys| within(reply_timeout, node.reset(Arc::clone(&keys.lock))));
            Ok(join_all(reset).await)
        })
    }

    fn mark(&self, _: Arc<str>, _: Duration) -> Answer<Option<StoredMark>> {
        Box::pin(std::future::ready(Err(Arc::from(KEEPS_NO_MARKS))))
    }

    fn reset_mark(&self, _: Arc<str>, _: Duration, _: Duration) -> Answer<bool> {
        Box::pin(std::future::ready(Err(Arc::from(KEEPS_NO_MARKS))))
    }
}

const KEEPS_NO_MARKS: &str = "it keeps no marks of completed fires";

/// What is tried out on it is asked for as everything else is.
impl Examining for ForeignNode {
    fn examine(&self, trial: Trial, reply_timeout: Duration) -> Answer<Vec<Examination>> {
        let (address, known) = (Arc::from(self.label.as_str()), self.known(""));
        let NodeStatus::Introduced(server_info) = known else {
            return Box::pin(std::future::ready(Err(Arc::from("it panicked when it was asked who it is"))));
        };
        let tells = if Arc::ptr_eq(&server_info, &self.unknown) { Tells::NoneNeeded } else { Tells::Itself };
        let trial = Trial { fence: trial.fence.filter(|_| self.shared.has_counters), ..trial };
        let mut asked = Asked { shared: Arc::clone(&self.shared), reply_timeout, round_trips: Vec::new() };
        Box::pin(async move {
            let mut failed = try_out(&trial, 0, &mut asked).await;
            if let Some(first) = failed.iter().position(|(step, _)| *step == Step::Acquire) {
                return Err(failed.swap_remove(first).1);
            }
            asked.round_trips.sort_unstable();
            let round_trip = asked.round_trips.get(asked.round_trips.len() / 2).copied().unwrap_or_default();
            Ok(vec![Examination { round_trip, failed, ..Examination::of(address, server_info, tells) }])
        })
    }
}

/// Carries a trial out.
struct Asked {
    shared: Arc<Shared>,
    /// How long each answer may take.
    reply_timeout: Duration,
    /// How long each took.
    round_trips: Vec<Duration>,
}

impl CarryOut for Asked {
    async fn carry_out(&mut self, command: Arc<Command>) -> Result<Reply, Arc<str>> {
        let began = clock::now();
        let shared = Arc::clone(&self.shared);
        let reply = timeout(self.reply_timeout, shared.ask(command)).await;
        self.round_trips.push(clock::now().saturating_duration_since(began));
        match reply {
            Ok(Reply::Failed(failure)) => Err(failure.reason),
            Ok(reply) => Ok(reply),
            Err(_) => Err(format!("no answer within {:?}", self.reply_timeout).into()),
        }
    }

    async fn look_at(&mut self, _: &Arc<LockKeys>, _: &Arc<str>, _: &Arc<CounterKeys>) -> Vec<(Step, Arc<str>)> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::sync::Semaphore;

    use super::*;

    /// Notes what it is asked to release, and answers when it is let.
    #[derive(Default)]
    struct Noting {
        began: Mutex<Vec<String>>,
        ended: Mutex<Vec<String>>,
        may_end: Option<Semaphore>,
    }

    impl Noting {
        fn held_up() -> Arc<Self> {
            Arc::new(Self { may_end: Some(Semaphore::new(0)), ..Self::default() })
        }

        fn let_end(&self, requests: usize) {
            self.may_end.as_ref().unwrap().add_permits(requests);
        }
    }

    struct Shown(Arc<Noting>);

    impl Node for Shown {
        fn label(&self) -> &'static str {
            "noting"
        }

        fn acquire(&self, _: Acquire) -> BoxFuture<'_, Result<Vote, NodeError>> {
            Box::pin(async { Ok(Vote::granted()) })
        }

        fn extend(&self, _: Extend) -> BoxFuture<'_, Result<Outcome, NodeError>> {
            Box::pin(std::future::pending())
        }

        fn release(&self, release: Release) -> BoxFuture<'_, Result<Outcome, NodeError>> {
            Box::pin(async move {
                let request = format!("{} of {}", release.owner, release.key);
                self.0.began.lock().unwrap().push(request.clone());
                if let Some(may_end) = &self.0.may_end {
                    may_end.acquire().await.unwrap().forget();
                }
                self.0.ended.lock().unwrap().push(request);
                Ok(Outcome::Done)
            })
        }
    }

    const PATIENT: Duration = Duration::from_secs(60);

    fn adapted(noting: &Arc<Noting>, node_timeout: Duration) -> ForeignNode {
        let longest_ttl = Duration::from_secs(300);
        let limits = Limits { node_timeout, connect_timeout: node_timeout, longest_ttl };
        ForeignNode::new(Arc::new(Shown(Arc::clone(noting))), limits)
    }

    fn release(key: &str, owner: &str) -> Arc<Command> {
        let action = Action::Release { keep: Duration::ZERO, behind: None, is_noted: false };
        Command::new(action, &key.into(), &owner.into())
    }

    /// Lets everything happen that can.
    async fn record() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_request_that_was_polled_once_and_dropped_runs_to_its_end() {
        let noting = Noting::held_up();
        let node = adapted(&noting, PATIENT);
        assert!(node.ask(release("x", "a")).now_or_never().is_none());
        noting.let_end(1);
        record().await;
        assert_eq!(*noting.ended.lock().unwrap(), ["a of x"]);
    }

    #[tokio::test]
    async fn requests_on_one_key_come_in_their_order_and_keep_no_other_key_waiting() {
        let noting = Noting::held_up();
        let node = adapted(&noting, PATIENT);
        let mut replies: Vec<_> =
            [("x", "a"), ("x", "b"), ("y", "c")].iter().map(|(key, owner)| node.ask(release(key, owner))).collect();
        for reply in &mut replies {
            assert!(reply.now_or_never().is_none());
        }
        record().await;
        assert_eq!(*noting.began.lock().unwrap(), ["a of x", "c of y"]);
        noting.let_end(3);
        assert_eq!(join_all(replies).await, [Reply::Done, Reply::Done, Reply::Done]);
        assert_eq!(*noting.ended.lock().unwrap(), ["a of x", "c of y", "b of x"]);
        assert!(node.shared.requests.last().is_empty());
    }

    #[tokio::test]
    async fn a_request_that_never_ends_is_given_up_and_others_are_asked_again() {
        let noting = Noting::held_up();
        let node = adapted(&noting, Duration::from_millis(10));
        let ttl = Duration::from_secs(1);
        let extend = || Command::new(Action::Extend { ttl, is_noted: false }, &"x".into(), &"a".into());
        let mut hung = node.ask(extend());
        assert!((&mut hung).now_or_never().is_none());
        node.overdue("x");
        let Reply::Failed(failure) = node.ask(extend()).await else { panic!("it is not asked") };
        assert_eq!(failure.delivery, Delivery::NotSent);
        let Reply::Failed(failure) = hung.await else { panic!("it never answers") };
        assert_eq!(failure.delivery, Delivery::Unknown(None));
        let acquire = Action::Acquire { ttl, is_watched: false };
        let granted = node.ask(Command::new(acquire, &"x".into(), &"a".into())).await;
        assert_eq!(granted, Reply::Granted { counter: None, is_wanted: false, mark: None });
    }
}
