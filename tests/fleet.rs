//! A cluster of as many nodes as a test wants, which join, drain, stop and come back.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Process, eventually, folder, is_ready, quorate, within};
use crate::trio::TURN;
use crate::wire::Wire;

/// Every node has an address of its own, so that its ports are free whenever it starts again.
const CLUSTER_PORT: u16 = 6379;
const ANY_PORT: u16 = 6380;
const PEER_PORT: u16 = 16379;
const ADMIN_PORT: u16 = 9121;

/// How long a cluster may take to come to rest.
const REST: Duration = Duration::from_secs(400);

/// The nodes, by number; one that has left keeps its number.
pub struct Fleet {
    nodes: Vec<Node>,
    founders: usize,
    network: [u8; 2],
    folder: TempDir,
    _turn: MutexGuard<'static, ()>,
}

struct Node {
    address: Ipv4Addr,
    starts: u32,
    process: Option<Process>,
}

/// Who holds a slot: the address of its primary, then those of its other copies.
pub type Placed = Vec<Vec<SocketAddr>>;

impl Fleet {
    /// Starts so many nodes with this configuration, and waits until all are ready.
    ///
    /// # Panics
    /// If they are not ready in time, here and wherever something is awaited below.
    #[must_use]
    pub fn start(founders: usize, configuration: &str) -> Fleet {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = folder();
        fs::write(folder.path().join("quorate.toml"), configuration)
            .expect("the test's folder can be written");
        let mut fleet = Fleet {
            nodes: Vec::new(),
            founders,
            network: free_network(),
            folder,
            _turn: turn,
        };
        for _ in 0..founders {
            fleet.launch();
        }
        fleet.comes_to_rest();
        fleet
    }

    /// One more node joins. Returns its number.
    pub fn join(&mut self) -> usize {
        self.launch();
        self.nodes.len() - 1
    }

    fn launch(&mut self) {
        let [high, low] = self.network;
        let last = u8::try_from(self.nodes.len() + 1).expect("a handful of nodes");
        let address = Ipv4Addr::new(127, high, low, last);
        let process = Some(self.serve(address, 1));
        self.nodes.push(Node {
            address,
            starts: 1,
            process,
        });
    }

    /// Starts a node again with its data directory; its memory is empty.
    pub fn restart(&mut self, node: usize) {
        let (address, starts) = (self.nodes[node].address, self.nodes[node].starts + 1);
        let process = Some(self.serve(address, starts));
        self.nodes[node] = Node {
            address,
            starts,
            process,
        };
    }

    fn serve(&self, address: Ipv4Addr, start: u32) -> Process {
        let [high, low] = self.network;
        let seeds = (1..=self.founders).map(|last| format!("127.{high}.{low}.{last}:{PEER_PORT}"));
        let last = address.octets()[3];
        let mut command = quorate();
        command
            .args(["serve", "--threads", "1"])
            .args(["--bootstrap-expect", &self.founders.to_string()])
            .args(["--bind", &address.to_string()])
            .args(["--port", &CLUSTER_PORT.to_string()])
            .args(["--any-port", &ANY_PORT.to_string()])
            .args(["--peer-port", &PEER_PORT.to_string()])
            .args(["--admin-port", &ADMIN_PORT.to_string()])
            .args(["--seed", &seeds.collect::<Vec<_>>().join(",")])
            .arg("--config")
            .arg(self.folder.path().join("quorate.toml"))
            .arg("--data")
            .arg(self.folder.path().join(format!("data-{last}")));
        let name = format!("node-{last}-start-{start}");
        let mut process = Process::start(&name, &mut command, self.folder.path());
        let _ = process.line_after("quorate serves: ");
        process
    }

    /// Kills a node as `kill -9` does, and waits until it is gone.
    pub fn kill(&mut self, node: usize) {
        self.ends_by(node, Signal::KILL);
    }

    /// Asks a node to stop, as a supervisor does, and waits until it has.
    pub fn stop(&mut self, node: usize) {
        self.ends_by(node, Signal::TERM);
    }

    fn ends_by(&mut self, node: usize, signal: Signal) {
        let mut process = self.nodes[node].process.take().expect("the node runs");
        process.signal(signal);
        process.ends();
    }

    /// Where cluster-aware clients of a node connect.
    #[must_use]
    pub fn cluster_port(&self, node: usize) -> SocketAddr {
        (self.nodes[node].address, CLUSTER_PORT).into()
    }

    /// The folder of the test.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The numbers of the nodes that run.
    pub fn running(&self) -> impl Iterator<Item = usize> + '_ {
        let runs = |(_, node): &(usize, &Node)| node.process.is_some();
        self.nodes.iter().enumerate().filter(runs).map(|(at, _)| at)
    }

    /// What a node says of the cluster.
    #[must_use]
    pub fn status(&self, node: usize) -> Option<Value> {
        let mut wire = Wire::connect(self.cluster_port(node)).ok()?;
        let reply = wire.ask(&[b"CLUSTER", b"STATUS"]).ok()?;
        serde_json::from_slice(reply.text()?).ok()
    }

    /// The id of a node, as another one that runs knows it.
    #[must_use]
    pub fn id(&self, node: usize) -> String {
        let host = self.nodes[node].address.to_string();
        eventually("the node is known", || {
            let asked = self.running().next().expect("a node runs");
            let status = self.status(asked)?;
            let mut nodes = status["nodes"].as_array()?.iter();
            let found = nodes.find(|known| known["host"] == host)?;
            Some(found["id"].as_str()?.to_owned())
        })
    }

    /// Runs `quorate cluster` on a node.
    #[must_use]
    pub fn operate(&self, node: usize, words: &[&str]) -> Output {
        let address = self.cluster_port(node).to_string();
        let mut command: Command = quorate();
        command.arg("cluster").args(words);
        command.args(["--node", &address]);
        command.output().expect("the program can be run")
    }

    /// Waits until all nodes that run are ready, all copies are there, and nothing is to move.
    pub fn comes_to_rest(&self) {
        for node in self.running() {
            within(REST, &format!("node {node} is ready"), || {
                is_ready((self.nodes[node].address, ADMIN_PORT).into())
            });
        }
        let asked = self.running().next().expect("a node runs");
        within(REST, "nothing is to move", || {
            let slots = &self.status(asked)?["slots"];
            let whole = slots["covered"] == 16384 && slots["short"] == 0 && slots["learning"] == 0;
            let plan = self.plan(asked)?;
            let left = ["copies", "primaries", "votes"].map(|what| plan[what].as_u64());
            (whole && left == [Some(0); 3]).then_some(())
        });
    }

    /// What a node says is still to move.
    #[must_use]
    pub fn plan(&self, node: usize) -> Option<Value> {
        let mut wire = Wire::connect(self.cluster_port(node)).ok()?;
        let reply = wire.ask(&[b"CLUSTER", b"PLAN"]).ok()?;
        serde_json::from_slice(reply.text()?).ok()
    }

    /// Who holds each slot.
    #[must_use]
    pub fn placed(&self) -> Placed {
        let asked = self.running().next().expect("a node runs");
        eventually("the slots can be listed", || {
            let mut wire = Wire::connect(self.cluster_port(asked)).ok()?;
            let reply = wire.ask(&[b"CLUSTER", b"SLOTS"]).ok()?;
            let mut placed = vec![Vec::new(); 16384];
            for range in reply.items()? {
                let parts = range.items()?;
                let (first, last) = (parts[0].integer()?, parts[1].integer()?);
                let holder = |part: &crate::wire::Frame| {
                    let part = part.items()?;
                    let host = std::str::from_utf8(part[0].text()?).ok()?;
                    let port = u16::try_from(part[1].integer()?).ok()?;
                    Some(SocketAddr::new(host.parse().ok()?, port))
                };
                let holders: Option<Vec<_>> = parts[2..].iter().map(holder).collect();
                for slot in first..=last {
                    placed[usize::try_from(slot).ok()?] = holders.clone()?;
                }
            }
            Some(placed)
        })
    }
}

/// How many slots each node leads, and how many it holds.
#[must_use]
pub fn loads(placed: &Placed) -> BTreeMap<SocketAddr, (usize, usize)> {
    let mut loads: BTreeMap<SocketAddr, (usize, usize)> = BTreeMap::new();
    for holders in placed {
        for (at, holder) in holders.iter().enumerate() {
            let load = loads.entry(*holder).or_default();
            load.0 += usize::from(at == 0);
            load.1 += 1;
        }
    }
    loads
}

/// A network of this machine's loopback addresses on which nobody listens. Other processes draw
/// theirs by chance as well: there are sixty thousand.
fn free_network() -> [u8; 2] {
    eventually("addresses are free", || {
        let [high, low] = rand::random::<[u8; 2]>();
        let high = high.max(1);
        let is_free = |last: u8| {
            TcpListener::bind((Ipv4Addr::new(127, high, low, last), CLUSTER_PORT)).is_ok()
        };
        (1..=8).all(is_free).then_some([high, low])
    })
}
