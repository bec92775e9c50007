//! Locks on services that Sentinels watch over: the node is whichever server is the master.

use std::time::Duration;

use redlock_runtime::{LockManager, Timeout};
use redlock_tests::wait::eventually_async;
use redlock_tests::{Certificates, Sentinel, Setup};

use crate::common::key;
use crate::common::{a_lock_lives, unhurried};

fn manager(service: &Sentinel) -> LockManager {
    unhurried().nodes([service.url()]).build().unwrap()
}

#[tokio::test]
async fn a_lock_lives_on_the_master_of_a_service_with_passwords_of_both_sorts() {
    let (servers, sentinels) = (Setup::new().with_password("se/c:r@t,%"), Setup::new().with_password("o@ther"));
    let service = Sentinel::start_as(&servers, &sentinels);
    let url = format!("{}?sentinel_password=o%40ther", service.url());
    let locks = unhurried().nodes([url]);
    a_lock_lives(locks.clone()).await;
    assert!(!format!("{:?}", locks.build().unwrap()).contains("ther"));
    let locks = unhurried().nodes([service.url()]).sentinel_credentials("", "o@ther");
    a_lock_lives(locks).await;
}

#[tokio::test]
async fn a_lock_lives_on_the_master_of_an_encrypted_service() {
    let certificates = Certificates::new();
    let setup = Setup::new().with_tls(&certificates);
    let service = Sentinel::start_as(&setup, &setup);
    let locks = unhurried().nodes([service.url()]).tls_roots(certificates.authority());
    a_lock_lives(locks).await;
}

#[tokio::test]
async fn a_failover_by_order_is_followed() {
    let service = Sentinel::start();
    let locks = manager(&service);
    let held = locks.lock("held").acquire().await.unwrap();
    let new = service.force_failover();
    let guard = locks.lock("x").timeout(Timeout::After(Duration::from_secs(10))).acquire().await.unwrap();
    assert!(new.probe().exists(&key("x")), "the new master has it");
    assert!(locks.lock("held").try_acquire().await.unwrap().is_none(), "the replica had it");
    guard.release().await.unwrap();
    held.extend(Duration::from_secs(60)).await.unwrap();
    held.release().await.unwrap();
    assert!(!new.probe().exists(&key("held")));
}

#[tokio::test]
async fn a_master_that_dies_is_followed_by_another() {
    let service = Sentinel::start();
    let locks = manager(&service);
    locks.lock("x").acquire().await.unwrap().release().await.unwrap();
    let old = service.master();
    old.kill();
    let new = service.wait_for_other_master(old.port());
    let guard = locks.lock("x").timeout(Timeout::After(Duration::from_secs(10))).acquire().await.unwrap();
    assert!(new.probe().exists(&key("x")));
    guard.release().await.unwrap();
}

#[tokio::test]
async fn a_master_that_hangs_and_is_deposed_does_not_vote_when_it_wakes_up() {
    let service = Sentinel::start();
    let locks = manager(&service);
    locks.lock("x").acquire().await.unwrap().release().await.unwrap();
    let old = service.master();
    old.hang();
    let new = service.wait_for_other_master(old.port());
    let guard = locks.lock("x").timeout(Timeout::After(Duration::from_secs(10))).acquire().await.unwrap();
    assert!(new.probe().exists(&key("x")));
    old.resume();
    service.wait_until_in_step();
    assert!(locks.lock("x").try_acquire().await.unwrap().is_none());
    guard.release().await.unwrap();
    eventually_async("nobody has it", async || !new.probe().exists(&key("x"))).await;
}
