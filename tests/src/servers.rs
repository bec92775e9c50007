//! Several servers at once.

use std::ops::Deref;
use std::thread;

use crate::{RedisServer, Setup};

/// Several independent servers, as a lock's nodes; a slice of [`RedisServer`] otherwise.
#[derive(Debug)]
#[must_use = "the servers are gone when this is dropped"]
pub struct Servers(Vec<RedisServer>);

impl Servers {
    /// Starts so many servers and waits until all answer.
    ///
    /// # Panics
    ///
    /// Like [`RedisServer::start`].
    #[track_caller]
    pub fn start(count: usize) -> Self {
        Self::start_with(count, &[])
    }

    /// Starts so many servers, each with this additional configuration.
    ///
    /// # Panics
    ///
    /// Like [`RedisServer::start_with`].
    #[track_caller]
    pub fn start_with(count: usize, arguments: &[&str]) -> Self {
        Self::start_as(count, &Setup::new().with_arguments(arguments))
    }

    /// Starts so many servers that are all set up like this.
    ///
    /// # Panics
    ///
    /// Like [`RedisServer::start_as`].
    #[track_caller]
    pub fn start_as(count: usize, setup: &Setup) -> Self {
        // All at once, since most of a start is waiting.
        let servers = thread::scope(|scope| {
            let starting: Vec<_> = (0..count).map(|_| scope.spawn(|| RedisServer::start_as(setup))).collect();
            starting.into_iter().map(thread::ScopedJoinHandle::join).collect::<Result<Vec<_>, _>>()
        });
        match servers {
            Ok(servers) => Self(servers),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// The URLs of all, running or not, in order.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.0.iter().map(RedisServer::url).collect()
    }

    /// The URLs as `REDLOCK_NODES` has them.
    #[must_use]
    pub fn nodes(&self) -> String {
        self.urls().join(",")
    }

    /// The addresses of all, running or not, with commas between them, as hosts stand in a URL.
    #[must_use]
    pub fn hosts(&self) -> String {
        self.0.iter().map(RedisServer::address).collect::<Vec<_>>().join(",")
    }

    /// Those that run and do not hang.
    pub fn answering(&self) -> impl Iterator<Item = &RedisServer> {
        self.0.iter().filter(|server| server.is_running() && server.probe().is_up())
    }

    /// What each server has under the key, in order; servers that do not run have nothing.
    ///
    /// # Panics
    ///
    /// If a server hangs.
    #[track_caller]
    #[must_use]
    pub fn values(&self, key: &str) -> Vec<Option<String>> {
        self.0.iter().map(|server| if server.is_running() { server.probe().get(key) } else { None }).collect()
    }

    /// How many of the servers have the key.
    ///
    /// # Panics
    ///
    /// If a server hangs.
    #[track_caller]
    #[must_use]
    pub fn holding(&self, key: &str) -> usize {
        self.values(key).iter().flatten().count()
    }
}

impl Deref for Servers {
    type Target = [RedisServer];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<'a> IntoIterator for &'a Servers {
    type Item = &'a RedisServer;
    type IntoIter = std::slice::Iter<'a, RedisServer>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}
