//! The whole life of a lock wherever people keep their Redis: encrypted, behind a socket, behind users.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::thread;

use redis::{Client, ClientTlsConfig, TlsCertificates};
use redlock_runtime::{Error, LockManager, LockManagerBuilder, Timeout};
use redlock_tests::clock::timed;
use redlock_tests::wait::LIMIT;
use redlock_tests::{Certificates, RedisServer, Servers, Setup};

use crate::common::{a_lock_lives, causes, unhurried};

fn trusting(servers: &Servers, certificates: &Certificates) -> LockManagerBuilder {
    unhurried().nodes(servers.urls()).tls_roots(certificates.authority())
}

#[tokio::test]
async fn a_lock_lives_on_encrypted_servers() {
    let certificates = Certificates::new();
    let servers = Servers::start_as(3, &Setup::new().with_password("se/c:r@t,%").with_tls(&certificates));
    a_lock_lives(trusting(&servers, &certificates)).await;
}

#[tokio::test]
async fn a_lock_lives_on_servers_that_ask_for_certificates() {
    let certificates = Certificates::new();
    let servers = Servers::start_as(3, &Setup::new().with_client_certificates(&certificates));
    let client = certificates.client();
    let locks =
        trusting(&servers, &certificates).tls_client_certificate(client.certificate.clone(), client.key.clone());
    a_lock_lives(locks).await;

    let without = trusting(&servers, &certificates).build().unwrap();
    assert!(matches!(without.lock("x").try_acquire().await, Err(Error::QuorumUnreachable { .. })));
}

#[tokio::test]
async fn whoever_is_not_trusted_gets_no_command_and_the_error_says_why() {
    let (certificates, strangers) = (Certificates::new(), Certificates::new());
    let servers = Servers::start_as(1, &Setup::new().with_password("secret").with_tls(&certificates));
    let error = trusting(&servers, &strangers).build().unwrap().lock("x").try_acquire().await.unwrap_err();
    let error = causes(&error);
    assert!(error.contains("certificate"), "{error}");
    assert!(!error.contains("secret"), "{error}");

    let elsewhere = Certificates::for_names(&["elsewhere.example"]);
    let servers = Servers::start_as(1, &Setup::new().with_tls(&elsewhere));
    let error = trusting(&servers, &elsewhere).build().unwrap().lock("x").try_acquire().await.unwrap_err();
    let error = causes(&error);
    assert!(error.contains("certificate"), "{error}");
}

#[tokio::test]
async fn whoever_says_insecure_trusts_any_server() {
    let servers = Servers::start_as(3, &Setup::new().with_tls(&Certificates::for_names(&["elsewhere.example"])));
    let urls = servers.urls().into_iter().map(|url| format!("{url}#insecure"));
    a_lock_lives(unhurried().nodes(urls)).await;
}

#[test]
fn certificates_that_are_none_are_refused_with_the_cure() {
    let builder = || unhurried().nodes(["rediss://127.0.0.1"]);
    for (builder, expect) in [
        (builder().tls_roots("nonsense"), "the root certificate is no certificate in PEM"),
        (
            builder().tls_roots(Certificates::new().authority()).tls_client_certificate("no", "key"),
            "the client certificate",
        ),
    ] {
        let error = builder.build().unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    }
}

#[tokio::test]
async fn a_lock_lives_behind_a_socket_in_a_database_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("redis.sock");
    let path = path.to_str().unwrap();
    let server = RedisServer::start_as(&Setup::new().with_password("se:cret").with_arguments(&["--unixsocket", path]));
    let locks = unhurried().nodes([format!("redis+unix://{path}?db=3&pass=se%3Acret")]);
    a_lock_lives(locks.clone()).await;
    let locks = locks.build().unwrap();
    let guard = locks.lock("x").acquire().await.unwrap();
    assert!(server.probe().keys().is_empty(), "the first database stays empty");
    guard.release().await.unwrap();
}

#[tokio::test]
async fn a_lock_lives_on_servers_reached_by_ready_made_clients() {
    let servers = Servers::start_as(3, &Setup::new().with_password("se/cret"));
    let clients = servers.iter().map(|server| Client::open(server.url()).unwrap());
    let locks = unhurried().clients(clients);
    a_lock_lives(locks.clone()).await;
    let locks = locks.build().unwrap();
    assert!(!format!("{locks:?}").contains("cret"));

    let twice = Client::open(servers[0].url()).unwrap();
    let error = unhurried().nodes([servers[0].url()]).clients([twice]).build().unwrap_err().to_string();
    assert!(error.contains("given twice"), "{error}");
}

/// What such a client trusts it tells nobody, so it makes its connections itself.
#[tokio::test]
async fn a_lock_lives_on_encrypted_servers_reached_by_ready_made_clients() {
    let certificates = Certificates::new();
    let servers = Servers::start_as(3, &Setup::new().with_password("se/cret").with_client_certificates(&certificates));
    let _ = rustls::crypto::ring::default_provider().install_default();
    let tls = || TlsCertificates {
        client_tls: Some(ClientTlsConfig {
            client_cert: certificates.client().certificate.clone().into_bytes(),
            client_key: certificates.client().key.clone().into_bytes(),
        }),
        root_cert: Some(certificates.authority().as_bytes().to_vec()),
    };
    let clients = servers.iter().map(|server| Client::build_with_tls(server.url(), tls()).unwrap());
    let locks = unhurried().clients(clients);
    a_lock_lives(locks.clone()).await;

    let strangers = servers.iter().map(|server| {
        let root_cert = Some(Certificates::new().authority().as_bytes().to_vec());
        Client::build_with_tls(server.url(), TlsCertificates { root_cert, ..tls() }).unwrap()
    });
    let error = LockManager::builder().clients(strangers).build().unwrap().lock("x").try_acquire().await.unwrap_err();
    assert!(causes(&error).contains("certificate"), "{}", causes(&error));
}

#[tokio::test]
async fn credentials_of_all_nodes_are_those_of_urls_without() {
    let servers = Servers::start_as(3, &Setup::new().with_user("app", "p/w", "~* &* +@all"));
    let urls = servers.iter().map(|server| format!("redis://127.0.0.1:{}", server.port()));
    let locks = unhurried().nodes(urls.clone()).credentials("app", "p/w");
    a_lock_lives(locks).await;

    let (refused, took) =
        timed(unhurried().nodes(urls).build().unwrap().lock("x").timeout(Timeout::Skip).acquire()).await;
    let error = causes(&refused.unwrap_err());
    assert!(error.contains("Authentication") || error.contains("NOAUTH"), "{error}");
    assert!(took < LIMIT, "{took:?}");
}

/// A port on which every request is refused in words that repeat it.
fn echoing() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut request = [0; 4096];
                while let Ok(length @ 1..) = client.read(&mut request) {
                    let request = String::from_utf8_lossy(&request[..length]).replace("\r\n", " ");
                    // One for each command that a client sends at once when it signs in, and more.
                    for _ in 0..8 {
                        let _ = write!(client, "-ERR what is {request}\r\n");
                    }
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn a_server_that_repeats_what_it_was_told_makes_no_password_known() {
    // As servers do that do not know these commands: Sentinels and proxies of old.
    let server = RedisServer::start_with(&["--rename-command", "AUTH", "", "--rename-command", "HELLO", ""]);
    for port in [server.port(), echoing()] {
        for (scheme, rest) in [
            ("redis://:s%3Acret@", ""),
            ("redis://somebody:s%3Acret@", ""),
            ("redis+cluster://:s%3Acret@", ""),
            ("redis+sentinel://", "/service?sentinel_password=s%3Acret"),
        ] {
            let locks = unhurried().nodes([format!("{scheme}127.0.0.1:{port}{rest}")]).build().unwrap();
            let refused = locks.lock("x").timeout(Timeout::Skip).acquire().await.unwrap_err();
            let told = format!("{} {refused:?}", causes(&refused));
            assert!(!told.contains("s:cret"), "{told}");
        }
    }
}
