//! The state of the cluster in one document: the answer of `CLUSTER STATUS`, from which the command
//! line and the status page speak.

use std::net::SocketAddr;

use cluster::metadata::OnLoss;
use cluster::{NodeId, SLOTS};
use serde::{Deserialize, Serialize};

use super::{Layout, Share, SlotCounts, Standing, Topology};
use crate::census::Census;
use crate::node::Node;

/// The cluster as one of its nodes sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// The node that says so.
    pub me: NodeId,
    /// The cluster's lineage; none before it is made.
    pub lineage: Option<String>,
    /// The version of the slot map: the index of its last metadata entry.
    pub version: u64,
    /// `N`.
    pub replication_factor: u8,
    /// `W`.
    pub write_quorum: u8,
    /// `R`.
    pub read_quorum: u8,
    /// What becomes of slots that may have lost acknowledged writes.
    #[serde(default)]
    pub on_loss: OnLoss,
    /// Slots that may have, and go on only when an operator accepts that.
    #[serde(default)]
    pub waiting: u16,
    /// The leader of the metadata group, if the node knows one.
    pub leader: Option<NodeId>,
    /// How many slots are in which state.
    pub slots: SlotCounts,
    /// Every node of the cluster, in the order of the ids.
    pub nodes: Vec<NodeStatus>,
    /// What the node that says so holds.
    pub usage: Usage,
    /// What keeps the node that says so from using its databases, with the stores' names.
    #[serde(default)]
    pub databases: Option<String>,
}

/// One node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its id.
    pub id: NodeId,
    /// Where clients reach it.
    pub host: String,
    /// Its cluster port.
    pub port: u16,
    /// Its any port.
    pub any_port: u16,
    /// Its admin port.
    pub admin_port: u16,
    /// Its failure domain.
    pub zone: String,
    /// How often it has started with an empty memory.
    pub incarnation: u64,
    /// `leader`, `voter` or `reader` of the metadata; none where the node that says so cannot know.
    pub metadata: Option<String>,
    /// Whether it can be reached.
    pub standing: Standing,
    /// Slots that it leads.
    pub led: u16,
    /// Slots of which it holds a copy in sync.
    pub copies: u16,
    /// Slots of which it is being given a copy.
    pub learning: u16,
    /// Slots of which it is being given the copy of another node.
    #[serde(default)]
    pub moving: u16,
    /// Whether it is to give away all that it holds.
    #[serde(default)]
    pub drains: bool,
    /// Slots that name an earlier start of it, whose data is gone.
    pub lost: u16,
}

/// What is said of slots that wait for an operator, behind their number.
const LOST: &str = "may have lost acknowledged writes with their copies, and wait: `CONFIG SET \
                    on-loss accept` lets them go on without";

impl NodeStatus {
    /// Whether it can be reached, or what else is to be said of it.
    #[must_use]
    pub fn state(&self) -> &'static str {
        if self.drains && self.is_up() {
            "drains"
        } else {
            self.standing.name()
        }
    }

    /// Whether it can be reached.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.standing == Standing::Up
    }
}

/// What a node holds and serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Keys in the slots that it leads.
    pub keys: u64,
    /// Those of them that expire.
    pub expiring: u64,
    /// Bytes of data, copies included.
    pub memory_bytes: u64,
    /// The most it may be; 0 is no limit.
    pub memory_bytes_max: u64,
    /// Clients that are connected.
    pub clients: u64,
    /// For how long it has been running.
    pub uptime_seconds: u64,
}

impl Usage {
    /// That of this node now.
    #[must_use]
    pub fn of(node: &Node) -> Usage {
        let census = Census::take(&node.slots);
        let keys = |tally: crate::store::Tally| (tally.keys as u64, tally.expiring as u64);
        let (keys, expiring) = keys(census.led);
        Usage {
            keys,
            expiring,
            memory_bytes: node.store.used_bytes() as u64,
            memory_bytes_max: node.store.maxmemory_bytes() as u64,
            clients: node.clients.connected() as u64,
            uptime_seconds: node.uptime_ms() / 1000,
        }
    }
}

impl ClusterStatus {
    /// What the node knows, told to somebody who reached it at `local`.
    #[must_use]
    pub fn of(node: &Node, local: SocketAddr) -> ClusterStatus {
        let status = ClusterStatus::seen(&node.topology, local, Usage::of(node));
        ClusterStatus {
            databases: node.modes.check_stores().err(),
            ..status
        }
    }

    /// The same without what is known of databases.
    pub(crate) fn seen(topology: &Topology, local: SocketAddr, usage: Usage) -> ClusterStatus {
        let (map, layout, group) = (topology.map(), topology.layout(), topology.group());
        let state = map.state();
        let metadata = |node: &NodeId| {
            let role = if group.leader == Some(*node) {
                "leader"
            } else if group.voters.is_empty() {
                return None;
            } else if group.voters.contains(node) {
                "voter"
            } else {
                "reader"
            };
            Some(role.to_owned())
        };
        let none = Share::default();
        let nodes = map.nodes().map(|(id, record)| {
            let share = layout.shares().get(id).unwrap_or(&none);
            let (host, port) = topology.address(*id, &record.info, local);
            NodeStatus {
                id: *id,
                host,
                port,
                any_port: record.info.any_port,
                admin_port: record.info.admin_port,
                zone: record.info.zone.clone(),
                incarnation: record.incarnation.0,
                metadata: metadata(id),
                standing: topology.standing(*id, record),
                led: share.led,
                copies: share.copies,
                learning: share.learning,
                moving: share.moving,
                drains: record.drains,
                lost: share.lost,
            }
        });
        ClusterStatus {
            me: topology.me().node,
            lineage: state.lineage().map(|lineage| lineage.to_string()),
            version: map.version(),
            replication_factor: state.replication_factor(),
            write_quorum: state.write_quorum(),
            read_quorum: state.read_quorum(),
            on_loss: state.on_loss(),
            waiting: topology.waiting(),
            leader: group.leader,
            slots: Layout::counts(&layout),
            nodes: nodes.collect(),
            usage,
            databases: None,
        }
    }

    /// What is not as it should be, a sentence each; empty for a healthy cluster.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        if self.lineage.is_none() {
            return vec!["the cluster has not been made yet".to_owned()];
        }
        let SlotCounts {
            covered,
            below_w,
            short,
            ..
        } = self.slots;
        let (n, w) = (self.replication_factor, self.write_quorum);
        let mut problems = Vec::new();
        let mut slots = |count: u16, what: String| {
            if count > 0 {
                problems.push(format!("{count} slots {what}"));
            }
        };
        slots(
            (SLOTS - covered).saturating_sub(self.waiting),
            "have no primary: they serve nothing".to_owned(),
        );
        slots(self.waiting, LOST.to_owned());
        slots(
            below_w,
            format!("have fewer than W = {w} copies in sync: they take no writes"),
        );
        slots(short, format!("have fewer than N = {n} copies in sync"));
        for node in self
            .nodes
            .iter()
            .filter(|node| node.standing != Standing::Up)
        {
            let (id, standing) = (node.id.short(), node.standing.name());
            problems.push(format!(
                "node {id} ({}:{}) is {standing}",
                node.host, node.port
            ));
        }
        if self.leader.is_none() {
            problems.push("no leader of the metadata is known".to_owned());
        }
        problems.extend(self.database_problem());
        problems
    }

    /// That the node that says so cannot use its databases, if that is so.
    #[must_use]
    pub fn database_problem(&self) -> Option<String> {
        let (id, why) = (self.me.short(), self.databases.as_ref()?);
        Some(format!("node {id} is not ready for its databases: {why}"))
    }
}

/// Bytes as people read them.
#[must_use]
pub fn human(bytes: u64) -> String {
    let units = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.into_iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{:.1} {name}", bytes as f64 / unit as f64),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{formed, member, seen};
    use super::*;
    use cluster::metadata::State;

    fn status(topology: &Topology) -> ClusterStatus {
        ClusterStatus::seen(
            topology,
            "127.0.0.1:7001".parse().unwrap(),
            Usage::default(),
        )
    }

    #[test]
    fn a_healthy_cluster_has_no_problems() {
        let status = status(&seen(formed(3), 0));
        assert_eq!(status.problems(), Vec::<String>::new());
        let roles: Vec<_> = status
            .nodes
            .iter()
            .map(|node| node.metadata.as_deref())
            .collect();
        assert_eq!(roles, [Some("voter"), Some("leader"), Some("reader")]);
        assert_eq!(status.nodes.iter().map(|node| node.led).sum::<u16>(), SLOTS);
        assert!(
            status
                .nodes
                .iter()
                .all(|node| node.led + node.copies == SLOTS)
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        let down = status(&seen(formed(3), 3)).problems();
        assert_eq!(down, ["node 03030303 (10.0.0.3:6379) is down"]);
        let unmade = status(&seen(State::default(), 0)).problems();
        assert_eq!(unmade, ["the cluster has not been made yet"]);
        let mut status = status(&seen(formed(3), 0));
        status.leader = None;
        status.slots.covered -= 5;
        status.waiting = 3;
        status.slots.below_w = 1;
        status.slots.short = 3;
        status.databases = Some("store main: is locked".to_owned());
        assert_eq!(
            status.problems(),
            [
                "2 slots have no primary: they serve nothing",
                "3 slots may have lost acknowledged writes with their copies, and wait: `CONFIG \
                 SET on-loss accept` lets them go on without",
                "1 slots have fewer than W = 2 copies in sync: they take no writes",
                "3 slots have fewer than N = 3 copies in sync",
                "no leader of the metadata is known",
                "node 01010101 is not ready for its databases: store main: is locked",
            ]
        );
    }

    #[test]
    fn it_reads_back_what_it_writes() {
        let status = status(&seen(formed(3), 2));
        let text = serde_json::to_string(&status).unwrap();
        assert!(
            text.contains(&format!("\"me\":\"{}\"", member(1).node)),
            "{text}"
        );
        assert!(text.contains("\"standing\":\"down\""), "{text}");
        assert_eq!(
            serde_json::from_str::<ClusterStatus>(&text).unwrap(),
            status
        );
    }

    #[test]
    fn bytes_are_shown_in_their_greatest_unit() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (5 << 30, "5.0 GiB"),
        ] {
            assert_eq!(human(bytes), shown);
        }
    }
}
