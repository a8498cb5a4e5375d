//! Handles forks: a child closes the descriptors of the collectors that it inherits, and changes nothing else of them.
//!
//! Owns the set of descriptors that worlds have open, and the number of forks between the first process and this one. A
//! child that kept a listening socket would keep its port in use, and the kernel would complete connections that no
//! process accepts. A child that kept a connection would prevent the peer from seeing its end. A child may only close:
//! removing an epoll registration, shutting down a socket or ending a TLS session would affect the parent's, and any
//! lock may be held by a thread that does not exist in the child. Handlers of `pthread_atfork` close the descriptors,
//! with atomics and `close` only.
//!
//! A descriptor is opened and added to the set, or removed from the set and closed, while no fork can begin
//! ([`ForkLock`]).

use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Forks between the first process and this one, counted from the first [`install_fork_handlers`].
static FORK_DEPTH: AtomicU32 = AtomicU32::new(0);

/// A lock: held while the set of descriptors changes, and by a thread that forks.
static FORK_LOCK: AtomicBool = AtomicBool::new(false);

/// The thread that holds [`FORK_LOCK`] because it forks; zero for none.
static FORKING_THREAD: AtomicUsize = AtomicUsize::new(0);

/// Threads that wait for [`FORK_LOCK`] in order to fork. While there are some, no other thread takes the lock, so that
/// threads that open and close descriptors all the time can not keep it from them.
static WAITING_FORKS: AtomicU32 = AtomicU32::new(0);

/// How many forks there are between the process in which [`install_fork_handlers`] was first called and this one. A
/// value that was made at another depth was inherited.
#[must_use]
pub fn fork_depth() -> u32 {
    FORK_DEPTH.load(Ordering::Relaxed)
}

/// Installs the handlers: a forked child closes what worlds have open, and [`fork_depth`] counts. Every world calls
/// this.
pub fn install_fork_handlers() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the handlers stay mapped (the shared library is linked with `nodelete`), and do nothing that a child
        // of a process with threads may not do. Where there is no memory to install them, a child closes nothing.
        unsafe { libc::pthread_atfork(Some(before_fork), Some(after_in_parent), Some(after_in_child)) };
    });
}

fn this_thread() -> usize {
    // SAFETY: it has no precondition.
    unsafe { libc::pthread_self() as usize }
}

extern "C" fn before_fork() {
    /// The wait is bounded because a thread that forks in a signal handler may hold the lock itself.
    const MAX_WAIT: Duration = Duration::from_secs(1);
    const RETRY_INTERVAL: Duration = Duration::from_micros(50);
    let mut waited = Duration::ZERO;
    WAITING_FORKS.fetch_add(1, Ordering::Relaxed);
    while FORK_LOCK.swap(true, Ordering::Acquire) {
        if waited >= MAX_WAIT {
            WAITING_FORKS.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        std::thread::sleep(RETRY_INTERVAL);
        waited += RETRY_INTERVAL;
    }
    WAITING_FORKS.fetch_sub(1, Ordering::Relaxed);
    FORKING_THREAD.store(this_thread(), Ordering::Relaxed);
}

extern "C" fn after_in_parent() {
    if FORKING_THREAD.compare_exchange(this_thread(), 0, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
        FORK_LOCK.store(false, Ordering::Release);
    }
}

extern "C" fn after_in_child() {
    FORK_DEPTH.fetch_add(1, Ordering::Relaxed);
    OPEN_DESCRIPTORS.close_all();
    // The thread that held the lock does not exist in the child.
    FORKING_THREAD.store(0, Ordering::Relaxed);
    WAITING_FORKS.store(0, Ordering::Relaxed);
    FORK_LOCK.store(false, Ordering::Release);
}

/// While this exists, no fork begins. It is held for single system calls that do not wait.
struct ForkLock;

impl ForkLock {
    fn acquire() -> Self {
        let mut tries = 0_u32;
        // A thread that waits to fork does so for a bounded time.
        while WAITING_FORKS.load(Ordering::Relaxed) != 0 || FORK_LOCK.swap(true, Ordering::Acquire) {
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

impl Drop for ForkLock {
    fn drop(&mut self) {
        FORK_LOCK.store(false, Ordering::Release);
    }
}

/// Descriptors in one chunk, and the number of chunks: 16 million descriptors. Higher ones are not in the set.
const CHUNK_LEN: usize = 1 << 14;
const CHUNK_COUNT: usize = 1 << 10;

type Chunk = [AtomicU64; CHUNK_LEN / 64];

/// A set of descriptors that can be read and emptied without a lock or an allocation. Chunks are allocated when they
/// are needed, and never freed.
struct DescriptorSet([AtomicPtr<Chunk>; CHUNK_COUNT]);

static OPEN_DESCRIPTORS: DescriptorSet = DescriptorSet([const { AtomicPtr::new(std::ptr::null_mut()) }; CHUNK_COUNT]);

impl DescriptorSet {
    fn chunk(&self, index: usize) -> Option<&Chunk> {
        // SAFETY: null, or a chunk that `insert` has leaked.
        unsafe { self.0.get(index)?.load(Ordering::Acquire).as_ref() }
    }

    fn word_and_bit(&self, fd: RawFd) -> Option<(&AtomicU64, u64)> {
        let fd = usize::try_from(fd).ok()?;
        let word = self.chunk(fd / CHUNK_LEN)?.get(fd % CHUNK_LEN / 64)?;
        Some((word, 1 << (fd % 64)))
    }

    fn insert(&self, fd: RawFd) {
        let slot = usize::try_from(fd).ok().and_then(|fd| self.0.get(fd / CHUNK_LEN));
        if let Some(slot) = slot.filter(|slot| slot.load(Ordering::Acquire).is_null()) {
            let new = Box::into_raw(Box::new([const { AtomicU64::new(0) }; CHUNK_LEN / 64]));
            if slot.compare_exchange(std::ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire).is_err() {
                // SAFETY: another thread has stored its chunk before, so that no other reference to this one exists.
                drop(unsafe { Box::from_raw(new) });
            }
        }
        if let Some((word, bit)) = self.word_and_bit(fd) {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    fn remove(&self, fd: RawFd) {
        if let Some((word, bit)) = self.word_and_bit(fd) {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    fn close_all(&self) {
        for (at, chunk) in (0..CHUNK_COUNT).filter_map(|at| Some((at, self.chunk(at)?))) {
            for (number, word) in chunk.iter().enumerate() {
                let mut bits = word.swap(0, Ordering::Relaxed);
                while bits != 0 {
                    let fd = at * CHUNK_LEN + number * 64 + bits.trailing_zeros() as usize;
                    // SAFETY: a descriptor that this process owns, whose owner is never used or dropped again.
                    unsafe { libc::close(RawFd::try_from(fd).unwrap_or(-1)) };
                    bits &= bits - 1;
                }
            }
        }
    }
}

/// The owner of a descriptor that a forked child closes. In the child it must not be used, and dropping it does
/// nothing.
#[derive(Debug)]
pub struct TrackedFd<T: AsRawFd> {
    owner: ManuallyDrop<T>,
    depth: u32,
}

impl<T: AsRawFd> TrackedFd<T> {
    /// Calls `open`, which may make only system calls that do not wait, and adds the descriptor to the set.
    ///
    /// # Errors
    /// Those of `open`.
    pub fn open<E>(open: impl FnOnce() -> Result<T, E>) -> Result<Self, E> {
        install_fork_handlers();
        let _lock = ForkLock::acquire();
        let value = open()?;
        OPEN_DESCRIPTORS.insert(value.as_raw_fd());
        Ok(Self { owner: ManuallyDrop::new(value), depth: fork_depth() })
    }

    /// Adds a descriptor that is open already. A fork between its opening and this call leaves it open in the child.
    pub fn new(value: T) -> Self {
        install_fork_handlers();
        OPEN_DESCRIPTORS.insert(value.as_raw_fd());
        Self { owner: ManuallyDrop::new(value), depth: fork_depth() }
    }

    /// Whether it belongs to a parent of this process.
    #[must_use]
    pub fn is_inherited(&self) -> bool {
        self.depth != fork_depth()
    }
}

impl<T: AsRawFd> Deref for TrackedFd<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.owner
    }
}

impl<T: AsRawFd> DerefMut for TrackedFd<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.owner
    }
}

impl<T: AsRawFd> Drop for TrackedFd<T> {
    fn drop(&mut self) {
        if self.is_inherited() {
            // The descriptor was closed after the fork; its number may belong to another one now.
            return;
        }
        let _lock = ForkLock::acquire();
        OPEN_DESCRIPTORS.remove(self.owner.as_raw_fd());
        // SAFETY: it is dropped here only, and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.owner) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{PipeReader, PipeWriter, pipe};

    fn tracked_pipe() -> (TrackedFd<PipeReader>, TrackedFd<PipeWriter>) {
        let mut writer = None;
        let reader = TrackedFd::open(|| {
            let (reader, other) = pipe()?;
            writer = Some(other);
            Ok::<_, std::io::Error>(reader)
        });
        (reader.unwrap(), TrackedFd::open(|| writer.take().ok_or(())).unwrap())
    }

    /// Runs `child` in a forked child, and returns its result. It must neither allocate nor take a lock.
    fn run_in_fork(child: impl FnOnce() -> u8) -> i32 {
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
        // SAFETY: the call takes a number only, and changes nothing.
        unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
    }

    #[test]
    fn forked_child_closes_tracked_descriptors_and_no_others() {
        let (reader, writer) = tracked_pipe();
        let (others_reader, _others_writer) = pipe().unwrap();
        let (tracked, untracked) = (reader.as_raw_fd(), others_reader.as_raw_fd());
        let depth = fork_depth();
        let exit_status = run_in_fork(|| {
            let is_right =
                !is_open(tracked) && is_open(untracked) && reader.is_inherited() && fork_depth() == depth + 1;
            u8::from(is_right)
        });
        assert_eq!(exit_status, 1);
        assert!(is_open(tracked) && !reader.is_inherited());
        drop((reader, writer));
        assert_eq!(run_in_fork(|| u8::from(is_open(untracked))), 1, "what is dropped is tracked no more");
    }

    #[test]
    fn inherited_value_dropped_in_child_does_not_close_a_new_descriptor_of_its_number() {
        let (reader, _writer) = tracked_pipe();
        let fd = reader.as_raw_fd();
        let exit_status = run_in_fork(move || {
            // SAFETY: the child has closed it, so that the number is free.
            let is_reused = unsafe { libc::fcntl(0, libc::F_DUPFD, fd) } == fd;
            drop(reader);
            u8::from(is_reused && is_open(fd))
        });
        assert_eq!(exit_status, 1);
    }

    #[test]
    fn grandchild_closes_descriptors_that_the_child_opened() {
        let exit_status = run_in_fork(|| {
            let (reader, _writer) = tracked_pipe();
            let fd = reader.as_raw_fd();
            u8::try_from(run_in_fork(|| u8::from(!is_open(fd)))).unwrap_or_default() & u8::from(is_open(fd))
        });
        assert_eq!(exit_status, 1);
    }

    #[test]
    fn child_forked_while_other_threads_open_and_close_has_no_tracked_descriptor_open() {
        /// Ends the threads, also when an assertion fails.
        struct SetOnDrop<'a>(&'a AtomicBool);
        impl Drop for SetOnDrop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let is_done = AtomicBool::new(false);
        // The threads use descriptor numbers from 900 on, by which the child recognises their descriptors.
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !is_done.load(Ordering::Relaxed) {
                        // SAFETY: a new descriptor without another owner; its number shows that it is one of this
                        // test's.
                        drop(TrackedFd::open(|| unsafe {
                            let fd = libc::eventfd(0, libc::EFD_CLOEXEC);
                            let high = libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 900);
                            libc::close(fd);
                            if high < 0 { Err(()) } else { Ok(std::os::fd::OwnedFd::from_raw_fd(high)) }
                        }));
                    }
                });
            }
            let _ends_threads = SetOnDrop(&is_done);
            for _ in 0..200 {
                let open_descriptors =
                    run_in_fork(|| (900..910).filter(|fd| is_open(*fd)).count().try_into().unwrap_or(u8::MAX));
                assert_eq!(open_descriptors, 0);
            }
        });
    }

    use std::os::fd::FromRawFd;
}
