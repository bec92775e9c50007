//! Which server is the master of a service, by Redis Sentinel.
//!
//! Source: [the guidelines for Sentinel clients](https://redis.io/docs/latest/develop/reference/sentinel-clients/). Two things
//! are done better than these ask. All Sentinels are asked, and the answer of the newest configuration counts: one that was
//! cut off from the others during a failover still names the old master. And all are listened to, so that a connection to
//! a master that was deposed but still answers is given up when that is decided, not when it breaks.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use redis::aio::{PubSubSink, PubSubStream};
use redis::{RedisError, Value};
use tokio::time::{sleep, timeout};

use super::endpoint::Endpoint;
use super::lookup;
use crate::node::redis::commands;
use crate::platform::entropy;
use crate::platform::tasks::JoinSet;
use crate::protocol::Backoff;

/// Pauses between attempts to listen to a Sentinel: the first, and the longest.
const LISTEN_AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// A Sentinel that has said nothing for so long is asked whether it is still there: of a connection that a firewall forgot,
/// nobody is told.
const SILENCE: Duration = Duration::from_secs(5);

/// Who knows where the master of a service is.
pub(crate) struct Sentinel {
    /// All of them.
    sentinels: Vec<Endpoint>,
    /// Of which master.
    service: Arc<str>,
    /// How to sign in to it; not where it is.
    master: Endpoint,
    /// How long an answer may take.
    limit: Duration,
}

impl Sentinel {
    /// `connect_timeout` is how long it may take to find the master and connect to it.
    pub(crate) fn new(sentinels: Vec<Endpoint>, service: &str, master: Endpoint, connect_timeout: Duration) -> Self {
        // Somebody may be hung, and then there has to be time left for the master.
        Self { sentinels, service: Arc::from(service), master, limit: connect_timeout / 2 }
    }

    /// Where the master is, by the newest configuration among those of a majority, or of all that can be reached.
    pub(in crate::node) async fn locate(&self) -> Result<Endpoint, Arc<str>> {
        let question = Arc::new(commands::find_master(&self.service));
        let majority = self.sentinels.len() / 2 + 1;
        let heard = lookup::ask(&self.sentinels, &question, |answers| answers.len() >= majority, self.limit).await;
        let named = heard.answers.iter().filter_map(|(_, answer)| read_master(answer));
        match named.max_by_key(|named| named.epoch) {
            Some(MasterAddress { host, port, .. }) => Ok(self.master.elsewhere(&host, port)),
            None if heard.failures.iter().any(|failure| failure.contains(commands::NO_SUCH_MASTER)) => {
                Err(format!("the Sentinels know no service named {}", self.service).into())
            }
            None => Err(format!("no Sentinel can be asked for the master: {}", heard.failures.join("; ")).into()),
        }
    }

    /// Returns once the master is not there any more, by the newest configuration.
    pub(in crate::node) async fn moved(self: &Arc<Self>, from: &Endpoint) {
        let mut listening = JoinSet::new();
        for sentinel in &self.sentinels {
            let (all, sentinel, from) = (Arc::clone(self), sentinel.clone(), from.address());
            listening.spawn(async move { all.hear_of_move(&sentinel, &from).await });
        }
        // They end only when that has happened, or with this runtime.
        listening.join_next().await;
    }

    async fn hear_of_move(&self, sentinel: &Endpoint, from: &str) {
        let mut pauses = Backoff::new(LISTEN_AGAIN.0, LISTEN_AGAIN.1, entropy::seed());
        loop {
            if let Ok(Ok((mut sink, mut messages))) = timeout(self.limit, subscribe(sentinel)).await {
                pauses = Backoff::new(LISTEN_AGAIN.0, LISTEN_AGAIN.1, entropy::seed());
                loop {
                    // At first, too: it may have happened before anybody listened.
                    if self.locate().await.is_ok_and(|master| master.address() != from) {
                        return;
                    }
                    if !self.next_message(&mut sink, &mut messages).await {
                        break;
                    }
                }
            }
            sleep(pauses.next().unwrap_or(LISTEN_AGAIN.1)).await;
        }
    }

    /// Waits for a message; whether one came, rather than the end of the connection.
    async fn next_message(&self, sink: &mut PubSubSink, messages: &mut PubSubStream) -> bool {
        loop {
            if let Ok(message) = timeout(SILENCE, messages.next()).await {
                return message.is_some();
            }
            if !matches!(timeout(self.limit, sink.ping::<Value>()).await, Ok(Ok(_))) {
                return false;
            }
        }
    }
}

/// What a Sentinel names as the master.
#[derive(Debug, PartialEq, Eq)]
struct MasterAddress {
    host: String,
    port: u16,
    /// How new the configuration is.
    epoch: u64,
}

/// Reads the answers to [`commands::find_master`]: where it is, and the state of it as it was configured.
fn read_master(answers: &[Value]) -> Option<MasterAddress> {
    let [address, state] = answers else { return None };
    let (host, port): (String, u16) = redis::from_redis_value(address.clone()).ok()?;
    let state: HashMap<String, String> = redis::from_redis_value(state.clone()).ok()?;
    Some(MasterAddress { host, port, epoch: state.get("config-epoch")?.parse().ok()? })
}

async fn subscribe(sentinel: &Endpoint) -> Result<(PubSubSink, PubSubStream), RedisError> {
    let (mut sink, messages) = sentinel.subscribe().await?.split();
    sink.subscribe(commands::MASTER_SWITCHED).await?;
    Ok((sink, messages))
}

impl fmt::Debug for Sentinel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sentinel")
            .field("sentinels", &self.sentinels)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}
