//! The part of all locks that somebody looks at.

use std::cmp::Ordering;
use std::time::Instant;

use super::model::Model;
use super::row::Row;

/// What the rows are in the order of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sort {
    Name,
    Holder,
    /// For how long it is held; those that are free come as the youngest.
    #[default]
    Age,
    /// For how long it is held if nobody extends it.
    Left,
    Waiting,
    State,
}

impl Sort {
    pub(crate) const ALL: [Self; 6] = [Self::Name, Self::Holder, Self::Age, Self::Left, Self::Waiting, Self::State];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Holder => "holder",
            Self::Age => "age",
            Self::Left => "left",
            Self::Waiting => "waiting",
            Self::State => "state",
        }
    }

    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|sort| sort.name() == name)
    }

    /// In which direction it is what people want to see first.
    pub(crate) fn usual_order(self) -> Order {
        match self {
            Self::Name | Self::Holder | Self::Left => Order::Ascending,
            Self::Age | Self::Waiting | Self::State => Order::Descending,
        }
    }

    fn compare(self, one: &Row, other: &Row, now: Instant) -> Ordering {
        match self {
            Self::Name => one.shown.cmp(&other.shown),
            // Those that nobody is known to hold come last.
            Self::Holder => (one.holder.is_none(), &one.holder).cmp(&(other.holder.is_none(), &other.holder)),
            Self::Age => one.age(now).cmp(&other.age(now)),
            Self::Left => (one.expires.is_none(), one.expires).cmp(&(other.expires.is_none(), other.expires)),
            Self::Waiting => one.waiting.cmp(&other.waiting),
            Self::State => one.state.cmp(&other.state),
        }
    }
}

/// In which direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Ascending,
    Descending,
}

impl Order {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Ascending => Self::Descending,
            Self::Descending => Self::Ascending,
        }
    }
}

/// Which rows somebody wants to see.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) sort: Sort,
    pub(crate) order: Order,
    /// What a row must have in its name, or in its owner's.
    pub(crate) search: String,
    /// The first one, counted from zero.
    pub(crate) from: usize,
    /// How many.
    pub(crate) count: usize,
}

impl Default for Window {
    fn default() -> Self {
        let sort = Sort::default();
        Self { sort, order: sort.usual_order(), search: String::new(), from: 0, count: 100 }
    }
}

/// What is in a window.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) rows: Vec<&'a Row>,
    /// The first one, which is less than was asked for if there are fewer.
    pub(crate) from: usize,
    /// How many match the search.
    pub(crate) matching: usize,
}

impl Window {
    /// Sorts no more of the rows than are wanted.
    pub(crate) fn of<'a>(&self, model: &'a Model, now: Instant) -> View<'a> {
        let search = self.search.to_lowercase();
        let mut rows: Vec<&Row> = model.rows().filter(|row| row.is_found(&search)).collect();
        let matching = rows.len();
        let from = self.from.min(matching.saturating_sub(self.count));
        let until = from.saturating_add(self.count).min(matching);
        let compare = |one: &&Row, other: &&Row| {
            let order = self.sort.compare(one, other, now);
            let order = if self.order == Order::Descending { order.reverse() } else { order };
            order.then_with(|| one.name.cmp(&other.name))
        };
        if until < matching {
            rows.select_nth_unstable_by(until, compare);
            rows.truncate(until);
        }
        if from > 0 && from < rows.len() {
            rows.select_nth_unstable_by(from, compare);
        }
        let mut rows = rows.split_off(from);
        rows.sort_unstable_by(compare);
        View { rows, from, matching }
    }
}
