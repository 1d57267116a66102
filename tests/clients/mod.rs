//! Real client libraries: redis-py, ioredis, Rust's redis, redis-cli.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use redis::cluster_read_routing::RandomReplicaStrategy;
use tests::harness::{Process, Quorate};
use tests::local_cluster::LocalCluster;

/// Runs a program with arguments to its end, which must be a good one.
fn succeeds(folder: &Path, program: &Path, arguments: &[&str]) {
    let mut client = Process::start("client", Command::new(program).args(arguments), folder);
    let status = client.ends();
    assert!(
        status.success(),
        "{}: {status}: {}",
        program.display(),
        client.stderr()
    );
}

fn tests_folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn python(folder: &Path, kind: &str, address: SocketAddr, protocol: &str) {
    let script = tests_folder().join("clients/python_client.py");
    let port = address.port().to_string();
    let python = tests_folder().join(".venv/bin/python");
    succeeds(
        folder,
        &python,
        &[script.to_str().unwrap(), kind, &port, protocol],
    );
}

fn javascript(folder: &Path, kind: &str, address: SocketAddr) {
    let script = tests_folder().join("clients/node_client.js");
    let port = address.port().to_string();
    succeeds(
        folder,
        Path::new("node"),
        &[script.to_str().unwrap(), kind, &port],
    );
}

#[test]
fn redis_py_works_as_a_plain_client() {
    for protocol in ["2", "3"] {
        let node = Quorate::start(&[]);
        python(node.folder(), "plain", node.any_port, protocol);
    }
}

#[test]
fn redis_py_works_as_a_cluster_client() {
    for protocol in ["2", "3"] {
        let node = Quorate::start(&[]);
        python(node.folder(), "cluster", node.cluster_port, protocol);
    }
}

#[test]
fn ioredis_works_as_a_plain_client() {
    let node = Quorate::start(&[]);
    javascript(node.folder(), "plain", node.any_port);
}

#[test]
fn ioredis_works_as_a_cluster_client() {
    let node = Quorate::start(&[]);
    javascript(node.folder(), "cluster", node.cluster_port);
}

#[tokio::test]
async fn the_redis_crate_works_as_a_cluster_client() {
    let node = Quorate::start(&[]);
    let client = redis::cluster::ClusterClient::new([format!("redis://{}", node.cluster_port)]);
    let mut connection = client.unwrap().get_async_connection().await.unwrap();
    let keys: Vec<String> = (0..2_000).map(|number| format!("key:{number}")).collect();
    for key in &keys {
        redis::cmd("SET")
            .arg(key)
            .arg(key)
            .exec_async(&mut connection)
            .await
            .unwrap();
    }
    for key in &keys {
        let value: String = redis::cmd("GET")
            .arg(key)
            .query_async(&mut connection)
            .await
            .unwrap();
        assert_eq!(value, *key);
    }
}

#[test]
fn redis_cli_works_as_a_cluster_client() {
    let node = Quorate::start(&[]);
    let port = node.cluster_port.port().to_string();
    succeeds(
        node.folder(),
        Path::new("redis-cli"),
        &["-e", "-c", "-p", &port, "set", "key", "value"],
    );
    succeeds(
        node.folder(),
        Path::new("redis-cli"),
        &["-e", "-c", "-p", &port, "cluster", "slots"],
    );
}

/// A node leads some slots and holds copies of others, which the libraries do not expect of a node
/// of Redis.
#[tokio::test]
async fn clients_read_from_replicas_of_nodes_that_lead_as_well() {
    let cluster = LocalCluster::start(3);
    let address = cluster.nodes[0].cluster_port;
    for protocol in ["2", "3"] {
        python(cluster.folder(), "replicas", address, protocol);
    }
    javascript(cluster.folder(), "replicas", address);

    let client = redis::cluster::ClusterClient::builder([format!("redis://{address}")])
        .read_routing_strategy(RandomReplicaStrategy)
        .build();
    let mut connection = client.unwrap().get_async_connection().await.unwrap();
    for number in 0..500 {
        let (key, mut value) = (format!("rust:{number}"), None);
        let set = redis::cmd("SET").arg(&key).arg(number).to_owned();
        set.exec_async(&mut connection).await.unwrap();
        // A copy may lag behind.
        while value != Some(number) {
            let get = redis::cmd("GET").arg(&key).to_owned();
            value = get.query_async(&mut connection).await.unwrap();
        }
    }
}
