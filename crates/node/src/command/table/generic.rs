//! The rows of the group `generic`.

use super::Arity::{AtLeast, Exactly};
use super::access::{ACCESS, DELETE, INSERT, OW, RM, RO, RW, UPDATE};
use super::acl::{CONNECTION, DANGEROUS, KEYSPACE};
use super::flag::{DENY_OOM, FAST, LOADING, NO_SCRIPT, READ, STALE, WRITE};
use super::{Command, Keys, keyed, parent, plain};
use crate::command::{copies, expiry, generic, keyspace, object, wait};

/// Every argument.
const ALL: Keys = Keys::Every { first: 1, step: 1 };

/// The first two arguments.
const BOTH: Keys = Keys::Range { first: 1, last: 2 };

/// The one key of a subcommand.
const SECOND: Keys = Keys::One { at: 2 };

const UNCERTAIN: &[&str] = &["nondeterministic_output"];

/// The one key.
const FIRST: Keys = Keys::One { at: 1 };

#[rustfmt::skip] // a command is a line, and its documentation another
pub(super) const ROWS: &[Command] = &[
    keyed("copy", AtLeast(3), WRITE | DENY_OOM, BOTH, KEYSPACE, copies::copy)
        .access(RO | ACCESS).target(OW | UPDATE)
        .doc("6.2.0", "O(N) for a value of N bytes", "Gives a key the value of another one."),
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
    plain("keys", Exactly(2), READ, KEYSPACE | DANGEROUS, keyspace::keys).all_slots()
        .tips(&["request_policy:all_shards", "nondeterministic_output_order"])
        .doc("1.0.0", "O(N) in the number of all keys", "Returns all keys that match a pattern."),
    keyed("move", Exactly(3), WRITE | FAST, FIRST, KEYSPACE, copies::move_key)
        .access(RW | ACCESS | UPDATE)
        .doc("1.0.0", "O(1)", "Is refused: there is one database."),
    parent("object", 0, 0)
        .doc("2.2.3", "Depends on subcommand.", "Says how a value is kept."),
    keyed("object|encoding", Exactly(3), READ, SECOND, KEYSPACE, object::encoding)
        .access(RO).cached().tips(UNCERTAIN)
        .doc("2.2.3", "O(1)", "Returns the form in which Redis would keep the value."),
    keyed("object|freq", Exactly(3), READ, SECOND, KEYSPACE, object::frequency)
        .access(RO).cached().tips(UNCERTAIN)
        .doc("4.0.0", "O(1)", "Returns how often a key is used, where the policy counts that."),
    plain("object|help", Exactly(2), LOADING | STALE, KEYSPACE, object::help)
        .doc("6.2.0", "O(1)", "Lists the subcommands."),
    keyed("object|idletime", Exactly(3), READ, SECOND, KEYSPACE, object::idle_time)
        .access(RO).cached().tips(UNCERTAIN)
        .doc("2.2.3", "O(1)", "Returns for how many seconds a key was not used."),
    keyed("object|refcount", Exactly(3), READ, SECOND, KEYSPACE, object::refcount)
        .access(RO).cached().tips(UNCERTAIN)
        .doc("2.2.3", "O(1)", "Returns how many keys share the value: one."),
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
    plain("randomkey", Exactly(1), READ, KEYSPACE, keyspace::randomkey).all_slots()
        .tips(&["request_policy:all_shards", "nondeterministic_output"])
        .doc("1.0.0", "O(1)", "Returns any key."),
    keyed("rename", Exactly(3), WRITE, BOTH, KEYSPACE, copies::rename)
        .access(RW | ACCESS | DELETE).target(OW | UPDATE)
        .doc("1.0.0", "O(N) for a value of N bytes", "Gives a value another key."),
    keyed("renamenx", Exactly(3), WRITE | FAST, BOTH, KEYSPACE, copies::renamenx)
        .access(RW | ACCESS | DELETE).target(OW | INSERT)
        .doc("1.0.0", "O(N) for a value of N bytes",
            "Gives a value another key, if that one has none."),
    plain("scan", AtLeast(2), READ, KEYSPACE, keyspace::scan).all_slots()
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
