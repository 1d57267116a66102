//! The rows of the group `hash`.

use super::Arity::{AtLeast, Exactly};
use super::access::{ACCESS, DELETE, INSERT, RO, RW, UPDATE};
use super::acl::HASH;
use super::flag::{DENY_OOM, FAST, READ, WRITE};
use super::{Command, Keys, keyed};
use crate::command::hash;

/// The one key.
const FIRST: Keys = Keys::One { at: 1 };

#[rustfmt::skip] // a command is a line, and its documentation another
pub(super) const ROWS: &[Command] = &[
    keyed("hdel", AtLeast(3), WRITE | FAST, FIRST, HASH, hash::hdel)
        .access(RW | DELETE)
        .doc("2.0.0", "O(N) in the number of fields named",
            "Removes fields of a hash, and the key with the last of them."),
    keyed("hexists", Exactly(3), READ | FAST, FIRST, HASH, hash::hexists)
        .access(RO)
        .doc("2.0.0", "O(1)", "Says whether a hash has a field."),
    keyed("hget", Exactly(3), READ | FAST, FIRST, HASH, hash::hget)
        .doc("2.0.0", "O(1)", "Returns the value of a field."),
    keyed("hgetall", Exactly(2), READ, FIRST, HASH, hash::hgetall)
        .tips(&["nondeterministic_output_order"])
        .doc("2.0.0", "O(N) in the number of fields", "Returns all fields with their values."),
    keyed("hincrby", Exactly(4), WRITE | DENY_OOM | FAST, FIRST, HASH, hash::hincrby)
        .access(RW | ACCESS | UPDATE)
        .doc("2.0.0", "O(1)", "Adds to the integer in a field; a missing field is 0."),
    keyed("hincrbyfloat", Exactly(4), WRITE | DENY_OOM | FAST, FIRST, HASH, hash::hincrbyfloat)
        .access(RW | ACCESS | UPDATE)
        .doc("2.6.0", "O(1)", "Adds to the number in a field; a missing field is 0."),
    keyed("hkeys", Exactly(2), READ, FIRST, HASH, hash::hkeys)
        .tips(&["nondeterministic_output_order"])
        .doc("2.0.0", "O(N) in the number of fields", "Returns all fields without their values."),
    keyed("hlen", Exactly(2), READ | FAST, FIRST, HASH, hash::hlen)
        .access(RO)
        .doc("2.0.0", "O(1)", "Returns how many fields a hash has."),
    keyed("hmget", AtLeast(3), READ | FAST, FIRST, HASH, hash::hmget)
        .doc("2.0.0", "O(N) in the number of fields named",
            "Returns the values of several fields."),
    keyed("hmset", AtLeast(4), WRITE | DENY_OOM | FAST, FIRST, HASH, hash::hmset)
        .access(RW | UPDATE)
        .doc("2.0.0", "O(N) in the number of fields named",
            "Sets fields to values; the older name of HSET, which counts the new ones."),
    keyed("hrandfield", AtLeast(2), READ, FIRST, HASH, hash::hrandfield)
        .tips(&["nondeterministic_output"])
        .doc("6.2.0", "O(N) in the number of fields returned",
            "Returns fields that are drawn by chance."),
    keyed("hscan", AtLeast(3), READ, FIRST, HASH, hash::hscan)
        .tips(&["nondeterministic_output"])
        .doc("2.8.0", "O(1) a call, O(N) for all fields",
            "Walks over the fields of a hash in steps."),
    keyed("hset", AtLeast(4), WRITE | DENY_OOM | FAST, FIRST, HASH, hash::hset)
        .access(RW | UPDATE)
        .doc("2.0.0", "O(N) in the number of fields named",
            "Sets fields to values and returns how many are new."),
    keyed("hsetnx", Exactly(4), WRITE | DENY_OOM | FAST, FIRST, HASH, hash::hsetnx)
        .access(RW | INSERT)
        .doc("2.0.0", "O(1)", "Sets a field that is not there yet."),
    keyed("hstrlen", Exactly(3), READ | FAST, FIRST, HASH, hash::hstrlen)
        .access(RO)
        .doc("3.2.0", "O(1)", "Returns the length of the value of a field."),
    keyed("hvals", Exactly(2), READ, FIRST, HASH, hash::hvals)
        .tips(&["nondeterministic_output_order"])
        .doc("2.0.0", "O(N) in the number of fields", "Returns all values without their fields."),
];
