//! What passes on with a lease from one holder of a process to the next, and how.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::{KeysOf, Lasting, Lease, LetGo, News, State, ToldBy, limited};
use crate::engine::Acquisition;
use crate::error::LostReason;
use crate::protocol::{LOSS_NOTICE, LeaseNow, LeaseStanding, Needs, Passing, Turns};
use crate::values::name::Name;

/// A lease that passes from one holder of a process to the next.
pub(super) struct PassesOn {
    turns: Turns,
    /// When what its validity counts from began: the attempt that won it, or the last extension by an earlier holder, at the earliest.
    kept_since: Instant,
    /// How many extensions are under way, with what they set again. One begins before it looks whether the guard is gone, and the guard
    /// ends a turn when it has looked whether there are any, both with the state locked in between.
    extending: AtomicU32,
    /// The lease of the holder to whom it was passed on, who has the same keys; kept, so that those after that one can be told, too.
    next: OnceLock<Arc<Lease>>,
}

/// What was under the control of a holder that passed its lease on, for the next one.
pub(crate) struct PassedOn {
    /// Answers for the release, from now on at the end of the next holder.
    pub(crate) acquisition: Acquisition,
    /// The lease of the next holder.
    pub(crate) lease: Lease,
}

/// Who takes a lease from another holder.
pub(crate) struct Successor {
    pub(crate) name: Name,
    pub(crate) needs: Needs,
    /// Beyond which moment it does not extend the lease.
    pub(crate) max_until: Option<Instant>,
}

/// An extension that is under way, with what it sets again.
pub(super) struct Extending<'a>(&'a AtomicU32);

impl Lease {
    /// It may pass on to others of this process, with this.
    pub(crate) fn passing_on(self, turns: Option<Turns>) -> Self {
        let passes_on = |turns| Box::new(PassesOn::new(turns, self.began));
        Self { turns: turns.map(passes_on), ..self }
    }

    /// When what its validity counted from at first began.
    pub(crate) fn kept_since(&self) -> Instant {
        self.turns.as_ref().map_or(self.began, |passes_on| passes_on.kept_since)
    }

    /// The greatest number up to which fencing counters were raised for it.
    pub(crate) fn last_token(&self) -> u64 {
        self.turns
            .as_ref()
            .and_then(|passes_on| passes_on.turns.last_token())
            .map_or(self.fencing_token, |last| last.max(self.fencing_token))
    }

    /// Its holder lets go: its guard is over from now on, and the lease somebody else's to [take](Self::pass_on_to), if it passes on by
    /// this. What is returned is dropped where nothing is locked and nothing else is left to be done.
    #[must_use]
    pub(crate) fn end_turn(&self, passes: impl FnOnce(&Turns, &LeaseNow) -> Passing) -> Option<News> {
        let passes_on = self.turns.as_deref()?;
        let mut state = self.state();
        let is_renewed = state.lasting == Lasting::Renewed && !state.is_over && state.keys == KeysOf::Holder;
        let is_simple = is_renewed && state.let_go == LetGo::ByItself;
        if !is_simple || passes(&passes_on.turns, &passes_on.now(self.ttl, &state)) == Passing::IsReleased {
            return None;
        }
        // Until somebody has taken it, its release is waited for.
        self.hold().iter_mut().for_each(Acquisition::wake);
        state.is_over = true;
        state.keys = KeysOf::NextHolder;
        state.told_by = ToldBy::Lease;
        let ended = state.end(None, None);
        drop(state);
        self.over.notify_waiters();
        Some(ended)
    }

    /// The lease of the next holder, which took it from this one at this moment; `None` if it is worth nothing any more.
    pub(crate) fn pass_on_to(&self, now: Instant, next: Successor) -> Option<PassedOn> {
        let Successor { name, needs, max_until } = next;
        let passes_on = self.turns.as_deref()?;
        let lease_now = passes_on.now(self.ttl, &self.state());
        let valid_until = lease_now.valid_until;
        let (fencing_token, turns) = passes_on.turns.take(now, &lease_now, &needs)?;
        let acquisition = self.take_hold()?;
        let (engine, owner) = (Arc::clone(&self.engine), Arc::clone(&self.owner));
        let held = (now, valid_until, fencing_token);
        let mut lease = Self::new(engine, name, self.subject.clone(), owner, needs.ttl, held, max_until);
        // The keys live for no longer than that, so that it is not extended too late.
        let kept_since = valid_until.checked_sub(needs.ttl).unwrap_or(now);
        lease.turns = Some(Box::new(PassesOn::new(turns, kept_since)));
        let state = lease.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        // The time it takes to tell a loss was taken off before.
        state.valid_until = limited(valid_until + LOSS_NOTICE, max_until);
        Some(PassedOn { acquisition, lease })
    }

    /// It was passed on to this one, which hears from now on of what is done to the keys.
    pub(crate) fn set_passed_on_to(&self, next: &Arc<Self>) {
        if let Some(passes_on) = &self.turns {
            // It is passed on once.
            let _ = passes_on.next.set(Arc::clone(next));
        }
        // What was told before that was told of this one alone.
        if self.state().lost == Some(LostReason::Reset) {
            next.lose_to_reset();
        }
    }

    /// The keys were taken from whoever has them by now.
    pub(crate) fn lose_to_reset(&self) {
        self.lose(LostReason::Reset);
        let mut next = self.next_holder();
        while let Some(lease) = next {
            lease.lose(LostReason::Reset);
            next = lease.next_holder();
        }
    }

    fn next_holder(&self) -> Option<Arc<Self>> {
        self.turns.as_ref()?.next.get().cloned()
    }

    /// Whether another holder of this process has its keys, or is about to.
    pub(crate) fn is_passed_on(&self) -> bool {
        self.state().keys == KeysOf::NextHolder
    }

    pub(super) fn begin_extending(&self) -> Option<Extending<'_>> {
        let extending = &self.turns.as_ref()?.extending;
        extending.fetch_add(1, Ordering::SeqCst);
        Some(Extending(extending))
    }
}

impl Drop for Extending<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl PassesOn {
    fn new(turns: Turns, kept_since: Instant) -> Self {
        Self { turns, kept_since, extending: AtomicU32::new(0), next: OnceLock::new() }
    }

    /// What passing the lease on depends on, of which this is the state.
    fn now(&self, ttl: Duration, state: &State) -> LeaseNow {
        let standing = match state {
            State { lost: Some(_), .. } => LeaseStanding::IsLost,
            State { recalled: Some(_), .. } => LeaseStanding::IsRecalled,
            _ if self.extending.load(Ordering::SeqCst) > 0 => LeaseStanding::IsBeingExtended,
            _ => LeaseStanding::IsFree,
        };
        LeaseNow { ttl, valid_until: state.valid_until, standing, is_noted: state.is_noted }
    }
}
