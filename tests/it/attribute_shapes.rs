//! Functions of every shape, annotated in place, each called while its lock is free and while it is held.
#![deny(warnings, clippy::pedantic, clippy::nursery)]
#![allow(clippy::missing_const_for_fn, clippy::redundant_pub_crate, reason = "the file's own helpers are not tested")]
use std::cell::Cell;
use std::fmt::Display;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, LazyLock};
use std::task::Poll;

use futures::future::BoxFuture;
use redlock_runtime::{Error, LockGuard, LockManager, redlock};

static LOCKS: LazyLock<LockManager> = LazyLock::new(|| {
    LockManager::builder().nodes(["memory://attribute-shapes"]).build().expect("a memory node needs nothing")
});

/// Calls a function whose lock is `name`, free, held and free again.
#[track_caller]
#[allow(clippy::needless_pass_by_value, reason = "as `check`, whose callers write the value in place")]
fn check_sync<T: PartialEq + std::fmt::Debug>(name: &str, expected: T, mut call: impl FnMut() -> Result<T, Error>) {
    assert_eq!(call().expect("the lock is free"), expected);
    let held = LOCKS.lock(name).try_acquire_blocking().unwrap().expect("the call released it");
    assert!(matches!(call(), Err(Error::NotAcquired { .. })), "{name} is held");
    held.release_blocking().unwrap();
    assert_eq!(call().expect("the lock is free again"), expected);
}

/// The same for a function that returns a future.
async fn check<T, F>(name: &str, expected: T, mut call: impl FnMut() -> F)
where
    T: PartialEq + std::fmt::Debug,
    F: Future<Output = Result<T, Error>>,
{
    assert_eq!(call().await.expect("the lock is free"), expected);
    let held = LOCKS.lock(name).try_acquire().await.unwrap().expect("the call released it");
    assert!(matches!(call().await, Err(Error::NotAcquired { .. })), "{name} is held");
    held.release().await.unwrap();
    assert_eq!(call().await.expect("the lock is free again"), expected);
}

fn assert_send<T: Send>(value: T) -> T {
    value
}

/// Free functions: arguments of all kinds.
mod arguments {
    use super::*;

    #[redlock(name = "arg:pattern", timeout = -1, manager = &LOCKS)]
    async fn pattern((a, b): (u8, u8), [c, ..]: [u8; 3]) -> Result<u8, Error> {
        Ok(a + b + c)
    }

    struct Point {
        x: u8,
        y: u8,
    }

    #[redlock(name = "arg:struct:{x}", timeout = -1, manager = &LOCKS)]
    fn struct_pattern(Point { x, y }: Point, _: String, _unused: u8) -> Result<u8, Error> {
        Ok(x + y)
    }

    #[redlock(name = "arg:mut", timeout = -1, manager = &LOCKS)]
    async fn mutable(mut items: Vec<u8>, mut more: u8) -> Result<Vec<u8>, Error> {
        more += 1;
        items.push(more);
        Ok(items)
    }

    #[redlock(name = "arg:mut-sync", timeout = -1, manager = &LOCKS)]
    fn mutable_sync(mut items: Vec<u8>) -> Result<Vec<u8>, Error> {
        items.push(9);
        Ok(items)
    }

    #[redlock(name = "arg:mut-ref", timeout = -1, manager = &LOCKS)]
    async fn mutable_reference(items: &mut Vec<u8>) -> Result<usize, Error> {
        items.push(1);
        items.pop();
        Ok(items.len())
    }

    #[redlock(name = format!("arg:impl:{}", text), timeout = -1, manager = &LOCKS)]
    async fn impl_trait(text: impl Display + Send, all: impl IntoIterator<Item = u8>) -> Result<usize, Error> {
        Ok(all.into_iter().count() + text.to_string().len())
    }

    #[redlock(name = "arg:dyn", timeout = -1, manager = &LOCKS)]
    fn trait_objects(text: &dyn Display, call: Box<dyn FnOnce(u8) -> u8>) -> Result<u8, Error> {
        drop(text.to_string());
        Ok(call(1))
    }

    #[redlock(name = "arg:closure", timeout = -1, manager = &LOCKS)]
    async fn closure<F, Fut>(call: F) -> Result<u8, Error>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = u8>,
    {
        Ok(call().await)
    }

    #[redlock(name = "arg:cell", timeout = -1, manager = &LOCKS)]
    async fn send_but_not_sync(cell: Cell<u8>) -> Result<u8, Error> {
        tokio::task::yield_now().await;
        cell.set(2);
        Ok(cell.get())
    }

    #[allow(clippy::toplevel_ref_arg, clippy::needless_pass_by_value, reason = "patterns that exist are tested")]
    #[redlock(name = "arg:ref-pattern", timeout = -1, manager = &LOCKS)]
    fn reference_pattern(ref text: String, &[number, ..]: &[u8; 9]) -> Result<usize, Error> {
        Ok(text.len() + usize::from(number))
    }

    #[tokio::test]
    async fn are_taken_as_they_are_written() {
        check("arg:pattern", 6, || pattern((1, 2), [3, 4, 5])).await;
        check_sync("arg:struct:1", 3, || struct_pattern(Point { x: 1, y: 2 }, String::new(), 0));
        check("arg:mut", vec![1, 3], || mutable(vec![1], 2)).await;
        check_sync("arg:mut-sync", vec![9], || mutable_sync(Vec::new()));
        let mut items = vec![1];
        assert_eq!(mutable_reference(&mut items).await.unwrap(), 1);
        check("arg:impl:ab", 4, || impl_trait("ab", [1, 2])).await;
        check_sync("arg:dyn", 2, || trait_objects(&5, Box::new(|n| n + 1)));
        check("arg:closure", 4, || closure(|| async { 4 })).await;
        check("arg:cell", 2, || assert_send(send_but_not_sync(Cell::new(1)))).await;
        check_sync("arg:ref-pattern", 5, || reference_pattern("abc".into(), &[2; 9]));
    }
}

/// Generics, lifetimes and what is returned.
mod signatures {
    use super::*;

    #[redlock(name = "sig:generic", timeout = -1, manager = &LOCKS)]
    async fn generic<T: Clone, const N: usize>(item: T, _of: [u8; N]) -> Result<(T, usize), Error> {
        Ok((item.clone(), N))
    }

    #[redlock(name = "sig:error", timeout = -1, manager = &LOCKS)]
    async fn generic_error<T, E>(value: T) -> Result<T, E>
    where
        E: From<Error>,
    {
        Ok(value)
    }

    #[redlock(name = "sig:lifetime", timeout = -1, manager = &LOCKS)]
    async fn lifetimes<'a, 'b: 'a>(a: &'a str, b: &'b str) -> Result<&'a str, Error> {
        Ok(if a.is_empty() { b } else { a })
    }

    #[redlock(name = "sig:elided", timeout = -1, manager = &LOCKS)]
    fn elided(items: &mut [u8]) -> Result<&mut u8, Error> {
        Ok(&mut items[0])
    }

    #[redlock(name = "sig:iterator", timeout = -1, manager = &LOCKS)]
    async fn nested_impl_trait(up_to: u8) -> Result<impl Iterator<Item = u8> + Send, Error> {
        Ok((0..up_to).map(|n| n + 1))
    }

    #[allow(clippy::elidable_lifetime_names, reason = "names are tested")]
    #[redlock(name = "sig:iterator-sync", timeout = -1, manager = &LOCKS)]
    fn nested_impl_trait_sync<'a>(items: &'a [u8]) -> Result<impl Iterator<Item = &'a u8> + use<'a>, Error> {
        Ok(items.iter().rev())
    }

    #[redlock(name = "sig:impl", manager = &LOCKS)]
    fn impl_trait() -> impl Iterator<Item = u8> {
        0..3
    }

    #[redlock(name = "sig:impl-skip", timeout = -1, skip_value = 0..0, manager = &LOCKS)]
    fn impl_trait_skipped() -> impl Iterator<Item = u8> {
        0..3
    }

    #[redlock(name = "sig:boxed", timeout = -1, silent, manager = &LOCKS)]
    async fn not_send_error(fail: bool) -> Result<u8, Box<dyn std::error::Error>> {
        tokio::task::yield_now().await;
        if fail {
            Err("on purpose")?;
        }
        Ok(1)
    }

    #[redlock(name = "sig:never", manager = &LOCKS)]
    fn never(text: &str) -> ! {
        panic!("{text}")
    }

    #[redlock(name = "sig:never-async", manager = &LOCKS)]
    async fn never_async() -> ! {
        std::future::pending().await
    }

    #[redlock(name = "sig:coerced", timeout = -1, manager = &LOCKS)]
    async fn coerced(short: bool) -> Result<Box<dyn Display + Send>, Error> {
        if short {
            return Ok(Box::new(1));
        }
        Ok(Box::new("long"))
    }

    #[tokio::test]
    async fn are_kept_as_they_are_declared() {
        check("sig:generic", ("a", 2), || generic("a", [0; 2])).await;
        check("sig:error", 1, || generic_error::<u8, Error>(1)).await;
        check("sig:lifetime", "b", || lifetimes("", "b")).await;
        let mut items = [1, 2];
        *elided(&mut items).unwrap() = 7;
        assert_eq!(items, [7, 2]);
        assert_eq!(assert_send(nested_impl_trait(3)).await.unwrap().sum::<u8>(), 6);
        assert_eq!(nested_impl_trait_sync(&[1, 2]).unwrap().next(), Some(&2));
        assert_eq!(impl_trait().count(), 3);
        assert_eq!(impl_trait_skipped().count(), 3);
        let held = LOCKS.lock("sig:impl-skip").try_acquire().await.unwrap().unwrap();
        assert_eq!(impl_trait_skipped().count(), 0);
        held.release().await.unwrap();
        assert_eq!(assert_send(not_send_error(false)).await.unwrap(), 1);
        assert!(not_send_error(true).await.is_err());
        assert!(std::panic::catch_unwind(|| never("on purpose")).is_err());
        assert!(futures::poll!(pin!(never_async())).is_pending());
        assert_eq!(coerced(true).await.unwrap().to_string(), "1");
        assert_eq!(coerced(false).await.unwrap().to_string(), "long");
    }
}

/// Methods and traits.
mod methods {
    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Account {
        id: u64,
        balance: u64,
    }

    impl Account {
        #[redlock(name = format!("account:{}", self.id), timeout = -1, manager = &LOCKS)]
        async fn by_reference(&self, factor: u64) -> Result<u64, Error> {
            Ok(self.balance * factor)
        }

        #[redlock(name = format!("account:{}", self.id), timeout = -1, manager = &LOCKS)]
        async fn by_mutable_reference(&mut self) -> Result<&mut u64, Error> {
            self.balance += 1;
            Ok(&mut self.balance)
        }

        #[redlock(name = self, timeout = -1, manager = &LOCKS)]
        async fn by_value(self) -> Result<u64, Error> {
            Ok(self.balance)
        }

        #[redlock(name = "{self}", timeout = -1, manager = &LOCKS)]
        async fn by_arc(self: Arc<Self>) -> Result<u64, Error> {
            Ok(self.balance)
        }

        #[redlock(name = "account:pinned", timeout = -1, manager = &LOCKS)]
        async fn by_pin(self: Pin<&mut Self>) -> Result<u64, Error> {
            Ok(self.balance)
        }

        #[redlock(name = "account:new", timeout = -1, manager = &LOCKS)]
        fn associated(id: u64) -> Result<Self, Error> {
            Ok(Self { id, balance: 0 })
        }

        #[redlock(name = "account:{}", timeout = -1, manager = &LOCKS)]
        #[cfg(any())]
        fn compiled_out() {}

        #[redlock(name = format!("account:{}", self.id), timeout = -1, manager = &LOCKS)]
        fn by_mutable_reference_sync(&mut self) -> Result<u64, Error> {
            let Self { balance, .. } = self;
            *balance += 1;
            *balance -= 1;
            Ok(*balance)
        }
    }

    impl Display for Account {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "account:{}", self.id)
        }
    }

    trait Service {
        const NAME: &'static str;

        fn number(&self) -> u64;

        #[redlock(name = Self::NAME, timeout = -1, manager = &LOCKS)]
        fn default_body(&self) -> Result<u64, Error> {
            Ok(self.number())
        }

        #[redlock(name = Self::NAME, timeout = -1, manager = &LOCKS)]
        async fn async_default_body(&self) -> Result<u64, Error> {
            tokio::task::yield_now().await;
            Ok(self.number())
        }

        async fn declared(&self) -> Result<u64, Error>;
    }

    impl Service for Account {
        const NAME: &'static str = "service";

        fn number(&self) -> u64 {
            self.balance
        }

        #[redlock(name = Self::NAME, timeout = -1, manager = &LOCKS)]
        async fn declared(&self) -> Result<u64, Error> {
            Ok(self.number())
        }
    }

    #[async_trait::async_trait]
    trait Dynamic: Sync {
        async fn run(&self, text: &str, number: u64) -> Result<u64, Error>;

        #[redlock(name = "dynamic:default", timeout = -1, manager = &LOCKS, guard = lock)]
        async fn default_body(&self, mut number: u64) -> Result<u64, Error> {
            assert_eq!(lock.name(), "dynamic:default");
            number += 1;
            self.run("", number).await
        }

        async fn nothing(&self);
    }

    #[async_trait::async_trait]
    impl Dynamic for Account {
        #[redlock(name = "dynamic:{text}:{}", timeout = -1, manager = &LOCKS)]
        #[cfg(any())]
        async fn compiled_out(&self, text: &str) {}

        #[redlock(name = "dynamic:{text}", timeout = -1, manager = &LOCKS, guard = lock)]
        async fn run(&self, text: &str, number: u64) -> Result<u64, Error> {
            tokio::task::yield_now().await;
            assert_eq!(lock.name(), format!("dynamic:{text}"));
            Ok(self.balance + number)
        }

        #[redlock(name = "dynamic:nothing", timeout = -1, silent, manager = &LOCKS)]
        async fn nothing(&self) {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn run_under_the_lock_of_their_object() {
        let account = Account { id: 1, balance: 5 };
        check("account:1", 10, || account.by_reference(2)).await;
        let mut changed = account.clone();
        *changed.by_mutable_reference().await.unwrap() += 1;
        assert_eq!(changed.balance, 7);
        check("account:1", 5, || account.clone().by_value()).await;
        let shared = Arc::new(account.clone());
        check("account:1", 5, || Arc::clone(&shared).by_arc()).await;
        let mut pinned = account.clone();
        assert_eq!(Pin::new(&mut pinned).by_pin().await.unwrap(), 5);
        check_sync("account:new", Account { id: 3, balance: 0 }, || Account::associated(3));
        check_sync("account:1", 7, || changed.by_mutable_reference_sync());
    }

    #[tokio::test]
    async fn of_traits_run_under_the_lock() {
        let account = Account { id: 2, balance: 5 };
        check_sync("service", 5, || account.default_body_of_service());
        check("service", 5, || account.async_default_body()).await;
        check("service", 5, || account.declared()).await;
        let dynamic: &dyn Dynamic = &account;
        check("dynamic:a", 6, || assert_send(dynamic.run("a", 1))).await;
        check("dynamic:default", 7, || assert_send(dynamic.default_body(1))).await;
        dynamic.nothing().await;
    }

    impl Account {
        fn default_body_of_service(&self) -> Result<u64, Error> {
            Service::default_body(self)
        }
    }
}

/// Functions that are not async and return a future: the lock is held while it is polled.
mod futures_returned {
    use super::*;

    struct Job(u8);

    impl Job {
        #[redlock(name = "future:impl", timeout = -1, manager = &LOCKS)]
        fn opaque(&self) -> impl Future<Output = Result<u8, Error>> + Send {
            let number = self.0;
            async move {
                tokio::task::yield_now().await;
                Ok(number)
            }
        }

        #[redlock(name = "future:pinned", timeout = -1, manager = &LOCKS)]
        fn pinned<'a>(&'a self, more: &'a str) -> Pin<Box<dyn Future<Output = Result<usize, Error>> + Send + 'a>> {
            Box::pin(async move {
                tokio::task::yield_now().await;
                Ok(usize::from(self.0) + more.len())
            })
        }

        #[redlock(name = format!("future:boxed:{}:{early}", self.0), timeout = -1, manager = &LOCKS)]
        fn boxed(&self, early: bool) -> BoxFuture<'_, Result<u8, Error>> {
            if early {
                return Box::pin(async { Ok(1) });
            }
            Box::pin(async move { Ok(self.0) })
        }
    }

    #[redlock(name = "future:held", timeout = -1, manager = &LOCKS)]
    fn observed(built: &Cell<bool>) -> impl Future<Output = Result<bool, Error>> {
        let guard = LOCKS.lock("future:held").try_acquire_blocking().expect("the node answers");
        built.set(guard.map(LockGuard::release_blocking).is_none());
        async { Ok(LOCKS.lock("future:held").try_acquire().await?.is_none()) }
    }

    #[redlock(name = "future:silent", timeout = -1, silent, manager = &LOCKS)]
    fn silent() -> BoxFuture<'static, Option<u8>> {
        Box::pin(std::future::ready(Some(1)))
    }

    #[tokio::test]
    async fn run_under_the_lock() {
        let job = Job(3);
        check("future:impl", 3, || assert_send(job.opaque())).await;
        check("future:pinned", 4, || assert_send(job.pinned("a"))).await;
        check("future:boxed:3:true", 1, || assert_send(job.boxed(true))).await;
        check("future:boxed:3:false", 3, || assert_send(job.boxed(false))).await;
        assert_eq!(silent().await, Some(1));
    }

    #[tokio::test]
    async fn are_built_without_the_lock_and_polled_with_it() {
        let built = Cell::new(true);
        let future = observed(&built);
        assert!(!built.get(), "nothing is locked before the first poll");
        assert!(future.await.unwrap(), "locked while the future runs");
    }

    #[tokio::test]
    async fn lock_nothing_before_the_first_poll() {
        let job = Job(4);
        let never_polled = job.boxed(true);
        assert_eq!(job.boxed(true).await.unwrap(), 1);
        drop(never_polled);
    }
}

/// Attributes beside ours, and what stands inside the function.
mod surroundings {
    #![deny(warnings)]
    use super::*;

    /// Documented.
    #[must_use = "as it says"]
    #[redlock(name = "near:attributes", timeout = -1, manager = &LOCKS)]
    #[inline]
    #[tracing::instrument(skip_all, fields(id))]
    pub(crate) async fn instrumented_below(id: u8) -> Result<u8, Error> {
        tokio::task::yield_now().await;
        Ok(id)
    }

    #[tracing::instrument(ret, err(Debug))]
    #[redlock(name = "near:above", timeout = -1, manager = &LOCKS)]
    async fn instrumented_above(id: u8) -> Result<u8, Error> {
        tokio::task::yield_now().await;
        Ok(id)
    }

    #[tracing::instrument]
    #[redlock(name = "near:above-sync", timeout = -1, manager = &LOCKS)]
    fn instrumented_above_sync(id: u8) -> Result<u8, Error> {
        Ok(id)
    }

    #[redlock(name = "near:inner", timeout = -1, manager = &LOCKS)]
    async fn inner_attributes() -> Result<u8, Error> {
        #![allow(unused_variables)]
        //! Inside.
        let unused = 5;
        Ok(1)
    }

    #[redlock(name = "near:items", timeout = -1, manager = &LOCKS)]
    fn items_inside() -> Result<u8, Error> {
        use std::cmp::max;
        const LIMIT: u8 = 3;
        fn helper(number: u8) -> u8 {
            max(number, LIMIT)
        }
        Ok(helper(1))
    }

    #[redlock(name = "near:outer", timeout = -1, manager = &LOCKS, guard = outer)]
    #[redlock(name = "near:{id}", timeout = -1, manager = &LOCKS, guard = inner)]
    async fn stacked(id: &str) -> Result<(String, String), Error> {
        Ok((outer.name().to_owned(), inner.name().to_owned()))
    }

    #[redlock(name = "near:first", timeout = -1, manager = &LOCKS)]
    #[redlock(name = { assert!(LOCKS.lock("near:first").try_acquire_blocking()?.is_none()); "near:second" }, manager = &LOCKS)]
    fn stacked_in_order() -> Result<(), Error> {
        Ok(())
    }

    #[redlock(name = "near:test", manager = &LOCKS)]
    #[tokio::test]
    async fn above_a_tokio_test() {
        assert!(LOCKS.lock("near:test").try_acquire().await.unwrap().is_none());
    }

    #[tokio::test]
    #[redlock(name = "near:test-below", manager = &LOCKS)]
    async fn below_a_tokio_test() {
        assert!(LOCKS.lock("near:test-below").try_acquire().await.unwrap().is_none());
    }

    #[test]
    #[redlock(name = "near:plain-test", manager = &LOCKS)]
    fn below_a_test() {
        assert!(LOCKS.lock("near:plain-test").try_acquire_blocking().unwrap().is_none());
    }

    #[redlock(name = "near:plain-test-above", timeout = "20s", manager = &LOCKS)]
    #[test]
    fn above_a_test() -> Result<(), Error> {
        assert!(LOCKS.lock("near:plain-test-above").try_acquire_blocking()?.is_none());
        Ok(())
    }

    #[tokio::test]
    async fn other_attributes_keep_their_meaning() {
        check("near:attributes", 1, || instrumented_below(1)).await;
        check("near:above", 1, || instrumented_above(1)).await;
        check_sync("near:above-sync", 1, || instrumented_above_sync(1));
        check("near:inner", 1, inner_attributes).await;
        check_sync("near:items", 3, items_inside);
        let names = ("near:outer".to_owned(), "near:id".to_owned());
        check("near:outer", names.clone(), || stacked("id")).await;
        check("near:id", names, || stacked("id")).await;
        check_sync("near:first", (), stacked_in_order);
    }
}

/// The user's own items may be called like ours, and like the standard library's.
#[allow(dead_code, unused_macros)]
mod hostile_names {
    use super::{LOCKS, check};

    struct Result;
    struct Option;
    struct Some;
    struct None;
    struct Ok;
    struct Err;
    struct Box;
    struct Pin;
    struct Future;
    struct String;
    mod core {}
    mod std {}
    mod redlock_runtime {}
    fn lock() {}
    fn name() {}
    fn drop() {}
    macro_rules! pin {
        () => {};
    }
    macro_rules! format_args {
        () => {};
    }

    #[::redlock_runtime::redlock(name = "hostile", timeout = -1, manager = &LOCKS, guard = lock)]
    async fn hostile(name: &str, __redlock_body: u8) -> ::core::result::Result<usize, ::redlock_runtime::Error> {
        let _ = lock.name();
        ::core::result::Result::Ok(name.len() + __redlock_body as usize)
    }

    #[::redlock_runtime::redlock(name = "hostile:{name}", timeout = -1, silent, manager = &LOCKS, crate = ::redlock_runtime)]
    fn hostile_sync(name: &str) -> ::core::option::Option<usize> {
        ::core::option::Option::Some(name.len())
    }

    #[tokio::test]
    async fn do_not_interfere() {
        check("hostile", 3, || hostile("a", 2)).await;
        assert_eq!(hostile_sync("ab"), ::core::option::Option::Some(2));
    }
}

/// Written by a macro of the user's, with expressions handed in.
mod written_by_a_macro {
    use super::*;

    macro_rules! locked {
        ($name:ident, $lock:expr, $timeout:expr, $output:ty, $body:block) => {
            #[redlock(name = $lock, timeout = $timeout, manager = &$crate::attribute_shapes::LOCKS)]
            async fn $name() -> $output $body
        };
    }

    locked!(literal, "macro:x", -1, Result<u8, Error>, { Ok(1) });
    locked!(expression, concat!("macro", ":y"), std::time::Duration::ZERO, Result<u8, Error>, { Ok(2) });

    #[tokio::test]
    async fn is_a_function_as_any_other() {
        check("macro:x", 1, literal).await;
        check("macro:y", 2, expression).await;
    }
}

/// `require_lock!();` in the middle of a body.
#[allow(clippy::future_not_send, reason = "a reference to a `Cell` is none")]
mod required_midway {
    use super::*;
    use redlock_runtime::require_lock;

    #[redlock(name = "mid:{name}", timeout = -1, manager = &LOCKS, guard = lock)]
    async fn midway(name: &str, before: &Cell<u32>) -> Result<String, Error> {
        before.set(before.get() + 1);
        tokio::task::yield_now().await;
        if before.get() == 100 {
            return Ok("early".to_owned());
        }
        require_lock!();
        Ok(lock.name().to_owned())
    }

    #[redlock(name = "mid:sync", timeout = -1, skip_value = Some(before.get()), manager = &LOCKS)]
    fn midway_sync(before: &Cell<u32>) -> Option<u32> {
        for step in 0..2 {
            before.set(before.get() + step);
        }
        redlock_runtime::require_lock!();
        Some(0)
    }

    #[redlock(name = "mid:error", timeout = -1, manager = &LOCKS, guard = lock)]
    fn midway_error(before: &Cell<u32>) -> Result<u32, Error> {
        before.set(before.get() + 1);
        require_lock!();
        assert!(lock.is_valid());
        Ok(7)
    }

    #[redlock(name = "mid:silent", timeout = -1, silent, manager = &LOCKS)]
    async fn midway_silent(before: &Cell<u32>) {
        before.set(before.get() + 1);
        require_lock! {}
        before.set(before.get() + 10);
    }

    #[tokio::test]
    async fn runs_what_stands_before_it_in_any_case() {
        let before = Cell::new(0);
        check("mid:async", "mid:async".to_owned(), || midway("async", &before)).await;
        assert_eq!(before.get(), 3);
        before.set(0);
        check_sync("mid:error", 7, || midway_error(&before));
        assert_eq!(before.get(), 3);

        before.set(0);
        assert_eq!(midway_sync(&before), Some(0));
        let held = LOCKS.lock("mid:sync").try_acquire().await.unwrap().unwrap();
        assert_eq!(midway_sync(&before), Some(2), "skipped, after what stands before");
        held.release().await.unwrap();

        before.set(0);
        midway_silent(&before).await;
        assert_eq!(before.get(), 11);
        let held = LOCKS.lock("mid:silent").try_acquire().await.unwrap().unwrap();
        midway_silent(&before).await;
        assert_eq!(before.get(), 12);
        held.release().await.unwrap();
    }

    #[tokio::test]
    async fn is_not_reached_by_a_return_before_it() {
        let _held = LOCKS.lock("mid:early").try_acquire().await.unwrap();
        let before = Cell::new(99);
        assert_eq!(midway("early", &before).await.unwrap(), "early");
    }

    #[tokio::test]
    async fn holds_the_lock_from_the_entry_on() {
        let before = Cell::new(0);
        let mut call = pin!(midway("entry", &before));
        while before.get() == 0 {
            assert_eq!(futures::poll!(call.as_mut()).map(drop), Poll::Pending);
            tokio::task::yield_now().await;
        }
        assert!(LOCKS.lock("mid:entry").try_acquire().await.unwrap().is_none());
        assert!(call.await.is_ok());
    }
}
