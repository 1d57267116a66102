//! The settings of a process, with their defaults. `deploy/quorate.toml` explains each of them to
//! whoever runs a node; a test keeps it equal to this file.

mod balance;
mod failover;
mod gossip;
mod memory;
mod metadata;
mod packed;
mod peers;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use cluster::metadata::OnLoss;
use routing::keyspace::{KeyspaceSettings, StoreSettings};
use routing::quantity::{Size, Span};
use serde::{Deserialize, Serialize};

use super::values::{self, LogFilter, LogFormat, Seeds};

pub use balance::Balance;
pub use failover::Failover;
pub use gossip::Gossip;
pub use memory::Memory;
pub use metadata::Metadata;
pub use packed::Packed;
pub use peers::Peers;

/// Everything that can be set. Once [`super::load`] has returned it, it is right.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// This process.
    pub node: Node,
    /// How nodes find each other, and what they begin with.
    pub cluster: Cluster,
    /// How long things may take.
    pub timings: Timings,
    /// How much there may be of anything.
    pub limits: Limits,
    /// How much memory, and what gives way.
    pub memory: Memory,
    /// Up to where values of several parts are kept in one allocation.
    pub packed: Packed,
    /// The connections between nodes, and what may be on its way there.
    pub peers: Peers,
    /// How nodes find out who is alive.
    pub gossip: Gossip,
    /// The times of the group that decides who owns which slot.
    pub metadata: Metadata,
    /// How a slot gets another primary.
    pub failover: Failover,
    /// How slots move so that every node has its share.
    pub balance: Balance,
    /// What the process says of itself.
    pub log: Log,
    /// The databases of record, by name.
    pub store: BTreeMap<String, StoreSettings>,
    /// The rules for keys, read when a cluster is made.
    pub keyspace: Vec<KeyspaceSettings>,
}

/// This process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Node {
    /// The folder that keeps the node's identity and the metadata log.
    pub data: PathBuf,
    /// The host name or address that clients and the other nodes are told; where it is not set,
    /// the address that is bound.
    pub hostname: Option<String>,
    /// The failure domain.
    pub zone: String,
    /// The node's share of slots, relative to the others' weights.
    pub weight: u32,
    /// The address to listen on.
    pub bind: IpAddr,
    /// The cluster port; 0 is one that the system picks, here and below.
    pub port: u16,
    /// The any port.
    pub any_port: u16,
    /// The peers' port.
    pub peer_port: u16,
    /// The admin port.
    pub admin_port: u16,
    /// Whether clients from elsewhere are refused while there is no password.
    pub protected_mode: bool,
    /// The password that clients give with `AUTH`.
    pub requirepass: Option<String>,
    /// Threads for connections; 0 is one for each core.
    pub threads: usize,
}

impl Default for Node {
    fn default() -> Node {
        Node {
            data: PathBuf::from("data"),
            hostname: None,
            zone: String::new(),
            weight: 100,
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 6379,
            any_port: 6380,
            peer_port: 16379,
            admin_port: 9121,
            protected_mode: true,
            requirepass: None,
            threads: 0,
        }
    }
}

/// How nodes find each other, and what they begin with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cluster {
    /// Where other nodes may be met, resolved again at each attempt.
    pub seeds: Seeds,
    /// How many nodes found the cluster; where it is not set, one does if there are no seeds.
    pub bootstrap_expect: Option<u32>,
    /// By which nodes prove to each other that they belong together.
    pub secret: Option<String>,
    /// A file that holds the secret.
    pub secret_file: Option<PathBuf>,
    /// `N`, copies of each slot.
    pub replication_factor: Option<u8>,
    /// `W`, copies that hold a write before it is acknowledged.
    pub write_quorum: Option<u8>,
    /// `R`, copies that a read consults.
    pub read_quorum: Option<u8>,
    /// What becomes of slots that may have lost acknowledged writes.
    #[serde(deserialize_with = "values::on_loss")]
    pub on_loss: Option<OnLoss>,
}

/// How long things may take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timings {
    /// A write that `W` copies do not confirm in this time is answered with `UNCERTAIN`.
    pub write_timeout: Span,
    /// A read that waits longer for what it met to be committed is answered with `TRYAGAIN`.
    pub read_timeout: Span,
    /// How long a request waits at its node until its slot has a primary that can be reached.
    pub primary_wait: Span,
    /// How long a primary may lead after its last confirmed heartbeat.
    pub lease: Span,
    /// How often a primary renews its lease.
    pub heartbeat: Span,
    /// After so long without a word, a member leaves the in-sync sets.
    pub silence: Span,
    /// How long the answer to a change of an in-sync set is awaited before it is asked for again.
    pub proposal_retry: Span,
    /// After so long without a request, a connection is closed; 0 keeps it.
    pub client_idle: Span,
    /// After so long in silence the system probes a client's connection; 0 never does.
    pub client_keepalive: Span,
    /// How long a node that stops gives databases for what they lack, and then clients for their
    /// replies.
    pub stop_timeout: Span,
    /// How long a node that starts waits for another process to leave its data directory.
    pub data_wait: Span,
    /// How long a connection to the admin port may last.
    pub admin_connection: Span,
    /// How long `KEYSPACE FLUSH` waits for a slot that nobody leads.
    pub flush_timeout: Span,
    /// How much longer than others a batch of requests that other nodes' databases answer may take.
    pub database_patience: Span,
    /// The longest pause before a database that failed is asked again.
    pub database_retry_max: Span,
    /// How long a node that stops waits for its databases to close.
    pub database_close: Span,
}

impl Default for Timings {
    fn default() -> Timings {
        Timings {
            write_timeout: Span::from_secs(1),
            read_timeout: Span::from_secs(1),
            primary_wait: Span::from_secs(3),
            lease: Span::from_secs(1),
            heartbeat: Span::from_millis(100),
            silence: Span::from_millis(1500),
            proposal_retry: Span::from_millis(500),
            client_idle: Span::default(),
            client_keepalive: Span::from_secs(300),
            stop_timeout: Span::from_secs(5),
            data_wait: Span::from_secs(3),
            admin_connection: Span::from_secs(30),
            flush_timeout: Span::from_secs(10),
            database_patience: Span::from_secs(30),
            database_retry_max: Span::from_secs(5),
            database_close: Span::from_secs(2),
        }
    }
}

/// How much there may be of anything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Connections of clients.
    pub maxclients: usize,
    /// Bytes of one argument of a request.
    pub argument_bytes_max: Size,
    /// Arguments of a request.
    pub arguments_max: usize,
    /// Bytes of an inline command, and of a line that announces a length.
    pub line_bytes_max: Size,
    /// Bytes of a request.
    pub query_bytes_max: Size,
    /// Bytes of replies that a client has not read; with more, it is closed at once.
    pub output_bytes_max: Size,
    /// With more than this unread for `output_soft_time`, a client is closed.
    pub output_soft_bytes: Size,
    /// See `output_soft_bytes`.
    pub output_soft_time: Span,
    /// Requests of one client that run before their replies are written.
    pub pipeline_max: usize,
    /// Records of a slot that are not committed.
    pub uncommitted_max: usize,
    /// Replies that wait in one slot.
    pub waiters_max: usize,
    /// Bytes of records that a slot keeps for members that fall behind.
    pub backlog_bytes_max: Size,
    /// Bytes of such records in all slots together.
    pub backlog_total_bytes_max: Size,
    /// Bytes that wait to be sent to one node.
    pub peer_queue_bytes_max: Size,
    /// Bytes of a copy that are on their way to one node.
    pub copy_window_bytes: Size,
    /// Commands that a client queues for one transaction, and keys that it watches.
    pub transaction_commands_max: usize,
    /// Bytes of them.
    pub transaction_bytes_max: Size,
    /// Commands that wait for databases.
    pub database_waiting_max: usize,
    /// Bytes that a command may take for its own work.
    pub scratch_bytes_max: Size,
    /// Entries that one call of `SCAN` looks at, about.
    pub scan_entries_max: u32,
    /// Connections to the admin port.
    pub admin_connections_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            maxclients: 10_000,
            argument_bytes_max: Size(512 << 20),
            arguments_max: 1 << 20,
            line_bytes_max: Size(64 << 10),
            query_bytes_max: Size(1 << 30),
            output_bytes_max: Size(1 << 30),
            output_soft_bytes: Size(32 << 20),
            output_soft_time: Span::from_secs(60),
            pipeline_max: 1_024,
            uncommitted_max: 16_384,
            waiters_max: 65_536,
            backlog_bytes_max: Size(1 << 20),
            backlog_total_bytes_max: Size(64 << 20),
            peer_queue_bytes_max: Size(256 << 20),
            copy_window_bytes: Size(1 << 20),
            transaction_commands_max: 65_536,
            transaction_bytes_max: Size(64 << 20),
            database_waiting_max: 65_536,
            scratch_bytes_max: Size(512 << 20),
            scan_entries_max: 1 << 20,
            admin_connections_max: 64,
        }
    }
}

/// What the process says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Log {
    /// Which events are logged.
    pub filter: LogFilter,
    /// In which form.
    pub format: LogFormat,
}
