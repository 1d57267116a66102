//! What a command does with its keys, as the cache modes ask: must the old value be known?

use routing::Use;

use crate::command::table::{Command, access, flag};
use crate::resp::RequestBuf;

/// The options of `SET` under which the old value matters.
const LOOKING: [&str; 4] = ["nx", "xx", "get", "keepttl"];

/// What the request does with each of its keys.
pub(super) fn use_of(command: &Command, request: &RequestBuf) -> Use {
    if !command.has(flag::WRITE) {
        return Use::Read;
    }
    // Overwrites whatever is there; where that depends on the options, they follow the value.
    let replaces = command.access & (access::OW | access::UPDATE) == access::OW | access::UPDATE;
    let depends = command.access & access::VARIABLE_FLAGS != 0;
    let looks = || {
        let options = request.spans().iter().skip(3);
        options
            .map(|span| span.of(request.buffer()))
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

    #[test]
    fn a_value_replaced_whole_need_not_be_known() {
        let of = |line: &str| {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            let row = table().row(table().find(words[0]).expect("a command"));
            use_of(row, &RequestBuf::of(&words))
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
}
