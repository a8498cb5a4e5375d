//! The view that one component has of the world.
//!
//! Keeps no state: it adds the component's owner number to the keys that the component uses.

use std::io;
use std::sync::Arc;

use crate::{
    ConnectionLimits, DatagramSocket, Endpoint, FileSystem, JobResult, Key, Listener, MemorySample, MonotonicTime,
    Notifier, OpenConnections, PeerAddr, ProcessSample, StatusReport, StatusTable, Stream, TimerId, TooManyFileJobs,
    WallTime, World,
};

/// Access to the [`World`] for one component. The component uses local numbers; they become [`Key`]s with its owner
/// number.
pub struct Cx<'w> {
    world: &'w mut dyn World,
    owner: u32,
    /// The number of the part whose local numbers are used, at its place in a local number.
    part: u64,
    statuses: Option<&'w StatusTable>,
}

/// The bits of a local number that have the number of a part.
const PART_BITS: u32 = 30;
/// The lowest of these bits. What a component numbers itself is below it, apart from the two highest bits.
const PART_SHIFT: u32 = 32;

impl std::fmt::Debug for Cx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cx").field("owner", &self.owner).finish_non_exhaustive()
    }
}

impl<'w> Cx<'w> {
    /// The view of the component `owner`.
    pub fn new(world: &'w mut dyn World, owner: u32) -> Self {
        Self { world, owner, part: 0, statuses: None }
    }

    /// The same view, with the table that [`Cx::report_status`] writes to.
    #[must_use]
    pub(crate) fn with_statuses(mut self, statuses: &'w StatusTable) -> Self {
        self.statuses = Some(statuses);
        self
    }

    /// The same world for another component.
    pub(crate) fn for_owner(&mut self, owner: u32) -> Cx<'_> {
        Cx { world: self.world, owner, part: 0, statuses: self.statuses }
    }

    /// The view of a part of the component that chooses local numbers by itself, such as one of several exporters in it.
    /// Parts have numbers from 1 to 2^30 - 1. A part numbers from zero or from 2^62 on, below 2^32 in each case; its events
    /// come under numbers that [`Cx::part_of`] takes apart.
    pub fn for_part(&mut self, part: u32) -> Cx<'_> {
        let part = u64::from(part & ((1 << PART_BITS) - 1)) << PART_SHIFT;
        Cx { world: self.world, owner: self.owner, part, statuses: self.statuses }
    }

    /// The part that a local number belongs to, zero for the component itself, and the number that the part has chosen.
    #[must_use]
    pub fn part_of(local: u64) -> (u32, u64) {
        let mask = ((1 << PART_BITS) - 1) << PART_SHIFT;
        (((local & mask) >> PART_SHIFT) as u32, local & !mask)
    }

    /// The owner number of the component.
    pub(crate) fn owner(&self) -> u32 {
        self.owner
    }

    fn key(&self, local: u64) -> Key {
        Key { owner: self.owner, local: local | self.part }
    }

    /// See [`World::now`].
    #[must_use]
    pub fn now(&self) -> MonotonicTime {
        self.world.now()
    }

    /// See [`World::wall_time`].
    #[must_use]
    pub fn wall_time(&self) -> WallTime {
        self.world.wall_time()
    }

    /// See [`World::random`].
    pub fn random(&mut self) -> u64 {
        self.world.random()
    }

    /// See [`World::sample_memory`].
    pub fn sample_memory(&mut self) -> MemorySample {
        self.world.sample_memory()
    }

    /// See [`World::sample_process`].
    pub fn sample_process(&mut self) -> ProcessSample {
        self.world.sample_process()
    }

    /// See [`World::listen`].
    ///
    /// # Errors
    /// The error that the system reports.
    pub fn listen(&mut self, local: u64, endpoint: &Endpoint) -> io::Result<Box<dyn Listener>> {
        let key = self.key(local);
        let listener = self.world.listen(key, endpoint)?;
        self.report_address(local, listener.local_addr());
        Ok(listener)
    }

    /// See [`World::connect`].
    ///
    /// # Errors
    /// The error that the system reports at once.
    pub fn connect(&mut self, local: u64, peer: &PeerAddr) -> io::Result<Box<dyn Stream>> {
        let key = self.key(local);
        self.world.connect(key, peer)
    }

    /// See [`World::bind_udp`].
    ///
    /// # Errors
    /// The error that the system reports.
    pub fn bind_udp(&mut self, local: u64, host: &str, port: u16) -> io::Result<Box<dyn DatagramSocket>> {
        let key = self.key(local);
        self.world.bind_udp(key, host, port)
    }

    /// Reports where the socket `local` of this component takes telemetry or requests. [`Cx::listen`] does so by itself.
    pub fn report_address(&self, local: u64, address: String) {
        if let Some(statuses) = self.statuses {
            statuses.set_address(self.owner, local, address);
        }
    }

    /// See [`World::resolve`].
    pub fn resolve(&mut self, local: u64, host: &str, port: u16) {
        let key = self.key(local);
        self.world.resolve(key, host, port);
    }

    /// See [`World::set_timer`].
    pub fn set_timer(&mut self, local: u64, at: MonotonicTime) -> TimerId {
        let key = self.key(local);
        self.world.set_timer(key, at)
    }

    /// See [`World::cancel_timer`].
    pub fn cancel_timer(&mut self, id: TimerId) {
        self.world.cancel_timer(id);
    }

    /// See [`World::request_ready`].
    pub fn request_ready(&mut self, local: u64) {
        let key = self.key(local);
        self.world.request_ready(key);
    }

    /// See [`World::notifier`].
    #[must_use]
    pub fn notifier(&mut self, local: u64) -> Arc<dyn Notifier> {
        let key = self.key(local);
        self.world.notifier(key)
    }

    /// Runs `compute` on a helper thread. [`crate::Event::Ready`] follows under `local` when it has ended; the result is then
    /// available, unless it has panicked.
    pub fn run_job<T: Send + 'static>(
        &mut self,
        local: u64,
        compute: impl FnOnce() -> T + Send + 'static,
    ) -> JobResult<T> {
        let key = self.key(local);
        let (job, result) = JobResult::new(compute);
        self.world.run_job(key, job);
        result
    }

    /// Runs `work` on a helper thread with the file system. [`crate::Event::Ready`] follows under `local` when it has ended;
    /// the result is then available, unless it has panicked. Work under one local number runs in the order of the
    /// calls; work under different ones may run at the same time.
    ///
    /// # Errors
    /// The component has [`crate::MAX_FILE_JOBS`] jobs on files that have not ended. `work` is dropped, and no event
    /// follows.
    pub fn run_file_job<T: Send + 'static>(
        &mut self,
        local: u64,
        work: impl FnOnce(&mut dyn FileSystem) -> T + Send + 'static,
    ) -> Result<JobResult<T>, TooManyFileJobs> {
        let key = self.key(local);
        let (job, result) = JobResult::of_file_job(work);
        self.world.run_file_job(key, job)?;
        Ok(result)
    }

    /// See [`World::open_output`].
    ///
    /// # Errors
    /// The error that the system reports.
    pub fn open_output(&mut self, path: &str) -> io::Result<Box<dyn io::Write>> {
        self.world.open_output(path)
    }

    /// See [`World::read_file`].
    ///
    /// # Errors
    /// The error that the system reports.
    pub fn read_file(&mut self, path: &str) -> io::Result<Vec<u8>> {
        self.world.read_file(path)
    }

    /// Reports the status of one part of the component: a listener, a target. Parts are numbered by the component, below
    /// 2^63, for example by their local key. The status of the component is that of its worst part. The graph reports
    /// starts, the outcomes of exporters and shutdowns by itself. Takes a lock: a component reports changes and errors,
    /// not each success.
    pub fn report_status(&mut self, part: u64, report: StatusReport<'_>) {
        if let Some(statuses) = self.statuses {
            statuses.report(self.owner, part, report, self.world.wall_time());
        }
    }

    /// See [`World::connections`]. Those of every component.
    pub fn connections(&mut self, limits: ConnectionLimits) -> OpenConnections {
        self.world.connections(limits)
    }

    /// See [`World::env_var`].
    #[must_use]
    pub fn env_var(&self, name: &str) -> Option<String> {
        self.world.env_var(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_parts_are_taken_apart() {
        for part in [0_u32, 1, 7, (1 << 30) - 1] {
            for number in [0_u64, 1, u64::from(u32::MAX), 1 << 62, (1 << 62) + 5, (3 << 62) + 1] {
                let local = number | u64::from(part) << PART_SHIFT;
                assert_eq!(Cx::part_of(local), (part, number));
            }
        }
    }
}
