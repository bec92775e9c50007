use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use super::{At, AtSet, NodeSet, Quorum, Verdict};

/// How the nodes are asked for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskOrder {
    /// All at once: one round trip.
    AllAtOnce,
    /// One, the same for everybody who wants this lock, and the others only if it grants: of many who ask at the same
    /// time, all but one lose a single command, and none of them leaves another without a majority.
    OneFirst {
        /// None of these, if others can be reached: what is there is not the lock's.
        except: NodeSet,
    },
}

/// What the first in line does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// Ask the nodes.
    Ask(AskOrder),
    /// Wait for news, until this moment at the latest.
    WaitUntil(Instant),
}

/// Somebody else's key, as a node told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OthersKey {
    /// A hash of the owner's value, if the node told that, and of the fencing counter, if it told one.
    pub owner: Option<u64>,
    /// When the key expires, if the node told that.
    pub expires: Option<Instant>,
}

/// The precision with which Redis expires keys. One of which nothing is left, in whole milliseconds, has up to so much.
///
/// It is not added to what is left of others: timers are late by about as much, and to ask once too often costs less.
const EXPIRY_PRECISION: Duration = Duration::from_millis(1);

impl OthersKey {
    /// What a node told of a key at `now`: the owner's value, or enough of it to tell it from others, the fencing counter, and what is left.
    ///
    /// Of several keys the one that is told of may be the same owner's as before, while another was somebody's in between: then that is no
    /// report in vain, and the counter is greater.
    pub fn told(
        owner: Option<&str>,
        counter: Option<u64>,
        remaining: Option<Duration>,
        now: impl FnOnce() -> Instant,
    ) -> Self {
        // A moment that there is not is as good as none.
        let expires = remaining.and_then(|remaining| now().checked_add(remaining.max(EXPIRY_PRECISION)));
        Self { owner: owner.map(|owner| hash_of(owner, counter)), expires }
    }
}

/// Tells one owner's value, and what was counted by then, from another's.
fn hash_of(owner: &str, counter: Option<u64>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (owner, counter).hash(&mut hasher);
    hasher.finish()
}

/// What an attempt that was not won tells about one key of the lock on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeObservation {
    /// It was granted there, and given back.
    GivenBack,
    /// Somebody else's key is there.
    Held(OthersKey),
    /// It did not say.
    Unknown,
}

/// What the first in line believes about the nodes, and so when and how it asks again.
///
/// It asks when the key is believed to be gone from a majority: because the node reported a change, because the time is
/// over that it gave the key, or because it was this caller's own grant that was given back. First all at once; once
/// such an attempt has failed, one node first. In between a slow poll asks all: it is the net under
/// reports that do not come.
///
/// A change that is reported while an attempt is under way counts as later than the answer: at worst one attempt is made
/// in vain, while the other way round a waiter would sleep beside a free lock.
///
/// Of a lock that has several keys, each of which is enough, it asks when any of them is believed to be gone from a majority.
#[derive(Clone, Debug)]
pub struct WaitPlan {
    /// What a majority is.
    quorum: Quorum,
    /// Where the key is believed to be gone.
    free: AtSet,
    /// When it expires, on nodes that said so; or when it is believed to be gone, on nodes that have said so in vain.
    expiries: Vec<(At, Instant)>,
    /// Whether an attempt failed although a majority was believed to be free.
    has_lost_race: bool,
    /// The node that refused when it was asked first: nothing can be had before it is free, or all are asked.
    waits_for: Option<WaitsFor>,
    /// Nodes that have another key than a majority.
    strays: NodeSet,
    /// How often in a row all were asked instead of the node that refused, which had told the truth.
    impatient_in_vain: u32,
    /// Nothing is asked before this moment, whatever is believed.
    not_before: Option<Instant>,
    /// Whether that is so that another process may have the lock: nothing was asked since.
    stands_back: bool,
    /// All are asked at this moment, whatever is believed.
    poll_at: Instant,
    /// How far each node's reports can be relied on, of those that told of a key.
    witnesses: Vec<Witness>,
    /// As of which moment the first in line was told what to do.
    told: Option<Instant>,
}

/// Waiting for the node that refused when it was asked first.
///
/// What it has may be nobody's any more: left there by a process that died, or whose release does not come through. Of the others it was
/// heard before that the lock is free there, and they report nothing more unless they are asked again. So it is waited for with
/// patience for a part of the slow poll, longer each time that all were asked in vain.
#[derive(Clone, Copy, Debug)]
struct WaitsFor {
    node: usize,
    /// Then all are asked, if a majority is believed to be free.
    until: Instant,
}

impl WaitsFor {
    /// The first patience as a part of the slow poll; from the fourth time in vain on it is the whole.
    const PART: u32 = 16;

    fn new(node: usize, (now, poll_at): (Instant, Instant), in_vain: u32) -> Self {
        let slow_poll = poll_at.saturating_duration_since(now);
        let patience = (slow_poll / Self::PART).saturating_mul(2_u32.saturating_pow(in_vain)).min(slow_poll);
        Self { node, until: now + patience }
    }
}

/// A node that tells of changes, also of some that were none.
///
/// A server forgets which keys it watches for whom when they are too many (`tracking-table-max-keys`), and reports a change of each
/// that it forgets. Where more names are waited for than it can watch, each question about one has it forget another: believed at
/// once, such reports have all ask again for ever. So each that turns out to be in vain is believed later than the one before.
#[derive(Clone, Copy, Debug)]
struct Witness {
    at: At,
    /// The key that it told of last.
    sighting: OthersKey,
    /// When it told.
    asked: Instant,
    /// Whether it has reported a change since.
    has_reported: bool,
    /// How many reports in a row were in vain.
    in_vain: u32,
}

impl Witness {
    /// What was reported in vain once is believed this long after the node was asked last; twice as long each further time.
    const PAUSE: Duration = Duration::from_millis(10);

    /// Above the longest slow poll, which then is all that is left.
    const MOST: u32 = 9;

    /// The key may be another one's by now.
    fn report(&mut self) {
        self.has_reported = true;
    }

    /// From when on a report that comes now is believed; `None`: at once.
    fn believed_at(&self) -> Option<Instant> {
        let pauses = self.in_vain.checked_sub(1)?;
        let moment = self.asked + Self::PAUSE * 2_u32.pow(pauses);
        Some(self.sighting.expires.map_or(moment, |expires| expires.min(moment)))
    }

    /// Takes in what the node tells now. A key that was renewed has changed, but its owner has not: that says nothing.
    fn see(&mut self, sighting: OthersKey, now: Instant) {
        let is_same_owner = sighting.owner.is_some() && sighting.owner == self.sighting.owner;
        if !is_same_owner {
            self.in_vain = 0;
        } else if !self.has_reported {
            self.in_vain = self.in_vain.saturating_sub(1);
        } else if !is_renewed(self.sighting.expires, sighting.expires, now) {
            self.in_vain = (self.in_vain + 1).min(Self::MOST);
        }
        *self = Self { sighting, asked: now, has_reported: false, ..*self };
    }
}

/// Whether a key lives longer than was told before. What is left is told in milliseconds, and the answer takes a while.
fn is_renewed(before: Option<Instant>, after: Option<Instant>, now: Instant) -> bool {
    match (before, after) {
        (Some(before), Some(after)) => {
            // Much less than a third of the TTL, by which a renewal puts it off.
            let tolerance = (after.saturating_duration_since(now) / 8).min(Duration::from_millis(50));
            after > before + tolerance
        }
        (None, Some(_)) | (Some(_), None) => true,
        (None, None) => false,
    }
}

impl WaitPlan {
    /// Nothing is known; all nodes are asked at `poll_at`.
    #[must_use]
    pub fn unknown(quorum: Quorum, poll_at: Instant) -> Self {
        Self {
            quorum,
            free: AtSet::default(),
            expiries: Vec::new(),
            has_lost_race: false,
            waits_for: None,
            strays: NodeSet::default(),
            impatient_in_vain: 0,
            not_before: None,
            stands_back: false,
            poll_at,
            witnesses: Vec::new(),
            told: None,
        }
    }

    /// Asks nothing before `moment`, and all nodes then.
    #[must_use]
    pub fn stand_back(quorum: Quorum, moment: Instant) -> Self {
        Self { not_before: Some(moment), stands_back: true, ..Self::unknown(quorum, moment) }
    }

    /// The node reported a change of the key, or cannot have reported one for a while.
    pub fn changed(&mut self, at: impl Into<At>) {
        let at = at.into();
        let was_free = self.free.of(at.part).contains(at.node);
        self.forget(at);
        self.strays.remove(at.node);
        let witness = self.witnesses.iter_mut().find(|witness| witness.at == at);
        let believed_at = witness.and_then(|witness| {
            witness.report();
            // Whatever the reports of this node are worth, this one is not why it is believed.
            witness.believed_at().filter(|_| !was_free)
        });
        match believed_at {
            Some(moment) => self.expiries.push((at, moment)),
            None => self.free.insert(at),
        }
    }

    /// An attempt that began when this was believed was not won.
    ///
    /// `seen` are the nodes that were asked; `poll_at` the next slow poll; `pause` is waited where asking again at once
    /// would only repeat the same: after a split vote, and while too few nodes can be reached.
    pub fn failed(
        &mut self,
        (verdict, ask_order): (Verdict, AskOrder),
        seen: impl IntoIterator<Item = (impl Into<At>, NodeObservation)>,
        now: Instant,
        poll_at: Instant,
        pause: Duration,
    ) {
        let was_believed_free = self.free_at(now).is_some_and(|moment| moment <= now);
        let impatient = self.impatient(now).filter(|_| ask_order == AskOrder::AllAtOnce);
        let mut refused_by = None;
        let mut silent = NodeSet::first(self.quorum.nodes());
        for (at, seen) in seen {
            let at = at.into();
            silent.remove(at.node);
            self.forget(at);
            match seen {
                NodeObservation::GivenBack => {
                    self.witnesses.retain(|witness| witness.at != at);
                    self.free.insert(at);
                }
                NodeObservation::Held(sighting) => {
                    self.see(at, sighting, now);
                    self.expiries.extend(sighting.expires.map(|moment| (at, moment)));
                    refused_by.get_or_insert(at.node);
                }
                NodeObservation::Unknown => {}
            }
        }
        if verdict == Verdict::Split && self.free.parts() == 1 {
            // All were asked. Who has not answered yet may grant it: then that is given back, and no change of it is reported to this caller.
            for at in silent.iter().map(At::from) {
                self.forget(at);
                self.free.insert(at);
            }
        }
        if ask_order == AskOrder::AllAtOnce {
            self.look_for_strays(impatient);
        }
        // If the one that was asked first granted it, or did not vote, the others were asked as well: that one need not be waited for, nor
        // any other more than the rest.
        let was_refused_first = ask_order != AskOrder::AllAtOnce && silent.len() + 1 == self.quorum.nodes();
        let waits_for = refused_by.filter(|node| was_refused_first && !self.is_free_on(*node));
        self.waits_for = waits_for.map(|node| WaitsFor::new(node, (now, poll_at), self.impatient_in_vain));
        self.has_lost_race = match (verdict, ask_order) {
            // The first node may have forgotten a part of the lock that the others have, and would grant that again and again, beside
            // another part that is free.
            (Verdict::Split, AskOrder::OneFirst { .. }) if self.free.parts() > 1 => false,
            (Verdict::Split, _) => true,
            (Verdict::Refused, _) => self.has_lost_race || was_believed_free,
            (Verdict::Unreachable | Verdict::Won, _) => self.has_lost_race,
        };
        self.stands_back = false;
        self.not_before = match verdict {
            Verdict::Split | Verdict::Unreachable | Verdict::Won => Some(now + pause),
            Verdict::Refused => None,
        };
        self.poll_at = match verdict {
            Verdict::Unreachable | Verdict::Won => now + pause,
            Verdict::Split | Verdict::Refused => poll_at,
        };
    }

    /// Whether it only stands back, at this moment still.
    #[must_use]
    pub fn stands_back(&self, now: Instant) -> bool {
        self.stands_back && self.not_before.is_some_and(|moment| now < moment)
    }

    /// What to do now, for the first in line, which relies on it until it is called.
    pub fn told(&mut self, now: Instant) -> Step {
        self.told = Some(now);
        self.next(now)
    }

    /// As of which moment the first in line was told what to do. Whoever tells of a change may have looked at the clock before that, and
    /// been held up: what it was told is compared with what it would be told now, not before.
    #[must_use]
    pub fn told_at(&self) -> Option<Instant> {
        self.told
    }

    /// What to do now.
    pub fn next(&self, now: Instant) -> Step {
        if let Some(moment) = self.not_before.filter(|moment| now < *moment) {
            return Step::WaitUntil(moment);
        }
        let free_at = self.free_at(now).unwrap_or(self.poll_at);
        if self.poll_at <= now {
            Step::Ask(AskOrder::AllAtOnce)
        } else if free_at <= now {
            let is_one_first = self.has_lost_race && self.impatient(now).is_none();
            Step::Ask(if is_one_first { AskOrder::OneFirst { except: self.strays } } else { AskOrder::AllAtOnce })
        } else {
            Step::WaitUntil(free_at.min(self.poll_at))
        }
    }

    /// How many keys the lock has, as far as anything was told of them.
    #[must_use]
    pub fn parts(&self) -> u8 {
        let told = self.witnesses.iter().map(|witness| witness.at).chain(self.expiries.iter().map(|(at, _)| *at));
        told.map(|at| at.part.saturating_add(1)).fold(self.free.parts(), u8::max)
    }

    /// From when on the key is believed to be gone from a majority; `None` if that cannot be told.
    fn free_at(&self, now: Instant) -> Option<Instant> {
        (0..self.parts()).filter_map(|part| self.part_free_at(part, now)).min()
    }

    fn part_free_at(&self, part: u8, now: Instant) -> Option<Instant> {
        let mut moments: Vec<_> = self.free.of(part).iter().map(|node| (node, now)).collect();
        moments.extend(self.expiries.iter().filter(|(at, _)| at.part == part).map(|(at, moment)| (at.node, *moment)));
        moments.sort_unstable_by_key(|&(_, moment)| moment);
        let majority = moments.get(self.quorum.needed() - 1)?.1;
        let Some(WaitsFor { node: first, until }) = self.waits_for else { return Some(majority) };
        let first = moments.iter().find(|&&(node, _)| node == first).map_or(until, |&(_, moment)| moment.min(until));
        Some(majority.max(first))
    }

    /// Whether any key of the lock is believed to be gone from the node, but for those that have expired since.
    fn is_free_on(&self, node: usize) -> bool {
        self.free.iter().any(|at| at.node == node)
    }

    /// The node that is waited for, if it has told of nothing and all are asked instead.
    fn impatient(&self, now: Instant) -> Option<usize> {
        let WaitsFor { node, until } = self.waits_for?;
        let is_free =
            self.is_free_on(node) || self.expiries.iter().any(|(at, moment)| at.node == node && *moment <= now);
        (until <= now && !is_free).then_some(node)
    }

    /// Looks which nodes have another key than a majority. Of a lock with several keys, of which each is enough, that says nothing.
    fn look_for_strays(&mut self, impatient: Option<usize>) {
        let told = |witness: &&Witness| !witness.has_reported && !self.is_free_on(witness.at.node);
        let told: Vec<_> = self.witnesses.iter().filter(told).collect();
        if told.iter().any(|witness| witness.at.part > 0) {
            return;
        }
        let owner = |witness: &Witness| witness.sighting.owner;
        let of_majority = told
            .iter()
            .filter_map(|witness| owner(witness))
            .find(|one| told.iter().filter(|witness| owner(witness) == Some(*one)).count() >= self.quorum.needed());
        let Some(of_majority) = of_majority else { return };
        self.strays = NodeSet::default();
        for witness in told {
            if owner(witness).is_some_and(|owner| owner != of_majority) {
                self.strays.insert(witness.at.node);
            }
        }
        if let Some(node) = impatient {
            let was_right = !self.strays.contains(node);
            self.impatient_in_vain = if was_right { self.impatient_in_vain + 1 } else { 0 };
        }
    }

    fn see(&mut self, at: At, sighting: OthersKey, now: Instant) {
        match self.witnesses.iter_mut().find(|witness| witness.at == at) {
            Some(witness) => witness.see(sighting, now),
            None => self.witnesses.push(Witness { at, sighting, asked: now, has_reported: false, in_vain: 0 }),
        }
    }

    fn forget(&mut self, at: At) {
        self.free.remove(at);
        self.expiries.retain(|&(known, _)| known != at);
    }
}

#[cfg(test)]
mod tests;
