//! Questions whose answer must be yes: a bound that does not hold is the user's compile error.
use super::NoFuture;
use crate::Error;

/// A function that can return the error of a lock, as `E::from(error)`.
#[diagnostic::on_unimplemented(
    message = "this function may fail to acquire its lock, and `{Self}` cannot say so",
    label = "cannot hold a `redlock_runtime::Error`",
    note = "return a `Result<_, E>` where `E: From<redlock_runtime::Error>`, such as `anyhow::Result<_>`",
    note = "or add `silent`, to return a skip value when the lock is not acquired"
)]
pub trait Fail {
    /// The error as the function's return value.
    fn fail(error: Error) -> Self;
}

#[diagnostic::do_not_recommend]
impl<T, E: From<Error>> Fail for Result<T, E> {
    fn fail(error: Error) -> Self {
        Err(E::from(error))
    }
}

/// A function that can return that its fire has run before.
#[diagnostic::on_unimplemented(
    message = "the fire of `once` may have run before, and `{Self}` cannot say so",
    label = "cannot hold a `redlock_runtime::Error`",
    note = "return a `Result<_, E>` where `E: From<redlock_runtime::Error>`, such as `anyhow::Result<_>`",
    note = "or add `silent`, to return a skip value when the fire has run before"
)]
pub trait FailWhenRan {
    /// The error as the function's return value.
    fn fail(error: Error) -> Self;
}

#[diagnostic::do_not_recommend]
impl<T, E: From<Error>> FailWhenRan for Result<T, E> {
    fn fail(error: Error) -> Self {
        Err(E::from(error))
    }
}

/// A function whose body may be dropped when the lock is lost.
#[diagnostic::on_unimplemented(
    message = "`on_lost = \"cancel\"` drops the body, and `{Self}` cannot say that the lock was lost",
    label = "cannot hold a `redlock_runtime::Error`",
    note = "return a `Result<_, E>` where `E: From<redlock_runtime::Error>`, such as `anyhow::Result<_>`",
    note = "or add `silent`, to return a skip value; or let the body finish with `on_lost = \"continue\"`"
)]
pub trait FailWhenLost {
    /// The error as the function's return value.
    fn fail(error: Error) -> Self;
}

#[diagnostic::do_not_recommend]
impl<T, E: From<Error>> FailWhenLost for Result<T, E> {
    fn fail(error: Error) -> Self {
        Err(E::from(error))
    }
}

/// A function that can return something without having run.
///
/// `Kind` only tells the two implementations apart; it is always inferred.
#[diagnostic::on_unimplemented(
    message = "there is no value of `{Self}` to return when the body is skipped",
    label = "neither `Default` nor a `Result` of a type that is",
    note = "add `skip_value = …` with the value to return",
    note = "or implement `Default` for the type"
)]
pub trait Skip<Kind> {
    /// What the function returns instead of running.
    fn skip() -> Self;
}

/// Marks the skip value of a `Result`.
pub enum OfResult {}

/// Marks the skip value of every other type.
pub enum OfDefault {}

#[diagnostic::do_not_recommend]
impl<T: Default, E> Skip<OfResult> for Result<T, E> {
    fn skip() -> Self {
        Ok(T::default())
    }
}

#[diagnostic::do_not_recommend]
impl<R: Default> Skip<OfDefault> for R {
    fn skip() -> Self {
        R::default()
    }
}

/// The return type of a function whose body may be over when the function returns.
#[diagnostic::on_unimplemented(
    message = "this return type is a future, but is not written as one",
    label = "the lock would be released before this future runs",
    note = "write the type out, as `impl Future<Output = T>`, `Pin<Box<dyn Future<Output = T>>>` or `BoxFuture<T>`, \
            or make the function an `async fn`"
)]
pub trait Plain {}

#[diagnostic::do_not_recommend]
impl<R> Plain for NoFuture<R> {}
