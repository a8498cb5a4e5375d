//! Name look-ups on helper threads.
//!
//! `getaddrinfo` blocks, for ten seconds where a server does not answer, so it runs on helper threads, of which there
//! are several: a look-up without an answer does not hold up the others. The results come back through a channel.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use otelcore_pipeline::{Key, ResolveError};

use crate::helper_threads::HelperThreads;
use crate::lookup::{in_random_order, look_up};
use crate::waker::Waker;

/// A look-up's key and result.
pub(crate) type CompletedLookup = (Key, Result<Vec<SocketAddr>, ResolveError>);

/// How many look-ups may be under way at once.
const MAX_THREADS: usize = 4;

const STACK_BYTES: usize = 256 << 10;

#[derive(Debug)]
pub(crate) struct Resolver {
    threads: HelperThreads,
    results: Receiver<CompletedLookup>,
    result_sender: Sender<CompletedLookup>,
    waker: Arc<Waker>,
}

impl Resolver {
    pub(crate) fn new(waker: Arc<Waker>) -> Self {
        let (result_sender, results) = channel();
        let threads = HelperThreads::new("otelcore-names", MAX_THREADS, STACK_BYTES);
        Self { threads, results, result_sender, waker }
    }

    /// Looks up the addresses of `host`. A literal address is answered without a thread. `random` decides the order of
    /// addresses of the same kind.
    pub(crate) fn look_up(&mut self, key: Key, host: &str, port: u16, random: u64) {
        let (result_sender, waker) = (self.result_sender.clone(), self.waker.clone());
        let send_result = move |result| {
            // Fails only when the world has ended.
            let _ = result_sender.send((key, result));
            let _ = waker.wake();
        };
        if let Ok(ip) = host.parse() {
            return send_result(Ok(vec![SocketAddr::new(ip, port)]));
        }
        let name = host.to_owned();
        let job_result = send_result.clone();
        if let Err((_, e)) = self.threads.run(Box::new(move || {
            job_result(look_up(&name, port).map(|addresses| in_random_order(addresses, random)));
        })) {
            send_result(Err(ResolveError(format!("lookup {host}: {e}"))));
        }
    }

    /// The next result.
    pub(crate) fn next_result(&mut self) -> Option<CompletedLookup> {
        self.results.try_recv().ok()
    }
}
