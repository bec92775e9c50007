//! A value that one task writes and many read. Those who wait for it go on in the order in which they began to wait, so what they
//! then send comes in that order too; tokio's `watch` wakes them in any.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Notify;

/// Writes the value; when it is dropped, nobody waits any more.
#[derive(Debug)]
pub(in crate::node) struct Publisher<T>(Arc<Shared<T>>);

/// Reads the value.
#[derive(Debug)]
pub(in crate::node) struct Published<T>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    /// A std lock: it is never held across an await.
    value: RwLock<T>,
    changed: Notify,
    is_over: AtomicBool,
}

/// A value, and who reads it.
pub(in crate::node) fn publish<T>(first: T) -> (Publisher<T>, Published<T>) {
    let (value, changed, is_over) = (RwLock::new(first), Notify::new(), AtomicBool::new(false));
    let shared = Arc::new(Shared { value, changed, is_over });
    (Publisher(Arc::clone(&shared)), Published(shared))
}

impl<T> Publisher<T> {
    pub(in crate::node) fn set(&self, value: T) {
        let former = std::mem::replace(&mut *self.0.value.write().unwrap_or_else(PoisonError::into_inner), value);
        self.0.changed.notify_waiters();
        // Not under the lock: it may be the last of somebody who reads the value himself.
        drop(former);
    }
}

impl<T> Drop for Publisher<T> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Release);
        self.0.changed.notify_waiters();
    }
}

impl<T> Published<T> {
    /// The present value, which cannot be written meanwhile.
    pub(in crate::node) fn read(&self) -> impl Deref<Target = T> {
        self.0.value.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> Published<T> {
    /// Waits for a value of which this is true; `None` if there is none, and nobody writes one any more.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; who waits again does so behind all others.
    pub(in crate::node) async fn wait_for(&self, is_wanted: impl Fn(&T) -> bool) -> Option<T> {
        loop {
            let changed = self.0.changed.notified();
            let is_over = self.0.is_over.load(Ordering::Acquire);
            let value = Some(self.read()).filter(|value| is_wanted(value)).map(|value| T::clone(&value));
            if value.is_some() || is_over {
                return value;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn those_who_wait_go_on_in_the_order_in_which_they_came() {
        let (writer, value) = publish(0);
        let (value, order) = (Arc::new(value), Arc::new(Mutex::new(Vec::new())));
        let waiting: Vec<_> = (0..50)
            .map(|number| {
                let (value, order) = (Arc::clone(&value), Arc::clone(&order));
                tokio::spawn(async move {
                    let read = value.wait_for(|value| *value == 2).await;
                    order.lock().unwrap().push(number);
                    read
                })
            })
            .collect();
        tokio::task::yield_now().await;
        writer.set(1);
        tokio::task::yield_now().await;
        writer.set(2);
        for waiter in waiting {
            assert_eq!(waiter.await.unwrap(), Some(2));
        }
        assert_eq!(*order.lock().unwrap(), (0..50).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn nobody_waits_for_what_nobody_writes_any_more() {
        let (writer, value) = publish("first");
        drop(writer);
        assert_eq!(value.wait_for(|value| *value == "second").await, None);
        assert_eq!(value.wait_for(|value| *value == "first").await, Some("first"));
    }
}
