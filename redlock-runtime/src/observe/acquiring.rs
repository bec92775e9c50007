//! One acquisition, as it is seen from outside.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::time::Instant;

use tracing::Span;
use tracing::field::Empty;
use tracing::span::Entered;

use super::event::{Event, Outcome, Path};
use super::harmless::harmless;
use super::labels::Observed;
use super::observers::Observers;
use crate::Error;
use crate::platform::clock;
use crate::shown::shown;

/// An acquisition that is under way; dropping it tells that it was cancelled.
pub(crate) struct Acquiring {
    /// Covers it; of no effect where nobody subscribes.
    span: Span,
    observed: Option<Observed>,
    /// When it began, once it has.
    began: Option<Instant>,
    path: Path,
    /// Whether the caller waits.
    is_waiting: bool,
    /// Whether how it ended was told.
    is_told: bool,
}

impl Acquiring {
    /// An acquisition of the lock of this name and label that begins, under the caller's span.
    pub(crate) fn begin(observers: &Observers, name: &str, label: Option<&str>) -> Self {
        let span = tracing::info_span!("redlock.acquire", lock = %shown(name), outcome = Empty, waited = Empty);
        let observed = observers.observed(label);
        let is_seen = observed.is_some() || !span.is_disabled();
        let began = is_seen.then(clock::now);
        Self { span, observed, began, path: Path::Local, is_waiting: false, is_told: false }
    }

    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    /// Who looks at the lock.
    /// When it began, as far as that was read.
    pub(crate) fn began(&self) -> Option<Instant> {
        self.began
    }

    pub(crate) fn observed(&self) -> Option<&Observed> {
        self.observed.as_ref()
    }

    /// The nodes are asked.
    pub(crate) fn asks_nodes(&mut self) {
        self.path = Path::Network;
    }

    /// Another holder of this process has passed the lock on.
    pub(crate) fn takes_over(&mut self) {
        self.path = Path::Local;
    }

    /// The caller has to wait.
    pub(crate) fn waits(&mut self) {
        if !std::mem::replace(&mut self.is_waiting, true)
            && let Some(observed) = &self.observed
        {
            #[cfg(feature = "metrics")]
            if let Some(handles) = observed.handles() {
                harmless(|| handles.waiting().increment(1.0));
            }
            observed.tell(Event::WaitBegan { lock: observed.label() });
        }
    }

    /// Whether the caller had to wait.
    pub(crate) fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// It is over.
    pub(crate) fn ended<T>(&mut self, acquired: &Result<T, Error>) {
        self.tell(match acquired {
            Ok(_) => Outcome::Acquired,
            Err(error) => outcome_of(error),
        });
    }

    fn tell(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.is_told, true) {
            return;
        }
        let Some(began) = self.began else { return };
        let took = clock::now().saturating_duration_since(began);
        harmless(|| {
            self.span.record("outcome", outcome.as_str());
            self.span.record("waited", took.as_secs_f64());
        });
        let Some(observed) = &self.observed else { return };
        if self.is_waiting {
            #[cfg(feature = "metrics")]
            if let Some(handles) = observed.handles() {
                harmless(|| handles.waiting().decrement(1.0));
            }
            observed.tell(Event::WaitEnded { lock: observed.label() });
        }
        observed.acquire_ended(outcome, self.path, took);
    }
}

impl Drop for Acquiring {
    fn drop(&mut self) {
        self.tell(Outcome::Cancelled);
        let span = std::mem::replace(&mut self.span, Span::none());
        harmless(|| drop(span));
    }
}

/// What this comes to within a span. Otherwise than with tracing's own wrapper, a subscriber that panics on the way out of the span does not
/// take away what it came to, which may be a lock that is held.
pub(crate) async fn within<T>(span: Span, mut what: Pin<&mut impl Future<Output = T>>) -> T {
    let outcome = poll_fn(|cx| {
        let mut inside = Inside(None);
        harmless(|| inside.0 = Some(span.enter()));
        what.as_mut().poll(cx)
    })
    .await;
    harmless(|| drop(span));
    outcome
}

/// Being within a span.
struct Inside<'a>(Option<Entered<'a>>);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        harmless(|| drop(self.0.take()));
    }
}

fn outcome_of(error: &Error) -> Outcome {
    match error {
        Error::NotAcquired { .. } | Error::NotHeld { .. } => Outcome::Held,
        Error::AlreadyRan { .. } => Outcome::AlreadyRan,
        Error::QuorumUnreachable { .. }
        | Error::NoNodeAnswered { .. }
        | Error::ListIncomplete { .. }
        | Error::FireInDoubt { .. }
        | Error::NotCompleted { .. } => Outcome::Unreachable,
        Error::ShutDown => Outcome::Cancelled,
        Error::Lost { .. } | Error::WouldDeadlock { .. } | Error::InvalidName { .. } | Error::Config { .. } => {
            Outcome::Error
        }
    }
}
