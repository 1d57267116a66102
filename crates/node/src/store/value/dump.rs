//! Values in the serialised form of Redis's `DUMP`: the type, the value as in an RDB file, the
//! version of RDB, and a checksum over all of it.
//!
//! What is written is the plain form of each type, which every version of Redis since 7.0 reads.
//! What is read is that form, with numbers in their short encodings; of what else Redis may write
//! (compressed or packed), it is said that it is not known.

use std::borrow::Cow;
use std::collections::HashSet;

use thiserror::Error;

use super::items::{self, Items};
use crate::store::entry::{Entry, Kind};

/// Why bytes are not the serialised form of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadDump {
    /// They are damaged, cut off, or of a later version.
    #[error("DUMP payload version or checksum are wrong")]
    Damaged,
    /// They promise more than they hold, or make no sense.
    #[error("Bad data format")]
    Malformed,
    /// They are in an encoding that is not read here.
    #[error("the value is in an encoding of Redis that is not known")]
    Unknown,
}

/// The version that Redis 7.0 has, and the one of 7.2.
const VERSION: u16 = 10;
const VERSION_MAX: u16 = 11;
/// The version and the checksum.
const FOOTER_BYTES: usize = 10;

const TYPE_STRING: u8 = 0;
const TYPE_HASH: u8 = 4;

/// The serialised form of a value.
#[must_use]
pub fn dump(entry: &Entry) -> Vec<u8> {
    let mut out = Vec::with_capacity(entry.encoded_bytes() + 32);
    match entry.hash() {
        None => {
            out.push(TYPE_STRING);
            push_string(&mut out, entry.value());
        }
        Some(hash) => {
            out.push(TYPE_HASH);
            push_length(&mut out, hash.len());
            for (field, value) in hash.iter() {
                push_string(&mut out, field);
                push_string(&mut out, value);
            }
        }
    }
    out.extend_from_slice(&VERSION.to_le_bytes());
    let checksum = crc64(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    out
}

/// The value of a serialised form, as effects carry it.
///
/// # Errors
/// If it is none, or none that is known.
pub fn load(bytes: &[u8]) -> Result<(Kind, Vec<u8>), BadDump> {
    let body = bytes
        .len()
        .checked_sub(FOOTER_BYTES)
        .ok_or(BadDump::Damaged)?;
    let (value, footer) = bytes.split_at(body);
    let (version, checksum) = footer.split_at(2);
    if u16::from_le_bytes([version[0], version[1]]) > VERSION_MAX
        || checksum != crc64(&bytes[..body + 2]).to_le_bytes()
    {
        return Err(BadDump::Damaged);
    }
    let mut reader = Reader(value);
    let loaded = match reader.byte()? {
        TYPE_STRING => (Kind::String, reader.string()?.into_owned()),
        TYPE_HASH => (Kind::Hash, reader.hash()?),
        _ => return Err(BadDump::Unknown),
    };
    if reader.0.is_empty() {
        Ok(loaded)
    } else {
        Err(BadDump::Malformed)
    }
}

fn push_length(out: &mut Vec<u8>, length: usize) {
    match length {
        0..0x40 => out.push(length as u8),
        0x40..0x4000 => out.extend_from_slice(&(0x4000 | length as u16).to_be_bytes()),
        _ => {
            // Nothing in memory has 2^32 parts, and no string has as many bytes.
            out.push(0x80);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
    }
}

fn push_string(out: &mut Vec<u8>, string: &[u8]) {
    push_length(out, string.len());
    out.extend_from_slice(string);
}

struct Reader<'a>(&'a [u8]);

/// The number in front of a string.
enum Length {
    /// So many bytes follow.
    Bytes(u64),
    /// The string is written as an integer of so many bytes.
    Integer(usize),
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], BadDump> {
        let split = self.0.split_at_checked(length);
        let (taken, rest) = split.ok_or(BadDump::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, BadDump> {
        self.take(1).map(|byte| byte[0])
    }

    fn length(&mut self) -> Result<Length, BadDump> {
        let first = self.byte()?;
        let of = |bytes: &[u8]| {
            bytes
                .iter()
                .fold(0, |sum, &byte| sum << 8 | u64::from(byte))
        };
        Ok(match (first >> 6, first) {
            (0, _) => Length::Bytes(first.into()),
            (1, _) => Length::Bytes(u64::from(first & 0x3F) << 8 | u64::from(self.byte()?)),
            (2, 0x80) => Length::Bytes(of(self.take(4)?)),
            (2, 0x81) => Length::Bytes(of(self.take(8)?)),
            (3, 0xC0..=0xC2) => Length::Integer(1 << (first & 3)),
            (3, _) => return Err(BadDump::Unknown),
            _ => return Err(BadDump::Malformed),
        })
    }

    fn string(&mut self) -> Result<Cow<'a, [u8]>, BadDump> {
        match self.length()? {
            Length::Bytes(length) => {
                let length = usize::try_from(length).map_err(|_| BadDump::Malformed)?;
                self.take(length).map(Cow::Borrowed)
            }
            Length::Integer(bytes) => {
                let little_endian = self.take(bytes)?;
                let sign = if little_endian[bytes - 1] & 0x80 == 0 {
                    0
                } else {
                    -1
                };
                let number = little_endian
                    .iter()
                    .rev()
                    .fold(sign, |sum: i64, &byte| sum << 8 | i64::from(byte));
                Ok(number.to_string().into_bytes().into())
            }
        }
    }

    /// Fields and values as items.
    fn hash(&mut self) -> Result<Vec<u8>, BadDump> {
        let Length::Bytes(count @ 1..) = self.length()? else {
            return Err(BadDump::Malformed);
        };
        let mut pairs = Vec::with_capacity(self.0.len());
        for _ in 0..count {
            items::push(&mut pairs, &self.string()?);
            items::push(&mut pairs, &self.string()?);
        }
        let mut fields = HashSet::new();
        let mut read = Items::checked(&pairs).pairs();
        if read.all(|(field, _)| fields.insert(field)) {
            Ok(pairs)
        } else {
            Err(BadDump::Malformed)
        }
    }
}

/// The polynomial of Jones, its bits reversed.
const POLYNOMIAL: u64 = 0x95AC_9329_AC4B_C9B5;

const CRC_TABLE: [u64; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut crc, mut bit) = (byte as u64, 0);
        while bit < 8 {
            crc = if crc & 1 == 0 {
                crc >> 1
            } else {
                crc >> 1 ^ POLYNOMIAL
            };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

fn crc64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |crc, &byte| {
        CRC_TABLE[usize::from(crc as u8 ^ byte)] ^ crc >> 8
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::entry::{Header, Mark};
    use cluster::Version;
    use proptest::prelude::*;

    fn entry(kind: Kind, value: &[u8]) -> Entry {
        let header = Header {
            version: Version::ZERO,
            expires_at: None,
            access: 0,
            kind,
            mark: Mark::None,
        };
        Entry::new(b"k", value, &header)
    }

    /// With the footer that belongs to it.
    fn sealed(body: &[u8]) -> Vec<u8> {
        let mut bytes = body.to_vec();
        bytes.extend_from_slice(&VERSION_MAX.to_le_bytes());
        let checksum = crc64(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    #[test]
    fn the_checksum_is_the_one_of_jones() {
        assert_eq!(crc64(b"123456789"), 0xE9C6_D914_C4B8_D9CA);
    }

    #[test]
    fn a_hash_has_the_bytes_that_redis_restores() {
        let mut pairs = Vec::new();
        items::push_pair(&mut pairs, b"name", b"Ada");
        let bytes = dump(&entry(Kind::Hash, &pairs));
        assert_eq!(bytes[..13], *b"\x04\x01\x04name\x03Ada\x0a\x00");
        assert_eq!(load(&bytes), Ok((Kind::Hash, pairs)));
    }

    #[test]
    fn numbers_are_read_in_their_short_forms() {
        let bytes = sealed(b"\x04\x02\xc0\xff\xc1\x00\x80\x01b\xc2\x40\xe2\x01\x00");
        let mut pairs = Vec::new();
        items::push_pair(&mut pairs, b"-1", b"-32768");
        items::push_pair(&mut pairs, b"b", b"123456");
        assert_eq!(load(&bytes), Ok((Kind::Hash, pairs)));
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for (body, why) in [
            (&b""[..], BadDump::Malformed),
            (b"\x04\x00", BadDump::Malformed),
            (b"\x04\x01\x01a", BadDump::Malformed),
            (
                b"\x04\x81\xff\xff\xff\xff\xff\xff\xff\xff\x01a",
                BadDump::Malformed,
            ),
            (b"\x04\x01\x01a\x01b\x01c", BadDump::Malformed),
            (b"\x04\x02\x01a\x01b\x01a\x01c", BadDump::Malformed),
            (b"\x04\x01\xc3\x01\x01a\x01b", BadDump::Unknown),
            (b"\x10\x01", BadDump::Unknown),
        ] {
            assert_eq!(load(&sealed(body)), Err(why), "{body:?}");
        }
        let mut damaged = sealed(b"\x00\x01a");
        assert_eq!(load(&damaged), Ok((Kind::String, b"a".to_vec())));
        damaged[2] ^= 1;
        assert_eq!(load(&damaged), Err(BadDump::Damaged));
        assert_eq!(load(b"\x00\x01a"), Err(BadDump::Damaged));
    }

    proptest! {
        #[test]
        fn a_string_comes_back(value in proptest::collection::vec(any::<u8>(), 0..300)) {
            let bytes = dump(&entry(Kind::String, &value));
            prop_assert_eq!(load(&bytes), Ok((Kind::String, value)));
        }

        #[test]
        fn garbage_with_a_good_footer_is_refused_or_read(
                body in proptest::collection::vec(any::<u8>(), 0..100), hash in any::<bool>()) {
            let kind: &[u8] = if hash { &[TYPE_HASH] } else { &[] };
            if let Ok((_, value)) = load(&sealed(&[kind, &body].concat())) {
                // An integer of 4 bytes becomes 11 digits at most.
                prop_assert!(value.len() <= body.len() * 6);
            }
        }
    }
}
