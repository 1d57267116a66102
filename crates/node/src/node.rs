//! What the threads of a node share.

use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};

use cluster::metadata::Group;
use cluster::transport::Calls;
use cluster::{Incarnation, Member, NodeId, NodeInfo, Time};
use parking_lot::Mutex;
use rand::RngExt;

use crate::clients::Clients;
use crate::config::Settings;
use crate::departure::Departures;
use crate::execute::MESSAGE_MARGIN;
use crate::memory::{Memory, Urgent};
use crate::metrics::FrontMetrics;
use crate::modes::Modes;
use crate::parameters::Parameters;
use crate::slots::Slots;
use crate::stats::Stats;
use crate::store::Store;
use crate::topology::Topology;
use cluster::clock;

/// One node of the cluster, as its own threads see it.
pub struct Node {
    /// What the process is started with.
    pub settings: Settings,
    /// The file that the settings come from, if there is one.
    pub config_file: OnceLock<PathBuf>,
    /// What may change while it runs.
    pub parameters: Parameters,
    /// The clients of all threads.
    pub clients: Clients,
    /// What all threads count.
    pub stats: Stats,
    /// The same for who reads metrics.
    pub metrics: FrontMetrics,
    /// What the tables of all slots share.
    pub store: Store,
    /// The slots.
    pub slots: Slots,
    /// The cache modes of the keys that have a database.
    pub modes: Modes,
    /// Which nodes are about to stop.
    pub departures: Departures,
    /// The cluster, for those who show it.
    pub topology: Topology,
    /// How the other nodes are asked, once this one looks for them.
    pub calls: OnceLock<Arc<dyn Calls>>,
    /// The metadata group, likewise.
    pub group: OnceLock<Group>,
    /// When the node started.
    pub started: Time,
    /// Evicts where a command cannot wait for the thread that does it otherwise.
    pub(crate) urgent: Mutex<Urgent>,
    /// What is known of the memory of the process.
    pub memory: Memory,
    /// 40 hexadecimal digits that are new with each start (`run_id`).
    pub run_id: String,
}

impl Node {
    /// A node that is a cluster by itself.
    #[must_use]
    pub fn alone(settings: Settings) -> Arc<Node> {
        let store = Store::new(rand::rng().random());
        let me = Member {
            node: NodeId::from_bytes(rand::rng().random()),
            incarnation: Incarnation(1),
        };
        let slots = Slots::alone(&store, me);
        let topology = Topology::alone(me, info(&settings));
        Node::new(settings, store, slots, topology)
    }

    /// A node that starts now. The process's recorder of metrics, if it has one, is in place.
    #[must_use]
    pub fn new(settings: Settings, store: Store, slots: Slots, topology: Topology) -> Arc<Node> {
        let run_id: [u8; 20] = rand::rng().random();
        let memory = &settings.memory;
        store.set_maxmemory_bytes(memory.maxmemory.as_usize());
        store.set_scratch_bytes_max(settings.limits.scratch_bytes_max.as_usize());
        let message_bytes_max = settings.peers.message_bytes_max.as_usize();
        store.set_record_bytes_max(message_bytes_max.saturating_sub(MESSAGE_MARGIN));
        store.set_policy(&memory.policy.to_string());
        let (packed, limits) = (&settings.packed, store.limits());
        limits
            .hash_fields
            .store(packed.hash_max_listpack_entries, Relaxed);
        let bytes = packed.hash_max_listpack_value.as_usize();
        limits.hash_bytes.store(bytes, Relaxed);
        let conditions = store.conditions();
        conditions.set_samples(memory.maxmemory_samples);
        conditions.set_lfu_log_factor(memory.lfu_log_factor);
        conditions.set_lfu_decay_minutes(memory.lfu_decay_time);
        Arc::new(Node {
            parameters: Parameters::new(&settings),
            settings,
            config_file: OnceLock::new(),
            clients: Clients::default(),
            stats: Stats::default(),
            metrics: FrontMetrics::new(),
            store,
            slots,
            modes: Modes::default(),
            departures: Departures::default(),
            topology,
            calls: OnceLock::new(),
            group: OnceLock::new(),
            started: clock::now(),
            urgent: Mutex::new(Urgent::new()),
            memory: Memory::default(),
            run_id: run_id.iter().map(|byte| format!("{byte:02x}")).collect(),
        })
    }

    /// Milliseconds since the node started.
    #[must_use]
    pub fn uptime_ms(&self) -> u64 {
        u64::try_from(clock::now().since(self.started).as_millis()).unwrap_or(u64::MAX)
    }

    /// How many bytes of entries the databases may lack: a quarter of what the data may take.
    #[must_use]
    pub fn dirty_bytes_max(&self) -> u64 {
        let most = self.store.budget().data_bytes_max();
        most.map_or(u64::MAX, |most| most as u64 / 4)
    }

    /// Whether the data takes more than it may: nothing that is not needed is added to it.
    #[must_use]
    pub fn is_out_of_memory(&self) -> bool {
        self.store.is_over_limit()
    }
}

/// What a node that is a cluster by itself says of itself.
fn info(settings: &Settings) -> NodeInfo {
    let settings = &settings.node;
    let bind = settings.bind.to_string();
    NodeInfo {
        peer_address: format!("{bind}:{}", settings.peer_port),
        client_host: settings.hostname.clone().unwrap_or(bind),
        cluster_port: settings.port,
        any_port: settings.any_port,
        admin_port: settings.admin_port,
        zone: settings.zone.clone(),
        weight: settings.weight,
    }
}
