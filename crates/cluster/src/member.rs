//! Who takes part: a node for as long as its data directory lives, a member for one start of it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A node's identity, kept in its data directory; 40 hexadecimal digits where Redis clients see it.
/// Addresses may change at any restart, this does not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId([u8; 20]);

impl NodeId {
    /// The identity with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 20]) -> NodeId {
        NodeId(bytes)
    }

    /// The identity's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// The first eight digits: enough for a person to tell the nodes of a log apart.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_string()[..8].to_owned()
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

impl FromStr for NodeId {
    type Err = String;

    fn from_str(text: &str) -> Result<NodeId, String> {
        let wrong = || format!("a node id is 40 hexadecimal digits, not {text:?}");
        if text.len() != 40 || !text.is_ascii() {
            return Err(wrong());
        }
        let mut bytes = [0; 20];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(NodeId(bytes))
    }
}

impl Serialize for NodeId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            // As one piece: a change of many slots names tens of thousands of nodes.
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<NodeId, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            text.parse().map_err(serde::de::Error::custom)
        } else {
            deserializer.deserialize_bytes(IdBytes)
        }
    }
}

struct IdBytes;

impl serde::de::Visitor<'_> for IdBytes {
    type Value = NodeId;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the 20 bytes of a node id")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<NodeId, E> {
        let bytes = bytes.try_into();
        bytes
            .map(NodeId)
            .map_err(|_| E::custom("a node id has 20 bytes"))
    }
}

/// Which start of a node this is: grows with every start that begins with an empty memory.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Incarnation(pub u64);

/// One start of one node. A node that restarts is not the member it was, so it never counts for
/// data that it has lost. Every message, acknowledgement, report and lease names members.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Member {
    /// The node.
    pub node: NodeId,
    /// Which start of it.
    pub incarnation: Incarnation,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}.{}", self.node, self.incarnation.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_id_reads_back_what_it_prints() {
        let id = NodeId::from_bytes([0xa7; 20]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(
            postcard::from_bytes(&postcard::to_stdvec(&id).unwrap()),
            Ok(id)
        );
        assert!(postcard::from_bytes::<NodeId>(&[2, 0xa7, 0xa7]).is_err());
        assert!("a7".parse::<NodeId>().is_err());
        assert!("é".repeat(20).parse::<NodeId>().is_err());
    }
}
