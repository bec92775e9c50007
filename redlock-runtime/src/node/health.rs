//! Whether a node answers, told once however many connections lead to it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;

/// Tells when a node stops answering, and when it answers again: one event each, whichever connection noticed.
#[derive(Debug)]
pub(super) struct Health {
    /// The node's URL, without credentials.
    label: Arc<str>,
    /// A connection that was made before the node answered again, and ends within this time of that, ended for the same reason.
    echo: Duration,
    /// A std mutex: it is never held across an await, nor while an event is told.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Whether it was told that the node does not answer, and not yet that it does again.
    is_down: bool,
    /// When it answered again last.
    recovered: Option<Instant>,
}

/// How a connection noticed that the node does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It cannot be made.
    Unreachable,
    /// It ended.
    Lost,
    /// Nothing comes through it.
    Silent,
}

impl Health {
    pub(super) fn new(label: &Arc<str>, echo: Duration) -> Self {
        Self { label: Arc::clone(label), echo, state: Mutex::default() }
    }

    /// A connection, or an attempt to make one, that began at this moment came to nothing.
    pub(super) fn note_trouble(&self, trouble: Trouble, reason: &str, began: Instant) {
        let is_news = self.with(|state, now| {
            let is_echo = state.recovered.is_some_and(|moment| began < moment && now < moment + self.echo);
            let is_news = !state.is_down && !is_echo;
            state.is_down |= is_news;
            is_news
        });
        let node = &*self.label;
        match (is_news, trouble) {
            (true, Trouble::Unreachable) => tracing::warn!(node, reason, "node cannot be reached"),
            (true, Trouble::Lost) => tracing::warn!(node, reason, "connection lost"),
            (true, Trouble::Silent) => tracing::warn!(node, reason, "node does not answer"),
            (false, _) => tracing::debug!(node, reason, ?trouble, "node does not answer on another connection either"),
        }
    }

    /// The node answered.
    pub(super) fn note_answer(&self) {
        let is_news = self.with(|state, now| {
            let was_down = std::mem::take(&mut state.is_down);
            if was_down {
                state.recovered = Some(now);
            }
            was_down
        });
        if is_news {
            tracing::info!(node = &*self.label, "node answers again");
        }
    }

    fn with<T>(&self, then: impl FnOnce(&mut State, Instant) -> T) -> T {
        then(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner), clock::now())
    }
}
