//! Requests: where their arguments lie in the read buffer.

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
    pub fn of<'a>(self, buffer: &'a [u8]) -> &'a [u8] {
        &buffer[self.start as usize..self.end as usize]
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
    pub fn args(&self, command: &'static str) -> crate::command::Args<'_> {
        crate::command::Args::new(&self.buffer, &self.spans, command)
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
