//! What is explored, and which rule is broken.

/// What is explored.
#[derive(Clone, Debug)]
pub(super) struct World {
    /// The fire that each attempt wants; with [`Time::Called`] it wants what its clock says when it begins, and this only says how
    /// many there are.
    pub(super) fires: &'static [u8],
    /// What is known of the fires' times.
    pub(super) time: Time,
    /// How often the clock ticks; a tick is as long as clocks may differ.
    pub(super) ticks: u8,
    /// How far the clocks of processes may be ahead.
    pub(super) clocks: &'static [u8],
    /// Whether the nodes were set up when the clock began; else they are older than the retention.
    pub(super) is_fleet_new: bool,
    /// When the mark is written.
    pub(super) once_at: OnceAt,
    /// What one node has as its mark at first: its body ended, and its completion missed the majority.
    pub(super) planted: Option<u8>,
    /// How many answers may be lost, or requests late; `u8::MAX` for all of them. A request that never arrives costs nothing: events need not happen.
    pub(super) losses: u8,
    /// How many restarts there may be, of different nodes.
    pub(super) restarts: u8,
    /// Whether a node that restarts may come back with any mark that it had, as from an older snapshot.
    pub(super) restores: bool,
    /// Whether locks are renewed across a restart.
    pub(super) renews: bool,
    /// Which rule is broken.
    pub(super) broken: Option<Rule>,
}

/// What is known of the fires' times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Time {
    /// Nothing.
    Counted,
    /// Each is due at the tick of its number.
    Due,
    /// Each is the moment of its call, and they are so many ticks apart.
    Called { period: u8 },
}

/// When the mark is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnceAt {
    /// After the body.
    End,
    /// Before it.
    Start,
}

/// A rule of one run per fire, which can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// The mark is answered with the acquire; else it is read before.
    MarkRidesOnAcquire,
    /// A young node's missing mark says nothing.
    YoungMarksAreNoEvidence,
    /// A mark that a node came back with says nothing.
    RestoredMarksAreNoEvidence,
    /// To have run since before the fire was due is evidence.
    SinceBeforeDueIsEvidence,
    /// The skew counts twice in that; else once.
    SkewCountsTwice,
    /// Doubt refuses.
    DoubtRefuses,
    /// Nobody asks before the fire is due.
    NotBeforeDue,
    /// An attempt decides while its lock is valid, so that its keys are there; this one is the lock's.
    ValidityWhenStarting,
    /// A node that restarted abstains while somebody is under way who began before.
    Abstention,
    /// A node compares the owner before it marks.
    CompletionComparesOwner,
    /// A majority confirms a completion.
    CompletionIsConfirmed,
    /// A completion counts only while the lock is valid.
    CompletionWithinValidity,
    /// It does not count within the validity of a later renewal.
    CompletionIsNotStretched,
    /// Nobody is asked to mark whose grant was not heard.
    MarksGoToHeardGrants,
    /// Nobody is asked to mark who abstained.
    MarksGoToVoters,
    /// A mark lives for the retention from when it was last written.
    MarkExpiryIsRenewed,
    /// A majority has to show a mark.
    MinorityIsNoProof,
    /// What is written back is the greatest mark; else the own fire.
    RepairWritesGreatest,
    /// A mark is written back where there is evidence.
    RepairHasEvidence,
}

impl World {
    /// How many attempts there are.
    pub(super) fn attempts(&self) -> usize {
        self.fires.len()
    }

    /// Whether a rule is kept.
    pub(super) fn keeps(&self, rule: Rule) -> bool {
        self.broken != Some(rule)
    }
}
