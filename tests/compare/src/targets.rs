//! What is to be reached, and whether it is.

use serde::Serialize;

use crate::figures::{Figures, Measure, Series, Spread};
use crate::rows::{NODES, attribute, beside, crowd, cycles, expiry, faults, hand_over, held};

/// A target, and what was reached.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) target: String,
    /// Nothing if it was not done in time.
    pub(crate) reached: Option<Spread>,
    /// Nothing for what is only told.
    pub(crate) is_met: Option<bool>,
    /// Whether a run on a machine that did something else says so, too: all its repetitions agree.
    pub(crate) is_trusted: bool,
}

/// What is compared with the limit.
#[derive(Clone, Copy)]
enum Limit {
    /// The median is at most this.
    AtMost(f64),
    /// The greatest of all is at most this.
    NeverAbove(f64),
    /// The median is below this.
    Below(f64),
    /// The median is at least this.
    AtLeast(f64),
    /// The median is above this.
    Above(f64),
    /// It is told, not judged.
    None,
}

impl Limit {
    fn admits(self, reached: Spread) -> Option<bool> {
        self.admits_one(if matches!(self, Self::NeverAbove(_)) { reached.greatest } else { reached.median })
    }

    /// Whether the least and the greatest say the same.
    fn is_clear(self, reached: Spread) -> bool {
        self.admits_one(reached.least) == self.admits_one(reached.greatest)
    }

    fn admits_one(self, value: f64) -> Option<bool> {
        match self {
            Self::AtMost(limit) | Self::NeverAbove(limit) => Some(value <= limit),
            Self::Below(limit) => Some(value < limit),
            Self::AtLeast(limit) => Some(value >= limit),
            Self::Above(limit) => Some(value > limit),
            Self::None => None,
        }
    }

    fn words(self) -> String {
        match self {
            Self::AtMost(limit) => format!("at most {limit}"),
            Self::NeverAbove(limit) => format!("never above {limit}"),
            Self::Below(limit) => format!("below {limit}"),
            Self::AtLeast(limit) => format!("at least {limit}"),
            Self::Above(limit) => format!("above {limit}"),
            Self::None => "no limit".to_owned(),
        }
    }
}

/// Judges what was measured; targets about what was not are left out. On a busy machine only what all repetitions say is trusted.
pub(crate) fn judge(figures: &Figures, is_busy: bool) -> Vec<Verdict> {
    let mut judge = Judge { figures, is_busy, verdicts: Vec::new() };
    judge.cycles();
    judge.crowds();
    judge.waiting();
    judge.faults();
    judge.held();
    judge.verdicts
}

struct Judge<'a> {
    figures: &'a Figures,
    is_busy: bool,
    verdicts: Vec<Verdict>,
}

impl<'a> Judge<'a> {
    fn cycles(&mut self) {
        for nodes in NODES {
            let most = if nodes == 5 { 1.08 } else { 1.05 };
            self.ratio("one task, p50, ours / floor", cycles::P50, nodes, ["ours", "floor"], Limit::AtMost(most));
            let what = "one task, p50, ours with `once` / ours";
            self.ratio(what, cycles::P50, nodes, ["ours-once", "ours"], Limit::AtMost(1.15));
        }
        for peer in crate::crew::PEERS {
            for nodes in &NODES[1..] {
                let what = format!("one task, p50, ours / {peer}");
                self.ratio(&what, cycles::P50, *nodes, ["ours", peer], Limit::Below(1.0));
            }
        }
        let per_second = cycles::PER_SECOND;
        for (what, pair, limit) in [
            ("64 tasks, ours / floor-fenced", ["ours", "floor-fenced"], Limit::Above(1.0)),
            ("64 tasks, ours / ours not fenced: the cost of fencing", ["ours", "ours-unfenced"], Limit::None),
        ] {
            for nodes in NODES {
                self.ratio(what, per_second, nodes, pair, limit);
            }
        }
    }

    /// Many locks in one script.
    fn crowds(&mut self) {
        for nodes in NODES {
            let least = if nodes == 1 { 1.0 } else { 1.5 };
            self.ratio("64 tasks, ours / floor", cycles::PER_SECOND, nodes, ["ours", "floor"], Limit::AtLeast(least));
            let many = cycles::PER_SECOND_OF_MANY;
            self.ratio("512 tasks, ours / floor", many, nodes, ["ours", "floor"], Limit::AtLeast(1.5));
            let unfenced = ["ours-unfenced", "rslock"];
            let limit = if nodes == 1 { Limit::Above(1.0) } else { Limit::AtLeast(2.0) };
            self.ratio("64 tasks, ours not fenced / rslock", cycles::PER_SECOND, nodes, unfenced, limit);
        }
        for (nodes, most) in NODES.into_iter().zip([10.0, 12.0, 14.0]) {
            let client = self.of(cycles::CROWDS[1].client, nodes, "ours");
            let what = format!("64 tasks, processor time of the client, µs each, N={nodes}");
            self.say_spread(&what, client, Limit::AtMost(most));
        }
    }

    fn waiting(&mut self) {
        let pair = ["ours", "floor-push"];
        for nodes in NODES {
            let what = "hand-over to another process, p50, ours / floor-push";
            self.ratio(what, hand_over::OTHER_P50, nodes, pair, Limit::AtMost(1.15));
        }
        for nodes in NODES {
            let what = "hand-over in the process, p50, ours / floor-push";
            self.ratio(what, hand_over::SAME_P50, nodes, pair, Limit::AtMost(0.05));
        }
        self.each("hand-over in the process, p50, ms", hand_over::SAME_P50, Limit::AtMost(0.01));
        let settings = [
            (crowd::ONE_PROCESS, Limit::AtMost(0.2), Limit::NeverAbove(30.0), Limit::AtLeast(0.95)),
            (crowd::TWO_PROCESSES, Limit::AtMost(3.5), Limit::NeverAbove(25.0), Limit::AtLeast(0.9)),
        ];
        for (setting, commands, longest, fairness) in settings {
            for (what, measure, limit) in [
                ("client commands per acquisition and node", crowd::COMMANDS, commands),
                ("longest wait, ms", crowd::LONGEST, longest),
                ("fewest / most acquisitions", crowd::FAIRNESS, fairness),
            ] {
                self.each(&format!("eight waiters, {setting}: {what}"), measure.when(setting), limit);
            }
        }
        let what = "three waiters of Python beside a crowd of eight: longest time without a turn, ms";
        self.each(what, beside::LONGEST, Limit::NeverAbove(2000.0));
        for setting in expiry::DATABASES {
            let what = format!("lateness after expiry, {setting}, ms");
            self.each(&format!("{what}, p50"), expiry::P50.when(setting), Limit::AtMost(3.0));
            self.each(&format!("{what}, max"), expiry::LATEST.when(setting), Limit::NeverAbove(20.0));
        }
    }

    fn faults(&mut self) {
        for setting in faults::FAULTS {
            for (what, measure, limit) in [("p50", faults::P50, 1.2), ("p99", faults::P99, 2.0)] {
                let [faulty, well] = [measure.when(setting), measure].map(|measure| self.of(measure, 5, "ours"));
                let what = format!("{setting}, {what}, ours / ours with all well");
                self.say_ratio(&what, faulty.zip(well), Limit::AtMost(limit));
            }
        }
    }

    fn held(&mut self) {
        for (what, measure) in [("held", held::BYTES), ("held and renewed twice", held::BYTES_RENEWED)] {
            let bytes = self.of(measure, 3, "ours");
            self.say_spread(&format!("10,000 locks {what}, bytes each, N=3"), bytes, Limit::AtMost(800.0));
        }
        for kind in attribute::KINDS {
            let added = self.of(attribute::ADDED.when(kind), 1, "#[redlock]");
            self.say_spread(&format!("the attribute, {kind}, added to a call, ns"), added, Limit::AtMost(500.0));
        }
    }

    fn of(&self, measure: Measure, nodes: usize, contestant: &str) -> Option<&'a Series> {
        self.figures.find(measure, nodes, contestant)
    }

    /// One against another, for one number of nodes.
    fn ratio(&mut self, what: &str, measure: Measure, nodes: usize, [this, other]: [&str; 2], limit: Limit) {
        let [this, other] = [this, other].map(|contestant| self.of(measure, nodes, contestant));
        self.say_ratio(&format!("{what}, N={nodes}"), this.zip(other), limit);
    }

    /// What ours did with each number of nodes.
    fn each(&mut self, what: &str, measure: Measure, limit: Limit) {
        for nodes in NODES {
            let reached = self.of(measure, nodes, "ours");
            self.say_spread(&format!("{what}, N={nodes}"), reached, limit);
        }
    }

    fn say_ratio(&mut self, what: &str, pair: Option<(&Series, &Series)>, limit: Limit) {
        let Some((this, other)) = pair else { return };
        self.say(what, this.ratio(other), this.gave_up_after.is_some(), limit);
    }

    fn say_spread(&mut self, what: &str, series: Option<&Series>, limit: Limit) {
        let Some(series) = series else { return };
        self.say(what, series.spread(), series.gave_up_after.is_some(), limit);
    }

    /// Whoever was not done in time has missed the target, whatever it reached before.
    fn say(&mut self, what: &str, reached: Option<Spread>, gave_up: bool, limit: Limit) {
        let is_met = match reached {
            _ if gave_up => Some(false),
            Some(reached) => limit.admits(reached),
            None => return,
        };
        let is_trusted = !self.is_busy || reached.is_none_or(|reached| limit.is_clear(reached));
        self.verdicts.push(Verdict { target: format!("{what}: {}", limit.words()), reached, is_met, is_trusted });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_met(figures: &Figures, target: &str) -> Vec<Option<bool>> {
        judge(figures, false)
            .iter()
            .filter(|verdict| verdict.target.contains(target))
            .map(|verdict| verdict.is_met)
            .collect()
    }

    fn one_hung() -> Figures {
        let mut figures = Figures::default();
        for value in [100.0, 110.0] {
            figures.add(faults::P50, 5, "ours", value);
        }
        figures.add(faults::P50.when(faults::FAULTS[1]), 5, "ours", 105.0);
        figures
    }

    #[test]
    fn a_target_is_met_or_missed_by_what_was_reached() {
        assert_eq!(is_met(&one_hung(), "hung, p50"), [Some(true)]);
        let mut slow = one_hung();
        slow.add(faults::P50.when(faults::FAULTS[1]), 5, "ours", 1000.0);
        assert_eq!(is_met(&slow, "hung, p50"), [Some(false)]);
        assert!(is_met(&slow, "killed").is_empty());
    }

    #[test]
    fn on_a_busy_machine_only_what_all_repetitions_say_is_trusted() {
        let are_trusted = |figures: &Figures, is_busy: bool| {
            let verdicts = judge(figures, is_busy);
            verdicts.iter().filter(|verdict| verdict.target.contains("hung, p50")).all(|verdict| verdict.is_trusted)
        };
        let mut figures = one_hung();
        figures.add(faults::P50.when(faults::FAULTS[1]), 5, "ours", 110.0);
        assert!(are_trusted(&figures, true));
        let mut split = one_hung();
        split.add(faults::P50.when(faults::FAULTS[1]), 5, "ours", 1000.0);
        assert!(are_trusted(&split, false) && !are_trusted(&split, true));
    }

    #[test]
    fn whoever_was_not_done_in_time_has_missed_the_target() {
        let mut hung = one_hung();
        hung.give_up(faults::P50.when(faults::FAULTS[1]), 5, "ours", 10.0);
        assert_eq!(is_met(&hung, "hung, p50"), [Some(false)], "although what it did before was fast enough");
        let mut never = Figures::default();
        never.give_up(crowd::LONGEST.when(crowd::ONE_PROCESS), 3, "ours", 10.0);
        assert_eq!(is_met(&never, "longest wait"), [Some(false)]);
    }
}
