//! Voters that somebody else wrote: beside Redis nodes or alone, and whatever they do wrong.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use redlock_runtime::node::{
    Acquire, BoxFuture, Commit, Extend, Held, Identity, Node, NodeError, Outcome, Release, Vote,
};
use redlock_runtime::{CheckVerdict, Error, LockManager, LockManagerBuilder, LockState, NodeStanding, Timeout};
use redlock_tests::Servers;
use redlock_tests::clock::{self, timed};
use redlock_tests::wait::{LIMIT, eventually_async};

use crate::common::foreign::{Fault, Faults, Other, counter_of};
use crate::common::{NODE_TIMEOUT, key, none_has_x, unhurried};

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
        let locks = set(unhurried().nodes([servers[0].url(), servers[1].url()]).node(node)).build().unwrap();
        Self { servers, faults, locks }
    }

    /// The same nodes, as another process has them.
    async fn others(&self) -> LockManager {
        let (node, _) = Other::to(&self.servers[2]).await;
        let builder = unhurried();
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
    let mixed = Mixed::start().await;
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
        let mut builder = unhurried();
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
    none_has_x(&servers).await;
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
    mixed.nothing_is_left().await;
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
    let patient = unhurried().node_timeout(Duration::from_secs(2));
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
    let locks = unhurried().node(Least(Map::called("least"))).fencing(false).build().unwrap();
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
    let error = unhurried().node(bare(0)).node(bare(1)).node(maps[2].clone()).build().unwrap_err();
    assert!(matches!(&error, Error::Config { reason } if reason.contains("fencing(false)")), "{error}");

    let locks = unhurried().node(bare(0)).node(maps[1].clone()).node(maps[2].clone()).build().unwrap();
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
    let error = unhurried().node(Map::called("a")).node(Map::called("a")).build().unwrap_err();
    assert!(matches!(&error, Error::Config { reason } if reason.contains("a is given twice")), "{error}");
    let replicas = unhurried().wait_replicas(1, Duration::from_millis(50));
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
