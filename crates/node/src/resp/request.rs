//! Requests: a bounded, resumable parser over the read buffer, in one pass.
//!
//! A request is an array of bulk strings or a line of words. Arguments are not copied: the parser
//! notes where they lie. It remembers where it stopped, so a request that arrives in many pieces
//! costs no more than one that arrives whole. Nothing is reserved for a length that a client merely
//! announces.

use thiserror::Error;

use super::inline;
use super::limits::Limits;
use crate::command::Args;
use crate::command::args::integer;
use crate::stats::Limit;

/// Why a client's bytes are not a request. It is told, and closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProtocolError {
    /// The line that announces the number of arguments does not end.
    #[error("too big mbulk count string")]
    LongMultibulkLine,
    /// The line that announces an argument does not end.
    #[error("too big bulk count string")]
    LongBulkLine,
    /// An inline request does not end.
    #[error("too big inline request")]
    LongInline,
    /// The number of arguments is none.
    #[error("invalid multibulk length")]
    MultibulkLength,
    /// There are more arguments than the limit.
    #[error("invalid multibulk length")]
    ManyArguments,
    /// The length of an argument is none.
    #[error("invalid bulk length")]
    BulkLength,
    /// An argument is longer than the limit.
    #[error("invalid bulk length")]
    LongArgument,
    /// Too many arguments for a client that has not authenticated.
    #[error("unauthenticated multibulk length")]
    UnauthenticatedMultibulk,
    /// Too long an argument for a client that has not authenticated.
    #[error("unauthenticated bulk length")]
    UnauthenticatedBulk,
    /// An argument does not begin as one.
    #[error("expected '$', got '{}'", char::from(*.0))]
    ExpectedBulk(u8),
    /// A quote in an inline request has no counterpart.
    #[error("unbalanced quotes in request")]
    UnbalancedQuotes,
    /// The request as a whole is above the limit.
    #[error("too big request")]
    LongRequest,
    /// A web browser, perhaps sent here by somebody else's page to do what the client cannot.
    #[error("this is not a port for HTTP")]
    Http,
}

impl ProtocolError {
    /// The limit that was reached, if that is what is wrong.
    #[must_use]
    pub fn limit(self) -> Option<Limit> {
        match self {
            ProtocolError::LongMultibulkLine
            | ProtocolError::LongBulkLine
            | ProtocolError::LongInline => Some(Limit::Line),
            ProtocolError::ManyArguments => Some(Limit::Arguments),
            ProtocolError::LongArgument => Some(Limit::Argument),
            ProtocolError::LongRequest => Some(Limit::Query),
            ProtocolError::UnauthenticatedMultibulk | ProtocolError::UnauthenticatedBulk => {
                Some(Limit::Unauthenticated)
            }
            ProtocolError::MultibulkLength
            | ProtocolError::BulkLength
            | ProtocolError::ExpectedBulk(_)
            | ProtocolError::UnbalancedQuotes
            | ProtocolError::Http => None,
        }
    }
}

/// Where one argument lies in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// The bytes from `start` up to, not including, `end`.
    ///
    /// # Panics
    /// Beyond 4 GiB: the limits of a client keep a request far below.
    #[must_use]
    pub fn new(start: usize, end: usize) -> Span {
        let narrow = |at| u32::try_from(at).expect("a request is smaller than 4 GiB");
        Span {
            start: narrow(start),
            end: narrow(end),
        }
    }

    /// The argument.
    #[must_use]
    pub fn of(self, buffer: &[u8]) -> &[u8] {
        &buffer[self.start as usize..self.end as usize]
    }
}

/// What the bytes so far amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A whole request of so many bytes; [`RequestParser::spans`] says where its arguments lie. It
    /// has none if it was an empty line or an empty array, which nobody answers.
    Complete(usize),
    /// More is needed: this many bytes at least.
    Incomplete(usize),
}

/// The state of the request that is being read. The buffer that it is shown begins with that
/// request, and may only grow until the request is complete.
#[derive(Debug, Default)]
pub struct RequestParser {
    spans: Vec<Span>,
    /// What is read so far.
    at: usize,
    /// No line ends before this.
    scanned: usize,
    /// Arguments that are still to come, once their number is known.
    missing: usize,
    /// The length of the argument at `at`, once known.
    bulk: Option<usize>,
}

impl RequestParser {
    /// Goes on with the request at the beginning of `buffer`. After `Complete`, the next call
    /// begins another one.
    ///
    /// # Errors
    /// If the bytes are not a request, or one above the limits.
    pub fn parse(
        &mut self,
        buffer: &mut [u8],
        limits: &Limits,
        authenticated: bool,
    ) -> Result<Progress, ProtocolError> {
        if self.at == 0 {
            self.spans.clear();
        }
        let progress = match buffer.first() {
            None => Progress::Incomplete(1),
            Some(b'*') => self.multibulk(buffer, limits, authenticated)?,
            Some(_) => self.inline(buffer, limits)?,
        };
        match progress {
            Progress::Complete(_) => {
                (self.at, self.scanned, self.missing, self.bulk) = (0, 0, 0, None);
            }
            Progress::Incomplete(more) if buffer.len() + more > limits.query_bytes_max => {
                return Err(ProtocolError::LongRequest);
            }
            Progress::Incomplete(_) => {}
        }
        Ok(progress)
    }

    /// Where the arguments of the request that is complete lie, counted from its first byte.
    #[must_use]
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Gives back what a request with very many arguments made the parser reserve.
    pub fn shrink(&mut self) {
        if self.at == 0 && self.spans.capacity() > 1024 {
            self.spans = Vec::new();
        }
    }

    fn multibulk(
        &mut self,
        buffer: &[u8],
        limits: &Limits,
        authenticated: bool,
    ) -> Result<Progress, ProtocolError> {
        if self.at == 0 {
            let Some(line) = self.line(buffer, limits, ProtocolError::LongMultibulkLine)? else {
                return Ok(Progress::Incomplete(1));
            };
            let count = integer(&line[1..]).ok_or(ProtocolError::MultibulkLength)?;
            // A negative number announces nothing, as for Redis.
            self.missing = usize::try_from(count).unwrap_or(0);
            if self.missing > limits.arguments_max {
                return Err(ProtocolError::ManyArguments);
            }
            if !authenticated && self.missing > limits.unauthenticated_arguments_max {
                return Err(ProtocolError::UnauthenticatedMultibulk);
            }
        }
        while self.missing > 0 {
            let Some(length) = self.bulk_length(buffer, limits, authenticated)? else {
                return Ok(Progress::Incomplete(1));
            };
            // The two bytes after the argument are taken for a line end, as Redis does.
            let end = self.at + length + 2;
            if buffer.len() < end {
                return Ok(Progress::Incomplete(end - buffer.len()));
            }
            self.spans.push(Span::new(self.at, end - 2));
            (self.at, self.scanned, self.bulk) = (end, end, None);
            self.missing -= 1;
        }
        Ok(Progress::Complete(self.at))
    }

    /// The length of the next argument, if its line is complete.
    fn bulk_length(
        &mut self,
        buffer: &[u8],
        limits: &Limits,
        authenticated: bool,
    ) -> Result<Option<usize>, ProtocolError> {
        if self.bulk.is_none() {
            let Some(line) = self.line(buffer, limits, ProtocolError::LongBulkLine)? else {
                return Ok(None);
            };
            let length = match line {
                [b'$', length @ ..] => length,
                // An empty line shows its line end.
                line => {
                    return Err(ProtocolError::ExpectedBulk(*line.first().unwrap_or(&b'\r')));
                }
            };
            let length = integer(length)
                .and_then(|length| usize::try_from(length).ok())
                .ok_or(ProtocolError::BulkLength)?;
            if length > limits.bulk_bytes_max {
                return Err(ProtocolError::LongArgument);
            }
            if !authenticated && length > limits.unauthenticated_bulk_bytes_max {
                return Err(ProtocolError::UnauthenticatedBulk);
            }
            self.bulk = Some(length);
        }
        Ok(self.bulk)
    }

    /// The line at `at` without its end, if it is complete; `at` is after it then. Its end is a
    /// carriage return and whatever byte follows, as for Redis.
    fn line<'b>(
        &mut self,
        buffer: &'b [u8],
        limits: &Limits,
        too_long: ProtocolError,
    ) -> Result<Option<&'b [u8]>, ProtocolError> {
        let found = buffer[self.scanned..]
            .iter()
            .position(|byte| *byte == b'\r');
        let Some(end) = found.map(|found| self.scanned + found) else {
            self.scanned = buffer.len();
            let long = buffer.len() - self.at > limits.line_bytes_max;
            return if long { Err(too_long) } else { Ok(None) };
        };
        self.scanned = end;
        if end + 1 == buffer.len() {
            return Ok(None);
        }
        let line = &buffer[self.at..end];
        (self.at, self.scanned) = (end + 2, end + 2);
        Ok(Some(line))
    }

    fn inline(&mut self, buffer: &mut [u8], limits: &Limits) -> Result<Progress, ProtocolError> {
        let found = buffer[self.scanned..]
            .iter()
            .position(|byte| *byte == b'\n');
        let Some(end) = found.map(|found| self.scanned + found) else {
            self.scanned = buffer.len();
            let long = buffer.len() > limits.line_bytes_max;
            return if long {
                Err(ProtocolError::LongInline)
            } else {
                Ok(Progress::Incomplete(1))
            };
        };
        let length = if end > 0 && buffer[end - 1] == b'\r' {
            end - 1
        } else {
            end
        };
        inline::split(buffer, length, &mut self.spans)?;
        if let Some(word) = self.spans.first().map(|span| span.of(buffer))
            && (word.eq_ignore_ascii_case(b"post") || word.eq_ignore_ascii_case(b"host:"))
        {
            return Err(ProtocolError::Http);
        }
        Ok(Progress::Complete(end + 1))
    }
}

/// A request that did not come from a socket: one that the node makes itself.
#[derive(Clone, Debug, Default)]
pub struct RequestBuf {
    buffer: Vec<u8>,
    spans: Vec<Span>,
}

impl RequestBuf {
    /// A request of these words, the command's name first.
    #[must_use]
    pub fn of(words: &[&[u8]]) -> RequestBuf {
        let mut request = RequestBuf::default();
        for word in words {
            let start = request.buffer.len();
            request.buffer.extend_from_slice(word);
            request.spans.push(Span::new(start, request.buffer.len()));
        }
        request
    }

    /// The arguments after the name, for the handler of the command with this full name.
    #[must_use]
    pub fn args(&self, command: &'static str) -> Args<'_> {
        Args::new(&self.buffer, &self.spans, command)
    }

    /// Where the words lie.
    #[must_use]
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The words, one after the other.
    #[must_use]
    pub fn buffer(&self) -> &[u8] {
        &self.buffer
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::prelude::*;
    use redis_protocol::resp2::decode::decode_bytes_mut;
    use redis_protocol::resp2::types::BytesFrame;

    use super::*;

    type Words = Vec<Vec<u8>>;

    /// All requests in `input`, which is shown to the parser in pieces of these lengths (the last
    /// one again and again).
    fn requests(
        input: &[u8],
        pieces: &[usize],
        limits: &Limits,
        authenticated: bool,
    ) -> Result<Vec<Words>, ProtocolError> {
        let mut parser = RequestParser::default();
        let mut buffer = Vec::new();
        let mut found = Vec::new();
        let (mut sent, mut pieces) = (0, pieces.iter().chain(std::iter::repeat(&usize::MAX)));
        while sent < input.len() {
            let piece = (*pieces.next().unwrap()).clamp(1, input.len() - sent);
            buffer.extend_from_slice(&input[sent..sent + piece]);
            sent += piece;
            while let Progress::Complete(length) =
                parser.parse(&mut buffer, limits, authenticated)?
            {
                let words = parser
                    .spans()
                    .iter()
                    .map(|span| span.of(&buffer).to_vec())
                    .collect();
                found.push(words);
                buffer.drain(..length);
            }
        }
        Ok(found)
    }

    fn wire(words: &Words) -> Vec<u8> {
        let mut wire = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            wire.extend(format!("${}\r\n", word.len()).bytes());
            wire.extend(word);
            wire.extend(b"\r\n");
        }
        wire
    }

    /// What redis-protocol makes of the same bytes.
    fn oracle(input: &[u8]) -> Vec<Words> {
        let mut buffer = BytesMut::from(input);
        let mut found = Vec::new();
        while let Ok(Some((frame, _, _))) = decode_bytes_mut(&mut buffer) {
            let BytesFrame::Array(items) = frame else {
                panic!("not an array: {frame:?}")
            };
            let word = |item| match item {
                BytesFrame::BulkString(word) => word.to_vec(),
                other => panic!("not a bulk string: {other:?}"),
            };
            found.push(items.into_iter().map(word).collect());
        }
        found
    }

    fn words() -> impl Strategy<Value = Words> {
        let word = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            prop::sample::select(vec![b"GET".to_vec(), b"\r\n".to_vec(), b"$1\r\na".to_vec()]),
        ];
        prop::collection::vec(word, 1..8)
    }

    proptest! {
        #[test]
        fn valid_requests_parse_as_redis_protocol_parses_them(
            requests_sent in prop::collection::vec(words(), 1..6),
            pieces in prop::collection::vec(1_usize..30, 0..60),
        ) {
            let input: Vec<u8> = requests_sent.iter().flat_map(wire).collect();
            let found = requests(&input, &pieces, &Limits::default(), true);
            prop_assert_eq!(found.as_ref(), Ok(&requests_sent));
            prop_assert_eq!(oracle(&input), requests_sent);
        }

        #[test]
        fn any_bytes_are_taken_in_without_panic_and_do_not_depend_on_the_pieces(
            input in prop::collection::vec(
                prop_oneof![any::<u8>(), prop::sample::select(b"*$\r\n 0123-\"'\\x".to_vec())],
                0..300,
            ),
            pieces in prop::collection::vec(1_usize..20, 0..40),
        ) {
            let limits = Limits { arguments_max: 20, bulk_bytes_max: 50, ..Limits::default() };
            let whole = requests(&input, &[], &limits, true);
            prop_assert_eq!(requests(&input, &pieces, &limits, true), whole);
        }
    }

    fn error(input: &str, authenticated: bool) -> ProtocolError {
        requests(input.as_bytes(), &[], &Limits::default(), authenticated).unwrap_err()
    }

    #[test]
    fn errors_are_those_of_redis() {
        let long = "1".repeat((64 << 10) + 1);
        for (input, text) in [
            ("*a\r\n", "invalid multibulk length"),
            ("*+1\r\n", "invalid multibulk length"),
            ("*2147483648\r\n", "invalid multibulk length"),
            ("*1\r\n$-1\r\n", "invalid bulk length"),
            ("*1\r\n$x\r\n", "invalid bulk length"),
            ("*1\r\n$536870913\r\n", "invalid bulk length"),
            ("*1\r\n:1\r\n", "expected '$', got ':'"),
            ("*1\r\n\r\n", "expected '$', got '\r'"),
            ("get 'a\r\n", "unbalanced quotes in request"),
            (&format!("*{long}"), "too big mbulk count string"),
            (&format!("*1\r\n${long}"), "too big bulk count string"),
            (&format!("x{long}"), "too big inline request"),
        ] {
            assert_eq!(error(input, true).to_string(), text);
        }
        let unauthenticated = [
            ("*11\r\n", "unauthenticated multibulk length"),
            ("*1\r\n$16385\r\n", "unauthenticated bulk length"),
        ];
        for (input, text) in unauthenticated {
            assert_eq!(error(input, false).to_string(), text);
        }
    }

    #[test]
    fn a_request_above_the_limit_is_refused_as_soon_as_it_is_announced() {
        let limits = Limits {
            query_bytes_max: 100,
            ..Limits::default()
        };
        let input = b"*2\r\n$3\r\nget\r\n$90\r\n";
        assert_eq!(
            requests(input, &[], &limits, true),
            Err(ProtocolError::LongRequest)
        );
    }

    #[test]
    fn empty_requests_are_complete_and_have_no_words() {
        let input = b"\r\n*0\r\n*-5\r\n  \nping\n*1\r\n$4\r\nping\r\n";
        let found = requests(input, &[1], &Limits::default(), true).unwrap();
        let ping = vec![b"ping".to_vec()];
        assert_eq!(found, [vec![], vec![], vec![], vec![], ping.clone(), ping]);
    }
}
