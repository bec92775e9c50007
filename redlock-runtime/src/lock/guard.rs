use std::fmt;
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use super::fire::HeldFire;
use super::shared::Shared;
use crate::Error;
use crate::engine::Acquisition;
use crate::error::LostReason;
use crate::held::lease::{Lease, ToldBy};
use crate::platform::background;
use crate::platform::background::{block_on, on_any_executor};
use crate::platform::drivers::{Place, Uses};
use crate::platform::{clock, process};
use crate::protocol::Verdict;
use crate::rules::{Rule, holds};
use crate::values::subject::Subject;
use crate::values::token::LockToken;
use crate::waiting::queue::LocalHold;

/// A held lock.
///
/// [`release`](Self::release) gives it back and tells whether that worked. Dropping the guard gives it back too, in the
/// background, without blocking: on any runtime, on none, while unwinding. A process that ends right after the drop may
/// be gone before the release was sent; the key then lives for the rest of its TTL.
///
/// ```
/// # use std::time::Duration;
/// # use redlock_runtime::LockManager;
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
/// let guard = locks.lock("invoice:7").acquire().await?;
/// println!("{} is ours for {:?}, and longer when renewed", guard.name(), guard.remaining());
/// guard.extend(Duration::from_secs(60)).await?;
/// assert!(guard.is_valid()); // ask before the step that matters
/// guard.release().await?; // tells whether it was still ours
/// # Ok::<(), redlock_runtime::Error>(())
/// # })?;
/// # Ok::<(), redlock_runtime::Error>(())
/// ```
#[must_use = "a guard that is dropped at once releases the lock at once"]
pub struct LockGuard {
    /// What is shared with the renewal.
    lease: Arc<Lease>,
    /// Keeps the next in line of this process waiting; `None` once it was passed on, given up or released, and nothing is left to do.
    local_hold: Option<LocalHold>,
    /// Renews the lock, and must live as long as it is held.
    shared: Arc<Shared>,
    /// The fire that it was acquired for, if it was for one.
    pub(super) fire: Option<Box<HeldFire>>,
}

/// How what was done under a lock ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Well.
    IsDone,
    /// With an error or a panic.
    Failed,
}

impl Work {
    pub(crate) fn is_done_if(is_success: bool) -> Self {
        if is_success { Self::IsDone } else { Self::Failed }
    }
}

impl LockGuard {
    /// Hands an acquired lock to its guard, unless the manager was shut down meanwhile: then it is released. From `begin` on it is held,
    /// and renewed: that is called when there is a guard whose drop ends both.
    pub(crate) fn new(
        lease: Arc<Lease>,
        acquisition: Acquisition,
        shared: &Arc<Shared>,
        fire: Option<Box<HeldFire>>,
        begin: impl FnOnce(&Arc<Lease>) -> LocalHold,
    ) -> Result<Self, Error> {
        let counted = lease.entrust(acquisition);
        let mut guard = Self { lease, local_hold: None, shared: Arc::clone(shared), fire };
        guard.local_hold = Some(begin(&guard.lease));
        // Only now does a shutdown find it by itself; what it did not find is released by dropping the guard.
        let acquired = if shared.is_shut_down() {
            guard.give_up();
            Err(Error::ShutDown)
        } else {
            Ok(guard)
        };
        drop(counted);
        acquired
    }

    /// Lets the next in line of this process have the lock as it is, if it can; this guard holds nothing any more then.
    fn pass_on(&mut self) -> bool {
        // The lock of a fire ends with its mark, and nobody gets one from a manager that is being shut down.
        if self.fire.is_some() || self.shared.is_shut_down() {
            return false;
        }
        let Some(local_hold) = self.local_hold.take() else { return false };
        match local_hold.pass_on(&self.lease) {
            Ok(news) => {
                self.shared.renewals.stop(&self.lease);
                drop(news);
                if !holds(Rule::EarlierTurnsAreOver) {
                    let (engine, owner) = (Arc::clone(&self.shared.engine), Arc::clone(&self.lease.owner));
                    Acquisition::adopted(engine, self.lease.subject.clone(), owner).release_in_background(());
                }
                true
            }
            Err(local_hold) => {
                self.local_hold = Some(local_hold);
                false
            }
        }
    }

    /// Releases a lock that nobody has used yet; one that was adopted goes back to its token.
    fn give_up(mut self) {
        let _news = self.lease.give_up();
        self.shared.renewals.stop(&self.lease);
        if let Some(mut acquisition) = self.lease.take_hold() {
            acquisition.give_back_adopted(self.lease.ttl);
            acquisition.release_in_background(self.local_hold.take());
        }
    }

    pub(crate) fn lease(&self) -> &Arc<Lease> {
        &self.lease
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The lock's name.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let guard = locks.lock("report").acquire().await?;
    /// assert_eq!(guard.name(), "report");
    /// # guard.release().await
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        self.lease.name.as_str()
    }

    /// A number greater than that of every earlier acquisition of this lock; of a reader, see below.
    ///
    /// Pass it on to what the lock protects, and let that refuse a smaller one than it has seen: then a holder that was
    /// paused for longer than its lock lived cannot write after its successor.
    ///
    /// Of a [permit](Self::permit), that is about earlier holders of that permit; of [several names](crate::LockManager::lock_all), about
    /// those of each name. A [reader's](crate::LockManager::read) is not below that of any writer before it, and may be the same as
    /// other readers' tokens.
    ///
    /// No clock is needed for it while the counters of a majority of the nodes survive. Across the expiry of a counter (it is
    /// kept for a day) and the empty restart of one node, the clocks of the machines have to differ by less than
    /// [`max_clock_skew`](crate::LockManagerBuilder::max_clock_skew). It does not hold across `FLUSHALL`, eviction, or a
    /// failover that lost writes. Zero if fencing is [switched off](crate::LockManagerBuilder::fencing).
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let first = locks.lock("report").acquire().await?;
    /// let token = first.fencing_token();
    /// first.release().await?;
    /// let second = locks.lock("report").acquire().await?;
    /// assert!(second.fencing_token() > token);
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # })?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    #[must_use]
    pub fn fencing_token(&self) -> u64 {
        self.lease.fencing_token
    }

    /// Gives the lock out of hand without releasing it: it lives on until its TTL is over, and is released, extended or taken
    /// over by its token, here or in another process.
    ///
    /// It is not renewed any more; `max_hold` and `min_hold` end with the guard. What its
    /// [owner is called](crate::LockRequest::owner_label) is on its way to the nodes from now on, and [`shutdown`](crate::LockManager::shutdown)
    /// waits for that.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let message = locks.lock("upload:7").acquire().await?.detach().to_string();
    ///
    /// // Elsewhere, later:
    /// let guard = locks.adopt(message.parse()?).await?;
    /// guard.release().await?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # })?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If the lock was acquired for a fire ([`once`](crate::LockRequest::once)): a token completes none, so the fire would run again. End
    /// it here with [`complete`](Self::complete), or acquire the lock without `once`. If it is a [permit](Self::permit), a lock that
    /// readers share, or one of several names: a token does not say which.
    #[must_use = "without its token the lock stays until its TTL is over"]
    pub fn detach(self) -> LockToken {
        if self.check_process().is_err() {
            // Nothing is done to what is the parent's.
            return self.token();
        }
        assert!(
            self.fire.is_none(),
            "a lock with `once` cannot be detached: its token completes no fire. End it with `complete()`, or acquire it \
             without `once`"
        );
        assert!(
            self.lease.subject.permits().is_none(),
            "a permit cannot be detached: a token does not say which permit it is. Hold it by its guard, or acquire the lock without \
             `permits`"
        );
        assert!(
            matches!(self.lease.subject, Subject::Key(_)),
            "a lock that readers share, or of several names, cannot be detached: a token does not say which kind it is of. Hold it by \
             its guard"
        );
        if !holds(Rule::DetachedIsNotPassedOn) {
            let mut guard = self;
            let token = guard.token();
            guard.pass_on();
            mem::forget(guard);
            return token;
        }
        self.shared.labels.note_before_it_leaves(&self.lease);
        let _news = self.lease.leave_now();
        self.shared.renewals.stop(&self.lease);
        if let Some(acquisition) = self.lease.take_hold() {
            acquisition.leave();
        }
        self.token()
    }

    fn token(&self) -> LockToken {
        LockToken {
            name: self.lease.name.clone(),
            owner: Arc::clone(&self.lease.owner),
            fencing_token: self.lease.fencing_token,
            ttl: self.lease.ttl,
        }
    }

    /// How much longer the lock counts as held if it is not extended; zero once it is lost.
    ///
    /// It is the TTL less the time since the attempt (or the last extension) *began*, less 1 % of the TTL and 4 ms for
    /// clocks and timers.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # use std::time::Duration;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let guard = locks.lock("report").acquire().await?;
    /// assert!(guard.remaining() > Duration::from_secs(20), "of a TTL of 30 s");
    /// # guard.release().await
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn remaining(&self) -> Duration {
        if self.check_process().is_err() {
            return Duration::ZERO;
        }
        let now = clock::now();
        match self.lease.told_reason(now) {
            Some(_) => Duration::ZERO,
            None => self.lease.valid_until().saturating_duration_since(now),
        }
    }

    /// Whether the lock is held at this moment. Costs no round trip.
    ///
    /// Also false once a [shutdown](crate::LockManager::shutdown_within) has asked its holder to let go, although the key is
    /// kept for it until the shutdown's time is over.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let guard = locks.lock("report").acquire().await?;
    /// if guard.is_valid() {
    ///     // the step that matters
    /// }
    /// # guard.release().await
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.check_process().is_ok() && self.lease.told_reason(clock::now()).is_none()
    }

    /// A child that was forked while this was held has a copy, which holds nothing.
    pub(super) fn check_process(&self) -> Result<(), Error> {
        // It may be the first that is called on a thread that is ending, or in a child.
        let _place = Place::of_caller();
        process::id();
        self.shared.engine.check_process()
    }

    /// Whether it was lost, and not only asked for by a shutdown, which keeps it for its holder.
    pub(crate) fn was_lost(&self) -> bool {
        self.check_process().is_err() || self.lease.lost_reason(clock::now()).is_some()
    }

    /// What its release uses of a runtime.
    pub(crate) fn uses(&self) -> Uses {
        self.shared.engine.uses()
    }

    /// How long one node's answer may take.
    pub(crate) fn node_timeout(&self) -> Duration {
        self.shared.engine.node_timeout()
    }

    /// Leaves it to the call that holds the lock to tell of its loss, so that it is told once.
    pub(crate) fn leave_telling_to_call(&self) {
        self.lease.set_told_by(ToldBy::Call);
    }

    /// The call has told of the loss.
    pub(crate) fn loss_is_told(&self) {
        self.lease.set_told_by(ToldBy::Lease);
    }

    /// Waits until the lock is lost, and says why, as an [`Error::Lost`]. Ends before the validity is over, whatever the
    /// reason is, also when no node can be reached any more.
    ///
    /// ```
    /// # use redlock_runtime::{Error, LockManager};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let guard = locks.lock("report").acquire().await?;
    /// tokio::select! {
    ///     loss = guard.lost() => return Err(loss),
    ///     () = async { println!("works") } => guard.release().await?,
    /// }
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # })?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a later call sees the same loss.
    pub async fn lost(&self) -> Error {
        let uses = self.shared.engine.uses();
        let until_lost = async {
            self.shared.engine.check_process()?;
            Ok(self.lease.until_lost().await)
        };
        match on_any_executor(uses, pin!(until_lost)).await {
            Ok(reason) => self.lease.lost_error(reason),
            Err(error) => error,
        }
    }

    /// Waits until the lock is lost, also where a shutdown keeps it while its holder winds down.
    pub(super) async fn gone(&self) {
        let uses = self.shared.engine.uses();
        let until_gone = async {
            self.shared.engine.check_process()?;
            self.lease.until_gone().await;
            Ok(())
        };
        let _ = on_any_executor(uses, pin!(until_gone)).await;
    }

    /// Lets the key live for at least `ttl` from now on, at most to the end of `max_hold`; never shorter than before. Renewal
    /// goes on with the lock's own TTL when that is due.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # use std::time::Duration;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let guard = locks.lock("report").acquire().await?;
    /// guard.extend(Duration::from_secs(120)).await?;
    /// assert!(guard.remaining() > Duration::from_secs(100));
    /// # guard.release().await
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] if the lock is not held any more; it is never taken again by this call.
    /// [`Error::QuorumUnreachable`] if too few nodes answered; the lock is held for as long as [`Self::remaining`] says.
    /// [`Error::Config`] for a TTL that no lock can have.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it ended, the extension goes on by itself.
    pub async fn extend(&self, ttl: Duration) -> Result<(), Error> {
        self.check_process()?;
        self.shared.check_ttl("extension", ttl)?;
        // In a task of its own: the renewal waits for it, and must not depend on whoever polls this future.
        let lease = Arc::clone(&self.lease);
        let extending = async move { lease.extend(ttl).await };
        let (told, extended) = oneshot::channel();
        background::spawn_here(self.shared.engine.uses(), async move {
            // Whoever asked may be gone.
            let _ = told.send(extending.await);
        });
        // The runtime is ending otherwise.
        extended.await.unwrap_or_else(|_| Err(self.lease.lost_error(LostReason::RenewalEnded)))
    }

    /// [`Self::extend`] for code that is not async; blocks the thread.
    ///
    /// # Errors
    ///
    /// Those of [`Self::extend`].
    pub fn extend_blocking(&self, ttl: Duration) -> Result<(), Error> {
        self.check_process()?;
        self.shared.check_ttl("extension", ttl)?;
        block_on(self.lease.extend(ttl))
    }

    /// Releases the lock on every node, and waits for a majority to confirm. It completes no fire: see [`Self::complete`]. If a task of
    /// this process waits for the lock, it may be [handed over](crate::LockManagerBuilder::local_hand_over) as it is, and no node is asked.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let guard = locks.lock("report").acquire().await?;
    /// guard.release().await?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NotHeld`] if a majority says that the key was not (or no longer) this owner's.
    /// [`Error::QuorumUnreachable`] if too few nodes confirmed; the release is sent to them again for two minutes.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it ended, the release goes on in the background.
    pub async fn release(self) -> Result<(), Error> {
        let uses = self.shared.engine.uses();
        on_any_executor(uses, pin!(self.give_back(Work::IsDone))).await
    }

    /// [`Self::release`] for code that is not async; blocks the thread.
    ///
    /// # Errors
    ///
    /// Those of [`Self::release`].
    pub fn release_blocking(self) -> Result<(), Error> {
        block_on(self.give_back(Work::IsDone))
    }

    /// [`Self::release`] behind work that ended so.
    pub(crate) async fn release_behind(self, work: Work) -> Result<(), Error> {
        let uses = self.shared.engine.uses();
        on_any_executor(uses, pin!(self.give_back(work))).await
    }

    /// [`Self::release_behind`] for code that is not async; blocks the thread.
    pub(crate) fn release_blocking_behind(self, work: Work) -> Result<(), Error> {
        block_on(self.give_back(work))
    }

    pub(super) async fn give_back(mut self, work: Work) -> Result<(), Error> {
        self.check_process()?;
        let (shared, lease) = (Arc::clone(&self.shared), Arc::clone(&self.lease));
        if self.pass_on() {
            if work == Work::IsDone {
                shared.run_ended(&lease);
            }
            return Ok(());
        }
        match self.end_with(Acquisition::release).await {
            Ok(()) => {
                if work == Work::IsDone {
                    shared.run_ended(&lease);
                }
                Ok(())
            }
            Err(lost) if lost.verdict == Verdict::Refused => {
                Err(Error::NotHeld { name: lease.name.as_str().to_owned() })
            }
            Err(lost) => Err(lost.into_unreachable(&lease.name, &shared.engine)),
        }
    }

    /// Ends the lock's renewal, and then the lock, by this; lets the next in line go ahead as soon as it is on its way.
    pub(super) async fn end_with<F: Future>(mut self, release: impl FnOnce(Acquisition) -> F) -> F::Output {
        self.shared.renewals.stop(&self.lease);
        self.lease.end().await;
        // Until here a drop of this future is a drop of the guard.
        let Some(acquisition) = self.lease.take_hold() else { unreachable!("only the guard takes it out, at its end") };
        let mut releasing = pin!(release(acquisition));
        // Polled once, it is on its way; what the next in line sends comes behind it.
        let is_done = poll_fn(|cx| Poll::Ready(releasing.as_mut().poll(cx))).await;
        if let Some(local_hold) = &self.local_hold {
            local_hold.hand_over();
        }
        let released = match is_done {
            Poll::Ready(released) => released,
            Poll::Pending => releasing.await,
        };
        self.local_hold = None;
        released
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        // Whoever panicked on the way there has not come to its end.
        if self.local_hold.is_none() && !thread::panicking() {
            return;
        }
        if self.check_process().is_err() {
            // A copy that a child has of its parent's: what it is made of may be locked by a thread that the child does not have.
            mem::forget((self.local_hold.take(), Arc::clone(&self.lease), Arc::clone(&self.shared)));
            return;
        }
        if self.lease.is_passed_on() || self.pass_on() {
            return;
        }
        let _news = self.lease.end_now();
        self.shared.renewals.stop(&self.lease);
        if let Some(acquisition) = self.lease.take_hold() {
            acquisition.release_in_background(self.local_hold.take());
        }
    }
}

impl fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockGuard")
            .field("name", &self.name())
            .field("remaining", &self.remaining())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::LockManager;
    use crate::engine::{Plan, Term, Won};

    use crate::values::name::Name;

    /// What is called on the way to a guard, when a lock is renewed already.
    #[tokio::test]
    async fn a_panic_on_the_way_to_a_guard_releases_the_lock_and_ends_its_renewal() {
        let locks = LockManager::builder().nodes(["memory://on-the-way-to-a-guard"]).build().unwrap();
        let (shared, name) = (&locks.shared, Name::parse("x".to_owned()).unwrap());
        let (subject, ttl) = (Subject::from(&*shared.keys.lock(&name)), Duration::from_secs(60));
        let won = shared.engine.acquire(subject.clone(), ttl, None, Plan::once(None)).await;
        let Won { acquisition, term: Term { began, valid_until, .. }, .. } =
            won.unwrap_or_else(|_| panic!("it is free"));
        let (engine, owner) = (Arc::clone(&shared.engine), Arc::clone(acquisition.owner()));
        let held = (began, valid_until, 0);
        let lease = Arc::new(Lease::new(engine, name, subject, owner, ttl, held, None));
        let panics = |lease: &Arc<Lease>| {
            shared.renewals.start(lease);
            panic!("as the test wants")
        };
        let kept = Arc::downgrade(&lease);
        assert!(catch_unwind(AssertUnwindSafe(|| LockGuard::new(lease, acquisition, shared, None, panics))).is_err());
        assert!(kept.upgrade().is_none(), "it is to be renewed");
        let wait = async {
            while locks.is_locked("x").await.unwrap() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.expect("it is released");
    }
}
