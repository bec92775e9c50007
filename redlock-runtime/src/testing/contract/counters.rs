//! Fencing counters, of nodes that have some.

use std::sync::Arc;
use std::time::Duration;

use super::trial::{Client, Trial, same};
use super::{BrokenPromise, LONG};
use crate::node::{CounterRule, Outcome};
use crate::platform::entropy::fresh_owner;

type Kept = Result<(), BrokenPromise>;

/// A great counter, as a clock proposes it, which a floating point number of 32 bits does not tell from the next one.
const GREAT: u64 = (1 << 52) - (1 << 41) + 1;

fn rule(least: u64, first: Option<u64>) -> CounterRule {
    CounterRule { least, first, keep_for: LONG }
}

/// The counter after a grant.
async fn granted(
    client: &Client,
    situation: &str,
    key: &Arc<str>,
    owner: &Arc<str>,
    rule: CounterRule,
    expected: Option<u64>,
) -> Kept {
    let words = format!("a grant with the counter {expected:?}");
    let vote = client.vote(situation, &words, key, owner, LONG, Some(rule)).await?;
    if vote.held.is_some() {
        return Err(BrokenPromise::new("acquire", situation, words, "a refusal"));
    }
    same("acquire", &format!("{situation}: its counter"), expected, vote.counter)
}

/// The counter at a refusal.
async fn refused(client: &Client, key: &Arc<str>, expected: Option<u64>) -> Kept {
    let situation = "of a held key, with a rule for its counter";
    let words = format!("a refusal with the counter {expected:?}");
    let vote =
        client.vote(situation, &words, key, &fresh_owner(), LONG, Some(rule(GREAT + 100, Some(GREAT + 100)))).await?;
    if vote.held.is_none() {
        return Err(BrokenPromise::new("acquire", situation, words, "a grant"));
    }
    same("acquire", &format!("{situation}, which a refusal leaves as it is: its counter"), expected, vote.counter)
}

pub(super) async fn a_counter_begins_and_grows(trial: Trial) -> Kept {
    if !trial.has_counters() {
        return Ok(());
    }
    let Trial { here, there, .. } = &trial;
    let (key, owner) = (trial.key("counter"), fresh_owner());
    let released = || here.release("of the owner's key", &key, &owner, Outcome::Done);
    let none = "of a key without a counter, by a rule that begins none";
    granted(here, none, &key, &owner, rule(7, None), None).await?;
    refused(there, &key, None).await?;
    released().await?;
    granted(
        here,
        "of a key without a counter, by a rule that begins it with 5",
        &key,
        &owner,
        rule(1, Some(5)),
        Some(5),
    )
    .await?;
    released().await?;
    granted(there, "of a key whose counter is 5", &key, &owner, rule(1, Some(1)), Some(6)).await?;
    refused(here, &key, Some(6)).await?;
    released().await?;
    granted(
        here,
        "of a key whose counter is 6, by a rule that wants 40 at least",
        &key,
        &owner,
        rule(40, None),
        Some(40),
    )
    .await?;
    released().await?;
    let situation = "of a key whose counter is 40, by a rule that wants more";
    granted(there, situation, &key, &owner, rule(GREAT, None), Some(GREAT)).await?;
    released().await?;
    // Without a rule nothing happens to it.
    here.granted("of a free key", &key, &owner, LONG).await?;
    released().await?;
    let situation = format!("of a key whose counter is {GREAT}");
    granted(here, &situation, &key, &owner, rule(1, Some(1)), Some(GREAT + 1)).await?;
    released().await
}

pub(super) async fn a_counter_outlives_its_key(trial: Trial) -> Kept {
    if !trial.has_counters() {
        return Ok(());
    }
    let Trial { here, there, .. } = &trial;
    let (key, owner, ttl) = (trial.key("counter-expires"), fresh_owner(), Duration::from_millis(400));
    let _granted = here.vote("of a free key", "a grant", &key, &owner, ttl, Some(rule(1, Some(5)))).await?;
    let later = trial.expired("counter-later", &owner).await?;
    // The later one has ended, and so has the other.
    granted(there, "of a free key", &later, &owner, rule(1, Some(1)), Some(1)).await?;
    granted(there, "of a key that has expired, whose counter was 5", &key, &owner, rule(1, Some(1)), Some(6)).await
}

pub(super) async fn a_commit_raises_for_the_owner_alone(trial: Trial) -> Kept {
    if !trial.has_counters() {
        return Ok(());
    }
    let Trial { here, there, .. } = &trial;
    let (key, owner, another) = (trial.key("commit"), fresh_owner(), fresh_owner());
    here.commit("for a key that is not there", &key, &owner, 9, None).await?;
    let situation = "of a key whose commit was refused";
    granted(here, situation, &key, &owner, rule(1, None), None).await?;
    here.commit("for the owner's key without a counter", &key, &owner, 9, Some(9)).await?;
    there
        .commit("for the owner's key, with a token that is smaller than its counter", &key, &owner, 4, Some(9))
        .await?;
    there.commit("for the owner's key, with a greater token", &key, &owner, GREAT, Some(GREAT)).await?;
    there.commit("for somebody else's key", &key, &another, GREAT + 50, None).await?;
    refused(here, &key, Some(GREAT)).await?;
    here.keep("of the owner's key, to be kept", &key, &owner, (&another, LONG), Outcome::Done).await?;
    here.commit("for a key that was given to another owner, by the one before", &key, &owner, GREAT + 60, None).await?;
    here.commit("for a key that was given to the asker", &key, &another, GREAT + 1, Some(GREAT + 1)).await?;
    here.release("of the owner's key", &key, &another, Outcome::Done).await?;
    here.commit("for a key that was released", &key, &another, GREAT + 70, None).await?;
    granted(there, "of a key whose late commits were refused", &key, &owner, rule(1, Some(1)), Some(GREAT + 2)).await?;

    let expired = trial.expired("commit-expired", &owner).await?;
    here.commit("for a key that has expired", &expired, &owner, 9, None).await?;
    granted(here, "of a key whose late commit was refused", &expired, &owner, rule(1, Some(3)), Some(3)).await
}
