//! Taking a lock over from the owner who left it.
//!
//! Every node that has the owner's key gives it to a new owner, whom nobody knows yet: compare and set. A majority of them is
//! an acquisition like any other, and the owner before has nothing any more.
//!
//! An answer may be lost behind a swap that was carried out. So the same is asked again, for the same new owner: a node on
//! which the key is his already grants it. What is given up, however it ends, is given back: each node on which the key
//! is, or may be, the new owner's is asked until it confirms that it is the owner's before. So the lock is always
//! somebody's, except if this process dies meanwhile: then the keys stay until their TTL is over.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::release_round::{PendingRelease, ReleaseRound};
use super::{Acquisition, AttemptFailed, Engine, Fenced, InFlight, TrackedRelease, Won};
use crate::node::{Predecessor, Voter};
use crate::platform::clock;
use crate::platform::entropy::seed;
use crate::protocol::{Backoff, KEEP_RELEASING, Ledger, NodeSet, Rivals, Verdict, release_pauses, reply_timeout};
use crate::values::keys::Keys;
use crate::values::subject::Subject;

/// For so many times as long as a node has to answer it is tried to hear of a majority, or to get one where several try.
const KEEP_TRYING: u32 = 4;

/// Pauses between two tries: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(100));

/// A new owner on the way to a lock.
struct Adoption {
    /// Answers for the key, and gives it back if it is not taken out.
    acquisition: Option<Acquisition>,
    /// Requests of earlier tries whose reply is on its way. They are no votes on this one, from which on the key must live.
    earlier: Vec<InFlight>,
}

impl Engine {
    /// Takes a lock over from this owner, with a fencing token of its own, for at least the TTL from now.
    ///
    /// A failed attempt is given back to the owner before this returns, by the nodes that granted it, as far as there is time;
    /// by the others behind their answer, in the background.
    ///
    /// # Cancel safety
    ///
    /// Dropped at any await, the attempt is given back in the background.
    pub(crate) async fn adopt(
        self: &Arc<Self>,
        subject: &Subject,
        from: &Arc<str>,
        ttl: Duration,
        fencing: Option<Fenced>,
    ) -> Result<Won, AttemptFailed> {
        let mut pauses = Backoff::new(PAUSES.0, PAUSES.1, seed());
        let mut pause = || sleep(pauses.next().unwrap_or(PAUSES.1));
        let give_up = clock::now() + reply_timeout(self.node_timeout, ttl) * KEEP_TRYING;
        loop {
            let before = Predecessor { owner: Arc::clone(from), gets_back: Some(ttl) };
            let acquisition = Acquisition::of_successor(Arc::clone(self), subject.clone(), before);
            let mut adoption = Adoption { acquisition: Some(acquisition), earlier: Vec::new() };
            let failed = loop {
                match adoption.attempt(ttl, fencing).await {
                    Ok(won) => return Ok(won),
                    // Too few were heard; the others may have done it.
                    Err(failed) if failed.verdict == Verdict::Unreachable && clock::now() < give_up => pause().await,
                    Err(failed) => break failed,
                }
            };
            if let Some(acquisition) = adoption.take_out() {
                acquisition.give_back(None).await;
            }
            // Of several who try, each may have got some nodes; now they are the owner's again.
            if failed.verdict != Verdict::Split || clock::now() >= give_up {
                return Err(failed);
            }
            pause().await;
        }
    }
}

impl Engine {
    /// [Releases](Self::release_if_ruled_out) in the background what the owner before an adoption got back late; a shutdown waits for it.
    pub(super) fn look_after(self: &Arc<Self>, before: &Predecessor, subject: Subject) {
        let (engine, owner, counted) = (Arc::clone(self), Arc::clone(&before.owner), self.track_release());
        self.spawn(async move { engine.release_if_ruled_out(subject, &owner, counted).await });
    }

    /// Releases what an owner got back, if he can have no majority any more: another one may have adopted the lock, and released
    /// it, before a node gave this key back, of which nobody knew then.
    ///
    /// Keys that are given back while this looks make no difference. One other owner who is seen on a majority either keeps
    /// it, or gives it back, and that majority is enough; a key that is gone does not come back. If an adoption is under way
    /// that has no majority yet, its release, or what follows from its being detached, will find this key. It may be one from a third
    /// owner, who knows nothing of this one: then neither of them has a majority, and it is looked again until one has.
    async fn release_if_ruled_out(self: Arc<Self>, subject: Subject, owner: &Arc<str>, counted: TrackedRelease) {
        let (keys, reply_timeout) = (Arc::new(Keys::around(subject.key())), self.node_timeout);
        let look = |_, node: Arc<dyn Voter>| {
            let keys = Arc::clone(&keys);
            async move { node.look(keys, reply_timeout).await }
        };
        // As long, and as often, as a release is sent again.
        let (began, (first_pause, longest_pause)) = (clock::now(), release_pauses(self.node_timeout));
        let give_up = began + KEEP_RELEASING;
        // An adoption by somebody else is over by then.
        let is_decided_by = began + self.node_timeout * KEEP_TRYING * 2;
        let mut pauses = Backoff::new(first_pause, longest_pause, seed());
        let theirs = loop {
            let (sights, failures) = self.survey_all(&look).await;
            let (mut rivals, mut missing, mut theirs) = (Rivals::default(), 0, NodeSet::default());
            for (node, sight) in &sights {
                match sight {
                    None => missing += 1,
                    Some(sight) if sight.owner == *owner => drop(theirs.insert(*node)),
                    Some(sight) => rivals.record(&sight.owner),
                }
            }
            if rivals.rule_out(missing, self.quorum) && !theirs.is_empty() {
                break theirs;
            }
            let is_theirs = theirs.len() >= self.quorum.needed();
            let is_undecided = !theirs.is_empty() && !is_theirs && clock::now() < is_decided_by;
            // Too few may have answered in time.
            let is_to_be_seen = !failures.is_empty() || is_undecided;
            if !is_to_be_seen || clock::now() >= give_up || self.is_closed() {
                return;
            }
            sleep(pauses.next().unwrap_or(longest_pause)).await;
        };
        let mut release = PendingRelease::new(counted, subject, Arc::clone(owner));
        release.is_noted = true;
        drop(ReleaseRound::start(Arc::new(release), Ledger::of(theirs), theirs, Vec::new()));
    }
}

impl Adoption {
    /// One round, and the commit of its token.
    async fn attempt(&mut self, ttl: Duration, fencing: Option<Fenced>) -> Result<Won, AttemptFailed> {
        let began = clock::now();
        let Self { acquisition: Some(acquisition), earlier } = self else { unreachable!("it is taken out at the end") };
        earlier.extend(acquisition.set_aside());
        let term = acquisition.ask_to_adopt(began, ttl, fencing).await?;
        let mut acquisition = self.take_out().expect("it was there a moment ago");
        acquisition.succeed();
        Ok(Won { acquisition, term, permits: None })
    }

    /// What answers for all that was asked; nothing is left here.
    fn take_out(&mut self) -> Option<Acquisition> {
        let mut acquisition = self.acquisition.take()?;
        acquisition.wait_for_too(mem::take(&mut self.earlier));
        Some(acquisition)
    }
}

impl Drop for Adoption {
    fn drop(&mut self) {
        drop(self.take_out());
    }
}
