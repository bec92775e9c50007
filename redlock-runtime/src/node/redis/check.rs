//! A Redis server, looked at and tried out.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use tokio::time::timeout;

use super::super::check::{
    CarryOut, Clocks, Examination, Examining, FencingCounters, Forbidden, Memory, Persistence, Purpose, Step, Tells,
    Trial, Wakes, try_out,
};
use super::super::counters::{Answer, Number};
use super::super::inspect::{Cursor, OwnerLabel};
use super::super::{Action, Command, Reply};
use super::commands as general;
use super::commands::check as commands;
use super::commands::check::Right;
use super::commands::info::{field, text};
use super::link::connection::Live;
use super::link::subscription::Subscription;
use super::server::{Server, reason};
use super::{RedisNode, Routing, send};
use crate::platform::{clock, entropy};
use crate::protocol::{Counter, NoCounter, Proposal};
use crate::values::keys::{CounterKeys, Keys, LockKeys};

/// How often the time is asked for.
const SAMPLES: usize = 5;

/// So many pages of keys are looked through for wrong counters: a hundred thousand keys, in less than a second.
const PAGES: usize = 100;

/// So many wrong counters are shown.
const SHOWN: usize = 10;

/// One server has every key, so any name will do.
const NUMBER: u32 = 0;

impl Examining for RedisNode {
    fn examine(&self, trial: Trial, reply_timeout: Duration) -> Answer<Vec<Examination>> {
        let examined = self.examine_with(trial, NUMBER, reply_timeout);
        Box::pin(async move { Ok(vec![examined.await?]) })
    }
}

impl RedisNode {
    /// Examines the server with a trial of a name whose keys it has; an error if it does not even answer.
    pub(in super::super) fn examine_with(
        &self,
        trial: Trial,
        number: u32,
        reply_timeout: Duration,
    ) -> impl Future<Output = Result<Examination, Arc<str>>> + Send + use<> {
        let (link, connect_timeout) = (self.links.alone(), self.links.connect_timeout());
        let (label, is_fixed) = (Arc::from(self.links.label()), self.links.is_fixed());
        async move {
            let live = link.connected().await?;
            let address = if is_fixed { label } else { format!("{label} at {}", live.endpoint.address()).into() };
            // The connection is kept until here.
            let examination = examine(live, connect_timeout, address, &trial, number, reply_timeout).await;
            drop(link);
            examination
        }
    }
}

async fn examine(
    live: Live,
    connect_timeout: Duration,
    address: Arc<str>,
    trial: &Trial,
    number: u32,
    reply_timeout: Duration,
) -> Result<Examination, Arc<str>> {
    let endpoint = live.endpoint.clone();
    let server_info = Arc::clone(&live.server_info);
    let keeps_cut = live.keeps_cut.clone();
    let (tells, refused_hello) = (Tells::Partly(Arc::clone(&live.told)), live.refused_hello.clone());
    let reports_changes = live.reports_changes;
    let mut server = Server { live, reply_timeout };
    let (round_trip, clock) = server.measure().await?;
    let about = server.send(&commands::about()).await?;
    let version = about.first().and_then(text).and_then(|info| field(info, "redis_version")).map(str::to_owned);
    let refused_scripts = if server.live.takes_scripts {
        None
    } else {
        // Maybe it was only refused to load them.
        server.send(&commands::script()).await?.first().filter(|answer| is_refused(answer)).map(told)
    };
    let failed = try_out(trial, number, &mut server).await;
    let forbidden = server.forbidden(trial, number, &failed).await.unwrap_or_default();
    let counters = match trial.fence {
        // Who may not look is told so.
        Some(proposal) => server.counters(proposal, clock).await.unwrap_or_default(),
        None => FencingCounters::default(),
    };
    let wakes = if reports_changes {
        Wakes::Tracking
    } else if Subscription::is_possible(&endpoint, connect_timeout, &trial.key(number)).await {
        Wakes::Subscription
    } else {
        Wakes::SlowPoll
    };
    let (memory, persistence) = (Some(memory(&about)), Some(persistence(&about)));
    let wakes = Some(wakes);
    Ok(Examination {
        address,
        server_info,
        tells,
        refused_hello,
        refused_scripts,
        keeps_cut,
        version,
        memory,
        persistence,
        clock,
        round_trip,
        wakes,
        failed,
        forbidden,
        counters,
    })
}

impl Server {
    /// How long it takes to answer, as the median, and its clock, by the fastest answer.
    async fn measure(&mut self) -> Result<(Duration, Option<Clocks>), Arc<str>> {
        let (mut round_trips, mut fastest) = (Vec::with_capacity(SAMPLES), None);
        for _ in 0..SAMPLES {
            let (began, ours) = (clock::now(), clock::since_1970());
            let answers = self.send(&commands::time()).await?;
            let round_trip = clock::now().saturating_duration_since(began);
            round_trips.push(round_trip);
            let uncertainty = round_trip / 2;
            let is_fastest = fastest.is_none_or(|fastest: Clocks| uncertainty < fastest.uncertainty);
            if let Some(theirs) = answers.first().and_then(time).filter(|_| is_fastest) {
                fastest = Some(Clocks { theirs, ours: ours + uncertainty, uncertainty });
            }
        }
        round_trips.sort_unstable();
        Ok((round_trips[SAMPLES / 2], fastest))
    }

    /// Its fencing counters, as far as it has few keys: those that are none to whoever proposes this.
    async fn counters(&mut self, proposal: Proposal, clock: Option<Clocks>) -> Result<FencingCounters, Arc<str>> {
        let mut counters = FencingCounters { has_more: true, ..FencingCounters::default() };
        let mut from = Cursor::default();
        for _ in 0..PAGES {
            let (keys, next) = self.keys(&general::beginning_with(Keys::FENCES), from).await?;
            let stored = self.send(&general::values(&keys)).await?;
            for (key, stored) in keys.into_iter().zip(&stored) {
                let number = match stored {
                    Value::BulkString(bytes) => std::str::from_utf8(bytes).map_or(Err(NoCounter::Text), Counter::parse),
                    Value::ServerError(error) if error.code() == "WRONGTYPE" => Err(NoCounter::Text),
                    _ => continue,
                };
                let believe = |number| proposal.believe(number, || clock.map(|clock| clock.theirs));
                let fault = number.and_then(|number| number.map_or(Ok(()), believe)).err();
                counters.wrong.extend(fault.map(|fault| (key, fault)));
            }
            if counters.wrong.len() >= SHOWN {
                counters.wrong.truncate(SHOWN);
                return Ok(counters);
            }
            match next {
                Some(next) => from = next,
                None => return Ok(FencingCounters { has_more: false, ..counters }),
            }
        }
        Ok(counters)
    }

    /// What the user may not do: a server does not always name it when it refuses a script.
    async fn forbidden(
        &mut self,
        trial: &Trial,
        number: u32,
        failed: &[(Step, Arc<str>)],
    ) -> Result<Vec<Forbidden>, Arc<str>> {
        let rights = commands::rights(trial, number);
        let answers = self.send(&commands::try_out(&rights)).await?;
        let mut forbidden: Vec<_> = rights
            .into_iter()
            .zip(&answers)
            .filter(|(_, answer)| is_forbidden(answer))
            .map(|(right, _)| right)
            .collect();
        let is_explained = forbidden.iter().any(|right| right.purpose == Purpose::Locks);
        if trial.fence.is_some() && !is_explained && failed.iter().any(|(step, _)| *step == Step::Acquire) {
            let (increment, pipeline) = commands::increment(trial, number);
            let answers = self.send(&pipeline).await?;
            forbidden.extend(answers.first().is_some_and(is_forbidden).then_some(increment));
        }
        let forbidden = forbidden.into_iter();
        Ok(forbidden.map(|Right { command, key, purpose, .. }| Forbidden { command, key, purpose }).collect())
    }
}

impl CarryOut for Server {
    async fn carry_out(&mut self, command: Arc<Command>) -> Result<Reply, Arc<str>> {
        match timeout(self.reply_timeout, send(&mut self.live, &command, Routing::Plainly)).await {
            Ok(Ok(Reply::Failed(failure))) => Err(failure.reason),
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) => Err(Arc::from("the key belongs to another server of a Redis Cluster")),
            Err(_) => {
                self.live.note_overdue();
                Err(format!("no answer within {:?}", self.reply_timeout).into())
            }
        }
    }

    async fn look_at(
        &mut self,
        keys: &Arc<LockKeys>,
        owner: &Arc<str>,
        waited_for: &Arc<CounterKeys>,
    ) -> Vec<(Step, Arc<str>)> {
        let label = Arc::from("redlock check");
        let label = OwnerLabel {
            keys: Arc::clone(keys),
            owner: Arc::clone(owner),
            label,
            held_for: Duration::ZERO,
            fencing_token: 0,
        };
        let noted = self.record_labels(&[label]).await;
        let looked = self.look(keys).await.and_then(|record| match record.and_then(|record| record.label) {
            None if noted.is_ok() => Err("the owner's label was gone a moment after it was written".into()),
            _ => Ok(()),
        });
        let taken = self.take_turns(keys).await;
        let counted = self.count_one(waited_for).await;
        // What is left is gone in some seconds.
        let _ = self.send(&commands::tidy(&keys.lock, waited_for)).await;
        let steps = [(Step::Label, noted), (Step::Look, looked), (Step::TakeTurns, taken), (Step::Count, counted)];
        steps.into_iter().filter_map(|(step, done)| Some((step, done.err()?))).collect()
    }
}

impl Server {
    /// Whether one who waits for this lock, which is held, is noted beside it.
    async fn take_turns(&mut self, keys: &LockKeys) -> Result<(), Arc<str>> {
        let acquire = Action::Acquire { ttl: Trial::TTL, is_watched: false };
        let (owner, process) = (entropy::fresh_owner(), entropy::fresh_owner());
        self.carry_out(Command::acquire(acquire, &(&keys.lock).into(), &owner, Some(process), None, None)).await?;
        let contenders = self.send(&commands::contenders(&keys.lock)).await?;
        let is_noted = match contenders.first() {
            Some(Value::Array(noted)) => !noted.is_empty(),
            // Who may not ask may not note either, and is told of that.
            _ => true,
        };
        if is_noted {
            return Ok(());
        }
        let time = self.send(&commands::time_within_a_script()).await?;
        Err(Arc::from(match time.first() {
            Some(Value::ServerError(_)) => {
                "its scripts may not call TIME; labels and statistics go by the clocks of the machines that ask"
            }
            _ => {
                "its scripts may not touch the key of those who wait, redlock-waiting:*; let the user touch it, or the \
                  scripts keys that they do not declare"
            }
        }))
    }

    /// Whether one who waits is counted, where the server has the counter.
    async fn count_one(&mut self, keys: &Arc<CounterKeys>) -> Result<(), Arc<str>> {
        for waiting in [1, 0] {
            let number = Number { keys: Arc::clone(keys), waiting: Some(waiting) };
            let call = |call| general::record("check", std::slice::from_ref(&number), clock::since_1970(), call);
            match self.call(call).await?.pop().unwrap_or(Value::Nil).extract_error() {
                Ok(Value::Int(counted)) if usize::try_from(counted) == Ok(waiting) => {}
                Ok(_) => return Err(Arc::from("a counter had another value a moment after it was set")),
                Err(error) if error.redirect_node().is_some() => {}
                Err(error) => return Err(reason(&error)),
            }
        }
        Ok(())
    }
}

fn is_forbidden(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(error) if error.code() == "NOPERM")
}

fn time(answer: &Value) -> Option<Duration> {
    let (seconds, microseconds): (u64, u32) = redis::from_redis_value(answer.clone()).ok()?;
    Duration::from_secs(seconds).checked_add(Duration::from_micros(microseconds.into()))
}

/// What an error says.
fn told(answer: &Value) -> Arc<str> {
    answer.clone().extract_error().map_or_else(|error| error.to_string(), |_| String::new()).into()
}

/// In whatever words, but not because the user may not.
fn is_refused(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(_)) && !is_forbidden(answer)
}

/// What a server answered to being asked for one setting.
fn setting(about: &[Value], answer: usize) -> Option<String> {
    let settings: HashMap<String, String> = redis::from_redis_value(about.get(answer)?.clone()).ok()?;
    settings.into_values().next()
}

fn memory(about: &[Value]) -> Memory {
    let info = about.get(1).and_then(text);
    let find = |name, answer| {
        let told = info.and_then(|info| field(info, name)).map(str::to_owned).filter(|told| !told.is_empty());
        told.or_else(|| setting(about, answer))
    };
    Memory { policy: find("maxmemory_policy", 5), limit: find("maxmemory", 6).and_then(|limit| limit.parse().ok()) }
}

fn persistence(about: &[Value]) -> Persistence {
    let has_log = about.get(2).and_then(text).and_then(|info| field(info, "aof_enabled"));
    match (has_log, setting(about, 3).as_deref(), setting(about, 4).as_deref()) {
        (Some("1"), _, Some("always")) => Persistence::Everything,
        (Some("1"), _, Some(_)) => Persistence::Log,
        (Some("1"), _, None) => Persistence::SomeLog,
        (Some(_), Some(""), _) => Persistence::Nothing,
        (Some(_), Some(_), _) => Persistence::Snapshots,
        (Some(_), None, _) => Persistence::NoLog,
        (None, _, _) => Persistence::Unknown,
    }
}
