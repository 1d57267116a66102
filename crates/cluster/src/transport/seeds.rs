//! Finds nodes behind the addresses that this node was told to begin with.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::handshake::{Purpose, Refusal};
use super::hub::Hub;
use super::session::{self, Failure};
use super::supervisor::{Pause, dial, report, resolve};
use crate::NodeId;

/// Who answered at the addresses behind each seed when it was looked up last.
#[derive(Debug, Default)]
pub(crate) struct Seeds(Mutex<BTreeMap<String, Endpoints>>);

/// The addresses behind one seed, each with the node that answered there last, if one ever has.
type Endpoints = BTreeMap<String, Option<NodeId>>;

impl Seeds {
    pub(crate) fn new(seeds: &[String]) -> Seeds {
        let unknown = |seed: &String| (seed.clone(), Endpoints::from([(seed.clone(), None)]));
        Seeds(Mutex::new(seeds.iter().map(unknown).collect()))
    }

    /// For each address that the seeds name, the node that answered there.
    pub(crate) fn answered(&self) -> Vec<Option<NodeId>> {
        let seeds = self.0.lock();
        seeds
            .values()
            .flat_map(|endpoints| endpoints.values().copied())
            .collect()
    }

    /// The seed was looked up. Who answered before at the same address is remembered where
    /// nobody answers now.
    fn looked_up(&self, seed: &str, found: Endpoints) {
        let mut seeds = self.0.lock();
        let known = seeds.remove(seed).unwrap_or_default();
        let remembered = |(endpoint, node): (String, Option<NodeId>)| {
            let node = node.or_else(|| known.get(&endpoint).copied().flatten());
            (endpoint, node)
        };
        seeds.insert(seed.to_owned(), found.into_iter().map(remembered).collect());
    }
}

/// Asks at a seed's addresses who is there: again and again while this node has no link, or
/// belongs to no cluster and somebody has not answered; and now and then after that, so that two
/// halves which never met find each other.
pub(crate) async fn find_peers(hub: Arc<Hub>, seed: String) {
    let mut pause = Pause::new(&hub);
    loop {
        let mut all_answered = false;
        match resolve(&hub, seed.clone()).await {
            Ok(endpoints) => {
                let mut found = Endpoints::new();
                for endpoint in endpoints {
                    let node = probe(&hub, &endpoint).await.unwrap_or_else(|failure| {
                        report(&hub, &failure, &format!("seed {seed} at {endpoint}"));
                        None
                    });
                    found.insert(endpoint, node);
                }
                all_answered = found.values().all(Option::is_some);
                hub.seeds.looked_up(&seed, found);
            }
            Err(failure) => report(&hub, &failure, &seed),
        }
        let linked = hub.peers().iter().any(|peer| !peer.open_links().is_empty());
        let span = if linked && (all_answered || hub.lineage().is_some()) {
            hub.limits().seed_interval
        } else {
            pause.next()
        };
        tokio::time::sleep(span).await;
    }
}

async fn probe(hub: &Arc<Hub>, endpoint: &str) -> Result<Option<NodeId>, Failure> {
    let connection = dial(hub, endpoint.to_owned()).await?;
    let stream = match session::open(hub, &*connection, Purpose::Probe, None).await {
        Ok(stream) => stream,
        Err(
            Failure::RefusedByUs(Refusal::Ourselves) | Failure::RefusedByThem(Refusal::Ourselves),
        ) => {
            return Ok(Some(hub.settings.member.node));
        }
        Err(failure) => return Err(failure),
    };
    let info = &stream.theirs.info;
    let address = if info.peer_address.is_empty() {
        endpoint
    } else {
        &info.peer_address
    };
    hub.learn(stream.theirs.member.node, address);
    Ok(Some(stream.theirs.member.node))
}
