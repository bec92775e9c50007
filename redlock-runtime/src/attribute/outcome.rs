//! What an annotated function returns when its body does not: by its return type, as traits.
//!
//! A return type `R` is `Result<T, E>` with `E: From<Error>` (**A**), `Result<T, E>` without (**B**), or anything
//! else (**C**). Which of them holds is asked of the type, never of its spelling, in two ways: where the answer
//! must be yes, by a bound whose failure is the user's compile error; where it may be no, by methods of the same
//! name of which the compiler finds the first that holds ("autoref"), on the zero-size [`Output<R>`].
//!
//! - `required`: the bounds; `asked`: the methods
//! - `kept`: where a body's value waits for the release
//! - `returns`: what the answers come to
mod asked;
mod kept;
mod required;
mod returns;

use std::marker::PhantomData;

use crate::Error;

pub use self::asked::{
    BlamesError, BlamesNothing, BlamesPointer, Fails, FailsNot, IsFuture, IsNoFuture, Succeeds, SucceedsAlways,
};
pub use self::kept::{HandsOver, Keep, Keeps};
pub use self::required::{Fail, FailWhenLost, FailWhenRan, Plain, Skip};
pub(crate) use self::returns::{Called, Ending, OnLost};
pub use self::returns::{Returned, Returns};

/// The return type of an annotated function, to ask questions about.
pub struct Output<R>(PhantomData<fn() -> R>);

impl<R> Output<R> {
    /// `R` is inferred from [`promised`](Self::promised).
    #[expect(clippy::new_without_default, reason = "only generated code makes one")]
    #[must_use]
    pub const fn new() -> Self {
        Self(PhantomData)
    }

    /// Stands in a `return` that is never reached, only for its type.
    #[must_use]
    pub fn promised(self) -> R {
        unreachable!("only its type is used")
    }
}

impl<R> Clone for Output<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Output<R> {}

/// Marks a return type that is no future.
pub struct NoFuture<R>(PhantomData<fn() -> R>);

/// Turns a lock's error into what the function returns.
pub(crate) type Convert<R> = fn(Error) -> R;

/// Tells whether a body's value completes the fire that it ran for.
pub(crate) type Success<R> = fn(&R) -> bool;

/// Tells whether a body's value is an error caused by a lock that another owner holds.
pub(crate) type Blame<R> = fn(&R) -> bool;
