//! `CLUSTER NODES` and `CLUSTER INFO`: who takes part, and how the cluster stands.

use std::fmt::Write as _;
use std::net::SocketAddr;

use cluster::metadata::NodeRecord;
use cluster::{NodeId, SLOTS};

use crate::topology::{Share, Standing, Topology};

/// A line for each node:
/// `id host:port@peerport flags master ping-sent pong-received epoch link-state slot …`
pub(super) fn lines(
    topology: &Topology,
    local: SocketAddr,
    is_linked: impl Fn(NodeId) -> bool,
) -> String {
    let (map, layout) = (topology.map(), topology.layout());
    let none = Share::default();
    let mut text = String::new();
    for (id, record) in map.nodes() {
        let share = layout.shares().get(id).unwrap_or(&none);
        let (host, port) = topology.address(*id, &record.info, local);
        let hostname = match host.parse::<std::net::IpAddr>() {
            Ok(_) => String::new(),
            Err(_) => format!(",{host}"),
        };
        let is_me = *id == topology.me().node;
        let flags = flags(is_me, topology.standing(*id, record));
        let link = if is_me || is_linked(*id) {
            "connected"
        } else {
            "disconnected"
        };
        let (peer_port, epoch) = (peer_port(record), share.epoch.0);
        // Nodes watch each other by gossip and streams, not by pings of each of them.
        let line = format!("{id} {host}:{port}@{peer_port}{hostname} {flags} - 0 0 {epoch} {link}");
        text += &line;
        for (first, last) in &share.ranges {
            // Writing to a string does not fail.
            let _ = match first == last {
                true => write!(text, " {first}"),
                false => write!(text, " {first}-{last}"),
            };
        }
        text.push('\n');
    }
    text
}

fn flags(is_me: bool, standing: Standing) -> String {
    let mut flags = String::new();
    if is_me {
        flags += "myself,";
    }
    flags += "master";
    flags += match standing {
        Standing::Up => "",
        Standing::Suspect => ",fail?",
        Standing::Down | Standing::Stopped => ",fail",
    };
    flags
}

fn peer_port(record: &NodeRecord) -> u16 {
    let port = record
        .info
        .peer_address
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse().ok());
    port.unwrap_or(0)
}

/// The fields of `CLUSTER INFO`. There are no messages of Redis's cluster bus to be counted.
pub(super) fn info(topology: &Topology) -> String {
    let (map, layout) = (topology.map(), topology.layout());
    let counts = layout.counts();
    let (mut suspect, mut down) = (0, 0);
    for (id, record) in map.nodes() {
        let led = layout.shares().get(id).map_or(0, |share| share.led);
        match topology.standing(*id, record) {
            Standing::Up => {}
            Standing::Suspect => suspect += led,
            Standing::Down | Standing::Stopped => down += led,
        }
    }
    let fails = counts.covered < SLOTS || down > 0;
    let leading = layout
        .shares()
        .values()
        .filter(|share| share.led > 0)
        .count();
    let mine = layout
        .shares()
        .get(&topology.me().node)
        .map_or(0, |share| share.epoch.0);
    let fields: [(&str, u64); 9] = [
        ("cluster_slots_assigned", counts.assigned.into()),
        ("cluster_slots_ok", (counts.covered - suspect - down).into()),
        ("cluster_slots_pfail", suspect.into()),
        (
            "cluster_slots_fail",
            (counts.assigned - counts.covered + down).into(),
        ),
        ("cluster_known_nodes", map.nodes().len() as u64),
        ("cluster_size", leading as u64),
        ("cluster_current_epoch", layout.epoch().0.into()),
        ("cluster_my_epoch", mine.into()),
        ("total_cluster_links_buffer_limit_exceeded", 0),
    ];
    let mut text = format!("cluster_state:{}\r\n", if fails { "fail" } else { "ok" });
    for (name, value) in fields {
        text += &format!("{name}:{value}\r\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::tests::{formed, member, seen};
    use cluster::metadata::{Entry, FenceSlot, State};
    use cluster::{NodeInfo, Slot};

    fn local() -> SocketAddr {
        "127.0.0.1:6379".parse().unwrap()
    }

    fn field(topology: &Topology, name: &str) -> String {
        let info = info(topology);
        let line = info
            .split("\r\n")
            .find_map(|line| line.strip_prefix(&format!("{name}:")));
        line.unwrap().to_owned()
    }

    #[test]
    fn a_node_is_a_line_with_the_slots_that_it_leads() {
        let topology = seen(formed(1), 0);
        let id = member(1).node;
        let line = "10.0.0.1:6379@16379 myself,master - 0 0 1 connected 0-16383";
        assert_eq!(
            lines(&topology, local(), |_| false),
            format!("{id} {line}\n")
        );
    }

    #[test]
    fn all_nodes_are_masters_and_all_slots_are_there() {
        let topology = seen(formed(3), 3);
        let text = lines(&topology, local(), |node| node == member(2).node);
        let mut slots = 0;
        for (number, line) in (1..).zip(text.lines()) {
            let words: Vec<&str> = line.split(' ').collect();
            let flags = ["myself,master", "master", "master,fail"][number - 1];
            let link = ["connected", "connected", "disconnected"][number - 1];
            assert_eq!((words[2], words[7]), (flags, link));
            for range in &words[8..] {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                slots += 1 + last.parse::<u16>().unwrap() - first.parse::<u16>().unwrap();
            }
        }
        assert_eq!(slots, SLOTS);
    }

    #[test]
    fn a_host_name_is_shown_as_redis_shows_it() {
        let mut state = State::new(SLOTS);
        let Entry::Form(mut form) = crate::topology::tests::form(1) else {
            panic!("a form")
        };
        form.nodes[0].1 = NodeInfo {
            client_host: "cache.example".into(),
            ..form.nodes[0].1.clone()
        };
        state.apply(1, &Entry::Form(form));
        let text = lines(&seen(state, 0), local(), |_| true);
        assert_eq!(
            text.split(' ').nth(1),
            Some("cache.example:6379@16379,cache.example")
        );
    }

    #[test]
    fn the_cluster_fails_while_a_slot_has_no_primary() {
        assert_eq!(field(&seen(formed(3), 0), "cluster_state"), "ok");
        let mut state = formed(3);
        let slot = Slot::new(5).unwrap();
        let rev = state.placement(slot).rev;
        state.apply(2, &Entry::Fence(vec![FenceSlot { slot, rev }]));
        let topology = seen(state, 0);
        let of = |name| field(&topology, name);
        assert_eq!(
            (of("cluster_state"), of("cluster_slots_ok")),
            ("fail".into(), "16383".into())
        );
        assert_eq!(
            (of("cluster_slots_assigned"), of("cluster_slots_fail")),
            ("16384".into(), "1".into())
        );
        assert_eq!(
            (of("cluster_known_nodes"), of("cluster_size")),
            ("3".into(), "3".into())
        );
        assert_eq!(field(&seen(State::default(), 0), "cluster_state"), "fail");
    }

    #[test]
    fn the_slots_of_a_node_that_is_down_have_failed() {
        let topology = seen(formed(3), 3);
        let led = topology.layout().shares()[&member(3).node].led;
        assert_eq!(field(&topology, "cluster_slots_fail"), led.to_string());
        assert_eq!(
            field(&topology, "cluster_slots_ok"),
            (SLOTS - led).to_string()
        );
        assert_eq!(field(&topology, "cluster_state"), "fail");
    }
}
