//! Where a request goes: to the store here, to another node, or back to the client. Pure.
//!
//! A slot changes hands in one step, whole, so there is never a time in which some of its keys are
//! here and some there: `ASK` is never needed, and a client's `ASKING` changes nothing.

use cluster::{Member, Placement, Slot};

/// What one client chose, and the port that it came in by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// By the any port: the node carries requests where they belong, and never redirects.
    pub any_port: bool,
    /// `READONLY`: this node's copy will do.
    pub read_only: bool,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// This member leads the slot, or the command has no key.
    Local,
    /// This member's copy, which may be stale.
    LocalReplica,
    /// Pass it on to this member, which leads the slot.
    Forward(Member),
    /// `MOVED`: the client shall go to this member.
    Moved(Slot, Member),
    /// The keys lie in more than one slot.
    CrossSlot,
    /// The slot has no primary now, and gets one again: `TRYAGAIN`.
    TryAgain,
    /// No member holds the slot: `CLUSTERDOWN`.
    Down,
}

/// The route of a request with keys in these slots, of which most requests have one or none.
///
/// `placement` is of the slot map as this node knows it. `forwarded` says that another node sent
/// the request here: it is answered here or not at all, so that none goes around.
#[must_use]
pub fn route<'a>(
    slots: impl IntoIterator<Item = Slot>,
    placement: impl FnOnce(Slot) -> &'a Placement,
    way: Way,
    writes: bool,
    forwarded: bool,
    me: &Member,
) -> Route {
    let mut slots = slots.into_iter();
    let Some(slot) = slots.next() else {
        return Route::Local;
    };
    if slots.any(|other| other != slot) {
        return Route::CrossSlot;
    }
    let placement = placement(slot);
    match placement.primary {
        Some(primary) if primary == *me => Route::Local,
        _ if way.read_only && !writes && placement.in_sync.contains(me) => Route::LocalReplica,
        Some(_) if forwarded => Route::TryAgain,
        Some(primary) if way.any_port => Route::Forward(primary),
        Some(primary) => Route::Moved(slot, primary),
        None if placement.in_sync.is_empty() => Route::Down,
        // Between a fence and an activation, which is soon.
        None => Route::TryAgain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster::{Epoch, Incarnation, NodeId};

    fn member(number: u8) -> Member {
        Member {
            node: NodeId::from_bytes([number; 20]),
            incarnation: Incarnation(1),
        }
    }

    fn placed(primary: Option<u8>, in_sync: &[u8]) -> Placement {
        Placement {
            epoch: Epoch(3),
            primary: primary.map(member),
            in_sync: in_sync.iter().map(|number| member(*number)).collect(),
            ..Placement::default()
        }
    }

    const CLUSTER_PORT: Way = Way {
        any_port: false,
        read_only: false,
    };
    const ANY_PORT: Way = Way {
        any_port: true,
        ..CLUSTER_PORT
    };
    const READ_ONLY: Way = Way {
        read_only: true,
        ..CLUSTER_PORT
    };

    fn of(placement: &Placement, way: Way, writes: bool) -> Route {
        route([slot()], |_| placement, way, writes, false, &member(1))
    }

    fn slot() -> Slot {
        Slot::of(b"foo")
    }

    #[test]
    fn the_primary_answers_whoever_asks() {
        let placement = placed(Some(1), &[1, 2, 3]);
        for way in [CLUSTER_PORT, ANY_PORT, READ_ONLY] {
            assert_eq!(of(&placement, way, true), Route::Local);
            assert_eq!(of(&placement, way, false), Route::Local);
        }
    }

    #[test]
    fn another_primary_is_where_the_client_goes_or_the_request() {
        let placement = placed(Some(2), &[1, 2, 3]);
        assert_eq!(
            of(&placement, CLUSTER_PORT, false),
            Route::Moved(slot(), member(2))
        );
        assert_eq!(of(&placement, ANY_PORT, false), Route::Forward(member(2)));
        assert_eq!(of(&placement, READ_ONLY, false), Route::LocalReplica);
        assert_eq!(
            of(&placement, READ_ONLY, true),
            Route::Moved(slot(), member(2))
        );
        let elsewhere = placed(Some(2), &[2, 3]);
        assert_eq!(
            of(&elsewhere, READ_ONLY, false),
            Route::Moved(slot(), member(2))
        );
    }

    #[test]
    fn an_older_start_of_this_node_is_another_member() {
        let mut placement = placed(Some(1), &[1, 2]);
        placement.primary = Some(Member {
            incarnation: Incarnation(0),
            ..member(1)
        });
        assert!(matches!(
            of(&placement, CLUSTER_PORT, false),
            Route::Moved(..)
        ));
    }

    #[test]
    fn without_a_primary_it_is_soon_or_down() {
        assert_eq!(
            of(&placed(None, &[1, 2]), CLUSTER_PORT, false),
            Route::TryAgain
        );
        assert_eq!(of(&placed(None, &[1, 2]), ANY_PORT, true), Route::TryAgain);
        assert_eq!(
            of(&placed(None, &[1, 2]), READ_ONLY, false),
            Route::LocalReplica
        );
        assert_eq!(of(&placed(None, &[]), CLUSTER_PORT, true), Route::Down);
    }

    #[test]
    fn keys_of_two_slots_cross_and_no_key_is_local() {
        let placement = placed(Some(2), &[2]);
        let slots = |keys: &[&[u8]]| {
            let slots: Vec<_> = keys.iter().map(|key| Slot::of(key)).collect();
            route(
                slots,
                |_| &placement,
                CLUSTER_PORT,
                false,
                false,
                &member(1),
            )
        };
        assert_eq!(slots(&[b"a", b"b"]), Route::CrossSlot);
        assert_eq!(
            slots(&[b"{a}1", b"{a}2"]),
            Route::Moved(Slot::of(b"a"), member(2))
        );
        assert_eq!(slots(&[]), Route::Local);
    }

    #[test]
    fn what_was_passed_on_is_not_passed_on_again() {
        let placement = placed(Some(2), &[1, 2]);
        let route = route([slot()], |_| &placement, ANY_PORT, true, true, &member(1));
        assert_eq!(route, Route::TryAgain);
    }
}
