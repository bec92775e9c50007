//! Questions whose answer may be no: of the methods of one name the compiler finds the first that holds.
use std::error::Error as StdError;
use std::marker::PhantomData;
use std::ops::Deref;

use super::{Blame, Convert, Fail, NoFuture, Output, Success};
use crate::Error;
use crate::error::HeldElsewhere;

/// First answer to "can `R` hold a lock's error?": yes, it is of class A.
pub trait Fails {
    /// The return type.
    type Returned;
    /// How a lock's error becomes the return value, if it can.
    fn fail(&self) -> Option<Convert<Self::Returned>>;
}

impl<T, E: From<Error>> Fails for Output<Result<T, E>> {
    type Returned = Result<T, E>;

    fn fail(&self) -> Option<Convert<Self::Returned>> {
        Some(<Result<T, E> as Fail>::fail)
    }
}

/// Second answer: no.
pub trait FailsNot {
    /// The return type.
    type Returned;
    /// How a lock's error becomes the return value, if it can.
    fn fail(&self) -> Option<Convert<Self::Returned>>;
}

impl<R> FailsNot for &Output<R> {
    type Returned = R;

    fn fail(&self) -> Option<Convert<R>> {
        None
    }
}

/// First answer to "did the body end well?": as its `Result` says.
pub trait Succeeds {
    /// The return type.
    type Returned;
    /// How to ask a value, if it can be asked.
    fn succeeds(&self) -> Option<Success<Self::Returned>>;
}

impl<T, E> Succeeds for Output<Result<T, E>> {
    type Returned = Result<T, E>;

    fn succeeds(&self) -> Option<Success<Self::Returned>> {
        Some(Result::is_ok)
    }
}

/// Second answer: it did, because it returned.
pub trait SucceedsAlways {
    /// The return type.
    type Returned;
    /// How to ask a value, if it can be asked.
    fn succeeds(&self) -> Option<Success<Self::Returned>>;
}

impl<R> SucceedsAlways for &Output<R> {
    type Returned = R;

    fn succeeds(&self) -> Option<Success<R>> {
        None
    }
}

/// First answer to "what caused the body's error?": `E` is an error and knows.
pub trait BlamesError {
    /// The return type.
    type Returned;
    /// How to ask a value, if it can be asked.
    fn blame(&self) -> Option<Blame<Self::Returned>>;
}

impl<T, E: StdError> BlamesError for &Output<Result<T, E>> {
    type Returned = Result<T, E>;

    fn blame(&self) -> Option<Blame<Self::Returned>> {
        Some(|value| value.as_ref().is_err_and(|error| is_held_elsewhere(error.source())))
    }
}

/// Second answer: `E` points to an error, as `Box<dyn Error>` and `anyhow::Error` do.
pub trait BlamesPointer {
    /// The return type.
    type Returned;
    /// How to ask a value, if it can be asked.
    fn blame(&self) -> Option<Blame<Self::Returned>>;
}

impl<T, E: Deref<Target: StdError>> BlamesPointer for &&Output<Result<T, E>> {
    type Returned = Result<T, E>;

    fn blame(&self) -> Option<Blame<Self::Returned>> {
        Some(|value| value.as_ref().is_err_and(|error| is_held_elsewhere(error.deref().source())))
    }
}

/// Third answer: nothing that could be asked.
pub trait BlamesNothing {
    /// The return type.
    type Returned;
    /// How to ask a value, if it can be asked.
    fn blame(&self) -> Option<Blame<Self::Returned>>;
}

impl<R> BlamesNothing for Output<R> {
    type Returned = R;

    fn blame(&self) -> Option<Blame<R>> {
        None
    }
}

/// First answer to "is the return type a future?": yes, though nobody could see it.
pub trait IsFuture {
    /// The return type.
    type Returned;
    /// A mark that [`Plain`](super::Plain) refuses.
    fn is_future(&self) -> HiddenFuture<Self::Returned>;
}

impl<R: Future> IsFuture for Output<R> {
    type Returned = R;

    fn is_future(&self) -> HiddenFuture<R> {
        HiddenFuture(PhantomData)
    }
}

/// Second answer: no.
pub trait IsNoFuture {
    /// The return type.
    type Returned;
    /// A mark that [`Plain`](super::Plain) accepts.
    fn is_future(&self) -> NoFuture<Self::Returned>;
}

impl<R> IsNoFuture for &Output<R> {
    type Returned = R;

    fn is_future(&self) -> NoFuture<R> {
        NoFuture(PhantomData)
    }
}

/// Marks a return type that is a future under another name. That is the one mistake to be told, so whatever else is
/// asked of the return type is asked of one for which it holds.
pub struct HiddenFuture<R>(PhantomData<fn() -> R>);

/// What can be asked of any type.
type Anything = Result<(), Error>;

const REFUSED: &str = "a hidden future is a compile error";

#[expect(clippy::unused_self, reason = "the receiver's type is what tells these from the ones of `NoFuture`")]
impl<R> HiddenFuture<R> {
    /// Never runs.
    pub fn if_not_acquired(self, _fail: Convert<Anything>) -> Convert<R> {
        |_| unreachable!("{REFUSED}")
    }

    /// Never runs.
    pub fn if_skipped(self, _skip: fn() -> Anything) -> fn() -> R {
        || unreachable!("{REFUSED}")
    }
}

#[expect(clippy::unused_self, reason = "the receiver's type is what tells these from the ones of `HiddenFuture`")]
impl<R> NoFuture<R> {
    /// How a lock's error becomes the return value.
    pub fn if_not_acquired(self, fail: Convert<R>) -> Convert<R> {
        fail
    }

    /// The skip value.
    pub fn if_skipped(self, skip: fn() -> R) -> fn() -> R {
        skip
    }
}

/// Whether the chain of sources ends in the marker that [`Error::NotAcquired`] carries.
///
/// The marker is looked for, not the error itself, because `#[error(transparent)]` hides the error.
fn is_held_elsewhere(source: Option<&(dyn StdError + 'static)>) -> bool {
    std::iter::successors(source, |&error| error.source()).any(<dyn StdError>::is::<HeldElsewhere>)
}
