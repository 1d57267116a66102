//! A typed cursor over the arguments of one request: every command reports the same mistake in the
//! same words.
//!
//! The table has checked the number of arguments before a handler runs, so an argument that is
//! missing here belongs to an option, and that is a syntax error.

use crate::error::CommandError;
use crate::resp::Span;

/// What is said of a command whose value does not fit in its transaction's record any more.
pub(crate) const TOO_MUCH: &str = "ERR too much in one transaction: its values do not fit in \
                                   peers.message_bytes_max";

/// The arguments of one request, from the first one after the command's name on.
#[derive(Clone, Debug)]
pub struct Args<'a> {
    buffer: &'a [u8],
    spans: &'a [Span],
    command: &'static str,
    next: usize,
}

impl<'a> Args<'a> {
    /// The arguments that lie at `spans` in `buffer`; the first is the command's name. `command` is
    /// the name as the table has it: `get`, or `client|list` with two words before the arguments.
    #[must_use]
    pub fn new(buffer: &'a [u8], spans: &'a [Span], command: &'static str) -> Args<'a> {
        let next = if command.contains('|') { 2 } else { 1 };
        Args {
            buffer,
            spans,
            command,
            next,
        }
    }

    /// The whole request: the words lie at the spans in the buffer, the name first.
    pub(crate) fn words(&self) -> (&'a [u8], &'a [Span]) {
        (self.buffer, self.spans)
    }

    /// The next argument, a key.
    pub fn key(&mut self) -> Result<&'a [u8], CommandError> {
        self.bytes()
    }

    /// The next argument as it is.
    pub fn bytes(&mut self) -> Result<&'a [u8], CommandError> {
        self.next().ok_or(CommandError::Syntax)
    }

    /// The next argument, a 64-bit integer.
    pub fn int(&mut self) -> Result<i64, CommandError> {
        integer(self.bytes()?).ok_or(CommandError::NotInteger)
    }

    /// The next argument, a finite or infinite number.
    pub fn float(&mut self) -> Result<f64, CommandError> {
        float(self.bytes()?).ok_or(CommandError::NotFloat)
    }

    /// Takes the next argument if it is this word, in upper or lower case.
    pub fn option(&mut self, word: &str) -> bool {
        let found = self
            .peek()
            .is_some_and(|next| next.eq_ignore_ascii_case(word.as_bytes()));
        self.next += usize::from(found);
        found
    }

    /// The next argument, which stays the next one.
    #[must_use]
    pub fn peek(&self) -> Option<&'a [u8]> {
        self.spans.get(self.next).map(|span| span.of(self.buffer))
    }

    /// How many arguments are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.spans.len().saturating_sub(self.next)
    }

    /// Whether all arguments were taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    /// An argument that is left over is a syntax error.
    pub fn finish(&self) -> Result<(), CommandError> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(CommandError::Syntax)
        }
    }

    /// The command's full name in the table.
    #[must_use]
    pub fn command(&self) -> &'static str {
        self.command
    }

    /// The error for a number of arguments that the table's row lets pass and the command does not.
    #[must_use]
    pub fn wrong_arity(&self) -> CommandError {
        CommandError::WrongArity(self.command)
    }
}

impl<'a> Iterator for Args<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let next = self.peek()?;
        self.next += 1;
        Some(next)
    }
}

/// The integer that these bytes are the one and only decimal form of: no plus sign, no leading
/// zero, no blank.
#[must_use]
pub fn integer(bytes: &[u8]) -> Option<i64> {
    let (negative, digits) = match bytes {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut value: i64 = 0;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // Downwards, because the least number has no positive counterpart.
        value = value.checked_mul(10)?.checked_sub(i64::from(digit))?;
    }
    if negative {
        Some(value)
    } else {
        value.checked_neg()
    }
}

/// The number that these bytes write: decimal, with or without exponent, or infinity; never NaN.
#[must_use]
pub fn float(bytes: &[u8]) -> Option<f64> {
    let value: f64 = std::str::from_utf8(bytes).ok()?.parse().ok()?;
    (!value.is_nan()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::RequestBuf;

    #[test]
    fn an_integer_has_one_form() {
        for good in [0, 1, -1, 10, 4_294_967_296, i64::MAX, i64::MIN] {
            assert_eq!(integer(good.to_string().as_bytes()), Some(good));
        }
        let wrong = [
            "", "-", "+1", "01", "-0", "-01", " 1", "1 ", "1.0", "1e3", "a", "0x10",
        ];
        let wide = [
            "9223372036854775808",
            "-9223372036854775809",
            "99999999999999999999",
        ];
        for bad in wrong.iter().chain(&wide) {
            assert_eq!(integer(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn a_float_is_never_nan() {
        assert_eq!(float(b"-1.5e3"), Some(-1500.0));
        assert_eq!(float(b"inf"), Some(f64::INFINITY));
        for bad in ["", "nan", "-NaN", "1.2.3", " 1", "1 ", "e3", "abc"] {
            assert_eq!(float(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn options_are_found_in_any_case_and_leftovers_are_an_error() {
        let request = RequestBuf::of(&[b"set", b"k", b"eX", b"10", b"more"]);
        let mut args = request.args("set");
        assert_eq!(args.key(), Ok(b"k".as_slice()));
        assert!(!args.option("px"));
        assert!(args.option("EX"));
        assert_eq!(args.int(), Ok(10));
        assert_eq!(args.finish(), Err(CommandError::Syntax));
        assert_eq!(args.clone().int(), Err(CommandError::NotInteger));
        assert_eq!(args.by_ref().count(), 1);
        assert_eq!(args.finish(), Ok(()));
        assert_eq!(args.bytes(), Err(CommandError::Syntax));
    }

    #[test]
    fn a_subcommand_takes_two_words() {
        let request = RequestBuf::of(&[b"client", b"setname", b"x"]);
        assert_eq!(request.args("client|setname").bytes(), Ok(b"x".as_slice()));
    }
}
