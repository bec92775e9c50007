//! What the server knows about one connection.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::parser::Parser;
use crate::reply::Protocol;

/// A client, as a server sees it.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    /// What CLIENT ID answers.
    pub(crate) number: u64,
    /// Where it comes from.
    pub(crate) peer: SocketAddr,
    pub(crate) parser: Parser,
    pub(crate) protocol: Protocol,
    /// What CLIENT SETNAME called it.
    pub(crate) name: String,
    /// The channels it subscribed to.
    pub(crate) channels: BTreeSet<Arc<[u8]>>,
    pub(crate) tracking: Tracking,
    /// Whether it said ASKING in front of the command that comes.
    pub(crate) is_asking: bool,
}

/// Whether a client is told of changes of the keys that it read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "they are the command's options, each for itself")]
pub(crate) struct Tracking {
    pub(crate) is_on: bool,
    /// Only for keys that a command reads behind CLIENT CACHING YES.
    pub(crate) is_opt_in: bool,
    /// Whether that was said in front of the command.
    pub(crate) is_caching: bool,
    /// Not of changes that the client makes itself.
    pub(crate) skips_own: bool,
}

impl Connection {
    pub(crate) fn new(number: u64, peer: SocketAddr) -> Self {
        Self {
            number,
            peer,
            parser: Parser::default(),
            protocol: Protocol::default(),
            name: String::new(),
            channels: BTreeSet::new(),
            tracking: Tracking::default(),
            is_asking: false,
        }
    }

    /// Whether it may only subscribe.
    pub(crate) fn is_subscriber(&self) -> bool {
        self.protocol == Protocol::Resp2 && !self.channels.is_empty()
    }

    /// What CLIENT INFO and CLIENT LIST say about it.
    pub(crate) fn describe(&self) -> String {
        let Self { number, peer, name, .. } = self;
        let protocol = if self.protocol == Protocol::Resp3 { 3 } else { 2 };
        let channels = self.channels.len();
        let flags = match (self.tracking.is_on, channels) {
            (true, 0) => "t",
            (true, _) => "Pt",
            (false, 0) => "N",
            (false, _) => "P",
        };
        format!(
            "id={number} addr={peer} laddr=127.0.0.1:6379 fd=8 name={name} age=0 idle=0 flags={flags} db=0 sub={channels} \
             psub=0 ssub=0 multi=-1 user=default redir=-1 resp={protocol}"
        )
    }
}

impl Tracking {
    /// Whether the keys that a command reads now are remembered.
    pub(crate) fn remembers(self) -> bool {
        self.is_on && (!self.is_opt_in || self.is_caching)
    }
}
