//! Calls: many at a time, given up, without an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use super::super::{BoxFuture, CallError, CallKind, Calls, Handler, Links, Lost, NotSent};
use super::{Fabric, Node, pair, settings};
use crate::Member;

/// Answers with the request, once `room` calls are there.
struct Echo {
    arrived: AtomicUsize,
    room: usize,
    full: Notify,
    dropped: Arc<AtomicUsize>,
}

impl Echo {
    fn new(room: usize) -> Arc<Echo> {
        let dropped = Arc::new(AtomicUsize::new(0));
        Arc::new(Echo {
            arrived: AtomicUsize::new(0),
            room,
            full: Notify::new(),
            dropped,
        })
    }
}

struct EchoHandler(Arc<Echo>);

struct CountDrop(Arc<AtomicUsize>);

impl Drop for CountDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Handler for EchoHandler {
    fn handle(&self, _from: Member, _kind: CallKind, request: Bytes) -> BoxFuture<'static, Bytes> {
        let echo = Arc::clone(&self.0);
        let dropped = CountDrop(Arc::clone(&echo.dropped));
        Box::pin(async move {
            let _dropped = dropped;
            let full = echo.full.notified();
            if echo.arrived.fetch_add(1, Ordering::Relaxed) + 1 == echo.room {
                echo.full.notify_waiters();
            } else {
                full.await;
            }
            request
        })
    }
}

pub(super) async fn thousands_of_calls_are_in_flight_at_once(fabric: Fabric) {
    const CALLS: usize = 5000;
    let (a, b) = pair(&fabric).await;
    b.transport
        .serve(CallKind::Inquiry, Arc::new(EchoHandler(Echo::new(CALLS))));
    let calls = (0..CALLS).map(|number| {
        let request = Bytes::from(number.to_string().repeat(number % 50));
        let to = b.member.node;
        let call = a.transport.call(
            to,
            CallKind::Inquiry,
            request.clone(),
            Duration::from_secs(20),
        );
        async move { (call.await, request) }
    });
    for (answer, request) in futures_util::future::join_all(calls).await {
        assert_eq!(answer, Ok(request));
    }
}

pub(super) async fn a_call_without_an_answer_says_whether_it_may_have_run(fabric: Fabric) {
    let (a, b) = pair(&fabric).await;
    assert_eq!(
        a.call(&b, "x").await,
        Err(CallError::NotSent(NotSent::NotServed))
    );
    let echo = Echo::new(usize::MAX);
    b.transport
        .serve(CallKind::Command, Arc::new(EchoHandler(Arc::clone(&echo))));
    let arrived = |count| {
        let echo = Arc::clone(&echo);
        move |_: &Node| echo.arrived.load(Ordering::Relaxed) == count
    };
    let short = Duration::from_millis(50);
    let slow = a
        .transport
        .call(b.member.node, CallKind::Command, Bytes::new(), short);
    assert_eq!(slow.await, Err(CallError::Unknown(Lost::TimedOut)));
    b.until("the first call", arrived(1)).await;
    let lost = a.call(&b, "y");
    let ending = async {
        b.until("the second call", arrived(2)).await;
        a.transport.forget(b.member.node);
    };
    assert_eq!(
        tokio::join!(lost, ending).0,
        Err(CallError::Unknown(Lost::LinkLost))
    );
    // What runs ends with the stream that it came on.
    b.until("the end of both", |_| {
        echo.dropped.load(Ordering::Relaxed) == 2
    })
    .await;
}

pub(super) async fn a_call_given_up_makes_room(fabric: Fabric) {
    let mut bounded = settings(1, 1);
    bounded.limits.calls_in_flight_max = 2;
    let a = Node::start(&fabric, bounded).await;
    let b = Node::start(&fabric, settings(2, 1)).await;
    a.connect(&b);
    a.linked(&b).await;
    b.transport.serve(
        CallKind::Command,
        Arc::new(EchoHandler(Echo::new(usize::MAX))),
    );
    {
        let (one, two) = (a.call(&b, "1"), a.call(&b, "2"));
        tokio::pin!(one, two);
        let started = futures_util::future::select(&mut one, &mut two);
        let none = tokio::time::timeout(Duration::from_millis(20), started).await;
        assert!(none.is_err(), "nobody answers");
        assert_eq!(
            a.call(&b, "3").await,
            Err(CallError::NotSent(NotSent::Busy))
        );
    }
    b.transport
        .serve(CallKind::Command, Arc::new(EchoHandler(Echo::new(1))));
    assert_eq!(a.call(&b, "4").await, Ok(Bytes::from_static(b"4")));
}
