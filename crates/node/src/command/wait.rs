//! `WAIT`: on how many replicas all is that a client wrote.
//!
//! The primaries of the slots are asked, each for its own. A slot whose primary changes is asked of
//! the new one: it holds all that was committed before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cluster::{Slot, Version};
use tokio::time::Instant;

use crate::command::{Answer, Args, Later, Session};
use crate::error::CommandError;
use crate::inquiry::{Asker, End, Question, Wanted};
use crate::node::Node;
use crate::resp::Reply;

/// The pause before slots are asked again that are not on enough replicas; doubled with each one.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(50);
/// What is added to it for each of the slots: who waits for all of them leaves others their time.
const PAUSE_PER_SLOT: Duration = Duration::from_micros(20);

pub(crate) fn wait<'a>(
    session: &mut Session<'_>,
    args: &mut Args<'a>,
) -> Result<Answer<'a>, CommandError> {
    let wanted = args.int()?;
    let timeout = args
        .int()
        .map_err(|_| "ERR timeout is not an integer or out of range")?;
    let timeout = u64::try_from(timeout).map_err(|_| "ERR timeout is negative")?;
    let copies = Copies::of(session);
    if session.client.transaction.runs() {
        return Ok(Reply::Int(copies.known()).into());
    }
    // It begins once the writes before it have their replies: what is newest then is no older.
    let reply = async move {
        let until = match timeout {
            0 => None,
            millis => Instant::now().checked_add(Duration::from_millis(millis)),
        };
        Ok(Reply::Int(copies.reach(wanted, until).await))
    };
    Ok(Later::holding_back(reply).into())
}

/// Where the writes of a client are.
struct Copies {
    node: Arc<Node>,
    slots: BTreeMap<Slot, Known>,
}

/// What is known of a slot.
#[derive(Default)]
struct Known {
    /// The record in question: the newest that its primary has when first asked, if not known.
    version: Version,
    /// How many replicas hold it, once its primary has said so.
    replicas: Option<i64>,
}

impl Copies {
    fn of(session: &Session<'_>) -> Copies {
        let known = |version| Known {
            version,
            replicas: None,
        };
        let records = session.client.written.records();
        Copies {
            node: Arc::clone(session.node),
            slots: records
                .map(|(slot, version)| (slot, known(version)))
                .collect(),
        }
    }

    /// On how many it is, as far as this node knows without asking.
    fn known(&self) -> i64 {
        let nothing_written = self.slots.is_empty();
        if nothing_written {
            self.node.slots.replicas_in_sync()
        } else {
            0
        }
    }

    /// Waits until all is on so many replicas, or until then. Returns on how many it is.
    async fn reach(mut self, wanted: i64, until: Option<Instant>) -> i64 {
        let left = || until.map_or(Duration::MAX, |until| until - Instant::now());
        let mut pause = PAUSE_MIN;
        loop {
            // A look that begins in time counts, and there is one more when the time is over.
            let left_before = left();
            let (replicas, asked) = self.ask(wanted, left_before).await;
            if replicas >= wanted || left_before.is_zero() {
                return replicas;
            }
            tokio::time::sleep((pause + PAUSE_PER_SLOT * asked).min(left())).await;
            pause = (2 * pause).min(PAUSE_MAX);
        }
    }

    /// Asks of the slots that are not on enough replicas yet. Returns on how many all of them are,
    /// as far as it is known, and how many slots were asked of.
    async fn ask(&mut self, wanted: i64, left: Duration) -> (i64, u32) {
        let lacks = |known: &Known| known.replicas.is_none_or(|replicas| replicas < wanted);
        let lacking = self.slots.iter().filter(|(_, known)| lacks(known));
        let lacking: Vec<Wanted> = lacking
            .map(|(slot, known)| (*slot, known.version.as_u64()))
            .collect();
        let asked = u32::try_from(lacking.len()).expect("there are 16384 slots");
        let asker = Asker::whole(&self.node);
        let patience = asker.patience(&Question::Copies).at_most(left);
        let round = asker.round(&Question::Copies, lacking, &patience).await;
        for part in round.answers.into_iter().flatten() {
            if let (End::At(version), Some(known)) = (part.end, self.slots.get_mut(&part.slot)) {
                known.version = Version::from_u64(version);
                let copies = i64::try_from(part.count).unwrap_or(i64::MAX);
                known.replicas = Some((copies - 1).max(0));
            }
        }
        let replicas = self.slots.values().map(|known| known.replicas.unwrap_or(0));
        let nothing_written = || self.node.slots.replicas_in_sync();
        (replicas.min().unwrap_or_else(nothing_written), asked)
    }
}
