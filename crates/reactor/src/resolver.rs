//! Name look-ups on a thread of their own.
//!
//! `getaddrinfo` blocks, so it runs on one helper thread, which is started by the first look-up, answers through a
//! channel, and ends when its world is dropped.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use mio::Waker;
use otelcore_pipeline::Key;

/// A look-up's key and answer.
pub(crate) type Answer = (Key, Result<Vec<SocketAddr>, String>);

#[derive(Debug)]
pub(crate) struct Resolver {
    asked: Option<Sender<(Key, String, u16)>>,
    answers: Receiver<Answer>,
    answer: Sender<Answer>,
    waker: Arc<Waker>,
}

impl Resolver {
    pub(crate) fn new(waker: Arc<Waker>) -> Self {
        let (answer, answers) = channel();
        Self { asked: None, answers, answer, waker }
    }

    /// Asks for the addresses of `host`. Literal addresses are answered without the thread.
    pub(crate) fn ask(&mut self, key: Key, host: &str, port: u16) {
        if let Ok(ip) = host.parse() {
            self.tell((key, Ok(vec![SocketAddr::new(ip, port)])));
            return;
        }
        let asked = match &self.asked {
            Some(asked) => asked.clone(),
            None => match self.spawn() {
                Ok(asked) => asked,
                Err(e) => return self.tell((key, Err(format!("lookup {host}: {e}")))),
            },
        };
        if asked.send((key, host.to_owned(), port)).is_err() {
            self.asked = None;
            self.tell((key, Err(format!("lookup {host}: the resolver thread has ended"))));
        }
    }

    /// The next answer.
    pub(crate) fn poll(&mut self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }

    fn tell(&self, answer: Answer) {
        // The receiving end is ours, so it is there.
        let _ = self.answer.send(answer);
        let _ = self.waker.wake();
    }

    fn spawn(&mut self) -> std::io::Result<Sender<(Key, String, u16)>> {
        let (asked, questions) = channel::<(Key, String, u16)>();
        let (answer, waker) = (self.answer.clone(), self.waker.clone());
        let work = move || {
            for (key, host, port) in questions {
                let found = look_up(&host, port);
                if answer.send((key, found)).is_err() {
                    return;
                }
                let _ = waker.wake();
            }
        };
        let _unsignalled = crate::os::Unsignalled::here();
        thread::Builder::new().name("otelcore-names".to_owned()).stack_size(256 << 10).spawn(work)?;
        self.asked = Some(asked.clone());
        Ok(asked)
    }
}

fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    match (host, port).to_socket_addrs() {
        Ok(found) => {
            let mut addresses: Vec<_> = found.collect();
            addresses.dedup();
            if addresses.is_empty() { Err(format!("lookup {host}: no such host")) } else { Ok(addresses) }
        }
        Err(e) => Err(format!("lookup {host}: {}", crate::sockets::text(&e))),
    }
}
