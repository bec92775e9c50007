mod attempt;
mod completing;
mod strays;

use std::mem;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use super::release_round::{Cut, Marking, PendingRelease, ReleaseRound, TrackedRelease};
use super::repair::Repairs;
use super::{AttemptFailed, Engine, InFlight, Term, Won, within_deadline};
use crate::node::{Command, NodeStatus, Predecessor, Reply};
use crate::platform::background;
use crate::platform::clock;
use crate::platform::entropy::fresh_owner;
use crate::protocol::{AcquireEffect, Ledger, NodeSet, OthersSay, Standing, Voters};
use crate::rules::{Rule, holds};
use crate::values::subject::Subject;

/// One owner of one key on all nodes, from before its first command until the last node has confirmed its release.
///
/// Dropping it, at whatever moment, releases the key on every node on which it may be set, in the background.
pub(crate) struct Acquisition {
    /// The nodes.
    engine: Arc<Engine>,
    /// The lock, the same on every node.
    subject: Subject,
    /// The owner's value: fresh for every attempt, so that nothing an earlier one left can be taken for this one.
    owner: Arc<str>,
    /// Where the key may be set.
    ledger: Ledger,
    /// Acquire requests whose reply is on its way.
    stragglers: Vec<InFlight>,
    /// Whether it answers for keys that may be set.
    is_open: bool,
    /// The acquire request, to recall where it was not sent yet.
    acquire: Option<Arc<Command>>,
    /// Connections that ended before the acquire was answered.
    cut: Cut,
    /// Whether the owner may be noted beside the key.
    is_noted: bool,
    /// Whoever waits for releases waits for this one; none while the lock is held.
    counted: Option<TrackedRelease>,
    /// The nodes whose grants were heard, and which may vote: a completed fire is marked there and nowhere else.
    voters: NodeSet,
    /// When the attempt began.
    began: Option<Instant>,
    /// What most locks have nothing of; boxed, because there are thousands of held ones.
    rare: Option<Box<Rare>>,
    /// How many permits others say that the lock has, if any was asked for; boxed, because most locks have none.
    said: Option<Box<OthersSay>>,
    /// Whether its process goes on waiting if the attempt fails, so that a writer's intent stays.
    goes_on: bool,
}

/// What few acquisitions have.
#[derive(Default)]
struct Rare {
    /// The release leaves the key until this moment.
    keep_until: Option<Instant>,
    /// Whose lock it was, if it was adopted, or is about to be.
    predecessor: Option<Arc<Predecessor>>,
    /// The fire that the release marks as completed, and on which nodes.
    mark: Option<Box<Marking>>,
}

impl Acquisition {
    pub(super) fn new(engine: Arc<Engine>, subject: Subject) -> Self {
        let counted = Some(engine.track_release());
        Self {
            engine,
            subject,
            owner: fresh_owner(),
            ledger: Ledger::default(),
            stragglers: Vec::new(),
            is_open: false,
            acquire: None,
            cut: Cut::default(),
            is_noted: false,
            counted,
            voters: NodeSet::default(),
            began: None,
            rare: None,
            said: None,
            goes_on: false,
        }
    }

    /// Answers for a new owner who takes the lock over, and gives it back until he has.
    pub(super) fn of_successor(engine: Arc<Engine>, subject: Subject, before: Predecessor) -> Self {
        let mut acquisition = Self::new(engine, subject);
        acquisition.rare().predecessor = Some(Arc::new(before));
        acquisition
    }

    /// The new owner has the lock. The one before has nothing any more: what may still be his is released with the rest.
    pub(super) fn succeed(&mut self) {
        self.set_predecessor_gets_back(None);
        self.is_noted = true;
        self.ledger = Ledger::of(NodeSet::first(self.engine.quorum().nodes()));
        self.see_late_connections_through();
        self.forget_what_was_asked();
    }

    /// The new owner does not want the lock after all: its release gives it back to the one before, for so long at least.
    pub(crate) fn give_back_adopted(&mut self, ttl: Duration) {
        self.set_predecessor_gets_back(Some(ttl));
    }

    /// For how long whoever had the lock before, if it was adopted, gets it back from its release.
    fn set_predecessor_gets_back(&mut self, gets_back: Option<Duration>) {
        if let Some(before) = self.rare.as_mut().and_then(|rare| rare.predecessor.as_mut()) {
            *before = Arc::new(Predecessor { owner: Arc::clone(&before.owner), gets_back });
        }
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    fn predecessor(&self) -> Option<&Arc<Predecessor>> {
        self.rare.as_ref()?.predecessor.as_ref()
    }

    /// Requests whose reply is on its way, to be [waited for](Self::wait_for_too) later.
    pub(super) fn set_aside(&mut self) -> Vec<InFlight> {
        mem::take(&mut self.stragglers)
    }

    /// Answers for what these requests do, too.
    pub(super) fn wait_for_too(&mut self, earlier: Vec<InFlight>) {
        self.stragglers.extend(earlier);
    }

    /// Answers for an owner whose keys may be set on any node.
    pub(crate) fn adopted(engine: Arc<Engine>, subject: Subject, owner: Arc<str>) -> Self {
        let mut acquisition = Self::new(engine, subject);
        acquisition.owner = owner;
        acquisition.is_open = true;
        acquisition.is_noted = true;
        acquisition.ledger = Ledger::of(NodeSet::first(acquisition.engine.quorum().nodes()));
        acquisition
    }

    /// Leaves the keys where they are: somebody else answers for them from now on. What is set after that is released, and so is
    /// what the owner before got back late of a lock that was adopted: whoever answers from now on knows nothing of him.
    pub(crate) fn leave(mut self) {
        // What has been granted by now is not late, and the lock bears the loss of a node with it.
        background::inside(self.engine.uses(), || self.drop_stragglers_of_the_caller());
        if let Some(before) = self.rare.as_mut().and_then(|rare| rare.predecessor.take()) {
            self.engine.look_after(&before, self.subject.clone());
        }
        let mut left = self.take_over();
        let (asked, cut) = (mem::take(&mut left.stragglers), mem::take(&mut left.cut));
        let late = Repairs { asked, cut, is_noted: self.is_noted, ..Repairs::default() };
        self.engine.leave(&self.subject, &self.owner, late);
    }

    /// What counts it among those that are on their way: it rests from now on.
    pub(crate) fn rest(&mut self) -> Option<TrackedRelease> {
        self.counted.take()
    }

    /// Counts it again, before it is released: whoever waits for releases must not miss it.
    pub(crate) fn wake(&mut self) {
        let engine = &self.engine;
        self.counted.get_or_insert_with(|| engine.track_release());
    }

    /// The writer is a reader from now on.
    pub(crate) fn downgrade(&mut self) {
        self.subject = self.subject.downgraded();
    }

    pub(crate) fn subject(&self) -> &Subject {
        &self.subject
    }

    pub(crate) fn owner(&self) -> &Arc<str> {
        &self.owner
    }

    /// Answers from now on for keys that were set again, and for what stands beside them, too.
    pub(crate) fn add(&mut self, repairs: Repairs) {
        for node in repairs.set.iter() {
            self.ledger.ended(node, AcquireEffect::Set);
        }
        self.stragglers.extend(repairs.asked);
        self.cut.add(&repairs.cut);
        self.is_noted |= repairs.is_noted;
    }

    /// Lets a release leave the key until this moment.
    pub(crate) fn keep_until(&mut self, moment: Instant) {
        self.rare().keep_until = Some(moment);
    }

    /// The attempt is won.
    pub(super) fn into_won(mut self, term: Term) -> Won {
        self.see_late_connections_through();
        self.forget_what_was_asked();
        self.goes_on = false;
        let permits = self.said.take().map(|said| *said);
        Won { acquisition: self, term, permits }
    }

    /// Lets the nodes whose connection is still being made grant the lock once it is there. What was sent already needs
    /// nobody to wait for it; the release will find its reply.
    pub(super) fn see_late_connections_through(&mut self) {
        self.stragglers = mem::take(&mut self.stragglers)
            .into_iter()
            .map(|InFlight { node, reply, sent }| InFlight { node, reply: reply.seen_through_if_unsent(), sent })
            .collect();
    }

    /// Takes in what has been answered since the lock was won, and forgets what was asked: for a lock that is held longer than
    /// nodes take to answer, so that it takes less memory.
    pub(crate) fn drop_stragglers_of_the_caller(&mut self) {
        let Self { engine, subject, ledger, stragglers, cut, voters, began, .. } = self;
        engine.poll_each(stragglers, &mut Context::from_waker(Waker::noop()), |node, reply| {
            acquire_ended(ledger, cut, node, &reply);
            if engine.is_late_vote(subject.key(), node, &reply, *began) {
                voters.insert(node);
            }
        });
        self.forget_what_was_asked();
    }

    /// Nothing that has been answered is recalled. What has not ended may still have to be.
    pub(super) fn forget_what_was_asked(&mut self) {
        if self.stragglers.is_empty() {
            self.stragglers = Vec::new();
            self.acquire = None;
        }
    }

    /// Gives a failed attempt back: returns when the nodes that granted it have confirmed, or their time is over, or the
    /// caller's (`until`).
    pub(super) async fn give_back(mut self, until: Option<Instant>) {
        let tracked = self.ledger.may_be_set();
        let (reply_timeout, _) = within_deadline(self.engine.node_timeout(), until, clock::now());
        self.start_release(tracked).wait_for(tracked, reply_timeout).await;
    }

    /// Releases the lock on every node; returns when a majority has confirmed, or no longer can.
    ///
    /// # Cancel safety
    ///
    /// Dropped at any await, the release goes on in the background.
    pub(crate) async fn release(mut self) -> Result<(), AttemptFailed> {
        let all = NodeSet::first(self.engine.quorum().nodes());
        self.start_release(all).confirm().await
    }

    /// Releases the lock on every node in the background; drops `afterwards` when a majority has confirmed, or no longer
    /// can.
    pub(crate) fn release_in_background(mut self, afterwards: impl Send + 'static) {
        let acquisition = self.take_over();
        // Nothing but a spawn happens here: the thread may be one that is ending, without its thread-locals.
        let engine = Arc::clone(&self.engine);
        engine.see_through(async move {
            // Whatever comes of it is seen through by itself.
            let _ = acquisition.release().await;
            drop(afterwards);
        });
    }

    /// All that it answers for; this one answers for nothing any more.
    fn take_over(&mut self) -> Self {
        self.is_open = false;
        if let Some(acquire) = self.acquire.take() {
            acquire.recall();
        }
        Self {
            engine: Arc::clone(&self.engine),
            subject: self.subject.clone(),
            owner: Arc::clone(&self.owner),
            ledger: self.ledger,
            stragglers: mem::take(&mut self.stragglers),
            is_open: false,
            acquire: None,
            cut: mem::take(&mut self.cut),
            is_noted: self.is_noted,
            counted: self.counted.take(),
            voters: self.voters,
            began: self.began,
            rare: self.rare.take(),
            said: self.said.take(),
            goes_on: self.goes_on,
        }
    }

    /// Prepares every release that is due: to `nodes` at once, and to those that are still asked after their answer.
    fn start_release(&mut self, nodes: NodeSet) -> ReleaseRound {
        self.is_open = false;
        if let Some(acquire) = self.acquire.take() {
            acquire.recall();
        }
        let stragglers = mem::take(&mut self.stragglers);
        let counted = self.counted.take().unwrap_or_else(|| self.engine.track_release());
        let mut release = PendingRelease::new(counted, self.subject.clone(), Arc::clone(&self.owner));
        (release.cut, release.is_noted) = (mem::take(&mut self.cut), self.is_noted);
        if let Some(rare) = self.rare.take() {
            let Rare { keep_until, predecessor, mark } = *rare;
            (release.keep_until, release.predecessor, release.mark) = (keep_until, predecessor, mark);
        }
        release.goes_on = self.goes_on;
        ReleaseRound::start(Arc::new(release), self.ledger, nodes, stragglers)
    }
}

impl Drop for Acquisition {
    fn drop(&mut self) {
        // After a release or a giving back nothing is left here: the release round answers for it.
        if !self.is_open {
            return;
        }
        if !holds(Rule::DropReleases) {
            return;
        }
        let mut acquisition = self.take_over();
        if !self.engine.is_of_this_process() {
            // It is the parent's, which releases it.
            mem::forget(acquisition);
            return;
        }
        if self.engine.home().is_some() {
            return self.engine.see_through(async move {
                let _ = acquisition.release().await;
            });
        }
        background::spawn(async move {
            let tracked = acquisition.ledger.may_be_set();
            drop(acquisition.start_release(tracked));
        });
    }
}

impl Engine {
    /// Whether a node's answer to an acquire, which comes when the attempt that began then is over, is a vote as those are that came in time.
    pub(super) fn is_late_vote(&self, key: &str, node: usize, reply: &Reply, began: Option<Instant>) -> bool {
        if !matches!(reply, Reply::Granted { .. } | Reply::Done) {
            return false;
        }
        let (nodes, now) = self.look_at_nodes(key);
        // As in the attempt: who granted it a long time ago may be another server by now.
        let is_in_time = began.is_some_and(|began| now <= began + self.longest_round);
        let electorate = || Voters::Acquisition.electorate(now, nodes.iter().map(NodeStatus::server_info));
        is_in_time && (self.nodes.len() == 1 || electorate().standing(node) == Standing::Votes)
    }
}

/// Takes in how a node's acquire ended.
fn acquire_ended(ledger: &mut Ledger, cut: &mut Cut, node: usize, reply: &Reply) {
    ledger.ended(node, reply.acquire_effect());
    cut.record(node, reply);
}

#[cfg(test)]
mod tests;
