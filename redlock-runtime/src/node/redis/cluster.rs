//! A whole Redis Cluster as one voter.
//!
//! All keys of a lock are in one slot, so one of the cluster's masters decides about it. Each of these is a [`RedisNode`] of
//! its own, with all that makes one quick and safe: a connection that is down votes "no" at once, releases stay behind
//! stragglers, changes of keys are pushed. What is added here is who has which slot, and to follow when that changes.
//!
//! Source: [the Redis Cluster specification](https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/),
//! "MOVED redirection", "ASK redirection".

mod check;
mod counters;
mod inspect;
mod several;
mod slots;

#[cfg(not(redlock_simulated))]
use std::collections::HashMap;
use std::fmt;
use std::slice;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use redis::Value;
use tokio::time::{sleep, timeout};

use self::slots::{ClusterView, Slots};
use super::commands;
use super::link::dial::{Dial, Origin};
use super::link::endpoint::{Endpoint, address};
use super::link::lookup;
use super::link::published::{Published, Publisher, publish};
use super::link::replicas::Replicas;
use super::{Redirect, RedisNode, Routing, recalled};
use crate::node::limits::Limits;
use crate::node::{Action, Carrier, Changes, Command, NodeStatus, Pending, PendingReply, Reply, Voter};
use crate::platform::background;
use crate::platform::background::background;
use crate::platform::clock;
#[cfg(redlock_simulated)]
use crate::platform::simulated::HashMap;
use crate::rules::{Rule, holds};
use crate::shown::shown;
use crate::values::keys::Keys;
use crate::values::slot::slot_of;
use crate::values::subject::{Kind, Which};

/// How often a command is sent on, or again, before that is given up; two are usual in the worst case.
const HOPS: usize = 8;

/// How long to wait while a slot's keys are partly here and partly there.
const TRY_AGAIN: Duration = Duration::from_millis(10);

/// Who has which slots is not asked more often than that.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// So many servers are asked at once.
const ASKED: usize = 16;

/// A Redis Cluster.
pub(crate) struct ClusterNode {
    cluster: Arc<Cluster>,
}

struct Cluster {
    label: Arc<str>,
    /// The servers that are named in the configuration.
    seeds: Vec<Endpoint>,
    limits: Limits,
    replicas: Option<Replicas>,
    /// Who is told of changes of keys.
    changes: OnceLock<Changes>,
    /// Its masters. Never locked across an await, as the others.
    shards: RwLock<Shards>,
    /// What is known about who has which slots: written by a look.
    map: Publisher<Told>,
    /// The same, for all others.
    told: Published<Told>,
    /// When that was asked last, and whether an answer is under way.
    looking: Mutex<Looking>,
}

#[derive(Default)]
struct Shards {
    /// By host and port.
    by_address: HashMap<String, Arc<RedisNode>>,
    slots: Option<Slots<Arc<RedisNode>>>,
    is_closed: bool,
}

/// What the last look came to.
#[derive(Clone, Debug)]
struct Told {
    map: Map,
    /// How many looks have told something.
    looks: u64,
}

/// Whether it is known who has which slots.
#[derive(Clone, Debug)]
enum Map {
    /// Nobody has told yet.
    NotYet,
    /// Somebody has.
    Known,
    /// Nobody could be asked; why.
    Unreachable(Arc<str>),
}

#[derive(Debug, Default)]
struct Looking {
    began: Option<Instant>,
    is_under_way: bool,
}

/// Ends a look when it is dropped, however it ends.
struct Look(Arc<Cluster>);

impl Drop for Look {
    fn drop(&mut self) {
        self.0.looking().is_under_way = false;
    }
}

impl ClusterNode {
    pub(crate) fn new(seeds: Vec<Endpoint>, label: &str, limits: Limits, replicas: Option<Replicas>) -> Self {
        let (map, told) = publish(Told { map: Map::NotYet, looks: 0 });
        let cluster = Cluster {
            label: Arc::from(label),
            seeds,
            limits,
            replicas,
            changes: OnceLock::new(),
            shards: RwLock::default(),
            map,
            told,
            looking: Mutex::default(),
        };
        Self { cluster: Arc::new(cluster) }
    }
}

impl Voter for ClusterNode {
    fn label(&self) -> &str {
        &self.cluster.label
    }

    fn ask(&self, command: Arc<Command>) -> PendingReply {
        if !command.is_offered() {
            return PendingReply::new(std::future::ready(Reply::not_offered()));
        }
        if let Some(Kind::Several(several)) = command.subject.kind() {
            let parts = several.by_slot();
            if !parts.is_empty() {
                return PendingReply::new(Arc::clone(&self.cluster).ask_of_several(Arc::clone(&command), parts));
            }
        }
        Cluster::ask_one(&self.cluster, command)
    }

    fn known(&self, key: &str) -> NodeStatus {
        match (self.cluster.owner(key), &self.cluster.told.read().map) {
            (Some(shard), _) => shard.known(key),
            (None, Map::NotYet) => NodeStatus::Connecting,
            (None, Map::Known | Map::Unreachable(_)) => NodeStatus::Unreachable,
        }
    }

    fn overdue(&self, key: &str) {
        if let Some(shard) = self.cluster.owner(key) {
            shard.overdue(key);
        }
        self.cluster.look_again();
    }

    fn report_to(&self, changes: Changes) {
        // It is told once, and before the first server is known.
        let _ = self.cluster.changes.set(changes);
    }

    fn close(&self) {
        let mut shards = self.cluster.shards.write().unwrap_or_else(PoisonError::into_inner);
        shards.is_closed = true;
        let all: Vec<_> = shards.by_address.values().cloned().collect();
        // Not under the lock: this wakes tasks.
        drop(shards);
        for shard in all {
            shard.close();
        }
    }
}

impl Cluster {
    /// Puts a command whose keys are in one slot.
    fn ask_one(cluster: &Arc<Self>, command: Arc<Command>) -> PendingReply {
        let cluster = Arc::clone(cluster);
        if let Some(shard) = cluster.owner(command.key()) {
            let put = shard.put(Arc::clone(&command), Routing::Plainly);
            let (carrier, extra_time) = (put.carrier().clone().first(), put.extra_time());
            let carried_by = carrier.clone();
            let reply = PendingReply::new(async move { cluster.follow(&command, shard, put, &carried_by).await });
            return reply.carried_by(carrier).with_extra_time(extra_time);
        }
        if let Map::Unreachable(reason) = &cluster.told.read().map {
            cluster.look_again();
            return PendingReply::new(std::future::ready(Reply::not_sent(Arc::clone(reason))));
        }
        // Who has which slots, and then a connection to that server.
        let extra_time = cluster.limits.connect_timeout * 2;
        let carrier = Carrier::none_yet();
        let carried_by = carrier.clone();
        let reply = async move {
            let shard = match cluster.mapped(command.key()).await {
                Ok(shard) => shard,
                Err(reason) => return Reply::not_sent(reason),
            };
            shard.tried().await;
            if command.is_recalled() {
                return recalled();
            }
            let put = shard.put(Arc::clone(&command), Routing::Plainly);
            carried_by.goes_on(put.carrier().clone());
            cluster.follow(&command, shard, put, &carried_by).await
        };
        PendingReply::new(reply).with_extra_time(extra_time).carried_by(carrier)
    }
}

impl Cluster {
    fn looking(&self) -> MutexGuard<'_, Looking> {
        self.looking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server that decides about a key, as far as that is known.
    fn owner(&self, key: &str) -> Option<Arc<RedisNode>> {
        let shards = self.shards.read().unwrap_or_else(PoisonError::into_inner);
        shards.slots.as_ref()?.owner(slot_of(key)).cloned()
    }

    /// The server that decides about a key, once it is known.
    async fn mapped(self: &Arc<Self>, key: &str) -> Result<Arc<RedisNode>, Arc<str>> {
        if let Some(shard) = self.owner(key) {
            return Ok(shard);
        }
        self.look_again();
        let told = self.told.wait_for(|told| !matches!(told.map, Map::NotYet)).await;
        if let Some(shard) = self.owner(key) {
            return Ok(shard);
        }
        Err(match told.map(|told| told.map) {
            Some(Map::Unreachable(reason)) => reason,
            Some(Map::Known | Map::NotYet) | None => Arc::from("no server of the cluster has the slot of this lock"),
        })
    }

    /// What is about keys of the same server, together.
    async fn by_server<T>(
        self: &Arc<Self>,
        subjects: Vec<T>,
        key: impl Fn(&T) -> &str,
    ) -> Result<Vec<(Arc<RedisNode>, Vec<T>)>, Arc<str>> {
        let mut by_server: Vec<(Arc<RedisNode>, Vec<T>)> = Vec::new();
        for subject in subjects {
            let server = self.mapped(key(&subject)).await?;
            match by_server.iter_mut().find(|(other, _)| Arc::ptr_eq(other, &server)) {
                Some((_, theirs)) => theirs.push(subject),
                None => by_server.push((server, vec![subject])),
            }
        }
        Ok(by_server)
    }

    /// All servers that have slots, in the order of their addresses.
    fn masters(&self) -> Vec<Arc<RedisNode>> {
        let shards = self.shards.read().unwrap_or_else(PoisonError::into_inner);
        let owners = shards.slots.iter().flat_map(Slots::owners);
        let by_label: std::collections::BTreeMap<_, _> = owners.map(|shard| (shard.label(), shard)).collect();
        by_label.into_values().cloned().collect()
    }

    /// The server at this address.
    fn at(&self, address: &str) -> Option<Arc<RedisNode>> {
        let (host, port) = address.rsplit_once(':')?;
        // Who does not know its own name is where it was asked: behind one of the addresses that are known.
        let host = if host.is_empty() { self.seeds.first()?.host_and_port()?.0 } else { host };
        let shards = &mut *self.shards.write().unwrap_or_else(PoisonError::into_inner);
        Some(self.shard(shards, host.trim_matches(['[', ']']), port.parse().ok()?))
    }

    fn shard(&self, shards: &mut Shards, host: &str, port: u16) -> Arc<RedisNode> {
        let address = address(host, port);
        let is_closed = shards.is_closed;
        let shard = shards.by_address.entry(address).or_insert_with_key(|address| {
            let endpoint = self.seeds[0].elsewhere(host, port);
            let label = format!("{} at {}", self.label, shown(address));
            let shard = RedisNode::new(Dial::new(Origin::Fixed(endpoint), &label, self.limits, self.replicas));
            if let Some(changes) = self.changes.get() {
                shard.report_to(changes.clone());
            }
            if is_closed {
                shard.close();
            }
            Arc::new(shard)
        });
        Arc::clone(shard)
    }

    /// Puts a command where it belongs, wherever servers send it on to. The `carrier` is told of each connection: a release that
    /// is not answered has to end the one on which its acquire may still come.
    async fn follow(
        self: &Arc<Self>,
        command: &Arc<Command>,
        shard: Arc<RedisNode>,
        put: Pending<Result<Reply, Redirect>>,
        carrier: &Carrier,
    ) -> Reply {
        let (mut shard, mut put) = (shard, put);
        for _ in 0..HOPS {
            let mut redirect = match put.await {
                Ok(reply) => {
                    if matches!(reply, Reply::Failed(_)) {
                        self.look_again();
                    }
                    return reply;
                }
                Err(redirect) => redirect,
            };
            if matches!(redirect, Redirect::Ask(_))
                && holds(Rule::AskedWhenNothingIsLeft)
                && Box::pin(has_anything_left(&shard, command)).await
            {
                redirect = Redirect::TryAgain;
            }
            if redirect == Redirect::TryAgain {
                // Not a timer of this runtime: whoever waits for the reply in the end may be on another one.
                if let Ok(background) = background() {
                    let _ = background.spawn(async { sleep(TRY_AGAIN).await }).await;
                }
            }
            if command.is_recalled() {
                return recalled();
            }
            let (next, how) = match redirect {
                Redirect::Moved(address) => (self.moved(command.key(), &address), Routing::Plainly),
                Redirect::Ask(address) => (self.at(&address), Routing::Asking),
                Redirect::TryAgain => (self.owner(command.key()), Routing::Plainly),
            };
            let Some(next) = next else { return Reply::not_sent("no server owns this lock's slot") };
            shard = next;
            put = shard.put(Arc::clone(command), how);
            if holds(Rule::CarrierGoesOn) {
                carrier.goes_on(put.carrier().clone());
            }
        }
        Reply::not_sent("too many redirections, because the slot of this lock is being moved; try again")
    }

    fn moved(self: &Arc<Self>, key: &str, address: &str) -> Option<Arc<RedisNode>> {
        let owner = self.at(address)?;
        let mut shards = self.shards.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(slots) = &mut shards.slots {
            slots.assign(slot_of(key), Arc::clone(&owner));
        }
        drop(shards);
        self.tell_of_gap();
        self.look_again();
        Some(owner)
    }

    fn tell_of_gap(&self) {
        if let Some(changes) = self.changes.get() {
            changes.any();
        }
    }

    /// Asks who has which slots, in the background, unless that was done just now. Not on this runtime: others need the
    /// answer too, and it may end, or stand still.
    fn look_again(self: &Arc<Self>) {
        let mut looking = self.looking();
        let is_recent = looking.began.is_some_and(|began| clock::now() < began + LOOK_AGAIN);
        if looking.is_under_way || is_recent {
            return;
        }
        *looking = Looking { began: Some(clock::now()), is_under_way: true };
        drop(looking);
        let look = Look(Arc::clone(self));
        background::spawn(async move { look.0.look().await });
    }

    /// Returns when it was asked anew who has which slots: people shall not be told of a server that has none any more.
    async fn looked_again(self: &Arc<Self>) {
        let before = self.told.read().looks;
        let is_told = || self.told.wait_for(|told| told.looks > before);
        self.look_again();
        if timeout(LOOK_AGAIN, is_told()).await.is_err() {
            // Perhaps that had just been asked, before what it is asked again for.
            self.look_again();
            let _ = timeout(self.limits.node_timeout.min(self.limits.connect_timeout), is_told()).await;
        }
    }

    /// Asks who has which slots, and believes whoever has the newest view of a cluster that works.
    async fn look(self: &Arc<Self>) {
        let is_first = self.shards.read().unwrap_or_else(PoisonError::into_inner).slots.is_none();
        let servers = self.to_ask();
        let limits = self.limits;
        let limit = if is_first { limits.connect_timeout } else { limits.node_timeout.min(limits.connect_timeout) };
        let question = Arc::new(commands::map_cluster());
        let is_enough = |answers: &[(Endpoint, Vec<Value>)]| {
            // At first any map will do: what is wrong in it is set right by the servers themselves.
            answers.len() == servers.len()
                || is_first && answers.iter().any(|(_, answer)| ClusterView::read(answer).is_some())
        };
        let heard = lookup::ask(&servers, &question, is_enough, limit).await;
        let told = heard.answers.iter().filter_map(|(server, answer)| Some((server, ClusterView::read(answer)?)));
        let Some((server, told)) = told.max_by_key(|(_, told)| told.weight()) else {
            let reason = if heard.answers.is_empty() {
                format!("no server of the cluster can be reached: {}", heard.failures.join("; "))
            } else {
                "no server of the cluster has any slots".to_owned()
            };
            if !matches!(self.told.read().map, Map::Known) {
                self.tell(Map::Unreachable(reason.into()));
            }
            return;
        };
        let here = server.host_and_port().map(|(host, _)| host);
        self.adopt(told, here.unwrap_or_default());
        self.tell(Map::Known);
    }

    /// One look at a time does so.
    fn tell(&self, map: Map) {
        let looks = self.told.read().looks + 1;
        self.map.set(Told { map, looks });
    }

    /// The servers that are known, the named ones last.
    fn to_ask(&self) -> Vec<Endpoint> {
        let known: Vec<_> =
            self.shards.read().unwrap_or_else(PoisonError::into_inner).by_address.keys().cloned().collect();
        let known = known.iter().filter_map(|address| {
            let (host, port) = address.rsplit_once(':')?;
            Some(self.seeds[0].elsewhere(host.trim_matches(['[', ']']), port.parse().ok()?))
        });
        let mut servers: Vec<Endpoint> = Vec::new();
        for server in known.chain(self.seeds.iter().cloned()) {
            if !servers.iter().any(|other| other.address() == server.address()) {
                servers.push(server);
            }
        }
        // The named ones may be all that is left: a cluster can have moved to other servers.
        let named = servers.split_off(servers.len().saturating_sub(self.seeds.len()));
        servers.truncate(ASKED);
        servers.extend(named);
        servers
    }

    fn adopt(&self, told: ClusterView, here: &str) {
        let mut guarded = self.shards.write().unwrap_or_else(PoisonError::into_inner);
        let shards = &mut *guarded;
        let ranges = told.ranges.into_iter().map(|(first, last, host, port)| {
            let host = host.as_deref().unwrap_or(here);
            (first, last, self.shard(shards, host, port))
        });
        let slots = Slots::new(ranges.collect());
        let before = shards.by_address.len();
        shards.by_address.retain(|_, shard| slots.owners().any(|owner| Arc::ptr_eq(owner, shard)));
        let is_any_gone = shards.by_address.len() < before;
        shards.slots = Some(slots);
        drop(guarded);
        if is_any_gone {
            // Whoever waits there is told by nobody.
            self.tell_of_gap();
        }
    }
}

/// Whether a server that sends a command about several keys to where their slot goes still has one of them. Servers before version 7
/// send it there as soon as one of the keys is not with them; there the others would be taken for ones that nobody has.
///
/// What is not with them any more does not come back, so there is no hurry.
async fn has_anything_left(shard: &RedisNode, command: &Command) -> bool {
    for key in keys_beside(command) {
        // Nobody is the owner, so nothing is done to it; and whoever may acquire may ask so.
        let question =
            Command::new(Action::Extend { ttl: TRY_AGAIN, is_noted: false }, &(&key).into(), &Arc::from("nobody"));
        let answer: Result<Reply, Redirect> = shard.put(question, Routing::Plainly).await;
        if !matches!(answer, Err(Redirect::Ask(_) | Redirect::Moved(_))) {
            return true;
        }
    }
    false
}

/// The keys of a command that says something about keys that it does not find, if it has several: the lock, its counter, and the mark of
/// completed fires. A commit finds both of its keys, or comes to nothing.
fn keys_beside(command: &Command) -> Vec<Arc<str>> {
    let key = command.key();
    if let Some(keys) = command.subject.kind().and_then(|kind| keys_of_kind(command, kind)) {
        return keys;
    }
    let is_attempt = matches!(command.action, Action::Acquire { .. } | Action::Adopt { .. });
    let counter = (is_attempt && command.fence.is_some()).then(|| Keys::fence(key).into());
    let mark = (command.mark.is_some() || command.new_mark.is_some()).then(|| Keys::done(key).into());
    let beside: Vec<_> = counter.into_iter().chain(mark).collect();
    if beside.is_empty() { beside } else { std::iter::once(Arc::clone(key)).chain(beside).collect() }
}

/// The same of a command that is about more than one key, where it differs.
fn keys_of_kind(command: &Command, kind: &Kind) -> Option<Vec<Arc<str>>> {
    let fences = |keys: &[Arc<str>]| -> Vec<Arc<str>> {
        keys.iter().filter(|_| command.fence.is_some()).map(|key| Keys::fence(key).into()).collect()
    };
    match (command.action, kind) {
        (Action::Acquire { .. }, Kind::Permits { slots, which: Which::Any }) => {
            let line = std::iter::once(Arc::clone(slots.line()));
            Some(line.chain(slots.keys().iter().cloned()).chain(fences(slots.keys())).collect())
        }
        (Action::Release { .. }, Kind::Permits { slots, .. }) if command.predecessor.is_none() => {
            Some(slots.keys().into())
        }
        (Action::Acquire { .. }, Kind::Reader(keys) | Kind::Writer(keys)) => {
            let fence = fences(slice::from_ref(keys.writer()));
            Some([keys.writer(), keys.readers(), keys.intent()].into_iter().cloned().chain(fence).collect())
        }
        // Who is no reader there may be the writer, and become one.
        (Action::Commit { .. } | Action::Extend { .. } | Action::Release { .. }, Kind::Reader(keys)) => {
            let is_commit = matches!(command.action, Action::Commit { .. });
            let fence = is_commit.then(|| Keys::fence(keys.writer()).into());
            Some([keys.writer(), keys.readers()].into_iter().cloned().chain(fence).collect())
        }
        // The intent goes with it, if there is one.
        (Action::Release { .. }, Kind::Writer(keys)) if command.predecessor.is_none() => {
            Some(vec![Arc::clone(keys.writer()), Arc::clone(keys.intent())])
        }
        (Action::Acquire { .. }, Kind::Several(several)) => {
            Some(several.keys().iter().cloned().chain(fences(several.keys())).collect())
        }
        // A counter that is begun anew could not be moved there any more.
        (Action::Commit { .. }, Kind::Several(several)) => {
            let counters = several.keys().iter().map(|key| Keys::fence(key).into());
            Some(several.keys().iter().cloned().chain(counters).collect())
        }
        (Action::Extend { .. } | Action::Release { .. }, Kind::Several(several)) => Some(several.keys().into()),
        _ => None,
    }
}

impl fmt::Debug for ClusterNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClusterNode").field(&self.cluster.label).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{MarkQuery, NewMark};
    use crate::protocol::{FenceFallback, Proposal, Quorum, StoredMark};
    use crate::values::name::Name;
    use crate::values::permits::Slots;
    use crate::values::readers_writers::SharedKeys;
    use crate::values::several::Several;
    use crate::values::subject::Subject;

    #[test]
    fn nothing_is_begun_anew_where_a_key_that_it_depends_on_is_still_on_its_way() {
        let (key, owner) = ("k".into(), Arc::from("owner"));
        let ttl = Duration::from_secs(1);
        let fence = || Some(Proposal::new(ttl, 0, Quorum::of(1).unwrap(), FenceFallback::Refuse));
        let mark = || Some(MarkQuery { refuse_from: None, retention: ttl });
        let acquire =
            |fence, mark| Command::acquire(Action::Acquire { ttl, is_watched: false }, &key, &owner, None, fence, mark);
        let new_mark = NewMark { stored: StoredMark::NONE, retention: ttl };
        let release = Action::Release { keep: Duration::ZERO, behind: None, is_noted: false };
        let (counter, done) = (Keys::fence("k"), Keys::done("k"));
        for (command, expect) in [
            (acquire(None, None), vec![]),
            (acquire(fence(), None), vec!["k", &counter]),
            (acquire(None, mark()), vec!["k", &done]),
            (acquire(fence(), mark()), vec!["k", &counter, &done]),
            (Command::acquire(Action::Commit { token: 1 }, &key, &owner, None, fence(), None), vec![]),
            (Command::new(release, &key, &owner), vec![]),
            (Command::marking(release, &key, &owner, new_mark), vec!["k", &done]),
            (Command::marking(Action::Mark, &key, &owner, new_mark), vec!["k", &done]),
        ] {
            let keys = keys_beside(&command);
            assert_eq!(keys.iter().map(|key| &**key).collect::<Vec<_>>(), expect, "{:?}", command.action);
        }
    }

    #[test]
    fn no_slot_of_permits_is_taken_for_free_that_is_still_on_its_way() {
        let name = Name::parse("x".to_owned()).unwrap();
        let slots = Slots::new(&Keys::default(), &name, 2, |_| 2, |count| (0..count).collect());
        let [line, one, other] = [slots.line(), slots.key(0), slots.key(1)].map(ToString::to_string);
        let (any, owner, ttl) = (Subject::any_permit(slots), Arc::from("owner"), Duration::from_secs(1));
        let release = Action::Release { keep: Duration::ZERO, behind: None, is_noted: false };
        let (acquire, extend) = (Action::Acquire { ttl, is_watched: false }, Action::Extend { ttl, is_noted: false });
        for (action, which, expect) in [
            (acquire, Which::Any, vec![&*line, &one, &other]),
            (release, Which::One(1), vec![&*one, &other]),
            (acquire, Which::One(1), vec![]),
            (extend, Which::One(1), vec![]),
        ] {
            let command = Command::new(action, &any.about(which), &owner);
            assert_eq!(keys_beside(&command).iter().map(|key| &**key).collect::<Vec<_>>(), expect, "{action:?}");
        }
    }

    #[test]
    fn nobody_is_let_in_while_a_key_that_keeps_him_out_is_still_on_its_way() {
        let name = |name: &str| Name::parse(name.to_owned()).unwrap();
        let shared = Arc::new(SharedKeys::new(&Keys::default(), &name("x")));
        let several = Several::new(&Keys::default(), [name("{x}1"), name("{x}2")]).unwrap();
        let [writer, readers, intent] = [shared.writer(), shared.readers(), shared.intent()].map(ToString::to_string);
        let [one, other] = [&several.keys()[0], &several.keys()[1]].map(ToString::to_string);
        let [fence, one_fence, other_fence] = [&*writer, &one, &other].map(Keys::fence);
        let commit = Action::Commit { token: 7 };
        let [to_read, to_write] = [Kind::Reader(Arc::clone(&shared)), Kind::Writer(shared)].map(Subject::from);
        let (all, owner, ttl) = (Subject::from(Kind::Several(several)), Arc::from("owner"), Duration::from_secs(1));
        let (acquire, extend) = (Action::Acquire { ttl, is_watched: false }, Action::Extend { ttl, is_noted: false });
        let release = Action::Release { keep: Duration::ZERO, behind: None, is_noted: false };
        for (action, subject, expect) in [
            (acquire, &to_read, vec![&*writer, &readers, &intent]),
            (commit, &to_read, vec![&*writer, &readers, &fence]),
            (extend, &to_read, vec![&*writer, &readers]),
            (release, &to_read, vec![&*writer, &readers]),
            (acquire, &to_write, vec![&*writer, &readers, &intent]),
            (extend, &to_write, vec![]),
            (release, &to_write, vec![&*writer, &intent]),
            (acquire, &all, vec![&*one, &other]),
            (commit, &all, vec![&*one, &other, &one_fence, &other_fence]),
            (extend, &all, vec![&*one, &other]),
            (release, &all, vec![&*one, &other]),
        ] {
            let command = Command::new(action, subject, &owner);
            assert_eq!(keys_beside(&command).iter().map(|key| &**key).collect::<Vec<_>>(), expect, "{action:?}");
        }
    }
}
