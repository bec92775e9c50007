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
//! In reading order; no module uses one further down.
//!
//! - `protocol`: the decisions, as pure functions. The quorum is counted in `protocol/round.rs`, who may vote is decided
//!   in `protocol/electorate.rs`, what is owed a release in `protocol/ledger.rs`.
//! - `error`, `timeout`, `name`, `slot`, `keys`: values. `clock` and `entropy` are the only sources of time and chance.
//! - `background`: the one runtime of our own, for what must not depend on the caller's; `drivers`, what the caller's can do;
//!   `process`, whether this is still the process that it was.
//! - `node`: one voter: `redis`, over `connection` (which keeps one), `dial` and `sentinel` (which make one, wherever the
//!   master is) and `endpoint`, with `commands`; `cluster`, over several of these; or `memory`;
//!   or one that you wrote ([`node::Node`]). `url` says which.
//! - `engine`: one round over all nodes. `engine/hold.rs` sends the release when a future is dropped, and
//!   `engine/settlement.rs` sees it through. (Test: `tests/it/nothing_left.rs`.)
//! - `statistics`: how many wait for what, told to the nodes behind the locks' backs. (Test: `tests/it/statistics.rs`.)
//! - `lease`, `renewal`, `labels`: a held lock, its extension, and what its owner is called. `queue`: the line of those in
//!   this process who want one.
//! - `shared`, `guard`, `deadlock`: what all of them share, who owns a held lock, and whether a caller does.
//! - `lock`, `voters`, `config`, `environment`, `manager`, `scope`, `elsewhere` (by token), `shutdown`, `compute`: what users call.
//! - `inspect`, `list`, `reset`: locks as people see them, whoever holds them. (Test: `tests/it/inspect.rs`.)
//! - `check`: whether locks will work on these nodes, and what to do if not. (Test: `tests/it/check.rs`.)
//! - `outcome`, `call`, `drive`, `private`: what the attribute's expansion calls.

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
pub use crate::admin::list::LockNames;
pub use crate::error::{Error, HeldElsewhere, LostReason, NodeFailure, NodeFailures};
pub use crate::lock::guard::LockGuard;
pub use crate::lock::request::LockRequest;
pub use crate::manager::LockManager;
pub use crate::manager::builder::LockManagerBuilder;
pub use crate::manager::scope::{InstallGuard, Scoped};
pub use crate::manager::shutdown::ShutdownReport;
pub use crate::node::check::{Persistence, Wakes};
pub use crate::protocol::{LockState, Role};
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
