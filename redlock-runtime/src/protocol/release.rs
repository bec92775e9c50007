use std::time::Duration;

use super::NodeSet;
use crate::rules::{Rule, holds};

/// What an ended acquire request left on its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcquireEffect {
    /// The key is set, with our owner value.
    Set,
    /// The node answered that another owner holds the key, or the request never left this process.
    NotSet,
    /// The node answered with an error, or the connection ended first: the key may be set.
    MaybeSet,
}

/// Where one owner value may have left its key, so that it has to be released.
///
/// Two rules, both learnt from keys that stayed for a full TTL:
///
/// - whatever is not known to be *not set* is released, errors included;
/// - a release starts only when that owner's acquire on that node has ended, or it could overtake the acquire
///   (the script's reload after a restart lands after a release that was sent right behind it).
#[derive(Clone, Copy, Debug, Default)]
pub struct Ledger {
    /// Nodes on which the key is, or may be, set.
    may_be_set: NodeSet,
}

/// The releases of one owner, as they begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a release that is due and not sent leaves a key for its TTL"]
pub struct ReleasesDue {
    /// These nodes are sent one at once.
    pub at_once: NodeSet,
    /// These are sent one when they have answered the owner's acquire, if that may have left something.
    pub after_answer: NodeSet,
    /// On these nodes the key is or may be set, or may still be: a release that fails there is sent again.
    pub tracked: NodeSet,
}

/// What becomes of the release that waits for a node's answer to an acquire, when that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a release that is due and not sent leaves a key for its TTL"]
pub enum AfterAnswer {
    /// Nothing was left: none is sent.
    NothingLeft,
    /// It is sent.
    Release,
    /// It is sent on another connection, when nothing can come any more on the one that ended before the answer.
    ReleaseAfterConnection,
}

/// How long ago a release was sent that is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseStage {
    /// The answer may come any moment.
    Awaited,
    /// The node is late. It is told so, and the release is sent once more where the runtime of its connection may be blocked.
    Overdue,
    /// The connection is dead, or belongs to a runtime that does not run any more.
    Dead,
}

/// What carries a release, or the acquire that it comes behind, and has been silent for so long that it is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadConnection {
    /// It was never made: nothing was sent.
    NeverMade,
    /// The server can be asked to end it, or need not be, because all that could do harm on it is answered.
    Ended,
    /// What is on it may yet be carried out.
    Unknown,
}

/// What is done about a release on a connection that is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a release that is due and not sent leaves a key for its TTL"]
pub struct OnDeadConnection {
    /// Whether it is sent on another one. The server is asked to end the dead one first, if it told by which number it knows it.
    pub is_sent_again: bool,
    /// Whether an answer is awaited still: a server that cannot be asked to end the connection may yet carry out what is on it, and
    /// only the release behind that undoes it.
    pub is_awaited: bool,
}

/// A connection that has not answered for this many node timeouts is closed and made anew.
pub const DEAD_AFTER_TIMEOUTS: u32 = 10;

/// How long a release is sent again to a node that does not confirm it. By then the key has expired on a node that was
/// down; on one that was frozen for longer than this it lives for its TTL after the node wakes up.
pub const KEEP_RELEASING: Duration = Duration::from_secs(120);

/// Pauses between two tries of a release: the first, and the longest.
const RELEASE_PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// The longest is no longer than this many node timeouts.
const PAUSE_TIMEOUTS: u32 = 4;

/// Pauses between two tries of a release: the first, and the longest.
///
/// A node that answers again has the key until the pause is over. What is late is told by the node's timeout, and so is how long that
/// may be.
#[must_use]
pub fn release_pauses(node_timeout: Duration) -> (Duration, Duration) {
    let (first, longest) = RELEASE_PAUSES;
    let in_time = if holds(Rule::ReleaseAgainInTime) { node_timeout.saturating_mul(PAUSE_TIMEOUTS) } else { longest };
    (first, longest.min(in_time).max(first))
}

impl Ledger {
    /// Of an owner whose key is, or may be, set on these nodes.
    #[must_use]
    pub fn of(nodes: NodeSet) -> Self {
        Self { may_be_set: nodes }
    }

    /// Records how a node's acquire ended.
    pub fn ended(&mut self, node: usize, effect: AcquireEffect) {
        match effect {
            AcquireEffect::NotSet => {}
            AcquireEffect::Set | AcquireEffect::MaybeSet => {
                self.may_be_set.insert(node);
            }
        }
    }

    /// The nodes on which the key is, or may be, set. Those whose acquire has not ended follow when it does.
    #[must_use]
    pub fn may_be_set(&self) -> NodeSet {
        self.may_be_set
    }

    /// Which releases are due when these nodes are asked to confirm theirs, and the acquires of these `stragglers` have not
    /// ended.
    pub fn release(&self, nodes: NodeSet, stragglers: NodeSet) -> ReleasesDue {
        let tracked = self.may_be_set.iter().chain(stragglers.iter()).collect();
        if !holds(Rule::ReleaseAfterAcquire) {
            let at_once = nodes.iter().chain(stragglers.iter()).collect();
            return ReleasesDue { at_once, after_answer: NodeSet::default(), tracked };
        }
        ReleasesDue { at_once: nodes.without(stragglers), after_answer: stragglers, tracked }
    }

    /// What becomes of a node's release after its answer to the acquire; `is_cut`: its connection ended instead.
    ///
    /// An acquire that set nothing leaves nothing, unless another of the same owner may have: a renewal that set the key again, for
    /// which this very acquire was then refused.
    pub fn after_answer(&self, node: usize, effect: AcquireEffect, is_cut: bool) -> AfterAnswer {
        let is_suspected = self.may_be_set.contains(node) && holds(Rule::RepairsAreReleased);
        match effect {
            AcquireEffect::NotSet if !is_suspected => AfterAnswer::NothingLeft,
            AcquireEffect::Set | AcquireEffect::MaybeSet if is_cut => AfterAnswer::ReleaseAfterConnection,
            AcquireEffect::NotSet | AcquireEffect::Set | AcquireEffect::MaybeSet => AfterAnswer::Release,
        }
    }
}

impl ReleaseStage {
    /// How long it lasts before the next one; the last: until the release is given up.
    #[must_use]
    pub fn lasts(self, node_timeout: Duration) -> Duration {
        match self {
            Self::Awaited => node_timeout,
            Self::Overdue => node_timeout * (DEAD_AFTER_TIMEOUTS - 1),
            Self::Dead => KEEP_RELEASING,
        }
    }
}

impl OnDeadConnection {
    /// Of a node on which the key may be set, or may still be (`is_tracked`). A connection that was never made has carried no acquire.
    /// But what `may_be_set` already came there on another one, and the release has not.
    pub fn decide(connection: DeadConnection, is_tracked: bool, may_be_set: bool) -> Self {
        let is_sent_again = match connection {
            DeadConnection::NeverMade => may_be_set && holds(Rule::UnsentIsSentAgain),
            DeadConnection::Ended | DeadConnection::Unknown => is_tracked,
        };
        Self { is_sent_again, is_awaited: connection == DeadConnection::Unknown }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(nodes: &[usize]) -> NodeSet {
        nodes.iter().copied().collect()
    }

    fn ledger(ended: &[(usize, AcquireEffect)]) -> Ledger {
        let mut ledger = Ledger::default();
        for (node, effect) in ended {
            ledger.ended(*node, *effect);
        }
        ledger
    }

    #[test]
    fn a_key_that_may_be_set_is_released_and_after_its_acquire_has_ended() {
        use AcquireEffect::{MaybeSet, NotSet, Set};
        let ledger = ledger(&[(0, Set), (1, MaybeSet), (2, NotSet)]);
        assert_eq!(ledger.may_be_set(), nodes(&[0, 1]));
        let due = ReleasesDue { at_once: nodes(&[0, 1]), after_answer: nodes(&[3]), tracked: nodes(&[0, 1, 3]) };
        assert_eq!(ledger.release(ledger.may_be_set(), nodes(&[3])), due);
        // A node that is still being asked is not released at once, although it may have the key already.
        let due = ReleasesDue { at_once: nodes(&[0, 2]), after_answer: nodes(&[1]), tracked: nodes(&[0, 1]) };
        assert_eq!(ledger.release(nodes(&[0, 1, 2]), nodes(&[1])), due);
    }

    #[test]
    fn what_an_acquire_may_have_left_is_released_after_its_answer() {
        use AcquireEffect::{MaybeSet, NotSet, Set};
        use AfterAnswer::{NothingLeft, Release, ReleaseAfterConnection};
        let fresh = Ledger::default();
        for (effect, is_cut, expect) in [
            (Set, false, Release),
            (NotSet, false, NothingLeft),
            (NotSet, true, NothingLeft),
            (MaybeSet, false, Release),
            (MaybeSet, true, ReleaseAfterConnection),
        ] {
            assert_eq!(fresh.after_answer(0, effect, is_cut), expect, "{effect:?}, {is_cut}");
        }
        let set_again = ledger(&[(0, Set)]);
        assert_eq!(set_again.after_answer(0, NotSet, false), Release, "the key was set again meanwhile");
        assert_eq!(set_again.after_answer(1, NotSet, false), NothingLeft);
    }

    #[test]
    fn a_release_is_given_up_at_last() {
        let node_timeout = Duration::from_millis(250);
        let stages = [ReleaseStage::Awaited, ReleaseStage::Overdue, ReleaseStage::Dead];
        let lasts = stages.map(|stage| stage.lasts(node_timeout));
        assert_eq!(lasts, [node_timeout, node_timeout * 9, KEEP_RELEASING]);
    }

    #[test]
    fn a_release_on_a_dead_connection_goes_another_way_unless_nothing_can_be_there() {
        use DeadConnection::{Ended, NeverMade, Unknown};
        let check = |connection, is_tracked, may_be_set, expect| {
            let OnDeadConnection { is_sent_again, is_awaited } =
                OnDeadConnection::decide(connection, is_tracked, may_be_set);
            assert_eq!((is_sent_again, is_awaited), expect, "{connection:?}, {is_tracked}, {may_be_set}");
        };
        for may_be_set in [false, true] {
            check(Ended, true, may_be_set, (true, false));
            check(Unknown, true, may_be_set, (true, true));
        }
        check(Unknown, false, false, (false, true));
        check(Ended, false, false, (false, false));
        // The acquire that the release comes behind was never sent.
        check(NeverMade, true, false, (false, false));
        check(NeverMade, true, true, (true, false));
    }

    #[test]
    fn a_node_that_answers_again_is_not_left_waiting_for_many_of_its_timeouts() {
        let check = |node_timeout, longest| {
            let pauses = release_pauses(Duration::from_millis(node_timeout));
            assert_eq!(pauses, (Duration::from_millis(20), Duration::from_millis(longest)), "{node_timeout} ms");
        };
        check(250, 1_000);
        check(5_000, 1_000);
        check(20, 80);
        check(1, 20);
    }
}
