//! RESP, the Redis serialization protocol: requests in, replies out. Knows no socket and no clock.

mod inline;
pub mod limits;
pub mod reply;
pub mod request;

pub use limits::Limits;
pub use reply::{Parts, Reply, RespVersion};
pub(crate) use reply::{REPLY_BYTES_MAX, REPLY_TOO_LONG};
pub use request::{Progress, ProtocolError, RequestBuf, RequestParser, Span};
