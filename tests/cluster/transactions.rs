//! Counters and accounts that transactions change while nodes are killed.
//!
//! A counter is read and written back under `WATCH`, by several clients at once: every value that
//! was acknowledged was acknowledged to one client alone, whoever led the slot. Money goes from one
//! account to another in one transaction: whoever looks sees all of it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use cluster::Slot;
use tests::harness::eventually;
use tests::tags::Tags;
use tests::trio::{NODES, Trio};
use tests::wire::{Content, Frame, Wire};

/// Slots with a counter and two accounts each, spread over all nodes.
const PLACES: u16 = 12;
/// Clients that change each of them.
const CLIENTS: usize = 4;
/// In both accounts together.
const MONEY: u64 = 1_000;
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// A counter and two accounts in one slot.
#[derive(Clone)]
struct Place {
    counter: String,
    from: String,
    to: String,
}

impl Place {
    fn new(tags: &Tags, number: u16) -> Place {
        let slot = Slot::new(number * 1_365).expect("it is below SLOTS");
        let tag = tags.of(slot);
        Place {
            counter: format!("counter:{tag}"),
            from: format!("from:{tag}"),
            to: format!("to:{tag}"),
        }
    }
}

/// What a client knows of its transaction.
#[derive(Debug, PartialEq)]
enum Outcome {
    Done,
    /// A watched key had changed, or nobody served the slot.
    NotDone,
    Unknown,
}

/// A client that goes to the next node when one does not answer.
struct Client {
    nodes: [SocketAddr; NODES],
    node: usize,
    wire: Option<Wire>,
}

impl Client {
    fn new(nodes: [SocketAddr; NODES], node: usize) -> Client {
        let wire = None;
        Client { nodes, node, wire }
    }

    /// None: no reply came, and this connection is over.
    fn ask(&mut self, words: &[&[u8]]) -> Option<Frame> {
        let wire = match self.wire.take() {
            Some(wire) => Ok(wire),
            None => Wire::connect_within(self.nodes[self.node], REPLY_TIMEOUT),
        };
        let asked = wire.and_then(|mut wire| {
            let reply = wire.ask(words)?;
            self.wire = Some(wire);
            Ok(reply)
        });
        if asked.is_err() {
            self.node = (self.node + 1) % NODES;
        }
        asked.ok()
    }

    /// A step whose failure means that nothing was done.
    fn step(&mut self, words: &[&[u8]]) -> Option<Frame> {
        let reply = self.ask(words)?;
        if reply.kind == b'-' {
            // Whatever was begun ends.
            self.ask(&[b"RESET"]);
            return None;
        }
        Some(reply)
    }

    fn exec(&mut self) -> Outcome {
        let Some(reply) = self.ask(&[b"EXEC"]) else {
            return Outcome::Unknown;
        };
        match (&reply.content, reply.kind) {
            (Content::Null, _) => Outcome::NotDone,
            (_, b'-') if reply.shown().starts_with("-UNCERTAIN") => Outcome::Unknown,
            (_, b'-') => Outcome::NotDone,
            _ => Outcome::Done,
        }
    }

    /// Adds one to the counter, and returns what it came to.
    fn count(&mut self, place: &Place) -> Option<(u64, Outcome)> {
        let key = place.counter.as_bytes();
        self.step(&[b"WATCH", key])?;
        let next = number(&self.step(&[b"GET", key])?) + 1;
        self.step(&[b"MULTI"])?;
        self.step(&[b"SET", key, next.to_string().as_bytes()])?;
        Some((next, self.exec()))
    }

    /// Moves money, unless there is none.
    fn transfer(&mut self, place: &Place) -> Option<Outcome> {
        let (from, to) = (place.from.as_bytes(), place.to.as_bytes());
        self.step(&[b"WATCH", from, to])?;
        let both = balances(&self.step(&[b"MGET", from, to])?);
        let (rich, poor) = if both.0 > both.1 {
            (from, to)
        } else {
            (to, from)
        };
        self.step(&[b"MULTI"])?;
        self.step(&[b"DECRBY", rich, b"7"])?;
        self.step(&[b"INCRBY", poor, b"7"])?;
        Some(self.exec())
    }

    /// What somebody sees who looks at both accounts, once in a transaction and once without.
    fn look(&mut self, place: &Place) -> Option<()> {
        let (from, to) = (place.from.as_bytes(), place.to.as_bytes());
        let both = balances(&self.step(&[b"MGET", from, to])?);
        assert_eq!(both.0 + both.1, MONEY, "{both:?} without a transaction");
        self.step(&[b"MULTI"])?;
        self.step(&[b"GET", from])?;
        self.step(&[b"GET", to])?;
        let both = balances(&self.step(&[b"EXEC"])?);
        assert_eq!(both.0 + both.1, MONEY, "{both:?} in a transaction");
        Some(())
    }
}

fn number(frame: &Frame) -> u64 {
    match &frame.content {
        Content::Null => 0,
        _ => {
            let text = frame.text().expect("a value is a text");
            std::str::from_utf8(text).unwrap().parse().unwrap()
        }
    }
}

fn balances(frame: &Frame) -> (u64, u64) {
    let items = frame.items().expect("two values");
    (number(&items[0]), number(&items[1]))
}

/// What one client did to one counter.
#[derive(Default)]
struct Counted {
    acknowledged: Vec<u64>,
    unknown: u64,
}

/// Starts the clients of all places.
fn start(
    trio: &Trio,
    places: &[Place],
    stop: &Arc<AtomicBool>,
    done: &Arc<AtomicU64>,
) -> Vec<JoinHandle<Vec<Counted>>> {
    let nodes = [0, 1, 2].map(|node| trio.any_port(node));
    let client = |number: usize| {
        let (places, stop, done) = (places.to_vec(), Arc::clone(stop), Arc::clone(done));
        std::thread::spawn(move || {
            let mut client = Client::new(nodes, number % NODES);
            let mut counted: Vec<Counted> = places.iter().map(|_| Counted::default()).collect();
            while !stop.load(Relaxed) {
                for (place, counted) in places.iter().zip(&mut counted) {
                    match client.count(place) {
                        Some((value, Outcome::Done)) => {
                            counted.acknowledged.push(value);
                            done.fetch_add(1, Relaxed);
                        }
                        Some((_, Outcome::Unknown)) => counted.unknown += 1,
                        Some((_, Outcome::NotDone)) | None => {}
                    }
                    client.transfer(place);
                    client.look(place);
                }
            }
            counted
        })
    };
    (0..CLIENTS).map(client).collect()
}

fn goes_on(done: &AtomicU64, clients: &[JoinHandle<Vec<Counted>>]) {
    let more = done.load(Relaxed) + 200;
    eventually("transactions go on", || {
        let all_run = clients.iter().all(|client| !client.is_finished());
        assert!(all_run, "a client has seen what may not be");
        (done.load(Relaxed) >= more).then_some(())
    });
}

#[test]
fn no_transaction_is_lost_or_torn_while_nodes_are_killed() {
    let (mut trio, tags) = (Trio::start(), Tags::find());
    let places: Vec<Place> = (0..PLACES)
        .map(|number| Place::new(&tags, number))
        .collect();
    let mut client = Client::new([0, 1, 2].map(|node| trio.any_port(node)), 0);
    for place in &places {
        let half = (MONEY / 2).to_string();
        let (from, to, half) = (place.from.as_bytes(), place.to.as_bytes(), half.as_bytes());
        eventually("the money is there", || {
            client.step(&[b"MSET", from, half, to, half])
        });
    }
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::default());
    let clients = start(&trio, &places, &stop, &done);
    goes_on(&done, &clients);
    for node in 0..NODES {
        trio.kill(node);
        goes_on(&done, &clients);
        trio.restart(node);
        trio.become_whole();
        goes_on(&done, &clients);
    }
    stop.store(true, Relaxed);
    let counted: Vec<Vec<Counted>> = clients
        .into_iter()
        .map(|client| client.join().expect("no client has seen what may not be"))
        .collect();
    for (number, place) in places.iter().enumerate() {
        let of_place = || counted.iter().map(|of_client| &of_client[number]);
        let acknowledged: Vec<u64> = of_place()
            .flat_map(|counted| counted.acknowledged.iter().copied())
            .collect();
        let once: BTreeSet<u64> = acknowledged.iter().copied().collect();
        assert_eq!(once.len(), acknowledged.len(), "an update was lost");
        let key = place.counter.as_bytes();
        let found = eventually("the counter can be read", || client.step(&[b"GET", key]));
        let (found, least) = (self::number(&found), acknowledged.len() as u64);
        let most = least + of_place().map(|counted| counted.unknown).sum::<u64>();
        assert!(
            (least..=most).contains(&found),
            "{found} is not in {least}..={most}"
        );
        eventually("the accounts can be read", || client.look(place));
    }
}
