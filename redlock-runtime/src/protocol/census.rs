use std::fmt;
use std::time::Duration;

use super::Quorum;
use super::rivals::holder;

/// What the keys of a lock say, all nodes together.
///
/// ```
/// # use redlock_runtime::{LockManager, LockState};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
/// let guard = locks.lock("report").acquire().await?;
/// let told = match locks.inspect("report").await?.state {
///     LockState::Free => "nobody is at it",
///     LockState::Held => "somebody is at it",
///     LockState::Kept => "somebody was at it not long ago",
///     _ => "ask again",
/// };
/// assert_eq!(told, "somebody is at it");
/// # drop(guard);
/// # Ok::<(), redlock_runtime::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockState {
    /// A majority of the nodes has no key: whoever asks gets it.
    Free,
    /// A majority of the nodes has the key of one owner.
    Held,
    /// Released, but kept from others until its `min_hold` is over.
    Kept,
    /// No owner has a majority of the nodes, and no majority is free, as far as they answered: several ask at this moment,
    /// nodes lost the key, or too few answered to tell. If enough answered, nobody gets it before some of the keys are gone.
    Unsettled,
}

impl fmt::Display for LockState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Free => "free",
            Self::Held => "held",
            Self::Kept => "kept",
            Self::Unsettled => "unsettled",
        })
    }
}

/// The key of a lock on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting<'a> {
    /// Its value.
    pub owner: &'a str,
    /// How long it lives; `None`: for ever.
    pub remaining: Option<Duration>,
}

/// Who has a lock, counted over the nodes that answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census<'a> {
    /// Whether it is held.
    pub state: LockState,
    /// The owner on most nodes, if any node has one.
    pub owner: Option<&'a str>,
    /// On how many.
    pub votes: usize,
    /// How long a majority of the nodes has that owner's key, if nothing extends it; `None`: no majority has it, or one has
    /// it for ever.
    pub remaining: Option<Duration>,
    /// Whether the nodes that did not answer could make a majority for that owner.
    pub may_be_held: bool,
    /// Whether nobody gets it: fewer nodes than a majority are without the key, whoever has the others; `None` if that depends on
    /// the nodes that did not answer.
    pub is_taken: Option<bool>,
}

impl<'a> Census<'a> {
    /// Counts what the nodes have that answered; `None` is a node without the key.
    #[must_use]
    pub fn of(quorum: Quorum, answers: &[Option<Sighting<'a>>]) -> Self {
        // Whose release is under way, or keeps the key, is refused for as one: whoever asks sees it like that too.
        let votes_of =
            |owner: &str| answers.iter().flatten().filter(|sighting| holder(sighting.owner) == owner).count();
        let owner = answers.iter().flatten().map(|sighting| holder(sighting.owner)).max_by_key(|owner| votes_of(owner));
        let votes = owner.map_or(0, votes_of);
        let free = answers.iter().filter(|answer| answer.is_none()).count();
        let unreleased = answers.iter().flatten().filter(|sighting| Some(sighting.owner) == owner).count();
        let is_kept = unreleased < quorum.needed();
        let state = if votes >= quorum.needed() {
            if is_kept { LockState::Kept } else { LockState::Held }
        } else if free >= quorum.needed() {
            LockState::Free
        } else {
            LockState::Unsettled
        };
        // The majority ends with the key that is the last which it needs.
        let of_owner = answers.iter().flatten().filter(|sighting| Some(holder(sighting.owner)) == owner);
        let mut lives: Vec<_> = of_owner.map(|sighting| sighting.remaining).collect();
        lives.sort_unstable_by_key(|remaining| std::cmp::Reverse(remaining.unwrap_or(Duration::MAX)));
        let remaining = lives.get(quorum.needed() - 1).copied().flatten();
        let silent = quorum.nodes().saturating_sub(answers.len());
        let may_be_held = state == LockState::Unsettled && votes + silent >= quorum.needed();
        let is_taken = match (free >= quorum.needed(), free + silent >= quorum.needed()) {
            (true, _) => Some(false),
            (false, true) => None,
            (false, false) => Some(true),
        };
        Self { state, owner, votes, remaining, may_be_held, is_taken }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A letter is an owner, with a key that lives a second longer on each node; `-` is a node without the key, `?` one that
    /// did not answer, and `k` a key of `x` that is kept.
    fn check(nodes: &str, expect: (LockState, usize, Option<u64>, bool), is_taken: Option<bool>) {
        let names = ["a", "b", "c", "x"];
        let answers = nodes.chars().zip(1..).filter(|(node, _)| *node != '?').map(|(node, seconds)| {
            let owner = match node {
                'k' => Some("x:released"),
                _ => names.into_iter().find(|name| name.starts_with(node)),
            };
            owner.map(|owner| Sighting { owner, remaining: Some(Duration::from_secs(seconds)) })
        });
        let answers: Vec<_> = answers.collect();
        let census = Census::of(Quorum::of(nodes.len()).unwrap(), &answers);
        let remaining = census.remaining.map(|remaining| remaining.as_secs());
        assert_eq!((census.state, census.votes, remaining, census.may_be_held), expect, "{nodes}");
        assert_eq!(census.is_taken, is_taken, "{nodes}");
    }

    #[test]
    fn a_lock_is_what_a_majority_of_all_nodes_says() {
        check("aaa", (LockState::Held, 3, Some(2), false), Some(true));
        check("a-a", (LockState::Held, 2, Some(1), false), Some(true));
        check("aa?", (LockState::Held, 2, Some(1), false), Some(true));
        check("kkk", (LockState::Kept, 3, Some(2), false), Some(true));
        check("---", (LockState::Free, 0, None, false), Some(false));
        check("--?", (LockState::Free, 0, None, false), Some(false));
        check("--a", (LockState::Free, 1, None, false), Some(false));
        check("abc", (LockState::Unsettled, 1, None, false), Some(true));
        check("ab-", (LockState::Unsettled, 1, None, false), Some(true));
        check("a-?", (LockState::Unsettled, 1, None, true), None);
        check("k-?", (LockState::Unsettled, 1, None, true), None);
        check("xkk", (LockState::Kept, 3, Some(2), false), Some(true));
        check("xkx", (LockState::Held, 3, Some(2), false), Some(true));
        check("xk-", (LockState::Kept, 2, Some(1), false), Some(true));
        check("aabb?", (LockState::Unsettled, 2, None, true), Some(true));
        check("abc--", (LockState::Unsettled, 1, None, false), Some(true));
        check("ab?", (LockState::Unsettled, 1, None, true), Some(true));
        check("ab--?", (LockState::Unsettled, 1, None, false), None);
        check("a---?", (LockState::Free, 1, None, false), Some(false));
        check("aa--?", (LockState::Unsettled, 2, None, true), None);
        check("aabb", (LockState::Unsettled, 2, None, false), Some(true));
        check("a", (LockState::Held, 1, Some(1), false), Some(true));
    }

    #[test]
    fn a_key_that_never_expires_has_no_remaining_time() {
        let answers = [Some(Sighting { owner: "a", remaining: None })];
        let census = Census::of(Quorum::of(1).unwrap(), &answers);
        assert_eq!((census.state, census.remaining), (LockState::Held, None));
    }
}
