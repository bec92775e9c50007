//! One lock as it was seen last.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redlock_runtime::{LastRun, LockInfo, LockState, SharedInfo};

use super::history::Change;
use crate::output::plain;

/// Two looks at the same thing differ by this: an answer takes its time, and each node has a clock of its own.
const JITTER: Duration = Duration::from_millis(250);

/// Whether a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    Free,
    Kept,
    Unsettled,
    Held,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Kept => "kept",
            Self::Unsettled => "unsettled",
            Self::Held => "held",
        }
    }
}

impl From<LockState> for State {
    fn from(state: LockState) -> Self {
        match state {
            LockState::Held => Self::Held,
            LockState::Kept => Self::Kept,
            LockState::Free => Self::Free,
            _ => Self::Unsettled,
        }
    }
}

/// A lock.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: Arc<str>,
    /// The name as people are shown it.
    pub(crate) shown: Arc<str>,
    pub(crate) state: State,
    /// What its owner is called, as people are shown it; of several permits, of the one that is held longest.
    pub(crate) holder: Option<Arc<str>>,
    /// When it was acquired, if that is known.
    pub(crate) acquired: Option<Instant>,
    /// When this owner was first seen to hold it.
    pub(crate) seen: Instant,
    /// When a majority of the keys is gone unless somebody extends them.
    pub(crate) expires: Option<Instant>,
    /// The longest that this owner was seen to have left: about its TTL.
    pub(crate) ttl: Duration,
    pub(crate) waiting: u64,
    pub(crate) token: Option<u64>,
    /// On how many nodes the owner's key is, how many it takes, and how many there are.
    pub(crate) votes: (usize, usize, usize),
    pub(crate) last_run: Option<LastRun>,
    pub(crate) permits: Vec<Permit>,
    /// Who has the lock of this name that readers share, which is another one.
    pub(crate) shared: Option<Shared>,
    /// The model's version when something changed of it last that is not the passing of time.
    pub(crate) version: u64,
    /// In which survey it was last seen.
    pub(crate) survey: u64,
    /// What a search looks through, in lower case.
    folded: Box<str>,
}

/// One permit of a lock that has several.
#[derive(Clone, Debug)]
pub(crate) struct Permit {
    pub(crate) number: u32,
    pub(crate) state: State,
    pub(crate) holder: Option<Arc<str>>,
    pub(crate) acquired: Option<Instant>,
    pub(crate) expires: Option<Instant>,
    pub(crate) token: Option<u64>,
}

/// The lock of a name that readers share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shared {
    /// Whether a writer holds it.
    pub(crate) writer: State,
    /// What the writer is called, as people are shown it.
    pub(crate) owner: Option<Arc<str>>,
    pub(crate) readers: u64,
    pub(crate) expires: Option<Instant>,
}

impl Shared {
    fn of(info: &SharedInfo, now: Instant) -> Self {
        Self {
            writer: info.writer.into(),
            owner: info.owner_label.as_deref().map(|label| plain(label).into()),
            readers: info.readers,
            expires: info.remaining.map(|remaining| now + remaining),
        }
    }

    fn is_taken(&self) -> bool {
        self.writer != State::Free || self.readers > 0
    }
}

impl Permit {
    pub(crate) fn is_taken(&self) -> bool {
        matches!(self.state, State::Held | State::Kept)
    }
}

impl Row {
    /// Whether there is anything to see of it.
    pub(crate) fn is_worth_a_row(info: &LockInfo) -> bool {
        let is_shared = info.shared.as_ref().is_some_and(|shared| !is_free(shared.writer) || shared.readers > 0);
        let is_permitted = info.permits.iter().any(|permit| !is_free(permit.state));
        info.state != LockState::Free || info.waiting > 0 || is_permitted || is_shared
    }

    pub(crate) fn new(info: &LockInfo, now: Instant) -> Self {
        let name: Arc<str> = info.name.as_str().into();
        let permits: Vec<_> = info
            .permits
            .iter()
            .map(|permit| Permit {
                number: permit.permit,
                state: permit.state.into(),
                holder: permit.owner_label.as_deref().map(|label| plain(label).into()),
                acquired: permit.held_for.and_then(|held_for| now.checked_sub(held_for)),
                expires: permit.remaining.map(|remaining| now + remaining),
                token: permit.fencing_token,
            })
            .collect();
        let mut row = Self {
            shown: plain(&name).into(),
            name,
            state: info.state.into(),
            holder: info.owner_label.as_deref().map(|label| plain(label).into()),
            acquired: info.held_for.and_then(|held_for| now.checked_sub(held_for)),
            seen: now,
            expires: info.remaining.map(|remaining| now + remaining),
            ttl: info.remaining.unwrap_or_default(),
            waiting: info.waiting,
            token: info.fencing_token,
            votes: (info.votes, info.needed, info.nodes),
            last_run: info.last_run,
            permits,
            shared: info.shared.as_ref().map(|shared| Shared::of(shared, now)),
            version: 0,
            survey: 0,
            folded: Box::default(),
        };
        if row.state == State::Free {
            row.show_permits(now);
        }
        if row.state == State::Free {
            row.show_shared(now);
        }
        row.folded = format!("{}\n{}", row.shown, row.holder.as_deref().unwrap_or_default()).to_lowercase().into();
        row
    }

    /// A lock of which permits alone are held is shown as they are.
    fn show_permits(&mut self, now: Instant) {
        let Some(state) = self.permits.iter().map(|permit| permit.state).max() else { return };
        let taken = self.permits.iter().filter(|permit| permit.is_taken());
        let longest = taken.clone().min_by_key(|permit| permit.acquired.unwrap_or(now));
        self.state = state;
        self.holder = longest.and_then(|permit| permit.holder.clone());
        self.acquired = longest.and_then(|permit| permit.acquired);
        self.expires = taken.filter_map(|permit| permit.expires).min();
        self.ttl = self.expires.map(|expires| expires - now).unwrap_or_default();
    }

    /// A lock that readers or a writer have alone is shown as theirs is.
    fn show_shared(&mut self, now: Instant) {
        let Some(shared) = self.shared.as_ref().filter(|shared| shared.is_taken()) else { return };
        self.state = if shared.readers > 0 { State::Held } else { shared.writer };
        self.holder = shared.owner.clone();
        self.expires = shared.expires;
        self.ttl = self.expires.map(|expires| expires - now).unwrap_or_default();
    }

    /// What is shown as its state: how many of its permits are taken, or who shares it, where it has either.
    pub(crate) fn shown_state(&self) -> String {
        if let Some((taken, of)) = self.permits() {
            return format!("{taken} of {of}");
        }
        match &self.shared {
            Some(shared) if shared.readers > 0 => format!("{} read", shared.readers),
            Some(shared) if shared.writer == State::Held => "written".to_owned(),
            _ => self.state.name().to_owned(),
        }
    }

    /// Takes in a later look at the same lock; what changed for those who want its history, and whether anything did.
    pub(crate) fn update(&mut self, mut later: Self) -> Updated {
        let is_same_owner = self.is_same_owner(&later);
        let was_held = self.state == State::Held;
        let change = match later.state {
            State::Held if !(was_held && is_same_owner) => {
                Some(Change::Acquired { holder: later.holder.clone(), token: later.token })
            }
            State::Kept if self.state != State::Kept => Some(Change::Kept),
            State::Unsettled if self.state != State::Unsettled => Some(Change::Unsettled),
            State::Free if self.state != State::Free => Some(Change::Released { held_for: self.age(later.seen) }),
            _ => None,
        };
        if is_same_owner && self.state == later.state {
            later.ttl = later.ttl.max(self.ttl);
            later.seen = self.seen;
            later.acquired = match (self.acquired, later.acquired) {
                (Some(before), Some(after)) if is_near(before, after) => Some(before),
                (before, after) => after.or(before),
            };
        }
        if let (Some(before), Some(after)) = (self.expires, later.expires)
            && is_near(before, after)
        {
            later.expires = self.expires;
        }
        let is_changed = change.is_some() || !self.looks_like(&later);
        later.version = self.version;
        *self = later;
        Updated { change, is_changed }
    }

    /// Whether nobody else can have held it between these two looks, as far as they tell.
    fn is_same_owner(&self, later: &Self) -> bool {
        match (self.token, later.token) {
            (Some(before), Some(after)) => before == after,
            // What was noted about an owner comes a moment behind its acquisition.
            (None, Some(_)) if self.holder.is_none() => is_as_old(self, later),
            _ => {
                let is_same_holder = self.holder.is_none() || self.holder == later.holder;
                is_same_holder && is_as_old(self, later)
            }
        }
    }

    fn looks_like(&self, other: &Self) -> bool {
        let of_permit = |permit: &Permit| (permit.state, permit.holder.clone(), permit.token);
        let of_shared = |shared: &Shared| (shared.writer, shared.owner.clone(), shared.readers);
        self.state == other.state
            && self.holder == other.holder
            && self.acquired == other.acquired
            && self.expires == other.expires
            && self.waiting == other.waiting
            && self.votes == other.votes
            && self.token == other.token
            && self.last_run == other.last_run
            && self.shared.as_ref().map(of_shared) == other.shared.as_ref().map(of_shared)
            && self.permits.iter().map(of_permit).eq(other.permits.iter().map(of_permit))
    }

    /// For how long this owner has held it, or was seen to.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.acquired.unwrap_or(self.seen))
    }

    /// For how long it is held if nobody extends it.
    pub(crate) fn left(&self, now: Instant) -> Option<Duration> {
        self.expires.map(|expires| expires.saturating_duration_since(now))
    }

    /// How many permits are taken, and of how many; `None` for a lock without.
    pub(crate) fn permits(&self) -> Option<(usize, usize)> {
        let taken = self.permits.iter().filter(|permit| permit.is_taken()).count();
        (!self.permits.is_empty()).then_some((taken, self.permits.len()))
    }

    /// Whether its name or its owner's has this in it; `search` is in lower case.
    pub(crate) fn is_found(&self, search: &str) -> bool {
        search.is_empty() || self.folded.contains(search)
    }
}

/// What comes of another look.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Updated {
    pub(crate) change: Option<Change>,
    pub(crate) is_changed: bool,
}

fn is_free(state: LockState) -> bool {
    state == LockState::Free
}

fn is_near(one: Instant, other: Instant) -> bool {
    one.max(other) - one.min(other) < JITTER
}

/// Whether both were acquired at one moment. Clocks of two nodes may differ by more than two looks do.
fn is_as_old(before: &Row, later: &Row) -> bool {
    match (before.acquired, later.acquired) {
        (Some(one), Some(other)) => one.max(other) - one.min(other) < 8 * JITTER,
        (None, Some(acquired)) => acquired < before.seen + JITTER,
        _ => true,
    }
}
