//! Releases, seen through to their end.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};
use std::{iter, mem};

use tokio::runtime::RuntimeFlavor;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::completion::{Again, Confirming, NotConfirmed, Patience, give_up_dead_connections};
use super::heard::Heard;
use super::{AttemptFailed, Engine, InFlight, SentAt};
use crate::node::{
    Action, Carrier, Command, ConnectionId, Delivery, Failure, NewMark, PendingReply, Predecessor, Reply,
};
use crate::platform::background;
use crate::platform::clock;
use crate::platform::deadline::Deadline;
use crate::platform::entropy::seed;
use crate::platform::tasks::Handle;
use crate::protocol::{
    AfterAnswer, Backoff, Completion, KEEP_RELEASING, Ledger, NodeSet, ReleaseStage, ReleasesDue, Tally, Verdict,
    Voters, release_pauses,
};
use crate::rules::{Rule, holds};
use crate::shown::shown;
use crate::values::subject::Subject;

/// How many attempts and releases are on their way, for those who wait until there are none.
#[derive(Debug, Default)]
pub(crate) struct TrackedReleases {
    /// Those that are not through, each counted once on however many nodes it is.
    open: AtomicUsize,
    /// Told when there are none left.
    confirmed: Notify,
}

impl TrackedReleases {
    /// How many are on their way.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Waits until every release that was begun is confirmed, or given up.
    pub(crate) async fn all_confirmed(&self) {
        loop {
            let confirmed = self.confirmed.notified();
            if self.open() == 0 {
                return;
            }
            confirmed.await;
        }
    }
}

/// An attempt or a release that is on its way; whoever waits for releases waits until this is dropped.
pub(crate) struct TrackedRelease(Arc<Engine>);

impl Engine {
    pub(crate) fn track_release(self: &Arc<Self>) -> TrackedRelease {
        self.tracked_releases.open.fetch_add(1, Ordering::AcqRel);
        TrackedRelease(Arc::clone(self))
    }
}

impl Drop for TrackedRelease {
    fn drop(&mut self) {
        let tracked_releases = &self.0.tracked_releases;
        if tracked_releases.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            tracked_releases.confirmed.notify_waiters();
        }
    }
}

/// Who releases what.
pub(super) struct PendingRelease {
    /// The nodes.
    pub(super) engine: Arc<Engine>,
    /// The lock.
    pub(super) subject: Subject,
    /// The owner's value.
    pub(super) value: Arc<str>,
    /// The key stays until this moment.
    pub(super) keep_until: Option<Instant>,
    /// Connections that ended before an acquire was answered.
    pub(super) cut: Cut,
    /// What is put to all nodes of which there is nothing more to say.
    pub(super) usual: OnceLock<Arc<Command>>,
    /// What is put to all nodes on which a fire is marked, likewise.
    pub(super) marking: OnceLock<Arc<Command>>,
    /// Whether the owner may be noted beside the key.
    pub(super) is_noted: bool,
    /// Whose lock it was, if it was adopted.
    pub(super) predecessor: Option<Arc<Predecessor>>,
    /// The fire that is marked as completed, and on which nodes.
    pub(super) mark: Option<Box<Marking>>,
    /// Whether its process goes on waiting behind an attempt that failed.
    pub(super) goes_on: bool,
    /// Held until every node has confirmed, or is given up.
    #[expect(dead_code, reason = "held for its drop")]
    pub(super) counted: TrackedRelease,
}

/// How a release marks a fire as completed.
pub(super) struct Marking {
    /// The fire.
    pub(super) mark: NewMark,
    /// The nodes that had voted for the lock, as far as they were heard: it is marked there.
    pub(super) voters: NodeSet,
    /// When the attempt began that they voted in.
    pub(super) began: Option<Instant>,
    /// Those whose vote came since. It is marked there once, and not again where the answer is lost: a node that comes back with an older snapshot
    /// in between would have a mark that looks as if it knew of all before it. One majority is asked again as it is.
    pub(super) late: Mutex<NodeSet>,
}

impl Marking {
    pub(super) fn new(mark: NewMark, voters: NodeSet, began: Option<Instant>) -> Self {
        Self { mark, voters, began, late: Mutex::default() }
    }

    fn late(&self) -> MutexGuard<'_, NodeSet> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connections that ended before they answered an acquire, by node: what they carry may still arrive, also behind a
/// release that goes another way. A list of boxes, because nearly every acquisition has none and every held lock keeps this.
#[derive(Clone, Debug, Default)]
pub(super) struct Cut(Option<Box<CutConnection>>);

#[derive(Clone, Debug)]
struct CutConnection {
    node: usize,
    connection: ConnectionId,
    /// Those that ended before.
    earlier: Cut,
}

impl Cut {
    /// Keeps the connection if this reply to an acquire says that it ended.
    pub(super) fn record(&mut self, node: usize, reply: &Reply) {
        if let Some(connection) = reply.broken_connection() {
            self.push(node, connection);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn add(&mut self, other: &Self) {
        other.iter().for_each(|cut| self.push(cut.node, cut.connection));
    }

    fn push(&mut self, node: usize, connection: ConnectionId) {
        self.0 = Some(Box::new(CutConnection { node, connection, earlier: mem::take(self) }));
    }

    /// The one of this node that ended first.
    fn of(&self, node: usize) -> Option<ConnectionId> {
        self.iter().filter(|cut| cut.node == node).last().map(|cut| cut.connection)
    }

    /// The last one first.
    fn iter(&self) -> impl Iterator<Item = &CutConnection> {
        iter::successors(self.0.as_deref(), |cut| cut.earlier.0.as_deref())
    }
}

/// The releases of one owner on all nodes.
///
/// Dropping it lets them go on: on the caller's runtime if that runs by itself and the caller was told how it ended, else
/// in the background. The replies move between runtimes, so none of them has a timer in it.
pub(super) struct ReleaseRound {
    /// Who releases what.
    owner: Arc<PendingRelease>,
    /// Releases whose reply is on its way.
    in_flight: Vec<InFlight>,
    /// Nodes on which the key may be set, or may still be: a release that fails there is sent again.
    tracked: NodeSet,
    /// Those of them on which it may be set already, whatever becomes of an acquire that has not ended.
    may_be_set: NodeSet,
    /// Nodes whose release is to be sent again, and the connection that may still carry something there.
    failed: Vec<(usize, Option<ConnectionId>)>,
    /// Nodes whose reply comes on a connection of another runtime than the background one, which may be blocked, or ending.
    elsewhere: NodeSet,
    /// Whether the caller has been told how it ended; before that, a drop means that the caller was cancelled, or that
    /// the runtime is ending.
    is_reported: bool,
    /// Whether replies are being polled; in a drop, that one of them panicked.
    is_polling: bool,
}

impl ReleaseRound {
    /// Prepares the releases that are due: to `nodes` at once, and to those of the `stragglers`, whose acquire has not ended, after
    /// their answer.
    pub(super) fn start(owner: Arc<PendingRelease>, ledger: Ledger, nodes: NodeSet, stragglers: Vec<InFlight>) -> Self {
        let ReleasesDue { at_once, after_answer, tracked } =
            ledger.release(nodes, stragglers.iter().map(|asked| asked.node).collect());
        let mut in_flight = Vec::with_capacity(at_once.len() + stragglers.len());
        let mut elsewhere = if background::is_current() { NodeSet::default() } else { at_once };
        let mut at = SentAt::default();
        for node in at_once.iter() {
            in_flight.push(owner.ask_at(node, None, &mut at));
        }
        let mut unawaited = Vec::new();
        for InFlight { node, reply, .. } in stragglers {
            if after_answer.contains(node) {
                elsewhere.insert(node);
                let reply = Arc::clone(&owner).release_after(ledger, node, reply);
                in_flight.push(InFlight { node, reply, sent: None });
            } else {
                unawaited.push(InFlight { node, reply, sent: None });
            }
        }
        owner.engine.poll_in_background(unawaited);
        Self::new(owner, in_flight, (tracked, ledger.may_be_set()), elsewhere)
    }

    fn new(
        owner: Arc<PendingRelease>,
        in_flight: Vec<InFlight>,
        (tracked, may_be_set): (NodeSet, NodeSet),
        elsewhere: NodeSet,
    ) -> Self {
        let (is_reported, is_polling) = (false, false);
        Self { owner, in_flight, tracked, may_be_set, failed: Vec::new(), elsewhere, is_reported, is_polling }
    }

    /// Waits for a majority to confirm.
    pub(super) async fn confirm(mut self) -> Result<(), AttemptFailed> {
        let Self { owner, in_flight, tracked, failed, is_reported, .. } = &mut self;
        let engine = &owner.engine;
        let mut heard = Heard::nothing(owner.subject.key(), Tally::new(engine.quorum, None));
        let listen = engine.hear(&mut heard, Voters::All, in_flight, engine.node_timeout, None, |node, reply| {
            keep_failed(failed, *tracked, node, reply);
        });
        let verdict = listen.await;
        *is_reported = true;
        match heard.tally.classify_owner_op(verdict) {
            Verdict::Won => Ok(()),
            verdict => Err(heard.into_failed(engine, verdict)),
        }
    }

    /// Waits for a majority to confirm the mark that the releases carry. What fails is sent again meanwhile.
    pub(super) async fn confirm_mark(mut self, completion: Completion, patience: Patience) -> Result<(), NotConfirmed> {
        let Self { owner, in_flight, tracked, failed, elsewhere, is_reported, .. } = &mut self;
        let send = |node, behind| owner.ask(node, behind);
        let late = || owner.mark.as_deref().map(|marking| *marking.late()).unwrap_or_default();
        let confirming = Confirming::new(&owner.engine, owner.subject.key(), completion);
        let again = Again { failed, tracked: *tracked, elsewhere: *elsewhere, late: &late, send: &send };
        let confirmed = confirming.listen(patience, in_flight, again).await;
        // Where it began on a runtime that may be blocked, and was told here, what is there is no further than before.
        *is_reported = !background::is_current();
        confirmed
    }

    /// Waits until each of `nodes` has answered, but no longer than this.
    pub(super) async fn wait_for(mut self, nodes: NodeSet, reply_timeout: Duration) {
        let Self { owner, in_flight, tracked, failed, is_reported, .. } = &mut self;
        let mut over = Deadline::after(reply_timeout);
        poll_fn(|cx| {
            owner.engine.poll_each(in_flight, cx, |node, reply| keep_failed(failed, *tracked, node, &reply));
            let is_waiting = in_flight.iter().any(|asked| nodes.contains(asked.node));
            if is_waiting && Pin::new(&mut over).poll(cx).is_pending() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        *is_reported = true;
    }

    /// Sees every reply through: tells the nodes that are late, and gives up on connections that are dead; ends within a bound.
    async fn go_on(mut self) {
        let node_timeout = self.owner.engine.node_timeout;
        self.arrive(ReleaseStage::Awaited.lasts(node_timeout)).await;
        self.tell_overdue();
        self.arrive(ReleaseStage::Overdue.lasts(node_timeout)).await;
        self.give_up_dead_connections();
        self.arrive(ReleaseStage::Dead.lasts(node_timeout)).await;
        for InFlight { node, .. } in self.in_flight.drain(..) {
            self.owner.tell_given_up(node, "it was never answered");
        }
    }

    fn tell_overdue(&mut self) {
        for asked in &self.in_flight {
            self.owner.engine.overdue(asked.node, self.owner.subject.key());
        }
        // The runtime of these may be blocked: send them once more, where that does not matter. A release that comes twice finds
        // nothing.
        let (tracked, elsewhere) = (self.tracked, self.elsewhere);
        let late = self.in_flight.iter().filter(|asked| tracked.contains(asked.node) && elsewhere.contains(asked.node));
        self.failed.extend(late.map(|asked| (asked.node, None)));
    }

    /// Ends when all replies have arrived, or after `bound`. What failed is sent again at once, whatever else is awaited.
    async fn arrive(&mut self, bound: Duration) {
        let Self { owner, in_flight, tracked, failed, is_polling, .. } = self;
        let mut over = Deadline::after(bound);
        poll_fn(|cx| {
            *is_polling = true;
            owner.engine.poll_each(in_flight, cx, |node, reply| keep_failed(failed, *tracked, node, &reply));
            *is_polling = false;
            owner.send_again(mem::take(failed));
            if in_flight.is_empty() { Poll::Ready(()) } else { Pin::new(&mut over).poll(cx) }
        })
        .await;
    }

    /// Sends what is on connections that have been silent for so long another way.
    fn give_up_dead_connections(&mut self) {
        let dead = give_up_dead_connections(&mut self.in_flight, self.tracked, self.may_be_set);
        self.failed.extend(dead);
    }
}

impl Drop for ReleaseRound {
    fn drop(&mut self) {
        let in_flight = mem::take(&mut self.in_flight);
        let failed = mem::take(&mut self.failed);
        if in_flight.is_empty() && failed.is_empty() {
            return;
        }
        let engine = &self.owner.engine;
        // The caller was told in this poll, of a call that has noted the process.
        let is_ours = if self.is_reported { engine.check_process().is_ok() } else { engine.is_of_this_process() };
        if !is_ours {
            // They are the parent's, which sees them through.
            mem::forget((in_flight, Arc::clone(&self.owner)));
            return;
        }
        // A future that has panicked must not be polled again.
        let in_flight = if self.is_polling { Vec::new() } else { in_flight };
        self.owner.send_again(failed);
        if !in_flight.is_empty() {
            let engine = Arc::clone(&self.owner.engine);
            let elsewhere = if self.is_reported { NodeSet::default() } else { self.elsewhere };
            let nodes = (self.tracked, self.may_be_set);
            let rest = Self::new(Arc::clone(&self.owner), in_flight, nodes, elsewhere).go_on();
            // A current-thread runtime runs only while somebody blocks on it, which may be never again.
            match Handle::try_current() {
                Ok(runtime) if self.is_reported && runtime.runtime_flavor() != RuntimeFlavor::CurrentThread => {
                    background::spawn_here(engine.uses(), rest);
                }
                _ => engine.spawn(rest),
            }
        }
    }
}

impl Drop for PendingRelease {
    fn drop(&mut self) {
        // Every node has confirmed, or is given up.
        let Some(before) = self.predecessor.take().filter(|before| before.gets_back.is_some()) else { return };
        self.engine.look_after(&before, self.subject.clone());
    }
}

impl PendingRelease {
    /// A release of this owner's key, and of nothing beside it; `counted` is held until it is through.
    pub(super) fn new(counted: TrackedRelease, subject: Subject, value: Arc<str>) -> Self {
        Self {
            engine: Arc::clone(&counted.0),
            subject,
            value,
            keep_until: None,
            cut: Cut::default(),
            usual: OnceLock::new(),
            marking: OnceLock::new(),
            is_noted: false,
            predecessor: None,
            mark: None,
            goes_on: false,
            counted,
        }
    }

    /// Sends these releases until they are confirmed, in the background.
    fn send_again(self: &Arc<Self>, failed: Vec<(usize, Option<ConnectionId>)>) {
        if !holds(Rule::ReleaseAgain) {
            return;
        }
        for (node, behind) in failed {
            let owner = Arc::clone(self);
            self.engine.spawn(async move {
                owner.send_until_confirmed(node, behind).await;
            });
        }
    }

    /// One release request to one node. Only an acquire can do harm behind it, so a connection that may still carry one
    /// comes before another.
    fn ask(&self, node: usize, behind: Option<ConnectionId>) -> InFlight {
        self.ask_at(node, behind, &mut SentAt::default())
    }

    fn ask_at(&self, node: usize, behind: Option<ConnectionId>, at: &mut SentAt) -> InFlight {
        let mark = self.mark.as_deref().filter(|marking| marking.voters.contains(node)).map(|marking| marking.mark);
        self.ask_marking(node, behind, mark, at)
    }

    fn ask_marking(
        &self,
        node: usize,
        behind: Option<ConnectionId>,
        mark: Option<NewMark>,
        at: &mut SentAt,
    ) -> InFlight {
        let command = match (self.cut.of(node).or(behind), self.keep_until, mark) {
            (None, None, None) => Arc::clone(self.usual.get_or_init(|| self.command(Duration::ZERO, None, None))),
            (None, None, Some(_)) => Arc::clone(self.marking.get_or_init(|| self.command(Duration::ZERO, None, mark))),
            (behind, until, mark) => {
                let keep = until.map(|moment| moment.saturating_duration_since(clock::now()));
                self.command(keep.unwrap_or_default(), behind, mark)
            }
        };
        self.engine.request(node, command, at)
    }

    fn command(&self, keep: Duration, behind: Option<ConnectionId>, mark: Option<NewMark>) -> Arc<Command> {
        let action = Action::Release { keep, behind, is_noted: self.is_noted };
        if let Some(mark) = mark {
            return Command::marking(action, &self.subject, &self.value, mark);
        }
        if self.goes_on {
            return Command::behind_failed(action, &self.subject, &self.value);
        }
        Command::of_successor(action, &self.subject, &self.value, self.predecessor.as_ref(), None)
    }

    /// Waits until an acquire has ended and then releases whatever it left. A release sent earlier could overtake it.
    fn release_after(self: Arc<Self>, ledger: Ledger, node: usize, straggler: PendingReply) -> PendingReply {
        let carrier = straggler.carrier().clone().first();
        let last = carrier.clone();
        let release = async move {
            let reply = straggler.await;
            let mark = self.mark_of_late_vote(node, &reply);
            match ledger.after_answer(node, reply.acquire_effect(), reply.broken_connection().is_some()) {
                AfterAnswer::NothingLeft => Reply::NOT_OURS,
                AfterAnswer::Release => {
                    last.goes_on(Carrier::Answered);
                    match mark {
                        Some(_) => self.ask_marking(node, None, mark, &mut SentAt::default()),
                        None => self.ask(node, None),
                    }
                    .reply
                    .await
                }
                // As a release that failed on that connection.
                AfterAnswer::ReleaseAfterConnection => reply,
            }
        };
        PendingReply::new(release).carried_by(carrier)
    }

    /// What is marked on this node, too, by its first release, if its answer to the acquire, which came only now, is a vote.
    fn mark_of_late_vote(&self, node: usize, reply: &Reply) -> Option<NewMark> {
        let marking = self.mark.as_deref()?;
        let is_vote = self.engine.is_late_vote(self.subject.key(), node, reply, marking.began);
        is_vote.then(|| {
            marking.late().insert(node);
            marking.mark
        })
    }

    /// This release is given up: its key is gone when its TTL is over. It is one trouble of one node, however many locks were
    /// held there.
    fn tell_given_up(&self, node: usize, reason: &str) {
        let (node, key, reason) = (self.engine.nodes[node].label(), shown(self.subject.key()), shown(reason));
        if self.engine.given_up.may_tell(node, clock::now()) {
            tracing::warn!(node, %key, %reason, "gave up a release; others of this node are told as DEBUG for a minute");
        } else {
            tracing::debug!(node, %key, %reason, "gave up another release");
        }
    }

    /// Sends a release until the node confirms it, within a bound.
    async fn send_until_confirmed(&self, node: usize, behind: Option<ConnectionId>) -> Reply {
        let give_up = clock::now() + KEEP_RELEASING;
        let (first_pause, longest_pause) = release_pauses(self.engine.node_timeout);
        let mut pauses = Backoff::new(first_pause, longest_pause, seed());
        loop {
            let reply = within_reason(&self.engine, self.subject.key(), self.ask(node, behind)).await;
            let Reply::Failed(failure) = &reply else {
                return reply;
            };
            if clock::now() >= give_up {
                self.tell_given_up(node, &failure.reason);
                return reply;
            }
            sleep(pauses.next().unwrap_or(longest_pause)).await;
        }
    }
}

/// Waits for a reply, tells the node when it is overdue, and gives it up when its connection must be dead: a release on
/// another one does no harm even if both arrive.
async fn within_reason(engine: &Engine, key: &str, asked: InFlight) -> Reply {
    let (node_timeout, InFlight { node, mut reply, .. }) = (engine.node_timeout, asked);
    tokio::select! {
        biased;
        reply = &mut reply => return reply,
        () = sleep(ReleaseStage::Awaited.lasts(node_timeout)) => engine.overdue(node, key),
    }
    tokio::select! {
        biased;
        reply = &mut reply => return reply,
        () = sleep(ReleaseStage::Overdue.lasts(node_timeout)) => {}
    }
    let delivery = Delivery::Unknown(reply.carrier().id());
    Reply::Failed(Failure { reason: Arc::from("its connection is dead"), delivery })
}

/// Keeps a release that failed where the key may be set.
fn keep_failed(failed: &mut Vec<(usize, Option<ConnectionId>)>, tracked: NodeSet, node: usize, reply: &Reply) {
    if matches!(reply, Reply::Failed(_)) && tracked.contains(node) {
        failed.push((node, reply.broken_connection()));
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::node::scripted::Scripted;
    use crate::protocol::{LONGEST_TTL, Quorum};

    #[tokio::test]
    async fn a_release_that_is_never_answered_is_sent_again() {
        let every_second = |_, asked| match asked % 2 {
            0 => PendingReply::new(pending()),
            _ => PendingReply::new(ready(Reply::Done)),
        };
        let engine = Engine::new(
            vec![Scripted::new(every_second)],
            Quorum::of(1).unwrap(),
            Duration::from_millis(2),
            LONGEST_TTL,
        );
        let owner = PendingRelease::new(engine.track_release(), "key".into(), "owner".into());
        let sending = owner.send_until_confirmed(0, None);
        assert_eq!(tokio::time::timeout(Duration::from_secs(10), sending).await, Ok(Reply::Done));
    }

    #[tokio::test(start_paused = true)]
    async fn a_release_that_is_never_answered_is_given_up_at_last_where_its_connection_cannot_be_ended() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let never = Scripted::new(move |_, _| {
            count.fetch_add(1, Ordering::Relaxed);
            PendingReply::new(pending())
        });
        let engine = Engine::new(vec![never], Quorum::of(1).unwrap(), Duration::from_millis(20), LONGEST_TTL);
        let owner = PendingRelease::new(engine.track_release(), "key".into(), "owner".into());
        let all = NodeSet::first(1);
        ReleaseRound::start(Arc::new(owner), Ledger::default(), all, Vec::new()).go_on().await;
        tokio::time::timeout(10 * KEEP_RELEASING, engine.tracked_releases().all_confirmed())
            .await
            .expect("it is given up");
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    /// One node, whose first command waits for a connection that is made late: the releases of an owner whose key may be there
    /// (`is_there`), behind an acquire that waits for it or not; how many commands the node is put.
    async fn asked_where_a_connection_is_made_late(is_there: bool, is_behind_acquire: bool) -> usize {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let unsent = || PendingReply::new(pending()).carried_by(Carrier::none_yet());
        let late = Scripted::new(move |_, _| match count.fetch_add(1, Ordering::Relaxed) {
            0 if !is_behind_acquire => unsent(),
            _ => PendingReply::new(ready(Reply::Done)),
        });
        let engine = Engine::new(vec![late], Quorum::of(1).unwrap(), Duration::from_millis(2), LONGEST_TTL);
        let owner = PendingRelease::new(engine.track_release(), "key".into(), "owner".into());
        let (all, none) = (NodeSet::first(1), NodeSet::default());
        let may_be_set = if is_there { all } else { none };
        let stragglers =
            if is_behind_acquire { vec![InFlight { node: 0, reply: unsent(), sent: None }] } else { vec![] };
        let mut round = ReleaseRound::start(Arc::new(owner), Ledger::of(may_be_set), all, stragglers);
        // As if it had begun in the background: else it is sent again there whatever becomes of the connection.
        round.elsewhere = none;
        round.go_on().await;
        tokio::time::timeout(KEEP_RELEASING / 4, engine.tracked_releases().all_confirmed())
            .await
            .expect("it is over when it is known that nothing is left");
        asked.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn a_release_whose_connection_is_not_made_in_time_is_sent_again_unless_nothing_can_be_there() {
        assert_eq!(asked_where_a_connection_is_made_late(true, false).await, 2);
        assert_eq!(asked_where_a_connection_is_made_late(false, false).await, 1, "another owner has the key there");
        assert_eq!(asked_where_a_connection_is_made_late(true, true).await, 1, "the key was set again meanwhile");
        assert_eq!(asked_where_a_connection_is_made_late(false, true).await, 0, "the acquire was never sent");
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_is_back_is_sent_its_release_within_a_few_of_its_timeouts() {
        let began = tokio::time::Instant::from_std(clock::now());
        let (back, node_timeout) = (Duration::from_secs(10), Duration::from_millis(20));
        let node = Scripted::new(move |_, _| {
            let is_back = clock::now() >= began.into_std() + back;
            PendingReply::new(ready(if is_back { Reply::Done } else { Reply::not_sent("it is down") }))
        });
        let engine = Engine::new(vec![node], Quorum::of(1).unwrap(), node_timeout, LONGEST_TTL);
        let owner = PendingRelease::new(engine.track_release(), "key".into(), "owner".into());
        assert_eq!(owner.send_until_confirmed(0, None).await, Reply::Done);
        let late = began.elapsed().saturating_sub(back);
        assert!(late <= 5 * node_timeout, "it had the key for {late:?} more");
    }

    /// Whatever is known of the connection that carried the acquire: it has been answered.
    #[tokio::test]
    async fn a_release_behind_a_straggler_that_has_answered_is_sent_again_instead_of_waited_for() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let once_in_vain = Scripted::new(move |_, _| match count.fetch_add(1, Ordering::Relaxed) {
            0 => PendingReply::new(pending()),
            _ => PendingReply::new(ready(Reply::Done)),
        });
        let engine = Engine::new(vec![once_in_vain], Quorum::of(1).unwrap(), Duration::from_millis(5), LONGEST_TTL);
        let owner = PendingRelease::new(engine.track_release(), "key".into(), "owner".into());
        let granted = Reply::Granted { counter: None, is_wanted: false, mark: None };
        let straggler = InFlight { node: 0, reply: PendingReply::new(ready(granted)), sent: None };
        let round = ReleaseRound::start(Arc::new(owner), Ledger::default(), NodeSet::default(), vec![straggler]);
        tokio::spawn(round.go_on());
        tokio::time::timeout(KEEP_RELEASING / 4, engine.tracked_releases().all_confirmed())
            .await
            .expect("it is sent again on another connection");
    }
}
