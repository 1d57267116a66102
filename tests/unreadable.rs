//! A cluster that this version of the program cannot read: the process says so, and ends.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cluster::identity::Identity;
use cluster::metadata::{BootstrapSettings, Disk, Group, GroupSettings, Neighbours, bootstrap};
use cluster::transport::{BoxFuture, CallError, CallKind, Calls, Handler, NotSent};
use cluster::{Member, NodeId, NodeInfo, SLOTS};
use tests::harness::{Process, folder, quorate};
use tokio::sync::watch;

/// The way to nobody.
struct Nowhere;

impl Calls for Nowhere {
    fn call(
        &self,
        _: NodeId,
        _: CallKind,
        _: Bytes,
        _: Duration,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        Box::pin(std::future::ready(Err(CallError::NotSent(NotSent::NoLink))))
    }

    fn serve(&self, _: CallKind, _: Arc<dyn Handler>) {}
}

/// Makes a cluster of one in this folder, whose metadata has a document that is not to be read.
async fn found(data: &Path) {
    let mut disk = None;
    let identity = Identity::open::<Box<dyn Error>>(data, |found| {
        let opened = disk.insert(Disk::open(data)?);
        Ok(opened.owner(found, NodeId::from_bytes([7; 20]))?)
    });
    let (identity, disk) = (identity.unwrap(), Arc::new(disk.unwrap()));
    let me = Member {
        node: identity.node(),
        incarnation: disk.draw_incarnation().unwrap(),
    };
    let (_neighbours, seen) = watch::channel(Neighbours::default());
    let spans = GroupSettings::default();
    let group = Group::start(me, disk, Arc::new(Nowhere), seen, SLOTS, spans)
        .await
        .unwrap();
    let info = NodeInfo {
        peer_address: "127.0.0.1:16379".to_owned(),
        client_host: "127.0.0.1".to_owned(),
        cluster_port: 6379,
        any_port: 6380,
        admin_port: 9121,
        zone: String::new(),
        weight: 1,
    };
    let beginning = BootstrapSettings {
        expect: Some(1),
        replication_factor: Some(1),
        write_quorum: None,
        read_quorum: None,
        on_loss: None,
        documents: vec![("keyspaces".to_owned(), Bytes::from_static(b"\xff\xff"))],
    };
    bootstrap(&group, info.clone(), beginning).await.unwrap();
    group.register(info).await.unwrap();
    group.stop().await;
}

#[test]
fn a_node_ends_that_cannot_read_the_keyspaces_of_its_cluster() {
    let folder = folder();
    let data = folder.path().join("data");
    tokio::runtime::Runtime::new()
        .unwrap()
        .block_on(found(&data));
    let mut command = quorate();
    command.arg("serve").arg("--data").arg(&data);
    for port in ["--port", "--any-port", "--peer-port", "--admin-port"] {
        command.args([port, "0"]);
    }
    let mut node = Process::start("quorate", &mut command, folder.path());
    assert_eq!(node.ends().code(), Some(1));
    let said = node.stderr();
    let last = said.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("quorate: this version of Quorate cannot read the cluster's keyspaces: "),
        "{said}"
    );
}
