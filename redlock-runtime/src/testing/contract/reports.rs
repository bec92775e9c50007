//! Reports of changes, of nodes that make some.

use std::sync::Arc;
use std::time::Duration;

use super::trial::{Told, Trial};
use super::{BrokenPromise, LONG};
use crate::node::Outcome;
use crate::platform::entropy::fresh_owner;

/// How long is waited for the first report: a node need not make any.
const FIRST: Duration = Duration::from_secs(2);

/// How long for those of a node that makes some.
const REPORT: Duration = Duration::from_secs(10);

/// Whether what another process changes is reported here.
pub(super) async fn changes_are_reported(trial: Trial, told: Arc<Told>) -> Result<bool, BrokenPromise> {
    let Trial { here, there, .. } = &trial;
    let (key, owner, next) = (trial.key("reported"), fresh_owner(), fresh_owner());
    let watched = "of a key that somebody has, to be watched";
    there.granted("of a free key", &key, &owner, LONG).await?;
    here.refused(watched, &key, &next, &owner).await?;
    told.forget();
    there.release("of the owner's key", &key, &owner, Outcome::Done).await?;
    if !told.hears_of(&key, FIRST).await {
        return Ok(false);
    }
    let missed = |situation| BrokenPromise::new("watch", situation, "a report", format!("none within {REPORT:?}"));

    there.granted("of a key that was released", &key, &owner, LONG).await?;
    here.refused(watched, &key, &next, &owner).await?;
    told.forget();
    there.keep("of the owner's key, to be kept", &key, &owner, (&next, LONG), Outcome::Done).await?;
    if !told.hears_of(&key, REPORT).await {
        return Err(missed("of a watched key that gets another owner"));
    }

    here.refused(watched, &key, &owner, &next).await?;
    told.forget();
    there.release("of a key that was given to the asker", &key, &next, Outcome::Done).await?;
    if !told.hears_of(&key, REPORT).await {
        return Err(missed("of a watched key that is released once more"));
    }
    Ok(true)
}
