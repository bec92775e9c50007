//! How long nodes may take.

use std::time::Duration;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// A reply.
    pub(crate) node_timeout: Duration,
    /// Making a connection, TLS and authentication included.
    pub(crate) connect_timeout: Duration,
    /// The age below which a server that restarted does not vote.
    pub(crate) longest_ttl: Duration,
}
