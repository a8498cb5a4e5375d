//! Name look-ups on helper threads.
//!
//! `getaddrinfo` blocks, for ten seconds where a server does not answer, so it runs on helper threads. The first
//! look-up starts one, and up to [`MOST`] are started while look-ups wait, so that a look-up without an answer does not
//! hold up the others. The threads send their results through a channel, and end when their world is dropped.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use otelcore_pipeline::Key;

use crate::names::look_up;
use crate::waker::Waker;

/// A look-up's key and answer.
pub(crate) type Answer = (Key, Result<Vec<SocketAddr>, String>);
type Question = (Key, String, u16);

/// How many look-ups may be under way at once.
const MOST: usize = 4;

#[derive(Debug)]
pub(crate) struct Resolver {
    ask: Sender<Question>,
    questions: Arc<Mutex<Receiver<Question>>>,
    answers: Receiver<Answer>,
    answer: Sender<Answer>,
    waker: Arc<Waker>,
    threads: usize,
    /// Look-ups without an answer.
    open: Arc<AtomicUsize>,
}

impl Resolver {
    pub(crate) fn new(waker: Arc<Waker>) -> Self {
        let (ask, questions) = channel();
        let (answer, answers) = channel();
        let questions = Arc::new(Mutex::new(questions));
        Self { ask, questions, answers, answer, waker, threads: 0, open: Arc::default() }
    }

    /// Looks up the addresses of `host`. A literal address is answered without a thread.
    pub(crate) fn ask(&mut self, key: Key, host: &str, port: u16) {
        if let Ok(ip) = host.parse() {
            return self.tell((key, Ok(vec![SocketAddr::new(ip, port)])));
        }
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        if open > self.threads && self.threads < MOST {
            match self.spawn() {
                Ok(()) => self.threads += 1,
                Err(e) if self.threads == 0 => {
                    self.open.fetch_sub(1, Ordering::Relaxed);
                    return self.tell((key, Err(format!("lookup {host}: {e}"))));
                }
                // The running threads will take this look-up later.
                Err(_) => {}
            }
        }
        // Never fails: this struct has the receiving end too.
        let _ = self.ask.send((key, host.to_owned(), port));
    }

    /// The next answer.
    pub(crate) fn poll(&mut self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }

    fn tell(&self, answer: Answer) {
        // Never fails: this struct has the receiving end.
        let _ = self.answer.send(answer);
        let _ = self.waker.wake();
    }

    fn spawn(&self) -> std::io::Result<()> {
        let (questions, open) = (self.questions.clone(), self.open.clone());
        let (answer, waker) = (self.answer.clone(), self.waker.clone());
        let next = move || questions.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let work = move || {
            while let Ok((key, host, port)) = next() {
                let found = look_up(&host, port);
                open.fetch_sub(1, Ordering::Relaxed);
                if answer.send((key, found)).is_err() {
                    return;
                }
                let _ = waker.wake();
            }
        };
        let _unsignalled = crate::os::Unsignalled::here();
        thread::Builder::new().name("otelcore-names".to_owned()).stack_size(256 << 10).spawn(work).map(|_| ())
    }
}
