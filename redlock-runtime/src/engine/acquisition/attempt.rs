//! One attempt: performs what `protocol` says, step by step.

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::{Acquisition, acquire_ended};
use crate::engine::heard::Heard;
use crate::engine::{AttemptFailed, Engine, Fenced, FireRefusal, Plan, SentAt, Term, within_deadline};
use crate::node::{Action, Command, MarkQuery, NewMark, Reply};
use crate::platform::clock;
use crate::platform::deadline::Deadline;
use crate::protocol::{
    AskOrder, Attempt, AttemptStep, Conclusion, Fence, FenceFallback, FireQuestion, Listening, MARK_RETENTION, NodeSet,
    Proposal, Quorum, StoredMark, Tally, TokenBlock, Verdict, Voters, plausible, reply_timeout,
};
use crate::values::subject::{Kind, Which};

impl Acquisition {
    /// Asks the nodes for the lock, and for its fencing token if it gets one.
    pub(in crate::engine) async fn ask(
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
        let mark = fire.as_ref().map(|question| MarkQuery {
            refuse_from: (!insists).then(|| question.fire.least_covering()),
            retention: question.terms.retention,
        });
        self.goes_on = contender.is_some() && matches!(self.subject.kind(), Some(Kind::Writer(_)));
        let command = Command::acquire(action, &self.subject, &self.owner, contender, proposal, mark);
        let first = match ask_order {
            AskOrder::OneFirst { except } => self.engine.first_for(&self.subject, *except),
            AskOrder::AllAtOnce => None,
        };
        let attempt = Attempt::to_acquire(self.engine.quorum(), first, began, ttl, self.engine.longest_round);
        self.perform(attempt, fence, fire, &command, until).await
    }

    /// Asks the nodes to give the lock from its owner to this one, and for its fencing token if it gets one. May be
    /// repeated, once the requests before were set aside.
    pub(in crate::engine) async fn ask_to_adopt(
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

    pub(super) fn send(&mut self, nodes: impl IntoIterator<Item = usize>, command: &Arc<Command>) {
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
}
