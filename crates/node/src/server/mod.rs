//! Sockets and threads: one single-threaded runtime a core, each with listeners of its own on both
//! ports. A connection lives on the thread that accepted it.

pub(crate) mod thread;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::LocalRuntime;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::client_state::{ClientCard, ClientState, Port};
use crate::connection::{Connection, Link};
use crate::node::Node;
use crate::process;
use crate::stats::Limit;
use thread::DataThread;

#[cfg(test)]
mod tests;

const BACKLOG: i32 = 1024;
/// How often a thread looks for connections that have been idle for too long.
const TICK: Duration = Duration::from_secs(1);
/// How long accepting pauses when the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const TOO_MANY: &[u8] = b"-ERR max number of clients reached\r\n";
const PROTECTED: &[u8] = b"-DENIED this node runs in protected mode and has no password: only \
    clients on its own machine are served. Set requirepass, or turn protected-mode off.\r\n";

/// The data threads of a node that serves, and the one for upkeep.
pub struct Server {
    /// Where cluster-aware clients connect.
    pub cluster_address: SocketAddr,
    /// Where plain clients connect.
    pub any_address: SocketAddr,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Listens and serves.
    ///
    /// # Errors
    /// If a port is taken, or the system has no thread or socket left.
    pub fn start(node: &Arc<Node>) -> io::Result<Server> {
        fit_clients(node);
        let settings = &node.settings.node;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let count = if settings.threads == 0 {
            cores
        } else {
            settings.threads
        };
        let cluster = SocketAddr::new(settings.bind, settings.port);
        let (cluster_address, cluster) = listeners(cluster, count)?;
        let any = SocketAddr::new(settings.bind, settings.any_port);
        let (any_address, any) = listeners(any, count)?;
        let (stop, stopped) = watch::channel(false);
        let mut server = Server {
            cluster_address,
            any_address,
            stop,
            threads: Vec::new(),
        };
        for (index, (cluster, any)) in cluster.into_iter().zip(any).enumerate() {
            let listeners = vec![(cluster, Port::Cluster), (any, Port::Any)];
            let (node, stopped) = (Arc::clone(node), stopped.clone());
            let runtime = move || run_thread(node, index == 0, listeners, stopped);
            let builder = std::thread::Builder::new().name(format!("data-{index}"));
            server.threads.push(builder.spawn(runtime)?);
        }
        let (node, stopped) = (Arc::clone(node), stopped.clone());
        let upkeep = std::thread::Builder::new().name("upkeep".to_owned());
        server
            .threads
            .push(upkeep.spawn(move || crate::upkeep::run(&node, stopped))?);
        Ok(server)
    }

    /// Accepts nobody any more, answers what has arrived, and returns when all is written or the
    /// time for it is over.
    pub fn stop(self) {
        // Without receivers the threads have ended already.
        let _ = self.stop.send(true);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a thread panicked");
            }
        }
    }
}

fn run_thread(
    node: Arc<Node>,
    is_first: bool,
    listeners: Vec<(std::net::TcpListener, Port)>,
    mut stopped: watch::Receiver<bool>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .expect("the system lets a thread have an event queue");
    let stop_timeout = node.settings.timings.stop_timeout.0;
    let thread = Rc::new(DataThread::new(node));
    runtime.block_on(async {
        let mut accepting = Vec::new();
        for (listener, port) in listeners {
            let listener = TcpListener::from_std(listener).expect("the listener is non-blocking");
            accepting.push(tokio::task::spawn_local(accept(
                Rc::clone(&thread),
                listener,
                port,
            )));
        }
        let mut evictions = thread.node.clients.evictions();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    thread.cut_the_idle();
                    if is_first {
                        thread.node.stats.sample();
                        thread.node.metrics.publish(&thread.node);
                    }
                }
                _ = evictions.changed() => thread.cut_the_evicted(),
                _ = stopped.changed() => break,
            }
        }
        accepting.iter().for_each(tokio::task::JoinHandle::abort);
        let _ = tokio::time::timeout(stop_timeout, drain(&thread)).await;
    });
    shut_down(runtime);
}

/// Ends the tasks of connections whose clients did not read their replies in time.
fn shut_down(runtime: LocalRuntime) {
    runtime.shutdown_timeout(Duration::ZERO);
}

/// Until every connection has ended.
async fn drain(thread: &DataThread) {
    while thread.connections() > 0 {
        thread.stop_reading();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn accept(thread: Rc<DataThread>, listener: TcpListener, port: Port) {
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => welcome(&thread, socket, peer, port),
            Err(error) => {
                if is_out_of_files(&error) {
                    thread.stats.limit(Limit::OpenFiles).add(1);
                }
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_out_of_files(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE)
    )
}

/// Begins to serve a client, unless there are too many.
fn welcome(thread: &Rc<DataThread>, socket: TcpStream, peer: SocketAddr, port: Port) {
    let node = &thread.node;
    thread.stats.connections.add(1);
    let open = node.parameters.requirepass.load().is_none();
    if open
        && node.parameters.protected_mode.load(Relaxed)
        && !peer.ip().to_canonical().is_loopback()
    {
        tracing::warn!(%peer, "refused a client: protected mode, and there is no password");
        let _ = socket.try_write(PROTECTED);
        return;
    }
    let Some(id) = node.clients.enter(node.parameters.maxclients.load(Relaxed)) else {
        thread.stats.limit(Limit::Clients).add(1);
        tracing::warn!(%peer, "refused a client: the limit of clients is reached");
        // The buffer of a new socket takes one line; a client that is gone needs none.
        let _ = socket.try_write(TOO_MANY);
        return;
    };
    configure(&socket, node.parameters.tcp_keepalive_seconds.load(Relaxed));
    let local = socket.local_addr().unwrap_or(peer);
    let fd = i64::from(std::os::fd::AsRawFd::as_raw_fd(&socket));
    let card = Arc::new(ClientCard::new(id, peer, local, fd, node.uptime_ms()));
    let client = ClientState::new(port, open, Arc::clone(&card));
    let link = Rc::new(Link::new(socket, card));
    thread.remember(&link);
    tokio::task::spawn_local(Connection::new(thread, &link, client).serve());
}

/// A socket that cannot be configured still works, only not as well.
fn configure(socket: &TcpStream, keepalive_seconds: u64) {
    let mut result = socket.set_nodelay(true);
    if keepalive_seconds > 0 {
        let time = Duration::from_secs(keepalive_seconds);
        let keepalive = TcpKeepalive::new()
            .with_time(time)
            .with_interval(time / 3 + TICK);
        result = result.and(SockRef::from(socket).set_tcp_keepalive(&keepalive));
    }
    if let Err(error) = result {
        tracing::debug!("cannot configure a socket: {error}");
    }
}

/// So many listeners on one address, and which that is. Its port is one that no other process
/// holds: `SO_REUSEPORT` alone would let two processes share it and take half of the clients each.
fn listeners(
    wanted: SocketAddr,
    count: usize,
) -> io::Result<(SocketAddr, Vec<std::net::TcpListener>)> {
    let probe = socket(wanted)?;
    probe
        .bind(&wanted.into())
        .and_then(|()| probe.listen(1))
        .map_err(|error| {
            io::Error::new(error.kind(), format!("cannot listen on {wanted}: {error}"))
        })?;
    let address = probe.local_addr()?.as_socket();
    let address = address.ok_or_else(|| io::Error::other("a socket without an address"))?;
    drop(probe);
    let listener = |_| {
        let socket = socket(address)?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    let listeners: io::Result<_> = (0..count).map(listener).collect();
    Ok((address, listeners?))
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A port whose last connections still linger is free.
    socket.set_reuse_address(true)?;
    Ok(socket)
}

/// Makes room for as many clients as there may be. If the system has less, that many may be: who
/// is refused learns more than who is never accepted.
fn fit_clients(node: &Node) {
    let wanted = node.parameters.maxclients.load(Relaxed);
    let Some(open_files) = process::raise_open_files() else {
        return;
    };
    let most = process::clients_within(open_files);
    if most < wanted {
        node.parameters.maxclients.store(most, Relaxed);
        tracing::warn!(
            "maxclients is {most} instead of {wanted}: the system lets the process open \
             {open_files} files, and some are for other things than clients; \
             raise its hard limit of open files (`ulimit -Hn`)"
        );
    }
}
