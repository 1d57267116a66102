//! A load of many keys, values of all sizes and a few kinds of commands.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tests::wire::{Wire, request};

/// Values are from this long to that long, each doubling as likely as the next.
const VALUE_BYTES: std::ops::RangeInclusive<f64> = 10.0..=100_000.0;
/// Requests that are sent at once.
const BATCH: usize = 16;
/// Errors that are kept; there should be none.
const ERRORS_MAX: usize = 8;

/// Who sends what.
#[derive(Clone, Copy)]
pub(super) struct Load {
    pub(super) address: SocketAddr,
    pub(super) keys: u32,
    pub(super) seed: u64,
}

/// What became of it.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) requests: u64,
    /// Requests that a machine too busy for its clusters did not serve in time.
    pub(super) late: u64,
    pub(super) errors: Vec<String>,
}

/// Whether an error is that a node does not hear others in time, which no memory is to blame for.
fn is_late(error: &str) -> bool {
    let late = ["-NOREPLICAS", "-CLUSTERDOWN", "-TRYAGAIN", "-UNCERTAIN"];
    late.iter().any(|beginning| error.starts_with(beginning))
}

pub(super) fn key(number: u32) -> String {
    format!("key:{number}")
}

impl Load {
    /// Sends for so long.
    pub(super) fn run(self, time: Duration) -> Done {
        let (end, mut done) = (Instant::now() + time, Done::default());
        let mut random = StdRng::seed_from_u64(self.seed);
        let mut wire = Wire::connect(self.address).unwrap();
        let payload = vec![b'v'; *VALUE_BYTES.end() as usize];
        while Instant::now() < end {
            let batch: Vec<u8> = (0..BATCH)
                .flat_map(|_| self.request(&mut random, &payload))
                .collect();
            wire.send(&batch).unwrap();
            for _ in 0..BATCH {
                let reply = wire.receive().unwrap();
                let late = reply.kind == b'-' && is_late(&reply.shown());
                done.late += u64::from(late);
                if reply.kind == b'-' && !late && done.errors.len() < ERRORS_MAX {
                    done.errors.push(reply.shown());
                }
                done.requests += 1;
            }
        }
        done
    }

    fn request(&self, random: &mut StdRng, payload: &[u8]) -> Vec<u8> {
        let key = key(random.random_range(0..self.keys));
        let key = key.as_bytes();
        match random.random_range(0..100) {
            0..40 => request(&[b"GET", key]),
            40..85 => {
                let (least, most) = VALUE_BYTES.into_inner();
                let bytes = least * (most / least).powf(random.random());
                let stamp = random.random::<u64>().to_be_bytes();
                let value = [&stamp[..], &payload[..bytes as usize - stamp.len()]].concat();
                // Each of them may go under a policy of those that expire, and none does by itself.
                let seconds = random.random_range(1_000..100_000).to_string();
                request(&[b"SET", key, &value, b"EX", seconds.as_bytes()])
            }
            85..92 => request(&[b"DEL", key]),
            _ => request(&[b"EXPIRE", key, b"5000"]),
        }
    }
}

/// Sends from several clients at once; what became of all of it.
pub(super) fn run_all(loads: Vec<Load>, time: Duration) -> Done {
    let threads: Vec<_> = loads
        .into_iter()
        .map(|load| std::thread::spawn(move || load.run(time)))
        .collect();
    let mut all = Done::default();
    for thread in threads {
        let done = thread.join().unwrap();
        all.requests += done.requests;
        all.late += done.late;
        all.errors.extend(done.errors);
    }
    all
}
