//! Commands that give a value to another key.

use super::Args;
use super::args::TOO_MUCH;
use crate::command::{Answer as Told, Session};
use crate::error::CommandError;
use crate::resp::Reply;
use crate::store::Tx;
use crate::store::tx::Whole;

type Answer<'t> = Result<Reply<'t>, CommandError>;

/// As many databases as clients expect to choose from; only the first is there.
const DATABASES: i64 = 16;
const NO_DATABASE: &str = "ERR DB index is out of range";

/// `COPY source destination [DB number] [REPLACE]`
pub(super) fn copy<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    let (source, target) = (args.key()?, args.key()?);
    let mut replace = false;
    let mut database = 0;
    while !args.is_empty() {
        if args.option("replace") {
            replace = true;
        } else if args.remaining() >= 2 && args.option("db") {
            database = args.int()?;
            if !(0..DATABASES).contains(&database) {
                return Err(NO_DATABASE.into());
            }
        } else {
            return Err(CommandError::Syntax);
        }
    }
    if database != 0 {
        return Err("ERR Copying to another database is not allowed in cluster mode".into());
    }
    if source == target {
        return Err("ERR source and destination objects are the same".into());
    }
    let Some(whole) = tx.whole(source) else {
        return Ok(Reply::Int(0));
    };
    if !replace && tx.exists(target) {
        return Ok(Reply::Int(0));
    }
    give(tx, target, &whole)?;
    Ok(Reply::Int(1))
}

/// `RENAME key newkey`
pub(super) fn rename<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    let (source, target) = (args.key()?, args.key()?);
    take_over(tx, source, target)?;
    Ok(Reply::Ok)
}

/// `RENAMENX key newkey`
pub(super) fn renamenx<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    let (source, target) = (args.key()?, args.key()?);
    if !tx.exists(source) {
        return Err(CommandError::NoSuchKey);
    }
    if tx.exists(target) {
        return Ok(Reply::Int(0));
    }
    take_over(tx, source, target)?;
    Ok(Reply::Int(1))
}

/// `MOVE key db`: there is one database
pub(super) fn move_key<'t>(_: &'t mut Tx<'_>, _: &mut Args<'_>) -> Answer<'t> {
    Err("ERR MOVE is not allowed in cluster mode".into())
}

/// `SWAPDB index1 index2`: there is one database
pub(crate) fn swap_databases<'a>(
    _: &mut Session<'_>,
    _: &mut Args<'a>,
) -> Result<Told<'a>, CommandError> {
    Err("ERR SWAPDB is not allowed in cluster mode".into())
}

fn take_over(tx: &mut Tx<'_>, source: &[u8], target: &[u8]) -> Result<(), CommandError> {
    let Some(whole) = tx.whole(source) else {
        return Err(CommandError::NoSuchKey);
    };
    if source != target {
        give(tx, target, &whole)?;
        tx.remove(source);
    }
    Ok(())
}

fn give(tx: &mut Tx<'_>, target: &[u8], whole: &Whole) -> Result<(), CommandError> {
    if !tx.has_room(whole.bytes()) {
        return Err(TOO_MUCH.into());
    }
    tx.put_whole(target, whole);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::trial::Trial;

    #[test]
    fn a_value_goes_with_its_time_of_expiry() {
        let mut trial = Trial::new();
        trial.script(
            "set a 1 ex 100 => +OK
             copy a b => :1
             ttl b => :100
             copy a b => :0
             set a 2 => +OK
             copy a b REPLACE => :1
             ttl b => :-1
             get b => $1|2
             pexpire a 50 => :1
             rename a c => +OK
             pttl c => :50
             exists a => :0
             rename a c => -ERR no such key
             renamenx b c => :0
             renamenx b d => :1
             rename d d => +OK
             renamenx d d => :0
             renamenx a a => -ERR no such key
             copy a b => :0",
        );
        trial.now_unix_ms += 51;
        trial.script(
            "copy c e => :0
             rename c e => -ERR no such key
             copy d c => :1
             get c => $1|2",
        );
    }

    #[test]
    fn there_is_one_database() {
        let mut trial = Trial::new();
        trial.script(
            "set a 1 => +OK
             copy a b db 0 => :1
             copy a b db 1 => -ERR Copying to another database is not allowed in cluster mode
             copy a b db 16 => -ERR DB index is out of range
             copy a b db x => -ERR value is not an integer or out of range
             copy a b db => -ERR syntax error
             copy a a => -ERR source and destination objects are the same
             move a 1 => -ERR MOVE is not allowed in cluster mode",
        );
    }
}
