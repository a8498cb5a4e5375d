//! What a fork means: a child closes the descriptors of the collectors that it inherits, and touches nothing else of them.
//!
//! Owns the set of descriptors that worlds have open, and the number of forks that lie between this process and the first
//! one. A child that kept a listening socket would let connections through that nobody answers, and keep its port in use;
//! one that kept a connection would keep the peer from seeing its end. Closing is all that a child may do: to remove an
//! epoll registration, to shut a socket down or to end a TLS session there would reach the parent's, and any lock may be
//! held by a thread that the child does not have. Handlers of `pthread_atfork` do it, with atomics and `close` alone.
//!
//! A descriptor is opened and noted, or removed from the set and closed, while no fork can begin ([`NoFork`]).

use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Forks between the first process and this one, counted from the first [`watch_forks`].
static DEPTH: AtomicU32 = AtomicU32::new(0);

/// Held while a descriptor changes, and by a thread that forks.
static NO_FORK: AtomicBool = AtomicBool::new(false);

/// The thread that holds it because it forks; zero for none.
static FORKING: AtomicUsize = AtomicUsize::new(0);

/// How many forks lie between the process in which [`watch_forks`] was first called and this one. A value that was made
/// at another depth was inherited.
#[must_use]
pub fn fork_depth() -> u32 {
    DEPTH.load(Ordering::Relaxed)
}

/// Has a forked child close what worlds have open, and [`fork_depth`] count. Every world calls this.
pub fn watch_forks() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the handlers stay mapped (the shared library is linked with `nodelete`), and do nothing that a child of a
        // process with threads may not do. Without memory for them a child is as it would be without this module.
        unsafe { libc::pthread_atfork(Some(before_fork), Some(after_in_parent), Some(after_in_child)) };
    });
}

fn this_thread() -> usize {
    // SAFETY: it has no precondition.
    unsafe { libc::pthread_self() as usize }
}

extern "C" fn before_fork() {
    /// A thread that forks in a signal handler may hold it itself.
    const PATIENCE: Duration = Duration::from_secs(1);
    const PAUSE: Duration = Duration::from_micros(50);
    let mut waited = Duration::ZERO;
    while NO_FORK.swap(true, Ordering::Acquire) {
        if waited >= PATIENCE {
            return;
        }
        std::thread::sleep(PAUSE);
        waited += PAUSE;
    }
    FORKING.store(this_thread(), Ordering::Relaxed);
}

extern "C" fn after_in_parent() {
    if FORKING.compare_exchange(this_thread(), 0, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
        NO_FORK.store(false, Ordering::Release);
    }
}

extern "C" fn after_in_child() {
    DEPTH.fetch_add(1, Ordering::Relaxed);
    OPEN.close_all();
    // Whoever held it is not here.
    FORKING.store(0, Ordering::Relaxed);
    NO_FORK.store(false, Ordering::Release);
}

/// While it lives no fork begins. It is held for single system calls that do not wait.
struct NoFork;

impl NoFork {
    fn enter() -> Self {
        let mut tries = 0_u32;
        while NO_FORK.swap(true, Ordering::Acquire) {
            tries += 1;
            if tries < 100 {
                std::hint::spin_loop();
            } else {
                // A fork of a large process takes milliseconds.
                std::thread::sleep(Duration::from_micros(50));
            }
        }
        Self
    }
}

impl Drop for NoFork {
    fn drop(&mut self) {
        NO_FORK.store(false, Ordering::Release);
    }
}

/// Descriptors in one chunk, and how many chunks there are: 16 million descriptors. Higher ones are not noted.
const CHUNK: usize = 1 << 14;
const CHUNKS: usize = 1 << 10;

type Chunk = [AtomicU64; CHUNK / 64];

/// A set of descriptors that can be read and emptied without a lock or an allocation. Chunks are made when they are needed,
/// and stay.
struct Descriptors([AtomicPtr<Chunk>; CHUNKS]);

static OPEN: Descriptors = Descriptors([const { AtomicPtr::new(std::ptr::null_mut()) }; CHUNKS]);

impl Descriptors {
    fn chunk(&self, at: usize) -> Option<&Chunk> {
        // SAFETY: null, or a chunk that `add` has leaked.
        unsafe { self.0.get(at)?.load(Ordering::Acquire).as_ref() }
    }

    fn word(&self, fd: RawFd) -> Option<(&AtomicU64, u64)> {
        let fd = usize::try_from(fd).ok()?;
        let word = self.chunk(fd / CHUNK)?.get(fd % CHUNK / 64)?;
        Some((word, 1 << (fd % 64)))
    }

    fn add(&self, fd: RawFd) {
        let slot = usize::try_from(fd).ok().and_then(|fd| self.0.get(fd / CHUNK));
        if let Some(slot) = slot.filter(|slot| slot.load(Ordering::Acquire).is_null()) {
            let new = Box::into_raw(Box::new([const { AtomicU64::new(0) }; CHUNK / 64]));
            if slot.compare_exchange(std::ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire).is_err() {
                // SAFETY: another thread was first, so that nobody has seen this one.
                drop(unsafe { Box::from_raw(new) });
            }
        }
        if let Some((word, bit)) = self.word(fd) {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    fn remove(&self, fd: RawFd) {
        if let Some((word, bit)) = self.word(fd) {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    fn close_all(&self) {
        for (at, chunk) in (0..CHUNKS).filter_map(|at| Some((at, self.chunk(at)?))) {
            for (number, word) in chunk.iter().enumerate() {
                let mut bits = word.swap(0, Ordering::Relaxed);
                while bits != 0 {
                    let fd = at * CHUNK + number * 64 + bits.trailing_zeros() as usize;
                    // SAFETY: a descriptor that this process owns, whose owner is never used or dropped again.
                    unsafe { libc::close(RawFd::try_from(fd).unwrap_or(-1)) };
                    bits &= bits - 1;
                }
            }
        }
    }
}

/// Something with a descriptor, which a forked child closes. There it must not be used; dropping it does nothing.
#[derive(Debug)]
pub struct Tracked<T: AsRawFd> {
    value: ManuallyDrop<T>,
    depth: u32,
}

impl<T: AsRawFd> Tracked<T> {
    /// Opens it, by system calls that do not wait, and notes its descriptor.
    ///
    /// # Errors
    /// Those of `open`.
    pub fn open<E>(open: impl FnOnce() -> Result<T, E>) -> Result<Self, E> {
        watch_forks();
        let _no_fork = NoFork::enter();
        let value = open()?;
        OPEN.add(value.as_raw_fd());
        Ok(Self { value: ManuallyDrop::new(value), depth: fork_depth() })
    }

    /// Notes one that is open already. A fork between the two leaves it open in the child.
    pub fn new(value: T) -> Self {
        watch_forks();
        OPEN.add(value.as_raw_fd());
        Self { value: ManuallyDrop::new(value), depth: fork_depth() }
    }

    /// It belongs to a parent of this process.
    #[must_use]
    pub fn is_inherited(&self) -> bool {
        self.depth != fork_depth()
    }
}

impl<T: AsRawFd> Deref for Tracked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: AsRawFd> DerefMut for Tracked<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T: AsRawFd> Drop for Tracked<T> {
    fn drop(&mut self) {
        if self.is_inherited() {
            // Its number is another descriptor's by now, or none.
            return;
        }
        let _no_fork = NoFork::enter();
        OPEN.remove(self.value.as_raw_fd());
        // SAFETY: it is dropped here only, and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.value) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{PipeReader, PipeWriter, pipe};

    fn tracked_pipe() -> (Tracked<PipeReader>, Tracked<PipeWriter>) {
        let mut writer = None;
        let reader = Tracked::open(|| {
            let (reader, other) = pipe()?;
            writer = Some(other);
            Ok::<_, std::io::Error>(reader)
        });
        (reader.unwrap(), Tracked::open(|| writer.take().ok_or(())).unwrap())
    }

    /// Runs `child` in a forked child, and gives its answer. It must neither allocate nor take a lock.
    fn forked(child: impl FnOnce() -> u8) -> i32 {
        // SAFETY: the child does what a child of a process with threads may do, and ends.
        unsafe {
            let pid = libc::fork();
            if pid == 0 {
                libc::_exit(child().into());
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
            assert!(libc::WIFEXITED(status));
            libc::WEXITSTATUS(status)
        }
    }

    fn is_open(fd: RawFd) -> bool {
        // SAFETY: it asks about a number.
        unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
    }

    #[test]
    fn forked_child_has_closed_what_was_tracked_and_nothing_else() {
        let (reader, writer) = tracked_pipe();
        let (others_reader, _others_writer) = pipe().unwrap();
        let (closed, kept) = (reader.as_raw_fd(), others_reader.as_raw_fd());
        let depth = fork_depth();
        let answer = forked(|| {
            let is_right = !is_open(closed) && is_open(kept) && reader.is_inherited() && fork_depth() == depth + 1;
            u8::from(is_right)
        });
        assert_eq!(answer, 1);
        assert!(is_open(closed) && !reader.is_inherited());
        drop((reader, writer));
        assert_eq!(forked(|| u8::from(is_open(kept))), 1, "what is dropped is tracked no more");
    }

    #[test]
    fn inherited_value_dropped_in_child_leaves_a_new_descriptor_of_its_number_alone() {
        let (reader, _writer) = tracked_pipe();
        let fd = reader.as_raw_fd();
        let answer = forked(move || {
            // SAFETY: the child has closed it, so that the number is free.
            let taken = unsafe { libc::fcntl(0, libc::F_DUPFD, fd) } == fd;
            drop(reader);
            u8::from(taken && is_open(fd))
        });
        assert_eq!(answer, 1);
    }

    #[test]
    fn grandchild_closes_what_its_parent_has_opened() {
        let answer = forked(|| {
            let (reader, _writer) = tracked_pipe();
            let fd = reader.as_raw_fd();
            u8::try_from(forked(|| u8::from(!is_open(fd)))).unwrap_or_default() & u8::from(is_open(fd))
        });
        assert_eq!(answer, 1);
    }

    #[test]
    fn forks_while_other_threads_open_and_close_leave_nothing_open_in_the_child() {
        let done = AtomicBool::new(false);
        // What is open before, by whatever test.
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        // SAFETY: a descriptor of its own, whose number says that it is one of this test's.
                        drop(Tracked::open(|| unsafe {
                            let fd = libc::eventfd(0, libc::EFD_CLOEXEC);
                            let high = libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 900);
                            libc::close(fd);
                            if high < 0 { Err(()) } else { Ok(std::os::fd::OwnedFd::from_raw_fd(high)) }
                        }));
                    }
                });
            }
            for _ in 0..200 {
                let left = forked(|| (900..910).filter(|fd| is_open(*fd)).count().try_into().unwrap_or(u8::MAX));
                assert_eq!(left, 0);
            }
            done.store(true, Ordering::Relaxed);
        });
    }

    use std::os::fd::FromRawFd;
}
