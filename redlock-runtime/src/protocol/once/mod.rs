mod completion;
mod fire;

use std::fmt;
use std::time::{Duration, Instant};

use super::{Electorate, Listening, NodeSet, NodeStatus, Quorum, Standing, Voters};
use crate::rules::{Rule, holds};

pub use completion::{Completion, CompletionVerdict, KeyAfter, Marked, Sending};
pub use fire::{Fire, GREATEST_FIRE};

/// Whether a fire may run: what the nodes answered about their marks to one attempt to acquire, and what follows.
///
/// A *fire* is one run of a job, in the fleet, and it is a number that grows. Each node has a *mark* for the lock: the greatest
/// fire that was completed, as far as the node took part in it. An acquire is answered with the mark, in the same script,
/// whether it is granted or refused. When the body has ended well, its fire is *completed* ([`Completion`]): the nodes whose
/// grants are heard, before or meanwhile, are asked to raise their mark to it **if the key is still the asker's** ([`Marked::by`]), and
/// it is complete once a majority has confirmed within the validity of the lock.
///
/// # Why a completed fire does not run again
///
/// Let *Q* be the majority that confirmed the fire *f*, and *V* the majority that granted a later attempt for *f* its lock. They
/// share a node. If the mark came first there, the grant was answered with it, and an attempt runs only if nobody answers a mark
/// as great as its fire. It is for this that the mark rides on the acquire: one that is read before says nothing about what
/// comes between. If the grant came first, the key was not the earlier owner's any more when the mark came, and that was
/// refused: the node is not in *Q*. Unless the earlier owner was granted the lock between the two: then the later one's key had
/// expired, and with it the validity within which a body may start at all. That is the only thing which is assumed about time, and the lock
/// assumes it anyway. Whether two bodies run at once does not matter.
///
/// A completion that deletes the key and is sent again finds it deleted, by itself or by whoever came after. So the mark has to do, which
/// is as great then as was asked for.
///
/// # Nodes that forget
///
/// A node that restarts empty has no mark and would be taken for one that knows of no fire; one that restarts from a snapshot, or
/// from a log that lost its end, has a mark that may be too small. So that nobody answers a mark as great
/// is not enough: a majority of *all* nodes, whether they grant or refuse, must have *evidence* about the fire. It is
///
/// - a mark of any number that was written since the node started. Who wrote it had evidence that no greater fire of those that count
///   was completed, and the node has forgotten nothing since. When it was written is told by what is left of its life, which is
///   the retention when it is written. A greater one that was lost was written after the one that came back, and before the
///   restart: so what came back is older than the node;
/// - or to have run for the retention: a mark that it would lack has expired by then;
/// - or to have run since before anybody can have completed the fire, which is known where a fire is a time ([`Fire::due_at`],
///   [`Fire::called_at`]). Without this, a new fleet would know nothing for its whole first retention.
///
/// *Q* shares a node with those that have evidence, and that node has the mark. If it granted, it answered as above. If
/// it refused, it may have answered before the mark came: then the earlier attempt was under way when this one began, and
/// so was it when the node that forgot restarted, and that one abstains from this attempt ([`Electorate`]): *V* has no node that
/// forgot, and the first argument stands. A lock that is renewed may outlive the abstention. So what completes it must not be
/// stretched across a renewal: it counts within the validity that was held when it was sent, and not within a later one.
///
/// A mark must not come to a node that forgot from somebody without evidence, because the next one takes it for such. So grants and
/// rounds that fail create none, a completion is sent to no node that abstained, nor to one whose grant was not heard, whose key
/// may be set after everything else, nor again to one whose grant was heard only while it was under way; and it compares the owner.
///
/// # When it is told that a fire ran
///
/// Only a mark that a majority has outlives a restart. Where a minority shows one as great as the fire, its body has ended, but
/// what is told could be untrue later. So the lock is taken, with the evidence that running needs, the *greatest* mark that was read is
/// written back as a completion is ([`OnceDecision::Spread`]), and when a majority has confirmed it, it is told. To write the own
/// fire instead, or without evidence, would leave a node that forgot a greater one with a mark that looks as if it had not.
///
/// # Times
///
/// Evidence by the third rule compares clocks of two processes: that of the one who asks, and that of the one who may have
/// completed the fire before. Nobody asks for a fire earlier than `max_clock_skew` before it is due by the own clock
/// ([`Fire::asked_in`]), because who planned it may have a clock that is ahead by as much. By the clock of another process that is up to
/// *twice* the skew before it is due, and since then the node must have run.
///
/// # Doubt
///
/// If less than a majority has evidence, nobody can know, and the fire is refused, or run on a setting ([`InDoubt`]), which breaks the
/// promise with a single restart. Two restarts within a retention break nothing, but leave fires in doubt that were due before, and
/// plain numbers until a mark is written by hand: also where the nodes keep all they have, because nothing tells them from those that lost the
/// last second of it.
/// A fleet that is younger than the retention knows nothing of plain numbers before the first mark, and one that is younger than half a
/// period, nothing of calls: whoever repeats one could not be told from the first.
///
/// # What is not covered
///
/// Marks that vanish without a restart: `FLUSHALL`, eviction, a failover that lost writes, a server's clock that jumps. Fires
/// older than the retention, whose marks may have expired. A body that ended and whose marks missed a majority runs again. A key that
/// comes back with a snapshot, and a completion of its owner that is sent again just then: the mark is new, and too small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Once {
    /// What a majority is.
    quorum: Quorum,
    /// What shall run.
    fire: Fire,
    /// What may be assumed.
    terms: OnceTerms,
    /// What each node told, granting or refusing.
    told: Vec<Option<Told>>,
}

/// What a node answers about its mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mark {
    /// The greatest completed fire that the node knows of.
    pub completed: Option<u64>,
    /// What was left of the mark's life at the moment of the answer, if it ends.
    pub left: Option<Duration>,
    /// How long the node has been running, at least: as [`ServerInfo::age`](super::ServerInfo::age) tells it, which leaves out the
    /// second by which a server misreads it, at the moment of the answer.
    pub age: Duration,
}

/// A mark as a node stores it: the fire, and the fencing token of the lock under which it was completed, as `FIRE:TOKEN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredMark {
    /// The greatest completed fire.
    pub fire: u64,
    /// The fencing token; zero where locks have none. No decision depends on it.
    pub token: u64,
}

/// What stands under the key of a mark, and is no mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NoMark;

/// What a node told about its mark with its vote, whether it granted or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToldMark {
    /// What it has stored.
    pub stored: Option<StoredMark>,
    /// As [`Mark::left`].
    pub left: Option<Duration>,
    /// As [`Mark::age`].
    pub age: Duration,
}

/// The fire that an attempt is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FireQuestion {
    /// The fire.
    pub fire: Fire,
    /// What the promise may assume.
    pub terms: OnceTerms,
    /// A moment, and what the own clock says at that moment, since 1970.
    pub clock: (Instant, Duration),
}

/// What the promise may assume; the same in every process that uses the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnceTerms {
    /// How long a mark is kept at least that is not written again: [`MARK_RETENTION`] or more, as [`Fire::kept_for`] has it.
    pub retention: Duration,
    /// The greatest difference between the clocks of any two processes, as for fencing
    /// ([`FenceFallback::TrustClocks`](super::FenceFallback::TrustClocks)); [`Duration::MAX`] where clocks are not to be relied on, which
    /// leaves the marks and the retention.
    pub max_clock_skew: Duration,
    /// What to do without evidence.
    pub in_doubt: InDoubt,
}

/// What to do if less than a majority has evidence.
///
/// ```
/// use redlock_runtime::{InDoubt, LockManager};
///
/// // Whose jobs may run twice.
/// let locks = LockManager::builder().nodes(["redis://10.0.0.1"]).in_doubt(InDoubt::Run).build()?;
/// # Ok::<(), redlock_runtime::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InDoubt {
    /// Rather not run.
    Refuse,
    /// Rather run twice. A fire whose mark a node shows does not run even so.
    Run,
}

/// What a node told, and whether it is evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    /// Its mark.
    completed: Option<u64>,
    /// Whether it knows whether the fire was completed.
    is_evidence: bool,
}

/// What follows from what was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a body that starts without asking may run twice"]
pub enum OnceDecision {
    /// The lock is granted, and the body may start.
    Run,
    /// A majority shows that this fire or a later one was completed; nothing needs to be written, nor the lock be had.
    AlreadyRan {
        /// A fire as great as this, at least, on every node of that majority.
        completed: u64,
    },
    /// The lock is granted, and less than a majority shows that the fire was completed. This has to be written back, as a [`Completion`];
    /// when that is confirmed, the fire already ran, and if it is not, nobody can know.
    Spread {
        /// The greatest mark that was read.
        greatest: u64,
    },
    /// More answers may decide.
    Listen,
    /// The lock is not granted, and no majority shows that the fire was completed.
    NotGranted,
    /// The lock is granted and has to be given back: nobody can know whether the fire was completed.
    Doubt {
        /// The nodes without evidence: they did not answer, or restarted since.
        unknowing: NodeSet,
        /// A mark that covers the fire, if any node shows one.
        shown: Option<u64>,
    },
}

/// How long a mark is kept that is not written again, unless another time is set; the shortest that can be.
pub const MARK_RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How long a server has to have run, as it tells, when somebody who knows says that no fire was completed: of a mark that is
/// written sooner nobody can tell that it is younger than the server, whose age is told in whole seconds.
pub const MARKED_FROM: Duration = Duration::from_millis(2_100);

/// The nodes whose marks count: those that vote, and those that abstain because they are young. A server at two positions would be
/// counted twice, and a replica may not have heard yet.
#[must_use]
pub fn witnesses(quorum: Quorum, electorate: &Electorate) -> NodeSet {
    let is_witness = |node: &usize| matches!(electorate.standing(*node), Standing::Votes | Standing::Young);
    (0..quorum.nodes()).filter(is_witness).collect()
}

/// The greatest fire that a majority shows, at least: `None` if no majority has a mark.
#[must_use]
pub fn completed_by_majority(quorum: Quorum, marks: impl Iterator<Item = Option<u64>> + Clone) -> Option<u64> {
    nth_greatest(marks, quorum.needed())
}

/// The mark that so many of the nodes show, at least. There are few of them, so that to look at each beside all others is quicker than
/// to put them in order.
fn nth_greatest(marks: impl Iterator<Item = Option<u64>> + Clone, nth: usize) -> Option<u64> {
    let all = marks.clone();
    marks.flatten().filter(|mark| all.clone().flatten().filter(|other| other >= mark).count() >= nth).max()
}

impl Mark {
    /// Whether a node that answers this knows whether a fire was completed, when the own clock says `now` since 1970, at or after
    /// the moment of the answer.
    #[must_use]
    pub fn is_evidence(self, fire: Fire, now: Duration, terms: OnceTerms) -> bool {
        let has_run_since = |earliest: Duration| {
            let skews = terms.max_clock_skew.saturating_mul(2);
            self.age >= now.saturating_add(skews).saturating_sub(earliest)
        };
        self.completed.is_some() && self.was_written_since_start(terms.retention)
            || self.age >= terms.retention
            || holds(Rule::SinceBeforeDueIsEvidence) && fire.earliest().is_some_and(has_run_since)
            || !holds(Rule::YoungMarksAreNoEvidence)
    }

    /// Whether the node has run without a break since the mark was written, which then had the retention to live. One that has more
    /// to live was written by somebody who keeps marks for longer, nobody knows when.
    fn was_written_since_start(self, retention: Duration) -> bool {
        let ago = self.left.and_then(|left| retention.checked_sub(left));
        ago.is_some_and(|ago| ago <= self.age) || !holds(Rule::RestoredMarksAreNoEvidence)
    }
}

impl StoredMark {
    /// No fire was completed: what an operator says, who knows. Fires begin with 1.
    pub const NONE: Self = Self { fire: 0, token: 0 };

    /// Reads what is stored as text, as a script or somebody else wrote it.
    ///
    /// # Errors
    ///
    /// A text that is no mark. The node is then as one that did not answer.
    pub fn parse(stored: &str) -> Result<Self, NoMark> {
        let number = |text: &str| {
            let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|number| is_digits && *number <= GREATEST_FIRE).ok_or(NoMark)
        };
        let (fire, token) = stored.split_once(':').ok_or(NoMark)?;
        Ok(Self { fire: number(fire)?, token: number(token)? })
    }
}

impl NoMark {
    /// For people: what is wrong with this key.
    #[must_use]
    pub fn about(key: &str) -> String {
        format!(
            "the key {key} holds no mark of a completed fire: somebody else wrote it; delete it, or use another lock prefix"
        )
    }
}

impl fmt::Display for StoredMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.fire, self.token)
    }
}

impl ToldMark {
    /// What counts of it.
    #[must_use]
    pub fn mark(self) -> Mark {
        Mark { completed: self.stored.map(|stored| stored.fire), left: self.left, age: self.age }
    }
}

impl FireQuestion {
    /// What the own clock says at a moment, since 1970.
    fn since_1970(&self, now: Instant) -> Duration {
        let (moment, since_1970) = self.clock;
        since_1970.saturating_add(now.saturating_duration_since(moment))
    }

    /// What follows from the marks that were told, by nodes that are known as these at this moment; `voters` granted the lock.
    pub fn decide(
        &self,
        quorum: Quorum,
        told: &[(usize, ToldMark)],
        voters: NodeSet,
        listening: Listening,
        (nodes, now): &(Vec<NodeStatus>, Instant),
    ) -> OnceDecision {
        let electorate = Voters::Acquisition.electorate(*now, nodes.iter().map(NodeStatus::server_info));
        let witnesses = witnesses(quorum, &electorate);
        let mut once = Once::ask(quorum, self.fire, self.terms);
        for (node, told) in told.iter().filter(|(node, _)| witnesses.contains(*node)) {
            once.merge(*node, told.mark(), self.since_1970(*now));
        }
        once.decide(voters, listening)
    }
}

impl Once {
    /// An attempt for this fire, of which nothing was heard yet.
    #[must_use]
    pub fn ask(quorum: Quorum, fire: Fire, terms: OnceTerms) -> Self {
        Self { quorum, fire, terms, told: vec![None; quorum.nodes()] }
    }

    /// Notes the mark that one of the [`witnesses`] answered with its grant or its refusal; its first answer stands. `now` is what the
    /// own clock says when it is heard, since 1970.
    pub fn merge(&mut self, node: usize, mark: Mark, now: Duration) {
        let is_evidence = mark.is_evidence(self.fire, now, self.terms);
        self.told[node].get_or_insert(Told { completed: mark.completed, is_evidence });
    }

    /// What follows from what was heard; `voters` are those that granted the lock and may vote.
    ///
    /// A caller whose round is over asks once more with [`Listening::IsOver`], also if the lock was refused: whoever stands by learns
    /// from the refusals that the fire was completed.
    pub fn decide(&self, voters: NodeSet, listening: Listening) -> OnceDecision {
        let needed = self.quorum.needed();
        let marks = || self.told.iter().map(|told| told.as_ref().and_then(|told| told.completed));
        let covering = |mark: &u64| self.fire.is_covered_by(*mark);

        let proof = if holds(Rule::MinorityIsNoProof) { needed } else { 1 };
        if let Some(completed) = nth_greatest(marks(), proof).filter(covering) {
            return OnceDecision::AlreadyRan { completed };
        }
        if voters.len() < needed {
            return match listening {
                Listening::GoesOn => OnceDecision::Listen,
                Listening::IsOver if holds(Rule::HoldersMayFail) => OnceDecision::NotGranted,
                Listening::IsOver => OnceDecision::AlreadyRan { completed: self.fire.number() },
            };
        }

        let unknowing: NodeSet =
            (0..self.quorum.nodes()).filter(|node| !self.told[*node].is_some_and(|told| told.is_evidence)).collect();
        let is_known = self.quorum.nodes() - unknowing.len() >= needed;
        let silent = self.told.iter().filter(|told| told.is_none()).count();
        let shown = marks().flatten().max().filter(covering);
        let Some(greatest) = shown else {
            return match listening {
                _ if is_known => OnceDecision::Run,
                Listening::GoesOn => OnceDecision::Listen,
                Listening::IsOver if self.terms.in_doubt == InDoubt::Run || !holds(Rule::DoubtRefuses) => {
                    OnceDecision::Run
                }
                Listening::IsOver => OnceDecision::Doubt { unknowing, shown },
            };
        };
        // A majority may show it yet, which is the quicker way to know.
        let is_majority_possible = marks().flatten().filter(covering).count() + silent >= needed;
        if listening == Listening::GoesOn && (is_majority_possible || !is_known) {
            OnceDecision::Listen
        } else if is_known || !holds(Rule::RepairHasEvidence) {
            OnceDecision::Spread {
                greatest: if holds(Rule::RepairWritesGreatest) { greatest } else { self.fire.number() },
            }
        } else {
            OnceDecision::Doubt { unknowing, shown }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::OnceDecision::{AlreadyRan, Doubt, Listen, NotGranted, Run, Spread};

    use super::*;

    use crate::protocol::{Role, ServerInfo};

    pub(super) const SKEW: Duration = Duration::from_secs(60);

    const TERMS: OnceTerms = OnceTerms { retention: MARK_RETENTION, max_clock_skew: SKEW, in_doubt: InDoubt::Refuse };

    pub(super) const HOUR: Duration = Duration::from_secs(60 * 60);

    pub(super) const NOW: Duration = Duration::from_secs(1_700_000_000);

    /// So long before now.
    pub(super) fn before(duration: Duration) -> Duration {
        NOW.saturating_sub(duration)
    }

    pub(super) fn counted(number: u64) -> Fire {
        Fire::counted(number).unwrap()
    }

    fn quorum(nodes: usize) -> Quorum {
        Quorum::of(nodes).unwrap()
    }

    fn set(nodes: &[usize]) -> NodeSet {
        nodes.iter().copied().collect()
    }

    /// What the nodes told: a digit is a mark that was just written, `-` none on an old node, `y` none on a young one, `?` no answer.
    fn once(terms: OnceTerms, told: &str) -> Once {
        let mut once = Once::ask(quorum(told.len()), counted(5), terms);
        for (node, told) in told.chars().enumerate() {
            let completed = told.to_digit(10).map(u64::from);
            let age = if told == '-' { MARK_RETENTION } else { Duration::ZERO };
            if told != '?' {
                let left = completed.map(|_| terms.retention);
                once.merge(node, Mark { completed, left, age }, NOW);
            }
        }
        once
    }

    /// What follows for fire 5 when the first `voters` of the nodes granted: while others may answer, and then.
    fn check(told: &str, voters: usize, expect: [OnceDecision; 2]) {
        let decide = |listening| once(TERMS, told).decide(NodeSet::first(voters), listening);
        assert_eq!([Listening::GoesOn, Listening::IsOver].map(decide), expect, "{told} {voters}");
    }

    #[test]
    fn a_fire_runs_where_a_majority_knows_that_it_was_not_completed() {
        check("---", 2, [Run, Run]);
        check("44?", 2, [Run, Run]);
        check("4-?", 2, [Run, Run]);
        check("-y4", 2, [Run, Run]);
        check("-", 1, [Run, Run]);
        check("--yy4", 4, [Run, Run]);
    }

    #[test]
    fn a_majority_that_shows_a_fire_as_great_tells_that_it_ran_whoever_has_the_lock() {
        for voters in 0..=3 {
            check("55-", voters, [AlreadyRan { completed: 5 }; 2]);
            check("?58", voters, [AlreadyRan { completed: 5 }; 2]);
            check("789", voters, [AlreadyRan { completed: 8 }; 2]);
        }
        check("6", 1, [AlreadyRan { completed: 6 }; 2]);
    }

    #[test]
    fn a_mark_of_a_minority_is_written_back_where_a_majority_knows() {
        check("5--", 3, [Spread { greatest: 5 }; 2]);
        check("5-?", 2, [Listen, Spread { greatest: 5 }]);
        check("5y-", 2, [Spread { greatest: 5 }; 2]);
        check("9-4?-", 4, [Spread { greatest: 9 }; 2]);
        check("5y?", 2, [Listen, Doubt { unknowing: set(&[1, 2]), shown: Some(5) }]);
        check("5yy", 3, [Listen, Doubt { unknowing: set(&[1, 2]), shown: Some(5) }]);
    }

    #[test]
    fn whoever_lacks_evidence_listens_and_then_is_in_doubt() {
        check("-y?", 2, [Listen, Doubt { unknowing: set(&[1, 2]), shown: None }]);
        check("-yy", 3, [Listen, Doubt { unknowing: set(&[1, 2]), shown: None }]);
        check("4y?", 2, [Listen, Doubt { unknowing: set(&[1, 2]), shown: None }]);
        check("y", 1, [Listen, Doubt { unknowing: set(&[0]), shown: None }]);
    }

    #[test]
    fn whoever_has_no_lock_neither_runs_nor_writes_back() {
        check("---", 1, [Listen, NotGranted]);
        check("5--", 1, [Listen, NotGranted]);
        check("???", 0, [Listen, NotGranted]);
    }

    #[test]
    fn doubt_runs_on_a_setting_unless_a_node_shows_the_mark() {
        let terms = OnceTerms { in_doubt: InDoubt::Run, ..TERMS };
        let check = |told, expect| {
            assert_eq!(once(terms, told).decide(NodeSet::first(2), Listening::IsOver), expect, "{told}");
        };
        check("-yy", Run);
        check("5yy", Doubt { unknowing: set(&[1, 2]), shown: Some(5) });
    }

    #[test]
    fn a_nodes_first_answer_stands() {
        let mut once = once(TERMS, "--?");
        once.merge(0, Mark { completed: Some(5), left: Some(MARK_RETENTION), age: Duration::ZERO }, NOW);
        assert_eq!(once.decide(NodeSet::first(2), Listening::IsOver), Run);
    }

    #[test]
    fn evidence_is_a_mark_or_the_retention_or_to_have_run_since_before_the_fire_was_due() {
        let check = |fire: Fire, completed: Option<u64>, age: Duration, expect: bool| {
            let left = completed.map(|_| MARK_RETENTION);
            let mark = Mark { completed, left, age };
            assert_eq!(mark.is_evidence(fire, NOW, TERMS), expect, "{fire:?} {completed:?} {age:?}");
        };
        let moment = Duration::from_millis(1);
        check(counted(5), Some(1), Duration::ZERO, true);
        check(counted(5), None, MARK_RETENTION, true);
        check(counted(5), None, MARK_RETENTION.saturating_sub(moment), false);
        for (fire, since) in [
            // The clock of another may have been behind by the skew when it asked, which may be the skew before it was due.
            (Fire::due_at(before(HOUR)), HOUR + 2 * SKEW),
            (Fire::due_at(NOW), 2 * SKEW),
            (Fire::due_at(NOW + SKEW), SKEW),
            // The same fire may have been called for half a period ago.
            (Fire::called_at(NOW, 2 * HOUR), HOUR + 2 * SKEW),
            (Fire::called_at(before(HOUR), 2 * HOUR), 2 * HOUR + 2 * SKEW),
        ] {
            check(fire, None, since, true);
            check(fire, None, since.saturating_sub(moment), false);
        }
    }

    #[test]
    fn a_mark_is_evidence_if_it_was_written_since_the_node_started() {
        let check = |left: Option<Duration>, age: Duration, expect: bool| {
            let mark = Mark { completed: Some(1), left, age };
            assert_eq!(mark.is_evidence(counted(5), NOW, TERMS), expect, "{left:?} {age:?}");
        };
        let moment = Duration::from_millis(1);
        let written_before = |ago: Duration| Some(MARK_RETENTION.saturating_sub(ago));
        check(written_before(HOUR), HOUR, true);
        check(written_before(HOUR + moment), HOUR, false);
        check(written_before(Duration::ZERO), Duration::ZERO, true);
        check(Some(MARK_RETENTION + moment), HOUR, false);
        check(None, HOUR, false);
        for left in [None, Some(Duration::ZERO), Some(MARK_RETENTION + moment)] {
            check(left, MARK_RETENTION, true);
        }
    }

    #[test]
    fn what_is_stored_is_read_as_a_fire_or_as_none() {
        for (stored, expect) in [
            ("0:0", Ok((0, 0))),
            ("1700000000000:7", Ok((1_700_000_000_000, 7))),
            ("9007199254740991:0", Ok((GREATEST_FIRE, 0))),
            ("9007199254740992:0", Err(NoMark)),
            ("-1:0", Err(NoMark)),
            ("+1:0", Err(NoMark)),
            ("1e3:0", Err(NoMark)),
            ("5", Err(NoMark)),
            ("5:", Err(NoMark)),
            (":5", Err(NoMark)),
            ("5:6:7", Err(NoMark)),
            ("18446744073709551617:0", Err(NoMark)),
            ("", Err(NoMark)),
        ] {
            let mark = StoredMark::parse(stored);
            assert_eq!(mark.map(|mark| (mark.fire, mark.token)), expect, "{stored:?}");
            if let Ok(mark) = mark {
                assert_eq!(mark.to_string(), stored);
            }
        }
    }

    #[test]
    fn what_a_majority_shows_is_the_greatest_fire_that_all_of_it_have() {
        let check = |marks: &[Option<u64>], expect| {
            assert_eq!(completed_by_majority(quorum(marks.len()), marks.iter().copied()), expect, "{marks:?}");
        };
        check(&[Some(5), Some(7), None], Some(5));
        check(&[Some(5), None, None], None);
        check(&[Some(9), Some(7), Some(5)], Some(7));
        check(&[Some(9)], Some(9));
        check(&[None], None);
    }

    #[test]
    fn replicas_and_servers_at_two_positions_are_no_witnesses() {
        let now = crate::platform::clock::now();
        let server = |uptime, identity: &str, role| {
            Some(ServerInfo::new(now, Duration::from_secs(uptime), HOUR, identity.into(), role))
        };
        let nodes = [
            server(99_999, "a", Role::Master),
            server(5, "b", Role::Master),
            server(99_999, "c", Role::Replica),
            server(99_999, "d", Role::Master),
            server(99_999, "d", Role::Master),
            None,
            server(99_999, "e", Role::Master),
        ];
        let electorate = Electorate::of(now, nodes.iter().map(Option::as_ref));
        assert_eq!(witnesses(quorum(nodes.len()), &electorate), set(&[0, 1, 6]));
    }

    #[test]
    fn no_number_overflows() {
        let terms = OnceTerms { retention: Duration::MAX, max_clock_skew: Duration::MAX, in_doubt: InDoubt::Refuse };
        for fire in [Fire::due_at(Duration::MAX), Fire::called_at(Duration::MAX, Duration::MAX), counted(0)] {
            for now in [Duration::ZERO, Duration::MAX] {
                let _ = fire.asked_in(now, Duration::MAX);
                let _ = fire.is_covered_by(u64::MAX);
                let _ = fire.is_covered_by(0);
                let _ = Mark { completed: Some(1), left: Some(Duration::MAX), age: Duration::ZERO }
                    .is_evidence(fire, now, terms);
            }
        }
    }
}
