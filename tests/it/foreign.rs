//! Voters that somebody else wrote: beside Redis nodes or alone, and whatever they do wrong.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use redis::Script;
use redis::aio::MultiplexedConnection;
use redlock_runtime::node::{
    Acquire, BoxFuture, Commit, CounterRule, Extend, Held, Identity, Node, NodeError, Outcome, Release, Vote,
};
use redlock_runtime::{CheckVerdict, Error, LockManager, LockManagerBuilder, LockState, NodeStanding, Timeout};
use redlock_tests::clock::{self, timed};
use redlock_tests::wait::{LIMIT, eventually_async};
use redlock_tests::{RedisServer, Servers};
use tokio::sync::Notify;

use crate::common::cycles::NODE_TIMEOUT;
use crate::common::{client_of_its_own, key};

/// What a node does wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fault {
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
    fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
        self.go_on.notify_waiters();
    }

    fn is(&self) -> Fault {
        *self.fault.lock().unwrap()
    }

    fn asked(&self) -> usize {
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

fn counter_of(key: &str) -> String {
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

/// Two servers as Redis nodes, and a third one behind a node of somebody else's.
struct Mixed {
    servers: Servers,
    faults: Arc<Faults>,
    locks: LockManager,
}

impl Mixed {
    async fn start() -> Self {
        Self::start_with(|builder| builder).await
    }

    async fn start_with(set: impl FnOnce(LockManagerBuilder) -> LockManagerBuilder) -> Self {
        let servers = Servers::start(3);
        let (node, faults) = Other::to(&servers[2]).await;
        let locks = set(LockManager::builder().nodes([servers[0].url(), servers[1].url()]).node(node)).build().unwrap();
        Self { servers, faults, locks }
    }

    /// The same nodes, as another process has them.
    async fn others(&self) -> LockManager {
        let (node, _) = Other::to(&self.servers[2]).await;
        let builder = LockManager::builder().node_timeout(NODE_TIMEOUT);
        builder.nodes([self.servers[0].url(), self.servers[1].url()]).node(node).build().unwrap()
    }

    async fn nothing_is_left(&self) {
        eventually_async("nothing is left", async || self.servers.holding(&key("x")) == 0).await;
    }
}

#[tokio::test]
async fn a_foreign_node_votes_beside_redis_nodes() {
    let mixed = Mixed::start().await;
    let mut last = 0;
    for _ in 0..3 {
        let guard = mixed.locks.lock("x").acquire().await.unwrap();
        assert!(guard.fencing_token() > last);
        last = guard.fencing_token();
        eventually_async("every node granted it", async || mixed.servers.holding(&key("x")) == 3).await;
        assert!(mixed.others().await.lock("x").try_acquire().await.unwrap().is_none());
        guard.release().await.unwrap();
        mixed.nothing_is_left().await;
    }
    let guard = mixed.others().await.lock("x").acquire().await.unwrap();
    assert!(guard.fencing_token() > last);
}

#[tokio::test]
async fn its_vote_decides_where_another_node_is_down() {
    let mixed = Mixed::start_with(|builder| builder.node_timeout(NODE_TIMEOUT)).await;
    mixed.servers[0].kill();
    let ttl = 2 * NODE_TIMEOUT;
    let began = clock::now();
    let guard = mixed.locks.lock("x").ttl(ttl).acquire().await.unwrap();
    let others = mixed.others().await;
    eventually_async("it was renewed beyond its TTL", async || {
        assert!(guard.is_valid());
        assert!(others.lock("x").try_acquire().await.unwrap().is_none());
        began.elapsed() > 2 * ttl
    })
    .await;
    guard.release().await.unwrap();
    mixed.nothing_is_left().await;
    mixed.servers[1].kill();
    let error = others.lock("x").try_acquire().await.unwrap_err();
    assert!(matches!(error, Error::QuorumUnreachable { .. }), "{error}");
    mixed.nothing_is_left().await;
}

#[tokio::test]
async fn a_lock_is_adopted_once_where_foreign_nodes_decide() {
    let servers = Servers::start(3);
    let locks = async || {
        let mut builder = LockManager::builder();
        for server in &servers {
            builder = builder.node(Other::to(server).await.0);
        }
        builder.build().unwrap()
    };
    let (here, there) = (locks().await, locks().await);
    let token = here.lock("x").acquire().await.unwrap().detach();
    let guard = there.adopt(token.clone()).await.unwrap();
    assert!(guard.fencing_token() > token.fencing_token());
    for locks in [&here, &there] {
        assert!(matches!(locks.adopt(token.clone()).await, Err(Error::NotHeld { .. })));
        assert!(matches!(locks.release(&token).await, Err(Error::NotHeld { .. })));
    }
    assert!(guard.is_valid() && here.lock("x").try_acquire().await.unwrap().is_none());
    guard.release().await.unwrap();
    eventually_async("nothing is left", async || servers.holding(&key("x")) == 0).await;
}

#[tokio::test]
async fn who_waits_is_woken_by_the_release() {
    let mixed = Mixed::start().await;
    let others = mixed.others().await;
    let guard = mixed.locks.lock("x").acquire().await.unwrap();
    let waiting: Vec<_> = [&mixed.locks, &others].map(|locks| tokio::spawn(locks.lock("x").acquire())).into();
    eventually_async("both wait", async || {
        let waiting = others.statistics().await.unwrap();
        waiting.get("x").is_some_and(|x| x.everywhere == 2)
    })
    .await;
    guard.release().await.unwrap();
    for waiting in waiting {
        waiting.await.unwrap().unwrap().release().await.unwrap();
    }
    mixed.nothing_is_left().await;
    mixed.locks.shutdown().await;
}

#[tokio::test]
async fn a_panic_is_no_vote_and_harms_nobody() {
    let mixed = Mixed::start().await;
    mixed.faults.set(Fault::Panics);
    for _ in 0..3 {
        mixed.locks.lock("x").acquire().await.unwrap().release().await.unwrap();
    }
    // Not each time: what was not sent when the others have decided is recalled.
    assert!(mixed.faults.asked() > 0);
    mixed.servers[0].kill();
    let error = mixed.locks.lock("x").try_acquire().await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("other ") && source.contains("it panicked"), "{source}");
    mixed.faults.set(Fault::None);
    mixed.locks.lock("x").acquire().await.unwrap().release().await.unwrap();
    mixed.nothing_is_left().await;
}

#[tokio::test]
async fn a_node_that_never_answers_slows_nobody_and_is_asked_again_when_it_may_answer() {
    let node_timeout = Duration::from_secs(1);
    let mixed = Mixed::start_with(|builder| builder.node_timeout(node_timeout)).await;
    mixed.locks.lock("x").acquire().await.unwrap().release().await.unwrap();
    mixed.faults.set(Fault::Hangs);
    let ((), took) = timed(async {
        for _ in 0..50 {
            mixed.locks.lock("x").acquire().await.unwrap().release().await.unwrap();
        }
    })
    .await;
    assert!(took < 50 * node_timeout / 2, "{took:?}");
    mixed.servers[0].kill();
    let error = mixed.locks.lock("x").try_acquire().await.unwrap_err();
    assert!(matches!(error, Error::QuorumUnreachable { .. }), "{error}");
    mixed.faults.set(Fault::None);
    // What it was asked meanwhile is given up after ten times the timeout.
    mixed.locks.lock("x").timeout(LIMIT).acquire().await.unwrap().release().await.unwrap();
    mixed.nothing_is_left().await;
}

#[tokio::test]
async fn an_error_behind_the_write_leaves_no_key() {
    let mixed = Mixed::start().await;
    mixed.faults.set(Fault::FailsAfterwards);
    let guard = mixed.locks.lock("x").acquire().await.unwrap();
    eventually_async("it set the key all the same", async || mixed.servers.holding(&key("x")) == 3).await;
    guard.release().await.unwrap();
    mixed.nothing_is_left().await;

    mixed.servers[0].kill();
    let error = mixed.locks.lock("x").try_acquire().await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("it failed behind the write"), "{source}");
    mixed.nothing_is_left().await;
}

#[tokio::test]
async fn a_request_that_nobody_waits_for_any_more_runs_to_its_end_and_is_released() {
    let mixed = Mixed::start().await;
    mixed.servers[0].kill();
    mixed.faults.set(Fault::Waits);
    let acquiring = tokio::spawn(mixed.locks.lock("x").acquire());
    eventually_async("it was asked", async || mixed.faults.asked() > 0).await;
    acquiring.abort();
    let _ = acquiring.await;
    mixed.faults.set(Fault::None);
    // The key comes, and goes again.
    eventually_async("the acquire was carried out", async || {
        mixed.servers[2].probe().exists(&counter_of(&key("x")))
            || mixed.servers[2].probe().command_counts().of("set") > 0
    })
    .await;
    mixed.nothing_is_left().await;
}

/// A map of this process, which may forget.
#[derive(Clone, Default)]
struct Map(Arc<Mutex<Keys>>);

struct Keys {
    label: String,
    began: Instant,
    run: u64,
    is_old: bool,
    held: HashMap<Arc<str>, (Arc<str>, Instant)>,
    counters: HashMap<Arc<str>, u64>,
}

impl Default for Keys {
    fn default() -> Self {
        let (held, counters) = Default::default();
        Self { label: String::new(), began: clock::now(), run: 0, is_old: true, held, counters }
    }
}

impl Keys {
    fn live(&mut self, key: &Arc<str>) -> Option<&mut (Arc<str>, Instant)> {
        self.held.get_mut(key).filter(|(_, end)| *end > clock::now())
    }

    fn outcome(&mut self, key: &Arc<str>, owner: &str) -> Outcome {
        match self.live(key) {
            Some(held) if *held.0 == *owner => Outcome::Done,
            Some(_) => Outcome::OtherOwner,
            None => Outcome::NoKey,
        }
    }
}

impl Map {
    fn called(label: &str) -> Self {
        let map = Self::default();
        label.clone_into(&mut map.0.lock().unwrap().label);
        map
    }

    fn restart_empty(&self) {
        let mut keys = self.0.lock().unwrap();
        let (label, run) = (keys.label.clone(), keys.run + 1);
        *keys = Keys { label, run, is_old: false, ..Keys::default() };
    }
}

impl Node for Map {
    fn label(&self) -> &str {
        // Asked once.
        Box::leak(self.0.lock().unwrap().label.clone().into_boxed_str())
    }

    fn acquire(&self, Acquire { key, owner, ttl, counter, .. }: Acquire) -> BoxFuture<'_, Result<Vote, NodeError>> {
        Box::pin(async move {
            let mut keys = self.0.lock().unwrap();
            let now = clock::now();
            if let Some((owner, end)) = keys.live(&key).cloned() {
                let vote = Vote::held_by(owner, Some(end - now));
                return Ok(vote.with_counter(keys.counters.get(&key).copied()));
            }
            keys.held.insert(Arc::clone(&key), (owner, now + ttl));
            if let Some(rule) = counter {
                let stored = keys.counters.get(&key).map(|stored| rule.least.max(stored + 1));
                keys.counters.extend(stored.or(rule.first).map(|counter| (Arc::clone(&key), counter)));
            }
            Ok(Vote::granted().with_counter(keys.counters.get(&key).copied()))
        })
    }

    fn extend(&self, Extend { key, owner, ttl, .. }: Extend) -> BoxFuture<'_, Result<Outcome, NodeError>> {
        Box::pin(async move {
            let mut keys = self.0.lock().unwrap();
            let outcome = keys.outcome(&key, &owner);
            if let (Outcome::Done, Some(held)) = (outcome, keys.live(&key)) {
                held.1 = held.1.max(clock::now() + ttl);
            }
            Ok(outcome)
        })
    }

    fn release(&self, Release { key, owner, keep, .. }: Release) -> BoxFuture<'_, Result<Outcome, NodeError>> {
        Box::pin(async move {
            let mut keys = self.0.lock().unwrap();
            if keep.as_ref().is_some_and(|keep| keys.outcome(&key, &keep.owner) == Outcome::Done) {
                return Ok(Outcome::Done);
            }
            let outcome = keys.outcome(&key, &owner);
            match keep.filter(|_| outcome == Outcome::Done) {
                Some(keep) => drop(keys.held.insert(key, (keep.owner, clock::now() + keep.ttl))),
                None if outcome == Outcome::Done => drop(keys.held.remove(&key)),
                None => {}
            }
            Ok(outcome)
        })
    }

    fn has_counters(&self) -> bool {
        true
    }

    fn commit(&self, Commit { key, owner, token, .. }: Commit) -> BoxFuture<'_, Result<Option<u64>, NodeError>> {
        Box::pin(async move {
            let mut keys = self.0.lock().unwrap();
            let is_held = keys.outcome(&key, &owner) == Outcome::Done;
            Ok(is_held.then(|| {
                let counter = keys.counters.entry(key).or_default();
                *counter = token.max(*counter);
                *counter
            }))
        })
    }

    fn identity(&self) -> Option<Identity> {
        let keys = self.0.lock().unwrap();
        let age = if keys.is_old { Duration::from_secs(1_000_000) } else { keys.began.elapsed() };
        Some(Identity::new(format!("{} {}", keys.label, keys.run), age))
    }

    fn inspect(&self, key: Arc<str>) -> BoxFuture<'_, Result<Option<Held>, NodeError>> {
        Box::pin(async move {
            let mut keys = self.0.lock().unwrap();
            let now = clock::now();
            Ok(keys.live(&key).map(|(owner, end)| Held::new(&**owner, Some(*end - now))))
        })
    }

    fn list(&self, prefix: Arc<str>) -> BoxFuture<'_, Result<Vec<String>, NodeError>> {
        Box::pin(async move {
            let keys = self.0.lock().unwrap();
            Ok(keys.held.keys().filter(|key| key.starts_with(&*prefix)).map(ToString::to_string).collect())
        })
    }

    fn reset(&self, key: Arc<str>) -> BoxFuture<'_, Result<bool, NodeError>> {
        Box::pin(async move { Ok(self.0.lock().unwrap().held.remove(&key).is_some()) })
    }
}

fn three() -> [Map; 3] {
    ["map 1", "map 2", "map 3"].map(Map::called)
}

fn on(maps: &[Map]) -> LockManagerBuilder {
    // Nobody is given up because the machine is busy.
    let patient = LockManager::builder().node_timeout(Duration::from_secs(2));
    maps.iter().fold(patient, |builder, map| builder.node(map.clone()))
}

#[tokio::test]
async fn tokens_grow_on_foreign_nodes_alone_also_when_one_forgets() {
    let maps = three();
    let managers = [on(&maps).build().unwrap(), on(&maps).build().unwrap()];
    let mut last = 0;
    for round in 0..60 {
        if round % 20 == 10 {
            maps[round / 20].restart_empty();
        }
        let guard = managers[round % 2].lock("x").acquire().await.unwrap();
        assert!(guard.fencing_token() > last, "round {round}");
        last = guard.fencing_token();
        assert!(managers[(round + 1) % 2].lock("x").try_acquire().await.unwrap().is_none());
        guard.release().await.unwrap();
        if round % 20 == 15 {
            maps[round / 20].0.lock().unwrap().is_old = true;
        }
    }
}

#[tokio::test]
async fn a_foreign_node_that_restarted_abstains() {
    let maps = three();
    let locks = on(&maps).build().unwrap();
    let guard = locks.lock("x").renew(false).acquire().await.unwrap();
    maps[0].restart_empty();
    maps[1].0.lock().unwrap().held.clear();
    let acquired = on(&maps).build().unwrap().lock("x").try_acquire().await;
    assert!(!matches!(acquired, Ok(Some(_))), "{acquired:?}");
    drop(guard);
}

#[tokio::test]
async fn a_crowd_takes_turns_on_foreign_nodes_alone() {
    let maps = three();
    let inside = Arc::new(Mutex::new(0));
    let managers = [on(&maps).build().unwrap(), on(&maps).build().unwrap()];
    let crowd: Vec<_> = (0..20)
        .map(|client| {
            let (request, inside) = (managers[client % 2].lock("x"), Arc::clone(&inside));
            tokio::spawn(async move {
                let guard = request.timeout(Duration::from_secs(60)).acquire().await.unwrap();
                let was_inside = inside.try_lock().expect("nobody else is inside");
                drop(was_inside);
                *inside.lock().unwrap() += 1;
                guard.release().await.unwrap();
            })
        })
        .collect();
    for client in crowd {
        client.await.unwrap();
    }
    assert_eq!(*inside.lock().unwrap(), 20);
    let (report, took) = timed(managers[0].shutdown_within(Duration::from_secs(60))).await;
    assert!(report.unconfirmed == 0 && took < Duration::from_secs(30), "{report} {took:?}");
}

#[tokio::test]
async fn a_key_is_kept_for_its_min_hold_and_can_be_inspected_and_reset() {
    let maps = three();
    let locks = on(&maps).build().unwrap();
    let guard = locks.lock("x").min_hold(Duration::from_secs(60)).acquire().await.unwrap();
    let info = locks.inspect("x").await.unwrap();
    assert_eq!((info.state, info.votes, info.owner_label), (LockState::Held, 3, None));
    assert!(info.remaining.unwrap() > Duration::from_secs(20));
    guard.release().await.unwrap();
    assert!(locks.lock("x").timeout(Timeout::Skip).try_acquire().await.unwrap().is_none());
    assert_eq!(locks.list().next().await.unwrap().unwrap(), "x");
    assert_eq!(locks.reset("x").await.unwrap(), 3);
    locks.lock("x").try_acquire().await.unwrap().expect("it was reset").release().await.unwrap();
    assert!(locks.statistics().await.unwrap().get("x").is_none());
}

/// The least that there can be.
struct Least(Map);

impl Node for Least {
    fn label(&self) -> &str {
        self.0.label()
    }

    fn acquire(&self, acquire: Acquire) -> BoxFuture<'_, Result<Vote, NodeError>> {
        self.0.acquire(acquire)
    }

    fn extend(&self, extend: Extend) -> BoxFuture<'_, Result<Outcome, NodeError>> {
        self.0.extend(extend)
    }

    fn release(&self, release: Release) -> BoxFuture<'_, Result<Outcome, NodeError>> {
        self.0.release(release)
    }
}

#[tokio::test]
async fn what_a_node_cannot_do_is_said() {
    let locks = LockManager::builder().node(Least(Map::called("least"))).fencing(false).build().unwrap();
    locks.lock("x").acquire().await.unwrap().release().await.unwrap();
    for node in locks.nodes().await.unwrap() {
        assert_eq!((node.standing, node.failure), (NodeStanding::Votes, None), "{}", node.node);
    }
    let error = locks.inspect("x").await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("least: it cannot be inspected"), "{source}");
    assert!(matches!(locks.list().next().await.unwrap(), Err(Error::ListIncomplete { .. })));
    assert!(matches!(locks.reset("x").await, Err(Error::QuorumUnreachable { .. })));
}

#[tokio::test]
async fn tokens_come_from_the_nodes_that_have_counters_or_the_configuration_is_refused() {
    let maps = three();
    let bare = |map: usize| Least(maps[map].clone());
    let error = LockManager::builder().node(bare(0)).node(bare(1)).node(maps[2].clone()).build().unwrap_err();
    assert!(matches!(&error, Error::Config { reason } if reason.contains("fencing(false)")), "{error}");

    let locks = LockManager::builder().node(bare(0)).node(maps[1].clone()).node(maps[2].clone()).build().unwrap();
    let mut last = 0;
    for _ in 0..20 {
        let guard = locks.lock("x").acquire().await.unwrap();
        assert!(guard.fencing_token() > last);
        last = guard.fencing_token();
        guard.release().await.unwrap();
    }
}

#[tokio::test]
async fn one_node_given_twice_and_replicas_that_it_has_not_are_refused() {
    let error = LockManager::builder().node(Map::called("a")).node(Map::called("a")).build().unwrap_err();
    assert!(matches!(&error, Error::Config { reason } if reason.contains("a is given twice")), "{error}");
    let replicas = LockManager::builder().wait_replicas(1, Duration::from_millis(50));
    let error = replicas.node(Map::called("a")).build().unwrap_err();
    assert!(matches!(&error, Error::Config { reason } if reason.contains("a has no replicas")), "{error}");
}

#[tokio::test]
async fn foreign_nodes_are_examined_too() {
    // An answer that takes a third of the timeout is warned of.
    let mixed = Mixed::start_with(|builder| builder.node_timeout(Duration::from_secs(10))).await;
    let report = mixed.locks.check().await.unwrap();
    assert_eq!(report.verdict(), CheckVerdict::Healthy, "{report}");
    assert!(report.nodes()[2].can_lock && report.nodes()[2].node.starts_with("other "), "{report}");
    mixed.faults.set(Fault::Panics);
    let report = mixed.locks.check().await.unwrap();
    assert!(matches!(report.verdict(), CheckVerdict::Degraded { working: 2, .. }), "{report}");
    assert!(report.to_string().contains("it panicked"), "{report}");
}

#[test]
fn blocking_calls_work_on_foreign_nodes() {
    let locks = on(&three()).build().unwrap();
    locks.lock("x").acquire_blocking().unwrap().release_blocking().unwrap();
    drop(locks.lock("x").acquire_blocking().unwrap());
    locks.lock("x").acquire_blocking().unwrap().release_blocking().unwrap();
}
