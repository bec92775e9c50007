//! What is measured.

use crate::crew::Plan;
use crate::figures::Figures;

pub(crate) mod cycles;

pub(crate) mod hand_over;

pub(crate) mod crowd;

pub(crate) mod faults;

pub(crate) mod expiry;

pub(crate) mod held;

pub(crate) mod attribute;

pub(crate) mod beside;

/// Rows that are measured together.
pub(crate) struct Row {
    /// Their letters.
    pub(crate) letters: &'static str,
    /// Measures them.
    pub(crate) measure: fn(&Plan, &mut Figures) -> anyhow::Result<()>,
}

/// All rows.
pub(crate) const ALL: [Row; 10] = [
    Row { letters: "a", measure: cycles::one_task },
    Row { letters: "b", measure: cycles::many_tasks },
    Row { letters: "c", measure: hand_over::hand_over },
    Row { letters: "d", measure: crowd::compete },
    Row { letters: "e", measure: crowd::burst },
    Row { letters: "f", measure: faults::lose_one },
    Row { letters: "g", measure: expiry::expire },
    Row { letters: "hi", measure: held::hold },
    Row { letters: "j", measure: attribute::call },
    Row { letters: "k", measure: beside::compete },
];

/// How many nodes there are in turn.
pub(crate) const NODES: [usize; 3] = [1, 3, 5];
