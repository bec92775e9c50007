//! Whose turn it is among those who want several locks at once.
//!
//! Whoever wants one lock gets it when it is free and he is the first to ask. Whoever wants five needs all of them free at one moment,
//! and those who want two, or come anew, are quicker each time. So he who was refused [often](is_due) takes a *turn*: it is noted on
//! the nodes, beside each of his locks, when he came, and from then on a node refuses these locks to all who want several and have a
//! later turn, or none. Of any who have turns one came first, by an order that is the same on all nodes; he is refused by none of the
//! others, so that it is not possible that all wait for one another. The turn goes when he gets his locks, and by itself a little
//! later than he asks again, so that nobody waits for long for one who gave up or died.
//!
//! It is about order and never about safety: a node grants nothing because of a turn. Clocks that differ let those of one process
//! come earlier than those of another, for as long as they differ. Whoever wants a single lock does not look for turns.

use std::time::Duration;

/// After so many refusals a turn is taken: in most crowds nobody needs one.
const OFTEN: u32 = 6;

/// How long a turn is noted. Whoever waits asks at least every two seconds.
pub const TURN: Duration = Duration::from_secs(3);

/// Whether somebody who was refused so often takes a turn.
#[must_use]
pub fn is_due(refused: u32) -> bool {
    refused >= OFTEN
}

/// The turn of somebody of this process who came at this time of day, as text: the less it is, the earlier he came.
#[must_use]
pub fn mark(came: Duration, process: &str) -> String {
    format!("!{:020}:{process}", came.as_millis())
}

/// Whether somebody who has this turn goes before whoever asks, and has that one or none.
#[must_use]
pub fn goes_before(other: &str, own: Option<&str>) -> bool {
    own.is_none_or(|own| other < own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_all_who_have_a_turn_one_goes_before_all_others() {
        let came = [9, 10, 99_999, 1_795_900_726_913].map(Duration::from_millis);
        let turns: Vec<_> = came.iter().flat_map(|came| ["a", "b"].map(|process| mark(*came, process))).collect();
        for (place, turn) in turns.iter().enumerate() {
            let before: Vec<_> = turns.iter().filter(|other| goes_before(other, Some(turn))).collect();
            assert_eq!(before, turns[..place].iter().collect::<Vec<_>>());
            assert!(goes_before(turn, None));
        }
    }
}
