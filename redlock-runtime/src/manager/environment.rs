//! What the environment says about the nodes, and what all programs have to set alike that use them.

use std::env::{self, VarError};
#[cfg(feature = "tls")]
use std::fs;
use std::time::Duration;

use super::builder::LockManagerBuilder;
use super::length;
use crate::Error;
use crate::node::redis::url;
use crate::shown::shown;

/// Names the nodes.
const NODES: &str = "REDLOCK_NODES";

/// The node when that is not set.
const DEFAULT_NODE: &str = "redis://127.0.0.1:6379";

pub(crate) fn builder() -> Result<LockManagerBuilder, Error> {
    let nodes = read_any(NODES)?.unwrap_or_else(|| DEFAULT_NODE.to_owned());
    let nodes = url::separate(&nodes);
    if nodes.is_empty() {
        return refused(format!(
            "{NODES} is set but names no node; set it to URLs separated by commas, such as {DEFAULT_NODE}, or unset it"
        ));
    }
    let mut builder = LockManagerBuilder::default().nodes_from(NODES, nodes);
    if let Some((username, password)) = credentials("REDLOCK_USERNAME", "REDLOCK_PASSWORD")? {
        builder = builder.credentials(username, password);
    }
    if let Some((username, password)) = credentials("REDLOCK_SENTINEL_USERNAME", "REDLOCK_SENTINEL_PASSWORD")? {
        builder = builder.sentinel_credentials(username, password);
    }
    if let Some(timeout) = read_length("REDLOCK_NODE_TIMEOUT")? {
        builder = builder.node_timeout(timeout);
    }
    with_certificates(of_the_fleet(builder)?)
}

/// What every program of a fleet has to set alike, because it decides who excludes whom.
fn of_the_fleet(mut builder: LockManagerBuilder) -> Result<LockManagerBuilder, Error> {
    if let Some(prefix) = read("REDLOCK_LOCK_PREFIX")? {
        builder = builder.lock_prefix(prefix);
    }
    if let Some(prefix) = read("REDLOCK_WAITING_PREFIX")? {
        builder = builder.waiting_prefix(prefix);
    }
    if let Some(key) = read("REDLOCK_WAITING_LIST")? {
        builder = builder.waiting_list(key);
    }
    if let Some(prefix) = read("REDLOCK_INSERTED_PREFIX")? {
        builder = builder.inserted_prefix(prefix);
    }
    if let Some(longest) = read_length("REDLOCK_LONGEST_TTL")? {
        builder = builder.longest_ttl(longest);
    }
    if let Some(retention) = read_length("REDLOCK_MARKS_RETENTION")? {
        builder = builder.marks_retention(retention);
    }
    builder = match read("REDLOCK_MAX_CLOCK_SKEW")?.as_deref() {
        None => builder,
        Some("none") => builder.max_clock_skew(None),
        Some(skew) => builder.max_clock_skew(length_in("REDLOCK_MAX_CLOCK_SKEW", skew, " or `none`")?),
    };
    let variable = "REDLOCK_WAIT_REPLICAS";
    match read(variable)? {
        None => Ok(builder),
        Some(text) => match text.split_once('/').map(|(replicas, within)| (replicas.parse(), within)) {
            Some((Ok(replicas), within)) => {
                Ok(builder.wait_replicas(replicas, length_in(variable, within, ", behind the slash")?))
            }
            _ => refused(format!(
                "{variable} is `{}`; write how many replicas, and within what time: 1/100ms",
                shown(&text)
            )),
        },
    }
}

fn read_length(variable: &str) -> Result<Option<Duration>, Error> {
    read(variable)?.map(|text| length_in(variable, &text, "")).transpose()
}

fn length_in(variable: &str, text: &str, also: &str) -> Result<Duration, Error> {
    match length::read_or_seconds(text) {
        Some(length) => Ok(length),
        None => refused(format!(
            "{variable} is `{}`, which is no length of time; write one such as 250ms, 10m or 32d{also}",
            shown(text)
        )),
    }
}

#[cfg(feature = "tls")]
fn with_certificates(mut builder: LockManagerBuilder) -> Result<LockManagerBuilder, Error> {
    if let Some(roots) = file("REDLOCK_TLS_ROOTS")? {
        builder = builder.tls_roots(roots);
    }
    match (file("REDLOCK_TLS_CERTIFICATE")?, file("REDLOCK_TLS_KEY")?) {
        (Some(certificate), Some(key)) => Ok(builder.tls_client_certificate(certificate, key)),
        (None, None) => Ok(builder),
        _ => refused("set REDLOCK_TLS_CERTIFICATE and REDLOCK_TLS_KEY, or neither of them".to_owned()),
    }
}

#[cfg(not(feature = "tls"))]
fn with_certificates(builder: LockManagerBuilder) -> Result<LockManagerBuilder, Error> {
    for variable in ["REDLOCK_TLS_ROOTS", "REDLOCK_TLS_CERTIFICATE", "REDLOCK_TLS_KEY"] {
        if read(variable)?.is_some() {
            return refused(format!("{variable} is set; enable the feature `tls` of redlock-runtime, or unset it"));
        }
    }
    Ok(builder)
}

fn credentials(username: &str, password: &str) -> Result<Option<(String, String)>, Error> {
    match (read(username)?, read(password)?) {
        (name, Some(password)) => Ok(Some((name.unwrap_or_default(), password))),
        (Some(_), None) => refused(format!("{username} is set without {password}; set both, or the password alone")),
        (None, None) => Ok(None),
    }
}

#[cfg(feature = "tls")]
fn file(variable: &str) -> Result<Option<Vec<u8>>, Error> {
    let Some(path) = read(variable)? else { return Ok(None) };
    fs::read(&path)
        .map(Some)
        .or_else(|error| refused(format!("{variable} names the file {path}, which cannot be read: {error}")))
}

fn read(variable: &str) -> Result<Option<String>, Error> {
    match read_any(variable)? {
        Some(value) if value.is_empty() => {
            refused(format!("{variable} is set but empty; set it to a value, or unset it"))
        }
        value => Ok(value),
    }
}

fn read_any(variable: &str) -> Result<Option<String>, Error> {
    match env::var(variable) {
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => refused(format!("{variable} is not valid UTF-8; set it to text")),
    }
}

fn refused<T>(reason: String) -> Result<T, Error> {
    Err(Error::Config { reason })
}
