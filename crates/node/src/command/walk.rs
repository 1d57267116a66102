//! Commands over the keys of all slots: `KEYS`, `SCAN`, `RANDOMKEY`.
//!
//! They go from slot to slot, hold one lock at a time, and each lock for a bounded step. What a
//! slot shows depends on all that happened in it, so whoever lends it lets the reply wait for the
//! slot's newest record.

use std::ops::ControlFlow;

use bytes::Bytes;
use cluster::{SLOTS, Slot};

use super::{Args, glob};
use crate::error::CommandError;
use crate::resp::Reply;
use crate::store::{Entry, Kind, POSITION_BITS, SlotTable};

/// How many entries are shown under one lock.
const ENTRIES_PER_LOCK: usize = 512;
/// How many entries `SCAN` shows if the client does not say.
const COUNT_DEFAULT: i64 = 10;
/// How many entries of a slot `RANDOMKEY` looks at to find one that is not past its time.
const RANDOM_SAMPLE: usize = 16;

/// Lends the slots that may be read here, one at a time, each under its lock. The reply waits until
/// the newest record of each slot that was lent is committed.
pub trait ReadSlots {
    /// Shows the table of a slot, if it may be read here.
    fn read<R>(&mut self, slot: Slot, look: impl FnOnce(&SlotTable) -> R) -> Option<R>;
}

type Answer = Result<Reply<'static>, CommandError>;

/// `KEYS pattern`
pub fn keys(slots: &mut impl ReadSlots, args: &mut Args<'_>, now_unix_ms: u64) -> Answer {
    let pattern = args.bytes()?;
    let filter = Filter {
        pattern: Some(pattern),
        kind: None,
        now_unix_ms,
    };
    let mut found = Vec::new();
    let mut next = Cursor::from_number(0);
    while let Some(cursor) = next {
        next = filter.step(slots, cursor, ENTRIES_PER_LOCK, &mut found).0;
    }
    Ok(Reply::Array(found))
}

/// `SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]`
pub fn scan(slots: &mut impl ReadSlots, args: &mut Args<'_>, now_unix_ms: u64) -> Answer {
    let cursor = parse_cursor(args.bytes()?).ok_or("ERR invalid cursor")?;
    let mut filter = Filter {
        pattern: None,
        kind: None,
        now_unix_ms,
    };
    let mut count = COUNT_DEFAULT;
    while !args.is_empty() {
        if args.remaining() < 2 {
            return Err(CommandError::Syntax);
        } else if args.option("count") {
            count = args.int()?;
            if count < 1 {
                return Err(CommandError::Syntax);
            }
        } else if args.option("match") {
            filter.pattern = Some(args.bytes()?);
        } else if args.option("type") {
            filter.kind = Some(args.bytes()?);
        } else {
            return Err(CommandError::Syntax);
        }
    }
    let mut left = usize::try_from(count).unwrap_or(usize::MAX);
    let mut found = Vec::new();
    let mut next = Cursor::from_number(cursor);
    while let Some(cursor) = next.filter(|_| left > 0) {
        let (further, shown) = filter.step(slots, cursor, left.min(ENTRIES_PER_LOCK), &mut found);
        left = left.saturating_sub(shown);
        next = further;
    }
    let next = next.map_or(0, Cursor::number).to_string();
    Ok(Reply::Array(vec![Reply::bulk(next), Reply::Array(found)]))
}

/// `RANDOMKEY`
pub fn randomkey(slots: &mut impl ReadSlots, random: u64, now_unix_ms: u64) -> Answer {
    let filter = Filter {
        pattern: None,
        kind: None,
        now_unix_ms,
    };
    let first = (random % u64::from(SLOTS)) as u16;
    for slot in (first..SLOTS).chain(0..first).filter_map(Slot::new) {
        let found = slots.read(slot, |table| {
            let mut found = None;
            table.sample(random, RANDOM_SAMPLE, |entry| {
                if found.is_none() && filter.shows(entry) {
                    found = Some(Bytes::copy_from_slice(entry.key()));
                }
            });
            found
        });
        if let Some(key) = found.flatten() {
            return Ok(Reply::Bulk(key));
        }
    }
    Ok(Reply::Null)
}

/// Which keys are shown.
struct Filter<'a> {
    pattern: Option<&'a [u8]>,
    kind: Option<&'a [u8]>,
    now_unix_ms: u64,
}

impl Filter<'_> {
    fn shows(&self, entry: &Entry) -> bool {
        entry.kind() != Kind::Absent
            && !entry.is_expired(self.now_unix_ms)
            && self
                .kind
                .is_none_or(|kind| entry.kind().name().as_bytes() == kind)
            && self
                .pattern
                .is_none_or(|pattern| pattern == b"*" || glob::matches(pattern, entry.key()))
    }

    /// Looks at up to about `most` entries of one slot. Returns where to go on, and how many
    /// entries were looked at.
    fn step(
        &self,
        slots: &mut impl ReadSlots,
        cursor: Cursor,
        most: usize,
        found: &mut Vec<Reply<'static>>,
    ) -> (Option<Cursor>, usize) {
        let mut shown = 0;
        let next = slots.read(cursor.slot, |table| {
            table.scan(cursor.position, |entry| {
                shown += 1;
                if self.shows(entry) {
                    found.push(Reply::Bulk(Bytes::copy_from_slice(entry.key())));
                }
                if shown < most {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            })
        });
        let next = match next.flatten() {
            Some(position) => Some(Cursor { position, ..cursor }),
            None => cursor.next_slot(),
        };
        (next, shown)
    }
}

/// A slot and a position in it: below 2^53, which even clients that know but floating point numbers
/// keep exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor {
    slot: Slot,
    position: u64,
}

impl Cursor {
    fn number(self) -> u64 {
        u64::from(self.slot.number()) << POSITION_BITS | self.position
    }

    /// `None` behind the last slot, where a walk is over.
    fn from_number(number: u64) -> Option<Cursor> {
        let slot = Slot::new(u16::try_from(number >> POSITION_BITS).ok()?)?;
        Some(Cursor {
            slot,
            position: number & ((1 << POSITION_BITS) - 1),
        })
    }

    fn next_slot(self) -> Option<Cursor> {
        let slot = Slot::new(self.slot.number() + 1)?;
        Some(Cursor { slot, position: 0 })
    }
}

/// A cursor as Redis reads it, by C's `strtoul`: a sign may precede, and nothing at all is 0.
fn parse_cursor(text: &[u8]) -> Option<u64> {
    let (negative, digits) = match text {
        [] => return Some(0),
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(if negative {
        number.wrapping_neg()
    } else {
        number
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use cluster::Version;

    use super::*;
    use crate::resp::RequestBuf;
    use crate::store::tx::{Expiry, Role};
    use crate::store::{Mark, Store, Tx};

    struct Slots(Vec<SlotTable>);

    const NOW: u64 = 1_000;

    impl Slots {
        fn new() -> Slots {
            let store = Store::new([1, 2, 3, 4]);
            Slots(Slot::all().map(|_| store.table()).collect())
        }

        fn tx(&mut self, key: &[u8]) -> Tx<'_> {
            let table = &mut self.0[Slot::of(key).index()];
            Tx::new(table, Role::Primary, NOW, Version::from_u64(1))
        }

        fn set(&mut self, key: &str, expiry: Expiry) {
            self.tx(key.as_bytes()).set(key.as_bytes(), b"v", expiry);
        }

        fn scan(&mut self, words: &[&str]) -> Result<(u64, Vec<String>), CommandError> {
            let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
            let request = RequestBuf::of(&words);
            let reply = scan(self, &mut request.args("scan"), NOW)?;
            let Reply::Array(mut parts) = reply else {
                panic!("no array")
            };
            let keys = texts(parts.pop().expect("the keys"));
            let Some(Reply::Bulk(cursor)) = parts.pop() else {
                panic!("no cursor")
            };
            Ok((std::str::from_utf8(&cursor).unwrap().parse().unwrap(), keys))
        }
    }

    impl ReadSlots for Slots {
        fn read<R>(&mut self, slot: Slot, look: impl FnOnce(&SlotTable) -> R) -> Option<R> {
            Some(look(&self.0[slot.index()]))
        }
    }

    fn texts(reply: Reply<'_>) -> Vec<String> {
        let Reply::Array(keys) = reply else {
            panic!("no array")
        };
        let text = |key| match key {
            Reply::Bulk(key) => String::from_utf8(key.to_vec()).unwrap(),
            other => panic!("{other:?} is no key"),
        };
        keys.into_iter().map(text).collect()
    }

    #[test]
    fn a_scan_shows_every_key_once_with_cursors_that_clients_can_keep() {
        let mut slots = Slots::new();
        let mut expected = BTreeSet::new();
        for number in 0..3_000 {
            for key in [format!("key:{number}"), format!("{{one}}:{number}")] {
                slots.set(&key, Expiry::Never);
                expected.insert(key);
            }
        }
        let mut cursor = 0;
        let mut steps = 0;
        loop {
            let text = cursor.to_string();
            let (next, keys) = slots.scan(&["scan", &text, "count", "50"]).unwrap();
            assert!(keys.len() <= 50 && next < 1 << 53);
            for key in keys {
                assert!(expected.remove(&key), "{key} is new");
            }
            steps += 1;
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        assert!(expected.is_empty() && steps >= 120);
    }

    #[test]
    fn what_is_shown_can_be_narrowed_and_what_is_not_there_is_not() {
        let mut slots = Slots::new();
        slots.set("apple", Expiry::Never);
        slots.set("april", Expiry::At(NOW));
        slots.set("apart", Expiry::At(NOW - 1));
        let clean = Mark::Clean {
            definition: 1,
            fresh_until: NOW,
        };
        slots
            .tx(b"apex")
            .put(b"apex", Kind::Absent, b"", None, clean);
        let all = |mut keys: Vec<String>| {
            keys.sort();
            keys.join(" ")
        };
        let (next, keys) = slots.scan(&["scan", "0"]).unwrap();
        assert_eq!((next, all(keys)), (0, "apple april".into()));
        let (_, keys) = slots
            .scan(&["scan", "0", "MATCH", "*le", "TYPE", "string"])
            .unwrap();
        assert_eq!(all(keys), "apple");
        let (_, keys) = slots.scan(&["scan", "0", "type", "hash"]).unwrap();
        assert_eq!(all(keys), "");
        let request = RequestBuf::of(&[b"keys", b"ap[pr]*"]);
        let reply = keys_reply(&mut slots, &request);
        assert_eq!(all(texts(reply)), "apple april");
        for random in [0, 77, u64::MAX] {
            let reply = randomkey(&mut slots, random, NOW).unwrap();
            assert!(matches!(reply, Reply::Bulk(key) if key.starts_with(b"ap")));
        }
        assert_eq!(randomkey(&mut Slots::new(), 5, NOW), Ok(Reply::Null));
    }

    fn keys_reply(slots: &mut Slots, request: &RequestBuf) -> Reply<'static> {
        keys(slots, &mut request.args("keys"), NOW).unwrap()
    }

    #[test]
    fn wrong_cursors_and_options() {
        let mut slots = Slots::new();
        for bad in ["x", "1x", "-", "18446744073709551616", " 1"] {
            assert_eq!(
                slots.scan(&["scan", bad]),
                Err("ERR invalid cursor".into()),
                "{bad:?}"
            );
        }
        for good in ["", "+5", "-1", "18446744073709551615", "9007199254740991"] {
            assert_eq!(slots.scan(&["scan", good]), Ok((0, vec![])), "{good:?}");
        }
        let syntax = [vec!["match"], vec!["count", "0"], vec!["what", "x"]];
        for words in syntax {
            let words: Vec<&str> = ["scan", "0"].into_iter().chain(words).collect();
            assert_eq!(slots.scan(&words), Err(CommandError::Syntax), "{words:?}");
        }
        let wrong = slots.scan(&["scan", "0", "count", "x"]);
        assert_eq!(wrong, Err(CommandError::NotInteger));
    }
}
