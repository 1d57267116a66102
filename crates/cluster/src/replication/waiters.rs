//! Replies that wait until what they say cannot be undone.

use std::collections::VecDeque;

use crate::Version;

/// What a reply waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A read, or a write command that changed nothing: what it met is committed.
    Committed,
    /// A write: this many copies hold it, in each set in force, and it is committed.
    Copies(u8),
}

/// What became of a reply that waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It may go out.
    Done,
    /// The write may show up at any later time, or never: `UNCERTAIN`.
    Uncertain,
    /// The read saw what may be undone: `TRYAGAIN`.
    TryAgain,
}

/// The owner's hold on a reply that waits.
pub trait Token {
    /// Whether nobody waits for the reply any more.
    fn is_gone(&self) -> bool;
}

/// The waiting replies of one slot, in the order of the versions that they wait for.
#[derive(Debug)]
pub(crate) struct Waiters<K> {
    reads: VecDeque<(Version, K)>,
    writes: VecDeque<(Version, u8, K)>,
}

impl<K> Default for Waiters<K> {
    fn default() -> Waiters<K> {
        Waiters {
            reads: VecDeque::new(),
            writes: VecDeque::new(),
        }
    }
}

impl<K> Waiters<K> {
    pub(crate) fn len(&self) -> usize {
        self.reads.len() + self.writes.len()
    }

    pub(crate) fn push(&mut self, version: Version, need: Need, token: K) {
        match need {
            Need::Committed => {
                let at = self.reads.partition_point(|(known, _)| *known <= version);
                self.reads.insert(at, (version, token));
            }
            Need::Copies(copies) => {
                let at = self.writes.partition_point(|(known, ..)| *known <= version);
                self.writes.insert(at, (version, copies, token));
            }
        }
    }

    /// Whether none waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.reads.is_empty() && self.writes.is_empty()
    }

    /// Lets go what `committed` allows. `held(n)` is the greatest version that `n` copies hold.
    pub(crate) fn release(
        &mut self,
        committed: Version,
        held: impl Fn(u8) -> Version,
        released: &mut Vec<(K, Outcome)>,
    ) {
        while self
            .reads
            .front()
            .is_some_and(|(version, _)| *version <= committed)
        {
            let (_, token) = self.reads.pop_front().expect("looked at just now");
            released.push((token, Outcome::Done));
        }
        let mut index = 0;
        while let Some((version, copies, _)) = self.writes.get(index) {
            if *version > committed {
                break;
            }
            if *version <= held(*copies) {
                let (_, _, token) = self.writes.remove(index).expect("looked at just now");
                released.push((token, Outcome::Done));
            } else {
                // One that asks for more copies than the others does not hold them up.
                index += 1;
            }
        }
    }

    /// The epoch is over: nobody knows what becomes of them.
    pub(crate) fn give_up(&mut self, released: &mut Vec<(K, Outcome)>) {
        released.extend(
            self.reads
                .drain(..)
                .map(|(_, token)| (token, Outcome::TryAgain)),
        );
        released.extend(
            self.writes
                .drain(..)
                .map(|(_, _, token)| (token, Outcome::Uncertain)),
        );
    }

    /// Lets all go as if what they wait for had come, which only a broken protocol does.
    pub(crate) fn release_all(&mut self, released: &mut Vec<(K, Outcome)>) {
        let reads = self.reads.drain(..).map(|(_, token)| token);
        released.extend(reads.map(|token| (token, Outcome::Done)));
        let writes = self.writes.drain(..).map(|(_, _, token)| token);
        released.extend(writes.map(|token| (token, Outcome::Done)));
    }

    /// Forgets those whose owner has stopped waiting.
    pub(crate) fn forget_gone(&mut self)
    where
        K: Token,
    {
        self.reads.retain(|(_, token)| !token.is_gone());
        self.writes.retain(|(_, _, token)| !token.is_gone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Epoch;

    #[test]
    fn each_reply_waits_for_its_own_need() {
        let v = |seq| Version::new(Epoch(1), seq);
        let mut waiters = Waiters::default();
        waiters.push(v(1), Need::Copies(3), "three copies");
        waiters.push(v(3), Need::Committed, "late read");
        waiters.push(v(2), Need::Copies(2), "write");
        waiters.push(v(1), Need::Committed, "read");
        let mut released = Vec::new();
        let held = |copies| if copies <= 2 { v(2) } else { v(0) };
        waiters.release(v(2), held, &mut released);
        assert_eq!(
            released,
            [("read", Outcome::Done), ("write", Outcome::Done)]
        );
        released.clear();
        waiters.give_up(&mut released);
        assert_eq!(
            released,
            [
                ("late read", Outcome::TryAgain),
                ("three copies", Outcome::Uncertain)
            ]
        );
    }
}
