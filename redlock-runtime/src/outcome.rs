//! What an annotated function returns when its body does not: the rules by return type, as traits.
//!
//! A return type `R` is `Result<T, E>` with `E: From<Error>` (**A**), `Result<T, E>` without (**B**), or anything
//! else (**C**). Which of them holds is asked of the type, never of its spelling, in two ways: where the answer
//! must be yes, by a bound whose failure is the user's compile error; where it may be no, by methods of the same
//! name of which the compiler finds the first that holds ("autoref"), on the zero-size [`Output<R>`].
use std::error::Error as StdError;
use std::marker::PhantomData;
use std::ops::Deref;

use crate::Error;
use crate::error::HeldElsewhere;

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

/// Turns a lock's error into what the function returns.
pub(crate) type Convert<R> = fn(Error) -> R;

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

/// Tells whether a body's value is an error caused by a lock that another owner holds.
pub(crate) type Blame<R> = fn(&R) -> bool;

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

/// Whether the chain of sources ends in the marker that [`Error::NotAcquired`] carries.
///
/// The marker is looked for, not the error itself, because `#[error(transparent)]` hides the error.
fn is_held_elsewhere(source: Option<&(dyn StdError + 'static)>) -> bool {
    std::iter::successors(source, |&error| error.source()).any(<dyn StdError>::is::<HeldElsewhere>)
}

/// Where a body's value waits while the lock is released.
///
/// The future of an annotated function may not hold a value that is not `Send` across an await, or it would stop
/// being `Send` itself, as `async fn() -> Result<(), Box<dyn Error>>` is by hand. Such a value is handed over once the
/// release is sent, and nobody waits for its confirmation. A type parameter without a `Send` bound counts as such.
pub trait Keep<R> {
    /// Keeps the value, or gives it back.
    fn put(&mut self, value: R) -> Option<R>;
    /// Takes the kept value out.
    fn take(&mut self) -> Option<R>;
}

/// Keeps a value that is `Send`.
pub struct Kept<R>(Option<R>);

// Nothing is pinned through it.
impl<R> Unpin for Kept<R> {}

impl<R> Keep<R> for Kept<R> {
    fn put(&mut self, value: R) -> Option<R> {
        self.0 = Some(value);
        None
    }

    fn take(&mut self) -> Option<R> {
        self.0.take()
    }
}

/// Keeps nothing.
pub struct HandedOver;

impl<R> Keep<R> for HandedOver {
    fn put(&mut self, value: R) -> Option<R> {
        Some(value)
    }

    fn take(&mut self) -> Option<R> {
        None
    }
}

/// First answer to "may the value be held across an await?": yes.
pub trait Keeps {
    /// The return type.
    type Returned;
    /// An empty place for the value.
    fn keep(&self) -> Kept<Self::Returned>;
}

impl<R: Send> Keeps for Output<R> {
    type Returned = R;

    fn keep(&self) -> Kept<R> {
        Kept(None)
    }
}

/// Second answer: no.
pub trait HandsOver {
    /// No place for the value.
    fn keep(&self) -> HandedOver;
}

impl<R> HandsOver for &Output<R> {
    fn keep(&self) -> HandedOver {
        HandedOver
    }
}

/// First answer to "is the return type a future?": yes, though nobody could see it.
pub trait IsFuture {
    /// The return type.
    type Returned;
    /// A mark that [`Plain`] refuses.
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
    /// A mark that [`Plain`] accepts.
    fn is_future(&self) -> NoFuture;
}

impl<R> IsNoFuture for &Output<R> {
    fn is_future(&self) -> NoFuture {
        NoFuture
    }
}

/// Marks a return type that is a future under another name.
pub struct HiddenFuture<R>(PhantomData<fn() -> R>);

/// Marks a return type that is no future.
pub struct NoFuture;

/// The return type of a function whose body may be over when the function returns.
#[diagnostic::on_unimplemented(
    message = "this return type is a future, but is not written as one",
    label = "the lock would be released before this future runs",
    note = "write the type out, as `impl Future<Output = T>`, `Pin<Box<dyn Future<Output = T>>>` or `BoxFuture<T>`, \
            or make the function an `async fn`"
)]
pub trait Plain {}

impl Plain for NoFuture {}

/// What one annotated function returns in which situation; its type is tied to that of the body.
#[derive(Debug)]
pub struct Rules<R> {
    fail: Option<Convert<R>>,
    blame: Option<Blame<R>>,
    silent: bool,
    on_lost: OnLost,
}

/// What happens to a running body when its lock is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnLost {
    Cancel,
    Continue,
}

/// How a call ended, before the rules are applied.
pub(crate) enum Outcome<R> {
    /// The body ran to its end.
    Finished(R),
    /// The body did not run, or not behind its `require_lock!`.
    Refused(Error),
    /// The body was dropped because the lock was lost.
    Lost(Error),
}

/// What the annotated function does at its end.
#[must_use]
pub enum Verdict<R> {
    /// It returns this.
    Return(R),
    /// It returns its skip value.
    Skip,
}

impl<R> Clone for Rules<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Rules<R> {}

impl<R> Rules<R> {
    /// Without `silent`: what goes wrong is returned, if `R` can hold it.
    #[must_use]
    pub const fn loud(_output: Output<R>, fail: Option<Convert<R>>) -> Self {
        // Nothing could be returned in place of a dropped body's value if not an error.
        let on_lost = if fail.is_some() { OnLost::Cancel } else { OnLost::Continue };
        Self { fail, blame: None, silent: false, on_lost }
    }

    /// With `silent`: a lock that another owner holds is no error.
    #[must_use]
    pub const fn silent(_output: Output<R>, fail: Option<Convert<R>>, blame: Option<Blame<R>>) -> Self {
        Self { fail, blame, silent: true, on_lost: OnLost::Cancel }
    }

    /// With `on_lost = "continue"`.
    #[must_use]
    pub const fn continue_when_lost(self) -> Self {
        Self { on_lost: OnLost::Continue, ..self }
    }

    pub(crate) const fn on_lost(&self) -> OnLost {
        self.on_lost
    }

    /// Applies the rules.
    #[track_caller]
    pub(crate) fn decide(&self, outcome: Outcome<R>) -> Verdict<R> {
        match (outcome, self.fail) {
            (Outcome::Finished(value), _) if self.blame.is_some_and(|blame| blame(&value)) => {
                tracing::debug!("skipped: the body failed because a lock is held elsewhere");
                Verdict::Skip
            }
            (Outcome::Finished(value), _) => Verdict::Return(value),
            (Outcome::Refused(Error::NotAcquired { name, .. }), _) if self.silent => {
                tracing::debug!(lock = name, "skipped: the lock is held elsewhere");
                Verdict::Skip
            }
            (Outcome::Refused(error) | Outcome::Lost(error), Some(fail)) => Verdict::Return(fail(error)),
            (Outcome::Refused(error) | Outcome::Lost(error), None) if self.silent => {
                let cause: &(dyn StdError + 'static) = &error;
                tracing::error!(error = cause, "skipped: the body did not run to its end under its lock");
                Verdict::Skip
            }
            (Outcome::Refused(error) | Outcome::Lost(error), None) => {
                panic!("an annotated function cannot return this error, so it panics: {error}")
            }
        }
    }
}

impl<R> Verdict<R> {
    /// The value of a call that is not silent, and so never skipped.
    pub fn returned(self) -> R {
        match self {
            Self::Return(value) => value,
            Self::Skip => unreachable!("only a silent call is skipped"),
        }
    }

    /// The value of a silent call.
    pub fn returned_or(self, skip: fn() -> R) -> R {
        match self {
            Self::Return(value) => value,
            Self::Skip => skip(),
        }
    }
}
