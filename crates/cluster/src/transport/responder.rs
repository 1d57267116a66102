//! The answering side of calls from one node.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::call::CallKind;
use super::call_frame::{self, Answer, Outcome, Request};
use super::frame::{Assembler, Frame};
use super::hub::Hub;
use super::link::{Channel, Source};
use super::metrics::Metrics;
use super::session::Stream;
use crate::Member;

/// Answers that wait to be sent.
struct Answers {
    state: Mutex<Waiting>,
    /// Told when the sender has taken some.
    taken: Notify,
    answer_bytes_max: usize,
}

#[derive(Default)]
struct Waiting {
    queue: VecDeque<Answer>,
    bytes: usize,
}

/// Carries out the calls of one stream until it ends. They run beside each other within this task:
/// no hop to another one, and what runs ends with the stream.
pub(crate) async fn serve(hub: &Arc<Hub>, stream: Stream) {
    let Stream {
        theirs,
        mut inbound,
        outlet,
    } = stream;
    let limits = hub.limits();
    let answers = Arc::new(Answers {
        state: Mutex::default(),
        taken: Notify::new(),
        answer_bytes_max: limits.call_bytes_max,
    });
    outlet.attach(Arc::clone(&answers) as Arc<dyn Source>);
    let wake = outlet.wake();
    let mut assembler = Assembler::new(limits.message_bytes_max);
    let mut running = FuturesUnordered::new();
    loop {
        let reads = running.len() < limits.calls_in_flight_max
            && answers.state.lock().bytes < limits.calls_queued_bytes_max;
        tokio::select! {
            biased;
            Some(answer) = running.next(), if !running.is_empty() => {
                answers.push(answer);
                wake.wake();
            }
            frame = inbound.next(), if reads => {
                let Some(payload) = batch(hub, &mut assembler, frame) else { break };
                let Some(mut payload) = payload else { continue };
                loop {
                    match call_frame::next_request(&mut payload) {
                        Ok(Some(request)) => running.push(start(hub, theirs.member, request)),
                        Ok(None) => break,
                        Err(call_frame::Malformed) => return,
                    }
                }
            }
            () = answers.taken.notified(), if !reads => (),
            // Nobody takes what waits, and while it does nothing is read.
            () = outlet.dropped(), if !reads => break,
        }
    }
}

/// The payload that a frame completes, if it does; `None` outside if the stream is over.
pub(crate) fn batch(
    hub: &Hub,
    assembler: &mut Assembler,
    frame: Option<Result<Frame, String>>,
) -> Option<Option<Bytes>> {
    let Some(Ok(Frame::Batch {
        channel,
        payload,
        more,
    })) = frame
    else {
        return None;
    };
    hub.metrics.call_received.count(payload.len());
    assembler.add(channel, payload, more).ok()
}

fn start(
    hub: &Hub,
    from: Member,
    request: Request,
) -> impl Future<Output = Answer> + Send + 'static {
    let Request { id, kind, body } = request;
    let handling = CallKind::from_number(kind)
        .and_then(|kind| Some(hub.handler(kind)?.handle(from, kind, body)));
    async move {
        match handling {
            None => Answer {
                id,
                outcome: Outcome::NotServed,
                body: Bytes::new(),
            },
            Some(handling) => Answer {
                id,
                outcome: Outcome::Done,
                body: handling.await,
            },
        }
    }
}

impl Answers {
    fn push(&self, mut answer: Answer) {
        if answer.body.len() > self.answer_bytes_max {
            Metrics::limit_reached("peers.call_bytes_max");
            answer = Answer {
                outcome: Outcome::TooLarge,
                body: Bytes::new(),
                ..answer
            };
        }
        let mut state = self.state.lock();
        state.bytes += answer.body.len();
        state.queue.push_back(answer);
    }
}

impl Source for Answers {
    fn take(&self, bytes_max: usize) -> Option<(Channel, Bytes)> {
        let mut batch = call_frame::Batch::new();
        {
            let mut state = self.state.lock();
            while let Some(answer) = state.queue.front() {
                if !batch.has_room(answer.body.len(), bytes_max) {
                    break;
                }
                let Some(answer) = state.queue.pop_front() else {
                    break;
                };
                state.bytes -= answer.body.len();
                batch.answer(&answer);
            }
        }
        let payload = batch.finish()?;
        self.taken.notify_one();
        Some((Channel::Replication, payload))
    }
}
