//! Commands out of bytes, wherever those are split.

use std::ops::Range;

/// What a connection sent and the server has not read yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parser {
    buffer: Vec<u8>,
    /// Where the next command begins.
    position: usize,
}

/// A command: where its arguments are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parsed(Vec<Range<usize>>);

/// Why a connection is closed: what it sent is no command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ProtocolError(pub(crate) &'static str);

impl Parser {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.position > 0 {
            self.buffer.drain(..self.position);
            self.position = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole command, which is none if it is empty.
    pub(crate) fn next(&mut self) -> Result<Option<Parsed>, ProtocolError> {
        let mut reader = Reader { buffer: &self.buffer, position: self.position };
        let parsed = reader.command()?;
        let position = reader.position;
        if parsed.is_some() {
            self.position = position;
        }
        Ok(parsed)
    }

    pub(crate) fn arguments(&self, parsed: &Parsed) -> Vec<&[u8]> {
        parsed.0.iter().map(|range| &self.buffer[range.clone()]).collect()
    }
}

struct Reader<'a> {
    buffer: &'a [u8],
    position: usize,
}

impl Reader<'_> {
    fn command(&mut self) -> Result<Option<Parsed>, ProtocolError> {
        match self.buffer.get(self.position) {
            Some(b'*') => self.array(),
            Some(_) => Ok(self.inline()),
            None => Ok(None),
        }
    }

    fn array(&mut self) -> Result<Option<Parsed>, ProtocolError> {
        let Some(count) = self.length(ProtocolError("invalid multibulk length"))? else { return Ok(None) };
        let mut arguments = Vec::with_capacity(count.clamp(0, 64).unsigned_abs());
        for _ in 0..count {
            match self.buffer.get(self.position) {
                Some(b'$') => {}
                Some(_) => return Err(ProtocolError("expected '$'")),
                None => return Ok(None),
            }
            let Some(length) = self.length(ProtocolError("invalid bulk length"))? else { return Ok(None) };
            let length = usize::try_from(length).map_err(|_| ProtocolError("invalid bulk length"))?;
            let end = self.position + length;
            if self.buffer.len() < end + 2 {
                return Ok(None);
            }
            arguments.push(self.position..end);
            self.position = end + 2;
        }
        Ok(Some(Parsed(arguments)))
    }

    /// What follows the letter in front.
    fn length(&mut self, error: ProtocolError) -> Result<Option<isize>, ProtocolError> {
        let Some(line) = self.line() else { return Ok(None) };
        let digits = std::str::from_utf8(&self.buffer[line.start + 1..line.end]).ok();
        match digits.and_then(|digits| digits.parse().ok()) {
            Some(length) if length <= 512 * 1024 * 1024 => Ok(Some(length)),
            _ => Err(error),
        }
    }

    fn inline(&mut self) -> Option<Parsed> {
        let line = self.line()?;
        let mut arguments = Vec::new();
        let mut start = line.start;
        for word in self.buffer[line].split(|&byte| byte == b' ') {
            if !word.is_empty() {
                arguments.push(start..start + word.len());
            }
            start += word.len() + 1;
        }
        Some(Parsed(arguments))
    }

    /// A line without its end.
    fn line(&mut self) -> Option<Range<usize>> {
        let start = self.position;
        let length = self.buffer[start..].iter().position(|&byte| byte == b'\n')?;
        self.position = start + length + 1;
        let end = start + length;
        let end = if end > start && self.buffer[end - 1] == b'\r' { end - 1 } else { end };
        Some(start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPELINE: &[u8] =
        b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*0\r\nPING  x\r\n*3\r\n$3\r\nSET\r\n$0\r\n\r\n$4\r\n\r\n*1\r\n*1\r\n$4\r\nPING\r\n";

    fn read(parser: &mut Parser, into: &mut Vec<Vec<Vec<u8>>>) {
        while let Some(parsed) = parser.next().unwrap() {
            into.push(parser.arguments(&parsed).into_iter().map(<[u8]>::to_vec).collect());
        }
    }

    fn expected() -> Vec<Vec<Vec<u8>>> {
        let commands: [&[&str]; 5] = [&["GET", "k"], &[], &["PING", "x"], &["SET", "", "\r\n*1"], &["PING"]];
        let bytes = |command: &&[&str]| command.iter().map(|word| word.as_bytes().to_vec()).collect();
        commands.iter().map(bytes).collect()
    }

    #[test]
    fn commands_are_the_same_wherever_their_bytes_are_split() {
        for first in 0..=PIPELINE.len() {
            for second in first..=PIPELINE.len() {
                let mut parser = Parser::default();
                let mut commands = Vec::new();
                for part in [&PIPELINE[..first], &PIPELINE[first..second], &PIPELINE[second..]] {
                    parser.push(part);
                    read(&mut parser, &mut commands);
                }
                assert_eq!(commands, expected(), "split at {first} and {second}");
            }
        }
    }

    #[test]
    fn commands_may_come_byte_by_byte() {
        let mut parser = Parser::default();
        let mut commands = Vec::new();
        for byte in PIPELINE {
            parser.push(&[*byte]);
            read(&mut parser, &mut commands);
        }
        assert_eq!(commands, expected());
    }

    #[test]
    fn what_is_no_command_is_an_error() {
        for (bytes, expect) in [
            ("*x\r\n", "invalid multibulk length"),
            ("*1\r\n:1\r\n", "expected '$'"),
            ("*1\r\n$-1\r\n", "invalid bulk length"),
            ("*1\r\n$99999999999\r\n", "invalid bulk length"),
        ] {
            let mut parser = Parser::default();
            parser.push(bytes.as_bytes());
            assert_eq!(parser.next(), Err(ProtocolError(expect)), "{bytes:?}");
        }
    }
}
