//! The driver's loops, none of which may end unseen.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

/// Runs a loop of the driver. Where it panics, the process ends at once: without
/// it the node would look well to all others while a part of the protocol stands still, perhaps
/// with a slot's state changed by half.
pub(super) async fn run(name: &'static str, runs: impl Future<Output = ()>) {
    end_on_panic(name, runs, || std::process::abort()).await;
}

async fn end_on_panic(name: &'static str, runs: impl Future<Output = ()>, end: impl FnOnce()) {
    if AssertUnwindSafe(runs).catch_unwind().await.is_err() {
        tracing::error!(name, "a loop of the driver has panicked: the process ends");
        end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_the_process_and_an_end_does_not() {
        let mut ended = Vec::new();
        for panics in [false, true] {
            let runs = async move { assert!(!panics, "as a broken loop does") };
            let run = end_on_panic("test", runs, || ended.push(panics));
            assert_eq!(run.now_or_never(), Some(()));
        }
        assert_eq!(ended, [true]);
    }
}
