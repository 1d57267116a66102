//! The thread of the cache modes.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use cluster::metadata::Group;
use cluster::replication::Turn;
use routing::{Cache, Error, Refusal};
use tokio::runtime::LocalRuntime;
use tokio::sync::{mpsc, oneshot};

use super::Job;
use super::collect::collect;
use super::errand::Errand;
use super::host::NodeHost;
use super::stores::Stores;
use crate::node::Node;

/// The running thread.
pub struct ModesThread {
    node: Arc<Node>,
    thread: JoinHandle<()>,
}

/// Starts the thread. Stores are opened in the background, once the cluster is known.
///
/// # Errors
/// If the system has no thread left.
///
/// # Panics
/// If the node has one already.
pub fn start(node: &Arc<Node>, group: Group) -> io::Result<ModesThread> {
    let (jobs, to_do) = mpsc::unbounded_channel();
    let is_first = node.modes.jobs.set(jobs).is_ok();
    assert!(is_first, "the cache modes of a node have one thread");
    let builder = std::thread::Builder::new().name("modes".to_owned());
    let own = Arc::clone(node);
    let thread = builder.spawn(move || {
        let runtime = LocalRuntime::new().expect("the system lets a thread have an event queue");
        runtime.block_on(run(own, group, to_do));
    })?;
    Ok(ModesThread {
        node: Arc::clone(node),
        thread,
    })
}

impl ModesThread {
    /// Closes the databases, and ends.
    pub async fn stop(self) {
        let (done, is_done) = oneshot::channel();
        self.node.modes.post(Job::End(done));
        let _ = is_done.await;
        if self.thread.join().is_err() {
            tracing::error!("the thread of the cache modes panicked");
        }
    }
}

async fn run(node: Arc<Node>, group: Group, mut jobs: mpsc::UnboundedReceiver<Job>) {
    let stores = Stores::new(&node, group);
    let host = |stores: &Rc<Stores>| NodeHost {
        node: Arc::clone(&node),
        stores: Rc::clone(stores),
    };
    let cache = Cache::new(host(&stores), node.modes.held.clone());
    let collecting = tokio::task::spawn_local(collect(Rc::new(host(&stores))));
    while let Some(job) = jobs.recv().await {
        match job {
            Job::Run(errand) => {
                tokio::task::spawn_local(carry_out(Rc::clone(&cache), errand));
            }
            Job::Ruled => stores.open_named(),
            Job::Turned(turns) => {
                take_turns(&cache, &turns);
            }
            Job::Ended(slot, keys) => cache.on_keys_ended(slot, keys),
            Job::Flush(flush, done) => {
                let cache = Rc::clone(&cache);
                tokio::task::spawn_local(async move {
                    let name = flush.name.as_deref();
                    let flushed = cache.flush(name, &flush.slots, flush.patience).await;
                    // Nobody may wait for it.
                    let _ = done.send(flushed);
                });
            }
            Job::Emptied(slots) => cache.on_slots_emptied(&slots),
            Job::Departing(members) => cache.on_departing(members),
            Job::End(done) => {
                collecting.abort();
                let close = node.settings.timings.database_close.0;
                // What a database does not end by itself ends with the process.
                let _ = tokio::time::timeout(close, stores.close()).await;
                let _ = done.send(());
                return;
            }
        }
    }
}

/// Slots were won and lost, in this order: runs of lost ones are taken together.
fn take_turns(cache: &Rc<Cache<NodeHost>>, turns: &[Turn]) {
    for run in turns.chunk_by(|a, b| a.leads == b.leads) {
        if run[0].leads {
            run.iter().for_each(|turn| cache.on_slot_active(turn.slot));
        } else {
            cache.on_slots_lost(&run.iter().map(|turn| turn.slot).collect());
        }
    }
}

/// Runs one command, when the one before it is over.
async fn carry_out(cache: Rc<Cache<NodeHost>>, errand: Errand) {
    let Errand {
        request,
        behind,
        answer,
        place,
    } = errand;
    if answer.is_closed() && behind.is_none() {
        // The client is gone, and nothing of it was begun.
        return;
    }
    let goes_on = match behind {
        // Who waited for the one before may be gone.
        Some(behind) => behind.await.unwrap_or(true),
        None => true,
    };
    let said = if goes_on {
        cache.execute(request).await
    } else {
        Err(Error::Refused(Refusal::NotPrimary))
    };
    drop(place);
    // Nobody may wait for it.
    let _ = answer.send(said);
}
