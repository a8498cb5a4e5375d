//! The clients that look at an edge: each gets samples of what passes it, until its limit or its time is reached.
//!
//! Owns the requests' parameters and the looks in progress. A look has one payload at a time, which a helper thread makes a sample of,
//! and takes the next one when its client has read that; between two there is a pause. Without a client nothing is kept or made.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use otelcore_http::Bytes;
use otelcore_http::h1::RequestHead;
use otelcore_net::{Page, PageStep};
use otelcore_ottl::FixedEnvironment;
use otelcore_pdata::Signal;
use otelcore_pipeline::{Cx, EdgePlace, JobResult, MAX_TAPS, MonotonicTime, TapHandle, Taps};

use super::graph::ComponentGraph;
use super::sample_job::{Sample, SampleFilter, SampleForm, sample};
use super::text::query_value;

/// The local keys of looks begin here, [`KEYS_OF_LOOK`] for each.
const FIRST_KEY: u64 = 1 << 56;
const KEYS_OF_LOOK: u64 = 4;
/// A payload is there.
const PAYLOAD_KEY: u64 = 0;
/// A sample is made.
const JOB_KEY: u64 = 1;
/// The pause between two samples is over.
const PAUSE_KEY: u64 = 2;
/// The time of the look is over.
const END_KEY: u64 = 3;

/// The pause between two payloads that are looked at, so that a look costs a bounded part of a core.
const PAUSE: Duration = Duration::from_millis(50);

const DEFAULT_LIMIT: u32 = 10;
const MAX_LIMIT: u32 = 10_000;
/// The longest condition, in bytes.
const MAX_CONDITION: usize = 4096;

/// The parameters of a request for samples.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SampleRequest {
    edge: String,
    condition: String,
    limit: u32,
    form: SampleForm,
}

impl SampleRequest {
    pub(super) fn parse(head: &RequestHead) -> Result<Self, String> {
        let mut request =
            Self { edge: String::new(), condition: String::new(), limit: DEFAULT_LIMIT, form: SampleForm::Text };
        for pair in head.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = query_value(value);
            match name {
                "edge" => request.edge = value,
                "where" if value.len() > MAX_CONDITION => {
                    return Err("the condition is longer than 4096 bytes".to_owned());
                }
                "where" => request.condition = value,
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                    request.limit =
                        limit.ok_or_else(|| format!("limit {value:?}: write a number from 1 to {MAX_LIMIT}"))?;
                }
                "format" => {
                    request.form = match value.as_str() {
                        "text" => SampleForm::Text,
                        "json" => SampleForm::Json,
                        _ => return Err(format!("format {value:?}: write text or json")),
                    }
                }
                _ => return Err(format!("unknown parameter {name:?}: there are edge, where, limit and format")),
            }
        }
        if request.edge.is_empty() {
            return Err("write edge=NUMBER or edge=FROM->TO, as in /api/v1/graph".to_owned());
        }
        Ok(request)
    }

    /// The edge that is meant, by its index: a number, `FROM->TO` with the ids of two components or pipelines, or either with
    /// `PIPELINE:` before it.
    pub(super) fn find_edge(&self, graph: &ComponentGraph) -> Result<usize, String> {
        if let Ok(index) = self.edge.parse::<usize>() {
            let exists = index < graph.edges.len();
            return if exists {
                Ok(index)
            } else {
                Err(format!("there is no edge {index}\n{}", list(graph, |_| true)))
            };
        }
        let matches: Vec<usize> = (0..graph.edges.len())
            .filter(|index| {
                let short = edge_name(graph, *index, false);
                short == self.edge || edge_name(graph, *index, true) == self.edge
            })
            .collect();
        match matches[..] {
            [index] => Ok(index),
            [] => Err(format!("there is no edge {:?}\n{}", self.edge, list(graph, |_| true))),
            _ => Err(format!("several edges are {:?}\n{}", self.edge, list(graph, |index| matches.contains(&index)))),
        }
    }
}

/// The name of an edge: `otlp->traces`, with its pipeline `traces:otlp->traces`.
pub(super) fn edge_name(graph: &ComponentGraph, index: usize, with_pipeline: bool) -> String {
    let Some(edge) = graph.edges.get(index) else { return String::new() };
    let id = |node: usize| graph.nodes.get(node).map_or("", |node| node.id.as_str());
    let pipeline = graph.pipelines.get(edge.pipeline).map_or("", |node| id(*node));
    let name = format!("{}->{}", id(edge.from), id(edge.to));
    if with_pipeline { format!("{pipeline}:{name}") } else { name }
}

/// A line for each edge.
fn list(graph: &ComponentGraph, is_listed: impl Fn(usize) -> bool) -> String {
    const MAX_LINES: usize = 200;
    let lines = (0..graph.edges.len()).filter(|index| is_listed(*index)).take(MAX_LINES);
    lines.map(|index| format!("{index}  {}\n", edge_name(graph, index, true))).collect()
}

/// A client that looks.
#[derive(Debug)]
pub(super) struct SampleStream(Rc<RefCell<Look>>);

#[derive(Debug)]
struct Look {
    base: u64,
    tap: TapHandle,
    filter: Arc<SampleFilter>,
    form: SampleForm,
    /// Items that may still be shown.
    left: u32,
    ready: Option<Bytes>,
    job: Option<JobResult<Sample>>,
    is_started: bool,
    is_over: bool,
}

/// The looks in progress.
#[derive(Debug, Default)]
pub(super) struct Samples {
    looks: BTreeMap<u64, Weak<RefCell<Look>>>,
    next_number: u64,
    is_closing: bool,
}

impl Samples {
    /// Whether an event under this key is for a look.
    pub(super) fn owns_key(local: u64) -> bool {
        local >= FIRST_KEY
    }

    /// Begins to look at an edge, until `ends_at`. `Err` is what the client is told.
    pub(super) fn open(
        &mut self,
        cx: &mut Cx<'_>,
        taps: &Taps,
        (signal, place): (Signal, EdgePlace),
        request: &SampleRequest,
        ends_at: MonotonicTime,
    ) -> Result<SampleStream, (u16, String)> {
        let filter = SampleFilter::parse(signal, &request.condition)
            .map_err(|e| (400, format!("the condition is not valid: {e}\n")))?;
        self.looks.retain(|_, look| look.strong_count() > 0);
        let base = FIRST_KEY + self.next_number * KEYS_OF_LOOK;
        let tap = taps.open(place, cx.notifier(base + PAYLOAD_KEY)).filter(|_| !self.is_closing);
        let too_many = || (503, format!("{MAX_TAPS} clients look at edges already; try again later.\n"));
        let tap = tap.ok_or_else(too_many)?;
        tap.arm();
        self.next_number += 1;
        cx.set_timer(base + END_KEY, ends_at);
        let look = Rc::new(RefCell::new(Look {
            base,
            tap,
            filter: Arc::new(filter),
            form: request.form,
            left: request.limit,
            ready: None,
            job: None,
            is_started: false,
            is_over: false,
        }));
        self.looks.insert(base, Rc::downgrade(&look));
        Ok(SampleStream(look))
    }

    /// Handles an event under a key of a look.
    pub(super) fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64) {
        let base = local - local % KEYS_OF_LOOK;
        let Some(look) = self.looks.get(&base).and_then(Weak::upgrade) else {
            self.looks.remove(&base);
            return;
        };
        look.borrow_mut().handle_event(cx, local % KEYS_OF_LOOK);
    }

    /// No sample follows: a shutdown has begun.
    pub(super) fn close(&mut self) {
        self.is_closing = true;
        for look in self.looks.values().filter_map(Weak::upgrade) {
            look.borrow_mut().is_over = true;
        }
    }

    /// The next step of a client's response.
    pub(super) fn poll(cx: &mut Cx<'_>, stream: &mut SampleStream) -> PageStep {
        stream.0.borrow_mut().poll(cx)
    }
}

impl Look {
    fn handle_event(&mut self, cx: &mut Cx<'_>, key: u64) {
        match key {
            PAYLOAD_KEY => {
                let Some(payload) = self.tap.take() else { return };
                let (filter, left, form) = (self.filter.clone(), self.left, self.form);
                let (now, seed) = (cx.wall_time().0.cast_signed(), cx.random());
                self.job = Some(cx.run_job(self.base + JOB_KEY, move || {
                    sample(&payload, &filter, left, form, &FixedEnvironment::new(now, seed))
                }));
            }
            JOB_KEY => match self.job.take().map(|job| job.take()) {
                Some(Some(made)) if made.items > 0 => {
                    self.left = self.left.saturating_sub(made.items);
                    self.ready = Some(made.text.into());
                }
                Some(Some(_)) => {
                    cx.set_timer(self.base + PAUSE_KEY, cx.now() + PAUSE);
                }
                // The job has panicked.
                Some(None) => self.is_over = true,
                None => {}
            },
            PAUSE_KEY => self.tap.arm(),
            _ => self.is_over = true,
        }
    }

    fn poll(&mut self, cx: &mut Cx<'_>) -> PageStep {
        if !std::mem::replace(&mut self.is_started, true) {
            let media_type = match self.form {
                SampleForm::Json => "application/x-ndjson; charset=utf-8",
                SampleForm::Text => "text/plain; charset=utf-8",
            };
            return PageStep::Head(Page::new(200, media_type, ""));
        }
        match self.ready.take() {
            Some(text) if self.left == 0 || self.is_over => PageStep::LastData(text),
            Some(text) => {
                cx.set_timer(self.base + PAUSE_KEY, cx.now() + PAUSE);
                PageStep::Data(text)
            }
            None if self.is_over => PageStep::LastData(Bytes::new()),
            None => PageStep::Wait,
        }
    }
}
