//! Who somebody is in the gossip, and how that travels.

use std::sync::Arc;

use bytes::{Buf, BufMut};
use foca::{Codec, Header, Message, State};
use serde::{Deserialize, Serialize};

use crate::{Member, NodeId, NodeInfo};

/// A member, and how often it had to come back since its start: a node that was declared down
/// while it was alive, or whose facts have changed, goes on under the next renewal.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) member: Member,
    pub(super) renewal: u32,
    pub(super) info: Arc<NodeInfo>,
}

// What a node says of itself does not make it another one.
impl PartialEq for Identity {
    fn eq(&self, other: &Identity) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Identity {}

impl Identity {
    fn order(&self) -> (Member, u32) {
        (self.member, self.renewal)
    }
}

impl foca::Identity for Identity {
    type Addr = NodeId;

    fn renew(&self) -> Option<Identity> {
        let renewal = self.renewal.checked_add(1)?;
        Some(Identity {
            renewal,
            ..self.clone()
        })
    }

    fn addr(&self) -> NodeId {
        self.member.node
    }

    fn win_addr_conflict(&self, adversary: &Identity) -> bool {
        self.order() > adversary.order()
    }
}

/// Encodes messages in postcard. A node's facts go along where they are learned from: with the
/// sender and with news of members, not with those who are merely named.
pub(super) struct PostcardCodec {
    /// The facts of who is merely named.
    pub(super) unknown: Arc<NodeInfo>,
}

/// A packet cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub(super) enum CodecError {
    #[error("the packet is full")]
    Full,
    #[error("malformed packet: {0}")]
    Malformed(#[from] postcard::Error),
    #[error("a node's facts are too long")]
    LongFacts,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Named {
    member: Member,
    renewal: u32,
}

#[derive(Serialize, Deserialize)]
struct Known {
    member: Member,
    renewal: u32,
    info: Arc<NodeInfo>,
}

#[derive(Serialize, Deserialize)]
struct HeaderFrame {
    source: Known,
    source_incarnation: u16,
    destination: Named,
    message: MessageFrame,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum MessageFrame {
    Ping(u8),
    Ack(u8),
    PingReq(Named, u8),
    IndirectPing(Named, u8),
    IndirectAck(Named, u8),
    ForwardedAck(Named, u8),
    Announce,
    Feed,
    Gossip,
    Broadcast,
    TurnUndead,
}

#[derive(Serialize, Deserialize)]
struct MemberFrame {
    identity: Known,
    incarnation: u16,
    state: u8,
}

impl PostcardCodec {
    fn identity(&self, named: Named) -> Identity {
        let info = Arc::clone(&self.unknown);
        Identity {
            member: named.member,
            renewal: named.renewal,
            info,
        }
    }

    fn message(&self, frame: MessageFrame) -> Message<Identity> {
        match frame {
            MessageFrame::Ping(number) => Message::Ping(number),
            MessageFrame::Ack(number) => Message::Ack(number),
            MessageFrame::PingReq(target, probe_number) => Message::PingReq {
                target: self.identity(target),
                probe_number,
            },
            MessageFrame::IndirectPing(origin, probe_number) => Message::IndirectPing {
                origin: self.identity(origin),
                probe_number,
            },
            MessageFrame::IndirectAck(target, probe_number) => Message::IndirectAck {
                target: self.identity(target),
                probe_number,
            },
            MessageFrame::ForwardedAck(origin, probe_number) => Message::ForwardedAck {
                origin: self.identity(origin),
                probe_number,
            },
            MessageFrame::Announce => Message::Announce,
            MessageFrame::Feed => Message::Feed,
            MessageFrame::Gossip => Message::Gossip,
            MessageFrame::Broadcast => Message::Broadcast,
            MessageFrame::TurnUndead => Message::TurnUndead,
        }
    }
}

fn named(identity: &Identity) -> Named {
    Named {
        member: identity.member,
        renewal: identity.renewal,
    }
}

fn known(identity: &Identity) -> Known {
    let Identity {
        member,
        renewal,
        ref info,
    } = *identity;
    Known {
        member,
        renewal,
        info: Arc::clone(info),
    }
}

fn frame_of(message: &Message<Identity>) -> MessageFrame {
    match *message {
        Message::Ping(number) => MessageFrame::Ping(number),
        Message::Ack(number) => MessageFrame::Ack(number),
        Message::PingReq {
            ref target,
            probe_number,
        } => MessageFrame::PingReq(named(target), probe_number),
        Message::IndirectPing {
            ref origin,
            probe_number,
        } => MessageFrame::IndirectPing(named(origin), probe_number),
        Message::IndirectAck {
            ref target,
            probe_number,
        } => MessageFrame::IndirectAck(named(target), probe_number),
        Message::ForwardedAck {
            ref origin,
            probe_number,
        } => MessageFrame::ForwardedAck(named(origin), probe_number),
        Message::Announce => MessageFrame::Announce,
        Message::Feed => MessageFrame::Feed,
        Message::Gossip => MessageFrame::Gossip,
        Message::Broadcast => MessageFrame::Broadcast,
        Message::TurnUndead => MessageFrame::TurnUndead,
    }
}

fn write(frame: &impl Serialize, mut buffer: impl BufMut) -> Result<(), CodecError> {
    let bytes = postcard::to_stdvec(frame)?;
    if buffer.remaining_mut() < bytes.len() {
        return Err(CodecError::Full);
    }
    buffer.put_slice(&bytes);
    Ok(())
}

fn read<T: for<'de> Deserialize<'de>>(mut buffer: impl Buf) -> Result<T, CodecError> {
    let bytes = buffer.chunk();
    let (frame, rest) = postcard::take_from_bytes(bytes)?;
    let length = bytes.len() - rest.len();
    buffer.advance(length);
    Ok(frame)
}

fn checked(known: Known) -> Result<Identity, CodecError> {
    let Known {
        member,
        renewal,
        info,
    } = known;
    if !info.is_valid() {
        return Err(CodecError::LongFacts);
    }
    Ok(Identity {
        member,
        renewal,
        info,
    })
}

impl Codec<Identity> for PostcardCodec {
    type Error = CodecError;

    fn encode_header(
        &mut self,
        header: &Header<Identity>,
        buffer: impl BufMut,
    ) -> Result<(), CodecError> {
        let frame = HeaderFrame {
            source: known(&header.src),
            source_incarnation: header.src_incarnation,
            destination: named(&header.dst),
            message: frame_of(&header.message),
        };
        write(&frame, buffer)
    }

    fn decode_header(&mut self, buffer: impl Buf) -> Result<Header<Identity>, CodecError> {
        let frame: HeaderFrame = read(buffer)?;
        Ok(Header {
            src: checked(frame.source)?,
            src_incarnation: frame.source_incarnation,
            dst: self.identity(frame.destination),
            message: self.message(frame.message),
        })
    }

    fn encode_member(
        &mut self,
        member: &foca::Member<Identity>,
        buffer: impl BufMut,
    ) -> Result<(), CodecError> {
        let state = match member.state() {
            State::Alive => 0,
            State::Suspect => 1,
            State::Down => 2,
        };
        let identity = known(member.id());
        write(
            &MemberFrame {
                identity,
                incarnation: member.incarnation(),
                state,
            },
            buffer,
        )
    }

    fn decode_member(&mut self, buffer: impl Buf) -> Result<foca::Member<Identity>, CodecError> {
        let frame: MemberFrame = read(buffer)?;
        let state = match frame.state {
            0 => State::Alive,
            1 => State::Suspect,
            2 => State::Down,
            _ => return Err(CodecError::Malformed(postcard::Error::DeserializeBadEnum)),
        };
        Ok(foca::Member::new(
            checked(frame.identity)?,
            frame.incarnation,
            state,
        ))
    }
}

#[cfg(test)]
mod tests {
    use foca::Identity as _;

    use super::*;
    use crate::Incarnation;

    fn identity(incarnation: u64, renewal: u32) -> Identity {
        let node = NodeId::from_bytes([7; 20]);
        let member = Member {
            node,
            incarnation: Incarnation(incarnation),
        };
        let info = NodeInfo {
            zone: "a".to_owned(),
            ..NodeInfo::default()
        };
        Identity {
            member,
            renewal,
            info: Arc::new(info),
        }
    }

    #[test]
    fn a_later_start_wins_and_then_a_later_renewal() {
        assert!(identity(2, 0).win_addr_conflict(&identity(1, 9)));
        assert!(identity(1, 1).win_addr_conflict(&identity(1, 0)));
        let renewed = identity(1, 0).renew().unwrap();
        assert!(renewed.win_addr_conflict(&identity(1, 0)));
        assert!(identity(1, u32::MAX).renew().is_none());
    }

    #[test]
    fn a_packet_reads_back_and_a_full_one_is_an_error() {
        let mut codec = PostcardCodec {
            unknown: Arc::default(),
        };
        let message = Message::PingReq {
            target: identity(5, 0),
            probe_number: 3,
        };
        let header = Header {
            src: identity(1, 2),
            src_incarnation: 4,
            dst: identity(3, 0),
            message,
        };
        let mut buffer = Vec::new();
        codec.encode_header(&header, &mut buffer).unwrap();
        let mut rest = &buffer[..];
        let read = codec.decode_header(&mut rest).unwrap();
        assert_eq!((&read, rest.len()), (&header, 0));
        assert_eq!(read.src.info.zone, "a");
        assert!(codec.decode_header(&buffer[..buffer.len() - 1]).is_err());
        let room = (&mut buffer).limit(3);
        assert!(matches!(
            codec.encode_header(&header, room),
            Err(CodecError::Full)
        ));
    }
}
