//! An acknowledgement stays true within its term: what a primary counts on, its followers hold.

use cluster::{Epoch, Slot, Version};

use crate::world::{Node, Process};

pub(super) fn hold(
    nodes: &[Node],
    primary: &Process,
    slot: Slot,
    epoch: Epoch,
) -> Result<(), String> {
    let replica = primary.replicas.lock(slot);
    let counted: Vec<_> = replica.followers().collect();
    let rev = replica.placement().rev;
    drop(replica);
    for (member, held) in counted {
        let process = nodes
            .iter()
            .filter_map(|node| node.process.as_ref())
            .find(|process| process.member == member);
        let Some(process) = process else { continue };
        if process.member == primary.member {
            return Err("a primary follows itself".to_owned());
        }
        let replica = process.replicas.lock(slot);
        // One that knows a newer placement may have been removed, and may have forgotten all: then
        // the older set does not count any more.
        let known = replica.placement();
        let in_term = replica.promised() == epoch && known.rev <= rev && known.holds(&member);
        if in_term && held > Version::ZERO && replica.last() < held {
            let last = replica.last();
            return Err(format!(
                "counts on {member:?} for {held:?}, which holds {last:?}"
            ));
        }
    }
    Ok(())
}
