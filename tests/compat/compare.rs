//! Whether two servers' replies to a request are the same, as far as the script asks for it.

use std::collections::BTreeSet;

use tests::wire::{Content, Frame};

use super::script::{Expect, Step};

/// What differs, if anything does.
pub(super) fn difference(step: &Step, redis: &[Frame], quorate: &[Frame]) -> Option<String> {
    let same = match &step.expect {
        Expect::Same => redis == quorate,
        Expect::About(distance) => all(redis, quorate, &|a, b| about(a, b, *distance)),
        Expect::Unordered => all(redis, quorate, &|a, b| in_order(a) == in_order(b)),
        Expect::Shape => all(redis, quorate, &same_shape),
        Expect::Fields(names) => {
            let missing: Vec<&String> = names
                .iter()
                .filter(|name| {
                    ![redis, quorate]
                        .iter()
                        .all(|side| fields(side).contains(*name))
                })
                .collect();
            if !missing.is_empty() {
                return Some(format!("`{}`: without {missing:?} on one side", step.text));
            }
            kinds(redis) == kinds(quorate)
        }
        Expect::Differs(expected) => {
            if redis == quorate {
                return Some(format!("`{}`: differs no more; drop the note", step.text));
            }
            if shown(quorate) != *expected {
                return Some(format!(
                    "`{}`: quorate: {}; the script expects {expected}",
                    step.text,
                    shown(quorate)
                ));
            }
            true
        }
    };
    (!same).then(|| {
        format!(
            "`{}`: redis: {}; quorate: {}",
            step.text,
            shown(redis),
            shown(quorate)
        )
    })
}

/// Replies as a person reads them.
pub(super) fn shown(frames: &[Frame]) -> String {
    frames
        .iter()
        .map(Frame::shown)
        .collect::<Vec<_>>()
        .join(" ")
}

fn all(a: &[Frame], b: &[Frame], same: &dyn Fn(&Frame, &Frame) -> bool) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
}

fn about(a: &Frame, b: &Frame, distance: i64) -> bool {
    match (a.integer(), b.integer(), a.items(), b.items()) {
        (Some(a), Some(b), ..) => a.abs_diff(b) <= distance.unsigned_abs(),
        (.., Some(left), Some(right)) => {
            a.kind == b.kind && all(left, right, &|a, b| about(a, b, distance))
        }
        _ => a == b,
    }
}

/// The frame with the elements of arrays, and the pairs of maps, sorted.
fn in_order(frame: &Frame) -> Frame {
    let Content::Items(items) = &frame.content else {
        return frame.clone();
    };
    let mut items: Vec<Frame> = items.iter().map(in_order).collect();
    if frame.kind == b'%' {
        let mut pairs: Vec<Vec<Frame>> = items.chunks(2).map(<[Frame]>::to_vec).collect();
        pairs.sort();
        items = pairs.concat();
    } else {
        items.sort();
    }
    Frame {
        kind: frame.kind,
        content: Content::Items(items),
    }
}

fn same_shape(a: &Frame, b: &Frame) -> bool {
    let content = match (&a.content, &b.content) {
        (Content::Items(a), Content::Items(b)) => all(a, b, &same_shape),
        (Content::Line(_), Content::Line(_)) | (Content::Text(_), Content::Text(_)) => true,
        (a, b) => a == b,
    };
    a.kind == b.kind && content
}

/// The kinds of frames, and those of their elements.
fn kinds(frames: &[Frame]) -> Vec<(u8, BTreeSet<u8>)> {
    let elements = |frame: &Frame| {
        frame
            .items()
            .into_iter()
            .flatten()
            .map(|item| item.kind)
            .collect()
    };
    let kinds = frames.iter().map(|frame| (frame.kind, elements(frame)));
    kinds.collect()
}

/// The names in `NAME:VALUE` and `NAME=VALUE`, and the texts in an array or a map.
fn fields(frames: &[Frame]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for frame in frames {
        if let Some(text) = frame.text() {
            // A verbatim string of RESP3 begins with its format.
            let text = if frame.kind == b'=' {
                text.get(4..).unwrap_or(text)
            } else {
                text
            };
            let text = String::from_utf8_lossy(text);
            let words = text
                .split_whitespace()
                .filter_map(|word| word.split([':', '=']).next());
            names.extend(words.map(str::to_owned));
        }
        let texts = frame.items().into_iter().flatten().filter_map(Frame::text);
        names.extend(texts.map(|text| String::from_utf8_lossy(text).into_owned()));
    }
    names
}
