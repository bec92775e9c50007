//! Who is told of what a command did, or of what time did.

use std::sync::Arc;

use super::output::Output;
use super::{ConnectionId, Effect, Server};
use crate::keyspace::{Key, Signal};
use crate::reply::{Protocol, Reply};

impl Server {
    /// Tells others what happened, in order; returns of which keys the client itself is to be told, `None` for all.
    pub(super) fn pass_on(&mut self, from: ConnectionId, declared: &[&[u8]], output: &mut Output) -> Vec<Option<Key>> {
        let mut pending = Vec::new();
        for signal in self.keyspace.take_signals() {
            match signal {
                Signal::Read(keys) => {
                    // Until 7.2, those that the caller of a script declares instead of those that the script reads.
                    // Source: https://github.com/redis/redis/pull/11770
                    let keys = if declared.is_empty() || self.keyspace.version >= (7, 2, 0) {
                        keys
                    } else {
                        declared.iter().map(|&key| key.into()).collect()
                    };
                    for key in keys {
                        self.tracked.entry(key).or_default().insert(from);
                    }
                }
                other => self.tell(&other, Some(from), &mut pending, output),
            }
        }
        pending
    }

    pub(super) fn effects_of_signals(&mut self) -> Vec<Effect> {
        let mut output = Output::default();
        for signal in self.keyspace.take_signals() {
            self.tell(&signal, None, &mut Vec::new(), &mut output);
        }
        output.into_effects()
    }

    /// Tells those whom it concerns what happened, except for the client whose command it was, about whom it is `pending`.
    fn tell(
        &mut self,
        signal: &Signal,
        from: Option<ConnectionId>,
        pending: &mut Vec<Option<Key>>,
        output: &mut Output,
    ) {
        match signal {
            Signal::Read(_) => {}
            Signal::Modified(key) => {
                for watcher in self.tracked.remove(key).unwrap_or_default() {
                    if Some(watcher) == from {
                        pending.push(Some(Arc::clone(key)));
                    } else {
                        self.invalidate(watcher, Some(key), output);
                    }
                }
            }
            Signal::Flushed => {
                self.tracked.clear();
                for watcher in self.connections.keys().copied().collect::<Vec<_>>() {
                    if Some(watcher) == from {
                        pending.push(None);
                    } else {
                        self.invalidate(watcher, None, output);
                    }
                }
            }
            Signal::Notified(key, event) => self.notify(key, event, output),
            Signal::Published(channel, message) => self.publish(channel, message, output),
        }
    }

    /// Tells a client that a key is not what it read, or that none is.
    pub(super) fn invalidate(&self, watcher: ConnectionId, key: Option<&Key>, output: &mut Output) {
        let Some(client) = self.connections.get(&watcher) else { return };
        if client.tracking.is_on && client.protocol == Protocol::Resp3 {
            let keys = key.map_or(Reply::Nil, |key| Reply::Array(vec![Reply::Bulk(Arc::clone(key))]));
            Reply::Push(vec![Reply::bulk("invalidate"), keys]).write(Protocol::Resp3, output.to(watcher));
        }
    }
}
