//! A simulated Redis master: one key, its expiry on the node's own clock, and what commands do to it.

use std::sync::Arc;
use std::time::Duration;

use redlock_runtime::protocol::{Ballot, Counter, Holder, Proposal, RETENTION, confirmation};

use super::clock::{Clock, MILLI, Micros, SECOND, length};
use super::plan::Rules;

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// `SET NX PX`, and raise the counter to what is proposed; the repair of a node that lost the key proposes nothing.
    Acquire { ttl: Micros, proposal: Option<Proposal> },
    /// Compare and raise the counter.
    Commit { token: u64 },
    /// Compare and `PEXPIRE`. The number tells a round's replies from those of an earlier one.
    Extend { ttl: Micros, number: u32 },
    /// Compare and delete, or with `keep` compare and let it live for this much longer. The connection is killed first.
    Release { keep: Micros, behind: Option<usize> },
    /// Asks for a sign of life.
    Ping,
}

/// One request of one owner.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Command {
    pub(crate) action: Action,
    /// The owner's number; it stands for the random value.
    pub(crate) owner: usize,
    pub(crate) node: usize,
}

/// A node's answer, or what became of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    Done,
    /// An acquire set the key.
    Granted {
        /// The counter, if the acquire proposed one.
        counter: Option<Counter>,
    },
    NotOurs {
        /// Whose key it is, if there is one.
        holder: Option<usize>,
        /// How long that key lives.
        remaining: Option<Duration>,
        /// The counter, if an acquire proposed one.
        counter: Option<Counter>,
    },
    /// It answered with an error.
    Error,
    /// It was not sent.
    NotSent,
    /// This connection ended first.
    Unknown {
        connection: usize,
    },
}

impl Reply {
    const NOT_OURS: Self = Self::NotOurs { holder: None, remaining: None, counter: None };

    /// The vote that it is.
    pub(crate) fn ballot(self) -> Ballot {
        match self {
            Self::Done | Self::Granted { .. } => Ballot::Granted,
            Self::NotOurs { .. } => Ballot::Refused,
            Self::Error | Self::NotSent | Self::Unknown { .. } => Ballot::Failed,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    /// Whose it is.
    pub(crate) owner: usize,
    /// A release kept it for a while.
    pub(crate) is_kept: bool,
    /// On the node's clock.
    expires: Micros,
}

/// One master.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its own clock.
    clock: Clock,
    /// The lock's key, which may have expired.
    key: Option<Key>,
    /// The lock's fencing counter. No schedule is so long that it expires.
    fence: Option<u64>,
    /// Whether it runs.
    pub(crate) is_up: bool,
    /// Whether it runs and does nothing.
    pub(crate) is_hung: bool,
    /// When it started, in true time.
    pub(crate) born: Micros,
    /// How often it has restarted.
    pub(crate) incarnation: u32,
    /// What INFO shows; new at each start.
    pub(crate) run_id: Arc<str>,
    /// What arrived while it was hung: connection, number, command.
    pub(crate) backlog: Vec<(usize, u64, Command)>,
    /// Its position, for the run id.
    position: usize,
}

impl Node {
    pub(crate) fn new(position: usize, rate: i64, age: Micros) -> Self {
        let (clock, run_id) = (Clock::new(rate), format!("{position}-0").into());
        let (key, fence, backlog) = (None, None, Vec::new());
        Self { clock, key, fence, is_up: true, is_hung: false, born: -age, incarnation: 0, run_id, backlog, position }
    }

    /// The key, unless it has expired.
    pub(crate) fn key(&self, now: Micros) -> Option<Key> {
        self.key.filter(|key| self.clock.local(now) < key.expires)
    }

    /// The moment at which a key that is given this TTL now expires. Redis counts whole milliseconds; this is the
    /// shortest life that a TTL can mean.
    fn expiry(&self, now: Micros, ttl: Micros) -> Micros {
        let local = self.clock.local(now);
        local - local.rem_euclid(MILLI) + ttl
    }

    /// When the present key expires, in true time.
    pub(crate) fn true_expiry(&self) -> Micros {
        self.key.map_or(Micros::MIN, |key| self.clock.true_time(key.expires))
    }

    pub(crate) fn acquire(
        &mut self,
        now: Micros,
        owner: usize,
        ttl: Micros,
        proposal: Option<Proposal>,
        rules: Rules,
    ) -> Reply {
        let counter = self.counter(now, rules);
        if let Some(key) = self.key(now) {
            let remaining = Some(length(key.expires - self.clock.local(now)));
            return Reply::NotOurs { holder: Some(key.owner), remaining, counter: proposal.map(|_| counter) };
        }
        self.key = Some(Key { owner, is_kept: false, expires: self.expiry(now, ttl) });
        let counter = proposal.map(|proposal| counter.grant(proposal));
        self.store(counter);
        Reply::Granted { counter }
    }

    pub(crate) fn commit(&mut self, now: Micros, owner: usize, token: u64, rules: Rules) -> Reply {
        let holder = if self.owned(now, owner, rules).is_some() { Holder::Asker } else { Holder::Other };
        let committed = self.counter(now, rules).commit(holder, token);
        self.store(committed);
        if confirmation(token, committed) == Ballot::Granted { Reply::Done } else { Reply::NOT_OURS }
    }

    fn counter(&self, now: Micros, rules: Rules) -> Counter {
        let age = length(self.clock.local(now) - self.clock.local(self.born));
        Counter::read(self.fence, if rules.restart_is_no_evidence { age } else { RETENTION }, RETENTION)
    }

    fn store(&mut self, counter: Option<Counter>) {
        self.fence = counter.and_then(Counter::number).or(self.fence);
    }

    pub(crate) fn extend(&mut self, now: Micros, owner: usize, ttl: Micros, rules: Rules) -> Reply {
        let expires = self.expiry(now, ttl);
        match self.owned(now, owner, rules) {
            Some(key) => {
                key.expires = if rules.extension_only_lengthens { key.expires.max(expires) } else { expires };
                Reply::Done
            }
            None => Reply::NOT_OURS,
        }
    }

    pub(crate) fn release(&mut self, now: Micros, owner: usize, keep: Micros, rules: Rules) -> Reply {
        let expires = self.expiry(now, keep);
        match self.owned(now, owner, rules) {
            Some(key) if keep > 0 => {
                *key = Key { owner, is_kept: true, expires };
                Reply::Done
            }
            Some(_) => {
                self.key = None;
                Reply::Done
            }
            None => Reply::NOT_OURS,
        }
    }

    fn owned(&mut self, now: Micros, owner: usize, rules: Rules) -> Option<&mut Key> {
        self.key(now)?;
        self.key.as_mut().filter(|key| key.owner == owner && !(key.is_kept && rules.kept_key_has_no_owner))
    }

    pub(crate) fn crash(&mut self) {
        self.is_up = false;
        self.is_hung = false;
        self.key = None;
        self.fence = None;
        self.backlog.clear();
    }

    pub(crate) fn restart(&mut self, now: Micros) {
        self.is_up = true;
        self.born = now;
        self.incarnation += 1;
        self.run_id = format!("{}-{}", self.position, self.incarnation).into();
    }

    /// What INFO shows: the difference of two readings in whole seconds.
    pub(crate) fn uptime(&self, now: Micros) -> Duration {
        let seconds = |moment| self.clock.local(moment).div_euclid(SECOND);
        length((seconds(now) - seconds(self.born)) * SECOND)
    }
}
