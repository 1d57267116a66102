//! The asking side of calls to one node: what waits to be sent, and who waits for an answer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ahash::AHashMap;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::call::{CallError, CallKind, Lost, NotSent};
use super::call_frame::{self, Answer, Outcome, Request};
use super::link::{Channel, Source, Wake};
use super::metrics::{CallMetrics, Metrics};

/// The bounds of the calls to one node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallLimits {
    pub(crate) in_flight_max: usize,
    pub(crate) request_bytes_max: usize,
    pub(crate) queued_bytes_max: usize,
}

/// Calls from this node to one other, over whatever stream is open at the time.
pub(crate) struct Caller {
    state: Mutex<State>,
    limits: CallLimits,
    metrics: CallMetrics,
}

#[derive(Default)]
struct State {
    /// Wakes the open stream's sender; none if there is no stream.
    wake: Option<Wake>,
    /// Which stream that is, so that a late end of an old one does not end the new one.
    stream: u64,
    next_id: u64,
    queue: VecDeque<Request>,
    queued_bytes: usize,
    waiting: AHashMap<u64, Waiting>,
}

struct Waiting {
    reply: oneshot::Sender<Result<Bytes, CallError>>,
    sent: bool,
}

/// A call under way; gives it up when dropped.
struct Ticket<'a> {
    caller: &'a Caller,
    id: u64,
    answered: bool,
}

impl Caller {
    pub(crate) fn new(limits: CallLimits, metrics: CallMetrics) -> Caller {
        Caller {
            state: Mutex::default(),
            limits,
            metrics,
        }
    }

    /// Sends the request and waits.
    pub(crate) async fn call(
        self: Arc<Self>,
        kind: CallKind,
        request: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, CallError> {
        let started = Instant::now();
        let result = self.ask(kind, request, timeout).await;
        match &result {
            Ok(_) => self
                .metrics
                .seconds(kind)
                .record(started.elapsed().as_secs_f64()),
            Err(CallError::NotSent(_)) => self.metrics.not_sent.increment(1),
            Err(CallError::Unknown(_)) => self.metrics.unknown.increment(1),
        }
        result
    }

    async fn ask(
        &self,
        kind: CallKind,
        request: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, CallError> {
        let (id, reply) = self.submit(kind, request).map_err(CallError::NotSent)?;
        let mut ticket = Ticket {
            caller: self,
            id,
            answered: false,
        };
        match tokio::time::timeout(timeout, reply).await {
            Ok(answer) => {
                ticket.answered = true;
                answer.unwrap_or(Err(CallError::Unknown(Lost::LinkLost)))
            }
            Err(_elapsed) => {
                ticket.answered = true;
                Err(match self.withdraw(id) {
                    Some(false) => CallError::NotSent(NotSent::TimedOut),
                    Some(true) | None => CallError::Unknown(Lost::TimedOut),
                })
            }
        }
    }

    fn submit(
        &self,
        kind: CallKind,
        body: Bytes,
    ) -> Result<(u64, oneshot::Receiver<Result<Bytes, CallError>>), NotSent> {
        if body.len() > self.limits.request_bytes_max {
            Metrics::limit_reached("peers.call_bytes_max");
            return Err(NotSent::TooLarge);
        }
        let (reply, receiver) = oneshot::channel();
        let (id, wake) = {
            let mut state = self.state.lock();
            let wake = state.wake.clone().ok_or(NotSent::NoLink)?;
            let queued_bytes = state.queued_bytes + body.len();
            if state.waiting.len() >= self.limits.in_flight_max {
                Metrics::limit_reached("peers.calls_in_flight_max");
                return Err(NotSent::Busy);
            }
            if queued_bytes > self.limits.queued_bytes_max {
                Metrics::limit_reached("peers.calls_queued_bytes_max");
                return Err(NotSent::Busy);
            }
            let id = state.next_id;
            state.next_id += 1;
            state.queued_bytes = queued_bytes;
            state.queue.push_back(Request {
                id,
                kind: kind as u8,
                body,
            });
            state.waiting.insert(id, Waiting { reply, sent: false });
            (id, wake)
        };
        self.metrics.in_flight.increment(1);
        wake.wake();
        Ok((id, receiver))
    }

    /// Nobody waits for this call any more. Returns whether it was sent, if it still waited.
    fn withdraw(&self, id: u64) -> Option<bool> {
        let sent = {
            let mut state = self.state.lock();
            let waiting = state.waiting.remove(&id)?;
            if !waiting.sent
                && let Ok(at) = state.queue.binary_search_by_key(&id, |request| request.id)
                && let Some(request) = state.queue.remove(at)
            {
                state.queued_bytes -= request.body.len();
            }
            waiting.sent
        };
        self.metrics.in_flight.decrement(1);
        Some(sent)
    }

    /// A stream is open: calls go out on it from now on.
    pub(crate) fn opened(&self, stream: u64, wake: Wake) {
        self.fail_all();
        let mut state = self.state.lock();
        state.wake = Some(wake);
        state.stream = stream;
    }

    /// The stream has ended, and with it the calls that were on it.
    pub(crate) fn closed(&self, stream: u64) {
        {
            let mut state = self.state.lock();
            if state.stream != stream {
                return;
            }
            state.wake = None;
        }
        self.fail_all();
    }

    fn fail_all(&self) {
        let waiting = {
            let mut state = self.state.lock();
            state.queue.clear();
            state.queued_bytes = 0;
            std::mem::take(&mut state.waiting)
        };
        self.metrics.in_flight.decrement(waiting.len() as f64);
        for Waiting { reply, sent } in waiting.into_values() {
            let error = if sent {
                CallError::Unknown(Lost::LinkLost)
            } else {
                CallError::NotSent(NotSent::LinkLost)
            };
            // Whoever waited may have given up in this moment.
            let _ = reply.send(Err(error));
        }
    }

    /// Hands out a batch of answers. An answer that nobody waits for any more is dropped.
    pub(crate) fn answers(&self, mut payload: Bytes) -> Result<(), call_frame::Malformed> {
        while let Some(Answer { id, outcome, body }) = call_frame::next_answer(&mut payload)? {
            let Some(waiting) = self.state.lock().waiting.remove(&id) else {
                continue;
            };
            self.metrics.in_flight.decrement(1);
            let result = match outcome {
                Outcome::Done => Ok(body),
                Outcome::NotServed => Err(CallError::NotSent(NotSent::NotServed)),
                Outcome::TooLarge => Err(CallError::Unknown(Lost::AnswerTooLarge)),
            };
            // Whoever waited may have given up in this moment.
            let _ = waiting.reply.send(result);
        }
        Ok(())
    }
}

impl Source for Caller {
    fn take(&self, bytes_max: usize) -> Option<(Channel, Bytes)> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let mut batch = call_frame::Batch::new();
        while let Some(request) = state.queue.front() {
            if !batch.has_room(request.body.len(), bytes_max) {
                break;
            }
            let Some(request) = state.queue.pop_front() else {
                break;
            };
            state.queued_bytes -= request.body.len();
            if let Some(waiting) = state.waiting.get_mut(&request.id) {
                waiting.sent = true;
                batch.request(&request);
            }
        }
        batch
            .finish()
            .map(|payload| (Channel::Replication, payload))
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.caller.withdraw(self.id);
        }
    }
}
