//! The commands that a client has queued, and their words, one behind the other.

use std::ops::Range;

use cluster::Slot;

use crate::command::table::CommandId;
use crate::dispatch::Request;
use crate::resp::Span;

/// What `MULTI` began.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) buffer: Vec<u8>,
    pub(super) spans: Vec<Span>,
    pub(super) commands: Vec<Queued>,
    /// The slot of the keys, if there are any so far.
    pub(super) slot: Option<Slot>,
    /// The keys are in several.
    pub(super) crosses: bool,
    /// A request was refused.
    pub(super) spoiled: bool,
}

/// One command in the queue.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) id: CommandId,
    /// Which of the spans are its words.
    pub(super) words: Range<usize>,
}

impl Queue {
    /// Puts a command at the end, unless it exceeds what may be queued.
    pub(super) fn push(
        &mut self,
        id: CommandId,
        slot: Option<Slot>,
        request: Request<'_>,
        (commands_max, bytes_max): (usize, usize),
    ) -> bool {
        if self.spoiled {
            // It will not run, so there is nothing to remember.
            return true;
        }
        let bytes: usize = request
            .spans
            .iter()
            .map(|span| span.of(request.buffer).len())
            .sum();
        let places = size_of_val(request.spans) + size_of::<Queued>();
        if self.commands.len() >= commands_max || self.bytes() + bytes + places > bytes_max {
            return false;
        }
        let first = self.spans.len();
        for span in request.spans {
            let start = self.buffer.len();
            self.buffer.extend_from_slice(span.of(request.buffer));
            self.spans.push(Span::new(start, self.buffer.len()));
        }
        let words = first..self.spans.len();
        self.commands.push(Queued { id, words });
        if let Some(slot) = slot {
            self.crosses |= self.slot.is_some_and(|other| other != slot);
            self.slot = Some(slot);
        }
        true
    }

    /// Nothing of it will run.
    pub(super) fn spoil(&mut self) {
        *self = Queue {
            spoiled: true,
            ..Queue::default()
        };
    }

    /// How many commands there are, as `CLIENT LIST` shows it.
    pub(super) fn len(&self) -> i64 {
        i64::try_from(self.commands.len()).unwrap_or(i64::MAX)
    }

    /// What it takes.
    pub(super) fn bytes(&self) -> usize {
        let words = self.spans.len() * size_of::<Span>();
        self.buffer.len() + words + self.commands.len() * size_of::<Queued>()
    }

    /// The words of one of its commands.
    pub(super) fn request(&self, words: &Range<usize>) -> Request<'_> {
        Request {
            buffer: &self.buffer,
            spans: &self.spans[words.clone()],
        }
    }

    /// Adds a word behind all others.
    pub(super) fn word(&mut self, word: &[u8]) -> Span {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(word);
        Span::new(start, self.buffer.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table::table;
    use crate::resp::RequestBuf;

    #[test]
    fn what_is_queued_is_bounded_by_number_and_by_bytes() {
        let mut queue = Queue::default();
        let request = RequestBuf::of(&[b"set", b"k", b"value"]);
        let request = Request {
            buffer: request.buffer(),
            spans: request.spans(),
        };
        let id = table().find(b"set").unwrap();
        let slot = Some(Slot::of(b"k"));
        assert!(queue.push(id, slot, request, (2, 1 << 20)));
        assert!(!queue.push(id, slot, request, (2, queue.bytes() * 2 - 1)));
        assert!(queue.push(id, slot, request, (2, queue.bytes() * 2)));
        assert!(!queue.push(id, slot, request, (2, 1 << 20)));
        assert_eq!((queue.len(), queue.slot, queue.crosses), (2, slot, false));
        assert_eq!(
            queue.request(&queue.commands[1].words).word(2),
            Some(&b"value"[..])
        );
        assert!(queue.push(id, Some(Slot::of(b"l")), request, (3, 1 << 20)) && queue.crosses);
        queue.spoil();
        assert!(queue.spoiled && queue.bytes() == 0);
        assert!(queue.push(id, slot, request, (0, 0)) && queue.len() == 0);
    }
}
