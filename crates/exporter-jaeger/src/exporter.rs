//! One payload, one job; one `ResourceSpans`, one call.

use std::rc::Rc;
use std::time::Duration;

use http::uri::PathAndQuery;
use otelcore_http::{Code, Status};
use otelcore_net::settings::GrpcClient;
use otelcore_net::{Channel, NewCall};
use otelcore_pdata::Rope;
use otelcore_pipeline::{Build, Cx, Done, Error, Event, Exporter, Fate, JobId, Mono, Payload, StartError};
use slab::Slab;

use crate::encode::{self, Batch};

const PATH: &str = "/jaeger.api_v2.CollectorService/PostSpans";

/// A payload whose calls are under way.
#[derive(Debug)]
struct Job {
    id: JobId,
    calls: usize,
    delivered: u32,
    refused: Option<(u32, Error)>,
    rest: Rope,
    failed: Option<(Option<Duration>, Error)>,
}

/// A call under way.
#[derive(Debug)]
struct Call {
    job: usize,
    /// The entry that it carries, for another try.
    entry: Rope,
}

#[derive(Debug)]
pub(crate) struct JaegerExporter {
    channel: Channel,
    jobs: Slab<Job>,
    calls: Slab<Call>,
    path: PathAndQuery,
}

impl JaegerExporter {
    pub(crate) fn new(client: Rc<GrpcClient>, build: &Build<'_>) -> Result<Self, StartError> {
        let path = PathAndQuery::from_static(PATH);
        let auth = client.auth.as_ref().map(|id| build.auth.client(id)).transpose()?;
        let channel = Channel::new(client, auth, build.log.clone(), 0);
        Ok(Self { channel, jobs: Slab::new(), calls: Slab::new(), path })
    }

    fn collect(&mut self, done: &mut Done) {
        while let Some((token, result)) = self.channel.poll_done() {
            let Some(call) = usize::try_from(token).ok().and_then(|t| self.calls.try_remove(t)) else { continue };
            let Some(job) = self.jobs.get_mut(call.job) else { continue };
            job.calls -= 1;
            job.hear(call.entry, result.err());
            if job.calls == 0 {
                let job = self.jobs.remove(call.job);
                done.pieces(job.id, job.fate());
            }
        }
    }
}

impl Job {
    fn hear(&mut self, entry: Rope, failure: Option<Status>) {
        let Some(status) = failure else {
            self.delivered += entry.items();
            return;
        };
        let message = format!(
            "failed to push trace data via Jaeger exporter: rpc error: code = {} desc = {}",
            status.code.name(),
            status.message
        );
        let why = Error { code: Some(u32::from(status.code.number())), message: message.into() };
        if is_retryable(status.code) {
            self.rest.append(entry);
            let (after, _) = self.failed.get_or_insert((status.retry_after, why));
            *after = (*after).max(status.retry_after);
        } else {
            let (items, _) = self.refused.get_or_insert((0, why));
            *items += entry.items();
        }
    }

    fn fate(self) -> Fate {
        let rest = self.failed.map(|(after, why)| (self.rest, after, why));
        Fate { delivered: self.delivered, rejected: 0, refused: self.refused, rest }
    }
}

/// Whether the same spans can be taken later. Jaeger says RESOURCE_EXHAUSTED without a RetryInfo when its queue is full,
/// and Unknown when its storage fails.
fn is_retryable(code: Code) -> bool {
    matches!(
        code,
        Code::Canceled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss
    )
}

impl Exporter for JaegerExporter {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.channel.start(cx)
    }

    fn send(&mut self, cx: &mut Cx<'_>, id: JobId, payload: &Payload, by: Mono, done: &mut Done) {
        let batches = encode::batches(&payload.body);
        if batches.is_empty() {
            // Resources without attributes and without scopes: nothing that Jaeger could take.
            done.pieces(id, Fate { delivered: payload.items(), ..Fate::default() });
            return;
        }
        let job = self.jobs.insert(Job {
            id,
            calls: batches.len(),
            delivered: 0,
            refused: None,
            rest: Rope::default(),
            failed: None,
        });
        for Batch { request, entry } in batches {
            let token = self.calls.insert(Call { job, entry });
            let message = std::iter::once(request).collect();
            self.channel.call(cx, token as u64, NewCall { path: self.path.clone(), message, by });
        }
        self.collect(done);
    }

    fn event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, done: &mut Done) {
        self.channel.event(cx, local, &event);
        self.collect(done);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.channel.close(cx);
    }
}
