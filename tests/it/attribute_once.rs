//! Annotated functions that run once per fire.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use redlock_runtime::testing::MemoryNode;
use redlock_runtime::{Error, Fire, LockManager, redlock, require_lock};
use redlock_tests::clock::time_of_day;
use tracing::Level;

use crate::common::events::Events;

/// A manager of one node inside this process, that no other test uses.
fn own_node() -> (LockManager, MemoryNode) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("attribute-once-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let locks = LockManager::builder().nodes([format!("memory://{name}")]).build().unwrap();
    (locks, MemoryNode::named(&name))
}

#[redlock(name = "job", once = fire, timeout = -1, manager = locks, guard = lock)]
async fn by_number(locks: &LockManager, fire: u64, end: Result<(), Error>) -> Result<Option<u64>, Error> {
    tokio::task::yield_now().await;
    end.map(|()| lock.fire())
}

#[redlock(name = "job", once = fire, timeout = -1, manager = locks, guard = lock)]
fn by_number_blocking(locks: &LockManager, fire: u64, end: Result<(), Error>) -> Result<Option<u64>, Error> {
    end.map(|()| lock.fire())
}

#[redlock(name = "job", once = "1d", timeout = -1, silent, manager = locks)]
async fn daily(locks: &LockManager) -> Option<&'static str> {
    Some("ran")
}

#[redlock(name = "job", once = Duration::from_secs(3600), timeout = -1, skip_value = "skipped", manager = locks)]
fn hourly(locks: &LockManager) -> &'static str {
    "ran"
}

#[redlock(name = "job", once = Fire::at(due), once_at = "start", timeout = 5, manager = locks)]
async fn at_most_once(locks: &LockManager, due: SystemTime) -> Result<(), Error> {
    Err(Error::ShutDown)
}

#[redlock(name = "job", once = 1 + calls, timeout = -1, silent, manager = locks)]
fn future_of(locks: &LockManager, calls: u64) -> impl Future<Output = Result<u32, Error>> + use<> {
    async { Ok(7) }
}

#[redlock(name = "job", once = u64::from(5_u32), timeout = -1, silent, manager = locks)]
async fn split(locks: &LockManager, count: &Cell<u32>) -> Result<(), Error> {
    count.set(count.get() + 1);
    require_lock!();
    count.set(count.get() + 100);
    Ok(())
}

#[redlock(name = "job", once = u64::from(5_u32), timeout = -1, manager = locks)]
async fn not_send(locks: &LockManager) -> Result<std::rc::Rc<()>, Error> {
    Ok(std::rc::Rc::new(()))
}

#[redlock(name = "job", once = u64::from(9_u32), timeout = -1, ttl = 1, manager = locks)]
async fn broken(locks: &LockManager, node: &MemoryNode) -> Result<u32, Error> {
    node.fail("it is a test");
    Ok(7)
}

#[redlock(name = "job", once = fire, timeout = 0, silent, manager = locks)]
fn waits_silently(locks: &LockManager, fire: u64) -> u32 {
    1
}

#[redlock(name = "job", once = fire, timeout = 0, skip_value = 0..0, manager = locks)]
fn with_a_skip_value(locks: &LockManager, fire: u64) -> impl Iterator<Item = u64> {
    0..fire
}

#[redlock(name = "job", once = fire, timeout = 0, manager = locks)]
fn waits_in_a_future(locks: &LockManager, fire: u64) -> impl Future<Output = std::io::Result<u32>> {
    async { Ok(1) }
}

async fn last(locks: &LockManager) -> Option<u64> {
    locks.last_run("job").await.unwrap().map(|last| last.fire)
}

#[tokio::test]
async fn an_ok_completes_the_fire_and_an_error_does_not() {
    let (locks, _node) = own_node();
    let failed = by_number(&locks, 7, Err(Error::ShutDown)).await;
    assert!(matches!(failed, Err(Error::ShutDown)));
    assert_eq!(last(&locks).await, None);
    assert_eq!(by_number(&locks, 7, Ok(())).await.unwrap(), Some(7));
    assert_eq!(last(&locks).await, Some(7));
    let again = by_number(&locks, 7, Ok(())).await.unwrap_err();
    assert!(matches!(again, Error::AlreadyRan { fire: 7, completed: 7, .. }), "{again}");
    assert!(matches!(by_number_blocking(&locks, 6, Ok(())), Err(Error::AlreadyRan { fire: 6, completed: 7, .. })));
    assert!(matches!(by_number_blocking(&locks, 8, Err(Error::ShutDown)), Err(Error::ShutDown)));
    assert_eq!(by_number_blocking(&locks, 8, Ok(())).unwrap(), Some(8));
    assert!(matches!(by_number(&locks, 8, Ok(())).await, Err(Error::AlreadyRan { .. })));
}

#[tokio::test]
async fn what_is_no_result_completes_its_fire_and_silent_calls_are_skipped() {
    let (locks, _node) = own_node();
    assert_eq!(daily(&locks).await, Some("ran"));
    assert_eq!(daily(&locks).await, None);
    let (locks, _node) = own_node();
    assert_eq!(hourly(&locks), "ran");
    assert_eq!(hourly(&locks), "skipped");
}

#[tokio::test]
async fn whoever_waits_for_ever_is_told_of_a_fire_that_ran_in_each_way_that_compiles() {
    let (locks, _node) = own_node();
    assert_eq!((waits_silently(&locks, 7), waits_silently(&locks, 7)), (1, 0));
    assert_eq!((with_a_skip_value(&locks, 8).count(), with_a_skip_value(&locks, 8).count()), (8, 0));
    assert_eq!(waits_in_a_future(&locks, 9).await.unwrap(), 1);
    let again = waits_in_a_future(&locks, 9).await.unwrap_err();
    assert_eq!(again.kind(), std::io::ErrorKind::AlreadyExists);
}

#[tokio::test]
async fn at_most_once_is_lost_if_it_fails() {
    let (locks, _node) = own_node();
    let due = time_of_day();
    assert!(matches!(at_most_once(&locks, due).await, Err(Error::ShutDown)));
    assert!(matches!(at_most_once(&locks, due).await, Err(Error::AlreadyRan { .. })));
}

#[tokio::test]
async fn functions_of_all_shapes_complete_their_fires() {
    let (locks, _node) = own_node();
    assert_eq!(future_of(&locks, 2).await.unwrap(), 7);
    assert_eq!(last(&locks).await, Some(3));
    assert_eq!(future_of(&locks, 2).await.unwrap(), 0, "skipped");

    let count = Cell::new(0);
    split(&locks, &count).await.unwrap();
    assert_eq!(count.get(), 101);
    split(&locks, &count).await.unwrap();
    assert_eq!(count.get(), 102, "what stands before `require_lock!` runs in any case");

    let (locks, _node) = own_node();
    not_send(&locks).await.unwrap();
    assert!(matches!(not_send(&locks).await, Err(Error::AlreadyRan { .. })));
}

#[tokio::test]
async fn a_value_that_cannot_wait_completes_its_fire_beside_a_node_that_has_not_answered() {
    let names = ["one", "two", "three"].map(|name| format!("attribute-once-{name}"));
    let locks = LockManager::builder().nodes(names.iter().map(|name| format!("memory://{name}"))).build().unwrap();
    let slow = MemoryNode::named(&names[2]);
    slow.hang();
    not_send(&locks).await.unwrap();
    slow.recover();
    assert_eq!(last(&locks).await, Some(5));
    assert!(matches!(not_send(&locks).await, Err(Error::AlreadyRan { .. })));
}

#[tokio::test]
async fn a_fire_that_could_not_be_marked_is_told_of_and_the_value_wins() {
    let (locks, node) = own_node();
    assert_eq!(broken(&locks, &node).await.unwrap(), 7);
    node.recover();
    node.flush();
    assert_eq!(broken(&locks, &node).await.unwrap(), 7, "it may run again");
}

#[tokio::test]
async fn a_run_can_be_awaited_in_a_task_of_its_own() {
    let (locks, _node) = own_node();
    let request = locks.lock("job").once(7_u64);
    let value = "borrowed".to_owned();
    let ran = tokio::spawn(async move {
        let value = &value;
        request
            .run(async |guard| {
                tokio::task::yield_now().await;
                Ok::<_, Error>((guard.fire(), value.len()))
            })
            .await
    });
    assert_eq!(ran.await.unwrap().unwrap().ran(), Some((Some(7), 8)));
    let blocking = locks.lock("job").once(8_u64).run_blocking(|guard| Ok::<_, Error>(guard.fire()));
    assert_eq!(blocking.unwrap().ran(), Some(Some(8)));
}

/// What a job of any kind returns.
struct Job<R>(std::marker::PhantomData<R>);

trait Skipped {
    const SKIPPED: Self;
}

impl Skipped for Result<u8, String> {
    const SKIPPED: Self = Ok(0);
}

impl Skipped for u8 {
    const SKIPPED: Self = 0;
}

#[expect(clippy::unused_self, reason = "methods of a value, so that the type parameter is that of the impl")]
impl<R: Skipped> Job<R> {
    #[redlock(name = "job", once = fire, timeout = -1, skip_value = R::SKIPPED, manager = locks)]
    async fn any(&self, locks: &LockManager, fire: u64, end: R) -> R {
        end
    }

    #[redlock(name = "job", once = fire, timeout = -1, skip_value = R::SKIPPED, manager = locks)]
    fn any_blocking(&self, locks: &LockManager, fire: u64, end: R) -> R {
        end
    }

    #[redlock(name = "job", once = fire, once_at = "start", timeout = -1, skip_value = R::SKIPPED, manager = locks)]
    fn any_at_start(&self, locks: &LockManager, fire: u64, end: R) -> R {
        end
    }
}

#[tokio::test]
async fn a_result_that_a_type_parameter_hides_completes_nothing_and_that_is_told() {
    let (locks, _node) = own_node();
    let events = Events::from_now();
    let hidden = Job::<Result<u8, String>>(std::marker::PhantomData);
    assert_eq!(hidden.any(&locks, 7, Err("it fails".to_owned())).await, Ok(0), "it is skipped");
    assert_eq!(hidden.any_blocking(&locks, 7, Ok(1)), Ok(0), "nor can a success be told");
    assert!(events.count(Level::ERROR, &["lock=job", "declare a `Result<…>`"]) > 0);
    assert_eq!(locks.last_run("job").await.unwrap(), None);
    // What it returns does not matter here.
    assert_eq!(hidden.any_at_start(&locks, 7, Err("it fails".to_owned())), Err("it fails".to_owned()));
    let shown = Job::<u8>(std::marker::PhantomData);
    assert_eq!((shown.any(&locks, 8, 1).await, shown.any_blocking(&locks, 9, 2)), (1, 2));
    assert_eq!(locks.last_run("job").await.unwrap().map(|last| last.fire), Some(9));
}
