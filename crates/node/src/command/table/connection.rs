//! The rows of the group `connection`.

use super::Arity::{AtLeast, Exactly};
use super::flag::{ADMIN, ALLOW_BUSY, FAST, LOADING, NO_AUTH, NO_SCRIPT, STALE};
use super::{Command, acl, parent, plain};
use crate::command::{client, connection};

const ALWAYS: u32 = LOADING | STALE;
const ABOUT: u32 = NO_SCRIPT | ALWAYS;
const ENTRY: u32 = ABOUT | FAST | NO_AUTH | ALLOW_BUSY;

#[rustfmt::skip] // a command is a line, and its documentation another
pub(super) const ROWS: &[Command] = &[
    plain("auth", AtLeast(2), ENTRY, acl::CONNECTION, connection::auth)
        .doc("1.0.0", "O(1)", "Authenticates the connection."),
    parent("client", 0, 0)
        .doc("2.4.0", "Depends on subcommand.", "Says and sets what is known of clients."),
    plain("client|getname", Exactly(2), ABOUT, acl::CONNECTION, client::get_name)
        .doc("2.6.9", "O(1)", "Returns the name of the connection."),
    plain("client|help", Exactly(2), ALWAYS, acl::CONNECTION, client::help)
        .doc("5.0.0", "O(1)", "Lists the subcommands."),
    plain("client|id", Exactly(2), ABOUT, acl::CONNECTION, client::id)
        .doc("5.0.0", "O(1)", "Returns the number of the connection."),
    plain("client|info", Exactly(2), ABOUT, acl::CONNECTION, client::info)
        .tips(&["nondeterministic_output"])
        .doc("6.2.0", "O(1)", "Returns what is known of the connection."),
    plain("client|list", AtLeast(2), ADMIN | ABOUT, acl::CONNECTION, client::list)
        .tips(&["nondeterministic_output"])
        .doc("2.4.0", "O(N) for N connections", "Returns what is known of all connections."),
    plain("client|setinfo", Exactly(4), ABOUT, acl::CONNECTION, client::set_info)
        .doc("7.2.0", "O(1)", "Says which library the client uses."),
    plain("client|setname", Exactly(3), ABOUT, acl::CONNECTION, client::set_name)
        .doc("2.6.9", "O(1)", "Names the connection."),
    plain("echo", Exactly(2), ALWAYS | FAST, acl::CONNECTION, connection::echo)
        .doc("1.0.0", "O(1)", "Returns its argument."),
    plain("hello", AtLeast(1), ENTRY, acl::CONNECTION, connection::hello)
        .doc("6.0.0", "O(1)", "Chooses the version of the protocol and says who serves."),
    plain("ping", AtLeast(1), FAST, acl::CONNECTION, connection::ping)
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .doc("1.0.0", "O(1)", "Answers, to show that the node is alive."),
    plain("quit", AtLeast(1), ENTRY, acl::CONNECTION, connection::quit)
        .at_once()
        .doc("1.0.0", "O(1)", "Ends the connection once it is answered."),
    plain("reset", Exactly(1), ENTRY, acl::CONNECTION, connection::reset)
        .at_once()
        .doc("6.2.0", "O(1)", "Makes the connection what it was when it began."),
    plain("select", Exactly(2), ALWAYS | FAST, acl::CONNECTION, connection::select)
        .doc("1.0.0", "O(1)", "Chooses the database; there is one, 0."),
];
