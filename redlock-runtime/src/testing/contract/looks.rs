//! What is for people, of nodes that offer it, and what a node says about itself.

use std::sync::Arc;

use super::trial::{Client, Trial, same};
use super::{BrokenPromise, LONG};
use crate::node::{BoxFuture, Held, Identity, Node, NodeError, Outcome};
use crate::platform::clock;
use crate::platform::entropy::fresh_owner;

type Kept = Result<(), BrokenPromise>;

pub(super) fn the_label_shows_no_password(trial: &Trial) -> Kept {
    let label = trial.here.0.label();
    let expected = "a name without credentials";
    if label.is_empty() {
        return Err(BrokenPromise::new("label", "of the node", expected, "no text at all"));
    }
    let credentials = label.split_once("://").and_then(|(_, rest)| rest.split_once('@'));
    match credentials {
        Some((credentials, _)) if credentials.contains(':') => {
            Err(BrokenPromise::new("label", "of the node", expected, "a URL with a password"))
        }
        _ => Ok(()),
    }
}

pub(super) async fn the_identity_is_that_of_the_store(trial: Trial) -> Kept {
    let Trial { here, there, .. } = &trial;
    let (owner, asked) = (fresh_owner(), clock::now());
    for (client, name) in [(here, "identity-here"), (there, "identity-there")] {
        client.granted("of a free key", &trial.key(name), &owner, LONG).await?;
    }
    let (Some(first), Some(other)) = (here.0.identity(), there.0.identity()) else {
        return same(
            "identity",
            "of two nodes of one store: whether it is known",
            here.0.identity(),
            there.0.identity(),
        );
    };
    same("identity", "of two nodes of one store: its run_id", &first.run_id, &other.run_id)?;
    let key = trial.expired("identity", &owner).await?;
    here.granted("of a key that has expired", &key, &owner, LONG).await?;
    let Some(Identity { run_id, age, .. }) = here.0.identity() else { return Ok(()) };
    if run_id != first.run_id {
        // It restarted meanwhile.
        return Ok(());
    }
    let passed = clock::now().saturating_duration_since(asked);
    let grown = age.checked_sub(first.age);
    // It is rounded down, perhaps to seconds.
    if grown.is_none_or(|grown| grown > passed + std::time::Duration::from_secs(1)) {
        let expected = format!("{:?}, and {passed:?} more at most", first.age);
        return Err(BrokenPromise::new("identity", format!("its age, {passed:?} later"), expected, format!("{age:?}")));
    }
    Ok(())
}

/// The answer to a question that a node need not answer; `None` if it does not.
async fn offered<T: Send + 'static>(
    client: &Client,
    method: &'static str,
    situation: &str,
    question: impl for<'a> FnOnce(&'a dyn Node) -> BoxFuture<'a, Result<T, NodeError>> + Send + 'static,
) -> Result<Option<T>, BrokenPromise> {
    let answer = client.ask(method, situation, "an answer", |node| {
        let answer = question(node);
        Box::pin(async { Ok(answer.await) })
    });
    match answer.await? {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.is_not_sent() => Ok(None),
        Err(error) => Err(BrokenPromise::new(method, situation, "an answer", format!("an error: {error}"))),
    }
}

pub(super) async fn a_key_is_inspected(trial: Trial) -> Result<bool, BrokenPromise> {
    let Trial { here, there, .. } = &trial;
    let (key, owner) = (trial.key("inspected"), fresh_owner());
    let look = async |situation: &str, key: &Arc<str>, expected: Option<&Arc<str>>| {
        let key = Arc::clone(key);
        let Some(held) = offered(here, "inspect", situation, |node| node.inspect(key)).await? else {
            return Ok(false);
        };
        let is_expected = held.as_ref().map(|Held { owner, .. }| owner) == expected;
        let words = |held: bool| if held { "its owner" } else { "nobody" };
        let came = match &held {
            Some(_) if expected.is_some() => "somebody else",
            held => words(held.is_some()),
        };
        if !is_expected {
            return Err(BrokenPromise::new("inspect", situation, words(expected.is_some()), came));
        }
        let remaining = held.and_then(|held| held.remaining).filter(|remaining| *remaining > LONG);
        remaining.map_or(Ok(true), |remaining| {
            let expected = format!("that it is held for {LONG:?} at most");
            Err(BrokenPromise::new("inspect", situation, expected, format!("{remaining:?}")))
        })
    };
    if !look("of a key that is not there", &key, None).await? {
        return Ok(false);
    }
    there.granted("of a free key", &key, &owner, LONG).await?;
    look("of a key that somebody has", &key, Some(&owner)).await?;
    there.release("of the owner's key", &key, &owner, Outcome::Done).await?;
    look("of a key that was released", &key, None).await?;
    let expired = trial.expired("inspected-expired", &owner).await?;
    look("of a key that has expired", &expired, None).await
}

pub(super) async fn keys_are_listed(trial: Trial) -> Result<bool, BrokenPromise> {
    let (owner, prefix) = (fresh_owner(), trial.key("list_"));
    let listed = async |situation: &str, expected: &[Arc<str>]| {
        let prefix = Arc::clone(&prefix);
        let Some(mut keys) = offered(&trial.here, "list", situation, |node| node.list(prefix)).await? else {
            return Ok(false);
        };
        keys.sort_unstable();
        let expected = expected.iter().map(ToString::to_string).collect();
        same("list", situation, expected, keys).map(|()| true)
    };
    if !listed("of a prefix that no key has", &[]).await? {
        return Ok(false);
    }
    trial.expired("list_expired", &owner).await?;
    let [one, other] = ["list_a", "list_b"].map(|name| trial.key(name));
    // What a pattern takes for the prefix.
    let alike = ["listxa", "LIST_a", "a-list_"].map(|name| trial.key(name));
    for key in [&one, &other].into_iter().chain(&alike) {
        trial.there.granted("of a free key", key, &owner, LONG).await?;
    }
    // The one that was set to see the other expire is somebody's now.
    let later = trial.key("list_expired-later");
    listed("of a prefix that three keys have, and one that has expired", &[one, other, later]).await?;
    Ok(true)
}

pub(super) async fn a_key_is_reset(trial: Trial) -> Result<bool, BrokenPromise> {
    let Trial { here, there, .. } = &trial;
    let (key, owner) = (trial.key("reset"), fresh_owner());
    let reset = async |situation: &str, key: &Arc<str>, expected: bool| {
        let key = Arc::clone(key);
        match offered(here, "reset", situation, |node| node.reset(key)).await? {
            Some(was_there) => same("reset", situation, expected, was_there).map(|()| true),
            None => Ok(false),
        }
    };
    if !reset("of a key that is not there", &key, false).await? {
        return Ok(false);
    }
    there.granted("of a free key", &key, &owner, LONG).await?;
    reset("of a key that somebody has", &key, true).await?;
    there.granted("of a key that was reset", &key, &fresh_owner(), LONG).await?;
    here.extend("of a key that was reset, and is somebody else's now", &key, &owner, LONG, Outcome::OtherOwner).await?;
    let expired = trial.expired("reset-expired", &owner).await?;
    reset("of a key that has expired", &expired, false).await
}
