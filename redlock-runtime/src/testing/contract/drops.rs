//! Requests whose future is dropped before it has ended.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::sleep;

use super::trial::{Client, Trial};
use super::{BrokenPromise, LONG};
use crate::node::{Acquire, BoxFuture, Extend, Node, NodeError, Outcome, Release};
use crate::platform::entropy::fresh_owner;
use crate::platform::{clock, tasks};

/// So often at most a request is polled before it is dropped.
const POLLS: usize = 6;

/// How long a key lives whose request is dropped.
const TTL: Duration = Duration::from_millis(400);

pub(super) async fn a_dropped_request_harms_nothing(trial: Trial) -> Result<(), BrokenPromise> {
    let Trial { here, there, .. } = &trial;
    let owner = fresh_owner();
    let held = trial.key("dropped-held");
    here.granted("of a free key", &held, &owner, LONG).await?;
    for polls in 1..=POLLS {
        let acquire = acquire(&trial.key(&format!("dropped-{polls}")), &owner, TTL);
        let extend = Extend { key: Arc::clone(&held), owner: Arc::clone(&owner), ttl: LONG };
        let release = Release { key: trial.key("dropped-free"), owner: Arc::clone(&owner), keep: None };
        drop_after(here, polls, "acquire", |node| node.acquire(acquire)).await?;
        drop_after(here, polls, "extend", |node| node.extend(extend)).await?;
        drop_after(here, polls, "release", |node| node.release(release)).await?;
    }
    let dropped = clock::now();
    let (key, another) = (trial.key("after-dropped"), fresh_owner());
    here.granted("of a free key, after requests that were dropped", &key, &another, LONG).await?;
    there.refused("of a held key, after requests that were dropped", &key, &owner, &another).await?;
    here.extend("of the owner's key, after requests that were dropped", &key, &another, LONG, Outcome::Done).await?;
    here.release("of the owner's key, after requests that were dropped", &key, &another, Outcome::Done).await?;
    here.release("of a key whose extensions were dropped", &held, &owner, Outcome::Done).await?;
    for polls in 1..=POLLS {
        let key = trial.key(&format!("dropped-{polls}"));
        let situation = "of a key whose request was dropped, and whose TTL was over";
        there.ends_by("acquire", situation, &key, dropped + TTL).await?;
    }
    Ok(())
}

pub(super) async fn a_dropped_acquire_is_released(trial: Trial) -> Result<(), BrokenPromise> {
    let expected = "that nothing is left of it";
    for polls in 1..=POLLS {
        let (key, owner) = (trial.key(&format!("undone-{polls}")), fresh_owner());
        let ask = acquire(&key, &owner, LONG);
        drop_after(&trial.here, polls, "acquire", |node| node.acquire(ask)).await?;
        let release = Release { key: Arc::clone(&key), owner: Arc::clone(&owner), keep: None };
        let situation = "by the owner of an acquire that was dropped";
        let (Outcome::Done | Outcome::NoKey | Outcome::OtherOwner) =
            trial.here.ask("release", situation, "Done or NoKey", |node| node.release(release)).await?;
        // What was on its way has come by then.
        sleep(Duration::from_millis(50)).await;
        let vote = trial.there.vote("of that key by another", expected, &key, &fresh_owner(), LONG, None).await?;
        if vote.held.is_some() {
            let came = "that the key is its owner's: the acquire was carried out after its release";
            return Err(BrokenPromise::new("acquire", "that was dropped, and then released", expected, came));
        }
    }
    Ok(())
}

fn acquire(key: &Arc<str>, owner: &Arc<str>, ttl: Duration) -> Acquire {
    Acquire { key: Arc::clone(key), owner: Arc::clone(owner), ttl, is_watched: false, counter: None }
}

/// Polls a request so often at most, and drops it.
async fn drop_after<T: 'static>(
    client: &Client,
    polls: usize,
    method: &'static str,
    question: impl for<'a> FnOnce(&'a dyn Node) -> BoxFuture<'a, Result<T, NodeError>> + Send + 'static,
) -> Result<(), BrokenPromise> {
    let node = Arc::clone(&client.0);
    let dropped = tasks::spawn(async move {
        let mut request = question(&*node);
        for _ in 0..polls {
            let is_over = poll_fn(|context| Poll::Ready(request.as_mut().poll(context).is_ready())).await;
            if is_over {
                break;
            }
            sleep(Duration::from_micros(300)).await;
        }
    });
    let situation = format!("whose future is dropped after {polls} polls");
    dropped.await.map_err(|_| BrokenPromise::new(method, situation, "that it can be dropped", "a panic"))
}
