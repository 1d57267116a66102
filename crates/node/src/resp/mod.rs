//! RESP, the Redis serialization protocol: requests in, replies out. Knows no socket and no clock.

pub mod reply;
pub mod request;

pub use reply::{Reply, RespVersion};
pub use request::{RequestBuf, Span};
