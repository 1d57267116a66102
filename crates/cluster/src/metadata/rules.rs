//! Which step may follow a slot's placement, and where it leads.
//!
//! Every slot has one linear history of placements, because a step says what it was judged by, its
//! `rev` or its epoch, and is refused when that is not the present one any more. These rules stand
//! here and nowhere else.

use std::collections::BTreeSet;

use super::OnLoss;
use super::applied::Refusal;
use super::entry::{ActivateSlot, ChangeSlot, FenceSlot, LearnersSlot};
use crate::{Epoch, Member, Placement};

/// The most copies that a slot may have, learners not counted, and the most learners.
pub const COPIES_MAX: usize = 16;

pub(super) fn fence(of: &FenceSlot, placement: &Placement) -> Result<Placement, Refusal> {
    if of.rev != placement.rev {
        return Err(Refusal::OtherRev);
    }
    if Epoch(placement.epoch.0 + 1) >= Epoch::LIMIT {
        return Err(Refusal::NoEpochLeft);
    }
    Ok(Placement {
        epoch: placement.epoch.next(),
        primary: None,
        ..placement.clone()
    })
}

pub(super) fn activate(
    of: &ActivateSlot,
    placement: &Placement,
    on_loss: OnLoss,
) -> Result<Placement, Refusal> {
    if of.epoch != placement.epoch {
        return Err(Refusal::OtherEpoch);
    }
    if placement.primary.is_some() {
        return Err(Refusal::HasPrimary);
    }
    // The coordinator has judged by an older state, perhaps.
    if of.may_lose && on_loss == OnLoss::Wait {
        return Err(Refusal::Waits);
    }
    check_set(&of.in_sync, &of.primary)?;
    Ok(Placement {
        primary: Some(of.primary),
        last_primary: Some((of.primary, of.epoch)),
        in_sync: of.in_sync.clone(),
        learners: beside(&of.learners, &of.in_sync)?,
        leaving: among(&placement.leaving, &of.in_sync),
        ..placement.clone()
    })
}

/// Who goes although it was to stay keeps its place among the learners, as far as the slot lacks
/// some of its `copies`: it may come back, or start anew.
pub(super) fn change(
    of: &ChangeSlot,
    placement: &Placement,
    copies: usize,
) -> Result<Placement, Refusal> {
    if of.epoch != placement.epoch {
        return Err(Refusal::OtherEpoch);
    }
    let primary = placement.primary.ok_or(Refusal::NoPrimary)?;
    if of.rev != placement.rev {
        return Err(Refusal::OtherRev);
    }
    check_set(&of.in_sync, &primary)?;
    if of.write_quorum == 0 || usize::from(of.write_quorum) > COPIES_MAX {
        return Err(Refusal::BadSet);
    }
    let mut learners = beside(&placement.learners, &of.in_sync)?;
    let gone = placement.staying().filter(|one| !of.in_sync.contains(one));
    let room = copies.saturating_sub(of.in_sync.len() + learners.len());
    learners.extend(gone.take(room));
    Ok(Placement {
        in_sync: of.in_sync.clone(),
        write_quorum: of.write_quorum,
        learners,
        leaving: among(&placement.leaving, &of.in_sync),
        ..placement.clone()
    })
}

pub(super) fn learners(of: &LearnersSlot, placement: &Placement) -> Result<Placement, Refusal> {
    if of.rev != placement.rev {
        return Err(Refusal::OtherRev);
    }
    Ok(Placement {
        learners: beside(&of.learners, &placement.in_sync)?,
        leaving: among(&of.leaving, &placement.in_sync),
        ..placement.clone()
    })
}

/// An in-sync set holds its primary, and nobody twice.
fn check_set(in_sync: &[Member], primary: &Member) -> Result<(), Refusal> {
    let distinct: BTreeSet<&Member> = in_sync.iter().collect();
    let possible = distinct.len() == in_sync.len() && in_sync.len() <= COPIES_MAX;
    if possible && in_sync.contains(primary) {
        Ok(())
    } else {
        Err(Refusal::BadSet)
    }
}

/// Those of them that are in sync.
fn among(leaving: &[Member], in_sync: &[Member]) -> Vec<Member> {
    let is_in_sync = |member: &&Member| in_sync.contains(member);
    leaving.iter().filter(is_in_sync).copied().collect()
}

/// The learners that are not in sync.
fn beside(learners: &[Member], in_sync: &[Member]) -> Result<Vec<Member>, Refusal> {
    let learners: Vec<Member> = learners
        .iter()
        .filter(|member| !in_sync.contains(member))
        .copied()
        .collect();
    if learners.len() > COPIES_MAX {
        Err(Refusal::BadSet)
    } else {
        Ok(learners)
    }
}
