//! A name that holds an argument in braces is filled in, or refused: never one lock for all arguments.
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use redlock_runtime::{Error, LockManager, redlock};

static LOCKS: LazyLock<LockManager> = LazyLock::new(|| {
    LockManager::builder().nodes(["memory://attribute-names"]).build().expect("a memory node needs nothing")
});

const INVOICE: &str = "invoice:{id}";
const TAGGED: &str = "{tenant-7}:invoice";

/// How many bodies ran that must not.
static RAN: AtomicU32 = AtomicU32::new(0);

#[track_caller]
#[allow(clippy::needless_pass_by_value, reason = "its callers hand a call's result on")]
fn assert_refused<T: std::fmt::Debug>(call: Result<T, Error>) {
    let Err(Error::InvalidName { name, reason }) = &call else { panic!("{call:?}") };
    assert_eq!(name, INVOICE);
    assert!(reason.contains("`{id}` in it is not filled in") && reason.contains("format!"), "{reason}");
}

mod that_the_macro_cannot_see {
    use super::*;

    #[redlock(name = INVOICE, manager = &LOCKS)]
    async fn constant(id: u64) -> Result<u64, Error> {
        RAN.fetch_add(1, Ordering::Relaxed);
        Ok(id)
    }

    #[redlock(name = String::from(INVOICE), manager = &LOCKS)]
    fn constant_blocking(id: u64) -> Result<u64, Error> {
        RAN.fetch_add(1, Ordering::Relaxed);
        Ok(id)
    }

    #[redlock(name = concat!("invoice:", stringify!({id})), manager = &LOCKS)]
    async fn built_by_another_macro(id: u64) -> Result<u64, Error> {
        RAN.fetch_add(1, Ordering::Relaxed);
        Ok(id)
    }

    #[redlock(name = "job", stats_name = INVOICE, manager = &LOCKS)]
    async fn stats_name(id: u64) -> Result<u64, Error> {
        RAN.fetch_add(1, Ordering::Relaxed);
        Ok(id)
    }

    #[redlock(names = ["a:{id}", INVOICE], manager = &LOCKS)]
    async fn one_of_several(id: u64) -> Result<u64, Error> {
        RAN.fetch_add(1, Ordering::Relaxed);
        Ok(id)
    }

    #[redlock(name = INVOICE, timeout = -1, silent, manager = &LOCKS)]
    async fn silent(id: u64) -> Option<u64> {
        RAN.fetch_add(1, Ordering::Relaxed);
        Some(id)
    }

    #[tokio::test]
    async fn is_refused() {
        assert_refused(constant(1).await);
        assert_refused(constant_blocking(1));
        assert_refused(built_by_another_macro(1).await);
        assert_refused(stats_name(1).await);
        assert_refused(one_of_several(1).await);
        assert_eq!(silent(1).await, None);
        assert_eq!(RAN.load(Ordering::Relaxed), 0);
    }

    #[redlock(name = TAGGED, manager = &LOCKS)]
    async fn other_braces(id: u64) -> Result<u64, Error> {
        Ok(id)
    }

    #[redlock(name = format!("{{id}}:{id}"), manager = &LOCKS, guard = lock)]
    async fn formatted(id: u64) -> Result<String, Error> {
        Ok(lock.name().to_owned())
    }

    #[redlock(names = ["a:{id}", TAGGED], manager = &LOCKS)]
    async fn other_braces_of_one_of_several(id: u64) -> Result<u64, Error> {
        Ok(id)
    }

    #[redlock(name = INVOICE, manager = &LOCKS, guard = lock)]
    async fn no_such_argument(number: u64) -> Result<String, Error> {
        assert_eq!(number, 1);
        Ok(lock.name().to_owned())
    }

    #[tokio::test]
    async fn and_means_no_argument_is_taken_as_it_is() {
        assert_eq!(other_braces(1).await.unwrap(), 1);
        assert_eq!(other_braces_of_one_of_several(1).await.unwrap(), 1);
        assert_eq!(formatted(1).await.unwrap(), "{id}:1");
        assert_eq!(no_such_argument(1).await.unwrap(), INVOICE);
    }
}

mod that_the_macro_can_see {
    use super::*;

    #[redlock(name = &"reference:{id}", manager = &LOCKS, guard = lock)]
    async fn reference(id: u64) -> Result<String, Error> {
        Ok(lock.name().to_owned())
    }

    #[redlock(name = { "block:{id}" }, manager = &LOCKS, guard = lock)]
    async fn block(id: u64) -> Result<String, Error> {
        Ok(lock.name().to_owned())
    }

    #[redlock(name = concat!("con", "cat:", 5, ":{id:03}"), manager = &LOCKS, guard = lock)]
    fn concatenated(id: u64) -> Result<String, Error> {
        Ok(lock.name().to_owned())
    }

    macro_rules! named {
        ($function:ident, $name:expr) => {
            #[redlock(name = $name, manager = &LOCKS, guard = lock)]
            async fn $function(id: u64) -> Result<String, Error> {
                assert_eq!(id, 7);
                Ok(lock.name().to_owned())
            }
        };
    }

    named!(from_a_macro, "job:{{7}}");

    #[tokio::test]
    async fn is_filled_in() {
        assert_eq!(reference(7).await.unwrap(), "reference:7");
        assert_eq!(block(7).await.unwrap(), "block:7");
        assert_eq!(concatenated(7).unwrap(), "concat:5:007");
        assert_eq!(from_a_macro(7).await.unwrap(), "job:{7}");
    }
}
