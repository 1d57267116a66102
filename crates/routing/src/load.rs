//! Loads: what is missing is read from the database once, however many wait for it.
//!
//! A load is *void* from the moment that a record touches its key or its slot is lost: then it
//! installs nothing, answers nobody and takes nobody in, and its readers start over.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use cluster::Slot;

use crate::cache::{Answer, Cache};
use crate::database::Value;
use crate::error::Error;
use crate::host::{Given, Host};
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
    /// It could not be installed, and is an answer all the same.
    Answer(Option<Value>),
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
            let running = self.loads.borrow().get(key).cloned();
            let load = running.unwrap_or_else(|| {
                let load = Rc::new(Load::default());
                self.loads
                    .borrow_mut()
                    .insert(key.clone(), Rc::clone(&load));
                let (key, rule, load) = (key.clone(), rule.clone(), load);
                new.push(Loading {
                    key,
                    rule,
                    load: Rc::clone(&load),
                });
                load
            });
            awaited.push((key.clone(), load));
        }
        self.metrics
            .joined_loads(&plan.store, awaited.len() - new.len());
        if !new.is_empty() {
            let this = Rc::clone(self);
            let (slot, timeout) = (plan.slot, plan.timeout);
            // A task of its own: the client that came first may go, and the others still wait.
            self.host.spawn(Box::pin(
                async move { this.run_load(slot, new, timeout).await },
            ));
        }
        let mut answers = Vec::new();
        for (key, load) in awaited {
            load.done.wait().await;
            let outcome = load.outcome.borrow().clone();
            match outcome.expect("a load is done when it has an outcome") {
                Outcome::Again => {}
                Outcome::Answer(value) => answers.push((key, Answer { value, load })),
                Outcome::Failed(error) => return Err(error),
            }
        }
        Ok(answers)
    }

    async fn run_load(self: &Rc<Self>, slot: Slot, loading: Vec<Loading>, timeout: Duration) {
        let keys: Vec<_> = loading.iter().map(|one| one.key.clone()).collect();
        let turns = self.turns(slot, &keys, timeout).await;
        let result = match turns {
            Err(error) => Err(error),
            Ok(turns) => {
                for (turn, one) in turns.iter().zip(&loading) {
                    *one.load.release.borrow_mut() = Some(Box::new(turn.release()));
                }
                let is_void = |key: &Bytes| {
                    loading
                        .iter()
                        .any(|one| one.key == *key && one.load.is_void())
                };
                let live: Vec<_> = loading
                    .iter()
                    .filter(|one| !one.load.is_void())
                    .map(|one| (one.key.clone(), one.rule.clone()))
                    .collect();
                let prepared = self.prepare(slot, &live, timeout, |_| false, is_void).await;
                self.end_loads(&loading, &prepared.map(|(_, answers)| answers));
                return;
            }
        };
        self.end_loads(&loading, &result);
    }

    fn end_loads(&self, loading: &[Loading], result: &Result<Given, Error>) {
        for one in loading {
            self.forget_load(one);
            one.load.finish(match result {
                Err(error) => Outcome::Failed(error.clone()),
                Ok(answers) => answers
                    .get(&one.key)
                    .cloned()
                    .map_or(Outcome::Again, Outcome::Answer),
            });
        }
    }

    fn forget_load(&self, one: &Loading) {
        let mut loads = self.loads.borrow_mut();
        if loads
            .get(&one.key)
            .is_some_and(|found| Rc::ptr_eq(found, &one.load))
        {
            loads.remove(&one.key);
        }
    }

    /// A record touches the key: a load whose query may be out is void. One that still stands in
    /// line will look at the key when it has its turn.
    pub(crate) fn void_load(&self, key: &Bytes) {
        let mut loads = self.loads.borrow_mut();
        if !self.rules.keeps(Rule::VoidLoads) {
            loads.get(key).inspect(|load| load.leave_line());
            return;
        }
        if loads.get(key).is_some_and(|load| load.has_begun()) {
            let load = loads.remove(key);
            drop(loads);
            load.inspect(|load| load.make_void());
        }
    }

    pub(crate) fn void_loads(&self, concerned: impl Fn(&Bytes) -> bool) {
        let mut loads = self.loads.borrow_mut();
        let keys: Vec<_> = loads.keys().filter(|key| concerned(key)).cloned().collect();
        let void: Vec<_> = keys.iter().filter_map(|key| loads.remove(key)).collect();
        drop(loads);
        void.iter().for_each(|load| load.make_void());
    }
}
