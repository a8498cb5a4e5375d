//! What a component is.
//!
//! Receivers, processors, exporters and extensions are trait objects that the graph owns and enters one at a time. Each
//! has methods for what happens to it (`event`, `settled`), and hands on what it has through the value it is given
//! ([`Door`], [`Out`], [`Done`]). None of them blocks, and none is entered while it runs.

use std::any::Any;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore_config::{ComponentId, Section};
use otelcore_pdata::{Rope, Signal};

use crate::ack::Target;
use crate::graph::Flow;
use crate::{
    Ack, Authenticators, Bell, Budget, ClientAuth, Endpoint, Error, Event, JobResult, Key, Listener, Logger,
    MemorySample, Mono, Outcome, Payload, PeerAddr, ProcessSample, SendingSettings, ServerAuth, Stream, Telemetry,
    TimerId, Wall, World,
};

/// The world as one component sees it: the keys it uses are its own numbers.
pub struct Cx<'w> {
    world: &'w mut dyn World,
    owner: u32,
}

impl std::fmt::Debug for Cx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cx").field("owner", &self.owner).finish_non_exhaustive()
    }
}

impl<'w> Cx<'w> {
    /// The view of the component `owner`.
    pub fn new(world: &'w mut dyn World, owner: u32) -> Self {
        Self { world, owner }
    }

    /// The same world for another component.
    pub(crate) fn of(&mut self, owner: u32) -> Cx<'_> {
        Cx { world: self.world, owner }
    }

    fn key(&self, local: u64) -> Key {
        Key { owner: self.owner, local }
    }

    /// See [`World::now`].
    #[must_use]
    pub fn now(&self) -> Mono {
        self.world.now()
    }

    /// See [`World::wall`].
    #[must_use]
    pub fn wall(&self) -> Wall {
        self.world.wall()
    }

    /// See [`World::rand`].
    pub fn rand(&mut self) -> u64 {
        self.world.rand()
    }

    /// See [`World::memory`].
    pub fn memory(&mut self) -> MemorySample {
        self.world.memory()
    }

    /// See [`World::process`].
    pub fn process(&mut self) -> ProcessSample {
        self.world.process()
    }

    /// See [`World::listen`].
    ///
    /// # Errors
    /// What the system says.
    pub fn listen(&mut self, local: u64, at: &Endpoint) -> io::Result<Box<dyn Listener>> {
        let key = self.key(local);
        self.world.listen(key, at)
    }

    /// See [`World::connect`].
    ///
    /// # Errors
    /// What the system says at once.
    pub fn connect(&mut self, local: u64, to: &PeerAddr) -> io::Result<Box<dyn Stream>> {
        let key = self.key(local);
        self.world.connect(key, to)
    }

    /// See [`World::resolve`].
    pub fn resolve(&mut self, local: u64, host: &str, port: u16) {
        let key = self.key(local);
        self.world.resolve(key, host, port);
    }

    /// See [`World::arm`].
    pub fn arm(&mut self, local: u64, at: Mono) -> TimerId {
        let key = self.key(local);
        self.world.arm(key, at)
    }

    /// See [`World::cancel`].
    pub fn cancel(&mut self, id: TimerId) {
        self.world.cancel(id);
    }

    /// See [`World::again`].
    pub fn again(&mut self, local: u64) {
        let key = self.key(local);
        self.world.again(key);
    }

    /// See [`World::bell`].
    #[must_use]
    pub fn bell(&mut self, local: u64) -> Arc<dyn Bell> {
        let key = self.key(local);
        self.world.bell(key)
    }

    /// Runs `compute` on a helper thread. [`Event::Ready`] follows under `local` when it has ended; the result is then
    /// there, unless it has panicked.
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

    /// See [`World::output`].
    ///
    /// # Errors
    /// What the system says.
    pub fn output(&mut self, path: &str) -> io::Result<Box<dyn io::Write>> {
        self.world.output(path)
    }

    /// See [`World::read`].
    ///
    /// # Errors
    /// What the system says.
    pub fn read(&mut self, path: &str) -> io::Result<Vec<u8>> {
        self.world.read(path)
    }

    /// See [`World::env`].
    #[must_use]
    pub fn env(&self, name: &str) -> Option<String> {
        self.world.env(name)
    }
}

/// A component could not start. The message says what, and who is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

/// Brings telemetry in.
pub trait Receiver {
    /// Binds sockets. Data may come from now on.
    ///
    /// # Errors
    /// What keeps it from starting, a port in use for one.
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError>;

    /// Something happened under one of its keys.
    fn event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, door: &mut Door<'_>);

    /// A payload that it sent through its door has met its fate.
    fn settled(&mut self, cx: &mut Cx<'_>, request: u64, outcome: Outcome);

    /// The graph is quiet: the time to write what [`Receiver::settled`] has answered, all of it at once.
    fn flush(&mut self, cx: &mut Cx<'_>) {
        let _ = cx;
    }

    /// Takes nothing new from now on, and finishes what it has begun by `until`.
    fn close(&mut self, cx: &mut Cx<'_>, until: Mono);

    /// True when, after [`Receiver::close`], every request is answered.
    fn is_closed(&self) -> bool;

    /// Items that it has taken custody of and not handed on, for the report at shutdown.
    fn holds(&self) -> u64 {
        0
    }
}

/// Changes, groups or refuses telemetry on its way.
pub trait Processor {
    /// Arms timers and the like.
    ///
    /// # Errors
    /// What keeps it from starting.
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let _ = cx;
        Ok(())
    }

    /// Takes a payload. It passes payload and ack on, or settles the ack.
    fn process(&mut self, cx: &mut Cx<'_>, payload: Payload, ack: Ack, out: &mut Out);

    /// Something happened under one of its keys.
    fn event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, out: &mut Out) {
        let _ = (cx, local, event, out);
    }

    /// A payload under an ack of its own ([`Out::ack`]) has met its fate.
    fn settled(&mut self, cx: &mut Cx<'_>, job: u64, outcome: Outcome, out: &mut Out) {
        let _ = (cx, job, outcome, out);
    }

    /// The refusal that a payload would meet now, so that a receiver can refuse before it reads the body.
    fn refusal(&self) -> Option<Outcome> {
        None
    }

    /// Hands on whatever it holds back, and goes on holding back what comes next.
    fn flush(&mut self, cx: &mut Cx<'_>, out: &mut Out) {
        let _ = (cx, out);
    }

    /// Hands on whatever it holds back; receivers are closed.
    fn drain(&mut self, cx: &mut Cx<'_>, out: &mut Out) {
        let _ = (cx, out);
    }

    /// Items that it holds, for the report at shutdown. Zero means that it is drained.
    fn holds(&self) -> u64 {
        0
    }
}

/// Sends telemetry out, or shows it.
pub trait Exporter {
    /// Binds sockets, begins connections. A peer that is down is no error.
    ///
    /// # Errors
    /// What keeps it from starting.
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let _ = cx;
        Ok(())
    }

    /// Sends one payload and tells `done` what became of it, now or after a later event. `by` is the end of this
    /// attempt.
    fn send(&mut self, cx: &mut Cx<'_>, job: JobId, payload: &Payload, by: Mono, done: &mut Done);

    /// Something happened under one of its keys.
    fn event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, done: &mut Done) {
        let _ = (cx, local, event, done);
    }

    /// Nothing will be sent any more; closes what is open.
    fn close(&mut self, cx: &mut Cx<'_>) {
        let _ = cx;
    }
}

/// Serves the collector itself: health checks and the like.
pub trait Extension {
    /// Binds sockets; runs before any pipeline starts.
    ///
    /// # Errors
    /// What keeps it from starting.
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let _ = cx;
        Ok(())
    }

    /// Every pipeline has started (`true`), or shutdown has begun (`false`).
    fn ready(&mut self, cx: &mut Cx<'_>, ready: bool) {
        let _ = (cx, ready);
    }

    /// Something happened under one of its keys.
    fn event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>) {
        let _ = (cx, local, event);
    }

    /// What it offers to servers that name it in `auth`.
    fn server_auth(&self) -> Option<Rc<dyn ServerAuth>> {
        None
    }

    /// What it offers to clients that name it in `auth`.
    fn client_auth(&self) -> Option<Rc<dyn ClientAuth>> {
        None
    }
}

/// Names one attempt to send.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct JobId {
    /// The signal, as an index into [`Signal::ALL`].
    pub signal: u8,
    /// Counts up by exporter and signal.
    pub number: u64,
}

/// What became of a job whose payload went out in pieces.
#[derive(Clone, Debug, Default)]
pub struct Fate {
    /// Items that arrived.
    pub delivered: u32,
    /// Items that the peer dropped of a request that it took, which the exporter has told in the log.
    pub rejected: u32,
    /// Items that were refused for good, and why.
    pub refused: Option<(u32, Error)>,
    /// The pieces to send again, no sooner than the pause says, and why they failed.
    pub rest: Option<(Rope, Option<Duration>, Error)>,
}

/// What became of jobs.
#[derive(Debug, Default)]
pub struct Done {
    jobs: Vec<(JobId, Fated)>,
}

/// The two ways of saying what became of a job.
#[derive(Debug)]
pub(crate) enum Fated {
    Whole(Outcome),
    Pieces(Fate),
}

impl Done {
    /// Says what became of a job.
    pub fn push(&mut self, job: JobId, outcome: Outcome) {
        self.jobs.push((job, Fated::Whole(outcome)));
    }

    /// Says what became of the pieces of a job.
    pub fn pieces(&mut self, job: JobId, fate: Fate) {
        self.jobs.push((job, Fated::Pieces(fate)));
    }

    pub(crate) fn drain(&mut self) -> Vec<(JobId, Fated)> {
        std::mem::take(&mut self.jobs)
    }

    /// What has been said of whole jobs, for tests of single exporters.
    pub fn take(&mut self) -> Vec<(JobId, Outcome)> {
        let whole = |(job, fated)| match fated {
            Fated::Whole(outcome) => Some((job, outcome)),
            Fated::Pieces(_) => None,
        };
        self.drain().into_iter().filter_map(whole).collect()
    }
}

/// Where a processor puts what goes on down the pipeline.
#[derive(Debug, Default)]
pub struct Out {
    pub(crate) payloads: Vec<(Payload, Ack)>,
    pub(crate) settle: Option<(Rc<crate::ack::Settlements>, usize, usize)>,
}

impl Out {
    /// Passes a payload on.
    pub fn send(&mut self, payload: Payload, ack: Ack) {
        self.payloads.push((payload, ack));
    }

    /// An ack of the processor's own: its outcome comes back through [`Processor::settled`] under `job`.
    pub fn ack(&self, job: u64) -> Ack {
        match &self.settle {
            Some((queue, pipeline, index)) => Ack::new(Target::Processor(*pipeline, *index, job), queue),
            None => Ack::detached(),
        }
    }

    /// What has been passed on, for tests of single processors.
    pub fn take(&mut self) -> Vec<(Payload, Ack)> {
        std::mem::take(&mut self.payloads)
    }
}

/// A receiver's way into its pipelines.
pub struct Door<'a> {
    pub(crate) flow: &'a mut Flow,
    pub(crate) receiver: usize,
}

impl std::fmt::Debug for Door<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("receiver", &self.receiver).finish_non_exhaustive()
    }
}

impl Door<'_> {
    /// Sends a payload into every pipeline of its signal; [`Receiver::settled`] tells its fate under `request`.
    pub fn send(&mut self, cx: &mut Cx<'_>, request: u64, payload: Payload) {
        self.flow.enter(cx, self.receiver, request, payload);
    }

    /// The refusal that a payload of this signal would meet now, if a limiter refuses.
    #[must_use]
    pub fn refusal(&self, signal: Signal) -> Option<Outcome> {
        self.flow.refusal(self.receiver, signal)
    }

    /// The count of held bytes, to charge bodies to.
    #[must_use]
    pub fn budget(&self) -> &Arc<Budget> {
        &self.flow.budget
    }
}

/// The kinds of component.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// Brings telemetry in.
    Receiver,
    /// Changes it on its way.
    Processor,
    /// Sends it out.
    Exporter,
    /// Serves the collector itself.
    Extension,
}

impl Kind {
    /// `receiver`, `processor`, `exporter`, `extension`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Receiver => "receiver",
            Self::Processor => "processor",
            Self::Exporter => "exporter",
            Self::Extension => "extension",
        }
    }
}

/// What a factory makes.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// Its kind.
    pub kind: Kind,
    /// The type part of its ids.
    pub type_name: &'static str,
    /// Older type names that still work, each with a warning that names the new one.
    pub aliases: &'static [&'static str],
    /// The signals that it can serve; empty for extensions.
    pub signals: &'static [Signal],
    /// `Stable`, `Beta` and so on, for `components`.
    pub stability: &'static str,
}

/// Makes components of one type.
pub trait Factory: Send + Sync {
    /// What it makes.
    fn about(&self) -> About;

    /// Reads the user's section. All mistakes go into the section's diagnostics; `None` when it can't be used.
    fn parse(&self, id: &ComponentId, section: Section<'_>) -> Option<Box<dyn Settings>>;
}

/// A component's settings, checked; makes instances of it. Any thread may read settings; instances live on the loop.
pub trait Settings: Send + Sync + Any {
    /// Makes one instance: one for each id, and for processors one for each pipeline.
    ///
    /// # Errors
    /// What the settings ask for and can't be had.
    fn create(&self, build: &Build<'_>) -> Result<Component, StartError>;

    /// Checks the files that it names, as far as `read` gives them, without opening anything else.
    ///
    /// # Errors
    /// What an instance would refuse to start with.
    fn check_files(&self, read: ReadFile<'_>) -> Result<(), String> {
        let _ = read;
        Ok(())
    }

    /// The sockets that an instance opens, for those who compare them with what is around the collector.
    fn listens(&self) -> Vec<Listens> {
        Vec::new()
    }
}

/// Gives the bytes of a file by its path; `None` where it is not to be had here.
pub type ReadFile<'a> = &'a dyn Fn(&str) -> Option<Vec<u8>>;

/// A socket that a component opens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listens {
    /// Where.
    pub at: Endpoint,
    /// The key of the address below the component, such as `protocols::grpc::endpoint`.
    pub key: &'static str,
    /// What answers there.
    pub serves: Serves,
    /// The one path that is answered; empty for any or none.
    pub path: String,
}

/// What answers at a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Serves {
    /// Telemetry comes in over gRPC.
    Grpc,
    /// Telemetry comes in over HTTP.
    Http,
    /// The page that probes ask.
    Health,
    /// A Prometheus page.
    Metrics,
    /// Something else.
    Other,
}

/// What an instance is made with.
#[derive(Debug)]
pub struct Build<'a> {
    /// Its id, as the user wrote it.
    pub id: &'a ComponentId,
    /// The signals of the pipelines that use it.
    pub signals: &'a [Signal],
    /// Where its metrics go.
    pub telemetry: &'a Telemetry,
    /// Its pen.
    pub log: Logger,
    /// The count of held bytes.
    pub budget: &'a Arc<Budget>,
    /// What `auth` sections may name.
    pub auth: &'a Authenticators,
}

/// An instance.
pub enum Component {
    /// Brings telemetry in.
    Receiver(Box<dyn Receiver>),
    /// Changes it on its way.
    Processor(Box<dyn Processor>),
    /// Sends it out, through a queue with these settings for each signal.
    Exporter(Box<dyn Exporter>, SendingSettings),
    /// Serves the collector itself.
    Extension(Box<dyn Extension>),
}

impl std::fmt::Debug for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Receiver(_) => "Receiver",
            Self::Processor(_) => "Processor",
            Self::Exporter(..) => "Exporter",
            Self::Extension(_) => "Extension",
        })
    }
}
