use std::net::SocketAddr;

/// Which connection to which server: a server that restarts counts its connections from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionId {
    /// By which number the server knows it; behind a proxy, that may be the number of a connection that others use as well.
    pub(crate) number: i64,
    /// What the server calls our end of it, unless a proxy is in between.
    pub(crate) peer: PeerAddress,
    /// A hash of the server's `run_id`.
    pub(crate) server: u64,
}

/// What a server calls a client's end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerAddress {
    /// Where it comes from.
    Internet(SocketAddr),
    /// By the path at which the server listens.
    Path,
}

impl PeerAddress {
    /// Without what only this machine knows.
    pub(in crate::node) fn of(address: SocketAddr) -> Self {
        Self::Internet(SocketAddr::new(address.ip(), address.port()))
    }
}
