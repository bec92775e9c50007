//! One round over all nodes: asks them all at once, feeds the votes to [`protocol::Round`](crate::protocol::Round) and
//! returns as soon as no further vote can change the verdict.
//!
//! Returns plain data; knows nothing of guards.

mod heard;
mod hold;
mod repair;
mod settlement;

use std::fmt;
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use self::heard::{Heard, Voters};
pub(crate) use self::hold::Hold;
pub(crate) use self::repair::{Extended, Repairs};
pub(crate) use self::settlement::Debts;
use crate::clock;
use crate::error::NodeFailures;
use crate::node::{Action, Command, Node, PendingReply, Reply};
use crate::protocol::{Ballot, LEAD, NodeSet, Quorum, Verdict, patience, valid_until};

/// The configured nodes.
pub(crate) struct Engine {
    /// All of them, in the order of the configuration.
    nodes: Box<[Arc<dyn Node>]>,
    /// The majority, counted over all of them.
    quorum: Quorum,
    /// How long one node's reply may take.
    node_timeout: Duration,
    /// Releases that are on their way.
    debts: Debts,
}

/// A lock that was acquired.
pub(crate) struct Won {
    /// Answers for its release, however it ends.
    pub(crate) hold: Hold,
    /// When the attempt began.
    pub(crate) began: Instant,
    /// Until when the lock counts as held.
    pub(crate) valid_until: Instant,
}

/// A round that was not won.
#[derive(Debug)]
pub(crate) struct Lost {
    /// Why not.
    pub(crate) verdict: Verdict,
    /// How many nodes granted.
    pub(crate) granted: usize,
    /// What the nodes that did not vote said.
    pub(crate) failures: NodeFailures,
    /// How long the holder's key lives, if nodes said so: the soonest moment at which asking again makes sense.
    pub(crate) holder_remaining: Option<Duration>,
    /// What is wrong with the nodes as they were configured, if something is.
    pub(crate) misconfigured: Option<String>,
}

/// A reply that is on its way from a node.
pub(crate) struct InFlight {
    /// The node's position in the configuration.
    node: usize,
    /// Its reply.
    reply: PendingReply,
}

impl Engine {
    pub(crate) fn new(nodes: Vec<Arc<dyn Node>>, quorum: Quorum, node_timeout: Duration) -> Arc<Self> {
        Arc::new(Self { nodes: nodes.into(), quorum, node_timeout, debts: Debts::default() })
    }

    pub(crate) fn nodes(&self) -> &[Arc<dyn Node>] {
        &self.nodes
    }

    pub(crate) fn quorum(&self) -> Quorum {
        self.quorum
    }

    pub(crate) fn node_timeout(&self) -> Duration {
        self.node_timeout
    }

    pub(crate) fn labels(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().map(|node| node.label())
    }

    pub(crate) fn debts(&self) -> &Debts {
        &self.debts
    }

    /// One attempt to acquire, with a fresh owner, which ends `until` a moment at the latest, also while connections are
    /// being made.
    ///
    /// A lost attempt is given back before this returns, by the nodes that granted it, as far as there is time; by the
    /// others behind their answer, in the background.
    ///
    /// # Cancel safety
    ///
    /// Dropped at any await, the attempt is given back in the background.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        key: Arc<str>,
        ttl: Duration,
        until: Option<Instant>,
    ) -> Result<Won, Lost> {
        let began = clock::now();
        // From here on the hold answers for whatever the nodes do: it exists before the first command.
        let mut hold = Hold::new(Arc::clone(self), key);
        let (verdict, heard) = hold.ask_all(ttl, until).await;
        let valid_until = valid_until(began, ttl);
        // A grant that arrives with no validity left is not a grant.
        if verdict == Verdict::Won && heard.misconfigured.is_none() && clock::now() + LEAD < valid_until {
            hold.see_late_connections_through();
            return Ok(Won { hold, began, valid_until });
        }
        hold.give_back(until).await;
        let verdict = match verdict {
            Verdict::Won => Verdict::Unreachable,
            lost => heard.told_apart(lost, self.quorum),
        };
        Err(heard.into_lost(verdict))
    }

    /// One attempt to extend.
    ///
    /// # Cancel safety
    ///
    /// Dropped at any await, the key may or may not have been extended.
    pub(crate) async fn extend(&self, key: &Arc<str>, owner: &Arc<str>, ttl: Duration) -> Result<Extended, Lost> {
        let began = clock::now();
        let command = Command::new(Action::Extend { ttl }, key, owner);
        let mut in_flight = self.ask_each(&command);
        let mut missing = NodeSet::default();
        let listen = self.hear(Voters::All, &mut in_flight, patience(self.node_timeout, ttl), None, |node, reply| {
            if *reply == Reply::Missing {
                missing.insert(node);
            }
        });
        let (verdict, heard) = listen.await;
        if verdict == Verdict::Won {
            return Ok(Extended { valid_until: valid_until(began, ttl), missing, rest: in_flight });
        }
        poll_in_background(in_flight);
        let verdict = heard.told_by_majority(verdict, self.quorum);
        Err(heard.into_lost(verdict))
    }

    fn ask_each(&self, command: &Arc<Command>) -> Vec<InFlight> {
        let ask = |(node, voter): (usize, &Arc<dyn Node>)| InFlight { node, reply: voter.ask(Arc::clone(command)) };
        self.nodes.iter().enumerate().map(ask).collect()
    }

    /// Listens until no further vote can change the verdict, or the nodes' time is over, or the caller's (`until`).
    /// Replies that are still on their way stay in `in_flight`.
    async fn hear(
        &self,
        voters: Voters,
        in_flight: &mut Vec<InFlight>,
        patience: Duration,
        until: Option<Instant>,
        mut on_reply: impl FnMut(usize, &Reply),
    ) -> (Verdict, Heard) {
        let extra = in_flight.iter().map(|asked| asked.reply.extra_patience()).max().unwrap_or_default();
        let (patience, is_cut_short) = cut_short(patience + extra, until);
        let mut deadline = pin!(sleep(patience));
        let mut heard = Heard::nothing(self.quorum);
        let mut has_looked_again = false;
        let listen = poll_fn(|cx| {
            // All of them before the verdict is asked for: a request that was never polled is never sent.
            poll_each(in_flight, cx, |node, reply| {
                on_reply(node, &reply);
                heard.note(node, self.nodes[node].label(), reply);
            });
            if heard.is_decided(voters, &self.nodes, in_flight) {
                return heard.round.verdict().map_or(Poll::Pending, Poll::Ready);
            }
            ready!(deadline.as_mut().poll(cx));
            if !mem::replace(&mut has_looked_again, true) {
                // If this runtime stood still, replies may lie in its sockets: let it read them before the nodes are blamed.
                deadline.as_mut().reset(tokio::time::Instant::from_std(clock::now() + Duration::from_millis(1)));
                ready!(deadline.as_mut().poll(cx));
            }
            for late in in_flight.iter() {
                let voter = &self.nodes[late.node];
                // A node is not late only because its caller is in a hurry.
                if !is_cut_short {
                    voter.overdue();
                }
                heard.round.record(late.node, Ballot::Failed);
                heard.failures.push(voter.label(), format!("no answer within {patience:?}"));
            }
            heard.close(voters, &self.nodes, is_cut_short);
            heard.round.verdict().map_or(Poll::Pending, Poll::Ready)
        });
        // A task that has used up its budget would be told that the connection takes nothing just now: the first poll
        // would not send.
        let verdict = tokio::task::unconstrained(listen).await;
        (verdict, heard)
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.labels()).finish()
    }
}

/// How long to wait for nodes that have this long, and whether that is less because the caller's time ends before.
fn cut_short(patience: Duration, until: Option<Instant>) -> (Duration, bool) {
    match until.map(|moment| moment.saturating_duration_since(clock::now())) {
        Some(left) if left < patience => (left, true),
        Some(_) | None => (patience, false),
    }
}

/// Polls every reply once, in the order of the nodes, and takes out those that arrived.
fn poll_each(in_flight: &mut Vec<InFlight>, cx: &mut Context<'_>, mut on_reply: impl FnMut(usize, Reply)) {
    in_flight.retain_mut(|asked| match Pin::new(&mut asked.reply).poll(cx) {
        Poll::Ready(reply) => {
            on_reply(asked.node, reply);
            false
        }
        Poll::Pending => true,
    });
}

/// Sees replies through that nobody waits for: a request that is dropped may not be sent.
fn poll_in_background(mut in_flight: Vec<InFlight>) {
    if !in_flight.is_empty() {
        tokio::spawn(poll_fn(move |cx| {
            poll_each(&mut in_flight, cx, |_, _| {});
            if in_flight.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        }));
    }
}
