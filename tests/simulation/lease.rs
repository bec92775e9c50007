//! A held lock: renewed, extended, lost, released.

use std::time::Instant;

use redlock_runtime::protocol::{Backoff, Ballot, NodeSet, Round, Verdict, renewal_due};

use super::attempt::{Hold, Stage};
use super::clock::{MILLI, Micros, length};
use super::network::{BACKGROUND, CALLERS};
use super::node::{Action, Command, Reply};
use super::world::{Event, Life, World};

/// One round of extensions.
#[derive(Debug)]
pub(crate) struct Extension {
    /// Tells its replies from those of an earlier one.
    number: u32,
    /// The votes.
    round: Round,
    /// When it began, on its client's clock.
    began: Instant,
    /// For how long it asks.
    ttl: Micros,
    /// What comes back later is no extension: the end of the validity before it.
    deadline: Instant,
    /// The connections by which it went.
    lane: usize,
    /// Nodes that have not answered.
    in_flight: NodeSet,
}

impl World {
    pub(crate) fn win(&mut self, owner: usize) {
        let Hold { client, ttl, began, .. } = self.holds[owner];
        let wish = self.wish(client);
        self.holds[owner].stage = Stage::Held;
        self.holds[owner].keep_until = wish.min_hold.map(|least| began + length(least));
        self.enter(client, Life::Holding(owner));
        self.met.won += 1;
        self.check_won(owner);
        self.check_token(owner);
        self.after(wish.body, Event::BodyOver { owner });
        if wish.is_renewed {
            self.client_at(client, renewal_due(began, length(ttl)), Event::Renew { owner });
        }
        if let Some((moment, ttl)) = wish.extension {
            self.after(moment, Event::Extend { owner, ttl });
        }
    }

    /// Whether a client takes the lock to be held.
    pub(crate) fn is_held(&self, owner: usize) -> bool {
        let hold = &self.holds[owner];
        hold.stage == Stage::Held && !hold.is_leaving && self.local(hold.client) < hold.valid_until
    }

    pub(crate) fn renew(&mut self, owner: usize) {
        if !self.is_held(owner) {
            return;
        }
        let Hold { client, ttl, valid_until, .. } = self.holds[owner];
        let now = self.local(client);
        if self.holds[owner].extension.is_some() {
            // Extensions take turns.
            self.after(MILLI, Event::Renew { owner });
        } else if valid_until > now + length(ttl) {
            // An explicit extension reaches further than this one would.
            self.client_at(client, renewal_due(now, length(ttl)), Event::Renew { owner });
        } else {
            self.extend(owner, ttl, BACKGROUND);
        }
    }

    /// One round of extensions, of the renewal or of the body itself.
    pub(crate) fn extend(&mut self, owner: usize, ttl: Micros, lane: usize) {
        if !self.is_held(owner) || self.holds[owner].extension.is_some() {
            return;
        }
        let hold = &mut self.holds[owner];
        hold.extensions += 1;
        let (client, number, deadline) = (hold.client, hold.extensions, hold.valid_until);
        let mut round = self.question(client, lane);
        let mut in_flight = NodeSet::default();
        for node in 0..self.nodes.len() {
            let command = Command { action: Action::Extend { ttl, number }, owner, node };
            if self.send(client, lane, command).is_some() {
                in_flight.insert(node);
            } else if self.rules.majority_of_configured {
                round.record(node, Ballot::Failed);
            }
        }
        let began = self.local(client);
        self.holds[owner].extension = Some(Extension { number, round, began, ttl, deadline, lane, in_flight });
        self.client_after(client, self.patience(ttl), Event::RoundOver { owner, number });
        self.judge_extension(owner, false);
    }

    pub(crate) fn handle_extended(&mut self, owner: usize, node: usize, number: u32, reply: Reply) {
        let hold = &mut self.holds[owner];
        let Some(extension) = hold.extension.as_mut().filter(|extension| extension.number == number) else { return };
        extension.in_flight.remove(node);
        extension.round.record(node, reply.ballot());
        self.judge_extension(owner, false);
    }

    /// The nodes' time is over.
    pub(crate) fn end_extension(&mut self, owner: usize, number: u32) {
        let hold = &mut self.holds[owner];
        let Some(extension) = hold.extension.as_mut().filter(|extension| extension.number == number) else { return };
        let (client, lane, overdue) = (hold.client, extension.lane, extension.in_flight);
        for node in overdue.iter() {
            extension.round.record(node, Ballot::Failed);
        }
        for node in overdue.iter() {
            self.overdue(client, node, lane);
        }
        self.judge_extension(owner, true);
    }

    fn judge_extension(&mut self, owner: usize, is_over: bool) {
        let hold = &mut self.holds[owner];
        let Some(extension) = &hold.extension else { return };
        let is_over = is_over || extension.in_flight.is_empty();
        let verdict = match extension.round.verdict() {
            Some(Verdict::Unreachable) | None if !is_over => return,
            verdict => verdict.unwrap_or(Verdict::Unreachable),
        };
        let extension = hold.extension.take().expect("it was there");
        if hold.stage != Stage::Held {
            return;
        }
        let (client, ttl) = (hold.client, hold.ttl);
        let now = self.local(client);
        let is_renewal = extension.lane == BACKGROUND;
        match verdict {
            Verdict::Won if now < extension.deadline => {
                self.holds[owner].valid_until = self.valid_until(extension.began, extension.ttl);
                self.check_validity(owner);
                if is_renewal {
                    self.client_at(client, renewal_due(extension.began, length(ttl)), Event::Renew { owner });
                }
                if !self.holds[owner].is_leaving {
                    self.repair(owner, extension.round.refused());
                }
            }
            Verdict::Unreachable if is_renewal => {
                let seed = self.random.next();
                let pause = Backoff::new(length(ttl) / 60, length(ttl) / 12, seed).next().expect("it never ends");
                self.client_after(client, pause.max(length(MILLI)), Event::Renew { owner });
            }
            Verdict::Unreachable => {}
            // Lost: what counts as held ends now at the latest.
            Verdict::Won | Verdict::Refused | Verdict::Split => {
                let hold = &mut self.holds[owner];
                hold.valid_until = hold.valid_until.min(now);
                self.met.lost += 1;
            }
        }
        if self.holds[owner].is_leaving {
            self.release(owner);
        }
    }

    /// Sets the key again where it is missing, while a majority has just been extended. It counts as an acquire that is
    /// owed a release, and not as a vote.
    fn repair(&mut self, owner: usize, nodes: NodeSet) {
        for node in nodes.without(self.holds[owner].ledger.in_flight()).iter() {
            self.ask_acquire(owner, node, BACKGROUND, None);
            self.met.repaired += 1;
        }
    }

    /// The body has ended: no more extensions, and the release once the one that is under way has ended.
    pub(crate) fn end_body(&mut self, owner: usize) {
        let hold = &mut self.holds[owner];
        if hold.stage != Stage::Held {
            return;
        }
        hold.is_leaving = true;
        if hold.extension.is_none() {
            self.release(owner);
        }
    }

    fn release(&mut self, owner: usize) {
        let client = self.holds[owner].client;
        let _ = self.holds[owner].ledger.over();
        self.enter(client, Life::Releasing(owner));
        self.client_after(client, length(self.plan.node_timeout), Event::SettlingOver { owner });
        self.start_release(owner, NodeSet::first(self.nodes.len()), CALLERS);
    }
}
