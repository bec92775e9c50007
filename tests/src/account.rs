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
        let ["held", name, begin, end, asked, task] = line.split(' ').collect::<Vec<_>>()[..] else { return false };
        let [begin, end, asked] = [begin, end, asked].map(|moment| moment.parse().expect("nanoseconds"));
        self.held.entry(name.to_owned()).or_default().push(Time { begin, end, asked, who: (process, task.to_owned()) });
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

    /// # Panics
    ///
    /// If two held one lock at a time; with all that happened before.
    pub fn check_no_overlap(&mut self) {
        self.events.sort_unstable();
        let mut overlaps = String::new();
        for (name, times) in &mut self.held {
            times.sort_unstable_by_key(|time| time.begin);
            for pair in times.windows(2) {
                let [first, second] = pair else { unreachable!("windows of two") };
                if first.end >= second.begin {
                    overlaps += &tell(name, first, second, &self.events, self.memory);
                }
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
