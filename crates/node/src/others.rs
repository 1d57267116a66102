//! The other nodes of the cluster, as the front end of this one sees them.

use std::net::SocketAddr;
use std::sync::Arc;

use cluster::transport::{CallKind, Calls};
use routing::route::Route;

use crate::error::CommandError;
use crate::inbox::Inbox;
use crate::node::Node;
use crate::topology::Topology;

/// What a client is told about a slot that no member holds.
pub(crate) const DOWN: &str = "CLUSTERDOWN Hash slot not served";
/// What a client is told whose keys are in several slots.
pub(crate) const CROSS_SLOT: &str = "CROSSSLOT Keys in request don't hash to the same slot";
/// What a client is told about a slot that gets a primary again soon.
const SOON: &str = "TRYAGAIN The slot has no primary at the moment";

/// The node learns how the others are asked, and answers them from now on.
///
/// # Panics
/// If it has learned so before.
pub fn meet(node: &Arc<Node>, calls: Arc<dyn Calls>) {
    let inbox = Arc::new(Inbox(Arc::downgrade(node)));
    calls.serve(CallKind::Command, Arc::clone(&inbox) as _);
    calls.serve(CallKind::Inquiry, Arc::clone(&inbox) as _);
    calls.serve(CallKind::Departure, inbox);
    let is_first = node.calls.set(calls).is_ok();
    assert!(is_first, "a node becomes part of one cluster, once");
}

/// What a client is told that came by the cluster port, at `local`, to a node that does not serve
/// its slot.
pub(crate) fn redirected(topology: &Topology, route: Route, local: SocketAddr) -> CommandError {
    match route {
        Route::Moved(slot, member) => {
            let map = topology.map();
            // Without an address the member's node has started anew: the slot gets another primary.
            map.info(&member).map_or(SOON.into(), |info| {
                let (host, port) = topology.address(member.node, info, local);
                format!("MOVED {slot} {host}:{port}").into()
            })
        }
        Route::TryAgain => SOON.into(),
        Route::CrossSlot => CROSS_SLOT.into(),
        Route::Down | Route::Forward(_) | Route::Local | Route::LocalReplica => DOWN.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::tests::{formed, member, seen};
    use cluster::{Incarnation, Member, Slot};

    #[test]
    fn a_client_is_told_where_the_primary_is_or_that_there_will_be_one() {
        let topology = seen(formed(3), 0);
        let local: SocketAddr = "127.0.0.1:7001".parse().unwrap();
        let told = |route| redirected(&topology, route, local).to_string();
        let slot = Slot::of(b"foo");
        let moved = told(Route::Moved(slot, member(3)));
        assert_eq!(moved, "MOVED 12182 10.0.0.3:6379");
        let earlier = Member {
            incarnation: Incarnation(0),
            ..member(3)
        };
        assert_eq!(told(Route::Moved(slot, earlier)), SOON);
        assert_eq!(told(Route::TryAgain), SOON);
        assert_eq!(told(Route::CrossSlot), CROSS_SLOT);
        assert_eq!(told(Route::Down), DOWN);
    }
}
