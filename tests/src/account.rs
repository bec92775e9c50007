//! Who held what from when to when, and what happened meanwhile.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// One time that a lock was held, in nanoseconds of the machine's clock.
#[derive(Debug)]
struct Time {
    begin: u64,
    end: u64,
    /// When the task asked for it.
    asked: u64,
    /// Whether others may hold it at the same time who share it, too.
    is_shared: bool,
    /// Which process, and which of its tasks.
    who: (usize, String),
}

/// All that was told about who held what.
#[derive(Debug)]
pub struct Account {
    /// By the lock's name.
    held: BTreeMap<String, Vec<Time>>,
    /// From when to when something happened, and what.
    events: Vec<(u64, u64, String)>,
    /// How far before an overlap something may have been its cause, in nanoseconds.
    memory: u64,
}

impl Account {
    /// An empty one; whatever happened up to `memory` before an overlap is told with it.
    #[must_use]
    pub fn new(memory: Duration) -> Self {
        let memory = u64::try_from(memory.as_nanos()).expect("a short time");
        Self { held: BTreeMap::new(), events: Vec::new(), memory }
    }

    /// Notes something that may explain an overlap.
    pub fn note_event(&mut self, from: u64, to: u64, what: String) {
        self.events.push((from, to, what));
    }

    /// Reads a line of `crowd`; says whether it was about a time that a lock was held.
    pub fn note_held(&mut self, process: usize, line: &str) -> bool {
        let [how @ ("held" | "read"), name, begin, end, asked, task] = line.split(' ').collect::<Vec<_>>()[..] else {
            return false;
        };
        let [begin, end, asked] = [begin, end, asked].map(|moment| moment.parse().expect("nanoseconds"));
        let time = Time { begin, end, asked, is_shared: how == "read", who: (process, task.to_owned()) };
        self.held.entry(name.to_owned()).or_default().push(time);
        true
    }

    /// Reads the log of a process, whose lines begin with a moment.
    pub fn note_log(&mut self, process: usize, log: &str) {
        for line in log.lines() {
            if let Some(moment) = line.split(' ').next().and_then(|moment| moment.parse().ok()) {
                self.events.push((
                    moment,
                    moment,
                    format!("process {process}:{}", &line[line.find(' ').unwrap_or(0)..]),
                ));
            }
        }
    }

    /// How often a lock was held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.values().map(Vec::len).sum()
    }

    /// How often each task of each process held a lock, of those that ever did.
    #[must_use]
    pub fn turns(&self) -> BTreeMap<(usize, String), usize> {
        let mut turns = BTreeMap::new();
        for time in self.held.values().flatten() {
            *turns.entry(time.who.clone()).or_default() += 1;
        }
        turns
    }

    /// How many held one lock at a time at most; of a lock with permits, whatever permits they had.
    #[must_use]
    pub fn most_at_once(&self) -> usize {
        let mut changes: BTreeMap<&str, Vec<(u64, bool)>> = BTreeMap::new();
        for (name, times) in &self.held {
            let lock = name.split('/').next().unwrap_or(name);
            // Whoever ends when another begins is counted beside him.
            let of_each = times.iter().flat_map(|time| [(time.begin, false), (time.end, true)]);
            changes.entry(lock).or_default().extend(of_each);
        }
        let most = |mut changes: Vec<(u64, bool)>| {
            changes.sort_unstable();
            let count = changes.into_iter().scan(0_usize, |holders, (_, is_end)| {
                *holders = if is_end { *holders - 1 } else { *holders + 1 };
                Some(*holders)
            });
            count.max().unwrap_or(0)
        };
        changes.into_values().map(most).max().unwrap_or(0)
    }

    /// # Panics
    ///
    /// If two held one lock at a time, who do not share it; with all that happened before.
    pub fn check_no_overlap(&mut self) {
        self.events.sort_unstable();
        let mut overlaps = String::new();
        for (name, times) in &mut self.held {
            times.sort_unstable_by_key(|time| time.begin);
            let mut under_way: Vec<&Time> = Vec::new();
            for second in &*times {
                under_way.retain(|first| first.end >= second.begin);
                for first in under_way.iter().filter(|first| !(first.is_shared && second.is_shared)) {
                    overlaps += &tell(name, first, second, &self.events, self.memory);
                }
                under_way.push(second);
            }
        }
        assert!(overlaps.is_empty(), "held by two at a time:\n{overlaps}");
    }
}

fn tell(name: &str, first: &Time, second: &Time, events: &[(u64, u64, String)], memory: u64) -> String {
    let zero = second.begin;
    let from = first.asked.min(second.asked).min(zero.saturating_sub(memory));
    let to = first.end.max(second.end);
    let mut lines = vec![
        (first.asked, format!("{} asks", Who(first))),
        (first.begin, format!("{} holds", Who(first))),
        (first.end, format!("{} ends", Who(first))),
        (second.asked, format!("{} asks", Who(second))),
        (second.begin, format!("{} holds", Who(second))),
        (second.end, format!("{} ends", Who(second))),
    ];
    let nearby = events.iter().filter(|(begin, end, _)| *end >= from && *begin <= to);
    for (begin, end, what) in nearby {
        lines.push((*begin, format!("{what} (took {} ms)", (end - begin) / 1_000_000)));
    }
    lines.sort_unstable();
    let tell = |(moment, what): (u64, String)| {
        let sign = if moment < zero { '-' } else { '+' };
        format!("{sign}{:.3?}  {what}\n", Duration::from_nanos(moment.abs_diff(zero)))
    };
    let told: String = lines.into_iter().map(tell).collect();
    format!("{name}, around the second one's begin:\n{told}")
}

/// Whose time it was.
struct Who<'a>(&'a Time);

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (process, task) = &self.0.who;
        write!(f, "process {process} task {task}")
    }
}
