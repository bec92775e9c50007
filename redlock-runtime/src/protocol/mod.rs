//! The decisions of the lock, as functions of votes and time.
//!
//! Nothing here sleeps, sends or reads a clock: `now` and seeds are arguments. So every rule can be tried a
//! million times with a simulated clock and simulated nodes.

mod backoff;
mod beliefs;
mod census;
mod electorate;
mod fence;
mod ledger;
mod nodes;
mod quorum;
mod retry;
mod rivals;
mod round;
mod validity;

pub use backoff::Backoff;
pub use beliefs::{Approach, Beliefs, OthersKey, Seen, Step};
pub use census::{Census, LockState, Sighting};
pub use electorate::{Electorate, Papers, Role, Standing, longest_round};
pub use fence::{
    Counter, Doubt, Fence, Fencing, Holder, Listening, NoCounter, Proposal, RETENTION, confirmation, is_refresh_due,
    plausible,
};
pub use ledger::{Fate, Ledger};
pub use nodes::NodeSet;
pub use quorum::Quorum;
pub use retry::{Next, next_step};
pub use rivals::{RELEASED, Rivals};
pub use round::{Ballot, Round, Verdict};
pub use validity::{LEAD, LONGEST_TTL, SHORTEST_TTL, drift, extended_together, patience, renewal_due, valid_until};
