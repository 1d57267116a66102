//! What a command about the connection or the node works with, and what it may answer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::Args;
use crate::client_state::{ClientState, Port};
use crate::error::CommandError;
use crate::node::Node;
use crate::resp::Reply;
use crate::stats::ThreadStats;

/// The client that asks, and the node that is asked.
pub struct Session<'a> {
    /// The node.
    pub node: &'a Arc<Node>,
    /// The client.
    pub client: &'a mut ClientState,
    /// The counters of the thread that serves the client.
    pub stats: &'a ThreadStats,
}

impl Session<'_> {
    /// Whether the client came in by the port for plain clients.
    pub(crate) fn any_port(&self) -> bool {
        self.client.port == Port::Any
    }
}

/// Runs a command that is about the connection, the node or the data as a whole.
pub type SessionHandler =
    for<'a> fn(&mut Session<'_>, &mut Args<'a>) -> Result<Answer<'a>, CommandError>;

/// What such a command answers.
pub enum Answer<'a> {
    /// This, now.
    Now(Reply<'a>),
    /// Something that the connection must await.
    Later(Later),
}

/// The result of an answer that is awaited.
pub type LaterResult = Result<Reply<'static>, CommandError>;

/// A reply that is on its way.
pub struct Later {
    /// What becomes the reply. It is polled on the connection's thread, together with the others
    /// that the connection waits for.
    pub reply: Pin<Box<dyn Future<Output = LaterResult> + Send>>,
    /// Whether the requests behind it on the connection run only once it is there. The replies
    /// before it are awaited first, too.
    pub holds_back: bool,
}

impl Later {
    /// A reply to which the requests behind it on the connection need not give way.
    pub fn beside(reply: impl Future<Output = LaterResult> + Send + 'static) -> Later {
        Later {
            reply: Box::pin(reply),
            holds_back: false,
        }
    }

    /// A reply that the requests behind it on the connection wait for.
    pub fn holding_back(reply: impl Future<Output = LaterResult> + Send + 'static) -> Later {
        Later {
            reply: Box::pin(reply),
            holds_back: true,
        }
    }
}

impl<'a> From<Reply<'a>> for Answer<'a> {
    fn from(reply: Reply<'a>) -> Answer<'a> {
        Answer::Now(reply)
    }
}

impl<'a> From<Later> for Answer<'a> {
    fn from(later: Later) -> Answer<'a> {
        Answer::Later(later)
    }
}
