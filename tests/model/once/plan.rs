//! What is explored, and which rules are kept.

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
    /// Whether locks are renewed across a restart.
    pub(super) renews: bool,
    /// Which rules are kept.
    pub(super) rules: Rules,
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

/// The rules of one run per fire, each of which can be broken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Whether the mark is answered with the acquire; else it is read before.
    pub(super) mark_rides: bool,
    /// Whether a young node's missing mark says nothing.
    pub(super) young_say_nothing: bool,
    /// Whether having run since before the fire was due is evidence.
    pub(super) since_due_counts: bool,
    /// Whether the skew counts twice in that.
    pub(super) skew_counts_twice: bool,
    /// Whether doubt refuses.
    pub(super) doubt_refuses: bool,
    /// Whether nobody asks before the fire is due.
    pub(super) waits_for_due: bool,
    /// Whether a node that restarted abstains while somebody is under way who began before.
    pub(super) abstains: bool,
    /// Whether a node compares the owner before it marks.
    pub(super) compares_owner: bool,
    /// Whether a majority confirms a completion.
    pub(super) confirms: bool,
    /// When a completion counts.
    pub(super) validity: Validity,
    /// Who is asked to mark.
    pub(super) marks_to: MarksTo,
    /// Whether a mark lives for the retention from when it was last written.
    pub(super) renews_expiry: bool,
    /// Whether a majority has to show a mark.
    pub(super) minority_is_no_proof: bool,
    /// What is written back where a minority shows a mark.
    pub(super) repair: Repair,
}

/// When a completion counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Validity {
    /// Within the validity that was held when it was sent.
    AsSent,
    /// Within that of a later renewal, too.
    Stretched,
    /// Whenever it is confirmed.
    Ignored,
}

/// Who is asked to mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MarksTo {
    /// Those who voted and were heard.
    HeardVoters,
    /// Those who granted and were heard, also if they abstain.
    Heard,
    /// All.
    All,
}

/// What is written back where a minority shows a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repair {
    /// The greatest one, with evidence.
    Greatest,
    /// The own fire.
    Own,
    /// The greatest one, whether there is evidence or not.
    WithoutEvidence,
}

impl Rules {
    /// All rules as they are.
    pub(super) const KEPT: Self = Self {
        mark_rides: true,
        young_say_nothing: true,
        since_due_counts: true,
        skew_counts_twice: true,
        doubt_refuses: true,
        waits_for_due: true,
        abstains: true,
        compares_owner: true,
        confirms: true,
        validity: Validity::AsSent,
        marks_to: MarksTo::HeardVoters,
        renews_expiry: true,
        minority_is_no_proof: true,
        repair: Repair::Greatest,
    };
}

impl World {
    /// How many attempts there are.
    pub(super) fn attempts(&self) -> usize {
        self.fires.len()
    }
}
