//! Every combination of what nodes can do, for acquire, extend and release, on nodes inside the process and under a
//! clock that runs as fast as it can.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use redlock_runtime::testing::MemoryNode;
use redlock_runtime::{Error, LockGuard, LockManager};

use crate::common::kinds::Kind;
use crate::common::unhurried;

/// What a node does when it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Node {
    /// What it is asked for.
    Grants,
    /// It has another owner's key.
    Refuses,
    /// It answers with an error, and has carried the command out.
    Errs,
    /// It answers in time, but last.
    IsSlow,
    /// It does not answer in time.
    Hangs,
}

const ALL: [Node; 5] = [Node::Grants, Node::Refuses, Node::Errs, Node::IsSlow, Node::Hangs];
const NODE_TIMEOUT: Duration = Duration::from_millis(100);

/// In how many orders more than three nodes are tried: they differ in nothing but their place.
const ORDERS: u64 = 4;

/// Every combination for `count` nodes; for more than three, every choice in [`ORDERS`] orders.
fn combinations(count: usize) -> Vec<Vec<Node>> {
    let mut all = vec![Vec::new()];
    for _ in 0..count {
        all = all.iter().flat_map(|begun| ALL.map(|node| [begun.as_slice(), &[node]].concat())).collect();
    }
    if count > 3 {
        all.retain(|nodes| nodes.is_sorted());
        all = all.iter().flat_map(|nodes| (0..ORDERS).map(|seed| shuffled(nodes.clone(), seed))).collect();
    }
    all
}

/// The same for the same seed, so that a failure can be seen again; the first seed leaves them as they are.
fn shuffled(mut nodes: Vec<Node>, seed: u64) -> Vec<Node> {
    let count = u64::try_from(nodes.len()).expect("few");
    for place in 0..nodes.len() {
        let mut hasher = DefaultHasher::new();
        (seed, place).hash(&mut hasher);
        let other = usize::try_from(hasher.finish() % count).expect("few");
        if seed > 0 {
            nodes.swap(place, other);
        }
    }
    nodes
}

struct Fleet {
    kind: Kind,
    urls: Vec<String>,
    nodes: Vec<MemoryNode>,
    locks: LockManager,
}

impl Fleet {
    fn new(kind: Kind, label: &str, count: usize) -> Self {
        let names: Vec<_> = (0..count).map(|node| format!("{label}-{kind:?}-{node}")).collect();
        let urls: Vec<_> = names.iter().map(|name| format!("memory://{name}")).collect();
        let locks = LockManager::builder()
            .nodes(&urls)
            .node_timeout(NODE_TIMEOUT)
            .longest_ttl(Duration::from_secs(7200))
            .build()
            .unwrap();
        let nodes: Vec<_> = names.iter().map(|name| MemoryNode::named(name)).collect();
        nodes.iter().for_each(MemoryNode::flush);
        Self { kind, urls, nodes, locks }
    }

    fn behave(&self, behaviour: &[Node]) {
        for (node, does) in self.nodes.iter().zip(behaviour) {
            match does {
                Node::Grants => node.recover(),
                Node::Refuses => {
                    self.kind.taken().iter().for_each(|key| node.give_to(key, "somebody", Duration::from_secs(3600)));
                }
                Node::Errs => node.fail_afterwards("ERR as the test wants"),
                Node::IsSlow => node.answer_after(NODE_TIMEOUT / 2),
                Node::Hangs => node.hang(),
            }
        }
    }

    /// Waits until every release is through, and looks for keys of ours.
    async fn check_nothing_is_left(self, behaviour: &[Node]) {
        self.nodes.iter().for_each(MemoryNode::recover);
        self.locks.shutdown().await;
        for (node, key) in self.nodes.iter().flat_map(|node| self.kind.keys().into_iter().map(move |key| (node, key))) {
            let owner = node.owner_of(&key);
            assert!(owner.is_none() || owner.as_deref() == Some("somebody"), "{owner:?} after {behaviour:?}");
        }
        for url in self.urls.iter().filter(|_| self.kind == Kind::Read) {
            let shared = unhurried().nodes([url]).build().unwrap().inspect("x").await.unwrap().shared;
            assert!(shared.is_none_or(|shared| shared.readers == 0), "after {behaviour:?}");
        }
    }

    async fn acquire(&self) -> Result<Option<LockGuard>, Error> {
        self.kind.request(&self.locks).ttl(Duration::from_secs(3600)).renew(false).try_acquire().await
    }
}

/// What plain counting says about a round.
#[derive(Debug, PartialEq, Eq)]
enum Expected {
    Won,
    Refused,
    Unreachable,
}

fn expected(behaviour: &[Node]) -> Expected {
    let count = |wanted: &[Node]| behaviour.iter().filter(|node| wanted.contains(node)).count();
    let majority = behaviour.len() / 2 + 1;
    let granted = count(&[Node::Grants, Node::IsSlow]);
    if granted >= majority {
        Expected::Won
    } else if granted + count(&[Node::Refuses]) >= majority {
        Expected::Refused
    } else {
        Expected::Unreachable
    }
}

async fn check_acquire(kind: Kind, count: usize) {
    let all = combinations(count);
    println!("{} combinations", all.len());
    for behaviour in all {
        let fleet = Fleet::new(kind, &format!("acquire-{count}"), count);
        fleet.behave(&behaviour);
        let acquired = fleet.acquire().await;
        let outcome = match &acquired {
            Ok(Some(_)) => Expected::Won,
            Ok(None) => Expected::Refused,
            Err(Error::QuorumUnreachable { .. }) => Expected::Unreachable,
            Err(other) => panic!("{other} after {behaviour:?}"),
        };
        assert_eq!(outcome, expected(&behaviour), "{behaviour:?}");
        drop(acquired);
        fleet.check_nothing_is_left(&behaviour).await;
    }
}

#[tokio::test(start_paused = true)]
async fn three_nodes_acquire() {
    check_acquire(Kind::Mutex, 3).await;
}

#[tokio::test(start_paused = true)]
async fn three_nodes_acquire_a_permit() {
    check_acquire(Kind::Permits, 3).await;
}

#[tokio::test(start_paused = true)]
async fn three_nodes_acquire_for_a_reader() {
    check_acquire(Kind::Read, 3).await;
}

#[tokio::test(start_paused = true)]
async fn three_nodes_acquire_for_a_writer() {
    check_acquire(Kind::Write, 3).await;
}

#[tokio::test(start_paused = true)]
async fn three_nodes_acquire_two_names() {
    check_acquire(Kind::Names, 3).await;
}

#[tokio::test(start_paused = true)]
async fn five_nodes_acquire() {
    check_acquire(Kind::Mutex, 5).await;
}

#[tokio::test(start_paused = true)]
async fn five_nodes_acquire_a_permit() {
    check_acquire(Kind::Permits, 5).await;
}

#[tokio::test(start_paused = true)]
async fn three_nodes_extend() {
    check_extend(Kind::Mutex, 3).await;
}

#[tokio::test(start_paused = true)]
async fn three_nodes_extend_a_permit() {
    check_extend(Kind::Permits, 3).await;
}

#[tokio::test(start_paused = true)]
async fn three_nodes_extend_a_writer() {
    check_extend(Kind::Write, 3).await;
}

#[tokio::test(start_paused = true)]
async fn three_nodes_extend_two_names() {
    check_extend(Kind::Names, 3).await;
}

#[tokio::test(start_paused = true)]
async fn five_nodes_extend() {
    check_extend(Kind::Mutex, 5).await;
}

#[tokio::test(start_paused = true)]
async fn five_nodes_extend_a_permit() {
    check_extend(Kind::Permits, 5).await;
}

async fn check_extend(kind: Kind, count: usize) {
    for behaviour in combinations(count) {
        let fleet = Fleet::new(kind, &format!("extend-{count}"), count);
        let guard = fleet.acquire().await.unwrap().expect("every node is free");
        tokio::time::sleep(NODE_TIMEOUT).await;
        fleet.behave(&behaviour);
        let outcome = match guard.extend(Duration::from_secs(7200)).await {
            Ok(()) => Expected::Won,
            Err(Error::Lost { .. }) => Expected::Refused,
            Err(Error::QuorumUnreachable { .. }) => Expected::Unreachable,
            Err(other) => panic!("{other} after {behaviour:?}"),
        };
        // A majority that does not have the key speaks for the loss; who granted says nothing then.
        assert_eq!(outcome == Expected::Won, expected(&behaviour) == Expected::Won, "{behaviour:?}");
        assert_eq!(guard.is_valid(), outcome != Expected::Refused, "{behaviour:?}");
        drop(guard);
        fleet.check_nothing_is_left(&behaviour).await;
    }
}

#[tokio::test(start_paused = true)]
async fn three_nodes_release() {
    check_release(Kind::Mutex, 3).await;
}

#[tokio::test(start_paused = true)]
async fn three_nodes_release_a_permit() {
    check_release(Kind::Permits, 3).await;
}

#[tokio::test(start_paused = true)]
async fn three_nodes_release_a_writer() {
    check_release(Kind::Write, 3).await;
}

#[tokio::test(start_paused = true)]
async fn three_nodes_release_two_names() {
    check_release(Kind::Names, 3).await;
}

#[tokio::test(start_paused = true)]
async fn five_nodes_release() {
    check_release(Kind::Mutex, 5).await;
}

#[tokio::test(start_paused = true)]
async fn five_nodes_release_a_permit() {
    check_release(Kind::Permits, 5).await;
}

async fn check_release(kind: Kind, count: usize) {
    for behaviour in combinations(count) {
        let fleet = Fleet::new(kind, &format!("release-{count}"), count);
        let guard = fleet.acquire().await.unwrap().expect("every node is free");
        tokio::time::sleep(NODE_TIMEOUT).await;
        fleet.behave(&behaviour);
        let released = guard.release().await;
        let refused = behaviour.iter().filter(|node| **node == Node::Refuses).count();
        match (expected(&behaviour), &released) {
            (Expected::Won, Ok(()))
            | (Expected::Refused | Expected::Unreachable, Err(Error::QuorumUnreachable { .. })) => {}
            (Expected::Refused | Expected::Unreachable, Err(Error::NotHeld { .. })) if refused > count / 2 => {}
            _ => panic!("{released:?} after {behaviour:?}"),
        }
        fleet.check_nothing_is_left(&behaviour).await;
    }
}
