//! Those who look on, and are told when a key changed.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

/// Where somebody who looks on is told.
#[derive(Default)]
pub(crate) struct Bell {
    rung: Notify,
    /// What changed since it was asked last: the names that the keys were watched for.
    changed: Mutex<BTreeSet<Arc<str>>>,
}

/// For each key the bells, and the name for which it is watched.
type ByKey = BTreeMap<Arc<str>, Vec<(Weak<Bell>, Arc<str>)>>;

/// Who is told of which key.
#[derive(Default)]
pub(crate) struct Watchers {
    /// Whether there ever was one: most processes have none.
    has_any: AtomicBool,
    /// A std mutex: it is never held across an await.
    by_key: Mutex<ByKey>,
}

impl Bell {
    /// Returns when something changed since this returned last.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what was told is told again.
    pub(crate) async fn rung(&self) {
        self.rung.notified().await;
    }

    /// What changed since this was asked last.
    pub(crate) fn take_changed(&self) -> BTreeSet<Arc<str>> {
        mem::take(&mut self.changed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn ring(&self, name: &Arc<str>) {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).insert(Arc::clone(name));
        self.rung.notify_one();
    }
}

impl Watchers {
    fn by_key(&self) -> MutexGuard<'_, ByKey> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rings the bell from now on when one of these keys changes, which are watched for this name.
    pub(crate) fn watch(&self, keys: &[Arc<str>], name: &Arc<str>, bell: &Arc<Bell>) {
        self.has_any.store(true, Ordering::Release);
        let mut by_key = self.by_key();
        for key in keys {
            let bells = by_key.entry(Arc::clone(key)).or_default();
            if !bells.iter().any(|(other, _)| Weak::as_ptr(other) == Arc::as_ptr(bell)) {
                bells.push((Arc::downgrade(bell), Arc::clone(name)));
            }
        }
    }

    /// Rings the bell no more for these keys.
    pub(crate) fn forget(&self, keys: &[Arc<str>], bell: &Bell) {
        let mut by_key = self.by_key();
        for key in keys {
            if let Some(bells) = by_key.get_mut(key) {
                bells.retain(|(other, _)| !std::ptr::eq(Weak::as_ptr(other), bell));
                if bells.is_empty() {
                    by_key.remove(key);
                }
            }
        }
    }

    /// This key changed, or any may have.
    pub(crate) fn changed(&self, key: Option<&str>) {
        if !self.has_any.load(Ordering::Acquire) {
            return;
        }
        let ring = |bells: &Vec<(Weak<Bell>, Arc<str>)>| {
            for (bell, name) in bells {
                bell.upgrade().into_iter().for_each(|bell| bell.ring(name));
            }
        };
        let by_key = self.by_key();
        match key {
            Some(key) => by_key.get(key).into_iter().for_each(ring),
            None => by_key.values().for_each(ring),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_bell_rings_for_its_keys_and_no_more_when_they_are_forgotten() {
        let (watchers, bell) = (Watchers::default(), Arc::new(Bell::default()));
        let (key, name) = (Arc::from("key"), Arc::from("name"));
        watchers.watch(std::slice::from_ref(&key), &name, &bell);
        watchers.changed(Some("another"));
        assert!(bell.take_changed().is_empty());
        watchers.changed(Some("key"));
        bell.rung().await;
        assert_eq!(bell.take_changed().into_iter().collect::<Vec<_>>(), [Arc::clone(&name)]);
        watchers.changed(None);
        bell.rung().await;
        assert_eq!(bell.take_changed().len(), 1);
        watchers.forget(&[key], &bell);
        watchers.changed(None);
        assert!(bell.take_changed().is_empty() && watchers.by_key().is_empty());
    }
}
