//! `quorate serve`: one node.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use node::admin::readiness::Readiness;
use node::admin::{self, Admin};
use node::config::{self, Flag};
use node::departure::depart;
use node::join::{ClientPorts, Newcomer};
use node::logs;
use node::node::Node;
use node::others;
use node::process;
use node::server::Server;
use node::slots::Slots;
use node::topology::Topology;
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use tokio::net::TcpListener;

use super::signals::Signals;
use super::start_line::StartLine;
use super::{Failure, environment};

/// Run one node
///
/// Without a seed and an expectation, it is a cluster of one. Every setting of the configuration
/// file is also a variable of the environment: QUORATE_LIMITS__MAXCLIENTS for `maxclients` in
/// `[limits]`. Flags go before the environment, which goes before the file.
#[derive(Args)]
pub(super) struct Arguments {
    /// The configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder that keeps the node's identity and the cluster's metadata [default: data]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// The address to listen on [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    bind: Option<String>,
    /// The host name or address that clients and other nodes are told
    #[arg(long, value_name = "HOST")]
    hostname: Option<String>,
    /// The cluster port, for clients that speak Redis Cluster; 0 picks a free one [default: 6379]
    #[arg(long)]
    port: Option<String>,
    /// The any port, for all other clients [default: 6380]
    #[arg(long, value_name = "PORT")]
    any_port: Option<String>,
    /// The port for the other nodes [default: 16379]
    #[arg(long, value_name = "PORT")]
    peer_port: Option<String>,
    /// The port for metrics and health [default: 9121]
    #[arg(long, value_name = "PORT")]
    admin_port: Option<String>,
    /// Where another node may be met; may be given again
    #[arg(long = "seed", value_name = "HOST[:PEERPORT]")]
    seeds: Vec<String>,
    /// How many nodes must have met before they found a cluster
    #[arg(long, value_name = "NODES")]
    bootstrap_expect: Option<String>,
    /// A file with the secret that all nodes of the cluster share
    #[arg(long, value_name = "FILE")]
    secret_file: Option<String>,
    /// Bytes of data, like 4GiB; 0 is no limit [default: 0]
    #[arg(long, value_name = "SIZE")]
    maxmemory: Option<String>,
    /// Threads that serve connections; 0 is one for each core [default: 0]
    #[arg(long, value_name = "NUMBER")]
    threads: Option<String>,
    /// What is logged: a level, or a list like info,cluster=debug [default: info]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// The form of the log: text or json [default: text]
    #[arg(long, value_name = "FORM")]
    log_format: Option<String>,
    /// The process that the node does not outlive
    #[arg(long, value_name = "PROCESS", hide = true)]
    die_with: Option<i32>,
}

impl Arguments {
    fn flags(&self) -> Vec<Flag> {
        let seeds = (!self.seeds.is_empty()).then(|| self.seeds.join(","));
        [
            ("--data", "node.data", &self.data),
            ("--bind", "node.bind", &self.bind),
            ("--hostname", "node.hostname", &self.hostname),
            ("--port", "node.port", &self.port),
            ("--any-port", "node.any_port", &self.any_port),
            ("--peer-port", "node.peer_port", &self.peer_port),
            ("--admin-port", "node.admin_port", &self.admin_port),
            ("--seed", "cluster.seeds", &seeds),
            (
                "--bootstrap-expect",
                "cluster.bootstrap_expect",
                &self.bootstrap_expect,
            ),
            ("--secret-file", "cluster.secret_file", &self.secret_file),
            ("--maxmemory", "memory.maxmemory", &self.maxmemory),
            ("--threads", "node.threads", &self.threads),
            ("--log", "log.filter", &self.log),
            ("--log-format", "log.format", &self.log_format),
        ]
        .into_iter()
        .filter_map(|(name, key, value)| {
            Some(Flag {
                name,
                key,
                value: value.clone()?,
            })
        })
        .collect()
    }
}

/// Runs a node until it is asked to stop.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    if let Some(parent) = arguments.die_with {
        die_with(parent)?;
    }
    let settings = config::load(
        arguments.config.as_deref(),
        environment(),
        &arguments.flags(),
    )?;
    logs::start(&settings.log);
    process::configure_allocator();

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Run(format!("no runtime: {error}")))?;
    // As Redis shows it, whatever the process does with its folder.
    let file = arguments.config.as_deref();
    let file = file.map(|file| std::path::absolute(file).unwrap_or_else(|_| file.to_owned()));
    runtime.block_on(serve(settings, file))
}

/// Serves clients and takes part in the cluster until it is asked to stop.
async fn serve(settings: config::Settings, config_file: Option<PathBuf>) -> Result<(), Failure> {
    let run = |error: &dyn std::fmt::Display| Failure::Run(error.to_string());
    let mut signals = Signals::take()?;
    let newcomer = Newcomer::open(&settings)
        .await
        .map_err(|error| run(&error))?;
    let recorder = admin::metrics::install().map_err(|error| run(&error))?;
    let slots = Slots::new(Arc::clone(&newcomer.replicas));
    let topology = Topology::joining(newcomer.me);
    let node = Node::new(settings, newcomer.store.clone(), slots, topology);
    if let Some(file) = config_file {
        let is_first = node.config_file.set(file).is_ok();
        assert!(is_first, "the node was just made");
    }
    let server = Server::start(&node).map_err(|error| run(&error))?;
    let (admin_listener, admin_address) = admin_listener(&node).await?;
    let ports = ClientPorts {
        cluster: server.cluster_address.port(),
        any: server.any_address.port(),
        admin: admin_address.port(),
    };
    let mut part = newcomer
        .join(&node, ports)
        .await
        .map_err(|error| run(&error))?;
    node.topology
        .joined(part.group.slot_map(), part.surroundings());
    let knows = Arc::clone(&node);
    let stops = Arc::clone(&node);
    let readiness = Readiness::of(&node)
        .with("databases", move || knows.modes.check_stores())
        .with("running", move || stops.departures.check());
    let admin = Arc::new(Admin {
        node: Arc::clone(&node),
        readiness,
        recorder,
    });
    let admin = tokio::spawn(admin::serve(admin_listener, admin));
    others::meet(&node, Arc::clone(&part.transport) as _);
    let start_line = StartLine {
        cluster_port: server.cluster_address,
        any_port: server.any_address,
        peer_port: Some(part.peer_address),
        admin_port: Some(admin_address),
        process: std::process::id(),
    };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "{start_line}");
    println!("{start_line}");
    tokio::select! {
        () = signals.stop() => tracing::info!("asked to stop"),
        why = part.failure() => return Err(Failure::Run(why)),
    }
    depart(&node, node.settings.timings.stop_timeout.0).await;
    part.stop().await;
    server.stop();
    admin.abort();
    Ok(())
}

async fn admin_listener(node: &Node) -> Result<(TcpListener, SocketAddr), Failure> {
    let address = SocketAddr::new(node.settings.node.bind, node.settings.node.admin_port);
    let failed = |error| Failure::Run(format!("cannot listen on {address}: {error}"));
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// Has the system kill this process when its parent dies.
fn die_with(parent: i32) -> Result<(), Failure> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| Failure::Run(format!("cannot follow process {parent}: {error}")))?;
    // It may have died before it was asked for.
    if getppid().map(Pid::as_raw_pid) == Some(parent) {
        return Ok(());
    }
    Err(Failure::Run(format!(
        "process {parent}, which started this node, is gone"
    )))
}
