//! The state as it goes to a disk or to another node.
//!
//! The same few members fill 16384 placements, so each is written once and then by its number:
//! some 200 KB instead of 2 MB.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{DocumentRecord, NodeRecord, State};
use crate::metadata::OnLoss;
use crate::{Epoch, Lineage, Member, NodeId, Placement, SLOTS, Slot};

#[derive(Serialize, Deserialize)]
pub(super) struct Image {
    lineage: Option<Lineage>,
    applied: u64,
    hash_seed: [u64; 4],
    replication_factor: u8,
    write_quorum: u8,
    read_quorum: u8,
    on_loss: OnLoss,
    losses: u64,
    balances: bool,
    transfers: BTreeMap<Slot, NodeId>,
    nodes: BTreeMap<NodeId, NodeRecord>,
    members: Vec<Member>,
    placements: Vec<Short>,
    documents: BTreeMap<String, DocumentRecord>,
}

/// A placement, with members by number.
#[derive(Serialize, Deserialize)]
struct Short {
    epoch: Epoch,
    rev: u64,
    primary: Option<u32>,
    last_primary: Option<(u32, Epoch)>,
    in_sync: Vec<u32>,
    write_quorum: u8,
    learners: Vec<u32>,
    leaving: Vec<u32>,
}

impl From<State> for Image {
    fn from(state: State) -> Image {
        let named: BTreeSet<Member> = state.placements.iter().flat_map(|of| members(of)).collect();
        let numbers: BTreeMap<Member, u32> = named.iter().copied().zip(0..).collect();
        let all = |list: &[Member]| list.iter().map(|member| numbers[member]).collect();
        let short = |placement: &Arc<Placement>| Short {
            epoch: placement.epoch,
            rev: placement.rev,
            primary: placement.primary.map(|member| numbers[&member]),
            last_primary: placement
                .last_primary
                .map(|(member, epoch)| (numbers[&member], epoch)),
            in_sync: all(&placement.in_sync),
            write_quorum: placement.write_quorum,
            learners: all(&placement.learners),
            leaving: all(&placement.leaving),
        };
        Image {
            placements: state.placements.iter().map(short).collect(),
            members: named.into_iter().collect(),
            lineage: state.lineage,
            applied: state.applied,
            hash_seed: state.hash_seed,
            replication_factor: state.replication_factor,
            write_quorum: state.write_quorum,
            read_quorum: state.read_quorum,
            on_loss: state.on_loss,
            losses: state.losses,
            balances: state.balances,
            transfers: state.transfers,
            nodes: state.nodes,
            documents: state.documents,
        }
    }
}

impl TryFrom<Image> for State {
    type Error = String;

    fn try_from(image: Image) -> Result<State, String> {
        if image.placements.is_empty() || image.placements.len() > usize::from(SLOTS) {
            return Err(format!("a state of {} slots", image.placements.len()));
        }
        let member = |number: u32| {
            let found = usize::try_from(number)
                .ok()
                .and_then(|index| image.members.get(index));
            found
                .copied()
                .ok_or_else(|| format!("member {number} is not in the state"))
        };
        let all = |list: &[u32]| {
            list.iter()
                .copied()
                .map(member)
                .collect::<Result<Vec<_>, _>>()
        };
        let long = |short: &Short| {
            let last = short.last_primary;
            Ok(Arc::new(Placement {
                epoch: short.epoch,
                rev: short.rev,
                primary: short.primary.map(member).transpose()?,
                last_primary: last
                    .map(|(of, epoch)| Ok::<_, String>((member(of)?, epoch)))
                    .transpose()?,
                in_sync: all(&short.in_sync)?,
                write_quorum: short.write_quorum,
                learners: all(&short.learners)?,
                leaving: all(&short.leaving)?,
            }))
        };
        Ok(State {
            placements: image
                .placements
                .iter()
                .map(long)
                .collect::<Result<_, String>>()?,
            lineage: image.lineage,
            applied: image.applied,
            hash_seed: image.hash_seed,
            replication_factor: image.replication_factor,
            write_quorum: image.write_quorum,
            read_quorum: image.read_quorum,
            on_loss: image.on_loss,
            losses: image.losses,
            balances: image.balances,
            transfers: image.transfers,
            nodes: image.nodes,
            documents: image.documents,
        })
    }
}

fn members(placement: &Placement) -> impl Iterator<Item = Member> {
    let last = placement.last_primary.map(|(member, _)| member);
    let lists = placement.in_sync.iter().chain(&placement.learners).copied();
    placement.primary.into_iter().chain(last).chain(lists)
}
