//! What is sent to a server while it is looked at.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::thread::{self, JoinHandle};

use crate::RedisServer;

/// A connection that is told every command that a server gets, in the order in which it carries them out.
#[derive(Debug)]
#[must_use = "nothing is looked at any more when this is dropped"]
pub struct Monitor {
    /// Closed to end it.
    connection: TcpStream,
    /// Reads; ends with the connection.
    reader: Option<JoinHandle<Vec<String>>>,
}

impl Monitor {
    /// Looks at everything that is sent to this server from now on.
    ///
    /// # Panics
    ///
    /// If the server does not answer, or asks for a password.
    #[track_caller]
    pub fn start(server: &RedisServer) -> Self {
        let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).expect("the server runs");
        connection.write_all(b"MONITOR\r\n").expect("the server reads");
        let mut lines = BufReader::new(connection.try_clone().expect("a socket can be shared"));
        let mut answer = String::new();
        lines.read_line(&mut answer).expect("the server answers");
        assert_eq!(answer.trim(), "+OK", "the server on port {} is not to be looked at", server.port());
        let reader = thread::spawn(move || lines.lines().map_while(Result::ok).collect());
        Self { connection, reader: Some(reader) }
    }

    /// Ends it; returns what clients sent meanwhile that mentions `what`, without what scripts did themselves.
    #[must_use]
    pub fn sent_about(self, what: &str) -> Vec<String> {
        self.done_about(what).into_iter().filter(|line| !line.contains(" lua] ")).collect()
    }

    /// Ends it; returns what the server did meanwhile that mentions `what`, within scripts too.
    #[must_use]
    pub fn done_about(mut self, what: &str) -> Vec<String> {
        // Answered behind everything that there is to tell, and then the server closes the connection.
        self.connection.write_all(b"QUIT\r\n").expect("the server still runs");
        let lines = self.reader.take().and_then(|reader| reader.join().ok()).unwrap_or_default();
        lines.into_iter().filter(|line| line.contains(what)).collect()
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = self.connection.shutdown(Shutdown::Both);
    }
}
