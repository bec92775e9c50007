//! Connecting to a host by its name.
//!
//! Not by tokio's own look-up, which takes a thread of the caller's runtime and panics when the system has none left.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// So many names are looked up at a time: of a resolver that does not answer nobody waits for longer than for a connection, but
/// its threads stay.
const AT_ONCE: usize = 64;

/// How many are being looked up.
static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);

/// Counts a look-up until it is dropped.
struct UnderWay;

impl Drop for UnderWay {
    fn drop(&mut self) {
        UNDER_WAY.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Connects to one of the host's addresses.
pub(in crate::node) async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    match host.parse::<IpAddr>() {
        Ok(address) => TcpStream::connect((address, port)).await,
        Err(_) => TcpStream::connect(look_up(host, port).await?.as_slice()).await,
    }
}

async fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let host = host.to_owned();
    let counted = UnderWay;
    if UNDER_WAY.fetch_add(1, Ordering::Relaxed) >= AT_ONCE {
        return Err(io::Error::other(format!(
            "{host} is not looked up: {AT_ONCE} names wait for the resolver already"
        )));
    }
    let (told, found) = oneshot::channel();
    let look = move || {
        let _counted = counted;
        // Whoever asked may be gone.
        let _ = told.send((host.as_str(), port).to_socket_addrs().map(Iterator::collect));
    };
    thread::Builder::new().name("redlock-dns".to_owned()).spawn(look).map_err(|error| {
        io::Error::new(error.kind(), format!("no thread can be started to look up the host: {error}"))
    })?;
    found.await.unwrap_or_else(|_| Err(io::Error::other("the look-up of the host ended without an answer")))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_host_is_found_by_name_and_by_number() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["localhost", "127.0.0.1"] {
            connect(host, port).await.unwrap_or_else(|error| panic!("{host}: {error}"));
        }
    }

    #[tokio::test]
    async fn a_name_that_nobody_has_is_an_error() {
        connect("name.invalid", 1).await.unwrap_err();
    }
}
