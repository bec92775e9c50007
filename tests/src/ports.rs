//! Ports for servers.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

use anyhow::Context;

/// Ports are taken from here: below those that Linux and macOS give to outgoing connections, so that a server's
/// port is still free when it restarts.
const PORTS: Range<u16> = 20_000..32_000;

/// How much higher than its port a cluster's node listens for the other nodes, unless it is told otherwise.
/// <https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#the-cluster-bus>
pub(crate) const BUS: u16 = 10_000;

/// The ports of a cluster's nodes: their buses' are below those for outgoing connections too.
const PORTS_BELOW_BUSES: Range<u16> = 20_000..22_700;

/// A port that nobody listens on, nor on the bus that belongs to it, if there is to be one.
pub(crate) fn free(with_bus: bool) -> anyhow::Result<u16> {
    let ports = if with_bus { PORTS_BELOW_BUSES } else { PORTS };
    let count = u64::from(ports.end - ports.start);
    // Random, so that test processes that start at the same time do not go for the same ports.
    let first = RandomState::new().build_hasher().finish() % count;
    (0..count)
        .map(|step| ports.start + u16::try_from((first + step) % count).expect("less than the ports' number"))
        .find(|port| is_free(*port) && (!with_bus || is_free(port + BUS)))
        .with_context(|| format!("no port from {} to {} is free on 127.0.0.1", ports.start, ports.end))
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
