//! What operators see: metrics, readiness, the status page, `quorate cluster status`.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tests::harness::{Quorate, eventually, folder, free_ports, is_ready, quorate};
use tests::http::get;
use tests::local_cluster::LocalCluster;
use tests::wire::Wire;

fn status(node: SocketAddr, arguments: &[&str]) -> Output {
    let node = node.to_string();
    let mut command = quorate();
    command
        .args(["cluster", "status", "--node", &node])
        .args(arguments);
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_metrics_of_a_node_are_those_that_prometheus_accepts() {
    let node = Quorate::start(&[]);
    let mut client = Wire::connect(node.any_port).unwrap();
    for words in [
        ["SET", "k", "v"].as_slice(),
        &["GET", "k"],
        &["GET", "none"],
        &["GET"],
    ] {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        client.ask(&words).unwrap();
    }
    let (code, metrics) = get(node.admin_port, "/metrics").unwrap();
    assert_eq!(code, 200);
    for sample in [
        "redis_up 1",
        "redis_commands_total{cmd=\"get\"} 2",
        "redis_commands_rejected_calls_total{cmd=\"get\"} 1",
        "redis_keyspace_hits_total 1",
        "redis_keyspace_misses_total 1",
        "redis_db_keys{db=\"db0\"} 1",
        "quorate_slots{role=\"primary\"} 16384",
        "quorate_commands_total{cmd=\"set\"} 1",
    ] {
        assert!(
            metrics.lines().any(|line| line == sample),
            "{sample} in\n{metrics}"
        );
    }
    prometheus_accepts(&metrics);
}

/// Whether `promtool` has nothing to say about these metrics.
pub(crate) fn prometheus_accepts(metrics: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool
        .stdin
        .take()
        .unwrap()
        .write_all(metrics.as_bytes())
        .unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn a_node_is_alive_before_it_is_ready() {
    // It looks for another node that is not there, and must not make a cluster by itself.
    let [nobody] = free_ports();
    let nobody = format!("127.0.0.1:{nobody}");
    let node = Quorate::start(&["--seed", &nobody, "--bootstrap-expect", "2"]);
    assert_eq!(
        get(node.admin_port, "/healthz").unwrap(),
        (200, "alive\n".to_owned())
    );
    let (code, body) = get(node.admin_port, "/readyz").unwrap();
    assert_eq!(code, 503);
    assert!(
        body.starts_with("not ready\ncluster: the cluster has not been made yet\n"),
        "{body}"
    );
    let output = status(node.cluster_port, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("the cluster has not been made yet"));
}

#[test]
fn the_status_page_shows_the_cluster() {
    let node = Quorate::start(&[]);
    let (code, page) = get(node.admin_port, "/").unwrap();
    assert_eq!(code, 200);
    assert!(page.contains("The cluster is healthy."), "{page}");
    assert_eq!(get(node.admin_port, "/nothing").unwrap().0, 404);
}

/// Clients that begin a request and never end it keep nobody out, and are not kept for long.
#[test]
fn the_admin_port_answers_beside_requests_that_never_end() {
    let node = Quorate::start(&[]);
    let unfinished = || {
        let mut stream = TcpStream::connect(node.admin_port).unwrap();
        stream.write_all(b"GET /healthz HTT").unwrap();
        stream
    };
    let mut all: Vec<TcpStream> = (0..200).map(|_| unfinished()).collect();
    let asked = Instant::now();
    for _ in 0..20 {
        assert_eq!(get(node.admin_port, "/healthz").unwrap().0, 200);
    }
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
    let mut last = all.pop().unwrap();
    last.set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let ended = last.read(&mut [0; 64]);
    let is_end = matches!(&ended, Ok(0)) || ended.as_ref().is_err_and(is_reset);
    assert!(is_end, "{ended:?}");
}

fn is_reset(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionReset
}

#[test]
fn info_names_the_configuration_file() {
    let folder = folder();
    let file = folder.path().join("quorate.toml");
    fs::write(&file, "[limits]\nmaxclients = 100\n").unwrap();
    let named = |arguments: &[&str]| {
        let node = Quorate::start(arguments);
        let mut wire = Wire::connect(node.any_port).unwrap();
        let info = wire.ask(&[b"INFO", b"server"]).unwrap();
        let info = text(info.text().unwrap());
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix("config_file:"));
        line.unwrap().to_owned()
    };
    let file = file.to_string_lossy();
    assert_eq!(named(&["--config", &file]), file);
    assert_eq!(named(&[]), "");
}

#[test]
fn status_says_that_nobody_answers() {
    let [nobody] = free_ports();
    let output = status(SocketAddr::from(([127, 0, 0, 1], nobody)), &[]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.starts_with(&format!("quorate: nothing answers at 127.0.0.1:{nobody}: ")),
        "{said}"
    );
}

#[test]
fn status_takes_the_cluster_port_and_the_password() {
    let node = Quorate::start(&[]);
    let said = text(&status(node.any_port, &[]).stderr);
    assert!(said.contains("not its cluster port"), "{said}");
    let mut client = Wire::connect(node.cluster_port).unwrap();
    client
        .ask(&[b"CONFIG", b"SET", b"requirepass", b"secret"])
        .unwrap();
    let said = text(&status(node.cluster_port, &[]).stderr);
    assert!(said.contains("NOAUTH"), "{said}");
    let said = text(&status(node.cluster_port, &["--password", "wrong"]).stderr);
    assert!(said.contains("WRONGPASS"), "{said}");
    let output = status(
        node.cluster_port,
        &["--user", "default", "--password", "secret"],
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn status_shows_a_cluster_and_the_loss_of_a_node() {
    let cluster = LocalCluster::start(3);
    let [first, _, third] = cluster.nodes.as_slice() else {
        panic!("three nodes")
    };
    let output = status(first.cluster_port, &["--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["healthy"], true, "{json:#}");
    assert_eq!(json["cluster"]["nodes"].as_array().unwrap().len(), 3);
    assert_eq!(json["usage"].as_object().unwrap().len(), 3);
    assert!(output.status.success());

    kill_process(Pid::from_raw(third.process).unwrap(), Signal::KILL).unwrap();
    let gone = format!("({}) is down", third.cluster_port);
    eventually(
        "the loss of a node is shown, and its slots are led by others",
        || {
            let output = status(first.cluster_port, &[]);
            assert_eq!(output.status.code(), Some(1));
            let said = text(&output.stdout);
            (said.contains(&gone) && said.contains("16384 of 16384 have a primary")).then_some(())
        },
    );
    assert!(is_ready(first.admin_port).is_some(), "what is left serves");
}
