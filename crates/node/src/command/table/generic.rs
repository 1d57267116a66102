//! The rows of the group `generic`.

use super::Arity::{AtLeast, Exactly};
use super::access::{DELETE, RM, RO};
use super::acl::{CONNECTION, DANGEROUS, KEYSPACE};
use super::flag::{FAST, NO_SCRIPT, READ, WRITE};
use super::{Command, Keys, keyed, plain};
use crate::command::{expiry, generic, keyspace, wait};

/// Every argument.
const ALL: Keys = Keys::Every { first: 1, step: 1 };

/// The one key.
const FIRST: Keys = Keys::One { at: 1 };

#[rustfmt::skip] // a command is a line, and its documentation another
pub(super) const ROWS: &[Command] = &[
    keyed("del", AtLeast(2), WRITE, ALL, KEYSPACE, generic::del)
        .access(RM | DELETE)
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .doc("1.0.0", "O(N) in the number of keys", "Removes keys."),
    keyed("exists", AtLeast(2), READ | FAST, ALL, KEYSPACE, generic::exists)
        .access(RO)
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .doc("1.0.0", "O(N) in the number of keys", "Counts which of these keys exist."),
    keyed("expire", AtLeast(3), WRITE | FAST, FIRST, KEYSPACE, expiry::expire)
        .doc("1.0.0", "O(1)", "Lets a key expire after so many seconds."),
    keyed("expireat", AtLeast(3), WRITE | FAST, FIRST, KEYSPACE, expiry::expireat)
        .doc("1.2.0", "O(1)", "Lets a key expire at a moment, in Unix seconds."),
    keyed("expiretime", Exactly(2), READ | FAST, FIRST, KEYSPACE, expiry::expiretime)
        .doc("7.0.0", "O(1)", "Returns when a key expires, in Unix seconds."),
    plain("keys", Exactly(2), READ, KEYSPACE | DANGEROUS, keyspace::keys)
        .tips(&["request_policy:all_shards", "nondeterministic_output_order"])
        .doc("1.0.0", "O(N) in the number of all keys", "Returns all keys that match a pattern."),
    keyed("persist", Exactly(2), WRITE | FAST, FIRST, KEYSPACE, expiry::persist)
        .doc("2.2.0", "O(1)", "Lets a key live for ever."),
    keyed("pexpire", AtLeast(3), WRITE | FAST, FIRST, KEYSPACE, expiry::pexpire)
        .doc("2.6.0", "O(1)", "Lets a key expire after so many milliseconds."),
    keyed("pexpireat", AtLeast(3), WRITE | FAST, FIRST, KEYSPACE, expiry::pexpireat)
        .doc("2.6.0", "O(1)", "Lets a key expire at a moment, in Unix milliseconds."),
    keyed("pexpiretime", Exactly(2), READ | FAST, FIRST, KEYSPACE, expiry::pexpiretime)
        .doc("7.0.0", "O(1)", "Returns when a key expires, in Unix milliseconds."),
    keyed("pttl", Exactly(2), READ | FAST, FIRST, KEYSPACE, expiry::pttl)
        .tips(&["nondeterministic_output"])
        .doc("2.6.0", "O(1)", "Returns how many milliseconds a key has left."),
    plain("randomkey", Exactly(1), READ, KEYSPACE, keyspace::randomkey)
        .tips(&["request_policy:all_shards", "nondeterministic_output"])
        .doc("1.0.0", "O(1)", "Returns any key."),
    plain("scan", AtLeast(2), READ, KEYSPACE, keyspace::scan)
        .tips(&["nondeterministic_output", "request_policy:special"])
        .doc("2.8.0", "O(1) a call, O(N) for all keys", "Walks over all keys in steps."),
    keyed("touch", AtLeast(2), READ | FAST, ALL, KEYSPACE, generic::touch)
        .access(RO)
        .cached()
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .doc("3.2.1", "O(N) in the number of keys",
            "Counts which of these keys exist, as a use of each."),
    keyed("ttl", Exactly(2), READ | FAST, FIRST, KEYSPACE, expiry::ttl)
        .tips(&["nondeterministic_output"])
        .doc("1.0.0", "O(1)", "Returns how many seconds a key has left."),
    keyed("type", Exactly(2), READ | FAST, FIRST, KEYSPACE, generic::kind)
        .access(RO)
        .doc("1.0.0", "O(1)", "Says what a key holds."),
    keyed("unlink", AtLeast(2), WRITE | FAST, ALL, KEYSPACE, generic::del)
        .access(RM | DELETE)
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .doc("4.0.0", "O(N) in the number of keys", "Removes keys; the other name of DEL."),
    plain("wait", Exactly(3), NO_SCRIPT, CONNECTION, wait::wait)
        .tips(&["request_policy:all_shards", "response_policy:agg_min"])
        .doc("3.0.0", "O(1)", "Waits until the client's writes are on so many replicas."),
];
