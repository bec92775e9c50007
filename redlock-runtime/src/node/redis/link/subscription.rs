//! Reports of changes from a server, or through a proxy, that does not track keys for its clients.
//!
//! One subscription for each connection, shared by all who wait: to a channel of ours, on which releases are published that
//! are sent to such a server, and to the server's own notifications of the key, which come if the server is configured for
//! them (`notify-keyspace-events`). What neither reports is noticed by the slow poll.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use redis::RedisResult;
use redis::aio::{PubSubSink, PubSubStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::endpoint::Endpoint;
use crate::node::Changes;
use crate::node::redis::commands;
use crate::platform::entropy;
use crate::platform::tasks::Handle;
use crate::protocol::Backoff;

/// How many keys are subscribed to at a time; the one that was wanted longest ago is given up for another.
const KEYS: usize = 1024;

/// Pauses between attempts to connect: the first, and the longest.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// A subscription that is kept for as long as this lives.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    /// Keys that somebody waits for, and whom to tell that their changes are reported.
    wanted: mpsc::UnboundedSender<Wanted>,
}

/// Keys whose changes somebody wants to know, and whom to tell that they are reported.
type Wanted = (Box<[Arc<str>]>, oneshot::Sender<()>);

impl Subscription {
    /// Whether the server lets its clients subscribe to changes of this key.
    pub(in crate::node) async fn is_possible(endpoint: &Endpoint, reply_timeout: Duration, key: &str) -> bool {
        let subscribed = async {
            let (mut sink, _messages) = endpoint.subscribe().await?.split();
            sink.subscribe(commands::channels(key, endpoint.database()).as_slice()).await
        };
        matches!(timeout(reply_timeout, subscribed).await, Ok(Ok(())))
    }

    /// Connects in the background, and tells `changes` of what is reported.
    pub(in crate::node) fn start(endpoint: Endpoint, connect_timeout: Duration, changes: Changes) -> Self {
        let (wanted, received) = mpsc::unbounded_channel();
        let database = endpoint.database();
        let subscriber = Subscriber { database, connect_timeout, changes, keys: VecDeque::new(), received };
        Handle::current().spawn(subscriber.run(endpoint));
        Self { wanted }
    }

    /// Returns when changes of these keys are reported, or cannot be for now.
    pub(in crate::node) async fn cover(&self, keys: impl Iterator<Item = &Arc<str>>) {
        let (told, covered) = oneshot::channel();
        if self.wanted.send((keys.map(Arc::clone).collect(), told)).is_ok() {
            // An error means that there is no connection: the slow poll is all there is.
            let _ = covered.await;
        }
    }
}

/// A client whose connections can be subscribed with, and its database. The address was good enough for the connection that
/// The task behind a subscription.
struct Subscriber {
    database: i64,
    connect_timeout: Duration,
    changes: Changes,
    /// What is subscribed to, the one that was wanted last at the end.
    keys: VecDeque<Arc<str>>,
    received: mpsc::UnboundedReceiver<Wanted>,
}

impl Subscriber {
    async fn run(mut self, endpoint: Endpoint) {
        let mut pauses = Backoff::new(RECONNECT.0, RECONNECT.1, entropy::seed());
        loop {
            // Nobody waits, or all who do ask again and say so: till then, no server has a connection of ours to close.
            while self.keys.is_empty() {
                let Some((keys, _)) = self.received.recv().await else { return };
                self.keys.extend(keys);
            }
            let Some(connected) = self.meanwhile(timeout(self.connect_timeout, endpoint.subscribe())).await else {
                return;
            };
            if let Ok(Ok(pubsub)) = connected {
                let (mut sink, mut messages) = pubsub.split();
                if self.begin(&mut sink).await.is_some() {
                    pauses = Backoff::new(RECONNECT.0, RECONNECT.1, entropy::seed());
                    // What changed meanwhile was not reported.
                    self.changes.any();
                    if self.attend(&mut sink, &mut messages).await.is_none() {
                        return;
                    }
                    self.keys.clear();
                    self.changes.any();
                }
            }
            if self.meanwhile(sleep(pauses.next().unwrap_or(RECONNECT.1))).await.is_none() {
                return;
            }
        }
    }

    /// `None` if the connection is of no use.
    async fn begin(&self, sink: &mut PubSubSink) -> Option<()> {
        for key in &self.keys {
            self.answered(sink.subscribe(commands::channels(key, self.database).as_slice())).await?;
        }
        Some(())
    }

    /// A connection that does not answer for as long as it may take to make another is as good as none: those who want
    /// a key wait for its answers.
    async fn answered(&self, answer: impl Future<Output = RedisResult<()>>) -> Option<()> {
        timeout(self.connect_timeout, answer).await.ok()?.ok()
    }

    /// Passes messages on until the connection ends; `None` when nobody needs it any more.
    async fn attend(&mut self, sink: &mut PubSubSink, messages: &mut PubSubStream) -> Option<()> {
        loop {
            tokio::select! {
                // Before the messages, of which there may always be one.
                biased;
                wanted = self.received.recv() => {
                    let (keys, told) = wanted?;
                    if self.want(sink, &keys).await.is_none() {
                        return Some(());
                    }
                    let _ = told.send(());
                }
                message = messages.next() => match message {
                    Some(message) => {
                        if let Some(key) = commands::key_of(message.get_channel_name()) {
                            self.changes.key(key);
                        }
                    }
                    None => return Some(()),
                },
            }
        }
    }

    /// `None` if the connection is of no use.
    async fn want(&mut self, sink: &mut PubSubSink, keys: &[Arc<str>]) -> Option<()> {
        let known = self.keys.len();
        self.keys.retain(|known| !keys.contains(known));
        if self.keys.len() + keys.len() > known {
            // Those that are subscribed to already are as good as new.
            let channels: Vec<_> = keys.iter().flat_map(|key| commands::channels(key, self.database)).collect();
            self.answered(sink.subscribe(channels.as_slice())).await?;
        }
        self.keys.extend(keys.iter().cloned());
        while self.keys.len() > KEYS
            && let Some(oldest) = self.keys.pop_front()
        {
            self.answered(sink.unsubscribe(commands::channels(&oldest, self.database).as_slice())).await?;
        }
        Some(())
    }

    /// Waits for something without a connection; nobody who wants a key is kept waiting meanwhile. `None` when nobody
    /// needs the subscription any more.
    async fn meanwhile<T>(&mut self, over: impl Future<Output = T>) -> Option<T> {
        let mut over = pin!(over);
        loop {
            tokio::select! {
                biased;
                done = &mut over => return Some(done),
                wanted = self.received.recv() => {
                    // Subscribed to with the next connection; whoever wants it is told by dropping the sender.
                    let (keys, _) = wanted?;
                    for key in keys {
                        if !self.keys.contains(&key) && self.keys.len() < KEYS {
                            self.keys.push_back(key);
                        }
                    }
                }
            }
        }
    }
}
