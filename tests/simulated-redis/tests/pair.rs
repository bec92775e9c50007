//! A real server and a simulated one, side by side.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use redlock_simulated_redis::{ConnectionId, Effect, Server, Settings};
use redlock_tests::RedisServer;

use crate::kinds;
use crate::wire::{count, end_of_reply, is_alike, pack, show, tell, words};

/// The scripts as they are shipped.
pub(crate) const SCRIPTS: [(&str, &str); 13] = [
    (
        "acquire",
        concat!(
            include_str!("../../../redlock-runtime/src/node/redis/lua/acquire.lua"),
            include_str!("../../../redlock-runtime/src/node/redis/lua/raise.lua"),
            include_str!("../../../redlock-runtime/src/node/redis/lua/contend.lua"),
            include_str!("../../../redlock-runtime/src/node/redis/lua/acquire_told.lua")
        ),
    ),
    ("adopt", include_str!("../../../redlock-runtime/src/node/redis/lua/adopt.lua")),
    ("commit", include_str!("../../../redlock-runtime/src/node/redis/lua/commit.lua")),
    ("complete", include_str!("../../../redlock-runtime/src/node/redis/lua/complete.lua")),
    ("enlist", include_str!("../../../redlock-runtime/src/node/redis/lua/enlist.lua")),
    ("extend", include_str!("../../../redlock-runtime/src/node/redis/lua/extend.lua")),
    ("look", include_str!("../../../redlock-runtime/src/node/redis/lua/look.lua")),
    ("label", include_str!("../../../redlock-runtime/src/node/redis/lua/label.lua")),
    ("release", include_str!("../../../redlock-runtime/src/node/redis/lua/release.lua")),
    ("reset", include_str!("../../../redlock-runtime/src/node/redis/lua/reset.lua")),
    ("record", include_str!("../../../redlock-runtime/src/node/redis/lua/record.lua")),
    ("take_out", include_str!("../../../redlock-runtime/src/node/redis/lua/take_out.lua")),
    ("touch", include_str!("../../../redlock-runtime/src/node/redis/lua/touch.lua")),
];

/// A reply that does not come within this time never does.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn script(name: &str) -> &'static str {
    let known = SCRIPTS.into_iter().chain(kinds::SCRIPTS).find(|(script, _)| *script == name);
    known.unwrap_or_else(|| panic!("there is no script {name}")).1
}

pub(crate) fn hash(script: &str) -> String {
    sha1_smol::Sha1::from(script).digest().to_string()
}

/// Both servers, and the same connections to both.
pub(crate) struct Pair {
    real: RedisServer,
    pub(crate) simulated: Server,
    /// Where the real server's clock is asked for.
    clock: Stream,
    streams: BTreeMap<u64, Stream>,
    /// What was done so far, for a message.
    history: Vec<String>,
    /// What the real server answered last.
    answer: String,
}

impl Pair {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The real server's arguments.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let real = RedisServer::start_with(arguments);
        let mut clock = Stream::connect(&real);
        let info = clock.ask(&words("INFO server"));
        let info = String::from_utf8(info).unwrap();
        let field = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap_or_else(|| panic!("no {name} in {info}")).to_owned()
        };
        let settings = Settings {
            run_id: field("run_id"),
            version: field("redis_version"),
            started: clock.time(),
            notifies: arguments.contains(&"--notify-keyspace-events"),
        };
        Self {
            simulated: Server::new(settings),
            real,
            clock,
            streams: BTreeMap::new(),
            history: Vec::new(),
            answer: String::new(),
        }
    }

    /// Sends both the same, line by line, and compares what they answer. A line is a command; `1: GET x` sends it through
    /// another connection, `@extend` calls a script by its hash, and `!extend` with its source. `load` loads all scripts,
    /// `after 50` waits until so many milliseconds are over, `expire` removes what has expired, and `= 1` says what was answered last.
    pub(crate) fn check(&mut self, name: &str, lines: &str) {
        self.begin(name);
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            self.line(line);
        }
        self.end();
    }

    /// Both servers empty, with new connections.
    pub(crate) fn begin(&mut self, name: &str) {
        self.history = vec![name.to_owned()];
        for (id, _) in std::mem::take(&mut self.streams) {
            self.simulated.close(ConnectionId(id));
        }
        self.clock.ask(&words("FLUSHALL"));
        self.clock.ask(&words("SCRIPT FLUSH"));
        let now = self.clock.time();
        self.simulated.flush_all(now);
        self.simulated.flush_scripts();
    }

    pub(crate) fn line(&mut self, line: &str) {
        let (connection, line) = match line.split_once(": ") {
            Some((connection, line)) if connection.parse::<u64>().is_ok() => (connection.parse().unwrap(), line),
            _ => (0, line),
        };
        match words(line) {
            command if command[0] == b"load" => {
                for (_, source) in SCRIPTS.into_iter().chain(kinds::SCRIPTS) {
                    self.send(connection, &[b"SCRIPT".to_vec(), b"LOAD".to_vec(), source.into()]);
                }
            }
            command if command[0] == b"=" => {
                assert_eq!(self.answer, line[2..], "after\n{}", self.history.join("\n"));
            }
            command if command[0] == b"after" => {
                let over = self.clock.time() + Duration::from_millis(line[6..].trim().parse().unwrap());
                while self.clock.time() <= over {}
            }
            command if command[0] == b"expire" => {
                let now = self.clock.time();
                let effects = self.simulated.advance(now);
                self.compare(effects);
            }
            mut command => {
                let verb = String::from_utf8(command[0].clone()).unwrap();
                if let Some(name) = verb.strip_prefix('@') {
                    command.splice(..1, [b"EVALSHA".to_vec(), hash(script(name)).into()]);
                } else if let Some(name) = verb.strip_prefix('!') {
                    command.splice(..1, [b"EVAL".to_vec(), script(name).into()]);
                }
                self.history.push(format!("{connection}: {line}"));
                self.send(connection, &command);
            }
        }
    }

    /// Where a connection comes from.
    pub(crate) fn address(&self, connection: u64) -> String {
        self.streams[&connection].0.local_addr().unwrap().to_string()
    }

    /// Sends both one command, and compares all that they send.
    pub(crate) fn send(&mut self, connection: u64, command: &[Vec<u8>]) {
        self.send_bytes(connection, &pack(command));
    }

    pub(crate) fn send_bytes(&mut self, connection: u64, bytes: &[u8]) {
        if !self.streams.contains_key(&connection) {
            let stream = Stream::connect(&self.real);
            self.simulated.open_from(ConnectionId(connection), stream.0.local_addr().unwrap());
            self.streams.insert(connection, stream);
        }
        let now = self.clock.time();
        self.streams.get_mut(&connection).unwrap().0.write_all(bytes).unwrap();
        let effects = self.simulated.receive(ConnectionId(connection), bytes, now);
        self.compare(effects);
    }

    /// Nothing was sent but what was compared, and the simulated server knew all that it was asked.
    pub(crate) fn end(&mut self) {
        for connection in self.streams.keys().copied().collect::<Vec<_>>() {
            self.history.push(format!("{connection}: PING"));
            self.send(connection, &words("PING"));
        }
    }

    fn compare(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send { to: ConnectionId(to), bytes } => {
                    let stream = self.streams.get_mut(&to).unwrap();
                    let real: Vec<u8> = (0..count(&bytes)).flat_map(|_| stream.reply()).collect();
                    self.answer = tell(&real);
                    assert!(
                        is_alike(&real, &bytes),
                        "to {to}, after\n{}\nreal      {}\nsimulated {}",
                        self.history.join("\n"),
                        show(&real),
                        show(&bytes)
                    );
                }
                Effect::Close(ConnectionId(closed)) => {
                    let mut stream = self.streams.remove(&closed).unwrap();
                    assert!(stream.is_closed(), "{closed} is open, after\n{}", self.history.join("\n"));
                }
            }
        }
    }
}

/// A connection to the real server.
pub(crate) struct Stream(TcpStream, Vec<u8>);

impl Stream {
    pub(crate) fn connect(server: &RedisServer) -> Self {
        let stream = TcpStream::connect(server.address()).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream, Vec::new())
    }

    pub(crate) fn ask(&mut self, command: &[Vec<u8>]) -> Vec<u8> {
        self.0.write_all(&pack(command)).unwrap();
        self.reply()
    }

    /// The server's clock.
    fn time(&mut self) -> Duration {
        let reply = self.ask(&words("TIME"));
        let numbers = std::str::from_utf8(&reply).unwrap().lines().skip(2).step_by(2);
        let [seconds, microseconds] = numbers.map(|line| line.parse().unwrap()).collect::<Vec<u64>>()[..] else {
            panic!("no time: {}", show(&reply));
        };
        Duration::from_secs(seconds) + Duration::from_micros(microseconds)
    }

    fn reply(&mut self) -> Vec<u8> {
        loop {
            if let Some(end) = end_of_reply(&self.1) {
                return self.1.drain(..end).collect();
            }
            let mut bytes = [0; 4096];
            match self.0.read(&mut bytes) {
                Ok(read @ 1..) => self.1.extend(&bytes[..read]),
                Ok(0) => return b"closed".to_vec(),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return b"nothing".to_vec();
                }
                Err(error) => return error.to_string().into_bytes(),
            }
        }
    }

    fn is_closed(&mut self) -> bool {
        matches!(&*self.reply(), b"closed") || self.1.is_empty()
    }
}
