//! A pod: its containers run as the kubelet runs them. Init containers in order, sidecars started before the others and
//! stopped after them, restarts, probes, the stop with `preStop`, SIGTERM and SIGKILL. Which pods exist is decided by
//! the cluster.

use std::fmt;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cgroup::MemoryGroup;
use crate::container::{ContainerStart, Mount, RunningContainer};
use crate::http;
use crate::manifest::{at, number};
use crate::network::{self, PodNetwork};
use crate::spec::{Container, Image, Objects, PodFacts, Probe, ProbeTarget, RestartPolicy};

/// Periods of probes are divided by this, so that a test waits one second where a cluster waits ten. Counts and
/// timeouts are used as they are written.
const PROBE_SPEEDUP: u32 = 10;
/// The polling interval for the state of containers.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A pod that has been started.
pub struct Pod {
    pub(crate) facts: PodFacts,
    pub(crate) spec: Value,
    pub(crate) node: usize,
    pub(crate) network: PodNetwork,
    /// The workload that it belongs to: `Deployment/namespace/name`, or empty.
    pub(crate) owner: String,
    pub(crate) dir: PathBuf,
    /// Mounts of each container, in the order of [`Container::all`].
    pub(crate) mounts: Vec<Vec<Mount>>,
    pub(crate) images: Vec<Image>,
    pub(crate) objects: Objects,
    containers: Vec<Container>,
    states: Mutex<Vec<ContainerState>>,
    stopping: AtomicBool,
    /// Helper processes of the node for this pod, such as relays of its hostPorts.
    pub(crate) helpers: Mutex<Vec<std::process::Child>>,
}

/// The state of a container.
#[derive(Default)]
struct ContainerState {
    running: Option<RunningContainer>,
    /// Counts the runs, so that probes of an earlier one stop.
    run: u32,
    started: bool,
    ready: bool,
    done: bool,
    stop: bool,
    exits: Vec<i32>,
    /// The reason why it could not be started.
    error: Option<String>,
}

impl fmt::Debug for Pod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {} at {}", self.name(), self.facts.node, self.network.address)
    }
}

impl Pod {
    #[expect(clippy::too_many_arguments, reason = "each is one thing that a pod is made of")]
    pub(crate) fn new(
        facts: PodFacts,
        spec: Value,
        node: usize,
        place: PodNetwork,
        owner: String,
        dir: PathBuf,
        images: Vec<Image>,
        objects: Objects,
    ) -> Self {
        let containers = Container::all(&spec);
        let states = Mutex::new(containers.iter().map(|_| ContainerState::default()).collect());
        let (stopping, mounts, helpers) = (AtomicBool::new(false), Vec::new(), Mutex::default());
        Self {
            facts,
            spec,
            node,
            network: place,
            owner,
            dir,
            mounts,
            images,
            objects,
            containers,
            states,
            stopping,
            helpers,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        crate::manifest::text(&self.facts.metadata, "name")
    }

    /// Its node's name.
    pub fn node_name(&self) -> &str {
        &self.facts.node
    }

    /// An address of the pod.
    pub fn address(&self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.network.address), port)
    }

    /// All containers are ready and the pod is not stopping: its services route to it.
    pub fn is_ready(&self) -> bool {
        let states = self.states();
        let ready = |(c, s): (&Container, &ContainerState)| if c.init && !c.is_sidecar() { s.done } else { s.ready };
        !self.is_stopping() && self.containers.iter().zip(states.iter()).all(ready)
    }

    /// The pod has been asked to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// The exit codes of a container so far; 128 and more is a signal.
    pub fn exits(&self, container: &str) -> Vec<i32> {
        self.states()[self.index(container)].exits.clone()
    }

    /// The output of a container, in all its runs.
    pub fn output(&self, container: &str) -> String {
        let index = self.index(container);
        let error = self.states()[index].error.clone().unwrap_or_default();
        std::fs::read_to_string(self.log(index)).unwrap_or_default() + &error
    }

    /// The last lines of each container's output, for messages.
    pub fn last_output(&self) -> String {
        let container_output = |name: &str| {
            let output = self.output(name);
            let from = output.lines().count().saturating_sub(20);
            let words: Vec<&str> = output.lines().skip(from).collect();
            format!("--- {} / {name}, ended {:?}\n{}\n", self.name(), self.exits(name), words.join("\n"))
        };
        self.container_names().into_iter().map(container_output).collect()
    }

    /// The output of all containers.
    pub fn all_output(&self) -> String {
        self.containers
            .iter()
            .map(|c| format!("--- {} / {}\n{}\n", self.name(), c.name, self.output(&c.name)))
            .collect()
    }

    /// The names of its containers.
    pub fn container_names(&self) -> Vec<&str> {
        self.containers.iter().map(|c| c.name.as_str()).collect()
    }

    /// The machine's data about a container's first process (`/proc/PID/status`), while it runs.
    pub fn process(&self, container: &str) -> Option<String> {
        let pid = self.states()[self.index(container)].running.as_ref()?.pid()?;
        std::fs::read_to_string(format!("/proc/{pid}/status")).ok()
    }

    /// Sends a signal to a container's first process.
    pub fn signal(&self, container: &str, name: &str) {
        let index = self.index(container);
        if let Some(running) = &self.states()[index].running {
            running.signal(name);
        }
    }

    fn index(&self, container: &str) -> usize {
        let found = self.containers.iter().position(|c| c.name == container);
        found.unwrap_or_else(|| panic!("{} has no container {container}", self.name()))
    }

    fn states(&self) -> MutexGuard<'_, Vec<ContainerState>> {
        self.states.lock().unwrap()
    }

    fn log(&self, index: usize) -> PathBuf {
        self.dir.join(format!("{}.log", self.containers[index].name))
    }

    /// Starts the pod: init containers and sidecars in order, then the others.
    pub(crate) fn start(self: &Arc<Self>) {
        let pod = self.clone();
        thread::spawn(move || {
            for (index, container) in pod.containers.iter().enumerate() {
                let pod_clone = pod.clone();
                thread::spawn(move || pod_clone.run_container(index));
                // The containers after an init container wait for its end, or for the start of a sidecar.
                while container.init && !pod.is_stopping() {
                    let states = pod.states();
                    let state = &states[index];
                    let ended_well = state.done && state.exits.last() == Some(&0);
                    if ended_well || (container.is_sidecar() && state.started) {
                        break;
                    }
                    drop(states);
                    thread::sleep(POLL_INTERVAL);
                }
                if pod.is_stopping() {
                    return;
                }
            }
        });
    }

    /// Runs a container, and restarts it as its policy says.
    fn run_container(self: &Arc<Self>, index: usize) {
        let container = &self.containers[index];
        let uid = crate::manifest::text(&self.facts.metadata, "uid");
        let group = MemoryGroup::new(&format!("{uid}-{}", container.name), container.memory_limit);
        let env = container.env(&self.facts, &self.objects);
        for run in 1.. {
            let env = match &env {
                Ok(env) => env,
                Err(error) => {
                    self.states()[index].error = Some(format!("CreateContainerConfigError: {error}"));
                    break;
                }
            };
            if self.states()[index].stop || self.is_stopping() {
                break;
            }
            let running = self.start_container(index, env, group.as_ref());
            {
                let state = &mut self.states()[index];
                state.running = Some(running);
                state.run = run;
                state.started = container.startup.is_none();
                state.ready = state.started && container.readiness.is_none();
            }
            self.start_probes(index, run);
            let code = self.wait_for_exit(index);
            let restarts = match container.restart {
                RestartPolicy::Always => true,
                RestartPolicy::OnFailure => code != 0,
                RestartPolicy::Never => container.init && code != 0,
            };
            if !self.record_end(index, code) || !restarts {
                break;
            }
            self.sleep_until_stop(index, Duration::from_millis(100 << run.min(5)));
        }
        self.states()[index].done = true;
    }

    /// Records the end of a run; returns whether the container may be started again.
    fn record_end(&self, index: usize, code: i32) -> bool {
        let state = &mut self.states()[index];
        state.running = None;
        (state.started, state.ready) = (false, false);
        state.exits.push(code);
        !state.stop
    }

    fn start_container(&self, index: usize, env: &[(String, String)], group: Option<&MemoryGroup>) -> RunningContainer {
        let container = &self.containers[index];
        let image = &self.images[index];
        ContainerStart {
            image,
            network: &self.network.namespace,
            user: container.user.unwrap_or(image.user),
            fs_group: at(&self.spec, "securityContext.fsGroup").as_u64(),
            command: &container.command(image, env),
            env,
            mounts: &self.mounts[index],
            read_only: container.read_only,
            group,
            dir: &self.dir.join(format!("{}.root", container.name)),
            log: &self.log(index),
            host_name: self.name(),
        }
        .run()
    }

    /// Waits for the end of the current run.
    fn wait_for_exit(&self, index: usize) -> i32 {
        loop {
            if let Some(code) = self.states()[index].running.as_mut().map_or(Some(-1), RunningContainer::exit_code) {
                return code;
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    fn sleep_until_stop(&self, index: usize, pause: Duration) {
        let deadline = Instant::now() + pause;
        while Instant::now() < deadline && !self.is_stopping() && !self.states()[index].stop {
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Starts the probes: startup first; then liveness and readiness at the same time.
    fn start_probes(self: &Arc<Self>, index: usize, run: u32) {
        let container = &self.containers[index];
        for (which, probe) in
            [("startup", &container.startup), ("liveness", &container.liveness), ("readiness", &container.readiness)]
        {
            if let Some(probe) = probe.clone() {
                let pod = self.clone();
                thread::spawn(move || pod.run_probe(index, run, which, &probe));
            }
        }
    }

    fn run_probe(&self, index: usize, run: u32, which: &str, probe: &Probe) {
        let (mut good, mut bad) = (0, 0);
        thread::sleep(probe.delay / PROBE_SPEEDUP);
        loop {
            match self.probe_state(index, run, which) {
                None => return,
                Some(false) => thread::sleep(POLL_INTERVAL),
                Some(true) => {
                    let succeeded = self.check_probe(probe);
                    (good, bad) = if succeeded { (good + 1, 0) } else { (0, bad + 1) };
                    self.apply_probe_result(index, run, which, good >= probe.successes, bad >= probe.failures);
                    thread::sleep(probe.period / PROBE_SPEEDUP);
                }
            }
        }
    }

    /// Whether a probe is due now; `None` after its last time.
    fn probe_state(&self, index: usize, run: u32, which: &str) -> Option<bool> {
        let state = &self.states()[index];
        let ended = state.run != run || state.running.is_none() || state.stop || (which == "startup" && state.started);
        (!ended).then_some(which == "startup" || state.started)
    }

    /// Changes the state after the results of a probe.
    fn apply_probe_result(&self, index: usize, run: u32, which: &str, good: bool, bad: bool) {
        let state = &mut self.states()[index];
        if state.run != run {
            return;
        }
        match which {
            "startup" if good => {
                state.started = true;
                state.ready = self.containers[index].readiness.is_none();
            }
            "readiness" if good => state.ready = true,
            "readiness" if bad => state.ready = false,
            // The kubelet ends it as on a stop. A process that ignores SIGTERM is left for the test to detect.
            "startup" | "liveness" if bad && !state.stop => {
                if let Some(running) = &state.running {
                    running.signal("TERM");
                }
            }
            _ => {}
        }
    }

    fn check_probe(&self, probe: &Probe) -> bool {
        match &probe.target {
            ProbeTarget::Get { port, path } => http::request(self.address(*port), "GET", path, "", b"", probe.timeout)
                .is_ok_and(|(status, _)| (200..400).contains(&status)),
            ProbeTarget::Tcp { port } => TcpStream::connect_timeout(&self.address(*port), probe.timeout).is_ok(),
        }
    }

    /// Removes the pod from its services now; SIGTERM after `preStop`, SIGKILL after the grace period, sidecars last.
    /// Returns the last exit code of each container, in the order of [`Self::container_names`].
    pub fn stop(&self) -> Vec<i32> {
        self.stopping.store(true, Ordering::SeqCst);
        let deadline = Instant::now() + Duration::from_secs(number(&self.spec, "terminationGracePeriodSeconds", 30));
        let (sidecars, others): (Vec<usize>, Vec<usize>) =
            (0..self.containers.len()).partition(|i| self.containers[*i].is_sidecar());
        thread::scope(|scope| {
            for index in others {
                scope.spawn(move || self.stop_container(index, deadline));
            }
        });
        // Sidecars stop in the reverse order of their start, and have at least two seconds.
        let sidecar_deadline = Instant::now() + Duration::from_secs(2);
        for index in sidecars.into_iter().rev() {
            self.stop_container(index, deadline.max(sidecar_deadline));
        }
        for mut helper in self.helpers.lock().unwrap().drain(..) {
            let _ = helper.kill();
            let _ = helper.wait();
        }
        network::delete_pod_network(&self.network);
        self.states().iter().map(|s| s.exits.last().copied().unwrap_or(-1)).collect()
    }

    fn stop_container(&self, index: usize, deadline: Instant) {
        let is_running = self.states()[index].running.is_some();
        if is_running {
            thread::sleep(self.containers[index].pre_stop.min(deadline.saturating_duration_since(Instant::now())));
        }
        {
            let state = &mut self.states()[index];
            state.stop = true;
            if let Some(running) = &state.running {
                running.signal("TERM");
            }
        }
        let mut killed = false;
        while !self.states()[index].done && self.states()[index].run > 0 {
            if Instant::now() > deadline && !killed {
                killed = true;
                if let Some(running) = &self.states()[index].running {
                    running.signal("KILL");
                }
            }
            thread::sleep(POLL_INTERVAL);
        }
    }
}
