//! Locks as people see them: who holds one, which there are, and how to be rid of one.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;
use redis::cmd;
use redlock_runtime::{Error, LockInfo, LockManager, LockState, LostReason};
use redlock_tests::wait::{LIMIT, eventually, eventually_async};
use redlock_tests::{RedisServer, Servers};

use crate::common::kinds::slot;
use crate::common::waiters::{PROMPT, holder};
use crate::common::{RARE_POLL, all_have_x, key, manager, prompt, unhurried};

const LONG: Duration = Duration::from_secs(20);

/// What a Python process writes.
const SOMEBODY: &str = "d3bb4f4f-68cb-4db8-ac70-8bef4d8bfa4f";

/// Looks until the owner's label is there.
async fn labelled(locks: &LockManager, name: &str) -> LockInfo {
    eventually_async("the owner is labelled", async || locks.inspect(name).await.unwrap().owner_label.is_some()).await;
    locks.inspect(name).await.unwrap()
}

fn notes(servers: &Servers) -> usize {
    servers.iter().map(|server| server.probe().keys_like("redlock-holder:*").len()).sum()
}

/// All keys but the counters, which outlive their locks; of those of waiters there are some if a busy machine made somebody wait.
fn keys_left(servers: &Servers) -> Vec<String> {
    const COUNTERS: [&str; 6] =
        ["redlock-fence:", "redlock-leases:", "redlock-counts:", "Waiting.", "Inserted.", "ConfigurableLockKeys"];

    let keys = servers.iter().flat_map(|server| server.probe().keys());
    keys.filter(|key| !COUNTERS.iter().any(|counter| key.starts_with(counter))).collect()
}

async fn nothing_is_left(servers: &Servers) {
    eventually_async("nothing is left", async || keys_left(servers).is_empty()).await;
}

#[tokio::test]
async fn a_held_lock_shows_who_holds_it_since_when_and_for_how_long() {
    for count in [1, 3] {
        let servers = Servers::start(count);
        let (locks, others) = (manager(&servers), manager(&servers));
        assert!(!locks.is_locked("in{voi}ce:7").await.unwrap());
        let guard = tokio::spawn(locks.lock("in{voi}ce:7").ttl(LONG).acquire()).await.unwrap().unwrap();
        eventually_async("every node granted it", async || servers.holding(&key("in{voi}ce:7")) == count).await;
        for locks in [&locks, &others] {
            let info = labelled(locks, "in{voi}ce:7").await;
            assert_eq!((info.state, info.votes, info.nodes), (LockState::Held, count, count), "{info}");
            assert_eq!((info.needed, info.waiting, info.failures.len()), (count / 2 + 1, 0, 0), "{info}");
            let label = info.owner_label.as_deref().unwrap();
            assert!(label.contains(&format!(" pid {} task ", std::process::id())), "{label}");
            assert!(!label.starts_with(' ') && !label.starts_with("unknown"), "{label}");
            let (held_for, remaining) = (info.held_for.unwrap(), info.remaining.unwrap());
            assert!(held_for >= Duration::from_millis(90) && held_for < LONG / 2, "{held_for:?}");
            assert!(remaining > LONG / 2 && remaining <= LONG, "{remaining:?}");
            assert_eq!(info.fencing_token, Some(guard.fencing_token()), "{info}");
            assert!(info.is_held() && locks.is_locked("in{voi}ce:7").await.unwrap());
        }
        guard.release().await.unwrap();
        let info = others.inspect("in{voi}ce:7").await.unwrap();
        assert_eq!((info.state, info.owner_label.clone(), info.held_for), (LockState::Free, None, None), "{info}");
        assert_eq!(info.remaining, None, "{info}");
        nothing_is_left(&servers).await;
    }
}

#[tokio::test]
async fn an_owner_is_called_as_the_request_says_else_as_the_manager_does() {
    let servers = Servers::start(1);
    let locks = unhurried().nodes(servers.urls()).owner_label("billing, blue").build().unwrap();
    let guards = [
        locks.lock("a").acquire().await.unwrap(),
        locks.lock("b").owner_label("Zahlläufe 夜").acquire().await.unwrap(),
        locks.lock("c").owner_label("").acquire().await.unwrap(),
        locks.lock("d").acquire().await.unwrap(),
    ];
    // The labels are written in the order of the locks.
    assert_eq!(labelled(&locks, "d").await.owner_label.as_deref(), Some("billing, blue"));
    let mut labels = Vec::new();
    for name in ["a", "b", "c"] {
        labels.push(locks.inspect(name).await.unwrap().owner_label);
    }
    assert_eq!(
        labels.iter().map(Option::as_deref).collect::<Vec<_>>(),
        [Some("billing, blue"), Some("Zahlläufe 夜"), None]
    );
    for guard in guards {
        guard.release().await.unwrap();
    }
    for label in ["two\nlines".to_owned(), "x".repeat(513)] {
        let error = locks.lock("x").owner_label(&label).acquire().await.unwrap_err();
        assert!(matches!(&error, Error::Config { reason } if reason.contains("owner_label")), "{error}");
        let error = LockManager::builder().nodes(["memory://"]).owner_label(label).build().unwrap_err();
        assert!(matches!(&error, Error::Config { reason } if reason.contains("owner_label")), "{error}");
    }
}

#[tokio::test]
async fn a_lock_that_is_held_for_a_moment_costs_no_command_more() {
    let servers = Servers::start(1);
    let locks = manager(&servers);
    for _ in 0..200 {
        locks.lock("x").acquire().await.unwrap().release().await.unwrap();
    }
    assert_eq!(servers[0].probe().command_counts().of("evalsha"), 400);
    let guard = locks.lock("last").acquire().await.unwrap();
    labelled(&locks, "last").await;
    assert_eq!(servers[0].probe().command_counts().of("hset"), 1, "only the last was held for long enough");
    guard.release().await.unwrap();
}

#[tokio::test]
async fn a_label_lives_as_long_as_its_lock_and_no_longer() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    // A busy machine may be two seconds late with a renewal.
    let ttl = Duration::from_secs(4);
    let guard = locks.lock("x").ttl(ttl).acquire().await.unwrap();
    labelled(&locks, "x").await;
    for _ in 0..20 {
        tokio::time::sleep(ttl / 10).await;
        assert!(locks.inspect("x").await.unwrap().owner_label.is_some());
        for server in &servers {
            for note in server.probe().keys_like("redlock-holder:*") {
                let left = server.probe().pttl(&note).remaining().expect("it expires");
                assert!(left <= ttl, "{left:?}");
            }
        }
    }
    drop(guard);
    nothing_is_left(&servers).await;

    // Nor does it end, on a busy machine, before it is labelled.
    let guard = locks.lock("x").ttl(ttl).renew(false).acquire().await.unwrap();
    labelled(&locks, "x").await;
    assert!(notes(&servers) >= 2);
    nothing_is_left(&servers).await;
    drop(guard);
}

#[tokio::test]
async fn a_lock_that_is_detached_at_once_shows_its_owner_when_its_manager_is_shut_down() {
    let servers = Servers::start(3);
    let others = manager(&servers);
    for (number, label) in [None, Some("a script"), Some("")].into_iter().enumerate() {
        let locks = unhurried().nodes(servers.urls()).owner_label("its manager").build().unwrap();
        let mut request = locks.lock("x").ttl(LONG);
        if let Some(label) = label {
            request = request.owner_label(label);
        }
        let token = request.acquire().await.unwrap().detach();
        assert_eq!(locks.shutdown_within(LONG).await.to_string(), "no lock was held");
        let info = others.inspect("x").await.unwrap();
        let expect = [Some("its manager"), Some("a script"), None][number];
        assert_eq!(info.owner_label.as_deref(), expect, "{info}");
        assert_eq!(info.fencing_token, expect.map(|_| token.fencing_token()), "{info}");
        // What a node grants that is not heard before the lock is detached is given back.
        let noted = || if expect.is_some() { servers.holding(&key("x")) } else { 0 };
        eventually_async("it is labelled wherever it is held", async || notes(&servers) == noted()).await;
        assert!(servers.holding(&key("x")) >= 2);
        others.extend(&token, LONG).await.unwrap();
        assert_eq!(others.inspect("x").await.unwrap().owner_label.as_deref(), expect, "it lives on with its lock");
        others.release(&token).await.unwrap();
        nothing_is_left(&servers).await;
    }
}

#[tokio::test]
async fn a_node_that_hangs_keeps_no_lock_from_being_labelled_on_the_others() {
    let servers = Servers::start(3);
    // The node is given longer than the test waits.
    let locks = unhurried().nodes(servers.urls()).node_timeout(4 * LIMIT).build().unwrap();
    let others = prompt(&servers);
    let acquire = async |name: &str| locks.lock(name).ttl(8 * LIMIT).acquire().await.unwrap();
    // What has a counter is not sought on the node that hangs.
    for name in ["one", "two", "three"] {
        acquire(name).await.release().await.unwrap();
    }
    let mut held = vec![acquire("before").await];
    // All that leads to the node is connected, and it hangs with the next label.
    eventually_async("it is labelled everywhere", async || notes(&servers) == 3).await;
    locks.nodes().await.unwrap();
    servers[2].hang();
    for name in ["one", "two", "three"] {
        held.push(acquire(name).await);
        let is_labelled = async || others.inspect(name).await.is_ok_and(|lock| lock.owner_label.is_some());
        eventually_async("it is labelled", is_labelled).await;
    }
    servers[2].resume();
}

#[tokio::test]
async fn a_label_lives_on_with_a_token_and_goes_with_its_release() {
    let servers = Servers::start(3);
    let (locks, others) = (manager(&servers), manager(&servers));
    let guard = locks.lock("x").ttl(LONG / 3).owner_label("first").acquire().await.unwrap();
    labelled(&locks, "x").await;
    let token = guard.detach();
    others.extend(&token, LONG).await.unwrap();
    let info = others.inspect("x").await.unwrap();
    assert_eq!(info.owner_label.as_deref(), Some("first"));
    for server in &servers {
        for note in server.probe().keys_like("redlock-holder:*") {
            eventually_async("the note was extended", async || {
                server.probe().pttl(&note).remaining().is_some_and(|left| left > LONG / 2)
            })
            .await;
        }
    }
    others.release(&token).await.unwrap();
    nothing_is_left(&servers).await;
}

#[tokio::test]
async fn an_owner_without_a_label_is_not_called_like_an_earlier_one() {
    for count in [1, 3] {
        let servers = Servers::start(count);
        let locks = manager(&servers);
        let guard = locks.lock("x").acquire().await.unwrap();
        labelled(&locks, "x").await;
        for server in &servers {
            server.probe().set_for(&key("x"), SOMEBODY, LONG);
        }
        assert!(notes(&servers) >= 1, "the note of the earlier owner is there still");
        let info = locks.inspect("x").await.unwrap();
        assert_eq!((info.state, info.votes), (LockState::Held, count));
        assert_eq!((info.owner_label, info.held_for), (None, None));
        assert!(info.remaining.is_some_and(|left| left > LONG / 2));
        drop(guard);
    }
}

#[tokio::test]
async fn who_may_not_label_locks_holds_them_all_the_same() {
    let server = RedisServer::start();
    let mut rule = cmd("ACL");
    rule.arg("SETUSER").arg("app").arg(&["on", ">pass", "&*", "+@all", "~redlock:*", "~redlock-fence:*"]);
    server.probe().run::<()>(&rule).unwrap();
    let url = format!("redis://app:pass@127.0.0.1:{}", server.port());
    let locks = unhurried().nodes([url]).build().unwrap();
    let others = unhurried().nodes([server.url()]).build().unwrap();
    let ttl = Duration::from_secs(4);
    let guard = locks.lock("x").ttl(ttl).acquire().await.unwrap();
    let labelled_later = others.lock("y").acquire().await.unwrap();
    labelled(&others, "y").await;
    for _ in 0..10 {
        tokio::time::sleep(ttl / 5).await;
        assert!(guard.is_valid());
    }
    assert_eq!(others.inspect("x").await.unwrap().owner_label, None);
    guard.extend(ttl).await.unwrap();
    guard.release().await.unwrap();
    labelled_later.release().await.unwrap();
    assert!(!server.probe().exists(&key("x")));
}

#[test]
fn a_lock_of_another_process_shows_that_process_until_it_expires() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let mut program = holder(&servers, &["name=x", "ttl_ms=5000"]);
    assert_eq!(program.line(), "acquired");
    let label = || locks.inspect_blocking("x").unwrap().owner_label;
    eventually("it is labelled", || label().is_some());
    assert!(label().unwrap().contains(&format!(" pid {}", program.pid())), "{:?}", label());
    program.kill();
    assert!(locks.is_locked_blocking("x").unwrap());
    eventually("it expired", || locks.inspect_blocking("x").unwrap().state == LockState::Free);
    eventually("so did the label", || keys_left(&servers).is_empty());
}

#[tokio::test]
async fn those_who_wait_are_shown() {
    let servers = Servers::start(3);
    let (locks, others) = (manager(&servers), manager(&servers));
    let guard = locks.lock("x").acquire().await.unwrap();
    let waiters = [&locks, &others, &others].map(|locks| tokio::spawn(locks.lock("x").acquire()));
    eventually_async("three wait", async || locks.inspect("x").await.unwrap().waiting == 3).await;
    for waiter in waiters {
        waiter.abort();
    }
    eventually_async("nobody waits", async || locks.inspect("x").await.unwrap().waiting == 0).await;
    guard.release().await.unwrap();
}

#[tokio::test]
async fn a_lock_that_is_kept_is_neither_held_nor_free() {
    let servers = Servers::start(3);
    for locks in [manager(&servers), LockManager::builder().nodes(["memory://"]).build().unwrap()] {
        locks.lock("x").min_hold(LONG).acquire().await.unwrap().release().await.unwrap();
        check_kept(&locks).await;
    }
}

async fn check_kept(locks: &LockManager) {
    let info = locks.inspect("x").await.unwrap();
    assert_eq!((info.state, info.owner_label.as_deref()), (LockState::Kept, None), "{info}");
    assert!(info.remaining.is_some_and(|left| left > LONG / 2), "{info}");
    // Nobody can acquire it, so everything says that it is taken.
    assert!(locks.lock("x").try_acquire().await.unwrap().is_none());
    assert!(!info.is_held() && info.is_locked() && locks.is_locked("x").await.unwrap());
    assert_eq!(locks.list().next().await.unwrap().unwrap(), "x");
    assert!(locks.reset("x").await.unwrap() >= 1);
    assert_eq!(locks.inspect("x").await.unwrap().state, LockState::Free);
}

#[tokio::test]
async fn what_another_client_wrote_directs_no_terminal() {
    let servers = Servers::start(1);
    let locks = manager(&servers);
    let name = "in\u{202e}voice";
    let probe = servers[0].probe();
    let (lock, note) = (key(name), format!("redlock-holder:{{{}}}", key(name)));
    probe.set_for(&lock, "somebody", LONG);
    let fields = ["owner", "somebody", "label", "\u{1b}[2Jme\u{2066}", "since", "1", "token", "7"];
    probe.run::<()>(cmd("HSET").arg(&note).arg(&fields)).unwrap();
    let info = locks.inspect(name).await.unwrap();
    let line = info.to_string();
    assert!(line.contains(r"in\u{202e}voice: held by \u{1b}[2Jme\u{2066}"), "{line}");
    assert_eq!(info.owner_label.as_deref(), Some("\u{1b}[2Jme\u{2066}"), "as it was written");
    let error = locks.lock(name).timeout(Duration::ZERO).acquire().await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains(r"`in\u{202e}voice`") && !text.contains('\u{202e}'), "{text}");
}

#[tokio::test]
async fn what_no_majority_says_is_not_called_held() {
    let servers = Servers::start(3);
    // One that is late is no answer; beside the one that hangs, each look lasts as long.
    let locks = unhurried().nodes(servers.urls()).node_timeout(Duration::from_secs(2)).build().unwrap();
    for (server, owner) in servers.iter().zip(["a", "b", "c"]) {
        server.probe().set_for(&key("x"), owner, LONG);
    }
    let info = locks.inspect("x").await.unwrap();
    assert_eq!((info.state, info.votes, info.remaining), (LockState::Unsettled, 1, None), "{info}");
    check_taken(&locks, true).await;
    // One that is free makes no majority, and two do.
    servers[2].probe().del(&key("x"));
    check_taken(&locks, true).await;
    // Whoever has the key on the one that does not answer: no majority is free.
    servers[2].hang();
    check_taken(&locks, true).await;
    servers[2].resume();
    servers[1].probe().del(&key("x"));
    // What it was asked for while it hung is given back.
    let is_free = async || locks.inspect("x").await.unwrap().state == LockState::Free;
    eventually_async("a majority is free", is_free).await;
    let info = locks.inspect("x").await.unwrap();
    assert_eq!((info.state, info.votes, info.is_locked()), (LockState::Free, 1, false), "{info}");
    assert!(!locks.is_locked("x").await.unwrap());
    assert_eq!(locks.list().next().await.unwrap().unwrap(), "x", "one node still has it");
    locks.lock("x").try_acquire().await.unwrap().expect("a majority is free").release().await.unwrap();
    eventually_async("it is given back", async || servers.holding(&key("x")) == 1).await;

    servers[1].probe().set_for(&key("x"), "a", LONG / 4);
    let info = locks.inspect("x").await.unwrap();
    assert_eq!((info.state, info.votes), (LockState::Held, 2), "{info}");
    assert!(info.remaining.is_some_and(|left| left <= LONG / 4), "a majority ends with the second of two: {info}");
}

/// Everything says whether somebody can acquire it, and so does whoever tries.
async fn check_taken(locks: &LockManager, expect: bool) {
    let info = locks.inspect("x").await.unwrap();
    assert_eq!((info.is_locked(), locks.is_locked("x").await.unwrap()), (expect, expect), "{info}");
    assert_eq!(locks.list().next().await.unwrap().unwrap(), "x");
    assert_eq!(matches!(locks.lock("x").try_acquire().await, Ok(Some(_))), !expect, "{info}");
}

#[tokio::test]
async fn a_permit_that_nobody_gets_is_taken_whoever_has_it() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let guard = locks.lock("x").permits(1).ttl(LONG).acquire().await.unwrap();
    eventually_async("it is told", async || locks.inspect("x").await.unwrap().permits.len() == 1).await;
    let keys = [slot("x", 0)];
    eventually_async("every node granted it", async || servers.holding(&keys[0]) == 3).await;
    let permit = async || locks.inspect("x").await.unwrap().permits[0].clone();
    assert!(permit().await.is_taken());
    for (server, owner) in servers.iter().zip(["a", "b", "c"]) {
        server.probe().set_for(&keys[0], owner, LONG);
    }
    let seen = permit().await;
    assert!(seen.is_taken() && seen.state == LockState::Unsettled, "{seen}");
    assert!(locks.lock("x").permits(1).try_acquire().await.unwrap().is_none());
    for server in servers.iter().take(2) {
        server.probe().del(&keys[0]);
    }
    assert!(!permit().await.is_taken());
    drop(guard);
}

#[tokio::test]
async fn nodes_that_do_not_answer_are_named_and_a_majority_is_needed() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let guard = locks.lock("x").owner_label("me").acquire().await.unwrap();
    labelled(&locks, "x").await;
    all_have_x(&servers).await;
    servers[0].hang();
    for _ in 0..2 {
        let info = locks.inspect("x").await.unwrap();
        assert_eq!((info.state, info.votes, info.failures.len()), (LockState::Held, 2, 1), "{info}");
        assert_eq!(info.owner_label.as_deref(), Some("me"));
        assert!(locks.is_locked("x").await.unwrap());
        assert!(!locks.is_locked("y").await.unwrap());
        servers[0].kill();
    }
    // One has the key and one does not: whether it is held depends on the third.
    servers[1].probe().del(&key("x"));
    let error = locks.is_locked("x").await.unwrap_err();
    assert!(matches!(error, Error::QuorumUnreachable { granted: 1, needed: 2, nodes: 3, .. }), "{error}");
    let info = locks.inspect("x").await.unwrap();
    assert_eq!((info.state, info.is_locked()), (LockState::Unsettled, false), "{info}");
    servers[1].hang();
    for error in [locks.is_locked("y").await.unwrap_err(), locks.inspect("y").await.unwrap_err()] {
        assert!(matches!(&error, Error::QuorumUnreachable { source, .. } if source.len() == 2), "{error}");
    }
    assert!(matches!(locks.reset("x").await.unwrap_err(), Error::QuorumUnreachable { granted: 1, .. }));
    drop(guard);
}

/// Names that a pattern, a cluster or a script could take for something else.
const ODD: [&str; 9] = ["*", "[a]", "a?b", "in{voi}ce:7", "{}", "夜間 報告", r"back\slash", "x:released", "^-"];

/// Sets keys of locks, many at once, on a majority of the nodes.
fn set_locks(servers: &[&RedisServer], keys: &[String]) {
    for server in servers {
        let mut all = redis::pipe();
        for key in keys {
            all.cmd("SET").arg(key).arg(SOMEBODY).arg("PX").arg(600_000);
        }
        let client = redis::Client::open(server.url()).unwrap();
        all.exec(&mut client.get_connection().unwrap()).unwrap();
    }
}

async fn names(locks: &LockManager) -> Vec<String> {
    let mut names: Vec<_> = locks.list().map(Result::unwrap).collect().await;
    names.sort_unstable();
    names
}

#[tokio::test]
async fn all_locks_are_listed_each_once_and_nothing_else() {
    let servers = Servers::start(3);
    for prefix in ["redlock:ConfigurableLock.", "jobs[*]?:", ""] {
        let locks = unhurried().nodes(servers.urls()).lock_prefix(prefix).build().unwrap();
        let mut expect: BTreeSet<String> = (0..2500).map(|number| format!("job-{number}")).collect();
        expect.extend(ODD.map(str::to_owned));
        let keys: Vec<_> = expect.iter().map(|name| format!("{prefix}{name}")).collect();
        // Each on two of the three nodes.
        for (start, part) in keys.chunks(keys.len().div_ceil(3)).enumerate() {
            set_locks(&[&servers[start], &servers[(start + 1) % 3]], part);
        }
        // Of clients that refuse no characters, and bound no names.
        let others = ["a\nb".to_owned(), "x".repeat(513)];
        set_locks(&[&servers[0], &servers[1]], &others.each_ref().map(|name| format!("{prefix}{name}")));
        expect.extend(others);
        if !prefix.is_empty() {
            set_locks(&[&servers[0]], &[prefix.to_owned(), "jobsX:no".to_owned(), "other".to_owned()]);
        }
        let no_lock = format!("{prefix}a hash");
        servers[0].probe().run::<()>(cmd("HSET").arg(&no_lock).arg("a").arg(1)).unwrap();
        // One with waiters, a label and counters beside it.
        let guard = locks.lock("ours").acquire().await.unwrap();
        expect.insert("ours".to_owned());
        let waiter = tokio::spawn(locks.lock("ours").acquire());
        labelled(&locks, "ours").await;
        eventually_async("the waiter is counted", async || locks.inspect("ours").await.unwrap().waiting == 1).await;
        eventually_async("it is listed", async || servers[0].probe().exists("Inserted.Waiting.ConfigurableLock.ours"))
            .await;

        let before: Vec<_> = servers.iter().map(|server| server.probe().command_counts()).collect();
        let listed = names(&locks).await;
        assert_eq!(listed, expect.iter().cloned().collect::<Vec<_>>(), "{prefix}");
        for (server, before) in servers.iter().zip(before) {
            let since = server.probe().command_counts().since(&before);
            assert_eq!(since.of("keys"), 0);
            assert!((4..=10).contains(&since.of("scan")), "{since:?}");
        }
        waiter.abort();
        guard.release().await.unwrap();
        servers.iter().for_each(|server| server.probe().flush_all());
    }
}

#[tokio::test]
async fn a_list_that_may_lack_a_held_lock_ends_with_an_error() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let guard = locks.lock("x").acquire().await.unwrap();
    all_have_x(&servers).await;
    servers[0].kill();
    assert_eq!(names(&locks).await, ["x"]);
    servers[1].hang();
    let mut listed = locks.list();
    assert_eq!(listed.next().await.unwrap().unwrap(), "x");
    let error = listed.next().await.unwrap().unwrap_err();
    assert!(matches!(error, Error::ListIncomplete { listed: 1, needed: 2, nodes: 3, .. }), "{error}");
    assert!(listed.next().await.is_none());
    drop(guard);
}

#[tokio::test]
async fn a_reset_tells_the_holder_and_wakes_the_waiters_here_and_elsewhere() {
    let servers = Servers::start(3);
    let (locks, others) = (manager(&servers), manager(&servers));
    for (holder, waits) in [(&locks, &locks), (&locks, &others), (&others, &locks)] {
        let guard = holder.lock("x").ttl(LONG).acquire().await.unwrap();
        let waiter = tokio::spawn(waits.lock("x").acquire());
        eventually_async("it waits", async || locks.inspect("x").await.unwrap().waiting == 1).await;
        all_have_x(&servers).await;
        assert_eq!(locks.reset("x").await.unwrap(), 3);
        let next = tokio::time::timeout(PROMPT, waiter).await.expect("sooner than the slow poll");
        assert!(next.as_ref().unwrap().as_ref().unwrap().is_valid());
        if std::ptr::eq(holder, &raw const locks) {
            let lost = tokio::time::timeout(Duration::from_millis(100), guard.lost()).await.expect("at once");
            assert!(matches!(lost, Error::Lost { reason: LostReason::Reset, .. }), "{lost}");
            assert!(!guard.is_valid());
        }
        let next = next.unwrap().unwrap();
        assert!(matches!(guard.release().await.unwrap_err(), Error::NotHeld { .. }));
        assert!(next.is_valid());
        next.release().await.unwrap();
        // A node that has still to be told of it would refuse the next one.
        eventually_async("every node let it go", async || servers.holding(&key("x")) == 0).await;
    }
    eventually_async("nobody waits", async || locks.inspect("x").await.unwrap().waiting == 0).await;
}

#[test]
fn a_holder_in_another_process_is_told_at_its_next_extension() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let program = holder(&servers, &["name=x", "ttl_ms=1500"]);
    assert_eq!(program.line(), "acquired");
    let waits = holder(&servers, &["name=x"]);
    eventually("it waits", || locks.inspect_blocking("x").unwrap().waiting == 1);
    assert!(locks.reset_blocking("x").unwrap() >= 2);
    assert_eq!(waits.line(), "acquired");
    let said = program.line();
    assert!(said.starts_with("lost: "), "{said}");
}

#[tokio::test]
async fn a_reset_wakes_waiters_where_the_server_does_not_track() {
    let server = RedisServer::start_with(&["--rename-command", "HELLO", ""]);
    let [locks, others] = [(); 2].map(|()| unhurried().nodes([server.url()]).slow_poll(RARE_POLL).build().unwrap());
    let guard = locks.lock("x").acquire().await.unwrap();
    let waiter = tokio::spawn(others.lock("x").acquire());
    eventually_async("it has subscribed", async || {
        server.probe().client_list().iter().any(|client| client.contains(" sub=2 "))
    })
    .await;
    assert_eq!(locks.reset("x").await.unwrap(), 1);
    let next = tokio::time::timeout(PROMPT, waiter).await.expect("sooner than the slow poll");
    next.unwrap().unwrap().release().await.unwrap();
    drop(guard);
}

#[tokio::test]
async fn a_reset_deletes_whatever_lock_there_is_and_nothing_else() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    assert_eq!(locks.reset("nobody's").await.unwrap(), 0);
    servers[0].probe().set_for(&key("x"), SOMEBODY, LONG);
    servers[2].probe().set(&key("x"), "for ever");
    assert_eq!(locks.reset("x").await.unwrap(), 2);
    assert_eq!(servers.holding(&key("x")), 0);
    // Whoever wrote that did not mean a lock.
    for server in servers.iter().take(2) {
        server.probe().append(&key("x"), "an entry");
    }
    let error = locks.reset("x").await.unwrap_err();
    assert!(
        matches!(&error, Error::QuorumUnreachable { granted: 1, source, .. } if source.to_string().contains("list")),
        "{error}"
    );
    assert!(servers[0].probe().exists(&key("x")));
    assert!(matches!(locks.reset("").await.unwrap_err(), Error::InvalidName { .. }));
}

#[tokio::test]
async fn a_lock_that_is_acquired_behind_a_reset_is_not_lost_by_it() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    for _ in 0..20 {
        let guard = locks.lock("x").acquire().await.unwrap();
        locks.reset("x").await.unwrap();
        let next = locks.lock("x").acquire().await.unwrap();
        assert!(!guard.is_valid() && next.is_valid());
        drop(guard);
        next.extend(LONG).await.unwrap();
        next.release().await.unwrap();
    }
}

#[tokio::test]
async fn all_locks_can_be_reset_at_once() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let mut expect: Vec<String> = (0..500).map(|number| key(&format!("job-{number}"))).collect();
    expect.extend(ODD.map(key));
    set_locks(&[&servers[0], &servers[1], &servers[2]], &expect);
    set_locks(&[&servers[0]], &["other".to_owned()]);
    let guard = locks.lock("ours").acquire().await.unwrap();
    labelled(&locks, "ours").await;
    assert_eq!(locks.reset_all().await.unwrap(), expect.len() + 1);
    assert!(matches!(guard.lost().await, Error::Lost { reason: LostReason::Reset, .. }));
    eventually_async("only the foreign key is left", async || keys_left(&servers) == ["other"]).await;
    assert_eq!(locks.reset_all().await.unwrap(), 0);
    drop(guard);
}

/// The name is the key then, so that nothing tells a lock from a text of somebody else's.
#[tokio::test]
async fn with_an_empty_prefix_texts_of_others_are_listed_and_not_reset_with_all() {
    let servers = Servers::start(3);
    // On a busy machine a node may be late.
    let builder = unhurried().nodes(servers.urls()).node_timeout(Duration::from_secs(4));
    let locks = builder.lock_prefix("").build().unwrap();
    set_locks(&[&servers[0], &servers[1], &servers[2]], &["session:7".to_owned()]);
    let guard = locks.lock("x").ttl(LONG).acquire().await.unwrap();
    eventually_async("every node granted it", async || servers.holding("x") == 3).await;
    assert_eq!(names(&locks).await, ["session:7", "x"]);
    for refused in [locks.reset_all().await, locks.reset_all_blocking()] {
        let error = refused.unwrap_err();
        assert!(matches!(&error, Error::Config { reason } if reason.contains("empty lock_prefix")), "{error}");
    }
    assert!(guard.is_valid() && servers.holding("x") == 3 && servers.holding("session:7") == 3);
    assert_eq!(locks.reset("x").await.unwrap(), 3, "by its name");
    assert_eq!(servers.holding("session:7"), 3);
}

#[test]
fn nodes_in_this_process_and_blocking_calls_show_the_same() {
    let locks =
        LockManager::builder().nodes(["memory://", "memory://", "memory://"]).owner_label("me").build().unwrap();
    let guard = locks.lock("x").acquire_blocking().unwrap();
    eventually("it is labelled", || locks.inspect_blocking("x").unwrap().owner_label.as_deref() == Some("me"));
    let info = locks.inspect_blocking("x").unwrap();
    assert_eq!((info.state, info.votes, info.waiting), (LockState::Held, 3, 0), "{info}");
    let shown = info.to_string();
    assert!(shown.starts_with("x: held by me, for ") && shown.contains(", on 3 of 3 nodes, fencing token "), "{shown}");
    assert!(locks.is_locked_blocking("x").unwrap());
    assert_eq!(locks.list_blocking().map(Result::unwrap).collect::<Vec<_>>(), ["x"]);
    assert_eq!(locks.reset_blocking("x").unwrap(), 3);
    assert!(!guard.is_valid());
    assert_eq!(locks.reset_all_blocking().unwrap(), 0);
    assert_eq!(locks.statistics_blocking().unwrap().get("x"), None, "looking is not waiting");
    let _next = locks.lock("x").acquire_blocking().unwrap();
    assert_eq!(locks.reset_all_blocking().unwrap(), 1);
}

/// What looks may be dropped at any time, and what resets goes on.
#[tokio::test]
async fn a_reset_that_is_dropped_goes_on() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let _guard = locks.lock("x").acquire().await.unwrap();
    all_have_x(&servers).await;
    {
        let mut reset = Box::pin(locks.reset("x"));
        let _ = futures::poll!(&mut reset);
    }
    eventually_async("it is free", async || servers.holding(&key("x")) == 0).await;
}
