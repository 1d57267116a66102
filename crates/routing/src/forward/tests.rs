use super::*;
use cluster::{Incarnation, NodeId};
use parking_lot::Mutex;

fn member(number: u8) -> Member {
    Member {
        node: NodeId::from_bytes([number; 20]),
        incarnation: Incarnation(1),
    }
}

type Asked = Vec<(Member, Vec<Vec<u8>>)>;
type Script = Box<dyn FnMut(&Member, usize) -> Result<Vec<Fate>, CallError> + Send>;

/// One primary after the other, as the calls are made, and what each of them says.
struct Scripted {
    primaries: Mutex<Vec<Option<Member>>>,
    asked: Mutex<Asked>,
    script: Mutex<Script>,
}

impl Scripted {
    fn new(
        primaries: &[Option<u8>],
        script: impl FnMut(&Member, usize) -> Result<Vec<Fate>, CallError> + Send + 'static,
    ) -> Scripted {
        Scripted {
            primaries: Mutex::new(primaries.iter().map(|number| number.map(member)).collect()),
            asked: Mutex::default(),
            script: Mutex::new(Box::new(script)),
        }
    }
}

impl Roads for Scripted {
    fn primary(&self, _: Slot) -> Option<Member> {
        *self
            .primaries
            .lock()
            .first()
            .expect("there is always a last one")
    }

    fn carry(
        &self,
        to: Member,
        requests: Bytes,
        _: Duration,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let (_, arrived) = decode(&requests).expect("well formed");
        let second = |arrived: &Arrived| requests[arrived.words[1].clone()].to_vec();
        self.asked
            .lock()
            .push((to, arrived.iter().map(second).collect()));
        let fates = (self.script.lock())(&to, arrived.len());
        let mut primaries = self.primaries.lock();
        if primaries.len() > 1 {
            primaries.remove(0);
        }
        let answer = fates.map(|fates| encode_answer(fates.iter()));
        Box::pin(std::future::ready(answer))
    }
}

fn parcel(word: &str, writes: bool) -> (Parcel, oneshot::Receiver<Delivery>) {
    let words: [&[u8]; 2] = [b"get", word.as_bytes()];
    Parcel::new(Slot::of(b"k"), writes, 2, words.into_iter())
}

async fn carried(roads: &Scripted, writes: &[bool], within_ms: u64) -> Vec<Delivery> {
    carried_within(roads, writes, within_ms, usize::MAX).await
}

async fn carried_within(
    roads: &Scripted,
    writes: &[bool],
    within_ms: u64,
    bytes_max: usize,
) -> Vec<Delivery> {
    let parcels = writes
        .iter()
        .enumerate()
        .map(|(index, writes)| parcel(&index.to_string(), *writes));
    let (parcels, receivers): (Vec<_>, Vec<_>) = parcels.unzip();
    carry(roads, parcels, Duration::from_millis(within_ms), bytes_max).await;
    let mut deliveries = Vec::new();
    for receiver in receivers {
        deliveries.push(receiver.await.expect("every parcel has an end"));
    }
    deliveries
}

fn ok() -> Fate {
    Fate::Reply(Bytes::from_static(b"+OK\r\n"))
}

#[tokio::test]
async fn what_a_node_does_not_take_goes_to_the_next_primary_in_order() {
    let roads = Scripted::new(&[Some(1), Some(2)], |to, count| {
        Ok(if *to == member(1) {
            vec![ok(), Fate::NotHere, Fate::NotHere]
        } else {
            vec![ok(); count]
        })
    });
    let deliveries = carried(&roads, &[true, true, false], 1_000).await;
    assert!(deliveries.iter().all(Result::is_ok));
    let asked = roads.asked.lock();
    let words = |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect();
    let expected: Asked = vec![
        (member(1), words(&["0", "1", "2"])),
        (member(2), words(&["1", "2"])),
    ];
    assert_eq!(*asked, expected);
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_unknown_and_a_read_is_tried_again() {
    let mut first = true;
    let roads = Scripted::new(&[Some(1)], move |_, count| {
        if std::mem::take(&mut first) {
            Err(CallError::Unknown(Lost::LinkLost))
        } else {
            Ok(vec![ok(); count])
        }
    });
    let deliveries = carried(&roads, &[true, false], 1_000).await;
    assert_eq!(deliveries[0], Err(Undelivered::Unknown));
    assert!(deliveries[1].is_ok());
}

#[tokio::test]
async fn what_cannot_be_sent_was_certainly_not_applied() {
    let roads = Scripted::new(&[Some(1)], |_, _| Err(CallError::NotSent(NotSent::NoLink)));
    let deliveries = carried(&roads, &[true], 30).await;
    assert_eq!(deliveries, [Err(Undelivered::Unreachable)]);
    let roads = Scripted::new(&[None], |_, _| unreachable!("nobody to ask"));
    let deliveries = carried(&roads, &[true], 30).await;
    assert_eq!(deliveries, [Err(Undelivered::NoPrimary)]);
}

#[tokio::test]
async fn a_full_answer_is_followed_by_another() {
    let mut first = true;
    let roads = Scripted::new(&[Some(1)], move |_, count| {
        let mut fates = vec![ok(); count];
        if std::mem::take(&mut first) {
            fates[1] = Fate::Later;
        }
        Ok(fates)
    });
    let deliveries = carried(&roads, &[false, false], 1_000).await;
    assert!(deliveries.iter().all(Result::is_ok));
    assert_eq!(roads.asked.lock().len(), 2);
}

#[tokio::test]
async fn when_there_are_bytes_enough_nothing_more_is_asked() {
    let roads = Scripted::new(&[Some(1)], |_, count| {
        let mut fates = vec![Fate::Later; count];
        fates[0] = Fate::Reply(Bytes::from(vec![b'x'; 1_000]));
        Ok(fates)
    });
    let deliveries = carried_within(&roads, &[false; 9], 10_000, 2_500).await;
    let (good, bad) = deliveries.split_at(3);
    assert!(good.iter().all(Result::is_ok));
    assert!(bad.iter().all(|one| *one == Err(Undelivered::TooLarge)));
    assert_eq!(roads.asked.lock().len(), 3);
}

#[test]
fn garbage_is_no_request_and_no_answer() {
    let words: [&[u8]; 2] = [b"set", b""];
    let good = encode_all(
        Duration::from_secs(1),
        [encode(3, words.into_iter())].iter(),
    );
    let (left, arrived) = decode(&good).unwrap();
    assert_eq!((left, arrived.len()), (Duration::from_secs(1), 1));
    assert_eq!((arrived[0].version, arrived[0].words.len()), (3, 2));
    for end in (0..good.len()).filter(|end| *end != 4) {
        assert_eq!(decode(&good[..end]), None, "{end}");
    }
    let answer = encode_answer([ok(), Fate::NotHere].iter());
    assert_eq!(decode_answer(&answer, 2), Some(vec![ok(), Fate::NotHere]));
    assert_eq!(decode_answer(&answer, 1), None);
    assert_eq!(decode_answer(&answer, 3), None);
    assert_eq!(decode_answer(&answer.slice(..3), 2), None);
}
