//! What the node counts. Each data thread writes counters of its own, so that counting costs no
//! traffic between cores; readers add them up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use std::collections::BTreeMap;

use crate::command::table::{CommandId, table};
use crate::error::CommandError;

/// Error codes that are told apart; an error text that makes up ever new ones cannot fill memory.
const ERROR_CODES_MAX: usize = 128;

/// A counter that one thread writes and all may read.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Counts `more`. Only ever called by the thread that owns the counter.
    pub fn add(&self, more: u64) {
        self.0
            .store(self.0.load(Relaxed).wrapping_add(more), Relaxed);
    }

    /// The number so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What is counted of one command by one thread.
#[derive(Debug, Default)]
pub struct CommandCount {
    /// Requests that ran.
    pub calls: Count,
    /// The time that they took.
    pub nanos: Count,
    /// Requests that a gate turned away.
    pub rejected: Count,
    /// Requests that ran and answered an error.
    pub failed: Count,
}

/// Which limit a client reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The number of clients.
    Clients,
    /// Files that the system lets the process open.
    OpenFiles,
    /// The number of arguments of a request.
    Arguments,
    /// The length of an argument.
    Argument,
    /// The length of a line.
    Line,
    /// The length of a request.
    Query,
    /// The lesser bounds of a request that hold before authentication.
    Unauthenticated,
    /// Replies left unread.
    Output,
    /// Fewer replies, left unread for too long.
    SoftOutput,
    /// The time without a request.
    Idle,
    /// The number of commands that wait for databases.
    Database,
    /// The number of records of a slot that wait for their copies.
    Uncommitted,
    /// The number of replies of a slot that wait for copies.
    Waiters,
    /// The commands, and their bytes, that a client queues for a transaction.
    Transaction,
    /// What the buffers of all clients take together.
    ClientMemory,
}

impl Limit {
    /// Every limit, in the order of their counters.
    pub const ALL: [Limit; 15] = [
        Limit::Clients,
        Limit::OpenFiles,
        Limit::Arguments,
        Limit::Argument,
        Limit::Line,
        Limit::Query,
        Limit::Unauthenticated,
        Limit::Output,
        Limit::SoftOutput,
        Limit::Idle,
        Limit::Database,
        Limit::Uncommitted,
        Limit::Waiters,
        Limit::Transaction,
        Limit::ClientMemory,
    ];

    /// The label of its metric: the setting, where there is one.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Limit::Clients => "maxclients",
            Limit::OpenFiles => "open_files",
            Limit::Arguments => "arguments_max",
            Limit::Argument => "argument_bytes_max",
            Limit::Line => "line_bytes_max",
            Limit::Query => "query_bytes_max",
            Limit::Unauthenticated => "unauthenticated",
            Limit::Output => "output_bytes_max",
            Limit::SoftOutput => "output_soft_bytes",
            Limit::Idle => "client_idle",
            Limit::Database => "database_waiting_max",
            Limit::Uncommitted => "uncommitted_max",
            Limit::Waiters => "waiters_max",
            Limit::Transaction => "transaction_max",
            Limit::ClientMemory => "maxmemory_clients",
        }
    }
}

/// The counters of one data thread.
#[derive(Debug)]
pub struct ThreadStats {
    commands: Box<[CommandCount]>,
    /// Connections accepted, those refused for `maxclients` included.
    pub connections: Count,
    /// Bytes read from clients.
    pub bytes_in: Count,
    /// Bytes written to clients.
    pub bytes_out: Count,
    /// Requests of commands that do not exist.
    pub unknown: Count,
    /// Clients that were closed for what is no request.
    pub malformed: Count,
    /// Looks of reading commands at a key that was there.
    pub hits: Count,
    /// Looks of reading commands at a key that was not there.
    pub misses: Count,
    /// Bytes of the buffers of the thread's connections, as a sum of what came and went.
    pub client_bytes: Count,
    limits: [Count; Limit::ALL.len()],
}

impl ThreadStats {
    fn new() -> ThreadStats {
        ThreadStats {
            commands: table().ids().map(|_| CommandCount::default()).collect(),
            connections: Count::default(),
            bytes_in: Count::default(),
            bytes_out: Count::default(),
            unknown: Count::default(),
            malformed: Count::default(),
            hits: Count::default(),
            misses: Count::default(),
            client_bytes: Count::default(),
            limits: Default::default(),
        }
    }

    /// The counters of a command.
    #[must_use]
    pub fn command(&self, id: CommandId) -> &CommandCount {
        &self.commands[id.index()]
    }

    /// The counter of a limit.
    #[must_use]
    pub fn limit(&self, limit: Limit) -> &Count {
        &self.limits[limit as usize]
    }
}

/// What all threads counted of one command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommandTotals {
    /// See [`CommandCount::calls`].
    pub calls: u64,
    /// See [`CommandCount::nanos`].
    pub nanos: u64,
    /// See [`CommandCount::rejected`].
    pub rejected: u64,
    /// See [`CommandCount::failed`].
    pub failed: u64,
}

impl CommandTotals {
    fn minus(self, base: CommandTotals) -> CommandTotals {
        CommandTotals {
            calls: self.calls.saturating_sub(base.calls),
            nanos: self.nanos.saturating_sub(base.nanos),
            rejected: self.rejected.saturating_sub(base.rejected),
            failed: self.failed.saturating_sub(base.failed),
        }
    }
}

/// What all threads counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// By the number of the command's row.
    pub commands: Vec<CommandTotals>,
    /// See [`ThreadStats::connections`].
    pub connections: u64,
    /// See [`ThreadStats::bytes_in`].
    pub bytes_in: u64,
    /// See [`ThreadStats::bytes_out`].
    pub bytes_out: u64,
    /// See [`ThreadStats::unknown`].
    pub unknown: u64,
    /// See [`ThreadStats::malformed`].
    pub malformed: u64,
    /// See [`ThreadStats::hits`].
    pub hits: u64,
    /// See [`ThreadStats::misses`].
    pub misses: u64,
    /// By [`Limit`].
    pub limits: [u64; Limit::ALL.len()],
    /// Replies that were errors, by their code, in the order of the codes.
    pub errors: Vec<(String, u64)>,
}

impl Totals {
    /// Requests that ran.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.commands.iter().map(|command| command.calls).sum()
    }

    /// Replies that were errors.
    #[must_use]
    pub fn error_replies(&self) -> u64 {
        self.errors.iter().map(|(_, count)| count).sum()
    }

    fn minus(&self, base: &Totals) -> Totals {
        let commands = self.commands.iter().enumerate();
        let zero = CommandTotals::default();
        Totals {
            commands: commands
                .map(|(index, now)| now.minus(*base.commands.get(index).unwrap_or(&zero)))
                .collect(),
            connections: self.connections.saturating_sub(base.connections),
            bytes_in: self.bytes_in.saturating_sub(base.bytes_in),
            bytes_out: self.bytes_out.saturating_sub(base.bytes_out),
            unknown: self.unknown.saturating_sub(base.unknown),
            malformed: self.malformed.saturating_sub(base.malformed),
            hits: self.hits.saturating_sub(base.hits),
            misses: self.misses.saturating_sub(base.misses),
            limits: std::array::from_fn(|index| {
                self.limits[index].saturating_sub(base.limits[index])
            }),
            errors: self.errors.clone(),
        }
    }
}

/// What was counted in one second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Requests that ran.
    pub calls: u64,
    /// Bytes read.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
}

/// The counters of the node.
#[derive(Debug, Default)]
pub struct Stats {
    threads: Mutex<Vec<Arc<ThreadStats>>>,
    /// Looks at keys for the clients of other nodes: those found, those not.
    for_others: [AtomicU64; 2],
    /// How often limits were reached that are not those of one thread.
    reached: [AtomicU64; Limit::ALL.len()],
    errors: Mutex<BTreeMap<String, u64>>,
    /// The totals at the last `CONFIG RESETSTAT`. The counters themselves never go back, because
    /// those of metrics must not.
    base: Mutex<Totals>,
    /// The rates, and the sums from which they were made.
    rates: Mutex<(Rates, Rates)>,
}

impl Stats {
    /// Counters for one more thread.
    #[must_use]
    pub fn thread(&self) -> Arc<ThreadStats> {
        let stats = Arc::new(ThreadStats::new());
        self.threads.lock().push(Arc::clone(&stats));
        stats
    }

    /// What the buffers of all clients take, in bytes.
    #[must_use]
    pub fn client_bytes(&self) -> usize {
        let threads = self.threads.lock();
        // A thread adds before it takes away, but the others need not see that at once.
        let of_thread = |stats: &Arc<ThreadStats>| stats.client_bytes.get().cast_signed().max(0);
        threads.iter().map(of_thread).sum::<i64>().unsigned_abs() as usize
    }

    /// Counts an error reply.
    pub fn error(&self, error: &CommandError) {
        let mut errors = self.errors.lock();
        if let Some(count) = errors.get_mut(error.code()) {
            *count += 1;
        } else if errors.len() < ERROR_CODES_MAX {
            errors.insert(error.code().to_owned(), 1);
        }
    }

    /// Counts looks at keys for a client of another node.
    pub fn looked_for_others(&self, found: u32, missed: u32) {
        self.for_others[0].fetch_add(found.into(), Relaxed);
        self.for_others[1].fetch_add(missed.into(), Relaxed);
    }

    /// Counts a limit of the whole node that was reached.
    pub fn reached(&self, limit: Limit) {
        self.reached[limit as usize].fetch_add(1, Relaxed);
    }

    /// What was counted since the process started.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals {
            commands: vec![CommandTotals::default(); table().len()],
            ..Totals::default()
        };
        [totals.hits, totals.misses] = std::array::from_fn(|at| self.for_others[at].load(Relaxed));
        totals.limits = std::array::from_fn(|at| self.reached[at].load(Relaxed));
        for thread in &*self.threads.lock() {
            for (total, count) in totals.commands.iter_mut().zip(&thread.commands) {
                total.calls += count.calls.get();
                total.nanos += count.nanos.get();
                total.rejected += count.rejected.get();
                total.failed += count.failed.get();
            }
            for (total, count) in totals.limits.iter_mut().zip(&thread.limits) {
                *total += count.get();
            }
            totals.connections += thread.connections.get();
            totals.bytes_in += thread.bytes_in.get();
            totals.bytes_out += thread.bytes_out.get();
            totals.unknown += thread.unknown.get();
            totals.malformed += thread.malformed.get();
            totals.hits += thread.hits.get();
            totals.misses += thread.misses.get();
        }
        totals.errors = self
            .errors
            .lock()
            .iter()
            .map(|(code, n)| (code.clone(), *n))
            .collect();
        totals.errors.sort();
        totals
    }

    /// What was counted since the last [`Stats::reset`].
    #[must_use]
    pub fn since_reset(&self) -> Totals {
        self.totals().minus(&self.base.lock())
    }

    /// Takes a second's rates. Called each second.
    pub fn sample(&self) {
        let totals = self.totals();
        let now = Rates {
            calls: totals.calls(),
            bytes_in: totals.bytes_in,
            bytes_out: totals.bytes_out,
        };
        let mut rates = self.rates.lock();
        let before = std::mem::replace(&mut rates.1, now);
        rates.0 = Rates {
            calls: now.calls - before.calls,
            bytes_in: now.bytes_in - before.bytes_in,
            bytes_out: now.bytes_out - before.bytes_out,
        };
    }

    /// The rates of the last second.
    #[must_use]
    pub fn rates(&self) -> Rates {
        self.rates.lock().0
    }

    /// Begins to count anew, for [`Stats::since_reset`].
    pub fn reset(&self) {
        self.errors.lock().clear();
        *self.base.lock() = self.totals();
    }
}
