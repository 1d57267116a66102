//! What nodes tell everybody about their present state, the newest word of each node counting.

use std::collections::BTreeMap;
use std::sync::Arc;

use foca::{BroadcastHandler, Invalidates};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::identity::Identity;
use crate::{Incarnation, Member, NodeId};

/// What a bulletin is about. Its bytes are the business of who publishes and who reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Topic {
    /// Up to where a node knows the metadata group's log.
    Metadata,
    /// How loaded a node is.
    Load,
    /// What a node is ready for.
    State,
}

/// The longest bulletin.
pub const BULLETIN_BYTES_MAX: usize = 512;

/// Bulletins of so many nodes and topics are remembered.
const REMEMBERED_MAX: usize = 16 << 10;

/// A bulletin as it travels.
#[derive(Serialize, Deserialize)]
struct Bulletin {
    member: Member,
    topic: Topic,
    sequence: u64,
    bytes: Vec<u8>,
}

/// Which bulletin it is; a later one of the same node and topic takes its place.
pub(super) struct Key {
    node: NodeId,
    topic: Topic,
    version: (Incarnation, u64),
}

impl Invalidates for Key {
    fn invalidates(&self, other: &Key) -> bool {
        (self.node, self.topic) == (other.node, other.topic) && self.version >= other.version
    }
}

/// News that has just come in.
pub(super) struct News {
    pub(super) member: Member,
    pub(super) topic: Topic,
    pub(super) bytes: Vec<u8>,
}

/// The newest bulletins of all nodes. Shared with the gossip, which owns its handler.
#[derive(Clone)]
pub(super) struct Board {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    me: Member,
    sequence: u64,
    own: BTreeMap<Topic, Vec<u8>>,
    versions: BTreeMap<(NodeId, Topic), (Incarnation, u64)>,
    news: Vec<News>,
}

/// A bulletin that cannot be read or is too long.
#[derive(Debug, thiserror::Error)]
#[error("malformed bulletin")]
pub(super) struct Malformed;

impl Board {
    pub(super) fn new(me: Member) -> Board {
        let (own, versions) = (BTreeMap::new(), BTreeMap::new());
        let inner = Inner {
            me,
            sequence: 0,
            own,
            versions,
            news: Vec::new(),
        };
        Board {
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    /// Makes this the newest word on the topic and returns its encoding.
    pub(super) fn publish(&self, topic: Topic, bytes: Vec<u8>) -> Vec<u8> {
        let mut inner = self.inner.lock();
        inner.sequence += 1;
        inner.own.insert(topic, bytes.clone());
        let (member, sequence) = (inner.me, inner.sequence);
        let bulletin = Bulletin {
            member,
            topic,
            sequence,
            bytes,
        };
        postcard::to_stdvec(&bulletin).expect("a bulletin has no unsized part")
    }

    /// What this node has published last, by topic.
    pub(super) fn own(&self) -> Vec<(Topic, Vec<u8>)> {
        let inner = self.inner.lock();
        inner
            .own
            .iter()
            .map(|(&topic, bytes)| (topic, bytes.clone()))
            .collect()
    }

    /// What has come in since the last time.
    pub(super) fn take_news(&self) -> Vec<News> {
        std::mem::take(&mut self.inner.lock().news)
    }

    /// Forgets what nodes that nobody knows any more have said.
    pub(super) fn retain(&self, known: impl Fn(&NodeId) -> bool) {
        self.inner
            .lock()
            .versions
            .retain(|(node, _), _| known(node));
    }
}

impl BroadcastHandler<Identity> for Board {
    type Key = Key;
    type Error = Malformed;

    fn receive_item(
        &mut self,
        data: &[u8],
        sender: Option<&Identity>,
    ) -> Result<Option<Key>, Malformed> {
        let bulletin: Bulletin = postcard::from_bytes(data).map_err(|_| Malformed)?;
        let Bulletin {
            member,
            topic,
            sequence,
            bytes,
        } = bulletin;
        if bytes.len() > BULLETIN_BYTES_MAX {
            return Err(Malformed);
        }
        let version = (member.incarnation, sequence);
        let key = Key {
            node: member.node,
            topic,
            version,
        };
        if sender.is_none() {
            return Ok(Some(key));
        }
        let mut inner = self.inner.lock();
        let known = inner.versions.get(&(member.node, topic));
        let full = known.is_none() && inner.versions.len() >= REMEMBERED_MAX;
        if member.node == inner.me.node || known.is_some_and(|&known| known >= version) || full {
            return Ok(None);
        }
        inner.versions.insert((member.node, topic), version);
        inner.news.push(News {
            member,
            topic,
            bytes,
        });
        Ok(Some(key))
    }
}
