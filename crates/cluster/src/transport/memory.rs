//! A network within the process, for tests: the same greetings, links and calls without a socket.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

use super::Transport;
use super::call::BoxFuture;
use super::frame::Frame;
use super::hub::Hub;
use super::outgoing::Outgoing;
use super::session;
use super::settings::Settings;
use super::wire::{Connection, Inbound, StreamKind, Wire};

/// Where nodes of one process find each other.
#[derive(Clone, Default)]
pub struct Network {
    nodes: Arc<Mutex<BTreeMap<String, Listener>>>,
}

struct Listener {
    hub: Weak<Hub>,
    /// Replaced when the connections to and from this node are cut.
    cut: watch::Sender<bool>,
}

/// So many frames are on their way at most; the rest stays at its source.
const FRAMES_ON_THE_WAY: usize = 4;

impl Network {
    /// A node that others reach under this address; in the place of one that was there before.
    /// Must be called within a tokio runtime.
    #[must_use]
    pub fn join(&self, address: &str, settings: Settings) -> Arc<Transport> {
        let wire = MemoryWire {
            network: self.clone(),
            own: address.to_owned(),
        };
        let transport = Arc::new(Transport::new(settings, Box::new(wire)));
        let hub = Arc::downgrade(&transport.hub);
        let listener = Listener {
            hub,
            cut: watch::Sender::new(false),
        };
        self.nodes.lock().insert(address.to_owned(), listener);
        transport
    }

    /// Breaks every connection to and from the address; new ones can be made at once.
    pub fn cut(&self, address: &str) {
        if let Some(listener) = self.nodes.lock().get_mut(address) {
            listener.cut.send_replace(true);
            listener.cut = watch::Sender::new(false);
        }
    }

    /// Nobody is at the address any more, and its connections break.
    pub fn leave(&self, address: &str) {
        self.cut(address);
        self.nodes.lock().remove(address);
    }

    fn cut_signal(&self, address: &str) -> Option<watch::Receiver<bool>> {
        self.nodes
            .lock()
            .get(address)
            .map(|listener| listener.cut.subscribe())
    }
}

struct MemoryWire {
    network: Network,
    own: String,
}

struct MemoryConnection {
    hub: Arc<Hub>,
    /// Told when either end is cut off, or the connection is dropped.
    cuts: Vec<watch::Receiver<bool>>,
    dropped: watch::Sender<bool>,
}

impl Wire for MemoryWire {
    fn resolve(&self, address: String) -> BoxFuture<'static, Result<Vec<String>, String>> {
        Box::pin(std::future::ready(Ok(vec![address])))
    }

    fn dial(&self, endpoint: String) -> BoxFuture<'static, Result<Box<dyn Connection>, String>> {
        let hub = self
            .network
            .nodes
            .lock()
            .get(&endpoint)
            .and_then(|node| node.hub.upgrade());
        let cuts = [&self.own, &endpoint].map(|address| self.network.cut_signal(address));
        let connection = hub
            .ok_or_else(|| format!("nobody is at {endpoint}"))
            .map(|hub| {
                let dropped = watch::Sender::new(false);
                let mut cuts: Vec<_> = cuts.into_iter().flatten().collect();
                cuts.push(dropped.subscribe());
                Box::new(MemoryConnection { hub, cuts, dropped }) as Box<dyn Connection>
            });
        Box::pin(std::future::ready(connection))
    }
}

impl Connection for MemoryConnection {
    fn open(
        &self,
        kind: StreamKind,
        outgoing: Outgoing,
    ) -> BoxFuture<'static, Result<Inbound, String>> {
        let (outlet, answering) = self.hub.outgoing(kind);
        let there = carry(&self.hub, outgoing, self.cuts.clone());
        let back = carry(&self.hub, answering, self.cuts.clone());
        let hub = Arc::clone(&self.hub);
        self.hub.spawn(session::accept(hub, kind, there, outlet));
        Box::pin(std::future::ready(Ok(back)))
    }
}

impl Drop for MemoryConnection {
    fn drop(&mut self) {
        self.dropped.send_replace(true);
    }
}

/// Carries frames until the sender ends or a connection is cut.
fn carry(hub: &Hub, mut outgoing: Outgoing, cuts: Vec<watch::Receiver<bool>>) -> Inbound {
    let (sender, receiver) = mpsc::channel::<Result<Frame, String>>(FRAMES_ON_THE_WAY);
    hub.spawn(async move {
        let mut cut = Box::pin(futures_util::future::select_all(cuts.into_iter().map(
            |mut cut| Box::pin(async move { cut.wait_for(|&cut| cut).await.is_ok() }),
        )));
        loop {
            tokio::select! {
                biased;
                _ = &mut cut => return drop(sender.try_send(Err("connection cut".to_owned()))),
                room = sender.reserve() => {
                    let Ok(room) = room else { return };
                    tokio::select! {
                        biased;
                        _ = &mut cut => return room.send(Err("connection cut".to_owned())),
                        frame = outgoing.next() => match frame {
                            Some(frame) => room.send(Ok(frame)),
                            None => return,
                        },
                    }
                }
            }
        }
    });
    ReceiverStream::new(receiver).boxed()
}
