//! Random starts, stops, losses and delays, and what must never happen in any of them.

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::{Incarnation, Member, NodeInfo};

fn id(number: usize) -> NodeId {
    NodeId::from_bytes([number as u8 + 1; 20])
}

/// One node: its part while it runs, and its disk.
struct Node {
    running: Option<Bootstrap>,
    stage: Stage,
    lineage: Option<Lineage>,
    knows: BTreeSet<usize>,
}

/// A message on its way.
#[derive(Clone)]
enum Message {
    Ask(usize, usize, Ask),
    Reply(usize, usize, Ask, Reply),
}

struct World {
    nodes: Vec<Node>,
    expect: usize,
    /// What each node's seeds name.
    seeds: Vec<usize>,
    wire: Vec<Message>,
    drawn: u128,
    founded: BTreeSet<Lineage>,
}

impl World {
    fn new(count: usize, expect: usize, seeds: Vec<usize>) -> World {
        let node = || Node {
            running: None,
            stage: Stage::Free,
            lineage: None,
            knows: BTreeSet::new(),
        };
        let nodes = (0..count).map(|_| node()).collect();
        World {
            nodes,
            expect,
            seeds,
            wire: Vec::new(),
            drawn: 0,
            founded: BTreeSet::new(),
        }
    }

    fn start(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if node.running.is_none() {
            let kept = node.stage.clone();
            node.running = Some(Bootstrap::new(
                id(at),
                Some(self.expect),
                kept,
                node.lineage,
            ));
        }
    }

    fn stop(&mut self, at: usize) {
        self.nodes[at].running = None;
        self.nodes[at].knows.clear();
    }

    fn neighbours(&self, at: usize) -> Neighbours {
        let node = &self.nodes[at];
        let known = |other: &usize| *other == at || node.knows.contains(other);
        let member = |other: usize| Member {
            node: id(other),
            incarnation: Incarnation(1),
        };
        let alive = |other: &usize| (id(*other), (member(*other), NodeInfo::default()));
        Neighbours {
            alive: node.knows.iter().map(alive).collect(),
            seeds: self
                .seeds
                .iter()
                .map(|seed| known(seed).then(|| id(*seed)))
                .collect(),
        }
    }

    /// Performs the steps; a crash may come after any of them.
    fn perform(&mut self, at: usize, steps: Vec<Step>, crash_after: usize) -> bool {
        for (done, step) in steps.into_iter().enumerate() {
            if done == crash_after {
                self.stop(at);
                return false;
            }
            match step {
                Step::Keep(stage) => {
                    if let Stage::Decided(founding) = &stage {
                        self.founded.insert(founding.lineage());
                    }
                    self.nodes[at].stage = stage;
                }
                Step::Send(to, ask) => {
                    let to = usize::from(to.as_bytes()[0]) - 1;
                    self.wire.push(Message::Ask(at, to, ask));
                }
                Step::Found(founding) => self.join(at, founding.lineage()),
                Step::Join(lineage) => self.join(at, lineage),
            }
        }
        true
    }

    fn join(&mut self, at: usize, lineage: Lineage) {
        assert!(
            self.founded.contains(&lineage),
            "nobody joins what does not exist"
        );
        self.nodes[at].lineage.get_or_insert(lineage);
        if let Some(running) = &mut self.nodes[at].running {
            running.joined(lineage);
        }
    }

    fn tick(&mut self, at: usize, crash_after: usize) {
        let neighbours = self.neighbours(at);
        let Some(mut running) = self.nodes[at].running.take() else {
            return;
        };
        self.drawn += 1;
        let lineage = Lineage(self.drawn);
        let form = |founders: &[NodeId]| Form {
            lineage,
            hash_seed: [0; 4],
            nodes: founders
                .iter()
                .map(|&node| {
                    (
                        Member {
                            node,
                            incarnation: Incarnation(1),
                        },
                        NodeInfo::default(),
                    )
                })
                .collect(),
            replication_factor: None,
            write_quorum: None,
            read_quorum: None,
            on_loss: None,
            documents: Vec::new(),
        };
        let mut steps = Vec::new();
        running.tick(&neighbours, form, &mut steps);
        self.nodes[at].running = Some(running);
        self.perform(at, steps, crash_after);
    }

    fn deliver(&mut self, message: Message, crash_after: usize) {
        let mut steps = Vec::new();
        match message {
            Message::Ask(from, to, ask) => {
                let neighbours = self.neighbours(to);
                let Some(running) = &mut self.nodes[to].running else {
                    return;
                };
                let reply = running.asked(id(from), &ask, &neighbours, &mut steps);
                if self.perform(to, steps, crash_after) {
                    self.wire.push(Message::Reply(to, from, ask, reply));
                }
            }
            Message::Reply(from, to, ask, reply) => {
                let Some(running) = &mut self.nodes[to].running else {
                    return;
                };
                running.answered(id(from), &ask, reply, &mut steps);
                self.perform(to, steps, crash_after);
            }
        }
    }

    /// Something that can happen at any time.
    fn happen(&mut self, rng: &mut StdRng) {
        let at = rng.random_range(0..self.nodes.len());
        let other = rng.random_range(0..self.nodes.len());
        let crash_after = if rng.random_bool(0.03) {
            rng.random_range(0..3)
        } else {
            usize::MAX
        };
        match rng.random_range(0..20) {
            0 | 1 => self.start(at),
            2 if rng.random_bool(0.3) => self.stop(at),
            3 if other != at && rng.random_bool(0.2) => {
                self.nodes[at].knows.remove(&other);
            }
            3..=6 if other != at && self.nodes[other].running.is_some() => {
                self.nodes[at].knows.insert(other);
            }
            7..=9 => self.tick(at, crash_after),
            10 => self.pull(at),
            _ if !self.wire.is_empty() => {
                let index = rng.random_range(0..self.wire.len());
                let message = self.wire.swap_remove(index);
                if rng.random_bool(0.1) {
                    self.wire.push(message.clone());
                }
                if rng.random_bool(0.9) {
                    self.deliver(message, crash_after);
                }
            }
            _ => {}
        }
        assert!(self.founded.len() <= 1, "two clusters: {:?}", self.founded);
    }

    /// What the node's pulls find out from those that it knows.
    fn pull(&mut self, at: usize) {
        let knows = &self.nodes[at].knows;
        let found = knows.iter().find_map(|&other| self.nodes[other].lineage);
        if let (Some(lineage), true) = (found, self.nodes[at].running.is_some()) {
            self.join(at, lineage);
        }
    }

    /// Everybody is up, knows everybody, and nothing is lost.
    fn calm(&mut self) {
        let count = self.nodes.len();
        for at in 0..count {
            self.start(at);
            self.nodes[at].knows = (0..count).filter(|other| *other != at).collect();
        }
        for _ in 0..50 {
            for at in 0..count {
                self.tick(at, usize::MAX);
                while let Some(message) = self.wire.pop() {
                    self.deliver(message, usize::MAX);
                }
                self.pull(at);
            }
            assert!(self.founded.len() <= 1, "two clusters: {:?}", self.founded);
        }
    }
}

fn run(seed: u64, count: usize, expect: usize, seeds: Vec<usize>) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut world = World::new(count, expect, seeds);
    for _ in 0..rng.random_range(0..600) {
        world.happen(&mut rng);
    }
    world.calm();
    assert_eq!(world.founded.len(), 1, "no cluster was made: seed {seed}");
    for node in &world.nodes {
        assert_eq!(node.lineage.as_ref(), world.founded.first(), "seed {seed}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn never_two_clusters_and_one_in_the_end(
        seed: u64, count in 1_usize..7, expect in 1_usize..7, seeds in 1_usize..7,
    ) {
        // Fewer nodes than half may found, since all have the same seeds.
        run(seed, count, expect.min(count), (0..seeds.min(count)).collect());
    }

    #[test]
    fn without_seeds_most_nodes_must_found(seed: u64, count in 1_usize..7, more in 0_usize..3) {
        run(seed, count, (count / 2 + 1 + more).min(count), Vec::new());
    }
}

#[test]
fn one_node_alone_founds_at_once() {
    let mut world = World::new(1, 1, Vec::new());
    world.start(0);
    world.tick(0, usize::MAX);
    assert_eq!(world.founded.len(), 1);
}

#[test]
fn a_proposer_that_restarts_goes_on_with_its_own_founding() {
    let mut world = World::new(3, 3, vec![0, 1, 2]);
    (0..3).for_each(|at| world.start(at));
    world.nodes[0].knows = [1, 2].into();
    world.tick(0, usize::MAX);
    let Stage::Proposing(before) = world.nodes[0].stage.clone() else {
        panic!()
    };
    world.stop(0);
    world.calm();
    assert_eq!(world.founded, [before.lineage()].into());
}

#[test]
fn nodes_that_expect_different_numbers_do_not_found_together() {
    let mut node = Bootstrap::new(id(1), Some(3), Stage::Free, None);
    let form = Form {
        lineage: Lineage(9),
        hash_seed: [0; 4],
        nodes: vec![(
            Member {
                node: id(0),
                incarnation: Incarnation(1),
            },
            NodeInfo::default(),
        )],
        replication_factor: None,
        write_quorum: None,
        read_quorum: None,
        on_loss: None,
        documents: Vec::new(),
    };
    let ask = Ask::Pledge(Box::new(Founding {
        proposer: id(0),
        form,
    }));
    let reply = node.asked(id(0), &ask, &Neighbours::default(), &mut Vec::new());
    assert_eq!(reply, Reply::Expects(3));
}
