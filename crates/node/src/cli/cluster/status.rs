//! `quorate cluster status`: how a cluster stands. It ends with 0 if all is well, else with 1.

use std::collections::BTreeMap;

use clap::Args;
use cluster::{NodeId, SLOTS};
use node::topology::status::{ClusterStatus, NodeStatus, Usage, human};
use serde::Serialize;

use super::client::{Account, Client};
use super::table::{self, Side};
use super::{Failure, Target};

/// So many nodes are asked at once.
const ASKED_AT_ONCE: usize = 32;

/// Show the nodes and the slots of a cluster, and what is wrong with them
///
/// Ends with 0 if nothing is wrong, with 1 if something is or if nobody answers.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    target: Target,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

/// What one node knows of the cluster, and what each node says of itself.
#[derive(Serialize)]
struct Survey {
    healthy: bool,
    problems: Vec<String>,
    cluster: ClusterStatus,
    /// Of the nodes that answered.
    usage: BTreeMap<NodeId, Usage>,
}

/// Asks the cluster, and prints what it says.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let account = arguments.target.account();
    let cluster = ask(&arguments.target.node, &account).map_err(Failure::Run)?;
    let survey = Survey::of(cluster, &account);
    if arguments.json {
        let json =
            serde_json::to_string_pretty(&survey).expect("all keys of the document are text");
        println!("{json}");
    } else {
        print!("{}", survey.text());
    }
    match survey.problems.len() {
        0 => Ok(()),
        1 => Err(Failure::Run(
            "the cluster is not healthy: 1 problem".to_owned(),
        )),
        count => Err(Failure::Run(format!(
            "the cluster is not healthy: {count} problems"
        ))),
    }
}

fn ask(address: &str, account: &Account) -> Result<ClusterStatus, String> {
    let mut client = Client::connect(address, account)?;
    ask_client(&mut client, address)
}

/// What the node at this address, to which there is a connection, knows of the cluster.
pub(super) fn ask_client(client: &mut Client, address: &str) -> Result<ClusterStatus, String> {
    let said = client.ask(&["CLUSTER", "STATUS"]).map_err(|error| {
        let hint = if error.contains("cluster support disabled") {
            "; that is its port for plain clients, not its cluster port"
        } else {
            ""
        };
        format!("{address}: {error}{hint}")
    })?;
    serde_json::from_slice(&said)
        .map_err(|error| format!("{address} is no node of this version: {error}"))
}

impl Survey {
    /// Asks each node for what only it knows.
    fn of(mut cluster: ClusterStatus, account: &Account) -> Survey {
        let mut usage = BTreeMap::from([(cluster.me, cluster.usage)]);
        let me = cluster.me;
        let others: Vec<&NodeStatus> = cluster.nodes.iter().filter(|node| node.id != me).collect();
        let mut answers = Vec::new();
        for some in others.chunks(ASKED_AT_ONCE) {
            std::thread::scope(|scope| {
                let asked: Vec<_> = some
                    .iter()
                    .map(|node| scope.spawn(|| (node.id, ask(&address(node), account))))
                    .collect();
                answers.extend(asked.into_iter().filter_map(|thread| thread.join().ok()));
            });
        }
        let mut troubles = Vec::new();
        for (id, answer) in answers {
            match answer {
                Ok(status) => {
                    usage.insert(id, status.usage);
                    learn_roles(&mut cluster, &status);
                    troubles.extend(status.database_problem());
                }
                // One that is known to be down is among the problems already.
                Err(_)
                    if cluster
                        .nodes
                        .iter()
                        .any(|node| node.id == id && !node.is_up()) => {}
                Err(error) => troubles.push(error),
            }
        }
        let mut problems = cluster.problems();
        problems.extend(troubles);
        Survey {
            healthy: problems.is_empty(),
            problems,
            cluster,
            usage,
        }
    }

    fn text(&self) -> String {
        let cluster = &self.cluster;
        let slots = cluster.slots;
        let lineage = cluster.lineage.as_deref().unwrap_or("not made yet");
        let leader = cluster
            .leader
            .map_or_else(|| "nobody known".to_owned(), |id| id.short());
        let mut lines = vec![
            format!("Cluster   {lineage}, {} nodes", cluster.nodes.len()),
            format!(
                "Copies    N = {}, W = {}, R = {}; on loss: {}",
                cluster.replication_factor,
                cluster.write_quorum,
                cluster.read_quorum,
                cluster.on_loss
            ),
            format!("Metadata  led by {leader}, at entry {}", cluster.version),
            format!(
                "Slots     {} of {SLOTS} have a primary; {} without, {} below W, {} below N, {} \
                 with learners",
                slots.covered,
                SLOTS - slots.covered,
                slots.below_w,
                slots.short,
                slots.learning
            ),
            String::new(),
        ];
        lines.extend(self.table());
        lines.push(String::new());
        if self.problems.is_empty() {
            lines.push("Healthy.".to_owned());
        } else {
            lines.push("Not healthy:".to_owned());
            lines.extend(self.problems.iter().map(|problem| format!("  {problem}")));
        }
        lines.join("\n") + "\n"
    }

    fn table(&self) -> Vec<String> {
        let (left, right) = (Side::Left, Side::Right);
        let columns = [
            ("node", left),
            ("address", left),
            ("zone", left),
            ("metadata", left),
            ("state", left),
            ("leads", right),
            ("copies", right),
            ("learns", right),
            ("keys", right),
            ("memory", right),
        ];
        let unknown = || "-".to_owned();
        let row = |node: &NodeStatus| {
            let usage = self.usage.get(&node.id);
            vec![
                node.id.short(),
                address(node),
                if node.zone.is_empty() {
                    unknown()
                } else {
                    node.zone.clone()
                },
                node.metadata.clone().unwrap_or_else(unknown),
                node.state().to_owned(),
                node.led.to_string(),
                node.copies.to_string(),
                (node.learning + node.moving + node.lost).to_string(),
                usage.map_or_else(unknown, |usage| usage.keys.to_string()),
                usage.map_or_else(unknown, |usage| human(usage.memory_bytes)),
            ]
        };
        let rows: Vec<Vec<String>> = self.cluster.nodes.iter().map(row).collect();
        table::lines(&columns, &rows)
    }
}

/// A node that does not take part in the metadata group cannot say who does; others can.
fn learn_roles(cluster: &mut ClusterStatus, other: &ClusterStatus) {
    cluster.leader = cluster.leader.or(other.leader);
    for node in cluster
        .nodes
        .iter_mut()
        .filter(|node| node.metadata.is_none())
    {
        let same = other.nodes.iter().find(|known| known.id == node.id);
        node.metadata = same.and_then(|known| known.metadata.clone());
    }
}

/// The address of its cluster port.
pub(super) fn address(node: &NodeStatus) -> String {
    if node.host.contains(':') {
        format!("[{}]:{}", node.host, node.port)
    } else {
        format!("{}:{}", node.host, node.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster::metadata::OnLoss;
    use node::topology::Standing;
    use node::topology::layout::SlotCounts;

    fn node(number: u8) -> NodeStatus {
        NodeStatus {
            id: NodeId::from_bytes([number; 20]),
            host: "127.0.0.1".to_owned(),
            port: 7000 + u16::from(number),
            any_port: 0,
            admin_port: 0,
            zone: String::new(),
            incarnation: 1,
            metadata: (number == 1).then(|| "leader".to_owned()),
            standing: Standing::Up,
            led: 8192,
            copies: 8192,
            learning: 0,
            moving: 0,
            drains: false,
            lost: 0,
        }
    }

    fn survey() -> Survey {
        let cluster = ClusterStatus {
            me: NodeId::from_bytes([1; 20]),
            lineage: Some("abc".to_owned()),
            version: 12,
            replication_factor: 2,
            write_quorum: 2,
            read_quorum: 1,
            on_loss: OnLoss::Accept,
            waiting: 0,
            leader: Some(NodeId::from_bytes([1; 20])),
            slots: SlotCounts {
                assigned: SLOTS,
                covered: SLOTS,
                ..SlotCounts::default()
            },
            nodes: vec![node(1), node(2)],
            usage: Usage {
                keys: 5,
                memory_bytes: 2048,
                ..Usage::default()
            },
            databases: None,
        };
        let usage = BTreeMap::from([(cluster.me, cluster.usage)]);
        Survey {
            healthy: true,
            problems: cluster.problems(),
            cluster,
            usage,
        }
    }

    #[test]
    fn a_healthy_cluster_is_shown() {
        let expected = "\
Cluster   abc, 2 nodes
Copies    N = 2, W = 2, R = 1; on loss: accept
Metadata  led by 01010101, at entry 12
Slots     16384 of 16384 have a primary; 0 without, 0 below W, 0 below N, 0 with learners

node      address         zone  metadata  state  leads  copies  learns  keys   memory
01010101  127.0.0.1:7001  -     leader    up      8192    8192       0     5  2.0 KiB
02020202  127.0.0.1:7002  -     -         up      8192    8192       0     -        -

Healthy.
";
        assert_eq!(survey().text(), expected);
    }

    #[test]
    fn what_is_wrong_is_listed() {
        let mut survey = survey();
        survey.cluster.nodes[1].standing = Standing::Down;
        survey.problems = survey.cluster.problems();
        let text = survey.text();
        assert!(
            text.ends_with("Not healthy:\n  node 02020202 (127.0.0.1:7002) is down\n"),
            "{text}"
        );
    }

    #[test]
    fn roles_are_learnt_from_those_who_know_them() {
        let mut cluster = survey().cluster;
        let mut other = cluster.clone();
        other.nodes[0].metadata = None;
        other.nodes[1].metadata = Some("voter".to_owned());
        cluster.leader = None;
        learn_roles(&mut cluster, &other);
        assert_eq!(cluster.leader, other.leader);
        let roles: Vec<_> = cluster
            .nodes
            .iter()
            .map(|node| node.metadata.as_deref())
            .collect();
        assert_eq!(roles, [Some("leader"), Some("voter")]);
    }

    #[test]
    fn an_address_of_version_6_is_in_brackets() {
        assert_eq!(
            address(&NodeStatus {
                host: "::1".to_owned(),
                ..node(1)
            }),
            "[::1]:7001"
        );
    }
}
