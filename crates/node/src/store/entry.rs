//! One key and its value.
//!
//! A small entry is one allocation: header, key and value together. A value of more than
//! [`COMPACT_BYTES_MAX`] has a buffer of its own with room to grow, so that appending to it does
//! not copy it each time; one of many parts has a table. An entry takes 16 bytes in its table in
//! any case.

mod compact;
mod parts;

use std::borrow::Cow;

use cluster::Version;

use super::segments::Item;
use super::size_class::rounded;
use super::value::{FieldTable, Hash, Items};

/// The greatest sum of key and value that is kept in one allocation with its header.
pub const COMPACT_BYTES_MAX: usize = 4096;

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A string.
    String = 0,
    /// Of a database keyspace: it is known that there is no such key. Plain commands do not see it.
    Absent = 1,
    /// A hash: fields with values, at least one.
    Hash = 2,
}

impl Kind {
    /// The name that `TYPE` shows.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::Absent => "none",
            Kind::Hash => "hash",
        }
    }

    pub(crate) fn from_u8(number: u8) -> Option<Kind> {
        match number {
            0 => Some(Kind::String),
            1 => Some(Kind::Absent),
            2 => Some(Kind::Hash),
            _ => None,
        }
    }
}

/// How an entry of a database keyspace stands to its database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mark {
    /// The entry belongs to no database.
    #[default]
    None,
    /// The database has exactly this.
    Clean {
        /// The definition of the keyspace by which it was loaded or written.
        definition: u32,
        /// Until when it is fresh, in Unix milliseconds.
        fresh_until: u64,
    },
    /// The database does not have this yet.
    Dirty {
        /// The definition by which it is to be flushed.
        definition: u32,
    },
    /// A statement may have landed, or may still land. The old value may be there or not.
    InDoubt {
        /// The definition by which it is to be settled.
        definition: u32,
        /// The greatest stamp that a statement under way carries.
        stamp: Version,
    },
}

impl Mark {
    /// Whether the entry must stay until the database agrees: it is dirty or in doubt.
    #[must_use]
    pub fn is_held(self) -> bool {
        matches!(self, Mark::Dirty { .. } | Mark::InDoubt { .. })
    }

    /// The definition that the entry carries, if it belongs to a database.
    #[must_use]
    pub fn definition(self) -> Option<u32> {
        match self {
            Mark::None => None,
            Mark::Clean { definition, .. }
            | Mark::Dirty { definition }
            | Mark::InDoubt { definition, .. } => Some(definition),
        }
    }

    fn number(self) -> u8 {
        match self {
            Mark::None => 0,
            Mark::Clean { .. } => 1,
            Mark::Dirty { .. } => 2,
            Mark::InDoubt { .. } => 3,
        }
    }
}

/// All of an entry but its key and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The version of the record that wrote the entry last.
    pub version: Version,
    /// When the entry expires, in Unix milliseconds.
    pub expires_at: Option<u64>,
    /// 24 bits that belong to the eviction policy.
    pub access: u32,
    /// What the value is.
    pub kind: Kind,
    /// How it stands to its database.
    pub mark: Mark,
}

/// One key with its value.
#[derive(Debug)]
pub struct Entry(Form);

/// Two boxes are 16 bytes: the variant lies in the pointer's niche. There is room for one only.
#[derive(Debug)]
enum Form {
    Compact(Box<[u8]>),
    Large(Box<Large>),
}

#[derive(Debug)]
struct Large {
    header: Header,
    key: Box<[u8]>,
    value: Value,
}

/// A value beside its key. Further data types have their tables here.
#[derive(Debug)]
enum Value {
    /// A string, or the parts of a packed value.
    Bytes(Vec<u8>),
    Hash(Box<FieldTable>),
}

impl Entry {
    /// An entry with a copy of `key` and `value`: a string, or the parts of a packed value.
    #[must_use]
    pub fn new(key: &[u8], value: &[u8], header: &Header) -> Entry {
        if key.len() + value.len() <= COMPACT_BYTES_MAX {
            return Entry(Form::Compact(compact::of(key, value, header)));
        }
        Entry(Form::Large(Box::new(Large {
            header: *header,
            key: key.into(),
            value: Value::Bytes(value.to_vec()),
        })))
    }

    /// The key.
    #[must_use]
    #[inline]
    pub fn key(&self) -> &[u8] {
        match &self.0 {
            Form::Compact(bytes) => {
                let (start, length) = compact::key_place(bytes);
                &bytes[start..start + length]
            }
            Form::Large(large) => &large.key,
        }
    }

    /// The bytes of a string; nothing where the key is absent. Of other kinds see
    /// [`Entry::hash`] and [`Entry::encoded`].
    #[must_use]
    #[inline]
    pub fn value(&self) -> &[u8] {
        match &self.0 {
            Form::Compact(bytes) => {
                let (start, length) = compact::key_place(bytes);
                &bytes[start + length..]
            }
            Form::Large(large) => match &large.value {
                Value::Bytes(bytes) => bytes,
                Value::Hash(_) => &[],
            },
        }
    }

    /// The hash that the entry holds, if it holds one.
    #[must_use]
    pub fn hash(&self) -> Option<Hash<'_>> {
        if self.kind() != Kind::Hash {
            return None;
        }
        Some(match self.table() {
            Some(table) => Hash::table(table),
            None => Hash::packed(Items::checked(self.value())),
        })
    }

    /// The value, of whatever kind, as effects carry it.
    #[must_use]
    pub fn encoded(&self) -> Cow<'_, [u8]> {
        match self.table() {
            Some(table) => Hash::table(table).pack(),
            None => self.value().into(),
        }
    }

    /// The length of [`Entry::encoded`].
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        match self.table() {
            Some(table) => Hash::table(table).packed_bytes(),
            None => self.value().len(),
        }
    }

    /// The version of the record that wrote the entry last.
    #[must_use]
    #[inline]
    pub fn version(&self) -> Version {
        match &self.0 {
            Form::Compact(bytes) => compact::version(bytes),
            Form::Large(large) => large.header.version,
        }
    }

    /// What the value is.
    #[must_use]
    #[inline]
    pub fn kind(&self) -> Kind {
        match &self.0 {
            Form::Compact(bytes) => compact::kind(bytes),
            Form::Large(large) => large.header.kind,
        }
    }

    /// When the entry expires, in Unix milliseconds.
    #[must_use]
    #[inline]
    pub fn expires_at(&self) -> Option<u64> {
        match &self.0 {
            Form::Compact(bytes) => compact::expires_at(bytes),
            Form::Large(large) => large.header.expires_at,
        }
    }

    /// How the entry stands to its database.
    #[must_use]
    #[inline]
    pub fn mark(&self) -> Mark {
        match &self.0 {
            Form::Compact(bytes) => compact::mark(bytes),
            Form::Large(large) => large.header.mark,
        }
    }

    /// The 24 bits of the eviction policy.
    #[must_use]
    #[inline]
    pub fn access(&self) -> u32 {
        match &self.0 {
            Form::Compact(bytes) => compact::access(bytes),
            Form::Large(large) => large.header.access,
        }
    }

    /// Everything but key and value.
    #[must_use]
    pub fn header(&self) -> Header {
        Header {
            version: self.version(),
            expires_at: self.expires_at(),
            access: self.access(),
            kind: self.kind(),
            mark: self.mark(),
        }
    }

    /// Whether the entry is past its time. One in doubt never is: a statement may still land.
    #[must_use]
    #[inline]
    pub fn is_expired(&self, now_unix_ms: u64) -> bool {
        self.expires_at().is_some_and(|at| at < now_unix_ms)
            && !matches!(self.mark(), Mark::InDoubt { .. })
    }

    /// From when on the entry may go by itself: it expires, or it is clean and no longer fresh.
    #[must_use]
    pub fn due_at(&self) -> Option<u64> {
        match self.mark() {
            Mark::InDoubt { .. } => None,
            Mark::Clean { fresh_until, .. } => Some(
                self.expires_at()
                    .map_or(fresh_until, |at| at.min(fresh_until)),
            ),
            Mark::None | Mark::Dirty { .. } => self.expires_at(),
        }
    }

    /// What the allocator sets aside for the entry, its place in the table not counted.
    #[must_use]
    #[inline]
    pub fn allocated(&self) -> usize {
        match &self.0 {
            Form::Compact(bytes) => rounded(bytes.len()),
            Form::Large(large) => {
                rounded(size_of::<Large>())
                    + rounded(large.key.len())
                    + match &large.value {
                        Value::Bytes(bytes) => rounded(bytes.capacity()),
                        Value::Hash(table) => table.allocated(),
                    }
            }
        }
    }

    /// Stamps the entry with the record that changes it.
    pub fn set_version(&mut self, version: Version) {
        let header = Header {
            version,
            ..self.header()
        };
        self.set_header(&header);
    }

    /// Sets the bits of the eviction policy; those above the 24th are cut off.
    #[inline]
    pub fn set_access(&mut self, access: u32) {
        match &mut self.0 {
            Form::Compact(bytes) => compact::set_access(bytes, access),
            Form::Large(large) => large.header.access = access & compact::ACCESS_MASK,
        }
    }

    /// Sets or clears the time of expiry.
    pub fn set_expires_at(&mut self, expires_at: Option<u64>) {
        let header = Header {
            expires_at,
            ..self.header()
        };
        self.set_header(&header);
    }

    /// Sets how the entry stands to its database.
    pub fn set_mark(&mut self, mark: Mark) {
        let header = Header {
            mark,
            ..self.header()
        };
        self.set_header(&header);
    }

    /// Gives the entry another value and header; within the same allocation if it fits exactly.
    pub fn replace(&mut self, value: &[u8], header: &Header) {
        if let Form::Compact(bytes) = &mut self.0 {
            let (start, length) = compact::key_place(bytes);
            let same_head = compact::head_bytes(length, header) == start;
            if same_head && start + length + value.len() == bytes.len() {
                compact::write_head(bytes, length, header);
                bytes[start + length..].copy_from_slice(value);
                return;
            }
        }
        let replaced = Entry::new(self.key(), value, header);
        *self = replaced;
    }

    /// Writes `bytes` over the value from `offset` on; the value grows as needed, with zeros
    /// between its old end and `offset`.
    pub fn splice(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        let length = self.value().len().max(end);
        match &mut self.0 {
            Form::Large(large) => {
                if let Value::Bytes(value) = &mut large.value {
                    value.resize(length, 0);
                    value[offset..end].copy_from_slice(bytes);
                }
            }
            Form::Compact(whole) => {
                let (start, key_length) = compact::key_place(whole);
                let value_start = start + key_length;
                if value_start + length == whole.len() {
                    whole[value_start + offset..value_start + end].copy_from_slice(bytes);
                    return;
                }
                let mut value = Vec::with_capacity(length);
                value.extend_from_slice(&whole[value_start..]);
                value.resize(length, 0);
                value[offset..end].copy_from_slice(bytes);
                let grown = Entry::new(self.key(), &value, &self.header());
                *self = grown;
            }
        }
    }

    /// Gives the entry another header and leaves its value as it is.
    pub(super) fn set_header(&mut self, header: &Header) {
        match &mut self.0 {
            Form::Large(large) => large.header = *header,
            Form::Compact(bytes) => {
                let (start, length) = compact::key_place(bytes);
                if compact::head_bytes(length, header) == start {
                    compact::write_head(bytes, length, header);
                } else {
                    let (key, value) = bytes[start..].split_at(length);
                    self.0 = Form::Compact(compact::of(key, value, header));
                }
            }
        }
    }
}

impl Item for Entry {
    #[inline]
    fn key(&self) -> &[u8] {
        self.key()
    }

    fn due_at(&self) -> Option<u64> {
        self.due_at()
    }

    fn allocated(&self) -> usize {
        self.allocated()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_entry_is_two_words_in_its_table() {
        assert_eq!(size_of::<Entry>(), 16);
    }

    #[test]
    fn a_plain_entry_has_twelve_bytes_of_header() {
        let entry = Entry::new(&[b'k'; 16], &[b'v'; 100], &plain(u64::MAX >> 8));
        assert_eq!(entry.allocated(), 128);
        let mut wider = Entry::new(&[b'k'; 16], &[b'v'; 100], &plain(1 << 56));
        assert_eq!(
            (wider.allocated(), wider.version().as_u64()),
            (160, 1 << 56)
        );
        wider.set_version(Version::from_u64(7));
        assert_eq!((wider.allocated(), wider.version().as_u64()), (128, 7));
    }

    #[test]
    fn a_splice_pads_with_zeros_and_outgrows_one_allocation() {
        let mut entry = Entry::new(b"k", b"ab", &plain(1));
        entry.splice(4, b"cd");
        assert_eq!(entry.value(), b"ab\0\0cd");
        entry.splice(COMPACT_BYTES_MAX, b"end");
        assert_eq!(entry.value().len(), COMPACT_BYTES_MAX + 3);
        assert_eq!(&entry.value()[..6], b"ab\0\0cd");
        let before = entry.allocated();
        entry.splice(COMPACT_BYTES_MAX + 3, b"more");
        assert!(entry.value().ends_with(b"endmore"));
        entry.splice(0, b"AB");
        assert!(entry.value().starts_with(b"AB\0\0cd") && entry.allocated() >= before);
    }

    pub(super) fn plain(version: u64) -> Header {
        Header {
            version: Version::from_u64(version),
            expires_at: None,
            access: 0,
            kind: Kind::String,
            mark: Mark::None,
        }
    }

    fn marks() -> impl Strategy<Value = Mark> {
        prop_oneof![
            Just(Mark::None),
            (any::<u32>(), any::<u64>()).prop_map(|(definition, fresh_until)| Mark::Clean {
                definition,
                fresh_until
            }),
            any::<u32>().prop_map(|definition| Mark::Dirty { definition }),
            (any::<u32>(), any::<u64>()).prop_map(|(definition, stamp)| Mark::InDoubt {
                definition,
                stamp: Version::from_u64(stamp)
            }),
        ]
    }

    fn headers() -> impl Strategy<Value = Header> {
        (
            prop_oneof![any::<u64>(), 0..1_u64 << 56],
            any::<Option<u64>>(),
            0_u32..1 << 24,
            any::<bool>(),
            marks(),
        )
            .prop_map(|(version, expires_at, access, absent, mark)| Header {
                version: Version::from_u64(version),
                expires_at,
                access,
                kind: if absent { Kind::Absent } else { Kind::String },
                mark,
            })
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..40),
            (200_usize..5000).prop_map(|length| vec![b'x'; length]),
        ]
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(key in bytes(), first in bytes(), second in bytes(),
                                  headers in proptest::collection::vec(headers(), 4)) {
            let mut entry = Entry::new(&key, &first, &headers[0]);
            prop_assert_eq!((entry.key(), entry.value()), (&key[..], &first[..]));
            prop_assert_eq!(entry.header(), headers[0]);
            entry.replace(&second, &headers[1]);
            prop_assert_eq!((entry.key(), entry.value()), (&key[..], &second[..]));
            prop_assert_eq!(entry.header(), headers[1]);
            entry.set_mark(headers[2].mark);
            entry.set_expires_at(headers[3].expires_at);
            entry.set_access(headers[3].access);
            entry.set_version(headers[3].version);
            let expected =
                Header { mark: headers[2].mark, kind: headers[1].kind, ..headers[3] };
            prop_assert_eq!(entry.header(), expected);
            prop_assert_eq!((entry.key(), entry.value()), (&key[..], &second[..]));
        }
    }
}
