//! What is asked of a server that is about no key.

use std::fmt::Write as _;

use super::{ConnectionId, Refusal, Role, Server, wrong_number};
use crate::commands::{Name, fits, is_known_later, is_word, text};
use crate::number::parse_integer;
use crate::reply::{Protocol, Reply};

/// What CONFIG GET knows, as a server without persistence has it.
const CONFIGURATION: [(&str, &str); 5] = [
    ("save", ""),
    ("appendonly", "no"),
    ("appendfsync", "everysec"),
    ("maxmemory-policy", "noeviction"),
    ("maxmemory", "0"),
];

impl Server {
    pub(super) fn administer(&mut self, from: ConnectionId, name: &[u8], arguments: &[&[u8]]) -> Reply {
        let arity = match name {
            b"PING" | b"HELLO" | b"INFO" => -1,
            b"ECHO" | b"SELECT" => 2,
            b"ROLE" => 1,
            b"WAIT" => 3,
            b"CONFIG" => -2,
            b"PSUBSCRIBE" | b"PUNSUBSCRIBE" => return self.refuse_pattern(name),
            _ => return self.refuse_unknown(arguments),
        };
        if !fits(arity, arguments.len()) {
            return wrong_number(name);
        }
        let refusal = self.keyspace.refusal;
        let is_refused = match name {
            b"PING" => matches!(refusal, Some(Refusal::Loading | Refusal::Misconfigured)),
            b"WAIT" => refusal == Some(Refusal::Loading),
            _ => false,
        };
        if let Some(refusal) = refusal.filter(|_| is_refused) {
            return Reply::error(refusal.text());
        }
        match name {
            b"PING" => self.ping(from, arguments),
            b"HELLO" if self.keyspace.version < (6, 0, 0) => {
                // An older server, which does not know it; clients ask to learn that.
                unknown_command(arguments)
            }
            b"HELLO" => self.hello(from, &arguments[1..]),
            b"INFO" => self.info(arguments),
            b"ECHO" => Reply::bulk(arguments[1]),
            b"SELECT" => match parse_integer(arguments[1]) {
                Some(0) => Reply::OK,
                Some(_) => Reply::error("ERR DB index is out of range"),
                None => Reply::not_an_integer(),
            },
            b"ROLE" => self.tell_role(),
            b"WAIT" => Reply::Integer(self.replicas),
            _ => self.configuration(arguments),
        }
    }

    fn refuse_unknown(&mut self, arguments: &[&[u8]]) -> Reply {
        if !is_known_later(Name::new(arguments[0]).as_bytes()) {
            self.keyspace.unknown.push(text(&arguments.join(&b' ')));
        }
        unknown_command(arguments)
    }

    fn ping(&self, from: ConnectionId, arguments: &[&[u8]]) -> Reply {
        match arguments {
            [_] if self.connections[&from].is_subscriber() => Reply::Array(vec![Reply::bulk("pong"), Reply::bulk("")]),
            [_] => Reply::Status("PONG".into()),
            [_, message] if self.connections[&from].is_subscriber() => {
                Reply::Array(vec![Reply::bulk("pong"), Reply::bulk(message)])
            }
            [_, message] => Reply::bulk(message),
            _ => wrong_number(b"ping"),
        }
    }

    fn hello(&mut self, from: ConnectionId, arguments: &[&[u8]]) -> Reply {
        let Some(client) = self.connections.get_mut(&from) else { return wrong_number(b"hello") };
        let mut protocol = client.protocol;
        if let [version, options @ ..] = arguments {
            protocol = match parse_integer(version) {
                Some(2) => Protocol::Resp2,
                Some(3) => Protocol::Resp3,
                Some(_) => return Reply::error("NOPROTO unsupported protocol version"),
                None => return Reply::error("ERR Protocol version is not an integer or out of range"),
            };
            match options {
                [] => {}
                [option, name] if is_word(option, "SETNAME") => client.name = text(name),
                [option, ..] => {
                    self.keyspace.unknown.push(format!("HELLO with {}", text(option)));
                    return Reply::error(format!("ERR Syntax error in HELLO option '{}'", text(option)));
                }
            }
        }
        client.protocol = protocol;
        let number = i64::try_from(client.number).unwrap_or(i64::MAX);
        let word = |word: &str| Reply::bulk(word);
        Reply::Map(vec![
            word("server"),
            word("redis"),
            word("version"),
            word(&self.settings.version),
            word("proto"),
            Reply::Integer(if protocol == Protocol::Resp3 { 3 } else { 2 }),
            word("id"),
            Reply::Integer(number),
            word("mode"),
            word("standalone"),
            word("role"),
            word(self.role.word("replica")),
            word("modules"),
            Reply::Array(Vec::new()),
        ])
    }

    fn tell_role(&self) -> Reply {
        match self.role {
            Role::Master => Reply::Array(vec![Reply::bulk("master"), Reply::Integer(0), Reply::Array(Vec::new())]),
            Role::Replica => Reply::Array(vec![
                Reply::bulk("slave"),
                Reply::bulk("127.0.0.1"),
                Reply::Integer(6379),
                Reply::bulk("connected"),
                Reply::Integer(0),
            ]),
        }
    }

    fn info(&mut self, arguments: &[&[u8]]) -> Reply {
        let all = ["server", "clients", "memory", "persistence", "replication"];
        let sections: Vec<_> = arguments[1..].iter().map(|section| text(section).to_lowercase()).collect();
        let is_all = sections.iter().any(|section| matches!(&**section, "all" | "everything" | "default"));
        let wanted = if sections.is_empty() || is_all { all.map(str::to_owned).to_vec() } else { sections };
        let mut info = String::new();
        for section in wanted {
            let Some(lines) = self.section(&section) else {
                self.keyspace.unknown.push(format!("INFO {section}"));
                continue;
            };
            if !info.is_empty() {
                info.push_str("\r\n");
            }
            let (first, rest) = section.split_at(1);
            // Writing to a string cannot fail.
            let _ = write!(info, "# {}{rest}\r\n", first.to_uppercase());
            for line in lines {
                info.push_str(&line);
                info.push_str("\r\n");
            }
        }
        Reply::Text(info)
    }

    fn section(&self, section: &str) -> Option<Vec<String>> {
        let run_id = &self.settings.run_id;
        let uptime = self.keyspace.now.saturating_sub(self.settings.started);
        Some(match section {
            "server" => vec![
                format!("redis_version:{}", self.settings.version),
                "redis_mode:standalone".to_owned(),
                "process_id:1".to_owned(),
                format!("run_id:{run_id}"),
                "tcp_port:6379".to_owned(),
                format!("server_time_usec:{}", self.keyspace.now.as_micros()),
                format!("uptime_in_seconds:{}", uptime.as_secs()),
                format!("uptime_in_days:{}", uptime.as_secs() / 86_400),
            ],
            "clients" => vec![format!("connected_clients:{}", self.connections.len())],
            "memory" => vec!["maxmemory:0".to_owned(), "maxmemory_policy:noeviction".to_owned()],
            "persistence" => {
                vec![
                    format!("loading:{}", u8::from(self.keyspace.refusal == Some(Refusal::Loading))),
                    "aof_enabled:0".to_owned(),
                ]
            }
            "replication" => vec![
                format!("role:{}", self.role.word("slave")),
                "connected_slaves:0".to_owned(),
                // A history of its own begins with each process.
                format!("master_replid:{}", run_id.chars().rev().collect::<String>()),
                "master_repl_offset:0".to_owned(),
            ],
            _ => return None,
        })
    }

    fn configuration(&mut self, arguments: &[&[u8]]) -> Reply {
        let [_, verb, settings @ ..] = arguments else { return wrong_number(b"config") };
        if !is_word(verb, "GET") || settings.is_empty() {
            return self.refuse_unknown(arguments);
        }
        let notifies = if self.settings.notifies { "AKE" } else { "" };
        let known = CONFIGURATION.into_iter().chain([("notify-keyspace-events", notifies)]);
        let known = known.filter(|(name, _)| settings.iter().any(|setting| is_word(setting, name)));
        let found: Vec<_> = known.flat_map(|(name, value)| [Reply::bulk(name), Reply::bulk(value)]).collect();
        if found.len() < 2 * settings.len() {
            self.keyspace.unknown.push(text(&arguments.join(&b' ')));
        }
        Reply::Map(found)
    }
}

impl Role {
    fn word(self, replica: &'static str) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Replica => replica,
        }
    }
}

// Source: `rejectCommandFormat` in `processCommand`, https://github.com/redis/redis/blob/7.0/src/server.c
fn unknown_command(arguments: &[&[u8]]) -> Reply {
    let quoted: Vec<_> = arguments[1..].iter().map(|argument| format!("'{}' ", text(argument))).collect();
    Reply::error(format!("ERR unknown command '{}', with args beginning with: {}", text(arguments[0]), quoted.concat()))
}
