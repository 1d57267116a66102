//! What clients saw of one key, and whether one register could have shown it.

use std::collections::BTreeSet;

use bytes::Bytes;
use cluster::Time;

#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) invoked: Time,
    /// None where the client never learned what became of it.
    pub(crate) returned: Option<Time>,
    /// What it saw of the register, if it looked.
    pub(crate) saw: Option<Option<Bytes>>,
    /// What it left there, if it wrote.
    pub(crate) wrote: Option<Option<Bytes>>,
}

/// Whether there is an order of the operations that a single register allows, in which nothing
/// comes before what had returned when it was invoked. What is unknown may come in or not.
pub(crate) fn is_linearizable(operations: &[Operation]) -> bool {
    assert!(operations.len() <= 128, "the search is for short histories");
    let mut seen = BTreeSet::new();
    search(operations, 0, &None, &mut seen)
}

fn search(
    operations: &[Operation],
    done: u128,
    value: &Option<Bytes>,
    seen: &mut BTreeSet<(u128, Option<Bytes>)>,
) -> bool {
    let open = || {
        operations
            .iter()
            .enumerate()
            .filter(|(at, _)| done & (1 << at) == 0)
    };
    if open().all(|(_, operation)| operation.returned.is_none()) {
        return true;
    }
    if !seen.insert((done, value.clone())) {
        return false;
    }
    // The next one must have begun before any that is left has returned.
    let limit = open().filter_map(|(_, operation)| operation.returned).min();
    let limit = limit.expect("one that has returned is left");
    open()
        .filter(|(_, operation)| operation.invoked <= limit)
        .any(|(at, operation)| {
            let fits = operation.saw.as_ref().is_none_or(|saw| saw == value);
            let after = operation.wrote.as_ref().unwrap_or(value);
            fits && search(operations, done | 1 << at, after, seen)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(from: u64, to: u64, saw: Option<&str>, wrote: Option<&str>) -> Operation {
        let bytes = |text: &str| Some(Bytes::copy_from_slice(text.as_bytes()));
        Operation {
            invoked: Time::from_nanos(from),
            returned: (to > 0).then(|| Time::from_nanos(to)),
            saw: saw.map(bytes),
            wrote: wrote.map(bytes),
        }
    }

    #[test]
    fn a_stale_read_is_found_and_an_overlap_is_not_one() {
        let writes = [
            operation(1, 2, None, Some("a")),
            operation(3, 6, None, Some("b")),
        ];
        let with = |read| is_linearizable(&[writes[0].clone(), writes[1].clone(), read]);
        assert!(with(operation(4, 5, Some("a"), None)));
        assert!(with(operation(4, 5, Some("b"), None)));
        assert!(with(operation(7, 8, Some("b"), None)));
        assert!(!with(operation(7, 8, Some("a"), None)));
        assert!(!with(operation(4, 5, Some("c"), None)));
    }

    #[test]
    fn what_is_unknown_may_come_late_or_never_and_once() {
        let unknown = operation(1, 0, None, Some("a"));
        let write = operation(2, 3, None, Some("b"));
        let reads = |saw: [&str; 2]| {
            let [first, second] = saw;
            is_linearizable(&[
                unknown.clone(),
                write.clone(),
                operation(4, 5, Some(first), None),
                operation(6, 7, Some(second), None),
            ])
        };
        assert!(reads(["b", "b"]) && reads(["b", "a"]) && reads(["a", "a"]));
        assert!(!reads(["a", "b"]));
    }
}
