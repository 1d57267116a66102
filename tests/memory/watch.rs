//! What a node says of its memory, again and again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use tests::wire::Wire;

/// How often it is asked.
const EVERY: Duration = Duration::from_millis(10);

/// The numbers of a section of `INFO`.
pub(super) fn info(wire: &mut Wire, section: &str) -> BTreeMap<String, f64> {
    let reply = wire.ask(&[b"INFO", section.as_bytes()]).unwrap();
    let text = String::from_utf8_lossy(reply.text().unwrap()).into_owned();
    let field = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(field).collect()
}

/// The most that was seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Most {
    pub(super) used: f64,
    pub(super) resident: f64,
    /// `used_memory` over `maxmemory`.
    pub(super) of_limit: f64,
    pub(super) samples: u32,
}

/// Watches a node until it is asked what it saw.
pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Most>,
}

impl Watch {
    pub(super) fn on(address: SocketAddr) -> Watch {
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut wire = Wire::connect(address).unwrap();
            let mut most = Most::default();
            while !stopped.load(Relaxed) {
                let memory = info(&mut wire, "memory");
                let (used, limit) = (memory["used_memory"], memory["maxmemory"]);
                most.used = most.used.max(used);
                most.resident = most.resident.max(memory["used_memory_rss"]);
                most.of_limit = most.of_limit.max(used / limit);
                most.samples += 1;
                std::thread::park_timeout(EVERY);
            }
            most
        });
        Watch { stop, thread }
    }

    pub(super) fn ends(self) -> Most {
        self.stop.store(true, Relaxed);
        self.thread.thread().unpark();
        self.thread.join().unwrap()
    }
}
