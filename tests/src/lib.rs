//! The harness that the tests of redlock stand on: real servers, their faults, and ways to look at them.
//!
//! Everything here blocks the calling thread for as long as it says and uses no runtime of its own, so that it
//! works the same in a plain test, in `#[tokio::test]` and while a test's runtime is being torn down. Whatever
//! goes wrong in the harness itself panics with a sentence that names the cure: a test has no better answer.
//!
//! # Layout
//!
//! - [`wait`]: waits for conditions, bounded, instead of sleeping
//! - [`tls`]: [`Certificates`], of authorities that tests make up
//! - [`setup`]: [`Setup`], who gets in to a server, and how
//! - [`server`]: [`RedisServer`], a real redis-server that can be killed, hung and restarted empty
//! - [`servers`]: [`Servers`], several of them
//! - [`sentinel`]: [`Sentinel`], a master, its replicas, and the Sentinels that watch over them
//! - [`cluster`]: [`Cluster`], masters that share the slots, and their replicas
//! - [`migration`]: [`Migration`], a slot on its way from one of them to another
//! - [`probe`]: [`Probe`], what is on a server, past the code under test
//! - [`monitor`]: [`Monitor`], what is sent to a server while it is looked at
//! - [`standstill`]: [`Standstills`], what a server takes too long for
//! - [`proxy`]: [`Proxy`], a connection that is slow, silent or cut
//! - [`gateway`]: [`Gateway`], a server in between that refuses commands, answers some itself and edits replies
//! - [`process`]: [`Program`], another process of ours that can be killed while it holds a lock
//! - [`python`]: [`Python`](python::Python), programs of a Python fleet
//! - [`account`]: [`Account`], who held what from when to when, as several processes tell it
//! - [`load`]: [`Load`], tasks that want locks again and again
//! - [`pages`]: what the code of README.md and of the pages has beside what they show
//! - `watchdog`: nothing outlives the test process, however that ends
//! - `replication`: who is a master, and who follows it
//! - `cluster_view`: a cluster as one of its nodes sees it
//! - `acceptor`: taking connections, for those two
//! - `room`: not too many of these at a time
//! - `ports`: free ports
//! - `clock`: the one place of the harness that reads a clock

pub mod wait;

pub mod tls;

pub mod setup;

pub mod server;

pub mod servers;

pub mod sentinel;

pub mod cluster;

pub mod migration;

mod cluster_view;

mod room;

mod replication;

pub mod probe;

pub mod monitor;

pub mod standstill;

mod acceptor;

pub mod proxy;

pub mod gateway;

pub mod process;

pub mod python;

pub mod account;

pub mod load;

pub mod pages;

mod watchdog;

mod ports;

mod patience;

pub mod clock;

pub use account::Account;
pub use cluster::Cluster;
pub use gateway::Gateway;
pub use load::Load;
pub use migration::Migration;
pub use monitor::Monitor;
pub use patience::{NODE_TIMEOUT, unhurried};
pub use probe::Probe;
pub use process::Program;
pub use proxy::Proxy;
pub use sentinel::Sentinel;
pub use server::RedisServer;
pub use servers::Servers;
pub use setup::Setup;
pub use standstill::Standstills;
pub use tls::Certificates;

/// The code of README.md and of the pages in `docs`, compiled and run as doc tests.
#[cfg(doctest)]
mod page_code {
    include!(concat!(env!("OUT_DIR"), "/pages.rs"));
}
