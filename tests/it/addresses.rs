//! Whatever a node's URL says counts, or is refused: the database, the protocol, the hosts.

use redis::Client;
use redlock_runtime::{Error, LockManager};
use redlock_tests::{Certificates, Cluster, RedisServer, Sentinel, Setup};

use crate::common::key;
use crate::common::{a_lock_lives, causes, unhurried};

/// The databases of a server that hold anything.
fn databases(server: &RedisServer) -> Vec<String> {
    server.probe().info("keyspace").into_keys().filter(|name| name.starts_with("db")).collect()
}

/// A lock of a manager with this URL is in database 3 of the server, and excludes one of a manager with the other.
async fn in_database_3(server: &RedisServer, url: &str, other: &str, tls: Option<&Certificates>) {
    let manager = |url: &str| {
        let builder = unhurried().nodes([url]);
        let builder = match tls {
            Some(certificates) => builder.tls_roots(certificates.authority()),
            None => builder,
        };
        builder.build().unwrap()
    };
    let (locks, others) = (manager(url), manager(other));
    let guard = locks.lock("x").acquire().await.unwrap();
    assert_eq!(databases(server), ["db3"], "{url}");
    assert!(others.lock("x").try_acquire().await.unwrap().is_none(), "{url} and {other}");
    guard.release().await.unwrap();
    let guard = others.lock("x").acquire().await.unwrap();
    assert_eq!(databases(server), ["db3"], "{other}");
    guard.release().await.unwrap();
}

#[tokio::test]
async fn a_database_is_a_parameter_or_a_path_wherever_the_server_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("redis.sock");
    let path = path.to_str().unwrap();
    let server = RedisServer::start_with(&["--unixsocket", path]);
    in_database_3(&server, &format!("{}?db=3", server.url()), &format!("{}/3", server.url()), None).await;
    in_database_3(&server, &format!("unix://{path}?db=3"), &format!("{}/3?db=3", server.url()), None).await;

    let certificates = Certificates::new();
    let server = RedisServer::start_as(&Setup::new().with_tls(&certificates));
    let (url, other) = (format!("{}?db=3", server.url()), format!("{}/3", server.url()));
    in_database_3(&server, &url, &other, Some(&certificates)).await;

    let service = Sentinel::start();
    let base = service.url().strip_suffix("/0").unwrap().to_owned();
    in_database_3(service.master(), &format!("{base}?db=3"), &format!("{base}/3"), None).await;
}

#[tokio::test]
async fn a_protocol_that_a_url_names_is_the_one_that_is_spoken() {
    let server = RedisServer::start();
    let hellos = || server.probe().command_counts().of("hello");
    a_lock_lives(unhurried().nodes([format!("{}?protocol=resp2", server.url())])).await;
    assert_eq!(hellos(), 0, "no other than RESP2 was asked for");
    a_lock_lives(unhurried().nodes([format!("{}?protocol=resp3", server.url())])).await;
    assert!(hellos() > 0, "RESP3 has to be asked for");

    // A server that knows no RESP3 serves everybody who does not insist.
    let server = RedisServer::start_with(&["--rename-command", "HELLO", ""]);
    for parameters in ["", "?protocol=2"] {
        a_lock_lives(unhurried().nodes([format!("{}{parameters}", server.url())])).await;
    }
    let locks = unhurried().nodes([format!("{}?protocol=3", server.url())]).build().unwrap();
    let error = causes(&locks.lock("x").try_acquire().await.unwrap_err());
    assert!(error.contains("protocol=resp3") && error.contains("omit"), "{error}");
}

#[tokio::test]
async fn the_servers_of_a_service_and_of_a_cluster_are_spoken_to_in_the_protocol_of_the_url() {
    let service = Sentinel::start();
    a_lock_lives(unhurried().nodes([format!("{}?protocol=resp2", service.url())])).await;
    assert_eq!(service.master().probe().command_counts().of("hello"), 0);

    let cluster = Cluster::start();
    a_lock_lives(unhurried().nodes([format!("{}?protocol=resp2&db=0", cluster.url())])).await;
    for master in cluster.masters() {
        assert_eq!(master.probe().command_counts().of("hello"), 0);
    }
}

#[test]
fn a_url_that_says_what_nobody_heeds_is_refused_and_never_read_as_another() {
    for (url, expect) in [
        ("redis://h?socket_timeout=5", "the parameter `socket_timeout`"),
        ("rediss://h?ssl_cert_reqs=none", "the parameter `ssl_cert_reqs`"),
        ("redis+unix:///s?password=x", "the parameter `password`"),
        ("redis+sentinel://h/s?timeout=5", "the parameter `timeout`"),
        ("redis+cluster://h?read_from_replicas=true", "the parameter `read_from_replicas`"),
        ("memory://?db=1", "the parameter `db`"),
        ("redis://h/0?db=1", "different databases"),
        ("redis+sentinel://u:p@h1,u:p@h2/svc", "stand once, in front of all hosts"),
        ("redis+cluster://u:p@h1,u:p@h2", "stand once, in front of all hosts"),
        ("redis+sentinel://h1,u:p@h2/svc", "stand once, in front of all hosts"),
        ("redis://u:p@h1,u:p@h2", "stand once, in front of all hosts"),
        ("redis://h/-1", "from 0 on"),
        ("redis+unix:///s?db=-1", "from 0 on"),
        ("redis://h:0", "ports is 0"),
        ("redis+sentinel://h1:0,h2/svc", "ports is 0"),
        ("redis+cluster://h1,h2:0", "ports is 0"),
    ] {
        let error = LockManager::builder().nodes(["memory://", url]).build().unwrap_err();
        assert!(matches!(error, Error::Config { .. }), "{error:?}");
        assert!(error.to_string().starts_with("node 2: ") && error.to_string().contains(expect), "{url}: {error}");
    }
    for (url, expect) in [("redis://h:0", "port of its server is 0"), ("redis://h/-1", "below 0")] {
        let error = LockManager::builder().clients([Client::open(url).unwrap()]).build().unwrap_err().to_string();
        assert!(error.starts_with("client 1: ") && error.contains(expect), "{url}: {error}");
    }
}

/// If this fails, the client has learnt it: the sentences about it in the documentation of `clients` and in docs/settings.md go.
#[tokio::test]
async fn a_client_passes_over_the_parameters_of_its_own_url_and_heeds_its_path() {
    let server = RedisServer::start();
    for (url, database) in [("?db=3", "db0"), ("/3", "db3")] {
        let locks = unhurried().clients([Client::open(format!("{}{url}", server.url())).unwrap()]);
        let guard = locks.build().unwrap().lock("x").acquire().await.unwrap();
        assert_eq!(databases(&server), [database], "{url}");
        guard.release().await.unwrap();
        server.probe().flush_all();
    }
}

#[tokio::test]
async fn a_url_that_names_its_database_twice_alike_and_its_port_by_default_is_fine() {
    let server = RedisServer::start();
    let locks = unhurried().nodes([format!("{}/2?db=2&protocol=resp3", server.url())]).build().unwrap();
    assert!(format!("{locks:?}").contains("/2"), "{locks:?}");
    let guard = locks.lock("x").acquire().await.unwrap();
    assert!(!server.probe().exists(&key("x")), "the first database stays empty");
    guard.release().await.unwrap();
}
