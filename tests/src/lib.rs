//! The harness that the tests of redlock stand on: real servers, their faults, and ways to look at them.
//!
//! Everything here blocks the calling thread for as long as it says and uses no runtime of its own, so that it
//! works the same in a plain test, in `#[tokio::test]` and while a test's runtime is being torn down. Whatever
//! goes wrong in the harness itself panics with a sentence that names the cure: a test has no better answer.
//!
//! # Layout
//!
//! - [`wait`]: waits for conditions, bounded, instead of sleeping
//! - [`server`]: [`RedisServer`], [`Servers`]: real redis-servers that can be killed, hung and restarted empty
//! - [`probe`]: [`Probe`], what is on a server, past the code under test
//! - [`monitor`]: [`Monitor`], what is sent to a server while it is looked at
//! - [`proxy`]: [`Proxy`], a connection that is slow, silent or cut
//! - [`process`]: [`Program`], another process of ours that can be killed while it holds a lock
//! - [`python`]: [`Python`](python::Python), programs of a Python fleet
//! - [`account`]: [`Account`], who held what from when to when, as several processes tell it
//! - `watchdog`: nothing outlives the test process, however that ends
//! - `clock`: the one place of the harness that reads a clock

pub mod wait;

pub mod server;

pub mod probe;

pub mod monitor;

pub mod proxy;

pub mod process;

pub mod python;

pub mod account;

mod watchdog;

pub mod clock;

pub use account::Account;
pub use monitor::Monitor;
pub use probe::Probe;
pub use process::Program;
pub use proxy::Proxy;
pub use server::{RedisServer, Servers};

/// The README's code, compiled and run as doc tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
