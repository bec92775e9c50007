//! The rules of the algorithm, which the simulation switches off one at a time, to see that its schedules find what each prevents.
//!
//! In what ships each of them holds, and asking costs nothing.

/// Declares the rules, and the list of all of them.
macro_rules! rules {
    ($($(#[$attribute:meta])* $rule:ident,)*) => {
        /// A rule that can be switched off in the simulation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        #[cfg_attr(not(redlock_simulated), expect(unreachable_pub, reason = "public in the simulation"))]
        pub enum Rule {
            $($(#[$attribute])* $rule,)*
        }

        #[cfg(redlock_simulated)]
        impl Rule {
            /// Every one.
            pub const EVERY: &[Self] = &[$(Self::$rule,)*];
        }
    };
}

rules! {
    /// A majority is more than half of all configured nodes, not of those that answered.
    MajorityOfAll,
    /// A lock counts as held for less than its TTL, by as much as clocks may drift apart.
    Drift,
    /// The validity counts from the beginning of the very attempt that was won.
    ValidityOfTheAttempt,
    /// A node's release is sent after its acquire has ended.
    ReleaseAfterAcquire,
    /// A release has the server end the connection on which its acquire was cut off, which may still carry that.
    KillCutConnection,
    /// A key that a release keeps is nobody's any more, so that no late extension lengthens its life.
    #[cfg(redlock_simulated)]
    KeptKeyIsNobodys,
    /// A counter that a node lacks is no evidence if the node restarted lately.
    RestartIsNoEvidence,
    /// A key that an acquire without an answer may have set is released.
    MaybeSetIsReleased,
    /// A release that failed is sent again.
    ReleaseAgain,
    /// A release whose connection is not made in time is sent again: the key it is about may have been set on another one.
    UnsentIsSentAgain,
    /// A release that fails for long is sent again at least every few node timeouts.
    ReleaseAgainInTime,
    /// A key that renewal set again is released, also where the first acquire did not set it.
    RepairsAreReleased,
    /// A key that is set after its lock was given out of hand is released.
    LateKeysAreReleased,
    /// A guard or an acquisition that is dropped is released.
    DropReleases,
    /// A key is set again only after a majority has extended it.
    RepairAfterMajority,
    /// A node that restarted lately does not vote.
    Abstention,
    /// A node that restarted a moment ago does not count in an extension.
    YoungCountInNoExtension,
    /// An attempt that takes longer than a round may is not won.
    RoundsAreShort,
    /// A server that is configured twice has one vote.
    OneVoteAServer,
    /// A commit compares the owner.
    #[cfg(redlock_simulated)]
    CommitComparesOwner,
    /// An extension compares the owner.
    #[cfg(redlock_simulated)]
    ExtensionComparesOwner,
    /// A release compares the owner.
    #[cfg(redlock_simulated)]
    ReleaseComparesOwner,
    /// An extension never makes a key live shorter.
    #[cfg(redlock_simulated)]
    ExtensionOnlyLengthens,
    /// A token that no majority told is committed.
    Commit,
    /// A token has to be greater than the evidence of a majority.
    Evidence,
    /// A confirmation is equal to the token.
    ///
    /// No schedule needs it, because a commit goes to those alone whose grants were heard. What such a node told was in its counter right
    /// behind its grant, and the token is no less. Then either the key is the asker's until the commit comes: nobody else was granted the
    /// lock there, and no commit for more found its owner, so the counter is the token behind it. Or the key is gone meanwhile, and
    /// the commit is refused: nothing sets it again, because no acquire is carried out twice, and renewal begins behind the commit. What
    /// comes back with a snapshot comes back with the counter that stood beside it. So a greater counter is one that somebody else wrote, or a
    /// node that breaks its promise, and that node is not relied on.
    ConfirmationIsEqual,
    /// Somebody who holds a lock is told of its loss before the keys expire.
    LossNotice,
    /// A waiter has the nodes report changes before its attempt can be refused.
    WatchBeforeAttempt,
    /// When the first in line leaves, the next one is called.
    NextIsCalled,
    /// When the holder in this process lets go, the first in line is called.
    ReleaseCalls,
    /// A process that handed a lock on in itself several times stands back for others.
    StandBack,
    /// A lease passes on within a process for a bounded number of times and a bounded time.
    TurnsAreBounded,
    /// A lease that was passed on is taken only while it is valid.
    TurnsAreValid,
    /// No token is given beyond those that were reserved.
    TokensEndWithBlock,
    /// Whoever has passed a lease on releases nothing of it.
    EarlierTurnsAreOver,
    /// A lock that is given out of hand is not passed on.
    DetachedIsNotPassedOn,
    /// Waiters of a process get the lock in the order in which they came.
    FirstComeFirstServed,
    /// A blocking call asks for nothing of the runtime that it is made on, which it may block.
    BlockingUsesBackground,
    /// Whoever resigned stands back, so that another leads.
    ResignedStandBack,
    /// What is acquired where a slot goes to has nothing left where that comes from.
    AskedWhenNothingIsLeft,
    /// Where one key alone may be named, nothing is done unless the server answers for the others, too.
    UnnamedKeysAreThere,
    /// A script touches no key any more that it may have emptied.
    #[cfg(redlock_simulated)]
    EmptiedKeysAreLeftAlone,
    /// Whoever waits for an answer knows the connection that a command was sent on to, not only the first.
    CarrierGoesOn,
    /// The body of a leader ends when its lock is lost, whether it listens or not.
    BodyEndsWithTerm,
    /// An acquire is answered with the mark of what was completed, in the same script.
    #[cfg(redlock_simulated)]
    MarkRidesOnAcquire,
    /// That a node has no mark is no evidence if it may have forgotten one.
    YoungMarksAreNoEvidence,
    /// A mark is evidence if it was written since the node started, which may have forgotten what was written after its snapshot.
    RestoredMarksAreNoEvidence,
    /// A node that has run since before a fire was due knows whether that was completed.
    SinceBeforeDueIsEvidence,
    /// A fire does not run where a majority has no evidence about it.
    DoubtRefuses,
    /// No fire is asked for before it is due. Where nodes tell their clocks, these keep it, too.
    NotBeforeDue,
    /// A completion compares the owner.
    CompletionComparesOwner,
    /// A completion counts when a majority has confirmed it.
    CompletionIsConfirmed,
    /// A completion is confirmed within the validity that was held when it was sent.
    CompletionWithinValidity,
    /// A completion does not count within the validity of a renewal that came after it was sent.
    CompletionIsNotStretched,
    /// A completion is sent only to nodes that voted and whose grants were heard, and again only to those of them that were heard before
    /// it began.
    MarksGoToHeardVoters,
    /// A mark that less than a majority shows does not prove that a fire was completed.
    MinorityIsNoProof,
    /// That somebody holds the lock of a fire does not mean that he completes it: whoever may wait stands by.
    HoldersMayFail,
    /// The grants of different permits are not added up.
    OneSlotIsOneLock,
    /// The release of a permit looks at all others, which a node may have granted that answered late.
    AllSlotsAreReleased,
    /// What is written back is the greatest mark that was read, not the own fire.
    RepairWritesGreatest,
    /// A mark is written back only where a majority has evidence.
    RepairHasEvidence,
    /// A node grants a writer the lock where no reader has it.
    #[cfg(redlock_simulated)]
    WritersLookForReaders,
    /// A node grants a reader the lock where no writer has it.
    #[cfg(redlock_simulated)]
    ReadersLookForWriters,
    /// Each reader's entry expires by itself.
    #[cfg(redlock_simulated)]
    ReadersExpireOneByOne,
    /// A node grants all of several names or none.
    #[cfg(redlock_simulated)]
    AllOrNothing,
}

#[cfg(redlock_simulated)]
impl Rule {
    /// Those of locks on servers of their own.
    pub const ALL: &[Self] = &[
        Self::MajorityOfAll,
        Self::Drift,
        Self::ValidityOfTheAttempt,
        Self::ReleaseAfterAcquire,
        Self::KillCutConnection,
        Self::KeptKeyIsNobodys,
        Self::RestartIsNoEvidence,
        Self::MaybeSetIsReleased,
        Self::ReleaseAgain,
        Self::UnsentIsSentAgain,
        Self::ReleaseAgainInTime,
        Self::RepairsAreReleased,
        Self::LateKeysAreReleased,
        Self::DropReleases,
        Self::RepairAfterMajority,
        Self::Abstention,
        Self::YoungCountInNoExtension,
        Self::RoundsAreShort,
        Self::OneVoteAServer,
        Self::CommitComparesOwner,
        Self::ExtensionComparesOwner,
        Self::ReleaseComparesOwner,
        Self::ExtensionOnlyLengthens,
        Self::Commit,
        Self::Evidence,
        Self::ConfirmationIsEqual,
        Self::LossNotice,
        Self::WatchBeforeAttempt,
        Self::NextIsCalled,
        Self::ReleaseCalls,
        Self::StandBack,
        Self::TurnsAreBounded,
        Self::TurnsAreValid,
        Self::TokensEndWithBlock,
        Self::EarlierTurnsAreOver,
        Self::DetachedIsNotPassedOn,
        Self::FirstComeFirstServed,
        Self::BlockingUsesBackground,
    ];

    /// Those that only schedules of locks with permits need.
    pub const OF_PERMITS: &[Self] = &[Self::OneSlotIsOneLock, Self::AllSlotsAreReleased];

    /// Those of leadership, which schedules of candidates find.
    pub const OF_LEADS: &[Self] = &[Self::ResignedStandBack, Self::BodyEndsWithTerm];

    /// Those of clusters, which schedules of slots that move find.
    pub const OF_CLUSTERS: &[Self] =
        &[Self::AskedWhenNothingIsLeft, Self::UnnamedKeysAreThere, Self::EmptiedKeysAreLeftAlone, Self::CarrierGoesOn];

    /// Those of locks that readers share.
    pub const OF_READERS: &[Self] =
        &[Self::WritersLookForReaders, Self::ReadersLookForWriters, Self::ReadersExpireOneByOne];

    /// Those of locks of several names.
    pub const OF_NAMES: &[Self] = &[Self::AllOrNothing];

    /// Those of one run per fire. The model of the completed fires finds all of them but `HoldersMayFail`.
    pub const OF_ONCE: &[Self] = &[
        Self::MarkRidesOnAcquire,
        Self::YoungMarksAreNoEvidence,
        Self::RestoredMarksAreNoEvidence,
        Self::SinceBeforeDueIsEvidence,
        Self::DoubtRefuses,
        Self::NotBeforeDue,
        Self::CompletionComparesOwner,
        Self::CompletionIsConfirmed,
        Self::CompletionWithinValidity,
        Self::CompletionIsNotStretched,
        Self::MarksGoToHeardVoters,
        Self::MinorityIsNoProof,
        Self::RepairWritesGreatest,
        Self::RepairHasEvidence,
        Self::HoldersMayFail,
    ];
}

/// Whether a rule holds.
#[cfg(not(redlock_simulated))]
pub(crate) const fn holds(_: Rule) -> bool {
    true
}

#[cfg(redlock_simulated)]
thread_local! {
    static OFF: std::cell::Cell<Option<Rule>> = const { std::cell::Cell::new(None) };
}

/// Switches one rule off on this thread, and all others on.
#[cfg(redlock_simulated)]
pub fn switch_off(rule: Option<Rule>) {
    OFF.set(rule);
}

/// The rule that is off on this thread.
#[cfg(redlock_simulated)]
pub(crate) fn switched_off() -> Option<Rule> {
    OFF.get()
}

/// Whether a rule holds.
#[cfg(redlock_simulated)]
pub(crate) fn holds(rule: Rule) -> bool {
    OFF.try_with(std::cell::Cell::get).ok().flatten() != Some(rule)
}
