//! What travels on a stream, checked: after this, a frame is what its type says.

use bytes::{Bytes, BytesMut};

use super::handshake::{Greeting, Proof, Refusal};
use super::link::Channel;
use crate::Lineage;

/// One message of a stream, whatever carries it.
#[derive(Clone, Debug)]
pub(crate) enum Frame {
    Greeting(Box<Greeting>, Option<Proof>),
    Proof(Proof),
    Consent,
    Refusal(Refusal),
    Lineage(Lineage),
    Batch {
        channel: Channel,
        payload: Bytes,
        more: bool,
    },
}

/// Puts payloads that were too long for one frame together again. Channels may alternate, so a
/// long record does not hold up the gossip.
#[derive(Debug)]
pub(crate) struct Assembler {
    parts: [BytesMut; 3],
    bytes_max: usize,
}

/// A payload is longer than a message may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message is longer than {0} bytes")]
pub(crate) struct MessageTooLong(usize);

impl Assembler {
    pub(crate) fn new(bytes_max: usize) -> Assembler {
        Assembler {
            parts: Default::default(),
            bytes_max,
        }
    }

    /// Takes one frame's part; returns the payload that it completes. A payload of a single frame
    /// is not copied.
    pub(crate) fn add(
        &mut self,
        channel: Channel,
        payload: Bytes,
        more: bool,
    ) -> Result<Option<Bytes>, MessageTooLong> {
        let part = &mut self.parts[channel as usize];
        if part.len() + payload.len() > self.bytes_max {
            return Err(MessageTooLong(self.bytes_max));
        }
        if part.is_empty() && !more {
            return Ok(Some(payload));
        }
        part.extend_from_slice(&payload);
        Ok((!more).then(|| std::mem::take(part).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_two_channels_do_not_mix() {
        let mut assembler = Assembler::new(8);
        let mut add = |channel, text: &'static str, more| {
            assembler.add(channel, Bytes::from_static(text.as_bytes()), more)
        };
        assert_eq!(add(Channel::Replication, "re", true), Ok(None));
        assert_eq!(
            add(Channel::Gossip, "go", false),
            Ok(Some(Bytes::from_static(b"go")))
        );
        assert_eq!(
            add(Channel::Replication, "cord", false),
            Ok(Some(Bytes::from_static(b"record")))
        );
        assert_eq!(add(Channel::Replication, "12345678", true), Ok(None));
        assert_eq!(
            add(Channel::Replication, "9", false),
            Err(MessageTooLong(8))
        );
    }
}
