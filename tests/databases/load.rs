//! Writes to a database keyspace that never end, and what may have become of each of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use tests::harness::{eventually, within};
use tests::trio::{NODES, Trio};
use tests::wire::Wire;

/// How many clients write, each to keys of its own.
const WRITERS: usize = 4;
const KEYS: usize = 6;

/// Clients that write greater and greater numbers to keys of their own.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    writers: Vec<JoinHandle<Vec<Key>>>,
}

/// A key and what is known of it.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) acknowledged: u64,
    pub(super) attempted: u64,
}

impl Load {
    /// The keys begin with `name`.
    pub(super) fn start(trio: &Trio, name: &str) -> Load {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let ports = [0, 1, 2].map(|node| trio.any_port(node));
        let writer = |number| {
            let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
            let name = format!("{name}:{number}");
            std::thread::spawn(move || write(&name, number, ports, &stop, &acknowledged))
        };
        Load {
            writers: (0..WRITERS).map(writer).collect(),
            stop,
            acknowledged,
        }
    }

    /// Waits until so many more writes are acknowledged.
    pub(super) fn goes_on(&self, more: u64) {
        let enough = self.acknowledged.load(Relaxed) + more;
        eventually("writes are acknowledged", || {
            (self.acknowledged.load(Relaxed) >= enough).then_some(())
        });
    }

    /// Returns all keys, each with what is known of it.
    pub(super) fn stop(&mut self) -> Vec<Key> {
        self.stop.store(true, Relaxed);
        let ended = self.writers.drain(..).map(|writer| writer.join().unwrap());
        ended.flatten().collect()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // A test that has failed must not go on loading the machine.
        self.stop.store(true, Relaxed);
    }
}

/// Writes until it is told to stop, by whichever node answers.
fn write(
    name: &str,
    number: usize,
    ports: [SocketAddr; NODES],
    stop: &AtomicBool,
    acknowledged: &AtomicU64,
) -> Vec<Key> {
    let key = |at| Key {
        name: format!("{name}:{at}"),
        acknowledged: 0,
        attempted: 0,
    };
    let mut keys: Vec<Key> = (0..KEYS).map(key).collect();
    let mut node = number % NODES;
    while !stop.load(Relaxed) {
        let wire = within(Duration::from_secs(60), "a node listens", || {
            node = (node + 1) % NODES;
            let wire = Wire::connect(ports[node]).ok();
            (wire.is_some() || stop.load(Relaxed)).then_some(wire)
        });
        let Some(mut wire) = wire else { break };
        while !stop.load(Relaxed) {
            if write_each(&mut wire, &mut keys, acknowledged).is_err() {
                break;
            }
        }
    }
    keys
}

/// Writes the next number to each key. An error that is a reply may mean anything.
fn write_each(wire: &mut Wire, keys: &mut [Key], acknowledged: &AtomicU64) -> std::io::Result<()> {
    for key in keys {
        key.attempted += 1;
        let (name, value) = (key.name.clone(), key.attempted.to_string());
        let reply = wire.ask(&[b"SET", name.as_bytes(), value.as_bytes()])?;
        if reply.kind == b'+' {
            key.acknowledged = key.attempted;
            acknowledged.fetch_add(1, Relaxed);
        }
    }
    Ok(())
}
