//! What a command answers, and its form on the wire.
//!
//! A reply may borrow from the store: it is encoded straight into the connection's output buffer
//! while the slot is still locked, so that a `GET` copies its value once and allocates nothing.
//!
//! The hot frames (OK, integers, bulk strings, null) and the headers of aggregates, which are an
//! integer after another type byte, are written here. redis-protocol encodes the other frames. It
//! could do aggregates as well, but only from a tree of its own frames, and its maps are hash maps:
//! `HELLO` would answer in another order each time.

use bytes::{BufMut, Bytes, BytesMut};
use redis_protocol::resp3::encode::complete::extend_encode_borrowed;
use redis_protocol::resp3::types::{BorrowedFrame, VerbatimStringFormat};

use crate::error::CommandError;
use crate::store::Hash;

/// Bytes of values in one reply: a request may name the same long value a million times.
pub(crate) const REPLY_BYTES_MAX: usize = 1 << 30;
/// What is answered instead of more.
pub(crate) const REPLY_TOO_LONG: &str = "ERR the values are too long for one reply, ask for fewer";

/// Which version of the protocol a client has chosen with `HELLO`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RespVersion {
    /// The version that every client begins with.
    #[default]
    Resp2,
    /// The version with maps, sets, nulls and pushes of their own.
    Resp3,
}

impl RespVersion {
    /// 2 or 3.
    #[must_use]
    pub fn number(self) -> i64 {
        match self {
            RespVersion::Resp2 => 2,
            RespVersion::Resp3 => 3,
        }
    }
}

/// What of a hash is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    /// Fields with their values.
    Both,
    /// Fields alone.
    Fields,
    /// Values alone.
    Values,
    /// Fields with their values, as [`Reply::Pairs`] has them.
    Pairs,
}

/// One reply. RESP2 clients get the richer kinds in the form that Redis gives them there.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply<'a> {
    /// `+OK`.
    Ok,
    /// A short status that contains no line break.
    Simple(&'static str),
    /// An integer.
    Int(i64),
    /// A bulk string that lies in the store or the request.
    Slice(&'a [u8]),
    /// A bulk string of its own.
    Bulk(Bytes),
    /// There is no such value.
    Null,
    /// There is no such list of values: RESP2 tells it from [`Reply::Null`].
    NullArray,
    /// Truth; an integer in RESP2.
    Boolean(bool),
    /// A floating point number; a bulk string in RESP2.
    Double(f64),
    /// An integer of any length, in digits; a bulk string in RESP2.
    BigNumber(Bytes),
    /// Text for people; a bulk string in RESP2.
    Verbatim(Bytes),
    /// An array.
    Array(Vec<Reply<'a>>),
    /// A set; an array in RESP2.
    Set(Vec<Reply<'a>>),
    /// A map in this order; an array of keys and values in RESP2.
    Map(Vec<(Reply<'a>, Reply<'a>)>),
    /// A hash that lies in the store: a map, or an array of its pairs or of one part of them.
    Hash(Hash<'a>, Parts),
    /// An array of fields with their values: of pairs, or in RESP2 of both in turn.
    Pairs(Vec<(&'a [u8], &'a [u8])>),
    /// A message that answers no request; an array in RESP2.
    Push(Vec<Reply<'a>>),
    /// An error; inside an array it concerns that element alone.
    Error(CommandError),
    /// A whole reply that is encoded already, for the same version.
    Encoded(Bytes),
}

impl<'a> Reply<'a> {
    /// A bulk string that is kept by somebody else, or null.
    #[must_use]
    pub fn bulk_or_null(value: Option<&'a [u8]>) -> Reply<'a> {
        value.map_or(Reply::Null, Reply::Slice)
    }

    /// A bulk string of its own.
    #[must_use]
    pub fn bulk(value: impl Into<Bytes>) -> Reply<'a> {
        Reply::Bulk(value.into())
    }

    /// A bulk string that is part of the program.
    #[must_use]
    pub fn text(value: &'a str) -> Reply<'a> {
        Reply::Slice(value.as_bytes())
    }

    /// Appends the reply to `out`.
    pub fn encode(&self, version: RespVersion, out: &mut BytesMut) {
        let rich = version == RespVersion::Resp3;
        match self {
            Reply::Ok => out.extend_from_slice(b"+OK\r\n"),
            Reply::Int(value) => integer(b':', *value, out),
            Reply::Slice(value) => bulk(value, out),
            Reply::Bulk(value) => bulk(value, out),
            Reply::Null if rich => out.extend_from_slice(b"_\r\n"),
            Reply::Null => out.extend_from_slice(b"$-1\r\n"),
            Reply::NullArray if rich => out.extend_from_slice(b"_\r\n"),
            Reply::NullArray => out.extend_from_slice(b"*-1\r\n"),
            Reply::Array(items) => sequence(b'*', items, version, out),
            Reply::Set(items) => sequence(if rich { b'~' } else { b'*' }, items, version, out),
            Reply::Push(items) => sequence(if rich { b'>' } else { b'*' }, items, version, out),
            Reply::Map(pairs) => map(pairs, version, out),
            Reply::Hash(hash, parts) => hash_parts(*hash, *parts, rich, out),
            Reply::Pairs(list) => pairs(list, rich, out),
            Reply::Boolean(value) if !rich => integer(b':', i64::from(*value), out),
            Reply::Double(value) if !rich => bulk(value.to_string().as_bytes(), out),
            Reply::BigNumber(value) | Reply::Verbatim(value) if !rich => bulk(value, out),
            Reply::Encoded(whole) => out.extend_from_slice(whole),
            Reply::Error(error) => error_line(error, out),
            Reply::Simple(text) => simple(text, out),
            Reply::Boolean(data) => {
                frame(
                    &BorrowedFrame::Boolean {
                        data: *data,
                        attributes: None,
                    },
                    out,
                );
            }
            Reply::Double(data) => {
                frame(
                    &BorrowedFrame::Double {
                        data: *data,
                        attributes: None,
                    },
                    out,
                );
            }
            Reply::BigNumber(data) => {
                frame(
                    &BorrowedFrame::BigNumber {
                        data,
                        attributes: None,
                    },
                    out,
                );
            }
            Reply::Verbatim(data) => {
                let format = VerbatimStringFormat::Text;
                frame(
                    &BorrowedFrame::VerbatimString {
                        data,
                        format,
                        attributes: None,
                    },
                    out,
                );
            }
        }
    }
}

impl Reply<'_> {
    /// How many bytes of values it holds: about what it takes on the wire, if that is much.
    #[must_use]
    pub fn value_bytes(&self) -> usize {
        match self {
            Reply::Bulk(value) => value.len(),
            Reply::Slice(value) => value.len(),
            Reply::Encoded(whole) => whole.len(),
            Reply::Verbatim(text) => text.len(),
            Reply::Array(items) | Reply::Set(items) | Reply::Push(items) => {
                items.iter().map(Reply::value_bytes).sum()
            }
            Reply::Map(pairs) => {
                let of_pair =
                    |(key, value): &(Reply<'_>, Reply<'_>)| key.value_bytes() + value.value_bytes();
                pairs.iter().map(of_pair).sum()
            }
            _ => 0,
        }
    }
}

impl From<CommandError> for Reply<'_> {
    fn from(error: CommandError) -> Self {
        Reply::Error(error)
    }
}

fn integer(kind: u8, value: i64, out: &mut BytesMut) {
    out.put_u8(kind);
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The header of something with that many bytes or elements.
fn header(kind: u8, count: usize, out: &mut BytesMut) {
    integer(
        kind,
        i64::try_from(count).expect("nothing in memory has 2^63 elements"),
        out,
    );
}

fn bulk(value: &[u8], out: &mut BytesMut) {
    out.reserve(value.len() + 16);
    header(b'$', value.len(), out);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn sequence(kind: u8, items: &[Reply<'_>], version: RespVersion, out: &mut BytesMut) {
    header(kind, items.len(), out);
    for item in items {
        item.encode(version, out);
    }
}

fn map(pairs: &[(Reply<'_>, Reply<'_>)], version: RespVersion, out: &mut BytesMut) {
    match version {
        RespVersion::Resp2 => header(b'*', pairs.len() * 2, out),
        RespVersion::Resp3 => header(b'%', pairs.len(), out),
    }
    for (key, value) in pairs {
        key.encode(version, out);
        value.encode(version, out);
    }
}

fn simple(text: &str, out: &mut BytesMut) {
    let line = BorrowedFrame::SimpleString {
        data: text.as_bytes(),
        attributes: None,
    };
    frame(&line, out);
}

fn pairs(pairs: &[(&[u8], &[u8])], rich: bool, out: &mut BytesMut) {
    let count = if rich { pairs.len() } else { pairs.len() * 2 };
    header(b'*', count, out);
    for (field, value) in pairs {
        if rich {
            header(b'*', 2, out);
        }
        bulk(field, out);
        bulk(value, out);
    }
}

fn hash_parts(hash: Hash<'_>, parts: Parts, rich: bool, out: &mut BytesMut) {
    match parts {
        Parts::Both if rich => header(b'%', hash.len(), out),
        Parts::Both => header(b'*', hash.len() * 2, out),
        Parts::Pairs if !rich => header(b'*', hash.len() * 2, out),
        Parts::Fields | Parts::Values | Parts::Pairs => header(b'*', hash.len(), out),
    }
    for (field, value) in hash.iter() {
        if parts == Parts::Pairs && rich {
            header(b'*', 2, out);
        }
        if parts != Parts::Values {
            bulk(field, out);
        }
        if parts != Parts::Fields {
            bulk(value, out);
        }
    }
}

/// An error is one line: a line break that came in with an argument must not end it.
fn error_line(error: &CommandError, out: &mut BytesMut) {
    let text = error.to_string();
    let text = text
        .trim_end_matches(['\r', '\n'])
        .replace(['\r', '\n'], " ");
    frame(
        &BorrowedFrame::SimpleError {
            data: &text,
            attributes: None,
        },
        out,
    );
}

fn frame(frame: &BorrowedFrame<'_>, out: &mut BytesMut) {
    extend_encode_borrowed(out, frame, false)
        .expect("the encoder makes room for the frame before it writes it");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(reply: &Reply<'_>, version: RespVersion) -> String {
        let mut out = BytesMut::new();
        reply.encode(version, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn each_kind_has_its_form_in_both_versions() {
        let cases = [
            (Reply::Ok, "+OK\r\n", "+OK\r\n"),
            (Reply::Simple("PONG"), "+PONG\r\n", "+PONG\r\n"),
            (
                Reply::Int(i64::MIN),
                ":-9223372036854775808\r\n",
                ":-9223372036854775808\r\n",
            ),
            (
                Reply::Slice(b"a\r\nb"),
                "$4\r\na\r\nb\r\n",
                "$4\r\na\r\nb\r\n",
            ),
            (Reply::bulk(""), "$0\r\n\r\n", "$0\r\n\r\n"),
            (Reply::Null, "$-1\r\n", "_\r\n"),
            (Reply::NullArray, "*-1\r\n", "_\r\n"),
            (Reply::Boolean(true), ":1\r\n", "#t\r\n"),
            (Reply::Double(1.5), "$3\r\n1.5\r\n", ",1.5\r\n"),
            (Reply::BigNumber("123".into()), "$3\r\n123\r\n", "(123\r\n"),
            (
                Reply::Verbatim("hi".into()),
                "$2\r\nhi\r\n",
                "=6\r\ntxt:hi\r\n",
            ),
            (
                Reply::Array(vec![Reply::Int(1), Reply::Null]),
                "*2\r\n:1\r\n$-1\r\n",
                "*2\r\n:1\r\n_\r\n",
            ),
            (
                Reply::Set(vec![Reply::Int(1)]),
                "*1\r\n:1\r\n",
                "~1\r\n:1\r\n",
            ),
            (
                Reply::Push(vec![Reply::Int(1)]),
                "*1\r\n:1\r\n",
                ">1\r\n:1\r\n",
            ),
            (
                Reply::Map(vec![(Reply::Int(1), Reply::Int(2))]),
                "*2\r\n:1\r\n:2\r\n",
                "%1\r\n:1\r\n:2\r\n",
            ),
            (
                Reply::Error("ERR a\r\nb".into()),
                "-ERR a  b\r\n",
                "-ERR a  b\r\n",
            ),
            (Reply::Encoded("+x\r\n".into()), "+x\r\n", "+x\r\n"),
        ];
        for (reply, two, three) in cases {
            assert_eq!(encoded(&reply, RespVersion::Resp2), two);
            assert_eq!(encoded(&reply, RespVersion::Resp3), three);
        }
    }
}
