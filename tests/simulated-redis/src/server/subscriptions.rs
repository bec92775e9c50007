//! Channels, and who is told what is published there.

use std::sync::Arc;

use super::output::Output;
use super::{ConnectionId, Server, wrong_number};
use crate::commands::text;
use crate::keyspace::{Key, Keyspace};
use crate::reply::Reply;

impl Server {
    pub(super) fn subscribe(&mut self, from: ConnectionId, arguments: &[&[u8]]) -> Reply {
        let (Some(client), [_, channels @ ..]) = (self.connections.get_mut(&from), arguments) else {
            return wrong_number(b"subscribe");
        };
        if channels.is_empty() {
            return wrong_number(b"subscribe");
        }
        let mut replies = Vec::with_capacity(channels.len());
        for &channel in channels {
            let channel: Arc<[u8]> = channel.into();
            if client.channels.insert(Arc::clone(&channel)) {
                *self.keyspace.subscribers.entry(Arc::clone(&channel)).or_default() += 1;
            }
            let count = Reply::count(client.channels.len());
            replies.push(Reply::Push(vec![Reply::bulk("subscribe"), Reply::Bulk(channel), count]));
        }
        Reply::Several(replies)
    }

    pub(super) fn unsubscribe(&mut self, from: ConnectionId, arguments: &[&[u8]]) -> Reply {
        let Some(client) = self.connections.get_mut(&from) else { return wrong_number(b"unsubscribe") };
        let channels: Vec<Arc<[u8]>> = match &arguments[1..] {
            [] => client.channels.iter().map(Arc::clone).collect(),
            channels => channels.iter().map(|&channel| channel.into()).collect(),
        };
        let told = |channel, left| Reply::Push(vec![Reply::bulk("unsubscribe"), channel, Reply::count(left)]);
        if channels.is_empty() {
            return told(Reply::Nil, client.channels.len());
        }
        let mut replies = Vec::with_capacity(channels.len());
        for channel in channels {
            if client.channels.remove(&channel) {
                self.keyspace.unsubscribed(&channel);
            }
            replies.push(told(Reply::Bulk(channel), client.channels.len()));
        }
        Reply::Several(replies)
    }

    pub(super) fn publish(&self, channel: &Arc<[u8]>, message: &Arc<[u8]>, output: &mut Output) {
        if !self.keyspace.subscribers.contains_key(channel) {
            return;
        }
        for (&subscriber, client) in self.connections.iter().filter(|(_, client)| client.channels.contains(channel)) {
            let parts =
                vec![Reply::bulk("message"), Reply::Bulk(Arc::clone(channel)), Reply::Bulk(Arc::clone(message))];
            Reply::Push(parts).write(client.protocol, output.to(subscriber));
        }
    }

    /// Publishes what happened to a key, on the key's channel and on the event's.
    // Source: https://redis.io/docs/latest/develop/pubsub/keyspace-notifications/
    pub(super) fn notify(&self, key: &Key, event: &str, output: &mut Output) {
        let channel = [b"__keyspace@0__:", &**key].concat();
        self.publish(&channel.into(), &event.as_bytes().into(), output);
        self.publish(&format!("__keyevent@0__:{event}").into_bytes().into(), key, output);
    }

    pub(super) fn refuse_pattern(&mut self, name: &[u8]) -> Reply {
        self.keyspace.unknown.push(text(name));
        Reply::error(format!("ERR unknown command '{}', with args beginning with: ", text(name)))
    }
}

impl Keyspace {
    /// A client less subscribes to a channel.
    pub(super) fn unsubscribed(&mut self, channel: &[u8]) {
        if let Some(count) = self.subscribers.get_mut(channel) {
            *count -= 1;
            if *count == 0 {
                self.subscribers.remove(channel);
            }
        }
    }
}
