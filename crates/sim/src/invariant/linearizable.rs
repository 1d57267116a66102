//! Each key's history is linearizable: there is an order of its operations, each somewhere between
//! its call and its answer, in which one register would give the same answers. An operation of
//! which nobody knows the outcome may have happened at any moment after its call, or never.
//!
//! The search goes through calls and answers in their order and keeps every state in which the
//! register may be (after Lowe, "Testing for linearizability", 2017). Take two states of one value,
//! in which the same operations of known outcome have happened: where the operations of unknown
//! outcome of one are some of those of the other, the one can do all that the other can, and the
//! other is dropped.

use std::collections::{BTreeMap, BTreeSet};

use crate::table::Value;
use crate::workload::{Kind, Op};
use crate::world::effect;

/// What the register may hold, and which open operations have happened by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Possible {
    value: Option<Value>,
    happened: u128,
}

/// An operation that has been called and not been answered.
struct Open<'a> {
    bit: u128,
    op: &'a Op,
}

/// More states than this are not followed; no run has come near.
const POSSIBLE_MAX: usize = 200_000;

/// Judges the operations of one key.
///
/// # Errors
/// Names the operation whose answer no order explains.
pub fn check(ops: &[&Op]) -> Result<(), String> {
    let mut events: BTreeMap<u64, (usize, bool)> = BTreeMap::new();
    for (index, op) in ops.iter().enumerate() {
        if op.returned.is_none() && (op.kind == Kind::Get || !op.may_have_written()) {
            continue;
        }
        events.insert(op.called, (index, true));
        if let Some(returned) = op.returned {
            events.insert(returned, (index, false));
        }
    }
    let start = Possible {
        value: None,
        happened: 0,
    };
    let mut possible = BTreeSet::from([start]);
    let mut open: BTreeMap<usize, Open<'_>> = BTreeMap::new();
    let mut free = u128::MAX;
    for (index, is_call) in events.into_values() {
        let op = ops[index];
        if is_call {
            if free == 0 {
                return Err("too many open operations to judge".to_owned());
            }
            let bit = 1 << free.trailing_zeros();
            free &= !bit;
            open.insert(index, Open { bit, op });
            continue;
        }
        possible = answered(&possible, &open, index)?;
        let unknown = open
            .values()
            .filter(|open| open.op.returned.is_none())
            .fold(0, |bits, open| bits | open.bit);
        let bit = open[&index].bit;
        possible = possible
            .into_iter()
            .map(|p| Possible {
                happened: p.happened & !bit,
                ..p
            })
            .collect();
        open.remove(&index);
        free |= bit;
        possible = least(possible, unknown);
        if possible.is_empty() {
            return Err(format!("no order explains {op:?}"));
        }
    }
    Ok(())
}

/// The states in which the operation `index` has happened, before its answer.
fn answered(
    possible: &BTreeSet<Possible>,
    open: &BTreeMap<usize, Open<'_>>,
    index: usize,
) -> Result<BTreeSet<Possible>, String> {
    let wanted = open[&index].bit;
    let mut seen: BTreeSet<Possible> = BTreeSet::new();
    let mut ahead: Vec<Possible> = possible.iter().copied().collect();
    let mut found = BTreeSet::new();
    while let Some(at) = ahead.pop() {
        if at.happened & wanted != 0 {
            found.insert(at);
            continue;
        }
        if !seen.insert(at) {
            continue;
        }
        if seen.len() > POSSIBLE_MAX {
            return Err("too many possible orders to judge".to_owned());
        }
        for Open { bit, op } in open.values() {
            if at.happened & bit != 0 {
                continue;
            }
            let (value, answer) = effect(op.kind, at.value);
            // What was answered must be what the register would say; of the rest nobody knows.
            if op.returned.is_none() || answer == op.answer {
                ahead.push(Possible {
                    value,
                    happened: at.happened | bit,
                });
            }
        }
    }
    Ok(found)
}

/// Drops states that can do no more than another one of the same value.
fn least(possible: BTreeSet<Possible>, unknown: u128) -> BTreeSet<Possible> {
    let mut groups: BTreeMap<(Option<Value>, u128), Vec<u128>> = BTreeMap::new();
    for at in possible {
        let group = groups
            .entry((at.value, at.happened & !unknown))
            .or_default();
        let happened = at.happened & unknown;
        if group.iter().any(|known| known & happened == *known) {
            continue;
        }
        group.retain(|known| known & happened != happened);
        group.push(happened);
    }
    let whole = |((value, known), group): ((Option<Value>, u128), Vec<u128>)| {
        group.into_iter().map(move |happened| Possible {
            value,
            happened: happened | known,
        })
    };
    groups.into_iter().flat_map(whole).collect()
}
