//! What follows from what the nodes told: a pure function of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::report::{CheckVerdict, ClockOffset, Examined, Finding, Severity, can_lock, offset, seconds};
use crate::node::check::{Clocks, Examination, Forbidden, Persistence, Purpose, Step, Tells, Wakes};
use crate::protocol::{Electorate, FenceFallback, Quorum, Role, ServerInfo, Standing};
use crate::shown::rounded;

/// What the nodes are measured against.
pub(super) struct Standard {
    /// How many there are.
    pub(super) quorum: Quorum,
    /// The longest TTL of any lock on these nodes.
    pub(super) longest_ttl: Duration,
    /// How long an answer may take.
    pub(super) node_timeout: Duration,
    /// What fencing tokens rely on; `None`: there are none.
    pub(super) fence_fallback: Option<FenceFallback>,
}

/// Where nothing relies on clocks, those that are further apart are still worth a word.
const STRANGE_CLOCK: Duration = Duration::from_secs(60);

/// Judges all nodes; `now` is after they answered.
pub(super) fn judge(examined: &[Examined], standard: &Standard, now: Instant) -> (Vec<Finding>, CheckVerdict) {
    let server_info: Vec<_> = examined.iter().map(|node| server_info(node, now)).collect();
    let electorate = Electorate::of(now, server_info.iter().map(|server_info| server_info.as_deref()));
    let mut findings = Vec::new();
    let twin = twins(examined);
    if let Some((one, other)) = twin {
        findings.push(Finding {
            severity: Severity::Error,
            node: None,
            text: format!(
                "{one} and {other} are one and the same server, and a majority counts independent ones, so no lock is \
                 acquired at all; name each server once"
            ),
        });
    }
    for (node, Examined { label, servers }) in examined.iter().enumerate() {
        match servers {
            Ok(servers) => {
                for server in servers {
                    judge_server(server, electorate.standing(node), standard, now, &mut findings);
                }
            }
            Err(reason) => findings.push(of(label, Severity::Error, unreachable(reason))),
        }
    }
    findings.extend(of_all(examined, &electorate, &server_info, standard, now));
    // In the order of the nodes otherwise.
    findings.sort_by_key(|finding| finding.severity);
    let works = |(node, examined): (usize, &Examined)| {
        let can_lock = examined.servers.as_ref().is_ok_and(|servers| servers.iter().all(can_lock));
        can_lock && electorate.standing(node) == Standing::Votes
    };
    let working = examined.iter().enumerate().filter(|node| works(*node)).count();
    let (needed, nodes) = (standard.quorum.needed(), standard.quorum.nodes());
    let verdict = if working < needed || twin.is_some() {
        CheckVerdict::Unusable { working, needed, nodes }
    } else if findings.iter().any(|finding| finding.severity < Severity::Note) {
        CheckVerdict::Degraded { working, needed, nodes }
    } else {
        CheckVerdict::Healthy
    };
    (findings, verdict)
}

/// What decides whether the node votes: of several servers, that of the one that makes the most trouble.
fn server_info(node: &Examined, now: Instant) -> Option<Arc<ServerInfo>> {
    let server_info = node.servers.as_ref().ok()?.iter().map(|server| &server.server_info);
    server_info.max_by_key(|server_info| (server_info.role() == Role::Replica, server_info.grows_in(now))).cloned()
}

/// Two nodes that have a server in common.
fn twins(examined: &[Examined]) -> Option<(&str, &str)> {
    let of_node = |node: usize| {
        let servers = examined[node].servers.as_ref().map(Vec::as_slice).unwrap_or_default();
        servers.iter().map(|server| server.server_info.identity())
    };
    let pairs = (0..examined.len()).flat_map(|one| (one + 1..examined.len()).map(move |other| (one, other)));
    let is_twin = |(one, other): &(usize, usize)| of_node(*one).any(|id| of_node(*other).any(|others| id == others));
    pairs.into_iter().find(is_twin).map(|(one, other)| (&*examined[one].label, &*examined[other].label))
}

fn of(node: &str, severity: Severity, text: String) -> Finding {
    Finding { severity, node: Some(node.to_owned()), text }
}

fn unreachable(reason: &str) -> String {
    let says = says(reason);
    let cure = if says(&["wrongpass", "noauth", "authentication"]) {
        "write the right user and password into its URL"
    } else if says(&["noperm"]) {
        "let the user of its URL connect and ask"
    } else if says(&["no answer", "no connection within"]) {
        "see whether it hangs, or something on the way swallows what is sent"
    } else {
        "see whether it runs, and whether its address is right"
    };
    format!("it cannot be asked: {reason}; {cure}")
}

fn judge_server(
    server: &Examination,
    standing: Standing,
    standard: &Standard,
    now: Instant,
    findings: &mut Vec<Finding>,
) {
    let mut note = |severity, text: String| findings.push(of(&server.address, severity, text));
    for text in untold(&server.tells) {
        note(Severity::Warning, text.to_owned());
    }
    if server.server_info.role() == Role::Replica {
        note(Severity::Error, no_master(&server.tells));
    } else {
        for (severity, text) in of_trial(server) {
            note(severity, text);
        }
    }
    for (key, fault) in &server.counters.wrong {
        note(Severity::Warning, format!("it does not vote on that lock: {}", fault.about(key)));
    }
    if server.counters.has_more {
        note(
            Severity::Note,
            "it has so many keys that not all were looked through for wrong fencing counters".to_owned(),
        );
    }
    if standing == Standing::Young {
        let (age, left) = (seconds(server.server_info.age(now)), seconds(server.server_info.grows_in(now)));
        note(
            Severity::Warning,
            format!(
                "it started {age} ago and may have forgotten to whom it granted locks, so it does not vote before it is older \
                 than `longest_ttl`, in {left}; until then restart no other node"
            ),
        );
    }
    if let Some((severity, text)) = of_memory(server) {
        note(severity, text);
    }
    if standard.quorum.nodes() == 1
        && let Some(text) = server.persistence.and_then(alone_behind_a_restart)
    {
        note(Severity::Warning, text);
    }
    if let Some((severity, text)) = server.clock.and_then(|clocks| of_clock(clocks, standard.fence_fallback)) {
        note(severity, text);
    }
    if server.round_trip > standard.node_timeout / 3 {
        let (round_trip, limit) = (rounded(server.round_trip), rounded(standard.node_timeout));
        note(
            Severity::Warning,
            format!(
                "it answers in {round_trip}, more than a third of `node_timeout` ({limit}): answers that take a little \
                 longer count as no vote; set a longer one, or use a server that is nearer"
            ),
        );
    }
    match server.wakes {
        None | Some(Wakes::Tracking) => {}
        Some(Wakes::Subscription) => {
            let why = server.refused_hello.as_deref().map_or_else(
                || "it does not track keys for its clients (CLIENT TRACKING, Redis 6)".to_owned(),
                |reason| format!("it, or a proxy before it, speaks the older protocol alone (HELLO 3: {reason})"),
            );
            note(
                Severity::Note,
                format!(
                    "{why}: those who wait are woken by what Rust processes publish and, with `notify-keyspace-events Kg`, by \
                     other releases"
                ),
            );
        }
        Some(Wakes::SlowPoll) => {
            let (why, cure) = server.refused_hello.as_deref().map_or_else(
                || {
                    let cure = "allow the user: ACL SETUSER <user> +client|tracking +client|caching";
                    ("it neither tracks keys for its clients nor lets them subscribe".to_owned(), cure)
                },
                |reason| {
                    let cure = "let the user subscribe, or name the server behind the proxy";
                    (
                        format!(
                            "it, or a proxy before it, neither speaks RESP3 (HELLO 3: {reason}) nor lets them subscribe"
                        ),
                        cure,
                    )
                },
            );
            note(Severity::Warning, format!("{why}: those who wait ask now and then instead of being woken; {cure}"));
        }
    }
}

/// What a server does not tell of itself, what follows, and what to do.
fn untold(tells: &Tells) -> Vec<&'static str> {
    const NOTHING: &str = "it does not tell who it is and since when (INFO), so that a restart, a replica or a server that is \
                           named twice is not noticed; let it, if that is what is missing: ACL SETUSER <user> +info";
    const AGE: &str = "it does not tell for how long it has been running (`uptime_in_seconds` in INFO), so that a restart is \
                       not noticed, after which it may give away a lock that is held; restart it only while none is";
    const IDENTITY: &str = "it does not tell who it is (neither `run_id` nor `master_replid` in INFO), so that it is not \
                            noticed if it is named twice; make sure that every node is a server of its own";
    const ROLE: &str = "it does not tell whether it is a master (`role` in INFO), and is taken for one; make sure that it \
                        follows no other server";
    let Tells::Partly(told) = tells else { return Vec::new() };
    if !told.has_age() && !told.has_identity() && told.role().is_none() {
        return vec![NOTHING];
    }
    let each = [(told.has_age(), AGE), (told.has_identity(), IDENTITY), (told.role().is_some(), ROLE)];
    each.into_iter().filter(|(is_told, _)| !is_told).map(|(_, text)| text).collect()
}

/// What a server is that is no master.
fn no_master(tells: &Tells) -> String {
    let role = if let Tells::Partly(told) = tells { told.role() } else { None };
    match role {
        Some(role) if role.eq_ignore_ascii_case("active-replica") => {
            "it is an active replica, which does not vote: it and another server write over each other's keys; set \
             `active-replica no`, or name a server that is a master alone"
                .to_owned()
        }
        Some("slave" | "replica") | None => "it is a replica, which does not vote; name its master".to_owned(),
        Some(role) => {
            let role: String = role.chars().filter(char::is_ascii_graphic).take(40).collect();
            format!("it says that it is no master (role:{role}), so it does not vote; name its master")
        }
    }
}

/// What came of the lock that was tried out.
fn of_trial(server: &Examination) -> Vec<(Severity, String)> {
    let mut found = Vec::new();
    let lacks = |purpose| {
        let missing: Vec<_> = server.forbidden.iter().filter(|right| right.purpose == purpose).collect();
        let is_vital = |command: &str| {
            server.forbidden.iter().any(|right| right.purpose == Purpose::Locks && right.command == command)
        };
        // Once is enough to be told of a command.
        let is_news = purpose == Purpose::Locks || missing.iter().any(|right| !is_vital(right.command));
        (is_news && !missing.is_empty()).then(|| lacking(&missing))
    };
    if let Some(reason) = &server.refused_scripts {
        let text = format!(
            "it does not carry out scripts ({}), without which no lock is extended or released; switch scripting on, or use a \
             server, or a plan, that has it",
            told(reason)
        );
        return vec![(Severity::Error, text)];
    }
    let vital = lacks(Purpose::Locks);
    let is_vital = |(step, _): &&(Step, Arc<str>)| step.purpose() == Purpose::Locks;
    match (server.failed.iter().find(is_vital), &vital) {
        (Some((step, reason)), Some(missing)) => {
            found.push((Severity::Error, format!("a lock cannot be {step} ({}): {missing}", told(reason))));
        }
        (Some((step, reason)), None) => {
            found.push((Severity::Error, format!("a lock cannot be {step}: {}; {}", told(reason), cure(reason))));
        }
        // Not every right is needed for every lock.
        (None, Some(missing)) => found.push((Severity::Warning, format!("some locks will fail: {missing}"))),
        (None, None) => {}
    }
    let labels = lacks(Purpose::Labels);
    let fails = |purpose| server.failed.iter().find(|(step, _)| step.purpose() == purpose).filter(|_| vital.is_none());
    if let (Some((step, reason)), None) = (fails(Purpose::Labels), &labels) {
        found.push((Severity::Warning, format!("a lock cannot be {step}: {}", told(reason))));
    }
    // Tried out, unless a right is known to be missing.
    let lacks_or_fails = |purpose| lacks(purpose).or_else(|| Some(told(&fails(purpose)?.1).to_owned()));
    let others = [
        (labels, "owners of locks are not shown"),
        (lacks_or_fails(Purpose::Turns), "processes do not take turns"),
        (lacks_or_fails(Purpose::Statistics), "those who wait are not counted here"),
        (lacks(Purpose::Fires), "calls with `once` fail, and their bodies do not run"),
        (lacks(Purpose::Permits), "requests with `permits` fail, or people do not see who holds them"),
        (lacks(Purpose::Sharing), "requests for locks that readers share fail, or people do not see who has them"),
        (lacks(Purpose::Listing), "locks cannot be listed and reset"),
        (lacks(Purpose::CutConnections), "what a cut connection still carries stays for up to its TTL"),
    ];
    let others = others.into_iter().filter_map(|(missing, what)| Some(format!("{what}: {}", missing?)));
    found.extend(others.map(|text| (Severity::Note, text)));
    // Without the right to do it, that has been said.
    if let (Some(reason), None) = (&server.keeps_cut, lacks(Purpose::CutConnections)) {
        found.push((Severity::Note, format!("what a cut connection still carries stays for up to its TTL: {reason}")));
    }
    found
}

/// Without the hash of a script, which tells nobody anything.
fn told(reason: &str) -> &str {
    reason.split_once(" script: ").map_or(reason, |(told, _)| told).trim_end_matches(" script")
}

/// The client writes the codes of errors that it knows in its own way.
fn says(reason: &str) -> impl Fn(&[&str]) -> bool {
    let reason = reason.to_lowercase();
    move |texts| texts.iter().any(|text| reason.contains(text))
}

fn cure(reason: &str) -> &'static str {
    let says = says(reason);
    if says(&["`wait_replicas` needs"]) {
        "omit `wait_replicas`, or use a server that has what it needs"
    } else if says(&["the key of a name", "the key is gone"]) {
        "see whether another node is the same server"
    } else if says(&["oom "]) {
        "its memory is full: give it more, or remove what is not needed"
    } else if says(&["misconf"]) {
        "it cannot save what it has: see its log"
    } else if says(&["loading"]) {
        "it is reading what it saved: wait"
    } else if says(&["readonly"]) {
        "name its master"
    } else if says(&["noperm", "can't run this command"]) {
        "allow the user to call scripts: ACL SETUSER <user> +@scripting"
    } else if says(&["no answer"]) {
        "see whether it hangs, or set a longer `node_timeout`"
    } else {
        "see its log"
    }
}

/// What the user may not do, and how to allow it.
fn lacking(missing: &[&Forbidden]) -> String {
    let mut commands: Vec<&str> = missing.iter().map(|right| right.command).collect();
    let mut keys: Vec<&str> = missing.iter().filter_map(|right| right.key.as_deref()).collect();
    for names in [&mut commands, &mut keys] {
        names.sort_unstable();
        names.dedup();
    }
    let allowed = commands.iter().map(|command| format!("+{}", command.to_lowercase()));
    let allowed: Vec<_> = allowed.chain(keys.iter().map(|key| format!("~{key}"))).collect();
    let on = if keys.is_empty() { String::new() } else { format!(" on {}", keys.join(", ")) };
    let (commands, allowed) = (commands.join(", "), allowed.join(" "));
    format!("the user may not run {commands}{on}; allow it: ACL SETUSER <user> {allowed}")
}

fn of_memory(server: &Examination) -> Option<(Severity, String)> {
    let memory = server.memory.as_ref()?;
    let Some(policy) = &memory.policy else {
        return Some((
            Severity::Warning,
            "it does not tell whether it evicts keys when it is full (`maxmemory_policy` in INFO, or CONFIG GET): a lock that is \
             evicted can be given away while it is held; make sure that its policy is noeviction"
                .to_owned(),
        ));
    };
    if policy == "noeviction" {
        return None;
    }
    Some(match memory.limit {
        Some(0) => (
            Severity::Note,
            format!(
                "with `maxmemory-policy {policy}` it would evict locks, if `maxmemory` set a limit; it sets none. Set the \
                 policy to noeviction"
            ),
        ),
        limit => (
            Severity::Warning,
            format!(
                "it evicts keys when it is full (`maxmemory-policy {policy}`, `maxmemory` {}), locks too, which all \
                 expire: one that is evicted can be given away while it is held. Set the policy to noeviction, or use a server \
                 for locks alone",
                limit.map_or_else(|| "unknown".to_owned(), |limit| format!("{limit} bytes"))
            ),
        ),
    })
}

/// What it means for the only node to restart.
fn alone_behind_a_restart(persistence: Persistence) -> Option<String> {
    let has = match persistence {
        Persistence::Everything => return None,
        Persistence::Log => "without its last second (`appendfsync` is not always)",
        Persistence::SomeLog => "perhaps without its last second (it does not tell `appendfsync`)",
        Persistence::Snapshots => "with what it saved last, which is older (it saves snapshots and has no log)",
        Persistence::Nothing => "empty (it saves nothing)",
        Persistence::NoLog => "empty or with older data (it has no log)",
        Persistence::Unknown => "empty or with older data (it does not tell what it saves)",
    };
    Some(format!(
        "it is the only node, and would restart {has}: it then forgets who holds locks and grants them again, and there is \
         nobody else to ask. Use three nodes, or `appendonly yes` with `appendfsync always`"
    ))
}

fn of_clock(clocks: Clocks, fence_fallback: Option<FenceFallback>) -> Option<(Severity, String)> {
    let (severity, limit) = match fence_fallback {
        Some(FenceFallback::TrustClocks { max_clock_skew }) => (Severity::Warning, max_clock_skew),
        Some(FenceFallback::Refuse) | None => (Severity::Note, STRANGE_CLOCK),
    };
    let (apart, which) = match offset(clocks) {
        ClockOffset::Ahead(apart) => (apart, "ahead of"),
        ClockOffset::Behind(apart) => (apart, "behind"),
    };
    let at_least = apart.saturating_sub(clocks.uncertainty);
    let why = match severity {
        Severity::Note => "nothing relies on that".to_owned(),
        Severity::Error | Severity::Warning => format!(
            "more than `max_clock_skew` ({}), on which fencing tokens rely where too few nodes remember earlier ones",
            rounded(limit)
        ),
    };
    (at_least > limit).then(|| {
        let text = format!("its clock is {} {which} this machine's: {why}. Set the one that is wrong", rounded(apart));
        (severity, text)
    })
}

/// What is to be said once.
fn of_all(
    examined: &[Examined],
    electorate: &Electorate,
    server_info: &[Option<Arc<ServerInfo>>],
    standard: &Standard,
    now: Instant,
) -> Vec<Finding> {
    let mut texts = Vec::new();
    if standard.quorum.nodes() > 1 {
        let is_young = |server_info: &&ServerInfo| !server_info.grows_in(now).is_zero();
        let left = server_info
            .iter()
            .flatten()
            .map(|server_info| &**server_info)
            .filter(is_young)
            .map(|server_info| server_info.grows_in(now));
        if let Some(left) = left.max().filter(|_| electorate.young().is_empty()) {
            texts.push(format!(
                "locks work. The nodes that can be reached were all started lately: restart none of them within the next {}, because \
                 one that forgets its locks could give one away that is held",
                seconds(left)
            ));
        }
        let servers = examined.iter().filter_map(|node| node.servers.as_ref().ok()).flatten();
        let keeps = |keeps: &dyn Fn(Persistence) -> bool| -> String {
            let keep = servers.clone().filter(|server| server.persistence.is_some_and(keeps));
            keep.map(|server| &*server.address).collect::<Vec<_>>().join(", ")
        };
        let is_untold = |has| matches!(has, Persistence::Unknown | Persistence::NoLog | Persistence::SomeLog);
        let untold = keeps(&is_untold);
        let forgetful = keeps(&|has| has != Persistence::Everything && !is_untold(has));
        for (these, what) in [
            (forgetful, "do not keep all of what they granted over a restart"),
            (untold, "may not keep all of what they granted over a restart, as far as they tell"),
        ] {
            if !these.is_empty() {
                texts.push(format!(
                    "nothing is wrong; for the day on which you restart nodes: {these} {what}, and so do not vote again before \
                     they have run for `longest_ttl` ({}). Restart one at a time, and wait {} (1.25 times that) before the next",
                    rounded(standard.longest_ttl),
                    rounded(standard.longest_ttl * 5 / 4)
                ));
            }
        }
    }
    texts.into_iter().map(|text| Finding { severity: Severity::Note, node: None, text }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::check::Memory;
    use crate::protocol::NoCounter;

    const HOUR: Duration = Duration::from_secs(3600);
    const LONGEST_TTL: Duration = Duration::from_secs(300);

    fn info_of(run_id: &str, age: Duration, role: Role) -> Arc<ServerInfo> {
        Arc::new(ServerInfo::new(crate::platform::clock::now(), age, LONGEST_TTL, run_id.into(), role))
    }

    /// One with which nothing is wrong.
    fn server(name: &str) -> Examination {
        Examination {
            version: Some("7.2.4".to_owned()),
            memory: Some(Memory { policy: Some("noeviction".to_owned()), limit: Some(0) }),
            persistence: Some(Persistence::Everything),
            round_trip: Duration::from_millis(1),
            wakes: Some(Wakes::Tracking),
            ..Examination::of(name.into(), info_of(name, HOUR, Role::Master), Tells::Itself)
        }
    }

    fn three(change: impl FnOnce(&mut Examination)) -> Vec<Result<Vec<Examination>, Arc<str>>> {
        let mut first = server("a");
        change(&mut first);
        vec![Ok(vec![first]), Ok(vec![server("b")]), Ok(vec![server("c")])]
    }

    fn judged(servers: Vec<Result<Vec<Examination>, Arc<str>>>) -> (Vec<Finding>, CheckVerdict) {
        let quorum = Quorum::of(servers.len()).unwrap();
        let fence_fallback = Some(FenceFallback::TrustClocks { max_clock_skew: Duration::from_secs(60) });
        let standard =
            Standard { quorum, longest_ttl: LONGEST_TTL, node_timeout: Duration::from_millis(250), fence_fallback };
        let labelled = servers.into_iter().enumerate();
        let examined: Vec<_> =
            labelled.map(|(node, servers)| Examined { label: format!("node {node}"), servers }).collect();
        judge(&examined, &standard, crate::platform::clock::now())
    }

    /// The one finding, and the verdict.
    fn check(change: impl FnOnce(&mut Examination), severity: Severity, words: &str, verdict: CheckVerdict) {
        let (findings, is) = judged(three(change));
        let [finding] = &findings[..] else { panic!("{words}: {findings:?}") };
        assert!(finding.severity == severity && finding.text.contains(words), "{words}: {finding}");
        assert_eq!(is, verdict, "{words}");
    }

    fn degraded(working: usize) -> CheckVerdict {
        CheckVerdict::Degraded { working, needed: 2, nodes: 3 }
    }

    fn forbidden(command: &'static str, key: &str, purpose: Purpose) -> Forbidden {
        Forbidden { command, key: Some(key.to_owned()), purpose }
    }

    #[test]
    fn nothing_is_found_where_nothing_is_wrong() {
        assert_eq!(judged(three(|_| {})), (vec![], CheckVerdict::Healthy));
        assert_eq!(judged(vec![Ok(vec![server("a")])]), (vec![], CheckVerdict::Healthy));
    }

    #[test]
    fn each_fault_is_found_and_weighed() {
        let young = info_of("a", Duration::from_secs(9), Role::Master);
        check(|a| a.server_info = young, Severity::Warning, "does not vote before", degraded(2));
        let replica = info_of("a", HOUR, Role::Replica);
        check(|a| a.server_info = replica, Severity::Error, "name its master", degraded(2));
        check(|a| a.tells = Tells::Partly(Arc::default()), Severity::Warning, "+info", degraded(3));
        check(|a| a.round_trip = Duration::from_millis(90), Severity::Warning, "answers in 90ms", degraded(3));
        check(|a| a.wakes = Some(Wakes::SlowPoll), Severity::Warning, "now and then", degraded(3));
        check(|a| a.wakes = Some(Wakes::Subscription), Severity::Note, "notify-keyspace", CheckVerdict::Healthy);
        check(
            |a| a.persistence = Some(Persistence::Snapshots),
            Severity::Note,
            "wait 6m 15s (1.25",
            CheckVerdict::Healthy,
        );
        let evicts = |limit| Some(Memory { policy: Some("volatile-ttl".to_owned()), limit });
        check(|a| a.memory = evicts(Some(0)), Severity::Note, "volatile-ttl", CheckVerdict::Healthy);
        check(|a| a.memory = evicts(Some(9)), Severity::Warning, "given away", degraded(3));
        check(|a| a.memory = evicts(None), Severity::Warning, "`maxmemory` unknown", degraded(3));
        let untold = Some(Memory { policy: None, limit: Some(0) });
        check(|a| a.memory = untold, Severity::Warning, "does not tell whether it evicts", degraded(3));
        for untold in [Persistence::Unknown, Persistence::NoLog, Persistence::SomeLog] {
            check(|a| a.persistence = Some(untold), Severity::Note, "as far as they tell", CheckVerdict::Healthy);
        }
        let wrong = |a: &mut Examination| a.counters.wrong.push(("redlock-fence:{k}".to_owned(), NoCounter::Text));
        check(
            wrong,
            Severity::Warning,
            "`redlock-fence:{k}` holds no number, or none that can be raised; set",
            degraded(3),
        );
        check(|a| a.counters.has_more = true, Severity::Note, "not all were looked through", CheckVerdict::Healthy);
    }

    #[test]
    fn a_step_that_failed_names_what_is_missing_and_other_rights_are_told_once() {
        let refused =
            "ERR The user executing the script can't run this command or subcommand script: da05f, on @user:1.";
        let change = |a: &mut Examination| {
            a.failed = vec![(Step::Extend, refused.into()), (Step::Label, refused.into())];
            a.forbidden = vec![
                forbidden("PEXPIRE", "redlock:*", Purpose::Locks),
                forbidden("PEXPIRE", "redlock-holder:*", Purpose::Labels),
            ];
        };
        let (words, verdict) =
            ("extended (ERR The user executing the script can't run this command or subcommand)", degraded(2));
        check(change, Severity::Error, words, verdict);
        check(
            change,
            Severity::Error,
            "may not run PEXPIRE on redlock:*; allow it: ACL SETUSER <user> +pexpire ~redlock:*",
            verdict,
        );
        let full = |a: &mut Examination| a.failed = vec![(Step::Acquire, "OOM command not allowed".into())];
        check(full, Severity::Error, "memory is full", verdict);
        let scan = |a: &mut Examination| {
            a.forbidden = vec![Forbidden { command: "SCAN", key: None, purpose: Purpose::Listing }];
        };
        check(scan, Severity::Note, "listed and reset: the user may not run SCAN; allow", CheckVerdict::Healthy);
        let marks = |a: &mut Examination| a.forbidden = vec![forbidden("SET", "redlock-done:*", Purpose::Fires)];
        let words = "calls with `once` fail, and their bodies do not run: the user may not run SET on redlock-done:*; allow it: \
                     ACL SETUSER <user> +set ~redlock-done:*";
        check(marks, Severity::Note, words, CheckVerdict::Healthy);
        let shared = |a: &mut Examination| a.forbidden = vec![forbidden("ZADD", "redlock-readers:*", Purpose::Sharing)];
        let words = "requests for locks that readers share fail, or people do not see who has them: the user may not run ZADD on \
                     redlock-readers:*; allow it: ACL SETUSER <user> +zadd ~redlock-readers:*";
        check(shared, Severity::Note, words, CheckVerdict::Healthy);
    }

    #[test]
    fn what_is_not_vital_is_told_of_when_it_fails_and_once() {
        for (step, words) in [(Step::TakeTurns, "do not take turns: why"), (Step::Count, "not counted here: why")] {
            check(|a| a.failed = vec![(step, "why".into())], Severity::Note, words, CheckVerdict::Healthy);
        }
        let explained = |a: &mut Examination| {
            a.failed = vec![(Step::TakeTurns, "why".into())];
            a.forbidden = vec![forbidden("ZADD", "redlock-waiting:*", Purpose::Turns)];
        };
        check(explained, Severity::Note, "do not take turns: the user may not run ZADD", CheckVerdict::Healthy);
    }

    #[test]
    fn clocks_are_compared_beyond_the_time_of_the_answer() {
        let clock = |theirs: u64, uncertainty: u64| {
            let [theirs, ours, uncertainty] = [theirs, 1000, uncertainty].map(Duration::from_secs);
            move |a: &mut Examination| a.clock = Some(Clocks { theirs, ours, uncertainty })
        };
        check(clock(1062, 1), Severity::Warning, "1m 2s ahead of this machine's", degraded(3));
        check(clock(900, 1), Severity::Warning, "1m 40s behind this machine's", degraded(3));
        assert_eq!(judged(three(clock(1062, 3))), (vec![], CheckVerdict::Healthy));
    }

    #[test]
    fn a_node_that_cannot_be_asked_gets_the_cure_for_its_reason() {
        for (reason, cure) in [
            ("Connection refused (os error 111)", "whether it runs"),
            ("AuthenticationFailed: WRONGPASS", "right user and password"),
            ("no connection within 1s", "hangs"),
        ] {
            let (findings, verdict) = judged(vec![Err(reason.into()), Ok(vec![server("b")]), Ok(vec![server("c")])]);
            assert!(findings.len() == 1 && findings[0].text.contains(cure), "{findings:?}");
            assert_eq!(verdict, degraded(2));
        }
        let (_, verdict) = judged(vec![Err("x".into()), Err("x".into()), Ok(vec![server("c")])]);
        assert_eq!(verdict, CheckVerdict::Unusable { working: 1, needed: 2, nodes: 3 });
    }

    #[test]
    fn of_several_servers_behind_one_node_every_one_must_work() {
        let mut broken = server("a2");
        broken.failed = vec![(Step::Release, "x".into())];
        let (findings, verdict) =
            judged(vec![Ok(vec![server("a1"), broken]), Ok(vec![server("b")]), Ok(vec![server("c")])]);
        assert_eq!(findings[0].node.as_deref(), Some("a2"));
        assert_eq!(verdict, degraded(2));
        let (findings, verdict) = judged(vec![Ok(vec![server("a"), server("b")]), Ok(vec![server("b")])]);
        assert!(findings[0].text.contains("node 0 and node 1 are one and the same"), "{findings:?}");
        assert!(matches!(verdict, CheckVerdict::Unusable { .. }));
    }
}
