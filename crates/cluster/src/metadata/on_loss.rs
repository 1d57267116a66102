//! What becomes of a slot of which something that was committed may be missing.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What becomes of a slot whose remaining members may lack something that was committed, where
/// nothing more can come from the others. One word for the whole cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnLoss {
    /// It goes on from what there is, or empty.
    #[default]
    Accept,
    /// It serves nothing until an operator says [`OnLoss::Accept`].
    Wait,
}

impl OnLoss {
    /// All that can be said.
    pub const ALL: [OnLoss; 2] = [OnLoss::Accept, OnLoss::Wait];

    /// The word for it in settings and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            OnLoss::Accept => "accept",
            OnLoss::Wait => "wait",
        }
    }
}

impl fmt::Display for OnLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for OnLoss {
    type Err = String;

    fn from_str(text: &str) -> Result<OnLoss, String> {
        let named = OnLoss::ALL.into_iter().find(|word| word.name() == text);
        named.ok_or_else(|| {
            let names = OnLoss::ALL.map(OnLoss::name).join(", ");
            format!("unknown word {text:?}, expected one of: {names}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::{ActivateSlot, Entry, FenceSlot, Form, Refusal, State};
    use crate::{Epoch, Incarnation, Lineage, Member, NodeId, NodeInfo, Slot};

    /// A cluster of one node and one slot, with the index of the next entry.
    struct Log(State, u64);

    impl Log {
        /// Why the entry was refused for the slot, if it was.
        fn apply(&mut self, entry: &Entry) -> Option<Refusal> {
            self.1 += 1;
            let applied = self.0.apply(self.1 - 1, entry);
            applied.refused_slots.first().map(|(_, why)| *why)
        }

        fn fence(&mut self) -> Option<Refusal> {
            let slot = Slot::new(0).unwrap();
            let rev = self.0.placement(slot).rev;
            self.apply(&Entry::Fence(vec![FenceSlot { slot, rev }]))
        }

        fn activate(&mut self, may_lose: bool) -> Option<Refusal> {
            let slot = Slot::new(0).unwrap();
            let placement = self.0.placement(slot);
            self.apply(&Entry::Activate(vec![ActivateSlot {
                slot,
                epoch: placement.epoch,
                primary: placement.in_sync[0],
                in_sync: placement.in_sync.clone(),
                learners: Vec::new(),
                may_lose,
            }]))
        }
    }

    #[test]
    fn what_may_lose_something_is_activated_once_that_is_accepted() {
        let me = Member {
            node: NodeId::from_bytes([1; 20]),
            incarnation: Incarnation(1),
        };
        let info = NodeInfo {
            weight: 100,
            ..NodeInfo::default()
        };
        let mut log = Log(State::new(1), 1);
        log.apply(&Entry::Form(Form {
            lineage: Lineage(7),
            hash_seed: [0; 4],
            nodes: vec![(me, info)],
            replication_factor: None,
            write_quorum: None,
            read_quorum: None,
            on_loss: Some(OnLoss::Wait),
            documents: Vec::new(),
        }));
        assert_eq!(log.0.placement(Slot::new(0).unwrap()).epoch, Epoch(1));
        assert_eq!(log.fence(), None);
        assert_eq!(log.activate(true), Some(Refusal::Waits));
        assert_eq!((log.0.on_loss(), log.0.losses()), (OnLoss::Wait, 0));
        log.apply(&Entry::OnLoss(OnLoss::Accept));
        assert_eq!(log.activate(true), None);
        // Counted where it is applied, and once.
        assert_eq!(log.activate(true), Some(Refusal::HasPrimary));
        assert_eq!((log.0.on_loss(), log.0.losses()), (OnLoss::Accept, 1));
        // What loses nothing is not held up.
        log.apply(&Entry::OnLoss(OnLoss::Wait));
        assert_eq!(log.fence(), None);
        assert_eq!(log.activate(false), None);
        assert_eq!(log.0.losses(), 1);
    }

    #[test]
    fn the_state_keeps_it_when_it_travels() {
        let mut log = Log(State::new(1), 1);
        log.apply(&Entry::Form(Form {
            lineage: Lineage(7),
            hash_seed: [0; 4],
            nodes: Vec::new(),
            replication_factor: None,
            write_quorum: None,
            read_quorum: None,
            on_loss: None,
            documents: Vec::new(),
        }));
        assert_eq!(log.0.on_loss(), OnLoss::Accept);
        log.apply(&Entry::OnLoss(OnLoss::Wait));
        let bytes = postcard::to_stdvec(&log.0).unwrap();
        assert_eq!(postcard::from_bytes::<State>(&bytes).unwrap(), log.0);
    }
}
