//! Whether a node answers, told once however many connections lead to it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::observe::{NodeView, REPEAT};
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
    /// Where it is seen from outside.
    view: OnceLock<NodeView>,
}

/// Somebody who keeps a connection to the node, and asks it again when it does not answer, until this is dropped.
#[derive(Debug)]
pub(in crate::node) struct Keeper(Arc<Health>);

#[derive(Debug, Default)]
struct State {
    /// When it was found that the node does not answer, if it does not yet again.
    down: Option<Instant>,
    /// Whether that was told: not if the same was told a moment before.
    is_told: bool,
    /// When it was told last.
    told: Option<Instant>,
    /// When it answered again last.
    recovered: Option<Instant>,
    /// Which server answered last, as it says itself.
    server: Option<Arc<str>>,
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
            view: OnceLock::new(),
        }
    }

    /// It is seen there from now on.
    pub(in crate::node) fn show_to(&self, view: NodeView) {
        self.view.get_or_init(|| view);
    }

    /// A connection was made, to a server that tells its age or does not: without it a restart is not noticed.
    pub(in crate::node) fn note_age(&self, has_age: bool) {
        if self.has_age.swap(has_age, Ordering::Relaxed) && !has_age {
            tracing::warn!(node = &*self.label, "the server does not tell its age (INFO), so a restart is not noticed");
        }
    }

    /// A connection was made to the server that calls itself so, which votes in this time if others are older. Another one than before
    /// knows nothing of locks that were granted by that.
    pub(in crate::node) fn note_server(&self, server: &str, votes_in: Duration) {
        let before = self.with(|state, _| match &state.server {
            Some(before) if **before == *server => None,
            _ => state.server.replace(server.into()),
        });
        if before.is_some() {
            tracing::info!(
                node = &*self.label,
                ?votes_in,
                "the node restarted, or another server took its place: it may have forgotten locks, so it abstains for this long \
                 while older nodes can be reached; restart no other before that"
            );
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
        let (is_first, is_news) = self.with(|state, now| {
            let is_first = state.is_first(since, now, self.echo);
            (is_first, state.may_tell(now))
        });
        if is_first {
            self.view.get().into_iter().for_each(NodeView::is_silent);
        }
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
        if heard != Heard::Perhaps {
            // Also where a request was late, and nothing else was wrong.
            self.view.get().into_iter().for_each(NodeView::answers);
        }
        if let Heard::Again { is_told: true, .. } = heard {
            tracing::info!(node = &*self.label, "node answers again");
        }
        match heard {
            Heard::Usual(since) | Heard::Again { since, .. } => Some(since),
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
    Again {
        /// Since when the connection speaks for the node.
        since: Instant,
        /// Whether it was told that it did not.
        is_told: bool,
    },
    /// It answered before or after it was told that it does not.
    Perhaps,
}

impl State {
    /// Whether something that came to nothing, and began at `since`, is the first to show that the node does not answer.
    fn is_first(&mut self, since: Instant, now: Instant, echo: Duration) -> bool {
        let is_echo = self.recovered.is_some_and(|moment| since < moment && now < moment + echo);
        let is_first = self.down.is_none() && !is_echo;
        if is_first {
            (self.down, self.is_told) = (Some(now), false);
        }
        is_first
    }

    /// Whether it is to be told now that the node does not answer; then it was. Of one that comes and goes it is told once in a while.
    fn may_tell(&mut self, now: Instant) -> bool {
        let is_recent = self.told.is_some_and(|told| now.saturating_duration_since(told) < REPEAT);
        if self.down.is_none() || self.is_told || is_recent {
            return false;
        }
        (self.told, self.is_told) = (Some(now), true);
        true
    }

    fn hear(&mut self, asked: Instant, now: Instant) -> Heard {
        match self.down {
            None => Heard::Usual(asked),
            Some(down) if asked < down => Heard::Perhaps,
            Some(_) => {
                (self.down, self.recovered) = (None, Some(now));
                Heard::Again { since: now, is_told: self.is_told }
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
            self.state.is_first(self.at(since), self.at(now), ECHO)
        }

        fn again(&self, millis: u64) -> Heard {
            Heard::Again { since: self.at(millis), is_told: self.state.is_told }
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
            assert_eq!(node.hear(15, 20), node.again(20));
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
        assert_eq!(node.hear(12, 13), node.again(13));
    }

    #[test]
    fn a_connection_made_in_between_ends_for_the_same_reason_and_the_one_that_told_the_return_does_not() {
        let mut node = Node::new();
        assert!(node.is_news(0, 10));
        assert_eq!(node.hear(12, 20), node.again(20));
        assert_eq!(node.hear(5, 21), Heard::Usual(node.at(5)));
        assert!(!node.is_news(5, 22));
        assert!(node.is_news(20, 23));
    }

    #[test]
    fn of_a_node_that_comes_and_goes_it_is_told_once_a_minute_and_in_pairs() {
        let (mut node, mut told) = (Node::new(), Vec::new());
        // Down for a second of every ten.
        for second in (0..150).step_by(10) {
            let (down, up) = (second * 1000, second * 1000 + 1000);
            assert!(node.is_news(down, down));
            let is_told = node.state.may_tell(node.at(down));
            assert!(!node.state.may_tell(node.at(down)), "once");
            assert_eq!(node.hear(up, up), Heard::Again { since: node.at(up), is_told });
            told.extend(is_told.then_some(second));
        }
        assert_eq!(told, [0, 60, 120]);
        // It stays down: that is told as soon as it may be.
        assert!(node.is_news(150_000, 150_000));
        let told: Vec<_> = (150..200).filter(|second| node.state.may_tell(node.at(second * 1000))).collect();
        assert_eq!(told, [180]);
        assert_eq!(node.hear(200_000, 200_000), Heard::Again { since: node.at(200_000), is_told: true });
    }
}
