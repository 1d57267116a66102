//! Whether clients should be sent to this node.

use std::fmt;
use std::sync::Arc;

use cluster::{Member, SLOTS, Slot, SlotMap, clock, ring};

use crate::node::Node;
use crate::slots::Slots;
use crate::topology::Topology;

/// Looks at one thing that must be right. The error says what is missing.
pub type Check = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What must be right before a node is ready.
pub struct Readiness {
    checks: Vec<(&'static str, Check)>,
}

impl Readiness {
    /// That the node is part of its cluster, holds all that it has been given, and serves what it
    /// leads.
    #[must_use]
    pub fn of(node: &Arc<Node>) -> Readiness {
        let [joins, holds, serves] = [node, node, node].map(Arc::clone);
        Readiness { checks: Vec::new() }
            .with("cluster", move || joined(&joins.topology))
            .with("slots", move || in_sync(&holds.topology))
            .with("leases", move || serving(&serves.slots))
    }

    /// One thing more, the databases for example.
    #[must_use]
    pub fn with(
        mut self,
        what: &'static str,
        check: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Readiness {
        self.checks.push((what, Box::new(check)));
        self
    }

    /// What each check says now.
    #[must_use]
    pub fn report(&self) -> Report {
        Report(
            self.checks
                .iter()
                .map(|(what, check)| (*what, check()))
                .collect(),
        )
    }
}

/// What the checks say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report(Vec<(&'static str, Result<(), String>)>);

impl Report {
    /// Whether nothing is missing.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.iter().all(|(_, result)| result.is_ok())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}",
            if self.is_ready() {
                "ready"
            } else {
                "not ready"
            }
        )?;
        self.0.iter().try_for_each(|(what, result)| match result {
            Ok(()) => writeln!(f, "{what}: ok"),
            Err(missing) => writeln!(f, "{what}: {missing}"),
        })
    }
}

fn joined(topology: &Topology) -> Result<(), String> {
    let map = topology.map();
    let me = topology.me();
    if !map.is_formed() {
        return Err("the cluster has not been made yet".to_owned());
    }
    match map.info(&me) {
        Some(_) => Ok(()),
        None => Err("this start of the node is not registered yet".to_owned()),
    }
}

fn in_sync(topology: &Topology) -> Result<(), String> {
    let (map, layout, me) = (topology.map(), topology.layout(), topology.me());
    let share = layout.shares().get(&me.node).cloned().unwrap_or_default();
    let missing = share.learning + share.lost;
    if missing > 0 {
        return Err(format!("{missing} slots of this node are not in sync yet"));
    }
    let owed = if layout.counts().short == 0 {
        0
    } else {
        owed(&map, me)
    };
    if owed > 0 {
        return Err(format!(
            "{owed} slots that lack a copy belong here and are not here yet"
        ));
    }
    Ok(())
}

/// A node that has just been given slots, or is cut off, leads them by name and serves nobody.
fn serving(slots: &Slots) -> Result<(), String> {
    let (replicas, now) = (slots.replicas(), clock::now());
    let me = replicas.me();
    let refuses = |slot: &Slot| {
        let replica = slots.lock(*slot);
        let leads = replica.placement().primary == Some(me);
        leads && replica.check_read(slots.context(), now).is_err()
    };
    match replicas.slots().filter(refuses).count() {
        0 => Ok(()),
        count => Err(format!(
            "{count} slots that this node leads do not serve now"
        )),
    }
}

/// Slots that have fewer members than they should, one of which the ring gives to this node.
/// Between the moment in which the member that it was before leaves a set and that in which it
/// begins to learn as the one that it is now, no placement names it.
fn owed(map: &SlotMap, me: Member) -> usize {
    let state = map.state();
    let copies = usize::from(state.replication_factor());
    let belongs = ring::place(&state.ring_nodes(), SLOTS, copies);
    let lacks = |placement: &cluster::Placement| {
        let members = placement.in_sync.len() + placement.learners.len();
        members < copies && !placement.holds(&me)
    };
    let placements = map.placements().zip(&belongs);
    let is_owed = |((_, placement), nodes): &((_, &Arc<cluster::Placement>), &Vec<_>)| {
        lacks(placement) && nodes.contains(&me.node)
    };
    placements.filter(is_owed).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::topology::tests::{formed, info, member, seen};
    use cluster::metadata::{ChangeSlot, Entry, LearnersSlot, State};
    use cluster::replication::{Out, Replicas, Settings};
    use cluster::{Epoch, Incarnation};

    #[test]
    fn a_node_of_a_whole_cluster_is_ready() {
        let topology = seen(formed(3), 0);
        assert_eq!((joined(&topology), in_sync(&topology)), (Ok(()), Ok(())));
    }

    #[test]
    fn before_the_cluster_is_made_nobody_is_ready() {
        let topology = seen(State::default(), 0);
        assert_eq!(
            joined(&topology),
            Err("the cluster has not been made yet".to_owned())
        );
    }

    /// A cluster of three, one of whose nodes has been started again.
    fn restarted() -> State {
        let mut state = formed(3);
        let later = Member {
            incarnation: Incarnation(2),
            ..member(1)
        };
        let (member, info) = (later, info(1));
        state.apply(2, &Entry::Register { member, info });
        state
    }

    #[test]
    fn a_start_that_is_not_registered_is_not_ready() {
        let state = restarted();
        // Seen by the earlier start.
        assert!(
            joined(&seen(state, 0))
                .unwrap_err()
                .contains("not registered")
        );
    }

    #[test]
    fn slots_of_an_earlier_start_are_not_in_sync() {
        let state = restarted();
        let missing = in_sync(&seen(state, 0)).unwrap_err();
        assert_eq!(
            missing,
            format!("{SLOTS} slots of this node are not in sync yet")
        );
    }

    #[test]
    fn a_slot_that_lacks_this_node_is_owed() {
        let mut state = formed(3);
        let is_copy = |slot: &Slot| state.placement(*slot).primary != Some(member(1));
        let slot = Slot::all().find(is_copy).unwrap();
        let placement = Arc::clone(state.placement(slot));
        let mut in_sync_now = placement.in_sync.clone();
        in_sync_now.retain(|held| *held != member(1));
        let change = ChangeSlot {
            slot,
            epoch: placement.epoch,
            rev: placement.rev,
            in_sync: in_sync_now,
            write_quorum: placement.write_quorum,
        };
        state.apply(2, &Entry::Change(vec![change]));
        let missing = in_sync(&seen(state.clone(), 0)).unwrap_err();
        let why = "1 slots of this node are not in sync yet";
        assert!(missing.starts_with(why), "{missing}");
        let nobody = LearnersSlot {
            slot,
            rev: placement.rev + 1,
            learners: Vec::new(),
            leaving: Vec::new(),
        };
        state.apply(3, &Entry::Learners(vec![nobody]));
        let missing = in_sync(&seen(state.clone(), 0)).unwrap_err();
        assert!(missing.starts_with("1 slots that lack a copy"), "{missing}");
        assert_eq!(in_sync(&seen(formed(3), 2)), Ok(()));
    }

    #[test]
    fn a_primary_without_a_lease_does_not_serve() {
        let store = Store::new([1, 2, 3, 4]);
        let slots = Slots::alone(&store, member(1));
        assert_eq!(serving(&slots), Ok(()));
        let replicas = Replicas::new(member(1), 4, Settings::default(), |_| store.table());
        let placement = Arc::new(cluster::Placement {
            epoch: Epoch(1),
            rev: 1,
            primary: Some(member(1)),
            in_sync: vec![member(1)],
            write_quorum: 1,
            ..cluster::Placement::default()
        });
        let led = [Slot::new(2).unwrap()].map(|slot| (slot, Arc::clone(&placement)));
        replicas.placed(clock::now(), led, &mut Out::default());
        let slots = Slots::new(Arc::new(replicas));
        let missing = serving(&slots).unwrap_err();
        assert_eq!(missing, "1 slots that this node leads do not serve now");
    }

    #[test]
    fn a_report_says_what_is_missing() {
        let mut readiness = Readiness { checks: Vec::new() }.with("cluster", || Ok(()));
        assert_eq!(readiness.report().to_string(), "ready\ncluster: ok\n");
        readiness = readiness.with("databases", || Err("main: no such file".to_owned()));
        let report = readiness.report();
        assert!(!report.is_ready());
        assert_eq!(
            report.to_string(),
            "not ready\ncluster: ok\ndatabases: main: no such file\n"
        );
    }
}
