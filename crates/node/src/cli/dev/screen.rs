//! What `dev` says.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::Path;

use super::Arguments;
use super::children::{Children, Plan};

/// How many lines of its log a node that has ended leaves on the screen.
const LOG_LINES: usize = 5;
/// They are looked for in so many bytes.
const LOG_BYTES: u64 = 16 << 10;

/// All nodes that have started can be reached.
pub(super) fn started(children: &Children, arguments: &Arguments) {
    println!(
        "Quorate {}, on this machine alone\n",
        env!("CARGO_PKG_VERSION")
    );
    println!("  node  cluster port     any port         peer port        admin port       process");
    for (plan, line) in children.serving() {
        let address = |address: Option<SocketAddr>| {
            address.map_or_else(|| "-".to_owned(), |address| address.to_string())
        };
        println!(
            "  {:<4}  {:<15}  {:<15}  {:<15}  {:<15}  {}",
            plan.number,
            line.cluster_port.to_string(),
            line.any_port.to_string(),
            address(line.peer_port),
            address(line.admin_port),
            line.process
        );
    }
    if let Some((_, first)) = children.serving().next() {
        println!("\nTo connect:");
        println!(
            "  {:<24} clients that speak Redis Cluster",
            redis_cli("-c ", first.cluster_port)
        );
        println!("  {:<24} any other client", redis_cli("", first.any_port));
    }
    if arguments.config.is_none() {
        let data = arguments.data.display();
        println!("\nKeys with a database behind them ({data}/quorate.db; rules: {data}/dev.toml):");
        println!("  wt:*  write-through: in the database when the write is acknowledged");
        println!("  wb:*  write-back:    in the database a moment later");
        println!("  wa:*  write-around:  in the database; in the cache once it is read");
    }
    println!(
        "\nStarted with (log: {}):",
        arguments.data.join("N/quorate.log").display()
    );
    for (plan, _) in children.serving() {
        println!("  {}", plan.command_line());
    }
    println!("\nCtrl-C stops all nodes.");
}

fn redis_cli(options: &str, address: SocketAddr) -> String {
    format!("redis-cli {options}-p {}", address.port())
}

/// A node's process has ended.
pub(super) fn ended(plan: &Plan, process: u32, how: &str) {
    println!("\nNode {} (process {process}) {how}.", plan.number);
    let tail = log_tail(&plan.log);
    if !tail.is_empty() {
        println!("Its log, {}, ends with:", plan.log.display());
        for line in tail {
            println!("  {line}");
        }
    }
    println!("To start it again:\n  {}", plan.command_line());
}

fn log_tail(path: &Path) -> Vec<String> {
    let read = || -> io::Result<String> {
        let mut log = File::open(path)?;
        let length = log.metadata()?.len();
        log.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES)))?;
        let mut end = Vec::new();
        log.take(LOG_BYTES).read_to_end(&mut end)?;
        Ok(String::from_utf8_lossy(&end).into_owned())
    };
    let text = read().unwrap_or_default();
    let mut lines: Vec<String> = text
        .lines()
        .rev()
        .take(LOG_LINES)
        .map(str::to_owned)
        .collect();
    lines.reverse();
    lines
}

/// The nodes are asked to stop.
pub(super) fn stopping(nodes: usize) {
    let nodes = if nodes == 1 {
        "the node".to_owned()
    } else {
        format!("{nodes} nodes")
    };
    println!("\nStopping {nodes}. Ctrl-C again kills what still runs.");
}
