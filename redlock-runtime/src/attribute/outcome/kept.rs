//! Where a body's value waits while the lock is released.
use super::Output;

/// A place for a body's value, or none.
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

/// Keeps a value that is `Send`; boxed, so that the future does not grow by what it returns.
pub struct Kept<R>(Option<Box<R>>);

impl<R> Keep<R> for Kept<R> {
    fn put(&mut self, value: R) -> Option<R> {
        self.0 = Some(Box::new(value));
        None
    }

    fn take(&mut self) -> Option<R> {
        self.0.take().map(|value| *value)
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
