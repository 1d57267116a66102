//! The rows of the group `cluster`.

use super::Arity::{AtLeast, Exactly};
use super::flag::{ADMIN, FAST, LOADING, STALE};
use super::{Command, acl, parent, plain};
use crate::command::{cluster, connection};

const VOLATILE: &[&str] = &["nondeterministic_output"];

#[rustfmt::skip] // a command is a line, and its documentation another
pub(super) const ROWS: &[Command] = &[
    plain("asking", Exactly(1), FAST, acl::CONNECTION, connection::asking)
        .doc("3.0.0", "O(1)", "Lets the next command use a slot that is being imported."),
    parent("cluster", 0, 0)
        .doc("3.0.0", "Depends on subcommand.", "Shows who holds which slots."),
    plain("cluster|balance", Exactly(3), ADMIN | STALE, 0, cluster::balance)
        .doc("7.0.0", "O(1)", "Lets slots move so that all nodes have their share, or not."),
    plain("cluster|countkeysinslot", Exactly(3), STALE, 0, cluster::count_keys)
        .doc("3.0.0", "O(1)", "Returns how many keys this node has in a slot."),
    plain("cluster|drain", AtLeast(3), ADMIN | STALE, 0, cluster::drain)
        .doc("7.0.0", "O(1)", "Has a node give away all that it holds, or take its share again."),
    plain("cluster|forget", Exactly(3), ADMIN | STALE, 0, cluster::forget)
        .doc("3.0.0", "O(N) for N slots", "Removes a node that is gone for good."),
    plain("cluster|getkeysinslot", Exactly(4), STALE, 0, cluster::get_keys)
        .tips(VOLATILE).doc("3.0.0", "O(N) for N keys", "Returns keys of this node in a slot."),
    plain("cluster|help", Exactly(2), LOADING | STALE, 0, cluster::help)
        .doc("5.0.0", "O(1)", "Lists the subcommands."),
    plain("cluster|info", Exactly(2), STALE, 0, cluster::info)
        .tips(VOLATILE).doc("3.0.0", "O(N) for N nodes", "Returns how the cluster stands."),
    plain("cluster|keyslot", Exactly(3), STALE, 0, cluster::key_slot)
        .doc("3.0.0", "O(N) for N bytes", "Returns the slot of a key."),
    plain("cluster|myid", Exactly(2), STALE, 0, cluster::my_id)
        .doc("3.0.0", "O(1)", "Returns the id of this node."),
    plain("cluster|nodes", Exactly(2), STALE, 0, cluster::nodes)
        .tips(VOLATILE).doc("3.0.0", "O(N) for N nodes", "Returns the nodes and what they lead."),
    plain("cluster|plan", AtLeast(2), STALE, 0, cluster::plan)
        .tips(VOLATILE)
        .doc("7.0.0", "O(N) for N slots", "Returns what would move, or is still to, as JSON."),
    plain("cluster|shards", Exactly(2), STALE, 0, cluster::shards)
        .tips(VOLATILE).doc("7.0.0", "O(N) for N nodes", "Returns sets of nodes with their slots."),
    plain("cluster|slots", Exactly(2), STALE, 0, cluster::slots)
        .tips(VOLATILE).doc("3.0.0", "O(N) for N nodes", "Returns slot ranges with their nodes."),
    plain("cluster|status", Exactly(2), STALE, 0, cluster::status)
        .tips(VOLATILE).doc("7.0.0", "O(N) for N nodes", "Returns the cluster's state as JSON."),
    plain("cluster|transfer", AtLeast(4), ADMIN | STALE, 0, cluster::transfer)
        .doc("7.0.0", "O(N) for N slots", "Has a node lead slots."),
    plain("readonly", Exactly(1), LOADING | STALE | FAST, acl::CONNECTION, connection::readonly)
        .doc("3.0.0", "O(1)", "Lets reads be served by the copy of the node that is asked."),
    plain("readwrite", Exactly(1), LOADING | STALE | FAST, acl::CONNECTION, connection::readwrite)
        .doc("3.0.0", "O(1)", "Ends READONLY."),
];
