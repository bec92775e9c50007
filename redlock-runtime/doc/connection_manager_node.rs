use std::sync::Arc;
use std::time::Duration;

use redis::aio::ConnectionManager;
use redis::{RedisError, Script};
use redlock_runtime::node::{Acquire, BoxFuture, Extend, Node, NodeError, Outcome, Release, Vote};

const ACQUIRE: &str = "
    if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return false end
    return {redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1])}";

const EXTEND: &str = "
    local owner = redis.call('GET', KEYS[1])
    if owner ~= ARGV[1] then return owner and 0 or -1 end
    if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
    return 1";

const RELEASE: &str = "
    local owner = redis.call('GET', KEYS[1])
    if owner == ARGV[2] then return 1 end -- it was released before
    if owner ~= ARGV[1] then return owner and 0 or -1 end
    if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
    return 1";

/// A server behind a connection that the program has anyway; one taken from a pool for each request does as well.
pub struct Managed {
    pub label: String,
    pub connection: ConnectionManager,
}

impl Node for Managed {
    fn label(&self) -> &str {
        &self.label
    }

    fn acquire(&self, Acquire { key, owner, ttl, .. }: Acquire) -> BoxFuture<'_, Result<Vote, NodeError>> {
        let mut connection = self.connection.clone();
        Box::pin(async move {
            let script = Script::new(ACQUIRE);
            let call = script.key(&*key).arg(&*owner).arg(milliseconds(ttl)).invoke_async(&mut connection).await;
            let held: Option<(String, i64)> = call.map_err(failed)?;
            Ok(match held {
                None => Vote::granted(),
                Some((owner, left)) => Vote::held_by(owner, u64::try_from(left).ok().map(Duration::from_millis)),
            })
        })
    }

    fn extend(&self, Extend { key, owner, ttl, .. }: Extend) -> BoxFuture<'_, Result<Outcome, NodeError>> {
        let mut connection = self.connection.clone();
        Box::pin(async move {
            let script = Script::new(EXTEND);
            let call = script.key(&*key).arg(&*owner).arg(milliseconds(ttl)).invoke_async(&mut connection).await;
            call.map(outcome).map_err(failed)
        })
    }

    fn release(&self, Release { key, owner, keep, .. }: Release) -> BoxFuture<'_, Result<Outcome, NodeError>> {
        let mut connection = self.connection.clone();
        let (keeper, ttl) = keep.map_or((Arc::from(""), Duration::ZERO), |keep| (keep.owner, keep.ttl));
        Box::pin(async move {
            let script = Script::new(RELEASE);
            let mut call = script.key(&*key);
            call.arg(&*owner).arg(&*keeper).arg(milliseconds(ttl));
            call.invoke_async(&mut connection).await.map(outcome).map_err(failed)
        })
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn outcome(answer: i64) -> Outcome {
    match answer {
        1 => Outcome::Done,
        0 => Outcome::OtherOwner,
        _ => Outcome::NoKey,
    }
}

/// A script that failed may have set the key; of a connection that ended nobody knows what it carried.
fn failed(error: RedisError) -> NodeError {
    if error.is_io_error() || error.is_connection_dropped() {
        NodeError::unknown(error)
    } else {
        NodeError::answered(error)
    }
}
