//! A database of record that does what real ones do at their worst, and remembers every change.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use super::sqlite::SqliteFile;
use super::{Executor, WORLD};
use crate::database::{Database, Failure, Outcome, Settled, Stamp, Together, Value, Write};
use crate::keyspace::{Definition, DefinitionId, Keyspaces};
use crate::signal::Signal;

/// What becomes of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Done soon, and answered.
    Good,
    /// Done soon; nobody hears of it.
    AnswerLost,
    /// Nobody hears of it, and it is done this many milliseconds later, whatever its deadline.
    Late(u64),
    /// Done and answered, and done again this many milliseconds later.
    Twice(u64),
    /// Never done, and nobody hears of it.
    Never,
    /// Done at once, and answered this many milliseconds later.
    SlowAnswer(u64),
    /// Done and answered this many milliseconds later.
    SlowStart(u64),
    /// Refused before anything is done.
    NotDone,
    /// The database refuses every row for itself.
    Rejected,
}

pub(crate) struct SimDatabase {
    executor: Executor,
    rows: RefCell<BTreeMap<(u32, Bytes), Row>>,
    /// Where rows really lie; otherwise in `rows`.
    file: Option<SqliteFile>,
    /// Every change of a row, in order.
    changes: RefCell<Vec<(Bytes, Option<Bytes>)>>,
    /// What the next calls meet; then chance decides.
    pub(crate) fates: RefCell<VecDeque<Fate>>,
    /// Of a hundred calls, how many go wrong.
    pub(crate) trouble: Cell<u64>,
    /// Whether a row takes only greater stamps.
    pub(crate) guard: Cell<bool>,
    pub(crate) loads: Cell<u64>,
    pub(crate) batches: RefCell<Vec<usize>>,
}

#[derive(Clone)]
struct Row {
    stamp: Stamp,
    value: Option<Value>,
}

impl SimDatabase {
    pub(crate) fn new(executor: &Executor) -> Rc<SimDatabase> {
        SimDatabase::on(executor, None)
    }

    /// Statements misbehave as they do in memory, and run on an SQLite file.
    pub(crate) fn on_sqlite(executor: &Executor, keyspaces: &Keyspaces) -> Rc<SimDatabase> {
        SimDatabase::on(executor, Some(SqliteFile::new(keyspaces)))
    }

    fn on(executor: &Executor, file: Option<SqliteFile>) -> Rc<SimDatabase> {
        Rc::new(SimDatabase {
            executor: executor.clone(),
            file,
            rows: RefCell::default(),
            changes: RefCell::default(),
            fates: RefCell::default(),
            trouble: Cell::new(0),
            guard: Cell::new(true),
            loads: Cell::new(0),
            batches: RefCell::default(),
        })
    }

    pub(crate) fn meet(&self, fates: &[Fate]) {
        self.fates.borrow_mut().extend(fates);
    }

    /// What a reader from outside sees.
    pub(crate) fn value(&self, key: &[u8]) -> Option<Bytes> {
        if self.file.is_some() {
            return self.had(key).pop().flatten();
        }
        let rows = self.rows.borrow();
        let row = rows.iter().find(|((_, found), _)| found == key);
        row.and_then(|(_, row)| row.value.as_ref().map(|value| value.bytes.clone()))
    }

    /// All values that the key's row has had.
    pub(crate) fn had(&self, key: &[u8]) -> Vec<Option<Bytes>> {
        let changes = match &self.file {
            None => self.changes.borrow().clone(),
            Some(file) => file.changes(),
        };
        changes
            .iter()
            .filter(|(found, _)| found == key)
            .map(|(_, value)| value.clone())
            .collect()
    }

    /// Somebody outside gives the key's row a greater stamp than any of ours.
    pub(crate) fn raise_from_outside(&self, definition: DefinitionId, key: &Bytes) {
        let stamp = Stamp {
            generation: u32::MAX,
            ..Stamp::default()
        };
        let row = Row { stamp, value: None };
        self.rows
            .borrow_mut()
            .insert((definition, key.clone()), row);
    }

    fn fate(&self) -> Fate {
        if let Some(fate) = self.fates.borrow_mut().pop_front() {
            return fate;
        }
        if self.executor.draw(100) >= self.trouble.get() {
            return Fate::Good;
        }
        match self.executor.draw(9) {
            0 => Fate::AnswerLost,
            1 | 2 => Fate::Late(5 + self.executor.draw(1_500)),
            3 => Fate::Twice(5 + self.executor.draw(300)),
            4 => Fate::Never,
            5 | 6 => Fate::SlowAnswer(5 + self.executor.draw(400)),
            7 => Fate::SlowStart(5 + self.executor.draw(400)),
            _ => Fate::NotDone,
        }
    }

    /// Runs a call as its fate wills. It goes on when its caller dies.
    fn call<T: Clone + 'static>(
        self: &Rc<Self>,
        fate: Fate,
        work: impl Fn(&SimDatabase) -> T + 'static,
    ) -> LocalBoxFuture<'static, Result<T, Failure>> {
        let answer: Rc<RefCell<Option<Result<T, Failure>>>> = Rc::default();
        let answered = Rc::new(Signal::default());
        let (this, slot, signal) = (Rc::clone(self), Rc::clone(&answer), Rc::clone(&answered));
        let executor = self.executor.clone();
        let task = async move {
            let pause = |millis| executor.sleep(Duration::from_millis(millis));
            let jitter = 1 + executor.draw(4);
            pause(jitter).await;
            let result = match fate {
                Fate::Good | Fate::Rejected => Some(Ok(work(&this))),
                Fate::AnswerLost => {
                    work(&this);
                    None
                }
                Fate::Late(millis) => {
                    pause(millis).await;
                    work(&this);
                    None
                }
                Fate::Twice(_) => Some(Ok(work(&this))),
                Fate::Never => None,
                Fate::SlowStart(millis) => {
                    pause(millis).await;
                    Some(Ok(work(&this)))
                }
                Fate::SlowAnswer(millis) => {
                    let result = work(&this);
                    pause(millis).await;
                    Some(Ok(result))
                }
                Fate::NotDone => Some(Err(Failure::NotDone("not today".to_owned()))),
            };
            if let Some(result) = result {
                *slot.borrow_mut() = Some(result);
                signal.fire();
            }
            if let Fate::Twice(millis) = fate {
                pause(millis).await;
                work(&this);
            }
        };
        self.executor.spawn(WORLD, Box::pin(task));
        async move {
            answered.wait().await;
            answer.borrow_mut().take().expect("it was answered")
        }
        .boxed_local()
    }

    fn apply(&self, write: &Write) -> Outcome {
        let place = (write.definition.id, write.key.clone());
        let mut rows = self.rows.borrow_mut();
        let present = rows.get(&place).map(|row| row.stamp);
        if self.guard.get() && present.is_some_and(|stamp| stamp >= write.stamp) {
            let stamp = present.expect("it is there");
            let same = stamp == write.stamp;
            return if same {
                Outcome::AlreadyExactly
            } else {
                Outcome::Refused(stamp)
            };
        }
        rows.insert(
            place,
            Row {
                stamp: write.stamp,
                value: write.value.clone(),
            },
        );
        let bytes = write.value.as_ref().map(|value| value.bytes.clone());
        self.changes.borrow_mut().push((write.key.clone(), bytes));
        Outcome::Landed
    }

    fn apply_all(&self, writes: &[Write], together: Together) -> Vec<Outcome> {
        if let Some(file) = &self.file {
            return file.store(writes, together);
        }
        let before = self.rows.borrow().clone();
        let changes = self.changes.borrow().len();
        let outcomes: Vec<_> = writes.iter().map(|write| self.apply(write)).collect();
        if together == Together::All && !outcomes.iter().all(Outcome::is_there) {
            *self.rows.borrow_mut() = before;
            self.changes.borrow_mut().truncate(changes);
        }
        outcomes
    }

    fn read(&self, definition: &Definition, key: &Bytes) -> Option<Value> {
        if let Some(file) = &self.file {
            return file.load(definition, key);
        }
        self.rows
            .borrow()
            .get(&(definition.id, key.clone()))
            .and_then(|row| row.value.clone())
    }

    fn raise(
        &self,
        definition: &Definition,
        key: &Bytes,
        fresh: Stamp,
    ) -> Result<Option<Value>, Stamp> {
        if let Some(file) = &self.file {
            return file.settle(definition, key, fresh);
        }
        let mut rows = self.rows.borrow_mut();
        let row = rows.entry((definition.id, key.clone())).or_insert(Row {
            stamp: Stamp::default(),
            value: None,
        });
        if row.stamp > fresh {
            return Err(row.stamp);
        }
        row.stamp = fresh;
        Ok(row.value.clone())
    }
}

/// The handle that hosts hold: calls outlive it.
pub(crate) struct Handle(pub(crate) Rc<SimDatabase>);

impl Database for Handle {
    fn generation(&self) -> u32 {
        1
    }

    fn load<'a>(
        &'a self,
        definition: &'a Definition,
        keys: &'a [Bytes],
        _until_unix_ms: u64,
    ) -> LocalBoxFuture<'a, Result<Vec<Option<Value>>, Failure>> {
        self.0.loads.set(self.0.loads.get() + 1);
        let (definition, keys) = (definition.clone(), keys.to_vec());
        self.0.call(self.0.fate(), move |database| {
            keys.iter()
                .map(|key| database.read(&definition, key))
                .collect::<Vec<_>>()
        })
    }

    fn store<'a>(
        &'a self,
        writes: &'a [Write],
        together: Together,
        _until_unix_ms: u64,
    ) -> LocalBoxFuture<'a, Result<Vec<Outcome>, Failure>> {
        let fate = self.0.fate();
        let writes = writes.to_vec();
        self.0.batches.borrow_mut().push(writes.len());
        self.0.call(fate, move |database| {
            if fate == Fate::Rejected {
                return vec![Outcome::Rejected("constraint".to_owned()); writes.len()];
            }
            database.apply_all(&writes, together)
        })
    }

    fn settle<'a>(
        &'a self,
        definition: &'a Definition,
        keys: &'a [(Bytes, Stamp)],
        _until_unix_ms: u64,
    ) -> LocalBoxFuture<'a, Result<Vec<Settled>, Failure>> {
        let (definition, keys) = (definition.clone(), keys.to_vec());
        self.0.call(self.0.fate(), move |database| {
            keys.iter()
                .map(|(key, fresh)| database.raise(&definition, key, *fresh))
                .collect()
        })
    }

    fn collect<'a>(
        &'a self,
        _definition: &'a Definition,
        _rows_max: u32,
        _until_unix_ms: u64,
    ) -> LocalBoxFuture<'a, Result<u64, Failure>> {
        // Old enough is what no statement can be older than; here, nothing ever is.
        async { Ok(0) }.boxed_local()
    }
}
