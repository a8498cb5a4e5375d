//! Name look-ups on helper threads.
//!
//! `getaddrinfo` blocks, for ten seconds where a server does not answer, so it runs on helper threads. The first
//! look-up starts one, and up to [`MAX_THREADS`] are started while look-ups wait, so that a look-up without an answer does not
//! hold up the others. The threads send their results through a channel, and end when their world is dropped.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use otelcore_pipeline::Key;

use crate::lookup::look_up;
use crate::waker::Waker;

/// A look-up's key and answer.
pub(crate) type CompletedLookup = (Key, Result<Vec<SocketAddr>, String>);
type LookupRequest = (Key, String, u16);

/// How many look-ups may be under way at once.
const MAX_THREADS: usize = 4;

#[derive(Debug)]
pub(crate) struct Resolver {
    request_sender: Sender<LookupRequest>,
    requests: Arc<Mutex<Receiver<LookupRequest>>>,
    results: Receiver<CompletedLookup>,
    result_sender: Sender<CompletedLookup>,
    waker: Arc<Waker>,
    threads: usize,
    /// Look-ups without an answer.
    pending: Arc<AtomicUsize>,
}

impl Resolver {
    pub(crate) fn new(waker: Arc<Waker>) -> Self {
        let (request_sender, requests) = channel();
        let (result_sender, results) = channel();
        let requests = Arc::new(Mutex::new(requests));
        Self { request_sender, requests, results, result_sender, waker, threads: 0, pending: Arc::default() }
    }

    /// Looks up the addresses of `host`. A literal address is answered without a thread.
    pub(crate) fn look_up(&mut self, key: Key, host: &str, port: u16) {
        if let Ok(ip) = host.parse() {
            return self.send_result((key, Ok(vec![SocketAddr::new(ip, port)])));
        }
        let pending = self.pending.fetch_add(1, Ordering::Relaxed) + 1;
        if pending > self.threads && self.threads < MAX_THREADS {
            match self.spawn() {
                Ok(()) => self.threads += 1,
                Err(e) if self.threads == 0 => {
                    self.pending.fetch_sub(1, Ordering::Relaxed);
                    return self.send_result((key, Err(format!("lookup {host}: {e}"))));
                }
                // The running threads will take this look-up later.
                Err(_) => {}
            }
        }
        // Never fails: this struct has the receiving end too.
        let _ = self.request_sender.send((key, host.to_owned(), port));
    }

    /// The next answer.
    pub(crate) fn next_result(&mut self) -> Option<CompletedLookup> {
        self.results.try_recv().ok()
    }

    fn send_result(&self, result: CompletedLookup) {
        // Never fails: this struct has the receiving end.
        let _ = self.result_sender.send(result);
        let _ = self.waker.wake();
    }

    fn spawn(&self) -> std::io::Result<()> {
        let (requests, pending) = (self.requests.clone(), self.pending.clone());
        let (result_sender, waker) = (self.result_sender.clone(), self.waker.clone());
        let next_request = move || requests.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let serve_requests = move || {
            while let Ok((key, host, port)) = next_request() {
                let addresses = look_up(&host, port);
                pending.fetch_sub(1, Ordering::Relaxed);
                if result_sender.send((key, addresses)).is_err() {
                    return;
                }
                let _ = waker.wake();
            }
        };
        let _unsignalled = crate::os::SignalsBlocked::in_this_thread();
        thread::Builder::new().name("otelcore-names".to_owned()).stack_size(256 << 10).spawn(serve_requests).map(|_| ())
    }
}
