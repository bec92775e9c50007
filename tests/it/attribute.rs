//! What an annotated function does when its lock is free, held, lost, or cannot be asked for.
use std::cell::Cell;
use std::error::Error as StdError;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use redlock_runtime::testing::MemoryNode;
use redlock_runtime::{Error, LockGuard, LockManager, Timeout, redlock, require_lock};
use redlock_tests::wait::{eventually, eventually_async};

use crate::common::events::ask_every_subscriber;
use crate::common::{unhurried, waiting};

/// A manager of one node inside this process, that no other test uses.
fn locks() -> LockManager {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let url = format!("memory://attribute-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    LockManager::builder().nodes([url.as_str()]).build().expect("a memory node needs nothing")
}

fn hold(locks: &LockManager, name: &str) -> LockGuard {
    locks.lock(name).try_acquire_blocking().expect("the node answers").expect("nobody holds it")
}

#[track_caller]
fn assert_free(locks: &LockManager, name: &str) {
    eventually(format_args!("{name} is free"), || {
        locks.lock(name).try_acquire_blocking().expect("the node answers").is_some()
    });
}

fn assert_send<T: Send>(value: T) -> T {
    value
}

#[redlock(name = "job", timeout = -1, manager = locks, guard = lock)]
async fn job(locks: &LockManager) -> Result<String, Error> {
    tokio::task::yield_now().await;
    assert!(lock.is_valid());
    assert!(locks.lock("job").try_acquire().await?.is_none(), "held while the body runs");
    Ok(lock.name().to_owned())
}

#[redlock(name = "job", timeout = -1, manager = locks, guard = lock)]
fn job_blocking(locks: &LockManager) -> Result<String, Error> {
    assert!(locks.lock("job").try_acquire_blocking()?.is_none(), "held while the body runs");
    Ok(lock.name().to_owned())
}

#[tokio::test]
async fn the_body_runs_under_the_lock_and_the_lock_is_released_behind_it() {
    let locks = locks();
    assert_eq!(job(&locks).await.unwrap(), "job");
    // At once: the call returned only after the release.
    assert!(locks.lock("job").try_acquire().await.unwrap().is_some());
}

#[test]
fn a_sync_body_runs_under_the_lock_and_the_lock_is_released_behind_it() {
    let locks = locks();
    assert_eq!(job_blocking(&locks).unwrap(), "job");
    assert!(locks.lock("job").try_acquire_blocking().unwrap().is_some());
}

#[tokio::test]
async fn one_attempt_at_a_held_lock_is_an_error() {
    let locks = locks();
    let _held = hold(&locks, "job");
    assert!(matches!(job(&locks).await, Err(Error::NotAcquired { name, .. }) if name == "job"));
    assert!(matches!(job_blocking(&locks), Err(Error::NotAcquired { .. })));
}

#[redlock(name = "waited", timeout = "40ms", manager = locks)]
async fn waits_shortly(locks: &LockManager) -> Result<(), Error> {
    Ok(())
}

#[redlock(name = "waited", timeout = limit, manager = locks)]
async fn waits<T: Into<Timeout>>(locks: &LockManager, limit: Timeout, _unused: T) -> Result<u8, Error> {
    Ok(7)
}

#[tokio::test]
async fn a_waiter_gives_up_when_its_time_is_over() {
    let locks = locks();
    let _held = hold(&locks, "waited");
    let Err(Error::NotAcquired { waited, .. }) = waits_shortly(&locks).await else { panic!("it is held") };
    assert!(waited >= Duration::from_millis(40), "{waited:?}");
}

#[tokio::test]
async fn a_waiter_gets_the_lock_when_it_is_released() {
    let locks = locks();
    let held = hold(&locks, "waited");
    let waiter = waits(&locks, Timeout::After(Duration::from_secs(20)), Duration::ZERO);
    let release = async {
        eventually_async("it waits", async || waiting(&locks, "waited").await == 1).await;
        held.release().await.unwrap();
    };
    let (value, ()) = futures::join!(waiter, release);
    assert_eq!(value.unwrap(), 7);
}

/// Silent functions of every class, called on one lock that is held and one that is free.
mod silent {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct NotAnError;
    type Alias = std::io::Result<Vec<u8>>;

    #[redlock(name = "x", timeout = -1, silent, manager = locks)]
    async fn converts(locks: &LockManager) -> Result<Option<u8>, Error> {
        Ok(Some(1))
    }

    #[redlock(name = "x", timeout = -1, silent, manager = locks)]
    fn alias(locks: &LockManager) -> Alias {
        Ok(vec![1])
    }

    #[redlock(name = "x", timeout = -1, silent, manager = locks)]
    async fn does_not_convert(locks: &LockManager) -> Result<u8, NotAnError> {
        Ok(1)
    }

    #[redlock(name = "x", timeout = -1, silent, manager = locks)]
    async fn option(locks: &LockManager) -> Option<u8> {
        Some(1)
    }

    #[redlock(name = "x", timeout = -1, silent, manager = locks)]
    fn unit(locks: &LockManager, ran: &mut bool) {
        *ran = true;
    }

    #[redlock(name = "x", timeout = -1, skip_value = Err(NotAnError), manager = locks)]
    async fn skip_value(locks: &LockManager) -> Result<String, NotAnError> {
        Ok(String::from("ran"))
    }

    #[redlock(name = "x", timeout = -1, skip_value = { evaluated.set(true); count }, manager = locks)]
    fn lazy_skip_value(locks: &LockManager, evaluated: &Cell<bool>, count: u8) -> u8 {
        count + 1
    }

    #[tokio::test]
    async fn a_lock_that_is_held_skips_the_body() {
        let locks = locks();
        let _held = hold(&locks, "x");
        assert_eq!(converts(&locks).await.unwrap(), None);
        assert!(alias(&locks).unwrap().is_empty());
        assert_eq!(does_not_convert(&locks).await, Ok(0));
        assert_eq!(option(&locks).await, None);
        let mut ran = false;
        unit(&locks, &mut ran);
        assert!(!ran);
        assert_eq!(skip_value(&locks).await, Err(NotAnError));
        let evaluated = Cell::new(false);
        assert_eq!(lazy_skip_value(&locks, &evaluated, 4), 4);
        assert!(evaluated.get());
    }

    #[tokio::test]
    async fn a_lock_that_is_free_runs_the_body() {
        let locks = locks();
        assert_eq!(converts(&locks).await.unwrap(), Some(1));
        assert_eq!(alias(&locks).unwrap(), [1]);
        assert_eq!(does_not_convert(&locks).await, Ok(1));
        assert_eq!(option(&locks).await, Some(1));
        let mut ran = false;
        unit(&locks, &mut ran);
        assert!(ran);
        assert_eq!(skip_value(&locks).await, Ok(String::from("ran")));
        let evaluated = Cell::new(false);
        assert_eq!(lazy_skip_value(&locks, &evaluated, 4), 5);
        assert!(!evaluated.get(), "the skip value is evaluated only when it is needed");
    }
}

/// What goes wrong with the lock reaches `E` through `From`, whatever the type is called.
mod conversion {
    use super::*;

    #[redlock(name = "x", timeout = -1, manager = locks)]
    async fn io(locks: &LockManager) -> std::io::Result<()> {
        Ok(())
    }

    #[redlock(name = "x", timeout = -1, manager = locks)]
    fn anyhow(locks: &LockManager) -> anyhow::Result<()> {
        Ok(())
    }

    #[redlock(name = "x", timeout = -1, manager = locks)]
    async fn boxed(locks: &LockManager) -> Result<(), Box<dyn StdError>> {
        Ok(())
    }

    #[redlock(name = "x", timeout = -1, manager = locks)]
    async fn generic<E>(locks: &LockManager) -> Result<(), E>
    where
        E: From<Error>,
    {
        Ok(())
    }

    #[tokio::test]
    async fn the_error_is_converted_to_the_one_that_is_declared() {
        let locks = locks();
        let _held = hold(&locks, "x");
        assert_eq!(io(&locks).await.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        assert!(anyhow(&locks).unwrap_err().is::<Error>());
        assert!(assert_send(boxed(&locks)).await.unwrap_err().is::<Error>());
        assert!(matches!(generic::<Error>(&locks).await, Err(Error::NotAcquired { .. })));
    }
}

/// A name that is not allowed, found only when the function is called.
mod unusable_name {
    use super::*;

    #[redlock(name = name, timeout = -1, silent, manager = locks)]
    async fn silent_result(locks: &LockManager, name: &str) -> Result<u8, Error> {
        Ok(1)
    }

    #[redlock(name = name, timeout = -1, silent, manager = locks)]
    fn silent_option(locks: &LockManager, name: &str) -> Option<u8> {
        Some(1)
    }

    #[redlock(name = name, manager = locks)]
    async fn loud(locks: &LockManager, name: &str) -> u8 {
        1
    }

    #[tokio::test]
    async fn is_an_error_where_one_can_be_returned_also_when_silent() {
        assert!(matches!(silent_result(&locks(), "").await, Err(Error::InvalidName { .. })));
    }

    #[test]
    fn skips_a_silent_function_that_cannot_return_an_error() {
        assert_eq!(silent_option(&locks(), ""), None);
    }

    #[tokio::test]
    async fn panics_where_neither_is_possible() {
        let locks = locks();
        let panic = AssertUnwindSafe(loud(&locks, "")).catch_unwind().await.unwrap_err();
        let text = panic.downcast::<String>().unwrap();
        assert!(text.contains("cannot name a lock"), "{text}");
        assert_eq!(loud(&locks, "fine").await, 1);
    }
}

/// Too few nodes can be reached.
mod unreachable {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Port 1 is never listened on.
    fn no_nodes() -> LockManager {
        unhurried().nodes(["redis://127.0.0.1:1"]).build().expect("the URL is fine")
    }

    #[redlock(name = "x", timeout = -1, silent, manager = locks)]
    async fn silent_result(locks: &LockManager) -> Result<u8, Error> {
        Ok(1)
    }

    #[redlock(name = "x", timeout = -1, silent, manager = locks)]
    fn silent_option(locks: &LockManager) -> Option<u8> {
        Some(1)
    }

    #[tokio::test]
    async fn is_an_error_where_one_can_be_returned_also_when_silent() {
        assert!(matches!(silent_result(&no_nodes()).await, Err(Error::QuorumUnreachable { .. })));
    }

    #[test]
    fn skips_a_silent_function_that_cannot_return_it_but_not_quietly() {
        let text = logged_by(|| assert_eq!(silent_option(&no_nodes()), None));
        assert!(text.lines().any(|line| line.contains("ERROR") && line.contains("`x`")), "{text}");
    }

    #[redlock(name = "tenant:{id}", timeout = -1, silent, ttl = "10m", manager = locks)]
    fn misconfigured(locks: &LockManager, id: u8) -> Option<u8> {
        Some(id)
    }

    #[redlock(name = "tenant:{id}", timeout = -1, silent, ttl = "10m", manager = locks)]
    async fn misconfigured_async(locks: &LockManager, id: u8) -> Option<u8> {
        Some(id)
    }

    #[redlock(name = "tenant:{id}", timeout = -1, silent, ttl = "10m", manager = locks)]
    fn misconfigured_midway(locks: &LockManager, id: u8) -> Option<u8> {
        require_lock!();
        Some(id)
    }

    #[test]
    fn a_silent_function_with_a_configuration_that_cannot_be_used_is_skipped_and_names_itself_its_lock_and_the_cure() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for (function, call) in [
            ("misconfigured", (|locks, _| misconfigured(locks, 7)) as fn(&LockManager, &tokio::runtime::Runtime) -> _),
            ("misconfigured_async", |locks, runtime| runtime.block_on(misconfigured_async(locks, 7))),
            ("misconfigured_midway", |locks, _| misconfigured_midway(locks, 7)),
        ] {
            let text = logged_by(|| assert_eq!(call(&locks(), &runtime), None));
            let event = text.lines().find(|line| line.contains("ERROR")).expect("it is never quiet");
            let path = format!("{}::{function}", module_path!());
            for part in [path.as_str(), "tenant:7", "set `longest_ttl` of the builder"] {
                assert!(event.contains(part), "{part} is missing in {event}");
            }
        }
    }

    #[test]
    fn is_not_confused_with_a_lock_that_is_held() {
        let locks = locks();
        let _held = hold(&locks, "x");
        let text = logged_by(|| assert_eq!(silent_option(&locks), None));
        assert!(!text.contains("ERROR"), "{text}");
    }

    /// What is logged on this thread.
    fn logged_by(call: impl FnOnce()) -> String {
        ask_every_subscriber();
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, call);
        log.text()
    }

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Log {
        fn text(&self) -> String {
            String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
        }
    }

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
}

/// However the body ends, the lock is released.
mod every_end {
    use super::*;

    #[derive(Debug, Clone, Copy)]
    enum End {
        Return,
        Question,
        Bail,
        Panic,
    }

    #[redlock(name = "x", manager = locks)]
    async fn body(locks: &LockManager, end: End) -> anyhow::Result<u8> {
        tokio::task::yield_now().await;
        match end {
            End::Return => return Ok(1),
            End::Question => drop("no".parse::<u8>()?),
            End::Bail => anyhow::bail!("bailed out"),
            End::Panic => panic!("on purpose"),
        }
        Ok(2)
    }

    #[redlock(name = "x", manager = locks)]
    fn body_blocking(locks: &LockManager, end: End) -> anyhow::Result<u8> {
        match end {
            End::Return => return Ok(1),
            End::Question => drop("no".parse::<u8>()?),
            End::Bail => anyhow::bail!("bailed out"),
            End::Panic => panic!("on purpose"),
        }
        Ok(2)
    }

    #[redlock(name = "x", manager = locks)]
    async fn never_ends(locks: &LockManager) {
        std::future::pending::<()>().await;
    }

    #[tokio::test]
    async fn releases_after_return_and_question_mark_and_bail_and_panic() {
        let locks = locks();
        for end in [End::Return, End::Question, End::Bail, End::Panic] {
            let ended = AssertUnwindSafe(body(&locks, end)).catch_unwind().await;
            assert_eq!(ended.is_err(), matches!(end, End::Panic));
            assert_free(&locks, "x");
            let ended = catch_unwind(AssertUnwindSafe(|| body_blocking(&locks, end)));
            assert_eq!(ended.is_err(), matches!(end, End::Panic));
            assert_free(&locks, "x");
        }
    }

    #[tokio::test]
    async fn releases_when_the_future_is_dropped() {
        let locks = locks();
        {
            let mut call = std::pin::pin!(never_ends(&locks));
            assert!(futures::poll!(call.as_mut()).is_pending());
            tokio::time::timeout(Duration::from_millis(30), call).await.unwrap_err();
            assert!(locks.lock("x").try_acquire().await.is_ok());
        }
        assert_free(&locks, "x");
    }
}

/// `max_hold` is the way to lose a lock without a second process.
mod lost {
    use super::*;

    #[redlock(name = "x", timeout = -1, max_hold = "40ms", manager = locks)]
    async fn cancelled(locks: &LockManager, finished: &Cell<bool>) -> Result<(), Error> {
        tokio::time::sleep(Duration::from_secs(20)).await;
        finished.set(true);
        Ok(())
    }

    #[redlock(name = "x", timeout = -1, max_hold = "40ms", silent, manager = locks)]
    async fn skipped(locks: &LockManager) -> Option<u8> {
        std::future::pending().await
    }

    #[redlock(name = "x", timeout = -1, max_hold = "40ms", silent, manager = locks)]
    async fn silent_but_told(locks: &LockManager) -> Result<u8, Error> {
        std::future::pending().await
    }

    #[redlock(name = "x", timeout = -1, max_hold = "40ms", skip_value = 9, manager = locks)]
    async fn skipped_by_value(locks: &LockManager) -> u8 {
        std::future::pending().await
    }

    #[redlock(name = "x", timeout = -1, max_hold = "40ms", on_lost = "continue", manager = locks)]
    async fn continued(locks: &LockManager) -> Result<u8, Error> {
        tokio::time::sleep(Duration::from_millis(90)).await;
        Ok(3)
    }

    #[redlock(name = "x", max_hold = "40ms", manager = locks)]
    async fn cannot_be_told(locks: &LockManager) -> u8 {
        tokio::time::sleep(Duration::from_millis(90)).await;
        3
    }

    #[tokio::test]
    async fn a_body_that_can_report_it_is_cancelled() {
        let (locks, finished) = (locks(), Cell::new(false));
        assert!(matches!(cancelled(&locks, &finished).await, Err(Error::Lost { .. })));
        assert!(!finished.get());
        assert_eq!(locks.losses(), 1);
    }

    #[tokio::test]
    async fn a_silent_body_is_cancelled_and_skipped() {
        let locks = locks();
        assert_eq!(skipped(&locks).await, None);
        assert_eq!(locks.losses(), 1);
        assert_eq!(skipped_by_value(&locks).await, 9);
    }

    #[tokio::test]
    async fn a_silent_body_that_can_report_it_does() {
        assert!(matches!(silent_but_told(&locks()).await, Err(Error::Lost { .. })));
    }

    #[tokio::test]
    async fn a_body_that_may_continue_returns_its_own_value_and_the_loss_is_counted() {
        let locks = locks();
        assert_eq!(continued(&locks).await.unwrap(), 3);
        assert_eq!(locks.losses(), 1);
    }

    #[tokio::test]
    async fn a_body_that_cannot_report_it_continues() {
        let locks = locks();
        assert_eq!(cannot_be_told(&locks).await, 3);
        assert_eq!(locks.losses(), 1);
    }

    /// As somebody would who deletes the key, and takes the lock.
    fn steal(node: &str) {
        MemoryNode::named(node).give_to("redlock:ConfigurableLock.x", "somebody", Duration::from_secs(30));
    }

    #[redlock(name = "x", timeout = -1, manager = locks)]
    async fn robbed(locks: &LockManager) -> Result<u8, Error> {
        steal("robbed");
        Ok(3)
    }

    #[redlock(name = "x", timeout = -1, manager = locks)]
    fn robbed_while_it_blocks(locks: &LockManager) -> Result<u8, Error> {
        steal("robbed-while-it-blocks");
        Ok(3)
    }

    #[tokio::test]
    async fn a_loss_that_only_the_release_finds_is_counted() {
        let locks = LockManager::builder().nodes(["memory://robbed"]).build().unwrap();
        assert_eq!(robbed(&locks).await.unwrap(), 3);
        eventually_async("it is counted", async || locks.losses() == 1).await;
    }

    #[test]
    fn a_loss_of_a_sync_body_that_only_the_release_finds_is_counted() {
        let locks = LockManager::builder().nodes(["memory://robbed-while-it-blocks"]).build().unwrap();
        assert_eq!(robbed_while_it_blocks(&locks).unwrap(), 3);
        assert_eq!(locks.losses(), 1);
    }

    #[redlock(name = "x", timeout = -1, max_hold = "40ms", manager = locks)]
    fn blocks(locks: &LockManager) -> Result<u8, Error> {
        std::thread::sleep(Duration::from_millis(90));
        Ok(3)
    }

    #[test]
    fn a_sync_body_continues_and_the_loss_is_counted() {
        let locks = locks();
        assert_eq!(blocks(&locks).unwrap(), 3);
        assert_eq!(locks.losses(), 1);
        assert!(job_blocking(&locks).is_ok());
        assert_eq!(locks.losses(), 1, "a lock that was not lost does not count");
    }
}

/// The arguments of the attribute see the arguments of the function as they were at the call.
mod arguments {
    use super::*;

    #[redlock(name = "{kind}:{id:>03}:{{}}", manager = locks, guard = lock)]
    async fn template(locks: &LockManager, kind: &str, id: u8) -> String {
        lock.name().to_owned()
    }

    #[redlock(name = id, ttl = ttl, timeout = limit, manager = locks, guard = lock)]
    async fn expressions(
        locks: &LockManager,
        id: String,
        ttl: Duration,
        limit: Duration,
    ) -> Result<(String, String), Error> {
        let name = lock.name().to_owned();
        Ok((id, name))
    }

    /// Tells whether the lock was held when it was dropped.
    struct Witness<'a> {
        locks: &'a LockManager,
        was_held: &'a Cell<bool>,
    }

    impl Drop for Witness<'_> {
        fn drop(&mut self) {
            let is_free = self.locks.lock("x").try_acquire_blocking().expect("a memory node answers").is_some();
            self.was_held.set(!is_free);
        }
    }

    struct Pair<'a> {
        _witness: Witness<'a>,
        number: u8,
    }

    #[redlock(name = "x", manager = locks)]
    async fn taken_whole(locks: &LockManager, pair: Pair<'_>) -> u8 {
        let _whole = &pair;
        pair.number
    }

    #[redlock(name = "x", manager = locks)]
    fn taken_whole_sync(locks: &LockManager, pair: Pair<'_>) {
        let _whole = &pair;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_argument_that_the_body_takes_is_dropped_under_the_lock() {
        let (locks, was_held) = (locks(), Cell::new(false));
        let pair = || {
            was_held.set(false);
            Pair { _witness: Witness { locks: &locks, was_held: &was_held }, number: 2 }
        };
        assert_eq!(taken_whole(&locks, pair()).await, 2);
        assert!(was_held.get());
        taken_whole_sync(&locks, pair());
        assert!(was_held.get());
    }

    #[tokio::test]
    async fn a_template_captures_arguments() {
        assert_eq!(template(&locks(), "invoice", 7).await, "invoice:007:{}");
    }

    #[tokio::test]
    async fn an_expression_does_not_take_the_argument_from_the_body() {
        let (id, name) =
            expressions(&locks(), "a".into(), Duration::from_secs(9), Duration::from_secs(1)).await.unwrap();
        assert_eq!((id.as_str(), name.as_str()), ("a", "a"));
    }

    #[redlock(name = "x", manager = &locks)]
    async fn not_sync(locks: LockManager, cell: Cell<u8>) -> Result<u8, Box<dyn StdError>> {
        tokio::task::yield_now().await;
        cell.set(cell.get() + 1);
        tokio::task::yield_now().await;
        Ok(cell.get())
    }

    #[tokio::test]
    async fn the_future_is_send_as_the_unannotated_one_would_be() {
        assert_eq!(assert_send(not_sync(locks(), Cell::new(1))).await.unwrap(), 2);
    }
}

/// A lock refused inside the body of a silent function counts as its own.
mod nested {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Wrapper {
        #[error("source")]
        Source(#[source] Error),
        #[error("from")]
        From(#[from] Error),
        #[error(transparent)]
        Transparent(Box<Wrapper>),
        #[error("other")]
        Other,
    }

    #[derive(Debug)]
    struct NotAnError;

    fn refused() -> Error {
        let locks = locks();
        let _held = hold(&locks, "inner");
        locks.lock("inner").timeout(Timeout::Skip).acquire_blocking().expect_err("it is held")
    }

    #[redlock(name = "outer", timeout = -1, silent, manager = &locks())]
    async fn outer<E: StdError>(error: E) -> Result<Option<u8>, E> {
        Err(error)
    }

    #[redlock(name = "outer", timeout = -1, silent, manager = &locks())]
    fn pointer(error: Box<dyn StdError + Send + Sync>) -> Result<Option<u8>, Box<dyn StdError + Send + Sync>> {
        Err(error)
    }

    #[redlock(name = "outer", timeout = -1, silent, manager = &locks())]
    async fn anyhow(error: anyhow::Error) -> anyhow::Result<Option<u8>> {
        Err(error)
    }

    #[redlock(name = "outer", timeout = -1, silent, manager = &locks())]
    async fn other(error: NotAnError) -> Result<Option<u8>, NotAnError> {
        Err(error)
    }

    #[redlock(name = "outer", timeout = -1, manager = &locks())]
    async fn loud(error: Error) -> Result<Option<u8>, Error> {
        Err(error)
    }

    #[tokio::test]
    async fn is_skipped_whatever_wraps_the_error() {
        assert_eq!(outer(refused()).await.unwrap(), None);
        assert_eq!(outer(Wrapper::Source(refused())).await.unwrap(), None);
        assert_eq!(outer(Wrapper::from(refused())).await.unwrap(), None);
        assert_eq!(outer(Wrapper::Transparent(Box::new(refused().into()))).await.unwrap(), None);
        assert_eq!(pointer(Box::new(refused())).unwrap(), None);
        assert_eq!(pointer(Box::new(Wrapper::from(refused()))).unwrap(), None);
        assert_eq!(anyhow(refused().into()).await.unwrap(), None);
        assert_eq!(anyhow(anyhow::Error::new(refused()).context("around it")).await.unwrap(), None);
    }

    #[tokio::test]
    async fn is_left_alone_when_the_error_is_another_one() {
        assert!(outer(Wrapper::Other).await.is_err());
        assert!(pointer("text".into()).is_err());
        assert!(anyhow(anyhow::anyhow!("text")).await.is_err());
        assert!(other(NotAnError).await.is_err());
        assert!(outer(Error::ShutDown).await.is_err());
        assert!(loud(refused()).await.is_err(), "not silent");
    }
}
