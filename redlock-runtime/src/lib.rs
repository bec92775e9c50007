//! A distributed lock held by a majority of independent Redis masters, as an attribute and a runtime.
//!
//! `#[redlock(name = "…")]` on a function makes its body run under a lock: only one caller in the whole fleet is inside at
//! a time. [`LockManager`] is the same by hand.
//!
//! ```
//! use redlock_runtime::{LockManager, Timeout, redlock};
//!
//! // One worker of the fleet writes the report; the others skip it.
//! #[redlock(name = "nightly-report", timeout = -1, silent)]
//! async fn nightly_report() -> Option<String> {
//!     Some("the report".to_owned())
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let locks = LockManager::builder().nodes(["memory://a", "memory://b", "memory://c"]).build()?;
//! locks.install()?;
//! assert!(nightly_report().await.is_some());
//!
//! let guard = locks.lock("nightly-report").timeout(Timeout::Skip).acquire().await?;
//! assert!(nightly_report().await.is_none());
//! guard.release().await?;
//! # Ok::<(), redlock_runtime::Error>(())
//! # })?;
//! # Ok::<(), redlock_runtime::Error>(())
//! ```
//!
//! # What a lock promises
//!
//! A lock is held when a majority of the *configured* nodes granted it within its validity: the TTL, less the time since
//! the attempt began, less 1 % of the TTL and 2 ms for clocks that run apart. It is renewed while its guard lives.
//! Source: [the Redlock algorithm](https://redis.io/docs/latest/develop/use/patterns/distributed-locks/).
//!
//! Time is that of the machine's monotonic clock. On Linux it goes on while the machine is suspended (`CLOCK_BOOTTIME`), so a
//! lock that expired meanwhile is not valid when it wakes up; a renewed lock's loss is told within a second then, that of one with
//! `renew(false)` when its timer ends, which stood still. Elsewhere a validity may last longer by the time of the suspension
//! than the key does, unless the system's monotonic clock counts it.
//!
//! It keeps two callers apart while clocks run at about the same speed and no node forgets a key before its time. A node
//! that restarted, and so may have forgotten, does not vote before it is older than
//! [`longest_ttl`](LockManagerBuilder::longest_ttl) while one can be reached that is a quarter older still. That does not
//! protect a single node, nor from `FLUSHALL`, nor from restarting a majority within that time. Where a second caller would cost money, let
//! what the lock protects check its state too.
//!
//! # Layout
//!
//! For those who change it, `ARCHITECTURE.md` in the project's root says which folder decides or does what, and where a new thing
//! goes.

mod error;

mod shown;

mod values;

mod rules;

// Open to models; not part of the public interface.
#[doc(hidden)]
pub mod protocol;

mod platform;

pub mod node;

mod engine;

mod held;

mod waiting;

mod lock;

mod manager;

mod admin;

mod attribute;

#[cfg(redlock_simulated)]
#[doc(hidden)]
pub mod simulation;

#[cfg(feature = "testing")]
pub mod testing;

#[doc(hidden)]
pub use crate::attribute::private as __private;

pub use crate::admin::check::{CheckReport, CheckVerdict, ClockOffset, Finding, NodeCheck, Severity};
pub use crate::admin::inspect::LockInfo;
pub use crate::admin::last_run::LastRun;
pub use crate::admin::leader::{Leader, LeaderWatch, Leadership};
pub use crate::admin::list::LockNames;
pub use crate::admin::permits::PermitInfo;
pub use crate::admin::watch::{LockWatch, LocksWatch};
pub use crate::error::{Error, HeldElsewhere, LostReason, NodeFailure, NodeFailures};
pub use crate::lock::guard::LockGuard;
pub use crate::lock::lead::{Lead, Term};
pub use crate::lock::once::{Run, SkipReason};
pub use crate::lock::request::LockRequest;
pub use crate::manager::LockManager;
pub use crate::manager::builder::LockManagerBuilder;
pub use crate::manager::scope::{InstallGuard, Scoped};
pub use crate::manager::shutdown::ShutdownReport;
pub use crate::node::check::{Persistence, Wakes};
pub use crate::protocol::{InDoubt, LockState, Role};
pub use crate::values::fire::{Fire, IntoFire, OnceAt};
pub use crate::values::name::name_from_parts;
pub use crate::values::on_shutdown::OnShutdown;
pub use crate::values::timeout::{IntoDuration, IntoTimeout, Timeout};
pub use crate::values::token::LockToken;
pub use crate::waiting::counters::{NameStatistics, WaitingStatistics};
/// The crate whose [`Client`](redis::Client) the builder [takes](LockManagerBuilder::clients), in the version (1.x) that it
/// takes.
pub use ::redis;
#[cfg(feature = "macros")]
pub use redlock_macros::redlock;
