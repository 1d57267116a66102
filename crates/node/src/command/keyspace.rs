//! The commands that mean all keys: on the any port those of the whole cluster, on the cluster port
//! those of the slots that this node leads; of a `READONLY` connection all that it has a copy of.
//!
//! They ask many slots, so their replies are on their way, and what the client sends next waits.

use bytes::Bytes;

use super::scan::{Step, narrowed, parse_cursor};
use super::{Answer, Args, Later, Session};
use crate::error::CommandError;
use crate::inquiry::{Asker, Part, Question, Walk};
use crate::resp::Reply;

type Answered<'a> = Result<Answer<'a>, CommandError>;

/// What a key of a reply takes besides its bytes until it is written, about.
pub(crate) const FRAME_BYTES: usize = 2 * size_of::<Reply<'_>>();

/// What a client is told that asks for too much at once.
pub(crate) const TOO_MANY: &str = "ERR the keys are more than one reply may hold; use SCAN";

/// `DBSIZE`
pub(crate) fn dbsize<'a>(session: &mut Session<'_>, _: &mut Args<'a>) -> Answered<'a> {
    let asker = Asker::of(session);
    let reply = async move {
        let mut keys: u64 = 0;
        let count = |parts: Vec<Part>| {
            keys += parts.iter().map(|part| part.count).sum::<u64>();
            Ok(())
        };
        asker.cover(&Question::Count, count).await?;
        Ok(Reply::Int(i64::try_from(keys).unwrap_or(i64::MAX)))
    };
    Ok(Later::holding_back(reply).into())
}

/// `KEYS pattern`
pub(crate) fn keys<'a>(session: &mut Session<'_>, args: &mut Args<'a>) -> Answered<'a> {
    let asker = Asker::of(session);
    let most = session.node.parameters.limits.load().output_bytes_max;
    let walk = Question::Walk(Walk {
        pattern: Some(Bytes::copy_from_slice(args.bytes()?)),
        kind: None,
        count: u32::MAX,
    });
    let reply = async move {
        let mut found = Vec::new();
        let mut bytes: usize = 0;
        let gather = |parts: Vec<Part>| {
            for key in parts.into_iter().flat_map(|part| part.keys) {
                bytes += key.len() + FRAME_BYTES;
                if bytes > most {
                    return Err(TOO_MANY.into());
                }
                found.push(Reply::Bulk(key));
            }
            Ok(())
        };
        asker.cover(&walk, gather).await?;
        Ok(Reply::Array(found))
    };
    Ok(Later::holding_back(reply).into())
}

/// `RANDOMKEY`
pub(crate) fn randomkey<'a>(session: &mut Session<'_>, _: &mut Args<'a>) -> Answered<'a> {
    let asker = Asker::of(session);
    let reply = async move {
        let mut drawn = Drawn::default();
        let draw = |parts: Vec<Part>| {
            drawn.take(parts, |keys| rand::random_range(0..keys));
            Ok(())
        };
        asker.cover(&Question::Sample, draw).await?;
        Ok(drawn.key.map_or(Reply::Null, Reply::Bulk))
    };
    Ok(Later::holding_back(reply).into())
}

/// One of the keys that several nodes offer: of a node with twice as many keys twice as likely.
#[derive(Default)]
struct Drawn {
    keys: u64,
    key: Option<Bytes>,
}

impl Drawn {
    /// `draw` returns a random number below its argument.
    fn take(&mut self, parts: Vec<Part>, draw: impl FnOnce(u64) -> u64) {
        let keys: u64 = parts.iter().map(|part| part.count).sum();
        let Some(key) = parts.into_iter().flat_map(|part| part.keys).next() else {
            return;
        };
        self.keys += keys.max(1);
        if draw(self.keys) < keys.max(1) {
            self.key = Some(key);
        }
    }
}

/// `SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]`
pub(crate) fn scan<'a>(session: &mut Session<'_>, args: &mut Args<'a>) -> Answered<'a> {
    let cursor = parse_cursor(args.bytes()?).ok_or("ERR invalid cursor")?;
    let walk = narrowed(args, session.node.settings.limits.scan_entries_max)?;
    let asker = Asker::of(session);
    let reply = async move {
        let mut step = Step::from(cursor, walk);
        let mut patience = asker.patience(&step.question());
        while let Some(wanted) = step.wanted() {
            let mut round = asker.round(&step.question(), wanted, &patience).await;
            if step.takes(std::mem::take(&mut round.answers)) {
                patience.renew();
            } else if !patience.pause().await {
                return Err(asker.out_of_time(&round));
            }
        }
        Ok(step.reply())
    };
    Ok(Later::holding_back(reply).into())
}

/// `FLUSHALL [ASYNC | SYNC]` and `FLUSHDB`. Each node gives the memory back in the background in
/// any case, so `SYNC` and `ASYNC` mean the same.
pub(crate) fn flush<'a>(session: &mut Session<'_>, args: &mut Args<'a>) -> Answered<'a> {
    if !args.is_empty() && !args.option("async") && !args.option("sync") {
        return Err(CommandError::Syntax);
    }
    args.finish()?;
    session.client.written.note_everywhere();
    let asker = Asker::of(session);
    let reply = async move {
        asker.cover(&Question::Empty, |_| Ok(())).await?;
        Ok(Reply::Ok)
    };
    Ok(Later::holding_back(reply).into())
}

#[cfg(test)]
mod tests {
    use cluster::Slot;

    use super::*;
    use crate::inquiry::End;

    #[test]
    fn every_key_is_as_likely_wherever_it_lies() {
        let answer = |count, key: &'static str| {
            let mut part = Part::new(Slot::of(b""), End::Done);
            part.count = count;
            part.keys = vec![key.into()];
            vec![part]
        };
        let mut times = [0; 2];
        for number in 0..4 {
            let mut drawn = Drawn::default();
            drawn.take(answer(3, "many"), |_| 0);
            let mut gone = answer(9, "");
            gone[0].keys.clear();
            drawn.take(gone, |_| 0);
            drawn.take(answer(1, "few"), |keys| {
                assert_eq!(keys, 4);
                number
            });
            times[usize::from(drawn.key.unwrap() == "few")] += 1;
        }
        assert_eq!(times, [3, 1]);
        assert_eq!(Drawn::default().key, None);
    }
}
