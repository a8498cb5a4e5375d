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

use crate::cgroup::Group;
use crate::container::{Mount, Running, Start};
use crate::http;
use crate::manifest::{at, number};
use crate::network::{self, Place};
use crate::spec::{Container, Facts, Image, Look, Objects, Probe, Restart};

/// Periods of probes are divided by this, so that a test waits one second where a cluster waits ten. Counts and
/// timeouts are used as they are written.
const HURRY: u32 = 10;
/// The polling interval for the state of containers.
const TICK: Duration = Duration::from_millis(10);

/// A pod that has been started.
pub struct Pod {
    pub(crate) facts: Facts,
    pub(crate) spec: Value,
    pub(crate) node: usize,
    pub(crate) place: Place,
    /// The workload that it belongs to: `Deployment/namespace/name`, or empty.
    pub(crate) owner: String,
    pub(crate) dir: PathBuf,
    /// Mounts of each container, in the order of [`Container::all`].
    pub(crate) mounts: Vec<Vec<Mount>>,
    pub(crate) images: Vec<Image>,
    pub(crate) objects: Objects,
    containers: Vec<Container>,
    states: Mutex<Vec<State>>,
    stopping: AtomicBool,
    /// Helper processes of the node for this pod, such as relays of its hostPorts.
    pub(crate) helpers: Mutex<Vec<std::process::Child>>,
}

/// The state of a container.
#[derive(Default)]
struct State {
    running: Option<Running>,
    /// Counts the runs, so that probes of an earlier one stop.
    life: u32,
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
        write!(f, "{} on {} at {}", self.name(), self.facts.node, self.place.address)
    }
}

impl Pod {
    #[expect(clippy::too_many_arguments, reason = "each is one thing that a pod is made of")]
    pub(crate) fn new(
        facts: Facts,
        spec: Value,
        node: usize,
        place: Place,
        owner: String,
        dir: PathBuf,
        images: Vec<Image>,
        objects: Objects,
    ) -> Self {
        let containers = Container::all(&spec);
        let states = Mutex::new(containers.iter().map(|_| State::default()).collect());
        let (stopping, mounts, helpers) = (AtomicBool::new(false), Vec::new(), Mutex::default());
        Self { facts, spec, node, place, owner, dir, mounts, images, objects, containers, states, stopping, helpers }
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
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.place.address), port)
    }

    /// All containers are ready and the pod is not stopping: its services route to it.
    pub fn is_ready(&self) -> bool {
        let states = self.states();
        let ready = |(c, s): (&Container, &State)| if c.init && !c.is_sidecar() { s.done } else { s.ready };
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
    pub fn said(&self, container: &str) -> String {
        let index = self.index(container);
        let error = self.states()[index].error.clone().unwrap_or_default();
        std::fs::read_to_string(self.log(index)).unwrap_or_default() + &error
    }

    /// The last lines of each container's output, for messages.
    pub fn last_words(&self) -> String {
        let of = |name: &str| {
            let said = self.said(name);
            let from = said.lines().count().saturating_sub(20);
            let words: Vec<&str> = said.lines().skip(from).collect();
            format!("--- {} / {name}, ended {:?}\n{}\n", self.name(), self.exits(name), words.join("\n"))
        };
        self.container_names().into_iter().map(of).collect()
    }

    /// The output of all containers.
    pub fn all_said(&self) -> String {
        self.containers.iter().map(|c| format!("--- {} / {}\n{}\n", self.name(), c.name, self.said(&c.name))).collect()
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

    fn states(&self) -> MutexGuard<'_, Vec<State>> {
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
                let kept = pod.clone();
                thread::spawn(move || kept.keep(index));
                // The containers after an init container wait for its end, or for the start of a sidecar.
                while container.init && !pod.is_stopping() {
                    let states = pod.states();
                    let state = &states[index];
                    let ended_well = state.done && state.exits.last() == Some(&0);
                    if ended_well || (container.is_sidecar() && state.started) {
                        break;
                    }
                    drop(states);
                    thread::sleep(TICK);
                }
                if pod.is_stopping() {
                    return;
                }
            }
        });
    }

    /// Runs a container, and restarts it as its policy says.
    fn keep(self: &Arc<Self>, index: usize) {
        let container = &self.containers[index];
        let uid = crate::manifest::text(&self.facts.metadata, "uid");
        let group = Group::new(&format!("{uid}-{}", container.name), container.memory_limit);
        let env = container.env(&self.facts, &self.objects);
        for life in 1.. {
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
                state.life = life;
                state.started = container.startup.is_none();
                state.ready = state.started && container.readiness.is_none();
            }
            self.probe(index, life);
            let code = self.wait(index);
            let again = match container.restart {
                Restart::Always => true,
                Restart::OnFailure => code != 0,
                Restart::Never => container.init && code != 0,
            };
            if !self.note_end(index, code) || !again {
                break;
            }
            self.rest(index, Duration::from_millis(100 << life.min(5)));
        }
        self.states()[index].done = true;
    }

    /// Records the end of a run; returns whether the container may be started again.
    fn note_end(&self, index: usize, code: i32) -> bool {
        let state = &mut self.states()[index];
        state.running = None;
        (state.started, state.ready) = (false, false);
        state.exits.push(code);
        !state.stop
    }

    fn start_container(&self, index: usize, env: &[(String, String)], group: Option<&Group>) -> Running {
        let container = &self.containers[index];
        let image = &self.images[index];
        Start {
            image,
            network: &self.place.namespace,
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
    fn wait(&self, index: usize) -> i32 {
        loop {
            if let Some(code) = self.states()[index].running.as_mut().map_or(Some(-1), Running::ended) {
                return code;
            }
            thread::sleep(TICK);
        }
    }

    fn rest(&self, index: usize, pause: Duration) {
        let ends = Instant::now() + pause;
        while Instant::now() < ends && !self.is_stopping() && !self.states()[index].stop {
            thread::sleep(TICK);
        }
    }

    /// Starts the probes: startup first; then liveness and readiness at the same time.
    fn probe(self: &Arc<Self>, index: usize, life: u32) {
        let container = &self.containers[index];
        for (which, probe) in
            [("startup", &container.startup), ("liveness", &container.liveness), ("readiness", &container.readiness)]
        {
            if let Some(probe) = probe.clone() {
                let pod = self.clone();
                thread::spawn(move || pod.keep_probing(index, life, which, &probe));
            }
        }
    }

    fn keep_probing(&self, index: usize, life: u32, which: &str, probe: &Probe) {
        let (mut good, mut bad) = (0, 0);
        thread::sleep(probe.delay / HURRY);
        loop {
            match self.wants(index, life, which) {
                None => return,
                Some(false) => thread::sleep(TICK),
                Some(true) => {
                    let well = self.look(probe);
                    (good, bad) = if well { (good + 1, 0) } else { (0, bad + 1) };
                    self.judge(index, life, which, good >= probe.successes, bad >= probe.failures);
                    thread::sleep(probe.period / HURRY);
                }
            }
        }
    }

    /// Whether a probe is due now; `None` after its last time.
    fn wants(&self, index: usize, life: u32, which: &str) -> Option<bool> {
        let state = &self.states()[index];
        let over = state.life != life || state.running.is_none() || state.stop || (which == "startup" && state.started);
        (!over).then_some(which == "startup" || state.started)
    }

    /// Changes the state after the results of a probe.
    fn judge(&self, index: usize, life: u32, which: &str, good: bool, bad: bool) {
        let state = &mut self.states()[index];
        if state.life != life {
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

    fn look(&self, probe: &Probe) -> bool {
        match &probe.look {
            Look::Get { port, path } => http::request(self.at(*port), "GET", path, "", b"", probe.timeout)
                .is_ok_and(|(status, _)| (200..400).contains(&status)),
            Look::Tcp { port } => TcpStream::connect_timeout(&self.at(*port), probe.timeout).is_ok(),
        }
    }

    /// Removes the pod from its services now; SIGTERM after `preStop`, SIGKILL after the grace period, sidecars last.
    /// Returns the last exit code of each container, in the order of [`Self::container_names`].
    pub fn stop(&self) -> Vec<i32> {
        self.stopping.store(true, Ordering::SeqCst);
        let ends = Instant::now() + Duration::from_secs(number(&self.spec, "terminationGracePeriodSeconds", 30));
        let (sidecars, others): (Vec<usize>, Vec<usize>) =
            (0..self.containers.len()).partition(|i| self.containers[*i].is_sidecar());
        thread::scope(|scope| {
            for index in others {
                scope.spawn(move || self.stop_container(index, ends));
            }
        });
        // Sidecars stop in the reverse order of their start, and have at least two seconds.
        let least = Instant::now() + Duration::from_secs(2);
        for index in sidecars.into_iter().rev() {
            self.stop_container(index, ends.max(least));
        }
        for mut helper in self.helpers.lock().unwrap().drain(..) {
            let _ = helper.kill();
            let _ = helper.wait();
        }
        network::leave(&self.place);
        self.states().iter().map(|s| s.exits.last().copied().unwrap_or(-1)).collect()
    }

    fn stop_container(&self, index: usize, ends: Instant) {
        let runs = self.states()[index].running.is_some();
        if runs {
            thread::sleep(self.containers[index].pre_stop.min(ends.saturating_duration_since(Instant::now())));
        }
        {
            let state = &mut self.states()[index];
            state.stop = true;
            if let Some(running) = &state.running {
                running.signal("TERM");
            }
        }
        let mut killed = false;
        while !self.states()[index].done && self.states()[index].life > 0 {
            if Instant::now() > ends && !killed {
                killed = true;
                if let Some(running) = &self.states()[index].running {
                    running.signal("KILL");
                }
            }
            thread::sleep(TICK);
        }
    }
}
