//! The keys of database keyspaces at one node: the door to the cache modes.
//!
//! All of it runs on one thread, as tasks of the host. What is here beside the slots is memory of
//! one primary: lines, loads under way, statements under way, the queue of dirty keys. Losing it
//! loses nothing, for what must not be lost is in the slots' records.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use cluster::{Epoch, Member, Slot, Time, Version};
use futures_util::future::{Either, select};

use crate::database::{Failure, Value};
use crate::dirty::Dirty;
use crate::error::{Error, Lost, Refusal};
use crate::host::{Change, Effect, Given, Host, Locked, Mark, Ran, Wait};
use crate::keyspace::Keyspace;
use crate::line::{HeldLines, Lines, Turn};
use crate::load::{Load, Loads};
use crate::metrics::Metrics;
use crate::mode::standing::{Standing, UnderWay, standing};
use crate::mode::{Plan, Planned, Request, Use, write_back, write_through};
use crate::notice::Notices;
use crate::rule::{Rule, Rules};
use crate::settle::Doubts;

/// The cache modes of one node.
pub struct Cache<H: Host> {
    pub(crate) host: H,
    pub(crate) lines: Lines,
    pub(crate) loads: Loads,
    pub(crate) under_way: RefCell<BTreeMap<Bytes, UnderWay>>,
    pub(crate) dirty: RefCell<Dirty>,
    pub(crate) doubts: RefCell<Doubts>,
    /// Members that are about to stop, as far as this one has heard.
    departing: RefCell<BTreeSet<Member>>,
    pub(crate) metrics: Metrics,
    pub(crate) notices: Notices,
    pub(crate) rules: Rules,
}

/// What one locked step of a read came to.
enum Step<R> {
    Done {
        reply: R,
        epoch: Epoch,
        met: Version,
    },
    Needs(Vec<Bytes>),
}

impl<H: Host> Cache<H> {
    /// The cache modes of a node that leads nothing yet. `held` shows where commands stand in line
    /// to those who write plain keys on other threads.
    #[must_use]
    pub fn new(host: H, held: HeldLines) -> Rc<Cache<H>> {
        Cache::with_rules(host, held, Rules::default())
    }

    pub(crate) fn with_rules(host: H, held: HeldLines, rules: Rules) -> Rc<Cache<H>> {
        Rc::new(Cache {
            host,
            lines: Lines::new(held),
            loads: Loads::default(),
            under_way: RefCell::default(),
            dirty: RefCell::default(),
            doubts: RefCell::default(),
            departing: RefCell::default(),
            metrics: Metrics::new(),
            notices: Notices::default(),
            rules,
        })
    }

    /// The node around it.
    pub fn host(&self) -> &H {
        &self.host
    }

    /// Bytes that the databases lack, in the slots that this node leads.
    #[must_use]
    pub fn dirty_bytes(&self) -> u64 {
        self.dirty.borrow().bytes()
    }

    /// Runs a command of which at least one key lies in a database keyspace, or for whose plain
    /// keys others stand in line.
    ///
    /// Dropping the future of a write is allowed at any point: what it left in doubt is settled
    /// before the key's next use.
    ///
    /// # Errors
    /// What the client gets; it says whether the command was applied.
    pub async fn execute(self: &Rc<Self>, request: Request<H::Command>) -> Result<H::Reply, Error> {
        let plan = Plan::new(request, &self.host.keyspaces())?;
        if !plan.writes() {
            return self.read(&plan).await;
        }
        if plan.database_first() {
            write_through::write(self, &plan).await
        } else {
            write_back::write(self, &plan).await
        }
    }

    /// This member is the slot's active primary from now on: what the one before it left in doubt
    /// is settled, what it left dirty is flushed.
    pub fn on_slot_active(self: &Rc<Self>, slot: Slot) {
        let marked = self.host.lock(slot, |locked| locked.marked());
        let now = self.host.now();
        for (key, entry) in marked {
            match entry.mark {
                Mark::Dirty { definition } => {
                    self.note_dirty(slot, &key, definition, entry.version, entry.bytes, now);
                }
                Mark::Doubt { definition, .. } => {
                    self.settle_soon(slot, vec![(key, definition)]);
                }
                Mark::None | Mark::Clean { .. } => {}
            }
        }
    }

    /// This member is no longer the active primary of the slots. Who waits for something of them
    /// goes on and finds out by itself; a statement that is out ends in what the database says.
    pub fn on_slots_lost(&self, slots: &BTreeSet<Slot>) {
        self.lines.lose(slots);
        self.void_loads(|key| slots.contains(&Slot::of(key)));
        self.dirty.borrow_mut().lose(slots);
        self.doubts.borrow_mut().lose(slots);
        self.metrics.dirty_bytes(self.dirty_bytes());
        self.metrics.doubts(self.doubts.borrow().count());
    }

    /// These members are about to stop, and no others. From now on a write-back write is
    /// acknowledged only if enough copies outlast them; otherwise the database has it first.
    pub fn on_departing(&self, members: BTreeSet<Member>) {
        *self.departing.borrow_mut() = members;
    }

    /// Whether the slot may hold what its database lacks.
    pub(crate) fn may_owe(&self, locked: &H::Locked<'_>) -> bool {
        let departing = self.departing.borrow();
        departing.is_empty()
            || !self.rules.keeps(Rule::DepartingWriteThrough)
            || locked.outlasts(&departing)
    }

    /// Keys of the slot were removed beside the cache modes because their time was over, and are
    /// dirty since: their databases are to hear of it.
    pub fn on_keys_ended(self: &Rc<Self>, slot: Slot, keys: Vec<Bytes>) {
        let now = self.host.now();
        let entries: Vec<_> = self.host.lock(slot, |locked| {
            let entries = keys.iter().map(|key| locked.entry(key));
            entries.collect()
        });
        for (key, entry) in keys.into_iter().zip(entries) {
            self.void_load(&key);
            if let Some(entry) = entry
                && let Mark::Dirty { definition } = entry.mark
            {
                self.note_dirty(slot, &key, definition, entry.version, entry.bytes, now);
            }
        }
    }

    /// Entries of the slots were removed beside the cache modes (`FLUSHALL`, `INVALIDATE`): loads
    /// that are under way there answer nobody.
    pub fn on_slots_emptied(&self, slots: &BTreeSet<Slot>) {
        self.void_loads(|key| slots.contains(&Slot::of(key)));
    }

    async fn read(self: &Rc<Self>, plan: &Plan<H::Command>) -> Result<H::Reply, Error> {
        let until = self.host.now() + plan.timeout * 3;
        let mut answers: BTreeMap<Bytes, Answer> = BTreeMap::new();
        loop {
            match self.host.lock(plan.slot, |locked| {
                self.read_step(locked, plan, &mut answers)
            })? {
                Step::Done { reply, epoch, met } => {
                    let held = self.host.held(plan.slot, epoch, met, Wait::Read).await;
                    return held.map(|()| reply).map_err(unread);
                }
                Step::Needs(keys) => {
                    if self.host.now() >= until {
                        return Err(Error::NoTurn);
                    }
                    answers.extend(self.fetch(plan, &keys).await?);
                }
            }
        }
    }

    fn read_step(
        self: &Rc<Self>,
        locked: &mut H::Locked<'_>,
        plan: &Plan<H::Command>,
        answers: &mut BTreeMap<Bytes, Answer>,
    ) -> Result<Step<H::Reply>, Error> {
        let epoch = match locked.lead() {
            Err(_) if !self.rules.keeps(Rule::LeaseAtAnswer) && !answers.is_empty() => Epoch(0),
            found => found?,
        };
        // What was answered at its load's check stands for one key; several keys must be true
        // together, so that each must still be.
        if plan.keys.len() > 1 {
            answers.retain(|_, answer| answer.epoch == epoch && !answer.load.is_void());
        }
        let values = answers
            .iter()
            .map(|(key, it)| (key.clone(), it.value.clone()));
        let given: Given = values.collect();
        let now = self.host.unix_ms();
        let needs = self.needs(locked, plan, &given, now, |_| false);
        if !needs.is_empty() {
            return Ok(Step::Needs(needs));
        }
        let Ran {
            reply,
            written,
            mut met,
        } = locked.run(&plan.command, &given, now);
        // A read writes nothing but the end of keys that it found past their time.
        let ended = written
            .into_iter()
            .filter(|(key, _)| !given.contains_key(key));
        let effects: Vec<_> = ended.map(|(key, _)| end_of(plan, key)).collect();
        if !effects.is_empty() {
            met = met.max(self.append(locked, plan.slot, effects)?);
        }
        Ok(Step::Done { reply, epoch, met })
    }

    /// The keys of which more must be known before the command can run.
    pub(crate) fn needs(
        &self,
        locked: &mut H::Locked<'_>,
        plan: &Plan<H::Command>,
        given: &Given,
        now_unix_ms: u64,
        dirty_first: impl Fn(&Planned) -> bool,
    ) -> Vec<Bytes> {
        let under_way = self.under_way.borrow();
        let mut needs = Vec::new();
        for planned in plan
            .keys
            .iter()
            .filter(|planned| !given.contains_key(&planned.key))
        {
            let Some(rule) = &planned.ruled else { continue };
            let entry = locked.entry(&planned.key);
            let write = under_way.get(&planned.key);
            let found = standing(
                entry.as_ref(),
                &rule.keyspace,
                &rule.definition,
                write,
                now_unix_ms,
            );
            let is_dirty = entry.is_some_and(|entry| matches!(entry.mark, Mark::Dirty { .. }));
            let ready = match found {
                _ if is_dirty && dirty_first(planned) => false,
                Standing::Serves | Standing::Expired => true,
                Standing::DirtyElsewhere => false,
                Standing::InDoubt if !self.rules.keeps(Rule::DoubtServedByNobody) => true,
                Standing::Missing | Standing::InDoubt => planned.used == Use::Replace,
            };
            if !ready {
                needs.push(planned.key.clone());
            }
        }
        needs
    }

    /// Makes a record, and takes note of it: loads of its keys are void, dirty keys are queued.
    pub(crate) fn append(
        self: &Rc<Self>,
        locked: &mut H::Locked<'_>,
        slot: Slot,
        effects: Vec<Effect>,
    ) -> Result<Version, Refusal> {
        let touched: Vec<_> = effects
            .iter()
            .map(|effect| {
                let dirty = match &effect.change {
                    Change::Put(value, Mark::Dirty { definition }) => {
                        let bytes = value.as_ref().map_or(0, |value| value.bytes.len());
                        Some((*definition, (effect.key.len() + bytes) as u64))
                    }
                    _ => None,
                };
                (effect.key.clone(), dirty)
            })
            .collect();
        let version = locked.append(effects)?;
        for (key, dirty) in touched {
            self.void_load(&key);
            if let Some((definition, bytes)) = dirty {
                let due = self.host.now() + self.flush_interval(definition);
                self.note_dirty(slot, &key, definition, version, bytes, due);
            }
        }
        Ok(version)
    }

    /// Takes the lines of all keys of the plan.
    pub(crate) async fn turns(
        &self,
        slot: Slot,
        keys: &[Bytes],
        timeout: Duration,
    ) -> Result<Vec<Turn>, Error> {
        let until = self.host.now() + timeout;
        let keyspaces = self.host.keyspaces();
        let is_plain = |key: &Bytes| keyspaces.with_database(key).is_none();
        match self
            .within(until, self.lines.take(slot, keys, is_plain))
            .await
        {
            Some(Some(turns)) => Ok(turns),
            Some(None) => Err(Error::Refused(Refusal::NotPrimary)),
            None => Err(Error::NoTurn),
        }
    }

    /// What the future gives, if it does before the time is over.
    pub(crate) async fn within<T>(
        &self,
        until: Time,
        future: impl Future<Output = T>,
    ) -> Option<T> {
        let limit = self.host.sleep(until.since(self.host.now()));
        match select(Box::pin(future), limit).await {
            Either::Left((result, _)) => Some(result),
            Either::Right(((), _)) => None,
        }
    }

    /// A call to a database, for as long as there is time. No answer is no outcome.
    pub(crate) async fn ask<T>(
        &self,
        until: Time,
        call: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let started = self.host.now();
        self.within(until, call).await.unwrap_or_else(|| {
            let waited = self.host.now().since(started).as_millis();
            Err(Failure::Unanswered(format!("timed out after {waited} ms")))
        })
    }

    /// The mark of what the database has exactly, fresh from now on; chance ends it a little
    /// earlier, so that entries that came together do not end together.
    pub(crate) fn clean(&self, keyspace: &Keyspace, definition: u32, present: bool) -> Mark {
        let ttl = if present {
            keyspace.ttl
        } else {
            keyspace.negative_ttl
        };
        let share = keyspace.ttl_jitter * (self.host.chance() as f64 / u64::MAX as f64);
        let millis = (ttl.as_millis() as f64 * (1.0 - share)) as u64;
        Mark::Clean {
            definition,
            fresh_until: self.host.unix_ms() + millis,
        }
    }
}

/// What a load brought and could not leave in the cache.
pub(crate) struct Answer {
    pub(crate) value: Option<Value>,
    /// In which it was taken.
    pub(crate) epoch: Epoch,
    pub(crate) load: Rc<Load>,
}

/// The end of a key past its time: a deletion, of which its database is to hear.
fn end_of<C>(plan: &Plan<C>, key: Bytes) -> Effect {
    let change = match plan.rule(&key) {
        None => Change::Remove,
        Some(rule) if rule.mode.is_none() => Change::Remove,
        Some(rule) => Change::Put(
            None,
            Mark::Dirty {
                definition: rule.definition.id,
            },
        ),
    };
    Effect { key, change }
}

pub(crate) fn unread(lost: Lost) -> Error {
    match lost {
        Lost::TimedOut => Error::Unread,
        Lost::Deposed => Error::Refused(Refusal::NotPrimary),
    }
}
