//! One call of `SCAN`: its words, its cursor, and how far it has come.
//!
//! A cursor is a slot and a position in the order of hashes, which is the same on all nodes: so it
//! means the same wherever the client brings it, also after the slot has changed hands. The slots
//! are asked in their order, in windows that grow as long as little is found: where there are many
//! keys one slot is enough, and where there are few a call still takes a few rounds.

use std::collections::BTreeMap;

use bytes::Bytes;
use cluster::{SLOTS, Slot};

use super::Args;
use crate::error::CommandError;
use crate::inquiry::{End, Part, Question, Walk, Wanted};
use crate::resp::Reply;
use crate::store::POSITION_BITS;

/// How many entries are looked at if the client does not say.
const COUNT_DEFAULT: i64 = 10;
/// A call with so many bytes of keys ends.
const REPLY_BYTES: usize = 16 << 20;
/// How much wider the next window is.
const WIDER: u16 = 16;

/// The options behind the cursor. A call looks at `most` entries, about.
pub(super) fn narrowed(args: &mut Args<'_>, most: u32) -> Result<Walk, CommandError> {
    let mut walk = Walk::default();
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
            walk.pattern = Some(Bytes::copy_from_slice(args.bytes()?));
        } else if args.option("type") {
            walk.kind = Some(Bytes::copy_from_slice(args.bytes()?));
        } else {
            return Err(CommandError::Syntax);
        }
    }
    walk.count = u32::try_from(count).unwrap_or(u32::MAX).min(most);
    Ok(walk)
}

/// One call, as far as it has come.
#[derive(Debug)]
pub(super) struct Step {
    /// Where to go on; `None` at the end of the last slot.
    next: Option<Cursor>,
    /// With how many entries are still to be looked at.
    walk: Walk,
    /// How many slots are asked at once.
    window: u16,
    keys: Vec<Bytes>,
    bytes: usize,
}

impl Step {
    /// A call that begins at this cursor.
    pub(super) fn from(cursor: u64, walk: Walk) -> Step {
        Step {
            next: Cursor::from_number(cursor),
            walk,
            window: 1,
            keys: Vec::new(),
            bytes: 0,
        }
    }

    /// What the slots are asked.
    pub(super) fn question(&self) -> Question {
        Question::Walk(self.walk.clone())
    }

    /// Which slots are to be asked next; `None` when the call is over.
    pub(super) fn wanted(&self) -> Option<Vec<Wanted>> {
        let at = self
            .next
            .filter(|_| self.walk.count > 0 && self.bytes < REPLY_BYTES)?;
        let first = at.slot.number();
        let last = first.saturating_add(self.window).min(SLOTS);
        let further = (first + 1..last).filter_map(Slot::new);
        let further = further.map(|slot| (slot, 0));
        Some(
            [(at.slot, at.position)]
                .into_iter()
                .chain(further)
                .collect(),
        )
    }

    /// Takes in what was answered, up to the first slot of which nothing was said or that is not
    /// done with: what lies beyond is asked again. Returns whether the call gets on.
    pub(super) fn takes(&mut self, answers: Vec<Vec<Part>>) -> bool {
        let before = self.next;
        let parts = answers.into_iter().flatten();
        let mut parts: BTreeMap<Slot, Part> = parts.map(|part| (part.slot, part)).collect();
        let mut done = 0;
        while let Some(at) = self.next.filter(|_| self.walk.count > 0)
            && let Some(part) = parts.remove(&at.slot)
        {
            let looked_at = u32::try_from(part.count).unwrap_or(u32::MAX);
            self.walk.count = self.walk.count.saturating_sub(looked_at);
            self.bytes += part.keys.iter().map(Bytes::len).sum::<usize>();
            self.keys.extend(part.keys);
            if let End::At(position) = part.end {
                self.next = Some(Cursor { position, ..at });
                break;
            }
            self.next = at.next_slot();
            done += 1;
        }
        self.window = if done == self.window {
            self.window.saturating_mul(WIDER).min(SLOTS)
        } else {
            1
        };
        self.next != before
    }

    /// What the client gets.
    pub(super) fn reply(self) -> Reply<'static> {
        let next = self.next.map_or(0, Cursor::number).to_string();
        let keys = self.keys.into_iter().map(Reply::Bulk).collect();
        Reply::Array(vec![Reply::bulk(next), Reply::Array(keys)])
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
pub(super) fn parse_cursor(text: &[u8]) -> Option<u64> {
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
    use std::sync::Arc;

    use super::*;
    use crate::config::Settings;
    use crate::inquiry::Asker;
    use crate::node::Node;
    use crate::resp::RequestBuf;
    use crate::store::{LedSlots, tx::Expiry};

    fn set(node: &Node, key: &str) {
        let key = key.as_bytes();
        let done = node.change(Slot::of(key), |tx| tx.set(key, b"v", Expiry::Never));
        assert!(done.is_some(), "a node alone leads every slot");
    }

    /// The next cursor, the keys, and how many rounds it took.
    fn scan(node: &Arc<Node>, cursor: u64, options: &[&str]) -> (u64, Vec<String>, usize) {
        let words: Vec<&[u8]> = ["scan"]
            .iter()
            .chain(options)
            .map(|word| word.as_bytes())
            .collect();
        let request = RequestBuf::of(&words);
        let asker = Asker::whole(node);
        let mut step = Step::from(
            cursor,
            narrowed(&mut request.args("scan"), 1 << 20).unwrap(),
        );
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let mut rounds = 0;
        while let Some(wanted) = step.wanted() {
            let patience = asker.patience(&step.question());
            let round = runtime.block_on(asker.round(&step.question(), wanted, &patience));
            assert!(step.takes(round.answers));
            rounds += 1;
        }
        let next = step.next.map_or(0, Cursor::number);
        let text = |key: Bytes| String::from_utf8(key.to_vec()).unwrap();
        (next, step.keys.into_iter().map(text).collect(), rounds)
    }

    #[test]
    fn a_scan_shows_every_key_once_with_cursors_that_clients_can_keep() {
        let node = Node::alone(Settings::default());
        let mut expected = BTreeSet::new();
        for number in 0..3_000 {
            for key in [format!("key:{number}"), format!("{{one}}:{number}")] {
                set(&node, &key);
                expected.insert(key);
            }
        }
        let (mut cursor, mut steps) = (0, 0);
        loop {
            let (next, keys, rounds) = scan(&node, cursor, &["count", "50"]);
            assert!(keys.len() <= 50 && next < 1 << 53 && rounds <= 6);
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
    fn few_keys_take_few_rounds_and_are_narrowed_by_options() {
        let node = Node::alone(Settings::default());
        assert_eq!(scan(&node, 0, &[]), (0, vec![], 5));
        set(&node, "apple");
        set(&node, "april");
        let (next, mut keys, _) = scan(&node, 0, &[]);
        keys.sort();
        assert_eq!((next, keys.join(" ")), (0, "apple april".into()));
        let narrow = ["MATCH", "*le", "TYPE", "string"];
        assert_eq!(scan(&node, 0, &narrow).1, ["apple"]);
        assert!(scan(&node, 0, &["type", "hash"]).1.is_empty());
        assert_eq!(scan(&node, u64::MAX, &[]), (0, vec![], 0));
    }

    fn looked_at(slot: u16, count: u64, end: End) -> Part {
        let mut part = Part::new(Slot::new(slot).unwrap(), end);
        part.count = count;
        part.keys.push(format!("of {slot}").into());
        part
    }

    #[test]
    fn what_lies_beyond_a_slot_of_which_nothing_was_said_is_asked_again() {
        let walk = Walk {
            count: 10,
            ..Walk::default()
        };
        let slots = |step: &Step| step.wanted().map(|wanted| wanted.len());
        let mut step = Step::from(0, walk);
        assert_eq!(slots(&step), Some(1));
        assert!(step.takes(vec![vec![looked_at(0, 1, End::Done)]]));
        assert_eq!(slots(&step), Some(16));
        // Slot 2 is led by somebody who did not answer.
        let answers = vec![vec![looked_at(1, 1, End::Done), looked_at(3, 1, End::Done)]];
        assert!(step.takes(answers));
        assert_eq!(step.wanted(), Some(vec![(Slot::new(2).unwrap(), 0)]));
        assert!(!step.takes(vec![]));
        assert!(step.takes(vec![vec![looked_at(2, 3, End::At(7))]]));
        assert_eq!(step.wanted(), Some(vec![(Slot::new(2).unwrap(), 7)]));
        assert!(step.takes(vec![vec![looked_at(2, 9, End::At(8))]]));
        assert_eq!((slots(&step), step.keys.len()), (None, 4));
        assert_eq!(step.next.map(Cursor::number), Some(2 << POSITION_BITS | 8));
    }

    #[test]
    fn cursors_and_options_are_read_as_redis_reads_them() {
        for bad in ["x", "1x", "-", "18446744073709551616", " 1"] {
            assert_eq!(parse_cursor(bad.as_bytes()), None, "{bad:?}");
        }
        let good = [
            ("", 0),
            ("+5", 5),
            ("-1", u64::MAX),
            ("9007199254740991", (1 << 53) - 1),
        ];
        for (text, number) in good {
            assert_eq!(parse_cursor(text.as_bytes()), Some(number), "{text:?}");
        }
        let options = |words: &[&[u8]]| narrowed(&mut RequestBuf::of(words).args("scan"), 1 << 20);
        for words in [["match"].as_slice(), &["count", "0"], &["what", "x"]] {
            let words: Vec<&[u8]> = ["scan"]
                .iter()
                .chain(words)
                .map(|word| word.as_bytes())
                .collect();
            assert_eq!(options(&words), Err(CommandError::Syntax), "{words:?}");
        }
        let wrong = options(&[b"scan", b"count", b"x"]);
        assert_eq!(wrong, Err(CommandError::NotInteger));
        let most = options(&[b"scan", b"count", b"9223372036854775807"]);
        assert_eq!(most.unwrap().count, 1 << 20);
    }
}
