//! How nodes speak to each other: links that carry what has gathered, calls that ask and answer.
//!
//! Every ordered pair of nodes has one stream of each kind. A *link* carries replication and gossip:
//! the initiator's records, heartbeats and seals go forward, acknowledgements and reports come
//! back. A *call* is a request with one answer; requests go forward, answers come back, many at a
//! time. Both take what they send from a [`Source`] when the network has room, so that a batch is
//! what has gathered since the last one, and back-pressure leaves the data where it was made.
//!
//! Payloads are opaque here. Who belongs to the cluster is settled when a stream opens.

mod call;
mod link;

pub use call::{BoxFuture, CallError, CallKind, Calls, Handler, Lost, NotSent};
pub use link::{Channel, Direction, Flow, Link, LinkDriver, Links, Opened, Source, Wake};
