//! One socket: read, run all that has arrived, wait once, write. Knows no command.
//!
//! A connection that is idle holds no buffer: buffers are lent by its thread and given back. What
//! a client leaves unread holds back its own requests alone.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::client_state::{ClientCard, ClientState};
use crate::command::Session;
use crate::command::table::CommandId;
use crate::dispatch::{Next, Replies, Request, dispatch};
use crate::error::CommandError;
use crate::gather::{Gather, Timeouts};
use crate::memory::admits;
use crate::resp::{Limits, Progress, ProtocolError, Reply, RequestParser};
use crate::server::thread::DataThread;
use crate::stats::Limit;
use cluster::clock;

/// What is read at once, if nothing says that more is to come.
const READ_BYTES: usize = 16 << 10;
/// What an idle connection keeps of a request that is not complete without keeping a whole buffer.
const KEEP_BYTES: usize = 1 << 10;
/// Requests of one client run for so long before others of the thread have their turn.
const BATCH_TIME: Duration = Duration::from_millis(2);
/// What is read from a client that is being closed, so that the system lets our last reply through.
const DRAIN_BYTES: usize = 256 << 10;

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Close {
    /// The client asked for it, with `QUIT`.
    Quit,
    /// The client is gone.
    Gone(io::ErrorKind),
    /// It sent what is not a request.
    Protocol(ProtocolError),
    /// It left too much unread.
    Output,
    /// It left much unread for too long.
    SoftOutput,
    /// It was idle for too long.
    Idle,
    /// Its buffers took too much of the memory of all clients.
    Memory,
    /// The node stops.
    Stopping,
}

impl Close {
    /// The limit that the client reached, if that is why.
    fn limit(self) -> Option<Limit> {
        match self {
            Close::Protocol(error) => error.limit(),
            Close::Output => Some(Limit::Output),
            Close::SoftOutput => Some(Limit::SoftOutput),
            Close::Idle => Some(Limit::Idle),
            Close::Memory => Some(Limit::ClientMemory),
            Close::Quit | Close::Gone(_) | Close::Stopping => None,
        }
    }
}

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Close::Quit => f.write_str("the client quit"),
            Close::Gone(kind) => write!(f, "the client is gone: {kind}"),
            Close::Protocol(error) => write!(f, "protocol error: {error}"),
            Close::Output => f.write_str("it left too many replies unread"),
            Close::SoftOutput => f.write_str("it left many replies unread for too long"),
            Close::Idle => f.write_str("it was idle for longer than the timeout"),
            Close::Memory => f.write_str("its buffers took too much memory"),
            Close::Stopping => f.write_str("the node stops"),
        }
    }
}

impl From<io::Error> for Close {
    fn from(error: io::Error) -> Close {
        Close::Gone(error.kind())
    }
}

/// What a thread holds of each of its connections, to end it from outside.
#[derive(Debug)]
pub(crate) struct Link {
    socket: TcpStream,
    pub(crate) card: Arc<ClientCard>,
    /// Whether the client waits for the node.
    waits: Cell<bool>,
    ended: Cell<Option<Close>>,
}

impl Link {
    pub(crate) fn new(socket: TcpStream, card: Arc<ClientCard>) -> Link {
        Link {
            socket,
            card,
            waits: Cell::new(false),
            ended: Cell::new(None),
        }
    }

    /// Whether the client has asked for nothing that it is not answered yet.
    pub(crate) fn is_idle(&self) -> bool {
        !self.waits.get()
    }

    /// All that had arrived was read: the runtime waits for more, and the next read is not tried
    /// in vain.
    fn has_read_all(&self) {
        let none = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        let _ = self.socket.try_io(Interest::READABLE, none);
    }

    /// Nothing more is read: the connection ends once it has answered what has arrived.
    pub(crate) fn stop_reading(&self) {
        self.end(Close::Stopping, std::net::Shutdown::Read);
    }

    /// The connection ends, whatever it was doing.
    pub(crate) fn cut(&self, why: Close) {
        self.end(why, std::net::Shutdown::Both);
    }

    fn end(&self, why: Close, how: std::net::Shutdown) {
        self.ended.set(self.ended.get().or(Some(why)));
        // An error means that the client is gone, which the connection sees by itself.
        let _ = SockRef::from(&self.socket).shutdown(how);
    }
}

/// One connection, from its first byte to its last.
pub(crate) struct Connection {
    thread: Rc<DataThread>,
    link: Rc<Link>,
    client: ClientState,
    parser: RequestParser,
    /// What has arrived and is not run yet.
    input: BytesMut,
    /// Replies that are not written yet.
    output: BytesMut,
    gather: Gather,
    limits: Arc<Limits>,
    /// How many bytes the next read should make room for.
    wanted: usize,
    /// The bytes of its buffers that others know of.
    counted: usize,
}

/// How a batch of requests ended.
enum Batch {
    /// All that has arrived has run.
    Drained,
    /// There is more, after what this batch left to wait for and to write.
    More,
    /// No further request will run.
    Last(Close),
}

impl Connection {
    pub(crate) fn new(thread: &Rc<DataThread>, link: &Rc<Link>, client: ClientState) -> Connection {
        Connection {
            limits: thread.node.parameters.limits.load_full(),
            thread: Rc::clone(thread),
            link: Rc::clone(link),
            client,
            parser: RequestParser::default(),
            input: BytesMut::new(),
            output: BytesMut::new(),
            gather: Gather::default(),
            wanted: 1,
            counted: 0,
        }
    }

    /// Serves the client until the connection ends.
    pub(crate) async fn serve(mut self) {
        let close = match self.requests().await {
            Err(close) => self.link.ended.get().unwrap_or(close),
            Ok(never) => match never {},
        };
        let stats = &self.thread.stats;
        let card = &self.link.card;
        if let Close::Protocol(_) = close {
            stats.malformed.add(1);
        }
        if let Some(limit) = close.limit() {
            stats.limit(limit).add(1);
        }
        match close {
            Close::Protocol(_) | Close::Output | Close::SoftOutput | Close::Memory => {
                tracing::warn!(client = card.id, peer = %card.peer, "closed a client: {close}");
            }
            _ => tracing::debug!(client = card.id, peer = %card.peer, "closed a client: {close}"),
        }
        self.farewell();
    }

    async fn requests(&mut self) -> Result<std::convert::Infallible, Close> {
        loop {
            self.read().await?;
            loop {
                let batch = self.run_batch();
                self.count_buffers();
                if !self.gather.is_empty() {
                    self.link.waits.set(true);
                    let settled = self.settle().await;
                    self.link.waits.set(false);
                    settled?;
                    self.is_seen();
                    self.count_buffers();
                }
                self.write().await?;
                match batch {
                    Batch::Drained => break,
                    Batch::More => tokio::task::yield_now().await,
                    Batch::Last(close) => return Err(close),
                }
            }
            self.rest();
        }
    }

    /// Waits for bytes and takes what is there.
    async fn read(&mut self) -> Result<(), Close> {
        loop {
            self.link.socket.readable().await?;
            if self.input.capacity() < READ_BYTES {
                let mut buffer = self.thread.lend();
                buffer.extend_from_slice(&self.input);
                self.input = buffer;
            }
            // Never more room than what has arrived already: a length that a client only announces
            // must not cost memory.
            let room = self.wanted.min(self.input.len()).max(READ_BYTES);
            self.may_grow(room)?;
            self.input.reserve(room);
            self.count_buffers();
            let spare = self.input.capacity() - self.input.len();
            match self.link.socket.try_read_buf(&mut self.input) {
                Ok(0) => return Err(Close::Gone(io::ErrorKind::UnexpectedEof)),
                Ok(count) => {
                    if count < spare {
                        self.link.has_read_all();
                    }
                    self.thread.stats.bytes_in.add(count as u64);
                    self.is_seen();
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.rest(),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether the buffers may grow by so much. If not, the connection ends.
    fn may_grow(&self, bytes: usize) -> Result<(), Close> {
        match admits(&self.thread.node, &self.link.card, bytes) {
            true => Ok(()),
            false => Err(Close::Memory),
        }
    }

    /// Tells the others what the buffers take.
    fn count_buffers(&mut self) {
        let queued = self.link.card.multi_bytes.load(Relaxed) as usize;
        let bytes = self.input.capacity() + self.output.capacity() + queued;
        if bytes != self.counted {
            // Sums wrap: what is taken away is added as its complement.
            let more = bytes.wrapping_sub(self.counted);
            self.thread.stats.client_bytes.add(more as u64);
            let card = &self.link.card;
            card.buffer_bytes.store(bytes as u64, Relaxed);
            self.counted = bytes;
        }
    }

    fn is_seen(&self) {
        let now = self.thread.node.uptime_ms();
        self.link.card.seen_ms.store(now, Relaxed);
    }

    /// Runs requests until all have run, or enough replies have gathered, or others have waited
    /// long enough.
    fn run_batch(&mut self) -> Batch {
        if self.output.capacity() == 0 {
            self.output = self.thread.lend();
        }
        let limits = self.thread.node.parameters.limits.load();
        if !Arc::ptr_eq(&limits, &self.limits) {
            self.limits = Arc::clone(&limits);
        }
        let mut done = 0;
        // Less is read of those who may do nothing but authenticate.
        let open = || self.thread.node.parameters.requirepass.load().is_none();
        let known = self.client.authenticated || open();
        let begun = clock::now();
        let mut started = begun;
        let mut batch = Batch::More;
        for _ in 0..self.limits.pipeline_max {
            let input = &mut self.input[done..];
            let length = match self.parser.parse(input, &self.limits, known) {
                Ok(Progress::Complete(length)) => length,
                Ok(Progress::Incomplete(wanted)) => {
                    self.wanted = wanted;
                    batch = Batch::Drained;
                    break;
                }
                Err(error) => {
                    batch = Batch::Last(self.refuse(error));
                    break;
                }
            };
            let request = Request {
                buffer: &input[..length],
                spans: self.parser.spans(),
            };
            done += length;
            if request.spans.is_empty() {
                continue;
            }
            let mut session = Session {
                node: &self.thread.node,
                client: &mut self.client,
                stats: &self.thread.stats,
            };
            let mut replies = Replies {
                out: &mut self.output,
                gather: &mut self.gather,
            };
            let next = dispatch(
                &mut session,
                request,
                &mut replies,
                &self.thread.stats,
                &mut started,
            );
            if self.client.closing {
                batch = Batch::Last(Close::Quit);
                break;
            }
            if self.client.card.is_evicted() {
                batch = Batch::Last(Close::Memory);
                break;
            }
            let is_long = self.output.len() >= self.limits.output_batch_bytes
                || started.since(begun) > BATCH_TIME;
            if next == Next::Settle || is_long {
                break;
            }
        }
        self.input.advance(done);
        batch
    }

    /// Answers what is not a request; the connection ends with that.
    fn refuse(&mut self, error: ProtocolError) -> Close {
        let text = CommandError::from(format!("ERR Protocol error: {error}"));
        self.thread.node.stats.error(&text);
        Reply::Error(text).encode(self.client.version, &mut self.output);
        Close::Protocol(error)
    }

    /// Waits for all that was gathered. What may take without end is given up when the client goes
    /// away; all else ends soon by itself, and a client that has only ended its sending reads it.
    async fn settle(&mut self) -> Result<(), Close> {
        let node = &self.thread.node;
        let timeouts = Timeouts::of(node);
        let may_be_endless = self.gather.holds_back();
        let carried = self.gather.outbox.carry(node, timeouts);
        let stats = &self.thread.stats;
        let failed = |command: Option<CommandId>, error: &CommandError| {
            node.stats.error(error);
            if let Some(id) = command {
                stats.command(id).failed.add(1);
            }
        };
        let settled = self.gather.settle(
            &mut self.output,
            self.client.version,
            timeouts,
            failed,
            carried,
        );
        tokio::select! {
            biased;
            () = settled => Ok(()),
            close = gone(&self.link.socket), if may_be_endless => Err(close),
        }
    }

    /// Writes all replies. A client that does not read them is waited for, within the limits.
    async fn write(&mut self) -> Result<(), Close> {
        if self.output.len() > self.limits.output_bytes_max {
            return Err(Close::Output);
        }
        let card = &self.link.card;
        while !self.output.is_empty() {
            match self.link.socket.try_write(&self.output) {
                Ok(0) => return Err(Close::Gone(io::ErrorKind::WriteZero)),
                Ok(count) => {
                    self.thread.stats.bytes_out.add(count as u64);
                    self.output.advance(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    card.output_bytes.store(self.output.len() as u64, Relaxed);
                    if card.blocked_ms.load(Relaxed) == 0 {
                        card.blocked_ms
                            .store(self.thread.node.uptime_ms().max(1), Relaxed);
                    }
                    self.link.socket.writable().await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        if card.blocked_ms.load(Relaxed) != 0 {
            card.blocked_ms.store(0, Relaxed);
            card.output_bytes.store(0, Relaxed);
        }
        Ok(())
    }

    /// Gives back what an idle connection does not need.
    fn rest(&mut self) {
        self.parser.shrink();
        let output = std::mem::take(&mut self.output);
        self.thread.give_back(output);
        if self.input.len() <= KEEP_BYTES {
            let kept = BytesMut::from(&self.input[..]);
            let input = std::mem::replace(&mut self.input, kept);
            self.thread.give_back(input);
        }
        self.link
            .card
            .query_bytes
            .store(self.input.len() as u64, Relaxed);
        self.count_buffers();
    }

    /// Lets the last reply through: the system drops it if we close with something unread.
    fn farewell(&mut self) {
        let _ = SockRef::from(&self.link.socket).shutdown(std::net::Shutdown::Write);
        let mut rest = [0; 4096];
        for _ in 0..DRAIN_BYTES / rest.len() {
            if !matches!(self.link.socket.try_read(&mut rest), Ok(count) if count > 0) {
                break;
            }
        }
    }
}

/// Until the client is gone, or has ended its sending, whatever it sent before that is not read
/// yet. The system tells that apart from what there is to read; nobody waits for urgent data.
async fn gone(socket: &TcpStream) -> Close {
    match socket.ready(Interest::PRIORITY).await {
        Ok(_) => Close::Gone(io::ErrorKind::UnexpectedEof),
        Err(error) => error.into(),
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        (self.input, self.output) = (BytesMut::new(), BytesMut::new());
        self.link.card.multi_bytes.store(0, Relaxed);
        self.count_buffers();
        self.thread.forget(self.link.card.id);
    }
}
