//! RESP, the Redis serialization protocol: requests in, replies out. Knows no socket and no clock.

mod inline;
pub mod limits;
pub mod reply;
pub mod request;

pub use limits::Limits;
pub(crate) use reply::{REPLY_BYTES_MAX, REPLY_TOO_LONG};
pub use reply::{Reply, RespVersion};
pub use request::{Progress, ProtocolError, RequestBuf, RequestParser, Span};
