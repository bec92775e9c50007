//! Locks that were acquired somewhere else: released, extended and taken over by their token.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use crate::background::{block_on, on_any_executor};
use crate::engine::{Extended, Hold, Lost};
use crate::guard::LockGuard;
use crate::lease::Lease;
use crate::manager::LockManager;
use crate::name::Name;
use crate::protocol::{LEAD, Verdict};
use crate::token::LockToken;
use crate::{Error, clock};

impl LockManager {
    /// Releases a lock that was [detached](LockGuard::detach), here or elsewhere, on every node, and waits for a majority
    /// to confirm.
    ///
    /// It may be repeated: after one that could not be confirmed, which goes on in the background for two minutes.
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
        on_any_executor(self.shared.engine.uses(), pin!(self.extend_now(token, ttl))).await.map(Extended::leave)
    }

    /// [`Self::extend`] for code that is not async; blocks the thread.
    ///
    /// # Errors
    ///
    /// Those of [`Self::extend`].
    pub fn extend_blocking(&self, token: &LockToken, ttl: Duration) -> Result<(), Error> {
        block_on(async { self.extend_now(token, ttl).await.map(Extended::leave) })
    }

    /// Takes a detached lock over: extends it by its TTL, renews it from now on, and releases it with the guard.
    ///
    /// A token is to be adopted once: it stands for the same holder wherever it is, so of two guards that it was adopted by
    /// the first to be released takes the lock from the other.
    ///
    /// # Errors
    ///
    /// Those of [`Self::extend`].
    ///
    /// # Cancel safety
    ///
    /// Dropped before it ended, the lock stays as it is; it may have been extended.
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

    fn key_of(&self, name: &Name) -> Arc<str> {
        self.shared.keys.lock(name).into()
    }

    async fn release_now(&self, token: &LockToken) -> Result<(), Error> {
        self.check_open()?;
        let engine = Arc::clone(&self.shared.engine);
        let released = Hold::adopted(engine, self.key_of(&token.name), Arc::clone(&token.owner)).release().await;
        let unconfirmed = &self.shared.unconfirmed;
        match released {
            Ok(()) => {
                unconfirmed.forget(&token.owner);
                Ok(())
            }
            // The nodes that did not answer may have been told once more meanwhile.
            Err(Lost { verdict: Verdict::Refused, .. }) if unconfirmed.forget(&token.owner) => Ok(()),
            Err(Lost { verdict: Verdict::Refused, .. }) => Err(not_held(token)),
            Err(lost) => {
                unconfirmed.note(&token.owner);
                Err(lost.into_unreachable(&token.name, &self.shared.engine))
            }
        }
    }

    async fn extend_now(&self, token: &LockToken, ttl: Duration) -> Result<Extended, Error> {
        self.check_open()?;
        self.shared.check_ttl("extension", ttl)?;
        match self.shared.engine.extend(&self.key_of(&token.name), &token.owner, ttl, true, pending()).await {
            Ok(extended) => Ok(extended),
            Err(Lost { verdict: Verdict::Refused, .. }) => Err(not_held(token)),
            Err(lost) => Err(lost.into_unreachable(&token.name, &self.shared.engine)),
        }
    }

    async fn adopt_now(&self, token: LockToken) -> Result<LockGuard, Error> {
        let began = clock::now();
        let extended = self.extend_now(&token, token.ttl).await?;
        let valid_until = extended.valid_until;
        extended.leave();
        if clock::now() + LEAD >= valid_until {
            return Err(not_held(&token));
        }
        let LockToken { name, owner, fencing_token, ttl } = token;
        let (shared, key) = (Arc::clone(&self.shared), self.key_of(&name));
        let engine = || Arc::clone(&shared.engine);
        let hold = Hold::adopted(engine(), Arc::clone(&key), Arc::clone(&owner));
        let lease = Arc::new(Lease::new(
            engine(),
            name,
            Arc::clone(&key),
            owner,
            ttl,
            (began, valid_until, fencing_token),
            None,
        ));
        shared.renewals.start(&lease);
        shared.labels.note_later(&lease, None);
        LockGuard::new(lease, hold, &shared, |lease| shared.lines.settle(&key, lease))
    }
}

fn not_held(token: &LockToken) -> Error {
    Error::NotHeld { name: token.name().to_owned() }
}
