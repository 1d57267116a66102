//! A slot's table as replication sees it: records from elsewhere, and copies of the whole.
//!
//! A chunk of a copy is a list of pairs: the version of an entry, then the effect that makes it. A
//! value with a table goes in parts, so that no chunk takes the slot's lock for long. A cursor then
//! says how far within the value the copy has come. What is changed meanwhile is sent as it
//! happens, so in the end all parts are as they are here; and a part that is sent twice does no
//! harm.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use cluster::Version;
use cluster::replication::{BadEffects, Table};

use super::effect::{self, Decoder, Effect, Reader};
use super::entry::{Entry, Kind};
use super::segments::{POSITION_BITS, position_of};
use super::slot::SlotTable;
use super::value::{Items, items};

const POSITION_MASK: u64 = (1 << POSITION_BITS) - 1;
/// What a cursor has no room for: a part begins at a position of which the lowest bits are zero.
const PART_SHIFT: u32 = POSITION_BITS - (u64::BITS - POSITION_BITS);

impl Table for SlotTable {
    fn apply(&mut self, version: Version, effects: &[u8]) -> Result<(), BadEffects> {
        check(self, effects)?;
        for effect in Decoder::new(effects) {
            self.apply_effect(&effect?, version)?;
        }
        Ok(())
    }

    fn committed(&mut self, version: Version) {
        self.forget_absences(version);
    }

    fn copy_out(&self, cursor: u64, bytes_max: usize, out: &mut Vec<u8>) -> Option<u64> {
        let end = out.len().saturating_add(bytes_max);
        let (position, part) = (cursor & POSITION_MASK, cursor >> POSITION_BITS);
        let mut unfinished: Option<u64> = None;
        let next = self.scan(position, |entry| {
            let here = || position_of(self.hash(entry.key()));
            let from = if part > 0 && here() == position {
                part
            } else {
                0
            };
            if let Some(next) = push_from(out, entry, from, end) {
                // Two keys at one position: parts of the one are sent again for the other.
                let next = next << POSITION_BITS | here();
                unfinished = Some(unfinished.map_or(next, |other| other.min(next)));
                return ControlFlow::Break(());
            }
            if out.len() < end {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        unfinished.or(next)
    }

    fn copy_touched(&self, effects: &[u8], out: &mut Vec<u8>) {
        for effect in Decoder::new(effects).map_while(Result::ok) {
            if self.push_touched(out, &effect) {
                continue;
            }
            match effect.key().map(|key| (key, self.find(key))) {
                Some((_, Some(entry))) => push_entry(out, entry),
                Some((key, None)) => push(out, Version::ZERO, &Effect::Remove { key }),
                None => push(out, Version::ZERO, &Effect::Clear),
            }
        }
    }

    fn copy_in(&mut self, chunk: &[u8]) -> Result<(), BadEffects> {
        let mut reader = Reader(chunk);
        while !reader.is_empty() {
            let version = Version::from_u64(reader.number()?);
            let effect = reader.effect()?;
            match effect {
                Effect::Put { .. }
                | Effect::Part { .. }
                | Effect::Remove { .. }
                | Effect::Clear => {
                    self.apply_effect(&effect, version)?;
                }
                Effect::Expire { .. }
                | Effect::Splice { .. }
                | Effect::Fields { .. }
                | Effect::Mark { .. } => {
                    return Err(BadEffects("a copy holds entries and parts of them alone"));
                }
            }
        }
        self.note_copy();
        Ok(())
    }

    fn empty(&self) -> SlotTable {
        SlotTable::new(self.shared.clone())
    }

    fn digest(&self) -> u64 {
        let mut encoded = Vec::new();
        self.iter().fold(0, |sum: u64, entry| {
            sum.wrapping_add(digest_of(entry, &mut encoded))
        })
    }
}

impl SlotTable {
    /// Appends what the effect has touched, if that is a part of a value with a table.
    fn push_touched(&self, out: &mut Vec<u8>, effect: &Effect<'_>) -> bool {
        let (set, removed) = match *effect {
            Effect::Fields { set, removed, .. } => (set, removed),
            Effect::Expire { .. } | Effect::Mark { .. } => (Items::NONE, Items::NONE),
            _ => return false,
        };
        let entry = effect.key().and_then(|key| self.find(key));
        let Some((entry, hash)) = entry.and_then(|entry| Some((entry, entry.hash()?))) else {
            return false;
        };
        if hash.is_packed() {
            return false;
        }
        let (mut there, mut gone) = (Vec::new(), Vec::new());
        let touched = set.pairs().map(|(field, _)| field).chain(removed);
        for field in touched {
            match hash.get(field) {
                Some(value) => items::push_pair(&mut there, field, value),
                None => items::push(&mut gone, field),
            }
        }
        push_part(out, entry, Items::checked(&there), Items::checked(&gone));
        true
    }
}

/// Whether all effects can be read, and those that change an entry will find one of their kind.
fn check(table: &SlotTable, effects: &[u8]) -> Result<(), BadEffects> {
    // What the keys that the effects so far have made or removed hold.
    let mut there: BTreeMap<&[u8], Option<Kind>> = BTreeMap::new();
    let mut cleared = false;
    let mut decoder = Decoder::new(effects);
    while let Some(effect) = decoder.next() {
        let effect = effect?;
        match effect {
            // Nobody asks any more after the last effect, which most often is the only one.
            Effect::Put { .. } | Effect::Remove { .. } if decoder.is_empty() => {}
            Effect::Put { key, kind, .. } => _ = there.insert(key, Some(kind)),
            Effect::Remove { key } => _ = there.insert(key, None),
            Effect::Clear => {
                there.clear();
                cleared = true;
            }
            Effect::Part { .. } => return Err(BadEffects("a part of a copy in a record")),
            Effect::Expire { key, .. }
            | Effect::Splice { key, .. }
            | Effect::Fields { key, .. }
            | Effect::Mark { key, .. } => {
                let was_there = || {
                    let entry = table.find(key)?;
                    (!cleared || entry.mark().is_held()).then(|| entry.kind())
                };
                let kind = there.get(key).copied().unwrap_or_else(was_there);
                let fits = match effect {
                    Effect::Splice { .. } => kind == Some(Kind::String),
                    Effect::Fields { .. } => kind == Some(Kind::Hash),
                    _ => kind.is_some(),
                };
                if !fits {
                    return Err(BadEffects("a change of a key that is not there"));
                }
            }
        }
    }
    Ok(())
}

/// Appends an entry, or of one with a table the part from `from` on until there are about `end`
/// bytes. Returns where the next part begins, if there is one.
fn push_from(out: &mut Vec<u8>, entry: &Entry, from: u64, end: usize) -> Option<u64> {
    let hash = match entry.hash() {
        Some(hash) if !hash.is_packed() => hash,
        // It was sent whole when the copy came by.
        _ if from > 0 => return None,
        _ => {
            push_entry(out, entry);
            return None;
        }
    };
    let room = end.saturating_sub(out.len());
    let mut part = Vec::new();
    let mut next = Some(from << PART_SHIFT);
    while let Some(position) = next.filter(|next| next >> PART_SHIFT == from || part.len() < room) {
        next = hash.scan(position, |(field, value)| {
            items::push_pair(&mut part, field, value);
            if part.len() < room {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
    }
    push_part(out, entry, Items::checked(&part), Items::NONE);
    next.map(|position| position >> PART_SHIFT)
}

fn push_part(out: &mut Vec<u8>, entry: &Entry, set: Items<'_>, removed: Items<'_>) {
    let part = Effect::Part {
        key: entry.key(),
        kind: entry.kind(),
        set,
        removed,
        expires_at: entry.expires_at(),
        mark: entry.mark(),
    };
    push(out, entry.version(), &part);
}

fn push_entry(out: &mut Vec<u8>, entry: &Entry) {
    push_with(out, entry, &entry.encoded());
}

fn push_with(out: &mut Vec<u8>, entry: &Entry, value: &[u8]) {
    push(
        out,
        entry.version(),
        &Effect::Put {
            key: entry.key(),
            kind: entry.kind(),
            value,
            expires_at: entry.expires_at(),
            mark: entry.mark(),
        },
    );
}

/// Of a hash, the order of its fields does not count.
fn digest_of(entry: &Entry, scratch: &mut Vec<u8>) -> u64 {
    let fields = entry.hash().map(|hash| {
        hash.iter().fold(0, |sum: u64, (field, value)| {
            scratch.clear();
            items::push_pair(scratch, field, value);
            sum.wrapping_add(digest(scratch))
        })
    });
    scratch.clear();
    match fields {
        Some(sum) => push_with(scratch, entry, &sum.to_le_bytes()),
        None => push_with(scratch, entry, entry.value()),
    }
    digest(scratch)
}

fn push(out: &mut Vec<u8>, version: Version, effect: &Effect<'_>) {
    effect::push_number(out, version.as_u64());
    effect::push(out, effect);
}

/// A hash that is the same on every machine; nobody attacks it.
fn digest(bytes: &[u8]) -> u64 {
    let mut state = bytes.len() as u64 ^ 0x243F_6A88_85A3_08D3;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        state = (state ^ u64::from_le_bytes(word)).wrapping_mul(0x9FB2_1C65_1E98_DF25);
        state ^= state >> 28;
    }
    state.wrapping_mul(0xD6E8_FEB8_6659_FD93) ^ state >> 32
}
