//! What the system says of this process: memory, processor time, names.

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::system::{sysinfo, uname};
use tikv_jemalloc_ctl::{
    Access, AsName, arenas, background_thread, epoch, max_background_threads, stats, stats_print,
};

/// Open files that are not for clients: listeners, other nodes, the metadata's log, databases.
const FILES_KEPT: u64 = 256;

/// Has the system let the process open as many files as it may at all: each client is one. How
/// many that is; none if there is no limit.
pub(crate) fn raise_open_files() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, most) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!("cannot raise the limit of open files: {error}");
            limit.current
        }
    }
}

/// So many clients fit if the process may open so many files.
pub(crate) fn clients_within(open_files: u64) -> u64 {
    // Where there are few at all, clients get half of them.
    (open_files - FILES_KEPT.min(open_files / 2)).max(1)
}

/// How many clients can be connected at once as far as the system is concerned.
pub(crate) fn clients_max() -> u64 {
    getrlimit(Resource::Nofile)
        .current
        .map_or(u64::MAX, clients_within)
}

/// For how long pages that nothing lies in are kept for what comes next, in milliseconds.
const PAGES_KEPT_MS: isize = 500;

/// Has the allocator give back what it does not need soon, on a thread of its own.
pub fn configure_allocator() {
    let on = max_background_threads::write(1).and_then(|()| background_thread::write(true));
    if let Err(error) = on {
        tracing::warn!("the allocator gives memory back only while it is used: {error}");
    }
    keep_pages(PAGES_KEPT_MS);
}

/// Has the allocator give back all pages that nothing lies in.
pub(crate) fn purge() {
    // It has no other word for it that can be said safely: pages that are kept for no time at all
    // are given back at once.
    keep_pages(0);
    keep_pages(PAGES_KEPT_MS);
}

fn keep_pages(milliseconds: isize) {
    let set = |name: &str| Access::<isize>::write(name.name(), milliseconds);
    // Of arenas that are still to be made, and of those that are there. Some of these are not in
    // use, and say so; none gives back in two steps.
    let _ = set("arenas.dirty_decay_ms\0");
    for arena in 0..arenas::narenas::read().unwrap_or(0) {
        let _ = set(&format!("arena.{arena}.dirty_decay_ms\0"));
        let _ = Access::<isize>::write(format!("arena.{arena}.muzzy_decay_ms\0").name(), 0);
    }
}

/// What the allocator says of itself, for people.
pub(crate) fn allocator_report() -> String {
    let mut text = Vec::new();
    let mut options = stats_print::Options::default();
    // A table of every size in every arena is nobody's reading.
    options.skip_per_arena = true;
    if let Err(error) = stats_print::stats_print(&mut text, options) {
        return format!("The allocator says nothing: {error}\n");
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Bytes that the program has allocated; 0 if the allocator does not know.
pub(crate) fn allocated() -> usize {
    // Its numbers are those of the last time that its epoch was advanced.
    let _ = epoch::advance();
    stats::allocated::read().unwrap_or(0)
}

/// Bytes of the process that are in memory.
pub(crate) fn resident() -> usize {
    usize::try_from(resident_pages()).map_or(0, |pages| pages * page_size())
}

/// What the process uses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Bytes that the program has allocated.
    pub allocated: u64,
    /// Bytes of the pages that hold them.
    pub active: u64,
    /// Bytes of the allocator's pages that are in memory.
    pub allocator_resident: u64,
    /// Bytes of the allocator's pages that it keeps for later without memory behind them.
    pub allocator_retained: u64,
    /// Bytes of the allocator's own records.
    pub allocator_metadata: u64,
    /// Bytes of the process that are in memory.
    pub resident: u64,
    /// Bytes of memory that the machine has.
    pub machine: u64,
    /// Seconds of processor time spent in the program.
    pub user_seconds: f64,
    /// Seconds of processor time spent in the kernel.
    pub system_seconds: f64,
}

impl Usage {
    /// What the process uses now. What cannot be found out is zero.
    #[must_use]
    pub fn now() -> Usage {
        // The allocator's numbers are those of the last time that its epoch was advanced.
        let _ = epoch::advance();
        let bytes = |result: Result<usize, _>| result.map_or(0, |bytes: usize| bytes as u64);
        let (user_seconds, system_seconds) = processor_seconds();
        let machine = sysinfo();
        Usage {
            allocated: bytes(stats::allocated::read().map_err(drop)),
            active: bytes(stats::active::read().map_err(drop)),
            allocator_resident: bytes(stats::resident::read().map_err(drop)),
            allocator_retained: bytes(stats::retained::read().map_err(drop)),
            allocator_metadata: bytes(stats::metadata::read().map_err(drop)),
            resident: resident_pages() * page_size() as u64,
            machine: machine.totalram * u64::from(machine.mem_unit),
            user_seconds,
            system_seconds,
        }
    }
}

fn resident_pages() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0)
}

/// Of the user's part and the kernel's.
fn processor_seconds() -> (f64, f64) {
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the program is in parentheses and may contain anything; 11 fields follow it.
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
    let mut ticks = fields
        .split_whitespace()
        .skip(11)
        .map(|field| field.parse().unwrap_or(0.0));
    let mut seconds = || ticks.next().unwrap_or(0.0) / clock_ticks_per_second() as f64;
    (seconds(), seconds())
}

/// The system's name, release and machine.
#[must_use]
pub fn system() -> String {
    let uname = uname();
    let parts = [uname.sysname(), uname.release(), uname.machine()];
    parts
        .map(|part| part.to_string_lossy().into_owned())
        .join(" ")
}

/// The path of the program.
#[must_use]
pub fn executable() -> String {
    std::env::current_exe().map_or_else(|_| String::new(), |path| path.display().to_string())
}
