//! When more of a slot's members are gone than it can bear.

use crate::metadata::{OnLoss, State};
use crate::replication::quorum::Quorum;
use crate::{Member, Placement};

/// Whether the slot goes on only when an operator accepts that something of it may be lost: it has
/// no primary, and so many of its members can never report that the others do not seal it.
///
/// `is_out_of_reach` is asked where `W = 1` alone: there a primary that comes back ends the wait.
#[must_use]
pub fn waits_for_operator(
    state: &State,
    placement: &Placement,
    is_out_of_reach: impl Fn(&Member) -> bool,
) -> bool {
    let lacks_primary = placement.primary.is_none() && !placement.in_sync.is_empty();
    if state.on_loss() == OnLoss::Accept || !lacks_primary {
        return false;
    }
    let is_gone = |member: &Member| {
        state.is_known_dead(member) || is_passed_over(placement, member, || is_out_of_reach(member))
    };
    let quorum = Quorum::new(placement.in_sync.len(), usize::from(placement.write_quorum));
    let left = placement.in_sync.iter().filter(|member| !is_gone(member));
    let last_primary = placement.last_primary.as_ref();
    left.count() < quorum.seal() && last_primary.is_none_or(|(member, _)| is_gone(member))
}

/// Whether the slot does not wait for the member's return: with `W = 1` that is so of a primary
/// that nobody can reach.
pub(super) fn is_passed_over(
    placement: &Placement,
    member: &Member,
    is_out_of_reach: impl FnOnce() -> bool,
) -> bool {
    let last_primary = placement.last_primary.map(|(member, _)| member);
    placement.write_quorum == 1 && Some(*member) == last_primary && is_out_of_reach()
}
