//! `CLUSTER`: who holds which slots, in the shapes of Redis 7.0, and [`status`] in one of our own.
//!
//! A Redis node either leads slots or is the replica of one that does. A node here leads some slots
//! and holds copies of others, which no Redis node does, so what clients are shown is chosen by
//! what they do with it:
//!
//! - `SLOTS`, from which nearly all cluster clients route (redis-py, ioredis, Jedis, go-redis,
//!   redis-rs), says for each range its primary and its replicas, and they route by range. A client
//!   that sends `READONLY` on each connection may so read from any copy. Clients that keep one role
//!   for a node, not one for a range, must not take a primary for a mere replica:
//!   [`Layout::introduced`](crate::topology::Layout::introduced) sees to that.
//! - ioredis has one connection for a node, and sends `READONLY` on it only where the node leads
//!   nothing at all; with `scaleReads` it then asks the same replica again and again, though each
//!   time it is sent to the primary. It is told of primaries alone, so that its reads go there.
//! - `NODES`, which redis-benchmark, redis-cli and Lettuce read, has one line and one role for a
//!   node: every node is a master, with the slots that it leads. A line `slave` would hide the
//!   slots that the node leads, and reads from copies are no part of what these clients do by it.
//! - `SHARDS` has a shard for each primary with one set of replicas, so a node may be in several,
//!   as master of one and replica of others.
//!
//! Slots without a primary are in none of them, and `cluster_state` is `fail` meanwhile.

mod movement;
mod nodes;
mod slots;

use std::ops::ControlFlow;

use bytes::Bytes;
use cluster::{SLOTS, Slot};

use crate::client_state::Port;
use crate::command::keyspace::{FRAME_BYTES, TOO_MANY};
use crate::command::{Answer, Args, Session};
use crate::error::CommandError;
use crate::resp::Reply;
use crate::store::{Entry, Kind};
use crate::topology::status::ClusterStatus;

pub(crate) use movement::{balance, drain, forget, plan, transfer};

type Answered<'a> = Result<Answer<'a>, CommandError>;

/// The greatest number of entries that are looked at under one hold of a slot's lock.
const ENTRIES_AT_ONCE: usize = 256;

pub(crate) fn slots<'a>(session: &mut Session<'_>, _: &mut Args<'a>) -> Answered<'a> {
    on_cluster_port(session)?;
    let card = &session.client.card;
    // The name that ioredis gives the connection on which it asks.
    let knows_replicas = !card.names.lock().name.starts_with("ioredis-cluster(");
    let of = (session.client.version, card.local, knows_replicas);
    Ok(slots::encoded(&session.node.topology, of).into())
}

pub(crate) fn shards<'a>(session: &mut Session<'_>, _: &mut Args<'a>) -> Answered<'a> {
    on_cluster_port(session)?;
    Ok(slots::shards(&session.node.topology, session.client.card.local).into())
}

pub(crate) fn nodes<'a>(session: &mut Session<'_>, _: &mut Args<'a>) -> Answered<'a> {
    on_cluster_port(session)?;
    let replicas = session.node.slots.replicas();
    let peers = replicas.peers();
    let is_linked = |node| {
        peers
            .iter()
            .any(|peer| peer.member().node == node && peer.is_connected())
    };
    let text = nodes::lines(&session.node.topology, session.client.card.local, is_linked);
    Ok(Reply::Verbatim(text.into()).into())
}

pub(crate) fn info<'a>(session: &mut Session<'_>, _: &mut Args<'a>) -> Answered<'a> {
    on_cluster_port(session)?;
    Ok(Reply::Verbatim(nodes::info(&session.node.topology).into()).into())
}

pub(crate) fn my_id<'a>(session: &mut Session<'_>, _: &mut Args<'a>) -> Answered<'a> {
    on_cluster_port(session)?;
    Ok(Reply::Bulk(session.node.topology.me().node.to_string().into()).into())
}

pub(crate) fn key_slot<'a>(session: &mut Session<'_>, args: &mut Args<'a>) -> Answered<'a> {
    on_cluster_port(session)?;
    Ok(Reply::Int(Slot::of(args.bytes()?).number().into()).into())
}

/// How many keys this node has in a slot, be it as primary or as copy.
pub(crate) fn count_keys<'a>(session: &mut Session<'_>, args: &mut Args<'a>) -> Answered<'a> {
    on_cluster_port(session)?;
    let slot = slot(args.int()?).ok_or("ERR Invalid slot")?;
    let keys = session.node.slots.lock(slot).table.tally().keys;
    Ok(Reply::Int(i64::try_from(keys).unwrap_or(i64::MAX)).into())
}

/// Keys that this node has in a slot, be it as primary or as copy: like a `READONLY` read it may
/// show what is undone later.
pub(crate) fn get_keys<'a>(session: &mut Session<'_>, args: &mut Args<'a>) -> Answered<'a> {
    on_cluster_port(session)?;
    let (number, count) = (args.int()?, args.int()?);
    let (slot, count) = slot(number)
        .zip(usize::try_from(count).ok())
        .ok_or("ERR Invalid slot or number of keys")?;
    let now = cluster::clock::unix_ms();
    let most = session.node.parameters.limits.load().output_bytes_max;
    let mut bytes = 0;
    let mut keys = Vec::new();
    let mut position = Some(0);
    while let Some(from) = position.filter(|_| keys.len() < count) {
        let mut room = ENTRIES_AT_ONCE;
        let visit = |entry: &Entry| {
            if entry.kind() != Kind::Absent && !entry.is_expired(now) {
                keys.push(Reply::Bulk(Bytes::copy_from_slice(entry.key())));
                bytes += entry.key().len() + FRAME_BYTES;
            }
            room -= 1;
            if room == 0 || bytes > most || keys.len() == count {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        position = session.node.slots.lock(slot).table.scan(from, visit);
        if bytes > most {
            return Err(TOO_MANY.into());
        }
    }
    Ok(Reply::Array(keys).into())
}

/// The state of the cluster as JSON: see [`ClusterStatus`]. A command of Quorate's own.
pub(crate) fn status<'a>(session: &mut Session<'_>, _: &mut Args<'a>) -> Answered<'a> {
    on_cluster_port(session)?;
    let node = session.node;
    let status = ClusterStatus::of(node, session.client.card.local);
    let json = serde_json::to_vec(&status).expect("all keys of the document are text");
    Ok(Reply::bulk(json).into())
}

pub(crate) fn help<'a>(session: &mut Session<'_>, args: &mut Args<'a>) -> Answered<'a> {
    on_cluster_port(session)?;
    Ok(super::help::of(args.command()).into())
}

fn slot(number: i64) -> Option<Slot> {
    u16::try_from(number)
        .ok()
        .filter(|number| *number < SLOTS)
        .and_then(Slot::new)
}

/// Plain clients see a standalone server.
fn on_cluster_port(session: &Session<'_>) -> Result<(), CommandError> {
    match session.client.port {
        Port::Cluster => Ok(()),
        Port::Any => Err("ERR This instance has cluster support disabled".into()),
    }
}
