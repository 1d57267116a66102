//! The command line: how its processes begin and end, and the cluster that `dev` runs.

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;
use tests::harness::{Process, Quorate, eventually, folder, quorate, within};
use tests::wire::Wire;

fn run(arguments: &[&str]) -> Output {
    quorate().args(arguments).output().unwrap()
}

#[test]
fn a_port_that_is_taken_is_an_error() {
    let first = Quorate::start(&[]);
    let taken = first.cluster_port.port().to_string();
    let folder = folder();
    let data = folder.path().to_str().unwrap();
    let output = run(&["serve", "--data", data, "--port", &taken]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains(&format!("127.0.0.1:{taken}")) && said.contains("in use"),
        "{said}"
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_node_stops_when_it_is_asked_to() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut node = Quorate::start(&[]);
        node.process.signal(signal);
        assert!(node.process.ends().success());
    }
}

/// `quorate dev` with its nodes.
struct Dev {
    process: Process,
    folder: TempDir,
}

impl Dev {
    fn start() -> Dev {
        let folder = folder();
        let mut command = quorate();
        command
            .args(["dev", "--port", "0", "--data"])
            .arg(folder.path().join("data"));
        let mut process = Process::start("dev", &mut command, folder.path());
        let _ = process.line_after("Ctrl-C stops all nodes.");
        Dev { process, folder }
    }

    /// The rows of the table that it prints: node, cluster port, any port, …, process.
    fn rows(&self) -> Vec<Vec<String>> {
        let words = |line: &str| {
            line.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let rows: Vec<_> = self.process.stdout().lines().map(words).collect();
        rows.into_iter()
            .filter(|row| row.len() == 6 && row[0].parse::<u16>().is_ok())
            .collect()
    }

    fn nodes(&self) -> Vec<Pid> {
        let process = |row: &Vec<String>| Pid::from_raw(row[5].parse().unwrap()).unwrap();
        self.rows().iter().map(process).collect()
    }
}

fn are_gone(nodes: &[Pid]) {
    eventually("no node is left", || {
        nodes
            .iter()
            .all(|node| test_kill_process(*node).is_err())
            .then_some(())
    });
}

#[test]
fn dev_runs_nodes_and_stops_them() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut dev = Dev::start();
        let nodes = dev.nodes();
        assert_eq!(nodes.len(), 3);
        for row in dev.rows() {
            for address in &row[1..3] {
                let mut wire = Wire::connect(address.parse().unwrap()).unwrap();
                assert_eq!(wire.ask(&[b"PING"]).unwrap().shown(), "+PONG");
            }
        }
        dev.process.signal(signal);
        assert!(dev.process.ends().success());
        are_gone(&nodes);
    }
}

/// A second one, on data that is in use, leaves the nodes that run alone, and their logs.
#[test]
fn dev_keeps_what_nodes_have_logged() {
    let dev = Dev::start();
    let data = dev.folder.path().join("data");
    let log = || fs::read_to_string(data.join("1/quorate.log")).unwrap();
    let logged = log();
    assert!(logged.starts_with("---- quorate dev starts node 1\n"));
    let mut command = quorate();
    command.args(["dev", "--port", "0", "--data"]).arg(&data);
    let mut second = Process::start("second", &mut command, dev.folder.path());
    assert!(!second.ends().success());
    let after = log();
    assert!(after.starts_with(&logged), "{after}");
    assert_eq!(after.matches("---- quorate dev starts").count(), 2);
    for row in dev.rows() {
        let mut wire = Wire::connect(row[2].parse().unwrap()).unwrap();
        assert_eq!(wire.ask(&[b"PING"]).unwrap().shown(), "+PONG");
    }
}

#[test]
fn no_node_outlives_a_dev_that_is_killed() {
    let mut dev = Dev::start();
    let nodes = dev.nodes();
    dev.process.signal(Signal::KILL);
    assert_eq!(dev.process.ends().signal(), Some(9));
    are_gone(&nodes);
}

/// Whether any process was started with this folder as its data.
fn is_used(data: &Path) -> bool {
    let data = data.to_str().unwrap();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|process| fs::read(process.path().join("cmdline")).ok())
        .any(|line| String::from_utf8_lossy(&line).contains(data))
}

#[test]
fn no_node_outlives_a_dev_that_ends_while_it_starts() {
    for signal in [Signal::KILL, Signal::TERM] {
        for last in 1..=3 {
            let folder = folder();
            let data = folder.path().join("data");
            let mut command = quorate();
            command.args(["dev", "--port", "0", "--data"]).arg(&data);
            let mut dev = Process::start("dev", &mut command, folder.path());
            eventually("a node begins", || {
                is_used(&data.join(last.to_string())).then_some(())
            });
            dev.signal(signal);
            dev.ends();
            eventually("no node is left", || (!is_used(&data)).then_some(()));
        }
    }
}

#[test]
fn a_node_that_dies_is_reported_with_the_command_that_starts_it_again() {
    let mut dev = Dev::start();
    let [_, second, _] = dev.nodes()[..] else {
        panic!("three nodes")
    };
    kill_process(second, Signal::KILL).unwrap();
    let said = dev.process.line_after("Node 2 ");
    assert!(said.contains("was killed (SIGKILL)"), "{said}");
    let command = eventually("the command is printed", || {
        let stdout = dev.process.stdout();
        let after = stdout.split("To start it again:\n").nth(1)?;
        after
            .lines()
            .next()
            .filter(|_| after.ends_with('\n'))
            .map(str::to_owned)
    });
    // The others go on.
    let rows = dev.rows();
    let mut wire = Wire::connect(rows[0][2].parse().unwrap()).unwrap();
    assert_eq!(wire.ask(&[b"PING"]).unwrap().shown(), "+PONG");

    let mut words = command.split_whitespace();
    words.next().unwrap();
    let again = Process::start("again", quorate().args(words), dev.folder.path());
    within(Duration::from_secs(30), "the node answers again", || {
        let mut wire = Wire::connect(rows[1][2].parse().unwrap()).ok()?;
        wire.ask(&[b"PING"])
            .ok()
            .filter(|reply| reply.shown() == "+PONG")
    });
    drop(again);
}

#[test]
fn dev_names_a_port_that_is_taken() {
    // One of the ports that `--port` gives its nodes, and none that another test is likely to have.
    let (taken, first) = (20_001..30_000)
        .step_by(7)
        .find_map(|first| Some((TcpListener::bind(("127.0.0.1", first + 101)).ok()?, first)))
        .unwrap();
    let folder = folder();
    let data = folder.path().to_str().unwrap();
    let output = run(&["dev", "--port", &first.to_string(), "--data", data]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains(&format!("{} (any port of node 2)", first + 101)),
        "{said}"
    );
    assert_eq!(output.status.code(), Some(1));
    drop(taken);
}
