//! How two nodes find out, as a stream opens, that they belong together.
//!
//! Each sends a greeting with a fresh nonce and proves that it knows the cluster's secret by an
//! HMAC over both greetings and its own part in the exchange. The secret never travels; a proof is
//! worth nothing in another exchange, nor when it is sent back to the one who made it.

use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::{Lineage, Member, NodeInfo};

/// The version of the protocol between nodes.
pub(crate) const PROTOCOL: u32 = 1;

/// What all nodes of a cluster know and nobody else.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<[u8]>);

/// A secret that is easy to guess is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cluster's secret has {0} bytes, fewer than {min}", min = Secret::BYTES_MIN)]
pub struct SecretTooShort(usize);

impl Secret {
    /// The shortest secret that is taken.
    pub const BYTES_MIN: usize = 16;

    /// A secret of these bytes.
    pub fn new(bytes: &[u8]) -> Result<Secret, SecretTooShort> {
        if bytes.len() < Secret::BYTES_MIN {
            return Err(SecretTooShort(bytes.len()));
        }
        Ok(Secret(bytes.into()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What a node says when a stream opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Greeting {
    pub(crate) protocol: u32,
    pub(crate) purpose: Purpose,
    pub(crate) member: Member,
    pub(crate) nonce: [u8; 32],
    pub(crate) lineage: Option<Lineage>,
    pub(crate) info: NodeInfo,
}

/// What a stream is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Purpose {
    Link,
    Call,
    Probe,
}

/// Which side of the exchange makes a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Opener,
    Answerer,
}

/// An HMAC-SHA256 under the cluster's secret.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Proof(pub(crate) [u8; 32]);

/// Why a node does not speak with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Refusal {
    Malformed = 1,
    Protocol = 2,
    Secret = 3,
    Lineage = 4,
    Ourselves = 5,
    DuplicateNode = 6,
    Superseded = 7,
    AnotherNode = 8,
    NotReady = 9,
}

impl Refusal {
    pub(crate) const ALL: [Refusal; 9] = [
        Refusal::Malformed,
        Refusal::Protocol,
        Refusal::Secret,
        Refusal::Lineage,
        Refusal::Ourselves,
        Refusal::DuplicateNode,
        Refusal::Superseded,
        Refusal::AnotherNode,
        Refusal::NotReady,
    ];

    pub(crate) fn from_number(number: u32) -> Option<Refusal> {
        Refusal::ALL
            .into_iter()
            .find(|&refusal| refusal as u32 == number)
    }

    /// The label in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Refusal::Malformed => "malformed",
            Refusal::Protocol => "protocol",
            Refusal::Secret => "secret",
            Refusal::Lineage => "lineage",
            Refusal::Ourselves => "ourselves",
            Refusal::DuplicateNode => "duplicate_node",
            Refusal::Superseded => "superseded",
            Refusal::AnotherNode => "another_node",
            Refusal::NotReady => "not_ready",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::Malformed => "the greeting is malformed",
            Refusal::Protocol => "it speaks another version of the protocol between nodes",
            Refusal::Secret => "it does not know this cluster's secret",
            Refusal::Lineage => "it belongs to another cluster, or to another history of this one",
            Refusal::Ourselves => "the address is this node's own",
            Refusal::DuplicateNode => "two processes run with the same node id",
            Refusal::Superseded => "a later start of the node is known",
            Refusal::AnotherNode => "another node is at the address",
            Refusal::NotReady => "it is not ready for streams yet",
        })
    }
}

/// Makes the proof of one side of the exchange.
pub(crate) fn prove(secret: Option<&Secret>, role: Role, greetings: [&Greeting; 2]) -> Proof {
    Proof(mac(secret, role, greetings).finalize().into_bytes().into())
}

/// Whether the other side has made this proof and knows the same secret; in constant time.
pub(crate) fn verify(
    secret: Option<&Secret>,
    role: Role,
    greetings: [&Greeting; 2],
    proof: Proof,
) -> Result<(), Refusal> {
    mac(secret, role, greetings)
        .verify_slice(&proof.0)
        .map_err(|_| Refusal::Secret)
}

fn mac(secret: Option<&Secret>, role: Role, greetings: [&Greeting; 2]) -> Hmac<Sha256> {
    let key = secret.map_or(&[][..], |secret| &secret.0);
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(match role {
        Role::Opener => b"quorate peer opener",
        Role::Answerer => b"quorate peer answer",
    });
    for greeting in greetings {
        let encoded = postcard::to_stdvec(greeting).expect("a greeting has no unsized part");
        mac.update(&(encoded.len() as u64).to_le_bytes());
        mac.update(&encoded);
    }
    mac
}

/// Whether a node may speak with the sender of this greeting at all; the proof comes on top.
pub(crate) fn judge(ours: &Greeting, theirs: &Greeting) -> Result<(), Refusal> {
    if theirs.protocol != ours.protocol {
        return Err(Refusal::Protocol);
    }
    if theirs.member == ours.member {
        return Err(Refusal::Ourselves);
    }
    if theirs.member.node == ours.member.node {
        return Err(Refusal::DuplicateNode);
    }
    judge_lineage(ours.lineage, theirs.lineage)
}

/// A node without a lineage may speak with any cluster: it is about to become part of one.
pub(crate) fn judge_lineage(ours: Option<Lineage>, theirs: Option<Lineage>) -> Result<(), Refusal> {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if ours != theirs => Err(Refusal::Lineage),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Incarnation, NodeId};

    fn greeting(node: u8) -> Greeting {
        Greeting {
            protocol: PROTOCOL,
            purpose: Purpose::Link,
            member: Member {
                node: NodeId::from_bytes([node; 20]),
                incarnation: Incarnation(1),
            },
            nonce: [node; 32],
            lineage: None,
            info: NodeInfo::default(),
        }
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_proof_holds_for_its_maker_its_exchange_and_its_secret_alone() {
        let (a, b) = (greeting(1), greeting(2));
        let right = secret("correct horse battery");
        let proof = prove(Some(&right), Role::Opener, [&a, &b]);
        let check =
            |secret: Option<&Secret>, role, greetings| verify(secret, role, greetings, proof);
        assert_eq!(check(Some(&right), Role::Opener, [&a, &b]), Ok(()));
        assert_eq!(
            check(Some(&right), Role::Answerer, [&a, &b]),
            Err(Refusal::Secret)
        );
        assert_eq!(
            check(Some(&right), Role::Opener, [&b, &a]),
            Err(Refusal::Secret)
        );
        assert_eq!(check(None, Role::Opener, [&a, &b]), Err(Refusal::Secret));
        let wrong = secret("correct horse batterz");
        assert_eq!(
            check(Some(&wrong), Role::Opener, [&a, &b]),
            Err(Refusal::Secret)
        );
        let replayed = Greeting {
            nonce: [9; 32],
            ..b.clone()
        };
        assert_eq!(
            check(Some(&right), Role::Opener, [&a, &replayed]),
            Err(Refusal::Secret)
        );
    }

    #[test]
    fn who_is_refused() {
        let ours = Greeting {
            lineage: Some(Lineage(7)),
            ..greeting(1)
        };
        let judged = |change: fn(&mut Greeting)| {
            let mut theirs = greeting(2);
            change(&mut theirs);
            judge(&ours, &theirs)
        };
        assert_eq!(judged(|_| ()), Ok(()));
        assert_eq!(judged(|g| g.lineage = Some(Lineage(7))), Ok(()));
        assert_eq!(
            judged(|g| g.lineage = Some(Lineage(8))),
            Err(Refusal::Lineage)
        );
        assert_eq!(judged(|g| g.protocol = 2), Err(Refusal::Protocol));
        assert_eq!(judged(|g| *g = greeting(1)), Err(Refusal::Ourselves));
        assert_eq!(
            judged(|g| {
                *g = greeting(1);
                g.member.incarnation = Incarnation(2);
            }),
            Err(Refusal::DuplicateNode)
        );
    }

    #[test]
    fn a_short_secret_is_refused_and_none_is_shown() {
        assert_eq!(Secret::new(b"short"), Err(SecretTooShort(5)));
        assert_eq!(
            format!("{:?}", secret("correct horse battery")),
            "Secret(…)"
        );
    }
}
