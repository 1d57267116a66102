//! Questions and answers as bytes.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use cluster::Slot;
use cluster::replication::Refusal;

use super::{End, Part, Question, Walk, Wanted};

/// Stands for a text that is not there.
const NONE: u32 = u32::MAX;

/// A question that arrived.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// How long the answer may wait for copies.
    pub(super) left: Duration,
    pub(super) question: Question,
    /// In the order of the slots.
    pub(super) wanted: Vec<Wanted>,
}

/// The question about these slots, which are in their order.
pub(super) fn encode(left: Duration, question: &Question, wanted: &[Wanted]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u32(u32::try_from(left.as_millis()).unwrap_or(u32::MAX));
    match question {
        Question::Count => out.put_u8(0),
        Question::Sample => out.put_u8(1),
        Question::Empty => out.put_u8(2),
        Question::Flush(name) => {
            out.put_u8(4);
            put_text(name.as_ref(), &mut out);
        }
        Question::Copies => out.put_u8(5),
        Question::Bytes => out.put_u8(6),
        Question::Walk(walk) => {
            out.put_u8(3);
            out.put_u32(walk.count);
            put_text(walk.pattern.as_ref(), &mut out);
            put_text(walk.kind.as_ref(), &mut out);
        }
    }
    // A bit for each slot from the first to the last.
    let first = wanted.first().map_or(0, |(slot, _)| slot.index());
    let span = wanted
        .last()
        .map_or(0, |(slot, _)| slot.index() - first + 1);
    let mut bits = vec![0; span.div_ceil(8)];
    for (slot, _) in wanted {
        let bit = slot.index() - first;
        bits[bit / 8] |= 1 << (bit % 8);
    }
    out.put_u16(u16::try_from(first).expect("slots are numbered by 16 bits"));
    out.put_u16(u16::try_from(bits.len()).expect("there are 16384 slots"));
    out.extend_from_slice(&bits);
    for (slot, position) in wanted.iter().filter(|(_, position)| *position > 0) {
        out.put_u16(slot.number());
        out.put_u64(*position);
    }
    out.freeze()
}

/// The question, if this is one.
pub(super) fn decode(bytes: &Bytes) -> Option<Asked> {
    let mut rest = bytes.clone();
    let left = Duration::from_millis(rest.try_get_u32().ok()?.into());
    let question = match rest.try_get_u8().ok()? {
        0 => Question::Count,
        1 => Question::Sample,
        2 => Question::Empty,
        3 => Question::Walk(Walk {
            count: rest.try_get_u32().ok()?,
            pattern: get_text(&mut rest)?,
            kind: get_text(&mut rest)?,
        }),
        4 => Question::Flush(get_text(&mut rest)?),
        5 => Question::Copies,
        6 => Question::Bytes,
        _ => return None,
    };
    let first = rest.try_get_u16().ok()?;
    let length = usize::from(rest.try_get_u16().ok()?);
    let bits = take(&mut rest, length)?;
    let mut wanted = BTreeMap::new();
    for (at, byte) in (0_u16..).zip(bits.iter()) {
        for bit in (0..8).filter(|bit| byte & (1 << bit) != 0) {
            let number = at.checked_mul(8)?.checked_add(bit)?.checked_add(first)?;
            wanted.insert(Slot::new(number)?, 0);
        }
    }
    while rest.has_remaining() {
        let slot = Slot::new(rest.try_get_u16().ok()?)?;
        *wanted.get_mut(&slot)? = rest.try_get_u64().ok()?;
    }
    Some(Asked {
        left,
        question,
        wanted: wanted.into_iter().collect(),
    })
}

/// An answer: the parts of the first slots that were asked about, in their order.
pub(super) fn encode_answer(parts: &[Part]) -> Bytes {
    let mut out = BytesMut::with_capacity(parts.len());
    for part in parts {
        match part.end {
            End::Done if part.count == 0 && part.keys.is_empty() => out.put_u8(0),
            End::Done => {
                out.put_u8(1);
                put_found(part, &mut out);
            }
            End::At(position) => {
                out.put_u8(2);
                out.put_u64(position);
                put_found(part, &mut out);
            }
            End::Unconfirmed => out.put_u8(3),
            End::Refused(Refusal::NotPrimary) => out.put_u8(4),
            End::Refused(Refusal::NoLease) => out.put_u8(5),
            End::Refused(Refusal::TooFewCopies) => out.put_u8(6),
            End::Refused(Refusal::Busy) => out.put_u8(7),
        }
    }
    out.freeze()
}

/// The answer to a question about these slots, if it is one.
pub(super) fn decode_answer(answer: &Bytes, wanted: &[Wanted]) -> Option<Vec<Part>> {
    let mut rest = answer.clone();
    let mut parts = Vec::new();
    for (slot, _) in wanted {
        if rest.is_empty() {
            break;
        }
        let mut part = Part::new(*slot, End::Done);
        match rest.try_get_u8().ok()? {
            0 => {}
            1 => get_found(&mut part, &mut rest)?,
            2 => {
                part.end = End::At(rest.try_get_u64().ok()?);
                get_found(&mut part, &mut rest)?;
            }
            3 => part.end = End::Unconfirmed,
            4 => part.end = End::Refused(Refusal::NotPrimary),
            5 => part.end = End::Refused(Refusal::NoLease),
            6 => part.end = End::Refused(Refusal::TooFewCopies),
            7 => part.end = End::Refused(Refusal::Busy),
            _ => return None,
        }
        parts.push(part);
    }
    rest.is_empty().then_some(parts)
}

fn put_found(part: &Part, out: &mut BytesMut) {
    out.put_u64(part.count);
    out.put_u32(length(part.keys.len()));
    for key in &part.keys {
        out.put_u32(length(key.len()));
        out.extend_from_slice(key);
    }
}

fn get_found(part: &mut Part, rest: &mut Bytes) -> Option<()> {
    part.count = rest.try_get_u64().ok()?;
    for _ in 0..rest.try_get_u32().ok()? {
        let length = rest.try_get_u32().ok()?;
        part.keys.push(take(rest, usize::try_from(length).ok()?)?);
    }
    Some(())
}

fn put_text(text: Option<&Bytes>, out: &mut BytesMut) {
    out.put_u32(text.map_or(NONE, |text| length(text.len())));
    out.extend_from_slice(text.map_or(b"", |text| &text[..]));
}

fn get_text(rest: &mut Bytes) -> Option<Option<Bytes>> {
    match rest.try_get_u32().ok()? {
        NONE => Some(None),
        length => take(rest, usize::try_from(length).ok()?).map(Some),
    }
}

fn take(rest: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= rest.len()).then(|| rest.split_to(length))
}

fn length(length: usize) -> u32 {
    u32::try_from(length).expect("what travels is smaller than 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(number: u16) -> Slot {
        Slot::new(number).unwrap()
    }

    #[test]
    fn a_question_arrives_as_it_was_sent_and_a_cut_one_is_none() {
        let walk = Walk {
            pattern: Some("a*".into()),
            kind: None,
            count: 7,
        };
        let all: Vec<Wanted> = Slot::all().map(|slot| (slot, 0)).collect();
        let some = vec![(slot(9), 5), (slot(17), 0), (slot(16_383), u64::MAX)];
        let questions = [
            (Question::Count, all),
            (Question::Sample, vec![(slot(16_383), 0)]),
            (Question::Bytes, vec![(slot(1), 0)]),
            (Question::Empty, Vec::new()),
            (Question::Walk(walk), some.clone()),
            (Question::Copies, some),
        ];
        for (question, wanted) in questions {
            let left = Duration::from_millis(300);
            let bytes = encode(left, &question, &wanted);
            for cut in 0..bytes.len().min(60) {
                let asked = decode(&bytes.slice(..cut));
                assert!(asked.is_none_or(|asked| asked.wanted != wanted));
            }
            let sent = Asked {
                left,
                question,
                wanted,
            };
            assert_eq!(decode(&bytes), Some(sent));
        }
        assert_eq!(
            decode(&Bytes::from_static(&[0, 0, 0, 0, 4, 0, 0, 0, 0])),
            None
        );
        let beyond = [0, 0, 0, 0, 0, 0x3f, 0xff, 0, 1, 0b10];
        assert_eq!(decode(&Bytes::copy_from_slice(&beyond)), None);
    }

    #[test]
    fn an_answer_arrives_as_it_was_sent_also_if_it_stops_early() {
        let wanted: Vec<Wanted> = (0..9).map(|number| (slot(number), 0)).collect();
        let part = |number: u16, end, count, keys: &[&str]| Part {
            slot: slot(number),
            end,
            count,
            keys: keys
                .iter()
                .map(|key| Bytes::copy_from_slice(key.as_bytes()))
                .collect(),
        };
        let parts = vec![
            part(0, End::Done, 0, &[]),
            part(1, End::Done, 3, &["a", ""]),
            part(2, End::At(77), 1, &["b"]),
            part(3, End::Unconfirmed, 0, &[]),
            part(4, End::Refused(Refusal::NotPrimary), 0, &[]),
            part(5, End::Refused(Refusal::NoLease), 0, &[]),
            part(6, End::Refused(Refusal::TooFewCopies), 0, &[]),
            part(7, End::Refused(Refusal::Busy), 0, &[]),
        ];
        let bytes = encode_answer(&parts);
        assert_eq!(decode_answer(&bytes, &wanted).as_ref(), Some(&parts));
        assert_eq!(decode_answer(&bytes, &wanted[..7]), None);
        assert_eq!(decode_answer(&bytes.slice(..5), &wanted), None);
        assert_eq!(decode_answer(&Bytes::from_static(&[8]), &wanted), None);
    }
}
