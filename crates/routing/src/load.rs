//! Loads: what is missing is read from the database once, however many wait for it.
//!
//! A load is *void* from the moment that a record touches its key or its slot is lost: then it
//! installs nothing, answers nobody and takes nobody in, and its readers start over.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::Bytes;
use cluster::{Epoch, Slot};

use crate::cache::{Answer, Cache};
use crate::database::Value;
use crate::error::Error;
use crate::host::Host;
use crate::mode::{Plan, Ruled};
use crate::rule::Rule;
use crate::signal::Signal;

/// One load of one key, shared by those who wait for it.
#[derive(Default)]
pub(crate) struct Load {
    void: Cell<bool>,
    outcome: RefCell<Option<Outcome>>,
    done: Signal,
    /// Leaves the line; there from the moment that the load has its turn.
    release: RefCell<Option<Box<dyn Fn()>>>,
}

#[derive(Clone)]
enum Outcome {
    /// Look again: it is in the cache, or the load is void.
    Again,
    /// It could not be installed, and is an answer all the same, taken in this epoch.
    Answer(Option<Value>, Epoch),
    Failed(Error),
}

impl Load {
    pub(crate) fn is_void(&self) -> bool {
        self.void.get()
    }

    /// Whether it has its turn, so that a query may be out.
    fn has_begun(&self) -> bool {
        self.release.borrow().is_some()
    }

    fn make_void(&self) {
        self.void.set(true);
        self.finish(Outcome::Again);
        self.leave_line();
    }

    fn leave_line(&self) {
        if let Some(release) = self.release.borrow().as_ref() {
            release();
        }
    }

    fn finish(&self, outcome: Outcome) {
        self.outcome.borrow_mut().get_or_insert(outcome);
        self.done.fire();
    }
}

/// The loads of a node that a record can make void.
#[derive(Default)]
pub(crate) struct Loads(RefCell<Held>);

#[derive(Default)]
struct Held {
    /// Those under way, which take readers in.
    running: BTreeMap<Bytes, Rc<Load>>,
    /// Those whose answer is in no entry, as long as a reader has it.
    answers: BTreeMap<Bytes, Vec<Weak<Load>>>,
    /// At so many answers it is looked which of them nobody has any more.
    sweep_at: usize,
}

/// Fewer answers are not worth a look.
const SWEEP_MIN: usize = 64;

impl Loads {
    /// The load of the key that is under way; a new one if there is none.
    fn join(&self, key: &Bytes) -> (Rc<Load>, bool) {
        let mut held = self.0.borrow_mut();
        if let Some(load) = held.running.get(key) {
            return (Rc::clone(load), false);
        }
        let load = Rc::new(Load::default());
        held.running.insert(key.clone(), Rc::clone(&load));
        (load, true)
    }

    /// The load is over; one whose answer is in no entry can still become void.
    fn end(&self, key: &Bytes, load: &Rc<Load>, is_answer: bool) {
        let mut held = self.0.borrow_mut();
        let is_this = |found: &Rc<Load>| Rc::ptr_eq(found, load);
        if held.running.get(key).is_some_and(is_this) {
            held.running.remove(key);
        }
        if is_answer {
            held.answers
                .entry(key.clone())
                .or_default()
                .push(Rc::downgrade(load));
            held.sweep();
        }
    }

    /// Takes out those of the key that can become void.
    fn take(&self, key: &Bytes) -> Vec<Rc<Load>> {
        let mut held = self.0.borrow_mut();
        let answers = held.answers.remove(key).unwrap_or_default();
        let mut taken: Vec<_> = answers.iter().filter_map(Weak::upgrade).collect();
        // One that still stands in line will look at the key when it has its turn.
        if held.running.get(key).is_some_and(|load| load.has_begun()) {
            taken.extend(held.running.remove(key));
        }
        taken
    }

    fn leave_line(&self, key: &Bytes) {
        let held = self.0.borrow();
        held.running.get(key).inspect(|load| load.leave_line());
    }

    /// Takes out all those of the keys.
    fn take_all(&self, concerned: impl Fn(&Bytes) -> bool) -> Vec<Rc<Load>> {
        let mut held = self.0.borrow_mut();
        let running = held.running.extract_if(.., |key, _| concerned(key));
        let mut taken: Vec<_> = running.map(|(_, load)| load).collect();
        let answers = held.answers.extract_if(.., |key, _| concerned(key));
        taken.extend(
            answers
                .flat_map(|(_, loads)| loads)
                .filter_map(|load| load.upgrade()),
        );
        taken
    }
}

impl Held {
    fn sweep(&mut self) {
        if self.answers.len() < self.sweep_at.max(SWEEP_MIN) {
            return;
        }
        self.answers.retain(|_, loads| {
            loads.retain(|load| load.strong_count() > 0);
            !loads.is_empty()
        });
        self.sweep_at = self.answers.len() * 2;
    }
}

struct Loading {
    key: Bytes,
    rule: Ruled,
    load: Rc<Load>,
}

impl<H: Host> Cache<H> {
    /// Waits until the keys are worth another look. Gives what could not be left in the cache.
    pub(crate) async fn fetch(
        self: &Rc<Self>,
        plan: &Plan<H::Command>,
        keys: &[Bytes],
    ) -> Result<Vec<(Bytes, Answer)>, Error> {
        let mut awaited = Vec::with_capacity(keys.len());
        let mut new = Vec::new();
        for key in keys {
            let Some(rule) = plan.rule(key) else { continue };
            let (load, is_new) = self.loads.join(key);
            if is_new {
                new.push(Loading {
                    key: key.clone(),
                    rule: rule.clone(),
                    load: Rc::clone(&load),
                });
            }
            awaited.push((key.clone(), load));
        }
        self.metrics
            .joined_loads(&plan.store, awaited.len() - new.len());
        if !new.is_empty() {
            let this = Rc::clone(self);
            let (slot, timeout) = (plan.slot, plan.timeout);
            // A task of its own: the client that came first may go, and the others still wait.
            self.host.spawn(Box::pin(
                async move { this.run_loads(slot, new, timeout).await },
            ));
        }
        let mut answers = Vec::new();
        for (key, load) in awaited {
            load.done.wait().await;
            let outcome = load.outcome.borrow().clone();
            match outcome.expect("a load is done when it has an outcome") {
                Outcome::Again => {}
                Outcome::Answer(value, epoch) => {
                    let answer = Answer { value, epoch, load };
                    answers.push((key, answer));
                }
                Outcome::Failed(error) => return Err(error),
            }
        }
        Ok(answers)
    }

    /// Those that find their lines free go together; one that must wait, waits and fails by itself.
    async fn run_loads(self: &Rc<Self>, slot: Slot, loading: Vec<Loading>, timeout: Duration) {
        let is_free = |one: &Loading| self.lines.is_free(&one.key);
        let (free, waiting): (Vec<_>, Vec<_>) = loading.into_iter().partition(is_free);
        for one in waiting {
            let this = Rc::clone(self);
            self.host.spawn(Box::pin(async move {
                this.run_load(slot, vec![one], timeout).await;
            }));
        }
        if !free.is_empty() {
            self.run_load(slot, free, timeout).await;
        }
    }

    async fn run_load(self: &Rc<Self>, slot: Slot, loading: Vec<Loading>, timeout: Duration) {
        let keys: Vec<_> = loading.iter().map(|one| one.key.clone()).collect();
        let turns = match self.turns(slot, &keys, timeout).await {
            Ok(turns) => turns,
            Err(error) => {
                self.end_loads(&loading, |_| Outcome::Failed(error.clone()));
                return;
            }
        };
        for (turn, one) in turns.iter().zip(&loading) {
            *one.load.release.borrow_mut() = Some(Box::new(turn.release()));
        }
        // In the order of the keys, as they came.
        let is_void = |key: &Bytes| {
            let at = loading.binary_search_by(|one| one.key.cmp(key));
            at.is_ok_and(|at| loading[at].load.is_void())
        };
        let live: Vec<_> = loading
            .iter()
            .filter(|one| !one.load.is_void())
            .map(|one| (one.key.clone(), one.rule.clone()))
            .collect();
        let mut prepared = self.prepare(slot, &live, timeout, |_| false, is_void).await;
        self.end_loads(&loading, |key| match &mut prepared {
            Err(error) => Outcome::Failed(error.clone()),
            Ok(prepared) => match (prepared.failed.remove(key), prepared.given.remove(key)) {
                (Some(error), _) => Outcome::Failed(error),
                (None, Some(value)) => Outcome::Answer(value, prepared.epoch),
                (None, None) => Outcome::Again,
            },
        });
    }

    fn end_loads(&self, loading: &[Loading], mut outcome_of: impl FnMut(&Bytes) -> Outcome) {
        for one in loading {
            let outcome = outcome_of(&one.key);
            let is_answer = matches!(outcome, Outcome::Answer(..)) && !one.load.is_void();
            self.loads.end(&one.key, &one.load, is_answer);
            one.load.finish(outcome);
        }
    }

    /// A record touches the key: a load whose query may be out is void, and one whose answer is in
    /// no entry.
    pub(crate) fn void_load(&self, key: &Bytes) {
        if !self.rules.keeps(Rule::VoidLoads) {
            self.loads.leave_line(key);
            return;
        }
        self.loads
            .take(key)
            .iter()
            .for_each(|load| load.make_void());
    }

    pub(crate) fn void_loads(&self, concerned: impl Fn(&Bytes) -> bool) {
        let void = self.loads.take_all(concerned);
        void.iter().for_each(|load| load.make_void());
    }
}
