use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use redlock_runtime::node::{Acquire, BoxFuture, Extend, Node, NodeError, Outcome, Release, Vote};

/// Each key with its owner and its end.
type Keys = HashMap<Arc<str>, (Arc<str>, Instant)>;

#[derive(Default)]
pub struct Map {
    pub label: String,
    pub keys: Arc<Mutex<Keys>>,
}

impl Node for Map {
    fn label(&self) -> &str {
        &self.label
    }

    fn acquire(&self, acquire: Acquire) -> BoxFuture<'_, Result<Vote, NodeError>> {
        Box::pin(async move {
            let mut keys = self.keys.lock().unwrap();
            let now = Instant::now();
            match keys.get(&acquire.key) {
                Some((owner, end)) if *end > now => Ok(Vote::held_by(&**owner, Some(*end - now))),
                _ => {
                    keys.insert(acquire.key, (acquire.owner, now + acquire.ttl));
                    Ok(Vote::granted())
                }
            }
        })
    }

    fn extend(&self, extend: Extend) -> BoxFuture<'_, Result<Outcome, NodeError>> {
        Box::pin(async move {
            let mut keys = self.keys.lock().unwrap();
            let now = Instant::now();
            Ok(match keys.get_mut(&extend.key).filter(|(_, end)| *end > now) {
                None => Outcome::NoKey,
                Some((owner, _)) if *owner != extend.owner => Outcome::OtherOwner,
                Some((_, end)) => {
                    *end = (*end).max(now + extend.ttl); // never shorter
                    Outcome::Done
                }
            })
        })
    }

    fn release(&self, release: Release) -> BoxFuture<'_, Result<Outcome, NodeError>> {
        Box::pin(async move {
            let mut keys = self.keys.lock().unwrap();
            let now = Instant::now();
            Ok(match keys.get_mut(&release.key).filter(|(_, end)| *end > now) {
                None => Outcome::NoKey,
                Some(key) if key.0 == release.owner => {
                    match release.keep {
                        Some(keep) => *key = (keep.owner, now + keep.ttl),
                        None => drop(keys.remove(&release.key)),
                    }
                    Outcome::Done
                }
                // Released before: a release may come more than once.
                Some((owner, _)) if release.keep.is_some_and(|keep| keep.owner == *owner) => Outcome::Done,
                Some(_) => Outcome::OtherOwner,
            })
        })
    }
}
