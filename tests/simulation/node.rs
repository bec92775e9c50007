//! A simulated Redis master: one key, its expiry on the node's own clock, and what commands do to it.

use std::sync::Arc;
use std::time::Duration;

use super::clock::{Clock, MILLI, Micros, SECOND, length};
use super::plan::Rules;

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// `SET NX PX`; also the repair of a node that lost the key.
    Acquire { ttl: Micros },
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
    NotOurs {
        /// Whose key it is, if there is one.
        holder: Option<usize>,
        /// How long that key lives.
        remaining: Option<Duration>,
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
        let (key, backlog) = (None, Vec::new());
        Self { clock, key, is_up: true, is_hung: false, born: -age, incarnation: 0, run_id, backlog, position }
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

    pub(crate) fn acquire(&mut self, now: Micros, owner: usize, ttl: Micros) -> Reply {
        if let Some(key) = self.key(now) {
            let remaining = Some(length(key.expires - self.clock.local(now)));
            return Reply::NotOurs { holder: Some(key.owner), remaining };
        }
        self.key = Some(Key { owner, is_kept: false, expires: self.expiry(now, ttl) });
        Reply::Done
    }

    pub(crate) fn extend(&mut self, now: Micros, owner: usize, ttl: Micros, rules: Rules) -> Reply {
        let expires = self.expiry(now, ttl);
        match self.owned(now, owner, rules) {
            Some(key) => {
                key.expires = if rules.extension_only_lengthens { key.expires.max(expires) } else { expires };
                Reply::Done
            }
            None => Reply::NotOurs { holder: None, remaining: None },
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
            None => Reply::NotOurs { holder: None, remaining: None },
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
