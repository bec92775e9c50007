//! A whole fleet at a glance: all locks with few questions, and how the nodes are.

use std::collections::BTreeMap;

use redlock_runtime::{Error, LockInfo, LockManager, LockState, NodeStanding};
use redlock_tests::wait::eventually_async;
use redlock_tests::{Cluster, Servers};

use crate::common::cycles::patient;
use crate::common::{key, manager};

/// All of them, by their names; the last one of a name counts, which is the one with the permits.
async fn inspect_all(locks: &LockManager) -> Result<BTreeMap<String, LockInfo>, Error> {
    let (mut infos, mut pages) = (BTreeMap::new(), locks.inspect_all());
    while let Some(page) = pages.next().await {
        infos.extend(page?.into_iter().map(|info| (info.name.clone(), info)));
    }
    assert!(pages.next().await.is_none(), "it is over");
    Ok(infos)
}

/// What does not change from look to look.
fn of(info: &LockInfo) -> String {
    let permits: Vec<_> =
        info.permits.iter().map(|permit| (permit.state, &permit.owner_label, permit.fencing_token)).collect();
    let LockInfo { name, state, owner_label, votes, needed, nodes, fencing_token, last_run, waiting, .. } = info;
    let failures: Vec<_> = info.failures.iter().map(|failure| &failure.node).collect();
    format!(
        "{name} {state} {owner_label:?} {votes} {needed} {nodes} {fencing_token:?} {last_run:?} {waiting} {permits:?} {failures:?}"
    )
}

async fn is_the_same_at_a_glance(locks: &LockManager, names: &[&str]) {
    let all = inspect_all(locks).await.unwrap();
    let each = locks.inspect_each(names.iter().copied()).await.unwrap();
    for (name, of_each) in names.iter().zip(&each) {
        let one = of(&locks.inspect(*name).await.unwrap());
        assert_eq!(of(of_each), one, "of several");
        if let Some(of_all) = all.get(*name) {
            assert_eq!(of(of_all), one, "of all");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_locks_are_told_as_each_is_with_few_questions() {
    let servers = Servers::start(3);
    let (locks, others) = (manager(&servers), manager(&servers));
    // A new job, on servers that were just started.
    locks.reset_marks("job").await.unwrap();
    let fired = locks.lock("job").once(redlock_runtime::Fire::from(7)).run(async |_| Ok::<(), Error>(())).await;
    assert!(fired.is_ok());
    let mut guards = Vec::new();
    for name in ["a", "job", "in{voi}ce:7", "both"] {
        guards.push(locks.lock(name).acquire().await.unwrap());
    }
    for name in ["slots", "slots", "both"] {
        guards.push(locks.lock(name).permits(3).acquire().await.unwrap());
    }
    let waiter = tokio::spawn({
        let locks = others.clone();
        async move { locks.lock("a").acquire().await }
    });
    // As a Python process writes it, and what no lock is.
    for server in &servers {
        server.probe().set_for(
            &key("python"),
            "d3bb4f4f-68cb-4db8-ac70-8bef4d8bfa4f",
            std::time::Duration::from_secs(600),
        );
        server.probe().append(&key("list"), "no lock");
        for number in 0..400 {
            server.probe().set_for(&key(&format!("many:{number}")), "owner", std::time::Duration::from_secs(600));
        }
    }
    let labelled = async || {
        let infos = locks.inspect_each(["a", "job", "in{voi}ce:7", "both"]).await.unwrap();
        infos.iter().all(|info| info.owner_label.is_some() && info.votes == 3)
    };
    eventually_async("all owners are labelled", labelled).await;
    let permits = async || {
        let infos = locks.inspect_each(["slots", "both"]).await.unwrap();
        infos
            .iter()
            .flat_map(|info| &info.permits)
            .filter(|permit| permit.owner_label.is_some() && permit.votes == 3)
            .count()
            == 3
    };
    eventually_async("those of permits too", permits).await;
    eventually_async("somebody waits", async || locks.inspect("a").await.unwrap().waiting == 1).await;

    is_the_same_at_a_glance(&locks, &["a", "job", "in{voi}ce:7", "both", "slots", "python", "nobody's", "many:7"])
        .await;
    let before = servers[0].probe().command_counts();
    let all = inspect_all(&locks).await.unwrap();
    assert_eq!(all.len(), 6 + 400, "{:?}", all.keys().take(10).collect::<Vec<_>>());
    assert_eq!(all["python"].state, LockState::Held);
    assert_eq!(all["both"].permits.iter().filter(|permit| permit.is_taken()).count(), 1);
    assert_eq!(all["slots"].permits.iter().filter(|permit| permit.is_taken()).count(), 2);
    assert!(all["job"].last_run.is_some_and(|run| run.fire == 7 && run.is_confirmed));
    let asked = servers[0].probe().command_counts().since(&before);
    assert!(asked.of("mget") <= 2 && asked.of("scan") <= 4, "permits are asked for where there are some: {asked:?}");

    let none: [&str; 0] = [];
    assert!(locks.inspect_each(none).await.unwrap().is_empty());
    let error = locks.inspect_each(["a", ""]).await.unwrap_err();
    assert!(matches!(error, Error::InvalidName { .. }), "{error}");
    drop(guards);
    drop(waiter.await.unwrap().unwrap());
}

#[tokio::test]
async fn a_cluster_is_looked_at_as_a_server_is() {
    let cluster = Cluster::start();
    // A label is told once, and not again where that takes longer than a node may.
    let locks = patient([cluster.url()]);
    let mut guards = Vec::new();
    for number in 0..20 {
        guards.push(locks.lock(format!("job:{number}")).acquire().await.unwrap());
    }
    let labelled = async || inspect_all(&locks).await.unwrap().values().all(|info| info.owner_label.is_some());
    eventually_async("all owners are labelled", labelled).await;
    assert_eq!(inspect_all(&locks).await.unwrap().len(), 20);
    is_the_same_at_a_glance(&locks, &["job:1", "job:2", "job:19", "nobody's"]).await;
    let nodes = locks.nodes().await.unwrap();
    assert_eq!(nodes.iter().map(|node| node.standing).collect::<Vec<_>>(), [NodeStanding::Votes], "{nodes:?}");
}

#[tokio::test]
async fn nodes_that_are_gone_hang_or_may_not_vote_are_told() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let _guard = locks.lock("a").acquire().await.unwrap();
    let standings =
        async || -> Vec<NodeStanding> { locks.nodes().await.unwrap().iter().map(|node| node.standing).collect() };
    eventually_async("all vote", async || standings().await == [NodeStanding::Votes; 3]).await;
    for node in locks.nodes().await.unwrap() {
        assert!(node.round_trip.is_some() && node.failure.is_none(), "{node}");
        assert!(node.to_string().contains(": votes, answered in "), "{node}");
    }
    servers[1].kill();
    eventually_async("it is gone", async || standings().await[1] == NodeStanding::Unreachable).await;
    let node = &locks.nodes().await.unwrap()[1];
    assert!(node.round_trip.is_none() && node.failure.is_some(), "{node}");
    let all = inspect_all(&locks).await.unwrap();
    assert_eq!((all["a"].votes, all["a"].failures.len()), (2, 1), "{}", all["a"]);

    servers[2].hang();
    eventually_async("it does not answer", async || standings().await[2] == NodeStanding::Unreachable).await;
    let error = inspect_all(&locks).await.unwrap_err();
    assert!(matches!(error, Error::ListIncomplete { listed: 1, .. }), "{error}");
    let error = locks.inspect_each(["a"]).await.unwrap_err();
    assert!(matches!(error, Error::QuorumUnreachable { .. }), "{error}");
    servers[2].resume();
    eventually_async("it answers again", async || standings().await[2] == NodeStanding::Votes).await;

    servers[1].restart();
    servers[1].probe().replica_of(servers[0].port());
    let twice = servers[0].url().replace("127.0.0.1", "localhost");
    let others = LockManager::builder().nodes([servers[0].url(), servers[1].url(), twice]).build().unwrap();
    let expect = [NodeStanding::SameServer, NodeStanding::Replica, NodeStanding::SameServer];
    eventually_async("a replica and a server that is named twice do not vote", async || {
        others.nodes().await.unwrap().iter().map(|node| node.standing).eq(expect)
    })
    .await;
    others.shutdown().await;
    assert!(matches!(others.nodes().await, Err(Error::ShutDown)));
    assert!(matches!(inspect_all(&others).await, Err(Error::ShutDown)));
}
