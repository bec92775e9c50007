mod strays;

use std::future::{Future, poll_fn};
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::completion::{NotConfirmed, Patience, mark_before_body};
use super::heard::Heard;
use super::release_round::{Cut, Marking, PendingRelease, ReleaseRound, TrackedRelease};
use super::repair::Repairs;
use super::{AttemptFailed, Engine, Fenced, FireRefusal, InFlight, Plan, SentAt, Term, Won, within_deadline};
use crate::node::{Action, Command, MarkQuery, NewMark, NodeStatus, Predecessor, Reply};
use crate::platform::background;
use crate::platform::clock;
use crate::platform::deadline::Deadline;
use crate::platform::entropy::fresh_owner;
use crate::protocol::{
    AcquireEffect, AskOrder, Attempt, AttemptStep, Completion, Conclusion, Fence, FenceFallback, FireQuestion,
    KeyAfter, Ledger, Listening, MARK_RETENTION, NodeSet, OthersSay, Proposal, Quorum, Standing, StoredMark, Tally,
    TokenBlock, Verdict, Voters, plausible, reply_timeout,
};
use crate::rules::{Rule, holds};
use crate::values::subject::{Kind, Subject, Which};

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

    /// Asks the nodes for the lock, and for its fencing token if it gets one.
    pub(super) async fn ask(
        &mut self,
        began: Instant,
        ttl: Duration,
        until: Option<Instant>,
        plan: &Plan,
    ) -> Result<Term, AttemptFailed> {
        let Plan { ask_order, is_watched, contender, fencing, fire, insists } = plan;
        let (is_watched, insists, contender, fire) = (*is_watched, *insists, contender.clone(), fire.clone());
        // What is acquired for a fire is not passed on.
        let fencing = fencing.map(|fencing| Fenced { room: if fire.is_some() { 0 } else { fencing.room }, ..fencing });
        let fence = fencing.map(|fencing| self.fence(began, fencing, Fence::propose));
        let (action, proposal) = (Action::Acquire { ttl, is_watched }, fence.as_ref().map(Fence::proposal));
        let mark =
            fire.as_ref().map(|question| MarkQuery { refuse_from: (!insists).then(|| question.fire.least_covering()) });
        self.goes_on = contender.is_some() && matches!(self.subject.kind(), Some(Kind::Writer(_)));
        let command = Command::acquire(action, &self.subject, &self.owner, contender, proposal, mark);
        let first = match ask_order {
            AskOrder::OneFirst => self.engine.first_for(&self.subject),
            AskOrder::AllAtOnce => None,
        };
        let attempt = Attempt::to_acquire(self.engine.quorum(), first, began, ttl, self.engine.longest_round);
        self.perform(attempt, fence, fire, &command, until).await
    }

    /// Asks the nodes to give the lock from its owner to this one, and for its fencing token if it gets one. May be
    /// repeated, once the requests before were set aside.
    pub(super) async fn ask_to_adopt(
        &mut self,
        began: Instant,
        ttl: Duration,
        fencing: Option<Fenced>,
    ) -> Result<Term, AttemptFailed> {
        let fence = fencing.map(|fencing| self.fence(began, fencing, Fence::take_over));
        let (action, proposal) = (Action::Adopt { ttl }, fence.as_ref().map(Fence::proposal));
        let command = Command::of_successor(action, &self.subject, &self.owner, self.predecessor(), proposal);
        let attempt = Attempt::to_adopt(self.engine.quorum(), began, ttl, self.engine.longest_round);
        let term = self.perform(attempt, fence, None, &command, None).await;
        if term.is_err() {
            command.recall();
        }
        term
    }

    /// How the lock gets its fencing token in an attempt that began then: `make` is given the proposal.
    fn fence(&self, began: Instant, fencing: Fenced, make: fn(Quorum, Proposal, FenceFallback) -> Fence) -> Fence {
        let (quorum, Fenced { seen, fence_fallback, room }) = (self.engine.quorum(), fencing);
        let time_of_day = self.engine.time_of_day(self.subject.key(), began);
        let proposal = Proposal::new(time_of_day, seen, quorum, fence_fallback).with_room(room);
        let proposal = match self.subject.permits() {
            Some((_, Which::Any)) => proposal.for_any_of_several(self.engine.ages(self.subject.key())),
            _ => proposal,
        };
        make(quorum, proposal, fence_fallback)
    }

    /// Does what the attempt says, step by step.
    async fn perform(
        &mut self,
        attempt: Attempt,
        fence: Option<Fence>,
        fire: Option<Arc<FireQuestion>>,
        command: &Arc<Command>,
        until: Option<Instant>,
    ) -> Result<Term, AttemptFailed> {
        let (mark, room) = (command.mark, fence.as_ref().map(|fence| fence.proposal().room()));
        let engine = Arc::clone(&self.engine);
        let order = match self.subject.permits() {
            Some((slots, Which::Any)) => Some(slots.order().into()),
            _ => None,
        };
        let tally = Tally::new(engine.quorum(), fence).for_fire(fire.clone()).for_slots(order);
        let mut heard = Heard::nothing(self.subject.key(), tally);
        let reply_timeout = reply_timeout(engine.node_timeout(), attempt.ttl());
        self.acquire = Some(Arc::clone(command));
        self.is_open = true;
        self.began = Some(attempt.began());
        let mut step = attempt.begin();
        let conclusion = loop {
            step = match step {
                AttemptStep::AskFirst(first) => {
                    self.send([first], command);
                    self.hear_first(&mut heard, within_deadline(reply_timeout, until, clock::now())).await;
                    attempt.after_first(first, &heard.tally, heard.was_cut_short)
                }
                AttemptStep::Ask(nodes) => {
                    match heard.tally.slot() {
                        Some(slot) => {
                            let narrowed = command.narrowed(slot);
                            heard.tally.ask_alone(slot);
                            self.send(nodes.iter(), &narrowed);
                            self.acquire = Some(narrowed);
                        }
                        None => self.send(nodes.iter(), command),
                    }
                    let Self { ledger, stragglers, cut, .. } = self;
                    let on_reply = |node: usize, reply: &Reply| acquire_ended(ledger, cut, node, reply);
                    let listen =
                        engine.hear(&mut heard, Voters::Acquisition, stragglers, reply_timeout, until, on_reply);
                    let verdict = listen.await;
                    attempt.after_all(&heard.tally, verdict)
                }
                AttemptStep::Commit { token, nodes } => {
                    self.narrow(&heard.tally);
                    let (verdict, committing) = self.commit(token, nodes, reply_timeout, until).await;
                    heard.failures.extend(committing.failures);
                    heard.was_cut_short |= committing.was_cut_short;
                    AttemptStep::Conclude(attempt.after_commit(token, verdict))
                }
                AttemptStep::Conclude(conclusion) => break conclusion,
            };
            if !matches!(step, AttemptStep::Ask(_))
                && let Some(decision) = heard.tally.fire(Listening::IsOver, || engine.look_at_nodes(self.subject.key()))
            {
                step = Attempt::for_fire(step, decision);
            }
        };
        self.voters = heard.tally.granted();
        // Nobody listens to these any more, so nobody will know when they came.
        self.stragglers.iter_mut().for_each(|asked| asked.sent = None);
        let now = clock::now();
        match (conclusion, attempt.valid_until(now)) {
            (Conclusion::Won { .. }, _)
                if fire.as_ref().is_some_and(|question| !engine.is_plausible(self.subject.key(), question)) =>
            {
                Err(heard.into_failed_by_clock(&engine))
            }
            (Conclusion::Won { fencing_token }, Some(valid_until)) if heard.tally.twins().is_none() => {
                let (began, is_wanted) = (attempt.began(), heard.tally.is_wanted());
                self.narrow(&heard.tally);
                self.bring_strays_back(&heard.tally, attempt.ttl(), valid_until);
                self.said = heard.tally.slots().map(|slots| Box::new(slots.others_say(engine.quorum())));
                let (fencing_token, tokens) = TokenBlock::first_of(fencing_token, room);
                Ok(Term { began, won: now, valid_until, fencing_token, tokens, is_wanted })
            }
            (Conclusion::NoEvidence, _) => {
                heard.failures.say_of_all("too few remember earlier tokens; set `max_clock_skew`");
                Err(heard.into_failed(&engine, Verdict::Unreachable))
            }
            (Conclusion::AlreadyRan { completed }, _) => {
                Err(heard.into_refused(&engine, FireRefusal::AlreadyRan { completed }))
            }
            (Conclusion::Spread { greatest }, Some(valid_until)) if heard.tally.twins().is_none() => {
                let stored = heard.tally.marks().filter_map(|(_, told)| told.stored).find(|mark| mark.fire == greatest);
                let stored = stored.unwrap_or(StoredMark { fire: greatest, token: 0 });
                let retention = fire.map_or(MARK_RETENTION, |question| question.terms.retention);
                let mark = NewMark { stored, retention };
                Err(heard.into_refused(&engine, FireRefusal::Spread { mark, valid_until }))
            }
            (Conclusion::Doubt { unknowing, shown }, _) => {
                let is_final = unknowing.iter().all(|node| heard.tally.marks().any(|(told, _)| told == node));
                heard.tell_unknowing(&engine, unknowing, fire.map(|question| question.terms.retention));
                Err(heard.into_refused(&engine, FireRefusal::Doubt { shown, is_final }))
            }
            // Unless somebody holds the lock: then it may be completed by more when that ends.
            (Conclusion::Failed(Verdict::Split | Verdict::Unreachable), _)
                if mark.is_some_and(|mark| heard.tally.marks().any(|(_, told)| mark.refuses(told.stored))) =>
            {
                Err(heard.into_refused(&engine, FireRefusal::Shown))
            }
            (Conclusion::Failed(verdict), _) => Err(heard.into_failed_of(&engine, verdict, self.subject.part())),
            (Conclusion::Won { .. } | Conclusion::Spread { .. }, _) => {
                Err(heard.into_failed(&engine, Verdict::Unreachable))
            }
        }
    }

    /// The attempt is won.
    pub(super) fn into_won(mut self, term: Term) -> Won {
        self.see_late_connections_through();
        self.forget_what_was_asked();
        self.goes_on = false;
        let permits = self.said.take().map(|said| *said);
        Won { acquisition: self, term, permits }
    }

    /// Has the nodes that granted the lock raise its fencing counter to the token. It counts when a majority has.
    async fn commit(
        &mut self,
        token: u64,
        granted: NodeSet,
        reply_timeout: Duration,
        until: Option<Instant>,
    ) -> (Verdict, Heard) {
        let command = Command::new(Action::Commit { token }, &self.subject, &self.owner);
        let mut in_flight: Vec<_> = granted.iter().map(|node| self.engine.ask(node, &command)).collect();
        let mut heard = Heard::nothing(self.subject.key(), Tally::among(self.engine.quorum(), granted));
        let listen = self.engine.hear(&mut heard, Voters::All, &mut in_flight, reply_timeout, until, |_, _| {});
        let verdict = listen.await;
        // What has not left this process by now could reach a server that has restarted since.
        command.recall();
        self.engine.poll_in_background(in_flight);
        (verdict, heard)
    }

    fn send(&mut self, nodes: impl IntoIterator<Item = usize>, command: &Arc<Command>) {
        let mut at = SentAt::default();
        for node in nodes {
            self.stragglers.push(self.engine.request(node, Arc::clone(command), &mut at));
        }
    }

    /// Listens to the only node that was asked, for this long; less than it may take if that is cut short.
    async fn hear_first(&mut self, heard: &mut Heard, (reply_timeout, is_cut_short): (Duration, bool)) {
        let Self { engine, ledger, stragglers, cut, .. } = self;
        let mut late = Deadline::after(reply_timeout);
        let listen = poll_fn(|cx| {
            engine.poll_each(stragglers, cx, |node, reply| {
                acquire_ended(ledger, cut, node, &reply);
                heard.record(engine, node, reply);
            });
            if stragglers.is_empty() { Poll::Ready(()) } else { Pin::new(&mut late).poll(cx) }
        });
        tokio::task::unconstrained(listen).await;
        heard.was_cut_short = is_cut_short && !stragglers.is_empty();
        // A node is not late only because its caller is in a hurry.
        for asked in stragglers.iter().filter(|_| !is_cut_short) {
            engine.overdue(asked.node, &heard.key);
        }
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

    /// Ends an attempt that was not won; what became of it.
    pub(super) async fn end_lost_attempt(self, failed: AttemptFailed, until: Option<Instant>) -> AttemptFailed {
        match failed.fire.as_deref().copied() {
            // It is told at once: nobody wants the lock.
            Some(FireRefusal::AlreadyRan { .. }) => {
                drop(self);
                failed
            }
            Some(FireRefusal::Spread { mark, valid_until }) => {
                let completed = mark.stored.fire;
                // When the caller's time is over it goes on by itself, and nobody knows yet.
                let limit = until.map_or(valid_until, |until| until.min(valid_until));
                match Box::pin(self.complete_within(mark, limit, Patience::Short)).await {
                    Ok(()) => AttemptFailed { fire: Some(Box::new(FireRefusal::AlreadyRan { completed })), ..failed },
                    Err(NotConfirmed { failures, .. }) => {
                        let doubt = FireRefusal::Doubt { shown: Some(completed), is_final: false };
                        AttemptFailed { fire: Some(Box::new(doubt)), failures, ..failed }
                    }
                }
            }
            Some(FireRefusal::Shown | FireRefusal::Doubt { .. }) | None => {
                self.give_back(until).await;
                failed
            }
        }
    }

    /// Gives a lost attempt back: returns when the nodes that granted it have confirmed, or their time is over, or the
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

    /// Marks a fire as completed and releases the lock, in one step on each node; returns when a majority has confirmed, or no longer
    /// can before `valid_until`, the end of the validity that the lock has now. Until then the mark is sent again where it was lost.
    ///
    /// # Cancel safety
    ///
    /// Dropped at any await, both go on in the background.
    pub(crate) async fn complete(self, mark: NewMark, valid_until: Instant) -> Result<(), NotConfirmed> {
        self.complete_within(mark, valid_until, Patience::WhileHeld).await
    }

    async fn complete_within(
        mut self,
        mark: NewMark,
        valid_until: Instant,
        patience: Patience,
    ) -> Result<(), NotConfirmed> {
        self.drop_stragglers_of_the_caller();
        self.set_mark(mark);
        let quorum = self.engine.quorum();
        let completion = Completion::begin(quorum, mark.stored.fire, self.voters, KeyAfter::Deleted, valid_until);
        let all = NodeSet::first(quorum.nodes());
        self.start_release(all).confirm_mark(completion, patience).await
    }

    /// Its release, however it comes about from now on, marks a fire as completed.
    pub(crate) fn set_mark(&mut self, mark: NewMark) {
        let quorum = self.engine.quorum();
        // Whom it is sent to depends on neither: it is decided in one place.
        let moment = self.began.unwrap_or_else(clock::now);
        let completion = Completion::begin(quorum, mark.stored.fire, self.voters, KeyAfter::Deleted, moment);
        let (voters, began) = (Mutex::new(completion.asked()), self.began);
        self.rare().mark = Some(Box::new(Marking { mark, voters, began }));
    }

    /// Marks a fire as completed before it begins, and keeps the lock; otherwise as [`Self::complete`]. What is returned does not need
    /// this one: whoever has it may release the lock meanwhile.
    ///
    /// # Cancel safety
    ///
    /// Dropped at any await, the fire may or may not be marked.
    pub(crate) fn mark(
        &mut self,
        mark: NewMark,
        valid_until: Instant,
    ) -> impl Future<Output = Result<(), NotConfirmed>> + use<> {
        self.drop_stragglers_of_the_caller();
        let engine = Arc::clone(&self.engine);
        let completion = Completion::begin(engine.quorum(), mark.stored.fire, self.voters, KeyAfter::Kept, valid_until);
        let command = Command::marking(Action::Mark, &self.subject, &self.owner, mark);
        mark_before_body(engine, command, completion)
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
    /// The time of day, as the time since 1970, by this machine's clock, as long as it is none that is far from all others at this
    /// moment.
    fn time_of_day(&self, key: &str, now: Instant) -> Duration {
        let clocks = self.nodes.iter().filter_map(|node| node.known(key).server_info()?.clock(now));
        plausible(clock::since_1970(), clocks)
    }

    /// How old each node is, as far as that is known.
    fn ages(&self, key: &str) -> impl Iterator<Item = Option<Duration>> {
        let now = clock::now();
        self.nodes.iter().map(move |node| node.known(key).server_info().map(|info| info.age(now)))
    }

    /// Whether a fire may be marked: one of a time ahead would stand in the way of all others until then. It may be asked for by
    /// `max_clock_skew` before it is due, by a clock that differs by as much from the nodes' clocks, which tell whole seconds.
    fn is_plausible(&self, key: &str, question: &FireQuestion) -> bool {
        let FireQuestion { fire, terms, .. } = question;
        let allowed = fire.may_be_ahead(terms.max_clock_skew).saturating_mul(2).saturating_add(Duration::from_secs(1));
        let now = clock::now();
        let mut clocks = self.nodes.iter().filter_map(|node| node.known(key).server_info()?.clock(now)).peekable();
        let Some(moment) = fire.moment() else { return true };
        clocks.peek().is_none() || clocks.any(|clock| moment <= clock.saturating_add(allowed))
    }

    /// Whether a node's answer to an acquire, which comes when the attempt that began then is over, is a vote as those are that came in time.
    pub(super) fn is_late_vote(&self, key: &str, node: usize, reply: &Reply, began: Option<Instant>) -> bool {
        // As in the attempt: who granted it a long time ago may be another server by now.
        let is_in_time = || began.is_some_and(|began| clock::now() <= began + self.longest_round);
        matches!(reply, Reply::Granted { .. } | Reply::Done) && is_in_time() && self.may_vote(key, node)
    }

    /// Whether a node may vote at this moment.
    fn may_vote(&self, key: &str, node: usize) -> bool {
        let (nodes, now) = self.look_at_nodes(key);
        let electorate = Voters::Acquisition.electorate(now, nodes.iter().map(NodeStatus::server_info));
        self.nodes.len() == 1 || electorate.standing(node) == Standing::Votes
    }
}

/// Takes in how a node's acquire ended.
fn acquire_ended(ledger: &mut Ledger, cut: &mut Cut, node: usize, reply: &Reply) {
    ledger.ended(node, reply.acquire_effect());
    cut.record(node, reply);
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::sync::Mutex;

    use tokio::sync::{oneshot, watch};

    use super::*;
    use crate::node::scripted::Scripted;
    use crate::node::{Delivery, Failure, PendingReply, Reply, Voter};
    use crate::protocol::{Counter, LONGEST_TTL, Quorum, longest_round};

    /// Asks one of three nodes first, of which this one does not vote and the others answer so.
    async fn ask_one_first(faulty: usize, others: Reply) -> Result<(), AttemptFailed> {
        let voters = (0..3).map(|node| -> Arc<dyn Voter> {
            let failed = Reply::Failed(Failure { reason: "READONLY".into(), delivery: Delivery::Answered });
            let reply = if node == faulty { failed } else { others.clone() };
            Scripted::voter(move |command, _| match command.action {
                Action::Acquire { .. } => PendingReply::new(ready(reply.clone())),
                _ => PendingReply::new(ready(Reply::Done)),
            })
        });
        let engine = Engine::new(voters.collect(), Quorum::of(3).unwrap(), Duration::from_secs(5), LONGEST_TTL);
        let plan = Plan { ask_order: AskOrder::OneFirst, ..Plan::once(None) };
        engine.acquire("key".into(), Duration::from_secs(60), None, plan).await.map(drop)
    }

    /// One of three nodes answers the acquire when the test says so, and counts the releases that it is sent.
    async fn won_before_all_have_answered() -> (Acquisition, oneshot::Sender<Reply>, watch::Receiver<usize>) {
        let (answer, answered) = oneshot::channel();
        let answered = Mutex::new(Some(answered));
        let (told, released) = watch::channel(0);
        let slow = Scripted::voter(move |command, _| {
            if let Action::Acquire { .. } = command.action {
                let answered = answered.lock().unwrap().take().expect("it is acquired once");
                return PendingReply::new(async { answered.await.expect("the test answers") });
            }
            told.send_modify(|releases| *releases += 1);
            PendingReply::new(ready(Reply::Done))
        });
        let well = || -> Arc<dyn Voter> { Scripted::voter(|_, _| PendingReply::new(ready(Reply::Done))) };
        let engine =
            Engine::new(vec![slow, well(), well()], Quorum::of(3).unwrap(), Duration::from_secs(5), LONGEST_TTL);
        let won = engine.acquire("key".into(), Duration::from_secs(60), None, Plan::once(None)).await;
        (won.expect("two of three grant").acquisition, answer, released)
    }

    async fn until_released(released: &mut watch::Receiver<usize>) {
        let released = released.wait_for(|releases| *releases > 0);
        let _ = tokio::time::timeout(Duration::from_secs(10), released).await.expect("it is released").unwrap();
    }

    /// A key that renewal has set again on a node whose own acquire is still on its way, and that acquire's end.
    async fn check_released_behind(end: Reply) {
        let (mut acquisition, answer, mut released) = won_before_all_have_answered().await;
        acquisition.add(Repairs { set: [0].into_iter().collect(), ..Repairs::default() });
        acquisition.release().await.expect("a majority confirms");
        assert_eq!(*released.borrow(), 0, "a release that is sent now could overtake the acquire");
        answer.send(end).unwrap();
        until_released(&mut released).await;
    }

    /// Completes a fire on three nodes: the first has not answered the acquire yet, and answers it after `waited`; the second is hung by
    /// now. How that ends, if it does before the lock would be lost, and whether the first node was sent the mark.
    async fn completed_beside_a_hung_node(first_may_vote: bool, waited: Duration) -> (Option<bool>, bool) {
        let (answer, answered) = oneshot::channel();
        let answered = Mutex::new(Some(answered));
        let (told, sent) = watch::channel(None);
        let late = move |command: Arc<Command>, _| {
            if let Action::Acquire { .. } = command.action {
                let answered = answered.lock().unwrap().take().expect("it is acquired once");
                return PendingReply::new(async { answered.await.expect("the test answers") });
            }
            told.send_replace(Some(command.new_mark.is_some()));
            PendingReply::new(ready(Reply::Done))
        };
        let late: Arc<dyn Voter> = if first_may_vote { Scripted::voter(late) } else { Scripted::new(late) };
        let hung: Arc<dyn Voter> = Scripted::voter(|command, _| match command.action {
            Action::Acquire { .. } => PendingReply::new(ready(Reply::Done)),
            _ => PendingReply::new(std::future::pending()),
        });
        let well: Arc<dyn Voter> = Scripted::voter(|_, _| PendingReply::new(ready(Reply::Done)));
        let quorum = Quorum::of(3).unwrap();
        let engine = Engine::new(vec![late, hung, well], quorum, Duration::from_secs(5), LONGEST_TTL);
        let won = engine.acquire("key".into(), Duration::from_secs(60), None, Plan::once(None)).await;
        let (acquisition, held) = (won.expect("two of three grant").acquisition, Duration::from_secs(60));
        let mark = NewMark { stored: StoredMark { fire: 7, token: 0 }, retention: MARK_RETENTION };
        let completing = tokio::spawn(acquisition.complete(mark, clock::now() + held));
        tokio::time::sleep(waited).await;
        answer.send(Reply::Done).unwrap();
        let completed = tokio::time::timeout(held / 2, completing).await.ok().map(|ended| ended.unwrap().is_ok());
        let is_marked = sent.clone().wait_for(Option::is_some).await.unwrap().unwrap();
        (completed, is_marked)
    }

    #[tokio::test(start_paused = true)]
    async fn a_vote_that_comes_while_its_fire_is_completed_stands_in_for_a_hung_node() {
        let (soon, late) = (Duration::from_millis(1), longest_round(LONGEST_TTL) + Duration::from_millis(1));
        assert_eq!(completed_beside_a_hung_node(true, soon).await, (Some(true), true));
        assert_eq!(completed_beside_a_hung_node(false, soon).await, (None, false), "it may not vote");
        assert_eq!(completed_beside_a_hung_node(true, late).await, (None, false), "it is too late for a vote");
    }

    #[tokio::test]
    async fn a_key_that_is_set_after_its_lock_was_given_out_of_hand_is_released() {
        let (acquisition, answer, mut released) = won_before_all_have_answered().await;
        let engine = Arc::clone(&acquisition.engine);
        acquisition.leave();
        assert_eq!(*released.borrow(), 0);
        answer.send(Reply::Done).unwrap();
        until_released(&mut released).await;
        tokio::time::timeout(Duration::from_secs(10), engine.tracked_releases().all_confirmed())
            .await
            .expect("it is over");
    }

    #[tokio::test]
    async fn a_key_that_was_set_again_is_released_behind_the_first_acquire_however_that_ends() {
        check_released_behind(Reply::NOT_OURS).await;
        check_released_behind(Reply::not_sent("it was cancelled before it was sent")).await;
        check_released_behind(Reply::Done).await;
    }

    #[tokio::test]
    async fn whatever_numbers_a_node_tells_no_arithmetic_ends_in_a_panic() {
        let max_clock_skew = Duration::from_secs(60);
        for seen in [0, u64::MAX] {
            let answers = |counter| {
                let counter = Some(Counter::Known(counter));
                let held =
                    Reply::NotOurs { owner: Some("a".into()), remaining: Some(Duration::MAX), counter, mark: None };
                [held, Reply::Granted { counter, is_wanted: true, mark: None }]
            };
            for told in [1 << 52, u64::MAX].map(answers).into_iter().flatten() {
                let voter = |reply: Reply| -> Arc<dyn Voter> {
                    Scripted::voter(move |_, _| PendingReply::new(ready(reply.clone())))
                };
                let well = || voter(Reply::Granted { counter: Some(Counter::Known(7)), is_wanted: false, mark: None });
                let nodes = vec![voter(told), well(), well()];
                let engine = Engine::new(nodes, Quorum::of(3).unwrap(), Duration::from_secs(5), LONGEST_TTL);
                let fenced = Fenced { seen, fence_fallback: FenceFallback::TrustClocks { max_clock_skew }, room: 0 };
                let won = engine.acquire("key".into(), Duration::from_secs(60), None, Plan::once(Some(fenced))).await;
                assert_eq!(won.expect("two of three agree").term.fencing_token, 7, "what the third told is none");
            }
        }
    }

    #[tokio::test]
    async fn the_others_decide_where_the_node_that_is_asked_first_does_not_vote() {
        for faulty in 0..3 {
            ask_one_first(faulty, Reply::Done).await.expect("a majority grants");
            let held = Reply::NotOurs { owner: Some("another".into()), remaining: None, counter: None, mark: None };
            let lost = ask_one_first(faulty, held).await.expect_err("a majority refuses");
            assert_eq!(lost.verdict, Verdict::Refused);
        }
    }
}
