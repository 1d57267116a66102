//! The rules of the protocol that a test can leave out, to show that each is needed.

/// One rule, in the words of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// The intent waits for W copies before the statement is sent.
    IntentWaits,
    /// The old value stays during a write, unless the key was in doubt already.
    DoubtDropsOldValue,
    /// Settling raises the row's stamp to a fresh number.
    FreshStamp,
    /// A flush takes only what is committed.
    FlushCommitted,
    /// A flush's answer clears the mark only if the version is the flushed one.
    CleanIfSame,
    /// A void load installs nothing and answers nobody.
    VoidLoads,
    /// The lease is checked when a load's answer is taken.
    LeaseAtAnswer,
    /// If any attempt is unanswered, a later refusal does not make the write "not applied".
    UnansweredIsUncertain,
    /// A value in doubt is served by nobody but the primary whose write is out.
    DoubtServedByNobody,
    /// Where fewer than W in-sync members stay, writes go the write-through way.
    DepartingWriteThrough,
}

/// Which rules are kept: all of them, outside tests.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rules {
    #[cfg(test)]
    left_out: Option<Rule>,
}

impl Rules {
    #[cfg(test)]
    pub(crate) fn without(rule: Rule) -> Rules {
        Rules {
            left_out: Some(rule),
        }
    }

    #[cfg_attr(
        not(test),
        allow(clippy::unused_self, reason = "only tests leave a rule out")
    )]
    pub(crate) fn keeps(self, rule: Rule) -> bool {
        #[cfg(test)]
        return self.left_out != Some(rule);
        #[cfg(not(test))]
        {
            let _ = rule;
            true
        }
    }
}
