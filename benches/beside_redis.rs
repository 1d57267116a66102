//! Whole processes beside redis-server, on the same machine, in turn: requests a second, which the
//! client that takes part of the machine bounds as well, and the processor time that the servers
//! need for a million requests, which it does not. Medians of some rounds.
//!
//! First one node alone (`N = 1`) beside one redis-server, both asked by redis-benchmark. Then
//! writes that two of three copies hold: `W = 2` of three nodes, each asked for the slots that it
//! leads, beside a redis-server with two replicas and `WAIT 1` after each batch.

#![expect(clippy::print_stdout, reason = "a table is what this is for")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::fs;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::process::Command;
use std::thread;
use std::time::Instant;

use cluster::Slot;
use rustix::param::clock_ticks_per_second;
use tests::harness::{Quorate, Redis, eventually};
use tests::local_cluster::LocalCluster;
use tests::wire::{Frame, Wire, request};

const ROUNDS: usize = 3;
/// How many requests are sent at once, and how many there are in all.
const PIPELINES: [(usize, usize); 3] = [(1, 200_000), (16, 1_000_000), (64, 2_000_000)];
const KEYS: usize = 100_000;
const VALUE_BYTES: usize = 100;
/// Connections of the client that writes to copies: to each of three nodes the same number.
const WRITERS: usize = 15;
/// Batches of requests that such a connection has ready, to send them again and again.
const BATCHES: usize = 64;

fn main() {
    println!(
        "{:42}{:>22}{:>30}",
        "", "requests/s", "CPU s per million requests"
    );
    println!(
        "{:42}{:>11}{:>11}{:>17}{:>13}",
        "", "redis", "quorate", "redis", "quorate"
    );
    alone();
    with_copies();
}

/// What one run came to, or the median of some.
#[derive(Clone, Copy)]
struct Measured {
    per_second: f64,
    cpu_seconds: f64,
}

impl Measured {
    fn median(runs: &[Measured]) -> Measured {
        let middle = |of: fn(&Measured) -> f64| {
            let mut values: Vec<f64> = runs.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        Measured {
            per_second: middle(|run| run.per_second),
            cpu_seconds: middle(|run| run.cpu_seconds),
        }
    }
}

/// Measures both in turn, some times, and prints a line.
fn compare(what: &str, mut redis: impl FnMut() -> Measured, mut quorate: impl FnMut() -> Measured) {
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        theirs.push(redis());
        ours.push(quorate());
    }
    let (theirs, ours) = (Measured::median(&theirs), Measured::median(&ours));
    println!(
        "{what:42}{:>11.0}{:>11.0}{:>17.2}{:>13.2}",
        theirs.per_second, ours.per_second, theirs.cpu_seconds, ours.cpu_seconds
    );
}

/// Runs `load`, which says how many requests it made a second, and looks at what the servers used.
fn measure(servers: &[u32], requests: usize, load: impl FnOnce() -> f64) -> Measured {
    let before = cpu_seconds(servers);
    let per_second = load();
    let used = cpu_seconds(servers) - before;
    Measured {
        per_second,
        cpu_seconds: used * 1e6 / requests as f64,
    }
}

/// The processor time that these processes have had.
fn cpu_seconds(processes: &[u32]) -> f64 {
    let ticks = |process: &u32| -> f64 {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
        // The name before may contain anything.
        let (_, fields) = stat.rsplit_once(") ").expect("a name is in parentheses");
        let fields = fields.split(' ').skip(11).take(2);
        fields
            .map(|field| field.parse::<f64>().expect("a number of ticks"))
            .sum()
    };
    processes.iter().map(ticks).sum::<f64>() / clock_ticks_per_second() as f64
}

fn alone() {
    let redis = Redis::start(&[]);
    let quorate = Quorate::start(&["--log", "warn"]);
    println!("one node, no copies");
    for command in ["SET", "GET"] {
        for (pipeline, requests) in PIPELINES {
            let run = |address: SocketAddr, process: u32| {
                measure(&[process], requests, || {
                    redis_benchmark(address, command, pipeline, requests)
                })
            };
            compare(
                &format!("  {command} -P {pipeline}"),
                || run(redis.address, redis.process.id()),
                || run(quorate.any_port, quorate.process.id()),
            );
        }
    }
}

fn redis_benchmark(address: SocketAddr, command: &str, pipeline: usize, requests: usize) -> f64 {
    let output = Command::new("redis-benchmark")
        .args(["--csv", "-c", "50", "-t", &command.to_lowercase()])
        .args([
            "-p",
            &address.port().to_string(),
            "-P",
            &pipeline.to_string(),
        ])
        .args(["-n", &requests.to_string(), "-r", &KEYS.to_string()])
        .args(["-d", &VALUE_BYTES.to_string()])
        .output()
        .expect("redis-benchmark is installed: `tests/install`");
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .find_map(|line| {
            line.strip_prefix(&format!("\"{command}\",\""))?
                .split('"')
                .next()
        })
        .and_then(|rate| rate.parse().ok())
        .unwrap_or_else(|| panic!("redis-benchmark says {text:?}"))
}

fn with_copies() {
    let redis = Redis::start(&[]);
    let port = redis.address.port().to_string();
    let replica = ["--replicaof", "127.0.0.1", &port];
    let replicas = [Redis::start(&replica), Redis::start(&replica)];
    let mut client = Wire::connect(redis.address).expect("it serves");
    eventually("redis-server has two replicas", || {
        ask(&mut client, &["SET", "key", "value"]);
        let copies = ask(&mut client, &["WAIT", "2", "100"]).integer();
        (copies == Some(2)).then_some(())
    });
    let their_processes = [&redis, &replicas[0], &replicas[1]].map(|one| one.process.id());

    let quorate = LocalCluster::start(3);
    let our_processes: Vec<u32> = quorate
        .nodes
        .iter()
        .map(|node| node.process as u32)
        .collect();
    let led: Vec<_> = quorate
        .nodes
        .iter()
        .map(|node| led_by(node.cluster_port))
        .collect();

    println!("two of three copies before the reply");
    for (pipeline, requests) in PIPELINES {
        let requests = requests / 4;
        let their_writers = || {
            let wait = request(&[b"WAIT", b"1", b"0"]);
            let writer = |_| Writer::new(redis.address, pipeline, &|_| true, &wait);
            (0..WRITERS).map(writer).collect()
        };
        let our_writers = || {
            let writer = |number: usize| {
                let at = number % quorate.nodes.len();
                let ours = |slot: Slot| led[at].iter().any(|range| range.contains(&slot.number()));
                Writer::new(quorate.nodes[at].cluster_port, pipeline, &ours, b"")
            };
            (0..WRITERS).map(writer).collect()
        };
        compare(
            &format!("  SET -P {pipeline}, redis: and WAIT 1"),
            || {
                measure(&their_processes, requests, || {
                    write(their_writers(), requests)
                })
            },
            || measure(&our_processes, requests, || write(our_writers(), requests)),
        );
    }
}

fn ask(client: &mut Wire, words: &[&str]) -> Frame {
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    client.ask(&words).expect("the server answers")
}

/// The slots that a node leads.
fn led_by(node: SocketAddr) -> Vec<RangeInclusive<u16>> {
    let mut client = Wire::connect(node).expect("it serves");
    let ranges = ask(&mut client, &["CLUSTER", "SLOTS"]);
    let led = |range: &Frame| {
        let items = range.items()?;
        let number = |at: usize| u16::try_from(items[at].integer()?).ok();
        let primary = items[2].items()?[1].integer()?;
        (primary == i64::from(node.port())).then_some(number(0)?..=number(1)?)
    };
    ranges
        .items()
        .expect("a list of ranges")
        .iter()
        .filter_map(led)
        .collect()
}

/// One connection that writes.
struct Writer {
    wire: Wire,
    batches: Vec<Vec<u8>>,
    /// Requests that write, in one batch.
    pipeline: usize,
    replies: usize,
}

impl Writer {
    /// One that writes keys of the slots that are `led` there, and ends each batch with `end`.
    fn new(server: SocketAddr, pipeline: usize, led: &dyn Fn(Slot) -> bool, end: &[u8]) -> Writer {
        let value = [b'v'; VALUE_BYTES];
        let keys = (0..KEYS).map(|number| format!("key:{number:012}"));
        let mut keys = keys.filter(|key| led(Slot::of(key.as_bytes()))).cycle();
        let mut batch = || {
            let sets = keys.by_ref().take(pipeline);
            let sets = sets.flat_map(|key| request(&[b"SET", key.as_bytes(), &value]));
            sets.chain(end.iter().copied()).collect()
        };
        Writer {
            batches: (0..BATCHES).map(|_| batch()).collect(),
            wire: Wire::connect(server).expect("it serves"),
            pipeline,
            replies: pipeline + usize::from(!end.is_empty()),
        }
    }

    fn write(&mut self, requests: usize) {
        for batch in self.batches.iter().cycle().take(requests / self.pipeline) {
            self.wire.send(batch).expect("the server reads");
            for _ in 0..self.replies {
                let reply = self.wire.receive().expect("the server answers");
                assert!(reply.kind != b'-', "{}", reply.shown());
            }
        }
    }
}

/// Lets all of them write at once, and says how many requests that were a second.
fn write(writers: Vec<Writer>, requests: usize) -> f64 {
    let each = requests / writers.len();
    let begun = Instant::now();
    thread::scope(|scope| {
        for mut writer in writers {
            scope.spawn(move || writer.write(each));
        }
    });
    requests as f64 / begun.elapsed().as_secs_f64()
}
