//! The processor: holds payloads back until the first detection has ended, and adds the attributes to resources.
//!
//! Takes custody of nothing: the outcome of a payload is that of the next component.

use std::sync::Arc;
use std::time::Duration;

use otelcore_pdata::StepBudget;
use otelcore_pdata::edit::{Descend, Editor, OutputLimit, ResourceMut};
use otelcore_pdata::views::{AnyValue, View};
use otelcore_pipeline::{
    Ack, BuildContext, Cx, Downstream, EditQueue, Event, LogField, Logger, Payload, Processor, SinglePass, StartError,
};

use crate::config::ResourceDetectionConfig;
use crate::detected::{DetectedResource, EncodedResource};
use crate::detection::{self, Detectors};

/// Local keys, beside those of [`EditQueue`]; those of the detection are above 255.
const REFRESH_KEY: u64 = 2;
const FIRST_DETECTION_KEY: u64 = 256;

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
    edits: EditQueue<ResourceEditor>,
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
            edits: EditQueue::default(),
        })
    }

    /// Edits a payload and passes it on, or gives it to a helper thread.
    fn edit(
        &mut self,
        cx: &mut Cx<'_>,
        (payload, ack): (Payload, Ack),
        step: &mut StepBudget,
        downstream: &mut Downstream,
    ) {
        if self.detected.attributes.is_empty() && self.detected.schema_url.is_empty() {
            return downstream.send(payload, ack);
        }
        let OutputLimit { factor, extra } = OutputLimit::default();
        let added = self.detected.max_bytes().saturating_mul(payload.items() as usize);
        let limit = OutputLimit { factor, extra: extra.saturating_add(added) };
        let editor = ResourceEditor { detected: self.detected.clone(), override_existing: self.override_existing };
        // Each attribute is looked for in the whole resource, and one resource is not divided.
        let cost_per_byte = 2 + 2 * self.detected.attributes.len() as u64;
        let most_work = (payload.body.len() as u64).saturating_mul(cost_per_byte);
        let begin = |signal, body| SinglePass::new(signal, body, limit, editor);
        if let Some((_, edited)) = self.edits.edit(cx, (payload, ack), most_work, step, begin) {
            edited.pass_on(downstream, "removed");
        }
    }

    /// Edits payloads that wait, until one takes longer or the work of this turn is done.
    fn edit_waiting(&mut self, cx: &mut Cx<'_>, downstream: &mut Downstream) {
        let mut turn = StepBudget::for_one_step();
        while self.is_ready
            && let Some(waiting) = self.edits.next_waiting(cx, &mut turn)
        {
            let mut step = StepBudget::for_one_step();
            self.edit(cx, waiting, &mut step, downstream);
            turn.charge(step.spent());
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
        if self.is_ready && self.edits.is_empty() {
            return self.edit(cx, (payload, ack), &mut StepBudget::for_one_step(), downstream);
        }
        self.edits.push(payload, ack, downstream);
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, downstream: &mut Downstream) {
        match local {
            EditQueue::<ResourceEditor>::JOB_KEY => {
                if let Some(Ok((_, edited))) = self.edits.end_job(downstream) {
                    edited.pass_on(downstream, "removed");
                }
            }
            EditQueue::<ResourceEditor>::NEXT_TURN_KEY => self.edits.begin_turn(),
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
        self.edits.items()
    }
}
