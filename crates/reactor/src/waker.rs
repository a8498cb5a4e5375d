//! Wakes a loop from other threads: an eventfd in its poll. Like `mio::Waker`, but a forked child closes the descriptor
//! and never writes to a descriptor of that number.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::forks::TrackedFd;

#[derive(Debug)]
pub(crate) struct Waker(TrackedFd<OwnedFd>);

impl Waker {
    /// `token` becomes readable with each [`Waker::wake`].
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let eventfd = TrackedFd::open(|| {
            // SAFETY: the call takes two numbers; the descriptor is new, and has no other owner.
            unsafe {
                match libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) {
                    fd if fd >= 0 => Ok(OwnedFd::from_raw_fd(fd)),
                    _ => Err(io::Error::last_os_error()),
                }
            }
        })?;
        registry.register(&mut SourceFd(&eventfd.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self(eventfd))
    }

    /// # Errors
    /// The error of the system. In a forked child there is no loop to wake, and the call does nothing.
    pub(crate) fn wake(&self) -> io::Result<()> {
        if self.0.is_inherited() {
            return Ok(());
        }
        let increment = 1_u64.to_ne_bytes();
        loop {
            // SAFETY: eight bytes that live until the call returns, as an eventfd takes them.
            let written = unsafe { libc::write(self.0.as_raw_fd(), increment.as_ptr().cast(), increment.len()) };
            if written >= 0 {
                return Ok(());
            }
            match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::Interrupted => {}
                // The counter is at its maximum. Each write is an edge, so the counter may be reset to zero.
                e if e.kind() == io::ErrorKind::WouldBlock => self.reset_counter(),
                e => return Err(e),
            }
        }
    }

    fn reset_counter(&self) {
        let mut counter = [0_u8; 8];
        // SAFETY: eight bytes that may be written until the call returns. The result is ignored: another thread may
        // have reset the counter before.
        let _ = unsafe { libc::read(self.0.as_raw_fd(), counter.as_mut_ptr().cast(), counter.len()) };
    }
}
