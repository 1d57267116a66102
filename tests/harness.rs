//! Real processes for tests: each on ports and in a folder of its own, awaited by conditions, and
//! gone when the test is. The end of a process's log is shown if the test fails.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::http;

/// For what takes milliseconds on an idle machine; the machine of a test is not idle.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at a condition.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// So much of a log is shown of a test that failed.
const TAIL_BYTES: u64 = 8 << 10;

/// Returns what `look` finds, as soon as it finds something.
///
/// # Panics
/// If it has found nothing within `patience`; `what` was awaited then.
pub fn within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            begun.elapsed() < patience,
            "not within {patience:?}: {what}"
        );
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// [`within`] the usual time.
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, look)
}

/// A process that does not outlive its test, with its output in files.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    /// Starts `command`; `name` says in messages which it is. Its output goes to files in `folder`.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(name: &str, command: &mut Command, folder: &Path) -> Process {
        let stdout = folder.join(format!("{name}.out"));
        let stderr = folder.join(format!("{name}.err"));
        let create = |path: &Path| File::create(path).expect("the test's folder can be written");
        let child = command
            .stdin(Stdio::null())
            .stdout(create(&stdout))
            .stderr(create(&stderr))
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
        Process {
            name: name.to_owned(),
            child,
            stdout,
            stderr,
        }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// If it has ended.
    pub fn signal(&self, signal: Signal) {
        let id = Pid::from_child(&self.child);
        kill_process(id, signal).unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    /// What it has printed so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap_or_default()
    }

    /// What it has logged so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// The rest of the first line of its output that begins so.
    ///
    /// # Panics
    /// If it ends, or takes too long.
    #[must_use]
    pub fn line_after(&mut self, beginning: &str) -> String {
        let what = format!("{} prints {beginning:?}", self.name);
        eventually(&what, || {
            let ended = self.has_ended();
            let stdout = self.stdout();
            let complete = &stdout[..stdout.rfind('\n').map_or(0, |at| at + 1)];
            let found = complete
                .lines()
                .find_map(|line| line.strip_prefix(beginning));
            assert!(
                found.is_some() || ended.is_none(),
                "{what}: ended, {ended:?}"
            );
            found.map(str::to_owned)
        })
    }

    /// How it ended, if it has.
    ///
    /// # Panics
    /// Never for a process that this value started.
    #[must_use]
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is our child")
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// If it takes too long.
    pub fn ends(&mut self) -> ExitStatus {
        let what = format!("{} ends", self.name);
        eventually(&what, || self.has_ended())
    }

    #[allow(clippy::print_stderr, reason = "a test that failed says why on stderr")]
    fn show_tail(&self) {
        for path in [&self.stdout, &self.stderr] {
            let tail = tail(path);
            if !tail.is_empty() {
                eprintln!("---- {} of {}:\n{tail}", path.display(), self.name);
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            self.show_tail();
        }
    }
}

fn tail(path: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

/// A node of Quorate: a cluster of one, unless its arguments say otherwise.
#[derive(Debug)]
pub struct Quorate {
    /// Its process.
    pub process: Process,
    /// Where cluster-aware clients connect.
    pub cluster_port: SocketAddr,
    /// Where plain clients connect.
    pub any_port: SocketAddr,
    /// Where it is watched.
    pub admin_port: SocketAddr,
    folder: TempDir,
}

impl Quorate {
    /// Starts `quorate serve` with these arguments besides, on ports that the system picks. A
    /// cluster of one is ready then; a node that looks for others may not be.
    ///
    /// # Panics
    /// If it does not serve in time.
    #[must_use]
    pub fn start(arguments: &[&str]) -> Quorate {
        Quorate::start_with(quorate(), arguments)
    }

    /// The same with a command that runs the program, in an environment of its own for example.
    ///
    /// # Panics
    /// If it does not serve in time.
    #[must_use]
    pub fn start_with(command: Command, arguments: &[&str]) -> Quorate {
        let node = Quorate::launch(command, arguments);
        if !arguments.contains(&"--seed") {
            eventually("the node is ready", || is_ready(node.admin_port));
        }
        node
    }

    /// The same, and returns as soon as the node can be reached.
    ///
    /// # Panics
    /// If it does not serve in time.
    #[must_use]
    pub fn launch(mut command: Command, arguments: &[&str]) -> Quorate {
        let folder = folder();
        command
            .arg("serve")
            .arg("--data")
            .arg(folder.path().join("data"));
        for port in ["--port", "--any-port", "--peer-port", "--admin-port"] {
            if !arguments.contains(&port) {
                command.args([port, "0"]);
            }
        }
        let mut process = Process::start("quorate", command.args(arguments), folder.path());
        let line = process.line_after("quorate serves: ");
        let address = |name: &str| {
            line.split(", ")
                .find_map(|part| part.strip_prefix(name)?.trim().parse().ok())
                .unwrap_or_else(|| panic!("no {name} in {line:?}"))
        };
        let (cluster_port, any_port) = (address("cluster port"), address("any port"));
        Quorate {
            process,
            cluster_port,
            any_port,
            admin_port: address("admin port"),
            folder,
        }
    }

    /// The folder of the test, with the node's data in `data`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The sample of its metrics with this name and these labels.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn metric(&self, sample: &str) -> f64 {
        let (_, text) = http::get(self.admin_port, "/metrics").expect("the node answers");
        text.lines()
            .find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok())
            .unwrap_or_else(|| panic!("no {sample} in\n{text}"))
    }

    /// How many clients have reached a limit.
    ///
    /// # Panics
    /// If there is no such limit.
    #[must_use]
    pub fn limit_reached(&self, limit: &str) -> f64 {
        self.metric(&format!("quorate_limits_total{{limit=\"{limit}\"}}"))
    }
}

/// Whether the node with this admin port says that clients should be sent to it.
#[must_use]
pub fn is_ready(admin_port: SocketAddr) -> Option<()> {
    let (status, _) = http::get(admin_port, "/readyz").ok()?;
    (status == 200).then_some(())
}

/// Debian's redis-server.
#[derive(Debug)]
pub struct Redis {
    /// Its process.
    pub process: Process,
    /// Where clients connect.
    pub address: SocketAddr,
    _folder: TempDir,
}

impl Redis {
    /// Starts `redis-server` with these arguments besides, without persistence.
    ///
    /// # Panics
    /// If it does not accept connections in time.
    #[must_use]
    pub fn start(arguments: &[&str]) -> Redis {
        let folder = folder();
        let [port] = free_ports();
        let mut command = Command::new("redis-server");
        command.args([
            "--port",
            &port.to_string(),
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        command
            .args(["--bind", "127.0.0.1", "--dir"])
            .arg(folder.path())
            .args(arguments);
        let mut process = Process::start("redis-server", &mut command, folder.path());
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        eventually("redis-server accepts connections", || {
            assert!(process.has_ended().is_none(), "redis-server ended");
            TcpStream::connect(address).ok()
        });
        Redis {
            process,
            address,
            _folder: folder,
        }
    }
}

/// A folder that is gone when the test is.
///
/// # Panics
/// If there is no room for one.
#[must_use]
pub fn folder() -> TempDir {
    tempfile::Builder::new()
        .prefix("quorate-")
        .tempdir()
        .expect("there is a temporary folder")
}

/// Ports that are free now. Another process may take one before it is used; where a process can
/// pick its port itself, let it.
///
/// # Panics
/// If there are none.
#[must_use]
pub fn free_ports<const N: usize>() -> [u16; N] {
    let held = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port is free"));
    held.map(|listener| listener.local_addr().expect("it is bound").port())
}

/// The program that the tests are about, without arguments, in an environment without settings.
#[must_use]
pub fn quorate() -> Command {
    let mut command = Command::new(quorate_path());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("QUORATE_") {
            command.env_remove(name);
        }
    }
    command
}

/// The program lies beside the folder of the test binary. One that is older than its sources would
/// make a test say something about yesterday's code.
fn quorate_path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let test = std::env::current_exe().expect("a process has a program");
        let folder = test
            .ancestors()
            .nth(2)
            .expect("tests lie in target/PROFILE/deps");
        let path = folder.join("quorate");
        let built = fs::metadata(&path)
            .and_then(|data| data.modified())
            .unwrap_or_else(|error| panic!("{}: {error}; `make test` builds it", path.display()));
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
        for name in ["cluster", "routing", "node"] {
            let changed = newest(&crates.join(name).join("src"));
            assert!(
                changed <= built,
                "{} is older than crates/{name}; build it",
                path.display()
            );
        }
        path
    })
}

fn newest(folder: &Path) -> SystemTime {
    let mut newest = SystemTime::UNIX_EPOCH;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let changed = match entry.metadata() {
            Ok(data) if data.is_dir() => self::newest(&entry.path()),
            Ok(data) => data.modified().unwrap_or(newest),
            Err(_) => newest,
        };
        newest = newest.max(changed);
    }
    newest
}
