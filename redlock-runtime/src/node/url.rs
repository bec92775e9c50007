//! Reads the URLs of Redis nodes.
//!
//! Whatever stands in a URL may be a password, so no error repeats any of it.

use std::borrow::Cow;
use std::collections::HashSet;

use percent_encoding::percent_decode_str;
use redis::{ConnectionInfo, IntoConnectionInfo};

use super::endpoint::Endpoint;
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
    let (rest, fragment) = rest.split_once('#').map_or((rest, None), |(rest, fragment)| (rest, Some(fragment)));
    let is_encrypted = scheme.starts_with("rediss");
    Some(match (scheme, fragment) {
        ("redis" | "rediss" | "redis+sentinel" | "rediss+sentinel" | "redis+cluster" | "rediss+cluster", _) => {
            tls(is_encrypted, fragment, settings).and_then(|tls| match scheme {
                "redis" | "rediss" => {
                    let info = connection_info(&format!("redis://{rest}"))?;
                    Ok(Target::Server(Endpoint::new(signed_in(info, settings.credentials.as_ref()), tls)))
                }
                "redis+sentinel" | "rediss+sentinel" => read_sentinel(&Parts::of(rest)?, fragment, tls, settings),
                _ => read_cluster(&Parts::of(rest)?, tls.as_ref(), settings),
            })
        }
        ("redis+unix" | "unix", Some(_)) => Err(format!(
            "something stands behind its #, which it has no use for; write the URL {ESCAPES}, or in its path"
        )),
        ("redis+unix" | "unix", None) => connection_info(url)
            .map(|info| Target::Server(Endpoint::new(signed_in(info, settings.credentials.as_ref()), None))),
        _ => return None,
    })
}

fn tls(is_encrypted: bool, fragment: Option<&str>, settings: &UrlSettings) -> Result<Option<Tls>, String> {
    match (is_encrypted, fragment) {
        (true, None | Some("insecure")) => settings.tls.tls(fragment.is_some()).map(Some),
        (false, None) => Ok(None),
        (true, Some(_)) => Err(format!("what stands behind its # is not `insecure`; write the URL {ESCAPES}")),
        (false, Some(_)) => Err(format!(
            "something stands behind its #, which only rediss:// has a use for (#insecure); write the URL {ESCAPES}"
        )),
    }
}

/// The parts of a URL with several hosts.
#[derive(Debug)]
struct Parts<'a> {
    /// User and password with the `@` behind them, if there are any.
    user_info: &'a str,
    hosts: Vec<&'a str>,
    /// Behind the hosts, without slashes around it.
    path: &'a str,
    /// Name and value of each parameter.
    parameters: Vec<(&'a str, Cow<'a, str>)>,
}

impl<'a> Parts<'a> {
    fn of(rest: &'a str) -> Result<Self, String> {
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if path.contains('@') {
            return Err(format!(
                "an @ stands behind its first /, so what looks like its hosts may be none; write it {ESCAPES}"
            ));
        }
        let (user_info, hosts) = authority.rfind('@').map_or(("", authority), |at| authority.split_at(at + 1));
        let hosts: Vec<_> = hosts.split(',').map(str::trim).collect();
        if hosts.iter().any(|host| host.is_empty()) {
            return Err(format!(
                "it names no host, or none between two commas; write scheme://host1:port,host2:port, {ESCAPES}"
            ));
        }
        let parameters = query.split('&').filter(|parameter| !parameter.is_empty());
        let parameters = parameters
            .map(|parameter| {
                let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
                Ok((name, decoded(value)?))
            })
            .collect::<Result<_, String>>()?;
        Ok(Self { user_info, hosts, path: path.trim_matches('/'), parameters })
    }

    /// The servers at these hosts, in this database.
    fn servers(&self, port: u16, database: &str) -> Result<Vec<ConnectionInfo>, String> {
        let server = |host: &&str| {
            // In brackets a colon is part of an address.
            let has_port = host.rsplit(']').next().is_some_and(|behind| behind.contains(':'));
            let port = if has_port { String::new() } else { format!(":{port}") };
            connection_info(&format!("redis://{}{host}{port}/{database}", self.user_info))
        };
        self.hosts.iter().map(server).collect()
    }
}

fn read_cluster(parts: &Parts<'_>, tls: Option<&Tls>, settings: &UrlSettings) -> Result<Target, String> {
    if !matches!(parts.path, "" | "0") {
        return Err("a Redis Cluster has no database but 0; leave it away".to_owned());
    }
    if !parts.parameters.is_empty() {
        return Err(format!("it has parameters behind a ?, which a cluster has no use for; write the URL {ESCAPES}"));
    }
    let servers = parts.servers(SERVER_PORT, "")?.into_iter();
    let seeds =
        servers.map(|info| Endpoint::new(signed_in(info, settings.credentials.as_ref()), tls.cloned())).collect();
    Ok(Target::Cluster { seeds })
}

fn read_sentinel(
    parts: &Parts<'_>,
    fragment: Option<&str>,
    tls: Option<Tls>,
    settings: &UrlSettings,
) -> Result<Target, String> {
    let (service, database) = parts.path.split_once('/').unwrap_or((parts.path, ""));
    if service.is_empty() {
        return Err("it names no service; write redis+sentinel://host1,host2/service/database".to_owned());
    }
    if !database.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err("what stands behind its service is no number of a database; write …/service/0".to_owned());
    }
    let mut credentials = settings.sentinel_credentials.clone();
    let own = |credentials: Option<Credentials>| {
        credentials.unwrap_or_else(|| Credentials { username: String::new(), password: String::new() })
    };
    let mut sentinel_tls = tls.clone();
    for (name, value) in &parts.parameters {
        match (*name, &**value) {
            ("sentinel_username", name) => {
                credentials = Some(Credentials { username: name.to_owned(), ..own(credentials) });
            }
            ("sentinel_password", password) => {
                credentials = Some(Credentials { password: password.to_owned(), ..own(credentials) });
            }
            ("sentinel_tls", "true") => sentinel_tls = self::tls(true, fragment, settings)?,
            ("sentinel_tls", "false") => sentinel_tls = None,
            _ => {
                return Err("behind its ? stands something else than sentinel_username=…, sentinel_password=…, \
                            sentinel_tls=true or sentinel_tls=false"
                    .to_owned());
            }
        }
    }
    let without_credentials = Parts { user_info: "", hosts: parts.hosts.clone(), path: "", parameters: Vec::new() };
    let sentinels = without_credentials.servers(SENTINEL_PORT, "")?;
    let mut addresses = HashSet::new();
    if !sentinels.iter().all(|info| addresses.insert(info.addr().to_string())) {
        return Err("it names a Sentinel twice; a majority of them is asked, so name each once".to_owned());
    }
    let sentinels = sentinels.into_iter();
    let sentinels =
        sentinels.map(|info| Endpoint::new(signed_in(info, credentials.as_ref()), sentinel_tls.clone())).collect();
    let Some(master) = parts.servers(SENTINEL_PORT, database)?.into_iter().next() else {
        return Err("it names no host".to_owned());
    };
    let master = Endpoint::new(signed_in(master, settings.credentials.as_ref()), tls);
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
            ("redis+sentinel://a/s/secret", "database"),
            ("redis+sentinel://a/s?secret=secret", "sentinel_tls"),
            ("redis+sentinel://a/s?sentinel_tls=secret", "sentinel_tls"),
            ("redis+sentinel://u:12/secret@h", "an @ stands behind its first /"),
            ("redis+sentinel://u:12/secret@h/0", "an @ stands behind its first /"),
            ("redis+sentinel://u:secret@h,i,h:26379/s", "names a sentinel twice"),
            ("redis+unix:///socket?pass=sec#secret", "behind its #"),
            ("redis+unix:///so#cket", "behind its #"),
            ("redis+cluster://u:secret@a/1", "no database but 0"),
            ("redis+cluster://a?password=secret", "no use for"),
            ("redis+cluster://u:secret@a:secret", "cannot be read"),
            ("redis://u:pw#secret@h", "behind its #"),
            ("rediss://u:pw#secret@h", "behind its #"),
        ] {
            let refusal = refusal(url);
            assert!(refusal.to_lowercase().contains(expect), "{url}: {refusal}");
            assert!(!refusal.contains("secret"), "{refusal}");
        }
        assert!(read("http://h", &UrlSettings::default()).is_none());
        assert!(read("h:6379", &UrlSettings::default()).is_none());
    }

    #[cfg(not(feature = "insecure-tls"))]
    #[test]
    fn trusting_whoever_answers_needs_a_feature_that_says_so() {
        assert!(refusal("rediss://h#insecure").contains("insecure-tls"));
    }
}
