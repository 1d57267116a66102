//! Runs the membership on the links of the transport.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use tokio::sync::{Notify, broadcast};

use super::{Event, Liveness, Membership, Output, Seen, Settings, Topic};
use crate::transport::Links;
use crate::{Member, NodeInfo, Time, clock, driver, replication};

/// What has been learned about another member, or from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberEvent {
    /// It is alive; it may have been before.
    Alive(Member, Arc<NodeInfo>),
    /// It did not answer.
    Suspect(Member),
    /// It is down, or its node has started anew.
    Down(Member),
    /// Its newest word on a topic.
    Published(Member, Topic, Vec<u8>),
}

/// The gossip of this node. It goes on until this is dropped.
pub struct Gossip {
    membership: Mutex<Membership>,
    links: Arc<dyn Links>,
    join_interval: std::time::Duration,
    /// Told when the next deadline has become an earlier one.
    changed: Arc<Notify>,
    events: broadcast::Sender<MemberEvent>,
}

/// Events that a subscriber may lag behind; one that lags further asks for the list.
const EVENTS_KEPT: usize = 1024;

impl Gossip {
    /// Starts to look for others over the links. Must be called within a tokio runtime.
    pub fn start(
        settings: Settings,
        me: Member,
        info: NodeInfo,
        rng: StdRng,
        links: Arc<dyn Links>,
    ) -> Arc<Gossip> {
        let gossip = Arc::new(Gossip {
            join_interval: settings.join_interval,
            membership: Mutex::new(Membership::new(settings, me, info, rng)),
            links,
            changed: Arc::default(),
            events: broadcast::Sender::new(EVENTS_KEPT),
        });
        tokio::spawn(run(Arc::downgrade(&gossip)));
        gossip
    }

    /// Everything that is learned from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<MemberEvent> {
        self.events.subscribe()
    }

    /// The other nodes, down ones too while they are remembered.
    #[must_use]
    pub fn members(&self) -> Vec<Seen> {
        self.membership.lock().members().cloned().collect()
    }

    /// Tells everybody this node's present word on a topic, of at most
    /// [`super::BULLETIN_BYTES_MAX`].
    pub fn publish(&self, topic: Topic, bytes: Vec<u8>) {
        self.handle(Event::Publish(topic, bytes));
    }

    /// What this node says of itself has changed.
    pub fn set_info(&self, info: NodeInfo) {
        self.handle(Event::Info(info));
    }

    /// This node is about to stop: tells the others, so that they need not find out.
    pub fn leave(&self) {
        self.handle(Event::Leave);
    }

    /// Returns when it wants to be called next.
    fn handle(&self, event: Event) -> Option<Time> {
        let mut out = Vec::new();
        let (before, deadline) = {
            let mut membership = self.membership.lock();
            let before = membership.next_deadline();
            membership.handle(clock::now(), event, &mut out);
            (before, membership.next_deadline())
        };
        let earlier = |due| before.is_none_or(|before| due < before);
        if deadline.is_some_and(earlier) {
            self.changed.notify_one();
        }
        for output in out {
            self.perform(output);
        }
        deadline
    }

    fn perform(&self, output: Output) {
        let event = match output {
            Output::Send { to, packet } => return self.links.gossip(to, packet),
            Output::Rejoined => {
                return tracing::warn!("others had declared this node down; it is back");
            }
            Output::Alive(member, info) => {
                tracing::info!(?member, address = info.peer_address, "member is alive");
                self.links.connect(member.node, &info.peer_address);
                MemberEvent::Alive(member, info)
            }
            Output::Suspect(member) => {
                tracing::info!(?member, "member is suspect");
                MemberEvent::Suspect(member)
            }
            Output::Down(member) => {
                tracing::warn!(?member, "member is down");
                MemberEvent::Down(member)
            }
            Output::Published(member, topic, bytes) => MemberEvent::Published(member, topic, bytes),
        };
        // Nobody may be listening.
        let _ = self.events.send(event);
    }
}

async fn run(gossip: std::sync::Weak<Gossip>) {
    let mut next_join = Time::ZERO;
    while let Some(gossip) = gossip.upgrade() {
        let now = clock::now();
        let event = if now >= next_join {
            next_join = now + gossip.join_interval;
            Event::Reachable(
                gossip
                    .links
                    .open()
                    .into_iter()
                    .map(|link| link.peer)
                    .collect(),
            )
        } else {
            Event::Tick
        };
        let deadline = gossip
            .handle(event)
            .map_or(next_join, |due| due.min(next_join));
        let changed = Arc::clone(&gossip.changed);
        drop(gossip); // it ends when nobody else holds it
        tokio::select! {
            () = tokio::time::sleep(deadline.since(clock::now())) => (),
            () = changed.notified() => (),
        }
    }
}

impl driver::Gossip for Gossip {
    fn received(&self, _from: Member, packet: &[u8]) {
        self.handle(Event::Received(Bytes::copy_from_slice(packet)));
    }

    fn liveness(&self, member: &Member) -> replication::Liveness {
        match self.membership.lock().liveness(member) {
            Some(Liveness::Alive) => replication::Liveness::Up,
            Some(Liveness::Down) => replication::Liveness::Down,
            Some(Liveness::Suspect) | None => replication::Liveness::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rand::SeedableRng;

    use super::*;
    use crate::driver::Gossip as _;
    use crate::transport::memory::Network;
    use crate::transport::{self, Channel, Flow, Limits, Link, LinkDriver, Opened, Source};
    use crate::{Incarnation, NodeId};

    /// A driver that knows of nothing but gossip.
    struct GossipOnly(Arc<Gossip>);

    struct Nothing;

    impl Source for Nothing {
        fn take(&self, _bytes_max: usize) -> Option<(Channel, Bytes)> {
            None
        }
    }

    impl LinkDriver for GossipOnly {
        fn opened(&self, _opened: Opened) -> Arc<dyn Source> {
            Arc::new(Nothing)
        }

        fn received(&self, link: &Link, _channel: Channel, payload: Bytes) -> Flow {
            self.0.received(link.peer, &payload);
            Flow::Continue
        }

        fn closed(&self, _link: &Link, _reason: &str) {}
    }

    fn member(number: u8) -> Member {
        Member {
            node: NodeId::from_bytes([number; 20]),
            incarnation: Incarnation(1),
        }
    }

    fn start(network: &Network, number: u8) -> (Arc<transport::Transport>, Arc<Gossip>) {
        let (me, address) = (member(number), format!("node{number}"));
        let info = NodeInfo {
            peer_address: address.clone(),
            ..NodeInfo::default()
        };
        let links = network.join(
            &address,
            transport::Settings {
                member: me,
                secret: None,
                lineage: None,
                info: info.clone(),
                seeds: vec!["node1".to_owned()],
                limits: Limits::default(),
            },
        );
        let rng = StdRng::seed_from_u64(u64::from(number));
        let gossip = Gossip::start(
            Settings::default(),
            me,
            info,
            rng,
            Arc::clone(&links) as Arc<dyn Links>,
        );
        links.drive(Arc::new(GossipOnly(Arc::clone(&gossip))));
        (links, gossip)
    }

    async fn until(gossip: &Gossip, member: Member, wanted: replication::Liveness) {
        let mut events = gossip.subscribe();
        let wait = async {
            while gossip.liveness(&member) != wanted {
                events.recv().await.unwrap();
            }
        };
        let limit = Duration::from_secs(20);
        assert!(
            tokio::time::timeout(limit, wait).await.is_ok(),
            "{:?}",
            gossip.members()
        );
    }

    #[tokio::test]
    async fn nodes_find_each_other_by_a_seed_and_miss_the_one_that_is_gone() {
        let network = Network::default();
        let nodes = [1, 2, 3].map(|number| start(&network, number));
        for (number, (_, gossip)) in (1..).zip(&nodes) {
            for other in (1..=3).filter(|&other| other != number) {
                until(gossip, member(other), replication::Liveness::Up).await;
            }
        }
        // Nodes 2 and 3 have only named node 1, and are linked with each other by now or soon.
        let [one, two, three] = nodes;
        three.0.stop();
        until(&one.1, member(3), replication::Liveness::Down).await;
        until(&two.1, member(3), replication::Liveness::Down).await;
    }
}
