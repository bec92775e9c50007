//! What broke elsewhere, on a service that Sentinels watch over: masters that change or refuse, and Sentinels that are gone, hang, or
//! know less than the others. What it shares with a Cluster is in `traps`.

use std::time::Duration;

use redis::cmd;
use redlock_runtime::LockManager;
use redlock_tests::proxy::Flow;
use redlock_tests::wait::{eventually, eventually_async};
use redlock_tests::{Proxy, RedisServer, Sentinel, Setup, sentinel};

use crate::common::cycles::{PATIENT, cycle_at_once, cycle_soon, patient, unreachable};
use crate::common::{key, unhurried};

fn url(hosts: &[String]) -> String {
    format!("redis+sentinel://{}/{}/0", hosts.join(","), sentinel::SERVICE)
}

#[tokio::test]
async fn a_master_that_became_a_replica_has_no_vote_and_the_master_is_looked_up_again() {
    let service = Sentinel::start();
    let proxies: Vec<_> = service.sentinels().iter().map(Proxy::start).collect();
    let locks = patient([url(&proxies.iter().map(|proxy| format!("127.0.0.1:{}", proxy.port())).collect::<Vec<_>>())]);
    cycle_soon(&locks, "x").await;
    // Nobody can tell of the failover but the old master itself.
    proxies.iter().for_each(Proxy::refuse);
    let old = service.master();
    let new = service.force_failover();
    let said = unreachable(&locks, "x").await;
    assert!(said.contains("Sentinel") || said.contains("READONLY") || said.contains("closed"), "{said}");
    assert!(!old.probe().exists(&key("x")) && !new.probe().exists(&key("x")));
    proxies.iter().for_each(Proxy::take);
    cycle_soon(&locks, "x").await;
    let guard = locks.lock("x").acquire().await.unwrap();
    assert!(new.probe().exists(&key("x")));
    guard.release().await.unwrap();
}

#[tokio::test]
async fn a_master_that_is_only_written_to_by_another_says_readonly_until_there_is_another_one() {
    let service = Sentinel::start();
    let locks = patient([service.url()]);
    cycle_soon(&locks, "x").await;
    // Without the Sentinels, of somebody who knows better: it keeps its connections.
    service.master().probe().replica_of(1);
    let said = unreachable(&locks, "x").await;
    assert!(said.contains("READONLY") || said.contains("changed its role") || said.contains("which it is not"));
    cycle_soon(&locks, "x").await;
}

#[tokio::test]
async fn a_master_that_cannot_save_says_so() {
    let service =
        Sentinel::start_as(&Setup::new().with_arguments(&["--enable-protected-configs", "yes"]), &Setup::new());
    let locks = patient([service.url()]);
    cycle_soon(&locks, "x").await;
    let master = service.master().probe();
    // Nobody can write files there, not even root.
    master.config_set("dir", "/proc");
    master.config_set("save", "3600 1");
    master.run::<()>(&cmd("BGSAVE")).unwrap();
    eventually("it could not be saved", || master.info("persistence")["rdb_last_bgsave_status"] == "err");
    let said = unreachable(&locks, "x").await;
    assert!(said.contains("MISCONF"), "{said}");
    master.config_set("stop-writes-on-bgsave-error", "no");
    cycle_at_once(&locks, "x").await;
}

#[tokio::test]
async fn a_master_that_is_still_loading_says_so() {
    let slow = ["--enable-debug-command", "yes", "--key-load-delay", "1000"];
    let setup = Setup::new().with_arguments(&slow).with_arguments(&["--loading-process-events-interval-bytes", "1024"]);
    let service = Sentinel::start_as(&setup, &Setup::new());
    // It gives up long before everything is loaded, for which there is time until the test says so.
    let locks = unhurried().nodes([service.url()]).node_timeout(Duration::from_secs(1)).build().unwrap();
    cycle_soon(&locks, "x").await;
    let probe = service.master().probe();
    probe.run::<()>(cmd("DEBUG").arg("POPULATE").arg(100_000)).unwrap();
    let reloading = std::thread::spawn({
        let probe = probe.clone();
        move || probe.run::<()>(cmd("DEBUG").arg("RELOAD"))
    });
    eventually("it loads", || probe.info("persistence")["loading"] == "1");
    let said = unreachable(&locks, "x").await;
    assert!(said.contains("loading"), "{said}");
    probe.config_set("key-load-delay", "0");
    // Whether it loaded in the time that a probe has does not matter.
    let _ = reloading.join().unwrap();
    cycle_soon(&locks, "x").await;
}

#[tokio::test]
async fn tokens_grow_across_failovers_and_their_counter_expires_on_the_new_master_too() {
    let service = Sentinel::start();
    let locks = unhurried()
        .nodes([service.url()])
        .wait_replicas(2, Duration::from_millis(100))
        // Whoever trusts no clock has nothing but the counter.
        .max_clock_skew(None)
        .fencing(true)
        .build()
        .unwrap();
    let trusting = patient([service.url()]);
    let mut tokens = vec![cycle_soon(&trusting, "x").await];
    for _ in 0..2 {
        tokens.push(cycle_soon(&locks, "x").await);
        let new = service.force_failover();
        tokens.push(cycle_soon(&locks, "x").await);
        let counter = new.probe().pttl("redlock-fence:{redlock:ConfigurableLock.x}");
        assert!(counter.remaining().is_some(), "{counter:?}");
    }
    assert!(tokens.is_sorted_by(|one, next| one < next), "{tokens:?}");
}

#[tokio::test]
async fn half_open_connections_to_sentinels_hold_nobody_up() {
    let service = Sentinel::start();
    let proxies: Vec<_> = service.sentinels().iter().map(Proxy::start).collect();
    let url = url(&proxies.iter().map(|proxy| format!("127.0.0.1:{}", proxy.port())).collect::<Vec<_>>());
    let builder = LockManager::builder()
        .nodes([url])
        .connect_timeout(Duration::from_secs(1))
        .node_timeout(Duration::from_secs(2));
    let locks = builder.clone().build().unwrap();
    cycle_soon(&locks, "x").await;
    // The first Sentinel is silent, on the connection to it that listens and on new ones.
    proxies[0].set_both(Flow::Swallow);
    let fresh = builder.clone().build().unwrap();
    cycle_soon(&fresh, "x").await;
    service.force_failover();
    cycle_soon(&locks, "x").await;
    cycle_soon(&fresh, "x").await;

    // All are silent: what is connected goes on, and who has to ask is told.
    for proxy in &proxies {
        proxy.set_both(Flow::Swallow);
    }
    for _ in 0..20 {
        cycle_at_once(&locks, "x").await;
    }
    let late = builder.build().unwrap();
    let said = unreachable(&late, "x").await;
    assert!(said.contains("no Sentinel can be asked") || said.contains("no connection within"), "{said}");
    let before: Vec<_> = proxies.iter().map(Proxy::accepted).collect();
    eventually_async("those that listen are asked whether they are still there, and replaced", async || {
        proxies.iter().zip(&before).all(|(proxy, before)| proxy.accepted() > *before)
    })
    .await;
    for proxy in &proxies {
        proxy.set_both(Flow::Forward);
    }
    cycle_soon(&late, "x").await;
}

#[tokio::test]
async fn a_lock_is_held_and_others_are_taken_while_all_sentinels_are_down() {
    let service = Sentinel::start();
    let locks = patient([service.url()]);
    let held = locks.lock("held").acquire().await.unwrap();
    service.sentinels().iter().for_each(RedisServer::kill);
    for _ in 0..20 {
        cycle_at_once(&locks, "x").await;
    }
    held.extend(Duration::from_secs(60)).await.unwrap();
    assert!(held.is_valid());
    held.release().await.unwrap();
    let said = unreachable(&patient([service.url()]), "x").await;
    assert!(said.contains("no Sentinel can be asked"), "{said}");
}

#[tokio::test]
async fn what_a_sentinel_refuses_is_told() {
    let service = Sentinel::start_as(&Setup::new(), &Setup::new().with_password("o@ther"));
    let said = unreachable(&patient([service.url()]), "x").await;
    assert!(said.contains("NOAUTH") || said.contains("Authentication"), "{said}");
    let said = unreachable(&patient([format!("{}?sentinel_password=wr%40ng", service.url())]), "x").await;
    assert!(said.contains("WRONGPASS") || said.contains("Password"), "{said}");
    assert!(!said.contains("wr@ng") && !said.contains("o@ther"), "{said}");
    let other = format!("redis+sentinel://{}/nobody/0?sentinel_password=o%40ther", service.hosts());
    let said = unreachable(&patient([other]), "x").await;
    assert!(said.contains("know no service named nobody"), "{said}");
}

#[tokio::test]
async fn a_sentinel_that_slept_through_a_failover_leads_nobody_to_the_old_master() {
    let service = Sentinel::start();
    let sleeper = &service.sentinels()[0];
    let old = service.master();
    let locks = patient([service.url()]);
    cycle_soon(&locks, "x").await;
    sleeper.hang();
    old.kill();
    let new = service.wait_for_other_master(old.port());
    cycle_soon(&locks, "x").await;
    sleeper.resume();
    // At once: it still names the old one.
    let fresh = patient([service.url()]);
    let guard = fresh.lock("x").timeout(PATIENT).acquire().await.unwrap();
    assert!(new.probe().exists(&key("x")));
    assert!(locks.lock("x").try_acquire().await.unwrap().is_none());
    guard.release().await.unwrap();
}
