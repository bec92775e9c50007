//! What a guard and the renewal of its lock share.

mod passing_on;

use std::future::Future;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex as OrderMutex, Notify};
use tokio::time::timeout;

use self::passing_on::PassesOn;
pub(crate) use self::passing_on::{PassedOn, Successor};
use crate::Error;
use crate::engine::{Acquisition, AttemptFailed, Engine, Extended, NotConfirmed, Repairs, TrackedRelease};
use crate::error::{LostReason, NodeFailures};
use crate::node::NewMark;
use crate::observe::{End, Ended, Holding, Observed, RenewalFailure, harmless};
use crate::platform::clock;
use crate::platform::schedule::Ticket;
use crate::platform::tasks::Handle;
use crate::protocol::{LONGEST_TTL, LOSS_NOTICE, SHORTEST_TTL, Verdict, drift, reply_timeout};
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
    /// Extensions and the release come one after another, so that the server sees them in the order in which they are counted
    /// here. Held across awaits, hence tokio's.
    order: OrderMutex<()>,
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
        let (order, lost, over) = (OrderMutex::new(()), Notify::new(), Notify::new());
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
            order,
            lost,
            over,
        }
    }

    /// It is held from now on, as far as those can see who look at it.
    pub(crate) fn observed(mut self, observed: Option<&Observed>, now: Instant) -> Self {
        let holding = observed.cloned().map(|observed| Box::new(Holding::begin(observed, now)));
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
        let validity = self.valid_until();
        // Whoever waits for it looks whether the lock is still held, by whichever renewal.
        let valid_until = if holds(Rule::CompletionIsNotStretched) { validity } else { clock::now() + LONGEST_TTL };
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
        let news = self.lose_if_expired(&mut state, now);
        let lost = state.lost;
        drop(state);
        drop(news);
        lost
    }

    /// It is lost by now if its validity is over, and that was not noticed before.
    fn lose_if_expired(&self, state: &mut State, now: Instant) -> Option<News> {
        let is_news = state.lost.is_none() && now >= state.valid_until;
        is_news.then(|| {
            let reason = self.expiry(state.valid_until);
            state.lose(&self.name, reason)
        })
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
        drop(self.lose_untold(reason));
    }

    /// The same, told when what this gives is dropped.
    fn lose_untold(&self, reason: LostReason) -> News {
        let news = self.state().lose(&self.name, reason);
        self.lost.notify_waiters();
        news
    }

    /// A shutdown asks the holder to let go at once: there is no end to wait for.
    pub(crate) fn set_endless(&self) {
        self.state().let_go = LetGo::WhenAsked;
    }

    pub(crate) fn is_endless(&self) -> bool {
        self.state().let_go == LetGo::WhenAsked
    }

    /// It was acquired when the manager was being shut down, so nobody gets it; as [`Self::end_now`].
    pub(crate) fn give_up(&self) -> News {
        self.state().recalled = Some(LostReason::ShutDown);
        self.end_now()
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

    /// A majority of the nodes has granted the lock to somebody else; told when what this gives is dropped.
    pub(crate) fn lose_to_another(&self) -> News {
        let expired = self.lose_if_expired(&mut self.state(), clock::now());
        // It does nothing to one that is lost.
        expired.unwrap_or_else(|| self.lose_untold(LostReason::Taken))
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
        drop(self.end_now());
        if self.order.try_lock().is_err() {
            let _in_order = timeout(self.engine.node_timeout(), self.order.lock()).await;
        }
    }

    /// Stops extensions without waiting. What is returned is dropped when nothing is left to be done.
    pub(crate) fn end_now(&self) -> News {
        // From now on its release is waited for.
        self.hold().iter_mut().for_each(Acquisition::wake);
        let mut state = self.state();
        state.is_over = true;
        // It may have expired, and nobody has looked since.
        let now = state.holding.as_ref().map(|_| clock::now());
        let expired = state.lost.is_none() && now.is_some_and(|now| now >= state.valid_until);
        let lost = expired.then(|| self.expiry(state.valid_until));
        let mut news = state.end(lost, now);
        let told_by = mem::replace(&mut state.told_by, ToldBy::Lease);
        if let (ToldBy::Call, Some(reason)) = (told_by, state.lost) {
            news.loss = Some((self.name.clone(), reason));
        }
        drop(state);
        self.over.notify_waiters();
        news
    }

    /// Stops extensions without waiting, and leaves the keys where they are, to whoever has the lock's token. Those that are just
    /// being set, or set again, are released: a majority has the lock without them, and he may have released it by then. As [`Self::end_now`].
    pub(crate) fn leave_now(&self) -> News {
        self.state().keys = KeysOf::Bearer;
        self.end_now()
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
        // Whoever extends it at this moment may be on a runtime that stands still.
        let _in_order = tokio::select! {
            biased;
            in_order = self.order.lock() => in_order,
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
        // Whoever extends it at this moment may be on a runtime that stands still. An extension beside it does no harm: neither makes a
        // key live shorter.
        let patience = reply_timeout(self.engine.node_timeout(), self.ttl);
        let in_order = timeout(patience, self.order.lock()).await;
        // With what it sets again: that is undone if the guard is gone then.
        let _extending = self.begin_extending();
        let extended = match self.extend_once(self.ttl).await {
            Err(_) if !holds(Rule::RepairAfterMajority) => self.engine.assumed_extended(self.valid_until()),
            extended => extended?,
        };
        // What else is extended meanwhile needs not wait for a node that does not answer; what is set again is released behind the lock.
        drop(in_order);
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

    /// One extension; whoever calls has waited for those before.
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

/// That a lock was lost, or its guard is gone, as it is told when this is dropped: by then whoever has to act on it knows.
#[must_use = "whoever is told of it while a mutex is locked may want that, too"]
#[derive(Default)]
pub(crate) struct News {
    /// For the log.
    loss: Option<(Name, LostReason)>,
    /// For those who look at it.
    ended: Option<Ended>,
}

impl Drop for News {
    fn drop(&mut self) {
        if let Some((name, reason)) = self.loss.take() {
            tell_loss(&name, reason);
        }
        drop(self.ended.take());
    }
}

impl State {
    /// What is returned is dropped where the state is not locked any more.
    fn lose(&mut self, name: &Name, reason: LostReason) -> News {
        if self.lost.is_some() {
            return News::default();
        }
        self.lost = Some(reason);
        let is_logged = !self.is_over && self.told_by == ToldBy::Lease;
        let loss = is_logged.then(|| (name.clone(), reason));
        News { loss, ended: self.holding.as_mut().and_then(|holding| holding.lost(reason)) }
    }

    /// The guard is gone, and the lock was lost before if there is a reason; as [`Self::lose`].
    fn end(&mut self, lost: Option<LostReason>, now: Option<Instant>) -> News {
        let is_recalled = self.recalled.is_some();
        let now = || now.unwrap_or_else(clock::now);
        let ended = self.holding.as_mut().and_then(|holding| match lost {
            Some(reason) => holding.lost(reason),
            None if is_recalled => holding.end(End::ShutDown, now),
            None => holding.end(End::Released, now),
        });
        News { loss: None, ended }
    }
}

/// The one event that tells of a loss, unless the call that is skipped for it does.
fn tell_loss(name: &Name, reason: LostReason) {
    // A shutdown tells of all that it gave up, at once.
    if reason != LostReason::ShutDown {
        harmless(|| tracing::warn!(lock = %shown(name.as_str()), %reason, "lock lost"));
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
mod tests;
