//! The cluster as this node sees it, for those who show it to clients and to operators.
//!
//! What was decided comes from the slot map; what is only believed at this moment (who can be
//! reached, who leads the metadata group) comes from the node's [`Surroundings`].

pub mod layout;
pub mod plan;
pub mod status;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use cluster::metadata::{Entry, Form, NodeRecord, State};
use cluster::replication::{Liveness, waits_for_operator};
use cluster::{Lineage, Member, NodeId, NodeInfo, SLOTS, SharedSlotMap, SlotMap};
use serde::{Deserialize, Serialize};

pub use layout::{Layout, Range, Shard, Share, SlotCounts};

/// What a node believes of the others at this moment.
pub trait Surroundings: Send + Sync + 'static {
    /// Whether the member answers.
    fn liveness(&self, member: &Member) -> Liveness;

    /// Who carries the metadata.
    fn group(&self) -> GroupView;
}

/// The metadata group, as far as this node knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupView {
    /// Its leader.
    pub leader: Option<NodeId>,
    /// Its voters; none where this node does not take part in the group.
    pub voters: BTreeSet<NodeId>,
}

/// The cluster as one node sees it.
pub struct Topology {
    me: Member,
    /// Empty until the node has found its part of the cluster.
    known: OnceLock<(Arc<SharedSlotMap>, Box<dyn Surroundings>)>,
    layout: ArcSwapOption<Layout>,
}

/// How a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It answers.
    Up,
    /// Nobody can say yet.
    Suspect,
    /// Nobody can reach it.
    Down,
    /// An operator has declared its process over.
    Stopped,
}

impl Standing {
    /// The word for it in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Standing::Up => "up",
            Standing::Suspect => "suspect",
            Standing::Down => "down",
            Standing::Stopped => "stopped",
        }
    }
}

impl Topology {
    /// The view of the member `me`, who knows of no cluster yet.
    #[must_use]
    pub fn joining(me: Member) -> Topology {
        Topology {
            me,
            known: OnceLock::new(),
            layout: ArcSwapOption::empty(),
        }
    }

    /// From now on this is where the view comes from. Said once.
    pub fn joined(&self, map: Arc<SharedSlotMap>, surroundings: Box<dyn Surroundings>) {
        let first = self.known.set((map, surroundings)).is_ok();
        assert!(first, "a node joins one cluster, once");
    }

    /// The view of a node that is a cluster by itself.
    #[must_use]
    pub fn alone(me: Member, info: NodeInfo) -> Topology {
        let mut state = State::new(SLOTS);
        let form = Form {
            lineage: Lineage(0),
            hash_seed: [0; 4],
            nodes: vec![(
                me,
                NodeInfo {
                    weight: info.weight.max(1),
                    ..info
                },
            )],
            replication_factor: None,
            write_quorum: None,
            read_quorum: None,
            on_loss: None,
            documents: Vec::new(),
        };
        state.apply(1, &Entry::Form(form));
        let map = Arc::new(SharedSlotMap::default());
        map.offer(Arc::new(state));
        let topology = Topology::joining(me);
        topology.joined(map, Box::new(Alone(me.node)));
        topology
    }

    /// The member whose view it is.
    #[must_use]
    pub fn me(&self) -> Member {
        self.me
    }

    /// The present slot map.
    #[must_use]
    pub fn map(&self) -> Arc<SlotMap> {
        self.known
            .get()
            .map_or_else(Arc::default, |(map, _)| map.snapshot())
    }

    /// The metadata group.
    #[must_use]
    pub fn group(&self) -> GroupView {
        self.known
            .get()
            .map_or_else(GroupView::default, |(_, around)| around.group())
    }

    /// The slot map, put together for those who show it. Made once for each version of the map.
    #[must_use]
    pub fn layout(&self) -> Arc<Layout> {
        let map = self.map();
        if let Some(layout) = &*self.layout.load()
            && layout.version() == map.version()
        {
            return Arc::clone(layout);
        }
        let layout = Arc::new(Layout::of(&map));
        self.layout.store(Some(Arc::clone(&layout)));
        layout
    }

    /// How the node stands, as far as this one knows.
    #[must_use]
    pub fn standing(&self, node: NodeId, record: &NodeRecord) -> Standing {
        if node == self.me.node {
            return Standing::Up;
        }
        if record.stopped {
            return Standing::Stopped;
        }
        let member = Member {
            node,
            incarnation: record.incarnation,
        };
        let liveness = self.known.get().map(|(_, around)| around.liveness(&member));
        match liveness.unwrap_or(Liveness::Unknown) {
            Liveness::Up | Liveness::Departs => Standing::Up,
            Liveness::Unknown => Standing::Suspect,
            Liveness::Down => Standing::Down,
        }
    }

    /// How many slots go on only when an operator accepts that something of them may be lost.
    #[must_use]
    pub fn waiting(&self) -> u16 {
        let map = self.map();
        let is_down = |member: &Member| {
            let around = self.known.get().map(|(_, around)| around);
            *member != self.me
                && around.is_some_and(|around| around.liveness(member) == Liveness::Down)
        };
        let waits = |placement| waits_for_operator(map.state(), placement, is_down);
        let waiting = map.placements().filter(|(_, placement)| waits(placement));
        u16::try_from(waiting.count()).expect("a cluster has 16384 slots")
    }

    /// The host and port that a client is told for a node, where it reached this node at `local`.
    ///
    /// Never an empty host, and never one that stands for all addresses of a machine: some clients
    /// would wait for ever. A node that listens on all addresses without a host name of its own is
    /// reached where the other nodes reach it; and if that says nothing either, where the client
    /// reached this node, since then all of them are on one machine.
    #[must_use]
    pub fn address(&self, node: NodeId, info: &NodeInfo, local: SocketAddr) -> (String, u16) {
        let is_me = node == self.me.node;
        let from_peers = || {
            let (host, _) = info.peer_address.rsplit_once(':')?;
            let host = host.trim_start_matches('[').trim_end_matches(']');
            (!is_me && names_a_host(host)).then(|| host.to_owned())
        };
        let host = if names_a_host(&info.client_host) {
            info.client_host.clone()
        } else {
            from_peers().unwrap_or_else(|| local.ip().to_canonical().to_string())
        };
        let port = if is_me && info.cluster_port == 0 {
            local.port()
        } else {
            info.cluster_port
        };
        (host, port)
    }
}

fn names_a_host(host: &str) -> bool {
    !host.is_empty()
        && !host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_unspecified())
}

/// Around a node that is a cluster by itself there is nobody.
struct Alone(NodeId);

impl Surroundings for Alone {
    fn liveness(&self, _: &Member) -> Liveness {
        Liveness::Unknown
    }

    fn group(&self) -> GroupView {
        GroupView {
            leader: Some(self.0),
            voters: BTreeSet::from([self.0]),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use cluster::Incarnation;

    /// The member that the node with this number is since its first start.
    pub(crate) fn member(number: u8) -> Member {
        Member {
            node: NodeId::from_bytes([number; 20]),
            incarnation: Incarnation(1),
        }
    }

    pub(crate) fn info(number: u8) -> NodeInfo {
        NodeInfo {
            peer_address: format!("10.0.0.{number}:16379"),
            client_host: format!("10.0.0.{number}"),
            cluster_port: 6379,
            any_port: 6380,
            admin_port: 9121,
            zone: String::new(),
            weight: 100,
        }
    }

    /// What makes a cluster of nodes 1 to `nodes`.
    pub(crate) fn form(nodes: u8) -> Entry {
        Entry::Form(Form {
            lineage: Lineage(7),
            hash_seed: [0; 4],
            nodes: (1..=nodes)
                .map(|number| (member(number), info(number)))
                .collect(),
            replication_factor: None,
            write_quorum: None,
            read_quorum: None,
            on_loss: None,
            documents: Vec::new(),
        })
    }

    /// A cluster of nodes 1 to `nodes`.
    pub(crate) fn formed(nodes: u8) -> State {
        let mut state = State::new(SLOTS);
        state.apply(1, &form(nodes));
        state
    }

    struct AllBut(u8);

    impl Surroundings for AllBut {
        fn liveness(&self, of: &Member) -> Liveness {
            if *of == member(self.0) {
                Liveness::Down
            } else {
                Liveness::Up
            }
        }

        fn group(&self) -> GroupView {
            let voters = BTreeSet::from([member(1).node, member(2).node]);
            GroupView {
                leader: Some(member(2).node),
                voters,
            }
        }
    }

    /// The view of node 1 of this state; the node `down` cannot be reached.
    pub(crate) fn seen(state: State, down: u8) -> Topology {
        let map = Arc::new(SharedSlotMap::default());
        map.offer(Arc::new(state));
        let topology = Topology::joining(member(1));
        topology.joined(map, Box::new(AllBut(down)));
        topology
    }

    #[test]
    fn a_client_is_told_a_host_that_it_can_reach() {
        let topology = seen(formed(2), 0);
        let local: SocketAddr = "127.0.0.1:7001".parse().unwrap();
        let host = |number: u8, client_host: &str, peer_address: &str| {
            let info = NodeInfo {
                client_host: client_host.into(),
                peer_address: peer_address.into(),
                ..info(number)
            };
            topology.address(member(number).node, &info, local).0
        };
        assert_eq!(host(2, "cache.example", "10.0.0.2:16379"), "cache.example");
        assert_eq!(host(2, "0.0.0.0", "10.0.0.2:16379"), "10.0.0.2");
        assert_eq!(host(2, "::", "[2001:db8::2]:16379"), "2001:db8::2");
        assert_eq!(host(2, "", "0.0.0.0:16379"), "127.0.0.1");
        assert_eq!(host(2, "", ""), "127.0.0.1");
        // The others may reach this node by a name that means nothing to its clients.
        assert_eq!(host(1, "0.0.0.0", "10.0.0.1:16379"), "127.0.0.1");
        let mapped = "[::ffff:127.0.0.1]:7001".parse().unwrap();
        let unset = NodeInfo::default();
        let told = topology.address(member(1).node, &unset, mapped);
        assert_eq!(told, ("127.0.0.1".to_owned(), 7001));
    }

    #[test]
    fn a_layout_is_made_once_for_each_version_of_the_map() {
        let topology = seen(formed(3), 0);
        let layout = topology.layout();
        assert!(Arc::ptr_eq(&layout, &topology.layout()));
        let mut state = (**topology.map().state()).clone();
        state.apply(2, &Entry::Stopped { member: member(3) });
        topology.known.get().unwrap().0.offer(Arc::new(state));
        assert_eq!(topology.layout().version(), 2);
    }

    #[test]
    fn a_node_alone_leads_every_slot() {
        let topology = Topology::alone(member(1), info(1));
        let counts = topology.layout().counts();
        assert_eq!((counts.covered, counts.short), (SLOTS, 0));
        assert_eq!(topology.group().leader, Some(member(1).node));
    }
}
