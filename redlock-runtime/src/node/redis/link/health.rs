//! Whether a node answers, told once however many connections lead to it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::platform::clock;
use crate::shown::shown;

/// Tells when a node stops answering, and when it answers again: one event each, whichever connection noticed.
#[derive(Debug)]
pub(in crate::node) struct Health {
    /// The node's URL, without credentials.
    label: Arc<str>,
    /// What began before the node answered again, and comes to nothing within this time of that, does so for the same reason.
    echo: Duration,
    /// A std mutex: it is never held across an await, nor while an event is told.
    state: Mutex<State>,
    /// Tells the connections that are left that nobody may be about to notice that the node answers again.
    left_alone: Notify,
    /// Whether the last server that was connected to told its age.
    has_age: AtomicBool,
}

/// Somebody who keeps a connection to the node, and asks it again when it does not answer, until this is dropped.
#[derive(Debug)]
pub(in crate::node) struct Keeper(Arc<Health>);

#[derive(Debug, Default)]
struct State {
    /// When it was told that the node does not answer, if it was not told yet that it does again.
    down: Option<Instant>,
    /// When it answered again last.
    recovered: Option<Instant>,
}

/// How a connection noticed that the node does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::node) enum Trouble {
    /// It cannot be made.
    Unreachable,
    /// It ended.
    Lost,
    /// Nothing comes through it.
    Silent,
}

impl Health {
    pub(in crate::node) fn new(label: &Arc<str>, echo: Duration) -> Self {
        Self {
            label: Arc::clone(label),
            echo,
            state: Mutex::default(),
            left_alone: Notify::new(),
            has_age: AtomicBool::new(true),
        }
    }

    /// A connection was made, to a server that tells its age or does not: without it a restart is not noticed.
    pub(in crate::node) fn note_age(&self, has_age: bool) {
        if self.has_age.swap(has_age, Ordering::Relaxed) && !has_age {
            tracing::warn!(node = &*self.label, "the server does not tell its age (INFO), so a restart is not noticed");
        }
    }

    /// Somebody begins to keep a connection.
    pub(in crate::node) fn keeper(self: &Arc<Self>) -> Keeper {
        Keeper(Arc::clone(self))
    }

    /// Ready when whoever found that the node does not answer may be gone, and the node has to be asked. Waits from the call on.
    pub(in crate::node) fn left_alone(&self) -> Notified<'_> {
        self.left_alone.notified()
    }

    /// A connection, or an attempt to make one, came to nothing. What it says about the node is as old as `since`: the beginning of
    /// the attempt, or what [`Self::note_answer`] returned.
    pub(in crate::node) fn note_trouble(&self, trouble: Trouble, reason: &str, since: Instant) {
        let is_news = self.with(|state, now| state.is_news(since, now, self.echo));
        // Most of it is in a server's own words.
        let (node, reason) = (&*self.label, shown(reason));
        match (is_news, trouble) {
            (true, Trouble::Unreachable) => tracing::warn!(node, %reason, "node cannot be reached"),
            (true, Trouble::Lost) => tracing::warn!(node, %reason, "connection lost"),
            (true, Trouble::Silent) => tracing::warn!(node, %reason, "node does not answer"),
            (false, _) => tracing::debug!(node, %reason, ?trouble, "node does not answer on another connection either"),
        }
    }

    /// The node answered what it was asked at this moment. Returns since when the connection speaks for the node; `None` if it
    /// must be asked again, because another connection ended meanwhile and the answer may be older than that.
    #[must_use = "the node may have to be asked again"]
    pub(in crate::node) fn note_answer(&self, asked: Instant) -> Option<Instant> {
        let heard = self.with(|state, now| state.hear(asked, now));
        if let Heard::Again(_) = heard {
            tracing::info!(node = &*self.label, "node answers again");
        }
        match heard {
            Heard::Usual(since) | Heard::Again(since) => Some(since),
            Heard::Perhaps => None,
        }
    }

    fn with<T>(&self, then: impl FnOnce(&mut State, Instant) -> T) -> T {
        then(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner), clock::now())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if self.0.with(|state, _| state.down.is_some()) {
            self.0.left_alone.notify_waiters();
        }
    }
}

/// What an answer says about the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    /// Nothing new.
    Usual(Instant),
    /// It answers again.
    Again(Instant),
    /// It answered before or after it was told that it does not.
    Perhaps,
}

impl State {
    /// Whether it has to be told that something came to nothing which began at `since`.
    fn is_news(&mut self, since: Instant, now: Instant, echo: Duration) -> bool {
        let is_echo = self.recovered.is_some_and(|moment| since < moment && now < moment + echo);
        let is_news = self.down.is_none() && !is_echo;
        if is_news {
            self.down = Some(now);
        }
        is_news
    }

    fn hear(&mut self, asked: Instant, now: Instant) -> Heard {
        match self.down {
            None => Heard::Usual(asked),
            Some(down) if asked < down => Heard::Perhaps,
            Some(_) => {
                (self.down, self.recovered) = (None, Some(now));
                Heard::Again(now)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ECHO: Duration = Duration::from_millis(100);

    /// What several connections to one node notice, by the millisecond.
    struct Node {
        state: State,
        start: Instant,
    }

    impl Node {
        fn new() -> Self {
            Self { state: State::default(), start: clock::now() }
        }

        fn at(&self, millis: u64) -> Instant {
            self.start + Duration::from_millis(millis)
        }

        fn is_news(&mut self, since: u64, now: u64) -> bool {
            self.state.is_news(self.at(since), self.at(now), ECHO)
        }

        fn hear(&mut self, asked: u64, now: u64) -> Heard {
            self.state.hear(self.at(asked), self.at(now))
        }
    }

    #[test]
    fn what_the_second_connection_notices_is_no_news_before_the_return_and_after_it() {
        for second in [11, 12, 30, 119] {
            let mut node = Node::new();
            assert_eq!(node.hear(0, 1), Heard::Usual(node.at(0)));
            assert!(node.is_news(0, 10));
            if second < 20 {
                assert!(!node.is_news(0, second));
            }
            assert_eq!(node.hear(15, 20), Heard::Again(node.at(20)));
            if second > 20 {
                assert!(!node.is_news(0, second), "{second}");
                assert!(!node.is_news(19, second), "an attempt that began before the return");
            }
            assert!(node.is_news(0, 120), "nobody notices as late as that what was before the return");
        }
    }

    #[test]
    fn an_answer_of_before_the_end_is_not_taken_for_the_return() {
        let mut node = Node::new();
        assert!(node.is_news(0, 10));
        assert_eq!(node.hear(5, 11), Heard::Perhaps);
        assert!(!node.is_news(5, 12), "the connection that was made meanwhile ends as the first did");
        assert_eq!(node.hear(12, 13), Heard::Again(node.at(13)));
    }

    #[test]
    fn a_connection_made_in_between_ends_for_the_same_reason_and_the_one_that_told_the_return_does_not() {
        let mut node = Node::new();
        assert!(node.is_news(0, 10));
        assert_eq!(node.hear(12, 20), Heard::Again(node.at(20)));
        assert_eq!(node.hear(5, 21), Heard::Usual(node.at(5)));
        assert!(!node.is_news(5, 22));
        assert!(node.is_news(20, 23));
    }
}
