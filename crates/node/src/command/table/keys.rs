//! Where a command's keys are among its words, as data: routing needs no handler.

use crate::resp::Span;

/// The positions of a command's keys. Position 0 is the command's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// It has none.
    Keyless,
    /// One key.
    One {
        /// Its position.
        at: u8,
    },
    /// A key at `first` and at every further `step`th word, up to the last one.
    Every {
        /// The position of the first key.
        first: u8,
        /// The distance between two keys.
        step: u8,
    },
    /// The words from `first` to `last`.
    Range {
        /// The position of the first key.
        first: u8,
        /// The position of the last key.
        last: u8,
    },
    /// The word at `count_at` says how many keys follow it.
    Counted {
        /// The position of the count.
        count_at: u8,
    },
    /// After the word `word`, the first half of the words are keys: `XREAD … STREAMS k1 k2 i1 i2`.
    After {
        /// The word, in lower case.
        word: &'static str,
        /// Where to begin to look for it.
        from: u8,
    },
}

impl Keys {
    /// The keys of a request, in their order; none if the words are not a request of this shape.
    pub fn of<'a>(
        self,
        buffer: &'a [u8],
        spans: &'a [Span],
    ) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone {
        let (first, step, count) = self.positions(buffer, spans);
        (0..count).map(move |index| spans[first + index * step].of(buffer))
    }

    /// Where the keys of a request lie.
    pub(crate) fn spans(
        self,
        buffer: &[u8],
        spans: &[Span],
    ) -> impl ExactSizeIterator<Item = Span> {
        let (first, step, count) = self.positions(buffer, spans);
        (0..count).map(move |index| spans[first + index * step])
    }

    /// The first and the last position and the distance, as `COMMAND` shows them: negative counts
    /// from the end, and zeros say that a client must look at the key specifications.
    #[must_use]
    pub fn range(self) -> (i64, i64, i64) {
        match self {
            Keys::Keyless | Keys::Counted { .. } | Keys::After { .. } => (0, 0, 0),
            Keys::One { at } => (at.into(), at.into(), 1),
            Keys::Range { first, last } => (first.into(), last.into(), 1),
            Keys::Every { first, step } => (first.into(), -1, step.into()),
        }
    }

    /// The first position, the distance, and how many there are.
    fn positions(self, buffer: &[u8], spans: &[Span]) -> (usize, usize, usize) {
        let words = spans.len();
        match self {
            Keys::Keyless => (0, 1, 0),
            Keys::One { at } => (usize::from(at), 1, usize::from(usize::from(at) < words)),
            Keys::Every { first, step } => {
                let (first, step) = (usize::from(first), usize::from(step));
                (first, step, words.saturating_sub(first).div_ceil(step))
            }
            Keys::Range { first, last } => {
                let (first, behind) = (usize::from(first), usize::from(last) + 1);
                (first, 1, words.min(behind).saturating_sub(first))
            }
            Keys::Counted { count_at } => {
                let first = usize::from(count_at) + 1;
                let count = spans
                    .get(usize::from(count_at))
                    .and_then(|span| crate::command::args::integer(span.of(buffer)))
                    .and_then(|count| usize::try_from(count).ok())
                    .filter(|count| *count <= words - first);
                (first, 1, count.unwrap_or(0))
            }
            Keys::After { word, from } => {
                let is_word = |span: &Span| span.of(buffer).eq_ignore_ascii_case(word.as_bytes());
                let from = usize::from(from).min(words);
                let found = spans[from..].iter().position(is_word);
                found.map_or((0, 1, 0), |at| {
                    (from + at + 1, 1, (words - from - at - 1) / 2)
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::RequestBuf;

    fn keys(keys: Keys, line: &str) -> String {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let request = RequestBuf::of(&words);
        let found: Vec<&[u8]> = keys.of(request.buffer(), request.spans()).collect();
        String::from_utf8(found.join(&b' ')).unwrap()
    }

    #[test]
    fn keys_are_where_the_row_says() {
        let counted = Keys::Counted { count_at: 1 };
        let after = Keys::After {
            word: "streams",
            from: 1,
        };
        for (row, line, found) in [
            (Keys::Keyless, "ping a", ""),
            (Keys::One { at: 1 }, "get a", "a"),
            (Keys::One { at: 2 }, "object x", ""),
            (Keys::Every { first: 1, step: 1 }, "del a b c", "a b c"),
            (Keys::Every { first: 1, step: 2 }, "mset a 1 b 2", "a b"),
            (Keys::Every { first: 1, step: 2 }, "mset a 1 b", "a b"),
            (Keys::Range { first: 1, last: 2 }, "lcs a b len", "a b"),
            (Keys::Range { first: 1, last: 2 }, "lcs a", "a"),
            (counted, "zunion 2 a b weights 1 2", "a b"),
            (counted, "zunion 3 a b", ""),
            (counted, "zunion -1 a b", ""),
            (counted, "zunion", ""),
            (after, "xread count 1 STREAMS a b 0 0", "a b"),
            (after, "xread count 1", ""),
        ] {
            assert_eq!(keys(row, line), found, "{line}");
        }
    }
}
