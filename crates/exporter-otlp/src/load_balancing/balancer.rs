//! The exporter: takes payloads apart and sends the pieces to the backends that they belong to.
//!
//! ```text
//!  queue -> unrouted -> split (on a helper thread if it is long) -> waiting for a backend -> in flight -> outcome
//!              ^                                                        |                       |
//!              +---- the backend has left the ring ---------------------+                       |
//!  queue <---- what failed, to be tried again with the ring of that time <----------------------+
//! ```
//! The one queue is in front of the ring: a backend has what its requests in flight have, and pieces that wait for one of
//! them to end. When it leaves the ring, these are routed again, and what fails later goes to its successor with the next
//! attempt of the queue. The outcome of a payload is that of its pieces.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use otelcore_net::GrpcSenders;
use otelcore_pdata::edit::EditError;
use otelcore_pdata::{Rope, Signal, StepBudget};
use otelcore_pipeline::{
    AttemptId, AttemptOutcome, Budget, BuildContext, Cx, Error, Event, Exporter, Held, JobResult, LogField, Logger,
    Metadata, MonotonicTime, Outcome, Outcomes, PartialOutcome, Payload, StartError, UsedMetadata,
};

use super::backend::{Backend, EndedPiece, Piece, target_of};
use super::config::LoadBalancingConfig;
use super::metrics::EndpointMetrics;
use super::resolver::{CLIENT_PART, FIRST_FREE_KEY, Resolver};
use super::ring::Ring;
use super::rule::Rule;
use super::split::{SplitBody, split};
use crate::grpc::OtlpGrpc;

/// The local keys of events of the exporter itself.
const TURN_KEY: u64 = FIRST_FREE_KEY;
const JOB_KEY: u64 = FIRST_FREE_KEY + 1;
/// From here on: the ends of retirements, by the numbers of backends.
const RETIREMENT_KEYS: u64 = FIRST_FREE_KEY + 2;

/// How long requests to a backend that has left the ring may go on.
const MAX_RETIREMENT: Duration = Duration::from_secs(30);
/// Units of work that a byte costs when a body is split.
const COST_PER_BYTE: u64 = 20;
/// Bytes of pieces that wait for backends. Above it payloads stay as they are until there is room.
const MAX_WAITING_BYTES: usize = 256 << 20;
/// Requests that are begun in one turn.
const MAX_REQUESTS_PER_TURN: usize = 128;
/// The number of a backend goes up to this one.
const MAX_NUMBER: u32 = CLIENT_PART - 1;

/// A payload whose pieces are on their way.
struct Attempt {
    signal: Signal,
    metadata: Option<Arc<Metadata>>,
    timeout: Option<Duration>,
    /// Pieces and bodies that are not routed yet.
    open_parts: usize,
    delivered: u32,
    rejected: u32,
    refused: Option<(u32, Error)>,
    retry: Option<(Rope, Option<Duration>, Error)>,
}

impl Attempt {
    fn add_refused(&mut self, items: u32, why: Error) {
        let (all, _) = self.refused.get_or_insert((0, why));
        *all = all.saturating_add(items);
    }

    fn add_retry(&mut self, body: Rope, after: Option<Duration>, why: Error) {
        let (bodies, longest, _) = self.retry.get_or_insert_with(|| (Rope::default(), after, why));
        bodies.append(body);
        *longest = (*longest).max(after);
    }

    fn add_outcome(&mut self, body: Rope, outcome: AttemptOutcome) {
        match outcome {
            AttemptOutcome::Whole(Outcome::Delivered) => self.delivered = self.delivered.saturating_add(body.items()),
            AttemptOutcome::Whole(Outcome::Retry { after, why }) => self.add_retry(body, after, why),
            AttemptOutcome::Whole(Outcome::Permanent(why)) => self.add_refused(body.items(), why),
            AttemptOutcome::Whole(Outcome::Lost(_)) => {
                self.add_refused(body.items(), Error::new("the exporter dropped the request"));
            }
            AttemptOutcome::Pieces(PartialOutcome { delivered, rejected, refused, retry }) => {
                self.delivered = self.delivered.saturating_add(delivered);
                self.rejected = self.rejected.saturating_add(rejected);
                if let Some((items, why)) = refused {
                    self.add_refused(items, why);
                }
                if let Some((body, after, why)) = retry {
                    self.add_retry(body, after, why);
                }
            }
        }
    }

    fn finish(self, id: AttemptId, outcomes: &mut Outcomes) {
        let Self { delivered, rejected, refused, retry, .. } = self;
        match (retry, refused) {
            // The payload itself is tried again: nothing that was copied has to be kept.
            (Some((_, after, why)), None) if delivered == 0 && rejected == 0 => {
                outcomes.push(id, Outcome::Retry { after, why });
            }
            (None, Some((_, why))) if delivered == 0 && rejected == 0 => outcomes.push(id, Outcome::Permanent(why)),
            (None, None) if rejected == 0 => outcomes.push(id, Outcome::Delivered),
            (retry, refused) => {
                outcomes.push_partial(id, PartialOutcome { delivered, rejected, refused, retry });
            }
        }
    }
}

/// A body that is not routed yet: that of a payload, or a piece whose backend has gone.
struct Unrouted {
    attempt: AttemptId,
    body: Rope,
    held: Held,
}

/// A body that a helper thread splits.
struct Splitting {
    unrouted: Unrouted,
    /// The ring that it is split by.
    ring: Arc<Ring>,
    result: JobResult<Result<SplitBody, EditError>>,
}

/// The exporter.
pub(super) struct LoadBalancer {
    /// By signal; `None` for those that no pipeline has.
    rules: [Option<Arc<Rule>>; 3],
    senders: GrpcSenders<OtlpGrpc>,
    max_in_flight: usize,
    resolver: Resolver,
    ring: Arc<Ring>,
    /// The numbers of the backends, by the indexes of the ring. `None` where a backend could not be started.
    ring_backends: Vec<Option<u32>>,
    backends: BTreeMap<u32, Backend>,
    /// The numbers of the backends that are on the ring, by their targets.
    by_target: BTreeMap<String, u32>,
    next_number: u32,
    attempts: BTreeMap<AttemptId, Attempt>,
    unrouted: VecDeque<Unrouted>,
    splitting: Option<Splitting>,
    /// Backends that may begin requests.
    sendable: BTreeSet<u32>,
    /// Bytes of all pieces that wait for backends.
    waiting_bytes: usize,
    work: StepBudget,
    requests_left: usize,
    is_turn_requested: bool,
    budget: Arc<Budget>,
    metrics: EndpointMetrics,
    log: Logger,
}

impl LoadBalancer {
    pub(super) fn new(config: &LoadBalancingConfig, context: &BuildContext<'_>) -> Result<Self, StartError> {
        let mut rules = [const { None }; 3];
        for signal in context.signals {
            let rule = Rule::of(*signal, &config.routing_key, &config.routing_attributes);
            rules[*signal as usize] = Some(Arc::new(rule.map_err(StartError::Config)?));
        }
        config.check_resolver().map_err(|(_, message)| StartError::Config(message))?;
        let resolver = Resolver::new(&config.resolver, context.telemetry, &context.log)
            .ok_or_else(|| StartError::Config("no resolvers specified for the exporter".to_owned()))?;
        Ok(Self {
            rules,
            senders: GrpcSenders::new(OtlpGrpc, &config.protocol.otlp.client, context)?,
            max_in_flight: config.requests_per_backend(),
            resolver,
            ring: Arc::default(),
            ring_backends: Vec::new(),
            backends: BTreeMap::new(),
            by_target: BTreeMap::new(),
            next_number: 1,
            attempts: BTreeMap::new(),
            unrouted: VecDeque::new(),
            splitting: None,
            sendable: BTreeSet::new(),
            waiting_bytes: 0,
            work: StepBudget::for_one_step(),
            requests_left: MAX_REQUESTS_PER_TURN,
            is_turn_requested: false,
            budget: context.budget.clone(),
            metrics: EndpointMetrics::new(context.telemetry.clone()),
            log: context.log.clone(),
        })
    }

    // ---- backends -----------------------------------------------------------------------------------------------

    /// Puts other endpoints on the ring: new backends are started first, then those that are gone are retired.
    fn set_endpoints(&mut self, cx: &mut Cx<'_>, endpoints: Vec<String>) -> Result<(), StartError> {
        let ring = Ring::new(endpoints);
        if ring == *self.ring {
            return Ok(());
        }
        let mut first_error = None;
        let mut before = std::mem::take(&mut self.by_target);
        let mut numbers = Vec::with_capacity(ring.endpoints().len());
        for endpoint in ring.endpoints() {
            let target = target_of(endpoint);
            let known = self.by_target.get(&target).copied().or_else(|| before.remove(&target));
            let number = match known {
                Some(number) => Some(number),
                None => match self.start_backend(cx, &target) {
                    Ok(number) => Some(number),
                    Err(error) => {
                        let text = error.to_string();
                        let fields = [("endpoint", LogField::Str(&target)), ("error", LogField::Str(&text))];
                        self.log.error("failed to start new exporter for endpoint", &fields);
                        first_error.get_or_insert(error);
                        None
                    }
                },
            };
            if let Some(number) = number {
                self.by_target.insert(target, number);
            }
            numbers.push(number);
        }
        (self.ring, self.ring_backends) = (Arc::new(ring), numbers);
        for number in before.into_values() {
            self.retire(cx, number);
        }
        first_error.map_or(Ok(()), Err)
    }

    fn start_backend(&mut self, cx: &mut Cx<'_>, target: &str) -> Result<u32, StartError> {
        let sender = self.senders.sender(target)?;
        // Numbers are not used again while they may occur in an event.
        let number = self.next_number;
        self.next_number = if number >= MAX_NUMBER { 1 } else { number + 1 };
        let metrics = self.metrics.of(target);
        let backend = Backend::start(cx, number, target, sender, self.max_in_flight, metrics)?;
        self.backends.insert(number, backend);
        Ok(number)
    }

    /// A backend is not on the ring any more: what waits for it is routed again, what is in flight may end.
    fn retire(&mut self, cx: &mut Cx<'_>, number: u32) {
        let Some(backend) = self.backends.get_mut(&number) else { return };
        self.waiting_bytes -= backend.waiting_bytes();
        for Piece { attempt, body, held, .. } in backend.take_waiting() {
            self.unrouted.push_back(Unrouted { attempt, body, held });
        }
        self.sendable.remove(&number);
        let at = cx.now() + MAX_RETIREMENT;
        backend.retirement = Some(cx.set_timer(RETIREMENT_KEYS + u64::from(number), at));
        self.close_if_idle(cx, number);
    }

    fn close_if_idle(&mut self, cx: &mut Cx<'_>, number: u32) {
        let is_over = |backend: &Backend| backend.retirement.is_some() && backend.is_idle();
        if self.backends.get(&number).is_some_and(is_over)
            && let Some(backend) = self.backends.remove(&number)
        {
            backend.close(cx);
        }
    }

    /// The time of a backend that has left the ring is over.
    fn end_retirement(&mut self, cx: &mut Cx<'_>, number: u32, outcomes: &mut Outcomes) {
        let Some(mut backend) = self.backends.remove(&number) else { return };
        backend.retirement = None;
        let why = format!("the backend {} is gone", backend.target);
        for piece in backend.close(cx) {
            let outcome = AttemptOutcome::Whole(Outcome::retry(why.clone()));
            self.end_part(piece.attempt, piece.body, outcome, outcomes);
        }
    }

    // ---- payloads -----------------------------------------------------------------------------------------------

    /// A part of an attempt has ended.
    fn end_part(&mut self, id: AttemptId, body: Rope, outcome: AttemptOutcome, outcomes: &mut Outcomes) {
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        attempt.open_parts = attempt.open_parts.saturating_sub(1);
        attempt.add_outcome(body, outcome);
        if attempt.open_parts == 0
            && let Some(attempt) = self.attempts.remove(&id)
        {
            attempt.finish(id, outcomes);
        }
    }

    fn end_pieces(&mut self, ended: Vec<EndedPiece>, outcomes: &mut Outcomes) {
        for EndedPiece { piece, outcome } in ended {
            self.end_part(piece.attempt, piece.body, outcome, outcomes);
        }
    }

    /// Routes and sends, as much as the turn permits.
    fn run(&mut self, cx: &mut Cx<'_>, outcomes: &mut Outcomes) {
        self.route_all(cx, outcomes);
        let mut ended = Vec::new();
        while self.requests_left > 0
            && let Some(number) = self.sendable.pop_first()
        {
            let Some(backend) = self.backends.get_mut(&number) else { continue };
            let before = backend.waiting_bytes();
            backend.send_waiting(cx, &mut self.requests_left, &mut ended);
            self.waiting_bytes -= before - backend.waiting_bytes();
            if backend.can_send() {
                self.sendable.insert(number);
            }
        }
        self.end_pieces(ended, outcomes);
        let can_route = !self.unrouted.is_empty() && self.splitting.is_none() && self.can_route();
        if can_route || !self.sendable.is_empty() {
            self.request_turn(cx);
        }
    }

    fn request_turn(&mut self, cx: &mut Cx<'_>) {
        if !std::mem::replace(&mut self.is_turn_requested, true) {
            cx.request_ready(TURN_KEY);
        }
    }

    /// Whether bodies may be routed now: there are backends or it is known that there are none, and room for pieces.
    fn can_route(&self) -> bool {
        (!self.ring.endpoints().is_empty() || self.resolver.has_answer()) && self.waiting_bytes < MAX_WAITING_BYTES
    }

    fn route_all(&mut self, cx: &mut Cx<'_>, outcomes: &mut Outcomes) {
        while self.splitting.is_none()
            && !self.work.is_spent()
            && self.can_route()
            && let Some(unrouted) = self.unrouted.pop_front()
        {
            self.route(cx, unrouted, outcomes);
        }
    }

    fn route(&mut self, cx: &mut Cx<'_>, unrouted: Unrouted, outcomes: &mut Outcomes) {
        if self.ring.endpoints().is_empty() {
            let outcome = Outcome::retry("couldn't find the exporter for the endpoint \"\"");
            return self.end_part(unrouted.attempt, unrouted.body, AttemptOutcome::Whole(outcome), outcomes);
        }
        let Some(attempt) = self.attempts.get(&unrouted.attempt) else { return };
        let signal = attempt.signal;
        let Some(rule) = self.rules.get(signal as usize).cloned().flatten() else {
            let outcome = Outcome::permanent("no pipeline of this signal has the exporter");
            return self.end_part(unrouted.attempt, unrouted.body, AttemptOutcome::Whole(outcome), outcomes);
        };
        let random = cx.random();
        let work = (unrouted.body.len() as u64).saturating_mul(COST_PER_BYTE);
        if work <= StepBudget::UNITS_PER_STEP {
            self.work.charge(work);
            let result = split(signal, &unrouted.body, &rule, &self.ring, random);
            return self.handle_split(unrouted, result, outcomes);
        }
        let (body, ring) = (unrouted.body.clone(), self.ring.clone());
        let result = cx.run_job(JOB_KEY, move || split(signal, &body, &rule, &ring, random));
        self.splitting = Some(Splitting { unrouted, ring: self.ring.clone(), result });
    }

    fn handle_job(&mut self, outcomes: &mut Outcomes) {
        let Some(Splitting { unrouted, ring, result }) = self.splitting.take() else { return };
        match result.take() {
            // The ring has changed meanwhile.
            _ if !Arc::ptr_eq(&ring, &self.ring) => self.unrouted.push_front(unrouted),
            Some(result) => self.handle_split(unrouted, result, outcomes),
            None => {
                let outcome = Outcome::permanent("the payload could not be split");
                self.end_part(unrouted.attempt, unrouted.body, AttemptOutcome::Whole(outcome), outcomes);
            }
        }
    }

    fn handle_split(&mut self, unrouted: Unrouted, result: Result<SplitBody, EditError>, outcomes: &mut Outcomes) {
        let Unrouted { attempt: id, body, held } = unrouted;
        let SplitBody { pieces, without_key, copied_bytes } = match result {
            Ok(split) => split,
            Err(error) => {
                let outcome = Outcome::permanent(error.to_string());
                return self.end_part(id, body, AttemptOutcome::Whole(outcome), outcomes);
            }
        };
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        let (signal, metadata, timeout) = (attempt.signal, attempt.metadata.clone(), attempt.timeout);
        attempt.open_parts += pieces.len();
        let routed: u32 = pieces.iter().map(|(_, piece)| piece.items()).fold(without_key, u32::saturating_add);
        // What has no items to be sent is delivered.
        attempt.delivered = attempt.delivered.saturating_add(body.items().saturating_sub(routed));
        let copied = if copied_bytes > 0 { self.budget.hold(copied_bytes as u64) } else { held };
        for (index, body) in pieces {
            let number = self.ring_backends.get(index).copied().flatten();
            let Some((number, backend)) = number.and_then(|n| Some((n, self.backends.get_mut(&n)?))) else {
                let endpoint = self.ring.endpoints().get(index).map(String::as_str).unwrap_or_default();
                let outcome = Outcome::retry(format!("couldn't find the exporter for the endpoint {endpoint:?}"));
                self.end_part(id, body, AttemptOutcome::Whole(outcome), outcomes);
                continue;
            };
            self.waiting_bytes += body.len();
            let (metadata, held) = (metadata.clone(), copied.clone());
            backend.push(Piece { attempt: id, signal, body, metadata, timeout, held });
            if backend.can_send() {
                self.sendable.insert(number);
            }
        }
        let outcome = match without_key {
            0 => AttemptOutcome::Pieces(PartialOutcome::default()),
            items => {
                let why = Error::new("unable to get service name from resource metric");
                AttemptOutcome::Pieces(PartialOutcome { refused: Some((items, why)), ..PartialOutcome::default() })
            }
        };
        self.end_part(id, Rope::default(), outcome, outcomes);
    }
}

impl Exporter for LoadBalancer {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.senders.load_tls(cx)?;
        match self.resolver.start(cx)? {
            Some(endpoints) => self.set_endpoints(cx, endpoints),
            None => Ok(()),
        }
    }

    fn send(
        &mut self,
        cx: &mut Cx<'_>,
        id: AttemptId,
        payload: &Payload,
        deadline: MonotonicTime,
        outcomes: &mut Outcomes,
    ) {
        let attempt = Attempt {
            signal: payload.signal,
            metadata: payload.metadata.clone(),
            timeout: (deadline != MonotonicTime::NEVER).then(|| deadline.since(cx.now())),
            open_parts: 1,
            delivered: 0,
            rejected: 0,
            refused: None,
            retry: None,
        };
        self.attempts.insert(id, attempt);
        self.unrouted.push_back(Unrouted { attempt: id, body: payload.body.clone(), held: payload.held.clone() });
        self.run(cx, outcomes);
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, outcomes: &mut Outcomes) {
        match Cx::part_of(local) {
            (0, TURN_KEY) => {
                self.is_turn_requested = false;
                self.work = StepBudget::for_one_step();
                self.requests_left = MAX_REQUESTS_PER_TURN;
            }
            (0, JOB_KEY) => self.handle_job(outcomes),
            (0, key @ RETIREMENT_KEYS..) => {
                let number = u32::try_from(key - RETIREMENT_KEYS).unwrap_or(u32::MAX);
                self.end_retirement(cx, number, outcomes);
            }
            (part @ (0 | CLIENT_PART), local) => {
                if let Some(endpoints) = self.resolver.handle_event(cx, part, local, &event) {
                    // An endpoint that can't be used has been logged.
                    drop(self.set_endpoints(cx, endpoints));
                }
            }
            (number, local) => {
                let mut ended = Vec::new();
                if let Some(backend) = self.backends.get_mut(&number) {
                    backend.handle_event(cx, local, event, &mut ended);
                    if backend.can_send() {
                        self.sendable.insert(number);
                    }
                }
                self.end_pieces(ended, outcomes);
                self.close_if_idle(cx, number);
            }
        }
        self.run(cx, outcomes);
    }

    fn used_metadata(&self) -> UsedMetadata {
        self.senders.used_metadata()
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.resolver.close(cx);
        for (_, backend) in std::mem::take(&mut self.backends) {
            backend.close(cx);
        }
    }
}
