//! Ports for servers.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::{LazyLock, Mutex, PoisonError};

use anyhow::Context;

/// Ports are taken from here: below those that Linux and macOS give to outgoing connections, so that a server's
/// port is still free when it restarts.
const PORTS: Range<u16> = 20_000..32_000;

/// How much higher than its port a cluster's node listens for the other nodes, unless it is told otherwise.
/// <https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#the-cluster-bus>
pub(crate) const BUS: u16 = 10_000;

/// The ports of a cluster's nodes: their buses' are below those for outgoing connections too.
const PORTS_BELOW_BUSES: Range<u16> = 20_000..22_700;

/// Those that this process gave to servers. None is given twice: a manager that an earlier test left behind, as some do on
/// purpose, goes on connecting to the ports of its servers, and would count as a client of a later test's.
static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// A port that nobody listens on, nor on the bus that belongs to it, if there is to be one.
pub(crate) fn free(with_bus: bool) -> anyhow::Result<u16> {
    let ports = if with_bus { PORTS_BELOW_BUSES } else { PORTS };
    let count = u64::from(ports.end - ports.start);
    // Random, so that test processes that start at the same time do not go for the same ports.
    let first = RandomState::new().build_hasher().finish() % count;
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let port = (0..count)
        .map(|step| ports.start + u16::try_from((first + step) % count).expect("less than the ports' number"))
        .find(|port| !given.contains(port) && is_free(*port) && (!with_bus || is_free(port + BUS)))
        .with_context(|| format!("no port from {} to {} is free on 127.0.0.1", ports.start, ports.end))?;
    given.insert(port);
    Ok(port)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
