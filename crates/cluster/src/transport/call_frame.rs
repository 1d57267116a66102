//! The bytes of calls: many requests or answers one behind the other in a payload.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// A request as it travels: id, kind, length, body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) id: u64,
    pub(crate) kind: u8,
    pub(crate) body: Bytes,
}

/// An answer as it travels: id, outcome, length, body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) id: u64,
    pub(crate) outcome: Outcome,
    pub(crate) body: Bytes,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Outcome {
    /// It was carried out; the body is the answer.
    Done = 0,
    /// Nobody serves its kind; it was not carried out.
    NotServed = 1,
    /// It was carried out, and its answer is too long to send.
    TooLarge = 2,
}

impl Outcome {
    fn from_number(number: u8) -> Option<Outcome> {
        [Outcome::Done, Outcome::NotServed, Outcome::TooLarge]
            .into_iter()
            .find(|&outcome| outcome as u8 == number)
    }
}

/// The other side sent something that no version of this protocol sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed batch of calls")]
pub(crate) struct Malformed;

const HEADER_BYTES: usize = 8 + 1 + 4;

/// A payload under construction.
pub(crate) struct Batch {
    bytes: BytesMut,
}

impl Batch {
    pub(crate) fn new() -> Batch {
        Batch {
            bytes: BytesMut::new(),
        }
    }

    /// Whether another body of this length fits; the first one always does.
    pub(crate) fn has_room(&self, body_bytes: usize, bytes_max: usize) -> bool {
        self.bytes.is_empty() || self.bytes.len() + HEADER_BYTES + body_bytes <= bytes_max
    }

    pub(crate) fn request(&mut self, request: &Request) {
        self.put(request.id, request.kind, &request.body);
    }

    pub(crate) fn answer(&mut self, answer: &Answer) {
        self.put(answer.id, answer.outcome as u8, &answer.body);
    }

    fn put(&mut self, id: u64, byte: u8, body: &[u8]) {
        let length = u32::try_from(body.len()).expect("a call's body is bounded well below 4 GiB");
        self.bytes.reserve(HEADER_BYTES + body.len());
        self.bytes.put_u64_le(id);
        self.bytes.put_u8(byte);
        self.bytes.put_u32_le(length);
        self.bytes.put_slice(body);
    }

    /// The payload; none if nothing was put in.
    pub(crate) fn finish(self) -> Option<Bytes> {
        (!self.bytes.is_empty()).then(|| self.bytes.freeze())
    }
}

/// Splits the next request off the payload.
pub(crate) fn next_request(payload: &mut Bytes) -> Result<Option<Request>, Malformed> {
    let Some((id, kind, body)) = next(payload)? else {
        return Ok(None);
    };
    Ok(Some(Request { id, kind, body }))
}

/// Splits the next answer off the payload.
pub(crate) fn next_answer(payload: &mut Bytes) -> Result<Option<Answer>, Malformed> {
    let Some((id, outcome, body)) = next(payload)? else {
        return Ok(None);
    };
    let outcome = Outcome::from_number(outcome).ok_or(Malformed)?;
    Ok(Some(Answer { id, outcome, body }))
}

fn next(payload: &mut Bytes) -> Result<Option<(u64, u8, Bytes)>, Malformed> {
    if payload.is_empty() {
        return Ok(None);
    }
    if payload.len() < HEADER_BYTES {
        return Err(Malformed);
    }
    let (id, byte, length) = (payload.get_u64_le(), payload.get_u8(), payload.get_u32_le());
    let length = usize::try_from(length).map_err(|_| Malformed)?;
    if length > payload.len() {
        return Err(Malformed);
    }
    Ok(Some((id, byte, payload.split_to(length))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_reads_back_and_a_cut_one_is_malformed() {
        let first = Request {
            id: 7,
            kind: 3,
            body: Bytes::from_static(b"hello"),
        };
        let second = Request {
            id: 8,
            kind: 0,
            body: Bytes::new(),
        };
        let mut batch = Batch::new();
        batch.request(&first);
        assert!(!batch.has_room(0, 20) && batch.has_room(0, 100));
        batch.request(&second);
        let payload = batch.finish().unwrap();
        let mut rest = payload.clone();
        assert_eq!(next_request(&mut rest), Ok(Some(first)));
        assert_eq!(next_request(&mut rest), Ok(Some(second)));
        assert_eq!(next_request(&mut rest), Ok(None));
        let mut cut = payload.slice(..payload.len() - 1);
        assert!(next_request(&mut cut).is_ok());
        assert_eq!(next_request(&mut cut), Err(Malformed));
        let mut lying = Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255]);
        assert_eq!(next_request(&mut lying), Err(Malformed));
    }
}
