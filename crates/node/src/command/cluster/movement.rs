//! The commands by which slots move: `CLUSTER DRAIN`, `FORGET`, `TRANSFER`, `BALANCE`, and `PLAN`,
//! which says beforehand what they would do, and what is still to move. Quorate's own, but for
//! `FORGET`.
//!
//! Each is decided by the metadata group and carried out beside the requests, whoever asked for it
//! and whoever leads the group: what is under way goes on when the node is gone that was asked.

use std::ops::RangeInclusive;
use std::sync::Arc;

use cluster::metadata::{Applied, Entry, ProposeError, Refusal, State, TransferSlot};
use cluster::{NodeId, SLOTS, Slot};

use super::on_cluster_port;
use crate::command::session::LaterResult;
use crate::command::{Answer, Args, Later, Session};
use crate::error::CommandError;
use crate::inquiry::Asker;
use crate::node::Node;
use crate::resp::Reply;
use crate::topology::Standing;
use crate::topology::plan::Draft;

type Answered<'a> = Result<Answer<'a>, CommandError>;

/// `CLUSTER DRAIN node [CANCEL]`: the node gives away all that it holds, or takes its share again.
pub(crate) fn drain<'a>(session: &mut Session<'_>, args: &mut Args<'a>) -> Answered<'a> {
    on_cluster_port(session)?;
    let node = known_node(session.node, args)?;
    let empty = !args.option("cancel");
    args.finish()?;
    Ok(decide(session, vec![Entry::Drain { node, empty }]).into())
}

/// `CLUSTER BALANCE ON|OFF`: whether slots move so that every node has its share.
pub(crate) fn balance<'a>(session: &mut Session<'_>, args: &mut Args<'a>) -> Answered<'a> {
    on_cluster_port(session)?;
    let on = match args.bytes()?.to_ascii_lowercase().as_slice() {
        b"on" => true,
        b"off" => false,
        _ => return Err(CommandError::Syntax),
    };
    Ok(decide(session, vec![Entry::Balance(on)]).into())
}

/// `CLUSTER TRANSFER node slot [slot ...]`: the node is to lead these slots. With `CANCEL` for the
/// node: what was said of them before, and has not come about, is taken back.
pub(crate) fn transfer<'a>(session: &mut Session<'_>, args: &mut Args<'a>) -> Answered<'a> {
    on_cluster_port(session)?;
    let to = if args.option("cancel") {
        None
    } else {
        Some(known_node(session.node, args)?)
    };
    let list = wished(to, args)?;
    Ok(decide(session, Entry::transfers(list)).into())
}

/// `CLUSTER FORGET node`: a node that is gone for good is not of the cluster any more.
pub(crate) fn forget<'a>(session: &mut Session<'_>, args: &mut Args<'a>) -> Answered<'a> {
    on_cluster_port(session)?;
    let node = Arc::clone(session.node);
    let id = known_node(&node, args)?;
    if id == node.topology.me().node {
        return Err("ERR I tried hard but I can't forget myself...".into());
    }
    let map = node.topology.map();
    let record = map.node(&id).ok_or_else(|| unknown(&id.to_string()))?;
    if !record.stopped && node.topology.standing(id, record) == Standing::Up {
        let short = id.short();
        return Err(format!("ERR node {short} is up: drain it, stop it, then forget it").into());
    }
    let member = map.state().member(&id);
    let stopped = member.map(|member| Entry::Stopped { member });
    let entries = stopped.into_iter().chain([Entry::Forget { node: id }]);
    Ok(decide(session, entries.collect()).into())
}

/// `CLUSTER PLAN [DRAIN node | TRANSFER node slot ...]`: what would move if that were said, or what
/// is still to move, as JSON.
pub(crate) fn plan<'a>(session: &mut Session<'_>, args: &mut Args<'a>) -> Answered<'a> {
    on_cluster_port(session)?;
    let node = Arc::clone(session.node);
    let mut entries = Vec::new();
    if args.option("drain") {
        let node = known_node(&node, args)?;
        entries.push(Entry::Drain { node, empty: true });
        args.finish()?;
    } else if args.option("transfer") {
        let to = Some(known_node(&node, args)?);
        entries = Entry::transfers(wished(to, args)?);
    } else if args.option("balance") {
        entries.push(Entry::Balance(true));
        args.finish()?;
    }
    args.finish()?;
    Ok(Later::beside(planned(node, entries)).into())
}

async fn planned(node: Arc<Node>, entries: Vec<Entry>) -> LaterResult {
    let state = node.topology.map().state().clone();
    let knows = Arc::clone(&node);
    // It goes through all slots several times, which others must not wait for.
    let drafted = tokio::task::spawn_blocking(move || {
        let mut state = State::clone(&state);
        for entry in &entries {
            state.apply(state.applied() + 1, entry);
        }
        let is_up = |id: &NodeId| {
            let record = &state.nodes()[id];
            knows.topology.standing(*id, record) == Standing::Up
        };
        Draft::of(&state, &knows.topology.group().voters, is_up)
    });
    let draft = drafted.await.map_err(|_| "ERR the node stops")?;
    let bytes = Asker::whole(&node).bytes(draft.copied()).await?;
    let plan = draft.with(bytes, &node.settings.balance);
    let json = serde_json::to_vec(&plan).expect("all keys of the document are text");
    Ok(Reply::bulk(json))
}

/// Has the metadata group decide, one entry after the other.
fn decide(session: &Session<'_>, entries: Vec<Entry>) -> Later {
    let node = Arc::clone(session.node);
    Later::holding_back(async move {
        let Some(group) = node.group.get() else {
            return Err("ERR this node is a cluster by itself".into());
        };
        for entry in entries {
            match group.decide(entry).await {
                Ok(applied) => refused(&applied)?,
                Err(why @ ProposeError::NotProposed) => {
                    return Err(format!("CLUSTERDOWN not applied: {why}").into());
                }
                Err(why @ ProposeError::Unknown) => {
                    return Err(format!("UNCERTAIN {why}; CLUSTER STATUS shows it").into());
                }
            }
        }
        Ok(Reply::Ok)
    })
}

fn refused(applied: &Applied) -> Result<(), CommandError> {
    if let Some((slot, why)) = applied.refused_slots.first() {
        return Err(format!("ERR slot {slot}: {why}").into());
    }
    match applied.refused {
        None => Ok(()),
        Some(Refusal::HoldsSlots) => Err("ERR slots still count on the node: their copies are \
             being made elsewhere, if there is an elsewhere; try again then"
            .into()),
        Some(why) => Err(format!("ERR {why}").into()),
    }
}

fn known_node(node: &Node, args: &mut Args<'_>) -> Result<NodeId, CommandError> {
    let text = String::from_utf8_lossy(args.bytes()?).into_owned();
    let id: Option<NodeId> = text.parse().ok();
    let map = node.topology.map();
    id.filter(|id| map.node(id).is_some())
        .ok_or_else(|| unknown(&text))
}

fn unknown(text: &str) -> CommandError {
    let shown: String = text.chars().take(64).collect();
    format!("ERR Unknown node {shown}").into()
}

/// The rest of the words: slots, or ranges of them like `0-99`.
fn wished(to: Option<NodeId>, args: &mut Args<'_>) -> Result<Vec<TransferSlot>, CommandError> {
    let mut list = Vec::new();
    for word in args.by_ref() {
        let range = slots_of(word).ok_or("ERR Invalid slot")?;
        let slots = range.filter_map(Slot::new);
        list.extend(slots.map(|slot| TransferSlot { slot, to }));
        if list.len() > usize::from(SLOTS) {
            return Err("ERR Invalid slot: some are named more than once".into());
        }
    }
    if list.is_empty() {
        return Err(args.wrong_arity());
    }
    Ok(list)
}

fn slots_of(word: &[u8]) -> Option<RangeInclusive<u16>> {
    let word = std::str::from_utf8(word).ok()?;
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && last < SLOTS).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_slots_is_read_and_nonsense_is_not() {
        assert_eq!(slots_of(b"7"), Some(7..=7));
        assert_eq!(slots_of(b"0-16383"), Some(0..=16_383));
        for wrong in [
            &b"16384"[..],
            b"5-4",
            b"-1",
            b"1-",
            b"x",
            b"",
            b"1-2-3",
            b"\xff",
        ] {
            assert_eq!(slots_of(wrong), None, "{wrong:?}");
        }
    }
}
