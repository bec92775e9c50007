//! A server in between that speaks Redis in its own way: it refuses commands, answers some itself, and edits replies.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::RedisServer;
use crate::acceptor::Acceptor;

/// A proxy in front of one server that understands what passes, for what other makes of servers, and proxies, do.
///
/// Everything is passed on until it is told otherwise, at any time, for the connections that are open as well:
///
/// ```no_run
/// # use redlock_tests::{Gateway, RedisServer, gateway::Answer};
/// let server = RedisServer::start();
/// let gateway = Gateway::start(&server);
/// gateway.answer("HELLO", Answer::error("ERR unsupported command 'HELLO'"));
/// gateway.answer("CLIENT KILL", Answer::Close);
/// gateway.answer("CLIENT ID", Answer::raw(":17\r\n"));
/// // What a server says is edited on its way: here, INFO without a line.
/// gateway.answer("INFO", Answer::without_lines(&["run_id"]));
/// // What a server does within scripts: each is carried out behind this.
/// gateway.before_scripts("local redis = setmetatable({ call = function(...) … end }, { __index = redis })\n");
/// let url = gateway.url();
/// assert_eq!(gateway.asked("CLIENT KILL"), 0);
/// ```
///
/// Answers keep the order of the commands, also where some are the server's and some the gateway's own; what a server pushes
/// passes. Behind the first (P)SUBSCRIBE of a connection all replies pass as they are. It runs on threads of its own.
#[must_use = "the gateway ends when this is dropped"]
pub struct Gateway {
    /// Takes connections.
    acceptor: Acceptor,
    shared: Arc<Shared>,
}

/// What becomes of a command, instead of being passed on.
#[derive(Clone)]
pub enum Answer {
    /// These bytes are the reply; the server does not see the command.
    Raw(Vec<u8>),
    /// These bytes, and then those again and again until the client closes the connection.
    Endless(Vec<u8>, Vec<u8>),
    /// The connection is closed.
    Close,
    /// Nothing comes back, ever.
    Silence,
    /// The server carries it out, and neither its reply nor any other comes back on this connection from then on.
    Swallowed,
    /// The server's reply, if it is a text, goes through this.
    Edited(Arc<dyn Fn(&str) -> String + Send + Sync>),
    /// It is passed on as it is: undoes what was said of the command before.
    Passed,
}

impl Answer {
    /// An error, with its code: `ERR unknown command`.
    #[must_use]
    pub fn error(text: &str) -> Self {
        Self::Raw(format!("-{text}\r\n").into_bytes())
    }

    /// A text.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Raw(bulk(text))
    }

    /// A reply as it is on the wire.
    pub fn raw(reply: impl Into<Vec<u8>>) -> Self {
        Self::Raw(reply.into())
    }

    /// The server's text through a function.
    pub fn edited(edit: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self::Edited(Arc::new(edit))
    }

    /// The server's INFO without these fields.
    #[must_use]
    pub fn without_lines(fields: &[&str]) -> Self {
        let fields: Vec<_> = fields.iter().map(|field| format!("{field}:")).collect();
        Self::edited(move |info| {
            let kept = info.split_inclusive("\r\n").filter(|line| !fields.iter().any(|field| line.starts_with(field)));
            kept.collect()
        })
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw(_) => "Raw",
            Self::Endless(..) => "Endless",
            Self::Close => "Close",
            Self::Silence => "Silence",
            Self::Swallowed => "Swallowed",
            Self::Edited(_) => "Edited",
            Self::Passed => "Passed",
        })
    }
}

/// What the gateway's threads share.
struct Shared {
    /// Where the server listens.
    upstream: u16,
    /// A std mutex: it is never held while bytes are read or written.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What is done with commands that begin with these words, in upper case; the last that fits counts.
    answers: Vec<(Vec<String>, Answer)>,
    /// What stands before each script.
    prelude: Option<String>,
    /// The scripts that clients have named, by the hash under which they know them.
    scripts: HashMap<String, Vec<u8>>,
    /// The commands that came, each with its arguments in one line.
    asked: Vec<String>,
    /// How many connections were made.
    accepted: usize,
    /// How many bytes of endless replies one connection took at most.
    flooded: usize,
    /// Both sockets of every connection.
    sockets: Vec<TcpStream>,
    ended: bool,
}

impl Gateway {
    /// Starts a gateway in front of the server.
    ///
    /// # Panics
    ///
    /// If there is no free port.
    pub fn start(server: &RedisServer) -> Self {
        let shared = Arc::new(Shared { upstream: server.port(), state: Mutex::default() });
        let (admitting, serving) = (Arc::clone(&shared), Arc::clone(&shared));
        let acceptor =
            Acceptor::start(move || admitting.admit(), move |(), client: &TcpStream| serving.connect(client));
        Self { acceptor, shared }
    }

    /// `redis://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port())
    }

    /// The port that the gateway listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.acceptor.port()
    }

    /// From now on this becomes of every command that begins with these words: `"HELLO"`, `"CLIENT KILL"`, `"CONFIG GET save"`.
    pub fn answer(&self, command: &str, answer: Answer) {
        let words = command.split_whitespace().map(str::to_uppercase).collect();
        self.shared.state().answers.push((words, answer));
    }

    /// From now on this is put before the source of each script, to change what it can call. Clients know their scripts by
    /// the same hashes as ever.
    pub fn before_scripts(&self, prelude: &str) {
        self.shared.state().prelude = Some(prelude.to_owned());
    }

    /// How often a command came that begins with these words.
    #[must_use]
    pub fn asked(&self, command: &str) -> usize {
        let command = command.to_uppercase();
        let is_asked = |asked: &&String| {
            let rest = asked.get(..command.len()).filter(|begin| begin.eq_ignore_ascii_case(&command));
            rest.is_some() && matches!(asked.as_bytes().get(command.len()), None | Some(b' '))
        };
        self.shared.state().asked.iter().filter(is_asked).count()
    }

    /// How many connections clients have made up to now.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.shared.state().accepted
    }

    /// How many bytes of an endless reply have been taken up to now by whichever connection took most.
    #[must_use]
    pub fn flooded(&self) -> usize {
        self.shared.state().flooded
    }

    /// Closes every connection; new ones are taken.
    pub fn cut(&self) {
        self.shared.close_all();
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("port", &self.port()).finish_non_exhaustive()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.shared.state().ended = true;
        self.shared.close_all();
        self.acceptor.join();
    }
}

/// A command: its words and arguments.
type Request = Vec<Vec<u8>>;

/// What the next reply to a client is.
enum Expected {
    /// The server's.
    Theirs,
    /// The server's, edited.
    Edited(Arc<dyn Fn(&str) -> String + Send + Sync>),
    /// The server's to one command, which stands for this.
    Replaced(Vec<u8>),
    /// The server's, which gets lost.
    Swallowed,
    /// The gateway's own.
    Own(Answer),
}

/// The replies that one client awaits, and the way to it. A std mutex, also held while bytes are written: whoever writes
/// next has to wait for that anyway.
struct Replies {
    expected: VecDeque<Expected>,
    /// Whether the server tells of what was published, so that replies cannot be counted any more.
    is_subscribed: bool,
    /// Whether replies get lost.
    is_mute: bool,
    client: TcpStream,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close_all(&self) {
        let sockets = std::mem::take(&mut self.state().sockets);
        for socket in sockets {
            // An error says that the other side closed it first.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Counts a connection.
    fn admit(&self) -> Option<()> {
        let mut state = self.state();
        if state.ended {
            return None;
        }
        state.accepted += 1;
        Some(())
    }

    fn connect(self: &Arc<Self>, client: &TcpStream) -> Result<()> {
        let server = TcpStream::connect((Ipv4Addr::LOCALHOST, self.upstream))?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        {
            let mut state = self.state();
            if state.ended {
                return Ok(());
            }
            state.sockets.extend([client.try_clone()?, server.try_clone()?]);
        }
        let replies =
            Replies { expected: VecDeque::new(), is_subscribed: false, is_mute: false, client: client.try_clone()? };
        let replies = Arc::new(Mutex::new(replies));
        let [mut from_client, to_client] = [client.try_clone()?, client.try_clone()?].map(BufReader::new);
        let (to_server, mut from_server) = (server.try_clone()?, BufReader::new(server));
        let (shared, asked) = (Arc::clone(self), Arc::clone(&replies));
        let replying = Arc::clone(self);
        thread::spawn(move || {
            let _ = shared.carry_requests(&mut from_client, &to_server, &asked);
            let _ = to_server.shutdown(Shutdown::Both);
        });
        thread::spawn(move || {
            let _ = replying.carry_replies(&mut from_server, &replies);
            let _ = to_client.get_ref().shutdown(Shutdown::Both);
        });
        Ok(())
    }

    fn carry_requests(&self, from: &mut impl BufRead, mut to: &TcpStream, replies: &Mutex<Replies>) -> Result<()> {
        loop {
            let request = read_request(from)?;
            let (passed, expected) = self.decide(request);
            let mut replies = replies.lock().unwrap_or_else(PoisonError::into_inner);
            if passed.as_ref().is_some_and(is_subscription) {
                replies.is_subscribed = true;
            }
            // Before it is sent, so that the reply finds it.
            replies.expected.push_back(expected);
            if let Some(request) = passed {
                to.write_all(&packed(&request))?;
            }
            self.send_own(&mut replies)?;
        }
    }

    fn carry_replies(&self, from: &mut impl BufRead, replies: &Mutex<Replies>) -> Result<()> {
        loop {
            let mut reply = Vec::new();
            read_value(from, &mut reply)?;
            let mut replies = replies.lock().unwrap_or_else(PoisonError::into_inner);
            let is_counted = reply.first() != Some(&b'>') && !replies.is_subscribed;
            match is_counted.then(|| replies.expected.pop_front()).flatten() {
                Some(Expected::Edited(edit)) => reply = edited(reply, &*edit),
                // An error is the server's own.
                Some(Expected::Replaced(other)) if reply.first() != Some(&b'-') => reply = other,
                Some(Expected::Swallowed) => replies.is_mute = true,
                _ => {}
            }
            if !replies.is_mute {
                replies.client.write_all(&reply)?;
                self.send_own(&mut replies)?;
            }
        }
    }

    /// Sends the gateway's own replies that are due.
    fn send_own(&self, replies: &mut Replies) -> Result<()> {
        if replies.is_mute {
            return Ok(());
        }
        while let Some(Expected::Own(_)) = replies.expected.front() {
            let Some(Expected::Own(answer)) = replies.expected.pop_front() else { break };
            match answer {
                Answer::Raw(reply) => replies.client.write_all(&reply)?,
                Answer::Endless(begin, again) => {
                    replies.client.write_all(&begin)?;
                    for flooded in (again.len()..).step_by(again.len()) {
                        replies.client.write_all(&again)?;
                        let most = &mut self.state().flooded;
                        *most = flooded.max(*most);
                    }
                }
                Answer::Close => {
                    replies.client.shutdown(Shutdown::Both)?;
                    return Err(ErrorKind::ConnectionAborted.into());
                }
                Answer::Silence | Answer::Swallowed | Answer::Edited(_) | Answer::Passed => {}
            }
        }
        Ok(())
    }

    /// What is passed on, and what is then the reply.
    fn decide(&self, mut request: Request) -> (Option<Request>, Expected) {
        let mut state = self.state();
        let words: Vec<_> = request.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        state.asked.push(words.join(" "));
        let fits = |begin: &[String]| {
            begin.len() <= words.len() && begin.iter().zip(&words).all(|(begin, word)| word.eq_ignore_ascii_case(begin))
        };
        let answer = state.answers.iter().rev().find(|(begin, _)| fits(begin)).map(|(_, answer)| answer.clone());
        match answer {
            None | Some(Answer::Passed) => {}
            Some(Answer::Edited(edit)) => return (Some(request), Expected::Edited(edit)),
            Some(Answer::Swallowed) => return (Some(request), Expected::Swallowed),
            Some(answer) => return (None, Expected::Own(answer)),
        }
        let Some(prelude) = state.prelude.clone() else { return (Some(request), Expected::Theirs) };
        let behind = |code: &[u8]| [prelude.as_bytes(), code].concat();
        let known_as = |code: &[u8]| redis::Script::new(&String::from_utf8_lossy(code)).get_hash().to_owned();
        match words.first().map(|word| word.to_uppercase()).as_deref() {
            Some("EVAL") if request.len() > 1 => {
                let code = behind(&request[1]);
                state.scripts.insert(known_as(&request[1]), code.clone());
                request[1] = code;
            }
            Some("EVALSHA") if request.len() > 1 => {
                if let Some(code) = state.scripts.get(&words[1].to_lowercase()) {
                    request[0] = b"EVAL".to_vec();
                    request[1].clone_from(code);
                }
            }
            Some("SCRIPT") if words.get(1).is_some_and(|word| word.eq_ignore_ascii_case("LOAD")) && words.len() > 2 => {
                let (hash, code) = (known_as(&request[2]), behind(&request[2]));
                state.scripts.insert(hash.clone(), code.clone());
                request[2] = code;
                return (Some(request), Expected::Replaced(bulk(&hash)));
            }
            _ => {}
        }
        (Some(request), Expected::Theirs)
    }
}

/// The text within a reply, edited; any other reply as it is.
fn edited(reply: Vec<u8>, edit: &dyn Fn(&str) -> String) -> Vec<u8> {
    let text = std::str::from_utf8(&reply).ok().and_then(|reply| {
        let (head, text) = reply.split_once("\r\n")?;
        let text = text.strip_suffix("\r\n")?;
        match head.as_bytes().first() {
            Some(b'$') => Some(text),
            // Behind three letters that say which kind of text it is.
            Some(b'=') => text.get(4..),
            _ => None,
        }
    });
    text.map(|text| bulk(&edit(text))).unwrap_or(reply)
}

fn is_subscription(request: &Request) -> bool {
    let is = |name: &[u8]| request.first().is_some_and(|word| word.eq_ignore_ascii_case(name));
    is(b"SUBSCRIBE") || is(b"PSUBSCRIBE") || is(b"SSUBSCRIBE")
}

fn bulk(text: &str) -> Vec<u8> {
    format!("${}\r\n{text}\r\n", text.len()).into_bytes()
}

fn packed(request: &Request) -> Vec<u8> {
    let mut packed = format!("*{}\r\n", request.len()).into_bytes();
    for word in request {
        packed.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        packed.extend_from_slice(word);
        packed.extend_from_slice(b"\r\n");
    }
    packed
}

fn read_line(from: &mut impl BufRead) -> Result<Vec<u8>> {
    let mut line = Vec::new();
    from.read_until(b'\n', &mut line)?;
    if line.ends_with(b"\n") { Ok(line) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

/// The number behind the first byte of a line.
fn number(line: &[u8]) -> Result<i64> {
    let number = std::str::from_utf8(&line[1..]).ok().and_then(|text| text.trim().parse().ok());
    number.ok_or_else(|| Error::from(ErrorKind::InvalidData))
}

fn read_request(from: &mut impl BufRead) -> Result<Request> {
    let count = number(&read_line(from)?)?;
    let mut request = Vec::new();
    for _ in 0..count {
        let length = usize::try_from(number(&read_line(from)?)?).map_err(|_| Error::from(ErrorKind::InvalidData))?;
        let mut word = vec![0; length + 2];
        from.read_exact(&mut word)?;
        word.truncate(length);
        request.push(word);
    }
    Ok(request)
}

/// Reads one value, as it is on the wire.
fn read_value(from: &mut impl BufRead, value: &mut Vec<u8>) -> Result<()> {
    let line = read_line(from)?;
    value.extend_from_slice(&line);
    let values = match line[0] {
        b'$' | b'=' | b'!' => {
            if let Ok(length) = u64::try_from(number(&line)?) {
                from.take(length + 2).read_to_end(value)?;
            }
            0
        }
        b'*' | b'~' | b'>' => number(&line)?,
        b'%' => 2 * number(&line)?,
        b'|' => 2 * number(&line)? + 1,
        _ => 0,
    };
    for _ in 0..values {
        read_value(from, value)?;
    }
    Ok(())
}
