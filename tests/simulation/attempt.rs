//! Attempts to acquire, driven as the engine drives them: ask all, count, win, or give back and wait.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redlock_runtime::protocol::{
    Ballot, Electorate, Fate, Fence, Ledger, Listening, Next, NodeSet, Proposal, Quorum, Rivals, Round, Verdict, drift,
    next_step, patience, valid_until,
};

use super::clock::{Micros, length};
use super::fencing::{Commit, DOUBT};
use super::lease::Extension;
use super::network::{BACKGROUND, CALLERS};
use super::node::{Action, Command, Reply};
use super::plan::{LONGEST_TTL, Wish};
use super::settlement::Settlement;
use super::world::{Event, Life, World};

/// How far an owner has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its attempt is not decided.
    Asking,
    /// A majority granted it, and its token is being committed.
    Committing,
    /// It holds the lock, as far as it knows.
    Held,
    /// It holds the lock no more, or never did.
    Over,
}

/// One owner value, from its attempt until its last release.
#[derive(Debug)]
pub(crate) struct Hold {
    /// Whose it is.
    pub(crate) client: usize,
    /// The TTL of its acquire, and of its renewal.
    pub(crate) ttl: Micros,
    /// How far it has come.
    pub(crate) stage: Stage,
    /// When its attempt began, on its client's clock.
    pub(crate) began: Instant,
    /// The same in true time. What invariants are checked against; no client knows it.
    pub(crate) asked: Micros,
    /// Where its key may be set.
    pub(crate) ledger: Ledger,
    /// The votes on its attempt.
    pub(crate) round: Round,
    /// What was told about its fencing token.
    pub(crate) fence: Fence,
    /// The second round for its token, if one was begun.
    pub(crate) commit: Option<Commit>,
    /// When it was acquired, in true time, and with which token.
    pub(crate) acquired: Option<(Micros, u64)>,
    /// The connection that carries its acquire, by node.
    pub(crate) carriers: Vec<Option<usize>>,
    /// A connection that ended with the acquire unanswered, by node.
    pub(crate) cut: Vec<Option<usize>>,
    /// Its value.
    value: Arc<str>,
    /// For whom nodes refused.
    rivals: Rivals,
    /// How long the holder's key lives, if nodes said so.
    holder_remaining: Option<Duration>,
    /// Why its attempt was lost.
    verdict: Verdict,
    /// It counts as held until its client's clock shows this.
    pub(crate) valid_until: Instant,
    /// A release leaves the key until then.
    pub(crate) keep_until: Option<Instant>,
    /// The extension that is under way.
    pub(crate) extension: Option<Extension>,
    /// How many extensions there were.
    pub(crate) extensions: u32,
    /// The body has ended while an extension was under way.
    pub(crate) is_leaving: bool,
    /// Its releases, once it is over.
    pub(crate) settlement: Option<Settlement>,
    /// Nodes that confirmed the release, and to which none is owed.
    pub(crate) settled: NodeSet,
    /// Until when its key lives, by node, in true time. What invariants are checked against; no client knows it.
    pub(crate) expiries: Vec<Micros>,
}

impl World {
    pub(crate) fn wish(&self, client: usize) -> Wish {
        self.plan.clients[client].1[self.clients[client].wish]
    }

    /// The votes of one question: over the configured nodes or, with the rule off, over those that can be reached.
    pub(crate) fn question(&self, client: usize, lane: usize) -> Round {
        let reachable = Quorum::of(self.reachable(client, lane)).filter(|_| !self.rules.majority_of_configured);
        Round::new(reachable.unwrap_or(self.quorum))
    }

    pub(crate) fn valid_until(&self, began: Instant, ttl: Micros) -> Instant {
        let valid_until = valid_until(began, length(ttl));
        if self.rules.drift { valid_until } else { valid_until + drift(length(ttl)) }
    }

    pub(crate) fn patience(&self, ttl: Micros) -> Duration {
        patience(length(self.plan.node_timeout), length(ttl))
    }

    pub(crate) fn begin_attempt(&mut self, client: usize) {
        let began = self.local(client);
        if self.clients[client].waiting_since.is_none() {
            self.clients[client].waiting_since = Some(began);
        }
        let (ttl, owner, count) = (self.wish(client).ttl, self.holds.len(), self.nodes.len());
        assert!(ttl <= LONGEST_TTL);
        let proposal = self.proposal(client);
        self.holds.push(Hold {
            client,
            ttl,
            stage: Stage::Asking,
            began,
            asked: self.now,
            ledger: Ledger::default(),
            round: self.question(client, CALLERS),
            fence: Fence::propose(self.quorum, proposal, DOUBT),
            commit: None,
            acquired: None,
            carriers: vec![None; count],
            cut: vec![None; count],
            value: owner.to_string().into(),
            rivals: Rivals::default(),
            holder_remaining: None,
            verdict: Verdict::Unreachable,
            valid_until: began,
            keep_until: None,
            extension: None,
            extensions: 0,
            is_leaving: false,
            settlement: None,
            settled: NodeSet::default(),
            expiries: vec![Micros::MIN; count],
        });
        self.enter(client, Life::Asking(owner));
        for node in 0..count {
            self.ask_acquire(owner, node, CALLERS, Some(proposal));
            if !self.holds[owner].ledger.in_flight().contains(node) && self.rules.majority_of_configured {
                self.holds[owner].round.record(node, Ballot::Failed);
            }
        }
        let (patience, _) = self.patience_from(owner, began);
        self.client_after(client, patience, Event::RoundOver { owner, number: 0 });
        self.judge_attempt(owner, false);
    }

    /// How long an attempt waits for the nodes that are asked at a moment, and whether that is less than they have, because
    /// the client's time ends.
    pub(crate) fn patience_from(&self, owner: usize, asked: Instant) -> (Duration, bool) {
        let Hold { client, ttl, .. } = self.holds[owner];
        let waited = self.clients[client].waiting_since.map_or(Duration::ZERO, |since| asked - since);
        let patience = self.patience(ttl);
        let limit = self.wish(client).limit.map(length).filter(|limit| !limit.is_zero());
        let left = limit.map_or(patience, |limit| limit.saturating_sub(waited));
        (patience.min(left), left < patience)
    }

    /// Sends an acquire, or the repair of a node that lost the key: both are owed a release.
    pub(crate) fn ask_acquire(&mut self, owner: usize, node: usize, lane: usize, proposal: Option<Proposal>) {
        let Hold { client, ttl, .. } = self.holds[owner];
        let carrier = self.clients[client].links[node][lane].up.as_ref().map(|(connection, _)| *connection);
        if self.send(client, lane, Command { action: Action::Acquire { ttl, proposal }, owner, node }).is_some() {
            self.holds[owner].ledger.asked(node);
            self.holds[owner].carriers[node] = carrier;
        }
    }

    pub(crate) fn handle_reply(&mut self, command: Command, reply: Reply) {
        let Command { action, owner, node } = command;
        match action {
            Action::Acquire { .. } => self.handle_vote(owner, node, reply),
            Action::Commit { .. } => self.handle_committed(owner, node, reply),
            Action::Extend { number, .. } => self.handle_extended(owner, node, number, reply),
            Action::Release { .. } => self.handle_released(owner, node, reply),
            Action::Ping => {}
        }
    }

    fn handle_vote(&mut self, owner: usize, node: usize, reply: Reply) {
        if let Reply::NotOurs { holder: Some(holder), .. } = reply {
            let value = Arc::clone(&self.holds[holder].value);
            self.holds[owner].rivals.note(&value);
        }
        let hold = &mut self.holds[owner];
        if !hold.ledger.in_flight().contains(node) {
            // It was given up, and the release that was sent behind it kills what carried it.
            return;
        }
        let fate = match reply {
            Reply::Done | Reply::Granted { .. } => Fate::Set,
            Reply::NotOurs { remaining, .. } => {
                let known = hold.holder_remaining.into_iter().chain(remaining);
                hold.holder_remaining = known.min();
                Fate::NotSet
            }
            Reply::Error if !self.rules.errors_may_have_set => Fate::NotSet,
            Reply::Error | Reply::Unknown { .. } => Fate::MaybeSet,
            Reply::NotSent => Fate::NotSet,
        };
        if let Reply::Granted { counter: Some(counter) } | Reply::NotOurs { counter: Some(counter), .. } = reply {
            hold.fence.merge(node, counter);
        }
        if let Reply::Unknown { connection } = reply {
            hold.cut[node] = Some(connection).filter(|_| self.rules.release_kills_cut_connection);
        }
        let is_owed = hold.ledger.ended(node, fate);
        hold.round.record(node, reply.ballot());
        if hold.stage == Stage::Asking {
            self.judge_attempt(owner, false);
        } else if is_owed {
            self.met.late += 1;
            let behind = if let Reply::Unknown { connection } = reply { Some(connection) } else { None };
            self.release_at(owner, node, behind);
        } else if self.holds[owner].stage == Stage::Over && !self.holds[owner].ledger.suspected().contains(node) {
            self.settled(owner, node);
        } else if self.holds[owner].stage == Stage::Over {
            // A repair that found another owner's key; what the first acquire left there is still to be released.
            self.release_at(owner, node, None);
        }
    }

    /// The nodes' time is over.
    pub(crate) fn end_attempt(&mut self, owner: usize) {
        let hold = &self.holds[owner];
        if hold.stage == Stage::Asking {
            let (client, late) = (hold.client, hold.ledger.in_flight());
            let (_, is_cut_short) = self.patience_from(owner, hold.began);
            for node in late.iter() {
                if !is_cut_short {
                    self.overdue(client, node, CALLERS);
                }
                self.holds[owner].round.record(node, Ballot::Failed);
            }
            self.judge_attempt(owner, true);
        }
    }

    fn judge_attempt(&mut self, owner: usize, is_over: bool) {
        let hold = &self.holds[owner];
        if hold.stage != Stage::Asking {
            return;
        }
        let is_over = is_over || hold.ledger.in_flight().is_empty();
        if let Some(Verdict::Won | Verdict::Refused) = hold.round.verdict() {
            self.strike_those_who_may_not_vote(owner);
        }
        let hold = &self.holds[owner];
        match hold.round.verdict() {
            Some(Verdict::Won) => {
                self.find_token(owner, if is_over { Listening::IsOver } else { Listening::GoesOn });
            }
            Some(Verdict::Refused | Verdict::Split) => {
                let is_held = hold.rivals.has_holder(self.quorum);
                self.met.split += u64::from(!is_held);
                self.lose_attempt(owner, if is_held { Verdict::Refused } else { Verdict::Split });
            }
            // With the rule off, a round over fewer nodes may end without a verdict.
            Some(Verdict::Unreachable) | None if is_over => self.lose_attempt(owner, Verdict::Unreachable),
            Some(Verdict::Unreachable) | None => {}
        }
    }

    /// A node that restarted may have forgotten to whom it granted the lock. Decided when the votes are counted, so that
    /// a connection that was made meanwhile is heard.
    fn strike_those_who_may_not_vote(&mut self, owner: usize) {
        if self.rules.restart_abstention && self.nodes.len() > 1 {
            let client = self.holds[owner].client;
            let links = &self.clients[client].links;
            let papers = links.iter().map(|lanes| lanes[CALLERS].up.as_ref().map(|(_, papers)| papers));
            let voters = Electorate::of(self.local(client), papers).voters();
            let round = &mut self.holds[owner].round;
            for node in round.granted().without(voters).iter() {
                round.strike(node);
                self.met.struck += 1;
            }
        }
    }

    pub(crate) fn lose_attempt(&mut self, owner: usize, verdict: Verdict) {
        let hold = &mut self.holds[owner];
        hold.verdict = verdict;
        let (client, seen) = (hold.client, hold.fence.seen());
        let owed = hold.ledger.over();
        self.clients[client].seen = self.clients[client].seen.max(seen);
        self.enter(client, Life::GivingBack(owner));
        self.start_release(owner, owed, CALLERS);
        self.client_after(client, length(self.plan.node_timeout), Event::SettlingOver { owner });
        self.proceed_when_given_back(owner);
    }

    /// Tries again, or gives up, once all nodes that granted a lost attempt have confirmed.
    pub(crate) fn proceed_when_given_back(&mut self, owner: usize) {
        let hold = &self.holds[owner];
        let waiting = hold.settlement.as_ref().is_some_and(|settlement| !settlement.awaited.is_empty());
        if self.clients[hold.client].life == Life::GivingBack(owner) && !waiting {
            self.try_again(owner);
        }
    }

    pub(crate) fn try_again(&mut self, owner: usize) {
        let Hold { client, verdict, holder_remaining, .. } = self.holds[owner];
        let limit = self.wish(client).limit.map(length);
        let now = self.local(client);
        let waited = self.clients[client].waiting_since.map_or(Duration::ZERO, |since| now - since);
        let pause = self.clients[client].pauses.next().expect("a backoff never ends");
        let grace = length(self.plan.node_timeout);
        let next = match limit {
            Some(Duration::ZERO) => next_step(verdict, waited, pause, grace),
            Some(limit) if waited >= limit => Next::GiveUp,
            // There is nothing to be had before the holder's key is gone.
            limit => {
                let left = limit.map(|limit| limit.saturating_sub(waited));
                Next::TryAgainAfter([holder_remaining, left].into_iter().flatten().fold(pause, Duration::min))
            }
        };
        match next {
            Next::TryAgainAfter(pause) => {
                self.enter(client, Life::Waiting);
                let life = self.clients[client].life_number;
                self.client_after(client, pause, Event::Attempt { client, life });
            }
            Next::GiveUp => self.next_wish(client),
        }
    }

    /// Goes on to the client's next wish.
    pub(crate) fn next_wish(&mut self, client: usize) {
        let seed = self.random.next();
        let state = &mut self.clients[client];
        state.waiting_since = None;
        state.seen = 0;
        state.pauses = super::world::Client::pauses(seed);
        if state.wish + 1 == self.plan.clients[client].1.len() {
            self.enter(client, Life::Done);
            return;
        }
        state.wish += 1;
        self.enter(client, Life::Waiting);
        let (life, after) = (self.clients[client].life_number, self.wish(client).after);
        self.after(after, Event::Attempt { client, life });
    }

    /// The future of whatever the client does is dropped.
    pub(crate) fn cancel(&mut self, client: usize) {
        match self.clients[client].life {
            Life::Asking(owner) | Life::Holding(owner) => {
                let owed = self.holds[owner].ledger.over();
                self.start_release(owner, owed, BACKGROUND);
            }
            Life::GivingBack(owner) | Life::Releasing(owner) => self.send_releases_again(owner),
            Life::Waiting => {}
            Life::Done => return,
        }
        self.next_wish(client);
    }
}
