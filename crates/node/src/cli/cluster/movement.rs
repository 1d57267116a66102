//! `quorate cluster balance`, `drain`, `transfer` and `forget`: what moves slots between nodes.
//!
//! The cluster carries it out, not this command: it says what is to happen, shows how far it is,
//! and may end at any time. The same command, on any node, shows it again.

use clap::Args;
use node::topology::plan::Plan;
use node::topology::status::{ClusterStatus, NodeStatus, human};

use super::client::Client;
use super::progress;
use super::table::{self, Side};
use super::{Failure, Target};

/// What all of them can be told.
#[derive(Args)]
struct Options {
    #[command(flatten)]
    target: Target,
    /// Show what would move, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not wait until it is done
    #[arg(long)]
    no_wait: bool,
    /// Print the plan as JSON, for programs; together with --dry-run
    #[arg(long, requires = "dry_run")]
    json: bool,
}

/// Even out what the nodes hold, and show how far that is
///
/// The cluster does so by itself whenever a node joins, drains or comes back; this shows it.
#[derive(Args)]
pub(super) struct Balance {
    #[command(flatten)]
    options: Options,
    /// Have all slots stay where they are, those on their way included, until --resume
    #[arg(long, conflicts_with = "resume")]
    abort: bool,
    /// Let slots move again
    #[arg(long)]
    resume: bool,
}

/// Empty a node: others take over what it holds, and its vote in the metadata group
///
/// The node goes on serving what it still holds, and can be stopped when it holds nothing.
#[derive(Args)]
pub(super) struct Drain {
    /// The node: its id, the beginning of it, or its address
    #[arg(value_name = "NODE")]
    named: String,
    #[command(flatten)]
    options: Options,
    /// Let the node take its share again
    #[arg(long)]
    abort: bool,
}

/// Have a node lead slots, which it gets a copy of first where it has none
#[derive(Args)]
pub(super) struct Transfer {
    /// Slots, or ranges of them such as 0-99
    #[arg(value_name = "SLOT", required = true)]
    slots: Vec<String>,
    /// The node that is to lead them: its id, the beginning of it, or its address
    #[arg(long, value_name = "NODE", required_unless_present = "abort")]
    to: Option<String>,
    #[command(flatten)]
    options: Options,
    /// Take back what was said of these slots before and has not come about
    #[arg(long, conflicts_with = "to")]
    abort: bool,
}

/// Remove a node that is gone for good: its place is not kept any longer
#[derive(Args)]
pub(super) struct Forget {
    /// The node: its id, the beginning of it, or its address
    #[arg(value_name = "NODE")]
    named: String,
    #[command(flatten)]
    target: Target,
}

/// What to ask the cluster for.
struct Deed {
    /// The command that asks for it.
    command: Vec<String>,
    /// The command that says what it would move; none where nothing is to move.
    plan: Option<Vec<String>>,
    /// What is said when it is done.
    done: String,
    /// The option that takes it back.
    abort: &'static str,
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

pub(super) fn balance(arguments: &Balance) -> Result<(), Failure> {
    let deed = Deed {
        command: match (arguments.abort, arguments.resume) {
            (true, _) => words(&["CLUSTER", "BALANCE", "OFF"]),
            (_, true) => words(&["CLUSTER", "BALANCE", "ON"]),
            // Nothing is to be said: it is only watched.
            _ => Vec::new(),
        },
        plan: (!arguments.abort).then(|| match arguments.resume {
            true => words(&["CLUSTER", "PLAN", "BALANCE"]),
            false => words(&["CLUSTER", "PLAN"]),
        }),
        done: if arguments.abort {
            "Slots stay where they are, until --resume.".to_owned()
        } else {
            "Every node has its share.".to_owned()
        },
        abort: "--abort",
    };
    let (mut client, _) = reach(&arguments.options.target)?;
    carry_out(&mut client, &deed, &arguments.options)
}

pub(super) fn drain(arguments: &Drain) -> Result<(), Failure> {
    let (mut client, status) = reach(&arguments.options.target)?;
    let node = named(&status, &arguments.named)?;
    let (id, short) = (node.id.to_string(), node.id.short());
    let deed = if arguments.abort {
        Deed {
            command: words(&["CLUSTER", "DRAIN", &id, "CANCEL"]),
            plan: None,
            done: format!(
                "Node {short} takes its share again; `quorate cluster balance` shows it."
            ),
            abort: "",
        }
    } else {
        Deed {
            command: words(&["CLUSTER", "DRAIN", &id]),
            plan: Some(words(&["CLUSTER", "PLAN", "DRAIN", &id])),
            done: format!(
                "Node {short} holds nothing any more. Stop it, then `quorate cluster forget \
                 {short}`."
            ),
            abort: "--abort",
        }
    };
    carry_out(&mut client, &deed, &arguments.options)
}

pub(super) fn transfer(arguments: &Transfer) -> Result<(), Failure> {
    let (mut client, status) = reach(&arguments.options.target)?;
    let slots: Vec<&str> = arguments.slots.iter().map(String::as_str).collect();
    let with_slots = |first: &[&str]| words(&[first, &slots].concat());
    let deed = match &arguments.to {
        None => Deed {
            command: with_slots(&["CLUSTER", "TRANSFER", "CANCEL"]),
            plan: None,
            done: "Taken back what had not come about.".to_owned(),
            abort: "",
        },
        Some(to) => {
            let node = named(&status, to)?;
            let (id, short) = (node.id.to_string(), node.id.short());
            Deed {
                command: with_slots(&["CLUSTER", "TRANSFER", &id]),
                plan: Some(with_slots(&["CLUSTER", "PLAN", "TRANSFER", &id])),
                done: format!("Node {short} leads them."),
                abort: "--abort",
            }
        }
    };
    carry_out(&mut client, &deed, &arguments.options)
}

pub(super) fn forget(arguments: &Forget) -> Result<(), Failure> {
    let (mut client, status) = reach(&arguments.target)?;
    let node = named(&status, &arguments.named)?;
    let (id, short) = (node.id.to_string(), node.id.short());
    ask(&mut client, &words(&["CLUSTER", "FORGET", &id]))?;
    println!("Node {short} is forgotten.");
    Ok(())
}

fn reach(target: &Target) -> Result<(Client, ClusterStatus), Failure> {
    let account = target.account();
    let mut client = Client::connect(&target.node, &account).map_err(Failure::Run)?;
    let status = super::status::ask_client(&mut client, &target.node).map_err(Failure::Run)?;
    Ok((client, status))
}

/// The node that is meant.
fn named<'a>(status: &'a ClusterStatus, name: &str) -> Result<&'a NodeStatus, Failure> {
    let is_meant = |node: &&NodeStatus| {
        let begins = name.len() >= 4 && node.id.to_string().starts_with(name);
        begins || super::status::address(node) == name
    };
    let mut meant = status.nodes.iter().filter(is_meant);
    match (meant.next(), meant.next()) {
        (Some(node), None) => Ok(node),
        (Some(_), Some(_)) => Err(Failure::Usage(format!("{name} may be several nodes"))),
        _ => {
            let known = status.nodes.iter().map(|node| node.id.short());
            let known: Vec<String> = known.collect();
            Err(Failure::Usage(format!(
                "there is no node {name}; there are {}",
                known.join(", ")
            )))
        }
    }
}

fn ask(client: &mut Client, command: &[String]) -> Result<Vec<u8>, Failure> {
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    client.ask(&words).map_err(Failure::Run)
}

fn ask_plan(client: &mut Client, command: &[String]) -> Result<Plan, Failure> {
    let said = ask(client, command)?;
    serde_json::from_slice(&said)
        .map_err(|error| Failure::Run(format!("this is no node of this version: {error}")))
}

/// Shows the plan, says that it is to be carried out, and shows how far that is.
fn carry_out(client: &mut Client, deed: &Deed, options: &Options) -> Result<(), Failure> {
    let plan = match &deed.plan {
        Some(command) => Some(ask_plan(client, command)?),
        None => None,
    };
    if let Some(plan) = &plan {
        if options.json {
            let json = serde_json::to_string_pretty(plan);
            println!("{}", json.expect("all keys of the document are text"));
        } else {
            print!("{}", text(plan));
        }
        // A drain that cannot end would only be a promise.
        let hopeless = deed.command.get(1).is_some_and(|word| word == "DRAIN");
        if hopeless && let Some(problem) = plan.problems.iter().find(|one| one.contains("stay")) {
            return Err(Failure::Run(format!("not begun: {problem}")));
        }
    }
    if options.dry_run {
        return Ok(());
    }
    if !deed.command.is_empty() {
        ask(client, &deed.command)?;
    }
    let Some(plan) = plan.filter(|_| !options.no_wait) else {
        println!("{}", deed.done_or_begun(options.no_wait));
        return Ok(());
    };
    if plan.left() > 0 {
        println!(
            "\nThe cluster does it by itself: Ctrl-C ends this view of it, {} takes it back.\n",
            deed.abort
        );
    }
    let left = || ask_plan(client, &words(&["CLUSTER", "PLAN"]));
    progress::show(&plan, left)?;
    println!("{}", deed.done);
    Ok(())
}

impl Deed {
    fn done_or_begun(&self, no_wait: bool) -> String {
        if no_wait && self.plan.is_some() {
            return "Begun; `quorate cluster balance` shows how far it is.".to_owned();
        }
        self.done.clone()
    }
}

/// The plan as people read it.
fn text(plan: &Plan) -> String {
    let mut lines = vec![format!(
        "{} copies move ({}), {} slots get another primary; about {}",
        plan.copies,
        human(plan.bytes),
        plan.primaries,
        span(plan.seconds)
    )];
    if plan.copies + plan.primaries > 0 {
        lines.push(String::new());
        lines.extend(rows(plan));
    }
    if !plan.problems.is_empty() {
        lines.push(String::new());
        lines.extend(
            plan.problems
                .iter()
                .map(|problem| format!("Note: {problem}")),
        );
    }
    lines.join("\n") + "\n"
}

fn rows(plan: &Plan) -> Vec<String> {
    let (left, right) = (Side::Left, Side::Right);
    let columns = [
        ("node", left),
        ("leads", right),
        ("then", right),
        ("copies", right),
        ("then", right),
        ("", left),
    ];
    let row = |node: &node::topology::plan::PlannedNode| {
        vec![
            node.id.short(),
            node.primaries.0.to_string(),
            node.primaries.1.to_string(),
            node.copies.0.to_string(),
            node.copies.1.to_string(),
            if node.drains { "drains" } else { "" }.to_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = plan.nodes.iter().map(row).collect();
    table::lines(&columns, &rows)
}

/// A span as people say it.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster::NodeId;
    use node::topology::plan::PlannedNode;

    fn plan() -> Plan {
        let node = |number, before: (u64, u64), after: (u64, u64)| PlannedNode {
            id: NodeId::from_bytes([number; 20]),
            drains: number == 1,
            copies: (before.0, after.0),
            primaries: (before.1, after.1),
        };
        Plan {
            balances: true,
            copies: 16384,
            primaries: 5461,
            votes: 1,
            bytes: 3 << 30,
            seconds: 95,
            nodes: vec![
                node(1, (16384, 5461), (0, 0)),
                node(2, (0, 0), (16384, 5461)),
            ],
            problems: vec!["node 03030303 cannot be reached".to_owned()],
        }
    }

    #[test]
    fn a_plan_is_shown_in_a_few_lines() {
        let expected = "\
16384 copies move (3.0 GiB), 5461 slots get another primary; about 95 s

node      leads  then  copies   then
01010101   5461     0   16384      0  drains
02020202      0  5461       0  16384

Note: node 03030303 cannot be reached
";
        assert_eq!(text(&plan()), expected);
    }

    #[test]
    fn spans_are_said_as_people_say_them() {
        let said: Vec<String> = [0, 119, 120, 121, 7199, 7260].map(span).into();
        assert_eq!(
            said,
            ["0 s", "119 s", "2 min", "3 min", "120 min", "2 h 1 min"]
        );
    }
}
