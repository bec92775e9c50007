//! What goes wrong.

use std::sync::Arc;
use std::time::Duration;

use redlock_simulated::simulation::{Placed, within};
use redlock_simulated_redis::{Refusal, Role};
use tokio::time::sleep;

use crate::node::Node;
use crate::plan::{Fault, Weather};
use crate::run::Run;
use crate::world::{Life, Universe, locked, now};

/// How much older than the longest TTL a node is when it votes again, and a second, because ages are told in whole ones.
fn grown(longest_ttl: Duration) -> Duration {
    longest_ttl + longest_ttl / 4 + Duration::from_millis(2_100)
}

impl Run {
    pub(crate) fn strike(&self, fault: &Fault) {
        let universe = &self.universe;
        universe.note(|| format!("fault: {fault:?}"));
        match *fault {
            Fault::Crash { node, down } => crash(universe, node, down, Node::restart),
            Fault::Save { node } => locked(&universe.nodes)[node].save(),
            Fault::Restore { node, down } => crash(universe, node, down, Node::restore),
            Fault::Hang { node, lasting } => {
                locked(&universe.nodes)[node].hang();
                universe.later(lasting, move |universe| locked(&universe.nodes)[node].wake_up());
            }
            Fault::Refuse { node, lasting } => {
                let refusal = universe.random().pick(&[Refusal::ReadOnly, Refusal::Loading, Refusal::Misconfigured]);
                locked(&universe.nodes)[node].refuse(Some(refusal));
                universe.later(lasting, move |universe| locked(&universe.nodes)[node].refuse(None));
            }
            Fault::Depose { node, lasting } => {
                locked(&universe.nodes)[node].set_role(Role::Replica);
                universe.later(lasting, move |universe| locked(&universe.nodes)[node].set_role(Role::Master));
            }
            Fault::ForgetScripts { node } => locked(&universe.nodes)[node].forget_scripts(),
            Fault::Cut { process, node, runtime, is_next, freight } => {
                // What arrives late through a proxy, which hides who sent it, stays for its TTL; that is documented.
                let freight = freight.filter(|_| !universe.plan.nodes[node].is_behind_proxy);
                for pipe in universe.pipes_of(process, runtime, node) {
                    let mut pipe = pipe.lock();
                    if pipe.is_open() && is_next {
                        pipe.is_doomed = Some(freight);
                    } else if pipe.is_open() {
                        pipe.cut(freight);
                    }
                }
            }
            Fault::Stall { process, node, runtime, lasting } => {
                for pipe in universe.pipes_of(process, runtime, node) {
                    pipe.lock().stalled_until = now() + lasting;
                }
            }
            Fault::Partition { process, node, lasting } => {
                locked(&universe.processes)[process].cut_off_until[node] = now() + lasting;
                for runtime in 0..2 {
                    universe.pipes_of(process, runtime, node).iter().for_each(crate::network::Pipe::darken);
                }
            }
            Fault::Pause { process, lasting } => {
                let life = &mut locked(&universe.processes)[process].life;
                if matches!(life, Life::Runs { .. }) {
                    *life = Life::Paused(Vec::new());
                    universe.later(lasting, move |universe| universe.resume(process));
                }
            }
            Fault::Kill { process } => {
                locked(&universe.processes)[process].life = Life::Dead;
                universe.checker.killed(process);
                universe.checker.forget(process);
                for node in 0..universe.plan.nodes.len() {
                    for runtime in 0..2 {
                        universe.pipes_of(process, runtime, node).iter().for_each(crate::network::Pipe::leave);
                    }
                }
            }
            Fault::KillRunner => {
                if let Some(process) = universe.checker.with_runs(|runs| runs.runner()) {
                    self.strike(&Fault::Kill { process });
                }
            }
            Fault::EndRuntime { process } => {
                // It cannot end while its only thread blocks.
                if universe.is_running(process) && !universe.is_blocked(process) {
                    universe.end_callers(process);
                    self.begin_again(process);
                }
            }
            Fault::Shutdown { process, bound } => self.shut_down(process, bound),
            Fault::Migrate { name, is_counter } => {
                // Whatever becomes of the processes.
                tokio::spawn(Arc::clone(universe).migrate(name, is_counter));
            }
            Fault::MoveSlot { name, from, to, step } => universe.move_slot(name, from, to, step),
            Fault::Memory { node, fault, lasting } => universe.strike_memory(node, fault, lasting),
        }
    }

    fn shut_down(&self, process: usize, bound: Duration) {
        let (universe, locks) = (Arc::clone(&self.universe), self.managers[process].clone());
        universe.checker.shut_down(process);
        let place = universe.callers(process);
        let ending = async move {
            let began = now();
            let report = locks.shutdown_within(bound).await;
            universe.note(|| format!("p{process} was shut down: {report}"));
            universe.checker.meet("shut down");
            let took = now() - began;
            if took > bound + bound / 100 + Duration::from_millis(5) && universe.has_run_for(process, took) {
                universe.violated(format!("p{process} was shut down in {took:?} instead of {bound:?}"));
            }
            let left = universe.left_by(process);
            if report.unconfirmed == 0 && report.still_held.is_empty() && !left.is_empty() {
                universe.violated(format!("p{process} was shut down, all confirmed, and left {left:?}"));
            }
        };
        within(place, || tokio::spawn(Placed::new(place, ending)));
    }
}

/// Fewer than a majority of the nodes are young at a time: more is not promised. Where tokens are compared, one restarts.
fn crash(universe: &Arc<Universe>, node: usize, down: Duration, back: fn(&mut Node, Duration)) {
    let elapsed = universe.elapsed();
    let grown = grown(universe.plan.longest_ttl);
    let positions: Vec<_> = universe.configured().collect();
    {
        let mut nodes = locked(&universe.nodes);
        let is_young = |node: usize| !nodes[node].is_up() || nodes[node].age(elapsed) < grown;
        let young = positions.iter().filter(|other| **other != node && is_young(**other)).count();
        let spare = (positions.len() - 1) / 2;
        let is_double = universe.plan.twin.is_some() && universe.plan.weather != Weather::Made;
        let is_enough = universe.plan.weather == Weather::Fenced && universe.checker.has_restarts();
        if young >= spare || !nodes[node].is_up() || is_double || is_enough {
            return;
        }
        nodes[node].crash();
    }
    universe.checker.restarted();
    universe.checker.meet("restarted");
    let pipes: Vec<_> = locked(&universe.pipes).iter().filter(|pipe| pipe.lock().node == node).cloned().collect();
    pipes.iter().for_each(crate::network::Pipe::close);
    universe.later(down, move |universe| back(&mut locked(&universe.nodes)[node], universe.elapsed()));
}

/// Waits until what was drawn has happened.
pub(crate) async fn strike_all(run: &Run) {
    for (moment, fault) in &run.universe.plan.faults {
        sleep(moment.saturating_sub(run.universe.elapsed())).await;
        run.strike(fault);
    }
}
