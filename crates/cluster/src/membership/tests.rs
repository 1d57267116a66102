//! The membership on a seeded network that delays, loses and parts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Event, Liveness, Membership, Output, Settings, Topic};
use crate::{Incarnation, Member, NodeId, NodeInfo, Time};

/// Nodes, a clock, and packets on their way.
struct World {
    now: Time,
    rng: StdRng,
    loss: f64,
    delay_max: Duration,
    nodes: BTreeMap<NodeId, Node>,
    packets: BTreeMap<(Time, u64), (NodeId, NodeId, Bytes)>,
    sent: u64,
    /// Pairs that hear nothing of each other.
    parted: BTreeSet<(NodeId, NodeId)>,
}

struct Node {
    me: Member,
    membership: Membership,
    /// Until then it does not run; its packets wait.
    paused_until: Time,
    next_reachable: Time,
    heard: Vec<(Time, Output)>,
}

fn id(number: u16) -> NodeId {
    let mut bytes = [0; 20];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    NodeId::from_bytes(bytes)
}

fn member(number: u16, incarnation: u64) -> Member {
    Member {
        node: id(number),
        incarnation: Incarnation(incarnation),
    }
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const STEP: Duration = Duration::from_millis(1);

impl World {
    fn new(seed: u64, nodes: u16) -> World {
        let mut world = World {
            now: Time::from_nanos(1),
            rng: StdRng::seed_from_u64(seed),
            loss: 0.0,
            delay_max: ms(5),
            nodes: BTreeMap::new(),
            packets: BTreeMap::new(),
            sent: 0,
            parted: BTreeSet::new(),
        };
        for number in 0..nodes {
            world.start(member(number, 1));
        }
        world
    }

    fn start(&mut self, me: Member) {
        let info = NodeInfo {
            peer_address: format!("{:?}:1", me.node),
            ..NodeInfo::default()
        };
        let rng = StdRng::seed_from_u64(self.rng.random());
        let membership = Membership::new(Settings::default(), me, info, rng);
        let (paused_until, next_reachable) = (Time::ZERO, self.now);
        let node = Node {
            me,
            membership,
            paused_until,
            next_reachable,
            heard: Vec::new(),
        };
        self.nodes.insert(me.node, node);
    }

    fn connected(&self, a: NodeId, b: NodeId) -> bool {
        !self.parted.contains(&(a.min(b), a.max(b)))
    }

    /// Parts the nodes below `first` from the others, or joins them again.
    fn part(&mut self, first: u16, parted: bool) {
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        for &a in nodes.iter().filter(|&&node| node < id(first)) {
            for &b in nodes.iter().filter(|&&node| node >= id(first)) {
                if parted {
                    self.parted.insert((a, b));
                } else {
                    self.parted.remove(&(a, b));
                }
            }
        }
    }

    fn handle(&mut self, node: NodeId, event: Event) {
        let Some(receiver) = self.nodes.get_mut(&node) else {
            return;
        };
        let mut out = Vec::new();
        receiver.membership.handle(self.now, event, &mut out);
        for output in out {
            match output {
                Output::Send { to, packet } => self.send(node, to, packet),
                output => {
                    let now = self.now;
                    self.nodes.get_mut(&node).unwrap().heard.push((now, output));
                }
            }
        }
    }

    fn send(&mut self, from: NodeId, to: NodeId, packet: Bytes) {
        if self.rng.random_bool(self.loss) || !self.connected(from, to) {
            return;
        }
        let due = self.now + self.delay_max.mul_f64(self.rng.random());
        self.packets.insert((due, self.sent), (from, to, packet));
        self.sent += 1;
    }

    fn step(&mut self) {
        self.now = self.now + STEP;
        let later = self.packets.split_off(&(self.now, 0));
        for (_, (from, to, packet)) in std::mem::replace(&mut self.packets, later) {
            let Some(receiver) = self.nodes.get(&to) else {
                continue;
            };
            if receiver.paused_until > self.now {
                let due = receiver.paused_until + STEP;
                self.packets.insert((due, self.sent), (from, to, packet));
                self.sent += 1;
            } else {
                self.handle(to, Event::Received(packet));
            }
        }
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        for node in nodes {
            let state = &self.nodes[&node];
            if state.paused_until > self.now {
                continue;
            }
            if state.next_reachable <= self.now {
                let members = self.nodes.values().map(|other| other.me);
                let reachable = members
                    .filter(|other| other.node != node && self.connected(node, other.node))
                    .collect();
                self.nodes.get_mut(&node).unwrap().next_reachable = self.now + ms(100);
                self.handle(node, Event::Reachable(reachable));
            } else if state
                .membership
                .next_deadline()
                .is_some_and(|due| due <= self.now)
            {
                self.handle(node, Event::Tick);
            }
        }
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.step();
        }
    }

    /// Runs until the condition holds and returns how long that took.
    fn until(&mut self, limit: Duration, condition: impl Fn(&World) -> bool) -> Duration {
        let start = self.now;
        while !condition(self) {
            assert!(self.now.since(start) < limit, "not within {limit:?}");
            self.step();
        }
        self.now.since(start)
    }

    /// Whether every node that runs holds exactly the others for alive.
    fn agrees(&self) -> bool {
        self.nodes.values().all(|node| {
            self.nodes.values().all(|other| {
                let liveness = node.membership.liveness(&other.me);
                other.me == node.me || liveness == Some(Liveness::Alive)
            })
        })
    }

    fn all_say_down(&self, member: Member) -> bool {
        let says = |node: &Node| node.membership.liveness(&member) == Some(Liveness::Down);
        self.nodes.values().all(says)
    }

    fn downs(&self) -> usize {
        let heard = self.nodes.values().flat_map(|node| &node.heard);
        heard
            .filter(|(_, output)| matches!(output, Output::Down(_)))
            .count()
    }
}

#[test]
fn nodes_that_can_reach_each_other_become_one_cluster() {
    for seed in 0..20 {
        let mut world = World::new(seed, 3);
        let took = world.until(ms(2000), World::agrees);
        assert!(took < ms(1000), "seed {seed}: {took:?}");
        let view = world.nodes[&id(0)]
            .membership
            .members()
            .last()
            .unwrap()
            .clone();
        assert_eq!(view.info.peer_address, format!("{:?}:1", id(2)));
        world.run(ms(20_000));
        assert_eq!(world.downs(), 0, "seed {seed}");
    }
}

#[test]
fn a_killed_node_is_down_within_the_time_that_is_promised() {
    let mut all = Vec::new();
    for seed in 0..100 {
        let mut world = World::new(seed, 3);
        world.until(ms(2000), World::agrees);
        let span = ms(world.rng.random_range(1000..3000));
        world.run(span);
        world.nodes.remove(&id(1));
        all.push(world.until(ms(3000), |world| world.all_say_down(member(1, 1))));
        assert_eq!(
            world.downs(),
            2,
            "seed {seed}: both say so, and of nobody else"
        );
    }
    all.sort();
    assert!(
        all[0] >= ms(900) && all[50] < ms(1400) && all[99] < ms(1850),
        "{all:?}"
    );
}

#[test]
fn a_short_pause_is_no_death_and_neither_is_ones_own() {
    for seed in 0..50 {
        let mut world = World::new(seed, 3);
        world.until(ms(2000), World::agrees);
        for _ in 0..10 {
            let span = ms(world.rng.random_range(200..1000));
            world.run(span);
            let node = id(world.rng.random_range(0..3));
            let until = world.now + ms(300);
            world.nodes.get_mut(&node).unwrap().paused_until = until;
        }
        world.run(ms(2000));
        assert_eq!(world.downs(), 0, "seed {seed}");
    }
}

#[test]
fn a_stopped_node_is_down_and_comes_back_without_taking_others_for_dead() {
    for seed in 0..20 {
        let mut world = World::new(seed, 3);
        world.until(ms(2000), World::agrees);
        let until = world.now + ms(7000);
        world.nodes.get_mut(&id(2)).unwrap().paused_until = until;
        world.run(ms(2500));
        let says = |world: &World, node| world.nodes[&id(node)].membership.liveness(&member(2, 1));
        assert_eq!(says(&world, 0), Some(Liveness::Down), "seed {seed}");
        assert_eq!(says(&world, 1), Some(Liveness::Down), "seed {seed}");
        world.run(ms(4500));
        world.until(ms(6000), World::agrees);
        let stopped = &world.nodes[&id(2)];
        assert!(
            stopped
                .heard
                .iter()
                .any(|(_, output)| *output == Output::Rejoined)
        );
        assert_eq!(world.downs(), 2, "seed {seed}");
    }
}

#[test]
fn who_was_suspected_before_a_pause_of_our_own_has_its_time_again() {
    for seed in 0..20 {
        let mut world = World::new(seed, 3);
        world.until(ms(2000), World::agrees);
        world.part(1, true);
        let suspects = |world: &World| {
            let mut members = world.nodes[&id(0)].membership.members();
            members.any(|seen| seen.liveness == Liveness::Suspect)
        };
        world.until(ms(2000), suspects);
        let until = world.now + ms(3000);
        world.nodes.get_mut(&id(0)).unwrap().paused_until = until;
        world.run(ms(2000));
        world.part(1, false);
        world.run(ms(1000));
        world.until(ms(6000), World::agrees);
        let heard = &world.nodes[&id(0)].heard;
        let down = heard
            .iter()
            .any(|(_, output)| matches!(output, Output::Down(_)));
        assert!(!down, "seed {seed}: {heard:?}");
    }
}

#[test]
fn a_restarted_node_takes_the_place_of_its_earlier_start() {
    for seed in 0..20 {
        let mut world = World::new(seed, 3);
        world.until(ms(2000), World::agrees);
        world.nodes.remove(&id(1));
        world.run(ms(50));
        world.start(member(1, 2));
        world.until(ms(1000), World::agrees);
        assert!([0, 2].iter().all(|&node| {
            world.nodes[&id(node)].membership.liveness(&member(1, 1)) == Some(Liveness::Down)
        }));
        let heard = &world.nodes[&id(0)].heard;
        let at = |wanted: &dyn Fn(&Output) -> bool| {
            heard
                .iter()
                .rposition(|(_, output)| wanted(output))
                .unwrap()
        };
        let down = at(&|output| *output == Output::Down(member(1, 1)));
        let alive = at(&|output| matches!(output, Output::Alive(who, _) if *who == member(1, 2)));
        assert!(down < alive, "seed {seed}: {heard:?}");
        world.run(ms(5000));
        assert!(world.agrees() && world.downs() == 2, "seed {seed}");
    }
}

#[test]
fn halves_that_were_parted_join_again() {
    for (seed, nodes, first) in (0..10).flat_map(|seed| [(seed, 5, 2), (seed, 2, 1)]) {
        let mut world = World::new(seed, nodes);
        world.part(first, true);
        world.run(ms(3000));
        assert!(!world.agrees());
        // The halves have never met.
        world.part(first, false);
        world.until(ms(6000), World::agrees);
        world.part(first, true);
        world.run(ms(4000));
        let across = world.nodes[&id(0)]
            .membership
            .liveness(&member(nodes - 1, 1));
        assert_eq!(across, Some(Liveness::Down), "seed {seed}");
        world.part(first, false);
        world.until(ms(10_000), World::agrees);
    }
}

#[test]
fn lost_and_late_packets_make_no_down_member() {
    for seed in 0..20 {
        let mut world = World::new(seed, 5);
        (world.loss, world.delay_max) = (0.05, ms(60));
        world.until(ms(5000), World::agrees);
        world.run(ms(20_000));
        assert_eq!(world.downs(), 0, "seed {seed}");
    }
}

#[test]
fn fifty_nodes_agree_and_all_learn_of_a_death() {
    let mut world = World::new(1, 50);
    let took = world.until(ms(10_000), World::agrees);
    assert!(took < ms(5000), "{took:?}");
    world.run(ms(2000));
    assert_eq!(world.downs(), 0);
    let before = world.sent;
    world.run(ms(1000));
    let packets = (world.sent - before) / 50;
    assert!(packets < 60, "{packets} packets a second and node");
    world.nodes.remove(&id(7));
    let took = world.until(ms(4000), |world| world.all_say_down(member(7, 1)));
    assert!(took < ms(2800), "{took:?}");
    assert_eq!(world.downs(), 49);
}

#[test]
fn a_node_that_leaves_is_down_at_once() {
    let mut world = World::new(3, 3);
    world.until(ms(2000), World::agrees);
    world.handle(id(1), Event::Leave);
    world.nodes.remove(&id(1));
    let took = world.until(ms(1000), |world| world.all_say_down(member(1, 1)));
    assert!(took < ms(300), "{took:?}");
}

#[test]
fn a_bulletin_reaches_everybody_newcomers_too() {
    let mut world = World::new(5, 10);
    world.until(ms(5000), World::agrees);
    for word in ["old", "new"] {
        world.handle(id(0), Event::Publish(Topic::Load, word.as_bytes().to_vec()));
        world.run(ms(1000));
    }
    let latest = |world: &World, node: u16| {
        let heard = world.nodes[&id(node)].heard.iter().rev();
        let mut words = heard.filter_map(|(_, output)| match output {
            Output::Published(member, Topic::Load, bytes) => Some((*member, bytes.clone())),
            _ => None,
        });
        words.next()
    };
    let expected = Some((member(0, 1), b"new".to_vec()));
    assert!((1..10).all(|node| latest(&world, node) == expected));
    world.run(ms(5000));
    world.start(member(10, 1));
    world.until(ms(5000), |world| latest(world, 10) == expected);
    let too_long = vec![0; super::BULLETIN_BYTES_MAX + 1];
    world.handle(id(0), Event::Publish(Topic::Load, too_long));
    world.run(ms(1000));
    assert!((1..11).all(|node| latest(&world, node) == expected));
}

#[test]
fn changed_facts_reach_everybody_and_nobody_dies_of_it() {
    let mut world = World::new(6, 3);
    world.until(ms(2000), World::agrees);
    let info = NodeInfo {
        zone: "b".to_owned(),
        ..NodeInfo::default()
    };
    world.handle(id(0), Event::Info(info.clone()));
    world.until(ms(3000), |world| {
        [1, 2].iter().all(|&node| {
            let heard = &world.nodes[&id(node)].heard;
            let told = Output::Alive(member(0, 1), Arc::new(info.clone()));
            heard.iter().any(|(_, output)| *output == told)
        })
    });
    world.until(ms(3000), World::agrees);
    assert_eq!(world.downs(), 0);
}

#[test]
fn what_is_no_packet_does_no_harm() {
    let mut world = World::new(7, 2);
    world.until(ms(2000), World::agrees);
    for length in 0..200 {
        let bytes: Vec<u8> = (0..length).map(|_| world.rng.random()).collect();
        world.handle(id(0), Event::Received(bytes.into()));
    }
    world.run(ms(3000));
    assert!(world.agrees() && world.downs() == 0);
}
