//! Why a command on a database keyspace fails, in words that say what happened to it.

use std::fmt;

/// Why a slot's member does nothing. Whatever was asked was not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is not the slot's active primary with a valid lease: `MOVED`, or passed on.
    NotPrimary,
    /// Not now, and soon again.
    TryAgain,
    /// Fewer than W copies could take it.
    NoReplicas,
    /// The slot has no primary that is known.
    ClusterDown,
    /// No memory is left for it.
    OutOfMemory,
}

/// Why a wait for copies ended without them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The time was over.
    TimedOut,
    /// The member is no longer the slot's primary.
    Deposed,
}

/// What a client gets instead of its reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The slot's member refused; not applied.
    Refused(Refusal),
    /// No turn in the line of a key in time; not applied.
    NoTurn,
    /// A read met what is not committed in time.
    Unread,
    /// The record exists and W copies did not confirm it; unknown.
    Unconfirmed,
    /// Not applied, because of the database.
    Store {
        /// Its name.
        store: String,
        /// Why.
        reason: String,
    },
    /// The database may have it, may still get it, or never; unknown.
    UncertainStore {
        /// Its name.
        store: String,
        /// Why.
        reason: String,
    },
    /// The keyspace takes no writes.
    ReadOnly {
        /// Its name.
        keyspace: String,
    },
    /// The keys of one command lie in two databases.
    TwoStores,
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        Error::Refused(refusal)
    }
}

impl Error {
    /// `STORE name: reason`.
    pub(crate) fn store(store: &str, reason: impl Into<String>) -> Error {
        Error::Store {
            store: store.to_owned(),
            reason: reason.into(),
        }
    }
}

impl fmt::Display for Error {
    /// As the client reads it. For [`Refusal::NotPrimary`] the node knows better: it redirects.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Refused(refusal) => refusal.fmt(f),
            Error::NoTurn => f.write_str("TRYAGAIN other commands on the key take too long"),
            Error::Unread => f.write_str("TRYAGAIN what was read is not confirmed yet"),
            Error::Unconfirmed => f.write_str("UNCERTAIN write not confirmed in time"),
            Error::Store { store, reason } => write!(f, "STORE {store}: {reason}"),
            Error::UncertainStore { store, reason } => {
                write!(f, "UNCERTAIN store {store}: {reason}")
            }
            Error::ReadOnly { keyspace } => {
                write!(f, "READONLY keyspace {keyspace} takes no writes")
            }
            Error::TwoStores => f.write_str("ERR the keys of one command lie in two databases"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::NotPrimary => "TRYAGAIN the slot has another primary by now",
            Refusal::TryAgain => "TRYAGAIN the slot is changing hands",
            Refusal::NoReplicas => "NOREPLICAS Not enough good replicas to write.",
            Refusal::ClusterDown => "CLUSTERDOWN Hash slot not served",
            Refusal::OutOfMemory => "OOM command not allowed when used memory > 'maxmemory'.",
        })
    }
}
