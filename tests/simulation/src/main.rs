//! The lock that ships, on simulated machines: one seed, one schedule.
//!
//! ```text
//! schedules run [--from SEED] [--count N]     runs schedules, tells those that break a promise, and how fast it went
//! schedules fires [--from SEED] [--count N]   the same of those in which jobs run once per fire
//! schedules fire SEED [--without RULE]        replays one of these
//! schedules permits [--from SEED] [--count N] the same of those in which locks have permits
//! schedules permit SEED [--without RULE]      replays one of these
//! schedules readers [--from SEED] [--count N] the same of those in which readers share locks
//! schedules reader SEED [--without RULE]      replays one of these
//! schedules names [--from SEED] [--count N]   the same of those in which locks have several names
//! schedules name SEED [--without RULE]        replays one of these
//! schedules leads [--from SEED] [--count N]   the same of those in which one of several processes leads
//! schedules lead SEED [--without RULE]        replays one of these
//! schedules memory [--from SEED] [--count N]  the same of those whose nodes are in memory
//! schedules remember SEED [--without RULE]    replays one of these
//! schedules clusters [--from SEED] [--count N] the same of those in which a cluster is the only voter
//! schedules cluster SEED [--without RULE]     replays one of these
//! schedules replay SEED [--without RULE]      runs one, and tells everything that can be seen of it
//! schedules rules [--count N]                 without each rule in turn: which seed finds what it prevents
//! schedules made RULE SEED [--without RULE]   replays one that was made for a rule
//! ```

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::option_option,
    clippy::struct_excessive_bools,
    reason = "small numbers, and a world with many switches"
)]

mod checker;
mod cluster;
mod events;
mod faults;
mod leads;
mod life;
mod made;
mod memory;
mod network;
mod node;
mod observed;
mod plan;
mod random;
mod run;
mod runs;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod verdicts;
mod world;

use std::process::ExitCode;
use std::time::Instant;

use redlock_simulated::simulation::Rule;

use self::checker::Met;
use self::random::Random;
use self::run::{KINDS, Kind, Outcome, run_plan};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| {
        let position = arguments.iter().position(|argument| argument == name)?;
        arguments.get(position + 1).cloned()
    };
    let number = |name: &str, or: u64| option(name).map_or(Some(or), |number| number.parse().ok());
    let (Some(from), Some(count)) = (number("--from", 0), number("--count", 1_000)) else { return usage() };
    let off = option("--without");
    let Some(off) = off.map_or(Some(None), |off| rule(&off).map(Some)) else { return usage() };
    let word = arguments.first().map(String::as_str);
    if let Some(kind) = KINDS.iter().find(|kind| word == Some(kind.many)) {
        return run_all(from, count, off, kind);
    }
    if let Some(kind) = KINDS.iter().find(|kind| word == Some(kind.one)) {
        let Some(seed) = arguments.get(1).and_then(|seed| seed.parse().ok()) else { return usage() };
        println!("{:#?}", kind.plan_of(seed));
        return tell(&kind.run(seed, off, true));
    }
    match word {
        Some("made") => {
            let made = arguments.get(1).and_then(|name| made::for_rule(rule(name)?));
            let seed = arguments.get(2).and_then(|seed| seed.parse().ok());
            let (Some(made), Some(seed)) = (made, seed) else { return usage() };
            let mut random = Random::new(seed);
            tell(&run_plan((made.plan)(&mut random), random, off, true))
        }
        Some("rules") => rules(from, count, option("--only").as_deref()),
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!(
        "usage: schedules run|fires|permits|readers|names|leads|memory|clusters [--from SEED] [--count N] [--without RULE] \
         | replay|fire|permit|reader|name|lead|remember|cluster SEED [--without RULE] | rules [--count N] \
         | made RULE SEED [--without RULE]"
    );
    ExitCode::from(2)
}

fn rule(name: &str) -> Option<Rule> {
    KINDS.iter().flat_map(|kind| kind.rules).copied().find(|rule| format!("{rule:?}") == name)
}

#[expect(clippy::disallowed_methods, reason = "how long it takes")]
fn run_all(from: u64, count: u64, off: Option<Rule>, kind: &Kind) -> ExitCode {
    let began = Instant::now();
    let (mut met, mut broken) = (Met::default(), 0_u64);
    for seed in from..from + count {
        let outcome = kind.run(seed, off, false);
        met.add(&outcome.met);
        if !outcome.violations.is_empty() {
            broken += 1;
            println!("seed {seed}: {:?}", outcome.violations);
        }
    }
    let took = began.elapsed();
    println!(
        "{count} schedules in {took:.1?}, {:.0} a second; {broken} broke a promise",
        count as f64 / took.as_secs_f64()
    );
    println!("met: {:?}", met.0);
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tell(outcome: &Outcome) -> ExitCode {
    outcome.log.iter().for_each(|line| println!("{line}"));
    println!("trace {:016x}", outcome.trace);
    println!("violations: {:#?}", outcome.violations);
    if outcome.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[expect(clippy::disallowed_methods, reason = "how long it takes")]
fn rules(from: u64, count: u64, only: Option<&str>) -> ExitCode {
    let mut is_complete = true;
    let all = KINDS.iter().flat_map(|kind| kind.rules.iter().map(move |rule| (rule, kind)));
    for (off, kind) in all.filter(|(rule, _)| only.is_none_or(|only| format!("{rule:?}") == only)) {
        let began = Instant::now();
        let found = (from..from + count).find_map(|seed| {
            let violation = kind.run(seed, Some(*off), false).violations.into_iter().next()?;
            Some((seed, violation))
        });
        if let Some((seed, violation)) = found {
            println!("{off:?}: seed {seed} in {:.1?}: {violation}", began.elapsed());
        } else {
            is_complete = false;
            println!("{off:?}: not found in {count} schedules");
        }
    }
    if is_complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
