//! `CLUSTER SLOTS` and `CLUSTER SHARDS`: which nodes hold which slots.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use cluster::metadata::NodeRecord;
use cluster::{NodeId, SlotMap};

use crate::resp::{Reply, RespVersion};
use crate::topology::{Range, Standing, Topology};

/// `CLUSTER SLOTS`, encoded once for each version of the slot map: when a node has failed, every
/// client asks for it at once.
pub(super) fn encoded(topology: &Topology, of: (RespVersion, SocketAddr, bool)) -> Reply<'static> {
    let layout = topology.layout();
    let (version, local, knows_replicas) = of;
    let encode = || {
        let ranges = if knows_replicas {
            layout.introduced()
        } else {
            layout.primaries()
        };
        let mut out = BytesMut::new();
        slots(topology, ranges, local).encode(version, &mut out);
        out.freeze()
    };
    Reply::Encoded(layout.replies().get_or_make(of, encode))
}

fn slots(topology: &Topology, ranges: Vec<Range>, local: SocketAddr) -> Reply<'static> {
    let map = topology.map();
    let range = |range: Range| {
        let mut items = vec![
            Reply::Int(range.first.into()),
            Reply::Int(range.last.into()),
        ];
        let nodes = std::iter::once(range.primary).chain(range.replicas);
        items.extend(nodes.filter_map(|id| {
            let (host, port) = topology.address(id, &map.node(&id)?.info, local);
            // Redis says host names and addresses besides the preferred one in a fourth element;
            // a node here has one of them.
            let none = Reply::Map(Vec::new());
            let id = Reply::Bulk(id.to_string().into());
            Some(Reply::Array(vec![
                Reply::Bulk(host.into()),
                Reply::Int(port.into()),
                id,
                none,
            ]))
        }));
        Reply::Array(items)
    };
    Reply::Array(ranges.into_iter().map(range).collect())
}

/// `CLUSTER SHARDS`.
pub(super) fn shards(topology: &Topology, local: SocketAddr) -> Reply<'static> {
    let (map, layout) = (topology.map(), topology.layout());
    let member = |id: NodeId, role| member(topology, &map, id, role, local);
    let mut all = Vec::new();
    for shard in layout.shards() {
        let slots = shard
            .ranges
            .iter()
            .flat_map(|(first, last)| [*first, *last]);
        let replicas = shard.replicas.iter().map(|id| member(*id, "replica"));
        let nodes = std::iter::once(member(shard.primary, "master")).chain(replicas);
        let slots = slots.map(|slot| Reply::Int(slot.into())).collect();
        all.push(Reply::Map(vec![
            (Reply::text("slots"), Reply::Array(slots)),
            (
                Reply::text("nodes"),
                Reply::Array(nodes.flatten().collect()),
            ),
        ]));
    }
    // A node that holds nothing yet is a shard by itself, as in Redis.
    let idle = layout
        .shares()
        .iter()
        .filter(|(_, share)| share.led + share.copies == 0);
    for (id, _) in idle {
        all.push(Reply::Map(vec![
            (Reply::text("slots"), Reply::Array(Vec::new())),
            (
                Reply::text("nodes"),
                Reply::Array(member(*id, "master").into_iter().collect()),
            ),
        ]));
    }
    Reply::Array(all)
}

fn member(
    topology: &Topology,
    map: &Arc<SlotMap>,
    id: NodeId,
    role: &'static str,
    local: SocketAddr,
) -> Option<Reply<'static>> {
    let record: &NodeRecord = map.node(&id)?;
    let (host, port) = topology.address(id, &record.info, local);
    let is_name = host.parse::<std::net::IpAddr>().is_err();
    let health = match topology.standing(id, record) {
        Standing::Up | Standing::Suspect => "online",
        Standing::Down | Standing::Stopped => "fail",
    };
    let host = || Reply::Bulk(host.clone().into());
    let mut fields = vec![
        (Reply::text("id"), Reply::Bulk(id.to_string().into())),
        (Reply::text("port"), Reply::Int(port.into())),
        (Reply::text("ip"), host()),
        (Reply::text("endpoint"), host()),
    ];
    if is_name {
        fields.push((Reply::text("hostname"), host()));
    }
    fields.extend([
        (Reply::text("role"), Reply::text(role)),
        // Each slot has a history of its own, so there is no offset of a node.
        (Reply::text("replication-offset"), Reply::Int(0)),
        (Reply::text("health"), Reply::text(health)),
    ]);
    Some(Reply::Map(fields))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::tests::{formed, member, seen};
    use std::collections::BTreeSet;

    fn local() -> SocketAddr {
        "127.0.0.1:6379".parse().unwrap()
    }

    fn text(reply: &Reply<'_>, version: RespVersion) -> String {
        let mut out = BytesMut::new();
        reply.encode(version, &mut out);
        String::from_utf8(out.to_vec())
            .unwrap()
            .replace("\r\n", " ")
    }

    #[test]
    fn slots_has_the_shape_of_redis() {
        let topology = seen(formed(1), 0);
        let id = member(1).node;
        for (version, none) in [(RespVersion::Resp2, "*0"), (RespVersion::Resp3, "%0")] {
            let reply = encoded(&topology, (version, local(), true));
            let node = format!("*4 $8 10.0.0.1 :6379 $40 {id} {none} ");
            assert_eq!(text(&reply, version), format!("*1 *3 :0 :16383 {node}"));
        }
    }

    #[test]
    fn shards_has_the_shape_of_redis() {
        let topology = seen(formed(1), 0);
        let node = format!(
            "%7 $2 id $40 {} $4 port :6379 $2 ip $8 10.0.0.1 $8 endpoint $8 10.0.0.1 \
             $4 role $6 master $18 replication-offset :0 $6 health $6 online ",
            member(1).node
        );
        let expected = format!("*1 %2 $5 slots *2 :0 :16383 $5 nodes *1 {node}");
        assert_eq!(
            text(&shards(&topology, local()), RespVersion::Resp3),
            expected
        );
    }

    #[test]
    fn the_encoded_slots_are_kept_for_one_version_of_the_map() {
        let topology = seen(formed(3), 0);
        let encoded = |version| match encoded(&topology, (version, local(), true)) {
            Reply::Encoded(bytes) => bytes,
            other => panic!("{other:?}"),
        };
        let (first, again) = (encoded(RespVersion::Resp2), encoded(RespVersion::Resp2));
        assert_eq!(first.as_ptr(), again.as_ptr());
        assert_ne!(first, encoded(RespVersion::Resp3));
    }

    #[test]
    fn who_cannot_use_replicas_is_told_of_none() {
        let topology = seen(formed(3), 0);
        let Reply::Encoded(bytes) = encoded(&topology, (RespVersion::Resp2, local(), false)) else {
            panic!("it is encoded")
        };
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let ranges = topology.layout().primaries().len();
        assert_eq!(text.matches("10.0.0.").count(), ranges);
    }

    #[test]
    fn every_node_is_master_of_one_shard_and_replica_of_the_others() {
        let topology = seen(formed(3), 3);
        let Reply::Array(shards) = shards(&topology, local()) else {
            panic!("an array")
        };
        assert_eq!(shards.len(), 3);
        let mut masters = BTreeSet::new();
        for shard in &shards {
            let shown = text(shard, RespVersion::Resp2);
            let (_, nodes) = shown.split_once("nodes *3 ").unwrap();
            masters.insert(nodes.split(' ').nth(4).unwrap().to_owned());
            assert_eq!(nodes.matches("$7 replica").count(), 2);
            assert_eq!(nodes.matches("$4 fail").count(), 1);
        }
        assert_eq!(masters.len(), 3);
    }
}
