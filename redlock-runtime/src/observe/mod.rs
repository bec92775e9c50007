//! Locks, seen from outside: what an [`Observer`] is told, and the metrics that are recorded of it.
//!
//! With the feature `metrics`, everything that an observer is told is recorded through the facade of the crate
//! [`metrics`](https://docs.rs/metrics), under the [`names`] below, for whichever recorder the program installs, before the manager is
//! built or after it. Without a recorder and an observer none of it costs anything that could be measured. What each of them means,
//! a dashboard and alerts: [Seen from outside](crate::pages::observe).
//!
//! A lock is called by its *label*, of which there are few: the template of the attribute (`invoice:{id}`), or what
//! [`LockRequest::label`](crate::LockRequest::label) says; never by its name, which may have an id in it.

mod event;
mod harmless;
mod labels;
pub mod names;
mod node;
mod observers;
#[cfg(feature = "metrics")]
mod recorded;

mod acquiring;
mod holding;
mod seldom;

pub(crate) use self::acquiring::{Acquiring, within};
pub use self::event::{End, Event, NodeStanding, Observer, Operation, Outcome, Path, RenewalFailure};
pub(crate) use self::harmless::harmless;
pub(crate) use self::holding::{Ended, Holding};
pub(crate) use self::labels::Observed;
pub(crate) use self::node::{Sent, labels};
pub(crate) use self::observers::{MOST_LABELS, NodeView, Observers};
pub(crate) use self::seldom::{REPEAT, Seldom};
