//! Who is alive, who owns a slot, when a write counts.
//!
//! The crate has two halves. The pure half decides: [`replication`], [`metadata::state`], [`ring`],
//! [`placement`]. Time, chance and the network are arguments there, so that a simulation can replay
//! every decision. The other half (feature `net`) reads clocks and moves bytes: transport,
//! membership, the Raft group and the driver.
//!
//! The crate knows slots, members and records. It names no Redis command, and a record's effects
//! are bytes to it.

#[cfg(feature = "net")]
pub mod clock;
#[cfg(feature = "net")]
pub mod driver;
#[cfg(feature = "net")]
pub mod identity;
pub mod lineage;
pub mod member;
#[cfg(feature = "net")]
pub mod membership;
pub mod metadata;
pub mod movement;
pub mod node_info;
pub mod placement;
pub mod replication;
pub mod ring;
pub mod slot;
pub mod slot_map;
pub mod time;
#[cfg(feature = "net")]
pub mod transport;
pub mod version;

pub use lineage::Lineage;
pub use member::{Incarnation, Member, NodeId};
pub use node_info::NodeInfo;
pub use placement::Placement;
pub use slot::{SLOTS, Slot};
pub use slot_map::{SharedSlotMap, SlotMap};
pub use time::Time;
pub use version::{Epoch, Version};
