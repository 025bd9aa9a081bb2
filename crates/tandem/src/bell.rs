//! Wakes the signalling loop from other threads.
//!
//! Waking a thread is a system call and a change of context, so that it happens only when the loop
//! sleeps: it says so before it looks at its queues for the last time, and whoever puts something
//! into one rings afterwards. Either the loop sees what was put, or the ring sees the loop asleep.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use mio::{Poll, Token, Waker};

/// See the module's documentation. Clones ring the same loop.
#[derive(Debug, Clone, Default)]
pub struct Bell(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    asleep: AtomicBool,
    waker: OnceLock<Waker>,
}

impl Bell {
    /// From now on a ring ends this poll's sleep, under a token.
    ///
    /// # Errors
    /// The system gives no descriptor.
    pub fn hang(&self, poll: &Poll, token: Token) -> std::io::Result<()> {
        let waker = Waker::new(poll.registry(), token)?;
        // A bell hangs on one loop; another one's waker would never be asked for.
        let _ = self.0.waker.set(waker);
        Ok(())
    }

    /// Something was put into a queue of the loop.
    pub fn ring(&self) {
        if self.0.asleep.swap(false, SeqCst)
            && let Some(waker) = self.0.waker.get()
        {
            // A wake that fails leaves what was put to the loop's next deadline.
            let _ = waker.wake();
        }
    }

    /// The loop will sleep unless its queues hold something.
    pub fn going_to_sleep(&self) {
        self.0.asleep.store(true, SeqCst);
    }

    /// The loop is awake: nobody need ring.
    pub fn awake(&self) {
        self.0.asleep.store(false, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mio::Events;

    use super::*;

    #[test]
    fn only_a_sleeping_loop_is_woken_and_once() {
        let mut poll = Poll::new().unwrap();
        let mut events = Events::with_capacity(8);
        let bell = Bell::default();
        bell.hang(&poll, Token(7)).unwrap();
        let mut woken = |wait| {
            poll.poll(&mut events, Some(wait)).unwrap();
            events.iter().filter(|event| event.token() == Token(7)).count()
        };
        bell.ring();
        assert_eq!(woken(Duration::ZERO), 0);
        bell.going_to_sleep();
        bell.clone().ring();
        bell.ring();
        assert_eq!(woken(Duration::from_secs(10)), 1);
        assert_eq!(woken(Duration::ZERO), 0);
        bell.going_to_sleep();
        bell.awake();
        bell.ring();
        assert_eq!(woken(Duration::ZERO), 0);
    }
}
