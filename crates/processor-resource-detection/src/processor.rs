//! The processor: holds payloads back until the first detection has ended, and adds the attributes to resources.
//!
//! A payload whose edit would take longer than a part of a turn is edited by a job on a helper thread; later payloads wait
//! behind it. Takes custody of nothing: the outcome of a payload is that of the next component.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use otelcore_pdata::edit::{Descend, EditPass, Edited, Editor, OutputLimit, ResourceMut};
use otelcore_pdata::views::{AnyValue, View};
use otelcore_pdata::{Rope, StepBudget};
use otelcore_pipeline::{
    Ack, BuildContext, Cx, Downstream, Event, Held, JobResult, LogField, Logger, LossReason, Outcome, Payload,
    Processor, StartError,
};

use crate::config::ResourceDetectionConfig;
use crate::detected::{DetectedResource, EncodedResource};
use crate::detection::{self, Detectors};

/// Bytes of payloads that may wait for the first detection, or behind one that is edited on a helper thread.
const MAX_WAITING_BYTES: usize = 64 << 20;

/// Local keys; those of the detection are above 255.
const JOB_KEY: u64 = 0;
const NEXT_TURN_KEY: u64 = 1;
const REFRESH_KEY: u64 = 2;
const FIRST_DETECTION_KEY: u64 = 256;

/// The end of a pass: the new body and its charge, or the outcome of a payload that could not be edited.
type EditResult = Result<(Rope, Edited, Held), Outcome>;

/// Adds the detected attributes to each resource.
struct ResourceEditor {
    detected: Arc<EncodedResource>,
    override_existing: bool,
}

impl Editor for ResourceEditor {
    fn resource(&mut self, resource: &mut ResourceMut<'_>) -> Descend {
        let mut attributes = resource.attributes();
        for (key, value) in &self.detected.attributes {
            let value = AnyValue::parse(value);
            if self.override_existing {
                attributes.upsert(key, value);
            } else {
                attributes.insert(key, value);
            }
        }
        let schema_url = self.detected.schema_url;
        if !schema_url.is_empty() && resource.schema_url().is_empty() {
            resource.set_schema_url(schema_url.as_bytes());
        }
        Descend::Skip
    }
}

/// A pass over one payload, with what it needs.
struct EditTask {
    pass: EditPass,
    editor: ResourceEditor,
    /// The charge for the new bytes.
    output: Held,
}

impl EditTask {
    /// Goes on until the end (true) or the end of the step.
    fn step(&mut self, work: &mut StepBudget) -> Result<bool, Outcome> {
        let is_done = self.pass.step(&mut self.editor, work).map_err(|error| Outcome::permanent(error.to_string()))?;
        if !is_done {
            let written = self.pass.written() as u64;
            self.output.try_grow(written).map_err(|no_room| Outcome::retry(no_room.to_string()))?;
        }
        Ok(is_done)
    }

    fn end(self, result: Result<bool, Outcome>) -> EditResult {
        let (rope, edited) = self.pass.finish();
        result.map(|_| (rope, edited, self.output))
    }

    /// Goes on until the end, however long that takes. For a helper thread.
    fn run(mut self) -> EditResult {
        let result = loop {
            match self.step(&mut StepBudget::for_one_step()) {
                Ok(false) => {}
                ended => break ended,
            }
        };
        self.end(result)
    }
}

/// A payload that is edited on a helper thread.
struct RunningEdit {
    result: JobResult<EditResult>,
    /// Without its body.
    payload: Payload,
    ack: Ack,
    items: u32,
}

/// One instance, of one pipeline.
pub(crate) struct ResourceDetectionProcessor {
    detectors: Detectors,
    override_existing: bool,
    /// The only attributes that are added; empty for all.
    only: Vec<String>,
    refresh_interval: Duration,
    log: Logger,
    /// The first detection has ended.
    is_ready: bool,
    detected: Arc<EncodedResource>,
    edit: Option<RunningEdit>,
    waiting: VecDeque<(Payload, Ack)>,
    waiting_bytes: usize,
    is_turn_requested: bool,
}

impl ResourceDetectionProcessor {
    pub(crate) fn new(config: &ResourceDetectionConfig, context: &BuildContext<'_>) -> Result<Self, StartError> {
        if config.client.authenticator().is_some() {
            return Err(StartError::Config("'auth' is not supported for metadata services".to_owned()));
        }
        Ok(Self {
            detectors: Detectors::new(config, context.log.clone()),
            override_existing: config.override_existing,
            only: config.attributes.clone(),
            refresh_interval: config.refresh_interval,
            log: context.log.clone(),
            is_ready: false,
            detected: Arc::default(),
            edit: None,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            is_turn_requested: false,
        })
    }

    /// Edits a payload and passes it on, or gives it to a helper thread.
    fn edit(
        &mut self,
        cx: &mut Cx<'_>,
        mut payload: Payload,
        ack: Ack,
        work: &mut StepBudget,
        downstream: &mut Downstream,
    ) {
        if self.detected.attributes.is_empty() && self.detected.schema_url.is_empty() {
            return downstream.send(payload, ack);
        }
        let body = std::mem::take(&mut payload.body);
        let (length, items) = (body.len() as u64, body.items());
        let OutputLimit { factor, extra } = OutputLimit::default();
        let added = self.detected.max_bytes().saturating_mul(items as usize);
        let limit = OutputLimit { factor, extra: extra.saturating_add(added) };
        let editor = ResourceEditor { detected: self.detected.clone(), override_existing: self.override_existing };
        let output = payload.held.hold_derived(0);
        let mut task = EditTask { pass: EditPass::new(payload.signal, body, limit), editor, output };
        // Each attribute is looked for in the whole resource, and one resource is not divided.
        let cost_per_byte = 2 + 2 * self.detected.attributes.len() as u64;
        if length.saturating_mul(cost_per_byte) <= StepBudget::UNITS_PER_STEP {
            match task.step(work) {
                Ok(false) => {}
                ended => return pass_on(payload, ack, task.end(ended), downstream),
            }
        }
        let result = cx.run_job(JOB_KEY, move || task.run());
        self.edit = Some(RunningEdit { result, payload, ack, items });
    }

    /// Edits payloads that wait, until one takes longer or the work of this turn is done.
    fn edit_waiting(&mut self, cx: &mut Cx<'_>, downstream: &mut Downstream) {
        let mut work = StepBudget::for_one_step();
        while self.is_ready
            && self.edit.is_none()
            && let Some((payload, ack)) = self.waiting.pop_front()
        {
            if work.is_spent() {
                self.waiting.push_front((payload, ack));
                if !std::mem::replace(&mut self.is_turn_requested, true) {
                    cx.request_ready(NEXT_TURN_KEY);
                }
                return;
            }
            self.waiting_bytes -= payload.body.len();
            let mut step = StepBudget::for_one_step();
            // What the next components do with it in the same turn.
            work.charge(payload.body.len() as u64);
            self.edit(cx, payload, ack, &mut step, downstream);
            work.charge(step.spent());
        }
    }

    /// The job of an edit has ended.
    fn finish_edit(&mut self, downstream: &mut Downstream) {
        let Some(RunningEdit { result, payload, ack, .. }) = self.edit.take() else { return };
        match result.take() {
            Some(result) => pass_on(payload, ack, result, downstream),
            // It has panicked.
            None => ack.settle(Outcome::Lost(LossReason::Dropped)),
        }
    }

    /// A detection has ended: uses its result. After the first one, a result with errors leaves the one before.
    fn apply(&mut self, cx: &mut Cx<'_>, outcome: detection::Outcome) {
        let detection::Outcome { mut resource, errors } = outcome;
        if !self.only.is_empty() {
            resource.attributes.retain(|(key, _)| self.only.contains(key));
        }
        let errors = errors.join("; ");
        let has_previous = self.is_ready && !self.detected.attributes.is_empty();
        if has_previous && !errors.is_empty() {
            let error = ("error", LogField::Str(&errors));
            self.log.warn("resource refresh failed; keeping previous snapshot", &[error]);
        } else {
            self.use_resource(&resource, &errors);
        }
        if !self.refresh_interval.is_zero() {
            cx.set_timer(REFRESH_KEY, cx.now() + self.refresh_interval);
        }
        self.is_ready = true;
    }

    fn use_resource(&mut self, resource: &DetectedResource, errors: &str) {
        let text = resource.to_text();
        self.log.info("detected resource information", &[("resource", LogField::Str(&text))]);
        if !errors.is_empty() {
            let error = ("error", LogField::Str(errors));
            self.log.error("resource detection failed; the attributes of other detectors are used", &[error]);
        }
        self.detected = Arc::new(resource.encode());
    }
}

fn pass_on(mut payload: Payload, ack: Ack, result: EditResult, downstream: &mut Downstream) {
    let (rope, edited, mut output) = match result {
        Ok(ended) => ended,
        Err(outcome) => return ack.settle(outcome),
    };
    if edited.changed_parts > 0 {
        output.grow(rope.len() as u64);
        if edited.shared_parts == 0 {
            payload.held = output;
        } else {
            payload.held.merge(output);
        }
    }
    payload.body = rope;
    downstream.send(payload, ack);
}

impl Processor for ResourceDetectionProcessor {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.detectors.start(cx)?;
        self.detectors.begin(cx);
        if let Some(error) = self.detectors.lasting_error() {
            return Err(StartError::Config(error));
        }
        if let Some(outcome) = self.detectors.take_outcome(cx) {
            self.apply(cx, outcome);
        }
        Ok(())
    }

    fn process(&mut self, cx: &mut Cx<'_>, payload: Payload, ack: Ack, downstream: &mut Downstream) {
        if self.is_ready && self.edit.is_none() && self.waiting.is_empty() {
            return self.edit(cx, payload, ack, &mut StepBudget::for_one_step(), downstream);
        }
        let bytes = self.waiting_bytes + payload.body.len();
        if bytes > MAX_WAITING_BYTES && !self.waiting.is_empty() {
            return ack.settle(Outcome::retry("too much data waits for a processor"));
        }
        self.waiting_bytes = bytes;
        self.waiting.push_back((payload, ack));
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, downstream: &mut Downstream) {
        match local {
            JOB_KEY => self.finish_edit(downstream),
            NEXT_TURN_KEY => self.is_turn_requested = false,
            REFRESH_KEY => {
                self.detectors.begin(cx);
            }
            FIRST_DETECTION_KEY.. => self.detectors.handle_event(cx, local, &event),
            _ => {}
        }
        if let Some(outcome) = self.detectors.take_outcome(cx) {
            self.apply(cx, outcome);
        }
        self.edit_waiting(cx, downstream);
    }

    fn held_items(&self) -> u64 {
        let waiting = self.waiting.iter().map(|(payload, _)| u64::from(payload.items()));
        waiting.sum::<u64>() + self.edit.as_ref().map_or(0, |edit| u64::from(edit.items))
    }
}
