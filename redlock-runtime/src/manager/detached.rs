//! Locks that were acquired somewhere else: released, extended and taken over by their token.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use crate::Error;
use crate::engine::{Acquisition, AttemptFailed, Extended, Fenced, Term, Won};
use crate::held::lease::Lease;
use crate::lock::guard::LockGuard;
use crate::manager::LockManager;
use crate::observe::{Acquiring, within};
use crate::platform::background::{block_on, on_any_executor};
use crate::platform::clock;
use crate::protocol::Verdict;
use crate::values::subject::Subject;
use crate::values::token::LockToken;

impl LockManager {
    /// Releases a lock that was [detached](LockGuard::detach), here or elsewhere, on every node, and waits for a majority
    /// to confirm.
    ///
    /// It may be repeated, also while an earlier one, which could not be confirmed or was dropped, goes on in the background (for two
    /// minutes).
    /// Of two at the same time one may be told [`Error::NotHeld`].
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let token = locks.lock("upload:7").acquire().await?.detach();
    /// locks.release(&token).await?;
    /// assert!(!locks.is_locked("upload:7").await?);
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # })?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NotHeld`] if a majority says that the lock is not the token's any more; nothing was changed.
    /// [`Error::QuorumUnreachable`] if too few nodes confirmed. [`Error::ShutDown`] after the manager was shut down.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it ended, the release goes on in the background.
    pub async fn release(&self, token: &LockToken) -> Result<(), Error> {
        on_any_executor(self.shared.engine.uses(), pin!(self.release_now(token))).await
    }

    /// [`Self::release`] for code that is not async; blocks the thread.
    ///
    /// # Errors
    ///
    /// Those of [`Self::release`].
    pub fn release_blocking(&self, token: &LockToken) -> Result<(), Error> {
        block_on(self.release_now(token))
    }

    /// Lets a detached lock live for at least `ttl` from now on; never shorter than before.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use redlock_runtime::LockManager;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let token = locks.lock("upload:7").acquire().await?.detach();
    /// locks.extend(&token, Duration::from_secs(120)).await?; // with each part that arrives, say
    /// let remaining = locks.inspect("upload:7").await?.remaining;
    /// assert!(remaining.is_some_and(|remaining| remaining > Duration::from_secs(100)));
    /// locks.release(&token).await?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NotHeld`] if a majority says that the lock is not the token's any more; it is never taken again by this
    /// call. [`Error::QuorumUnreachable`] if too few nodes answered. [`Error::Config`] for a TTL that no lock can have.
    /// [`Error::ShutDown`] after the manager was shut down.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it ended, the lock may or may not have been extended.
    pub async fn extend(&self, token: &LockToken, ttl: Duration) -> Result<(), Error> {
        let engine = &self.shared.engine;
        on_any_executor(engine.uses(), pin!(self.extend_now(token, ttl))).await.map(|extended| extended.leave(engine))
    }

    /// [`Self::extend`] for code that is not async; blocks the thread.
    ///
    /// # Errors
    ///
    /// Those of [`Self::extend`].
    pub fn extend_blocking(&self, token: &LockToken, ttl: Duration) -> Result<(), Error> {
        block_on(async { self.extend_now(token, ttl).await.map(|extended| extended.leave(&self.shared.engine)) })
    }

    /// Takes a detached lock over: it is this guard's from now on, lives for its TTL, is renewed, and released with the guard.
    ///
    /// The guard is a new holder, with a [fencing token](LockGuard::fencing_token) of its own, which is greater. The token is
    /// worth nothing any more, for [`adopt`](Self::adopt), [`extend`](Self::extend) and [`release`](Self::release) alike, here
    /// and everywhere: of several who adopt it (a queue may deliver a message twice) one gets the lock, and the others
    /// [`Error::NotHeld`]. To pass the lock on again, [detach](LockGuard::detach) the guard, which gives a new token.
    ///
    /// ```
    /// # use redlock_runtime::{Error, LockManager};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let token = locks.lock("upload:7").acquire().await?.detach();
    ///
    /// // In a worker, to which a queue delivers the token twice.
    /// let guard = locks.adopt(token.clone()).await?;
    /// assert!(guard.fencing_token() > token.fencing_token());
    /// assert!(matches!(locks.adopt(token).await, Err(Error::NotHeld { .. })));
    /// guard.release().await?;
    /// # Ok::<(), Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # When answers are lost
    ///
    /// A node may have given the lock to this call, and its answer is lost. The call then asks the same again, for four
    /// [`node_timeout`](crate::LockManagerBuilder::node_timeout)s (a second in all), and a node that has done it already counts. If no majority was heard even then, the error is
    /// [`Error::QuorumUnreachable`], and the lock goes back to the token: on the nodes that can be reached, before the error is
    /// returned; on the others, in the background, for two minutes. So the token can be adopted again, as soon as a majority
    /// of the nodes has been told. A call before that may get [`Error::NotHeld`] although nobody has adopted it for
    /// good; so repeat the call here, or pass the message on with a delay. The lock stays for its TTL if
    /// this process ends meanwhile.
    ///
    /// # Errors
    ///
    /// [`Error::NotHeld`] if the lock is not the token's any more: it expired, was released, reset, or adopted.
    /// [`Error::QuorumUnreachable`] if too few nodes answered, or could vote; or if so many adopt it at once that none has a
    /// majority. [`Error::Config`] for a TTL that no lock can have. [`Error::ShutDown`] after the manager was shut down.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it ended, the lock is given back to the token in the background, as after a
    /// [`QuorumUnreachable`](Error::QuorumUnreachable); it may live longer than before.
    pub async fn adopt(&self, token: LockToken) -> Result<LockGuard, Error> {
        self.shared.engine.prepare()?;
        on_any_executor(self.shared.engine.uses(), pin!(self.adopt_now(token))).await
    }

    /// [`Self::adopt`] for code that is not async; blocks the thread.
    ///
    /// # Errors
    ///
    /// Those of [`Self::adopt`].
    pub fn adopt_blocking(&self, token: LockToken) -> Result<LockGuard, Error> {
        block_on(self.adopt_now(token))
    }

    fn subject_of(&self, token: &LockToken) -> Subject {
        Subject::Key(self.shared.keys.lock(&token.name).into())
    }

    async fn release_now(&self, token: &LockToken) -> Result<(), Error> {
        self.check_open()?;
        let engine = Arc::clone(&self.shared.engine);
        // Before it is sent: if this is dropped it goes on, and may be repeated.
        let releasing = self.shared.unconfirmed.begin(&token.owner);
        let released = Acquisition::adopted(engine, self.subject_of(token), Arc::clone(&token.owner)).release().await;
        match released {
            Err(lost) if lost.verdict != Verdict::Refused => {
                Err(lost.into_unreachable(&token.name, &self.shared.engine))
            }
            released => {
                // The nodes that did not answer may have been told once more meanwhile.
                let is_repeated = releasing.was_decided();
                if released.is_ok() || is_repeated { Ok(()) } else { Err(not_held(token)) }
            }
        }
    }

    async fn extend_now(&self, token: &LockToken, ttl: Duration) -> Result<Extended, Error> {
        self.check_open()?;
        self.shared.check_ttl("extension", ttl)?;
        match self.shared.engine.extend(&self.subject_of(token), &token.owner, ttl, true, None, pending()).await {
            Ok(extended) => Ok(extended),
            Err(AttemptFailed { verdict: Verdict::Refused, .. }) => Err(not_held(token)),
            Err(lost) => Err(lost.into_unreachable(&token.name, &self.shared.engine)),
        }
    }

    async fn adopt_now(&self, token: LockToken) -> Result<LockGuard, Error> {
        self.check_process()?;
        // A token does not say what its lock was called.
        let mut acquiring = Acquiring::begin(self.shared.engine.observers(), token.name(), None);
        acquiring.asks_nodes();
        let span = acquiring.span();
        let adopting = async {
            let adopted = self.adopt_as(token, &acquiring).await;
            acquiring.ended(&adopted);
            adopted
        };
        within(span, pin!(adopting)).await
    }

    async fn adopt_as(&self, token: LockToken, acquiring: &Acquiring) -> Result<LockGuard, Error> {
        self.check_open()?;
        self.shared.check_ttl("adoption", token.ttl)?;
        let LockToken { name, owner: before, ttl, .. } = &token;
        let (shared, subject) = (Arc::clone(&self.shared), self.subject_of(&token));
        // What the token says of fencing was written by whoever had it; the nodes know.
        let fencing = shared.fence_fallback.map(|fence_fallback| Fenced { seen: 0, fence_fallback, room: 0 });
        let won = match shared.engine.adopt(&subject, before, *ttl, fencing).await {
            Ok(won) => won,
            Err(AttemptFailed { misconfigured: Some(reason), .. }) => return Err(Error::Config { reason }),
            Err(AttemptFailed { verdict: Verdict::Refused, .. }) => return Err(not_held(&token)),
            Err(lost) => return Err(lost.into_unreachable(name, &shared.engine)),
        };
        let Won { acquisition, term: Term { began, valid_until, fencing_token, .. }, .. } = won;
        let lease = Lease::new(
            Arc::clone(&shared.engine),
            name.clone(),
            subject,
            Arc::clone(acquisition.owner()),
            *ttl,
            (began, valid_until, fencing_token),
            None,
        );
        let now = clock::now();
        let lease = Arc::new(lease.observed(acquiring.observed(), now));
        LockGuard::new(lease, acquisition, &shared, None, |lease| {
            shared.renewals.start(lease);
            shared.labels.note_later(lease, None, now);
            shared.wait_queues.hold_locally(lease)
        })
    }
}

fn not_held(token: &LockToken) -> Error {
    Error::NotHeld { name: token.name().to_owned() }
}
