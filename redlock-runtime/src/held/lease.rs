//! What a guard and the renewal of its lock share.

use std::future::Future;
use std::mem;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex as TurnMutex, Notify};
use tokio::time::timeout;

use crate::Error;
use crate::engine::{Acquisition, AttemptFailed, Engine, Extended, NotConfirmed, Repairs, TrackedRelease};
use crate::error::{LostReason, NodeFailures};
use crate::node::NewMark;
use crate::observe::{End, Ended, Holding, Observed, RenewalFailure};
use crate::platform::clock;
use crate::platform::schedule::Ticket;
use crate::platform::tasks::Handle;
use crate::protocol::{
    LOSS_NOTICE, LeaseNow, LeaseStanding, Needs, Passing, SHORTEST_TTL, Turns, Verdict, drift, reply_timeout,
};
use crate::rules::{Rule, holds};
use crate::shown::shown;
use crate::values::name::Name;
use crate::values::subject::Subject;

/// A held lock.
pub(crate) struct Lease {
    /// The nodes.
    engine: Arc<Engine>,
    /// For people.
    pub(crate) name: Name,
    /// What is held, the same on every node.
    pub(crate) subject: Subject,
    /// The owner's value.
    pub(crate) owner: Arc<str>,
    /// How long an extension lasts.
    pub(crate) ttl: Duration,
    /// When the attempt that won it began, or it was taken from another holder of this process.
    pub(crate) began: Instant,
    /// See [`LockGuard::fencing_token`](crate::LockGuard::fencing_token).
    pub(crate) fencing_token: u64,
    /// It is not extended beyond this moment.
    max_until: Option<Instant>,
    /// What passes on with it when its holder lets go; `None` if it does not pass on. Boxed, because most locks do not.
    turns: Option<Box<PassesOn>>,
    /// A std mutex: it is never held across an await.
    state: Mutex<State>,
    /// Answers for the release; taken out by whoever releases the lock, its guard or a shutdown. A std mutex: it is never
    /// held across an await.
    hold: Mutex<Option<Acquisition>>,
    /// Extensions and the release take turns, so that the server sees them in the order in which they are counted
    /// here. Held across awaits, hence tokio's.
    turn: TurnMutex<()>,
    /// Told when the lock is lost.
    lost: Notify,
    /// Told when the guard is gone.
    over: Notify,
}

/// Who tells of a loss, so that it is told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ToldBy {
    /// The lease, when it happens; or nobody any more.
    Lease,
    /// The call that holds the lock, when it is skipped for that.
    Call,
}

struct State {
    /// The lock counts as held until this moment.
    valid_until: Instant,
    /// Why it does not any more.
    lost: Option<LostReason>,
    /// Why its holder was asked to let go: the lock is still held and renewed, but its holder takes it for lost.
    recalled: Option<LostReason>,
    /// Whether the guard is gone: nothing more is sent for the key but its release.
    is_over: bool,
    /// Who tells of its loss.
    told_by: ToldBy,
    /// Whose its keys are to release.
    keys: KeysOf,
    /// Where it stands in the schedule of renewals.
    ticket: Option<Ticket>,
    /// Keys that were set again, to be released with the others. Most locks have none.
    repairs: Option<Box<Repairs>>,
    /// Whether the owner may be noted beside its keys.
    is_noted: bool,
    /// Whether it is renewed at all.
    lasting: Lasting,
    /// When its holder lets go.
    let_go: LetGo,
    /// That it is held, if somebody looks; boxed, because of most locks nobody may.
    holding: Option<Box<Holding>>,
}

/// A lease that passes from one holder of a process to the next.
struct PassesOn {
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
    /// Whether what its owner was called stands beside its keys.
    pub(crate) is_noted: bool,
}

/// Who takes a lease from another holder.
pub(crate) struct Successor {
    pub(crate) name: Name,
    pub(crate) needs: Needs,
    /// Beyond which moment it does not extend the lease.
    pub(crate) max_until: Option<Instant>,
}

/// An extension that is under way, with what it sets again.
struct Extending<'a>(&'a AtomicU32);

/// How long a lock lasts by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lasting {
    /// Until its TTL is over.
    ForItsTtl,
    /// As long as it is renewed.
    Renewed,
}

/// Whose the keys are to release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeysOf {
    /// The holder's.
    Holder,
    /// Somebody's who has the lock's token.
    Bearer,
    /// Another holder's of this process, or soon.
    NextHolder,
}

/// When a holder lets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LetGo {
    /// When its work is done.
    ByItself,
    /// When it is asked to.
    WhenAsked,
}

impl Lease {
    pub(crate) fn new(
        engine: Arc<Engine>,
        name: Name,
        subject: Subject,
        owner: Arc<str>,
        ttl: Duration,
        (began, valid_until, fencing_token): (Instant, Instant, u64),
        max_until: Option<Instant>,
    ) -> Self {
        let valid_until = limited(valid_until, max_until);
        let state = Mutex::new(State {
            valid_until,
            lost: None,
            recalled: None,
            is_over: false,
            told_by: ToldBy::Lease,
            keys: KeysOf::Holder,
            ticket: None,
            repairs: None,
            is_noted: false,
            lasting: Lasting::ForItsTtl,
            let_go: LetGo::ByItself,
            holding: None,
        });
        let (turn, lost, over) = (TurnMutex::new(()), Notify::new(), Notify::new());
        Self {
            engine,
            name,
            subject,
            owner,
            ttl,
            began,
            fencing_token,
            max_until,
            turns: None,
            state,
            hold: Mutex::default(),
            turn,
            lost,
            over,
        }
    }

    /// It may pass on to others of this process, with this.
    pub(crate) fn passing_on(self, turns: Option<Turns>) -> Self {
        let passes_on = |turns| Box::new(PassesOn::new(turns, self.began));
        Self { turns: turns.map(passes_on), ..self }
    }

    /// When what its validity counted from at first began.
    pub(crate) fn kept_since(&self) -> Instant {
        self.turns.as_ref().map_or(self.began, |passes_on| passes_on.kept_since)
    }

    /// It is held from now on, as far as those can see who look at it.
    pub(crate) fn observed(mut self, observed: Option<&Observed>) -> Self {
        let holding = observed.cloned().map(|observed| Box::new(Holding::begin(observed)));
        self.state.get_mut().unwrap_or_else(PoisonError::into_inner).holding = holding;
        self
    }

    /// A renewal failed, which those hear of who look at it.
    pub(crate) fn renewal_failed(&self, reason: RenewalFailure) {
        if let Some(observed) = self.observer() {
            observed.renewal_failed(reason);
        }
    }

    /// What ran under it ended well, at this time of day.
    pub(crate) fn run_ended(&self, moment: impl FnOnce() -> Duration) {
        if let Some(observed) = self.observer() {
            observed.run_ended(moment());
        }
    }

    /// Who looks at it, to be told when its state is not locked.
    fn observer(&self) -> Option<Observed> {
        self.state().holding.as_ref().map(|holding| holding.observed().clone())
    }

    /// The greatest number up to which fencing counters were raised for it.
    pub(crate) fn last_token(&self) -> u64 {
        self.turns
            .as_ref()
            .and_then(|passes_on| passes_on.turns.last_token())
            .map_or(self.fencing_token, |last| last.max(self.fencing_token))
    }

    /// Its holder lets go: its guard is over from now on, and the lease somebody else's to [take](Self::pass_on_to), if it passes on by
    /// this. What is returned is dropped where nothing is locked.
    #[must_use]
    pub(crate) fn end_turn(&self, passes: impl FnOnce(&Turns, &LeaseNow) -> Passing) -> Option<EndedTurn> {
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
        let ended = state.end(None);
        drop(state);
        self.over.notify_waiters();
        Some(EndedTurn(ended))
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
        state.is_noted = lease_now.is_noted;
        Some(PassedOn { acquisition, lease, is_noted: lease_now.is_noted })
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

    fn begin_extending(&self) -> Option<Extending<'_>> {
        let extending = &self.turns.as_ref()?.extending;
        extending.fetch_add(1, Ordering::SeqCst);
        Some(Extending(extending))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hold(&self) -> MutexGuard<'_, Option<Acquisition>> {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves the release to whoever takes it out. While the lock is held nobody waits for its release: from when what is
    /// returned is dropped.
    pub(crate) fn entrust(&self, mut acquisition: Acquisition) -> Option<TrackedRelease> {
        let counted = acquisition.rest();
        *self.hold() = Some(acquisition);
        counted
    }

    /// Takes out what releases the lock and every key that was set again; `None` if somebody else did. Extensions are to be
    /// stopped before.
    pub(crate) fn take_hold(&self) -> Option<Acquisition> {
        let mut hold = self.hold().take()?;
        let mut state = self.state();
        let is_noted = state.is_noted;
        let repairs = state.repairs.take().map_or_else(Repairs::default, |repairs| *repairs);
        hold.add(repairs.beside_note(is_noted));
        Some(hold)
    }

    /// Its release, however it comes about from now on, marks a fire as completed.
    pub(crate) fn set_mark(&self, mark: NewMark) {
        self.hold().iter_mut().for_each(|acquisition| acquisition.set_mark(mark));
    }

    /// Its release leaves the key until this moment, if there is one.
    pub(crate) fn keep_until(&self, moment: Option<Instant>) {
        let Some(moment) = moment else { return };
        self.hold().iter_mut().for_each(|acquisition| acquisition.keep_until(moment));
    }

    /// Marks a fire as completed before its body, within the validity that the lock has now; `None` if it was let go.
    pub(crate) async fn mark_before_body(&self, mark: NewMark) -> Option<Result<(), NotConfirmed>> {
        let valid_until = self.valid_until();
        let marking = self.hold().as_mut().map(|acquisition| acquisition.mark(mark, valid_until))?;
        Some(marking.await)
    }

    /// The lock has been held for a while.
    pub(crate) fn drop_stragglers_of_the_caller(&self) {
        self.hold().iter_mut().for_each(Acquisition::drop_stragglers_of_the_caller);
    }

    pub(crate) fn valid_until(&self) -> Instant {
        self.state().valid_until
    }

    /// Whether it is held on these nodes, whichever manager names them.
    pub(crate) fn is_of(&self, engine: &Engine) -> bool {
        self.engine.is_same_as(engine)
    }

    /// Why the lock is not held any more, as far as its holder is concerned: a shutdown tells it so while the key is still
    /// kept for it. `None` while it is held.
    pub(crate) fn told_reason(&self, now: Instant) -> Option<LostReason> {
        let lost = self.lost_reason(now);
        lost.or_else(|| self.state().recalled)
    }

    /// Why the lock is not held any more; `None` while it is.
    pub(crate) fn lost_reason(&self, now: Instant) -> Option<LostReason> {
        let mut state = self.state();
        if state.lost.is_none() && now >= state.valid_until {
            let reason = self.expiry(state.valid_until);
            let ended = state.lose(&self.name, reason);
            let lost = state.lost;
            drop(state);
            drop(ended);
            return lost;
        }
        state.lost
    }

    /// Ends when the lock is lost, or its holder is asked to let go; at the latest when its validity is over.
    ///
    /// It has a timer of its own, so it does not depend on whatever renews the lock.
    pub(crate) async fn until_lost(&self) -> LostReason {
        loop {
            let lost = self.lost.notified();
            if let Some(reason) = self.told_reason(clock::now()) {
                return reason;
            }
            if !holds(Rule::LossNotice) {
                lost.await;
                continue;
            }
            tokio::select! {
                biased;
                () = lost => {}
                () = clock::sleep_until(self.valid_until()) => {}
            }
        }
    }

    /// Ends when the lock is lost, and not when its holder is only asked to let go.
    pub(crate) async fn until_gone(&self) {
        loop {
            let lost = self.lost.notified();
            if self.lost_reason(clock::now()).is_some() {
                return;
            }
            tokio::select! {
                biased;
                () = lost => {}
                () = clock::sleep_until(self.valid_until()) => {}
            }
        }
    }

    /// The same lock by the writer who became a reader.
    pub(crate) fn downgraded(&self, subject: Subject) -> Self {
        let (engine, owner) = (Arc::clone(&self.engine), Arc::clone(&self.owner));
        let held = (self.began, self.valid_until(), self.fencing_token);
        Self::new(engine, self.name.clone(), subject, owner, self.ttl, held, self.max_until)
    }

    /// Whether its validity reaches the end of `max_hold`, so that no extension makes it longer.
    pub(crate) fn is_final(&self) -> bool {
        self.is_at_limit(self.valid_until())
    }

    /// Why a lock is lost whose validity ended then.
    fn expiry(&self, valid_until: Instant) -> LostReason {
        if self.is_at_limit(valid_until) { LostReason::MaxHold } else { LostReason::Expired }
    }

    fn is_at_limit(&self, valid_until: Instant) -> bool {
        self.max_until.is_some_and(|limit| valid_until + LOSS_NOTICE >= limit)
    }

    /// Raises the lost signal.
    pub(crate) fn lose(&self, reason: LostReason) {
        let ended = self.state().lose(&self.name, reason);
        self.lost.notify_waiters();
        drop(ended);
    }

    /// A shutdown asks the holder to let go at once: there is no end to wait for.
    pub(crate) fn set_endless(&self) {
        self.state().let_go = LetGo::WhenAsked;
    }

    pub(crate) fn is_endless(&self) -> bool {
        self.state().let_go == LetGo::WhenAsked
    }

    /// It was acquired when the manager was being shut down, so nobody gets it.
    pub(crate) fn give_up(&self) {
        self.state().recalled = Some(LostReason::ShutDown);
        self.end_now();
    }

    /// Asks the holder to let go: to it the lock is lost from now on, but the key is kept for it, and renewed.
    pub(crate) fn recall(&self) {
        self.state().recalled = Some(LostReason::ShutDown);
        self.lost.notify_waiters();
    }

    /// Whether a shutdown has to do with it: it is held, or was until a shutdown gave it up under its holder.
    pub(crate) fn is_of_a_shutdown(&self, now: Instant) -> bool {
        let lost = self.lost_reason(now);
        matches!(lost, None | Some(LostReason::ShutDown)) && !self.is_over()
    }

    /// Whether the guard is gone.
    pub(crate) fn is_over(&self) -> bool {
        self.state().is_over
    }

    /// Ends when the guard is gone, or the lock is lost and no shutdown can keep it.
    pub(crate) async fn until_let_go(&self) {
        loop {
            let (over, lost) = (self.over.notified(), self.lost.notified());
            if self.lost_reason(clock::now()).is_some() || self.is_over() {
                return;
            }
            tokio::select! {
                biased;
                () = over => {}
                () = lost => {}
                () = clock::sleep_until(self.valid_until()) => {}
            }
        }
    }

    /// A majority of the nodes has granted the lock to somebody else.
    pub(crate) fn lose_to_another(&self) {
        if self.lost_reason(clock::now()).is_none() {
            self.lose(LostReason::Taken);
        }
    }

    /// Who tells of a loss from now on. What the call has not told when the guard goes is told then.
    pub(crate) fn set_told_by(&self, told_by: ToldBy) {
        self.state().told_by = told_by;
    }

    /// It is renewed from now on.
    pub(crate) fn set_renewed(&self) {
        self.state().lasting = Lasting::Renewed;
    }

    /// Whether it is renewed, or was until its end.
    pub(crate) fn is_renewed(&self) -> bool {
        self.state().lasting == Lasting::Renewed
    }

    /// Notes where it stands in the schedule of renewals; returns where it stood.
    pub(crate) fn set_ticket(&self, ticket: Option<Ticket>) -> Option<Ticket> {
        mem::replace(&mut self.state().ticket, ticket)
    }

    /// Stops extensions, and waits for the one that is on its way, so that the nodes see it first; but no longer than for
    /// a reply, because it does no harm behind the release: it compares the owner. What it would have set again is undone
    /// by [`Self::renew`].
    pub(crate) async fn end(&self) {
        self.end_now();
        if self.turn.try_lock().is_err() {
            let _turn = timeout(self.engine.node_timeout(), self.turn.lock()).await;
        }
    }

    /// Stops extensions without waiting.
    pub(crate) fn end_now(&self) {
        // From now on its release is waited for.
        self.hold().iter_mut().for_each(Acquisition::wake);
        let mut state = self.state();
        state.is_over = true;
        // It may have expired, and nobody has looked since.
        let expired = state.holding.is_some() && state.lost.is_none() && clock::now() >= state.valid_until;
        let lost = expired.then(|| self.expiry(state.valid_until));
        let ended = state.end(lost);
        let told_by = mem::replace(&mut state.told_by, ToldBy::Lease);
        let lost = state.lost;
        drop(state);
        drop(ended);
        if let (ToldBy::Call, Some(reason)) = (told_by, lost) {
            tell_loss(&self.name, reason);
        }
        self.over.notify_waiters();
    }

    /// Stops extensions without waiting, and leaves the keys where they are, to whoever has the lock's token. Those that are just
    /// being set, or set again, are released: a majority has the lock without them, and he may have released it by then.
    pub(crate) fn leave_now(&self) {
        self.state().keys = KeysOf::Bearer;
        self.end_now();
    }

    /// The runtime that renews it, if that is the caller's: see [`Engine::home`].
    pub(crate) fn home(&self) -> Option<Handle> {
        self.engine.home()
    }

    /// Whether this is the process that acquired it, not one that was forked from it.
    pub(crate) fn is_of_this_process(&self) -> bool {
        self.engine.is_of_this_process()
    }

    /// Begins a task that sees to it.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.engine.spawn(task);
    }

    /// Whether renewing it still makes sense.
    pub(crate) fn is_held(&self, now: Instant) -> bool {
        self.lost_reason(now).is_none() && !self.state().is_over
    }

    /// Lets the lock live for `ttl` from now, at most to its `max_hold`.
    pub(crate) async fn extend(&self, ttl: Duration) -> Result<(), Error> {
        // Whoever has the turn may be on a runtime that stands still.
        let _turn = tokio::select! {
            biased;
            turn = self.turn.lock() => turn,
            reason = self.until_lost() => return Err(self.lost_error(reason)),
        };
        if let Some(reason) = self.told_reason(clock::now()) {
            return Err(self.lost_error(reason));
        }
        let _extending = self.begin_extending();
        self.extend_once(ttl).await.map(|extended| extended.leave(&self.engine))
    }

    /// Lets the lock live for its own TTL from now, and repairs nodes that lost the key.
    pub(crate) async fn renew(&self) -> Result<(), Error> {
        // Whoever has the turn may be on a runtime that stands still. An extension beside it does no harm: neither makes a key live
        // shorter.
        let patience = reply_timeout(self.engine.node_timeout(), self.ttl);
        let turn = timeout(patience, self.turn.lock()).await;
        // With what it sets again: that is undone if the guard is gone then.
        let _extending = self.begin_extending();
        let extended = match self.extend_once(self.ttl).await {
            Err(_) if !holds(Rule::RepairAfterMajority) => self.engine.assumed_extended(self.valid_until()),
            extended => extended?,
        };
        // What else is extended meanwhile needs not wait for a node that does not answer; what is set again is released behind the lock.
        drop(turn);
        let repairs = self.engine.repair(&self.subject, &self.owner, self.ttl, extended, self.until_over()).await;
        let mut state = self.state();
        if state.keys == KeysOf::Bearer {
            drop(state);
            self.engine.leave(&self.subject, &self.owner, repairs);
        } else if state.is_over {
            let is_noted = state.is_noted;
            drop(state);
            self.engine.undo(&self.subject, &self.owner, repairs.beside_note(is_noted));
        } else {
            if !repairs.is_empty() {
                state.repairs.get_or_insert_default().add(repairs);
            }
            drop(state);
            // A node may have been too slow to have answered when the lock had been held for a while.
            self.drop_stragglers_of_the_caller();
        }
        Ok(())
    }

    /// The owner is about to be noted beside its keys: whoever extends or releases those does the same to the note. Not if
    /// the lock is over.
    pub(crate) fn begin_note(&self, now: Instant) -> bool {
        if !self.is_held(now) {
            return false;
        }
        let mut state = self.state();
        // The release was prepared without it otherwise.
        state.is_noted |= !state.is_over;
        state.is_noted
    }

    /// Ends when the guard is gone, or about to be.
    pub(crate) async fn until_over(&self) {
        loop {
            let over = self.over.notified();
            if self.state().is_over {
                return;
            }
            over.await;
        }
    }

    /// One extension; whoever calls has the turn.
    async fn extend_once(&self, ttl: Duration) -> Result<Extended, Error> {
        let now = clock::now();
        if let Some(reason) = self.lost_reason(now) {
            return Err(self.lost_error(reason));
        }
        if self.state().is_over {
            return Err(Error::NotHeld { name: self.name.as_str().to_owned() });
        }
        let ttl = match self.max_until {
            // So long that the validity reaches the limit, and the key little longer.
            Some(limit) if now + ttl > limit => {
                let allowed = limit.saturating_duration_since(now);
                ttl.min(allowed + 2 * drift(allowed) + SHORTEST_TTL)
            }
            _ => ttl,
        };
        let is_noted = self.state().is_noted;
        let until = self.valid_until();
        match self.engine.extend(&self.subject, &self.owner, ttl, is_noted, Some(until), self.until_over()).await {
            // Never beyond the local deadline, which another extension may have moved meanwhile: what comes back later is none.
            Ok(extended) if clock::now() < self.valid_until() => {
                let mut state = self.state();
                // Keys are never made to live shorter, so neither is this.
                state.valid_until = state.valid_until.max(limited(extended.valid_until, self.max_until));
                drop(state);
                Ok(extended)
            }
            Ok(extended) => {
                extended.leave(&self.engine);
                Err(self.lost_error(self.lost_reason(clock::now()).unwrap_or(LostReason::Expired)))
            }
            Err(AttemptFailed { verdict: Verdict::Refused, .. }) => {
                self.lose(LostReason::Taken);
                Err(self.lost_error(LostReason::Taken))
            }
            Err(failed) => Err(match self.lost_reason(clock::now()) {
                Some(reason) => self.lost_error(reason),
                None => failed.into_unreachable(&self.name, &self.engine),
            }),
        }
    }

    pub(crate) fn lost_error(&self, reason: LostReason) -> Error {
        Error::Lost { name: self.name.as_str().to_owned(), reason }
    }
}

/// The end of a turn as it is told, when this is dropped.
#[must_use = "whoever is told of it while a mutex is locked may want that, too"]
pub(crate) struct EndedTurn(#[expect(dead_code, reason = "it is dropped")] Option<Ended>);

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

impl State {
    /// What is returned is dropped where the state is not locked any more.
    fn lose(&mut self, name: &Name, reason: LostReason) -> Option<Ended> {
        if self.lost.is_some() {
            return None;
        }
        self.lost = Some(reason);
        if !self.is_over && self.told_by == ToldBy::Lease {
            tell_loss(name, reason);
        }
        self.holding.as_mut()?.lost(reason)
    }

    /// The guard is gone, and the lock was lost before if there is a reason; as [`Self::lose`].
    fn end(&mut self, lost: Option<LostReason>) -> Option<Ended> {
        let holding = self.holding.as_mut()?;
        match lost {
            Some(reason) => holding.lost(reason),
            None if self.recalled.is_some() => holding.end(End::ShutDown),
            None => holding.end(End::Released),
        }
    }
}

/// The one event that tells of a loss, unless the call that is skipped for it does.
fn tell_loss(name: &Name, reason: LostReason) {
    // A shutdown tells of all that it gave up, at once.
    if reason != LostReason::ShutDown {
        tracing::warn!(lock = %shown(name.as_str()), %reason, "lock lost");
    }
}

/// The end of a validity, less the time it takes to tell, and at most the end of `max_hold`.
fn limited(valid_until: Instant, max_until: Option<Instant>) -> Instant {
    let end = max_until.map_or(valid_until, |limit| limit.min(valid_until));
    // Nothing is shorter than the time it takes to tell, but what a clock that starts with the process says.
    end.checked_sub(LOSS_NOTICE).unwrap_or(end)
}

impl AttemptFailed {
    /// The error of a round that too few nodes voted in.
    pub(crate) fn into_unreachable(self, name: &Name, engine: &Engine) -> Error {
        engine.unreachable(name, self.granted, self.failures)
    }
}

impl Engine {
    /// The error of a round in which `granted` nodes granted, and too few answered.
    pub(crate) fn unreachable(&self, name: &Name, granted: usize, source: NodeFailures) -> Error {
        let (needed, nodes) = (self.quorum().needed(), self.quorum().nodes());
        Error::QuorumUnreachable { name: name.as_str().to_owned(), granted, needed, nodes, source }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Future, ready};
    use std::sync::Weak;

    use tokio::sync::{oneshot, watch};
    use tokio::task::JoinHandle;

    use super::*;
    use crate::engine::Plan;
    use crate::held::owner_label::Labels;
    use crate::node::scripted::Scripted;
    use crate::node::{Action, Command, PendingReply, Reply};
    use crate::protocol::{LONGEST_TTL, Quorum, valid_until};

    /// What came to a node that lost the key and takes its time to set it again.
    #[derive(Default)]
    struct Came {
        repair: Option<Arc<Command>>,
        releases: u32,
    }

    async fn within_bounds<T>(future: impl Future<Output = T>) -> T {
        timeout(Duration::from_secs(10), future).await.expect("it comes soon")
    }

    /// A lock that is held on three nodes, and its renewal, which is setting the key again on one that lost it.
    struct Repairing {
        lease: Arc<Lease>,
        renewing: JoinHandle<Result<(), Error>>,
        /// What that node answers.
        grant: oneshot::Sender<Reply>,
        came: watch::Receiver<Came>,
    }

    async fn repairing() -> Repairing {
        let (grant, granted) = oneshot::channel();
        let (told, mut came) = watch::channel(Came::default());
        let granted = Mutex::new(Some(granted));
        let lost_the_key = Scripted::voter(move |command, _| match command.action {
            Action::Adopt { .. } | Action::Commit { .. } | Action::Mark => unreachable!("nothing is acquired here"),
            Action::Extend { .. } => PendingReply::new(ready(Reply::Missing)),
            Action::Acquire { .. } => {
                told.send_modify(|came| came.repair = Some(command));
                let granted = granted.lock().unwrap().take().expect("it is repaired once");
                PendingReply::new(async { granted.await.expect("the test answers") })
            }
            Action::Release { .. } => {
                told.send_modify(|came| came.releases += 1);
                PendingReply::new(ready(Reply::Done))
            }
        });
        let well = || -> Arc<dyn crate::node::Voter> { Scripted::voter(|_, _| PendingReply::new(ready(Reply::Done))) };
        let quorum = Quorum::of(3).unwrap();
        let engine = Engine::new(vec![lost_the_key, well(), well()], quorum, Duration::from_secs(5), LONGEST_TTL);
        let (began, ttl) = (clock::now(), Duration::from_secs(60));
        let name = Name::parse("x".to_owned()).unwrap();
        let held = (began, valid_until(began, ttl), 0);
        let lease = Arc::new(Lease::new(engine, name, "key".into(), "owner".into(), ttl, held, None));
        let renewing = {
            let lease = Arc::clone(&lease);
            tokio::spawn(async move { lease.renew().await })
        };
        let _ = within_bounds(came.wait_for(|came| came.repair.is_some())).await.unwrap();
        Repairing { lease, renewing, grant, came }
    }

    /// A lock that one of three nodes has not granted yet.
    struct GrantedLate {
        lease: Arc<Lease>,
        /// What that node answers.
        grant: oneshot::Sender<Reply>,
        /// What it was asked, as long as somebody keeps it.
        asked: Weak<Command>,
    }

    async fn granted_late() -> GrantedLate {
        let (grant, granted) = oneshot::channel();
        let (told, mut asked) = watch::channel(Weak::new());
        let granted = Mutex::new(Some(granted));
        let well = || Scripted::voter(|_, _| PendingReply::new(ready(Reply::Done)));
        let slow = Scripted::voter(move |command, _| match command.action {
            Action::Acquire { .. } => {
                told.send_replace(Arc::downgrade(&command));
                let granted = granted.lock().unwrap().take().expect("it is acquired once");
                PendingReply::new(async { granted.await.expect("the test answers") })
            }
            _ => PendingReply::new(ready(Reply::Done)),
        });
        let engine =
            Engine::new(vec![well(), well(), slow], Quorum::of(3).unwrap(), Duration::from_secs(5), LONGEST_TTL);
        let ttl = Duration::from_secs(60);
        let won = engine.acquire("key".into(), ttl, None, Plan::once(None)).await.expect("two of three grant");
        let (name, owner) = (Name::parse("x".to_owned()).unwrap(), Arc::clone(won.acquisition.owner()));
        let held = (won.term.began, won.term.valid_until, 0);
        let lease = Arc::new(Lease::new(engine, name, "key".into(), owner, ttl, held, None));
        drop(lease.entrust(won.acquisition));
        let asked = asked.borrow_and_update().clone();
        GrantedLate { lease, grant, asked }
    }

    #[tokio::test]
    async fn what_a_slow_node_was_asked_is_forgotten_when_the_lock_is_renewed() {
        let GrantedLate { lease, grant, asked } = granted_late().await;
        lease.drop_stragglers_of_the_caller();
        assert!(asked.strong_count() > 0, "it may have to be recalled");
        grant.send(Reply::Done).unwrap();
        within_bounds(lease.renew()).await.unwrap();
        assert_eq!(asked.strong_count(), 0, "it was answered");
    }

    #[tokio::test]
    async fn what_a_node_was_asked_is_forgotten_without_a_label_too() {
        let GrantedLate { lease, grant, asked } = granted_late().await;
        Labels::new(Arc::clone(&lease.engine), Some("".into())).note_later(&lease, None, clock::now());
        grant.send(Reply::Done).unwrap();
        within_bounds(async {
            while asked.strong_count() > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    #[tokio::test]
    async fn a_key_that_is_being_set_again_when_the_lock_is_released_is_released_behind_it() {
        let Repairing { lease, renewing, grant, mut came } = repairing().await;
        within_bounds(lease.end()).await;
        within_bounds(renewing).await.unwrap().unwrap();
        let repair = came.borrow().repair.clone().expect("it was sent");
        assert!(repair.is_recalled(), "had it not been sent yet, it would be sent behind the release");
        // One may come at once, in case this runtime is blocked; what counts is the one behind the grant.
        let before = came.borrow().releases;
        grant.send(Reply::Done).unwrap();
        let _ = within_bounds(came.wait_for(|came| came.releases > before)).await.unwrap();
    }

    #[tokio::test]
    async fn a_key_that_is_being_set_again_when_the_lock_is_detached_is_released_behind_it() {
        let Repairing { lease, renewing, grant, mut came } = repairing().await;
        lease.leave_now();
        within_bounds(renewing).await.unwrap().unwrap();
        assert!(came.borrow().repair.as_ref().expect("it was sent").is_recalled());
        // Whoever has the token may have released the lock by then; if not, a majority has the key without this node.
        let before = came.borrow().releases;
        grant.send(Reply::Done).unwrap();
        let _ = within_bounds(came.wait_for(|came| came.releases > before)).await.unwrap();
    }
}
