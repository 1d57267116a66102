//! What one client chose, and what others may see of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering::Relaxed};

use cluster::{Slot, Version};
use parking_lot::Mutex;

use crate::command::table::{CommandId, table};
use crate::modes::Pending;
use crate::resp::RespVersion;
use crate::transaction::Transaction;

/// Which of the two ports a client came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// For clients that know Redis Cluster: they are told where a key lives.
    Cluster,
    /// For plain clients: the node looks like a standalone server.
    Any,
}

/// Slots whose writes a client remembers for `WAIT`.
const WRITTEN_MAX: usize = 64;

/// What a client wrote since it connected.
#[derive(Debug, Default)]
pub struct Written {
    last: Vec<(Slot, Version)>,
    /// It wrote to more slots than are remembered one by one, so all of them are meant.
    everywhere: bool,
}

impl Written {
    /// A record of the client's.
    pub fn note(&mut self, slot: Slot, version: Version) {
        if self.everywhere {
            return;
        }
        if let Some(noted) = self.last.iter_mut().rev().find(|(noted, _)| *noted == slot) {
            noted.1 = version;
        } else if self.last.len() < WRITTEN_MAX {
            self.last.push((slot, version));
        } else {
            self.note_everywhere();
        }
    }

    /// A write that others make a record of, whose version is not known here.
    pub fn note_elsewhere(&mut self, slot: Slot) {
        self.note(slot, Version::ZERO);
    }

    /// Writes to more slots than are remembered one by one.
    pub fn note_everywhere(&mut self) {
        self.everywhere = true;
        self.last = Vec::new();
    }

    /// The slots that were written to, in no order, each with the client's newest record. Where
    /// that is not known it is [`Version::ZERO`]: the newest record of the slot is no older.
    pub fn records(&self) -> impl Iterator<Item = (Slot, Version)> {
        let all = Slot::all().filter(|_| self.everywhere);
        let all = all.map(|slot| (slot, Version::ZERO));
        self.last.iter().copied().chain(all)
    }
}

/// The state of one connection, owned by it.
#[derive(Debug)]
pub struct ClientState {
    /// How the client came in.
    pub port: Port,
    /// How replies are encoded.
    pub version: RespVersion,
    /// Whether the client may run commands beyond those that authenticate.
    pub authenticated: bool,
    /// Whether reads may be served by this node's own copy.
    pub readonly: bool,
    /// What `WAIT` is about.
    pub written: Written,
    /// Commands of the client that the cache modes run.
    pub(crate) pending: Pending,
    /// What the client has queued, and what it watches.
    pub(crate) transaction: Transaction,
    /// Whether the connection ends when the replies so far are written.
    pub closing: bool,
    /// What others may see.
    pub card: Arc<ClientCard>,
}

impl ClientState {
    /// A client that has just connected.
    #[must_use]
    pub fn new(port: Port, authenticated: bool, card: Arc<ClientCard>) -> ClientState {
        ClientState {
            port,
            version: RespVersion::Resp2,
            authenticated,
            readonly: false,
            written: Written::default(),
            pending: Pending::default(),
            transaction: Transaction::default(),
            closing: false,
            card,
        }
    }

    /// Chooses the version of the protocol.
    pub fn set_version(&mut self, version: RespVersion) {
        self.version = version;
        self.card.version.store(version.number() as u8, Relaxed);
    }

    /// Everything as it was when the client connected, but for what was said of its library.
    pub fn reset(&mut self, authenticated: bool) {
        self.set_version(RespVersion::Resp2);
        self.authenticated = authenticated;
        self.readonly = false;
        self.transaction.discard(&self.card);
        self.card.names.lock().name.clear();
        self.card.readonly.store(false, Relaxed);
    }
}

/// What a client calls itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// `CLIENT SETNAME`.
    pub name: String,
    /// `CLIENT SETINFO LIB-NAME`.
    pub library: String,
    /// `CLIENT SETINFO LIB-VER`.
    pub library_version: String,
}

/// What `CLIENT LIST` shows of a client. Written by its connection alone, read by any.
#[derive(Debug)]
pub struct ClientCard {
    /// Unique for the life of the process.
    pub id: u64,
    /// The client's address.
    pub peer: SocketAddr,
    /// The address that it connected to.
    pub local: SocketAddr,
    /// The number of its socket.
    pub fd: i64,
    /// When it connected, in milliseconds since the node started.
    pub since_ms: u64,
    /// When it last sent something, in milliseconds since the node started.
    pub seen_ms: AtomicU64,
    /// What it calls itself.
    pub names: Mutex<Names>,
    /// 2 or 3.
    pub version: AtomicU8,
    /// Whether it is in `READONLY` mode.
    pub readonly: AtomicBool,
    /// How many commands it has queued; -1 outside `MULTI`.
    pub multi: AtomicI64,
    /// Bytes of them.
    pub multi_bytes: AtomicU64,
    /// Bytes of requests that are not complete.
    pub query_bytes: AtomicU64,
    /// Bytes of replies that are not written.
    pub output_bytes: AtomicU64,
    /// Since when it does not read its replies, in milliseconds since the node started; 0 if it
    /// does.
    pub blocked_ms: AtomicU64,
    /// Bytes of its buffers.
    pub buffer_bytes: AtomicU64,
    /// Whether it is to be closed for the sake of memory.
    evicted: AtomicBool,
    command: AtomicU64,
}

const NO_COMMAND: u64 = u64::MAX;

impl ClientCard {
    /// The card of a client that connects now.
    #[must_use]
    pub fn new(id: u64, peer: SocketAddr, local: SocketAddr, fd: i64, now_ms: u64) -> ClientCard {
        ClientCard {
            id,
            peer,
            local,
            fd,
            since_ms: now_ms,
            seen_ms: now_ms.into(),
            names: Mutex::default(),
            version: 2.into(),
            readonly: false.into(),
            multi: (-1).into(),
            multi_bytes: 0.into(),
            query_bytes: 0.into(),
            output_bytes: 0.into(),
            blocked_ms: 0.into(),
            buffer_bytes: 0.into(),
            evicted: false.into(),
            command: NO_COMMAND.into(),
        }
    }

    /// Says that it is to be closed for the sake of memory. Whether that is news.
    pub(crate) fn evict(&self) -> bool {
        !self.evicted.swap(true, Relaxed)
    }

    pub(crate) fn is_evicted(&self) -> bool {
        self.evicted.load(Relaxed)
    }

    /// Notes the command that runs.
    pub fn runs(&self, id: CommandId) {
        self.command.store(id.index() as u64, Relaxed);
    }

    /// The line of `CLIENT LIST` and `CLIENT INFO`.
    #[must_use]
    pub fn line(&self, now_ms: u64) -> String {
        let names = self.names.lock().clone();
        let command = self.command.load(Relaxed);
        let command = table().ids().find(|id| id.index() as u64 == command);
        let query = self.query_bytes.load(Relaxed);
        let output = self.output_bytes.load(Relaxed);
        let (multi, multi_bytes) = (self.multi.load(Relaxed), self.multi_bytes.load(Relaxed));
        let flags = match (multi >= 0, self.readonly.load(Relaxed)) {
            (true, true) => "xr",
            (true, false) => "x",
            (false, true) => "r",
            (false, false) => "N",
        };
        format!(
            "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={flags} db=0 sub=0 psub=0 \
             ssub=0 multi={multi} qbuf={query} qbuf-free=0 argv-mem=0 \
             multi-mem={multi_bytes} rbs=0 rbp=0 obl=0 \
             oll={} omem={output} tot-mem={} events=r cmd={} user=default redir=-1 resp={} \
             lib-name={} lib-ver={}",
            self.id,
            self.peer,
            self.local,
            self.fd,
            names.name,
            now_ms.saturating_sub(self.since_ms) / 1000,
            now_ms.saturating_sub(self.seen_ms.load(Relaxed)) / 1000,
            u8::from(output > 0),
            self.buffer_bytes
                .load(Relaxed)
                .max(query + output + multi_bytes),
            command.map_or("NULL", |id| table().row(id).name),
            self.version.load(Relaxed),
            names.library,
            names.library_version,
        )
    }
}
