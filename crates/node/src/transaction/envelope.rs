//! A whole transaction as one request: what is watched, all keys, then the commands.
//!
//! Its words are `exec`, the stamps of the watched keys, the number of keys, the keys (those that
//! are watched first, as many as there are stamps), and for each command a header and its words.
//! The header says for which version of the protocol its reply is encoded, and how many words there
//! are; with a version of 0 the one word is a reply that is there already.

use bytes::{BufMut, BytesMut};
use cluster::Slot;
use routing::Use;

use super::queue::Queue;
use super::watch::Watched;
use crate::command::Args;
use crate::command::args::integer;
use crate::command::table::{Arity, Command, KeyHandler, Keys, Run, flag, keyed, table};
use crate::dispatch::{Request, known};
use crate::error::CommandError;
use crate::modes::uses_of;
use crate::resp::{Reply, RespVersion, Span};
use crate::store::Tx;
use crate::store::tx::Stamp;

const MALFORMED: &str = "ERR a transaction is malformed";
const DONE_BUT_LONG: &str = "ERR the transaction was carried out, but its replies are too long";

/// Where the number of keys stands.
const COUNT_AT: u8 = 2;
const KEYS: Keys = Keys::Counted { count_at: COUNT_AT };
const READS: u32 = flag::READ;
const WRITES: u32 = flag::WRITE;

/// The rows of envelopes, by what is in them.
static READING: Command = keyed("exec", Arity::AtLeast(3), READS, KEYS, 0, run);
static WRITING: Command = keyed("exec", Arity::AtLeast(3), WRITES, KEYS, 0, run);
static GROWING: Command = keyed(
    "exec",
    Arity::AtLeast(3),
    WRITES | flag::DENY_OOM,
    KEYS,
    0,
    run,
);

/// Whether it is one of them.
pub(super) fn is_row(command: &Command) -> bool {
    [&READING, &WRITING, &GROWING]
        .iter()
        .any(|row| std::ptr::eq(*row, command))
}

/// The row of an envelope whose commands have these flags together.
fn row(flags: u32) -> &'static Command {
    if flags & flag::DENY_OOM != 0 {
        &GROWING
    } else if flags & flag::WRITE != 0 {
        &WRITING
    } else {
        &READING
    }
}

/// A transaction, ready to be run.
pub(super) struct Envelope {
    pub(super) command: &'static Command,
    pub(super) handler: KeyHandler,
    pub(super) spans: Vec<Span>,
}

/// What stands for a command in an envelope.
pub(super) enum Item {
    /// One that runs on the slot, for a client of this version of the protocol.
    Command(RespVersion),
    /// The reply of one that has run.
    Ready(BytesMut),
}

impl Envelope {
    /// Puts the queue, whose commands are these, into an envelope. Its words lie in the buffer of
    /// the queue afterwards.
    pub(super) fn of(queue: &mut Queue, items: Vec<Item>, watched: &Watched) -> Envelope {
        let mut flags = 0;
        let mut keys: Vec<Span> = Vec::with_capacity(queue.commands.len() + watched.len());
        let mut stamps = Vec::with_capacity(watched.len() * 8);
        for (key, stamp) in watched.iter() {
            stamps.extend_from_slice(&stamp.to_bytes());
            keys.push(queue.word(key));
        }
        for queued in &queue.commands {
            let command = table().row(queued.id);
            if let Run::Keys(_) = command.run {
                flags |= command.flags;
                let spans = &queue.spans[queued.words.clone()];
                keys.extend(command.keys.spans(&queue.buffer, spans));
            }
        }
        let head = [
            queue.word(b"exec"),
            queue.word(&stamps),
            queue.word(keys.len().to_string().as_bytes()),
        ];
        let mut spans = Vec::with_capacity(3 + keys.len() + items.len() + queue.spans.len());
        spans.extend_from_slice(&head);
        spans.append(&mut keys);
        for (index, item) in items.into_iter().enumerate() {
            let words = queue.commands[index].words.clone();
            match item {
                Item::Command(version) => {
                    let version = version.number() as u8;
                    spans.push(queue.word(&header(version, words.len())));
                    spans.extend_from_slice(&queue.spans[words]);
                }
                Item::Ready(reply) => {
                    spans.push(queue.word(&header(0, 1)));
                    spans.push(queue.word(&reply));
                }
            }
        }
        Envelope {
            command: row(flags),
            handler: run,
            spans,
        }
    }
}

fn header(version: u8, words: usize) -> [u8; 5] {
    let words = u32::try_from(words).expect("a request has no more words than that");
    let [a, b, c, d] = words.to_be_bytes();
    [version, a, b, c, d]
}

/// An envelope as it is read.
struct Opened<'a> {
    buffer: &'a [u8],
    stamps: &'a [u8],
    /// Those of the keys, the watched ones first.
    keys: &'a [Span],
    items: &'a [Span],
}

/// What is read of one command.
enum Found<'a> {
    Command(RespVersion, Request<'a>),
    Ready(&'a [u8]),
}

impl<'a> Opened<'a> {
    fn new(buffer: &'a [u8], spans: &'a [Span]) -> Option<Opened<'a>> {
        let stamps = spans.get(1)?.of(buffer);
        let keys = integer(spans.get(usize::from(COUNT_AT))?.of(buffer))?;
        let rest = &spans[usize::from(COUNT_AT) + 1..];
        let (keys, items) = rest.split_at_checked(usize::try_from(keys).ok()?)?;
        let whole = stamps.len().is_multiple_of(8) && stamps.len() / 8 <= keys.len();
        whole.then_some(Opened {
            buffer,
            stamps,
            keys,
            items,
        })
    }

    fn watched(&self) -> impl Iterator<Item = (&'a [u8], Stamp)> + use<'a> {
        let buffer = self.buffer;
        let (stamps, _) = self.stamps.as_chunks::<8>();
        let pairs = self.keys.iter().zip(stamps);
        pairs.map(move |(key, stamp)| (key.of(buffer), Stamp::from_bytes(*stamp)))
    }
}

impl<'a> Iterator for Opened<'a> {
    type Item = Result<Found<'a>, CommandError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (header, rest) = self.items.split_first()?;
        let found = (|| {
            let (&[version], count) = header.of(self.buffer).split_first_chunk::<1>()?;
            let count = u32::from_be_bytes(count.try_into().ok()?);
            let (spans, rest) = rest.split_at_checked(count as usize)?;
            self.items = rest;
            let request = Request {
                buffer: self.buffer,
                spans,
            };
            match version {
                0 => Some(Found::Ready(request.word(0)?)),
                3 => Some(Found::Command(RespVersion::Resp3, request)),
                _ => Some(Found::Command(RespVersion::Resp2, request)),
            }
        })();
        if found.is_none() {
            self.items = &[];
        }
        Some(found.ok_or_else(|| MALFORMED.into()))
    }
}

/// The row and the handler of one of its commands.
fn row_of(request: Request<'_>) -> Result<(&'static Command, KeyHandler), CommandError> {
    let command = table().row(known(request)?);
    match command.run {
        Run::Keys(handler) if command.arity.allows(request.spans.len()) => Ok((command, handler)),
        _ => Err(MALFORMED.into()),
    }
}

/// The row of an envelope that another node has sent.
///
/// # Errors
/// If it is none, or a key of its commands is not one of its own.
pub(super) fn row_of_carried(
    request: Request<'_>,
) -> Result<(&'static Command, KeyHandler), CommandError> {
    let opened = Opened::new(request.buffer, request.spans).ok_or(MALFORMED)?;
    let slot = opened
        .keys
        .first()
        .map(|key| Slot::of(key.of(request.buffer)));
    let mut flags = 0;
    for found in opened {
        if let Found::Command(_, request) = found? {
            let (command, _) = row_of(request)?;
            flags |= command.flags;
            let mut keys = command.keys.of(request.buffer, request.spans);
            if !keys.all(|key| Some(Slot::of(key)) == slot) {
                return Err(MALFORMED.into());
            }
        }
    }
    Ok((row(flags), run))
}

/// What a transaction does with its keys, those that are watched among them: as the cache modes
/// ask. A key that several commands use comes several times. None of a command that is no
/// transaction.
pub(crate) fn uses_in<'a>(command: &Command, request: Request<'a>) -> Option<Vec<(&'a [u8], Use)>> {
    if !is_row(command) {
        return None;
    }
    let Some(opened) = Opened::new(request.buffer, request.spans) else {
        return Some(Vec::new());
    };
    let watched = opened.watched().map(|(key, _)| (key, Use::Read));
    let mut uses: Vec<(&[u8], Use)> = watched.collect();
    for found in opened {
        if let Ok(Found::Command(_, request)) = found
            && let Ok((command, _)) = row_of(request)
        {
            uses.extend(uses_of(command, request));
        }
    }
    Some(uses)
}

/// Runs the transaction, unless a watched key has changed.
fn run<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Result<Reply<'t>, CommandError> {
    let (buffer, spans) = args.words();
    let opened = Opened::new(buffer, spans).ok_or(MALFORMED)?;
    // Whatever the answer is, it depends on all of them.
    let changed = opened
        .watched()
        .filter(|(key, stamp)| !tx.is_as_stamped(key, *stamp));
    if changed.count() > 0 {
        return Ok(Reply::NullArray);
    }
    let words = opened.items.iter().map(|word| word.of(buffer).len());
    tx.reserve(words.sum());
    let bytes_max = tx.scratch_bytes_max();
    let mut replies = BytesMut::new();
    let (mut count, mut wrote_too_much) = (0, false);
    for found in opened {
        match found? {
            Found::Ready(reply) => replies.put_slice(reply),
            Found::Command(version, request) => {
                let (command, handler) = row_of(request)?;
                let mut args = Args::new(request.buffer, request.spans, command.name);
                let reply = handler(&mut *tx, &mut args).unwrap_or_else(Reply::Error);
                reply.encode(version, &mut replies);
            }
        }
        count += 1;
        if replies.len() > bytes_max {
            wrote_too_much = true;
            replies.clear();
        }
    }
    if wrote_too_much {
        return Err(DONE_BUT_LONG.into());
    }
    let mut whole = BytesMut::with_capacity(replies.len() + 16);
    whole.put_slice(format!("*{count}\r\n").as_bytes());
    whole.put(replies);
    Ok(Reply::Encoded(whole.freeze()))
}

#[cfg(test)]
mod tests {
    use cluster::Version;

    use super::*;
    use crate::command::args::TOO_MUCH;
    use crate::resp::RequestBuf;
    use crate::store::tx::Role;
    use crate::store::{SlotTable, Store};

    fn words(line: &str) -> RequestBuf {
        RequestBuf::of(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>())
    }

    fn queue_of(lines: &[&str]) -> Queue {
        let mut queue = Queue::default();
        for line in lines {
            let request = words(line);
            let request = Request {
                buffer: request.buffer(),
                spans: request.spans(),
            };
            let id = table().find(request.word(0).unwrap()).unwrap();
            assert!(queue.push(id, None, request, (100, 1 << 20)));
        }
        queue
    }

    /// The envelope of these lines, in RESP3 but for those that are there already.
    fn envelope(lines: &[&str]) -> (Queue, Envelope) {
        let mut queue = queue_of(lines);
        let items = lines.iter().map(|line| match *line {
            "ping" => Item::Ready("+PONG\r\n".into()),
            _ => Item::Command(RespVersion::Resp3),
        });
        let envelope = Envelope::of(&mut queue, items.collect(), &Watched::default());
        (queue, envelope)
    }

    fn exec(table: &mut SlotTable, lines: &[&str]) -> Result<String, CommandError> {
        let (queue, envelope) = envelope(lines);
        let mut args = Args::new(&queue.buffer, &envelope.spans, "exec");
        let mut tx = Tx::new(table, Role::Primary, 1_000, Version::from_u64(1));
        let mut out = BytesMut::new();
        run(&mut tx, &mut args)?.encode(RespVersion::Resp2, &mut out);
        Ok(String::from_utf8(out.to_vec())
            .unwrap()
            .replace("\r\n", "|"))
    }

    #[test]
    fn the_commands_run_in_their_order_and_each_has_its_reply() {
        let mut table = Store::new([1, 2, 3, 4]).table();
        let replies = exec(
            &mut table,
            &["set k 1", "ping", "incr k", "get none", "incrby k x"],
        );
        let error = "-ERR value is not an integer or out of range";
        assert_eq!(replies, Ok(format!("*5|+OK|+PONG|:2|_|{error}|")));
        assert_eq!(exec(&mut table, &["ping"]), Ok("*1|+PONG|".to_owned()));
    }

    #[test]
    fn a_record_is_bounded_beyond_the_words_of_its_commands() {
        let store = Store::new([1, 2, 3, 4]);
        store.set_record_bytes_max(1_000);
        let mut table = store.table();
        let replies = exec(
            &mut table,
            &["setrange a 2000 x", "setrange b 10 x", "get b"],
        );
        assert_eq!(replies, Ok(format!("*3|:2001|-{TOO_MUCH}|_|")));
        let replies = exec(
            &mut table,
            &["set c x", "copy a d", "rename a e", "exists a d e"],
        );
        assert_eq!(replies, Ok(format!("*4|+OK|-{TOO_MUCH}|-{TOO_MUCH}|:1|")));
        assert_eq!(exec(&mut table, &["copy a d"]), Ok("*1|:1|".to_owned()));
    }

    #[test]
    fn replies_are_bounded_and_what_was_done_is_done() {
        let store = Store::new([1, 2, 3, 4]);
        store.set_scratch_bytes_max(100);
        let mut table = store.table();
        let long = format!("set k {}", "x".repeat(80));
        assert!(exec(&mut table, &[&long, "get k"]).is_ok());
        let error = exec(&mut table, &["get k", "get k", "set done 1", "get k"]);
        assert_eq!(error, Err(DONE_BUT_LONG.into()));
        assert_eq!(exec(&mut table, &["get done"]), Ok("*1|$1|1|".to_owned()));
    }

    #[test]
    fn an_envelope_says_what_it_does_with_its_keys() {
        let (queue, envelope) = envelope(&["get {t}a", "set {t}b 1", "append {t}c x", "ping"]);
        assert_eq!(envelope.command.flags, WRITES | flag::DENY_OOM);
        let request = Request {
            buffer: &queue.buffer,
            spans: &envelope.spans,
        };
        let keys: Vec<_> = envelope
            .command
            .keys
            .of(request.buffer, request.spans)
            .collect();
        assert_eq!(keys, [b"{t}a", b"{t}b", b"{t}c"]);
        let uses = uses_in(envelope.command, request).unwrap();
        let uses: Vec<Use> = uses.into_iter().map(|(_, used)| used).collect();
        assert_eq!(uses, [Use::Read, Use::Replace, Use::Change]);
        assert!(uses_in(table().row(table().find(b"get").unwrap()), request).is_none());
        let (row, _) = row_of_carried(request).unwrap();
        assert!(std::ptr::eq(row, envelope.command));
    }

    #[test]
    fn what_is_no_envelope_is_refused() {
        let refused = |queue: &Queue, spans: &[Span]| {
            let buffer = &queue.buffer;
            row_of_carried(Request { buffer, spans }).is_err()
        };
        // A key of another slot, a command that is not for a slot, a missing word.
        let (queue, crossing) = envelope(&["get a", "get b"]);
        assert!(refused(&queue, &crossing.spans));
        let (queue, keyless) = envelope(&["get a", "time"]);
        assert!(refused(&queue, &keyless.spans));
        let (queue, whole) = envelope(&["get a", "set a 1"]);
        assert!(!refused(&queue, &whole.spans));
        for count in 0..whole.spans.len() {
            let whole_commands = count == 5 || count == 8;
            assert_eq!(
                !refused(&queue, &whole.spans[..count]),
                whole_commands,
                "{count} words"
            );
        }
    }
}
