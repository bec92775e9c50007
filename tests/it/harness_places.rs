//! The harness keeps what it says about the places where people keep their Redis: behind TLS and users, behind
//! Sentinels, in a cluster; looked at with the client itself, past the code under test.

use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::sentinel::Sentinel as SentinelClient;
use redis::{Client, ClientTlsConfig, Commands, IntoConnectionInfo, RedisResult, TlsCertificates, cmd};
use redlock_tests::tls::Signed;
use redlock_tests::wait::eventually;
use redlock_tests::{Certificates, Cluster, RedisServer, Sentinel, Setup, sentinel};

/// What a server answers to a client that trusts this authority, and shows this certificate.
fn ping(server: &RedisServer, authority: &Certificates, client: Option<&Signed>) -> RedisResult<String> {
    let tls = certificates(authority, client);
    let mut connection = Client::build_with_tls(server.url(), tls)?.get_connection()?;
    cmd("PING").query(&mut connection)
}

fn certificates(authority: &Certificates, client: Option<&Signed>) -> TlsCertificates {
    TlsCertificates {
        client_tls: client.map(|client| ClientTlsConfig {
            client_cert: client.certificate.clone().into_bytes(),
            client_key: client.key.clone().into_bytes(),
        }),
        root_cert: Some(authority.authority().to_owned().into_bytes()),
    }
}

#[test]
fn a_server_with_tls_is_reached_by_whom_trusts_its_authority() {
    let (ours, strangers) = (Certificates::new(), Certificates::new());
    let server = RedisServer::start_as(&Setup::new().with_password("se/c:r@t").with_tls(&ours));
    assert!(server.url().starts_with("rediss://"), "{}", server.url());
    assert_eq!(ping(&server, &ours, None).expect("the authority is trusted"), "PONG");
    ping(&server, &strangers, None).expect_err("the authority is not trusted");
    let open = server.url().replace("rediss", "redis");
    let unencrypted = Client::open(open).and_then(|client| client.get_connection());
    assert!(unencrypted.is_err(), "the server only speaks TLS");
    server.probe().set("a", "1");
    server.restart();
    assert_eq!(server.probe().get("a"), None);
}

#[test]
fn a_server_for_another_name_is_not_believed() {
    let certificates = Certificates::for_names(&["elsewhere.example"]);
    let server = RedisServer::start_as(&Setup::new().with_tls(&certificates));
    let error = ping(&server, &certificates, None).expect_err("the certificate is for another name");
    assert!(error.to_string().contains("elsewhere.example"), "{error}");
}

#[test]
fn a_server_that_asks_for_certificates_lets_in_those_of_its_authority() {
    let (ours, strangers) = (Certificates::new(), Certificates::new());
    let server = RedisServer::start_as(&Setup::new().with_client_certificates(&ours));
    assert_eq!(ping(&server, &ours, Some(ours.client())).expect("the client's certificate is good"), "PONG");
    ping(&server, &ours, None).expect_err("the client has no certificate");
    ping(&server, &ours, Some(strangers.client())).expect_err("the client's certificate is another authority's");
}

#[test]
fn a_user_may_do_what_its_rules_say_and_the_harness_everything() {
    let server = RedisServer::start_as(&Setup::new().with_user("app", "p@ss", "~ours:* +set +get"));
    let mut connection =
        Client::open(server.url()).and_then(|client| client.get_connection()).expect("the user may log in");
    connection.set::<_, _, ()>("ours:a", "1").expect("the key is the user's");
    let code = |error: redis::RedisError| error.code().map(str::to_owned);
    let other = connection.set::<_, _, ()>("a", "1").expect_err("the key is not the user's");
    assert_eq!(code(other).as_deref(), Some("NOPERM"));
    let deletion = connection.del::<_, ()>("ours:a").expect_err("the user may not delete");
    assert_eq!(code(deletion).as_deref(), Some("NOPERM"));
    let address = format!("redis://{}", server.address());
    let mut stranger = Client::open(address).and_then(|client| client.get_connection()).expect("the server listens");
    let error = stranger.get::<_, ()>("ours:a").expect_err("the default user is off");
    assert_eq!(code(error).as_deref(), Some("NOAUTH"));
    assert_eq!(server.probe().get("ours:a").as_deref(), Some("1"));
    assert_eq!(server.probe().dbsize(), 1);
}

/// The master's port, as the client finds it through the Sentinels.
fn found(sentinel: &Sentinel) -> u16 {
    let sentinels: Vec<_> = sentinel.sentinels().iter().map(RedisServer::address).collect();
    let sentinels = sentinels.iter().map(|address| format!("redis://{address}")).collect();
    let mut client = SentinelClient::build(sentinels).expect("the addresses are good");
    let master = client.master_for(sentinel::SERVICE, None).expect("the Sentinels know the master");
    match master.get_connection_info().addr() {
        redis::ConnectionAddr::Tcp(_, port) => *port,
        other => panic!("not an address of ours: {other}"),
    }
}

#[test]
fn sentinels_fail_over_when_told_and_when_the_master_dies_or_hangs() {
    let sentinel = Sentinel::start();
    let first = sentinel.master();
    assert_eq!(found(&sentinel), first.port());
    first.probe().set("a", "1");
    sentinel.wait_until_in_step();

    let second = sentinel.force_failover();
    assert_ne!(second.port(), first.port());
    assert_eq!(found(&sentinel), second.port());
    assert_eq!(second.probe().get("a").as_deref(), Some("1"));
    assert_eq!(sentinel.replicas().len(), 2);

    second.kill();
    let third = sentinel.wait_for_other_master(second.port());
    assert_eq!(third.probe().get("a").as_deref(), Some("1"));
    second.restart();
    // It comes back as a master without anything, and is told otherwise; connections may end over that.
    eventually("it has what the others have", || {
        second.probe().run::<Option<String>>(cmd("GET").arg("a")).is_ok_and(|a| a.as_deref() == Some("1"))
    });
    sentinel.wait_until_in_step();
    assert_eq!(second.probe().get("a").as_deref(), Some("1"));

    third.hang();
    let fourth = sentinel.wait_for_other_master(third.port());
    assert_eq!(found(&sentinel), fourth.port());
    third.resume();
    sentinel.wait_until_in_step();
    assert_eq!(sentinel.master().port(), fourth.port());
}

#[test]
fn a_sentinel_that_restarts_remembers() {
    let sentinel = Sentinel::start();
    let master = sentinel.force_failover().port();
    let restarting = &sentinel.sentinels()[0];
    restarting.restart();
    sentinel.wait_until_in_step();
    assert_eq!(sentinel.master().port(), master);
}

#[test]
fn sentinels_and_servers_may_have_users_and_tls_of_their_own() {
    let certificates = Certificates::new();
    let servers = Setup::new().with_user("app", "secret", "~* &* +@all").with_client_certificates(&certificates);
    let sentinels = Setup::new().with_password("another").with_client_certificates(&certificates);
    let sentinel = Sentinel::start_as(&servers, &sentinels);
    assert!(sentinel.url().starts_with("rediss+sentinel://app:secret@127.0.0.1:"), "{}", sentinel.url());
    assert!(sentinel.url().ends_with("/service/0"), "{}", sentinel.url());
    let first = sentinel.master();
    let second = sentinel.force_failover();
    assert_ne!(first.port(), second.port());
    for server in sentinel.servers().iter().chain(sentinel.sentinels()) {
        let answer = ping(server, &certificates, Some(certificates.client()));
        assert_eq!(answer.expect("the certificates and the password are good"), "PONG");
    }
}

fn builder(cluster: &Cluster) -> ClusterClientBuilder {
    let urls: Vec<_> = cluster.servers().iter().map(|server| server.url().into_connection_info()).collect();
    ClusterClient::builder(urls.into_iter().collect::<RedisResult<Vec<_>>>().expect("the addresses are good"))
}

#[test]
fn a_clusters_slot_moves_key_by_key() {
    let cluster = Cluster::start();
    let mut client =
        builder(&cluster).build().and_then(|client| client.get_connection()).expect("the cluster is there");
    let keys = ["{a}1", "{a}2", "{a}3"];
    for key in keys {
        client.set::<_, _, ()>(key, key).expect("the cluster takes keys");
    }
    let slot = cluster.slot_of("{a}");
    let from = cluster.owner(slot);
    let to = cluster.masters().into_iter().find(|master| master.port() != from.port()).expect("there are three");

    let migration = cluster.migrate(slot, to);
    migration.move_key("{a}2");
    assert_eq!(migration.keys(), ["{a}1", "{a}3"]);
    let code = |server: &RedisServer, key: &str| {
        let error = server.probe().run::<Option<String>>(cmd("GET").arg(key)).expect_err("it is elsewhere");
        error.code().map(str::to_owned)
    };
    assert_eq!(code(from, "{a}2").as_deref(), Some("ASK"));
    assert_eq!(code(to, "{a}1").as_deref(), Some("MOVED"));
    assert_eq!(cluster.owner(slot).port(), from.port());
    for key in keys {
        assert_eq!(client.get::<_, String>(key).expect("the client asks both"), key);
    }

    migration.finish();
    assert_eq!(cluster.owner(slot).port(), to.port());
    assert_eq!(code(from, "{a}1").as_deref(), Some("MOVED"));
    for key in keys {
        assert_eq!(client.get::<_, String>(key).expect("the client follows"), key);
    }
}

#[test]
fn a_clusters_replica_takes_over_when_told_and_when_its_master_dies() {
    let cluster = Cluster::start();
    let slot = cluster.slot_of("a");
    let first = cluster.owner(slot);
    first.probe().set("a", "1");
    cluster.wait_until_ok();

    let second = cluster.fail_over(first);
    assert_eq!(cluster.owner(slot).port(), second.port());
    assert_eq!(second.probe().get("a").as_deref(), Some("1"));

    let third = cluster.crash(second);
    assert_eq!(third.port(), first.port());
    assert_eq!(third.probe().get("a").as_deref(), Some("1"));
    second.restart();
    eventually("the node that died is a replica", || {
        cluster.replicas_of(third).iter().any(|replica| replica.port() == second.port())
    });
    cluster.wait_until_ok();
}

#[test]
fn a_cluster_may_have_users_and_tls() {
    let certificates = Certificates::new();
    let setup = Setup::new().with_user("app", "secret", "~* &* +@all").with_client_certificates(&certificates);
    let cluster = Cluster::start_as(&setup);
    assert!(cluster.url().starts_with("rediss+cluster://app:secret@127.0.0.1:"), "{}", cluster.url());
    let tls = self::certificates(&certificates, Some(certificates.client()));
    let client = builder(&cluster).certs(tls).build().expect("the certificates are good");
    let mut client = client.get_connection().expect("the cluster lets in its user");
    client.set::<_, _, ()>("a", "1").expect("the cluster takes keys");
    let owner = cluster.owner(cluster.slot_of("a"));
    let to = cluster.masters().into_iter().find(|master| master.port() != owner.port()).expect("there are three");
    cluster.migrate(cluster.slot_of("a"), to).finish();
    assert_eq!(to.probe().get("a").as_deref(), Some("1"));
    assert_eq!(client.get::<_, String>("a").expect("the client follows"), "1");
}
