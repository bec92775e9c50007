//! What is explored, and which rule is broken.

/// What is explored.
#[derive(Clone, Debug)]
pub(super) struct World {
    /// How many clients there are.
    pub(super) clients: usize,
    /// How many permits.
    pub(super) permits: u8,
    /// How many answers may be lost, or keys be in the way that somebody left.
    pub(super) losses: u8,
    /// How many restarts there may be, of different nodes.
    pub(super) restarts: u8,
    /// Which rule is broken.
    pub(super) broken: Option<Rule>,
}

/// A rule of permits, which can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// A majority grants one and the same permit; else any of them, as if each node counted how many it has let in.
    OneSlotIsOneLock,
    /// What was granted to the first question does not count for the second: it is given back.
    SecondQuestionCountsAlone,
    /// A node that restarted abstains while somebody is under way who began before.
    Abstention,
}

impl World {
    /// Whether a rule is kept.
    pub(super) fn keeps(&self, rule: Rule) -> bool {
        self.broken != Some(rule)
    }
}
