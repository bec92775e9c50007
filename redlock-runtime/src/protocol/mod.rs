//! The decisions of the lock, as functions of votes and time.
//!
//! Nothing here sleeps, sends or reads a clock: `now` and seeds are arguments. So every rule can be tried a
//! million times with a simulated clock and simulated nodes.

mod at;
mod attempt;
mod backoff;
mod census;
mod electorate;
mod fence;
mod leading;
mod nodes;
mod once;
mod permits;
mod quorum;
mod readers_writers;
mod release;
mod retry;
mod rivals;
mod round;
mod tally;
mod turns;
mod validity;
mod wait_plan;
pub mod wait_queue;

pub use at::{At, AtSet};
pub use attempt::{Attempt, AttemptStep, Conclusion};
pub use backoff::Backoff;
pub use census::{Census, LockState, Sighting};
pub use electorate::{Electorate, NodeStatus, Role, ServerInfo, Standing, Voters, longest_round};
pub use fence::{
    Counter, Fence, FenceFallback, Fencing, Holder, Listening, NoCounter, Proposal, RETENTION, TokenBlock,
    confirmation, plausible,
};
pub use leading::{TermEnd, TermPauses, stand_back};
pub use nodes::NodeSet;
pub use once::{
    Completion, CompletionVerdict, Fire, FireQuestion, GREATEST_FIRE, InDoubt, KeyAfter, MARK_RETENTION, MARKED_FROM,
    Mark, Marked, NoMark, Once, OnceDecision, OnceTerms, Sending, StoredMark, ToldMark, completed_by_majority,
    witnesses,
};
pub use permits::{
    GrantedSlot, OthersSay, PERMITS_RETENTION, SET_WON_AFTER, SaidPermits, SlotTally, ToldSlots, patience, slot_order,
};
pub use quorum::Quorum;
pub use readers_writers::{Admission, Asker, Mode, Occupancy};
pub use release::{
    AcquireEffect, AfterAnswer, DEAD_AFTER_TIMEOUTS, DeadConnection, KEEP_RELEASING, Ledger, OnDeadConnection,
    ReleaseStage, ReleasesDue, release_pauses,
};
pub use retry::{Next, next_step};
pub use rivals::{RELEASED, Rivals};
pub use round::{Ballot, Round, Verdict};
pub use tally::{Hearing, Objection, Tally, Vote};
pub use turns::{
    Elsewhere, LONGEST, LONGEST_BESIDE_OTHERS, LeaseNow, LeaseStanding, MOST_TURNS, MOST_TURNS_BESIDE_LATE,
    MOST_TURNS_BESIDE_OTHERS, Needs, Passing, TAKEN_WITHIN, Turns,
};
pub use validity::{
    LONGEST_TTL, LOSS_NOTICE, SHORTEST_TTL, drift, extended_together, renewal_due, reply_timeout, valid_until,
};
pub use wait_plan::{AskOrder, NodeObservation, OthersKey, Step, WaitPlan};
