use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use redis::RedisError;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How much one reply about a lock may hold, in bytes. The longest have an owner's value, or a label, beside some numbers; the
/// rest is what a server may say about itself.
const REPLY: usize = 1 << 20;

/// How much of a reply may be one line, in bytes: numbers, and errors, some of which repeat what was sent.
const LINE: usize = 64 << 10;

/// How much one page of a list may hold, in bytes: far above a thousand of the longest names, written in escapes.
const PAGE: usize = 16 << 20;

/// What a connection takes in as one reply, and whether it was given more.
///
/// The client keeps a reply until it is complete. A server, or whatever answers in its place, that never completes one would
/// have it keep all that comes until the node is given up, which is gigabytes.
#[derive(Debug, Default)]
pub(crate) struct Bound {
    /// How many questions are open whose answers are pages of a list.
    pages: AtomicUsize,
    /// How many of them were given up.
    given_up: AtomicUsize,
    /// Set when there was more.
    exceeded: OnceLock<Arc<str>>,
}

impl Bound {
    /// A question is asked whose answer may be a page of a list; until [`Self::answered`], whatever comes may be one.
    pub(in crate::node) fn ask_for_page(&self) {
        self.pages.fetch_add(1, Ordering::Relaxed);
    }

    /// Such a question was answered.
    pub(in crate::node) fn answered(&self) {
        self.pages.fetch_sub(1, Ordering::Relaxed);
    }

    /// Such a question is waited for by nobody any more, and may still be answered.
    pub(in crate::node) fn give_up(&self) {
        self.given_up.fetch_add(1, Ordering::Relaxed);
    }

    /// Those that were given up before something is asked: they are answered when that is.
    pub(in crate::node) fn take_given_up(&self) -> usize {
        self.given_up.swap(0, Ordering::Relaxed)
    }

    /// So many of them were answered.
    pub(in crate::node) fn were_answered(&self, given_up: usize) {
        self.pages.fetch_sub(given_up, Ordering::Relaxed);
    }

    /// Why the connection was closed, if a reply was too long.
    pub(in crate::node) fn exceeded(&self) -> Option<&Arc<str>> {
        self.exceeded.get()
    }

    /// What went wrong on the connection: only the first of those who await an answer is told by the client.
    pub(in crate::node) fn reason(&self, error: &RedisError) -> Arc<str> {
        self.exceeded().map_or_else(|| error.to_string().into(), Arc::clone)
    }

    fn limit(&self) -> usize {
        if self.pages.load(Ordering::Relaxed) == 0 { REPLY } else { PAGE }
    }
}

/// A stream that ends with an error when a reply on it is longer than its bound.
#[derive(Debug)]
pub(in crate::node) struct Bounded<S> {
    stream: S,
    bound: Arc<Bound>,
    reply: Reply,
}

impl<S> Bounded<S> {
    pub(in crate::node) fn new(stream: S, bound: Arc<Bound>) -> Self {
        Self { stream, bound, reply: Reply::default() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        let limit = this.bound.limit();
        let too_long = match (this.bound.exceeded(), this.reply.take(&buffer.filled()[before..], limit)) {
            (Some(reason), _) => reason.to_string(),
            (None, Ok(())) => return Poll::Ready(Ok(())),
            (None, Err(TooLong::Line)) => format!("a line of more than {} KiB", LINE >> 10),
            (None, Err(TooLong::Reply)) => format!("a reply of more than {} MiB", limit >> 20),
        };
        buffer.set_filled(before);
        let reason = || format!("{too_long}, or without end; the connection was closed").into();
        let reason = this.bound.exceeded.get_or_init(reason);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, reason.to_string())))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// How far one reply has come. It is read no further than to know where it ends.
// Source: the types and their first bytes, https://redis.io/docs/latest/develop/reference/protocol-spec/
#[derive(Debug, Default)]
struct Reply {
    /// How many bytes of it have come.
    length: usize,
    /// How many values are still to come, of all those that it holds.
    values: usize,
    part: Part,
}

/// What the next byte belongs to.
#[derive(Debug, Default)]
enum Part {
    /// It says of which type a value is.
    #[default]
    Type,
    /// To a line: that is the value, or how long it is.
    Line { of: u8, length: usize, number: usize, is_negative: bool, is_at_end: bool },
    /// To a text of which so much is left.
    Text(usize),
}

/// What there was too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TooLong {
    Line,
    Reply,
}

/// The fewest bytes that a value takes.
const SHORTEST: usize = 3;

impl Reply {
    /// Takes in what came; an error if a reply in it is longer than the limit, or says that it will be.
    fn take(&mut self, mut bytes: &[u8], limit: usize) -> Result<(), TooLong> {
        while let Some(&byte) = bytes.first() {
            let taken = match &mut self.part {
                Part::Type => {
                    if self.values == 0 {
                        (self.length, self.values) = (0, 1);
                    }
                    self.part = Part::Line { of: byte, length: 0, number: 0, is_negative: false, is_at_end: false };
                    1
                }
                Part::Line { of, length, number, is_negative, is_at_end } => {
                    *length += 1;
                    if *length > LINE {
                        return Err(TooLong::Line);
                    }
                    if *is_at_end && byte == b'\n' {
                        let (of, number) = (*of, Some(*number).filter(|_| !*is_negative));
                        self.end_line(of, number);
                    } else {
                        *is_at_end = byte == b'\r';
                        *is_negative |= byte == b'-';
                        if byte.is_ascii_digit() {
                            *number = number.saturating_mul(10).saturating_add(usize::from(byte - b'0'));
                        }
                    }
                    1
                }
                Part::Text(left) => {
                    let taken = bytes.len().min(*left);
                    *left -= taken;
                    if *left == 0 {
                        self.end_value();
                    }
                    taken
                }
            };
            bytes = &bytes[taken..];
            self.length = self.length.saturating_add(taken);
            if self.least() > limit {
                return Err(TooLong::Reply);
            }
        }
        Ok(())
    }

    /// How long it is at least.
    fn least(&self) -> usize {
        let rest = if let Part::Text(left) = self.part { left } else { 0 };
        self.length.saturating_add(rest).saturating_add(self.values.saturating_mul(SHORTEST))
    }

    /// `number` is how much the value holds, if the line says that; `None` if there is no value.
    fn end_line(&mut self, of: u8, number: Option<usize>) {
        let holds = match (of, number) {
            (b'$' | b'=' | b'!', Some(number)) => {
                // It ends with a line break of its own.
                self.part = Part::Text(number.saturating_add(2));
                return;
            }
            (b'*' | b'~' | b'>', Some(number)) => number,
            (b'%', Some(number)) => number.saturating_mul(2),
            // Attributes of the value behind them.
            (b'|', Some(number)) => number.saturating_mul(2).saturating_add(1),
            _ => 0,
        };
        self.values = self.values.saturating_add(holds);
        self.end_value();
    }

    fn end_value(&mut self) {
        self.part = Part::Type;
        self.values -= 1;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    const LIMIT: usize = 1000;

    /// Whether all of these are taken, whatever the pieces in which they come.
    fn is_taken(replies: &[u8]) -> bool {
        let in_pieces = |size: usize| {
            let mut reply = Reply::default();
            replies.chunks(size).try_for_each(|piece| reply.take(piece, LIMIT)).is_ok()
        };
        let all = in_pieces(replies.len());
        for size in [1, 2, 7] {
            assert_eq!(in_pieces(size), all, "{size}: {}", String::from_utf8_lossy(replies));
        }
        all
    }

    fn text(length: usize) -> Vec<u8> {
        [format!("${length}\r\n").as_bytes(), &vec![b'x'; length], b"\r\n"].concat()
    }

    #[test]
    fn replies_within_the_bound_are_taken_whatever_they_are_and_however_many() {
        let each: [&[u8]; 16] = [
            b"+OK\r\n",
            b"-ERR a\rb\n c\r\n",
            b":-7\r\n",
            b"$-1\r\n",
            b"$0\r\n\r\n",
            b"*-1\r\n",
            b"*0\r\n",
            b"_\r\n",
            b"#t\r\n",
            b",1.5\r\n",
            b"(123456789012345678901234567890\r\n",
            b"=7\r\ntxt:a\r\n\r\n",
            b"*2\r\n*1\r\n:1\r\n%1\r\n+a\r\n~2\r\n:1\r\n$2\r\n\r\n\r\n",
            b">2\r\n+invalidate\r\n*1\r\n$1\r\na\r\n",
            b"|1\r\n+a\r\n:1\r\n:2\r\n",
            b"!3\r\nERR\r\n",
        ];
        // Were the end of any of them missed, all would be one reply.
        for one in each {
            assert!(is_taken(&one.repeat(LIMIT)), "{}", String::from_utf8_lossy(one));
        }
        assert!(is_taken(&each.concat().repeat(100)));
        assert!(is_taken(&text(LIMIT - 20).repeat(3)));
    }

    #[test]
    fn a_reply_beyond_the_bound_is_not_taken_and_one_that_announces_itself_not_even_begun() {
        for announced in
            [&b"$1000\r\n"[..], b"*400\r\n", b"%200\r\n", b"$99999999999999999999999\r\n", b">9223372036854775807\r\n"]
        {
            assert!(!is_taken(announced), "{}", String::from_utf8_lossy(announced));
        }
        assert!(!is_taken(&text(LIMIT)));
        assert!(!is_taken(&[&b"*3\r\n"[..], &text(400), &text(400), &text(400)].concat()));
        assert!(!is_taken(&b"*1\r\n".repeat(LIMIT)), "nested without end");
        for unterminated in [b'+', b'-', b':', b'$', b'*', b'(', b'x'] {
            assert!(!is_taken(&[vec![unterminated], vec![b'1'; LIMIT]].concat()), "{unterminated}");
        }
    }

    #[test]
    fn a_line_has_a_bound_of_its_own() {
        let line =
            |length: usize| Reply::default().take(&[b"-", &*vec![b'x'; length], b"\r\n"].concat(), usize::MAX / 2);
        assert_eq!((line(LINE - 10), line(LINE)), (Ok(()), Err(TooLong::Line)));
    }

    /// Sends an array of ever more texts, each of them short.
    struct Flood {
        announced: Vec<u8>,
        sent: usize,
    }

    impl AsyncRead for Flood {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            const TEXT: &[u8] = b"$9\r\n123456789\r\n";
            let end = self.sent + buffer.remaining().min(64 << 10);
            let at = |place: usize| match place.checked_sub(self.announced.len()) {
                Some(behind) => TEXT[behind % TEXT.len()],
                None => self.announced[place],
            };
            buffer.put_slice(&(self.sent..end).map(at).collect::<Vec<_>>());
            self.sent = end;
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_stream_without_end_ends_at_the_bound_that_holds_at_the_time() {
        for (is_page, limit) in [(false, REPLY), (true, PAGE)] {
            let bound = Arc::new(Bound::default());
            bound.ask_for_page();
            if !is_page {
                bound.answered();
            }
            let announced = format!("*{}\r\n", limit / 4).into_bytes();
            let mut stream = Bounded::new(Flood { announced, sent: 0 }, Arc::clone(&bound));
            let mut kept = Vec::new();
            let error = stream.read_to_end(&mut kept).await.unwrap_err();
            assert!(error.to_string().contains(&format!("a reply of more than {} MiB", limit >> 20)), "{error}");
            let sent = stream.stream.sent;
            assert!(sent > limit / 8 && sent <= limit + (64 << 10) && kept.len() <= limit, "{sent} {}", kept.len());
            assert_eq!(bound.exceeded().map(|reason| &**reason), Some(&*error.to_string()));
            assert!(stream.read_u8().await.is_err(), "it is over");
        }
    }

    #[test]
    fn a_question_for_a_page_that_is_given_up_counts_until_it_must_have_been_answered() {
        let bound = Bound::default();
        bound.ask_for_page();
        bound.ask_for_page();
        bound.give_up();
        assert_eq!(bound.limit(), PAGE);
        // Asked behind it, and answered.
        let given_up = bound.take_given_up();
        bound.give_up();
        bound.were_answered(given_up);
        assert_eq!(bound.limit(), PAGE, "the other was given up after that was asked");
        bound.were_answered(bound.take_given_up());
        assert_eq!(bound.limit(), REPLY);
    }
}
