//! One run per fire of functions whose value is not `Send`: they return it before their fire is confirmed, and nobody waits for that, but
//! it is seen through all the same, and told if it fails.

use std::rc::Rc;
use std::time::Duration;

use redlock_runtime::testing::MemoryNode;
use redlock_runtime::{LockManager, redlock};
use redlock_tests::Servers;
use redlock_tests::wait::eventually;
use tokio::runtime::{Builder, Runtime};
use tokio::task::{LocalSet, spawn_local, yield_now};
use tracing::Level;

use crate::common::cycles::patient;
use crate::common::events::Events;
use crate::common::key;

/// So long a lock lives here, or a server has to answer.
const SHORT: Duration = Duration::from_secs(1);

/// What a body does before it ends.
type Last<'a> = &'a dyn Fn();

#[redlock(name = name, once = fire, timeout = -1, silent, manager = locks)]
async fn silent(locks: &LockManager, name: &str, fire: u64, last: Last<'_>) -> Option<Rc<u64>> {
    // Neither is the body.
    let value = Rc::new(fire);
    yield_now().await;
    last();
    Some(value)
}

/// A runtime that goes on only while somebody blocks on it.
fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn last_fire(locks: &LockManager, name: &str) -> Option<u64> {
    locks.last_run_blocking(name).unwrap().map(|last| last.fire)
}

#[test]
fn a_fire_that_is_not_completed_is_told_of_although_its_value_did_not_wait() {
    let events = Events::from_now();
    let locks = LockManager::builder().nodes(["memory://once-not-send"]).ttl(SHORT).build().unwrap();
    let node = MemoryNode::named("once-not-send");
    let runtime = current_thread();
    let told = |fire: &str| events.count(Level::ERROR, &["lock=not-send", fire, "its fire may run again"]);
    let ran = runtime.block_on(silent(&locks, "not-send", 7, &|| node.fail("it is a test")));
    assert_eq!(ran.as_deref(), Some(&7));
    eventually("it is told, and the runtime stands still", || told("fire=7") == 1);
    node.recover();
    // Of the one before too little is left to be in the way.
    eventually("it runs", || runtime.block_on(silent(&locks, "not-send", 8, &|| ())).is_some());
    eventually("it is completed", || last_fire(&locks, "not-send") == Some(8));
    assert_eq!((told("fire=7"), told("fire=8")), (1, 0));
}

#[test]
fn a_fire_is_completed_whose_runtime_stands_still_behind_its_value() {
    let servers = Servers::start(3);
    let events = Events::from_now();
    let locks = LockManager::builder().nodes(servers.urls()).node_timeout(SHORT).build().unwrap();
    let others = patient(servers.urls());
    others.reset_marks_blocking("stands-still").unwrap();
    let runtime = current_thread();
    for fire in 7..10 {
        let ran = runtime.block_on(LocalSet::new().run_until(async {
            let locks = locks.clone();
            spawn_local(async move { silent(&locks, "stands-still", fire, &|| ()).await.is_some() }).await
        }));
        assert!(ran.unwrap(), "{fire}");
        eventually("it is completed", || last_fire(&others, "stands-still") == Some(fire));
        eventually("no key is left", || servers.holding(&key("stands-still")) == 0);
        assert_eq!(runtime.block_on(silent(&locks, "stands-still", fire, &|| ())), None, "it already ran");
        eventually("no key is left", || servers.holding(&key("stands-still")) == 0);
    }
    assert_eq!(events.count(Level::ERROR, &["lock=stands-still"]), 0);
}

#[test]
fn a_fire_whose_servers_hang_when_its_value_is_returned_is_told_of() {
    let servers = Servers::start(3);
    let events = Events::from_now();
    let locks = LockManager::builder().nodes(servers.urls()).ttl(2 * SHORT).node_timeout(SHORT / 4).build().unwrap();
    patient(servers.urls()).reset_marks_blocking("hang-up").unwrap();
    let ran =
        current_thread().block_on(silent(&locks, "hang-up", 7, &|| servers.iter().for_each(|server| server.hang())));
    assert_eq!(ran.as_deref(), Some(&7));
    eventually("it is told", || events.count(Level::ERROR, &["lock=hang-up", "fire=7", "its fire may run again"]) == 1);
    servers.iter().for_each(|server| server.resume());
}
