//! Three nodes that are one cluster, and what is done to them.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::harness::{Process, eventually, folder, is_ready, quorate};
use crate::wire::Wire;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

/// How many nodes there are.
pub const NODES: usize = 3;

/// Every node has an address of its own, so that its ports are free whenever it starts again.
const CLUSTER_PORT: u16 = 6379;
const ANY_PORT: u16 = 6380;
const PEER_PORT: u16 = 16379;
const ADMIN_PORT: u16 = 9121;

/// One cluster at a time: what is measured is how long each takes, not how they share a machine.
pub(crate) static TURN: Mutex<()> = Mutex::new(());

/// Three nodes.
pub struct Trio {
    nodes: [Node; NODES],
    folder: TempDir,
    _turn: MutexGuard<'static, ()>,
}

struct Node {
    address: Ipv4Addr,
    starts: u32,
    process: Process,
}

impl Trio {
    /// Starts them, and waits until all are ready.
    ///
    /// # Panics
    /// If they are not ready in time, here and wherever something is awaited below.
    #[must_use]
    pub fn start() -> Trio {
        Trio::configured(|_| String::new())
    }

    /// The same with a configuration, which may name the folder of the test.
    #[must_use]
    pub fn configured(configuration: impl FnOnce(&Path) -> String) -> Trio {
        // A test that failed with the turn in its hands has left nothing behind.
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let (addresses, folder) = (free_addresses(), folder());
        let written = fs::write(configuration_of(&folder), configuration(folder.path()));
        written.expect("the test's folder can be written");
        let nodes = addresses.map(|address| Node {
            address,
            starts: 1,
            process: serve(address, &addresses, 1, &folder),
        });
        let trio = Trio {
            nodes,
            folder,
            _turn: turn,
        };
        trio.become_whole();
        trio
    }

    /// Where cluster-aware clients connect.
    pub fn cluster_ports(&self) -> [SocketAddr; NODES] {
        self.addresses()
            .map(|address| (address, CLUSTER_PORT).into())
    }

    /// Where plain clients of a node connect.
    pub fn any_port(&self, node: usize) -> SocketAddr {
        (self.nodes[node].address, ANY_PORT).into()
    }

    /// Where a node is watched.
    pub fn admin_port(&self, node: usize) -> SocketAddr {
        (self.nodes[node].address, ADMIN_PORT).into()
    }

    /// The folder of the test.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn addresses(&self) -> [Ipv4Addr; NODES] {
        [0, 1, 2].map(|node: usize| self.nodes[node].address)
    }

    /// Kills a node as `kill -9` does, and waits until it is gone.
    pub fn kill(&mut self, node: usize) {
        let process = &mut self.nodes[node].process;
        process.signal(Signal::KILL);
        process.ends();
    }

    /// Asks a node to stop, as a supervisor does.
    pub fn stop(&self, node: usize) {
        self.nodes[node].process.signal(Signal::TERM);
    }

    /// Waits until a node that was asked to stop has ended.
    pub fn ends(&mut self, node: usize) {
        self.nodes[node].process.ends();
    }

    /// Starts a node again with its data directory; its memory is empty.
    pub fn restart(&mut self, node: usize) {
        let addresses = self.addresses();
        let node = &mut self.nodes[node];
        node.starts += 1;
        node.process = serve(node.address, &addresses, node.starts, &self.folder);
    }

    /// Stops a node where it stands.
    pub fn pause(&self, node: usize) {
        self.nodes[node].process.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self, node: usize) {
        self.nodes[node].process.signal(Signal::CONT);
    }

    /// Waits until every node is ready and knows of all copies.
    pub fn become_whole(&self) {
        for node in 0..NODES {
            eventually(&format!("node {node} is ready, and no copy lacks"), || {
                is_ready(self.admin_port(node))?;
                let slots = &self.status(node)?["slots"];
                (slots["covered"] == 16384 && slots["short"] == 0).then_some(())
            });
        }
    }

    /// Waits until the other nodes count on nothing of this one any more.
    pub fn is_given_up(&self, node: usize) {
        for other in (0..NODES).filter(|other| *other != node) {
            eventually(
                &format!("node {other} knows that {node} holds nothing"),
                || {
                    let slots = &self.status(other)?["slots"];
                    (slots["covered"] == 16384 && slots["short"] == 16384).then_some(())
                },
            );
        }
    }

    /// Which node leads the metadata group; `None` while those that answer do not know.
    pub fn leader(&self) -> usize {
        eventually("the metadata group has a leader", || {
            let status = self.status(0).or_else(|| self.status(1))?;
            let nodes = status["nodes"].as_array()?;
            let leader = nodes.iter().find(|node| node["id"] == status["leader"])?;
            let host = leader["host"].as_str()?;
            self.nodes
                .iter()
                .position(|node| node.address.to_string() == host)
        })
    }

    /// What a node has logged since it was started last.
    pub fn log(&self, node: usize) -> String {
        self.nodes[node].process.stderr()
    }

    /// What a node says of the cluster.
    pub fn status(&self, node: usize) -> Option<Value> {
        let mut wire = Wire::connect(self.cluster_ports()[node]).ok()?;
        let reply = wire.ask(&[b"CLUSTER", b"STATUS"]).ok()?;
        serde_json::from_slice(reply.text()?).ok()
    }
}

fn configuration_of(folder: &TempDir) -> PathBuf {
    folder.path().join("quorate.toml")
}

fn serve(address: Ipv4Addr, all: &[Ipv4Addr], start: u32, folder: &TempDir) -> Process {
    let seeds = all.iter().map(|seed| format!("{seed}:{PEER_PORT}"));
    let name = format!("node-{}-start-{start}", address.octets()[3]);
    let data = folder.path().join(format!("data-{address}"));
    let mut command = quorate();
    command
        .args(["serve", "--bootstrap-expect", "3", "--threads", "1"])
        .args(["--bind", &address.to_string()])
        .args(["--port", &CLUSTER_PORT.to_string()])
        .args(["--any-port", &ANY_PORT.to_string()])
        .args(["--peer-port", &PEER_PORT.to_string()])
        .args(["--admin-port", &ADMIN_PORT.to_string()])
        .args(["--seed", &seeds.collect::<Vec<_>>().join(",")])
        .arg("--config")
        .arg(configuration_of(folder))
        .arg("--data")
        .arg(data);
    let mut process = Process::start(&name, &mut command, folder.path());
    let _ = process.line_after("quorate serves: ");
    process
}

/// Addresses of this machine on which nobody listens. The next cluster of another process draws
/// them by chance as well: there are sixty thousand networks.
fn free_addresses() -> [Ipv4Addr; NODES] {
    eventually("addresses are free", || {
        let [high, low] = rand::random::<[u8; 2]>();
        let addresses = [1, 2, 3].map(|last| Ipv4Addr::new(127, high.max(1), low, last));
        let is_free = |address: &Ipv4Addr| TcpListener::bind((*address, CLUSTER_PORT)).is_ok();
        addresses.iter().all(is_free).then_some(addresses)
    })
}
