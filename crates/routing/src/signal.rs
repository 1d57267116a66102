//! A thing that happens once, and those who wait for it, on one thread.

use std::cell::RefCell;
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// Happens once; whoever waits goes on, in the order of waiting.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    happened: bool,
    waiting: Vec<Waker>,
}

impl Signal {
    /// It has happened.
    pub(crate) fn fire(&self) {
        let waiting = {
            let mut state = self.state.borrow_mut();
            state.happened = true;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn happened(&self) -> bool {
        self.state.borrow().happened
    }

    /// Waits until it has happened.
    pub(crate) async fn wait(&self) {
        poll_fn(|context| {
            let mut state = self.state.borrow_mut();
            if state.happened {
                return Poll::Ready(());
            }
            if !state
                .waiting
                .iter()
                .any(|waker| waker.will_wake(context.waker()))
            {
                state.waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}
