//! Who is alive: SWIM gossip without sockets, clocks or chance of its own.
//!
//! [`Membership`] is a state machine: packets, time and the nodes that can be reached go in,
//! packets and news come out. The protocol is foca's; what is ours is the identity (a node id, its
//! incarnation, and what the node says of itself), the joining, and what a pause of this very
//! process means. [`Gossip`] runs it on the links of the transport.
//!
//! What it says is a hint. Who owns a slot, and whether a member counts, is decided elsewhere.

mod bulletin;
mod gossip;
mod identity;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use foca::{Foca, Notification, Runtime, State, Timer};
use rand::RngExt;
use rand::rngs::StdRng;

pub use bulletin::{BULLETIN_BYTES_MAX, Topic};
pub use gossip::{Gossip, MemberEvent};
pub use settings::Settings;

use crate::{Member, NodeId, NodeInfo, Time};
use bulletin::Board;
use identity::{Identity, PostcardCodec};

/// What happens to the membership.
#[derive(Clone, Debug)]
pub enum Event {
    /// A packet of another node's gossip.
    Received(Bytes),
    /// These are the members that packets can be sent to now. To be repeated about as often as
    /// [`Settings::join_interval`]: nodes that are not among the living yet are found this way.
    Reachable(Vec<Member>),
    /// This node's present word on a topic, of at most [`BULLETIN_BYTES_MAX`].
    Publish(Topic, Vec<u8>),
    /// What this node says of itself has changed.
    Info(NodeInfo),
    /// This node is about to stop: the others need not find out by themselves.
    Leave,
    /// Time has passed.
    Tick,
}

/// What the membership wants done, and what it has learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send the packet; it may get lost.
    Send {
        /// To this node.
        to: NodeId,
        /// The packet.
        packet: Bytes,
    },
    /// The member is alive: new, back, cleared of a suspicion, or with changed facts.
    Alive(Member, Arc<NodeInfo>),
    /// The member did not answer. It counts as alive for the time being.
    Suspect(Member),
    /// The member is down, or a later start of its node has taken its place.
    Down(Member),
    /// Another node's newest word on a topic.
    Published(Member, Topic, Vec<u8>),
    /// Others had declared this node down, wrongly; it has come back.
    Rejoined,
}

/// What the gossip says of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// It answers.
    Alive,
    /// It did not answer lately.
    Suspect,
    /// It is gone.
    Down,
}

/// One node of whom the gossip has spoken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its latest start.
    pub member: Member,
    /// What is said of it.
    pub liveness: Liveness,
    /// What it says of itself.
    pub info: Arc<NodeInfo>,
}

/// One node's view of who is alive.
pub struct Membership {
    settings: Settings,
    foca: Foca<Identity, PostcardCodec, StdRng, Board>,
    rng: StdRng,
    board: Board,
    effects: Effects,
    timers: BTreeMap<(Time, u64), Timer<Identity>>,
    timer_count: u64,
    seen: BTreeMap<NodeId, Seen>,
    last_run: Time,
    next_join: Time,
    next_bulletins: Time,
    left: bool,
}

/// What foca asks for while it handles something.
#[derive(Default)]
struct Effects {
    packets: Vec<(NodeId, Bytes)>,
    timers: Vec<(Duration, Timer<Identity>)>,
    rejoined: bool,
}

/// A newcomer hears the present bulletins so soon after it joined; they are sent once for all who
/// join at about the same time.
const BULLETINS_AFTER_JOIN: Duration = Duration::from_millis(500);

/// A node that is alone asks so many of those that it can reach at a time.
const ASKED_AT_ONCE: usize = 3;

impl Membership {
    /// The view of a node that has just started and knows nobody.
    #[must_use]
    pub fn new(settings: Settings, me: Member, info: NodeInfo, mut rng: StdRng) -> Membership {
        let board = Board::new(me);
        let identity = Identity {
            member: me,
            renewal: 0,
            info: Arc::new(info),
        };
        let codec = PostcardCodec {
            unknown: Arc::default(),
        };
        let foca = Foca::with_custom_broadcast(
            identity,
            settings.foca(),
            rand::SeedableRng::from_rng(&mut rng),
            codec,
            board.clone(),
        );
        Membership {
            settings,
            foca,
            rng,
            board,
            effects: Effects::default(),
            timers: BTreeMap::new(),
            timer_count: 0,
            seen: BTreeMap::new(),
            last_run: Time::ZERO,
            next_join: Time::ZERO,
            next_bulletins: Time::MAX,
            left: false,
        }
    }

    /// Takes what has happened; a late or an extra call does no harm.
    pub fn handle(&mut self, now: Time, event: Event, out: &mut Vec<Output>) {
        if self.left {
            return;
        }
        self.forgive_pause(now);
        while let Some(due) = self
            .timers
            .first_entry()
            .filter(|timer| timer.key().0 <= now)
        {
            let timer = due.remove();
            let handled = self.foca.handle_timer(timer, &mut self.effects);
            self.settle(now, handled, out);
        }
        let handled = self.handle_event(now, event);
        self.settle(now, handled, out);
        if now >= self.next_bulletins {
            self.repeat_bulletins(now, out);
        }
    }

    /// When [`Membership::handle`] wants to be called next if nothing happens until then.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        let timer = self.timers.keys().next().map(|&(due, _)| due);
        let bulletins = Some(self.next_bulletins).filter(|&due| due < Time::MAX);
        timer.into_iter().chain(bulletins).min()
    }

    /// The other nodes, down ones too while they are remembered.
    pub fn members(&self) -> impl Iterator<Item = &Seen> {
        self.seen.values()
    }

    /// What the gossip says of this member; nothing if it has not heard of it. A member whose node
    /// has started anew is down.
    #[must_use]
    pub fn liveness(&self, member: &Member) -> Option<Liveness> {
        let seen = self.seen.get(&member.node)?;
        match member.incarnation.cmp(&seen.member.incarnation) {
            std::cmp::Ordering::Less => Some(Liveness::Down),
            std::cmp::Ordering::Equal => Some(seen.liveness),
            std::cmp::Ordering::Greater => None,
        }
    }

    /// While this process did not run it heard nothing, which says nothing about the others: what
    /// they had time for when it last ran, they have again.
    fn forgive_pause(&mut self, now: Time) {
        let due = self
            .timers
            .first_key_value()
            .map_or(Time::MAX, |(&(due, _), _)| due);
        if now.since(due) > self.settings.pause_tolerance {
            let pause = now.since(self.last_run);
            let timers = std::mem::take(&mut self.timers).into_iter();
            self.timers = timers
                .map(|((due, id), timer)| ((due + pause, id), timer))
                .collect();
        }
        self.last_run = now;
    }

    fn handle_event(&mut self, now: Time, event: Event) -> Result<(), foca::Error> {
        match event {
            Event::Received(packet) => self.foca.handle_data(&packet, &mut self.effects),
            Event::Reachable(members) => self.seek(now, &members),
            Event::Publish(topic, bytes) => self.publish(now, topic, bytes),
            Event::Info(info) => {
                let me = self.foca.identity();
                if *me.info == info {
                    return Ok(());
                }
                let changed = Identity {
                    info: Arc::new(info),
                    renewal: me.renewal.saturating_add(1),
                    member: me.member,
                };
                self.foca.change_identity(changed, &mut self.effects)
            }
            Event::Leave => {
                self.left = true;
                self.timers.clear();
                self.next_bulletins = Time::MAX;
                self.foca.leave_cluster(&mut self.effects)
            }
            Event::Tick => Ok(()),
        }
    }

    /// Asks nodes that can be reached and are not among the living to take us in: quickly while we
    /// are alone, and now and then after that, so that halves which never met find each other.
    fn seek(&mut self, now: Time, reachable: &[Member]) -> Result<(), foca::Error> {
        if now < self.next_join {
            return Ok(());
        }
        let alone = self.foca.num_members() == 0;
        let span = if alone {
            self.settings.join_interval
        } else {
            self.settings.rejoin_interval
        };
        self.next_join = now + span;
        let me = self.foca.identity().member.node;
        let mut strangers: Vec<Member> = reachable
            .iter()
            .filter(|member| {
                let liveness = self.liveness(member);
                member.node != me && matches!(liveness, None | Some(Liveness::Down))
            })
            .copied()
            .collect();
        for _ in 0..if alone { ASKED_AT_ONCE } else { 1 } {
            if strangers.is_empty() {
                break;
            }
            let member = strangers.swap_remove(self.rng.random_range(..strangers.len()));
            let to = Identity {
                member,
                renewal: 0,
                info: Arc::default(),
            };
            self.foca.announce(to, &mut self.effects)?;
        }
        Ok(())
    }

    fn publish(&mut self, now: Time, topic: Topic, bytes: Vec<u8>) -> Result<(), foca::Error> {
        if bytes.len() > BULLETIN_BYTES_MAX {
            return Err(foca::Error::DataTooBig);
        }
        let encoded = self.board.publish(topic, bytes);
        let soon = now + self.settings.bulletin_interval;
        self.next_bulletins = self.next_bulletins.min(soon);
        self.foca.add_broadcast(&encoded).map(|_| ())
    }

    fn repeat_bulletins(&mut self, now: Time, out: &mut Vec<Output>) {
        self.next_bulletins = Time::MAX;
        self.board.retain(|node| self.seen.contains_key(node));
        for (topic, bytes) in self.board.own() {
            let published = self.publish(now, topic, bytes);
            self.settle(now, published, out);
        }
    }

    /// Turns what foca asked for and what has changed into outputs.
    fn settle(&mut self, now: Time, handled: Result<(), foca::Error>, out: &mut Vec<Output>) {
        if let Err(error) = handled {
            tracing::debug!("gossip: {error}");
        }
        let Effects {
            packets,
            timers,
            rejoined,
        } = &mut self.effects;
        out.extend(
            packets
                .drain(..)
                .map(|(to, packet)| Output::Send { to, packet }),
        );
        if !self.left {
            for (span, timer) in timers.drain(..) {
                self.timers.insert((now + span, self.timer_count), timer);
                self.timer_count += 1;
            }
        }
        if std::mem::take(rejoined) {
            out.push(Output::Rejoined);
        }
        self.compare(now, out);
        let news = self.board.take_news();
        out.extend(
            news.into_iter()
                .map(|news| Output::Published(news.member, news.topic, news.bytes)),
        );
    }

    /// Says what is different from what was seen before. Foca itself does not tell of suspicions.
    fn compare(&mut self, now: Time, out: &mut Vec<Output>) {
        let mut joined = false;
        let state = self.foca.iter_membership_state();
        let forgotten = state.len() < self.seen.len();
        for member in state {
            let liveness = match member.state() {
                State::Alive => Liveness::Alive,
                State::Suspect => Liveness::Suspect,
                State::Down => Liveness::Down,
            };
            let id = member.id();
            if id.member.node == self.foca.identity().member.node {
                continue; // an earlier start of this node
            }
            let seen = self.seen.get(&id.member.node);
            let same = seen.is_some_and(|seen| {
                seen.member == id.member && seen.liveness == liveness && seen.info == id.info
            });
            if !same {
                let new = Seen {
                    member: id.member,
                    liveness,
                    info: Arc::clone(&id.info),
                };
                joined |= tell(seen, &new, out);
                self.seen.insert(id.member.node, new);
            }
        }
        if forgotten {
            let state: Vec<NodeId> = self
                .foca
                .iter_membership_state()
                .map(|member| member.id().member.node)
                .collect();
            self.seen.retain(|node, _| state.contains(node));
        }
        if joined && !self.board.own().is_empty() {
            self.next_bulletins = self.next_bulletins.min(now + BULLETINS_AFTER_JOIN);
        }
    }
}

/// Says what has changed about a node; returns whether it may have missed the bulletins.
fn tell(old: Option<&Seen>, new: &Seen, out: &mut Vec<Output>) -> bool {
    let was = old.map_or(Liveness::Down, |old| old.liveness);
    if let Some(old) = old
        && old.member != new.member
        && was != Liveness::Down
    {
        out.push(Output::Down(old.member));
    }
    let same_member = old.is_some_and(|old| old.member == new.member);
    match new.liveness {
        Liveness::Alive => out.push(Output::Alive(new.member, Arc::clone(&new.info))),
        Liveness::Suspect => {
            if !same_member || was == Liveness::Down {
                out.push(Output::Alive(new.member, Arc::clone(&new.info)));
            }
            out.push(Output::Suspect(new.member));
        }
        Liveness::Down if same_member && was != Liveness::Down => {
            out.push(Output::Down(new.member));
        }
        Liveness::Down => (),
    }
    new.liveness != Liveness::Down && (!same_member || was == Liveness::Down)
}

impl Runtime<Identity> for Effects {
    fn notify(&mut self, notification: Notification<'_, Identity>) {
        if matches!(notification, Notification::Rejoin(_)) {
            self.rejoined = true;
        }
    }

    fn send_to(&mut self, to: Identity, data: &[u8]) {
        self.packets
            .push((to.member.node, Bytes::copy_from_slice(data)));
    }

    fn submit_after(&mut self, timer: Timer<Identity>, span: Duration) {
        self.timers.push((span, timer));
    }
}
