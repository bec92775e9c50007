//! Tasks of simulated processes, with the names that tokio gives to what they stand for.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::{self, RuntimeFlavor};
use tokio::task::{AbortHandle, JoinHandle};

use super::{Place, Within, here, is_over, number, world};

/// As tokio's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Id {
    Real(runtime::Id),
    /// Of the run with this number.
    Simulated(u64, Place),
}

/// As tokio's.
#[derive(Clone, Debug)]
pub(crate) struct Handle(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Real(runtime::Handle),
    Simulated(Place),
    /// Of the process that asks.
    Background,
}

static BACKGROUND: Handle = Handle(Kind::Background);

/// As tokio's.
#[derive(Debug)]
pub(crate) enum TryCurrentError {
    Real(runtime::TryCurrentError),
    /// On a simulated thread.
    NoContext,
}

impl TryCurrentError {
    pub(crate) fn is_thread_local_destroyed(&self) -> bool {
        matches!(self, Self::Real(error) if error.is_thread_local_destroyed())
    }
}

/// The background runtime of the process that runs.
pub(crate) fn background() -> Option<&'static Handle> {
    here().map(|_| &BACKGROUND)
}

impl From<runtime::Handle> for Handle {
    fn from(handle: runtime::Handle) -> Self {
        Self(Kind::Real(handle))
    }
}

impl Handle {
    pub(crate) fn current() -> Self {
        Self::try_current().expect("a runtime")
    }

    pub(crate) fn try_current() -> Result<Self, TryCurrentError> {
        match here() {
            Some(Place { runtime: Place::THREAD, .. }) => Err(TryCurrentError::NoContext),
            Some(place) => Ok(Self(Kind::Simulated(place))),
            None => {
                let handle = runtime::Handle::try_current().map_err(TryCurrentError::Real)?;
                Ok(Self(Kind::Real(handle)))
            }
        }
    }

    pub(crate) fn is_simulated(&self) -> bool {
        !matches!(self.0, Kind::Real(_))
    }

    fn place(&self) -> Option<Place> {
        match &self.0 {
            Kind::Real(_) => None,
            Kind::Simulated(place) => Some(*place),
            Kind::Background => here().map(|place| Place { runtime: Place::BACKGROUND, ..place }),
        }
    }

    pub(crate) fn id(&self) -> Id {
        match (&self.0, self.place()) {
            (Kind::Real(handle), _) => Id::Real(handle.id()),
            (_, Some(place)) => Id::Simulated(number(), place),
            (_, None) => unreachable!("a simulated process asks"),
        }
    }

    pub(crate) fn runtime_flavor(&self) -> RuntimeFlavor {
        match (&self.0, self.place()) {
            (Kind::Real(handle), _) => handle.runtime_flavor(),
            (_, Some(place)) if world().is_some_and(|world| world.is_multi_thread(place)) => RuntimeFlavor::MultiThread,
            _ => RuntimeFlavor::CurrentThread,
        }
    }

    pub(crate) fn enter(&self) -> Entered<'_> {
        match &self.0 {
            Kind::Real(handle) => Entered { _real: Some(handle.enter()), _within: None },
            _ => Entered { _real: None, _within: self.place().map(Within::enter) },
        }
    }

    pub(crate) fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let Some(place) = self.place() else {
            return match &self.0 {
                Kind::Real(handle) => handle.spawn(future),
                _ => tokio::spawn(future),
            };
        };
        if is_over() {
            // What is dropped with the run may not begin again: a release would, for ever.
            std::mem::forget(future);
            return tokio::spawn(std::future::pending());
        }
        let Some(world) = world().filter(|world| !world.has_ended(place)) else {
            // As a runtime that has ended does.
            drop(Placed::new(place, future));
            let task = tokio::spawn(std::future::pending());
            task.abort();
            return task;
        };
        let task = tokio::spawn(Placed::new(place, future));
        world.began(place, task.abort_handle());
        task
    }
}

/// As tokio's guard.
pub(crate) struct Entered<'a> {
    _real: Option<runtime::EnterGuard<'a>>,
    _within: Option<Within>,
}

pub(crate) fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Handle::current().spawn(future)
}

/// As tokio's.
pub(crate) struct JoinSet<T>(tokio::task::JoinSet<T>);

impl<T: Send + 'static> JoinSet<T> {
    pub(crate) fn new() -> Self {
        Self(tokio::task::JoinSet::new())
    }

    pub(crate) fn spawn(&mut self, future: impl Future<Output = T> + Send + 'static) -> AbortHandle {
        let Some(place) = here() else { return self.0.spawn(future) };
        let task = self.0.spawn(Placed::new(place, future));
        if let Some(world) = world() {
            world.began(place, task.clone());
        }
        task
    }
}

impl<T> Deref for JoinSet<T> {
    type Target = tokio::task::JoinSet<T>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<T> DerefMut for JoinSet<T> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// A future of a place: polled there, while its process runs, and dropped there.
#[derive(Debug)]
pub struct Placed<F> {
    place: Place,
    future: Option<Pin<Box<F>>>,
}

impl<F: Future> Placed<F> {
    pub fn new(place: Place, future: F) -> Self {
        Self { place, future: Some(Box::pin(future)) }
    }
}

impl<F: Future> Future for Placed<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        if world().is_none_or(|world| !world.may_run(self.place, cx.waker())) {
            return Poll::Pending;
        }
        let _within = Within::enter(self.place);
        let future = self.future.as_mut().expect("it is not polled after its end");
        let polled = future.as_mut().poll(cx);
        if polled.is_ready() {
            self.future = None;
        }
        polled
    }
}

impl<F> Drop for Placed<F> {
    fn drop(&mut self) {
        let _within = Within::enter(self.place);
        self.future = None;
    }
}
