//! What happened to keys: deterministic, absolute, and in bytes that replay the same everywhere.
//!
//! A record is a list of effects, one behind the other. Lengths are little-endian base 128; every
//! length, kind and mark is checked when it is read, for the bytes come from another process.

use cluster::Version;
use cluster::replication::BadEffects;

use super::entry::{Kind, Mark};
use super::value::Items;

/// The greatest length of a key or of a value: what Redis allows a string.
pub const VALUE_BYTES_MAX: usize = 512 << 20;

/// What happened to one key, or to all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect<'a> {
    /// The key has this value, whatever it had before.
    Put {
        /// The key.
        key: &'a [u8],
        /// What the value is.
        kind: Kind,
        /// The value's bytes: of a hash, its fields and values as [`Items`].
        value: &'a [u8],
        /// When it expires, in Unix milliseconds.
        expires_at: Option<u64>,
        /// How it stands to its database.
        mark: Mark,
    },
    /// There is no entry for the key any more.
    Remove {
        /// The key.
        key: &'a [u8],
    },
    /// The key expires then, or never.
    Expire {
        /// The key.
        key: &'a [u8],
        /// When, in Unix milliseconds.
        at: Option<u64>,
    },
    /// The key's string has these bytes from `offset` on, zeros between its old end and there.
    Splice {
        /// The key.
        key: &'a [u8],
        /// Where the bytes begin.
        offset: usize,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// Fields of the key's hash. One that has none left is no more.
    Fields {
        /// The key.
        key: &'a [u8],
        /// Those that have another value, and it, in turn. None is named twice.
        set: Items<'a>,
        /// Those that are removed.
        removed: Items<'a>,
    },
    /// In copies: as `Fields`, of a key that may not be there, or not whole.
    Part {
        /// The key.
        key: &'a [u8],
        /// What the value is.
        kind: Kind,
        /// Fields with their values, in turn.
        set: Items<'a>,
        /// Fields that are not there.
        removed: Items<'a>,
        /// When the key expires, in Unix milliseconds.
        expires_at: Option<u64>,
        /// How it stands to its database.
        mark: Mark,
    },
    /// The key stands so to its database.
    Mark {
        /// The key.
        key: &'a [u8],
        /// How.
        mark: Mark,
    },
    /// All keys of the slot are removed, but those that are dirty or in doubt.
    Clear,
}

impl<'a> Effect<'a> {
    /// The key that it happened to; none if to all.
    #[must_use]
    pub fn key(&self) -> Option<&'a [u8]> {
        match *self {
            Effect::Put { key, .. }
            | Effect::Remove { key }
            | Effect::Expire { key, .. }
            | Effect::Splice { key, .. }
            | Effect::Fields { key, .. }
            | Effect::Part { key, .. }
            | Effect::Mark { key, .. } => Some(key),
            Effect::Clear => None,
        }
    }
}

/// The effects of one record, encoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects(Vec<u8>);

impl Effects {
    /// No effect.
    #[must_use]
    pub const fn new() -> Effects {
        Effects(Vec::new())
    }

    /// Adds an effect behind the others.
    pub fn push(&mut self, effect: &Effect<'_>) {
        push(&mut self.0, effect);
    }

    /// Whether nothing happened.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The encoded bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The encoded bytes, as a record carries them.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// The effects in order.
    #[must_use]
    pub fn iter(&self) -> Decoder<'_> {
        Decoder::new(&self.0)
    }
}

/// Reads effects one after the other; ends after the first that cannot be read.
#[derive(Clone, Debug)]
pub struct Decoder<'a>(Reader<'a>);

impl<'a> Decoder<'a> {
    /// Reads what [`Effects`] encoded, possibly in another process.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Decoder<'a> {
        Decoder(Reader(bytes))
    }

    /// Whether there is no further effect.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> Iterator for Decoder<'a> {
    type Item = Result<Effect<'a>, BadEffects>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let effect = self.0.effect();
        if effect.is_err() {
            self.0 = Reader(&[]);
        }
        Some(effect)
    }
}

const OP_MASK: u8 = 0b0011_1111;
const PUT: u8 = 1;
const REMOVE: u8 = 2;
const EXPIRE: u8 = 3;
const SPLICE: u8 = 4;
const MARK: u8 = 5;
const CLEAR: u8 = 6;
const FIELDS: u8 = 7;
const PART: u8 = 8;
/// A time of expiry follows.
const HAS_TIME: u8 = 0b0100_0000;
/// A mark follows.
const HAS_MARK: u8 = 0b1000_0000;

const CLEAN: u8 = 1;
const DIRTY: u8 = 2;
const IN_DOUBT: u8 = 3;

/// Appends the encoding of one effect.
pub(super) fn push(out: &mut Vec<u8>, effect: &Effect<'_>) {
    match *effect {
        Effect::Put {
            key,
            kind,
            value,
            expires_at,
            mark,
        } => {
            out.reserve(key.len() + value.len() + 16);
            out.extend_from_slice(&[PUT | followed_by(expires_at, mark), kind as u8]);
            push_bytes(out, key);
            push_bytes(out, value);
            push_time_and_mark(out, expires_at, mark);
        }
        Effect::Fields { key, set, removed } => {
            out.push(FIELDS);
            push_bytes(out, key);
            push_bytes(out, set.as_bytes());
            push_bytes(out, removed.as_bytes());
        }
        Effect::Part {
            key,
            kind,
            set,
            removed,
            expires_at,
            mark,
        } => {
            out.extend_from_slice(&[PART | followed_by(expires_at, mark), kind as u8]);
            push_bytes(out, key);
            push_bytes(out, set.as_bytes());
            push_bytes(out, removed.as_bytes());
            push_time_and_mark(out, expires_at, mark);
        }
        Effect::Remove { key } => {
            out.push(REMOVE);
            push_bytes(out, key);
        }
        Effect::Expire { key, at } => {
            out.push(EXPIRE | followed_by(at, Mark::None));
            push_bytes(out, key);
            push_time_and_mark(out, at, Mark::None);
        }
        Effect::Splice { key, offset, bytes } => {
            out.reserve(key.len() + bytes.len() + 16);
            out.push(SPLICE);
            push_bytes(out, key);
            push_number(out, offset as u64);
            push_bytes(out, bytes);
        }
        Effect::Mark { key, mark } => {
            out.push(MARK | followed_by(None, mark));
            push_bytes(out, key);
            push_time_and_mark(out, None, mark);
        }
        Effect::Clear => out.push(CLEAR),
    }
}

/// What follows an effect, as bits of its first byte.
fn followed_by(time: Option<u64>, mark: Mark) -> u8 {
    let time = if time.is_some() { HAS_TIME } else { 0 };
    let marked = if mark == Mark::None { 0 } else { HAS_MARK };
    time | marked
}

fn push_time_and_mark(out: &mut Vec<u8>, time: Option<u64>, mark: Mark) {
    if let Some(at) = time {
        push_number(out, at);
    }
    push_mark(out, mark);
}

pub(super) fn push_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(super) fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    push_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn push_mark(out: &mut Vec<u8>, mark: Mark) {
    let (number, word) = match mark {
        Mark::None => return,
        Mark::Clean { fresh_until, .. } => (CLEAN, Some(fresh_until)),
        Mark::Dirty { .. } => (DIRTY, None),
        Mark::InDoubt { stamp, .. } => (IN_DOUBT, Some(stamp.as_u64())),
    };
    out.push(number);
    push_number(out, mark.definition().map_or(0, u64::from));
    if let Some(word) = word {
        push_number(out, word);
    }
}

/// Takes the parts of an encoding off its front.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> Result<u8, BadEffects> {
        let (&byte, rest) = self
            .0
            .split_first()
            .ok_or(BadEffects("an effect is cut off"))?;
        self.0 = rest;
        Ok(byte)
    }

    pub(super) fn number(&mut self) -> Result<u64, BadEffects> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7F);
            if shift == 63 && part > 1 {
                break;
            }
            number |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(BadEffects("a number above 64 bits"))
    }

    fn length(&mut self) -> Result<usize, BadEffects> {
        match usize::try_from(self.number()?) {
            Ok(length) if length <= VALUE_BYTES_MAX => Ok(length),
            _ => Err(BadEffects("a length above 512 MiB")),
        }
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], BadEffects> {
        let length = self.length()?;
        let split = self.0.split_at_checked(length);
        let (bytes, rest) = split.ok_or(BadEffects("a key or value is cut off"))?;
        self.0 = rest;
        Ok(bytes)
    }

    fn mark(&mut self) -> Result<Mark, BadEffects> {
        let number = self.byte()?;
        let definition =
            u32::try_from(self.number()?).map_err(|_| BadEffects("a definition above 32 bits"))?;
        match number {
            CLEAN => Ok(Mark::Clean {
                definition,
                fresh_until: self.number()?,
            }),
            DIRTY => Ok(Mark::Dirty { definition }),
            IN_DOUBT => Ok(Mark::InDoubt {
                definition,
                stamp: Version::from_u64(self.number()?),
            }),
            _ => Err(BadEffects("an unknown mark")),
        }
    }

    fn time_if(&mut self, op: u8) -> Result<Option<u64>, BadEffects> {
        if op & HAS_TIME != 0 {
            self.number().map(Some)
        } else {
            Ok(None)
        }
    }

    fn mark_if(&mut self, op: u8) -> Result<Mark, BadEffects> {
        if op & HAS_MARK != 0 {
            self.mark()
        } else {
            Ok(Mark::None)
        }
    }

    fn kind(&mut self) -> Result<Kind, BadEffects> {
        Kind::from_u8(self.byte()?).ok_or(BadEffects("an unknown kind"))
    }

    fn put(&mut self, op: u8) -> Result<Effect<'a>, BadEffects> {
        let kind = self.kind()?;
        let (key, value) = (self.bytes()?, self.bytes()?);
        if kind == Kind::Hash && Items::read_pairs(value)?.is_empty() {
            return Err(BadEffects("a hash without a field"));
        }
        Ok(Effect::Put {
            key,
            kind,
            value,
            expires_at: self.time_if(op)?,
            mark: self.mark_if(op)?,
        })
    }

    fn part(&mut self, op: u8) -> Result<Effect<'a>, BadEffects> {
        let kind = self.kind()?;
        if kind != Kind::Hash {
            return Err(BadEffects("a part of a value that has none"));
        }
        Ok(Effect::Part {
            kind,
            key: self.bytes()?,
            set: Items::read_pairs(self.bytes()?)?,
            removed: Items::read(self.bytes()?)?,
            expires_at: self.time_if(op)?,
            mark: self.mark_if(op)?,
        })
    }

    pub(super) fn effect(&mut self) -> Result<Effect<'a>, BadEffects> {
        let op = self.byte()?;
        let allowed = match op & OP_MASK {
            PUT | PART => HAS_TIME | HAS_MARK,
            EXPIRE => HAS_TIME,
            MARK => HAS_MARK,
            REMOVE | SPLICE | CLEAR | FIELDS => 0,
            _ => return Err(BadEffects("an unknown effect")),
        };
        if op & !OP_MASK & !allowed != 0 {
            return Err(BadEffects("an effect with parts that it does not have"));
        }
        if op & OP_MASK == CLEAR {
            return Ok(Effect::Clear);
        }
        if op & OP_MASK == PUT {
            return self.put(op);
        }
        if op & OP_MASK == PART {
            return self.part(op);
        }
        let key = self.bytes()?;
        match op & OP_MASK {
            REMOVE => Ok(Effect::Remove { key }),
            EXPIRE => Ok(Effect::Expire {
                key,
                at: self.time_if(op)?,
            }),
            MARK => Ok(Effect::Mark {
                key,
                mark: self.mark_if(op)?,
            }),
            FIELDS => Ok(Effect::Fields {
                key,
                set: Items::read_pairs(self.bytes()?)?,
                removed: Items::read(self.bytes()?)?,
            }),
            _ => {
                let (offset, bytes) = (self.length()?, self.bytes()?);
                if offset + bytes.len() > VALUE_BYTES_MAX {
                    return Err(BadEffects("a value above 512 MiB"));
                }
                Ok(Effect::Splice { key, offset, bytes })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::value::items;
    use cluster::replication::Table;
    use proptest::prelude::*;

    fn mark() -> impl Strategy<Value = Mark> {
        (0..4, any::<u32>(), any::<u64>()).prop_map(|(number, definition, word)| match number {
            0 => Mark::None,
            1 => Mark::Clean {
                definition,
                fresh_until: word,
            },
            2 => Mark::Dirty { definition },
            _ => Mark::InDoubt {
                definition,
                stamp: Version::from_u64(word),
            },
        })
    }

    #[derive(Clone, Debug)]
    struct Parts {
        number: u8,
        key: Vec<u8>,
        value: Vec<u8>,
        pairs: Vec<u8>,
        time: Option<u64>,
        mark: Mark,
        offset: usize,
    }

    fn parts() -> impl Strategy<Value = Parts> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..200);
        let pairs = proptest::collection::vec((bytes(), bytes()), 1..4).prop_map(|pairs| {
            let mut packed = Vec::new();
            for (field, value) in &pairs {
                items::push_pair(&mut packed, field, value);
            }
            packed
        });
        let offset = 0..VALUE_BYTES_MAX - 200;
        (
            0_u8..9,
            bytes(),
            bytes(),
            pairs,
            any::<Option<u64>>(),
            mark(),
            offset,
        )
            .prop_map(|(number, key, value, pairs, time, mark, offset)| Parts {
                number,
                key,
                value,
                pairs,
                time,
                mark,
                offset,
            })
    }

    fn effect(parts: &Parts) -> Effect<'_> {
        let (key, value, mark) = (&parts.key[..], &parts.value[..], parts.mark);
        let (offset, expires_at, pairs) = (parts.offset, parts.time, Items::checked(&parts.pairs));
        let kind = if offset % 2 == 0 {
            Kind::String
        } else {
            Kind::Absent
        };
        match parts.number {
            0 => Effect::Put {
                key,
                kind,
                value,
                expires_at,
                mark,
            },
            1 => Effect::Remove { key },
            2 => Effect::Expire {
                key,
                at: expires_at,
            },
            3 => Effect::Splice {
                key,
                offset,
                bytes: value,
            },
            4 => Effect::Mark { key, mark },
            5 => Effect::Fields {
                key,
                set: pairs,
                removed: if offset % 3 == 0 { Items::NONE } else { pairs },
            },
            6 => Effect::Part {
                key,
                kind: Kind::Hash,
                set: if offset % 3 == 0 { Items::NONE } else { pairs },
                removed: pairs,
                expires_at,
                mark,
            },
            7 => Effect::Put {
                key,
                kind: Kind::Hash,
                value: pairs.as_bytes(),
                expires_at,
                mark,
            },
            _ => Effect::Clear,
        }
    }

    proptest! {
        #[test]
        fn encoding_and_back(list in proptest::collection::vec(parts(), 0..6)) {
            let expected: Vec<Effect<'_>> = list.iter().map(effect).collect();
            let mut effects = Effects::new();
            for effect in &expected {
                effects.push(effect);
            }
            let read: Result<Vec<_>, _> = effects.iter().collect();
            prop_assert_eq!(read.as_deref(), Ok(&expected[..]));
        }

        #[test]
        fn garbage_is_refused_or_read_but_never_panics(bytes in
            proptest::collection::vec(any::<u8>(), 0..300)) {
            let effects = Decoder::new(&bytes).count();
            prop_assert!(effects <= bytes.len());
        }

        #[test]
        fn a_table_takes_or_refuses_whatever_can_be_read(
            list in proptest::collection::vec((parts(), 0_usize..3), 0..12),
            broken in any::<Option<(usize, u8)>>(),
        ) {
            let mut table = crate::store::Store::new([1, 2, 3, 4]).table();
            let (mut effects, mut chunk) = (Effects::new(), Vec::new());
            for (parts, key) in &list {
                // Few keys, so that they meet.
                let key = [b'a' + *key as u8].to_vec();
                let parts = Parts { key, offset: parts.offset % 100, ..parts.clone() };
                effects.push(&effect(&parts));
                push_number(&mut chunk, 7);
                push(&mut chunk, &effect(&parts));
            }
            let mut record = effects.into_bytes();
            for bytes in [&mut record, &mut chunk] {
                if let Some((at, byte)) = broken && !bytes.is_empty() {
                    let at = at % bytes.len();
                    bytes[at] = byte;
                }
            }
            for one in Decoder::new(&record).map_while(Result::ok) {
                let mut alone = Effects::new();
                alone.push(&one);
                _ = table.apply(Version::from_u64(8), alone.as_bytes());
            }
            _ = table.copy_in(&chunk);
            _ = table.apply(Version::from_u64(9), &record);
            let mut copy = table.empty();
            let mut next = Some(0);
            while let Some(cursor) = next {
                chunk.clear();
                next = table.copy_out(cursor, 100, &mut chunk);
                prop_assert_eq!(copy.copy_in(&chunk), Ok(()));
            }
            prop_assert_eq!(copy.digest(), table.digest());
        }

        #[test]
        fn what_is_cut_off_is_refused(one in parts(), cut in 1_usize..20) {
            let mut effects = Effects::new();
            effects.push(&effect(&one));
            let bytes = effects.as_bytes();
            prop_assume!(bytes.len() > cut);
            prop_assert!(Decoder::new(&bytes[..bytes.len() - cut]).any(|read| read.is_err()));
        }
    }

    #[test]
    fn a_length_that_nobody_may_send_is_refused_before_it_is_used() {
        let mut bytes = vec![REMOVE];
        push_number(&mut bytes, VALUE_BYTES_MAX as u64 + 1);
        let read: Vec<_> = Decoder::new(&bytes).collect();
        assert_eq!(read, [Err(BadEffects("a length above 512 MiB"))]);
    }
}
