//! How an entry stands: may a reader have it, or what must happen first. Pure.

use cluster::Version;

use crate::host::{Entry, Mark};
use crate::keyspace::{Definition, Keyspace, Mode};

/// What a command that needs a key's value must do first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing: the entry says what there is.
    Serves,
    /// Its time is over: the key is absent, and the database is to hear of it.
    Expired,
    /// The database is to be asked.
    Missing,
    /// The database is to be asked under a fresh stamp: a statement may still land.
    InDoubt,
    /// It is to be flushed by the definition that it carries, and then loaded.
    DirtyElsewhere,
}

/// A statement of ours that is out, while its key is in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnderWay {
    /// The version that it carries.
    pub(crate) stamp: Version,
    /// Until when the old value may be served, if it is still there.
    pub(crate) serve_until: Option<u64>,
}

/// How the entry of a key stands at the active primary.
pub(crate) fn standing(
    entry: Option<&Entry>,
    keyspace: &Keyspace,
    definition: &Definition,
    under_way: Option<&UnderWay>,
    now_unix_ms: u64,
) -> Standing {
    let Some(entry) = entry else {
        return Standing::Missing;
    };
    let past = entry.expires_at.is_some_and(|at| at <= now_unix_ms);
    match entry.mark {
        Mark::None => Standing::Missing,
        Mark::Clean {
            definition: by,
            fresh_until,
        } => {
            if by != definition.id || fresh_until <= now_unix_ms {
                Standing::Missing
            } else if past && keyspace.mode == Mode::ReadOnly {
                Standing::Serves
            } else if past {
                Standing::Expired
            } else {
                Standing::Serves
            }
        }
        Mark::Dirty { definition: by } if by != definition.id => Standing::DirtyElsewhere,
        Mark::Dirty { .. } if past => Standing::Expired,
        Mark::Dirty { .. } => Standing::Serves,
        Mark::Doubt { stamp, .. } => {
            // Once the write has given up, and after a change of primary, nobody serves it.
            let ours = under_way.filter(|write| write.stamp == stamp);
            let until = ours.and_then(|write| write.serve_until);
            if until.is_some_and(|until| now_unix_ms < until) && !past {
                Standing::Serves
            } else {
                Standing::InDoubt
            }
        }
    }
}

/// Whether the active primary may serve the key from this entry at once, without the cache modes:
/// what a node's threads ask for a read before they pass it on.
#[must_use]
pub fn serves(entry: Option<&Entry>, keyspace: &Keyspace, now_unix_ms: u64) -> bool {
    let Some(definition) = keyspace.database() else {
        return true;
    };
    standing(entry, keyspace, definition, None, now_unix_ms) == Standing::Serves
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::{Keyspaces, check, example_settings};
    use cluster::Epoch;

    const NOW: u64 = 1_000_000;

    fn of(mark: Mark, expires_at: Option<u64>, under_way: Option<UnderWay>) -> Standing {
        let keyspaces = Keyspaces::new(check(&example_settings(), &["main"]).unwrap());
        let keyspace = keyspaces.named("wt").unwrap();
        let version = Version::new(Epoch(1), 1);
        let entry = Entry {
            has_value: true,
            expires_at,
            mark,
            version,
            bytes: 1,
        };
        standing(
            Some(&entry),
            keyspace,
            keyspace.database().unwrap(),
            under_way.as_ref(),
            NOW,
        )
    }

    #[test]
    fn what_is_clean_serves_while_it_is_fresh_and_of_this_definition() {
        let clean = |definition, fresh_until| Mark::Clean {
            definition,
            fresh_until,
        };
        assert_eq!(of(clean(1, NOW + 1), None, None), Standing::Serves);
        assert_eq!(of(clean(1, NOW), None, None), Standing::Missing);
        assert_eq!(of(clean(9, NOW + 1), None, None), Standing::Missing);
        assert_eq!(of(clean(1, NOW + 1), Some(NOW), None), Standing::Expired);
        assert_eq!(
            of(Mark::None, None, None),
            Standing::Missing,
            "it was plain"
        );
    }

    #[test]
    fn what_is_dirty_serves_as_long_as_the_key_lives() {
        assert_eq!(
            of(Mark::Dirty { definition: 1 }, None, None),
            Standing::Serves
        );
        assert_eq!(
            of(Mark::Dirty { definition: 1 }, Some(NOW - 1), None),
            Standing::Expired
        );
        assert_eq!(
            of(Mark::Dirty { definition: 9 }, None, None),
            Standing::DirtyElsewhere
        );
    }

    #[test]
    fn what_is_in_doubt_serves_only_while_our_own_statement_is_out() {
        let stamp = Version::new(Epoch(1), 7);
        let doubt = Mark::Doubt {
            definition: 1,
            stamp,
        };
        assert_eq!(of(doubt, None, None), Standing::InDoubt);
        let ours = |stamp, serve_until| Some(UnderWay { stamp, serve_until });
        assert_eq!(
            of(doubt, None, ours(stamp, Some(NOW + 1))),
            Standing::Serves
        );
        assert_eq!(
            of(doubt, None, ours(stamp, Some(NOW))),
            Standing::InDoubt,
            "its time is over"
        );
        assert_eq!(
            of(doubt, None, ours(stamp, None)),
            Standing::InDoubt,
            "the old value went"
        );
        let earlier = Version::new(Epoch(1), 6);
        assert_eq!(
            of(doubt, None, ours(earlier, Some(NOW + 1))),
            Standing::InDoubt
        );
        assert_eq!(
            of(doubt, Some(NOW), ours(stamp, Some(NOW + 1))),
            Standing::InDoubt
        );
    }
}
