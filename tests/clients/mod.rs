//! Real client libraries: redis-py, ioredis, Rust's redis, redis-cli.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use cluster::SLOTS;
use redis::cluster_read_routing::RandomReplicaStrategy;
use tests::harness::Process;
use tests::local_cluster::LocalCluster;
use tests::tags::Tags;
use tests::wire::Wire;
use tokio::task::JoinSet;

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

/// The cluster that the clients meet: every second request of a client that does not know the slots
/// would go to the wrong node.
struct Stage {
    cluster: LocalCluster,
    tags: Tags,
    /// A file with a hash tag for every slot.
    keys: PathBuf,
}

impl Stage {
    fn set() -> Stage {
        let (cluster, tags) = (LocalCluster::start(3), Tags::find());
        let keys = cluster.folder().join("keys");
        std::fs::write(&keys, tags.all().join("\n")).unwrap();
        Stage {
            cluster,
            tags,
            keys,
        }
    }

    fn any_port(&self) -> SocketAddr {
        self.cluster.nodes[0].any_port
    }

    fn cluster_port(&self) -> SocketAddr {
        self.cluster.nodes[0].cluster_port
    }

    fn python(&self, kind: &str, address: SocketAddr, protocol: &str) {
        let script = tests_folder().join("clients/python_client.py");
        let (port, python) = (address.port().to_string(), ".venv/bin/python");
        let (script, keys) = (script.to_str().unwrap(), self.keys.to_str().unwrap());
        succeeds(
            self.cluster.folder(),
            &tests_folder().join(python),
            &[script, kind, &port, protocol, keys],
        );
    }

    fn javascript(&self, kind: &str, address: SocketAddr) {
        let script = tests_folder().join("clients/node_client.js");
        let port = address.port().to_string();
        let (script, keys) = (script.to_str().unwrap(), self.keys.to_str().unwrap());
        let arguments = [script, kind, &port, keys];
        succeeds(self.cluster.folder(), Path::new("node"), &arguments);
    }
}

#[tokio::test]
async fn clients_reach_every_slot_of_a_cluster() {
    let stage = Stage::set();
    for protocol in ["2", "3"] {
        stage.python("plain", stage.any_port(), protocol);
        stage.python("cluster", stage.cluster_port(), protocol);
    }
    stage.javascript("plain", stage.any_port());
    stage.javascript("cluster", stage.cluster_port());
    the_redis_crate(&stage).await;
    redis_cli(&stage);
}

/// Its pipelines are of one slot each.
async fn the_redis_crate(stage: &Stage) {
    const TASKS: usize = 64;
    let node = format!("redis://{}", stage.cluster_port());
    let client = redis::cluster::ClusterClient::new([node]).unwrap();
    let connection = client.get_async_connection().await.unwrap();
    let mut tasks = JoinSet::new();
    for tags in stage.tags.all().chunks(usize::from(SLOTS) / TASKS) {
        let (tags, mut connection) = (tags.to_vec(), connection.clone());
        tasks.spawn(async move {
            for tag in tags {
                let key = format!("rs:{tag}");
                let set = redis::cmd("SET").arg(&key).arg(&tag).to_owned();
                set.exec_async(&mut connection).await.unwrap();
                let get = redis::cmd("GET").arg(&key).to_owned();
                let value: String = get.query_async(&mut connection).await.unwrap();
                assert_eq!(value, tag);
                let mut pipeline = redis::pipe();
                pipeline.append(&key, "+").get(&key);
                let replies: (usize, String) = pipeline.query_async(&mut connection).await.unwrap();
                assert_eq!(replies, (tag.len() + 1, format!("{tag}+")));
            }
        });
    }
    tasks.join_all().await;
}

/// It knows no slots and follows every `MOVED`: slots that lie far apart, so that nodes alternate.
fn redis_cli(stage: &Stage) {
    let port = stage.cluster_port().port().to_string();
    let folder = stage.cluster.folder();
    let tags: Vec<&String> = stage.tags.all().iter().step_by(64).collect();
    let lines = |tag: &&String| format!("SET cli:{tag} {tag}\nGET cli:{tag}\n");
    let input = folder.join("lines");
    std::fs::write(&input, tags.iter().map(lines).collect::<String>()).unwrap();
    let output = Command::new("redis-cli")
        .args(["-e", "-c", "-p", &port])
        .stdin(File::open(&input).unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    let (moved, said): (Vec<&str>, Vec<&str>) = said
        .lines()
        .partition(|line| line.starts_with("-> Redirected to slot"));
    assert!(!moved.is_empty(), "one node does not lead all slots");
    let expected: Vec<&str> = tags.iter().flat_map(|tag| ["OK", tag]).collect();
    assert_eq!(said, expected);
    succeeds(
        folder,
        Path::new("redis-cli"),
        &["-e", "-c", "-p", &port, "cluster", "slots"],
    );
}

#[test]
fn a_local_cluster_serves_within_five_seconds() {
    let begun = Instant::now();
    let cluster = LocalCluster::start(3);
    let mut client = Wire::connect(cluster.nodes[0].any_port).unwrap();
    let reply = client.ask(&[b"SET", b"key", b"value"]).unwrap();
    let taken = begun.elapsed();
    assert_eq!(reply.text(), Some(b"OK".as_slice()));
    assert!(taken < Duration::from_secs(5), "after {taken:?}");
}

/// A node leads some slots and holds copies of others, which the libraries do not expect of a node
/// of Redis.
#[tokio::test]
async fn clients_read_from_replicas_of_nodes_that_lead_as_well() {
    let stage = Stage::set();
    let address = stage.cluster_port();
    for protocol in ["2", "3"] {
        stage.python("replicas", address, protocol);
    }
    stage.javascript("replicas", address);

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
