//! How nodes that know no cluster agree on making one, and never on two.
//!
//! A state machine without I/O: what to remember, ask and answer, whatever the order in which
//! nodes start, stop and hear of each other. The argument for its safety is in `docs/metadata.md`;
//! in short: a founding is decided only while it holds the pledges of all its founders and of more
//! than half of the nodes that each founder's seeds name, a node pledges itself to one founding at
//! a time, and a pledge ends only when its proposer has given the founding up for good.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Form, Neighbours};
use crate::{Lineage, NodeId};

/// A cluster that might be made. Its founders are the nodes of its form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Founding {
    /// Who proposes it: the smallest founder.
    pub(super) proposer: NodeId,
    /// What the cluster begins with.
    pub(super) form: Form,
}

/// How far a node is. On disk before anything that follows from it leaves the node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stage {
    /// Bound to nothing.
    #[default]
    Free,
    /// Bound to another node's founding, until that node says that it has given it up.
    Pledged(Founding),
    /// Bound to a founding of its own, and collecting pledges.
    Proposing(Founding),
    /// The cluster of this founding, its own, exists.
    Decided(Founding),
}

/// What one node asks another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Ask {
    /// For a pledge to the asking node's founding.
    Pledge(Box<Founding>),
    /// To give up the founding of this lineage, for the asking node's id is smaller.
    Yield(Lineage),
    /// Whether the founding of this lineage, to which the asking node is bound, still stands.
    Still(Lineage),
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Reply {
    /// Bound to the founding that was asked for; these nodes are what its own seeds name.
    Pledged(Vec<Option<NodeId>>),
    /// Bound to this founding, of this proposer.
    Held(NodeId, Lineage),
    /// Belongs to this cluster.
    Joined(Lineage),
    /// The founding that was asked about will never be decided.
    GivenUp,
    /// Expects another number of founders.
    Expects(usize),
}

/// What to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Keep the stage on disk; nothing after this may happen before.
    Keep(Stage),
    Send(NodeId, Ask),
    /// Make the cluster: the founding is decided.
    Found(Box<Founding>),
    /// Belong to this cluster, which exists.
    Join(Lineage),
}

/// One node's part.
#[derive(Clone, Debug)]
pub(super) struct Bootstrap {
    me: NodeId,
    /// How many nodes found a cluster; `None` on a node that only joins or lets itself be asked.
    expect: Option<usize>,
    stage: Stage,
    joined: Option<Lineage>,
    /// A cluster that another node belongs to: this one waits to join it.
    met: Option<Lineage>,
    /// Who pledged itself to the founding proposed here, and what its seeds name.
    pledges: BTreeMap<NodeId, Vec<Option<NodeId>>>,
    /// Proposers, greater than this node, whose foundings are in the way.
    rivals: BTreeMap<NodeId, Lineage>,
}

impl Founding {
    pub(super) fn lineage(&self) -> Lineage {
        self.form.lineage
    }

    pub(super) fn founders(&self) -> impl Iterator<Item = NodeId> {
        self.form.nodes.iter().map(|(member, _)| member.node)
    }
}

impl Stage {
    /// What the cluster begins with that may exist without this node's knowing; one that only this
    /// node proposes does not yet.
    pub(super) fn form(&self) -> Option<&Form> {
        match self {
            Stage::Pledged(founding) | Stage::Decided(founding) => Some(&founding.form),
            Stage::Free | Stage::Proposing(_) => None,
        }
    }
}

impl Bootstrap {
    /// The node's part after a start, from what it has kept.
    pub(super) fn new(
        me: NodeId,
        expect: Option<usize>,
        kept: Stage,
        joined: Option<Lineage>,
    ) -> Bootstrap {
        Bootstrap {
            me,
            expect,
            stage: kept,
            joined,
            met: None,
            pledges: BTreeMap::new(),
            rivals: BTreeMap::new(),
        }
    }

    /// The node belongs to a cluster from now on, however it came to that.
    pub(super) fn joined(&mut self, lineage: Lineage) {
        self.joined = Some(lineage);
    }

    /// Goes on, from time to time and whenever the neighbours change. `form` makes the beginning
    /// of a cluster of these nodes, with a lineage drawn anew.
    pub(super) fn tick(
        &mut self,
        neighbours: &Neighbours,
        form: impl FnOnce(&[NodeId]) -> Form,
        steps: &mut Vec<Step>,
    ) {
        match self.stage.clone() {
            // Again after each start, for it may have been killed before it was done.
            Stage::Decided(founding) => steps.push(Step::Found(Box::new(founding))),
            _ if self.joined.is_some() => {}
            Stage::Free => self.propose(neighbours, form, steps),
            Stage::Pledged(founding) => {
                steps.push(Step::Send(
                    founding.proposer,
                    Ask::Still(founding.lineage()),
                ));
            }
            Stage::Proposing(founding) => self.collect(neighbours, founding, steps),
        }
    }

    fn propose(
        &mut self,
        neighbours: &Neighbours,
        form: impl FnOnce(&[NodeId]) -> Form,
        steps: &mut Vec<Step>,
    ) {
        let Some(expect) = self.expect.filter(|_| self.met.is_none()) else {
            return;
        };
        let mut known: BTreeSet<NodeId> = neighbours.alive.keys().copied().collect();
        known.insert(self.me);
        let founders: Vec<NodeId> = known.into_iter().take(expect).collect();
        if founders.len() < expect || founders.first() != Some(&self.me) {
            return;
        }
        let founding = Founding {
            proposer: self.me,
            form: form(&founders),
        };
        self.enter(Stage::Proposing(founding.clone()), steps);
        self.collect(neighbours, founding, steps);
    }

    fn collect(&mut self, neighbours: &Neighbours, founding: Founding, steps: &mut Vec<Step>) {
        let here = |node: &NodeId| *node == self.me || neighbours.alive.contains_key(node);
        if self.met.is_some() || !founding.founders().all(|node| here(&node)) {
            return self.enter(Stage::Free, steps);
        }
        self.pledges.insert(self.me, neighbours.seeds.clone());
        if self.is_decided(&founding) {
            self.enter(Stage::Decided(founding.clone()), steps);
            steps.push(Step::Found(Box::new(founding)));
            return;
        }
        let named = self.pledges.values().flatten().flatten().copied();
        let electors: BTreeSet<NodeId> = founding.founders().chain(named).collect();
        // Also those bound already: they may know better by now whom their seeds name.
        let asked = electors.into_iter().filter(|node| *node != self.me);
        let ask = |node| Step::Send(node, Ask::Pledge(Box::new(founding.clone())));
        steps.extend(asked.map(ask));
        let rivals = std::mem::take(&mut self.rivals);
        steps.extend(
            rivals
                .into_iter()
                .map(|(node, held)| Step::Send(node, Ask::Yield(held))),
        );
    }

    /// All founders are bound, and of each founder's seeds more than half.
    fn is_decided(&self, founding: &Founding) -> bool {
        let most_of = |seeds: &Vec<Option<NodeId>>| {
            let named: BTreeSet<&NodeId> = seeds.iter().flatten().collect();
            let silent = seeds.iter().filter(|node| node.is_none()).count();
            let bound = named
                .iter()
                .filter(|node| self.pledges.contains_key(node))
                .count();
            seeds.is_empty() || 2 * bound > named.len() + silent
        };
        founding
            .founders()
            .all(|node| self.pledges.get(&node).is_some_and(most_of))
    }

    /// Answers another node.
    pub(super) fn asked(
        &mut self,
        from: NodeId,
        ask: &Ask,
        neighbours: &Neighbours,
        steps: &mut Vec<Step>,
    ) -> Reply {
        if let Some(lineage) = self.joined {
            return self.answer_as_member(ask, lineage);
        }
        if let Stage::Decided(founding) = &self.stage {
            return self.answer_as_member(ask, founding.lineage());
        }
        match ask {
            Ask::Pledge(founding) if founding.proposer != from => Reply::GivenUp,
            Ask::Pledge(founding) => self.asked_to_pledge(from, founding, neighbours, steps),
            Ask::Yield(lineage) => match &self.stage {
                Stage::Proposing(own) if own.lineage() == *lineage && from > self.me => {
                    Reply::Held(self.me, *lineage)
                }
                Stage::Proposing(own) if own.lineage() == *lineage => {
                    self.enter(Stage::Free, steps);
                    Reply::GivenUp
                }
                _ => Reply::GivenUp,
            },
            Ask::Still(lineage) => match &self.stage {
                Stage::Proposing(own) if own.lineage() == *lineage => {
                    Reply::Held(self.me, *lineage)
                }
                _ => Reply::GivenUp,
            },
        }
    }

    fn answer_as_member(&self, ask: &Ask, lineage: Lineage) -> Reply {
        match ask {
            // The asking node is bound to a founding of this node that came to nothing.
            Ask::Still(asked) if *asked != lineage => Reply::GivenUp,
            _ => Reply::Joined(lineage),
        }
    }

    fn asked_to_pledge(
        &mut self,
        from: NodeId,
        founding: &Founding,
        neighbours: &Neighbours,
        steps: &mut Vec<Step>,
    ) -> Reply {
        let founders = founding.founders().count();
        if let Some(expect) = self.expect.filter(|expect| *expect != founders) {
            return Reply::Expects(expect);
        }
        match (&self.stage, self.met) {
            (Stage::Pledged(held), _) if held.lineage() != founding.lineage() => {
                return Reply::Held(held.proposer, held.lineage());
            }
            (Stage::Pledged(_), _) => {}
            // Of two that propose, the smaller one goes on.
            (Stage::Proposing(own), _) if from > self.me => {
                return Reply::Held(self.me, own.lineage());
            }
            (_, Some(lineage)) => return Reply::Joined(lineage),
            (_, None) => self.enter(Stage::Pledged(founding.clone()), steps),
        }
        Reply::Pledged(neighbours.seeds.clone())
    }

    /// Takes another node's answer to what this node asked.
    pub(super) fn answered(
        &mut self,
        from: NodeId,
        ask: &Ask,
        reply: Reply,
        steps: &mut Vec<Step>,
    ) {
        if self.joined.is_some() {
            return;
        }
        match (ask, &self.stage, reply) {
            (Ask::Pledge(asked), Stage::Proposing(own), Reply::Pledged(seeds))
                if asked.lineage() == own.lineage() =>
            {
                self.pledges.insert(from, seeds);
            }
            (Ask::Pledge(_), Stage::Proposing(_), Reply::Held(rival, held)) if rival > self.me => {
                self.rivals.insert(rival, held);
            }
            (Ask::Pledge(_), Stage::Proposing(_), Reply::Expects(other)) => {
                tracing::warn!(node = %from, other, "the node expects another number of founders");
            }
            (Ask::Still(asked), Stage::Pledged(held), Reply::GivenUp)
                if *asked == held.lineage() =>
            {
                self.enter(Stage::Free, steps);
            }
            (Ask::Still(asked), Stage::Pledged(held), Reply::Joined(lineage))
                if *asked == held.lineage() && lineage == held.lineage() =>
            {
                steps.push(Step::Join(lineage));
            }
            (_, _, Reply::Joined(lineage)) => self.met = Some(lineage),
            _ => {}
        }
    }

    fn enter(&mut self, stage: Stage, steps: &mut Vec<Step>) {
        self.pledges.clear();
        self.rivals.clear();
        self.stage = stage.clone();
        steps.push(Step::Keep(stage));
    }
}

#[cfg(test)]
mod tests;
