//! Runs commands on one slot's table, for tests of their handlers.

use bytes::BytesMut;
use cluster::Version;
use cluster::replication::Table;

use super::table::{Command, Run, table};
use crate::resp::{Reply, RequestBuf, RespVersion};
use crate::store::effect::Effect;
use crate::store::tx::Role;
use crate::store::{SlotTable, Store, Tx};

/// One slot, a copy of it that only sees effects, and a clock.
pub(super) struct Trial {
    pub(super) now_unix_ms: u64,
    slot: SlotTable,
    copy: SlotTable,
    version: u64,
}

impl Trial {
    pub(super) fn new() -> Trial {
        let slot = Store::new([1, 2, 3, 4]).table();
        Trial {
            now_unix_ms: 1_700_000_000_000,
            copy: slot.empty(),
            slot,
            version: 0,
        }
    }

    /// Runs a command and returns its reply as it is written to a RESP2 client. Whatever the
    /// command is, its effects make the copy equal; a failed one leaves none, but for the removal
    /// of what it finds past its time.
    pub(super) fn run(&mut self, words: &[&[u8]]) -> Vec<u8> {
        let id = table().find(words[0]).expect("a command of the table");
        self.run_row(table().row(id), words)
    }

    fn run_row(&mut self, command: &'static Command, words: &[&[u8]]) -> Vec<u8> {
        if !command.arity.allows(words.len()) {
            return encoded(&crate::error::CommandError::WrongArity(command.name).into());
        }
        let Run::Keys(handler) = command.run else {
            panic!("{} has no keys", command.name)
        };
        self.version += 1;
        let version = Version::from_u64(self.version);
        let request = RequestBuf::of(words);
        let mut tx = Tx::new(&mut self.slot, Role::Primary, self.now_unix_ms, version);
        let result = handler(&mut tx, &mut request.args(command.name));
        let failed = result.is_err();
        let reply = encoded(&result.unwrap_or_else(Reply::Error));
        let effects = tx.finish().effects;
        let expired = |effect| matches!(effect, Ok(Effect::Remove { .. }));
        assert!(
            !failed || effects.iter().all(expired),
            "a failed command writes: {words:?}"
        );
        self.copy
            .apply(version, effects.as_bytes())
            .expect("a record of our own");
        assert_eq!(self.slot.digest(), self.copy.digest(), "{words:?}");
        reply
    }

    /// Runs the command of this row.
    pub(super) fn run_sub(&mut self, name: &str, words: &[&[u8]]) -> Vec<u8> {
        let id = table()
            .find_full(name.as_bytes())
            .expect("a row of the table");
        self.run_row(table().row(id), words)
    }

    /// Runs lines of the form `command => reply`, in which `|` stands for the end of a line of the
    /// reply and `""` for an empty word.
    pub(super) fn script(&mut self, lines: &str) {
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (command, expected) = line.split_once(" => ").expect("a command and its reply");
            let words = command
                .split(' ')
                .map(|word| if word == "\"\"" { "" } else { word });
            let words: Vec<&[u8]> = words.map(str::as_bytes).collect();
            let reply = String::from_utf8(self.run(&words)).expect("a reply in ASCII");
            let reply = reply.strip_suffix("\r\n").expect("a whole line");
            assert_eq!(reply.replace("\r\n", "|"), expected, "{command}");
        }
    }
}

fn encoded(reply: &Reply<'_>) -> Vec<u8> {
    let mut out = BytesMut::new();
    reply.encode(RespVersion::Resp2, &mut out);
    out.to_vec()
}
