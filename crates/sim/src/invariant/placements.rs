//! Each slot has one line of placements: `rev` grows by one, the epoch never falls, a primary is in
//! its own set, and a fence changes neither set nor `W` nor whom they were led by.

use std::sync::Arc;

use cluster::Placement;

use crate::world::Log;

/// The placements after the entry before.
#[derive(Debug, Default)]
pub(super) struct Placements {
    known: Vec<Arc<Placement>>,
}

impl Placements {
    pub(super) fn appended(&mut self, log: &Log) -> Result<(), String> {
        let state = log.state();
        let new: Vec<Arc<Placement>> = state.placements().map(|(_, p)| Arc::clone(p)).collect();
        let old = std::mem::replace(&mut self.known, new);
        for (old, (slot, new)) in old.iter().zip(state.placements()) {
            step(old, new).map_err(|why| format!("{slot:?}: {why}: {old:?} then {new:?}"))?;
        }
        Ok(())
    }
}

fn step(old: &Placement, new: &Placement) -> Result<(), &'static str> {
    let is_fence = new.epoch > old.epoch;
    let rules = [
        (old == new || new.rev == old.rev + 1, "rev"),
        (
            new.epoch == old.epoch || new.epoch == old.epoch.next(),
            "epoch",
        ),
        (!is_fence || is_fenced(old, new), "fence"),
        (
            new.primary
                .is_none_or(|primary| new.in_sync.contains(&primary)),
            "primary",
        ),
        (
            is_fence || old.primary.is_none() || new.primary == old.primary,
            "a primary ends with its epoch",
        ),
    ];
    match rules.iter().find(|(holds, _)| !holds) {
        Some((_, broken)) => Err(broken),
        None => Ok(()),
    }
}

/// Whether a fence took the primary, and nothing else.
fn is_fenced(old: &Placement, new: &Placement) -> bool {
    let taken = Placement {
        epoch: new.epoch,
        rev: new.rev,
        primary: None,
        ..old.clone()
    };
    *new == taken
}
