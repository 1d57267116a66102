//! A slot's table as replication sees it: records from elsewhere, and copies of the whole.
//!
//! A chunk of a copy is a list of pairs: the version of an entry, then the effect that makes it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use cluster::Version;
use cluster::replication::{BadEffects, Table};

use super::effect::{self, Decoder, Effect, Reader};
use super::entry::Entry;
use super::slot::SlotTable;

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
        self.scan(cursor, |entry| {
            push_entry(out, entry);
            if out.len() < end {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })
    }

    fn copy_touched(&self, effects: &[u8], out: &mut Vec<u8>) {
        for effect in Decoder::new(effects).map_while(Result::ok) {
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
                Effect::Put { .. } | Effect::Remove { .. } | Effect::Clear => {
                    self.apply_effect(&effect, version)?;
                }
                Effect::Expire { .. } | Effect::Splice { .. } | Effect::Mark { .. } => {
                    return Err(BadEffects("a copy holds whole entries alone"));
                }
            }
        }
        Ok(())
    }

    fn empty(&self) -> SlotTable {
        SlotTable::new(self.shared.clone())
    }

    fn digest(&self) -> u64 {
        let mut encoded = Vec::new();
        self.iter().fold(0, |sum: u64, entry| {
            encoded.clear();
            push_entry(&mut encoded, entry);
            sum.wrapping_add(digest(&encoded))
        })
    }
}

/// Whether all effects can be read, and those that change an entry will find one.
fn check(table: &SlotTable, effects: &[u8]) -> Result<(), BadEffects> {
    // Whether the keys that the effects so far have made or removed are there.
    let mut there: BTreeMap<&[u8], bool> = BTreeMap::new();
    let mut cleared = false;
    let mut decoder = Decoder::new(effects);
    while let Some(effect) = decoder.next() {
        match effect? {
            // Nobody asks any more after the last effect, which most often is the only one.
            Effect::Put { .. } | Effect::Remove { .. } if decoder.is_empty() => {}
            Effect::Put { key, .. } => _ = there.insert(key, true),
            Effect::Remove { key } => _ = there.insert(key, false),
            Effect::Clear => {
                there.clear();
                cleared = true;
            }
            Effect::Expire { key, .. } | Effect::Splice { key, .. } | Effect::Mark { key, .. } => {
                let was_there = || {
                    table
                        .find(key)
                        .is_some_and(|entry| !cleared || entry.mark().is_held())
                };
                if !there.get(key).copied().unwrap_or_else(was_there) {
                    return Err(BadEffects("a change of a key that is not there"));
                }
            }
        }
    }
    Ok(())
}

fn push_entry(out: &mut Vec<u8>, entry: &Entry) {
    push(
        out,
        entry.version(),
        &Effect::Put {
            key: entry.key(),
            kind: entry.kind(),
            value: entry.value(),
            expires_at: entry.expires_at(),
            mark: entry.mark(),
        },
    );
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
