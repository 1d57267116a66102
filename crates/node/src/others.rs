//! The other nodes of the cluster, as the front end of this one sees them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use cluster::transport::Calls;
use cluster::{Member, NodeInfo, SharedSlotMap};
use routing::route::Route;

use crate::error::CommandError;

/// Who the other nodes are, and the way to them.
pub struct Others {
    map: Arc<SharedSlotMap>,
    calls: Arc<dyn Calls>,
}

/// What a client is told about a slot that no member holds.
pub(crate) const DOWN: &str = "CLUSTERDOWN Hash slot not served";
/// What a client is told about a slot that gets a primary again soon.
const SOON: &str = "TRYAGAIN The slot has no primary at the moment";

impl Others {
    /// The nodes of this map, asked by these calls.
    #[must_use]
    pub fn new(map: Arc<SharedSlotMap>, calls: Arc<dyn Calls>) -> Others {
        Others { map, calls }
    }

    /// The way to them.
    #[must_use]
    pub fn calls(&self) -> &Arc<dyn Calls> {
        &self.calls
    }

    /// The host and port that a client is told for a member, where it reached this node at `local`.
    fn address(&self, member: &Member, local: SocketAddr) -> Option<(String, u16)> {
        let map = self.map.load();
        Some(address(map.info(member)?, local))
    }
}

/// What a client is told that came by the cluster port to a node that does not serve its slot.
pub(crate) fn redirected(
    others: Option<&Others>,
    route: Route,
    local: SocketAddr,
) -> CommandError {
    match route {
        Route::Moved(slot, member) => {
            // Without an address the member's node has started anew: the slot gets another primary.
            let address = others.and_then(|others| others.address(&member, local));
            address.map_or(SOON.into(), |(host, port)| {
                format!("MOVED {slot} {host}:{port}").into()
            })
        }
        Route::TryAgain => SOON.into(),
        Route::CrossSlot => "CROSSSLOT Keys in request don't hash to the same slot".into(),
        Route::Down | Route::Forward(_) | Route::Local | Route::LocalReplica => DOWN.into(),
    }
}

/// Never an empty host, and none that stands for all addresses of a machine. A node that listens
/// on all of them without a host name of its own is reached where the other nodes reach it; and if
/// that says nothing either, where the client reached this node: all of them are on one machine.
fn address(info: &NodeInfo, local: SocketAddr) -> (String, u16) {
    let from_peers = || {
        let (host, _) = info.peer_address.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        names_a_host(host).then(|| host.to_owned())
    };
    let host = if names_a_host(&info.client_host) {
        info.client_host.clone()
    } else {
        from_peers().unwrap_or_else(|| local.ip().to_canonical().to_string())
    };
    (host, info.cluster_port)
}

fn names_a_host(host: &str) -> bool {
    let is_any = |address: IpAddr| address.is_unspecified();
    !host.is_empty() && !host.parse().is_ok_and(is_any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_told_an_address_that_it_can_reach() {
        let local: SocketAddr = "127.0.0.1:7001".parse().unwrap();
        for (client_host, peer_address, told) in [
            ("cache-1.example", "10.0.0.1:16379", "cache-1.example"),
            ("10.0.0.9", "10.0.0.1:16379", "10.0.0.9"),
            ("0.0.0.0", "10.0.0.1:16379", "10.0.0.1"),
            ("", "[fd00::1]:16379", "fd00::1"),
            ("::", "[::]:16379", "127.0.0.1"),
        ] {
            let info = NodeInfo {
                client_host: client_host.into(),
                peer_address: peer_address.into(),
                cluster_port: 7002,
                ..NodeInfo::default()
            };
            assert_eq!(address(&info, local), (told.to_owned(), 7002));
        }
    }

    #[test]
    fn without_a_primary_it_is_soon_or_down() {
        let local: SocketAddr = "127.0.0.1:7001".parse().unwrap();
        let told = |route| redirected(None, route, local);
        assert_eq!(told(Route::Down), DOWN.into());
        assert_eq!(told(Route::TryAgain), SOON.into());
        assert_eq!(told(Route::CrossSlot).code(), "CROSSSLOT");
    }
}
