//! What a Redis server would be: how it is, and what it does with what it is sent.

#[cfg(not(redlock_simulated))]
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex as OrderMutex, Notify};
use tokio::time::sleep;

#[cfg(feature = "testing")]
use super::Entry;
use super::State;
use crate::node::counters::Answer;
use crate::node::{Changes, Command, Delivery, Failure, Reply};
use crate::platform::clock;
use crate::platform::process::PerProcess;
#[cfg(redlock_simulated)]
use crate::platform::simulated::HashMap;

/// What a Redis server would be.
#[derive(Debug, Default)]
pub(crate) struct Server {
    /// A std mutex: it is never held across an await.
    state: Mutex<State>,
    /// Commands are carried out in the order in which they came, also behind one that takes its time.
    order: OrderMutex<()>,
    /// Told when the condition changes.
    changed: Notify,
}

/// How a node is.
#[derive(Clone, Debug, Default)]
#[cfg_attr(not(feature = "testing"), expect(dead_code, reason = "only tests make a node anything but well"))]
pub(crate) enum Condition {
    /// It answers at once.
    #[default]
    Well,
    /// It answers every command with this error, and carries none out.
    Failing(Arc<str>),
    /// It carries every command out and then answers with this error.
    FailingAfterwards(Arc<str>),
    /// It carries every command out, and answers, this much later.
    Slow(Duration),
    /// It takes commands, and carries them out when it goes on.
    Hung,
    /// It cannot be reached.
    Down,
}

/// The servers that have a name, for as long as somebody uses them. A child that was forked has its own, which are empty.
static NAMED: PerProcess<Mutex<HashMap<String, Weak<Server>>>> = PerProcess::new();

impl Server {
    pub(crate) fn named(name: &str) -> Arc<Self> {
        #[cfg(redlock_simulated)]
        let name = &*crate::platform::simulated::of_this_run(name);
        let mut named = NAMED.get().lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = named.get(name).and_then(Weak::upgrade) {
            return server;
        }
        let server = Arc::default();
        named.retain(|_, other| other.strong_count() > 0);
        named.insert(name.to_owned(), Arc::downgrade(&server));
        server
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(feature = "testing")]
    pub(crate) fn set(&self, condition: Condition) {
        self.state().condition = condition;
        self.changed.notify_waiters();
    }

    #[cfg(feature = "testing")]
    pub(crate) fn restart(&self) {
        let mut state = self.state();
        state.clear();
        state.restarted = Some(clock::now());
        state.tell_all();
    }

    #[cfg(feature = "testing")]
    pub(crate) fn clear(&self) {
        let mut state = self.state();
        state.clear();
        state.tell_all();
    }

    #[cfg(feature = "testing")]
    pub(crate) fn owner_of(&self, key: &str) -> Option<Arc<str>> {
        let now = clock::now();
        self.state().live(key, now).map(|entry| Arc::clone(&entry.owner))
    }

    #[cfg(feature = "testing")]
    pub(crate) fn hand_over(&self, key: &str, owner: &str, ttl: Duration) {
        let entry = Entry { owner: Arc::from(owner), expires: clock::now() + ttl };
        let mut state = self.state();
        state.entries.insert(Arc::from(key), entry);
        state.tell(key);
    }

    /// What a connection to a server would do: carries commands out in their order, however long the node takes.
    pub(super) async fn carry_out(&self, command: &Command, changes: Option<Changes>) -> Reply {
        let _in_order = self.order.lock().await;
        if command.is_recalled() {
            return Reply::not_sent("it was cancelled before it was sent");
        }
        loop {
            let recovered = self.changed.notified();
            let condition = self.state().condition.clone();
            match condition {
                Condition::Well => return self.apply(command, changes.as_ref()),
                Condition::Failing(reason) => return answered_with(reason),
                Condition::FailingAfterwards(reason) => {
                    let _ = self.apply(command, changes.as_ref());
                    return answered_with(reason);
                }
                Condition::Slow(delay) => {
                    sleep(delay).await;
                    return self.apply(command, changes.as_ref());
                }
                Condition::Hung => recovered.await,
                Condition::Down => return Reply::not_sent("the node is down"),
            }
        }
    }

    /// What is no vote is answered at once, or not at all.
    pub(super) fn answer<T: Send + 'static>(
        self: &Arc<Self>,
        reply_timeout: Duration,
        carry_out: impl FnOnce(&mut State, Instant) -> T + Send + 'static,
    ) -> Answer<T> {
        let server = Arc::clone(self);
        Box::pin(async move {
            let condition = server.state().condition.clone();
            match condition {
                Condition::Slow(delay) if delay < reply_timeout => sleep(delay).await,
                Condition::Well => {}
                Condition::Failing(reason) | Condition::FailingAfterwards(reason) => return Err(reason),
                Condition::Slow(_) | Condition::Hung => {
                    sleep(reply_timeout).await;
                    return Err(format!("no answer within {reply_timeout:?}").into());
                }
                Condition::Down => return Err(Arc::from("the node is down")),
            }
            Ok(carry_out(&mut server.state(), clock::now()))
        })
    }
}

fn answered_with(reason: Arc<str>) -> Reply {
    Reply::Failed(Failure { reason, delivery: Delivery::Answered })
}
