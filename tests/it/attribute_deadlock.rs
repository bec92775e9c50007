//! A call that would wait for itself fails at once; one that only looks so waits.
use std::future::Future;
use std::sync::LazyLock;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use redlock_runtime::{Error, LockManager, Timeout, redlock};

fn memory(name: &str) -> LockManager {
    LockManager::builder().nodes([format!("memory://{name}").as_str()]).build().expect("a memory node needs nothing")
}

static LOCKS: LazyLock<LockManager> = LazyLock::new(|| memory("attribute-deadlock"));
static OTHER_LOCKS: LazyLock<LockManager> = LazyLock::new(|| memory("attribute-deadlock-other"));

/// Another manager on the same node.
static SAME_NODE: LazyLock<LockManager> = LazyLock::new(|| memory("attribute-deadlock"));

/// Holds `name` while `body` runs.
#[redlock(name = name, manager = &LOCKS)]
async fn holding<T, F: Future<Output = T>>(name: &str, body: F) -> Result<T, Error> {
    Ok(body.await)
}

#[redlock(name = name, manager = &LOCKS)]
fn holding_blocking<T>(name: &str, body: impl FnOnce() -> T) -> Result<T, Error> {
    Ok(body())
}

/// Needs `name` too, and would wait for it for ever.
#[redlock(name = name, manager = &LOCKS)]
async fn needing(name: &str) -> Result<(), Error> {
    tokio::task::yield_now().await;
    Ok(())
}

#[redlock(name = name, manager = &LOCKS)]
fn needing_blocking(name: &str) -> Result<(), Error> {
    Ok(())
}

#[track_caller]
#[allow(clippy::needless_pass_by_value, reason = "its callers hand a call's result on")]
fn assert_refused<T: std::fmt::Debug>(call: Result<T, Error>) {
    assert!(matches!(call, Err(Error::WouldDeadlock { .. })), "{call:?}");
}

/// Fails where a promise to wait for ever would hang the test.
fn soon<T>(call: impl Future<Output = T>) -> impl Future<Output = T> {
    let call = Box::pin(call);
    async { tokio::time::timeout(Duration::from_secs(20), call).await.expect("the call ends") }
}

mod is_refused {
    use super::*;

    #[tokio::test]
    async fn a_direct_call() {
        assert_refused(soon(holding("direct", needing("direct"))).await.unwrap());
        needing("direct").await.expect("it is free again");
    }

    #[tokio::test]
    async fn a_call_after_awaits() {
        let body = async {
            tokio::time::sleep(Duration::from_millis(2)).await;
            tokio::task::yield_now().await;
            needing("later").await
        };
        assert_refused(soon(holding("later", body)).await.unwrap());
    }

    #[redlock(name = "recursion", manager = &LOCKS)]
    async fn recursion(depth: u8) -> Result<u8, Error> {
        Box::pin(recursion(depth + 1)).await
    }

    #[tokio::test]
    async fn a_recursion() {
        assert_refused(soon(recursion(0)).await);
    }

    #[redlock(name = "recursion-sync", manager = &LOCKS)]
    fn recursion_blocking(depth: u8) -> Result<u8, Error> {
        if depth == u8::MAX {
            return Ok(depth);
        }
        recursion_blocking(depth + 1)
    }

    #[test]
    fn a_sync_recursion() {
        assert_refused(recursion_blocking(0));
    }

    #[tokio::test]
    async fn calls_in_a_join() {
        let body = async { futures::join!(needing("join"), tokio::task::yield_now(), needing("join")) };
        let (first, (), second) = soon(holding("join", body)).await.unwrap();
        assert_refused(first);
        assert_refused(second);
    }

    #[tokio::test]
    async fn a_call_in_a_select() {
        let body = async {
            tokio::select! {
                call = needing("select") => call,
                () = std::future::pending() => Ok(()),
            }
        };
        assert_refused(soon(holding("select", body)).await.unwrap());
    }

    #[tokio::test]
    async fn calls_in_futures_unordered() {
        let body = async {
            let calls: FuturesUnordered<_> = (0..3).map(|_| needing("unordered")).collect();
            calls.collect::<Vec<_>>().await
        };
        for call in soon(holding("unordered", body)).await.unwrap() {
            assert_refused(call);
        }
    }

    #[tokio::test]
    async fn a_sync_call_in_an_async_body() {
        let body = async {
            tokio::task::yield_now().await;
            needing_blocking("sync")
        };
        assert_refused(soon(holding("sync", body)).await.unwrap());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_call_in_block_in_place() {
        let body = async {
            let blocked = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(needing("place")));
            (blocked, tokio::task::block_in_place(|| needing_blocking("place")))
        };
        let call = tokio::spawn(async { holding("place", body).await.unwrap() });
        let (blocked, sync) = soon(call).await.unwrap();
        assert_refused(blocked);
        assert_refused(sync);
    }

    #[test]
    fn an_async_call_in_a_sync_body() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        assert_refused(holding_blocking("blocked", || runtime.block_on(soon(needing("blocked")))).unwrap());
        assert_refused(holding_blocking("blocked", || futures::executor::block_on(needing("blocked"))).unwrap());
    }

    #[tokio::test]
    async fn a_call_while_the_body_is_dropped() {
        struct CallsOnDrop(tokio::sync::oneshot::Sender<Result<(), Error>>);
        impl CallsOnDrop {
            fn call(self) {
                let _ = self.0.send(needing_blocking("dropped"));
            }
        }
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let mut guard = Some(CallsOnDrop(sender));
        let body = async move {
            let _calls = scopeguard(|| guard.take().unwrap().call());
            std::future::pending::<()>().await;
        };
        tokio::time::timeout(Duration::from_millis(30), holding("dropped", body)).await.unwrap_err();
        assert_refused(soon(receiver).await.unwrap());
    }

    #[tokio::test]
    async fn a_call_by_hand() {
        let body = async {
            tokio::task::yield_now().await;
            let forever = LOCKS.lock("by-hand").acquire().await;
            let within = LOCKS.lock("by-hand").timeout(Duration::from_secs(30)).acquire().await;
            (forever, within, LOCKS.lock("by-hand").acquire_blocking())
        };
        let (forever, within, blocking) = soon(holding("by-hand", body)).await.unwrap();
        assert_refused(forever);
        assert_refused(within);
        assert_refused(blocking);
    }

    #[test]
    fn a_call_by_hand_in_a_sync_body() {
        assert_refused(
            holding_blocking("by-hand-sync", || LOCKS.lock("by-hand-sync").acquire_blocking().map(drop)).unwrap(),
        );
    }

    #[redlock(name = name, manager = &SAME_NODE)]
    async fn needing_by_another_manager(name: &str) -> Result<(), Error> {
        Ok(())
    }

    #[tokio::test]
    async fn a_call_of_another_manager_on_the_same_node() {
        let body = async {
            let annotated = needing_by_another_manager("second-manager").await;
            (annotated, SAME_NODE.lock("second-manager").acquire().await)
        };
        let (annotated, by_hand) = soon(holding("second-manager", body)).await.unwrap();
        assert_refused(annotated);
        assert_refused(by_hand);
    }

    #[tokio::test]
    async fn a_call_of_another_manager_on_the_same_nodes_in_another_order() {
        let on =
            |nodes: [&str; 3]| LockManager::builder().nodes(nodes.map(|node| format!("memory://order-{node}"))).build();
        let (one, other) = (on(["a", "b", "c"]).unwrap(), on(["c", "a", "b"]).unwrap());
        assert_refused(soon(of(&one, async { other.lock("order").acquire().await })).await.unwrap());
    }

    #[redlock(name = "order", manager = manager)]
    async fn of<T, F: Future<Output = T>>(manager: &LockManager, body: F) -> Result<T, Error> {
        Ok(body.await)
    }

    #[tokio::test]
    async fn a_call_in_what_is_computed_for_a_cache() {
        let nothing = || async { Ok::<Option<()>, Error>(None) };
        let computed = LOCKS.lock("computed").get_or_compute(nothing, async || {
            tokio::task::yield_now().await;
            needing("computed").await
        });
        assert_refused(soon(computed).await);
        let request = LOCKS.lock("computed");
        let computed =
            request.get_or_compute_blocking(|| Ok::<Option<()>, Error>(None), || needing_blocking("computed"));
        assert_refused(computed);
    }

    fn scopeguard<F: FnMut()>(on_drop: F) -> impl Drop {
        struct OnDrop<F: FnMut()>(F);
        impl<F: FnMut()> Drop for OnDrop<F> {
            fn drop(&mut self) {
                self.0();
            }
        }
        OnDrop(on_drop)
    }
}

mod is_simply_not_acquired {
    use super::*;

    #[redlock(name = name, timeout = -1, manager = &LOCKS)]
    async fn one_attempt(name: &str) -> Result<(), Error> {
        Ok(())
    }

    #[redlock(name = name, timeout = -1, silent, manager = &LOCKS)]
    fn silent(name: &str) -> Option<()> {
        Some(())
    }

    #[tokio::test]
    async fn by_a_call_by_hand_that_makes_one_attempt() {
        let body = async {
            let none = LOCKS.lock("once-by-hand").try_acquire().await.unwrap();
            let none_blocking = LOCKS.lock("once-by-hand").try_acquire_blocking().unwrap();
            assert!(none.is_none() && none_blocking.is_none());
            LOCKS.lock("once-by-hand").timeout(Timeout::Skip).acquire().await
        };
        let error = Box::pin(holding("once-by-hand", body)).await.unwrap();
        assert!(matches!(error, Err(Error::NotAcquired { .. })), "{error:?}");
    }

    #[tokio::test]
    async fn by_a_call_that_makes_one_attempt() {
        let body = async { (one_attempt("once").await, silent("once")) };
        let (error, skipped) = holding("once", body).await.unwrap();
        assert!(matches!(error, Err(Error::NotAcquired { .. })), "{error:?}");
        assert_eq!(skipped, None);
    }
}

#[allow(clippy::async_yields_async, reason = "what the body leaves behind is awaited later")]
mod waits {
    use super::*;

    #[tokio::test]
    async fn a_sibling_in_one_join() {
        let slow = |name| holding(name, tokio::time::sleep(Duration::from_millis(10)));
        let (first, second, third) =
            soon(async { futures::join!(slow("sibling"), needing("sibling"), slow("sibling")) }).await;
        first.unwrap();
        second.unwrap();
        third.unwrap();
    }

    #[tokio::test]
    async fn a_sibling_by_hand_in_one_join() {
        let by_hand = async {
            let guard = LOCKS.lock("sibling-by-hand").acquire().await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
            guard.release().await.unwrap();
        };
        let annotated = holding("sibling-by-hand", tokio::time::sleep(Duration::from_millis(5)));
        let ((), first, second) =
            soon(async { futures::join!(by_hand, annotated, LOCKS.lock("sibling-by-hand").acquire()) }).await;
        first.unwrap();
        drop(second.unwrap());
    }

    #[tokio::test]
    async fn a_call_beside_a_guard_that_was_moved_to_another_task() {
        let guard = LOCKS.lock("moved").acquire().await.unwrap();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let holder = tokio::spawn(async move {
            let _: () = receiver.await.unwrap();
            drop(guard);
        });
        let calls = async { futures::join!(needing("moved"), LOCKS.lock("moved").acquire()) };
        let told = async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            sender.send(()).unwrap();
        };
        let ((annotated, by_hand), ()) = soon(async { futures::join!(calls, told) }).await;
        annotated.unwrap();
        drop(by_hand.unwrap());
        holder.await.unwrap();
    }

    #[tokio::test]
    async fn a_call_by_hand_in_a_task_spawned_by_the_body() {
        let body = async { tokio::spawn(LOCKS.lock("spawned-by-hand").acquire()) };
        let task = holding("spawned-by-hand", body).await.unwrap();
        drop(soon(task).await.unwrap().unwrap());
    }

    #[tokio::test]
    async fn a_task_spawned_by_the_body() {
        let body = async {
            let task = tokio::spawn(needing("spawned"));
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(!task.is_finished());
            task
        };
        let task = holding("spawned", body).await.unwrap();
        soon(task).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_task_on_a_local_set_of_the_same_thread() {
        let local = tokio::task::LocalSet::new();
        let run = async {
            let body = async {
                let task = tokio::task::spawn_local(needing("local"));
                tokio::time::sleep(Duration::from_millis(20)).await;
                task
            };
            holding("local", body).await.unwrap().await.unwrap()
        };
        soon(local.run_until(run)).await.unwrap();
    }

    #[test]
    fn an_unrelated_task_that_a_blocking_body_polls() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let task = runtime.spawn(needing("unrelated"));
        let body = || runtime.block_on(async { tokio::time::sleep(Duration::from_millis(20)).await });
        holding_blocking("unrelated", body).unwrap();
        runtime.block_on(soon(task)).unwrap().unwrap();
    }

    #[test]
    fn a_call_on_another_thread() {
        let thread = holding_blocking("thread", || {
            let thread = std::thread::spawn(|| needing_blocking("thread"));
            std::thread::sleep(Duration::from_millis(20));
            assert!(!thread.is_finished());
            thread
        });
        thread.unwrap().join().unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_future_of_the_body_that_is_awaited_after_it() {
        let call = holding("handed-out", async { needing("handed-out") }).await.unwrap();
        soon(call).await.unwrap();
    }
}

mod is_another_lock {
    use super::*;

    #[redlock(name = name, manager = &OTHER_LOCKS)]
    async fn of_another_manager(name: &str) -> Result<u8, Error> {
        Ok(1)
    }

    #[tokio::test]
    async fn of_the_same_name_by_another_manager() {
        assert_eq!(soon(holding("same", of_another_manager("same"))).await.unwrap().unwrap(), 1);
    }

    #[redlock(name = name, manager = &LOCKS, on_lost = "continue")]
    async fn going_on<T, F: Future<Output = T>>(name: &str, body: F) -> Result<T, Error> {
        Ok(body.await)
    }

    #[tokio::test]
    async fn once_the_body_has_lost_its_own() {
        let body = async {
            LOCKS.reset("reset").await.unwrap();
            LOCKS.lock("reset").acquire().await.map(drop)
        };
        soon(going_on("reset", body)).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn under_another_prefix_of_the_same_node() {
        let builder = LockManager::builder().nodes(["memory://attribute-deadlock"]);
        let prefixed = builder.lock_prefix("another:").build().unwrap();
        soon(holding("prefix", async { prefixed.lock("prefix").acquire().await.map(drop) })).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn of_a_manager_that_has_only_some_of_the_nodes() {
        let more =
            LockManager::builder().nodes(["memory://attribute-deadlock", "memory://d", "memory://e"]).build().unwrap();
        soon(holding("some", async { more.lock("some").acquire().await.map(drop) })).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn of_another_name() {
        soon(holding("one", needing("two"))).await.unwrap().unwrap();
        needing("two").await.unwrap();
    }

    #[redlock(name = name, manager = &LOCKS.clone())]
    async fn of_a_clone(name: &str) -> Result<u8, Error> {
        Ok(1)
    }

    #[tokio::test]
    async fn but_not_by_a_clone_of_the_manager() {
        assert_refused(soon(holding("clone", of_a_clone("clone"))).await.unwrap());
    }
}
