//! What stands between a scheme and the first `/`: who signs in, and where.

use redis::ConnectionInfo;

use super::{ESCAPES, connection_info};

/// The credentials and hosts of a URL.
#[derive(Debug)]
pub(in crate::node) struct Hosts<'a> {
    /// User and password with the `@` behind them, if there are any.
    user_info: &'a str,
    hosts: Vec<Host<'a>>,
}

#[derive(Clone, Copy, Debug)]
struct Host<'a> {
    /// With the brackets of an IPv6 address.
    name: &'a str,
    port: Option<u16>,
}

impl<'a> Hosts<'a> {
    pub(in crate::node) fn read(authority: &'a str) -> Result<Self, String> {
        let (user_info, hosts) = authority.rfind('@').map_or(("", authority), |at| authority.split_at(at + 1));
        // What looks like a user's name may be another host: `h1,user:password@h2`.
        if user_info.matches('@').count() > 1 || user_info.contains(',') {
            return Err(format!(
                "an @ or a comma stands in front of its last @; user and password stand once, in front of all hosts \
                 (scheme://user:password@host1,host2), {ESCAPES}"
            ));
        }
        let hosts: Vec<_> = hosts.split(',').map(str::trim).collect();
        if hosts.iter().any(|host| host.is_empty()) {
            return Err(format!(
                "it names no host, or none between two commas; write scheme://host1:port,host2:port, {ESCAPES}"
            ));
        }
        let hosts = hosts.into_iter().map(Host::read).collect::<Result<_, _>>()?;
        Ok(Self { user_info, hosts })
    }

    pub(in crate::node) fn count(&self) -> usize {
        self.hosts.len()
    }

    /// The servers at these hosts, with their default port, in this database.
    pub(in crate::node) fn servers(&self, default_port: u16, database: i64) -> Result<Vec<ConnectionInfo>, String> {
        let server = |host: &Host<'_>| {
            let (name, port) = (host.name, host.port.unwrap_or(default_port));
            connection_info(&format!("redis://{}{name}:{port}/{database}", self.user_info))
        };
        self.hosts.iter().map(server).collect()
    }

    pub(in crate::node) fn without_credentials(&self) -> Self {
        Self { user_info: "", hosts: self.hosts.clone() }
    }
}

impl<'a> Host<'a> {
    fn read(host: &'a str) -> Result<Self, String> {
        let end_of_address = host.rfind(']').map_or(0, |bracket| bracket + 1);
        let (name, port) = match host[end_of_address..].split_once(':') {
            None => (host, ""),
            Some((name, port)) if !port.contains(':') => (&host[..end_of_address + name.len()], port),
            Some(_) => {
                return Err(format!(
                    "one of its hosts has several colons; an IPv6 address stands in brackets ([::1]:6379), and user and \
                     password {ESCAPES}"
                ));
            }
        };
        Ok(Self { name, port: read_port(port)? })
    }
}

/// `None` if there is none.
fn read_port(port: &str) -> Result<Option<u16>, String> {
    if port.is_empty() {
        return Ok(None);
    }
    if !port.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(format!("one of its ports is no number; write host:6379, and user and password {ESCAPES}"));
    }
    match port.parse() {
        Ok(0) => Err("one of its ports is 0, where no server listens; write the server's, such as 6379".to_owned()),
        Ok(port) => Ok(Some(port)),
        Err(_) => {
            Err("one of its ports is above 65535, the last there is; write the server's, such as 6379".to_owned())
        }
    }
}
