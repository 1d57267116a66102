//! The modelled network: streams that keep their order, may break and lose what is on its way, and
//! links that can be blocked in one direction.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use cluster::Member;
use cluster::replication::Direction;

/// A stream between two processes, opened by `from`.
#[derive(Debug)]
pub struct Stream {
    /// The node that opened it, and which start of it.
    pub from: (usize, Member),
    /// The node that accepted it.
    pub to: (usize, Member),
    /// What is on its way to `to`.
    pub forward: VecDeque<Bytes>,
    /// What is on its way back to `from`.
    pub back: VecDeque<Bytes>,
    /// Nothing more gets into it.
    pub is_broken: bool,
}

impl Stream {
    /// The node that a message sent in this direction comes from, and the one it goes to.
    #[must_use]
    pub fn ends(&self, sent: Direction) -> ((usize, Member), (usize, Member)) {
        match sent {
            Direction::Forward => (self.from, self.to),
            Direction::Back => (self.to, self.from),
        }
    }

    /// What is on its way in this direction.
    pub fn queue(&mut self, sent: Direction) -> &mut VecDeque<Bytes> {
        match sent {
            Direction::Forward => &mut self.forward,
            Direction::Back => &mut self.back,
        }
    }
}

/// All streams there ever were that may still matter, and what is blocked.
#[derive(Debug, Default)]
pub struct Network {
    streams: BTreeMap<u64, Stream>,
    newest: u64,
    blocked: BTreeSet<(usize, usize)>,
}

impl Network {
    /// A new stream; returns its number.
    pub fn dial(&mut self, from: (usize, Member), to: (usize, Member)) -> u64 {
        self.newest += 1;
        let stream = Stream {
            from,
            to,
            forward: VecDeque::new(),
            back: VecDeque::new(),
            is_broken: false,
        };
        self.streams.insert(self.newest, stream);
        self.newest
    }

    /// The stream with this number.
    pub fn stream(&mut self, number: u64) -> Option<&mut Stream> {
        self.streams.get_mut(&number)
    }

    /// The numbers of all streams that have something on its way in some direction.
    #[must_use]
    pub fn busy(&self) -> Vec<(u64, Direction)> {
        let mut busy = Vec::new();
        for (&number, stream) in &self.streams {
            busy.extend((!stream.forward.is_empty()).then_some((number, Direction::Forward)));
            busy.extend((!stream.back.is_empty()).then_some((number, Direction::Back)));
        }
        busy
    }

    /// The streams between two nodes, whoever opened them, that are not broken.
    #[must_use]
    pub fn between(&self, a: usize, b: usize) -> Vec<u64> {
        let joins = |stream: &Stream| {
            (stream.from.0, stream.to.0) == (a, b) || (stream.from.0, stream.to.0) == (b, a)
        };
        let open = |(number, stream): (&u64, &Stream)| {
            (!stream.is_broken && joins(stream)).then_some(*number)
        };
        self.streams.iter().filter_map(open).collect()
    }

    /// Breaks a stream. What was on its way is lost, but for the first `kept` batches.
    pub fn break_stream(&mut self, number: u64, kept: usize) {
        if let Some(stream) = self.streams.get_mut(&number) {
            stream.is_broken = true;
            stream.forward.truncate(kept);
            stream.back.truncate(kept);
        }
    }

    /// Lets nothing pass from one node to another, or lets it pass again.
    pub fn set_blocked(&mut self, from: usize, to: usize, blocked: bool) {
        if blocked {
            self.blocked.insert((from, to));
        } else {
            self.blocked.remove(&(from, to));
        }
    }

    /// Whether nothing passes from one node to the other.
    #[must_use]
    pub fn is_blocked(&self, from: usize, to: usize) -> bool {
        self.blocked.contains(&(from, to))
    }

    /// Lets everything pass.
    pub fn heal(&mut self) {
        self.blocked.clear();
    }
}
