//! Writes that never end, and what may have become of each of them.
//!
//! Each key has one writer, which writes greater and greater numbers to it, one after the other,
//! and learns with each what was there before. What is there must lie between the number that was
//! acknowledged last and the one that was attempted last, at every moment.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use cluster::{SLOTS, Slot};
use tests::harness::eventually;
use tests::tags::Tags;
use tests::trio::NODES;
use tests::wire::{Content, Frame};

use super::client::{Answer, Client};

/// How many connections write at the same time.
const WRITERS: u16 = 16;
/// How many keys each of them writes to in turn.
const KEYS: u16 = 128;
/// Longer than a node takes to say `UNCERTAIN`, so that it does.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);

/// Writers at work.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    writers: Vec<JoinHandle<Vec<Key>>>,
}

/// A key and what is known of it.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) slot: Slot,
    acknowledged: u64,
    attempted: u64,
}

impl Key {
    /// Whether this may be its value.
    #[track_caller]
    fn may_be(&self, value: u64) {
        assert!(
            (self.acknowledged..=self.attempted).contains(&value),
            "{value} is there, which is not one of {self:?}"
        );
    }
}

impl Load {
    /// Starts to write.
    pub(super) fn start(nodes: [SocketAddr; NODES], tags: &Arc<Tags>) -> Load {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let writer = |number| Writer {
            client: Client::new(nodes, REPLY_TIMEOUT),
            keys: slots_of(number)
                .map(|slot| Key::new(tags, slot, 0))
                .collect(),
            retired: Vec::new(),
            tags: Arc::clone(tags),
            acknowledged: Arc::clone(&acknowledged),
        };
        let start = |number| {
            let (mut writer, stop) = (writer(number), Arc::clone(&stop));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    writer.write_each();
                }
                [writer.keys, writer.retired].concat()
            })
        };
        let writers = (0..WRITERS).map(start).collect();
        let load = Load {
            stop,
            acknowledged,
            writers,
        };
        load.goes_on();
        load
    }

    /// Waits until every key could have been written once more.
    pub(super) fn goes_on(&self) {
        let more = self.acknowledged() + u64::from(WRITERS * KEYS);
        eventually("the load goes on", || {
            assert!(
                self.writers.iter().all(|writer| !writer.is_finished()),
                "a writer has seen what may not be"
            );
            (self.acknowledged() >= more).then_some(())
        });
    }

    /// How many writes have been acknowledged.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Ends the writes, and gives back all keys that were written to.
    pub(super) fn stop(mut self) -> Vec<Key> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.writers.drain(..).map(JoinHandle::join);
        let keys = ended.map(|keys| keys.expect("no writer has seen what may not be"));
        keys.flatten().collect()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // A test that has failed must not go on loading the machine.
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The slots of one writer: those of all of them are spread over the whole cluster.
fn slots_of(writer: u16) -> impl Iterator<Item = Slot> {
    let step = SLOTS / (WRITERS * KEYS);
    (0..KEYS).map(move |key| Slot::new((key * WRITERS + writer) * step).expect("it is below SLOTS"))
}

/// One connection's work.
struct Writer {
    client: Client,
    keys: Vec<Key>,
    /// Keys with a write that may lie unread somewhere and come after later ones.
    retired: Vec<Key>,
    tags: Arc<Tags>,
    acknowledged: Arc<AtomicU64>,
}

impl Writer {
    fn write_each(&mut self) {
        for index in 0..self.keys.len() {
            let key = &mut self.keys[index];
            let before = key.clone();
            key.attempted += 1;
            let value = key.attempted.to_string();
            let words = [b"SET", key.name.as_bytes(), value.as_bytes(), b"GET"];
            match self.client.ask(key.slot, &words) {
                Answer::Done(found) => {
                    before.may_be(number(&found));
                    key.acknowledged = key.attempted;
                    self.acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                Answer::Refused(_) => *key = before,
                Answer::Uncertain => {}
                Answer::Lost => {
                    let next = Key::new(&self.tags, key.slot, self.retired.len() + 1);
                    let lost = std::mem::replace(key, next);
                    self.retired.push(lost);
                }
            }
        }
    }
}

impl Key {
    fn new(tags: &Tags, slot: Slot, generation: usize) -> Key {
        Key {
            name: format!("load:{}:{generation}", tags.of(slot)),
            slot,
            acknowledged: 0,
            attempted: 0,
        }
    }
}

/// What there is of each key must be what it may be.
pub(super) fn nothing_is_missing(nodes: [SocketAddr; NODES], keys: &[Key]) {
    let mut client = Client::new(nodes, REPLY_TIMEOUT);
    for key in keys {
        let get = [b"GET", key.name.as_bytes()];
        let value = eventually("a key can be read", || match client.ask(key.slot, &get) {
            Answer::Done(reply) => Some(reply),
            _ => None,
        });
        key.may_be(number(&value));
    }
}

/// The number in a reply; 0 where there is none.
fn number(reply: &Frame) -> u64 {
    match &reply.content {
        Content::Null => 0,
        _ => {
            let text = reply.text().expect("a value is a text");
            let text = std::str::from_utf8(text).expect("a number is");
            text.parse().expect("numbers are written, nothing else")
        }
    }
}
