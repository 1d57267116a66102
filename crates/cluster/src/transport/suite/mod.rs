//! What every transport must do, run on each of them.

mod belonging;
mod calls;
mod links;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::grpc::Listener;
use super::memory::Network;
use super::{
    CallError, CallKind, Calls, Channel, Direction, Flow, Limits, Link, LinkDriver, Links, Opened,
    Secret, Settings, Source, Transport, Wake,
};
use crate::{Incarnation, Lineage, Member, NodeId, NodeInfo};

/// A kind of network that the suite runs on.
enum Fabric {
    Memory(Network),
    Grpc,
}

impl Fabric {
    /// A node at the address; an empty one is a new address.
    async fn start(&self, address: &str, mut settings: Settings) -> Arc<Transport> {
        match self {
            Fabric::Memory(network) => {
                let given = format!("{:?}", settings.member);
                let address = if address.is_empty() { &given } else { address };
                address.clone_into(&mut settings.info.peer_address);
                network.join(address, settings)
            }
            Fabric::Grpc => {
                let address = if address.is_empty() {
                    "127.0.0.1:0"
                } else {
                    address
                };
                let address: SocketAddr = address.parse().unwrap();
                let listener = bind(address).await;
                settings.info.peer_address = listener.address().to_string();
                listener.start(settings).unwrap()
            }
        }
    }
}

/// A transport that was dropped lets go of its port a little later.
async fn bind(address: SocketAddr) -> Listener {
    for _ in 0..1000 {
        if let Ok(listener) = Listener::bind(address).await {
            return listener;
        }
        tokio::task::yield_now().await;
    }
    Listener::bind(address).await.unwrap()
}

/// A node of a test: its transport and everything that its driver has heard.
struct Node {
    transport: Arc<Transport>,
    heard: Arc<Heard>,
    member: Member,
    address: String,
}

#[derive(Default)]
struct Heard {
    events: Mutex<Vec<Event>>,
    outlets: Mutex<Vec<(Link, Arc<Queue>)>>,
    changed: Notify,
    /// Where gossip is answered, with the packet itself.
    echo: Mutex<Weak<Transport>>,
    /// While set, nothing but the message at hand is received.
    gate: Mutex<Option<Arc<Notify>>>,
}

#[derive(Clone, Debug, PartialEq)]
enum Event {
    Opened(Link, Option<Lineage>),
    Received(Link, Channel, Bytes),
    Closed(Link),
}

#[derive(Default)]
struct Queue {
    payloads: Mutex<VecDeque<Bytes>>,
    taken_bytes: AtomicUsize,
    wake: Wake,
}

impl Queue {
    fn put(&self, payload: impl Into<Bytes>) {
        self.payloads.lock().push_back(payload.into());
        self.wake.wake();
    }
}

impl Source for Queue {
    fn take(&self, _bytes_max: usize) -> Option<(Channel, Bytes)> {
        let payload = self.payloads.lock().pop_front()?;
        self.taken_bytes.fetch_add(payload.len(), Ordering::Relaxed);
        Some((Channel::Replication, payload))
    }
}

impl LinkDriver for Heard {
    fn opened(&self, opened: Opened) -> Arc<dyn Source> {
        let queue = Arc::new(Queue {
            wake: opened.wake,
            ..Queue::default()
        });
        self.outlets.lock().push((opened.link, Arc::clone(&queue)));
        self.hear(Event::Opened(opened.link, opened.lineage));
        queue
    }

    fn received(&self, link: &Link, channel: Channel, payload: Bytes) -> Flow {
        if channel == Channel::Gossip
            && let Some(transport) = self.echo.lock().upgrade()
        {
            transport.gossip(link.peer.node, payload.clone());
        }
        self.hear(Event::Received(*link, channel, payload));
        match self.gate.lock().clone() {
            Some(gate) => Flow::Wait(Box::pin(async move { gate.notified().await })),
            None => Flow::Continue,
        }
    }

    fn closed(&self, link: &Link, _reason: &str) {
        self.outlets.lock().retain(|(open, _)| open != link);
        self.hear(Event::Closed(*link));
    }
}

impl Heard {
    fn hear(&self, event: Event) {
        self.events.lock().push(event);
        self.changed.notify_one();
    }

    fn payloads(&self, direction: Direction, channel: Channel) -> Vec<Bytes> {
        let of = |event: &Event| match event {
            Event::Received(link, on, payload) if link.direction == direction && *on == channel => {
                Some(payload.clone())
            }
            _ => None,
        };
        self.events.lock().iter().filter_map(of).collect()
    }
}

fn settings(node: u8, incarnation: u64) -> Settings {
    let member = Member {
        node: NodeId::from_bytes([node; 20]),
        incarnation: Incarnation(incarnation),
    };
    let limits = Limits {
        reconnect_min: Duration::from_millis(2),
        reconnect_max: Duration::from_millis(50),
        seed_interval: Duration::from_millis(20),
        ..Limits::default()
    };
    let secret = Some(Secret::new(b"a secret of the suite").unwrap());
    let info = NodeInfo::default();
    Settings {
        member,
        secret,
        lineage: None,
        info,
        seeds: Vec::new(),
        limits,
    }
}

impl Node {
    async fn start(fabric: &Fabric, settings: Settings) -> Node {
        Node::start_at(fabric, "", settings).await
    }

    async fn start_at(fabric: &Fabric, address: &str, settings: Settings) -> Node {
        let member = settings.member;
        let transport = fabric.start(address, settings).await;
        let heard = Arc::new(Heard::default());
        transport.drive(Arc::clone(&heard) as Arc<dyn LinkDriver>);
        let address = transport
            .hub
            .greeting(super::handshake::Purpose::Probe)
            .info
            .peer_address;
        Node {
            transport,
            heard,
            member,
            address,
        }
    }

    async fn until(&self, what: &str, condition: impl Fn(&Node) -> bool) {
        let wait = async {
            while !condition(self) {
                // The condition may be about another node, which tells this one nothing.
                let _ =
                    tokio::time::timeout(Duration::from_millis(5), self.heard.changed.notified())
                        .await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), wait).await;
        assert!(
            waited.is_ok(),
            "{what}: {:?} heard {:?}",
            self.member,
            self.summary()
        );
    }

    fn summary(&self) -> Vec<String> {
        let events = self.heard.events.lock();
        let shown = events.iter().rev().take(20).rev();
        shown
            .map(|event| format!("{event:?}").chars().take(160).collect())
            .collect()
    }

    fn connect(&self, to: &Node) {
        self.transport.connect(to.member.node, &to.address);
    }

    fn outlet(&self, to: &Node, direction: Direction) -> Option<Arc<Queue>> {
        let outlets = self.heard.outlets.lock();
        let open = outlets.iter().rev();
        open.filter(|(link, _)| link.peer == to.member && link.direction == direction)
            .map(|(_, queue)| Arc::clone(queue))
            .next()
    }

    async fn linked(&self, to: &Node) {
        self.until("both links open", |node| {
            [Direction::Initiated, Direction::Accepted]
                .iter()
                .all(|&direction| node.outlet(to, direction).is_some())
        })
        .await;
    }

    async fn call(&self, to: &Node, request: &'static str) -> Result<Bytes, CallError> {
        let (to, request) = (to.member.node, Bytes::from_static(request.as_bytes()));
        self.transport
            .call(to, CallKind::Command, request, Duration::from_secs(20))
            .await
    }
}

async fn pair(fabric: &Fabric) -> (Node, Node) {
    let a = Node::start(fabric, settings(1, 1)).await;
    let b = Node::start(fabric, settings(2, 1)).await;
    a.connect(&b);
    a.linked(&b).await;
    b.linked(&a).await;
    (a, b)
}

macro_rules! suite {
    ($($part:ident::$test:ident)*) => {
        mod memory {
            $(#[tokio::test] async fn $test() {
                super::$part::$test(super::Fabric::Memory(super::Network::default())).await;
            })*
        }
        mod grpc {
            $(#[tokio::test] async fn $test() {
                super::$part::$test(super::Fabric::Grpc).await;
            })*
        }
    };
}

suite! {
    links::messages_keep_their_order
    links::a_packet_is_answered_from_within_the_driver
    links::a_long_message_arrives_whole_and_gossip_does_not_wait_for_it
    links::a_restarted_peer_is_another_member_on_a_new_stream
    links::a_new_stream_ends_the_old_one_before_it_is_read
    links::what_a_slow_peer_does_not_read_stays_in_the_source
    belonging::who_does_not_belong_is_refused
    belonging::a_lineage_is_learned_on_open_streams
    belonging::a_forgotten_peer_is_left_alone
    calls::thousands_of_calls_are_in_flight_at_once
    calls::a_call_without_an_answer_says_whether_it_may_have_run
    calls::a_call_given_up_makes_room
    links::a_silent_peer_is_cut_off
}

#[tokio::test]
async fn the_port_is_for_this_machine_alone_without_a_secret() {
    let listener = Listener::bind("0.0.0.0:0".parse().unwrap()).await.unwrap();
    let started = listener.start(Settings {
        secret: None,
        ..settings(1, 1)
    });
    assert!(
        started
            .err()
            .unwrap()
            .to_string()
            .contains("set a cluster secret")
    );
}
