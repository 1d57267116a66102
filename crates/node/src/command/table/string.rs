//! The rows of the group `string`.

use super::Arity::{AtLeast, Exactly};
use super::access::{ACCESS, DELETE, INSERT, OW, RO, RW, UPDATE, VARIABLE_FLAGS};
use super::acl::STRING;
use super::flag::{DENY_OOM, FAST, READ, WRITE};
use super::{Command, Keys, keyed};
use crate::command::string;

/// Every argument.
const ALL: Keys = Keys::Every { first: 1, step: 1 };

/// The first two arguments.
const BOTH: Keys = Keys::Range { first: 1, last: 2 };

/// The one key.
const FIRST: Keys = Keys::One { at: 1 };

/// Keys and values in turn.
const PAIRS: Keys = Keys::Every { first: 1, step: 2 };

#[rustfmt::skip] // a command is a line, and its documentation another
pub(super) const ROWS: &[Command] = &[
    keyed("append", Exactly(3), WRITE | DENY_OOM | FAST, FIRST, STRING, string::append)
        .access(RW | INSERT)
        .doc("2.0.0", "O(1)", "Appends to a string; a missing key is an empty one."),
    keyed("decr", Exactly(2), WRITE | DENY_OOM | FAST, FIRST, STRING, string::decr)
        .access(RW | ACCESS | UPDATE)
        .doc("1.0.0", "O(1)", "Subtracts one from an integer; a missing key is 0."),
    keyed("decrby", Exactly(3), WRITE | DENY_OOM | FAST, FIRST, STRING, string::decrby)
        .access(RW | ACCESS | UPDATE)
        .doc("1.0.0", "O(1)", "Subtracts from an integer; a missing key is 0."),
    keyed("get", Exactly(2), READ | FAST, FIRST, STRING, string::get)
        .doc("1.0.0", "O(1)", "Returns a string."),
    keyed("getdel", Exactly(2), WRITE | FAST, FIRST, STRING, string::getdel)
        .access(RW | ACCESS | DELETE)
        .doc("6.2.0", "O(1)", "Returns a string and removes its key."),
    keyed("getex", AtLeast(2), WRITE | FAST, FIRST, STRING, string::getex)
        .access(RW | ACCESS | UPDATE)
        .doc("6.2.0", "O(1)", "Returns a string and sets or clears when it expires."),
    keyed("getrange", Exactly(4), READ, FIRST, STRING, string::getrange)
        .doc("2.4.0", "O(N) in what is returned", "Returns a part of a string."),
    keyed("getset", Exactly(3), WRITE | DENY_OOM | FAST, FIRST, STRING, string::getset)
        .access(RW | ACCESS | UPDATE)
        .doc("1.0.0", "O(1)", "Replaces a string and returns what was there before."),
    keyed("incr", Exactly(2), WRITE | DENY_OOM | FAST, FIRST, STRING, string::incr)
        .access(RW | ACCESS | UPDATE)
        .doc("1.0.0", "O(1)", "Adds one to an integer; a missing key is 0."),
    keyed("incrby", Exactly(3), WRITE | DENY_OOM | FAST, FIRST, STRING, string::incrby)
        .access(RW | ACCESS | UPDATE)
        .doc("1.0.0", "O(1)", "Adds to an integer; a missing key is 0."),
    keyed("incrbyfloat", Exactly(3), WRITE | DENY_OOM | FAST, FIRST, STRING, string::incrbyfloat)
        .access(RW | ACCESS | UPDATE)
        .doc("2.6.0", "O(1)", "Adds to a number; a missing key is 0."),
    keyed("lcs", AtLeast(3), READ, BOTH, STRING, string::lcs)
        .doc("7.0.0", "O(N*M) in the lengths of the two strings",
            "Finds the longest common subsequence of two strings."),
    keyed("mget", AtLeast(2), READ | FAST, ALL, STRING, string::mget)
        .tips(&["request_policy:multi_shard"])
        .doc("1.0.0", "O(N) in the number of keys", "Returns the strings of several keys."),
    keyed("mset", AtLeast(3), WRITE | DENY_OOM, PAIRS, STRING, string::mset)
        .access(OW | UPDATE)
        .tips(&["request_policy:multi_shard", "response_policy:all_succeeded"])
        .doc("1.0.1", "O(N) in the number of keys", "Sets the strings of several keys."),
    keyed("msetnx", AtLeast(3), WRITE | DENY_OOM, PAIRS, STRING, string::msetnx)
        .access(OW | INSERT)
        .doc("1.0.1", "O(N) in the number of keys",
            "Sets the strings of several keys, of which none may exist."),
    keyed("psetex", Exactly(4), WRITE | DENY_OOM, FIRST, STRING, string::psetex)
        .access(OW | UPDATE)
        .doc("2.6.0", "O(1)", "Sets a string that expires after so many milliseconds."),
    keyed("set", AtLeast(3), WRITE | DENY_OOM, FIRST, STRING, string::set)
        .access(RW | ACCESS | UPDATE | VARIABLE_FLAGS)
        .doc("1.0.0", "O(1)", "Sets a string, whatever the key held before."),
    keyed("setex", Exactly(4), WRITE | DENY_OOM, FIRST, STRING, string::setex)
        .access(OW | UPDATE)
        .doc("2.0.0", "O(1)", "Sets a string that expires after so many seconds."),
    keyed("setnx", Exactly(3), WRITE | DENY_OOM | FAST, FIRST, STRING, string::setnx)
        .access(OW | INSERT)
        .doc("1.0.0", "O(1)", "Sets a string if there is no such key."),
    keyed("setrange", Exactly(4), WRITE | DENY_OOM, FIRST, STRING, string::setrange)
        .doc("2.2.0", "O(N) in what is written", "Overwrites a part of a string."),
    keyed("strlen", Exactly(2), READ | FAST, FIRST, STRING, string::strlen)
        .access(RO)
        .doc("2.2.0", "O(1)", "Returns the length of a string."),
    keyed("substr", Exactly(4), READ, FIRST, STRING, string::getrange)
        .doc("1.0.0", "O(N) in what is returned",
            "Returns a part of a string; the old name of GETRANGE."),
];
