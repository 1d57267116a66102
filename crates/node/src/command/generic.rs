//! The commands of keys, whatever they hold.

use super::Args;
use crate::error::CommandError;
use crate::resp::Reply;
use crate::store::{Kind, Tx};

type Answer<'t> = Result<Reply<'t>, CommandError>;

/// `DEL key [key …]`, also called `UNLINK`: memory is given back at once either way
pub(super) fn del<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    Ok(count(args, |key| tx.remove(key)))
}

/// `EXISTS key [key …]`
pub(super) fn exists<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    Ok(count(args, |key| tx.exists(key)))
}

/// `TOUCH key [key …]`
pub(super) fn touch<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    Ok(count(args, |key| tx.touch(key)))
}

/// `TYPE key`
pub(super) fn kind<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    Ok(Reply::Simple(
        tx.kind(args.key()?).map_or("none", Kind::name),
    ))
}

fn count<'t>(keys: &mut Args<'_>, mut counts: impl FnMut(&[u8]) -> bool) -> Reply<'t> {
    let number = keys.filter(|key| counts(key)).count();
    Reply::Int(number as i64)
}

#[cfg(test)]
mod tests {
    use crate::command::trial::Trial;

    #[test]
    fn keys_are_counted_as_often_as_they_are_named() {
        Trial::new().script(
            "mset a 1 b 2 c 3 => +OK
             exists a b x a => :3
             touch a x => :1
             type a => +string
             type x => +none
             del a a x => :1
             unlink b c => :2
             exists a b c => :0
             del => -ERR wrong number of arguments for 'del' command",
        );
    }
}
