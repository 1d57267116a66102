//! A deterministic executor of one thread: virtual time, tasks that belong to nodes. The tasks of
//! a node that is killed are dropped, those of one that is paused are not polled.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use cluster::Time;
use futures_util::future::LocalBoxFuture;
use parking_lot::Mutex;
use rand::{RngExt, SeedableRng, rngs::StdRng};

pub(crate) type NodeId = usize;

/// The owner of what no node's death ends: clients, the network, the database.
pub(crate) const WORLD: NodeId = usize::MAX;

#[derive(Clone)]
pub(crate) struct Executor(Rc<Inner>);

struct Inner {
    now: Cell<Time>,
    next: Cell<u64>,
    tasks: RefCell<BTreeMap<u64, Task>>,
    ready: Arc<Mutex<VecDeque<u64>>>,
    timers: RefCell<BTreeMap<(Time, u64), Waker>>,
    paused: RefCell<BTreeSet<NodeId>>,
    chance: RefCell<StdRng>,
}

struct Task {
    node: NodeId,
    future: Option<LocalBoxFuture<'static, ()>>,
}

struct Ready {
    task: u64,
    ready: Arc<Mutex<VecDeque<u64>>>,
}

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        self.ready.lock().push_back(self.task);
    }
}

impl Executor {
    pub(crate) fn new(seed: u64) -> Executor {
        Executor(Rc::new(Inner {
            now: Cell::new(Time::ZERO + Duration::from_secs(1)),
            next: Cell::new(0),
            tasks: RefCell::default(),
            ready: Arc::default(),
            timers: RefCell::default(),
            paused: RefCell::default(),
            chance: RefCell::new(StdRng::seed_from_u64(seed)),
        }))
    }

    pub(crate) fn now(&self) -> Time {
        self.0.now.get()
    }

    /// A number below `bound`.
    pub(crate) fn draw(&self, bound: u64) -> u64 {
        self.0.chance.borrow_mut().random_range(0..bound)
    }

    pub(crate) fn spawn(&self, node: NodeId, future: LocalBoxFuture<'static, ()>) {
        let task = self.number();
        self.0.tasks.borrow_mut().insert(
            task,
            Task {
                node,
                future: Some(future),
            },
        );
        self.0.ready.lock().push_back(task);
    }

    pub(crate) fn sleep(&self, span: Duration) -> LocalBoxFuture<'static, ()> {
        let this = self.clone();
        let until = self.now() + span;
        let mut place = None;
        Box::pin(poll_fn(move |context| {
            if this.now() >= until {
                return Poll::Ready(());
            }
            let place = *place.get_or_insert_with(|| (until, this.number()));
            this.0
                .timers
                .borrow_mut()
                .insert(place, context.waker().clone());
            Poll::Pending
        }))
    }

    pub(crate) fn kill(&self, node: NodeId) {
        let mut tasks = self.0.tasks.borrow_mut();
        let of: Vec<_> = tasks
            .iter()
            .filter(|(_, task)| task.node == node)
            .map(|t| *t.0)
            .collect();
        let dropped: Vec<_> = of.iter().filter_map(|task| tasks.remove(task)).collect();
        drop(tasks);
        drop(dropped);
        self.0.paused.borrow_mut().remove(&node);
    }

    pub(crate) fn pause(&self, node: NodeId) {
        self.0.paused.borrow_mut().insert(node);
    }

    pub(crate) fn resume(&self, node: NodeId) {
        self.0.paused.borrow_mut().remove(&node);
        let tasks = self.0.tasks.borrow();
        // Whatever happened meanwhile, each looks again.
        let of = tasks
            .iter()
            .filter(|(_, task)| task.node == node)
            .map(|(task, _)| *task);
        self.0.ready.lock().extend(of);
    }

    /// Runs until the future ends.
    pub(crate) fn block_on<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> T {
        let result = Rc::new(RefCell::new(None));
        let slot = Rc::clone(&result);
        self.spawn(
            WORLD,
            Box::pin(async move { *slot.borrow_mut() = Some(future.await) }),
        );
        loop {
            if let Some(result) = result.borrow_mut().take() {
                return result;
            }
            assert!(self.step(), "everybody waits for ever");
        }
    }

    /// Runs for a span of virtual time.
    pub(crate) fn run_for(&self, span: Duration) {
        self.block_on(self.sleep(span));
    }

    /// Polls a task that is ready, chosen by chance, or moves time on to the next timer.
    fn step(&self) -> bool {
        let task = {
            let mut ready = self.0.ready.lock();
            if ready.is_empty() {
                None
            } else {
                let at = self.draw(ready.len() as u64) as usize;
                ready.remove(at)
            }
        };
        match task {
            Some(task) => self.poll(task),
            None => {
                let Some((place, waker)) = self.0.timers.borrow_mut().pop_first() else {
                    return false;
                };
                self.0.now.set(self.now().max(place.0));
                waker.wake();
            }
        }
        true
    }

    fn poll(&self, number: u64) {
        let future = {
            let mut tasks = self.0.tasks.borrow_mut();
            let Some(task) = tasks.get_mut(&number) else {
                return;
            };
            if self.0.paused.borrow().contains(&task.node) {
                return;
            }
            task.future.take()
        };
        let Some(mut future) = future else { return };
        let ready = Arc::clone(&self.0.ready);
        let waker = Waker::from(Arc::new(Ready {
            task: number,
            ready,
        }));
        let done = future
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready();
        let mut tasks = self.0.tasks.borrow_mut();
        if done {
            tasks.remove(&number);
        } else if let Some(task) = tasks.get_mut(&number) {
            task.future = Some(future);
            return;
        }
        // Killed while it ran, or done: what it holds goes once nothing is borrowed.
        drop(tasks);
        drop(future);
    }

    fn number(&self) -> u64 {
        self.0.next.replace(self.0.next.get() + 1)
    }
}
