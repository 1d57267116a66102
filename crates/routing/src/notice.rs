//! What is worth a line in the log, and not a thousand of them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use cluster::Time;

use crate::keyspace::DefinitionId;

/// How long the same is not said again.
const SILENCE: Duration = Duration::from_secs(60);

/// When what was said of which definition last, and how often it was not said since.
#[derive(Default)]
pub(crate) struct Notices(RefCell<Said>);

type Said = BTreeMap<(&'static str, DefinitionId), (Time, u64)>;

impl Notices {
    /// Whether to say it now: the first time, then once in a while. Gives how often it happened
    /// unsaid.
    pub(crate) fn due(
        &self,
        what: &'static str,
        definition: DefinitionId,
        now: Time,
    ) -> Option<u64> {
        let mut said = self.0.borrow_mut();
        let place = (what, definition);
        let silent = match said.get_mut(&place) {
            Some((last, silent)) if now.since(*last) < SILENCE => {
                *silent += 1;
                return None;
            }
            found => found.map_or(0, |(_, silent)| *silent),
        };
        said.insert(place, (now, 0));
        Some(silent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_said_and_then_one_in_a_while() {
        let notices = Notices::default();
        let at = |secs| Time::ZERO + Duration::from_secs(secs);
        assert_eq!(notices.due("rejected", 1, at(1)), Some(0));
        assert_eq!(notices.due("rejected", 1, at(2)), None);
        assert_eq!(notices.due("rejected", 1, at(60)), None);
        assert_eq!(notices.due("rejected", 2, at(60)), Some(0), "another table");
        assert_eq!(notices.due("rejected", 1, at(61)), Some(2));
        assert_eq!(notices.due("rejected", 1, at(62)), None);
    }
}
