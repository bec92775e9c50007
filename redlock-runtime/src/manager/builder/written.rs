//! The settings as a program's own configuration has them, in whatever format.
//!
//! An unknown key is an error, because whoever wrote it relies on it. What may be a password is repeated by no error, also
//! where it stands in the wrong place: hence `deserialize_any`, because of what a format was told to expect, its own error
//! repeats what it found instead.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::super::length;
use super::LockManagerBuilder;
use crate::InDoubt;
use crate::OnShutdown;
use crate::node::redis::url;

impl<'de> Deserialize<'de> for LockManagerBuilder {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Table::<Written>::deserialize(deserializer).map(|Table(written)| written.into_builder())
    }
}

/// All settings that can be written, each under the name that its method has.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Written {
    nodes: Option<Urls>,
    credentials: Option<Table<SignIn>>,
    sentinel_credentials: Option<Table<SignIn>>,
    #[cfg(feature = "tls")]
    tls_roots: Option<Text>,
    #[cfg(feature = "tls")]
    tls_client_certificate: Option<Table<ClientCertificate>>,
    wait_replicas: Option<WaitReplicas>,
    ttl: Option<Time>,
    node_timeout: Option<Time>,
    connect_timeout: Option<Time>,
    longest_ttl: Option<Time>,
    #[cfg(feature = "testing")]
    slow_poll: Option<Time>,
    fencing: Option<bool>,
    local_hand_over: Option<bool>,
    max_clock_skew: Option<TimeOrNone>,
    marks_retention: Option<Time>,
    in_doubt: Option<Choice<InDoubt>>,
    on_shutdown: Option<Choice<OnShutdown>>,
    owner_label: Option<String>,
    most_labels: Option<usize>,
    lock_prefix: Option<String>,
    waiting_prefix: Option<String>,
    waiting_list: Option<String>,
    inserted_prefix: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignIn {
    #[serde(default)]
    username: Text,
    password: Text,
}

#[cfg(feature = "tls")]
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientCertificate {
    certificate: Text,
    key: Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WaitReplicas {
    replicas: usize,
    within: Time,
}

impl Written {
    fn into_builder(self) -> LockManagerBuilder {
        let set = |builder, Table(SignIn { username, password }): Table<SignIn>, to: SetCredentials| {
            to(builder, username.0, password.0)
        };
        let builder = LockManagerBuilder::default();
        let builder = with(builder, self.nodes, |builder, Urls(urls)| builder.nodes(urls));
        let builder =
            with(builder, self.credentials, |builder, who| set(builder, who, LockManagerBuilder::credentials));
        let builder = with(builder, self.sentinel_credentials, |builder, who| {
            set(builder, who, LockManagerBuilder::sentinel_credentials)
        });
        #[cfg(feature = "tls")]
        let builder = with(builder, self.tls_roots, |builder, Text(pem)| builder.tls_roots(pem));
        #[cfg(feature = "tls")]
        let builder =
            with(builder, self.tls_client_certificate, |builder, Table(ClientCertificate { certificate, key })| {
                builder.tls_client_certificate(certificate.0, key.0)
            });
        let builder = with(builder, self.wait_replicas, |builder, WaitReplicas { replicas, within }| {
            builder.wait_replicas(replicas, within.0)
        });
        let builder = with(builder, self.ttl, |builder, Time(ttl)| builder.ttl(ttl));
        let builder = with(builder, self.node_timeout, |builder, Time(limit)| builder.node_timeout(limit));
        let builder = with(builder, self.connect_timeout, |builder, Time(limit)| builder.connect_timeout(limit));
        let builder = with(builder, self.longest_ttl, |builder, Time(longest)| builder.longest_ttl(longest));
        #[cfg(feature = "testing")]
        let builder = with(builder, self.slow_poll, |builder, Time(pause)| builder.slow_poll(pause));
        let builder = with(builder, self.fencing, LockManagerBuilder::fencing);
        let builder = with(builder, self.local_hand_over, LockManagerBuilder::local_hand_over);
        let builder = with(builder, self.max_clock_skew, |builder, TimeOrNone(skew)| builder.max_clock_skew(skew));
        let builder =
            with(builder, self.marks_retention, |builder, Time(retention)| builder.marks_retention(retention));
        let builder = with(builder, self.in_doubt, |builder, Choice(in_doubt)| builder.in_doubt(in_doubt));
        let builder = with(builder, self.on_shutdown, |builder, Choice(what)| builder.on_shutdown(what));
        let builder = with(builder, self.owner_label, LockManagerBuilder::owner_label);
        let builder = with(builder, self.most_labels, LockManagerBuilder::most_labels);
        let builder = with(builder, self.lock_prefix, LockManagerBuilder::lock_prefix);
        let builder = with(builder, self.waiting_prefix, LockManagerBuilder::waiting_prefix);
        let builder = with(builder, self.waiting_list, LockManagerBuilder::waiting_list);
        with(builder, self.inserted_prefix, LockManagerBuilder::inserted_prefix)
    }
}

type SetCredentials = fn(LockManagerBuilder, String, String) -> LockManagerBuilder;

fn with<T>(
    builder: LockManagerBuilder,
    value: Option<T>,
    set: impl FnOnce(LockManagerBuilder, T) -> LockManagerBuilder,
) -> LockManagerBuilder {
    match value {
        Some(value) => set(builder, value),
        None => builder,
    }
}

/// What a visitor says of values that it has no use for: not the value, as serde's own errors would.
macro_rules! refuses {
    ($($visit:ident: $type:ty),*) => {
        $(
            fn $visit<E: serde::de::Error>(self, _: $type) -> Result<Self::Value, E> {
                Err(E::custom(format_args!("expected {}", &self as &dyn serde::de::Expected)))
            }
        )*
    };
}

/// A table, and nothing else.
struct Table<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Table<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tables<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Tables<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of settings, such as { nodes = […] } or { username = …, password = … }")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }

            refuses!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str, visit_bytes: &[u8]);
        }

        deserializer.deserialize_any(Tables(PhantomData)).map(Self)
    }
}

/// Text that may be a password.
#[derive(Default)]
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;

        impl Visitor<'_> for Texts {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, in quotes")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }

            refuses!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_bytes: &[u8]);
        }

        deserializer.deserialize_any(Texts)
    }
}

/// URLs: a list of them, or one text as `REDLOCK_NODES` has it.
struct Urls(Vec<String>);

impl<'de> Deserialize<'de> for Urls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct UrlLists;

        impl<'de> Visitor<'de> for UrlLists {
            type Value = Urls;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of URLs, or URLs separated by commas")
            }

            fn visit_str<E: serde::de::Error>(self, urls: &str) -> Result<Urls, E> {
                Ok(Urls(url::separate(urls)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Urls, A::Error> {
                let mut urls = Vec::new();
                while let Some(Text(url)) = list.next_element()? {
                    urls.push(url);
                }
                Ok(Urls(urls))
            }

            refuses!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_bytes: &[u8]);
        }

        deserializer.deserialize_any(UrlLists)
    }
}

/// A length of time: a number of seconds, or text with units.
struct Time(Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let TimeOrNone(time) = TimeOrNone::deserialize(deserializer)?;
        time.map(Self).ok_or_else(|| D::Error::custom(format_args!("expected {LENGTH}")))
    }
}

/// One of a few words.
struct Choice<T>(T);

/// What can be chosen from.
trait Choices: Sized {
    /// For people.
    const WORDS: &str;

    fn read(word: &str) -> Option<Self>;
}

impl Choices for InDoubt {
    const WORDS: &str = "`refuse` or `run`";

    fn read(word: &str) -> Option<Self> {
        match word {
            "refuse" => Some(Self::Refuse),
            "run" => Some(Self::Run),
            _ => None,
        }
    }
}

impl Choices for OnShutdown {
    const WORDS: &str = "`drain` or `cancel`";

    fn read(word: &str) -> Option<Self> {
        match word {
            "drain" => Some(Self::Drain),
            "cancel" => Some(Self::Cancel),
            _ => None,
        }
    }
}

impl<'de, T: Choices> Deserialize<'de> for Choice<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Text(word) = Text::deserialize(deserializer)?;
        T::read(&word).map(Choice).ok_or_else(|| D::Error::custom(format_args!("expected {}", T::WORDS)))
    }
}

/// A length of time, or `"none"`.
struct TimeOrNone(Option<Duration>);

/// What a length of time looks like.
const LENGTH: &str = "a length of time: a number of seconds, or text such as \"250ms\", \"1.5s\" or \"1h 30m\"";

impl<'de> Deserialize<'de> for TimeOrNone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Times;

        impl Visitor<'_> for Times {
            type Value = TimeOrNone;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(LENGTH)
            }

            fn visit_u64<E: serde::de::Error>(self, seconds: u64) -> Result<TimeOrNone, E> {
                Ok(TimeOrNone(Some(Duration::from_secs(seconds))))
            }

            fn visit_i64<E: serde::de::Error>(self, seconds: i64) -> Result<TimeOrNone, E> {
                match u64::try_from(seconds) {
                    Ok(seconds) => self.visit_u64(seconds),
                    Err(_) => Err(E::custom(format_args!("expected {LENGTH}, not below zero"))),
                }
            }

            fn visit_f64<E: serde::de::Error>(self, seconds: f64) -> Result<TimeOrNone, E> {
                let time = Duration::try_from_secs_f64(seconds);
                time.map(|time| TimeOrNone(Some(time))).map_err(|_| E::custom(format_args!("expected {LENGTH}")))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<TimeOrNone, E> {
                if text == "none" {
                    return Ok(TimeOrNone(None));
                }
                let time = length::read(text).map(|time| TimeOrNone(Some(time)));
                time.ok_or_else(|| E::custom(format_args!("expected {LENGTH}")))
            }
        }

        deserializer.deserialize_any(Times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<LockManagerBuilder, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn every_setting_can_be_written_and_the_rest_added_by_hand() {
        let written = r#"{
            "nodes": ["redis://a", "redis+sentinel://b,c/service"], "ttl": "20s", "node_timeout": 0.125,
            "connect_timeout": 2, "longest_ttl": "1m 30s", "fencing": false, "max_clock_skew": "none",
            "credentials": {"username": "app", "password": "p"}, "sentinel_credentials": {"password": "q"},
            "wait_replicas": {"replicas": 1, "within": "50ms"}, "owner_label": "me", "lock_prefix": "l:",
            "waiting_prefix": "w:", "waiting_list": "list", "inserted_prefix": "i:", "marks_retention": "30d",
            "in_doubt": "run", "on_shutdown": "cancel", "most_labels": 7
        }"#;
        let builder = read(written).unwrap();
        assert_eq!(builder.nodes.urls, ["redis://a", "redis+sentinel://b,c/service"]);
        assert_eq!((builder.ttl, builder.node_timeout), (Duration::from_secs(20), Duration::from_millis(125)));
        assert_eq!((builder.connect_timeout, builder.longest_ttl), (Duration::from_secs(2), Duration::from_secs(90)));
        assert_eq!((builder.fencing, builder.max_clock_skew), (false, None));
        let urls = &builder.nodes.all_urls;
        assert_eq!(urls.credentials.as_ref().map(|who| (&*who.username, &*who.password)), Some(("app", "p")));
        assert_eq!(urls.sentinel_credentials.as_ref().map(|who| (&*who.username, &*who.password)), Some(("", "q")));
        assert!(builder.nodes.replicas.is_some());
        assert_eq!((builder.owner_label.as_deref(), builder.most_labels), (Some("me"), 7));
        assert_eq!(&*builder.keys.waiting_list, "list");
        assert_eq!(builder.marks_retention, Duration::from_secs(30 * 24 * 60 * 60));
        assert_eq!((builder.in_doubt, builder.on_shutdown), (InDoubt::Run, OnShutdown::Cancel));
        assert!(builder.ttl(Duration::from_secs(30)).build().is_ok());
    }

    #[cfg(feature = "tls")]
    #[test]
    fn certificates_can_be_written_and_those_that_are_none_are_refused_as_by_hand() {
        let written = r#"{
            "nodes": "rediss://a", "tls_roots": "the roots",
            "tls_client_certificate": {"certificate": "the certificate", "key": "secret"}
        }"#;
        let builder = read(written).unwrap();
        let tls = &builder.nodes.all_urls.tls;
        assert_eq!(tls.roots.as_deref(), Some(&b"the roots"[..]));
        let (certificate, key) = tls.client.as_ref().unwrap();
        assert_eq!((certificate.as_slice(), key.as_slice()), (&b"the certificate"[..], &b"secret"[..]));
        let error = builder.build().unwrap_err().to_string();
        assert!(error.contains("the root certificate is no certificate in PEM"), "{error}");
        for (json, expect) in [
            (r#"{"tls_client_certificate": {"certificate": "c"}}"#, "missing field `key`"),
            (r#"{"tls_client_certificate": {"certificate": "c", "key": 53637265741}}"#, "expected text"),
            (r#"{"tls_client_certificate": "secret"}"#, "expected a table"),
            (r#"{"tls_roots": ["secret"]}"#, "expected text"),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.contains(expect), "{json}: {error}");
            assert!(!error.contains("secret") && !error.contains("5363"), "{json}: {error}");
        }
    }

    #[cfg(feature = "testing")]
    #[test]
    fn a_setting_for_tests_can_be_written_too() {
        assert_eq!(read(r#"{"slow_poll": 3}"#).unwrap().slow_poll, Duration::from_secs(3));
    }

    #[test]
    fn what_is_not_written_is_as_in_a_new_builder() {
        let (read, new) = (read("{}").unwrap(), LockManagerBuilder::default());
        assert_eq!((read.ttl, read.longest_ttl, read.fencing), (new.ttl, new.longest_ttl, new.fencing));
        assert!(read.build().unwrap_err().to_string().contains("was given 0"));
        assert_eq!(self::read(r#"{"nodes": "redis://a,redis+cluster://b,c"}"#).unwrap().nodes.urls.len(), 2);
    }

    #[test]
    fn a_setting_that_is_none_is_refused_by_name_and_no_password_is_repeated() {
        for (json, expect) in [
            (r#"{"node": ["redis://h"]}"#, "unknown field `node`"),
            (r#"{"ttl": "20s", "retry_count": 3}"#, "unknown field `retry_count`"),
            (r#"{"credentials": {"user": "u", "password": "secret"}}"#, "unknown field `user`"),
            (r#"{"credentials": "u:secret"}"#, "expected a table"),
            (r#"{"credentials": {"password": 53637265741}}"#, "expected text"),
            (r#"{"nodes": [53637265741]}"#, "expected text"),
            (r#"{"nodes": 53637265741}"#, "expected a list of URLs"),
            (r#""redis://u:secret@h""#, "expected a table"),
            (r#"{"ttl": "soon"}"#, "expected a length of time"),
            (r#"{"ttl": -1}"#, "not below zero"),
            (r#"{"ttl": "none"}"#, "expected a length of time"),
            (r#"{"ttl": "5"}"#, "expected a length of time"),
            (r#"{"in_doubt": "maybe"}"#, "expected `refuse` or `run`"),
            (r#"{"on_shutdown": "secret"}"#, "expected `drain` or `cancel`"),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.contains(expect), "{json}: {error}");
            assert!(!error.contains("secret") && !error.contains("5363"), "{json}: {error}");
        }
    }
}
