//! What a command does with its keys, as the cache modes ask: must the old value be known?

use routing::Use;

use crate::command::table::{Arity, Command, access, flag};
use crate::dispatch::Request;
use crate::transaction::uses_in;

/// The options of `SET` under which the old value matters.
const LOOKING: [&str; 4] = ["nx", "xx", "get", "keepttl"];

/// The keys of the request, each with what becomes of it.
pub(crate) fn uses_of<'a>(command: &Command, request: Request<'a>) -> Vec<(&'a [u8], Use)> {
    if let Some(uses) = uses_in(command, request) {
        return uses;
    }
    let (used, target) = (use_of(command, request), use_of_target(command, request));
    let keys = command.keys.of(request.buffer, request.spans).enumerate();
    let used = |index| target.filter(|_| index > 0).unwrap_or(used);
    keys.map(|(index, key)| (key, used(index))).collect()
}

/// What the request does with the second of two keys, if that is not what it does with the first.
fn use_of_target(command: &Command, request: Request<'_>) -> Option<Use> {
    let overwrites = command.target? & (access::OW | access::UPDATE) == access::OW | access::UPDATE;
    // Those that have options overwrite if they are told to.
    let option = || {
        request
            .spans
            .iter()
            .skip(3)
            .any(|span| is(span.of(request.buffer), "replace"))
    };
    let always = matches!(command.arity, Arity::Exactly(_));
    Some(if overwrites && (always || option()) {
        Use::Replace
    } else {
        Use::Change
    })
}

/// What the request does with each of its keys.
fn use_of(command: &Command, request: Request<'_>) -> Use {
    if !command.has(flag::WRITE) {
        return Use::Read;
    }
    if command.target.is_some() && command.access & access::RO != 0 {
        return Use::Read;
    }
    // Overwrites whatever is there; where that depends on the options, they follow the value.
    let replaces = command.access & (access::OW | access::UPDATE) == access::OW | access::UPDATE;
    let depends = command.access & access::VARIABLE_FLAGS != 0;
    let looks = || {
        let options = request.spans.iter().skip(3);
        options
            .map(|span| span.of(request.buffer))
            .any(|word| LOOKING.iter().any(|option| is(word, option)))
    };
    if replaces || depends && !looks() {
        Use::Replace
    } else {
        Use::Change
    }
}

fn is(word: &[u8], option: &str) -> bool {
    word.eq_ignore_ascii_case(option.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table::table;
    use crate::resp::RequestBuf;

    #[test]
    fn a_value_replaced_whole_need_not_be_known() {
        let of = |line: &str| {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            let row = table().row(table().find(words[0]).expect("a command"));
            let request = RequestBuf::of(&words);
            let request = Request {
                buffer: request.buffer(),
                spans: request.spans(),
            };
            use_of(row, request)
        };
        for line in [
            "set k v",
            "set k nx",
            "SET k v EX 10",
            "setex k 1 v",
            "psetex k 1 v",
            "mset k v l w",
        ] {
            assert_eq!(of(line), Use::Replace, "{line}");
        }
        for line in [
            "set k v NX",
            "set k v EX 10 get",
            "set k v keepttl",
            "setnx k v",
            "msetnx k v",
            "getset k v",
            "append k v",
            "incr k",
            "del k",
            "getex k",
            "expire k 1",
        ] {
            assert_eq!(of(line), Use::Change, "{line}");
        }
        assert_eq!(of("get k"), Use::Read);
    }

    #[test]
    fn a_value_that_another_key_gets_replaces_what_that_had() {
        let of = |line: &str| {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            let row = table().row(table().find(words[0]).expect("a command"));
            let request = RequestBuf::of(&words);
            let request = Request {
                buffer: request.buffer(),
                spans: request.spans(),
            };
            uses_of(row, request)
                .into_iter()
                .map(|(_, used)| used)
                .collect::<Vec<_>>()
        };
        assert_eq!(of("rename k l"), [Use::Change, Use::Replace]);
        assert_eq!(of("renamenx k l"), [Use::Change, Use::Change]);
        assert_eq!(of("copy k l"), [Use::Read, Use::Change]);
        assert_eq!(of("copy k l REPLACE"), [Use::Read, Use::Replace]);
    }
}
