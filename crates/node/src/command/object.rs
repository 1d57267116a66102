//! `OBJECT`: how a key's value is kept.

use super::args::integer;
use super::{Answer as Told, Args, Session, help};
use crate::error::CommandError;
use crate::resp::Reply;
use crate::store::value::Hash;
use crate::store::{Entry, Kind, Trace, Tx};

/// In the words of Redis.
const SWITCHED: &str = "Please note that when switching between policies at runtime LRU and LFU \
                        data will take some time to adjust.";

type Answer<'t> = Result<Reply<'t>, CommandError>;

/// Up to this length Redis keeps a string together with what it says of it.
const EMBEDDED_BYTES_MAX: usize = 44;

/// `OBJECT ENCODING key`
pub(super) fn encoding<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    let entry = tx.entry(args.key()?);
    Ok(entry.map_or(Reply::Null, |entry| Reply::text(encoding_of(entry))))
}

/// `OBJECT REFCOUNT key`: no two keys share a value
pub(super) fn refcount<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    let there = tx.exists(args.key()?);
    Ok(if there { Reply::Int(1) } else { Reply::Null })
}

/// `OBJECT FREQ key`: how often a key is used, on the scale of an LFU policy
pub(super) fn frequency<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    let counts = tx.policy().trace() == Trace::Frequency;
    match tx.frequency(args.key()?) {
        None => Ok(Reply::Null),
        Some(_) if !counts => Err(format!(
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. {SWITCHED}"
        )
        .into()),
        Some(frequency) => Ok(Reply::Int(frequency.into())),
    }
}

/// `OBJECT IDLETIME key`: for how many seconds a key was not used
pub(super) fn idle_time<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    let counts = tx.policy().trace() == Trace::Frequency;
    match tx.idle_seconds(args.key()?) {
        None => Ok(Reply::Null),
        Some(_) if counts => Err(format!(
            "ERR An LFU maxmemory policy is selected, idle time not tracked. {SWITCHED}"
        )
        .into()),
        Some(seconds) => Ok(Reply::Int(i64::try_from(seconds).unwrap_or(i64::MAX))),
    }
}

/// `OBJECT HELP`
pub(crate) fn help<'a>(_: &mut Session<'_>, args: &mut Args<'a>) -> Result<Told<'a>, CommandError> {
    Ok(help::of(args.command()).into())
}

/// What Redis would call the form in which it keeps such a value.
fn encoding_of(entry: &Entry) -> &'static str {
    match entry.kind() {
        Kind::String if integer(entry.value()).is_some() => "int",
        Kind::String if entry.value().len() <= EMBEDDED_BYTES_MAX => "embstr",
        Kind::String | Kind::Absent => "raw",
        Kind::Hash if entry.hash().is_some_and(Hash::is_packed) => "listpack",
        Kind::Hash => "hashtable",
    }
}

#[cfg(test)]
mod tests {
    use crate::command::trial::Trial;

    #[test]
    fn the_form_of_a_string_follows_from_its_bytes() {
        let mut trial = Trial::new();
        for (value, encoding) in [
            ("-12", "int"),
            ("9223372036854775807", "int"),
            ("9223372036854775808", "embstr"),
            ("012", "embstr"),
            ("", "embstr"),
            (&"x".repeat(44), "embstr"),
            (&"x".repeat(45), "raw"),
        ] {
            trial.run(&[b"set", b"k", value.as_bytes()]);
            let reply = trial.run_sub("object|encoding", &[b"object", b"encoding", b"k"]);
            let length = encoding.len();
            assert_eq!(
                reply,
                format!("${length}\r\n{encoding}\r\n").into_bytes(),
                "{value}"
            );
        }
    }
}
