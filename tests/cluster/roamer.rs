//! Clients of a cluster whose nodes come and go: they follow `MOVED` to wherever it leads, write,
//! and take down what they saw.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cluster::{SLOTS, Slot};
use tests::harness::eventually;
use tests::tags::Tags;
use tests::wire::{Content, Frame, Wire, request};

/// How many connections write.
const WRITERS: usize = 4;
/// The keys of each, in as many slots.
const KEYS: usize = 256;
/// So many redirections are followed, as cluster clients do.
const REDIRECTIONS: usize = 16;
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections to whatever node a slot leads to.
pub(super) struct Roamer {
    wires: BTreeMap<SocketAddr, Wire>,
    led_by: Vec<SocketAddr>,
}

/// What a client cannot use as an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// An error that is no redirection.
    Error(String),
    /// The connection was lost before the reply.
    Lost,
}

impl Roamer {
    pub(super) fn new(first: SocketAddr) -> Roamer {
        Roamer {
            wires: BTreeMap::new(),
            led_by: vec![first; usize::from(SLOTS)],
        }
    }

    /// Asks whoever leads the slot.
    pub(super) fn ask(&mut self, slot: Slot, words: &[&[u8]]) -> Result<Frame, Trouble> {
        let request = request(words);
        for _ in 0..REDIRECTIONS {
            let address = self.led_by[slot.index()];
            let reply = self.exchange(address, &request);
            let reply = reply.ok_or(Trouble::Lost)?;
            if reply.kind != b'-' {
                return Ok(reply);
            }
            let error = String::from_utf8_lossy(reply.text().unwrap_or_default()).into_owned();
            let Some(to) = error.strip_prefix("MOVED ") else {
                return Err(Trouble::Error(error));
            };
            let to = to.split(' ').nth(1).expect("MOVED SLOT ADDRESS");
            self.led_by[slot.index()] = to.parse().expect("every node's address is one");
        }
        Err(Trouble::Error("too many redirections".to_owned()))
    }

    fn exchange(&mut self, address: SocketAddr, request: &[u8]) -> Option<Frame> {
        let wire = self.wires.remove(&address);
        let mut wire = match wire {
            Some(wire) => wire,
            None => Wire::connect_within(address, REPLY_TIMEOUT).ok()?,
        };
        wire.send(request).ok()?;
        let reply = wire.receive().ok()?;
        self.wires.insert(address, wire);
        Some(reply)
    }
}

/// What one key's value may be.
#[derive(Clone, Debug)]
struct Key {
    name: String,
    slot: Slot,
    acknowledged: u64,
    attempted: u64,
}

/// Writers that never rest, until they are stopped.
pub(super) struct Traffic {
    stops: Arc<AtomicBool>,
    /// How often each writer has written all of its keys.
    rounds: Arc<[AtomicU64; WRITERS]>,
    writers: Vec<JoinHandle<Writer>>,
}

struct Writer {
    roamer: Roamer,
    keys: Vec<Key>,
    seen: Seen,
}

/// What writers saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// When each write was answered, and how long that took.
    pub(super) times: Vec<(Instant, Duration)>,
    /// What they could not use.
    pub(super) troubles: Vec<Trouble>,
}

impl Seen {
    /// The span within which 99 of 100 writes between these moments were answered.
    pub(super) fn p99(&self, from: Instant, until: Instant) -> Duration {
        let between = self
            .times
            .iter()
            .filter(|(at, _)| (from..until).contains(at));
        let mut spans: Vec<Duration> = between.map(|(_, span)| *span).collect();
        spans.sort_unstable();
        assert!(spans.len() > 100, "too few writes to say: {}", spans.len());
        spans[spans.len() * 99 / 100]
    }
}

impl Traffic {
    /// Begins at a node; the writers find the others.
    pub(super) fn start(first: SocketAddr, tags: &Arc<Tags>) -> Traffic {
        let stops = Arc::new(AtomicBool::new(false));
        let rounds: Arc<[AtomicU64; WRITERS]> = Arc::default();
        let writer = |number: usize| {
            let (stops, tags) = (Arc::clone(&stops), Arc::clone(tags));
            let rounds = Arc::clone(&rounds);
            std::thread::spawn(move || {
                let mut writer = Writer::new(first, number, &tags);
                while !stops.load(Ordering::Relaxed) {
                    writer.write_each(&stops);
                    rounds[number].fetch_add(1, Ordering::Relaxed);
                }
                writer
            })
        };
        let writers = (0..WRITERS).map(writer).collect();
        Traffic {
            stops,
            rounds,
            writers,
        }
    }

    /// Waits until every key has been written since: its writer knows who leads its slot.
    pub(super) fn goes_round(&self) {
        let now = || {
            self.rounds
                .each_ref()
                .map(|rounds| rounds.load(Ordering::Relaxed))
        };
        let before = now();
        eventually("every key has been written", || {
            let mut both = before.iter().zip(now());
            both.all(|(before, now)| now >= before + 2).then_some(())
        });
    }

    /// Ends it, and looks whether each key has what it must have.
    pub(super) fn stop(self) -> Seen {
        self.stops.store(true, Ordering::Relaxed);
        let mut all = Seen::default();
        for writer in self.writers {
            let mut writer = writer.join().expect("a writer does not panic");
            writer.nothing_is_missing();
            all.times.append(&mut writer.seen.times);
            all.troubles.append(&mut writer.seen.troubles);
        }
        all
    }
}

impl Writer {
    fn new(first: SocketAddr, number: usize, tags: &Tags) -> Writer {
        let step = usize::from(SLOTS) / (WRITERS * KEYS);
        let key = |at: usize| {
            let slot = u16::try_from((at * WRITERS + number) * step).expect("below SLOTS");
            let slot = Slot::new(slot).expect("below SLOTS");
            Key {
                name: format!("roamer:{}", tags.of(slot)),
                slot,
                acknowledged: 0,
                attempted: 0,
            }
        };
        Writer {
            roamer: Roamer::new(first),
            keys: (0..KEYS).map(key).collect(),
            seen: Seen::default(),
        }
    }

    fn write_each(&mut self, stops: &AtomicBool) {
        for key in &mut self.keys {
            if stops.load(Ordering::Relaxed) {
                return;
            }
            key.attempted += 1;
            let value = key.attempted.to_string();
            let words: [&[u8]; 4] = [b"SET", key.name.as_bytes(), value.as_bytes(), b"GET"];
            let begun = Instant::now();
            match self.roamer.ask(key.slot, &words) {
                Ok(found) => {
                    key.may_be(&found, key.attempted - 1);
                    key.acknowledged = key.attempted;
                    self.seen.times.push((Instant::now(), begun.elapsed()));
                }
                Err(trouble) => self.seen.troubles.push(trouble),
            }
        }
    }

    fn nothing_is_missing(&mut self) {
        for key in &self.keys {
            let found = self.roamer.ask(key.slot, &[b"GET", key.name.as_bytes()]);
            let found = found.unwrap_or_else(|why| panic!("{key:?} cannot be read: {why:?}"));
            key.may_be(&found, key.attempted);
        }
    }
}

impl Key {
    /// What is found is what was acknowledged last, or something that was attempted after that.
    fn may_be(&self, found: &Frame, most: u64) {
        let number = match &found.content {
            Content::Null => 0,
            _ => {
                let text = std::str::from_utf8(found.text().unwrap_or_default());
                text.ok()
                    .and_then(|text| text.parse().ok())
                    .expect("a number")
            }
        };
        let possible = self.acknowledged..=most;
        assert!(possible.contains(&number), "{number} is none of {self:?}");
    }
}
