//! Clusters with a database behind them, which is looked at from outside.

mod broken;
mod full;
mod hashes;
mod killed;
mod load;
mod modes;
mod replaced;
mod split;
mod sqlite;
mod stopped;
mod transactions;

use std::net::SocketAddr;
use std::path::Path;

use tests::http;
use tests::local_cluster::LocalCluster;
use tests::wire::{Frame, Wire, request};

use self::sqlite::Sqlite;

/// The cluster of `make run`, and its database.
struct Stage {
    cluster: LocalCluster,
    database: Sqlite,
}

impl Stage {
    fn set() -> Stage {
        Stage::of(LocalCluster::start(3))
    }

    fn of(cluster: LocalCluster) -> Stage {
        let database = Sqlite::new(database_of(cluster.folder()));
        Stage { cluster, database }
    }

    /// A client of one node's any port.
    fn client(&self, node: usize) -> Client {
        Client::of(self.cluster.nodes[node].any_port)
    }

    /// A metric, of all nodes together.
    fn metric(&self, sample: &str) -> f64 {
        self.metrics(sample).iter().sum()
    }

    /// A metric, of each node. Every node has it.
    fn metrics(&self, sample: &str) -> Vec<f64> {
        self.of_each(sample, None)
    }

    /// The same of a counter that a node makes when it first counts: until then it is 0.
    fn counter(&self, sample: &str) -> f64 {
        self.of_each(sample, Some(0.0)).iter().sum()
    }

    fn of_each(&self, sample: &str, missing: Option<f64>) -> Vec<f64> {
        let of_node = |address| {
            let (_, text) = http::get(address, "/metrics").unwrap();
            let value = text
                .lines()
                .find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
            let value = value.map(|value| value.parse().unwrap()).or(missing);
            value.unwrap_or_else(|| panic!("no {sample} in\n{text}"))
        };
        let nodes = self.cluster.nodes.iter();
        nodes.map(|node| of_node(node.admin_port)).collect()
    }
}

fn database_of(folder: &Path) -> std::path::PathBuf {
    folder.join("data").join("quorate.db")
}

/// A plain client.
struct Client(Wire);

impl Client {
    fn of(address: SocketAddr) -> Client {
        Client(Wire::connect(address).unwrap())
    }

    /// The reply to a request without blanks in its words, as one line.
    fn say(&mut self, line: &str) -> String {
        self.send(&[line]);
        self.hear()
    }

    fn send(&mut self, lines: &[&str]) {
        let mut bytes = Vec::new();
        for line in lines {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            bytes.extend(request(&words));
        }
        self.0.send(&bytes).unwrap();
    }

    fn hear(&mut self) -> String {
        shown(&self.0.receive().unwrap())
    }
}

/// A reply: its text, `nil`, or `[…]`.
fn shown(frame: &Frame) -> String {
    match (frame.text(), frame.items()) {
        (Some(text), _) => String::from_utf8_lossy(text).into_owned(),
        (_, Some(items)) => {
            let items: Vec<String> = items.iter().map(shown).collect();
            format!("[{}]", items.join(" "))
        }
        _ => "nil".to_owned(),
    }
}
