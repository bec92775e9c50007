//! Random sequences of scripts: two locks, three owners.

use std::cell::RefCell;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::pair::Pair;

fn step() -> impl Strategy<Value = String> {
    let (lock, owner, ttl) = (0..2, 0..3, prop_oneof![Just(30_000), Just(60_000), Just(0)]);
    (0..12, lock, owner, 0..3, ttl, 1..900).prop_map(|(kind, lock, owner, other, ttl, token)| {
        let life = ttl.max(20_000);
        match kind {
            0 => format!("@acquire 1 k{lock} o{owner} {life}"),
            1 => format!("@acquire 2 k{lock} f{lock} o{owner} {life} {token} {token} 90000"),
            2 => format!("@acquire 2 k{lock} f{lock} o{owner} {life} {token} '' 90000"),
            // Waiters are ordered by the time, and the servers' clocks are not quite the same.
            3 => format!("@acquire 1 k{lock} o{owner} {life} '' '' '' p{other} w{lock}\nafter 2"),
            4 => format!("@commit 2 k{lock} f{lock} o{owner} {token} 60000"),
            5 => format!("@extend 1 k{lock} o{owner} {life} n{lock}"),
            6 => format!("@release 1 k{lock} o{owner} {ttl} '' n{lock}"),
            7 => format!("@release 1 k{lock} o{owner} 0 '' n{lock} o{other} back"),
            8 => format!("@adopt 2 k{lock} f{lock} o{owner} {life} o{other}"),
            9 => format!("@label 2 k{lock} n{lock} o{owner} label 20000 {token} 1795900726913"),
            10 => format!("@look 2 k{lock} n{lock} 1795900726913"),
            _ => format!("@record 3 c{lock} l{lock} m{lock} p{owner} {other} 60000 70000 80000 1795900726913"),
        }
    })
}

#[test]
fn both_answer_random_sequences_alike() {
    let pair = RefCell::new(Pair::start());
    let config = ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(steps in vec(step(), 1..40))| {
        let mut lines = vec!["load".to_owned()];
        lines.extend(steps);
        for lock in 0..2 {
            for question in ["GET k", "PTTL k", "GET f", "PTTL f", "ZRANGE w 0 -1", "HGETALL m", "GET c", "ZCARD l"] {
                let (verb, rest) = question.split_at(question.find(' ').unwrap() + 2);
                lines.push(format!("{verb}{lock}{rest}"));
            }
        }
        pair.borrow_mut().check("a random sequence", &lines.join("\n"));
    });
    assert_eq!(pair.borrow().simulated.unknown(), <[String; 0]>::default());
}
