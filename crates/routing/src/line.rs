//! The lines: per key, at the primary, in memory; first come, first served.
//!
//! What waits for the database holds its turn, so that the statements of one key leave in order
//! and a slot's lock is never held across a wait. A command takes the lines of all its keys in the
//! order of their bytes, so that no two wait for each other.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use cluster::{SLOTS, Slot};

use crate::signal::Signal;

/// All lines of a node.
#[derive(Clone)]
pub(crate) struct Lines(Rc<Inner>);

struct Inner {
    lines: RefCell<BTreeMap<Bytes, VecDeque<Rc<Ticket>>>>,
    next: Cell<u64>,
    held: HeldLines,
}

/// How many commands stand in line for plain keys, by slot: readable from every thread.
///
/// A write of a plain key that runs elsewhere looks here, under the slot's lock, and takes its
/// place in the line instead if the number is not zero: commands over several keys, of which some
/// have a database, hold the lines of plain ones too.
#[derive(Clone, Debug)]
pub struct HeldLines(Arc<[AtomicU32]>);

struct Ticket {
    number: u64,
    slot: Slot,
    is_plain: bool,
    moved: Signal,
    lost: Cell<bool>,
}

/// A place in the line of a key; leaving it lets the next one go on.
pub(crate) struct Turn {
    lines: Lines,
    key: Bytes,
    ticket: Rc<Ticket>,
}

impl Default for HeldLines {
    fn default() -> HeldLines {
        HeldLines((0..SLOTS).map(|_| AtomicU32::new(0)).collect())
    }
}

impl HeldLines {
    /// Whether any command stands in line for a plain key of the slot.
    #[must_use]
    pub fn any(&self, slot: Slot) -> bool {
        self.0[slot.index()].load(Ordering::Acquire) > 0
    }
}

impl Lines {
    pub(crate) fn new(held: HeldLines) -> Lines {
        Lines(Rc::new(Inner {
            lines: RefCell::default(),
            next: Cell::new(0),
            held,
        }))
    }

    /// Takes a turn for each key, which must come in the order of their bytes, without a key
    /// twice. `None` if the slot was lost meanwhile. A caller that gives up drops the future.
    /// `is_plain` says which of them are written on other threads as well.
    pub(crate) async fn take(
        &self,
        slot: Slot,
        keys: &[Bytes],
        is_plain: impl Fn(&Bytes) -> bool,
    ) -> Option<Vec<Turn>> {
        debug_assert!(keys.is_sorted());
        let mut turns = Vec::with_capacity(keys.len());
        for key in keys {
            let turn = self.enter(slot, key, is_plain(key));
            turn.ticket.moved.wait().await;
            if turn.ticket.lost.get() {
                return None;
            }
            turns.push(turn);
        }
        Some(turns)
    }

    /// Whether nobody stands in the line of the key.
    pub(crate) fn is_free(&self, key: &Bytes) -> bool {
        !self.0.lines.borrow().contains_key(key)
    }

    /// Those who wait for a key of the slots need wait no longer: they have other primaries.
    pub(crate) fn lose(&self, slots: &BTreeSet<Slot>) {
        let lines = self.0.lines.borrow();
        let waiting: Vec<_> = lines
            .values()
            .flat_map(|line| line.iter().skip(1))
            .filter(|ticket| slots.contains(&ticket.slot))
            .cloned()
            .collect();
        drop(lines);
        for ticket in waiting {
            ticket.lost.set(true);
            ticket.moved.fire();
        }
    }

    fn enter(&self, slot: Slot, key: &Bytes, is_plain: bool) -> Turn {
        if is_plain {
            self.0.held.0[slot.index()].fetch_add(1, Ordering::AcqRel);
        }
        let number = self.0.next.replace(self.0.next.get() + 1);
        let ticket = Rc::new(Ticket {
            number,
            slot,
            is_plain,
            moved: Signal::default(),
            lost: Cell::new(false),
        });
        let mut lines = self.0.lines.borrow_mut();
        let line = lines.entry(key.clone()).or_default();
        line.push_back(Rc::clone(&ticket));
        if line.len() == 1 {
            ticket.moved.fire();
        }
        Turn {
            lines: self.clone(),
            key: key.clone(),
            ticket,
        }
    }

    fn leave(&self, key: &Bytes, ticket: &Ticket) {
        let next = {
            let mut lines = self.0.lines.borrow_mut();
            let Some(line) = lines.get_mut(key) else {
                return;
            };
            let Some(at) = line.iter().position(|found| found.number == ticket.number) else {
                return;
            };
            line.remove(at);
            let next = (at == 0).then(|| line.front().cloned()).flatten();
            if line.is_empty() {
                lines.remove(key);
            }
            next
        };
        if ticket.is_plain {
            self.0.held.0[ticket.slot.index()].fetch_sub(1, Ordering::AcqRel);
        }
        if let Some(next) = next {
            next.moved.fire();
        }
    }
}

impl Turn {
    /// What leaves the line in the holder's stead, when a write makes a load void.
    pub(crate) fn release(&self) -> impl Fn() + 'static {
        let (lines, key, ticket) = (
            self.lines.clone(),
            self.key.clone(),
            Rc::clone(&self.ticket),
        );
        move || lines.leave(&key, &ticket)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.lines.leave(&self.key, &self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn key(name: &'static str) -> Bytes {
        Bytes::from_static(name.as_bytes())
    }

    fn lines() -> (Lines, HeldLines) {
        let held = HeldLines::default();
        (Lines::new(held.clone()), held)
    }

    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        future.now_or_never()
    }

    #[test]
    fn first_come_first_served_and_leaving_lets_the_next_go() {
        let (lines, held) = lines();
        let slot = Slot::of(b"a");
        let first = now(lines.take(slot, &[key("a")], |_| true))
            .unwrap()
            .unwrap();
        assert!(held.any(slot));
        let (a, b) = ([key("a")], [key("a")]);
        let mut second = Box::pin(lines.take(slot, &a, |_| true));
        let mut third = Box::pin(lines.take(slot, &b, |_| true));
        assert!(now(&mut second).is_none() && now(&mut third).is_none());
        drop(first);
        assert!(now(&mut third).is_none(), "it came later");
        let second = now(&mut second).unwrap().unwrap();
        drop(second);
        drop(now(&mut third).unwrap().unwrap());
        assert!(!held.any(slot), "nobody is left");
    }

    #[test]
    fn who_gives_up_holds_up_nobody() {
        let (lines, _) = lines();
        let slot = Slot::of(b"a");
        let first = now(lines.take(slot, &[key("b")], |_| true))
            .unwrap()
            .unwrap();
        let keys = [key("a"), key("b")];
        let mut second = Box::pin(lines.take(slot, &keys, |_| true));
        assert!(now(&mut second).is_none());
        let a = [key("a")];
        let mut third = Box::pin(lines.take(slot, &a, |_| true));
        assert!(
            now(&mut third).is_none(),
            "the second one holds a while it waits for b"
        );
        drop(second);
        assert!(now(&mut third).unwrap().is_some());
        drop(first);
    }

    #[test]
    fn those_who_wait_hear_that_the_slot_is_lost() {
        let (lines, held) = lines();
        let slot = Slot::of(b"a");
        let first = now(lines.take(slot, &[key("a")], |_| true))
            .unwrap()
            .unwrap();
        let a = [key("a")];
        let mut second = Box::pin(lines.take(slot, &a, |_| true));
        assert!(now(&mut second).is_none());
        lines.lose(&[slot].into());
        assert!(now(&mut second).unwrap().is_none());
        drop(second);
        drop(first);
        assert!(!held.any(slot));
    }
}
