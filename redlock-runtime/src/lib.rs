//! A distributed lock that is held by a majority of independent Redis masters, as an attribute and a runtime.
//!
//! `#[redlock(name = "…")]` on a function makes its body run under a lock: only one caller in the whole fleet is inside at a time.
//! [`LockManager`] is the same by hand. The lock is renewed while the body runs, released after it, and an async body is stopped when the
//! lock is lost.
//!
//! # Overview
//!
//! - [`#[redlock]`](redlock) goes on functions: its page has all arguments, and what is returned when
//! - [`LockManager`] is the way to the nodes; a [`LockManagerBuilder`] has the settings
//! - [`LockManager::lock`] makes a [`LockRequest`], and that a [`LockGuard`]. Whatever waits has a twin for code that is not async, whose
//!   name ends in `_blocking`
//! - other kinds of locks: [`LockManager::lock_all`] of several names, [`read`](LockManager::read) and [`write`](LockManager::write) for
//!   readers who share, [`LockRequest::permits`] to let several in
//! - what is built on locks: [`LockRequest::once`] runs each fire of a job once, [`LockManager::lead`] makes one process lead,
//!   [`LockRequest::get_or_compute`] lets one compute for all, [`LockGuard::detach`] gives a lock to another process
//! - [`LockManager::check`] says whether locks will work on your servers; [`inspect`](LockManager::inspect), [`list`](LockManager::list),
//!   [`watch`](LockManager::watch), [`statistics`](LockManager::statistics) and [`reset`](LockManager::reset) are for those who look and
//!   mend, as is the [command line](pages::cli)
//! - [`LockManager::shutdown`] is the last thing that a process does
//! - [`Error`] is what can go wrong
//! - modules: [`observe`] is told what happens, for metrics; [`node`] is for a voter of your own, such as a database; `testing` has nodes
//!   that fail when a test wants it
//!
//! # Usage
//!
//! ```toml
//! [dependencies]
//! redlock-runtime = { path = "../redlock/redlock-runtime" }
//! tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
//! ```
//!
//! It needs Rust 1.88; [Nodes](pages::nodes) says which servers it was tried with, and a `memory://` node needs none. Async code runs on
//! tokio with timers and sockets (`enable_all`), as `#[tokio::main]` makes it; other executors and plain threads do as well.
//!
//! ```
//! use redlock_runtime::{Error, LockManager, redlock};
//!
//! // A cron job: every machine fires it, one of them runs it, once a day.
//! #[redlock(name = "nightly-report", once = "1d", timeout = "10m", silent)]
//! async fn nightly_report() -> Result<(), Error> {
//!     println!("one machine writes the report");
//!     Ok(())
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Error> {
//!     // In production: ["redis://10.0.0.1", "redis://10.0.0.2", "redis://10.0.0.3"]
//!     let locks = LockManager::builder().nodes(["memory://a", "memory://b", "memory://c"]).build()?;
//!     locks.install()?; // what #[redlock] uses
//!
//!     nightly_report().await?; // runs
//!     nightly_report().await?; // skipped: it already ran today
//!
//!     locks.shutdown().await; // waits for releases that are on their way
//!     Ok(())
//! }
//! ```
//!
//! # Examples
//!
//! Skip what somebody else is doing:
//!
//! ```
//! # use redlock_runtime::{Error, LockManager, redlock};
//! #[redlock(name = "clean-up", timeout = -1, silent)]
//! async fn clean_up() -> Option<u32> {
//!     Some(42)
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! # let locks = LockManager::builder().nodes(["memory://"]).build()?;
//! # locks.install()?;
//! assert_eq!(clean_up().await, Some(42));
//!
//! let _elsewhere = locks.lock("clean-up").acquire().await?; // as another machine would
//! assert_eq!(clean_up().await, None);
//! # Ok::<(), Error>(())
//! # })?;
//! # Ok::<(), Error>(())
//! ```
//!
//! Wait for up to so long, by hand, and tell what is wrong apart:
//!
//! ```
//! # use std::time::Duration;
//! # use redlock_runtime::{Error, LockManager};
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! # let locks = LockManager::builder().nodes(["memory://"]).build()?;
//! match locks.lock("invoice:7").timeout(Duration::from_secs(5)).acquire().await {
//!     Ok(guard) => guard.release().await?,
//!     Err(Error::NotAcquired { waited, .. }) => println!("somebody else still has it after {waited:?}"),
//!     Err(Error::QuorumUnreachable { granted, needed, source, .. }) => {
//!         println!("{granted} nodes agreed, {needed} are needed: {source}");
//!     }
//!     Err(error) => return Err(error),
//! }
//! # Ok::<(), Error>(())
//! # })?;
//! # Ok::<(), Error>(())
//! ```
//!
//! The same without async code, on a thread of your own:
//!
//! ```
//! # use std::time::Duration;
//! # use redlock_runtime::{Error, LockManager};
//! # fn migrate() {}
//! # let locks = LockManager::builder().nodes(["memory://"]).build()?;
//! let guard = locks.lock("migrate").timeout(Duration::from_secs(60)).acquire_blocking()?;
//! migrate();
//! guard.release_blocking()?; // tells whether it was still ours
//! # Ok::<(), Error>(())
//! ```
//!
//! Test what takes locks, each test with a manager of its own:
//!
//! ```
//! # use redlock_runtime::{Error, LockManager, redlock};
//! #[redlock(name = "invoice:{id}", timeout = -1, silent)]
//! fn bill(id: u64) -> Option<u64> {
//!     Some(id)
//! }
//!
//! let locks = LockManager::builder().nodes(["memory://"]).build()?;
//! let _scope = locks.install_scoped();
//! let _elsewhere = locks.lock("invoice:7").acquire_blocking()?;
//! assert_eq!((bill(7), bill(8)), (None, Some(8)));
//! # Ok::<(), Error>(())
//! ```
//!
//! Stop when the lock is lost, and let the store refuse whoever is late:
//!
//! ```
//! # use redlock_runtime::{Error, LockManager};
//! # async fn store(_: u64) -> Result<(), Error> { Ok(()) }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! # let locks = LockManager::builder().nodes(["memory://"]).build()?;
//! let guard = locks.lock("report").acquire().await?;
//! tokio::select! {
//!     loss = guard.lost() => return Err(loss),
//!     // UPDATE report SET … WHERE fencing_token <= $1
//!     stored = store(guard.fencing_token()) => stored?,
//! }
//! # Ok::<(), Error>(())
//! # })?;
//! # Ok::<(), Error>(())
//! ```
//!
//! # Features
//!
//! Without any, 69 other crates are compiled on Linux, most of them for `redis` and tokio.
//!
//! | feature | default | crates more | what it adds |
//! |---|---|---:|---|
//! | `macros` | yes | 1 | the attribute |
//! | `tls` | yes | 15 | `rediss://` nodes. A default, because most servers that somebody else runs ask for it; ring needs a C compiler |
//! | `signal` | | 2 | [`LockManager::shutdown_on_signal`] |
//! | `metrics` | | 3 | the metrics of [Seen from outside](pages::observe), through the crate `metrics`; no exporter |
//! | `serde` | | 3 | a [`LockToken`] in your messages, a [`LockManagerBuilder`] in your configuration |
//! | `testing` | | 0 | the module `testing`: memory nodes that fail when they are told to. For dev-dependencies |
//! | `insecure-tls` | | 0 | `rediss://…#insecure`: encrypted, no certificate is checked |
//!
//! `default-features = false, features = ["macros"]` leaves encryption out, and with it the C compiler. `signal` is tokio's, and `metrics`
//! costs nothing that could be measured until a program installs a recorder.
//!
//! A clean debug build takes 116 s of processor time with the defaults, 104 s without `tls`, 94 s without any, and 47 s for `redis` and tokio
//! alone, on two processors with Rust 1.95; a third of it is this crate itself.
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
//! # Pages
//!
//! [All of them](pages::all): [is it safe for me?](pages::guarantees) · [cron jobs](pages::cron) · [kinds of locks](pages::kinds) ·
//! [permits](pages::permits) · [several names](pages::names) · [readers and writers](pages::readers_writers) · [waiting](pages::waiting) · [fencing tokens](pages::fencing) · [testing your code](pages::testing) · [the command line](pages::cli) · [every lock, live](pages::serve) ·
//! [the end of a process](pages::shutdown) · [settings](pages::settings) · [nodes](pages::nodes) · [nodes that are databases](pages::postgres) ·
//! [seen from outside](pages::observe) · [what a user of Redis needs](pages::acl) · [looking, and mending](pages::operating) · [troubleshooting](pages::troubleshooting) ·
//! [performance](pages::performance) · [what is on the wire](pages::wire) · [coming from another lock](pages::migrating) ·
//! [questions](pages::faq)
//!
//! # Layout
//!
//! For those who change it, `ARCHITECTURE.md` in the project's root says which folder decides or does what, and where a new thing
//! goes.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod error;

mod shown;

mod values;

mod rules;

// Open to models; not part of the public interface.
#[doc(hidden)]
pub mod protocol;

mod platform;

pub mod observe;

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

// Documentation alone: what is compiled for a program has none of it. Their code runs as doc tests of tests/src/lib.rs.
#[cfg(all(doc, not(doctest)))]
pub mod pages;

#[doc(hidden)]
pub use crate::attribute::private as __private;

pub use crate::admin::changes::LockChanges;
pub use crate::admin::check::{CheckReport, CheckVerdict, ClockOffset, Finding, NodeCheck, Severity};
pub use crate::admin::inspect::LockInfo;
pub use crate::admin::last_run::LastRun;
pub use crate::admin::leader::{Leader, LeaderWatch, Leadership};
pub use crate::admin::list::LockNames;
pub use crate::admin::nodes::{NodeInfo, NodeStanding};
pub use crate::admin::overview::LockInfos;
pub use crate::admin::permits::PermitInfo;
pub use crate::admin::sharing::SharedInfo;
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
