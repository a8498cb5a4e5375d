//! Reads certificate files again, when a new connection finds that it is time.
//!
//! Owns the configuration in use and the job that reads the files on a helper thread. The connection that has caused it
//! waits for its result ([`PendingConfig`]) and uses what it found; connections that are made meanwhile use what is
//! there. So an idle process reads nothing, and no connection is made with files older than the interval, except during
//! a read. Files that can't be used are logged, and the old ones stay in use.

use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use otelcore_pipeline::{Cx, FileSystem, JobResult, LogField, Logger, MonotonicTime};

use super::certificates::PemFiles;
use super::config::{PemSource, TlsCommonConfig};

/// The largest file that is read.
pub(super) const MAX_FILE_BYTES: usize = 16 << 20;

/// Makes a configuration of rustls from the contents of the files.
pub(super) type BuildConfig<C> = Arc<dyn Fn(&PemFiles) -> Result<Arc<C>, String> + Send + Sync>;

/// What a read has found: `None` where nothing has changed.
type ReloadResult<C> = Result<Option<(PemFiles, Arc<C>)>, String>;

/// What is read again, and when.
#[derive(Clone)]
pub(super) struct ReloadPlan {
    pub(super) common: TlsCommonConfig,
    pub(super) client_ca: Option<PemSource>,
    /// Whether the clients' authorities are read again too.
    pub(super) reloads_client_ca: bool,
    /// Nanoseconds between two reads; zero for no second one.
    pub(super) interval: u64,
}

/// A configuration that is made again when its files change.
pub(super) struct ReloadedConfig<C> {
    plan: ReloadPlan,
    build: BuildConfig<C>,
    state: Rc<RefCell<State<C>>>,
}

struct State<C> {
    files: PemFiles,
    config: Arc<C>,
    checked_at: MonotonicTime,
    job: Option<JobResult<ReloadResult<C>>>,
    log: Logger,
}

/// The configuration for a connection that waits for the files.
pub(super) struct PendingConfig<C>(Rc<RefCell<State<C>>>);

impl<C: Send + Sync + 'static> ReloadedConfig<C> {
    /// Makes the first configuration from files that were read at the start.
    pub(super) fn new(
        cx: &Cx<'_>,
        files: PemFiles,
        plan: ReloadPlan,
        build: BuildConfig<C>,
        log: Logger,
    ) -> Result<Self, String> {
        let config = build(&files)?;
        Ok(Self::from_loaded(cx, files, config, plan, build, log))
    }

    /// The same, where `config` was made from these files.
    pub(super) fn from_loaded(
        cx: &Cx<'_>,
        files: PemFiles,
        config: Arc<C>,
        plan: ReloadPlan,
        build: BuildConfig<C>,
        log: Logger,
    ) -> Self {
        let state = State { files, config, checked_at: cx.now(), job: None, log };
        Self { plan, build, state: Rc::new(RefCell::new(state)) }
    }

    /// The newest configuration that is there.
    pub(super) fn current(&self) -> Arc<C> {
        self.state.borrow().config.clone()
    }

    /// Begins to read the files if it is time; the connection whose events come under `event_key` is woken at the end.
    /// A connection without events does not begin it.
    pub(super) fn begin_reload(&self, cx: &mut Cx<'_>, event_key: Option<u64>) -> Option<PendingConfig<C>> {
        let mut state = self.state.borrow_mut();
        // The connection that waited for it may be gone.
        state.apply_result();
        let now = cx.now();
        let interval = self.plan.interval;
        if interval == 0 || now.0.saturating_sub(state.checked_at.0) < interval {
            return None;
        }
        let (plan, build, previous) = (self.plan.clone(), self.build.clone(), state.files.clone());
        let job = cx.run_file_job(event_key?, move |files| read_again(files, &plan, &previous, &*build)).ok()?;
        state.checked_at = now;
        state.job = Some(job);
        drop(state);
        Some(PendingConfig(self.state.clone()))
    }
}

impl<C: Send + Sync + 'static> PendingConfig<C> {
    /// The configuration, once the files are read.
    pub(super) fn poll(&self) -> Poll<Arc<C>> {
        let mut state = self.0.borrow_mut();
        state.apply_result();
        if state.job.is_some() { Poll::Pending } else { Poll::Ready(state.config.clone()) }
    }
}

impl<C: Send + Sync + 'static> State<C> {
    fn apply_result(&mut self) {
        let Some(result) = self.job.as_ref().and_then(JobResult::take) else { return };
        self.job = None;
        match result {
            Ok(None) => {}
            Ok(Some((files, config))) => {
                self.files = files;
                self.config = config;
                self.log.info("TLS certificates were loaded again", &[]);
            }
            Err(why) => {
                let fields = [("error", LogField::Str(&why))];
                self.log.warn("Cannot load TLS certificates again; the old ones stay", &fields);
            }
        }
    }
}

fn read_again<C: Send + Sync>(
    file_system: &mut dyn FileSystem,
    plan: &ReloadPlan,
    previous: &PemFiles,
    build: &dyn Fn(&PemFiles) -> Result<Arc<C>, String>,
) -> ReloadResult<C> {
    let client_ca = plan.client_ca.as_ref();
    let read = |path: &str| match file_system.read(Path::new(path), MAX_FILE_BYTES) {
        // A pipe can be read once only.
        Err(e) if e.kind() == io::ErrorKind::Unsupported => {
            previous.content_of(path, &plan.common, client_ca).ok_or_else(|| e.to_string())
        }
        result => result.map_err(|e| e.to_string()),
    };
    let mut files = PemFiles::read(read, &plan.common, client_ca.filter(|_| plan.reloads_client_ca))?;
    if !plan.reloads_client_ca {
        files.client_ca = previous.client_ca.clone();
    }
    if files == *previous {
        return Ok(None);
    }
    build(&files).map(|config| Some((files, config)))
}
