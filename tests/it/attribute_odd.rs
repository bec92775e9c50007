//! Functions that are rarely written and must work nevertheless; each once broke somebody's attribute, or ours.
#![deny(warnings, clippy::pedantic, clippy::nursery)]
use std::fmt::Display;
use std::panic::catch_unwind;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};

use redlock_runtime::{Error, LockManager, redlock};

use crate::common::events::ask_every_subscriber;

static LOCKS: LazyLock<LockManager> = LazyLock::new(|| {
    LockManager::builder().nodes(["memory://attribute-odd"]).build().expect("a memory node needs nothing")
});

/// Names that are words of the language.
mod raw_names {
    use super::*;

    #[redlock(name = "raw:{type}:{async:>2}", stats_name = "{type}", timeout = -1, manager = &LOCKS, guard = lock)]
    async fn keywords(r#type: u8, r#async: &str) -> Result<String, Error> {
        tokio::task::yield_now().await;
        Ok(format!("{} of {}{}", lock.name(), r#type, r#async))
    }

    #[redlock(name = "raw", timeout = -1, manager = &LOCKS, guard = r#fn)]
    fn r#match() -> Result<String, Error> {
        Ok(r#fn.name().to_owned())
    }

    #[tokio::test]
    async fn are_captured_as_format_does() {
        assert_eq!(keywords(1, "a").await.unwrap(), "raw:1: a of 1a");
        assert_eq!(r#match().unwrap(), "raw");
    }
}

/// Two attributes: the upper lock is taken first, whatever they are called and whatever stands between them.
mod stacked {
    use redlock_runtime::redlock as locked;

    use super::*;

    /// The name of the inner lock; panics if the outer one is not held.
    fn inside(outer: &str) -> &'static str {
        assert!(is_held(outer), "{outer} is taken first");
        "inner"
    }

    fn is_held(name: &str) -> bool {
        LOCKS.lock(name).try_acquire_blocking().expect("the node answers").is_none()
    }

    #[redlock(name = "same", timeout = -1, manager = &LOCKS)]
    #[redlock(name = inside("same"), timeout = -1, manager = &LOCKS)]
    async fn same(text: &str) -> Result<bool, Error> {
        drop(text.to_owned());
        Ok(is_held("same") && is_held("inner"))
    }

    #[locked(name = "renamed", timeout = -1, manager = &LOCKS)]
    #[locked(name = inside("renamed"), timeout = -1, manager = &LOCKS)]
    fn renamed() -> Result<bool, Error> {
        Ok(is_held("renamed") && is_held("inner"))
    }

    #[redlock(name = "renamed-below", timeout = -1, manager = &LOCKS)]
    #[locked(name = inside("renamed-below"), timeout = -1, manager = &LOCKS)]
    async fn renamed_below() -> Result<bool, Error> {
        Ok(is_held("renamed-below") && is_held("inner"))
    }

    #[locked(name = "renamed-above", timeout = -1, manager = &LOCKS)]
    #[redlock(name = inside("renamed-above"), timeout = -1, manager = &LOCKS)]
    fn renamed_above() -> Result<bool, Error> {
        Ok(is_held("renamed-above") && is_held("inner"))
    }

    #[redlock(name = "conditional", timeout = -1, manager = &LOCKS)]
    #[cfg_attr(test, redlock(name = inside("conditional"), timeout = -1, manager = &LOCKS))]
    async fn conditional() -> Result<bool, Error> {
        Ok(is_held("conditional") && is_held("inner"))
    }

    #[cfg_attr(test, redlock(name = "conditional-above", timeout = -1, manager = &LOCKS))]
    #[locked(name = inside("conditional-above"), timeout = -1, manager = &LOCKS)]
    fn conditional_above() -> Result<bool, Error> {
        Ok(is_held("conditional-above") && is_held("inner"))
    }

    #[redlock(name = "between", timeout = -1, manager = &LOCKS)]
    #[tracing::instrument]
    #[redlock(name = inside("between"), timeout = -1, manager = &LOCKS)]
    async fn between() -> Result<bool, Error> {
        Ok(is_held("between") && is_held("inner"))
    }

    #[redlock(name = "future", timeout = -1, manager = &LOCKS)]
    #[locked(name = inside("future"), timeout = -1, manager = &LOCKS)]
    fn future() -> Pin<Box<dyn Future<Output = Result<bool, Error>> + Send>> {
        Box::pin(async move { Ok(is_held("future") && is_held("inner")) })
    }

    #[redlock(name = "built", timeout = -1, manager = &LOCKS)]
    #[locked(name = "inner", timeout = -1, manager = &LOCKS)]
    fn built(early: bool) -> Pin<Box<dyn Future<Output = Result<bool, Error>> + Send>> {
        if early {
            return Box::pin(std::future::ready(Ok(true)));
        }
        Box::pin(async move { Ok(is_held("built") && is_held("inner")) })
    }

    #[redlock(name = "three", timeout = -1, manager = &LOCKS, guard = first)]
    #[locked(name = "three-2", timeout = -1, manager = &LOCKS, guard = second)]
    #[redlock(name = inside("three-2"), timeout = -1, manager = &LOCKS, guard = third)]
    async fn three() -> Result<[String; 3], Error> {
        Ok([first, second, third].map(|guard| guard.name().to_owned()))
    }

    #[redlock(name = "around", timeout = -1, manager = &LOCKS)]
    #[redlock(name = "around-2", timeout = -1, manager = &LOCKS)]
    async fn around_another() -> Result<bool, Error> {
        #[redlock(name = "within", timeout = -1, manager = &LOCKS)]
        async fn within() -> Result<bool, Error> {
            Ok(is_held("around") && is_held("around-2") && is_held("within"))
        }

        within().await
    }

    // One after the other: they share the inner lock.
    #[tokio::test]
    async fn the_upper_lock_is_the_outer_one() {
        assert!(same("a").await.unwrap());
        assert!(renamed().unwrap());
        assert!(renamed_below().await.unwrap());
        assert!(renamed_above().unwrap());
        assert!(conditional().await.unwrap());
        assert!(conditional_above().unwrap());
        assert!(between().await.unwrap());
        assert!(future().await.unwrap());
        assert!(built(true).await.unwrap());
        assert!(built(false).await.unwrap());
        assert!(around_another().await.unwrap());
        assert_eq!(three().await.unwrap(), ["three", "three-2", "inner"]);
    }
}

/// Receivers, generics and arguments at the edge of what a signature can say.
mod signatures {
    use super::*;

    trait Shape: Send + Sync {
        #[redlock(name = "odd:sized", timeout = -1, manager = &LOCKS)]
        fn sized(self) -> Result<Self, Error>
        where
            Self: Sized,
        {
            Ok(self)
        }

        #[redlock(name = "odd:boxed", timeout = -1, manager = &LOCKS)]
        fn boxed(self: Box<Self>) -> Result<u8, Error> {
            Ok(self.number())
        }

        #[redlock(name = "odd:arc", timeout = -1, manager = &LOCKS)]
        fn shared(self: &Arc<Self>) -> Result<u8, Error> {
            Ok(self.number())
        }

        fn number(&self) -> u8;
    }

    struct Counter<T = u8, const N: usize = 3>(T, [u8; N]);

    impl Shape for Counter {
        fn number(&self) -> u8 {
            self.0
        }
    }

    impl<T: Clone + Send + Sync, const N: usize> Counter<T, N> {
        #[redlock(name = "odd:default", timeout = -1, manager = &LOCKS)]
        async fn with_defaults<U>(&self, other: U) -> Result<(T, U, [u8; N]), Error>
        where
            U: Send,
        {
            Ok((self.0.clone(), other, self.1))
        }

        #[redlock(name = "odd:parameter", manager = &LOCKS)]
        async fn parameter_returned<U>(value: U) -> U {
            tokio::task::yield_now().await;
            value
        }

        #[redlock(name = "odd:parameter-sync", manager = &LOCKS)]
        fn parameter_returned_sync<U>(value: U) -> U {
            value
        }
    }

    impl Counter {
        #[redlock(name = format!("odd:pinned:{}", self.0), timeout = -1, manager = &LOCKS)]
        async fn pinned(mut self: Pin<&mut Self>, more: u8) -> Result<u8, Error> {
            self.0 += more;
            Ok(self.0)
        }

        #[redlock(name = "odd:closure", timeout = -1, manager = &LOCKS)]
        async fn closure(&self) -> Result<impl Fn(u8) -> u8 + use<'_>, Error> {
            Ok(move |more| self.0 + more)
        }

        #[redlock(name = "odd:dyn", timeout = -1, manager = &LOCKS)]
        async fn object(&self) -> Result<&dyn Display, Error> {
            Ok(&self.0)
        }

        #[redlock(name = "odd:boxed-closure", timeout = -1, manager = &LOCKS)]
        fn boxed_closure<'a>(&'a self, more: u8) -> Result<Box<dyn Fn() -> u8 + 'a>, Error> {
            Ok(Box::new(move || self.0 + more))
        }
    }

    trait Lends {
        type Lent<'a>: Send
        where
            Self: 'a;

        fn lend(&self) -> Self::Lent<'_>;

        #[redlock(name = "odd:lent", timeout = -1, manager = &LOCKS)]
        async fn lend_locked(&self) -> Result<Self::Lent<'_>, Error>
        where
            Self: Sync,
        {
            Ok(self.lend())
        }

        #[redlock(name = "odd:lent-future", timeout = -1, manager = &LOCKS)]
        fn declared_as_future(&self) -> impl Future<Output = Result<u8, Error>> + Send
        where
            Self: Sync,
        {
            std::future::ready(Ok(1))
        }
    }

    impl Lends for String {
        type Lent<'a> = &'a str;

        fn lend(&self) -> &str {
            self
        }
    }

    #[redlock(name = "odd:higher-ranked", timeout = -1, manager = &LOCKS)]
    async fn higher_ranked<F>(call: F) -> Result<usize, Error>
    where
        F: for<'a> Fn(&'a str) -> &'a str + Send,
    {
        Ok(call("abc").len())
    }

    #[redlock(name = "odd:recursion:{depth}", manager = &LOCKS)]
    async fn recursion_over_other_locks(depth: u8) -> u8 {
        if depth == 0 { 0 } else { 1 + Box::pin(recursion_over_other_locks(depth - 1)).await }
    }

    #[redlock(name = "odd:impl", timeout = -1, manager = &LOCKS)]
    async fn impl_with_lifetime<'a>(
        items: impl Iterator<Item = &'a str> + 'a,
        _more: impl Display + 'a,
    ) -> Result<Vec<&'a str>, Error> {
        Ok(items.collect())
    }

    #[redlock(name = "odd:borrowed", timeout = -1, manager = &LOCKS)]
    async fn borrowed<'a>(items: &'a mut [u8], count: &mut u8) -> Result<&'a mut u8, Error> {
        *count += 1;
        tokio::task::yield_now().await;
        items.first_mut().ok_or(Error::ShutDown)
    }

    #[redlock(name = "odd:cfg:{number}", timeout = -1, manager = &LOCKS)]
    async fn conditional(
        #[cfg(test)] number: u8,
        #[cfg(not(test))] number: Missing,
        #[allow(unused_variables)] unused: u8,
    ) -> Result<u8, Error> {
        Ok(number)
    }

    #[allow(clippy::large_types_passed_by_value, reason = "that is tested")]
    #[redlock(name = "odd:huge", timeout = -1, manager = &LOCKS)]
    fn huge(block: [u8; 100_000]) -> Result<usize, Error> {
        Ok(block.len())
    }

    #[tokio::test]
    async fn are_left_as_they_are() {
        let mut counter = Counter(1, [0; 3]);
        assert_eq!(Pin::new(&mut counter).pinned(2).await.unwrap(), 3);
        assert_eq!(counter.closure().await.unwrap()(1), 4);
        assert_eq!(counter.object().await.unwrap().to_string(), "3");
        assert_eq!(counter.boxed_closure(2).unwrap()(), 5);
        assert_eq!(counter.with_defaults("a").await.unwrap(), (3, "a", [0; 3]));
        let counter = Arc::new(counter.sized().unwrap());
        assert_eq!(counter.shared().unwrap(), 3);
        assert_eq!(Box::new(Counter(4, [0; 3])).boxed().unwrap(), 4);
        assert_eq!(impl_with_lifetime(["a", "b"].into_iter(), 1).await.unwrap(), ["a", "b"]);
        let (mut items, mut count) = ([1, 2], 0);
        *borrowed(&mut items, &mut count).await.unwrap() = 7;
        assert_eq!((items, count), ([7, 2], 1));
        assert_eq!(conditional(5, 6).await.unwrap(), 5);
        let text = "abc".to_owned();
        assert_eq!(text.lend_locked().await.unwrap(), "abc");
        assert_eq!(text.declared_as_future().await.unwrap(), 1);
        assert_eq!(higher_ranked(|text| &text[1..]).await.unwrap(), 2);
        assert_eq!(recursion_over_other_locks(3).await, 3);
        assert_eq!(huge(*vec![0; 100_000].first_chunk().unwrap()).unwrap(), 100_000);
    }

    /// The future that keeps the value during the release has to be `Unpin`, whatever the value is.
    #[tokio::test]
    async fn a_type_parameter_is_returned() {
        assert_eq!(Counter::<u8, 1>::parameter_returned("a").await, "a");
        assert_eq!(*Counter::<u8, 1>::parameter_returned(Rc::new(1)).await, 1, "not Send");
        assert_eq!(Counter::<u8, 1>::parameter_returned(std::marker::PhantomPinned).await, std::marker::PhantomPinned);
        assert_eq!(*Counter::<u8, 1>::parameter_returned_sync(Rc::new(1)), 1);
    }
}

/// What a body's last expression becomes, where that is not what it is.
mod coercions {
    use super::*;

    #[redlock(name = "coerced:boxed", manager = &LOCKS)]
    fn boxed(is_short: bool) -> Box<dyn Display> {
        if is_short {
            return Box::new(1);
        }
        Box::new("long")
    }

    #[redlock(name = "coerced:boxed-async", manager = &LOCKS)]
    async fn boxed_async(is_short: bool) -> Box<dyn Display> {
        if is_short {
            return Box::new(1);
        }
        Box::new("long")
    }

    #[redlock(name = "coerced:slice", manager = &LOCKS)]
    fn slice() -> &'static [u8] {
        &[1, 2]
    }

    #[redlock(name = "coerced:reference", manager = &LOCKS)]
    async fn reference(number: &u64) -> &dyn Display {
        number
    }

    #[redlock(name = "coerced:pointer", manager = &LOCKS)]
    async fn pointer() -> fn(u8) -> u8 {
        u8::reverse_bits
    }

    #[redlock(name = "coerced:closure", manager = &LOCKS)]
    fn closure() -> fn(u8) -> u8 {
        |number| number + 1
    }

    #[redlock(name = "coerced:number", timeout = -1, skip_value = 0, manager = &LOCKS)]
    fn number() -> u8 {
        #[allow(clippy::diverging_sub_expression, reason = "tested")]
        if std::env::args().count() == 0 { todo!() } else { 1 }
    }

    #[redlock(name = "coerced:todo", timeout = -1, manager = &LOCKS)]
    #[allow(clippy::todo, reason = "half-written functions are annotated too")]
    async fn unwritten() -> Result<u8, Error> {
        todo!()
    }

    #[redlock(name = "coerced:unwritten", timeout = -1, manager = &LOCKS)]
    fn unwritten_sync(_later: u8) -> Result<u8, Error> {
        unimplemented!("not yet")
    }

    #[tokio::test]
    async fn are_those_of_the_declared_type() {
        assert_eq!(boxed(true).to_string() + &boxed(false).to_string(), "1long");
        assert_eq!(boxed_async(true).await.to_string() + &boxed_async(false).await.to_string(), "1long");
        assert_eq!(slice(), [1, 2]);
        assert_eq!(reference(&5).await.to_string(), "5");
        assert_eq!(pointer().await(1), 128);
        assert_eq!(closure()(1), 2);
        assert_eq!(number(), 1);
        assert!(tokio::spawn(unwritten()).await.unwrap_err().is_panic());
        assert!(catch_unwind(|| unwritten_sync(1)).is_err());
    }
}

/// What leaves a body, and what only looks so.
mod ways_out {
    use super::*;

    macro_rules! give_back {
        ($value:expr) => {
            return $value
        };
    }

    #[redlock(name = "out:macro", timeout = -1, manager = &LOCKS)]
    async fn by_a_macro(number: u8) -> anyhow::Result<u8> {
        if number == 1 {
            give_back!(Ok(10));
        }
        anyhow::ensure!(number != 2, "two");
        tokio::task::yield_now().await;
        Ok(number)
    }

    #[redlock(name = "out:macro-sync", timeout = -1, manager = &LOCKS)]
    fn by_a_macro_sync(number: u8) -> anyhow::Result<u8> {
        if number == 1 {
            give_back!(Ok(10));
        }
        anyhow::ensure!(number != 2, "two");
        Ok(number)
    }

    #[redlock(name = "out:labels", timeout = -1, manager = &LOCKS)]
    async fn not_by_a_label(items: &[&str]) -> Result<u8, Error> {
        let parse = |text: &str| -> Result<u8, std::num::ParseIntError> {
            let number: u8 = text.parse()?;
            Ok(number)
        };
        let found = 'found: {
            for item in items {
                if let Ok(number) = parse(item) {
                    break 'found number;
                }
            }
            0
        };
        let inner = async {
            let number: u8 = "5".parse().map_err(|_| Error::ShutDown)?;
            Ok::<_, Error>(number)
        };
        Ok(found + inner.await?)
    }

    #[tokio::test]
    async fn are_told_apart() {
        assert_eq!(by_a_macro(1).await.unwrap(), 10);
        assert!(by_a_macro(2).await.is_err());
        assert_eq!(by_a_macro(3).await.unwrap(), 3);
        assert_eq!(by_a_macro_sync(1).unwrap(), 10);
        assert!(by_a_macro_sync(2).is_err());
        assert_eq!(not_by_a_label(&["a", "4"]).await.unwrap(), 9);
    }
}

/// The runtime is found where `crate` says, whatever else is called like it.
mod renamed_dependency {
    mod vendored {
        pub(super) use ::redlock_runtime as locks;
    }
    mod redlock_runtime {}

    use vendored::locks::redlock;

    use super::{Error, LOCKS};

    #[redlock(name = "renamed:{id}", timeout = -1, crate = vendored::locks, manager = &LOCKS, guard = lock)]
    async fn found(id: u8) -> Result<String, Error> {
        vendored::locks::require_lock!();
        Ok(lock.name().to_owned())
    }

    #[redlock(name = "renamed", timeout = -1, silent, crate = self::vendored::locks, manager = &LOCKS)]
    fn found_sync() -> Option<u8> {
        Some(1)
    }

    #[tokio::test]
    async fn is_found() {
        assert_eq!(found(1).await.unwrap(), "renamed:1");
        assert_eq!(found_sync(), Some(1));
    }
}

/// Nothing of the standard library is in scope.
#[no_implicit_prelude]
mod without_prelude {
    use ::std::assert_eq;

    use super::LOCKS;

    #[::redlock_runtime::redlock(name = "bare:{id}", timeout = -1, ttl = "1m", manager = &LOCKS, guard = lock)]
    async fn bare(id: u8) -> ::core::result::Result<usize, ::redlock_runtime::Error> {
        ::core::result::Result::Ok(lock.name().len())
    }

    #[::redlock_runtime::redlock(name = "bare", timeout = -1, silent, manager = &LOCKS)]
    fn bare_sync() -> ::core::option::Option<u8> {
        ::redlock_runtime::require_lock!();
        ::core::option::Option::Some(1)
    }

    #[::core::prelude::v1::test]
    fn works() {
        assert_eq!(::futures::executor::block_on(bare(1)).unwrap(), 6);
        assert_eq!(bare_sync(), ::core::option::Option::Some(1));
    }
}

/// Other attributes that say something about the function.
mod attributes {
    use super::*;

    #[redlock(name = "near:main", manager = &LOCKS)]
    #[tokio::main]
    async fn above_tokio_main() -> Result<bool, Error> {
        Ok(LOCKS.lock("near:main").try_acquire().await?.is_none())
    }

    #[tokio::main(flavor = "current_thread")]
    #[redlock(name = "near:main-below", manager = &LOCKS)]
    async fn below_tokio_main() -> Result<bool, Error> {
        Ok(LOCKS.lock("near:main-below").try_acquire().await?.is_none())
    }

    #[test]
    fn of_tokio_start_a_runtime_around_the_lock() {
        assert!(above_tokio_main().unwrap());
        assert!(below_tokio_main().unwrap());
    }

    /// The span that is current where the lock is asked for, as a name.
    fn current_span() -> &'static str {
        tracing::Span::current().metadata().map_or("none", tracing::Metadata::name)
    }

    #[tracing::instrument]
    #[redlock(name = current_span(), timeout = -1, manager = &LOCKS, guard = lock)]
    async fn below_instrument() -> Result<(String, &'static str), Error> {
        Ok((lock.name().to_owned(), current_span()))
    }

    #[redlock(name = current_span(), timeout = -1, manager = &LOCKS, guard = lock)]
    #[tracing::instrument]
    async fn above_instrument() -> Result<(String, &'static str), Error> {
        Ok((lock.name().to_owned(), current_span()))
    }

    #[test]
    fn of_tracing_cover_the_waiting_when_they_stand_below() {
        ask_every_subscriber();
        let subscriber = tracing_subscriber::fmt().with_writer(std::io::sink).finish();
        let (below, above) = tracing::subscriber::with_default(subscriber, || {
            (futures::executor::block_on(below_instrument()), futures::executor::block_on(above_instrument()))
        });
        assert_eq!(below.unwrap(), ("none".to_owned(), "below_instrument"));
        assert_eq!(above.unwrap(), ("above_instrument".to_owned(), "above_instrument"));
    }

    #[async_trait::async_trait]
    trait Instrumented {
        async fn boxed(&self) -> Result<u8, Error>;
    }

    #[async_trait::async_trait]
    impl Instrumented for u8 {
        #[redlock(name = "near:boxed", timeout = -1, manager = &LOCKS)]
        #[tracing::instrument(err, ret)]
        async fn boxed(&self) -> Result<u8, Error> {
            Ok(*self)
        }
    }

    #[redlock(name = "near:built", timeout = -1, manager = &LOCKS)]
    #[tracing::instrument(err, ret)]
    fn built(number: u8) -> impl Future<Output = Result<u8, Error>> {
        let more = number + 1;
        async move { Ok(more) }
    }

    /// It matches on the body's value, by names that it has to find again.
    #[tokio::test]
    async fn of_tracing_see_what_a_future_in_a_box_returns() {
        assert_eq!(1.boxed().await.unwrap(), 1);
        assert_eq!(built(1).await.unwrap(), 2);
    }

    #[async_trait::async_trait]
    trait Split {
        async fn add(&self, [number]: [u8; 1], ran: &mut u8) -> Result<u8, Error>;
        async fn silent(&self);
    }

    #[async_trait::async_trait]
    impl Split for &str {
        #[redlock(name = "near:split", timeout = -1, manager = &LOCKS, guard = lock)]
        async fn add(&self, [number]: [u8; 1], ran: &mut u8) -> Result<u8, Error> {
            *ran += number;
            redlock_runtime::require_lock!();
            assert_eq!(lock.name(), "near:split");
            *ran += number;
            Ok(number)
        }

        #[redlock(name = "near:split", timeout = -1, silent, manager = &LOCKS)]
        async fn silent(&self) {
            tokio::task::yield_now().await;
            redlock_runtime::require_lock!();
            panic!("the lock is held");
        }
    }

    #[tokio::test]
    async fn of_async_trait_leave_require_lock_where_it_is_written() {
        let mut ran = 0;
        assert_eq!("".add([3], &mut ran).await.unwrap(), 3);
        assert_eq!(ran, 6);
        let _held = LOCKS.lock("near:split").acquire().await.unwrap();
        assert!(matches!("".add([3], &mut ran).await, Err(Error::NotAcquired { .. })));
        assert_eq!(ran, 9);
        "".silent().await;
    }

    #[deprecated(note = "tested")]
    #[redlock(name = "near:old", timeout = -1, manager = &LOCKS)]
    async fn above() -> Result<u8, Error> {
        Ok(1)
    }

    #[redlock(name = "near:old-sync", timeout = -1, manager = &LOCKS)]
    #[deprecated(note = "tested")]
    fn below() -> Result<u8, Error> {
        Ok(1)
    }

    #[tokio::test]
    #[expect(deprecated, reason = "the attribute is still there")]
    async fn of_the_language_stay() {
        assert_eq!(above().await.unwrap(), 1);
        assert_eq!(below().unwrap(), 1);
    }

    #[async_trait::async_trait]
    trait Generic<T: Send + 'static> {
        async fn give(&self, value: T) -> Result<T, Error>;
    }

    #[async_trait::async_trait]
    impl<T: Send + 'static> Generic<T> for u8 {
        #[redlock(name = "{self}", timeout = -1, manager = &LOCKS, guard = lock)]
        async fn give(&self, value: T) -> Result<T, Error> {
            assert_eq!(lock.name(), self.to_string());
            Ok(value)
        }
    }

    #[async_trait::async_trait(?Send)]
    trait Local {
        async fn shared(&self) -> Result<Rc<u8>, Error>;
    }

    #[allow(clippy::use_self, reason = "the return type reads like the trait's")]
    #[async_trait::async_trait(?Send)]
    impl Local for u8 {
        #[redlock(name = "near:local", timeout = -1, manager = &LOCKS, guard = lock)]
        async fn shared(&self) -> Result<Rc<u8>, Error> {
            tokio::task::yield_now().await;
            assert_eq!(lock.name(), "near:local");
            Ok(Rc::new(*self))
        }
    }

    #[tokio::test]
    async fn of_async_trait_take_generics_and_values_that_are_not_send() {
        assert_eq!(7.give("a").await.unwrap(), "a");
        assert_eq!(*8.shared().await.unwrap(), 8);
    }
}

/// A panic in a body is the body's: the lock is released and the message is its own.
#[test]
fn a_panic_is_passed_on() {
    #[redlock(name = "panic", manager = &LOCKS)]
    fn panics() -> u8 {
        panic!("its own")
    }

    let panic = catch_unwind(panics).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"its own"));
    redlock_tests::wait::eventually("the lock is free", || {
        LOCKS.lock("panic").try_acquire_blocking().expect("the node answers").is_some()
    });
}
