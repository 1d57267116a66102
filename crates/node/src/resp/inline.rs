//! Inline requests: a line of words, as a person types it.
//!
//! A word may be quoted as in Redis: between double quotes with the escapes `\n \r \t \b \a \xHH`,
//! between single quotes with `\'` alone. What a quoted word means is never longer than what was
//! typed, so it is written over the line itself and nothing is allocated.

use super::request::{ProtocolError, Span};

/// Splits the first `length` bytes of `buffer` into words.
pub(super) fn split(
    buffer: &mut [u8],
    length: usize,
    spans: &mut Vec<Span>,
) -> Result<(), ProtocolError> {
    let mut line = Line {
        bytes: &mut buffer[..length],
        read: 0,
        written: 0,
    };
    loop {
        while line.peek().is_some_and(is_space) {
            line.read += 1;
        }
        if line.peek().is_none() {
            return Ok(());
        }
        line.written = line.read;
        let start = line.written;
        line.word()?;
        spans.push(Span::new(start, line.written));
    }
}

/// C's `isspace`, and NUL, which ends a line too.
fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b || byte == 0
}

struct Line<'a> {
    bytes: &'a mut [u8],
    read: usize,
    /// Never after `read`.
    written: usize,
}

impl Line<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.read).copied()
    }

    fn put(&mut self, byte: u8, taken: usize) {
        self.read += taken;
        self.bytes[self.written] = byte;
        self.written += 1;
    }

    fn word(&mut self) -> Result<(), ProtocolError> {
        while let Some(byte) = self.peek() {
            match byte {
                b'"' | b'\'' => {
                    self.read += 1;
                    return self.quoted(byte);
                }
                byte if is_space(byte) => return Ok(()),
                byte => self.put(byte, 1),
            }
        }
        Ok(())
    }

    /// The rest of a word, up to the quote that ends it; a blank or the line's end must follow.
    fn quoted(&mut self, quote: u8) -> Result<(), ProtocolError> {
        loop {
            let rest = &self.bytes[self.read..];
            match *rest {
                [] => return Err(ProtocolError::UnbalancedQuotes),
                [b'\\', b'x', high, low, ..]
                    if quote == b'"' && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
                {
                    self.put(hex(high) << 4 | hex(low), 4);
                }
                [b'\\', escaped, ..] if quote == b'"' => self.put(unescape(escaped), 2),
                [b'\\', b'\'', ..] if quote == b'\'' => self.put(b'\'', 2),
                [byte, ..] if byte == quote => {
                    self.read += 1;
                    let ends = self.peek().is_none_or(is_space);
                    return if ends {
                        Ok(())
                    } else {
                        Err(ProtocolError::UnbalancedQuotes)
                    };
                }
                [byte, ..] => self.put(byte, 1),
            }
        }
    }
}

fn unescape(escaped: u8) -> u8 {
    match escaped {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        digit => digit.to_ascii_lowercase() - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Vec<Vec<u8>>, ProtocolError> {
        let mut buffer = line.as_bytes().to_vec();
        let mut spans = Vec::new();
        let length = buffer.len();
        split(&mut buffer, length, &mut spans)?;
        Ok(spans.iter().map(|span| span.of(&buffer).to_vec()).collect())
    }

    #[test]
    fn words_are_split_and_unquoted() {
        let cases: [(&str, &[&[u8]]); 9] = [
            ("", &[]),
            (" \t ", &[]),
            ("get  key ", &[b"get", b"key"]),
            (r#"set "a b" 'c d'"#, &[b"set", b"a b", b"c d"]),
            (
                r#""\x41\n\r\t\b\a\"\\\q\xZ1""#,
                &[b"A\n\r\t\x08\x07\"\\qxZ1"],
            ),
            (r"'it\'s \n'", &[br"it's \n"]),
            (r#""" ''"#, &[b"", b""]),
            (r#"a"b c" d"#, &[b"ab c", b"d"]),
            ("a\x0bb", &[b"a", b"b"]),
        ];
        for (line, expected) in cases {
            assert_eq!(words(line).unwrap(), expected, "{line:?}");
        }
    }

    #[test]
    fn a_quote_that_does_not_end_a_word_is_an_error() {
        for line in [r#""a"#, "'a", r#""a"b"#, "'a'b", r#""a\"#, r#"""""#, r"'\'"] {
            assert_eq!(
                words(line),
                Err(ProtocolError::UnbalancedQuotes),
                "{line:?}"
            );
        }
    }
}
