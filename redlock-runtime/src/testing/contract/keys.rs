//! Keys, their owners and their ends.

use std::sync::Arc;
use std::time::Duration;

use super::trial::{Trial, in_time};
use super::{BrokenPromise, LONG};
use crate::node::Outcome;
use crate::platform::clock;
use crate::platform::entropy::fresh_owner;

type Kept = Result<(), BrokenPromise>;

/// What a key lives longer than if a longer TTL counts, and no longer if a shorter one does.
const MOMENT: Duration = Duration::from_millis(600);

pub(super) async fn a_free_key_is_granted_and_a_held_one_refused(trial: Trial) -> Kept {
    let Trial { here, there, .. } = &trial;
    let (key, owner, another) = (trial.key("held"), fresh_owner(), fresh_owner());
    here.granted("of a free key", &key, &owner, LONG).await?;
    for (client, situation) in [(here, "of a key that somebody has"), (there, "of a key that another process has")] {
        let remaining = client.refused(situation, &key, &another, &owner).await?;
        if let Some(remaining) = remaining.filter(|remaining| *remaining > LONG) {
            let expected = format!("that it is held for {LONG:?} at most");
            return Err(BrokenPromise::new("acquire", situation, expected, format!("{remaining:?}")));
        }
    }
    here.refused("of a key that the asker has already", &key, &owner, &owner).await?;
    here.release("of the owner's key", &key, &owner, Outcome::Done).await?;
    there.granted("of a key that was released", &key, &another, LONG).await?;
    here.refused("of a key that was released and acquired again", &key, &owner, &another).await?;
    there.release("of the owner's key, by another process", &key, &another, Outcome::Done).await
}

pub(super) async fn a_key_lives_for_its_ttl(trial: Trial) -> Kept {
    // No whole number of seconds, and more than one.
    let ttl = Duration::from_millis(1400);
    let (key, asked) = (trial.key("ends"), clock::now());
    trial.here.granted("of a free key", &key, &fresh_owner(), ttl).await?;
    trial.there.ends("acquire", "a key whose TTL was over", &key, asked + ttl).await
}

pub(super) async fn names_that_look_alike_are_other_keys(trial: Trial) -> Kept {
    // A name has up to 512 bytes.
    let long = "ü🔒".repeat(60);
    let names =
        ["name", "Name", "name ", "námé", "name'\"\\", "n%me", "n_me", "name\u{0301}", &long, &format!("{long}!")];
    let keys = names.map(|name| (trial.key(name), fresh_owner()));
    for (key, owner) in &keys {
        let situation = format!("of the free key {key:?}, beside names that look alike");
        trial.here.granted(&situation, key, owner, LONG).await?;
    }
    for (key, owner) in &keys {
        let situation = format!("of the owner's key {key:?}, beside names that look alike");
        trial.there.release(&situation, key, owner, Outcome::Done).await?;
    }
    Ok(())
}

pub(super) async fn extend_lengthens_and_never_shortens(trial: Trial) -> Kept {
    let Trial { here, there, .. } = &trial;
    let owner = fresh_owner();
    let lengthen = async |key: &Arc<str>| here.extend("of the owner's key", key, &owner, LONG, Outcome::Done).await;
    let (longer, end) = trial.before_it_ends("longer", &owner, lengthen).await?;
    let over = end + MOMENT;

    let shorter = trial.key("shorter");
    here.granted("of a free key", &shorter, &owner, LONG).await?;
    let asked = clock::now();
    there.extend("by a TTL that is shorter than what is left", &shorter, &owner, MOMENT, Outcome::Done).await?;
    there.stays("extend", "after its first TTL was over, extended by a longer one", &longer, &owner, over).await?;
    let over = asked + 2 * MOMENT;
    here.stays("extend", "by a TTL that is shorter than what is left", &shorter, &owner, over).await
}

pub(super) async fn extend_is_for_the_owner_of_a_key_that_is_there(trial: Trial) -> Kept {
    let Trial { here, there, .. } = &trial;
    let (owner, another) = (fresh_owner(), fresh_owner());
    let free = trial.key("extend-free");
    here.extend("of a key that is not there", &free, &owner, LONG, Outcome::NoKey).await?;
    there.granted("of a key that was extended and not there", &free, &another, LONG).await?;

    let extend =
        async |key: &Arc<str>| there.extend("of somebody else's key", key, &another, LONG, Outcome::OtherOwner).await;
    let (key, end) = trial.before_it_ends("extend-others", &owner, extend).await?;
    here.ends("extend", "of somebody else's key, whose TTL was over later", &key, end).await
}

pub(super) async fn release_is_for_the_owner_of_a_key_that_is_there(trial: Trial) -> Kept {
    let Trial { here, there, .. } = &trial;
    let (key, owner, another) = (trial.key("release"), fresh_owner(), fresh_owner());
    here.release("of a key that was never there", &key, &owner, Outcome::NoKey).await?;
    here.granted("of a free key", &key, &owner, LONG).await?;
    there.release("of somebody else's key", &key, &another, Outcome::OtherOwner).await?;
    there.stays("release", "of somebody else's key", &key, &owner, clock::now()).await?;
    there.release("of the owner's key, by another process", &key, &owner, Outcome::Done).await?;
    here.release("of a key that was released before", &key, &owner, Outcome::NoKey).await?;
    here.granted("of a key that was released", &key, &another, LONG).await?;
    here.release("of a key that was released before, and is somebody else's now", &key, &owner, Outcome::OtherOwner)
        .await?;
    here.stays("release", "of a key that is somebody else's now", &key, &another, clock::now()).await
}

pub(super) async fn an_expired_key_is_as_none(trial: Trial) -> Kept {
    let Trial { here, there, .. } = &trial;
    let (owner, another) = (fresh_owner(), fresh_owner());
    let extended = trial.expired("extend-expired", &owner).await?;
    here.extend("of a key that has expired", &extended, &owner, LONG, Outcome::NoKey).await?;
    there.granted("of a key that had expired and was extended", &extended, &another, LONG).await?;

    let released = trial.expired("release-expired", &owner).await?;
    here.release("of a key that has expired", &released, &owner, Outcome::NoKey).await?;
    let kept = trial.expired("keep-expired", &owner).await?;
    here.keep("of a key that has expired, to be kept", &kept, &owner, (&another, LONG), Outcome::NoKey).await?;
    there.granted("of a key that had expired and was to be kept", &kept, &fresh_owner(), LONG).await
}

/// Whoever compares texts as people do takes them for the owner.
pub(super) async fn owners_that_look_alike_are_others(trial: Trial) -> Kept {
    let Trial { here, there, .. } = &trial;
    let key = trial.key("alike");
    let owner: Arc<str> = format!("{}-a", fresh_owner()).into();
    here.granted("of a free key", &key, &owner, LONG).await?;
    let alike = [owner.to_uppercase(), format!("{owner} "), owner[..owner.len() - 1].to_owned(), "%".to_owned()];
    for (another, how) in alike.iter().zip(["in capitals", "with a blank behind", "without its end", "a pattern"]) {
        let another = Arc::from(another.as_str());
        let by = format!("by an owner that looks alike ({how})");
        here.extend(&by, &key, &another, LONG, Outcome::OtherOwner).await?;
        there.release(&by, &key, &another, Outcome::OtherOwner).await?;
    }
    here.release("of the owner's key", &key, &owner, Outcome::Done).await?;
    let longest = Arc::from("ö".repeat(50));
    here.granted("by an owner of a hundred bytes", &key, &longest, LONG).await?;
    there.release("by an owner of a hundred bytes", &key, &longest, Outcome::Done).await
}

pub(super) async fn a_release_that_keeps_gives_the_key_away(trial: Trial) -> Kept {
    let Trial { here, there, .. } = &trial;
    let (owner, next, another) = (fresh_owner(), fresh_owner(), fresh_owner());
    let free = trial.key("keep-free");
    here.keep("of a key that is not there, to be kept", &free, &owner, (&next, LONG), Outcome::NoKey).await?;
    there.granted("of a key that was to be kept, and not there", &free, &another, LONG).await?;
    let to = (&next, LONG);
    here.keep("of somebody else's key, to be kept", &free, &owner, to, Outcome::OtherOwner).await?;
    there.stays("release", "of somebody else's key, to be kept", &free, &another, clock::now()).await?;

    let given = trial.key("keep-given");
    here.granted("of a free key", &given, &owner, LONG).await?;
    here.keep("of the owner's key, to be kept", &given, &owner, to, Outcome::Done).await?;
    let situation = "of a key that was given to another owner, by the one before";
    here.extend(situation, &given, &owner, LONG, Outcome::OtherOwner).await?;
    here.extend("of a key that was given to the asker", &given, &next, LONG, Outcome::Done).await?;

    let keep = async |key: &Arc<str>| here.keep("of the owner's key, to be kept", key, &owner, to, Outcome::Done).await;
    let (longer, end) = trial.before_it_ends("keep-longer", &owner, keep).await?;
    let over = end + MOMENT;

    let shorter = trial.key("keep-shorter");
    here.granted("of a free key", &shorter, &owner, LONG).await?;
    let asked = clock::now();
    here.keep("of the owner's key, to be kept", &shorter, &owner, (&next, MOMENT), Outcome::Done).await?;
    there
        .ends("release", "of a key to be kept for a shorter time than it would live", &shorter, asked + MOMENT)
        .await?;
    there.stays("release", "of a key to be kept for a longer time than it would live", &longer, &next, over).await?;
    there.release("of a key that was given to the asker", &longer, &next, Outcome::Done).await
}

pub(super) async fn a_release_that_keeps_may_be_repeated(trial: Trial) -> Kept {
    let Trial { here, there, .. } = &trial;
    let (owner, next) = (fresh_owner(), fresh_owner());
    let again = "of a key that was given to this owner before, to be kept";
    let kept = in_time(async |number, ttl| {
        let key = trial.key(&format!("again-{number}"));
        here.granted("of a free key", &key, &owner, LONG).await?;
        let asked = clock::now();
        here.keep("of the owner's key, to be kept", &key, &owner, (&next, ttl), Outcome::Done).await?;
        here.keep(again, &key, &owner, (&next, LONG), Outcome::Done).await?;
        Ok((key, asked + ttl))
    });
    let (key, end) = kept.await?;
    there.ends("release", &format!("{again} for longer, which changes nothing"), &key, end).await
}
