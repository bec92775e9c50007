//! Replies into bytes.

use std::borrow::Cow;
use std::sync::Arc;

use crate::number::format_float;

/// What a server answers, before it is written in a protocol.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    Status(Cow<'static, str>),
    /// The code, and the text after it.
    Error(Cow<'static, str>),
    Integer(i64),
    Bulk(Arc<[u8]>),
    /// A bulk string that the newer protocol marks as text for people.
    Text(String),
    Double(f64),
    Nil,
    Array(Vec<Reply>),
    /// Keys and values in turn.
    Map(Vec<Reply>),
    /// An array that nobody asked for.
    Push(Vec<Reply>),
    /// Several replies to one command.
    Several(Vec<Reply>),
}

/// A version of the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Protocol {
    #[default]
    Resp2,
    Resp3,
}

impl Reply {
    pub(crate) const OK: Self = Self::Status(Cow::Borrowed("OK"));

    pub(crate) fn bulk(bytes: impl AsRef<[u8]>) -> Self {
        Self::Bulk(Arc::from(bytes.as_ref()))
    }

    pub(crate) fn count(count: usize) -> Self {
        Self::Integer(i64::try_from(count).unwrap_or(i64::MAX))
    }

    pub(crate) fn error(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Error(text.into())
    }

    pub(crate) fn syntax_error() -> Self {
        Self::error("ERR syntax error")
    }

    pub(crate) fn not_an_integer() -> Self {
        Self::error("ERR value is not an integer or out of range")
    }

    /// Writes the reply behind what is there.
    pub(crate) fn write(&self, protocol: Protocol, output: &mut Vec<u8>) {
        let is_newer = protocol == Protocol::Resp3;
        match self {
            Self::Status(text) => line(output, '+', text),
            Self::Error(text) => line(output, '-', text),
            Self::Integer(number) => numbered(output, b':', *number),
            Self::Bulk(bytes) => bulk(output, bytes),
            Self::Text(text) if is_newer => {
                length(output, b'=', text.len() + 4);
                output.extend_from_slice(b"txt:");
                output.extend_from_slice(text.as_bytes());
                output.extend_from_slice(b"\r\n");
            }
            Self::Text(text) => bulk(output, text.as_bytes()),
            Self::Double(number) if is_newer => line(output, ',', &format_float(*number)),
            Self::Double(number) => bulk(output, format_float(*number).as_bytes()),
            Self::Nil => output.extend_from_slice(if is_newer { b"_\r\n" } else { b"$-1\r\n" }),
            Self::Map(items) if is_newer => aggregate(output, b'%', items.len() / 2, items, protocol),
            Self::Array(items) | Self::Map(items) => aggregate(output, b'*', items.len(), items, protocol),
            Self::Push(items) => {
                aggregate(output, if is_newer { b'>' } else { b'*' }, items.len(), items, protocol);
            }
            Self::Several(replies) => replies.iter().for_each(|reply| reply.write(protocol, output)),
        }
    }
}

fn line(output: &mut Vec<u8>, kind: char, text: &str) {
    output.extend(kind.to_string().bytes());
    // What a reply quotes must not end it.
    output.extend(text.bytes().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
    output.extend_from_slice(b"\r\n");
}

fn bulk(output: &mut Vec<u8>, bytes: &[u8]) {
    length(output, b'$', bytes.len());
    output.extend_from_slice(bytes);
    output.extend_from_slice(b"\r\n");
}

fn length(output: &mut Vec<u8>, kind: u8, length: usize) {
    numbered(output, kind, i64::try_from(length).unwrap_or(i64::MAX));
}

fn numbered(output: &mut Vec<u8>, kind: u8, number: i64) {
    output.push(kind);
    output.extend_from_slice(number.to_string().as_bytes());
    output.extend_from_slice(b"\r\n");
}

fn aggregate(output: &mut Vec<u8>, kind: u8, count: usize, items: &[Reply], protocol: Protocol) {
    length(output, kind, count);
    for item in items {
        item.write(protocol, output);
    }
}
