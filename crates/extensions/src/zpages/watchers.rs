//! The clients that watch: each gets the state once a second as a server-sent event.
//!
//! Owns the number of watchers and the last event, which all of them share, so that a client that reads slowly costs its
//! connection and nothing else: it misses events. Makes no events; without watchers there are none.

use std::rc::Rc;

use otelcore_http::Bytes;
use otelcore_net::{Page, PageStep};
use otelcore_pipeline::MonotonicTime;

/// The most watchers at once.
pub(super) const MAX_WATCHERS: usize = 32;

/// The event that all watchers get next.
#[derive(Debug)]
pub(super) struct Watchers {
    /// One more reference for each watcher.
    token: Rc<()>,
    number: u64,
    event: Bytes,
    is_closing: bool,
}

/// A watcher's response.
#[derive(Debug)]
pub(super) struct EventStream {
    _token: Rc<()>,
    /// The number of the last event that it got.
    sent: u64,
    is_started: bool,
    /// Then the response ends, and the browser begins a new one: the server's limit for a response may not be reached.
    ends_at: MonotonicTime,
}

impl Watchers {
    pub(super) fn new() -> Self {
        Self { token: Rc::new(()), number: 0, event: Bytes::new(), is_closing: false }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        Rc::strong_count(&self.token) - 1
    }

    /// Adds a watcher until `ends_at`; `None` above the limit.
    pub(super) fn add(&self, ends_at: MonotonicTime) -> Option<EventStream> {
        let token = (self.count() < MAX_WATCHERS && !self.is_closing).then(|| self.token.clone())?;
        Some(EventStream { _token: token, sent: 0, is_started: false, ends_at })
    }

    /// The next event: one line of JSON.
    pub(super) fn set_event(&mut self, json: &[u8]) {
        self.number += 1;
        self.event = [b"data: ", json, b"\n\n"].concat().into();
    }

    /// No event follows: a shutdown has begun.
    pub(super) fn close(&mut self) {
        self.is_closing = true;
    }

    /// The next step of a watcher's response.
    pub(super) fn poll(&self, stream: &mut EventStream, now: MonotonicTime) -> PageStep {
        let is_new = self.number > stream.sent;
        if !stream.is_started {
            stream.is_started = true;
            // How long a browser waits before it connects again.
            return PageStep::Head(Page::new(200, "text/event-stream", "retry: 1000\n\n"));
        }
        if self.is_closing || now >= stream.ends_at {
            return PageStep::LastData(Bytes::new());
        }
        if !is_new {
            return PageStep::Wait;
        }
        stream.sent = self.number;
        PageStep::Data(self.event.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: MonotonicTime = MonotonicTime(100);

    fn data(step: PageStep) -> String {
        match step {
            PageStep::Data(data) => String::from_utf8(data.to_vec()).unwrap(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn watcher_gets_each_event_once_and_the_last_one_only() {
        let mut watchers = Watchers::new();
        let mut stream = watchers.add(LATER).unwrap();
        assert!(matches!(watchers.poll(&mut stream, MonotonicTime(0)), PageStep::Head(_)));
        assert!(matches!(watchers.poll(&mut stream, MonotonicTime(0)), PageStep::Wait));
        watchers.set_event(b"1");
        watchers.set_event(b"2");
        assert_eq!(data(watchers.poll(&mut stream, MonotonicTime(1))), "data: 2\n\n");
        assert!(matches!(watchers.poll(&mut stream, MonotonicTime(1)), PageStep::Wait));
        assert!(matches!(watchers.poll(&mut stream, LATER), PageStep::LastData(_)));
    }

    #[test]
    fn number_of_watchers_is_bounded_and_one_that_ends_makes_room() {
        let mut watchers = Watchers::new();
        let mut streams: Vec<_> = (0..MAX_WATCHERS).map(|_| watchers.add(LATER).unwrap()).collect();
        assert!(watchers.add(LATER).is_none());
        streams.pop();
        assert_eq!(watchers.count(), MAX_WATCHERS - 1);
        assert!(watchers.add(LATER).is_some());
        watchers.close();
        assert!(watchers.add(LATER).is_none());
        let step = watchers.poll(&mut streams[0], MonotonicTime(0));
        assert!(matches!(step, PageStep::Head(_)));
        assert!(matches!(watchers.poll(&mut streams[0], MonotonicTime(0)), PageStep::LastData(_)));
    }
}
