//! That a store which was open is not to be used any more.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::database::Failure;

/// Why a store must not be used any more, once that is known.
#[derive(Default)]
pub(super) struct Loss {
    why: Mutex<Option<String>>,
    told: Notify,
}

impl Loss {
    /// That nothing is known.
    pub(super) fn check(&self) -> Result<(), Failure> {
        self.why().map_or(Ok(()), |why| Err(Failure::NotDone(why)))
    }

    pub(super) fn why(&self) -> Option<String> {
        self.why.lock().clone()
    }

    /// It is known from now on; what fails because of it was not done.
    pub(super) fn declare(&self, why: String) -> Failure {
        *self.why.lock() = Some(why.clone());
        self.told.notify_one();
        Failure::NotDone(why)
    }

    /// Waits for it, but not for longer than this.
    pub(super) async fn wait(&self, span: Duration) {
        let _ = tokio::time::timeout(span, self.told.notified()).await;
    }
}
