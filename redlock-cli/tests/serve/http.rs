//! As little of HTTP as it takes to ask `redlock serve`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// Longer than any answer takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

/// Where it listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) port: u16,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

impl Place {
    pub(crate) fn url(self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn get(self, path: &str) -> Answer {
        self.ask("GET", path, &[], "")
    }

    pub(crate) fn json(self, path: &str) -> Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{path}: {error}: {}", answer.body))
    }

    /// With the host of this place, unless `headers` name another.
    pub(crate) fn ask(self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut stream = self.send(method, path, headers, body);
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let headers =
            lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_owned(), value.to_owned()));
        Answer { status: status.unwrap_or_else(|| panic!("{text}")), headers: headers.collect(), body: body.to_owned() }
    }

    fn send(self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut text = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
        if !headers.iter().any(|(name, _)| *name == "Host") {
            text += "Host: 127.0.0.1\r\n";
        }
        for (name, value) in headers {
            text.extend([name, ": ", value, "\r\n"]);
        }
        stream.write_all(format!("{text}\r\n{body}").as_bytes()).unwrap();
        stream
    }

    /// Whether it tells, to somebody who leaves at once.
    pub(crate) fn opens(self, path: &str) -> bool {
        Told(BufReader::new(self.send("GET", path, &[], ""))).line().contains(" 200 ")
    }

    /// What is told from now on.
    pub(crate) fn listen(self, path: &str) -> Told {
        let mut told = Told(BufReader::new(self.send("GET", path, &[], "")));
        assert!(told.line().contains(" 200 "), "{path}");
        told
    }
}

/// Server-sent events.
pub(crate) struct Told(BufReader<TcpStream>);

impl Told {
    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.0.read_line(&mut line).unwrap() > 0, "it ended");
        line.trim_end().to_owned()
    }

    /// The next event. Pieces of a body stand between its lines, each with its length before it.
    pub(crate) fn next(&mut self) -> Value {
        loop {
            if let Some(data) = self.line().strip_prefix("data: ") {
                return serde_json::from_str(data).unwrap();
            }
        }
    }

    /// The next event of which this is true.
    pub(crate) fn until(&mut self, what: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        for _ in 0..200 {
            last = self.next();
            if is_wanted(&last) {
                return last;
            }
        }
        panic!("200 events in vain: {what}; the last one: {last}")
    }
}

/// As it is written in a URL.
pub(crate) fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |encoded, byte| format!("{encoded}%{byte:02x}"))
}
