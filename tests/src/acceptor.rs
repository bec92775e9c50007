//! Taking connections, for whatever stands in between.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

/// Takes connections on a free port of 127.0.0.1, on a thread of its own.
#[derive(Debug)]
pub(crate) struct Acceptor {
    /// Where clients connect.
    port: u16,
    /// Ends when no connection is admitted any more.
    thread: Option<JoinHandle<()>>,
}

impl Acceptor {
    /// Each connection is asked for with `admit`, which returns `None` once no more are to be taken, and is served with what that
    /// returned. Whatever fails there closes the client's connection, as a server that is down would.
    ///
    /// # Panics
    ///
    /// If there is no free port.
    pub(crate) fn start<T>(
        admit: impl Fn() -> Option<T> + Send + 'static,
        serve: impl Fn(T, &TcpStream) -> io::Result<()> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port of 127.0.0.1 is free");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let thread = thread::spawn(move || {
            for client in listener.incoming() {
                let Some(admitted) = admit() else { return };
                if let Ok(client) = client {
                    let _ = serve(admitted, &client);
                }
            }
        });
        Self { port, thread: Some(thread) }
    }

    /// The port that it listens on.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns when its thread has ended, which admits no more connections from now on.
    pub(crate) fn join(&mut self) {
        // It sees that when it takes the next connection.
        let woken = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        if let (Ok(_), Some(thread)) = (woken, self.thread.take()) {
            let _ = thread.join();
        }
    }
}
