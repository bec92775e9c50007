//! `check_node`: it finds nothing wrong with nodes that keep their promises, and every promise that a node breaks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use redlock_runtime::node::{
    Acquire, BoxFuture, Changes, Commit, Extend, Held, Identity, Node, NodeError, Outcome, Release, Vote,
};
use redlock_runtime::testing::check_node;
use redlock_tests::{RedisServer, clock};

use crate::common::foreign::Other;

/// What a node does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    GrantsWhatIsHeld,
    LooksAndThenSets,
    NamesTheAskerAsTheHolder,
    GrantsItsHolderAgain,
    NeverEnds,
    EndsInWholeSeconds,
    ExtendsWhatItRefuses,
    TellsMoreThanIsLeft,
    FoldsCase,
    CutsNames,
    ExtendsForAnybody,
    ExtendCreates,
    ExtendRevives,
    ExtendDoesNothing,
    ExtendShortens,
    ExtendTakesExpiredForOthers,
    ReleasesForAnybody,
    ReleaseDoesNothing,
    ReleaseOfNothingIsAnError,
    KeepDeletes,
    KeepLeavesTheTtl,
    KeepCreates,
    KeepIsNotRepeatable,
    KeepAgainLengthens,
    ComparesOwnersWithoutCase,
    PutsOneOffWithNoAnswer,
    Panics,
    CarriesOutWhatWasDropped,
    BreaksWhenDropped,
    CounterEndsWithItsKey,
    CounterStands,
    CounterGrowsOnRefusal,
    CounterIsAFloat,
    CounterIgnoresTheLeast,
    CounterBeginsUnasked,
    CommitsForAnybody,
    CommitLowers,
    AgeInTheWrongUnit,
    IdentityOfTheConnection,
    ShowsItsPassword,
    ForgetsToReportTheNextOwner,
    InspectsWhatHasExpired,
    ListsByPattern,
    ResetSaysYes,
}

use Flaw::*;

/// Each flaw, and what the line about it says: the method first.
const FOUND: [(Flaw, &str); 44] = [
    (
        GrantsWhatIsHeld,
        "acquire: of a key that somebody has: expected a refusal that names the owner who has it, got a grant",
    ),
    (LooksAndThenSets, "acquire: by many at once, of a free key: expected one grant, got 12 of 12"),
    (
        NamesTheAskerAsTheHolder,
        "acquire: of a key that somebody has: expected a refusal that names the owner who has it, got a refusal that names somebody else",
    ),
    (
        GrantsItsHolderAgain,
        "acquire: of a key that the asker has already: expected a refusal that names the owner who has it, got a grant",
    ),
    (NeverEnds, "acquire: a key whose TTL was over: expected a grant to another owner, got refusals for 5s"),
    (
        EndsInWholeSeconds,
        "acquire: a key whose TTL was over: expected that it lives for its TTL, got a grant to another owner ",
    ),
    (ExtendsWhatItRefuses, "acquire: a key whose TTL was over: expected a grant to another owner, got refusals for 5s"),
    (TellsMoreThanIsLeft, "acquire: of a key that somebody has: expected that it is held for 60s at most, got "),
    (FoldsCase, "-Name\", beside names that look alike: expected a grant, got a refusal"),
    (CutsNames, "!\", beside names that look alike: expected a grant, got a refusal"),
    (ExtendsForAnybody, "extend: of somebody else's key: expected OtherOwner, got Done"),
    (ExtendCreates, "extend: of a key that is not there: expected NoKey, got Done"),
    (ExtendRevives, "extend: of a key that has expired: expected NoKey, got Done"),
    (
        ExtendDoesNothing,
        "extend: after its first TTL was over, extended by a longer one: expected that the key is still its owner's, got a grant",
    ),
    (
        ExtendShortens,
        "extend: by a TTL that is shorter than what is left: expected that the key is still its owner's, got a grant",
    ),
    (ExtendTakesExpiredForOthers, "extend: of a key that has expired: expected NoKey, got OtherOwner"),
    (ReleasesForAnybody, "release: of somebody else's key: expected OtherOwner, got Done"),
    (ReleaseDoesNothing, "acquire: of a key that was released: expected a grant, got a refusal"),
    (
        ReleaseOfNothingIsAnError,
        "release: of a key that was never there: expected NoKey, got an error: there is no such key",
    ),
    (
        KeepDeletes,
        "extend: of a key that was given to another owner, by the one before: expected OtherOwner, got NoKey",
    ),
    (
        KeepLeavesTheTtl,
        "release: of a key to be kept for a shorter time than it would live: expected a grant to another owner, got refusals for 5s",
    ),
    (KeepCreates, "release: of a key that is not there, to be kept: expected NoKey, got Done"),
    (
        KeepIsNotRepeatable,
        "release: of a key that was given to this owner before, to be kept: expected Done, got OtherOwner",
    ),
    (KeepAgainLengthens, "for longer, which changes nothing: expected a grant to another owner, got refusals for 5s"),
    (ComparesOwnersWithoutCase, "extend: by an owner that looks alike (in capitals): expected OtherOwner, got Done"),
    (PutsOneOffWithNoAnswer, "release: of the owner's key: expected Done, got no answer within 10s"),
    (Panics, "extend: of the owner's key: expected Done, got a panic"),
    (
        CarriesOutWhatWasDropped,
        "acquire: that was dropped, and then released: expected that nothing is left of it, got that the key is its owner's",
    ),
    (
        BreaksWhenDropped,
        "acquire: of a free key, after requests that were dropped: expected a grant, got an error: the connection is in the middle of something",
    ),
    (CounterEndsWithItsKey, "acquire: of a key whose counter is 5: its counter: expected Some(6), got Some(1)"),
    (CounterStands, "acquire: of a key whose counter is 5: its counter: expected Some(6), got Some(5)"),
    (CounterGrowsOnRefusal, "which a refusal leaves as it is: its counter: expected Some(6), got Some("),
    (CounterIsAFloat, "wants more: its counter: expected Some("),
    (CounterIgnoresTheLeast, "by a rule that wants 40 at least: its counter: expected Some(40), got Some(7)"),
    (
        CounterBeginsUnasked,
        "acquire: of a key without a counter, by a rule that begins none: its counter: expected None, got Some(7)",
    ),
    (CommitsForAnybody, "commit: for somebody else's key: expected None, got Some("),
    (
        CommitLowers,
        "commit: for the owner's key, with a token that is smaller than its counter: expected Some(9), got Some(4)",
    ),
    (AgeInTheWrongUnit, "identity: its age, "),
    (IdentityOfTheConnection, "identity: of two nodes of one store: its run_id: expected "),
    (ShowsItsPassword, "label: of the node: expected a name without credentials, got a URL with a password"),
    (
        ForgetsToReportTheNextOwner,
        "watch: of a watched key that gets another owner: expected a report, got none within ",
    ),
    (InspectsWhatHasExpired, "inspect: of a key that has expired: expected nobody, got its owner"),
    (ListsByPattern, "list: of a prefix that three keys have, and one that has expired: expected ["),
    (ResetSaysYes, "reset: of a key that is not there: expected false, got true"),
];

/// The keys of a store.
#[derive(Default)]
struct Store {
    held: HashMap<String, (Arc<str>, Instant)>,
    counters: HashMap<String, u64>,
    watched: HashMap<String, Vec<Changes>>,
    nodes: usize,
    is_in_the_middle: bool,
    /// Acquires whose requests were dropped, and which come behind their releases.
    late: HashMap<String, Acquire>,
    /// How many have looked at a key.
    looks: HashMap<String, usize>,
}

/// A node on such a store, that may do something wrong.
struct Flawed {
    store: Arc<Mutex<Store>>,
    flaw: Option<Flaw>,
    number: usize,
    began: Instant,
    changes: Mutex<Option<Changes>>,
}

impl Flawed {
    fn on(store: &Arc<Mutex<Store>>, flaw: Option<Flaw>) -> Self {
        let number = {
            let mut store = store.lock().unwrap();
            store.nodes += 1;
            store.nodes
        };
        Self { store: Arc::clone(store), flaw, number, began: clock::now(), changes: Mutex::default() }
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// Waits until all who ask for this key at once have looked whether it is free.
    async fn all_have_looked(&self, key: &str) {
        *self.store.lock().unwrap().looks.entry(key.to_owned()).or_default() += 1;
        let is_of_crowd = key.contains("-crowd-") && !key.contains("expired");
        let together = if is_of_crowd { 12 } else { 1 };
        while self.store.lock().unwrap().looks[key] < together {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// What a key is called here.
    fn name(&self, key: &str) -> String {
        match self.flaw {
            Some(FoldsCase) => key.to_lowercase(),
            Some(CutsNames) => key.chars().take(190).collect(),
            _ => key.to_owned(),
        }
    }

    fn is_owner(&self, one: &str, other: &str) -> bool {
        one == other || self.has(ComparesOwnersWithoutCase) && one.eq_ignore_ascii_case(other)
    }

    /// Whose a key is, and whether it is that of the asker.
    fn whose(&self, store: &Store, key: &str, owner: &str) -> Outcome {
        let is_over = |end: Instant| end <= clock::now() && !self.has(ExtendRevives);
        match store.held.get(key) {
            Some((_, end)) if is_over(*end) && self.has(ExtendTakesExpiredForOthers) => Outcome::OtherOwner,
            Some((holder, end)) if !is_over(*end) && self.is_owner(holder, owner) => Outcome::Done,
            Some((_, end)) if !is_over(*end) => Outcome::OtherOwner,
            _ => Outcome::NoKey,
        }
    }

    fn report(store: &mut Store, key: &str) {
        for changes in store.watched.remove(key).into_iter().flatten() {
            changes.key(key);
        }
    }

    fn try_acquire(&self, acquire: &Acquire, key: &str) -> Vote {
        let mut store = self.store.lock().unwrap();
        let now = clock::now();
        let ttl = if self.has(EndsInWholeSeconds) { Duration::from_secs(acquire.ttl.as_secs()) } else { acquire.ttl };
        let ttl = if self.has(NeverEnds) { Duration::from_secs(3600) } else { ttl };
        let held = store.held.get_mut(key).filter(|(_, end)| *end > now && !self.has(GrantsWhatIsHeld));
        if let Some((holder, end)) = held
            && !(self.has(GrantsItsHolderAgain) && *holder == acquire.owner)
        {
            if self.has(ExtendsWhatItRefuses) {
                *end = now + ttl;
            }
            let left = if self.has(TellsMoreThanIsLeft) { Duration::from_secs(3600) } else { *end - now };
            let holder =
                if self.has(NamesTheAskerAsTheHolder) { Arc::clone(&acquire.owner) } else { Arc::clone(holder) };
            if let (true, Some(changes)) = (acquire.is_watched, &*self.changes.lock().unwrap()) {
                store.watched.entry(key.to_owned()).or_default().push(changes.clone());
            }
            if self.has(CounterGrowsOnRefusal)
                && let Some(counter) = store.counters.get_mut(key)
            {
                *counter += 1;
            }
            return Vote::held_by(holder, Some(left)).with_counter(store.counters.get(key).copied());
        }
        store.held.insert(key.to_owned(), (Arc::clone(&acquire.owner), now + ttl));
        if let Some(rule) = acquire.counter {
            let raised = store.counters.get(key).map(|counter| match self.flaw {
                Some(CounterStands) => rule.least.max(*counter),
                Some(CounterIgnoresTheLeast) => counter + 1,
                _ => rule.least.max(counter + 1),
            });
            let first = if self.has(CounterBeginsUnasked) { rule.first.or(Some(rule.least)) } else { rule.first };
            let counter = raised.or(first);
            #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
            let counter =
                counter.map(|counter| if self.has(CounterIsAFloat) { counter as f32 as u64 } else { counter });
            store.counters.extend(counter.map(|counter| (key.to_owned(), counter)));
        }
        Vote::granted().with_counter(store.counters.get(key).copied())
    }

    fn try_extend(&self, extend: &Extend, key: &str) -> Outcome {
        let mut store = self.store.lock().unwrap();
        let outcome = match self.whose(&store, key, &extend.owner) {
            Outcome::OtherOwner if self.has(ExtendsForAnybody) => Outcome::Done,
            Outcome::NoKey if self.has(ExtendCreates) => {
                store.held.insert(key.to_owned(), (Arc::clone(&extend.owner), clock::now() + extend.ttl));
                Outcome::Done
            }
            outcome => outcome,
        };
        if outcome == Outcome::Done && !self.has(ExtendDoesNothing) {
            let (_, end) = store.held.get_mut(key).unwrap();
            let wanted = clock::now() + extend.ttl;
            *end = if self.has(ExtendShortens) { wanted } else { wanted.max(*end) };
        }
        outcome
    }

    fn try_release(&self, release: &Release, key: &str) -> Result<Outcome, NodeError> {
        let mut store = self.store.lock().unwrap();
        let (now, owner) = (clock::now(), &release.owner);
        if let Some(keep) = &release.keep
            && self.whose(&store, key, &keep.owner) == Outcome::Done
            && !self.has(KeepIsNotRepeatable)
        {
            if self.has(KeepAgainLengthens) {
                store.held.get_mut(key).unwrap().1 = now + keep.ttl;
            }
            return Ok(Outcome::Done);
        }
        let outcome = match self.whose(&store, key, owner) {
            Outcome::OtherOwner if self.has(ReleasesForAnybody) => Outcome::Done,
            Outcome::NoKey if self.has(KeepCreates) && release.keep.is_some() => Outcome::Done,
            Outcome::NoKey if self.has(ReleaseOfNothingIsAnError) => {
                return Err(NodeError::answered("there is no such key"));
            }
            outcome => outcome,
        };
        if outcome == Outcome::Done && !self.has(ReleaseDoesNothing) {
            match &release.keep {
                Some(keep) if !self.has(KeepDeletes) => {
                    let end = store.held.get(key).filter(|_| self.has(KeepLeavesTheTtl)).map(|(_, end)| *end);
                    let end = end.unwrap_or(now + keep.ttl);
                    store.held.insert(key.to_owned(), (Arc::clone(&keep.owner), end));
                    if !self.has(ForgetsToReportTheNextOwner) {
                        Self::report(&mut store, key);
                    }
                }
                _ => {
                    store.held.remove(key);
                    Self::report(&mut store, key);
                }
            }
            if self.has(CounterEndsWithItsKey) {
                store.counters.remove(key);
            }
        }
        Ok(outcome)
    }
}

/// Says that somebody is in the middle of something, until it is over; for ever, if it is dropped before.
async fn in_the_middle(store: &Mutex<Store>) -> Result<(), NodeError> {
    if std::mem::replace(&mut store.lock().unwrap().is_in_the_middle, true) {
        return Err(NodeError::answered("the connection is in the middle of something"));
    }
    tokio::task::yield_now().await;
    store.lock().unwrap().is_in_the_middle = false;
    Ok(())
}

impl Node for Flawed {
    fn label(&self) -> &str {
        if self.has(ShowsItsPassword) { "store://user:secret@host" } else { "flawed" }
    }

    fn acquire(&self, acquire: Acquire) -> BoxFuture<'_, Result<Vote, NodeError>> {
        Box::pin(async move {
            let key = self.name(&acquire.key);
            match self.flaw {
                Some(LooksAndThenSets) => {
                    let is_free = !self.store.lock().unwrap().held.contains_key(&key);
                    self.all_have_looked(&key).await;
                    if is_free {
                        self.store.lock().unwrap().held.remove(&key);
                    }
                }
                Some(CarriesOutWhatWasDropped) => {
                    let late = |store: &Mutex<Store>| store.lock().unwrap().late.remove(&key);
                    self.store.lock().unwrap().late.insert(key.clone(), acquire);
                    tokio::task::yield_now().await;
                    let acquire = late(&self.store).expect("it was not released meanwhile");
                    return Ok(self.try_acquire(&acquire, &key));
                }
                // Only those of requests that are dropped: otherwise it is in nobody's way.
                Some(BreaksWhenDropped) if key.contains("dropped") => in_the_middle(&self.store).await?,
                _ => {}
            }
            Ok(self.try_acquire(&acquire, &key))
        })
    }

    fn extend(&self, extend: Extend) -> BoxFuture<'_, Result<Outcome, NodeError>> {
        assert!(!self.has(Panics), "it panics");
        Box::pin(async move { Ok(self.try_extend(&extend, &self.name(&extend.key))) })
    }

    fn release(&self, release: Release) -> BoxFuture<'_, Result<Outcome, NodeError>> {
        Box::pin(async move {
            if self.has(PutsOneOffWithNoAnswer) {
                std::future::pending::<()>().await;
            }
            let key = self.name(&release.key);
            let released = self.try_release(&release, &key);
            // On another connection, and so behind it.
            let late = self.store.lock().unwrap().late.remove(&key);
            if let Some(acquire) = late {
                let _ = self.try_acquire(&acquire, &key);
            }
            released
        })
    }

    fn has_counters(&self) -> bool {
        true
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Option<u64>, NodeError>> {
        Box::pin(async move {
            let key = self.name(&commit.key);
            let mut store = self.store.lock().unwrap();
            let whose = self.whose(&store, &key, &commit.owner);
            let is_owner = whose == Outcome::Done || whose == Outcome::OtherOwner && self.has(CommitsForAnybody);
            Ok(is_owner.then(|| {
                let counter = store.counters.entry(key).or_default();
                *counter = if self.has(CommitLowers) { commit.token } else { commit.token.max(*counter) };
                *counter
            }))
        })
    }

    fn identity(&self) -> Option<Identity> {
        let run_id = if self.has(IdentityOfTheConnection) { self.number.to_string() } else { "run".to_owned() };
        let ran = self.began.elapsed();
        Some(Identity::new(run_id, if self.has(AgeInTheWrongUnit) { ran * 1000 } else { ran }))
    }

    fn watch(&self, changes: Changes) {
        *self.changes.lock().unwrap() = Some(changes);
    }

    fn inspect(&self, key: Arc<str>) -> BoxFuture<'_, Result<Option<Held>, NodeError>> {
        Box::pin(async move {
            let store = self.store.lock().unwrap();
            let now = clock::now();
            let held = store.held.get(&*key).filter(|(_, end)| *end > now || self.has(InspectsWhatHasExpired));
            Ok(held.map(|(owner, end)| Held::new(Arc::clone(owner), Some(end.saturating_duration_since(now)))))
        })
    }

    fn list(&self, prefix: Arc<str>) -> BoxFuture<'_, Result<Vec<String>, NodeError>> {
        Box::pin(async move {
            let store = self.store.lock().unwrap();
            let live = store.held.iter().filter(|(_, (_, end))| *end > clock::now()).map(|(key, _)| key);
            let begins = |key: &String| {
                key.starts_with(&*prefix) || self.has(ListsByPattern) && key.starts_with(prefix.trim_end_matches('_'))
            };
            Ok(live.filter(|key| begins(key)).cloned().collect())
        })
    }

    fn reset(&self, key: Arc<str>) -> BoxFuture<'_, Result<bool, NodeError>> {
        Box::pin(async move {
            let mut store = self.store.lock().unwrap();
            let removed = store.held.remove(&*key).is_some_and(|(_, end)| end > clock::now());
            Self::report(&mut store, &key);
            Ok(removed || self.has(ResetSaysYes))
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_keeps_its_promises_is_told_what_it_offers() {
    let store = Arc::<Mutex<Store>>::default();
    let report = check_node(async || Flawed::on(&store, None)).await.unwrap();
    assert!(report.has_counters && report.reports_changes, "{report:?}");
    assert!(report.inspects && report.lists && report.resets, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_over_a_server_keeps_its_promises_and_offers_less() {
    let server = RedisServer::start();
    let report = check_node(async || Other::to(&server).await.0).await.unwrap();
    assert!(report.has_counters && !report.reports_changes, "{report:?}");
    assert!(!report.inspects && !report.lists && !report.resets, "{report:?}");
}

/// Nothing is only found because a node has another flaw: each has one alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_promise_that_a_node_breaks_is_told_in_one_line() {
    let checked = FOUND.map(|(flaw, line)| async move {
        let store = Arc::<Mutex<Store>>::default();
        (flaw, line, check_node(async || Flawed::on(&store, Some(flaw))).await)
    });
    let mut missing = Vec::new();
    for (flaw, line, checked) in futures::future::join_all(checked).await {
        match checked {
            Ok(_) => missing.push(format!("{flaw:?}: nothing was found; {line} was expected")),
            Err(broken) => {
                let lines = broken.promises().iter().map(ToString::to_string);
                if !lines.into_iter().any(|found| found.contains(line)) {
                    missing.push(format!("{flaw:?}: {line} was expected among {broken}"));
                }
                assert_eq!(format!("{broken:?}").lines().count(), 1 + broken.promises().len());
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n\n"));
}
