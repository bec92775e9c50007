//! Marking a fire as completed, with the release or before it.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use super::Acquisition;
use crate::engine::completion::{NotConfirmed, Patience, mark_before_body};
use crate::engine::release_round::Marking;
use crate::engine::{AttemptFailed, FireRefusal};
use crate::node::{Action, Command, NewMark};
use crate::platform::clock;
use crate::protocol::{Completion, KeyAfter, NodeSet};

impl Acquisition {
    /// Ends an attempt that was not won; what became of it.
    pub(in crate::engine) async fn end_failed_attempt(
        self,
        failed: AttemptFailed,
        until: Option<Instant>,
    ) -> AttemptFailed {
        match failed.fire.as_deref().copied() {
            // It is told at once: nobody wants the lock.
            Some(FireRefusal::AlreadyRan { .. }) => {
                drop(self);
                failed
            }
            Some(FireRefusal::Spread { mark, valid_until }) => {
                let completed = mark.stored.fire;
                // When the caller's time is over it goes on by itself, and nobody knows yet.
                let limit = until.map_or(valid_until, |until| until.min(valid_until));
                match Box::pin(self.complete_within(mark, limit, Patience::Short)).await {
                    Ok(()) => AttemptFailed { fire: Some(Box::new(FireRefusal::AlreadyRan { completed })), ..failed },
                    Err(NotConfirmed { failures, .. }) => {
                        let doubt = FireRefusal::Doubt { shown: Some(completed), is_final: false };
                        AttemptFailed { fire: Some(Box::new(doubt)), failures, ..failed }
                    }
                }
            }
            Some(FireRefusal::Shown | FireRefusal::Doubt { .. }) | None => {
                self.give_back(until).await;
                failed
            }
        }
    }

    /// Marks a fire as completed and releases the lock, in one step on each node; returns when a majority has confirmed, or no longer
    /// can before `valid_until`, the end of the validity that the lock has now. Until then the mark is sent again where it was lost.
    ///
    /// # Cancel safety
    ///
    /// Dropped at any await, both go on in the background.
    pub(crate) async fn complete(self, mark: NewMark, valid_until: Instant) -> Result<(), NotConfirmed> {
        self.complete_within(mark, valid_until, Patience::WhileHeld).await
    }

    async fn complete_within(
        mut self,
        mark: NewMark,
        valid_until: Instant,
        patience: Patience,
    ) -> Result<(), NotConfirmed> {
        self.drop_stragglers_of_the_caller();
        self.set_mark(mark);
        let quorum = self.engine.quorum();
        let completion = Completion::begin(quorum, mark.stored.fire, self.voters, KeyAfter::Deleted, valid_until);
        let all = NodeSet::first(quorum.nodes());
        self.start_release(all).confirm_mark(completion, patience).await
    }

    /// Its release, however it comes about from now on, marks a fire as completed.
    pub(crate) fn set_mark(&mut self, mark: NewMark) {
        let quorum = self.engine.quorum();
        // Whom it is sent to depends on neither: it is decided in one place.
        let moment = self.began.unwrap_or_else(clock::now);
        let completion = Completion::begin(quorum, mark.stored.fire, self.voters, KeyAfter::Deleted, moment);
        let marking = Marking::new(mark, completion.asked(), self.began);
        self.rare().mark = Some(Box::new(marking));
    }

    /// Marks a fire as completed before it begins, and keeps the lock; otherwise as [`Self::complete`]. What is returned does not need
    /// this one: whoever has it may release the lock meanwhile.
    ///
    /// # Cancel safety
    ///
    /// Dropped at any await, the fire may or may not be marked.
    pub(crate) fn mark(
        &mut self,
        mark: NewMark,
        valid_until: Instant,
    ) -> impl Future<Output = Result<(), NotConfirmed>> + use<> {
        self.drop_stragglers_of_the_caller();
        let engine = Arc::clone(&self.engine);
        let completion = Completion::begin(engine.quorum(), mark.stored.fire, self.voters, KeyAfter::Kept, valid_until);
        let command = Command::marking(Action::Mark, &self.subject, &self.owner, mark);
        mark_before_body(engine, command, completion)
    }
}
