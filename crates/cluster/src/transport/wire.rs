//! What carries streams of frames: the seam below which gRPC and the in-process network differ.

use futures_util::stream::BoxStream;

use super::call::BoxFuture;
use super::frame::Frame;
use super::outgoing::Outgoing;

/// The receiving half of a stream. An error is the last item.
pub(crate) type Inbound = BoxStream<'static, Result<Frame, String>>;

/// Which of the two kinds of stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamKind {
    Link,
    Call,
}

/// A network that connections can be made on.
pub(crate) trait Wire: Send + Sync + 'static {
    /// The endpoints behind an address or a name, as they are at this moment.
    fn resolve(&self, address: String) -> BoxFuture<'static, Result<Vec<String>, String>>;

    /// Connects to one endpoint.
    fn dial(&self, endpoint: String) -> BoxFuture<'static, Result<Box<dyn Connection>, String>>;
}

/// A connection that streams can be opened on. They end when it is dropped.
pub(crate) trait Connection: Send + Sync {
    /// Opens a stream that sends what `outgoing` yields.
    fn open(
        &self,
        kind: StreamKind,
        outgoing: Outgoing,
    ) -> BoxFuture<'static, Result<Inbound, String>>;
}
