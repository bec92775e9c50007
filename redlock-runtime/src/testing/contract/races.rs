//! Many who ask at once, of whom one is granted: nothing comes between a comparison and its change.

use std::sync::Arc;

use super::trial::{Client, Trial};
use super::{BrokenPromise, LONG};
use crate::node::{Acquire, Keep, Outcome, Release, Vote};
use crate::platform::entropy::fresh_owner;
use crate::platform::tasks;

/// So many ask at once.
const CROWD: usize = 12;

/// So often.
const ROUNDS: usize = 8;

const ONE: &str = "one grant";

pub(super) async fn one_of_many_is_granted(trial: Trial) -> Result<(), BrokenPromise> {
    for round in 0..ROUNDS {
        crowd(&trial, "by many at once, of a free key", &trial.key(&format!("crowd-{round}"))).await?;
    }
    Ok(())
}

pub(super) async fn one_of_many_is_granted_an_expired_key(trial: Trial) -> Result<(), BrokenPromise> {
    for round in 0..2 {
        let key = trial.expired(&format!("crowd-expired-{round}"), &fresh_owner()).await?;
        crowd(&trial, "by many at once, of a key that has expired", &key).await?;
    }
    Ok(())
}

async fn crowd(trial: &Trial, situation: &'static str, key: &Arc<str>) -> Result<(), BrokenPromise> {
    let asking = each_at_once(trial, |client, owner| {
        let ask = Acquire { key: Arc::clone(key), owner, ttl: LONG, is_watched: false, counter: None };
        async move { client.ask("acquire", situation, ONE, |node| node.acquire(ask)).await }
    });
    let votes: Vec<(Arc<str>, Vote)> = asking.await?;
    let granted: Vec<&Arc<str>> =
        votes.iter().filter(|(_, vote)| vote.held.is_none()).map(|(owner, _)| owner).collect();
    let [winner] = granted[..] else {
        return Err(BrokenPromise::new("acquire", situation, ONE, format!("{} of {CROWD}", granted.len())));
    };
    let refused = votes.iter().filter_map(|(_, vote)| vote.held.as_ref());
    if refused.into_iter().any(|held| held.owner != *winner) {
        let expected = "refusals that name the owner who was granted it";
        return Err(BrokenPromise::new("acquire", situation, expected, "a refusal that names somebody else"));
    }
    Ok(())
}

/// Many adopt a lock at once.
pub(super) async fn one_of_many_is_given_the_key(trial: Trial) -> Result<(), BrokenPromise> {
    let situation = "of one key by many at once, each to be kept for another owner";
    for round in 0..ROUNDS {
        let (key, owner) = (trial.key(&format!("given-{round}")), fresh_owner());
        trial.here.granted("of a free key", &key, &owner, LONG).await?;
        let giving = each_at_once(&trial, |client, next| {
            let (key, owner) = (Arc::clone(&key), Arc::clone(&owner));
            let ask = Release { key, owner, keep: Some(Keep { owner: next, ttl: LONG }) };
            async move { client.ask("release", situation, "Done for one of them", |node| node.release(ask)).await }
        });
        let done = giving.await?.iter().filter(|(_, outcome)| *outcome == Outcome::Done).count();
        if done != 1 {
            let came = format!("Done for {done} of {CROWD}");
            return Err(BrokenPromise::new("release", situation, "Done for one of them", came));
        }
    }
    Ok(())
}

/// What each of a crowd is answered, every other one of them on the other node.
async fn each_at_once<T, F>(
    trial: &Trial,
    question: impl Fn(Client, Arc<str>) -> F,
) -> Result<Vec<(Arc<str>, T)>, BrokenPromise>
where
    F: Future<Output = Result<T, BrokenPromise>> + Send + 'static,
    T: Send + 'static,
{
    let clients = [&trial.here, &trial.there].into_iter().cycle();
    let asking: Vec<_> = clients
        .take(CROWD)
        .map(|client| {
            let owner = fresh_owner();
            (Arc::clone(&owner), tasks::spawn(question(client.clone(), owner)))
        })
        .collect();
    let mut answers = Vec::new();
    for (owner, asked) in asking {
        // A panic of the node ends a task of its own, and not this one.
        let answer = asked
            .await
            .map_err(|error| BrokenPromise::new("check_node", "on this runtime", "that tasks run", error))?;
        answers.push((owner, answer?));
    }
    Ok(answers)
}
