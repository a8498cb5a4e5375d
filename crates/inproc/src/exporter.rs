//! The exporter: the side of an output that runs on the loop.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use otelcore_config::{ComponentId, Dur, Section};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    About, Build, Component, Cx, Done, Event, Exporter, Factory, JobId, Kind, Mono, Outcome, Payload, SendingSettings,
    Settings, StartError,
};

use crate::output::{Finish, Shared};
use crate::{Hub, lock};

/// Local keys: the notifier; timers of jobs that have a deadline.
const BELL: u64 = 0;
const DUE: u64 = 1;

/// Makes `inproc` exporters.
#[derive(Debug)]
pub struct InprocExporterFactory(Hub);

impl InprocExporterFactory {
    /// A factory whose outputs are found in `hub`.
    #[must_use]
    pub fn new(hub: &Hub) -> Self {
        Self(hub.clone())
    }
}

struct InprocExporter {
    shared: Arc<Shared>,
    sending: SendingSettings,
}

impl Factory for InprocExporterFactory {
    fn about(&self) -> About {
        About { kind: Kind::Exporter, type_name: "inproc", aliases: &[], signals: &Signal::ALL, stability: "Beta" }
    }

    fn parse(&self, id: &ComponentId, mut s: Section<'_>) -> Option<Box<dyn Settings>> {
        // A host program may be slow: unless the user sets a timeout, there is none.
        let sending = SendingSettings::parse(&mut s, Dur::ZERO);
        s.finish();
        Some(Box::new(InprocExporter { shared: self.0.make_output(id), sending }))
    }
}

impl Settings for InprocExporter {
    fn create(&self, _: &Build<'_>) -> Result<Component, StartError> {
        let end = End { shared: self.shared.clone(), under_way: BTreeSet::new(), due: BTreeMap::new() };
        Ok(Component::Exporter(Box::new(end), self.sending.clone()))
    }
}

struct End {
    shared: Arc<Shared>,
    under_way: BTreeSet<JobId>,
    due: BTreeMap<(Mono, JobId), ()>,
}

fn outcome(finish: Finish) -> Outcome {
    match finish {
        Finish::Delivered => Outcome::Delivered,
        Finish::Retry(after) => {
            Outcome::Retry { after, why: otelcore_pipeline::Error::new("the host program could not take the batch") }
        }
        Finish::Permanent(why) if why.is_empty() => Outcome::permanent("the host program refused the batch"),
        Finish::Permanent(why) => Outcome::permanent(why),
    }
}

impl Exporter for End {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        lock(&self.shared.queue).bell = Some(cx.bell(BELL));
        Ok(())
    }

    fn send(&mut self, cx: &mut Cx<'_>, job: JobId, payload: &Payload, by: Mono, done: &mut Done) {
        let data = payload.body.to_bytes();
        if let Some(callback) = &mut *lock(&self.shared.callback) {
            return done.push(job, outcome(callback(payload.signal, &data)));
        }
        self.under_way.insert(job);
        if by != Mono::NEVER {
            self.due.insert((by, job), ());
            cx.arm(DUE, by);
        }
        lock(&self.shared.queue).batches.push_back((job, payload.signal, data));
        self.shared.news.notify_one();
    }

    fn event(&mut self, cx: &mut Cx<'_>, local: u64, _: Event<'_>, done: &mut Done) {
        let mut queue = lock(&self.shared.queue);
        for (job, finish) in std::mem::take(&mut queue.finished) {
            // The outcome of a job that has been given up is ignored.
            if self.under_way.remove(&job) {
                done.push(job, outcome(finish));
            }
        }
        if local == DUE {
            let now = cx.now();
            while let Some(entry) = self.due.first_entry()
                && entry.key().0 <= now
            {
                let ((_, job), ()) = entry.remove_entry();
                if self.under_way.remove(&job) {
                    queue.batches.retain(|(waiting, ..)| *waiting != job);
                    done.push(job, Outcome::retry("the host program did not finish the batch in time"));
                }
            }
        }
    }

    fn close(&mut self, _: &mut Cx<'_>) {
        self.shared.close();
    }
}
