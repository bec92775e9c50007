//! Each test has a manager of its own, whatever is installed.
use std::sync::{Arc, Barrier};

use redlock_runtime::{Error, LockManager, redlock};

/// A manager whose locks nobody else has.
fn memory() -> LockManager {
    LockManager::builder().nodes(["memory://"]).build().expect("a memory node needs nothing")
}

/// Whether this call's lock is one of `locks`.
#[redlock(name = "scoped", timeout = -1)]
async fn is_of(locks: &LockManager) -> Result<bool, Error> {
    tokio::task::yield_now().await;
    locks.is_locked("scoped").await
}

#[redlock(name = "scoped", timeout = -1)]
fn is_of_blocking(locks: &LockManager) -> Result<bool, Error> {
    locks.is_locked_blocking("scoped")
}

#[redlock(name = "scoped", timeout = -1, manager = manager)]
async fn is_of_with(manager: &LockManager, locks: &LockManager) -> Result<bool, Error> {
    locks.is_locked("scoped").await
}

mod is_used {
    use super::*;

    async fn in_a_test() {
        let locks = memory();
        let _scope = locks.install_scoped();
        for _ in 0..3 {
            assert!(is_of(&locks).await.unwrap());
            assert!(is_of_blocking(&locks).unwrap());
            tokio::task::yield_now().await;
        }
        let held = LockManager::current().unwrap().lock("scoped").acquire().await.unwrap();
        assert!(matches!(is_of(&locks).await, Err(Error::NotAcquired { .. })));
        held.release().await.unwrap();
    }

    #[tokio::test]
    async fn by_a_test_on_one_thread() {
        in_a_test().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn by_a_test_on_several_threads() {
        in_a_test().await;
    }

    #[tokio::test]
    async fn by_the_tasks_of_a_test_on_one_thread() {
        let locks = memory();
        let _scope = locks.install_scoped();
        let task = tokio::spawn({
            let locks = locks.clone();
            async move { is_of(&locks).await }
        });
        assert!(task.await.unwrap().unwrap());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn by_each_of_many_tasks_that_share_threads() {
        let tasks: Vec<_> = (0..40)
            .map(|_| {
                let locks = memory();
                let own = locks.clone();
                tokio::spawn(locks.scope(async move {
                    for _ in 0..5 {
                        assert!(is_of(&own).await.unwrap());
                        tokio::task::yield_now().await;
                    }
                    // Handed on to a task of the task.
                    let inner = LockManager::current().unwrap().scope({
                        let own = own.clone();
                        async move { is_of(&own).await }
                    });
                    assert!(tokio::spawn(inner).await.unwrap().unwrap());
                }))
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    }

    #[tokio::test]
    async fn by_threads_and_blocking_tasks() {
        let locks = memory();
        let own = locks.clone();
        assert!(std::thread::spawn(locks.scope_fn(move || is_of_blocking(&own))).join().unwrap().unwrap());
        let own = locks.clone();
        assert!(tokio::task::spawn_blocking(locks.scope_fn(move || is_of_blocking(&own))).await.unwrap().unwrap());
    }

    #[tokio::test]
    async fn while_a_future_in_it_is_dropped() {
        struct CallsOnDrop(LockManager, Arc<std::sync::Mutex<Option<bool>>>);
        impl Drop for CallsOnDrop {
            fn drop(&mut self) {
                *self.1.lock().unwrap() = is_of_blocking(&self.0).ok();
            }
        }
        for is_polled in [true, false] {
            let (locks, seen) = (memory(), Arc::default());
            let calls = CallsOnDrop(locks.clone(), Arc::clone(&seen));
            let mut scoped = locks.scope(async move {
                let _calls = calls;
                std::future::pending::<()>().await;
            });
            if is_polled {
                assert!(futures::poll!(&mut scoped).is_pending());
            }
            drop(scoped);
            assert_eq!(*seen.lock().unwrap(), Some(true));
        }
    }

    /// Two tests of one crate that hold the same lock at the same time.
    #[test]
    fn by_tests_that_run_side_by_side() {
        #[redlock(name = "side-by-side", timeout = 20)]
        fn meet(other: &Barrier) -> Result<(), Error> {
            other.wait();
            Ok(())
        }
        let both = Arc::new(Barrier::new(2));
        let tests = [(); 2].map(|()| {
            let both = Arc::clone(&both);
            std::thread::spawn(move || {
                let _scope = memory().install_scoped();
                meet(&both)
            })
        });
        for test in tests {
            test.join().unwrap().unwrap();
        }
    }
}

mod is_left {
    use super::*;

    #[tokio::test]
    async fn for_the_one_around_it() {
        let (outer, inner) = (memory(), memory());
        let _outer = outer.install_scoped();
        {
            let _inner = inner.install_scoped();
            assert!(is_of(&inner).await.unwrap());
        }
        assert!(is_of(&outer).await.unwrap());
        assert!(inner.scope(is_of(&inner)).await.unwrap());
        assert!(is_of(&outer).await.unwrap());
    }

    #[tokio::test]
    async fn in_any_order() {
        let (outer, middle, inner) = (memory(), memory(), memory());
        let _outer = outer.install_scoped();
        let middle_scope = middle.install_scoped();
        let inner_scope = inner.install_scoped();
        drop(middle_scope);
        assert!(is_of(&inner).await.unwrap());
        drop(inner_scope);
        assert!(is_of(&outer).await.unwrap());
    }

    #[tokio::test]
    async fn when_a_task_in_it_panics() {
        let (outer, inner) = (memory(), memory());
        let _outer = outer.install_scoped();
        tokio::spawn(inner.scope(async { panic!("on purpose") })).await.unwrap_err();
        assert!(is_of(&outer).await.unwrap());
    }

    #[tokio::test]
    async fn for_the_manager_that_a_function_names() {
        let (scoped, named) = (memory(), memory());
        let _scope = scoped.install_scoped();
        assert!(is_of_with(&named, &named).await.unwrap());
    }
}
