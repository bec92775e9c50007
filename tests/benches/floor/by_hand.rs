//! The commands underneath a lock, sent by hand.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::SystemTime;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisResult, Script, Value};
use redlock_tests::Servers;
use uuid::Uuid;

use crate::{Cycle, TTL};

const DELETE_IF_OURS: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";
const ACQUIRE: &str = include_str!("../../../redlock-runtime/src/node/lua/acquire.lua");
const RELEASE: &str = include_str!("../../../redlock-runtime/src/node/lua/release.lua");

/// How long the runtime keeps fencing counters, in milliseconds.
const RETENTION: u64 = 24 * 60 * 60 * 1000;

/// The least that a quorum lock can do.
#[derive(Clone)]
pub(crate) struct Floor {
    /// One to each node.
    connections: Vec<MultiplexedConnection>,
    /// How a lock is acquired.
    acquire: Acquire,
    /// The hash of the script that releases it.
    release: String,
}

/// How a lock is acquired.
#[derive(Clone)]
enum Acquire {
    /// By `SET NX PX`.
    Plainly,
    /// By the runtime's script of this hash, with the arguments that it has for a fenced lock.
    Fenced(String),
}

impl Floor {
    /// `SET NX PX`, and a compare-and-delete.
    pub(crate) async fn plain(servers: &Servers) -> Self {
        let connections = connect(servers).await;
        Self { release: load(DELETE_IF_OURS, &connections).await, acquire: Acquire::Plainly, connections }
    }

    /// The scripts of the runtime.
    pub(crate) async fn fenced(servers: &Servers) -> Self {
        let connections = connect(servers).await;
        let acquire = Acquire::Fenced(load(ACQUIRE, &connections).await);
        Self { release: load(RELEASE, &connections).await, acquire, connections }
    }

    fn acquire(&self, key: &str, owner: &str) -> Cmd {
        let ttl = TTL.as_millis().to_string();
        match &self.acquire {
            Acquire::Plainly => {
                let mut set = redis::cmd("SET");
                set.arg(key).arg(owner).arg("NX").arg("PX").arg(ttl);
                set
            }
            Acquire::Fenced(hash) => {
                let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970");
                let clock = u64::try_from(clock.as_micros()).expect("it is long before the year 500000");
                let mut acquire = redis::cmd("EVALSHA");
                acquire.arg(hash).arg(2).arg(key).arg(format!("fence:{{{key}}}")).arg(owner).arg(ttl);
                acquire.arg(clock).arg(clock).arg(RETENTION);
                acquire
            }
        }
    }

    fn release(&self, key: &str, owner: &str) -> Cmd {
        let mut release = redis::cmd("EVALSHA");
        release.arg(&self.release).arg(1).arg(key).arg(owner);
        if let Acquire::Fenced(_) = self.acquire {
            release.arg(0);
        }
        release
    }

    /// Sends a command to all, and returns when a majority did it; the others are seen through by a task.
    ///
    /// Every request is polled in the order of the nodes before this returns: one that was not might be sent behind
    /// the command that follows it.
    async fn at_majority(&self, command: Cmd) {
        let majority = self.connections.len() / 2 + 1;
        let mut requests: Vec<_> = self.connections.iter().map(|node| send(node.clone(), command.clone())).collect();
        let mut done = 0;
        poll_fn(|cx| {
            done += poll_each(&mut requests, cx);
            if done >= majority { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        if !requests.is_empty() {
            tokio::spawn(poll_fn(move |cx| {
                poll_each(&mut requests, cx);
                if requests.is_empty() { Poll::Ready(()) } else { Poll::Pending }
            }));
        }
    }
}

impl Cycle for Floor {
    async fn cycle(&self, name: &str) {
        let key = format!("floor:{name}");
        let owner = Uuid::new_v4().to_string();
        self.at_majority(self.acquire(&key, &owner)).await;
        self.at_majority(self.release(&key, &owner)).await;
    }
}

async fn connect(servers: &Servers) -> Vec<MultiplexedConnection> {
    let mut connections = Vec::new();
    for url in servers.urls() {
        let client = redis::Client::open(url).expect("the harness gives good URLs");
        // Above the number of tasks: a request that has to queue for the connection may be sent behind the next.
        let config = redis::AsyncConnectionConfig::new().set_pipeline_buffer_size(1024);
        let connection = client.get_multiplexed_async_connection_with_config(&config).await;
        connections.push(connection.expect("the server is up"));
    }
    connections
}

/// Has every server know a script; returns its hash.
async fn load(code: &str, connections: &[MultiplexedConnection]) -> String {
    let script = Script::new(code);
    for connection in connections {
        script.prepare_invoke().load_async(&mut connection.clone()).await.expect("the script loads");
    }
    script.get_hash().to_owned()
}

type Request = Pin<Box<dyn Future<Output = RedisResult<Value>> + Send>>;

fn send(mut connection: MultiplexedConnection, command: Cmd) -> Request {
    // Unconstrained: a task that has used up its budget would not send with its first poll.
    Box::pin(tokio::task::unconstrained(async move { connection.send_packed_command(&command).await }))
}

/// Polls each request; returns how many of them are done, and forgets those.
fn poll_each(requests: &mut Vec<Request>, cx: &mut Context<'_>) -> usize {
    let before = requests.len();
    requests.retain_mut(|request| match request.as_mut().poll(cx) {
        Poll::Ready(answer) => {
            let answer = answer.expect("the server is well");
            assert!(matches!(answer, Value::Okay | Value::Int(1..)), "{answer:?}");
            false
        }
        Poll::Pending => true,
    });
    before - requests.len()
}
