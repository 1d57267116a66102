//! The rows of the group `server`.

use super::Arity::{AtLeast, Exactly};
use super::access::RO;
use super::flag::{ADMIN, FAST, LOADING, NO_SCRIPT, READ, STALE, WRITE};
use super::{Command, Keys, acl, keyed, parent, plain};
use crate::command::{config, copies, info, introspect, keyspace, memory, server};

const ALWAYS: u32 = LOADING | STALE;
const CONFIG: u32 = ADMIN | NO_SCRIPT | ALWAYS;
const UNORDERED: &[&str] = &["nondeterministic_output_order"];
const ON_ALL: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];
const ON_SHARDS: &[&str] = &["request_policy:all_shards", "response_policy:all_succeeded"];

const OF_SHARDS: &[&str] = &[
    "nondeterministic_output",
    "request_policy:all_shards",
    "response_policy:special",
];

#[rustfmt::skip] // a command is a line, and its documentation another
pub(super) const ROWS: &[Command] = &[
    plain("command", AtLeast(1), ALWAYS, acl::CONNECTION, introspect::all)
        .tips(UNORDERED).doc("2.8.13", "O(N) for N commands", "Describes all commands."),
    plain("command|count", Exactly(2), ALWAYS, acl::CONNECTION, introspect::count)
        .doc("2.8.13", "O(1)", "Returns how many commands there are."),
    plain("command|docs", AtLeast(2), ALWAYS, acl::CONNECTION, introspect::docs)
        .tips(UNORDERED).doc("7.0.0", "O(N) for N commands", "Documents commands."),
    plain("command|getkeys", AtLeast(4), ALWAYS, acl::CONNECTION, introspect::get_keys)
        .doc("2.8.13", "O(N) for N words", "Returns the keys of a request."),
    plain("command|getkeysandflags", AtLeast(4), ALWAYS, acl::CONNECTION,
        introspect::get_keys_and_flags)
        .doc("7.0.0", "O(N) for N words", "Returns a request's keys and what happens to them."),
    plain("command|help", Exactly(2), ALWAYS, acl::CONNECTION, introspect::help)
        .doc("5.0.0", "O(1)", "Lists the subcommands."),
    plain("command|info", AtLeast(2), ALWAYS, acl::CONNECTION, introspect::info)
        .tips(UNORDERED).doc("2.8.13", "O(N) for N commands", "Describes commands."),
    plain("command|list", AtLeast(2), ALWAYS, acl::CONNECTION, introspect::list)
        .tips(UNORDERED).doc("7.0.0", "O(N) for N commands", "Returns the names of commands."),
    parent("config", 0, 0)
        .doc("2.0.0", "Depends on subcommand.", "Shows and changes parameters."),
    plain("config|get", AtLeast(3), CONFIG, 0, config::get)
        .doc("2.0.0", "O(N) for N parameters", "Returns parameters whose names match patterns."),
    plain("config|help", Exactly(2), ALWAYS, 0, config::help)
        .doc("5.0.0", "O(1)", "Lists the subcommands."),
    plain("config|resetstat", Exactly(2), CONFIG, 0, config::reset_stat)
        .doc("2.0.0", "O(1)", "Begins to count anew what INFO shows."),
    plain("config|rewrite", Exactly(2), CONFIG, 0, config::rewrite)
        .doc("2.8.0", "O(1)", "Is refused: the configuration file is the operator's."),
    plain("config|set", AtLeast(4), CONFIG, 0, config::set)
        .tips(ON_ALL).doc("2.0.0", "O(N) for N parameters", "Changes parameters."),
    plain("dbsize", Exactly(1), READ | FAST, acl::KEYSPACE, keyspace::dbsize).all_slots()
        .tips(&["request_policy:all_shards", "response_policy:agg_sum"])
        .doc("1.0.0", "O(1)", "Returns how many keys there are."),
    plain("flushall", AtLeast(1), WRITE, acl::KEYSPACE | acl::DANGEROUS, keyspace::flush)
        .all_slots()
        .tips(ON_SHARDS).doc("1.0.0", "O(N) for N keys", "Removes all keys from the cache."),
    plain("flushdb", AtLeast(1), WRITE, acl::KEYSPACE | acl::DANGEROUS, keyspace::flush).all_slots()
        .tips(ON_SHARDS).doc("1.0.0", "O(N) for N keys", "Removes all keys from the cache."),
    plain("info", AtLeast(1), ALWAYS, acl::DANGEROUS, info::info)
        .tips(OF_SHARDS)
        .doc("1.0.0", "O(1)", "Returns what the node says of itself."),
    parent("memory", 0, 0)
        .doc("4.0.0", "Depends on subcommand.", "Says what memory is used for."),
    plain("memory|doctor", Exactly(2), 0, 0, memory::doctor)
        .tips(OF_SHARDS).doc("4.0.0", "O(1)", "Says what is remarkable about the node's memory."),
    plain("memory|help", Exactly(2), ALWAYS, 0, memory::help)
        .doc("4.0.0", "O(1)", "Lists the subcommands."),
    plain("memory|malloc-stats", Exactly(2), 0, 0, memory::malloc_stats)
        .tips(OF_SHARDS).doc("4.0.0", "O(1)", "Returns what the allocator says of itself."),
    plain("memory|purge", Exactly(2), 0, 0, memory::purge)
        .tips(ON_SHARDS).doc("4.0.0", "O(1)", "Has the allocator give back what it does not use."),
    plain("memory|stats", Exactly(2), 0, 0, memory::stats)
        .tips(OF_SHARDS).doc("4.0.0", "O(1)", "Returns what the node's memory is used for."),
    keyed("memory|usage", AtLeast(3), READ, Keys::One { at: 2 }, 0, memory::usage)
        .access(RO).cached()
        .doc("4.0.0", "O(1)", "Returns how many bytes a key takes."),
    plain("swapdb", Exactly(3), WRITE | FAST, acl::KEYSPACE | acl::DANGEROUS,
        copies::swap_databases)
        .doc("4.0.0", "O(1)", "Is refused: there is one database."),
    plain("time", Exactly(1), ALWAYS | FAST, 0, server::time)
        .tips(&["nondeterministic_output"])
        .doc("2.6.0", "O(1)", "Returns the time of day of the node."),
];
