//! Every command answers as Redis does: one script a command, sent to Debian's redis-server and to
//! Quorate over RESP2 and RESP3, and the bytes of the replies compared. How a script is written is
//! said in [`script`].

mod compare;
mod script;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::harness::{Quorate, Redis, eventually};
use tests::wire::{Frame, Wire};

use script::{Script, Step, What};

/// `COMPAT=get` runs that script alone.
const ONE_SCRIPT: &str = "COMPAT";

#[test]
fn every_command_answers_as_redis_does() {
    let version = Command::new("redis-server")
        .arg("--version")
        .output()
        .unwrap();
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    assert!(
        version.contains(" v=7.0."),
        "the scripts are for Redis 7.0, not {version}"
    );

    let quorate = Quorate::start(&[]);
    let plain = Pair {
        redis: Redis::start(&[]),
        quorate: quorate.any_port,
    };
    let cluster = Pair {
        redis: redis_cluster(),
        quorate: quorate.cluster_port,
    };
    let only = std::env::var(ONE_SCRIPT).ok();
    let mut failures = Vec::new();
    for path in script_paths() {
        if only
            .as_deref()
            .is_some_and(|only| path.file_stem().unwrap() != only)
        {
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let script = Script::parse(&fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|error| panic!("{name}:{error}"));
        let pair = if script.cluster { &cluster } else { &plain };
        for protocol in [2, 3] {
            pair.run(&script, protocol, &mut |step, problem| {
                failures.push(format!("{name}:{} (RESP{protocol}): {problem}", step.line));
            });
        }
    }
    assert!(
        failures.is_empty(),
        "\n{}\n{} differences",
        failures.join("\n"),
        failures.len()
    );
}

/// Every script.
pub(crate) fn script_paths() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("compat");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    paths
}

/// A cluster of one that serves all slots.
fn redis_cluster() -> Redis {
    let redis = Redis::start(&["--cluster-enabled", "yes"]);
    let mut wire = Wire::connect(redis.address).unwrap();
    wire.ask(&[b"CLUSTER", b"ADDSLOTSRANGE", b"0", b"16383"])
        .unwrap();
    eventually("redis-server serves all slots", || {
        let info = wire.ask(&[b"CLUSTER", b"INFO"]).unwrap();
        info.shown().contains("cluster_state:ok").then_some(())
    });
    redis
}

struct Pair {
    redis: Redis,
    quorate: SocketAddr,
}

impl Pair {
    fn run(&self, script: &Script, protocol: u8, failed: &mut dyn FnMut(&Step, String)) {
        let mut redis = Side::new(self.redis.address, protocol);
        let mut quorate = Side::new(self.quorate, protocol);
        for step in &script.steps {
            if step.protocol.is_some_and(|only| only != protocol) {
                continue;
            }
            let theirs = redis.take(step);
            let ours = quorate.take(step);
            match (theirs, ours) {
                (Ok(theirs), Ok(ours)) => {
                    if let Some(difference) = compare::difference(step, &theirs, &ours) {
                        failed(step, difference);
                    }
                }
                (theirs, ours) => {
                    let shown = |side: io::Result<Vec<Frame>>| match side {
                        Ok(frames) => compare::shown(&frames),
                        Err(error) => error.to_string(),
                    };
                    let (theirs, ours) = (shown(theirs), shown(ours));
                    failed(
                        step,
                        format!("redis: {theirs}; quorate: {ours}; the rest not run"),
                    );
                    return;
                }
            }
        }
    }
}

/// One server, as the script's clients see it.
struct Side {
    address: SocketAddr,
    protocol: u8,
    clients: BTreeMap<String, Wire>,
    client: String,
}

impl Side {
    fn new(address: SocketAddr, protocol: u8) -> Side {
        let mut side = Side {
            address,
            protocol,
            clients: BTreeMap::new(),
            client: "one".to_owned(),
        };
        side.wire()
            .and_then(|wire| wire.ask(&[b"FLUSHALL"]))
            .expect("the server is there");
        side
    }

    fn wire(&mut self) -> io::Result<&mut Wire> {
        if !self.clients.contains_key(&self.client) {
            let mut wire = Wire::connect(self.address)?;
            if self.protocol == 3 {
                wire.ask(&[b"HELLO", b"3"])?;
            }
            self.clients.insert(self.client.clone(), wire);
        }
        Ok(self.clients.get_mut(&self.client).expect("it is there now"))
    }

    /// Does what the step says and returns the replies to it.
    fn take(&mut self, step: &Step) -> io::Result<Vec<Frame>> {
        match &step.what {
            What::Client(name) => {
                name.clone_into(&mut self.client);
                Ok(Vec::new())
            }
            What::Send { bytes, replies } => {
                let client = self.client.clone();
                let wire = self.wire()?;
                wire.send(bytes)?;
                let frames = (0..*replies)
                    .map(|_| wire.receive())
                    .collect::<io::Result<_>>()?;
                if step.closes {
                    wire.is_closed()?;
                    self.clients.remove(&client);
                }
                Ok(frames)
            }
        }
    }
}
