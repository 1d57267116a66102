//! The nodes as child processes: started, watched, stopped.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures_util::future::join_all;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Failure;
use crate::cli::ports::Ports;
use crate::cli::start_line::StartLine;

/// How much longer than by its settings a node may take to stop.
const STOP_MARGIN: Duration = Duration::from_secs(5);
/// Nodes beyond these are not seeds.
const SEEDS_MAX: usize = 3;

/// A log that is longer when its node starts is put aside.
const LOG_BYTES_MAX: u64 = 16 << 20;

/// How a node is started.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) number: u16,
    pub(super) log: PathBuf,
    data: PathBuf,
    arguments: Vec<OsString>,
}

impl Plan {
    /// The plan for node `number` of those with `ports`.
    pub(super) fn new(number: u16, ports: &[Ports], config: &Path, data: &Path) -> Plan {
        let data = data.join(number.to_string());
        let own = ports[usize::from(number) - 1];
        let mut arguments: Vec<OsString> = vec!["serve".into()];
        let mut add = |flag: &str, value: &OsStr| arguments.extend([flag.into(), value.into()]);
        add("--config", config.as_os_str());
        add("--data", data.as_os_str());
        for (flag, port) in [
            ("--port", own.cluster),
            ("--any-port", own.any),
            ("--peer-port", own.peer),
            ("--admin-port", own.admin),
        ] {
            add(flag, OsStr::new(&port.to_string()));
        }
        for seed in ports.iter().filter(|other| **other != own).take(SEEDS_MAX) {
            add("--seed", OsStr::new(&format!("127.0.0.1:{}", seed.peer)));
        }
        add("--bootstrap-expect", OsStr::new(&ports.len().to_string()));
        Plan {
            number,
            log: data.join("quorate.log"),
            data,
            arguments,
        }
    }

    /// The command line that starts the node, for a shell.
    pub(super) fn command_line(&self) -> String {
        let program = std::env::args_os()
            .next()
            .unwrap_or_else(|| "quorate".into());
        std::iter::once(&program)
            .chain(&self.arguments)
            .map(|word| quoted(&word.to_string_lossy()))
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn spawn(&self) -> std::io::Result<Child> {
        fs::create_dir_all(&self.data)?;
        let mut log = open_log(&self.log)?;
        writeln!(log, "---- quorate dev starts node {}", self.number)?;
        Command::new(std::env::current_exe()?)
            .args(&self.arguments)
            .arg("--die-with")
            .arg(std::process::id().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            // A Ctrl-C at the terminal is for the parent alone, which then asks the nodes.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }
}

/// Opens the log of a node at its end, for what is there may be the last words of a node that died,
/// or belong to one that runs. A long one is put aside first, in place of the one before it.
fn open_log(path: &Path) -> std::io::Result<File> {
    if fs::metadata(path).is_ok_and(|found| found.len() > LOG_BYTES_MAX) {
        fs::rename(path, path.with_extension("log.old"))?;
    }
    File::options().create(true).append(true).open(path)
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// What happened to a node.
pub(super) enum Event {
    /// It can be reached.
    Serves,
    /// Its process has ended.
    Ended { index: usize, how: String },
}

enum Happened {
    Serves(usize, StartLine),
    Ended(usize, String),
}

struct Node {
    plan: Plan,
    process: u32,
    start_line: Option<StartLine>,
    ended: bool,
}

/// The processes of all nodes.
pub(super) struct Children {
    nodes: Vec<Node>,
    happened: mpsc::UnboundedReceiver<Happened>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    stop_timeout: Duration,
}

impl Children {
    /// Starts a process for each plan. On an error, those that run are stopped. By its settings,
    /// each may take `stop_timeout` for each step when it is asked to stop.
    pub(super) fn start(plans: Vec<Plan>, stop_timeout: Duration) -> Result<Children, Failure> {
        // Each node sends two messages at most.
        let (sender, happened) = mpsc::unbounded_channel();
        let mut children = Children {
            nodes: Vec::new(),
            happened,
            tasks: Vec::new(),
            stop_timeout,
        };
        for (index, plan) in plans.into_iter().enumerate() {
            let child = plan.spawn().map_err(|error| {
                Failure::Run(format!("node {} cannot be started: {error}", plan.number))
            })?;
            let process = child.id().expect("nobody has waited for it");
            children.nodes.push(Node {
                plan,
                process,
                start_line: None,
                ended: false,
            });
            children
                .tasks
                .push(tokio::spawn(watch(index, child, sender.clone())));
        }
        Ok(children)
    }

    /// What happens next.
    pub(super) async fn next(&mut self) -> Event {
        match self.happened.recv().await {
            Some(Happened::Serves(index, line)) => {
                self.nodes[index].start_line = Some(line);
                Event::Serves
            }
            Some(Happened::Ended(index, how)) => {
                self.nodes[index].ended = true;
                Event::Ended { index, how }
            }
            // All have ended, and that has been said.
            None => std::future::pending().await,
        }
    }

    pub(super) fn plan(&self, index: usize) -> &Plan {
        &self.nodes[index].plan
    }

    pub(super) fn process(&self, index: usize) -> u32 {
        self.nodes[index].process
    }

    /// Whether the node has said that it can be reached.
    pub(super) fn has_served(&self, index: usize) -> bool {
        self.nodes[index].start_line.is_some()
    }

    /// The nodes that can be reached, with their plans.
    pub(super) fn serving(&self) -> impl Iterator<Item = (&Plan, &StartLine)> {
        self.nodes
            .iter()
            .filter(|node| !node.ended)
            .filter_map(|node| Some((&node.plan, node.start_line.as_ref()?)))
    }

    /// Asks all of them to stop, and waits.
    pub(super) async fn stop(&mut self) {
        for node in self.nodes.iter().filter(|node| !node.ended) {
            let process = i32::try_from(node.process).ok().and_then(Pid::from_raw);
            if let Some(process) = process {
                // An error means that it has ended already.
                let _ = kill_process(process, Signal::TERM);
            }
        }
        // First it gives the databases what they lack, then its clients their replies.
        let limit = self.stop_timeout * 2 + STOP_MARGIN;
        let _ = timeout(limit, join_all(&mut self.tasks)).await;
    }

    /// Ends those that still run.
    pub(super) async fn kill(mut self) {
        for task in &self.tasks {
            // Drops the child, which kills it.
            task.abort();
        }
        join_all(self.tasks.drain(..).filter(|task| !task.is_finished())).await;
    }
}

async fn watch(index: usize, mut child: Child, happened: mpsc::UnboundedSender<Happened>) {
    let stdout = child.stdout.take().expect("it was asked for");
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Ok(line) = line.parse() {
            let _ = happened.send(Happened::Serves(index, line));
        }
    }
    let how = child
        .wait()
        .await
        .map_or_else(|error| error.to_string(), how_it_ended);
    let _ = happened.send(Happened::Ended(index, how));
}

fn how_it_ended(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(9)) => "was killed (SIGKILL)".to_owned(),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_meets_the_first_others() {
        let Ok(ports) = Ports::of_nodes(5, 0) else {
            panic!("there are free ports")
        };
        let seeds = |number| {
            let plan = Plan::new(number, &ports, Path::new("c.toml"), Path::new("data"));
            let is_seed = |pair: &&[OsString]| pair[0] == *"--seed";
            plan.arguments
                .windows(2)
                .filter(is_seed)
                .map(|pair| pair[1].to_string_lossy().into_owned())
                .collect::<Vec<_>>()
        };
        let peer = |number: usize| format!("127.0.0.1:{}", ports[number - 1].peer);
        assert_eq!(seeds(1), [peer(2), peer(3), peer(4)]);
        assert_eq!(seeds(5), [peer(1), peer(2), peer(3)]);
    }

    #[test]
    fn words_are_quoted_where_a_shell_would_split_them() {
        assert_eq!(quoted("./data/1"), "./data/1");
        assert_eq!(quoted("my data"), "'my data'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }

    #[test]
    fn a_long_log_is_put_aside_when_its_node_starts() {
        let folder = tempfile::tempdir().unwrap();
        let [log, old] = ["q.log", "q.log.old"].map(|name| folder.path().join(name));
        writeln!(open_log(&log).unwrap(), "first").unwrap();
        open_log(&log).unwrap().set_len(LOG_BYTES_MAX).unwrap();
        writeln!(open_log(&log).unwrap(), "last").unwrap();
        assert!(!old.exists(), "it is not longer than it may be yet");
        writeln!(open_log(&log).unwrap(), "new").unwrap();
        assert_eq!(fs::read_to_string(&log).unwrap(), "new\n");
        let old = fs::read(&old).unwrap();
        assert!(old.starts_with(b"first\n") && old.ends_with(b"last\n"));
    }
}
