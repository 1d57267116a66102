//! Order, size, restarts and slow readers of links.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use super::super::{CallError, Channel, Direction, Link, Links, NotSent};
use super::{Event, Fabric, Node, pair, settings};

pub(super) async fn messages_keep_their_order(fabric: Fabric) {
    let (a, b) = pair(&fabric).await;
    let forward = a.outlet(&b, Direction::Initiated).unwrap();
    let back = b.outlet(&a, Direction::Accepted).unwrap();
    for number in 0..5000_u32 {
        forward.put(number.to_le_bytes().to_vec());
        back.put(number.to_be_bytes().to_vec());
    }
    for (node, direction, read) in [
        (
            &b,
            Direction::Accepted,
            u32::from_le_bytes as fn([u8; 4]) -> u32,
        ),
        (&a, Direction::Initiated, u32::from_be_bytes),
    ] {
        let received = || node.heard.payloads(direction, Channel::Replication);
        node.until("all messages", |_| received().len() == 5000)
            .await;
        let numbers = received()
            .into_iter()
            .map(|bytes| read(bytes[..].try_into().unwrap()));
        assert!(numbers.eq(0..5000));
    }
}

pub(super) async fn a_packet_is_answered_from_within_the_driver(fabric: Fabric) {
    let (a, b) = pair(&fabric).await;
    *b.heard.echo.lock() = Arc::downgrade(&b.transport);
    a.transport
        .gossip(b.member.node, Bytes::from_static(b"hello"));
    a.until("the answer", |a| {
        [Direction::Accepted, Direction::Initiated]
            .iter()
            .any(|&direction| a.heard.payloads(direction, Channel::Gossip) == ["hello"])
    })
    .await;
}

pub(super) async fn a_long_message_arrives_whole_and_gossip_does_not_wait_for_it(fabric: Fabric) {
    let (a, b) = pair(&fabric).await;
    let long: Bytes = (0..20_u32 << 20)
        .map(|i| (i >> 8) as u8)
        .collect::<Vec<_>>()
        .into();
    a.outlet(&b, Direction::Initiated)
        .unwrap()
        .put(long.clone());
    a.transport
        .gossip(b.member.node, Bytes::from_static(b"hello"));
    b.until("the long message", |b| {
        !b.heard
            .payloads(Direction::Accepted, Channel::Replication)
            .is_empty()
    })
    .await;
    assert_eq!(
        b.heard.payloads(Direction::Accepted, Channel::Replication),
        [long]
    );
    b.until("the packet", |b| {
        [Direction::Accepted, Direction::Initiated]
            .iter()
            .any(|&direction| b.heard.payloads(direction, Channel::Gossip) == ["hello"])
    })
    .await;
}

pub(super) async fn a_restarted_peer_is_another_member_on_a_new_stream(fabric: Fabric) {
    let (a, b) = pair(&fabric).await;
    let Node {
        transport, address, ..
    } = b;
    drop(transport);
    let b = Node::start_at(&fabric, &address, settings(2, 2)).await;
    a.linked(&b).await;
    let events = a.heard.events.lock().clone();
    let opened: Vec<Link> = events
        .iter()
        .filter_map(|event| match event {
            Event::Opened(link, _) => Some(*link),
            _ => None,
        })
        .collect();
    assert!(opened.is_sorted_by_key(|link| link.stream), "{opened:?}");
    for direction in [Direction::Initiated, Direction::Accepted] {
        assert_handled_one_by_one(&events, direction);
    }
}

/// Each stream of a direction is opened, received from and closed before the next one is opened.
fn assert_handled_one_by_one(events: &[Event], direction: Direction) {
    let mut open = None;
    for event in events {
        match event {
            Event::Opened(link, _) if link.direction == direction => {
                assert_eq!(open.replace(*link), None, "{events:?}");
            }
            Event::Received(link, ..) if link.direction == direction => {
                assert_eq!(open, Some(*link), "{events:?}");
            }
            Event::Closed(link) if link.direction == direction => {
                assert_eq!(open.take(), Some(*link), "{events:?}");
            }
            _ => (),
        }
    }
}

pub(super) async fn a_new_stream_ends_the_old_one_before_it_is_read(fabric: Fabric) {
    let (old, b) = pair(&fabric).await;
    // The old process has not ended, and its messages are queued at b when the new one connects.
    let gate = Arc::new(Notify::new());
    *b.heard.gate.lock() = Some(Arc::clone(&gate));
    let outlet = old.outlet(&b, Direction::Initiated).unwrap();
    for _ in 0..100 {
        outlet.put(&b"old"[..]);
    }
    b.until("a first message", |b| {
        !b.heard
            .payloads(Direction::Accepted, Channel::Replication)
            .is_empty()
    })
    .await;
    let new = Node::start(&fabric, settings(1, 2)).await;
    new.connect(&b);
    new.until("its link", |new| {
        new.outlet(&b, Direction::Initiated).is_some()
    })
    .await;
    *b.heard.gate.lock() = None;
    new.outlet(&b, Direction::Initiated)
        .unwrap()
        .put(&b"new"[..]);
    let accepted = || b.heard.payloads(Direction::Accepted, Channel::Replication);
    b.until("the new message", |_| {
        accepted().last() == Some(&Bytes::from_static(b"new"))
    })
    .await;
    gate.notify_waiters();
    assert_eq!(accepted(), ["old", "new"]);
    assert_handled_one_by_one(&b.heard.events.lock(), Direction::Accepted);
    // The old process tries again and again, and is told that it is over.
    let initiated = |node: &Node| {
        node.outlet(&b, Direction::Initiated)
            .map_or(0, |_| node.member.incarnation.0)
    };
    old.until("its end", |old| initiated(old) == 0).await;
}

pub(super) async fn what_a_slow_peer_does_not_read_stays_in_the_source(fabric: Fabric) {
    let (a, b) = pair(&fabric).await;
    let gate = Arc::new(Notify::new());
    *b.heard.gate.lock() = Some(Arc::clone(&gate));
    let outlet = a.outlet(&b, Direction::Initiated).unwrap();
    let payload = Bytes::from(vec![7; 256 << 10]);
    for _ in 0..200 {
        outlet.put(payload.clone());
    }
    // The other direction is not held up, nor are calls.
    let back = b.outlet(&a, Direction::Initiated).unwrap();
    back.put(&b"still here"[..]);
    a.until("the other direction", |a| {
        !a.heard
            .payloads(Direction::Accepted, Channel::Replication)
            .is_empty()
    })
    .await;
    let refused = a.call(&b, "anybody?").await;
    assert_eq!(refused, Err(CallError::NotSent(NotSent::NotServed)));
    let taken = outlet.taken_bytes.load(Ordering::Relaxed);
    assert!(taken < 20 << 20, "{taken} of 50 MiB were taken");
    *b.heard.gate.lock() = None;
    gate.notify_one();
    b.until("everything", |b| {
        b.heard
            .payloads(Direction::Accepted, Channel::Replication)
            .len()
            == 200
    })
    .await;
}

pub(super) async fn a_silent_peer_is_cut_off(fabric: Fabric) {
    let mut strict = settings(1, 1);
    strict.limits.silence = Duration::from_millis(200);
    let a = Node::start(&fabric, strict).await;
    let b = Node::start(&fabric, settings(2, 1)).await;
    a.connect(&b);
    // Nobody sends heartbeats here, so each stream ends and is opened again.
    a.until("a second stream of each direction", |a| {
        [Direction::Initiated, Direction::Accepted]
            .iter()
            .all(|&direction| {
                let events = a.heard.events.lock();
                let opened = events.iter().filter(
                    |event| matches!(event, Event::Opened(link, _) if link.direction == direction),
                );
                opened.count() >= 2
            })
    })
    .await;
}
