//! RESP as it is on the wire: requests as bytes, replies as the exact bytes that came back.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A reply that takes longer is none.
const REPLY_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection that knows where a reply ends, and nothing else.
#[derive(Debug)]
pub struct Wire {
    stream: BufReader<TcpStream>,
}

impl Wire {
    /// Connects.
    ///
    /// # Errors
    /// If nobody accepts it.
    pub fn connect(address: SocketAddr) -> io::Result<Wire> {
        Wire::connect_within(address, REPLY_TIMEOUT)
    }

    /// Connects to somebody who may take no longer than this for that, or between two words of a
    /// reply.
    ///
    /// # Errors
    /// If nobody accepts it.
    pub fn connect_within(address: SocketAddr, timeout: Duration) -> io::Result<Wire> {
        let stream = TcpStream::connect_timeout(&address, timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_nodelay(true)?;
        Ok(Wire {
            stream: BufReader::new(stream),
        })
    }

    /// The client's end of the connection.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.stream.get_ref().local_addr()
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// If the connection is closed.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Sends a request and reads its reply.
    ///
    /// # Errors
    /// If the connection is closed, or no reply comes.
    pub fn ask(&mut self, words: &[&[u8]]) -> io::Result<Frame> {
        self.send(&request(words))?;
        self.receive()
    }

    /// Reads the next reply.
    ///
    /// # Errors
    /// If the connection is closed, no reply comes, or what comes is none.
    pub fn receive(&mut self) -> io::Result<Frame> {
        let line = self.line()?;
        let (&kind, rest) = line.split_first().ok_or_else(|| wrong("an empty line"))?;
        let length = || -> io::Result<i64> {
            let text = std::str::from_utf8(rest).map_err(|_| wrong("a length is digits"))?;
            text.parse()
                .map_err(|_| wrong(&format!("{text:?} is no length")))
        };
        let content = match kind {
            b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => Content::Line(rest.to_vec()),
            b'$' | b'=' | b'!' => match usize::try_from(length()?) {
                Ok(length) => Content::Text(self.text(length)?),
                Err(_) => Content::Null,
            },
            b'*' | b'~' | b'>' | b'%' | b'|' => match usize::try_from(length()?) {
                Ok(count) => {
                    let count = if matches!(kind, b'%' | b'|') {
                        2 * count
                    } else {
                        count
                    };
                    let items = (0..count).map(|_| self.receive());
                    Content::Items(items.collect::<io::Result<_>>()?)
                }
                Err(_) => Content::Null,
            },
            _ => return Err(wrong(&format!("{:?} begins no reply", line.escape_ascii()))),
        };
        Ok(Frame { kind, content })
    }

    /// Whether the other side has closed the connection, once it has said all that it had to say.
    ///
    /// # Errors
    /// If it says something more, or stays.
    pub fn is_closed(&mut self) -> io::Result<()> {
        match self.stream.fill_buf() {
            Ok([]) => Ok(()),
            Ok(more) => Err(wrong(&format!("more came: {}", more.escape_ascii()))),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        match line.strip_suffix(b"\r\n") {
            Some(line) => Ok(line.to_vec()),
            None if line.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
            None => Err(wrong("a line ends with CR and LF")),
        }
    }

    fn text(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut text = vec![0; length + 2];
        self.stream.read_exact(&mut text)?;
        if !text.ends_with(b"\r\n") {
            return Err(wrong("a text ends with CR and LF"));
        }
        text.truncate(length);
        Ok(text)
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The bytes of a request.
#[must_use]
pub fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n", word.len()).bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// A reply: the byte that it begins with, and what follows. Two frames are equal only if their
/// bytes on the wire are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Frame {
    /// `+`, `-`, `:`, `$`, `*`, and those of RESP3.
    pub kind: u8,
    /// What follows.
    pub content: Content,
}

/// What follows the first byte of a reply.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Content {
    /// The rest of a line.
    Line(Vec<u8>),
    /// A text of a length that was announced.
    Text(Vec<u8>),
    /// Further frames; keys and values of a map one after the other.
    Items(Vec<Frame>),
    /// RESP2's null.
    Null,
}

impl Frame {
    /// The text of a line or of a bulk string, if it is either.
    #[must_use]
    pub fn text(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Line(text) | Content::Text(text) => Some(text),
            Content::Items(_) | Content::Null => None,
        }
    }

    /// The elements of an array, a set, a push or a map.
    #[must_use]
    pub fn items(&self) -> Option<&[Frame]> {
        match &self.content {
            Content::Items(items) => Some(items),
            _ => None,
        }
    }

    /// The number, if it is one.
    #[must_use]
    pub fn integer(&self) -> Option<i64> {
        if self.kind != b':' {
            return None;
        }
        std::str::from_utf8(self.text()?).ok()?.parse().ok()
    }

    /// The frame as one line that a person can read; different frames give different lines.
    #[must_use]
    pub fn shown(&self) -> String {
        let mut out = String::new();
        self.show(&mut out);
        out
    }

    fn show(&self, out: &mut String) {
        let kind = char::from(self.kind);
        // Writing to a string does not fail.
        let _ = match &self.content {
            Content::Null => write!(out, "{kind}-1"),
            Content::Line(text) => write!(out, "{kind}{}", escaped(text)),
            Content::Text(text) => write!(out, "{kind}\"{}\"", escaped(text)),
            Content::Items(items) => {
                out.push(kind);
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push_str(", ");
                    }
                    item.show(out);
                }
                out.push(']');
                Ok(())
            }
        };
    }
}

fn escaped(text: &[u8]) -> String {
    text.escape_ascii().to_string().replace("\\'", "'")
}
