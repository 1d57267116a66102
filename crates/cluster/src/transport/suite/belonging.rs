//! Who is let in, and for how long.

use super::super::{CallError, Links, NotSent, Secret, Settings};
use super::{Fabric, Node, pair, settings};
use crate::Lineage;

pub(super) async fn who_does_not_belong_is_refused(fabric: Fabric) {
    let lineage = Some(Lineage(7));
    let a = Node::start(
        &fabric,
        Settings {
            lineage,
            ..settings(1, 1)
        },
    )
    .await;
    let wrong = Secret::new(b"another secret of theirs").unwrap();
    let mut strangers = vec![
        Settings {
            secret: Some(wrong),
            lineage,
            ..settings(2, 1)
        },
        Settings {
            secret: None,
            lineage,
            ..settings(3, 1)
        },
        Settings {
            lineage: Some(Lineage(8)),
            ..settings(4, 1)
        },
        settings(1, 9), // our own node id
    ];
    let mut nodes = Vec::new();
    for stranger in &mut strangers {
        stranger.seeds = vec![a.address.clone()];
        let node = Node::start(&fabric, stranger.clone()).await;
        node.connect(&a);
        a.connect(&node);
        nodes.push(node);
    }
    // One that belongs comes last, by a seed; when it is linked, the others had their chance.
    let seeds = vec!["nobody.invalid:1".to_owned(), a.address.clone()];
    let friend = Node::start(
        &fabric,
        Settings {
            seeds,
            ..settings(5, 1)
        },
    )
    .await;
    friend.linked(&a).await;
    a.linked(&friend).await;
    for node in &nodes {
        assert_eq!(
            *node.heard.events.lock(),
            [],
            "{:?} was let in",
            node.member
        );
        let refused = a.call(node, "anybody?").await;
        assert_eq!(refused, Err(CallError::NotSent(NotSent::NoLink)));
    }
    assert!(
        a.transport
            .open()
            .iter()
            .all(|link| link.peer == friend.member)
    );
}

pub(super) async fn a_lineage_is_learned_on_open_streams(fabric: Fabric) {
    let (a, b) = pair(&fabric).await;
    a.transport.set_lineage(Lineage(7));
    b.transport.set_lineage(Lineage(7));
    let open = a.transport.open();
    assert_eq!(open.len(), 2);
    b.transport.set_lineage(Lineage(8));
    a.until("the end", |a| a.transport.open().is_empty()).await;
    assert!(!open.is_empty());
}

pub(super) async fn a_forgotten_peer_is_left_alone(fabric: Fabric) {
    let (a, b) = pair(&fabric).await;
    b.transport.forget(a.member.node);
    a.transport.forget(b.member.node);
    a.until("the end", |a| a.transport.open().is_empty()).await;
    b.until("the end", |b| b.transport.open().is_empty()).await;
    assert_eq!(
        a.call(&b, "anybody?").await,
        Err(CallError::NotSent(NotSent::NoLink))
    );
}
