//! Readers need servers that let scripts know the time: where a majority does not, nobody waits for what never comes.

use std::time::Duration;

use redis::cmd;
use redlock_runtime::Error;
use redlock_tests::Servers;
use redlock_tests::wait::LIMIT;

use crate::common::unhurried;

#[tokio::test]
async fn a_reader_is_refused_with_the_cure_where_scripts_may_not_call_time() {
    let servers = Servers::start(3);
    let manager = |without: usize| {
        let urls = servers.iter().enumerate().map(|(number, server)| {
            let time = if number < without { "-time" } else { "+time" };
            let mut rule = cmd("ACL");
            rule.arg("SETUSER").arg("app").arg(&["reset", "on", ">s3cret", "~*", "&*", "+@all", time]);
            server.probe().run::<()>(&rule).unwrap();
            format!("redis://app:s3cret@{}", server.address())
        });
        unhurried().nodes(urls).build().unwrap()
    };
    for without in [1, 2, 3] {
        let locks = manager(without);
        locks.write("x").acquire().await.expect("a writer needs no time").release().await.unwrap();
        let read = || locks.read("x").ttl(Duration::from_secs(10));
        if without == 1 {
            read().acquire().await.expect("a majority is enough").release().await.unwrap();
            continue;
        }
        let waits = tokio::time::timeout(LIMIT, read().acquire()).await.expect("it does not wait for what never comes");
        for refused in [waits, read().try_acquire().await.map(|guard| guard.expect("nobody holds it"))] {
            let Err(Error::Config { reason }) = refused else { panic!("{refused:?}") };
            for part in [servers[0].address().as_str(), "+time", "readers"] {
                assert!(reason.contains(part), "{part} is missing in {reason:?}");
            }
            assert!(!reason.contains("s3cret"), "{reason}");
        }
    }
}
