//! The longest common subsequence of two strings.

use super::{Answer, copied};
use crate::command::Args;
use crate::error::CommandError;
use crate::resp::Reply;
use crate::store::Tx;

/// `LCS key1 key2 [LEN] [IDX] [MINMATCHLEN length] [WITHMATCHLEN]`
pub(in crate::command) fn lcs<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    let (first, second) = (args.key()?, args.key()?);
    let (first, second) = (copied(tx, first), copied(tx, second));
    let (Ok(first), Ok(second)) = (first, second) else {
        return Err("ERR The specified keys must contain string values".into());
    };
    let (first, second) = (first.unwrap_or_default(), second.unwrap_or_default());
    let (mut length_alone, mut places, mut with_length, mut least) = (false, false, false, 0);
    while !args.is_empty() {
        if args.option("idx") {
            places = true;
        } else if args.option("len") {
            length_alone = true;
        } else if args.option("withmatchlen") {
            with_length = true;
        } else if args.remaining() > 1 && args.option("minmatchlen") {
            least = args.int()?.max(0);
        } else {
            return Err(CommandError::Syntax);
        }
    }
    if places && length_alone {
        return Err("ERR If you want both the length and indexes, please just use IDX.".into());
    }
    let lengths = Lengths::new(&first, &second, tx.scratch_bytes_max())?;
    let length = lengths.at(first.len(), second.len());
    if places {
        let matches = lengths.matches().into_iter();
        let matches = matches.filter(|found| found.length as i64 >= least);
        let matches = matches.map(|found| found.reply(with_length)).collect();
        return Ok(Reply::Map(vec![
            (Reply::text("matches"), Reply::Array(matches)),
            (Reply::text("len"), Reply::Int(i64::from(length))),
        ]));
    }
    if length_alone {
        return Ok(Reply::Int(i64::from(length)));
    }
    let matches = lengths.matches().into_iter().rev();
    let bytes: Vec<u8> = matches
        .flat_map(|found| &first[found.first..found.first + found.length])
        .copied()
        .collect();
    Ok(Reply::bulk(bytes))
}

/// For each pair of beginnings of the two strings, how long their common subsequence is.
struct Lengths<'a> {
    first: &'a [u8],
    second: &'a [u8],
    table: Vec<u32>,
}

/// A stretch that both strings have in common.
struct Match {
    first: usize,
    second: usize,
    length: usize,
}

impl<'a> Lengths<'a> {
    /// The table takes `bytes_max` at most; Redis allows `proto-max-bulk-len`.
    fn new(
        first: &'a [u8],
        second: &'a [u8],
        bytes_max: usize,
    ) -> Result<Lengths<'a>, CommandError> {
        let width = second.len() + 1;
        let cells = (first.len() + 1).checked_mul(width);
        let Some(cells) = cells.filter(|&cells| cells <= bytes_max / size_of::<u32>()) else {
            return Err("ERR Insufficient memory, transient memory for LCS exceeds \
                        proto-max-bulk-len"
                .into());
        };
        let mut table = vec![0; cells];
        for (row, &a) in first.iter().enumerate() {
            let (above, below) = table[row * width..(row + 2) * width].split_at_mut(width);
            for (column, &b) in second.iter().enumerate() {
                below[column + 1] = if a == b {
                    above[column] + 1
                } else {
                    above[column + 1].max(below[column])
                };
            }
        }
        Ok(Lengths {
            first,
            second,
            table,
        })
    }

    fn at(&self, first: usize, second: usize) -> u32 {
        self.table[first * (self.second.len() + 1) + second]
    }

    /// The stretches that make up the subsequence, last one first.
    fn matches(&self) -> Vec<Match> {
        let mut matches: Vec<Match> = Vec::new();
        let (mut i, mut j) = (self.first.len(), self.second.len());
        while i > 0 && j > 0 {
            if self.first[i - 1] == self.second[j - 1] {
                match matches.last_mut() {
                    Some(last) if last.first == i && last.second == j => {
                        last.first -= 1;
                        last.second -= 1;
                        last.length += 1;
                    }
                    _ => matches.push(Match {
                        first: i - 1,
                        second: j - 1,
                        length: 1,
                    }),
                }
                i -= 1;
                j -= 1;
            } else if self.at(i - 1, j) > self.at(i, j - 1) {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        matches
    }
}

impl Match {
    fn reply<'t>(&self, with_length: bool) -> Reply<'t> {
        let range = |start: usize| {
            let end = start + self.length - 1;
            Reply::Array(vec![Reply::Int(start as i64), Reply::Int(end as i64)])
        };
        let mut parts = vec![range(self.first), range(self.second)];
        if with_length {
            parts.push(Reply::Int(self.length as i64));
        }
        Reply::Array(parts)
    }
}
