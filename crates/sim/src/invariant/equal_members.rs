//! Members that hold the same version hold the same entries, whenever and however they came by it.

use std::collections::BTreeMap;

use cluster::Version;

/// What the entries of a slot are at each version.
#[derive(Debug, Default)]
pub(super) struct EqualMembers {
    digests: BTreeMap<Version, u64>,
}

impl EqualMembers {
    pub(super) fn wrote(&mut self, version: Version, digest: u64) {
        self.digests.insert(version, digest);
    }

    pub(super) fn holds(&self, last: Version, digest: u64) -> Result<(), String> {
        let known = if last == Version::ZERO {
            Some(0)
        } else {
            self.digests.get(&last).copied()
        };
        match known {
            Some(known) if known == digest => Ok(()),
            Some(_) => Err(format!(
                "its entries at {last:?} are not those that were written"
            )),
            None => Err(format!("nobody ever wrote {last:?}")),
        }
    }
}
