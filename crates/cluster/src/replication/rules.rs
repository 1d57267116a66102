//! Switches that leave single rules of the protocol out, so that the simulation can show that each
//! is needed. They exist with the feature `rule-switches` alone, which no production build has;
//! without it every rule is kept, and the compiler sees that.

/// A rule that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// While the in-sync set changes, a record is committed by both sets, not by the old one alone.
    BothSetsCommit,
    /// A change of the set is proposed once enough of the new one hold everything committed.
    NewSetHoldsAll,
    /// What comes from a term older than the promise is refused.
    OldTermsAreRefused,
    /// An acknowledgement counts for the attachment under which its record was sent.
    AcknowledgementsAreOfTheirAttachment,
    /// A member whose `last` is not in the history gets a copy, even where it is smaller.
    HistoryHoldsIt,
    /// Nobody is activated before the leases of the last primary are over.
    LeasesEndFirst,
    /// A read waits until what it met is committed.
    ReadsWait,
    /// Waiting replies are given up with their epoch.
    WaitersEndWithTheirEpoch,
    /// Who has promised a newer epoch grants the old primary nothing more.
    GrantsEndWithThePromise,
    /// The report with the greatest `last` is chosen.
    GreatestLast,
    /// `q` members seal a slot, not any single one.
    QuorumSeals,
    /// Where something may be missing a slot waits for its operator, if the cluster says so.
    LossWaits,
    /// One that commits alone needs the metadata group's lease.
    GroupLease,
}

impl Rule {
    /// All of them.
    pub const ALL: [Rule; 13] = [
        Rule::BothSetsCommit,
        Rule::NewSetHoldsAll,
        Rule::OldTermsAreRefused,
        Rule::AcknowledgementsAreOfTheirAttachment,
        Rule::HistoryHoldsIt,
        Rule::LeasesEndFirst,
        Rule::ReadsWait,
        Rule::WaitersEndWithTheirEpoch,
        Rule::GrantsEndWithThePromise,
        Rule::GreatestLast,
        Rule::QuorumSeals,
        Rule::LossWaits,
        Rule::GroupLease,
    ];
}

/// Which rules are kept: all, unless a simulation says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    #[cfg(feature = "rule-switches")]
    left_out: Option<Rule>,
}

impl Rules {
    /// All rules but this one.
    #[cfg(feature = "rule-switches")]
    #[must_use]
    pub const fn without(rule: Rule) -> Rules {
        Rules {
            left_out: Some(rule),
        }
    }

    #[cfg(feature = "rule-switches")]
    pub(crate) fn keep(self, rule: Rule) -> bool {
        self.left_out != Some(rule)
    }

    #[cfg(not(feature = "rule-switches"))]
    #[expect(
        clippy::unused_self,
        reason = "the same call with and without the switches"
    )]
    pub(crate) const fn keep(self, _: Rule) -> bool {
        true
    }
}
