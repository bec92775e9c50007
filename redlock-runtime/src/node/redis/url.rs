//! Reads the URLs of Redis nodes.
//!
//! Whatever stands in a URL may be a password, so no error repeats any of it but the name of a parameter.

mod hosts;
mod query;

use std::borrow::Cow;
use std::collections::HashSet;

use percent_encoding::percent_decode_str;
use redis::{ConnectionInfo, IntoConnectionInfo};

use self::hosts::Hosts;
use self::query::Query;
use super::link::endpoint::Endpoint;
use super::tls::{Tls, TlsSettings};

/// The port of a Sentinel for which none is given.
const SENTINEL_PORT: u16 = 26379;

/// The port of a server for which none is given.
const SERVER_PORT: u16 = 6379;

/// How to write what stands for something else in a URL.
const ESCAPES: &str = "with %-escapes for the characters @ : / ? # % and , in a user's name or password";

/// What a URL says.
#[derive(Debug)]
pub(crate) enum Target {
    /// This server.
    Server(Endpoint),
    /// Whichever server is the master of a service.
    Sentinel {
        /// Whom to ask.
        sentinels: Vec<Endpoint>,
        /// Which service.
        service: String,
        /// How to sign in to the master; its address is that of a Sentinel.
        master: Endpoint,
    },
    /// A Redis Cluster.
    Cluster {
        /// Some of its servers.
        seeds: Vec<Endpoint>,
    },
}

/// What holds for all URLs.
#[derive(Clone, Default)]
pub(crate) struct UrlSettings {
    /// For servers whose URL has none.
    pub(crate) credentials: Option<Credentials>,
    /// For Sentinels whose URL has none.
    pub(crate) sentinel_credentials: Option<Credentials>,
    /// For encrypted connections.
    pub(crate) tls: TlsSettings,
}

/// Who signs in.
#[derive(Clone)]
pub(crate) struct Credentials {
    /// An ACL user; empty: the default one.
    pub(crate) username: String,
    /// Its password.
    pub(crate) password: String,
}

/// Separates URLs that stand in one text. The hosts within one are separated by commas as well: what has no scheme belongs
/// to the URL in front of it, if that may have several hosts.
pub(crate) fn separate(urls: &str) -> Vec<String> {
    let mut separated: Vec<String> = Vec::new();
    for part in urls.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        match separated.last_mut().filter(|url| !part.contains("://") && may_have_several_hosts(url)) {
            Some(url) => {
                url.push(',');
                url.push_str(part);
            }
            None => separated.push(part.to_owned()),
        }
    }
    separated
}

fn may_have_several_hosts(url: &str) -> bool {
    url.split_once("://").is_some_and(|(scheme, _)| scheme.ends_with("+sentinel") || scheme.ends_with("+cluster"))
}

/// Reads a URL of any scheme but `memory`; `None` for a scheme that is none of ours.
pub(crate) fn read(url: &str, settings: &UrlSettings) -> Option<Result<Target, String>> {
    let (scheme, rest) = url.split_once("://")?;
    let parts = Parts::of(rest);
    Some(match scheme {
        "redis" | "rediss" => parts.and_then(|parts| read_server(scheme, &parts, settings)),
        "redis+sentinel" | "rediss+sentinel" => parts.and_then(|parts| read_sentinel(scheme, &parts, settings)),
        "redis+cluster" | "rediss+cluster" => parts.and_then(|parts| read_cluster(scheme, &parts, settings)),
        "redis+unix" | "unix" => parts.and_then(|parts| read_socket(scheme, &parts, settings)),
        _ => return None,
    })
}

/// Reads what stands behind `memory://`: a name, or nothing.
pub(crate) fn read_memory(rest: &str) -> Result<&str, String> {
    Query::read(Parts::of(rest)?.query, &[])?;
    if rest.contains(['@', ':', '/', '?']) {
        return Err("it is memory:// with a name that looks like a server's address; use a plain name".to_owned());
    }
    Ok(rest)
}

/// The parts of a URL behind its scheme.
#[derive(Clone, Copy, Debug)]
struct Parts<'a> {
    /// In front of the ?.
    address: &'a str,
    /// Behind the ?.
    query: &'a str,
    /// Behind the #.
    fragment: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(rest: &'a str) -> Result<Self, String> {
        if rest.contains("://") {
            return Err(format!(
                "it has a second ://, as if it were two URLs; give each node a text of its own (in REDLOCK_NODES commas \
                 separate them), {ESCAPES}"
            ));
        }
        let (rest, fragment) = rest.split_once('#').map_or((rest, None), |(rest, fragment)| (rest, Some(fragment)));
        let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
        Ok(Self { address, query, fragment })
    }

    /// The hosts, and the path without slashes around it.
    fn hosts_and_path(&self) -> Result<(Hosts<'a>, &'a str), String> {
        let (authority, path) = self.address.split_once('/').unwrap_or((self.address, ""));
        if path.contains('@') {
            return Err(format!(
                "there is an @ after its first /, so its host may be part of a password; write it {ESCAPES}"
            ));
        }
        Ok((Hosts::read(authority)?, path.trim_matches('/')))
    }

    /// What encrypts the connections of this scheme.
    fn tls(&self, scheme: &str, settings: &UrlSettings) -> Result<Option<Tls>, String> {
        match (scheme.starts_with("rediss"), self.fragment) {
            (true, None | Some("insecure")) => settings.tls.tls(self.fragment.is_some()).map(Some),
            (false, None) => Ok(None),
            (true, Some(_)) => Err(format!("its text after the # is not `insecure`; write the URL {ESCAPES}")),
            (false, Some(_)) => {
                Err(format!("it has text after a #, which only rediss:// takes (#insecure); write the URL {ESCAPES}"))
            }
        }
    }
}

fn read_server(scheme: &str, parts: &Parts<'_>, settings: &UrlSettings) -> Result<Target, String> {
    let tls = parts.tls(scheme, settings)?;
    let (hosts, path) = parts.hosts_and_path()?;
    if hosts.count() > 1 {
        return Err("it names several hosts; give each server a URL of its own, or write redis+sentinel:// or \
                    redis+cluster:// if that is what they are"
            .to_owned());
    }
    let query = Query::read(parts.query, &[query::DATABASE, query::PROTOCOL])?;
    let mut servers = hosts.servers(SERVER_PORT, query.database(path)?)?;
    let info = signed_in(servers.remove(0), settings.credentials.as_ref());
    Ok(Target::Server(Endpoint::new(info, tls).speaking(query.protocol()?)))
}

fn read_socket(scheme: &str, parts: &Parts<'_>, settings: &UrlSettings) -> Result<Target, String> {
    if parts.fragment.is_some() {
        return Err(format!("it has text after a #, which it cannot use; write the URL {ESCAPES}, or in its path"));
    }
    if !parts.address.starts_with('/') {
        return Err("its path does not begin with a /; write redis+unix:///path, and user and password behind it as \
                    ?user=…&pass=…"
            .to_owned());
    }
    // In this scheme a + always stood for a space, as it does in a form.
    let spaced = parts.query.replace('+', " ");
    let query = Query::read(&spaced, &[query::DATABASE, query::PROTOCOL, "user", "pass"])?;
    let info = connection_info(&format!("{scheme}://{}", parts.address))?;
    let mut redis = info.redis_settings().clone().set_db(query.database("")?);
    if let Some(user) = query.get("user") {
        redis = redis.set_username(user);
    }
    if let Some(password) = query.get("pass") {
        redis = redis.set_password(password);
    }
    let info = signed_in(info.set_redis_settings(redis), settings.credentials.as_ref());
    Ok(Target::Server(Endpoint::new(info, None).speaking(query.protocol()?)))
}

fn read_cluster(scheme: &str, parts: &Parts<'_>, settings: &UrlSettings) -> Result<Target, String> {
    let tls = parts.tls(scheme, settings)?;
    let (hosts, path) = parts.hosts_and_path()?;
    let query = Query::read(parts.query, &[query::DATABASE, query::PROTOCOL])?;
    if query.database(path)? != 0 {
        return Err("a Redis Cluster has no database but 0; omit it".to_owned());
    }
    let protocol = query.protocol()?;
    let servers = hosts.servers(SERVER_PORT, 0)?.into_iter();
    let seed = |info| Endpoint::new(signed_in(info, settings.credentials.as_ref()), tls.clone()).speaking(protocol);
    Ok(Target::Cluster { seeds: servers.map(seed).collect() })
}

fn read_sentinel(scheme: &str, parts: &Parts<'_>, settings: &UrlSettings) -> Result<Target, String> {
    let tls = parts.tls(scheme, settings)?;
    let (hosts, path) = parts.hosts_and_path()?;
    let (service, database) = path.split_once('/').unwrap_or((path, ""));
    if service.is_empty() {
        return Err("it names no service; write redis+sentinel://host1,host2/service/database".to_owned());
    }
    let known = [query::DATABASE, query::PROTOCOL, "sentinel_username", "sentinel_password", "sentinel_tls"];
    let query = Query::read(parts.query, &known)?;
    let database = query.database(database)?;
    let mut credentials = settings.sentinel_credentials.clone();
    let own = |credentials: Option<Credentials>| {
        credentials.unwrap_or_else(|| Credentials { username: String::new(), password: String::new() })
    };
    if let Some(name) = query.get("sentinel_username") {
        credentials = Some(Credentials { username: name.to_owned(), ..own(credentials) });
    }
    if let Some(password) = query.get("sentinel_password") {
        credentials = Some(Credentials { password: password.to_owned(), ..own(credentials) });
    }
    let sentinel_tls = match query.get("sentinel_tls") {
        None => tls.clone(),
        Some("true") => Some(settings.tls.tls(parts.fragment.is_some())?),
        Some("false") => None,
        Some(_) => return Err("its parameter sentinel_tls is neither true nor false; write one of these".to_owned()),
    };
    let sentinels = hosts.without_credentials().servers(SENTINEL_PORT, 0)?;
    let mut addresses = HashSet::new();
    if !sentinels.iter().all(|info| addresses.insert(info.addr().to_string())) {
        return Err("it names a Sentinel twice; a majority of them is asked, so name each once".to_owned());
    }
    let sentinels = sentinels.into_iter();
    let sentinels =
        sentinels.map(|info| Endpoint::new(signed_in(info, credentials.as_ref()), sentinel_tls.clone())).collect();
    let master = hosts.servers(SENTINEL_PORT, database)?.remove(0);
    let master = Endpoint::new(signed_in(master, settings.credentials.as_ref()), tls).speaking(query.protocol()?);
    Ok(Target::Sentinel { sentinels, service: decoded(service)?.into_owned(), master })
}

/// The client's error may repeat what it was given.
fn connection_info(url: &str) -> Result<ConnectionInfo, String> {
    url.into_connection_info()
        .map_err(|error| format!("it cannot be read as a URL ({}); write it {ESCAPES}", error.category()))
}

fn signed_in(info: ConnectionInfo, credentials: Option<&Credentials>) -> ConnectionInfo {
    let settings = info.redis_settings();
    let Some(credentials) = credentials.filter(|_| settings.username().is_none() && settings.password().is_none())
    else {
        return info;
    };
    let mut settings = settings.clone().set_password(&credentials.password);
    if !credentials.username.is_empty() {
        settings = settings.set_username(&credentials.username);
    }
    info.set_redis_settings(settings)
}

fn decoded(text: &str) -> Result<Cow<'_, str>, String> {
    percent_decode_str(text).decode_utf8().map_err(|_| "its %-escapes are no UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use redis::ProtocolVersion;

    use super::*;

    fn target(url: &str) -> Target {
        read(url, &UrlSettings::default()).unwrap().unwrap()
    }

    fn refusal(url: &str) -> String {
        read(url, &UrlSettings::default()).unwrap().unwrap_err()
    }

    /// User, password and database.
    fn signs_in(endpoint: &Endpoint) -> (Option<String>, Option<String>, i64) {
        let settings = endpoint.redis_settings();
        (settings.username().map(str::to_owned), settings.password().map(str::to_owned), settings.db())
    }

    fn some(user: &str, password: &str, database: i64) -> (Option<String>, Option<String>, i64) {
        (Some(user.to_owned()), Some(password.to_owned()), database)
    }

    #[test]
    fn urls_in_one_text_are_separated_at_commas_that_are_not_between_hosts() {
        assert_eq!(separate("redis://a, redis://b"), ["redis://a", "redis://b"]);
        assert_eq!(
            separate("redis+sentinel://a:1,b:2/service/0,redis://c,rediss+cluster://d,e, memory://x,"),
            ["redis+sentinel://a:1,b:2/service/0", "redis://c", "rediss+cluster://d,e", "memory://x"]
        );
        assert_eq!(separate("redis://a,b"), ["redis://a", "b"]);
        assert!(separate(" , ").is_empty());
    }

    #[test]
    fn credentials_are_unescaped() {
        let Target::Server(server) = target("redis://us%40er:p%2Cw%3A%2F%3F%23%25@h:1/3") else { panic!() };
        assert_eq!(signs_in(&server), some("us@er", "p,w:/?#%", 3));
        assert_eq!(server.address(), "h:1");
    }

    #[test]
    fn a_sentinel_url_has_hosts_a_service_and_two_sorts_of_credentials() {
        let url = "redis+sentinel://us%2Cer:p%40w@a,b:7,[::1],[::2]:8/my%20service/2?sentinel_username=s&sentinel_password=x%26y";
        let Target::Sentinel { sentinels, service, master } = target(url) else { panic!() };
        let addresses: Vec<_> = sentinels.iter().map(Endpoint::address).collect();
        assert_eq!(addresses, ["a:26379", "b:7", "[::1]:26379", "[::2]:8"]);
        assert_eq!(service, "my service");
        assert_eq!(signs_in(&master), some("us,er", "p@w", 2));
        assert!(sentinels.iter().all(|sentinel| signs_in(sentinel) == some("s", "x&y", 0)));
    }

    #[test]
    fn a_cluster_url_has_hosts() {
        let Target::Cluster { seeds } = target("redis+cluster://u:p@a,b:7") else { panic!() };
        assert_eq!(seeds.iter().map(Endpoint::address).collect::<Vec<_>>(), ["a:6379", "b:7"]);
        assert!(seeds.iter().all(|seed| signs_in(seed) == some("u", "p", 0)));
    }

    #[test]
    fn credentials_that_hold_for_all_are_those_of_urls_without() {
        let credentials = |username: &str| Credentials { username: username.to_owned(), password: "p".to_owned() };
        let settings = UrlSettings {
            credentials: Some(credentials("")),
            sentinel_credentials: Some(credentials("s")),
            ..UrlSettings::default()
        };
        let read = |url| read(url, &settings).unwrap().unwrap();
        let Target::Server(without) = read("redis://h") else { panic!() };
        assert_eq!(signs_in(&without), (None, Some("p".to_owned()), 0));
        let Target::Server(with) = read("redis://u:own@h") else { panic!() };
        assert_eq!(signs_in(&with), some("u", "own", 0));
        let Target::Sentinel { sentinels, master, .. } = read("redis+sentinel://u:own@h/s") else { panic!() };
        assert_eq!(signs_in(&sentinels[0]), some("s", "p", 0));
        assert_eq!(signs_in(&master), some("u", "own", 0));
    }

    #[test]
    fn what_cannot_be_read_is_refused_without_repeating_it() {
        for (url, expect) in [
            ("redis+sentinel://u:secret@h", "names no service"),
            ("redis+sentinel://u:secret@/s", "names no host"),
            ("redis+sentinel://a,,b/secret", "none between two commas"),
            ("redis+sentinel://a/s/secret", "the database in its path is not a number"),
            (
                "redis+sentinel://a/s?timeout=secret",
                "the parameter `timeout`, and known are db, protocol, sentinel_username",
            ),
            ("redis+sentinel://a/s?sentinel_tls=secret", "sentinel_tls"),
            ("redis+sentinel://u:12/secret@h", "there is an @ after its first /"),
            ("redis+sentinel://u:12/secret@h/0", "there is an @ after its first /"),
            ("redis+sentinel://u:secret@h,i,h:26379/s", "names a sentinel twice"),
            ("redis+unix:///socket?pass=sec#secret", "after a #"),
            ("redis+unix:///so#cket", "after a #"),
            ("redis+cluster://u:secret@a/1", "no database but 0"),
            ("redis+cluster://a?password=secret", "the parameter `password`, and known are db, protocol;"),
            ("redis+cluster://u:secret@a:secret", "ports is no number"),
            ("redis+cluster://a?db=1", "no database but 0"),
            ("redis+cluster://a/0?db=1", "different databases"),
            ("redis://h?username=secret", "the parameter `username`"),
            ("rediss://h/1?db=2#insecure", if cfg!(feature = "insecure-tls") { "different" } else { "insecure-tls" }),
            ("redis+unix:///s?database=secret", "the parameter `database`, and known are db, protocol, user, pass"),
            ("redis+unix:///s?db=secret", "its parameter db is not a number"),
            ("redis+unix://u:secret@/s", "does not begin with a /"),
            ("redis+sentinel://u:secret@h1,u:secret@h2/s", "stand once, in front of all hosts"),
            ("redis+sentinel://h1,u:secret@h2/s", "stand once, in front of all hosts"),
            ("redis+cluster://u:secret@h1,u:secret@h2", "stand once, in front of all hosts"),
            ("redis://u:secret@h1,u:secret@h2", "stand once, in front of all hosts"),
            ("redis://h1,h2", "names several hosts"),
            ("redis://u:secret@h/-1", "the database in its path is not a number"),
            ("redis://u:secret@h/secret", "the database in its path is not a number"),
            ("redis+sentinel://h/s/-1", "the database in its path is not a number"),
            ("redis://u:secret@h:0", "ports is 0"),
            ("redis+sentinel://h,i:0/s", "ports is 0"),
            ("redis+cluster://h:00", "ports is 0"),
            ("redis://u:secret@h:99999", "above 65535"),
            ("redis+cluster://h,[::1]:65536", "above 65535"),
            ("redis://secret:1:2", "several colons"),
            ("redis://u:secret@h1 redis://u:secret@h2", "two urls"),
            ("redis+cluster://h1;redis+cluster://h2", "two urls"),
            ("redis://h?db=1,redis://u:secret@h?db=1", "two urls"),
            ("redis://u:pw#secret@h", "after a #"),
            ("rediss://u:pw#secret@h", "after the #"),
        ] {
            let refusal = refusal(url);
            assert!(refusal.to_lowercase().contains(expect), "{url}: {refusal}");
            assert!(!refusal.contains("secret"), "{refusal}");
        }
        assert!(read("http://h", &UrlSettings::default()).is_none());
        assert!(read("h:6379", &UrlSettings::default()).is_none());
    }

    #[test]
    fn every_scheme_has_its_database_and_protocol_as_parameters_too() {
        for (url, expect) in [
            ("redis://h?db=3&protocol=resp3", (3, Some(ProtocolVersion::RESP3))),
            ("redis://h/?db=3", (3, None)),
            ("redis://h/3?db=3&protocol=2", (3, Some(ProtocolVersion::RESP2))),
            ("unix:///socket?db=3&protocol=3", (3, Some(ProtocolVersion::RESP3))),
            ("redis+unix:///socket?protocol=resp2", (0, Some(ProtocolVersion::RESP2))),
            ("redis+sentinel://h/s?db=3&protocol=resp2", (3, Some(ProtocolVersion::RESP2))),
            ("redis+sentinel://h/s/3?db=3", (3, None)),
            ("redis+cluster://h?db=0&protocol=resp2", (0, Some(ProtocolVersion::RESP2))),
        ] {
            let server = match target(url) {
                Target::Server(server) => server,
                Target::Sentinel { master, .. } => master,
                Target::Cluster { mut seeds } => seeds.remove(0),
            };
            assert_eq!((server.database(), server.protocol()), expect, "{url}");
            assert_eq!(server.elsewhere("i", 1).protocol(), expect.1, "{url}");
        }
    }

    #[test]
    fn a_socket_has_credentials_as_parameters() {
        let Target::Server(server) = target("unix:///a%20b?user=us%26er&pass=p+w%2B%40&db=7") else { panic!() };
        assert_eq!(signs_in(&server), some("us&er", "p w+@", 7));
        assert_eq!(server.address(), "/a b");
    }

    #[test]
    fn a_colon_without_a_port_is_the_default_port() {
        let Target::Server(server) = target("redis://h:") else { panic!() };
        assert_eq!(server.address(), "h:6379");
        let Target::Sentinel { sentinels, .. } = target("redis+sentinel://h:,[::1]:/s") else { panic!() };
        assert_eq!(sentinels.iter().map(Endpoint::address).collect::<Vec<_>>(), ["h:26379", "[::1]:26379"]);
    }

    #[cfg(not(feature = "insecure-tls"))]
    #[test]
    fn trusting_whoever_answers_needs_a_feature_that_says_so() {
        assert!(refusal("rediss://h#insecure").contains("insecure-tls"));
    }
}
