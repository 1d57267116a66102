//! The data plane's replication: a state machine without I/O.
//!
//! [`Replicas`] is one member's part in all slots. Client operations, messages, placements and
//! ticks go in; messages wait in the [`Peer`]s, and an [`Out`] says which replies may go and what
//! to propose to the metadata group. Time is an argument, the network is whoever empties the
//! peers' queues. [`Coordinator`] is the metadata leader's part: it replaces primaries.
//!
//! The rules, with the reasons for them, are in `docs/replication.md`.

mod backlog;
mod context;
mod copy;
mod failover;
mod in_sync;
mod lease;
mod member;
pub mod message;
mod out;
mod peer;
mod primary;
mod progress;
pub mod quorum;
mod record;
mod replica;
mod replicas;
mod rules;
mod settings;
mod shortage;
pub mod table;
mod waiters;
mod yielding;

pub use context::{Busy, Context};
pub use failover::{Coordinator, FailoverSettings, Liveness, Orders, waits_for_operator};
pub use out::{Out, Turn};
pub use peer::{Direction, Peer};
pub use record::Record;
pub use replica::{Refusal, Replica};
pub use replicas::{Locked, Replicas};
pub use rules::{Rule, Rules};
pub use settings::Settings;
pub use shortage::Shortage;
pub use table::{BadEffects, Table};
pub use waiters::{Need, Outcome, Token};
