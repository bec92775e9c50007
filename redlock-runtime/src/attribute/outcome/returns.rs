use std::error::Error as StdError;
use std::sync::LazyLock;

use super::{Blame, Convert, Output, Success};
use crate::Error;
use crate::error::LostReason;
use crate::observe::Seldom;
use crate::platform::clock;
use crate::shown::shown;

/// What one annotated function returns in which situation; its type is tied to that of the body.
#[derive(Debug)]
pub struct Returns<R> {
    fail: Option<Convert<R>>,
    blame: Option<Blame<R>>,
    silent: bool,
    on_lost: OnLost,
    /// Whether a value is that of a body that ended well, which completes the fire of the call; `None`: any is.
    succeeds: Option<Success<R>>,
}

/// Which call it is, for people.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Called<'a> {
    /// The path of the annotated function, if that is silent; else empty.
    pub(crate) function: &'a str,
    /// The name of its lock.
    pub(crate) lock: &'a str,
}

/// What happens to a running body when its lock is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnLost {
    /// The body is dropped, and the call returns the loss.
    Cancel,
    /// The body is dropped, and the call is skipped with an event that tells of the loss.
    Skip,
    /// Nothing.
    Continue,
}

/// How a call ended, before it is decided what that returns.
pub(crate) enum Ending {
    /// The body ran to its end.
    Finished,
    /// So it did, and its `require_lock!` has decided what that returns.
    Decided,
    /// The body did not run, or not behind its `require_lock!`.
    Refused(Error),
    /// The body was dropped because the lock was lost.
    Lost(Error),
}

/// What the annotated function does at its end.
#[must_use]
pub enum Returned<R> {
    /// It returns this.
    Value(R),
    /// It returns its skip value.
    Skip,
}

impl<R> Clone for Returns<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Returns<R> {}

impl<R> Returns<R> {
    /// Without `silent`: what goes wrong is returned, if `R` can hold it.
    #[must_use]
    pub const fn loud(_output: Output<R>, fail: Option<Convert<R>>) -> Self {
        // Nothing could be returned in place of a dropped body's value if not an error.
        let on_lost = if fail.is_some() { OnLost::Cancel } else { OnLost::Continue };
        Self { fail, blame: None, silent: false, on_lost, succeeds: None }
    }

    /// With `silent`: a lock that another owner holds is no error.
    #[must_use]
    pub const fn silent(_output: Output<R>, fail: Option<Convert<R>>, blame: Option<Blame<R>>) -> Self {
        Self { fail, blame, silent: true, on_lost: OnLost::Cancel, succeeds: None }
    }

    /// With `on_lost = "continue"`.
    #[must_use]
    pub const fn continue_when_lost(self) -> Self {
        Self { on_lost: OnLost::Continue, ..self }
    }

    /// What is the value of a body that ended well.
    #[must_use]
    pub const fn completing(self, succeeds: Option<Success<R>>) -> Self {
        Self { succeeds, ..self }
    }

    /// Whether what the body returns is a `Result` of which nobody can tell an `Err` from an `Ok`: a type parameter of the impl or the function,
    /// or what `impl Trait` hides. Asked by name, because a type parameter has no other answer.
    pub(crate) fn cannot_tell_success(&self) -> bool {
        // Source: https://doc.rust-lang.org/std/any/fn.type_name.html promises no format; a test looks at this one.
        self.succeeds.is_none() && std::any::type_name::<R>().starts_with("core::result::Result<")
    }

    /// Whether a body that returned this ended well.
    pub(crate) fn is_success(&self, value: &R) -> bool {
        self.succeeds.is_none_or(|succeeds| succeeds(value))
    }

    pub(crate) const fn on_lost(&self) -> OnLost {
        match self.on_lost {
            OnLost::Cancel if self.silent && self.fail.is_none() => OnLost::Skip,
            on_lost => on_lost,
        }
    }

    /// Whether a call whose lock cannot be had is told of by an event at its end, because it returns nothing that could tell it.
    pub(crate) const fn tells_failure(&self) -> bool {
        self.silent && self.fail.is_none()
    }

    /// Whether a call that ended so can neither return something nor is to panic: its manager was shut down, which happens to
    /// every process. It waits for the process to end.
    pub(crate) const fn has_no_answer(&self, ending: &Ending) -> bool {
        !self.silent && self.fail.is_none() && matches!(ending, Ending::Refused(Error::ShutDown))
    }

    /// Decides what is returned; `value` is the body's.
    #[track_caller]
    pub(crate) fn decide(&self, ending: Ending, value: Option<R>, called: Called<'_>) -> Returned<R> {
        let error = match ending {
            Ending::Decided => None,
            Ending::Finished => match (self.blame, &value) {
                (Some(blame), Some(value)) if blame(value) => {
                    tell_blame(called);
                    return Returned::Skip;
                }
                _ => None,
            },
            Ending::Refused(error) | Ending::Lost(error) => report(error, self.silent, self.fail.is_some(), called),
        };
        match (error, self.fail, value) {
            (Some(error), Some(fail), _) => Returned::Value(fail(error)),
            (None, _, Some(value)) => Returned::Value(value),
            _ => Returned::Skip,
        }
    }
}

// Apart from what is returned, these are compiled once and not for each return type.

fn tell_blame(Called { function, lock }: Called<'_>) {
    tracing::debug!(function, lock = %shown(lock), "skipped: the body failed because a lock is held elsewhere");
}

/// Whether nothing is wrong but that the process is ending.
fn is_shutdown(error: &Error) -> bool {
    matches!(error, Error::ShutDown | Error::Lost { reason: LostReason::ShutDown, .. })
}

/// The error that a call returns instead of its body's value; `None` if the call is skipped.
#[track_caller]
fn report(error: Error, is_silent: bool, is_returnable: bool, called: Called<'_>) -> Option<Error> {
    let Called { function, lock } = called;
    let lock = shown(lock);
    match error {
        Error::NotAcquired { .. } if is_silent => {
            tracing::debug!(function, %lock, "skipped: the lock is held elsewhere");
            None
        }
        Error::AlreadyRan { fire, completed, .. } if is_silent => {
            tracing::debug!(function, %lock, fire, completed, "skipped: the fire already ran");
            None
        }
        error if is_returnable => Some(error),
        error if is_silent && is_shutdown(&error) => {
            let cause: &(dyn StdError + 'static) = &error;
            tracing::info!(function, %lock, reason = cause, "skipped: the lock manager was shut down");
            None
        }
        error if is_silent => {
            /// A job that is called every second shall not fill the log.
            static TOLD: LazyLock<Seldom> = LazyLock::new(Seldom::default);

            let cause: &(dyn StdError + 'static) = &error;
            if TOLD.may_tell(&format!("{function} {lock}"), clock::now()) {
                tracing::error!(function, %lock, error = cause, "skipped: the body did not run to its end under its lock");
            } else {
                tracing::debug!(function, %lock, error = cause, "skipped again: the body did not run to its end under its lock");
            }
            None
        }
        error => panic!("this error needs a function that returns a `Result`: {error}"),
    }
}

impl<R> Returned<R> {
    /// The value of a call that is not silent, and so never skipped.
    pub fn returned(self) -> R {
        match self {
            Self::Value(value) => value,
            Self::Skip => unreachable!("only a silent call is skipped"),
        }
    }

    /// The value of a silent call.
    pub fn returned_or(self, skip: fn() -> R) -> R {
        match self {
            Self::Value(value) => value,
            Self::Skip => skip(),
        }
    }
}
