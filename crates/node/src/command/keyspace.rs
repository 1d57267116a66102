//! `KEYS`, `SCAN` and `RANDOMKEY` over the slots that this node leads; on a `READONLY` connection
//! over all that it has a copy of.

use cluster::replication::{Need, Out, Refusal};
use cluster::{Slot, clock};

use super::walk::{self, ReadSlots};
use super::{Answer, Args, Later, Session};
use crate::error::CommandError;
use crate::execute::refused;
use crate::gather::Waits;
use crate::node::Node;
use crate::resp::Reply;
use crate::store::SlotTable;

type Answered<'a> = Result<Answer<'a>, CommandError>;

/// `KEYS pattern`
pub(crate) fn keys<'a>(session: &mut Session<'_>, args: &mut Args<'a>) -> Answered<'a> {
    over_slots(session, |slots, now| walk::keys(slots, args, now))
}

/// `SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]`
pub(crate) fn scan<'a>(session: &mut Session<'_>, args: &mut Args<'a>) -> Answered<'a> {
    over_slots(session, |slots, now| walk::scan(slots, args, now))
}

/// `RANDOMKEY`
pub(crate) fn randomkey<'a>(session: &mut Session<'_>, _: &mut Args<'a>) -> Answered<'a> {
    over_slots(session, |slots, now| {
        walk::randomkey(slots, rand::random(), now)
    })
}

/// The slots that one command walks over, and what its reply waits for.
struct Walked<'a> {
    node: &'a Node,
    readonly: bool,
    waits: Waits,
    refusal: Option<Refusal>,
}

impl ReadSlots for Walked<'_> {
    fn read<R>(&mut self, slot: Slot, look: impl FnOnce(&SlotTable) -> R) -> Option<R> {
        let slots = &self.node.slots;
        let mut out = Out::default();
        let mut locked = slots.lock(slot);
        let led = locked.check_read(slots.context(), clock::now());
        match led {
            Ok(()) => {}
            Err(Refusal::NotPrimary) if self.readonly => {}
            Err(Refusal::NotPrimary) => return None,
            Err(why) => {
                self.refusal = Some(why);
                return None;
            }
        }
        let found = look(&locked.table);
        let newest = locked.table.newest();
        if led.is_ok() && newest > locked.committed() {
            let token = self.waits.token();
            let waiting = locked.wait(slots.context(), newest, Need::Committed, token, &mut out);
            self.refusal = self.refusal.or(waiting.err());
        }
        drop(locked);
        slots.perform(out);
        Some(found)
    }
}

fn over_slots<'a>(
    session: &mut Session<'_>,
    walk: impl FnOnce(&mut Walked<'_>, u64) -> Result<Reply<'static>, CommandError>,
) -> Answered<'a> {
    let mut slots = Walked {
        node: session.node,
        readonly: session.client.readonly,
        waits: Waits::default(),
        refusal: None,
    };
    let reply = walk(&mut slots, clock::unix_ms())?;
    if let Some(refusal) = slots.refusal {
        return Err(refused(refusal));
    }
    let waits = slots.waits;
    if waits.is_empty() {
        return Ok(reply.into());
    }
    let timeout = session.node.settings.timings.read_timeout.0;
    Ok(Later::beside(async move { waits.all(timeout, false).await.map(|()| reply) }).into())
}
