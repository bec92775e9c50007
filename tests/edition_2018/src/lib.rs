//! Annotated functions in a crate of edition 2018: they mean what they mean without the attribute.
#![cfg(test)]

use std::cell::RefCell;
use std::convert::TryInto;
use std::future::Future;
use std::pin::Pin;

use futures::executor::block_on;
use redlock_runtime::{redlock, require_lock, Error, LockManager};

fn locks() -> LockManager {
    LockManager::builder().nodes(["memory://edition-2018"]).build().expect("a memory node needs nothing")
}

/// Notes when it is dropped.
struct Dropped<'a>(&'static str, &'a RefCell<Vec<&'static str>>);

impl Dropped<'_> {
    fn number(&self) -> u8 {
        self.0.len().try_into().unwrap_or(u8::MAX)
    }
}

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        self.1.borrow_mut().push(self.0);
    }
}

/// The same function in all ways, whose tail drops a temporary: after the locals until edition 2021, before them since.
macro_rules! tail_with_a_temporary {
    ($($name:ident: [$($attribute:tt)*] $($is_async:ident)?),*) => {$(
        $($attribute)*
        $($is_async)? fn $name(log: &RefCell<Vec<&'static str>>) -> Result<u8, Error> {
            let _local = Dropped("local", log);
            Ok(Dropped("temporary", log).number())
        }
    )*};
}

tail_with_a_temporary!(
    plain: [],
    annotated: [#[redlock(name = "sync", timeout = -1, manager = &locks())]],
    plain_async: [] async,
    annotated_async: [#[redlock(name = "async", timeout = -1, manager = &locks())]] async
);

#[test]
fn temporaries_are_dropped_when_the_edition_says() {
    let dropped = |call: &dyn Fn(&RefCell<Vec<&'static str>>)| {
        let log = RefCell::default();
        call(&log);
        log.into_inner()
    };
    let expected = dropped(&|log| drop(plain(log)));
    assert_eq!(expected, ["local", "temporary"], "the order of this edition");
    assert_eq!(dropped(&|log| drop(annotated(log))), expected);
    assert_eq!(dropped(&|log| drop(block_on(plain_async(log)))), expected);
    assert_eq!(dropped(&|log| drop(block_on(annotated_async(log)))), expected);
}

// A word since edition 2024.
#[redlock(name = "x:{gen}", timeout = -1, guard = lock, manager = &locks())]
async fn word(gen: u8) -> Result<String, Error> {
    Ok(lock.name().to_owned())
}

#[redlock(name = "x", timeout = -1, silent, manager = &locks())]
async fn split(number: u8) -> Option<u8> {
    if number == 0 {
        return None;
    }
    require_lock!();
    Some(number)
}

#[redlock(name = "x", timeout = -1, manager = &locks())]
fn opaque(number: u8) -> impl Future<Output = Result<u8, Error>> {
    async move { Ok(number) }
}

#[redlock(name = "x", timeout = -1, manager = &locks())]
fn boxed(number: &u8) -> Pin<Box<dyn Future<Output = Result<u8, Error>> + Send + '_>> {
    Box::pin(async move { Ok(*number) })
}

#[test]
fn functions_of_every_kind_run() {
    assert_eq!(block_on(word(1)).unwrap(), "x:1");
    assert_eq!(block_on(split(2)), Some(2));
    assert_eq!(block_on(opaque(3)).unwrap(), 3);
    assert_eq!(block_on(boxed(&4)).unwrap(), 4);
}
