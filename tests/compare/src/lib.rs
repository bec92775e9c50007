//! What a process does that takes part in the comparison, whatever lock it brings.
//!
//! The program beside this library starts a process for each contestant, tells it what to do, one line a job, and reads
//! what came of it. The peers' processes are another program, so that nobody else compiles what the peers depend on.
//!
//! # Layout
//!
//! - [`Contestant`]: a lock that takes part
//! - [`Job`], [`Answer`]: what the processes say to each other
//! - [`serve`]: does the jobs
//! - `measures`: how each is measured

mod contestant;

mod job;

mod measures;

mod serve;

pub use contestant::Contestant;
pub use job::{Answer, Job, Waiter};
pub use measures::processor_nanoseconds;
pub use serve::{Orders, serve};
