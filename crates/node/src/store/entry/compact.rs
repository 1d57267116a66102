//! An entry in one allocation: the layout of its bytes.

use cluster::Version;

use super::{Header, Kind, Mark};

// The layout of a compact entry: the lower bytes of its version (7), access (3), flags (1), length
// of the key (1 or 4), then what the flags announce: the version's top byte (1), expiry (8), mark
// (4 or 12); then key and value. A version has a top byte from the 65,536th change of a slot's
// primary on. Without it the header of a plain entry is 12 bytes, and 16 bytes of key with 100 of
// value fill an allocation of 128.
const ACCESS: usize = 7;
const FLAGS: usize = 10;
const KEY_LENGTH: usize = 11;
const VERSION_LOWER: u64 = (1 << 56) - 1;

pub(super) const ACCESS_MASK: u32 = 0x00FF_FFFF;
const SHORT_KEY_MAX: usize = u8::MAX as usize;

const FLAG_KIND: u8 = 0b0000_0111;
const FLAG_WIDE_VERSION: u8 = 0b0000_1000;
const FLAG_EXPIRES: u8 = 0b0001_0000;
const FLAG_LONG_KEY: u8 = 0b0010_0000;
const FLAG_MARK_SHIFT: u32 = 6;

/// The bytes of each mark, by its number.
const MARK_BYTES: [usize; 4] = [0, 12, 4, 12];

pub(super) fn of(key: &[u8], value: &[u8], header: &Header) -> Box<[u8]> {
    let head = head_bytes(key.len(), header);
    let mut bytes = Vec::with_capacity(head + key.len() + value.len());
    bytes.resize(head, 0);
    write_head(&mut bytes, key.len(), header);
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(value);
    bytes.into_boxed_slice()
}

pub(super) fn head_bytes(key_length: usize, header: &Header) -> usize {
    KEY_LENGTH
        + usize::from(header.version.as_u64() > VERSION_LOWER)
        + if key_length > SHORT_KEY_MAX { 4 } else { 1 }
        + if header.expires_at.is_some() { 8 } else { 0 }
        + MARK_BYTES[usize::from(header.mark.number())]
}

pub(super) fn write_head(bytes: &mut [u8], key_length: usize, header: &Header) {
    let mut flags = header.kind as u8 | header.mark.number() << FLAG_MARK_SHIFT;
    let version = header.version.as_u64().to_le_bytes();
    bytes[..ACCESS].copy_from_slice(&version[..ACCESS]);
    bytes[ACCESS..FLAGS].copy_from_slice(&header.access.to_le_bytes()[..3]);
    if let Ok(short) = u8::try_from(key_length) {
        bytes[KEY_LENGTH] = short;
    } else {
        flags |= FLAG_LONG_KEY;
        let long = u32::try_from(key_length).expect("a compact key is below COMPACT_BYTES_MAX");
        bytes[KEY_LENGTH..KEY_LENGTH + 4].copy_from_slice(&long.to_le_bytes());
    }
    let mut at = after_key_length(flags);
    if version[ACCESS] != 0 {
        flags |= FLAG_WIDE_VERSION;
        bytes[at] = version[ACCESS];
        at += 1;
    }
    if let Some(expires_at) = header.expires_at {
        flags |= FLAG_EXPIRES;
        bytes[at..at + 8].copy_from_slice(&expires_at.to_le_bytes());
        at += 8;
    }
    bytes[FLAGS] = flags;
    let Some(definition) = header.mark.definition() else {
        return;
    };
    bytes[at..at + 4].copy_from_slice(&definition.to_le_bytes());
    match header.mark {
        Mark::Clean {
            fresh_until: word, ..
        } => {
            bytes[at + 4..at + 12].copy_from_slice(&word.to_le_bytes());
        }
        Mark::InDoubt { stamp, .. } => {
            bytes[at + 4..at + 12].copy_from_slice(&stamp.as_u64().to_le_bytes());
        }
        Mark::None | Mark::Dirty { .. } => {}
    }
}

#[inline]
pub(super) fn version(bytes: &[u8]) -> Version {
    let flags = bytes[FLAGS];
    let lower = u64_at(bytes, 0) & VERSION_LOWER;
    if flags & FLAG_WIDE_VERSION == 0 {
        return Version::from_u64(lower);
    }
    let top = u64::from(bytes[after_key_length(flags)]);
    Version::from_u64(top << VERSION_LOWER.count_ones() | lower)
}

#[inline]
pub(super) fn kind(bytes: &[u8]) -> Kind {
    Kind::from_u8(bytes[FLAGS] & FLAG_KIND).expect("the flags of an entry are written from a kind")
}

#[inline]
pub(super) fn expires_at(bytes: &[u8]) -> Option<u64> {
    let flags = bytes[FLAGS];
    (flags & FLAG_EXPIRES != 0).then(|| u64_at(bytes, after_version(flags)))
}

#[inline]
pub(super) fn access(bytes: &[u8]) -> u32 {
    u32_at(bytes, ACCESS) & ACCESS_MASK
}

#[inline]
pub(super) fn set_access(bytes: &mut [u8], access: u32) {
    bytes[ACCESS..FLAGS].copy_from_slice(&access.to_le_bytes()[..3]);
}

pub(super) fn mark(bytes: &[u8]) -> Mark {
    let flags = bytes[FLAGS];
    let number = flags >> FLAG_MARK_SHIFT;
    if number == 0 {
        return Mark::None;
    }
    let at = after_version(flags) + if flags & FLAG_EXPIRES != 0 { 8 } else { 0 };
    let definition = u32_at(bytes, at);
    match number {
        1 => Mark::Clean {
            definition,
            fresh_until: u64_at(bytes, at + 4),
        },
        2 => Mark::Dirty { definition },
        _ => Mark::InDoubt {
            definition,
            stamp: Version::from_u64(u64_at(bytes, at + 4)),
        },
    }
}

fn after_key_length(flags: u8) -> usize {
    KEY_LENGTH + if flags & FLAG_LONG_KEY != 0 { 4 } else { 1 }
}

fn after_version(flags: u8) -> usize {
    after_key_length(flags) + usize::from(flags & FLAG_WIDE_VERSION != 0)
}

/// Where the key of a compact entry begins, and its length.
#[inline]
pub(super) fn key_place(bytes: &[u8]) -> (usize, usize) {
    let flags = bytes[FLAGS];
    let length = if flags & FLAG_LONG_KEY != 0 {
        u32_at(bytes, KEY_LENGTH) as usize
    } else {
        usize::from(bytes[KEY_LENGTH])
    };
    let start = after_version(flags)
        + if flags & FLAG_EXPIRES != 0 { 8 } else { 0 }
        + MARK_BYTES[usize::from(flags >> FLAG_MARK_SHIFT)];
    (start, length)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("a slice of 8 bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("a slice of 4 bytes"))
}
