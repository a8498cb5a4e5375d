//! Signals of the process, as bytes in pipes that a loop waits for.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

use signal_hook::SigId;

use crate::sockets::FIRST_TOKEN;

/// Signals that are caught until this is dropped, also while no loop waits for them. Several loops can use it, one
/// after another. Only a program that owns the process may use this.
#[derive(Debug)]
pub struct Signals {
    pipes: Vec<(i32, UnixStream)>,
    ids: Vec<SigId>,
}

impl Signals {
    /// Catches these signals.
    ///
    /// # Errors
    /// When a handler can't be installed.
    pub fn catch(numbers: &[i32]) -> io::Result<Self> {
        let mut caught = Self { pipes: Vec::new(), ids: Vec::new() };
        // Each has its own token; the waker has one too.
        for &signal in numbers.iter().take(FIRST_TOKEN - 1) {
            let (reader, writer) = UnixStream::pair()?;
            reader.set_nonblocking(true)?;
            caught.ids.push(signal_hook::low_level::pipe::register(signal, writer)?);
            caught.pipes.push((signal, reader));
        }
        Ok(caught)
    }

    pub(crate) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.pipes.iter().map(|(_, pipe)| pipe.as_raw_fd())
    }

    /// Appends the signals that have come through one of the pipes.
    pub(crate) fn read_pipe(&self, index: usize, signals: &mut Vec<i32>) {
        let Some((signal, mut pipe)) = self.pipes.get(index).map(|(signal, pipe)| (*signal, pipe)) else { return };
        let mut bytes = [0; 16];
        while pipe.read(&mut bytes).is_ok_and(|n| n > 0) {
            signals.push(signal);
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.ids.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}
