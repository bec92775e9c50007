//! How a server is set up: who gets in, and how.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use crate::tls::Certificates;

/// Who the harness is on servers that let only named users in; it may do everything.
const HARNESS: &str = "redlock-test-harness";

/// The harness's password there.
const HARNESS_PASSWORD: &str = "known only here";

/// The socket in the directory of a server that speaks TLS, where probes need not.
pub(crate) const SOCKET: &str = "socket";

/// The file in a server's directory with its configuration, if it is in a file.
pub(crate) const FILE: &str = "server.conf";

/// What a server is started with, whatever it is part of: a user or a password, TLS, other configuration.
///
/// Without anything, it is open to everybody.
#[derive(Clone, Debug, Default)]
#[must_use = "nothing is started before a server is started with it"]
pub struct Setup {
    /// More configuration, as arguments.
    arguments: Vec<String>,
    /// Whom clients log in as.
    credentials: Option<Credentials>,
    /// With what the server speaks TLS, and only that.
    certificates: Option<Certificates>,
    /// Whether clients must have a certificate too.
    client_certificates: bool,
    /// Where the configuration is.
    place: Place,
    /// Whether it is a node of a cluster.
    in_cluster: bool,
}

/// Where a server finds its configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// In its arguments: what changes later is lost with a restart.
    #[default]
    Arguments,
    /// In a file, which the server, or a Sentinel that tells it what to be, rewrites.
    File,
    /// In a file, as a Sentinel, which has none of what concerns data.
    SentinelFile,
}

/// A user's name, if it is not the default one, and the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The name; `None` for the default user.
    pub user: Option<String>,
    /// The password.
    pub password: String,
}

impl Credentials {
    /// `user:password@`, as it stands in a URL.
    #[must_use]
    pub fn for_url(&self) -> String {
        format!("{}:{}@", encoded(self.user.as_deref().unwrap_or_default()), encoded(&self.password))
    }
}

impl Setup {
    /// Open to everybody.
    pub fn new() -> Self {
        Self::default()
    }

    /// More configuration, such as `["--maxmemory", "1mb"]`.
    pub fn with_arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        if let Some(password) = value_of("--requirepass", arguments) {
            self.credentials = Some(Credentials { user: None, password });
        }
        self
    }

    /// Lets in who knows the password of the default user.
    pub fn with_password(self, password: &str) -> Self {
        self.with_arguments(&["--requirepass", password])
    }

    /// Lets in a user with these rules, such as `~redlock:* +@all`, and no default user.
    ///
    /// Probes, replicas and Sentinels have a user of their own, which may do everything.
    pub fn with_user(mut self, name: &str, password: &str, rules: &str) -> Self {
        self = self.with_arguments(&["--user", "default", "off"]);
        self = self.with_arguments(&["--user", HARNESS, "on", &format!(">{HARNESS_PASSWORD}"), "~*", "&*", "+@all"]);
        self = self.with_arguments(&["--user", name, "on", &format!(">{password}")]);
        self = self.with_arguments(&rules.split_whitespace().collect::<Vec<_>>());
        self.credentials = Some(Credentials { user: Some(name.to_owned()), password: password.to_owned() });
        self
    }

    /// Has the server speak TLS, and nothing else, on its port.
    pub fn with_tls(mut self, certificates: &Certificates) -> Self {
        self.certificates = Some(certificates.clone());
        self
    }

    /// Like [`with_tls`](Self::with_tls), for clients only that have a certificate of the same authority.
    pub fn with_client_certificates(mut self, certificates: &Certificates) -> Self {
        self.client_certificates = true;
        self.with_tls(certificates)
    }

    /// Has the server know as whom to log in to servers of the same setup, should it become the replica of one.
    pub(crate) fn with_replication(mut self) -> Self {
        if let Some(Credentials { user, password }) = self.harness_credentials() {
            if let Some(user) = user {
                self = self.with_arguments(&["--masteruser", &user]);
            }
            self = self.with_arguments(&["--masterauth", &password]);
        }
        self
    }

    /// Has the server be a node of a cluster.
    pub fn in_cluster(self) -> Self {
        Self { in_cluster: true, ..self }
    }

    /// Whether the server listens on a second port, for a cluster's other nodes.
    pub(crate) fn needs_bus(&self) -> bool {
        self.in_cluster
    }

    /// Has the server find its configuration there.
    pub(crate) fn in_place(self, place: Place) -> Self {
        Self { place, ..self }
    }

    /// Whom clients log in as.
    #[must_use]
    pub fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// What the server speaks TLS with, if it does.
    #[must_use]
    pub fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_ref()
    }

    /// `redis`, or `rediss` with TLS.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.certificates.is_some() { "rediss" } else { "redis" }
    }

    /// The beginning of a URL up to where the hosts begin; `kind` is such as `+cluster`, or empty.
    #[must_use]
    pub fn url_up_to_hosts(&self, kind: &str) -> String {
        let credentials = self.credentials.as_ref().map(Credentials::for_url).unwrap_or_default();
        format!("{}{kind}://{credentials}", self.scheme())
    }

    /// Whom the harness, replicas and Sentinels log in as.
    pub(crate) fn harness_credentials(&self) -> Option<Credentials> {
        let credentials = self.credentials.clone()?;
        Some(match credentials.user {
            Some(_) => Credentials { user: Some(HARNESS.to_owned()), password: HARNESS_PASSWORD.to_owned() },
            None => credentials,
        })
    }

    /// What the server's program is called with; [`write_files`](Self::write_files) has been before.
    pub(crate) fn command_line(&self, port: u16, directory: &Path) -> Vec<String> {
        match self.place {
            Place::Arguments => self.configuration(port, directory),
            Place::File => vec![FILE.to_owned()],
            Place::SentinelFile => vec![FILE.to_owned(), "--sentinel".to_owned()],
        }
    }

    /// All of the server's configuration as arguments; its working directory is `directory`.
    fn configuration(&self, port: u16, directory: &Path) -> Vec<String> {
        let port = port.to_string();
        let mut arguments = Vec::new();
        let mut add = |more: &[&str]| arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        add(&["--bind", "127.0.0.1", "--dir", &directory.display().to_string()]);
        if self.certificates.is_some() {
            // For probes, which look past TLS.
            add(&["--unixsocket", SOCKET]);
            add(&["--port", "0", "--tls-port", &port, "--tls-replication", "yes"]);
            if self.in_cluster {
                add(&["--tls-cluster", "yes"]);
            }
            add(&["--tls-cert-file", "server.crt", "--tls-key-file", "server.key", "--tls-ca-cert-file", "ca.crt"]);
            add(&["--tls-auth-clients", if self.client_certificates { "yes" } else { "no" }]);
        } else {
            add(&["--port", &port]);
        }
        if self.place != Place::SentinelFile {
            // A replica that a test makes is in step at once rather than five seconds later.
            add(&["--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"]);
        }
        if self.in_cluster {
            add(&["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"]);
        }
        arguments.extend(self.arguments.iter().cloned());
        arguments
    }

    /// Puts into the server's directory what it needs there before it is started first.
    pub(crate) fn write_files(&self, port: u16, directory: &Path) -> io::Result<()> {
        if let Some(certificates) = &self.certificates {
            fs::write(directory.join("ca.crt"), certificates.authority())?;
            fs::write(directory.join("server.crt"), &certificates.server().certificate)?;
            fs::write(directory.join("server.key"), &certificates.server().key)?;
        }
        if self.place != Place::Arguments {
            fs::write(directory.join(FILE), as_file(&self.configuration(port, directory)))?;
        }
        Ok(())
    }
}

/// Arguments as the lines of a configuration file.
fn as_file(arguments: &[String]) -> String {
    let mut file = String::new();
    for argument in arguments {
        match argument.strip_prefix("--") {
            Some(option) => write!(file, "\n{option}"),
            None => write!(file, " \"{argument}\""),
        }
        .expect("a string takes everything");
    }
    file + "\n"
}

fn value_of(option: &str, arguments: &[&str]) -> Option<String> {
    let position = arguments.iter().position(|argument| *argument == option)?;
    arguments.get(position + 1).map(|&value| value.to_owned())
}

/// Percent-encoded, so that a password may have every character.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => write!(encoded, "%{byte:02X}").expect("a string takes everything"),
        }
        encoded
    })
}
