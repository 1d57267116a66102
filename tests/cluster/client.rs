//! A client of a cluster that follows `MOVED`, and says of a write whether it knows its outcome.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use cluster::{SLOTS, Slot};
use tests::trio::NODES;
use tests::wire::{Frame, Wire, request};

/// What became of a request.
#[derive(Debug)]
pub(super) enum Answer {
    /// A reply that is no error.
    Done(Frame),
    /// It was not executed, and why.
    Refused(String),
    /// `UNCERTAIN`: it has been taken, and may be undone.
    Uncertain,
    /// No reply came. The request may lie unread at the node.
    Lost,
}

/// Connections to all nodes, and where each slot was led when it was last asked.
pub(super) struct Client {
    nodes: [SocketAddr; NODES],
    wires: [Option<Wire>; NODES],
    led_by: Vec<usize>,
    timeout: Duration,
}

impl Client {
    /// A client that waits for a reply so long.
    pub(super) fn new(nodes: [SocketAddr; NODES], timeout: Duration) -> Client {
        Client {
            nodes,
            wires: [const { None }; NODES],
            led_by: vec![0; usize::from(SLOTS)],
            timeout,
        }
    }

    /// Sends a request about one slot to where it is led. A redirection is followed as often as
    /// there are nodes.
    pub(super) fn ask(&mut self, slot: Slot, words: &[&[u8]]) -> Answer {
        let request = [(slot, request(words))];
        let mut answer = self.ask_each(&request);
        for _ in 0..NODES {
            match &answer[0] {
                Answer::Refused(why) if why.starts_with("MOVED") => {
                    answer = self.ask_each(&request);
                }
                _ => break,
            }
        }
        answer.remove(0)
    }

    /// Sends each request to where its slot was led last, and waits for all replies. Who is sent
    /// elsewhere is `Refused`, and goes there the next time.
    pub(super) fn ask_each(&mut self, requests: &[(Slot, Vec<u8>)]) -> Vec<Answer> {
        let mut of_node: [Vec<usize>; NODES] = Default::default();
        for (index, (slot, _)) in requests.iter().enumerate() {
            of_node[self.led_by[slot.index()]].push(index);
        }
        let mut answers: Vec<Option<Answer>> = requests.iter().map(|_| None).collect();
        for (node, indices) in of_node.iter().enumerate() {
            let batch = indices.iter().map(|index| requests[*index].1.as_slice());
            let mut replies = self.exchange(node, &batch.collect::<Vec<_>>()).into_iter();
            for &index in indices {
                let reply = replies.next().expect("there is one for each request");
                answers[index] = Some(self.understand(requests[index].0, reply));
            }
        }
        answers.into_iter().flatten().collect()
    }

    /// The replies of one node; for those that did not come, whether the request was sent.
    fn exchange(&mut self, node: usize, batch: &[&[u8]]) -> Vec<Result<Frame, Missing>> {
        let mut replies = Vec::with_capacity(batch.len());
        if batch.is_empty() {
            return replies;
        }
        let wire = match self.wires[node].take() {
            Some(wire) => Ok(wire),
            None => Wire::connect_within(self.nodes[node], self.timeout),
        };
        let Ok(mut wire) = wire else {
            self.give_up(node);
            return batch.iter().map(|_| Err(Missing::NotSent)).collect();
        };
        let mut state: io::Result<()> = wire.send(&batch.concat());
        for _ in batch {
            let reply = state.and_then(|()| wire.receive());
            state = match &reply {
                Ok(_) => Ok(()),
                Err(error) => Err(error.kind().into()),
            };
            replies.push(reply.map_err(|_| Missing::Sent));
        }
        match state {
            Ok(()) => self.wires[node] = Some(wire),
            Err(_) => self.give_up(node),
        }
        replies
    }

    /// Whatever this node led, another one knows more of it now.
    fn give_up(&mut self, node: usize) {
        let led = self.led_by.iter_mut().filter(|led_by| **led_by == node);
        led.for_each(|led_by| *led_by = (node + 1) % NODES);
    }

    fn understand(&mut self, slot: Slot, reply: Result<Frame, Missing>) -> Answer {
        let reply = match reply {
            Ok(reply) => reply,
            Err(Missing::NotSent) => return Answer::Refused("nobody listens".to_owned()),
            Err(Missing::Sent) => return Answer::Lost,
        };
        if reply.kind != b'-' {
            return Answer::Done(reply);
        }
        let error = String::from_utf8_lossy(reply.text().expect("an error is a line")).into_owned();
        if error.starts_with("UNCERTAIN") {
            return Answer::Uncertain;
        }
        if let Some(to) = error.strip_prefix("MOVED ") {
            let to = to.split(' ').nth(1).expect("MOVED SLOT ADDRESS");
            let to = to.parse().expect("every node's address is one");
            let led_by = self.nodes.iter().position(|address| *address == to);
            self.led_by[slot.index()] = led_by.expect("the cluster has no other nodes");
        }
        Answer::Refused(error)
    }
}

/// Why there is no reply.
enum Missing {
    NotSent,
    Sent,
}
