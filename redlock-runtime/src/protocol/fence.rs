use std::time::Duration;

use super::{Ballot, NodeSet, Quorum};
use crate::rules::{Rule, holds};

/// The fencing token of one attempt to acquire: what was proposed, what the nodes answered, and what follows.
///
/// Every acquisition carries a token greater than that of every earlier one of that lock. Each node has a *counter* for the
/// lock. An acquire that the node grants raises it, in the same script, to one more than it was or to what was proposed,
/// whichever is greater, and answers it ([`Counter::grant`]). If a majority answers the same number, that is the token.
/// Else the greatest one is *committed*: the nodes are asked to raise their counter to it **if the key is still the
/// asker's** ([`Counter::commit`]), and it is the token once a majority has confirmed ([`confirmation`]) and the attempt is
/// still valid.
///
/// # Why tokens grow
///
/// Let *Q* be the majority that agreed on, or confirmed, the token *t* of an acquisition. On each of its nodes the counter
/// was *t* while the key was this owner's. Two acquisitions share a node of their *Q*, and there one had the key first. Its
/// token was in the counter before the other was granted, so what the other was answered is greater, and so is the
/// other's token: a confirmation counts only if the counter is *equal* to the token then. This needs no clock. Nor does it
/// need two owners to be kept apart: keys may expire at any moment. It does need the comparison of the owner, because a
/// commit that arrives when the key is another's would put a smaller token first on that node.
///
/// A counter that is greater than any token does no harm: rounds that failed, and commits that were not confirmed, raise
/// it. One that is *smaller* than a token in whose *Q* the node was does, and that is what the rest is about.
///
/// # Counters that are not there
///
/// A counter expires when it was not used for the retention (24 hours at least), and a node that restarts empty has none.
/// On a node that is older than the retention, a missing counter says that its expiry was moved last a retention ago, or before
/// that. Since then it was raised by less than a quarter of the retention ([`Counter::moves_expiry`]): whatever token the node took
/// part in is below what any clock proposes today. It is [`Counter::Unused`]: evidence. On a younger node it is [`Counter::Forgotten`], which says nothing. A grant there
/// creates no counter: if that round fails, what it leaves must not be taken for evidence by the next.
///
/// A token that is greater than the evidence of a majority is greater than every earlier token, because every earlier *Q*
/// shares a node with that majority. So if those who granted forgot, those who refused are asked too: each node
/// tells its counter with its refusal. A commit may create the counter on a node that forgot, because what it writes is
/// greater than whatever the node knew. For that, nobody may have begun before the restart who is still under way when an
/// attempt begins in which the node votes: its token might come to be where this one's evidence did not look. So the argument
/// leans on the [`Electorate`](super::Electorate), and a node that abstains is sent no commit.
///
/// A key that renewal sets again on a node that lost it says nothing about tokens: it leaves the counter alone, and no
/// commit of its owner may be on its way then. An attempt that is repeated has a new owner, and is another attempt.
///
/// # Several locks at once, and readers
///
/// Locks that are granted together get one token: what a node answers is more than each of their counters, and all of them are raised to
/// it ([`Counter::of_all`]). So the argument holds for each of them by itself.
///
/// Readers raise nothing ([`Counter::share`]). If a majority answers the same number, or has been raised to the greatest one, that is a
/// reader's token: it is at least that of every writer before him, with whom he shares a node of their *Q*, and below that of every
/// writer after him, who finds it in a counter. Readers between two writers may have the same.
///
/// A lock that is taken over from its owner ([`Fence::take_over`]) is given to the new one by each node like any other: what
/// the node tells then is at least every token in which it took part before, and what is committed is greater. Nothing is
/// raised before, so that it may be asked again without harm.
///
/// If less than a majority has evidence, only clocks are left: what they propose, and twice the skew that is allowed
/// between them, is committed; or the attempt is given up ([`FenceFallback`]). That covers one restart within a retention; a node
/// that was set up counts as restarted. With one node there is nobody else to ask: the node itself adds the skew.
///
/// # Blocks
///
/// A lock that passes from hand to hand within a process needs a token for each of its holders. So an acquire may ask for room
/// ([`Proposal::with_room`]): a node that grants it raises its counter by so much more, and the number that the majority agreed on,
/// or confirmed, is the last of a block ([`TokenBlock`]). All of its numbers are greater than what was in the counter of each node of *Q*
/// before, and none is greater than what is in it from then on. So the argument holds for each number of a block as it does for one
/// token, and those who ask for no room may be among the others. What is committed leaves as much room above what others may have.
/// Numbers of a block that were not used when the lease ends never are.
///
/// # Numbers
///
/// Proposals are microseconds since 1970. A counter that is raised by one for each acquisition must not run ahead of the
/// clocks, or what is proposed after it expired would be smaller. One lock is acquired more than once in a millisecond on a
/// fast network, but not in a microsecond. Tokens stay below 2^52, far from 2^53, where Lua's numbers cease to be exact;
/// proposals, below 2^52 − 2^40, which will do until the year 2112.
///
/// # Numbers that are no counters
///
/// Somebody else may write under the key, and a node may tell anything. What no counting can have come to ([`NoCounter`]) is
/// no vote of that node: it is not merged, so it is neither committed, nor proposed by the next attempt, and the counters
/// of the other nodes stay what they are. It is no evidence either, as if the node had not answered; so the argument above
/// stands as it is.
///
/// Only counters of nodes and clocks can tell what is far ahead. So a clock that is itself far ahead of those of all nodes is
/// not believed ([`plausible`]): what it proposed would be no counter to everybody else.
///
/// This is the only place of the protocol that is told the time of day, because it is the only one where the promise itself
/// allows for clocks: between machines that have nothing else in common.
///
/// # What is not covered
///
/// Counters that vanish without a restart: `FLUSHALL`, eviction, a failover that lost writes, a server's clock that jumps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// What a majority is.
    quorum: Quorum,
    /// What the nodes were asked to raise their counters to.
    proposal: Proposal,
    /// What to do without evidence.
    fallback: FenceFallback,
    /// Whether a node that grants raises its counter.
    raises: bool,
    /// What each node told, granting or refusing.
    told: Vec<Option<Counter>>,
}

/// What a node has under a lock's fencing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "the caller's token depends on it"]
pub enum Counter {
    /// This number; at least every token that the node took part in.
    Known(u64),
    /// None, and it was not used for long.
    Unused,
    /// None, and the node is too young to say whether it had one.
    Forgotten,
}

/// Whose the lock's key is when a commit arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// The owner's who commits.
    Asker,
    /// Another's, or there is no key.
    Other,
}

/// What an acquire proposes to the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The least number that the counter shall have.
    least: u64,
    /// That, and more than any counter that was seen.
    unseen: u64,
    /// What a counter begins with whose node may have forgotten a greater one; nothing if other nodes may remember.
    alone: Option<u64>,
    /// So far a counter may be ahead of a clock.
    lead: u64,
    /// This process's clock.
    clock: u64,
    /// Whether a node that may grant one of several locks tells the counters of the others, too.
    asks_all: bool,
    /// How much more than by one the counter is raised.
    room: u64,
}

/// The fencing tokens that one acquisition has: its own, and those of the holders that follow it within its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenBlock {
    /// The next to be given, and the last, of those that are left.
    next: u64,
    last: u64,
}

/// What stands under a fencing key, and is no counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoCounter {
    /// It is no number, or none that can be raised.
    Text,
    /// It is 2^52 or more.
    TooGreat(u64),
    /// It is further ahead of all clocks than counters can be.
    Ahead(u64),
}

/// What to do if less than a majority has evidence of earlier tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FenceFallback {
    /// Rely on clocks that differ by less than this.
    TrustClocks {
        /// The greatest difference between the clocks of any two processes; far below the retention.
        max_clock_skew: Duration,
    },
    /// Rather have no lock.
    Refuse,
}

/// Whether nodes may still answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listening {
    /// Some may.
    GoesOn,
    /// All have, or their time is over.
    IsOver,
}

/// How an attempt that a majority granted gets its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a lock without its token may let a late write pass"]
pub enum Fencing {
    /// It has it.
    Agreed(u64),
    /// Nodes that may vote have to be asked to commit this one; it counts when a majority has confirmed.
    Commit(u64),
    /// More answers are needed: less than a majority has evidence.
    Listen,
    /// There is none, and the lock has to be given back: less than a majority has evidence.
    Refused,
}

/// No counter is as great. Lua, and with it a script, tells numbers apart up to twice as much; what is between is for those
/// that were raised by mistake, so that they are still told as what they are.
// Source: the precision of an IEEE 754 double, which Lua 5.1 has for numbers; https://www.lua.org/pil/2.3.html
const TOO_GREAT: u64 = 1 << 52;

/// No clock proposes more; what is above is left to counting one by one, for twelve days of a token each microsecond.
const LATEST: u64 = TOO_GREAT - (1 << 40);

/// How long a counter is kept that is not used.
pub const RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

/// A counter that is further ahead of what is proposed moves its expiry by what is left of it: no clock takes it from one
/// quarter of the retention to the next.
// `lua/raise.lua` has the same number.
const FAR_AHEAD: Duration = Duration::from_secs(600);

/// The time of day by which to propose: this process's (`here`), unless it is far ahead of the clocks of all nodes that told
/// theirs. All are times since 1970.
#[must_use]
pub fn plausible(here: Duration, nodes: impl IntoIterator<Item = Duration>) -> Duration {
    let mut latest = None;
    for clock in nodes {
        // Half of it, so that others, who compare with clocks of their own, have something to spare.
        let allowed = clock.saturating_add(RETENTION / 2);
        if here <= allowed {
            return here;
        }
        latest = latest.max(Some(allowed));
    }
    latest.unwrap_or(here)
}

/// The ballot that a node's answer to a commit is.
///
/// A counter that is greater than the token says that a grant of this node was not heard when the token was chosen, and an
/// earlier token may be as great.
#[must_use]
pub fn confirmation(token: u64, answer: Option<Counter>) -> Ballot {
    let is_as_great = !holds(Rule::ConfirmationIsEqual) && answer.and_then(Counter::number) >= Some(token);
    if answer == Some(Counter::Known(token)) || is_as_great { Ballot::Granted } else { Ballot::Refused }
}

impl Counter {
    /// What is stored says, on a node that is at least this old.
    pub fn read(stored: Option<u64>, age: Duration, retention: Duration) -> Self {
        match stored {
            Some(counter) => Self::Known(counter),
            None if age >= retention || !holds(Rule::RestartIsNoEvidence) => Self::Unused,
            None => Self::Forgotten,
        }
    }

    /// What is stored as text, as a script or somebody else wrote it: `None` where there is none, or none that was ever raised.
    ///
    /// # Errors
    ///
    /// A text that is no number.
    pub fn parse(stored: &str) -> Result<Option<u64>, NoCounter> {
        match stored.parse::<i128>() {
            Ok(number) if number < 1 => Ok(None),
            Ok(number) => Ok(Some(u64::try_from(number).unwrap_or(u64::MAX))),
            // Digits alone: more than there are numbers.
            Err(_) if !stored.is_empty() && stored.bytes().all(|byte| byte.is_ascii_digit()) => Ok(Some(u64::MAX)),
            Err(_) => Err(NoCounter::Text),
        }
    }

    /// The counter after the node granted the lock, which is both what it stores and what it answers. If it is not known
    /// then either, nothing is stored.
    pub fn grant(self, proposal: Proposal) -> Self {
        match self {
            Self::Known(counter) => {
                Self::Known(proposal.with_room_above(proposal.least.max(counter.saturating_add(1))))
            }
            Self::Unused => Self::Known(proposal.with_room_above(proposal.least)),
            Self::Forgotten => {
                proposal.alone.map_or(Self::Forgotten, |alone| Self::Known(proposal.with_room_above(alone)))
            }
        }
    }

    /// Whether a grant that raises a counter from `before` to `after` moves its expiry, which is that far away: as `lua/raise.lua`
    /// decides it. `least` is what was [proposed](Proposal::least).
    ///
    /// To move it each time would cost more than all the rest of fencing. Counters follow the clock, in microseconds, so it is moved
    /// when a quarter of the retention begins by the counter. One that is far ahead of the clock is in the same quarter for long: it
    /// is also moved when a quarter of the retention has passed.
    #[must_use]
    pub fn moves_expiry(before: u64, after: u64, least: u64, remaining: Duration, retention: Duration) -> bool {
        let quarter = micros(retention / 4).max(1);
        let is_far_ahead = after.saturating_sub(least) > micros(FAR_AHEAD);
        before / quarter != after / quarter || is_far_ahead && remaining < retention / 4 * 3
    }

    /// The counter after the node granted a reader the lock, which is both what it stores and what it answers: readers share the token
    /// of the writer before them.
    pub fn share(self, proposal: Proposal) -> Self {
        match self {
            Self::Known(counter) => Self::Known(counter),
            Self::Unused | Self::Forgotten => self.grant(proposal),
        }
    }

    /// The counter of several locks that are granted together and get the same token: the greatest, unless one of them may have been
    /// forgotten.
    pub fn of_all(counters: impl IntoIterator<Item = Self>) -> Self {
        counters.into_iter().fold(Self::Unused, |all, counter| match (all, counter) {
            (Self::Forgotten, _) | (_, Self::Forgotten) => Self::Forgotten,
            (Self::Known(one), Self::Known(other)) => Self::Known(one.max(other)),
            (Self::Known(known), _) | (_, Self::Known(known)) => Self::Known(known),
            (Self::Unused, Self::Unused) => Self::Unused,
        })
    }

    /// The counter after a commit, which is both what the node stores and what it answers; nothing changes, and `None` is
    /// answered, if the key is not the asker's any more.
    #[must_use]
    pub fn commit(self, holder: Holder, token: u64) -> Option<Self> {
        match (holder, self) {
            (Holder::Other, _) => None,
            (Holder::Asker, Self::Known(counter)) => Some(Self::Known(counter.max(token))),
            (Holder::Asker, Self::Unused | Self::Forgotten) => Some(Self::Known(token)),
        }
    }

    /// The number, if there is one.
    #[must_use]
    pub fn number(self) -> Option<u64> {
        match self {
            Self::Known(counter) => Some(counter),
            Self::Unused | Self::Forgotten => None,
        }
    }
}

impl Proposal {
    /// Proposes the time of day, as the time `since_1970`, or more than the counters that were `seen` by earlier attempts
    /// of the same waiter (zero for none), so that a clock that is behind costs no second round. Not if these are far
    /// ahead of it: a node learns that from what is proposed.
    #[must_use]
    pub fn new(since_1970: Duration, seen: u64, quorum: Quorum, fallback: FenceFallback) -> Self {
        let clock = micros(since_1970).clamp(1, LATEST);
        let unseen = clock.max(seen.saturating_add(1));
        let least = if unseen > clock + micros(FAR_AHEAD) { clock } else { unseen };
        let alone = (quorum.nodes() == 1).then(|| fallback.beyond(unseen)).flatten();
        let lead = fallback.beyond(micros(RETENTION)).unwrap_or_else(|| micros(RETENTION));
        Self { least, unseen, alone, lead, clock, asks_all: false, room: 0 }
    }

    /// The same for an acquisition whose lock is to pass on so often within its process.
    #[must_use]
    pub fn with_room(self, room: u64) -> Self {
        Self { room, ..self }
    }

    /// How much more than by one the counter is raised.
    #[must_use]
    pub fn room(self) -> u64 {
        self.room
    }

    fn with_room_above(self, first: u64) -> u64 {
        first.saturating_add(self.room)
    }

    /// The same where each node grants one of several locks, perhaps another one than the others: to nodes of these ages (`None`: not
    /// known). If one of them may have forgotten a counter, the others are asked for those of what they do not grant, as well.
    #[must_use]
    pub fn for_any_of_several(self, ages: impl IntoIterator<Item = Option<Duration>>) -> Self {
        let may_have_forgotten = |age: Option<Duration>| age.is_none_or(|age| age < RETENTION);
        Self { asks_all: ages.into_iter().any(may_have_forgotten), ..self }
    }

    /// Whether a node that may grant one of several locks tells the counters of the others, too.
    #[must_use]
    pub fn asks_all(self) -> bool {
        self.asks_all
    }

    /// Whether a number can be the counter of a node whose clock, as the time since 1970, says this, if it told.
    ///
    /// Every clock may be behind another by the skew that is allowed for, and counters are kept for the retention: what is
    /// further ahead comes from no clock, nor from counting.
    ///
    /// # Errors
    ///
    /// One that is no counter.
    pub fn believe(self, number: u64, node_clock: impl FnOnce() -> Option<Duration>) -> Result<(), NoCounter> {
        let limit = |clock: u64| clock.saturating_add(self.lead);
        if number >= TOO_GREAT {
            Err(NoCounter::TooGreat(number))
        } else if number <= limit(self.clock) || node_clock().is_some_and(|clock| number <= limit(micros(clock))) {
            Ok(())
        } else {
            Err(NoCounter::Ahead(number))
        }
    }

    /// The least number that the counter shall have.
    #[must_use]
    pub fn least(self) -> u64 {
        self.least
    }
}

impl TokenBlock {
    /// The block whose last number a majority agreed on, or confirmed, of an acquire that asked for this room.
    #[must_use]
    pub fn ending_with(last: u64, room: u64) -> Self {
        Self { next: last.saturating_sub(room), last }
    }

    /// The token of the acquisition itself, and what is left of its block: where no token was asked for, there is no `room`.
    #[must_use]
    pub fn first_of(last: u64, room: Option<u64>) -> (u64, Option<Self>) {
        match room.and_then(|room| Self::ending_with(last, room).give()) {
            Some((first, left)) => (first, Some(left)),
            None => (last, None),
        }
    }

    /// Gives the next number, and the block that is left; `None` if all were given.
    #[must_use]
    pub fn give(self) -> Option<(u64, Self)> {
        let is_left = self.next <= self.last || !holds(Rule::TokensEndWithBlock);
        is_left.then_some((self.next, Self { next: self.next + 1, ..self }))
    }

    /// How many are left.
    #[must_use]
    pub fn left(self) -> u64 {
        (self.last + 1).saturating_sub(self.next)
    }

    /// The last number, up to which the counters were raised.
    #[must_use]
    pub fn last(self) -> u64 {
        self.last
    }
}

impl NoCounter {
    /// What is wrong with the fencing counter under this key, and what to do.
    #[must_use]
    pub fn about(self, key: &str) -> String {
        let wrong = match self {
            Self::Text => "no number, or none that can be raised".to_owned(),
            Self::TooGreat(number) => format!("{number}, which is 2^52 or more, as no counter is"),
            Self::Ahead(number) => format!(
                "{number}, which is ahead of this machine's clock, and of the node's where that is known, by more than the day \
                 for which counters are kept"
            ),
        };
        format!(
            "the fencing counter `{key}` holds {wrong}; set it there to the greatest number that the other nodes have under \
             this key (SET with PX 86400000), or delete it if there are none"
        )
    }
}

impl FenceFallback {
    /// A number that is greater than any earlier token, if clocks can be relied on; `candidate` is not below this
    /// process's clock.
    fn beyond(self, candidate: u64) -> Option<u64> {
        match self {
            Self::TrustClocks { max_clock_skew } => {
                Some(candidate.saturating_add(micros(max_clock_skew.saturating_mul(2))))
            }
            Self::Refuse => None,
        }
    }
}

impl Fence {
    /// The fence of an attempt that proposes this, of which nothing was heard yet.
    #[must_use]
    pub fn propose(quorum: Quorum, proposal: Proposal, fallback: FenceFallback) -> Self {
        Self { quorum, proposal, fallback, raises: true, told: vec![None; quorum.nodes()] }
    }

    /// The fence of an attempt to take a lock over from its owner. The nodes tell their counters and raise none, so the token
    /// is always committed.
    #[must_use]
    pub fn take_over(quorum: Quorum, proposal: Proposal, fallback: FenceFallback) -> Self {
        Self { raises: false, ..Self::propose(quorum, proposal, fallback) }
    }

    /// What the nodes were asked to raise their counters to.
    #[must_use]
    pub fn proposal(&self) -> Proposal {
        self.proposal
    }

    /// Notes the counter that a node told with its grant or its refusal; its first answer stands.
    pub fn merge(&mut self, node: usize, counter: Counter) {
        self.told[node].get_or_insert(counter);
    }

    /// What follows from what was heard, once `voters`, a majority that may vote, granted the lock.
    pub fn decide(&self, voters: NodeSet, listening: Listening) -> Fencing {
        // Counters that were not raised may be tokens of others, whoever told them.
        let voters = if self.raises { voters } else { NodeSet::default() };
        let granted = || voters.iter().filter_map(|node| self.told[node]?.number());
        let greatest = granted().max();
        let agreeing = granted().filter(|number| Some(*number) == greatest).count();
        if let Some(token) = greatest
            && agreeing >= self.quorum.needed()
        {
            return Fencing::Agreed(token);
        }

        let evident = self.told.iter().flatten().filter(|counter| **counter != Counter::Forgotten).count();
        // Others' counters may be tokens of others.
        let refused = NodeSet::first(self.quorum.nodes()).without(voters);
        let beyond = |number: u64| self.proposal.with_room_above(number);
        let above = refused.iter().filter_map(|node| Some(beyond(self.told[node]?.number()?.saturating_add(1))));
        let candidate = granted().chain(above).fold(beyond(self.proposal.unseen), u64::max);
        if evident >= self.quorum.needed() || !holds(Rule::Evidence) {
            return Fencing::Commit(candidate);
        }
        match listening {
            Listening::GoesOn => Fencing::Listen,
            Listening::IsOver => self.fallback.beyond(candidate).map_or(Fencing::Refused, Fencing::Commit),
        }
    }

    /// The greatest counter that was heard of, for the proposal of the next attempt of the same waiter; zero if none was.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.told.iter().flatten().filter_map(|counter| counter.number()).max().unwrap_or_default()
    }
}

/// More than all numbers there are is as good as the greatest one.
fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).min(LATEST)
}

#[cfg(test)]
mod tests;
