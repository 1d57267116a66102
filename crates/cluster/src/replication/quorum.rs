//! How many members commit a record, and how many seal a slot.

/// The quorums of a set of members with its write quorum `W`: any `commit` members and any `seal`
/// members of the set share one, so that whoever seals a slot meets every committed record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorum {
    members: usize,
    commit: usize,
}

impl Quorum {
    /// The quorums of a set of `members` where `W` is `write_quorum`.
    ///
    /// # Panics
    /// If the set is empty or the write quorum is zero: neither can hold anything.
    #[must_use]
    pub const fn new(members: usize, write_quorum: usize) -> Quorum {
        assert!(members > 0 && write_quorum > 0);
        let commit = if write_quorum < members {
            write_quorum
        } else {
            members
        };
        let quorum = Quorum { members, commit };
        assert!(quorum.commit() + quorum.seal() > members);
        quorum
    }

    /// `c = min(W, |S|)`: a record that so many members hold cannot be undone any more.
    #[must_use]
    pub const fn commit(self) -> usize {
        self.commit
    }

    /// `q = |S| - c + 1`: so many members seal the slot.
    #[must_use]
    pub const fn seal(self) -> usize {
        self.members - self.commit + 1
    }
}

const _: () = assert!(Quorum::new(3, 2).commit() == 2 && Quorum::new(3, 2).seal() == 2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_commit_quorum_meets_any_seal_quorum() {
        for members in 1..=7_u32 {
            for write_quorum in 1..=8 {
                let quorum = Quorum::new(members as usize, write_quorum);
                for commit in
                    (0..1_u32 << members).filter(|set| set.count_ones() as usize == quorum.commit())
                {
                    for seal in (0..1_u32 << members)
                        .filter(|set| set.count_ones() as usize == quorum.seal())
                    {
                        assert_ne!(commit & seal, 0, "{members} members, W {write_quorum}");
                    }
                }
            }
        }
    }
}
