//! A node that somebody else wrote.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::Script;
use redis::aio::MultiplexedConnection;
use redlock_runtime::node::{
    Acquire, BoxFuture, Commit, CounterRule, Extend, Identity, Node, NodeError, Outcome, Release, Vote,
};
use redlock_tests::RedisServer;
use tokio::sync::Notify;

use super::client_of_its_own;

/// What a node does wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    #[default]
    None,
    /// It panics when it is asked to acquire.
    Panics,
    /// It carries nothing out, and never answers.
    Hangs,
    /// It carries an acquire out and then answers with an error.
    FailsAfterwards,
    /// It carries an acquire out when it is told to go on.
    Waits,
}

/// The faults of a node, and how often it was asked to acquire.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    fault: Mutex<Fault>,
    asked: Mutex<usize>,
    go_on: Notify,
}

impl Faults {
    pub(crate) fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
        self.go_on.notify_waiters();
    }

    fn is(&self) -> Fault {
        *self.fault.lock().unwrap()
    }

    pub(crate) fn asked(&self) -> usize {
        *self.asked.lock().unwrap()
    }
}

/// A server, spoken to by a client that knows nothing of ours.
pub(crate) struct Other {
    label: String,
    connection: MultiplexedConnection,
    identity: Identity,
    faults: Arc<Faults>,
}

const ACQUIRE: &str = r"
    local granted = redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])
    local counter = redis.call('GET', KEYS[2])
    if granted and ARGV[3] ~= '' then
        if counter then
            counter = math.max(counter + 1, tonumber(ARGV[3]))
        elseif ARGV[4] ~= '' then
            counter = tonumber(ARGV[4])
        end
        if counter then
            counter = string.format('%.0f', counter)
            redis.call('SET', KEYS[2], counter, 'PX', ARGV[5])
        end
    end
    return {granted and 1 or 0, counter, redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1])}";

const EXTEND: &str = r"
    local owner = redis.call('GET', KEYS[1])
    if owner ~= ARGV[1] then
        return owner and 0 or -1
    end
    if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
        redis.call('PEXPIRE', KEYS[1], ARGV[2])
    end
    return 1";

const RELEASE: &str = r"
    local owner = redis.call('GET', KEYS[1])
    if owner and owner == ARGV[2] then
        return 1
    elseif owner ~= ARGV[1] then
        return owner and 0 or -1
    elseif ARGV[2] ~= '' then
        redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
    else
        redis.call('DEL', KEYS[1])
    end
    return 1";

const COMMIT: &str = r"
    if redis.call('GET', KEYS[1]) ~= ARGV[1] then
        return false
    end
    local counter = tonumber(redis.call('GET', KEYS[2]) or 0)
    if counter < tonumber(ARGV[2]) then
        redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
        counter = tonumber(ARGV[2])
    end
    return counter";

impl Other {
    pub(crate) async fn to(server: &RedisServer) -> (Self, Arc<Faults>) {
        let connection = client_of_its_own(server).await;
        let info = server.probe().info("server");
        let age = Duration::from_secs(info["uptime_in_seconds"].parse().unwrap());
        let identity = Identity::new(&*info["run_id"], age);
        let faults = Arc::<Faults>::default();
        let label = format!("other {}", server.port());
        (Self { label, connection, identity, faults: Arc::clone(&faults) }, faults)
    }

    async fn outcome(&self, script: &str, key: &str, arguments: [String; 3]) -> Result<Outcome, NodeError> {
        if self.faults.is() == Fault::Hangs {
            std::future::pending::<()>().await;
        }
        let script = Script::new(script);
        let mut call = script.key(key);
        call.arg(&arguments[..]);
        let answer: i64 = call.invoke_async(&mut self.connection.clone()).await.map_err(NodeError::unknown)?;
        Ok(match answer {
            1 => Outcome::Done,
            0 => Outcome::OtherOwner,
            _ => Outcome::NoKey,
        })
    }
}

pub(crate) fn counter_of(key: &str) -> String {
    format!("other-counter:{{{key}}}")
}

impl Node for Other {
    fn label(&self) -> &str {
        &self.label
    }

    fn acquire(&self, acquire: Acquire) -> BoxFuture<'_, Result<Vote, NodeError>> {
        *self.faults.asked.lock().unwrap() += 1;
        assert_ne!(self.faults.is(), Fault::Panics, "this node panics");
        Box::pin(async move {
            match self.faults.is() {
                Fault::Hangs => std::future::pending().await,
                Fault::Waits => self.faults.go_on.notified().await,
                Fault::None | Fault::FailsAfterwards | Fault::Panics => {}
            }
            let rule = acquire.counter;
            let number =
                |of: fn(CounterRule) -> Option<u64>| rule.and_then(of).map_or(String::new(), |n| n.to_string());
            let script = Script::new(ACQUIRE);
            let mut call = script.key(&*acquire.key);
            call.key(counter_of(&acquire.key)).arg(&*acquire.owner).arg(milliseconds(acquire.ttl));
            call.arg(number(|rule| Some(rule.least))).arg(number(|rule| rule.first));
            call.arg(rule.map_or(0, |rule| milliseconds(rule.keep_for)));
            let (granted, counter, owner, remaining): (bool, Option<u64>, Option<String>, i64) =
                call.invoke_async(&mut self.connection.clone()).await.map_err(NodeError::unknown)?;
            if self.faults.is() == Fault::FailsAfterwards {
                return Err(NodeError::answered("it failed behind the write"));
            }
            let remaining = u64::try_from(remaining).ok().map(Duration::from_millis);
            let vote = if granted { Vote::granted() } else { Vote::held_by(owner.unwrap_or_default(), remaining) };
            Ok(vote.with_counter(counter))
        })
    }

    fn extend(&self, extend: Extend) -> BoxFuture<'_, Result<Outcome, NodeError>> {
        let arguments = [extend.owner.to_string(), milliseconds(extend.ttl).to_string(), String::new()];
        Box::pin(async move { self.outcome(EXTEND, &extend.key, arguments).await })
    }

    fn release(&self, release: Release) -> BoxFuture<'_, Result<Outcome, NodeError>> {
        let (kept, ttl) =
            release.keep.map_or(Default::default(), |keep| (keep.owner.to_string(), milliseconds(keep.ttl)));
        let arguments = [release.owner.to_string(), kept, ttl.to_string()];
        Box::pin(async move { self.outcome(RELEASE, &release.key, arguments).await })
    }

    fn identity(&self) -> Option<Identity> {
        Some(self.identity.clone())
    }

    fn has_counters(&self) -> bool {
        true
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Option<u64>, NodeError>> {
        Box::pin(async move {
            let script = Script::new(COMMIT);
            let mut call = script.key(&*commit.key);
            call.key(counter_of(&commit.key)).arg(&*commit.owner).arg(commit.token).arg(milliseconds(commit.keep_for));
            call.invoke_async(&mut self.connection.clone()).await.map_err(NodeError::unknown)
        })
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap()
}
