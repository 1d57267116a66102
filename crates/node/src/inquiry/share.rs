//! This node's share of an answer: what it says of the slots that it leads.
//!
//! It goes from slot to slot, holds one lock at a time, each for a bounded step, and lets others
//! have the thread in between. What a slot shows depends on all that happened in it, so the answer
//! waits until the newest record of each slot is committed.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cluster::replication::{Need, Out, Refusal};
use cluster::transport::BoxFuture;
use cluster::{Slot, Version, clock};
use routing::Flushed;

use super::form::{Asked, decode, encode_answer};
use super::{End, Part, Question, Walk, Wanted, is_there};
use crate::gather::{Timeouts, Waits};
use crate::node::Node;
use crate::stats::Limit;
use crate::store::tx::Role;
use crate::store::{SlotTable, Tx};

/// How many entries are looked at under one lock.
const ENTRIES_PER_LOCK: usize = 512;
/// How many entries one answer looks at. Whoever wants more asks again.
const ENTRIES_PER_ANSWER: usize = 64 << 10;
/// An answer with so many bytes of keys grows no further.
const ANSWER_BYTES: usize = 1 << 20;
/// How many entries of a slot are tried as a sample before it is walked through.
const SAMPLE: usize = 16;
/// How many steps are done before others have the thread. A look at a slot or an entry is one.
const STEPS_PER_TURN: usize = 1024;
/// How many steps it counts for to empty a slot.
const STEPS_TO_EMPTY: usize = 8;

/// Answers another node. What is no question has an empty answer.
pub(crate) fn answer(node: &Arc<Node>, asked: &Bytes) -> BoxFuture<'static, Bytes> {
    let (node, asked) = (Arc::clone(node), decode(asked));
    Box::pin(async move {
        let Some(Asked {
            left,
            question,
            wanted,
        }) = asked
        else {
            return Bytes::new();
        };
        let timeouts = Timeouts::of(&node).at_most(left);
        encode_answer(&share(&node, &question, &wanted, false, timeouts).await)
    })
}

/// What this node says of these slots, or of the first of them. Where `copies` will do, it speaks
/// of slots that others lead as well.
pub(crate) async fn share(
    node: &Node,
    question: &Question,
    wanted: &[Wanted],
    copies: bool,
    timeouts: Timeouts,
) -> Vec<Part> {
    let mut share = Share {
        node,
        copies,
        waits: Waits::default(),
        steps: 0,
    };
    let mut parts = match question {
        Question::Count => share.counts(wanted, keys_of).await,
        Question::Bytes => share.counts(wanted, |table| table.bytes() as u64).await,
        Question::Sample => share.samples(wanted).await,
        Question::Empty => share.empties(wanted, timeouts.write).await,
        Question::Flush(name) => flushes(node, name.as_ref(), wanted, timeouts.read).await,
        Question::Copies => share.copies(wanted).await,
        Question::Walk(walk) => share.walks(walk, wanted).await,
    };
    let waits = share.waits;
    if waits.is_empty() {
        return parts;
    }
    let writes = question.writes();
    let timeout = if writes {
        timeouts.write
    } else {
        timeouts.read
    };
    if waits.all(timeout, writes).await.is_err() {
        for part in parts.iter_mut().filter(|part| part.is_good()) {
            *part = Part::new(part.slot, End::Unconfirmed);
        }
    }
    parts
}

fn keys_of(table: &SlotTable) -> u64 {
    table.tally().keys as u64
}

struct Share<'a> {
    node: &'a Node,
    copies: bool,
    waits: Waits,
    /// Since others had the thread.
    steps: usize,
}

impl Share<'_> {
    async fn counts(&mut self, wanted: &[Wanted], of: fn(&SlotTable) -> u64) -> Vec<Part> {
        let mut parts = Vec::with_capacity(wanted.len());
        for &(slot, _) in wanted {
            let count = self.read(slot, of);
            let mut part = Part::new(slot, end(count.map(|_| ())));
            part.count = count.unwrap_or(0);
            parts.push(part);
            self.did(1).await;
        }
        parts
    }

    /// Each key is as likely as any other, about: the slot is drawn by how many keys it has.
    async fn samples(&mut self, wanted: &[Wanted]) -> Vec<Part> {
        let mut parts = self.counts(wanted, keys_of).await;
        let keys: u64 = parts.iter().map(|part| part.count).sum();
        if keys == 0 {
            return parts;
        }
        let mut drawn = rand::random_range(0..keys);
        let first = parts
            .iter()
            .position(|part| match drawn.checked_sub(part.count) {
                Some(rest) => {
                    drawn = rest;
                    false
                }
                None => true,
            });
        let first = first.unwrap_or(0);
        // What was counted may be gone by now, or past its time.
        for at in (first..parts.len()).chain(0..first) {
            if parts[at].count == 0 {
                continue;
            }
            match self.any_key(parts[at].slot).await {
                Ok(Some(key)) => {
                    parts[at].keys.push(key);
                    break;
                }
                Ok(None) => {}
                Err(refusal) => parts[at] = Part::new(parts[at].slot, End::Refused(refusal)),
            }
        }
        parts
    }

    async fn any_key(&mut self, slot: Slot) -> Result<Option<Bytes>, Refusal> {
        let now = clock::unix_ms();
        let mut found = None;
        self.read(slot, |table| {
            table.sample(rand::random(), SAMPLE, |entry| {
                if found.is_none() && is_there(entry, now) {
                    found = Some(Bytes::copy_from_slice(entry.key()));
                }
            });
        })?;
        if found.is_some() {
            return Ok(found);
        }
        let any = Walk::default();
        let mut position = 0;
        loop {
            let mut part = Part::new(slot, End::Done);
            let next = self.step(&any, position, ENTRIES_PER_LOCK, &mut part)?;
            if let Some(key) = part.keys.pop() {
                return Ok(Some(key));
            }
            let Some(next) = next else {
                return Ok(None);
            };
            position = next;
            self.did(ENTRIES_PER_LOCK).await;
        }
    }

    /// After `within` it stops: whoever asked has given up, and writes again what would be gone.
    async fn empties(&mut self, wanted: &[Wanted], within: Duration) -> Vec<Part> {
        let until = clock::now() + within;
        let mut emptied = BTreeSet::new();
        let mut parts = Vec::with_capacity(wanted.len());
        for &(slot, _) in wanted {
            if clock::now() > until {
                break;
            }
            let done = empty_slot(self.node, slot, &mut self.waits);
            emptied.extend(done.is_ok().then_some(slot));
            parts.push(Part::new(slot, end(done)));
            self.did(STEPS_TO_EMPTY).await;
        }
        self.node.modes.emptied(emptied);
        parts
    }

    async fn copies(&mut self, wanted: &[Wanted]) -> Vec<Part> {
        let mut parts = Vec::with_capacity(wanted.len());
        for &(slot, position) in wanted {
            let part = match copies_of(self.node, slot, Version::from_u64(position)) {
                Ok((version, copies)) => Part {
                    count: copies as u64,
                    ..Part::new(slot, End::At(version.as_u64()))
                },
                Err(refusal) => Part::new(slot, End::Refused(refusal)),
            };
            parts.push(part);
            self.did(1).await;
        }
        parts
    }

    async fn walks(&mut self, walk: &Walk, wanted: &[Wanted]) -> Vec<Part> {
        let count = usize::try_from(walk.count).unwrap_or(usize::MAX);
        let mut left = count.min(ENTRIES_PER_ANSWER);
        let mut bytes = 0;
        let mut parts = Vec::new();
        for &(slot, mut position) in wanted {
            if left == 0 || bytes >= ANSWER_BYTES {
                break;
            }
            let mut part = Part::new(slot, End::Done);
            loop {
                let known = (part.keys.len(), part.count);
                let next = self.step(walk, position, left.min(ENTRIES_PER_LOCK), &mut part);
                bytes += part.keys[known.0..].iter().map(Bytes::len).sum::<usize>();
                let looked_at = usize::try_from(part.count - known.1).unwrap_or(usize::MAX);
                left = left.saturating_sub(looked_at);
                self.did(1 + looked_at).await;
                match next {
                    Ok(None) => break,
                    Ok(Some(next)) if left == 0 || bytes >= ANSWER_BYTES => {
                        part.end = End::At(next);
                        break;
                    }
                    Ok(Some(next)) => position = next,
                    Err(refusal) => {
                        part = Part::new(slot, End::Refused(refusal));
                        break;
                    }
                }
            }
            parts.push(part);
        }
        parts
    }

    /// Looks at up to about `most` entries of a slot. Returns where to go on.
    fn step(
        &mut self,
        walk: &Walk,
        position: u64,
        most: usize,
        part: &mut Part,
    ) -> Result<Option<u64>, Refusal> {
        let now = clock::unix_ms();
        let mut looked_at = 0;
        self.read(part.slot, |table| {
            let next = table.scan(position, |entry| {
                looked_at += 1;
                if walk.shows(entry, now) {
                    part.keys.push(Bytes::copy_from_slice(entry.key()));
                }
                if looked_at < most {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            });
            part.count += looked_at as u64;
            next
        })
    }

    /// Shows the table of a slot, if it may be read here.
    fn read<R>(&mut self, slot: Slot, look: impl FnOnce(&SlotTable) -> R) -> Result<R, Refusal> {
        let slots = &self.node.slots;
        let mut out = Out::default();
        let mut locked = slots.lock(slot);
        let led = locked.check_read(slots.context(), clock::now());
        match led {
            Err(Refusal::NotPrimary) if self.copies => {}
            led => led?,
        }
        let found = look(&locked.table);
        let newest = locked.table.newest();
        if led.is_ok() && newest > locked.committed() {
            let (context, token) = (slots.context(), self.waits.token());
            // Where too many wait, the token is dropped, and the answer counts as not confirmed.
            let waits = locked.wait(context, newest, Need::Committed, token, &mut out);
            waits.unwrap_or_else(|_| self.node.stats.reached(Limit::Waiters));
        }
        drop(locked);
        slots.perform(out);
        Ok(found)
    }

    /// Lets others have the thread after so much of one's own.
    async fn did(&mut self, steps: usize) {
        self.steps += steps;
        if self.steps >= STEPS_PER_TURN {
            self.steps = 0;
            tokio::task::yield_now().await;
        }
    }
}

/// How many copies hold a record, if this node leads the slot. One that is newer than all the slot
/// has is nowhere any more: then, as without one, the newest is meant.
fn copies_of(node: &Node, slot: Slot, version: Version) -> Result<(Version, usize), Refusal> {
    let locked = node.slots.lock(slot);
    let last = locked.last();
    let is_there = Version::ZERO < version && version <= last;
    if !is_there || locked.active_epoch().is_none() {
        // What is the newest is known to none but him who has the lease.
        locked.check_read(node.slots.context(), clock::now())?;
    }
    let version = if is_there { version } else { last };
    Ok((version, locked.copies_of(version)))
}

/// Gives the databases what they lack of these slots, as long as there is time. A slot of which
/// something is left is to be asked again.
async fn flushes(
    node: &Node,
    name: Option<&Bytes>,
    wanted: &[Wanted],
    patience: Duration,
) -> Vec<Part> {
    let name = name.map(|name| String::from_utf8_lossy(name).into_owned());
    let slots = wanted.iter().map(|(slot, _)| *slot).collect();
    let flushed = node.modes.flush(name, slots, patience).await;
    let part = |one: Flushed| {
        let end = match one.end {
            Ok(()) => End::Done,
            Err(routing::Refusal::TryAgain) => End::At(0),
            Err(routing::Refusal::ClusterDown) => End::Refused(Refusal::NoLease),
            Err(_) => End::Refused(Refusal::NotPrimary),
        };
        let mut part = Part::new(one.slot, end);
        part.count = one.keys;
        part.keys.extend(one.rejected.map(Bytes::from));
        part
    };
    flushed.into_iter().map(part).collect()
}

/// Empties a slot that this node leads: the one place where a slot is emptied because a client
/// wants everything to be gone. Nothing happened if it is refused; otherwise it has happened once
/// enough copies hold the record.
fn empty_slot(node: &Node, slot: Slot, waits: &mut Waits) -> Result<(), Refusal> {
    let slots = &node.slots;
    let mut out = Out::default();
    let mut locked = slots.lock(slot);
    locked.check_write(slots.context(), clock::now())?;
    let version = locked.next_version();
    let mut tx = Tx::new(&mut locked.table, Role::Primary, clock::unix_ms(), version);
    tx.clear();
    let effects = tx.finish().effects;
    let need = if effects.is_empty() {
        // That it was empty already is to stay true.
        Need::Committed
    } else {
        locked.append(slots.context(), Bytes::from(effects.into_bytes()), &mut out);
        Need::Copies(locked.placement().write_quorum)
    };
    let newest = locked.table.newest();
    if newest > locked.committed() {
        let (context, token) = (slots.context(), waits.token());
        // Where too many wait, the token is dropped, and the record counts as not confirmed.
        let waiting = locked.wait(context, newest, need, token, &mut out);
        waiting.unwrap_or_else(|_| node.stats.reached(Limit::Waiters));
    }
    drop(locked);
    slots.perform(out);
    Ok(())
}

fn end(done: Result<(), Refusal>) -> End {
    match done {
        Ok(()) => End::Done,
        Err(refusal) => End::Refused(refusal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use crate::store::tx::Expiry;
    use crate::store::{Kind, LedSlots, Mark};
    use routing::keyspace;

    fn change(node: &Node, key: &str, change: impl FnOnce(&mut Tx<'_>)) {
        let done = node.change(Slot::of(key.as_bytes()), change);
        assert!(done.is_some(), "a node alone leads every slot");
    }

    fn set(node: &Node, key: &str, expiry: Expiry) {
        change(node, key, |tx| tx.set(key.as_bytes(), b"v", expiry));
    }

    fn asked(node: &Node, question: &Question) -> Vec<Part> {
        let wanted: Vec<Wanted> = Slot::all().map(|slot| (slot, 0)).collect();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let timeouts = Timeouts::of(node);
        runtime.block_on(share(node, question, &wanted, false, timeouts))
    }

    fn count(node: &Node) -> u64 {
        let parts = asked(node, &Question::Count);
        assert!(parts.len() == 16_384 && parts.iter().all(|part| part.end == End::Done));
        parts.iter().map(|part| part.count).sum()
    }

    fn keys(parts: Vec<Part>) -> Vec<String> {
        let keys = parts.into_iter().flat_map(|part| part.keys);
        let mut keys: Vec<String> = keys
            .map(|key| String::from_utf8(key.to_vec()).unwrap())
            .collect();
        keys.sort();
        keys
    }

    fn walk(pattern: &'static str) -> Question {
        Question::Walk(Walk {
            pattern: Some(pattern.into()),
            kind: None,
            count: u32::MAX,
        })
    }

    #[test]
    fn what_is_not_there_is_neither_shown_nor_drawn() {
        let node = Node::alone(Settings::default());
        assert_eq!(keys(asked(&node, &Question::Sample)), [""; 0]);
        let now = clock::unix_ms();
        // More of them than are tried as a sample, and the one key that lives among them.
        for number in 0..600 {
            set(
                &node,
                &format!("{{slot}}gone:{number}"),
                Expiry::At(now - 1),
            );
        }
        set(&node, "{slot}apple", Expiry::At(now + 600_000));
        let clean = Mark::Clean {
            definition: 1,
            fresh_until: now + 600_000,
        };
        change(&node, "{slot}apex", |tx| {
            tx.put(b"{slot}apex", Kind::Absent, b"", None, clean);
        });
        assert_eq!(count(&node), 601);
        assert_eq!(keys(asked(&node, &walk("*"))), ["{slot}apple"]);
        assert_eq!(keys(asked(&node, &walk("*ap[a-e]*"))), [""; 0]);
        for _ in 0..20 {
            assert_eq!(keys(asked(&node, &Question::Sample)), ["{slot}apple"]);
        }
        assert!(asked(&node, &Question::Empty).iter().all(Part::is_good));
        assert_eq!((count(&node), keys(asked(&node, &walk("*"))).len()), (0, 0));
    }

    #[test]
    fn the_cache_modes_hear_once_of_all_slots_that_were_emptied() {
        let node = Node::alone(Settings::default());
        let users = r#"{"name": "u", "match": "u:*", "mode": "write-back", "store": "main"}"#;
        let document = keyspace::check(&[serde_json::from_str(users).unwrap()], &["main"]).unwrap();
        let heard = node.modes.emptied_during(document, || {
            asked(&node, &Question::Empty);
        });
        assert_eq!(heard, [16_384]);
    }

    #[test]
    fn copies_hold_the_record_that_is_meant() {
        let node = Node::alone(Settings::default());
        let slot = Slot::of(b"a");
        let copies = |version| copies_of(&node, slot, version);
        assert_eq!(copies(Version::ZERO), Ok((Version::ZERO, 1)));
        set(&node, "a", Expiry::Never);
        let (first, _) = copies(Version::ZERO).unwrap();
        assert!(first > Version::ZERO);
        set(&node, "a", Expiry::Never);
        let (second, _) = copies(Version::ZERO).unwrap();
        assert!(second > first);
        assert_eq!(copies(first), Ok((first, 1)));
        let undone = second.next(second.epoch()).unwrap();
        assert_eq!(copies(undone), Ok((second, 1)));
    }

    #[test]
    fn an_answer_has_a_bound_and_says_where_to_go_on() {
        let node = Node::alone(Settings::default());
        let long = "x".repeat(1 << 10);
        for number in 0..3_000 {
            set(&node, &format!("{{slot}}{number}:{long}"), Expiry::Never);
        }
        let parts = asked(&node, &walk("*"));
        let last = parts.last().unwrap();
        assert_eq!(last.slot, Slot::of(b"slot"), "no further slot is looked at");
        assert!(matches!(last.end, End::At(position) if position > 0));
        assert!((1_000..3_000).contains(&last.keys.len()));
    }
}
