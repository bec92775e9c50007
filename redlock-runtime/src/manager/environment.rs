//! What the environment says about the nodes.

use std::env::{self, VarError};
#[cfg(feature = "tls")]
use std::fs;

use super::builder::LockManagerBuilder;
use crate::Error;
use crate::node::redis::url;

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
    with_certificates(builder)
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
