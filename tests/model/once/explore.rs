//! What may happen next, and what must hold whatever does.

use redlock_runtime::protocol::{NodeSet, Sending};
use stateright::{Model, Property};

use super::plan::{OnceAt, Rule, Time, World};
use super::state::{ATTEMPTS, Asked, Attempt, Fault, Key, NODES, Node, Phase, State, Why, narrow};
use super::steps::BEGINNING;
use crate::explore::Heard;

/// The promise.
pub(super) const AGAIN: &str = "a completed fire does not run again";

/// What makes it worth having.
pub(super) const IN_DOUBT: &str = "no fire is in doubt for ever";

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A node tells its mark to somebody who reads it before the acquire. With a clock, the attempt begins.
    Read { node: usize, attempt: usize, begins: Option<u8> },
    /// A node grants; if there was a key, it has expired. With a clock, the attempt begins.
    Grant { node: usize, attempt: usize, begins: Option<u8>, heard: Heard },
    /// A node refuses.
    Refuse { node: usize, attempt: usize, begins: Option<u8>, heard: Heard },
    /// The body ends well.
    BodyEnds { attempt: usize },
    /// A completion reaches a node.
    Mark { node: usize, attempt: usize, sending: Sending, is_heard: bool },
    /// A lock is renewed, and may be set again on a node that lost it.
    Renew { attempt: usize, repaired: Option<usize> },
    /// An attempt ends: crashed, failed, given up, or its validity is over.
    End { attempt: usize },
    /// A node restarts empty, or with a mark that it had.
    Restart { node: usize, mark: u8 },
    /// A mark expires that was written since its expiry was set.
    Expire { node: usize },
    /// Time passes.
    Tick,
}

impl World {
    /// Whether an attempt that no node has heard of may begin: those who want the same are alike.
    fn may_begin(&self, state: &State, attempt: usize) -> bool {
        let is_alike = |other: &usize| self.fires[*other] == self.fires[attempt];
        let before = (0..attempt).rev().find(is_alike);
        before.is_none_or(|before| state.attempts[before].phase != Phase::NotBegun)
    }

    /// What the acquire of an attempt may come to on a node.
    fn ask(&self, state: &State, node: usize, attempt: usize, begins: Option<u8>, events: &mut Vec<Event>) {
        let asked = state.nodes[node].asked[attempt];
        if !self.keeps(Rule::MarkRidesOnAcquire) && matches!(asked, Asked::Acquire { .. }) {
            events.push(Event::Read { node, attempt, begins });
            return;
        }
        let (is_held, is_expired) = match state.nodes[node].key {
            Key::Missing => (false, true),
            Key::Foreign => (true, true),
            Key::Of(other) => (true, !self.keeps(Rule::ValidityWhenStarting) || !state.is_valid(other.into())),
        };
        let phase = state.attempts[attempt].phase;
        // Behind a completion comes nothing that is heard, but the votes of those who can confirm it, too.
        let is_late = matches!(phase, Phase::Completing { .. } | Phase::Over { .. });
        if is_expired && phase.hears_late_votes() && self.votes(&state.nodes[node], attempt) {
            events.push(Event::Grant { node, attempt, begins, heard: Heard::AndMore });
        }
        let costs = asked != (Asked::Acquire { is_completed: true });
        if is_expired && (!costs || state.losses > 0) {
            events.push(Event::Grant { node, attempt, begins, heard: Heard::No });
        }
        if !is_late {
            for heard in [Heard::AndMore, Heard::Last] {
                if heard == Heard::AndMore && phase == Phase::Running {
                    continue;
                }
                if is_expired {
                    events.push(Event::Grant { node, attempt, begins, heard });
                }
                if is_held && phase != Phase::Running {
                    events.push(Event::Refuse { node, attempt, begins, heard });
                }
            }
        }
    }

    fn renew(&self, state: &State, attempt: usize, events: &mut Vec<Event>) {
        let may_be = match state.attempts[attempt].phase {
            Phase::Running => true,
            Phase::Completing { is_over: false, .. } => !self.keeps(Rule::CompletionIsNotStretched),
            _ => false,
        };
        let own = |node: &Node| node.key == Key::Of(narrow(attempt));
        if !may_be
            || state.nodes.iter().all(|node| node.waits_for & (1 << attempt) == 0)
            || state.nodes.iter().filter(|node| own(node)).count() < 2
        {
            return;
        }
        events.push(Event::Renew { attempt, repaired: None });
        let is_lost = |node: &usize| state.nodes[*node].key == Key::Missing && state.nodes[*node].restarted.is_some();
        events.extend((0..NODES).filter(is_lost).map(|node| Event::Renew { attempt, repaired: Some(node) }));
    }
}

impl Model for World {
    type State = State;
    type Action = Event;

    fn init_states(&self) -> Vec<State> {
        let asked = [Asked::Acquire { is_completed: false }; ATTEMPTS];
        let node = Node {
            key: Key::Missing,
            mark: 0,
            had: 0,
            is_restored: false,
            expires_early: false,
            restarted: None,
            waits_for: 0,
            abstains_for: 0,
            asked,
        };
        let mut nodes = [node; NODES];
        nodes[0].mark = self.planted.unwrap_or_default();
        if let Some(planted) = self.planted.filter(|_| self.restores) {
            nodes[0].had = 1 << planted;
        }
        let mut state = State {
            nodes,
            attempts: [Attempt::NONE; ATTEMPTS],
            time: BEGINNING,
            losses: self.losses,
            restarts: self.restarts,
            completed: 0,
            started: 0,
            fault: None,
        };
        self.normalize(&mut state);
        vec![state]
    }

    fn actions(&self, state: &State, events: &mut Vec<Event>) {
        let is_over = |attempt: usize| matches!(state.attempts[attempt].phase, Phase::Over { .. });
        if state.fault.is_some() || (0..self.attempts()).all(is_over) {
            return;
        }
        for attempt in 0..self.attempts() {
            let phase = state.attempts[attempt].phase;
            if phase == Phase::NotBegun && !self.may_begin(state, attempt) {
                continue;
            }
            match phase {
                Phase::NotBegun | Phase::Over { .. } | Phase::Completing { is_over: true, .. } => {}
                _ => events.push(Event::End { attempt }),
            }
            if phase == Phase::Running {
                events.push(Event::BodyEnds { attempt });
            }
            if self.renews {
                self.renew(state, attempt, events);
            }
            for node in 0..NODES {
                if node > 0 && state.nodes[node] == state.nodes[node - 1] {
                    continue;
                }
                match state.nodes[node].asked[attempt] {
                    Asked::Acquire { .. } | Asked::Read { .. } if phase == Phase::NotBegun => {
                        for &ahead in self.clocks {
                            if self.is_due(state, self.wanted(state, attempt, ahead), ahead) {
                                self.ask(state, node, attempt, Some(ahead), events);
                            }
                        }
                    }
                    Asked::Acquire { .. } | Asked::Read { .. } => self.ask(state, node, attempt, None, events),
                    Asked::Complete | Asked::Lost => {
                        let is_sent = state.nodes[node].asked[attempt] == Asked::Complete;
                        let sending = if is_sent { Sending::First } else { Sending::Again };
                        let is_over = matches!(phase, Phase::Over { .. });
                        if !is_over {
                            events.push(Event::Mark { node, attempt, sending, is_heard: true });
                        }
                        if is_sent && state.losses > 0 {
                            events.push(Event::Mark { node, attempt, sending, is_heard: false });
                        }
                    }
                    _ => {}
                }
            }
        }
        for node in 0..NODES {
            if state.restarts > 0 && state.nodes[node].restarted.is_none() {
                let had = |mark: &u8| *mark == 0 || state.nodes[node].had & (1 << mark) != 0;
                events.extend((0..8).filter(had).map(|mark| Event::Restart { node, mark }));
            }
            if state.nodes[node].expires_early {
                events.push(Event::Expire { node });
            }
        }
        if state.time < BEGINNING + self.ticks {
            events.push(Event::Tick);
        }
    }

    fn next_state(&self, before: &State, event: Event) -> Option<State> {
        let mut state = *before;
        match event {
            Event::Read { node, attempt, begins } => {
                self.begin(&mut state, attempt, begins);
                let told = self.answer(&state, node, attempt);
                state.nodes[node].asked[attempt] = Asked::Read { told };
            }
            Event::Grant { node, attempt, begins, heard } => {
                if heard == Heard::No && state.nodes[node].asked[attempt] != (Asked::Acquire { is_completed: true }) {
                    state.lose();
                }
                self.begin(&mut state, attempt, begins);
                self.grant(&mut state, node, attempt, heard != Heard::No);
                if heard == Heard::Last && state.attempts[attempt].phase == Phase::Acquiring {
                    self.decide(&mut state, attempt);
                }
            }
            Event::Refuse { node, attempt, begins, heard } => {
                self.begin(&mut state, attempt, begins);
                let told = self.answer(&state, node, attempt);
                state.nodes[node].asked[attempt] = Asked::Refused { told };
                if heard == Heard::Last {
                    self.decide(&mut state, attempt);
                }
            }
            Event::BodyEnds { attempt } => {
                let fire = state.attempts[attempt].fire;
                self.complete(&mut state, attempt, fire, Why::Ended);
            }
            Event::Mark { node, attempt, sending, is_heard } => {
                if !is_heard {
                    state.lose();
                }
                self.mark(&mut state, node, attempt, sending, is_heard);
            }
            Event::Renew { attempt, repaired } => {
                state.wait_no_more(attempt);
                if let Some(node) = repaired {
                    state.nodes[node].key = Key::Of(narrow(attempt));
                }
            }
            Event::End { attempt } => match &mut state.attempts[attempt].phase {
                Phase::Completing { is_over, .. } if !self.keeps(Rule::CompletionWithinValidity) => {
                    *is_over = true;
                    state.wait_no_more(attempt);
                }
                _ => state.end(attempt),
            },
            Event::Restart { node, mark } => {
                let under_way = (0..self.attempts()).filter(|attempt| state.is_valid(*attempt));
                let under_way = under_way.fold(0, |bits, attempt| bits | 1 << attempt);
                state.restarts -= 1;
                let restarted = &mut state.nodes[node];
                restarted.key = Key::Missing;
                restarted.mark = mark;
                restarted.is_restored = mark != 0;
                restarted.had = 0;
                restarted.expires_early = false;
                restarted.restarted = Some(state.time);
                restarted.waits_for = under_way;
                restarted.abstains_for = under_way;
            }
            Event::Expire { node } => {
                state.nodes[node].mark = 0;
                state.nodes[node].expires_early = false;
            }
            Event::Tick => state.time += 1,
        }
        self.normalize(&mut state);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(AGAIN, |_, state: &State| state.fault != Some(Fault::RunsAgain)),
            Property::always("a fire that is marked before it starts does not start twice", |_, state: &State| {
                state.fault != Some(Fault::StartsTwice)
            }),
            Property::always(IN_DOUBT, Self::knows_for_ever),
            Property::sometimes("a fire is completed", |_, state: &State| state.completed != 0),
            Property::sometimes("a mark of a minority is spread", |_, state: &State| {
                let repairs = |phase| matches!(phase, Phase::Completing { why: Why::Repair, .. });
                state.attempts.iter().any(|attempt| repairs(attempt.phase))
            }),
        ];
        if self.once_at == OnceAt::End {
            properties.push(Property::sometimes("a fire whose runner died is run by another", |_, state: &State| {
                let is_over = |attempt: &Attempt| attempt.phase == Phase::Over { mark: 0 };
                let runs = |attempt: &Attempt| attempt.phase == Phase::Running;
                is_over(&state.attempts[0]) && state.attempts.iter().any(runs)
            }));
        }
        properties
    }
}

impl World {
    /// Whoever asks next for any fire that is due is not in doubt while a majority that did not restart can be reached, nor while
    /// all can.
    fn knows_for_ever(&self, state: &State) -> bool {
        let kept: NodeSet = (0..NODES).filter(|node| state.nodes[*node].restarted.is_none()).collect();
        // Whoever is under way may end. Fires that were due before two restarts may stay in doubt.
        if (0..self.attempts()).any(|attempt| state.is_valid(attempt)) || kept.len() + 1 < NODES {
            return true;
        }
        let majority = |left_out: usize| (0..NODES).filter(move |node| *node != left_out).collect::<NodeSet>();
        let majorities = (0..NODES).filter(|left_out| !kept.contains(*left_out) || kept.len() == NODES).map(majority);
        let reached: Vec<_> = majorities.chain([NodeSet::first(NODES)]).collect();
        let fires = match self.time {
            // What was called before the nodes were set up is not known to anybody.
            Time::Called { .. } if self.is_fleet_new => return true,
            Time::Called { .. } => &[0],
            Time::Counted | Time::Due => self.fires,
        };
        self.clocks.iter().all(|&ahead| {
            fires.iter().all(|&fire| {
                let fire = if matches!(self.time, Time::Called { .. }) { state.time + ahead } else { fire };
                !self.is_due(state, fire, ahead)
                    || reached.iter().all(|reached| self.is_known_to_the_next(state, fire, ahead, *reached))
            })
        })
    }
}
