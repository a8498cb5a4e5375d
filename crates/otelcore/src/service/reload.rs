//! Replaces the configuration of a running collector by the difference of the two.
//!
//! A successor is made of the new plan and shares what must go on: own metrics, statuses, the count of held bytes, outputs and log.
//! Starts nothing itself; that is [`EventLoop::change`].

use std::sync::Arc;
use std::time::Duration;

use otelcore_pipeline::{GraphChange, LogField, LogSink, StartError};
use otelcore_reactor::EventLoop;

use super::logs::{HostLog, LogLineWriter};
use super::{Collector, log_buffers, open_outputs, resource};
use crate::plan::Plan;

/// Why a new configuration is not used. The running one goes on.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ReloadError {
    /// It can't start.
    Start(StartError),
    /// It may be able to start, but not before the running one has ended.
    NeedsRestart(String),
}

impl std::fmt::Display for ReloadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Start(e) => e.fmt(f),
            Self::NeedsRestart(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for ReloadError {}

impl From<StartError> for ReloadError {
    fn from(e: StartError) -> Self {
        Self::Start(e)
    }
}

impl Collector {
    /// A collector of another plan that can take over from this one ([`Collector::take_over`]). Opens the files of its log, if these
    /// have changed.
    ///
    /// # Errors
    /// A file of the log that can't be opened, or a setting that can't change while the collector runs.
    pub fn successor(&self, plan: Plan) -> Result<Self, ReloadError> {
        if plan.telemetry.metrics.level.0 != self.plan.telemetry.metrics.level.0 {
            return Err(ReloadError::NeedsRestart(
                "service::telemetry::metrics::level has changed, which decides about the metrics of every component"
                    .to_owned(),
            ));
        }
        let (instance, resource) = resource(&plan, &self.build_info, Some(self.instance.clone()));
        let mut next = Self {
            build_info: self.build_info.clone(),
            instance,
            resource,
            log: self.log.clone(),
            telemetry: self.telemetry.clone(),
            process_metrics: self.process_metrics.clone(),
            budget: self.budget.clone(),
            statuses: self.statuses.clone(),
            view: self.view.clone(),
            started: self.started.clone(),
            outputs: self.outputs.clone(),
            replaceable_log: self.replaceable_log.clone(),
            next_log: None,
            internal_parts: self.internal_parts.clone(),
            log_buffers: self.log_buffers.clone(),
            host_log: self.host_log.clone(),
            plan,
        };
        if self.replaceable_log.is_some() && next.plan.log_tree() != self.plan.log_tree() {
            next.prepare_log()?;
        }
        Ok(next)
    }

    /// Makes the log that the plan describes.
    fn prepare_log(&mut self) -> Result<(), StartError> {
        let config = self.plan.telemetry.logs.clone();
        let has_lines = self.host_log.is_none() || config.set_keys.output_paths;
        let outputs = if has_lines { open_outputs(&config.output_paths, &self.outputs)? } else { Vec::new() };
        self.log_buffers = log_buffers(&self.plan);
        let lines = LogLineWriter::new(config, &self.resource, outputs, otelcore_reactor::unix_time_nanos)
            .with_buffers(&self.log_buffers);
        let log: Arc<dyn LogSink> = match &self.host_log {
            Some(before) => {
                let log = Arc::new(HostLog::new(before.host().clone(), lines));
                self.host_log = Some(log.clone());
                log
            }
            None => Arc::new(lines),
        };
        self.next_log = Some(log);
        Ok(())
    }

    /// Changes the loop of a running collector, of which this is the [`Collector::successor`], to this configuration. Components
    /// whose configuration is the same go on with their state; those that end get `grace` for what they hold.
    ///
    /// # Errors
    /// The first component that can't be made or started. The loop goes on with the components that it has.
    pub fn take_over(&self, event_loop: &mut EventLoop, grace: Duration) -> Result<GraphChange, ReloadError> {
        let next = self.build_next_graph(event_loop.graph())?;
        let change = event_loop.change(next, grace).map_err(|e| match e.needs_end_of_previous {
            true => ReloadError::NeedsRestart(e.error.to_string()),
            false => ReloadError::Start(e.error),
        })?;
        self.view.replace_description(self.plan.describe(&self.build_info.command, &self.build_info.version));
        if let (Some(log), Some(next_log)) = (&self.replaceable_log, &self.next_log) {
            log.replace(next_log.clone());
        }
        let fields = [
            ("kept_components", LogField::Uint(change.kept as u64)),
            ("started_components", LogField::Uint(change.started as u64)),
            ("ended_components", LogField::Uint(change.retired as u64)),
        ];
        self.log.info("The new configuration is in use.", &fields);
        Ok(change)
    }
}
