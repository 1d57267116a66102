//! Makes this node a member of its cluster: identity, peers' port, gossip, metadata, replication.
//!
//! What is made here lives on the thread that makes it, which serves no client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cluster::driver::{Driver, DriverSettings};
use cluster::identity::{Identity, IdentityError};
use cluster::membership::{self, Gossip, MemberEvent, Topic};
use cluster::metadata::{
    BootstrapSettings, Disk, DiskError, Group, GroupError, Neighbours, RegisterError, State,
    bootstrap,
};
use cluster::replication::{self, Liveness, Replicas};
use cluster::transport::grpc::{ListenError, Listener};
use cluster::transport::{self, Calls, Links, Secret, Transport};
use cluster::{Member, NodeId, NodeInfo, SLOTS, clock};
use rand::{RngExt, SeedableRng};
use tokio::sync::{mpsc, watch};

use crate::config::Settings;
use crate::gather::Token;
use crate::modes::{self, ModesThread};
use crate::node::Node;
use crate::slots::NodeReplicas;
use crate::store::{SlotTable, Store};
use crate::topology::{GroupView, Surroundings};

/// A node that knows who it is, and holds nothing yet.
pub struct Newcomer {
    identity: Identity,
    disk: Arc<Disk>,
    /// This start of this node.
    pub me: Member,
    /// What all its tables share; keyed when the cluster is known.
    pub store: Store,
    /// Its replicas of all slots.
    pub replicas: Arc<NodeReplicas>,
}

/// This node's part in the cluster. It ends with [`Part::stop`].
pub struct Part {
    /// The metadata group, as this node sees it.
    pub group: Group,
    /// Who is alive.
    pub gossip: Arc<Gossip>,
    /// The streams to the other nodes.
    pub transport: Arc<Transport>,
    /// Replication's loop.
    pub driver: Arc<Driver<SlotTable, Token>>,
    modes: ModesThread,
    /// Where the other nodes reach this one.
    pub peer_address: SocketAddr,
    failures: mpsc::Receiver<String>,
    tasks: tokio::task::JoinSet<()>,
    _identity: Identity,
}

/// Why a node cannot take part.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The data directory.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// What is kept in it.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The peers' port.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The metadata group.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// The thread of the cache modes.
    #[error("no thread for the cache modes: {0}")]
    Thread(std::io::Error),
    /// The shared secret.
    #[error("the cluster's secret: {0}")]
    Secret(String),
}

/// Where clients reach the node.
#[derive(Clone, Copy, Debug)]
pub struct ClientPorts {
    /// Redis Cluster.
    pub cluster: u16,
    /// Plain clients.
    pub any: u16,
    /// Metrics and health.
    pub admin: u16,
}

impl Newcomer {
    /// Takes the data directory and begins a new start of the node that it belongs to.
    ///
    /// # Errors
    /// If another process has the directory and keeps it, or it cannot be read or written.
    pub async fn open(settings: &Settings) -> Result<Newcomer, JoinError> {
        let (identity, disk) = take_identity(settings).await?;
        let disk = Arc::new(disk);
        let me = Member {
            node: identity.node(),
            incarnation: disk.draw_incarnation()?,
        };
        let store = Store::default();
        let tables = store.clone();
        let spans = replication_settings(settings);
        let replicas = Replicas::new(me, SLOTS, spans, |_| tables.table());
        Ok(Newcomer {
            identity,
            disk,
            me,
            store,
            replicas: Arc::new(replicas),
        })
    }

    /// Opens the peers' port, looks for the other nodes, and takes up this node's part. Joining
    /// goes on in the background; [`Part::failure`] says if it cannot be done.
    ///
    /// # Errors
    /// If the port, the secret or the metadata's log cannot be used.
    pub async fn join(self, node: &Arc<Node>, ports: ClientPorts) -> Result<Part, JoinError> {
        let settings = &node.settings;
        let bind = SocketAddr::new(settings.node.bind, settings.node.peer_port);
        let listener = Listener::bind(bind).await?;
        let peer_address = listener.address();
        let info = node_info(settings, ports, peer_address);
        let transport = listener.start(transport::Settings {
            member: self.me,
            secret: secret(settings)?,
            lineage: None,
            info: info.clone(),
            seeds: settings.cluster.seeds.addresses().to_vec(),
            limits: settings.peers.limits(),
        })?;
        let links: Arc<dyn Links> = Arc::clone(&transport) as _;
        let calls: Arc<dyn Calls> = Arc::clone(&transport) as _;
        let gossip = Gossip::start(
            settings.gossip.settings(),
            self.me,
            info.clone(),
            rand::rngs::StdRng::from_rng(&mut rand::rng()),
            Arc::clone(&links),
        );
        let (neighbours, seen) = watch::channel(Neighbours::default());
        let spans = settings.metadata.settings();
        let group = Group::start(self.me, self.disk, calls, seen, SLOTS, spans).await?;
        if let Some(lineage) = *group.watch_lineage().borrow() {
            transport.set_lineage(lineage);
        }
        let driver = Driver::new(
            driver_settings(settings),
            Arc::clone(&self.replicas),
            Arc::new(group.clone()),
            Arc::clone(&gossip) as _,
            links,
        );
        node.group
            .set(group.clone())
            .unwrap_or_else(|_| panic!("a node becomes part of one cluster, once"));
        let modes = modes::start(node, group.clone()).map_err(JoinError::Thread)?;
        let (fails, failures) = mpsc::channel(FAILURES_MAX);
        start(&driver, node, fails.clone());
        let mut part = Part {
            group,
            gossip,
            transport,
            driver,
            modes,
            peer_address,
            failures,
            tasks: tokio::task::JoinSet::new(),
            _identity: self.identity,
        };
        part.spread_the_word(neighbours);
        let begun = take_part(part.group.clone(), info, beginning(settings), fails);
        part.tasks.spawn(begun);
        Ok(part)
    }
}

/// Starts replication. Before any slot is placed here, the store knows its seeds, and the cache
/// modes know which keys have a database.
fn start(driver: &Arc<Driver<SlotTable, Token>>, node: &Arc<Node>, fails: mpsc::Sender<String>) {
    let hears = Arc::downgrade(node);
    driver.on_turns(Box::new(move |turns| {
        hears.upgrade().inspect(|node| node.modes.turned(turns));
    }));
    let knows = Arc::downgrade(node);
    driver.on_yield(Box::new(move |slot| {
        knows.upgrade().is_some_and(|node| node.modes.is_busy(slot))
    }));
    let tells = Arc::downgrade(driver);
    node.departures.on_news(Box::new(move |members| {
        tells
            .upgrade()
            .inspect(|driver| driver.set_departing(members.clone()));
    }));
    let knows = Arc::clone(node);
    driver.start(move |state| {
        knows.store.key(state.hash_seed());
        compare_on_loss(state, &knows.settings);
        match modes::keyspaces_of(state, &knows.settings) {
            Ok(keyspaces) => {
                knows.modes.set_keyspaces(keyspaces);
                true
            }
            Err(why) => {
                fail(&fails, why);
                false
            }
        }
    });
}

impl Part {
    /// Lets gossip, metadata and transport know what each needs of the others.
    fn spread_the_word(&mut self, neighbours: watch::Sender<Neighbours>) {
        let (group, gossip) = (&self.group, &self.gossip);
        let transport = &self.transport;
        let watch = watch_neighbours(Arc::clone(gossip), Arc::clone(transport), neighbours);
        self.tasks.spawn(watch);
        let tell = tell_lineage(group.clone(), Arc::clone(transport));
        self.tasks.spawn(tell);
        self.tasks
            .spawn(tell_index(group.clone(), Arc::clone(gossip)));
        self.tasks
            .spawn(hear_indexes(group.clone(), Arc::clone(gossip)));
    }

    /// Returns when it turns out that the node can never serve this cluster, and says why.
    pub async fn failure(&mut self) -> String {
        match self.failures.recv().await {
            Some(why) => why,
            // Nothing is left that could fail.
            None => std::future::pending().await,
        }
    }

    /// What the node believes of the others, for those who show it.
    #[must_use]
    pub fn surroundings(&self) -> Box<dyn Surroundings> {
        let (group, gossip) = (self.group.clone(), Arc::clone(&self.gossip));
        Box::new(Around { group, gossip })
    }

    /// Leaves in an orderly way: the others need not find out.
    pub async fn stop(mut self) {
        self.modes.stop().await;
        self.gossip.leave();
        self.driver.stop();
        self.tasks.shutdown().await;
        self.group.stop().await;
        self.transport.stop();
    }
}

/// A member's gossip and its view of the metadata group.
struct Around {
    group: Group,
    gossip: Arc<Gossip>,
}

impl Surroundings for Around {
    fn liveness(&self, member: &Member) -> Liveness {
        cluster::driver::Gossip::liveness(&*self.gossip, member)
    }

    fn group(&self) -> GroupView {
        let leader = self.group.watch_leadership().borrow().leader;
        GroupView {
            leader,
            voters: self.group.voters(),
        }
    }
}

/// Takes the data directory, with the file that its id goes with. The process that a supervisor has
/// just replaced may still be on its way out.
async fn take_identity(settings: &Settings) -> Result<(Identity, Disk), JoinError> {
    let (data, wait) = (&settings.node.data, settings.timings.data_wait.0);
    let started = clock::now();
    loop {
        let mut disk = None;
        let taken = Identity::open(data, |found| {
            let opened = disk.insert(Disk::open(data)?);
            let drawn = NodeId::from_bytes(rand::rng().random());
            Ok::<_, JoinError>(opened.owner(found, drawn)?)
        });
        match taken {
            Err(JoinError::Identity(IdentityError::InUse(_)))
                if clock::now().since(started) < wait =>
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            taken => return Ok((taken?, disk.expect("an id is chosen by its file"))),
        }
    }
}

/// Makes the cluster or joins it, then registers this start of the node.
async fn take_part(
    group: Group,
    info: NodeInfo,
    beginning: BootstrapSettings,
    fails: mpsc::Sender<String>,
) {
    if let Err(error) = bootstrap(&group, info.clone(), beginning).await {
        let why = format!("this node cannot become part of a cluster: {error}");
        return fail(&fails, why);
    }
    match group.register(info).await {
        Ok(()) => tracing::info!("joined the cluster"),
        Err(RegisterError::Refused(refusal)) => {
            fail(
                &fails,
                format!("the cluster does not take this node: {refusal}"),
            );
        }
    }
}

/// So many reasons not to serve can be there at the same time.
const FAILURES_MAX: usize = 2;

/// The node can never serve, and its process is to end.
fn fail(fails: &mpsc::Sender<String>, why: String) {
    tracing::error!("{why}");
    // Who stops anyway needs no reason.
    let _ = fails.try_send(why);
}

/// Tells the metadata group who can be asked.
async fn watch_neighbours(
    gossip: Arc<Gossip>,
    transport: Arc<Transport>,
    neighbours: watch::Sender<Neighbours>,
) {
    let mut events = gossip.subscribe();
    loop {
        let alive = gossip
            .members()
            .into_iter()
            .filter(|seen| seen.liveness != membership::Liveness::Down);
        let alive = alive
            .map(|seen| (seen.member.node, (seen.member, (*seen.info).clone())))
            .collect();
        let now = Neighbours {
            alive,
            seeds: transport.seeds(),
        };
        neighbours.send_if_modified(|known| std::mem::replace(known, now.clone()) != now);
        // Who answers at a seed is no event.
        let _ = tokio::time::timeout(NEIGHBOURS_EVERY, events.recv()).await;
    }
}

/// How often the neighbours are looked at when the gossip is silent.
const NEIGHBOURS_EVERY: Duration = Duration::from_millis(100);

async fn tell_lineage(group: Group, transport: Arc<Transport>) {
    let mut lineage = group.watch_lineage();
    loop {
        let known = *lineage.borrow_and_update();
        if let Some(lineage) = known {
            return transport.set_lineage(lineage);
        }
        if lineage.changed().await.is_err() {
            return;
        }
    }
}

/// Tells everybody how far this node knows the metadata's log.
async fn tell_index(group: Group, gossip: Arc<Gossip>) {
    let mut state = group.watch_state();
    loop {
        let index = state.borrow_and_update().applied();
        gossip.publish(Topic::Metadata, index.to_be_bytes().to_vec());
        if state.changed().await.is_err() {
            return;
        }
        // One word for what changes in quick succession.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn hear_indexes(group: Group, gossip: Arc<Gossip>) {
    let mut events = gossip.subscribe();
    loop {
        match events.recv().await {
            Ok(MemberEvent::Published(member, Topic::Metadata, bytes)) => {
                if let Ok(index) = bytes.as_slice().try_into() {
                    group.heard(member.node, u64::from_be_bytes(index));
                }
            }
            Ok(_) | Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
            Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
        }
    }
}

fn node_info(settings: &Settings, ports: ClientPorts, peer: SocketAddr) -> NodeInfo {
    let node = &settings.node;
    let host = node
        .hostname
        .clone()
        .unwrap_or_else(|| peer.ip().to_string());
    let bracketed = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.clone()
    };
    NodeInfo {
        peer_address: format!("{bracketed}:{}", peer.port()),
        client_host: host,
        cluster_port: ports.cluster,
        any_port: ports.any,
        admin_port: ports.admin,
        zone: node.zone.clone(),
        weight: node.weight,
    }
}

fn secret(settings: &Settings) -> Result<Option<Secret>, JoinError> {
    // One that lies in a file was read with the settings.
    let text = settings.cluster.secret.as_ref();
    text.map(|text| Secret::new(text.as_bytes()))
        .transpose()
        .map_err(|error| JoinError::Secret(error.to_string()))
}

/// What this node would make a cluster with.
fn beginning(settings: &Settings) -> BootstrapSettings {
    let cluster = &settings.cluster;
    let alone = cluster.seeds.addresses().is_empty();
    let expect = cluster.bootstrap_expect.map(|nodes| nodes as usize);
    BootstrapSettings {
        expect: expect.or(alone.then_some(1)),
        replication_factor: cluster.replication_factor,
        write_quorum: cluster.write_quorum,
        read_quorum: cluster.read_quorum,
        on_loss: cluster.on_loss,
        documents: vec![(
            modes::KEYSPACES.to_owned(),
            modes::own_keyspaces(settings).to_bytes().into(),
        )],
    }
}

/// Says so where the configuration's `on_loss` is not what the cluster has.
fn compare_on_loss(state: &State, settings: &Settings) {
    let in_force = state.on_loss();
    if let Some(own) = settings.cluster.on_loss.filter(|own| *own != in_force) {
        tracing::warn!(
            configuration = %own, cluster = %in_force,
            "the on_loss of the configuration is not that of the cluster, which is in force"
        );
    }
}

fn replication_settings(settings: &Settings) -> replication::Settings {
    let (timings, limits) = (&settings.timings, &settings.limits);
    replication::Settings {
        lease: timings.lease.0,
        heartbeat: timings.heartbeat.0,
        silence: timings.silence.0,
        proposal_retry: timings.proposal_retry.0,
        uncommitted_max: limits.uncommitted_max,
        waiters_max: limits.waiters_max,
        backlog_bytes_max: limits.backlog_bytes_max.as_usize(),
        backlog_total_bytes_max: limits.backlog_total_bytes_max.as_usize(),
        queue_bytes_max: limits.peer_queue_bytes_max.as_usize(),
        copy_window_bytes: limits.copy_window_bytes.as_usize(),
        copy_bytes_per_second: settings.balance.copy_bytes_per_second.as_usize(),
        yield_for: settings.balance.hand_over_timeout.0,
        ..replication::Settings::default()
    }
}

fn driver_settings(settings: &Settings) -> DriverSettings {
    DriverSettings {
        tick: Duration::from_millis(20),
        heartbeat: settings.timings.heartbeat.0,
        coordinate: Duration::from_millis(50),
        group_lease: settings.metadata.lease.0,
        silence: settings.timings.silence.0,
        failover: settings.failover.settings(
            &settings.timings,
            &settings.metadata,
            &settings.balance,
        ),
    }
}
