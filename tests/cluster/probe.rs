//! Writes to every slot of a cluster: the honest way to say that all of them serve.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::Slot;
use tests::harness::within;
use tests::tags::Tags;
use tests::trio::NODES;
use tests::wire::{Wire, request};

use super::client::{Answer, Client};

/// So many writes go in one pipeline, and so many are in vain when a slot does not serve.
const BATCH: usize = 512;
/// Short, for one node may not answer at all; who does not is asked again elsewhere.
const REPLY_TIMEOUT: Duration = Duration::from_millis(500);

/// Has one key in each slot.
pub(super) struct Probe {
    client: Client,
    tags: Arc<Tags>,
    round: u64,
}

impl Probe {
    /// A probe that has written nothing yet.
    pub(super) fn new(nodes: [SocketAddr; NODES], tags: &Arc<Tags>) -> Probe {
        Probe {
            client: Client::new(nodes, REPLY_TIMEOUT),
            tags: Arc::clone(tags),
            round: 0,
        }
    }

    /// Writes to every slot until each write has been acknowledged, and returns how long after
    /// `since` that was.
    ///
    /// # Panics
    /// If it is more than `bound`.
    pub(super) fn every_slot_takes_a_write(&mut self, since: Instant, bound: Duration) -> Duration {
        self.round += 1;
        let value = self.round.to_string();
        let write = |slot| {
            let key = self.key(slot);
            (slot, request(&[b"SET", key.as_bytes(), value.as_bytes()]))
        };
        let mut waiting: Vec<(Slot, Vec<u8>)> = Slot::all().map(write).collect();
        let patience = bound.saturating_sub(since.elapsed());
        within(patience, "every slot takes a write", || {
            // As long as batches are acknowledged there is more to do at once.
            while !waiting.is_empty() {
                let batch = waiting.split_off(waiting.len().saturating_sub(BATCH));
                let answers = self.client.ask_each(&batch);
                let refused: Vec<_> = batch
                    .into_iter()
                    .zip(answers)
                    .filter(|(_, answer)| !matches!(answer, Answer::Done(_)))
                    .map(|(write, _)| write)
                    .collect();
                let is_over = refused.is_empty();
                // The others first: one that is refused now may be taken later.
                waiting.splice(0..0, refused);
                if !is_over {
                    return None;
                }
            }
            Some(())
        });
        since.elapsed()
    }

    /// Asks a node to write to every slot until it has refused each write, and returns how long
    /// after `since` that was. `MOVED` is a refusal as well: the others are dead.
    ///
    /// # Panics
    /// If a write is acknowledged, or it takes longer than `bound`.
    pub(super) fn every_slot_refuses_a_write(
        &self,
        node: SocketAddr,
        since: Instant,
        bound: Duration,
    ) -> Duration {
        let mut wire = Wire::connect_within(node, bound).unwrap();
        let mut waiting: Vec<Slot> = Slot::all().collect();
        let patience = bound.saturating_sub(since.elapsed());
        within(patience, "every slot refuses a write", || {
            let asked = std::mem::take(&mut waiting);
            for (slot, error) in asked.iter().zip(self.refused(&mut wire, &asked)) {
                if error.starts_with("UNCERTAIN") {
                    waiting.push(*slot);
                }
            }
            waiting.is_empty().then_some(())
        });
        since.elapsed()
    }

    /// Asks for writes to some slots by the any port, and returns how long the answers took. Each
    /// must say that the write was not executed.
    pub(super) fn any_port_refuses_writes(&self, any_port: SocketAddr) -> Duration {
        let mut wire = Wire::connect(any_port).unwrap();
        let asked_at = Instant::now();
        let some: Vec<Slot> = Slot::all().step_by(64).collect();
        for error in self.refused(&mut wire, &some) {
            assert!(!error.starts_with("UNCERTAIN"), "{error}");
        }
        asked_at.elapsed()
    }

    /// Writes to these slots, in one pipeline. Returns the errors.
    fn refused(&self, wire: &mut Wire, slots: &[Slot]) -> Vec<String> {
        let write = |slot: &Slot| {
            let key = format!("refused:{}", self.tags.of(*slot));
            request(&[b"SET", key.as_bytes(), b"v"])
        };
        wire.send(&slots.iter().flat_map(write).collect::<Vec<u8>>())
            .unwrap();
        let codes = [
            "NOREPLICAS ",
            "CLUSTERDOWN ",
            "TRYAGAIN ",
            "MOVED ",
            "UNCERTAIN ",
        ];
        let error = |_| {
            let reply = wire.receive().unwrap().shown();
            let error = reply.strip_prefix('-').unwrap_or_default().to_owned();
            assert!(codes.iter().any(|code| error.starts_with(code)), "{reply}");
            error
        };
        slots.iter().map(error).collect()
    }

    /// What each slot acknowledged last must still be there.
    pub(super) fn nothing_is_missing(&mut self) {
        let mut waiting: Vec<_> = Slot::all()
            .map(|slot| (slot, request(&[b"GET", self.key(slot).as_bytes()])))
            .collect();
        let expected = self.round.to_string();
        within(Duration::from_secs(20), "every slot is read", || {
            let answers = self.client.ask_each(&waiting);
            let mut refused = Vec::new();
            for (read, answer) in waiting.drain(..).zip(answers) {
                match answer {
                    Answer::Done(found) => {
                        assert_eq!(found.text(), Some(expected.as_bytes()), "{:?}", read.0);
                    }
                    _ => refused.push(read),
                }
            }
            waiting = refused;
            waiting.is_empty().then_some(())
        });
    }

    /// The names of its keys.
    pub(super) fn keys(&self) -> impl Iterator<Item = String> {
        Slot::all().map(|slot| self.key(slot))
    }

    fn key(&self, slot: Slot) -> String {
        format!("probe:{}", self.tags.of(slot))
    }
}

/// Waits until all nodes have the same values for these keys, by what each says of its own copy.
pub(super) fn members_become_equal(nodes: [SocketAddr; NODES], keys: &[String]) {
    within(Duration::from_secs(20), "all copies are equal", || {
        let [one, two, three] = nodes.map(|node| copy_of(node, keys));
        (one == two && two == three).then_some(())
    });
}

/// What a node's own copy says of these keys; `None` if it cannot be read.
fn copy_of(node: SocketAddr, keys: &[String]) -> Option<Vec<Vec<u8>>> {
    let mut wire = Wire::connect(node).ok()?;
    wire.ask(&[b"READONLY"]).ok()?;
    let mut values = Vec::with_capacity(keys.len());
    for keys in keys.chunks(BATCH) {
        let reads: Vec<_> = keys
            .iter()
            .map(|key| request(&[b"GET", key.as_bytes()]))
            .collect();
        wire.send(&reads.concat()).ok()?;
        for _ in keys {
            let reply = wire.receive().ok()?;
            assert_ne!(reply.kind, b'-', "{}", reply.shown());
            values.push(reply.text().unwrap_or_default().to_vec());
        }
    }
    Some(values)
}
