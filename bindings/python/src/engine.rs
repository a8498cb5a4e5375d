//! The collector's handle; the collector runs on its own thread or in the host's loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use otelcore::inproc;
use otelcore::pdata::Signal;
use otelcore::pipeline::{LogSink, NoopLogSink};
use otelcore::{CollectorState, ConfigDocument, EmbedError, EmbedOptions, EmbeddedCollector};
use pyo3::prelude::*;
use send_wrapper::SendWrapper;

use crate::data::{Input, Output, signal_of};
use crate::errors::{self, ExceptionClass, from_embed_error};
use crate::log::LogQueue;
use crate::process::{ProcessOwned, duration, wait_until, without_gil};
use crate::processor::Processor;
use crate::status::StatusQueue;

/// Stands for no time limit: three years.
const MAX_WAIT: Duration = Duration::from_secs(100_000_000);

/// A collector whose configuration has been read and checked.
#[pyclass(frozen, module = "otelcore._otelcore")]
pub(crate) struct Engine {
    embedded: ProcessOwned<EmbeddedCollector>,
    /// It runs in the host's loop, where no call may wait for it.
    driven: AtomicBool,
}

impl Engine {
    fn check_may_wait(&self) -> PyResult<()> {
        if self.driven.load(Ordering::Relaxed) {
            return Err(errors::new_exception(
                ExceptionClass::State,
                "a collector in the program's own loop can't be waited for",
            ));
        }
        Ok(())
    }
}

#[pymethods]
impl Engine {
    /// `documents` are texts and their names.
    #[new]
    fn new(py: Python<'_>, documents: Vec<(String, String)>, log: Option<&LogQueue>) -> PyResult<Self> {
        let log: Arc<dyn LogSink> = match log {
            Some(queue) => queue.sink()?,
            None => Arc::new(NoopLogSink),
        };
        let options = EmbedOptions { log, ..EmbedOptions::default() };
        let documents = config_documents(&documents);
        let embedded = without_gil(py, || EmbeddedCollector::new_merged(&documents, options))
            .map_err(|e| from_embed_error(py, &e))?;
        Ok(Self { embedded: ProcessOwned::new(embedded), driven: AtomicBool::new(false) })
    }

    /// Starts it on its own thread, and returns when all receivers listen.
    fn start(&self, py: Python<'_>) -> PyResult<()> {
        let embedded = self.embedded.get()?;
        without_gil(py, || embedded.start()).map_err(|e| from_embed_error(py, &e))
    }

    /// Starts it in the loop of the calling thread.
    fn drive(&self, py: Python<'_>) -> PyResult<Driven> {
        let driven = self.embedded.get()?.start_in_host_loop().map_err(|e| from_embed_error(py, &e))?;
        self.driven.store(true, Ordering::Relaxed);
        Ok(Driven { inner: Some(SendWrapper::new(ProcessOwned::new(driven))) })
    }

    /// The name of its state.
    fn state(&self) -> &'static str {
        self.embedded.get().map_or("forked", |embedded| embedded.state().name())
    }

    /// Starts a flush; returns the mark for `is_flushed`.
    fn begin_flush(&self, py: Python<'_>) -> PyResult<u64> {
        self.embedded.get()?.begin_flush().map_err(|e| from_embed_error(py, &e))
    }

    /// Whether a flush is complete.
    fn is_flushed(&self, mark: u64) -> PyResult<bool> {
        let embedded = self.embedded.get()?;
        Ok(embedded.is_flushed(mark) || embedded.state() >= CollectorState::Stopped)
    }

    /// Waits until all that was accepted before is delivered, or reported as lost.
    fn flush(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        self.check_may_wait()?;
        let embedded = self.embedded.get()?;
        let deadline = duration(timeout)?.and_then(|timeout| Instant::now().checked_add(timeout));
        let mark = embedded.begin_flush().map_err(|e| from_embed_error(py, &e))?;
        let is_flushed = wait_until(py, deadline, || {
            let is_done = embedded.is_flushed(mark) || embedded.state() >= CollectorState::Stopped;
            // Data of a flushed batch may wait again in a later batch processor.
            if !is_done {
                let _ = embedded.begin_flush();
            }
            is_done
        })?;
        if is_flushed { Ok(()) } else { Err(from_embed_error(py, &EmbedError::Timeout(Default::default()))) }
    }

    /// Changes it to another configuration; what ends has `grace` seconds.
    fn reload(&self, py: Python<'_>, documents: Vec<(String, String)>, grace: Option<f64>) -> PyResult<()> {
        self.check_may_wait()?;
        let embedded = self.embedded.get()?;
        let grace = duration(grace)?.unwrap_or(MAX_WAIT).min(MAX_WAIT);
        let documents = config_documents(&documents);
        without_gil(py, || embedded.reload_merged(&documents, grace)).map(drop).map_err(|e| from_embed_error(py, &e))
    }

    /// Begins to change it to another configuration; returns the number for `reload_result`.
    fn begin_reload(&self, py: Python<'_>, documents: Vec<(String, String)>, grace: Option<f64>) -> PyResult<u64> {
        let embedded = self.embedded.get()?;
        let grace = duration(grace)?.unwrap_or(MAX_WAIT).min(MAX_WAIT);
        let documents = config_documents(&documents);
        without_gil(py, || embedded.begin_reload_merged(&documents, grace)).map_err(|e| from_embed_error(py, &e))
    }

    /// Whether a reload has been done; an exception where it has failed, once.
    fn reload_result(&self, py: Python<'_>, number: u64) -> PyResult<bool> {
        match self.embedded.get()?.reload_result(number) {
            Some(result) => result.map(|_| true).map_err(|e| from_embed_error(py, &e)),
            None => Ok(false),
        }
    }

    /// Asks it to deliver what it holds and to end within `grace` seconds.
    fn begin_shutdown(&self, py: Python<'_>, grace: Option<f64>) -> PyResult<()> {
        let grace = duration(grace)?.unwrap_or(MAX_WAIT).min(MAX_WAIT);
        self.embedded.get()?.begin_shutdown(grace).map_err(|e| from_embed_error(py, &e))
    }

    /// Delivers what it holds, and ends.
    fn shutdown(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        self.check_may_wait()?;
        let embedded = self.embedded.get()?;
        let grace = duration(timeout)?.unwrap_or(MAX_WAIT).min(MAX_WAIT);
        // The wait is done here, because it must notice Ctrl-C; after it only the thread's end remains to wait for.
        if embedded.begin_shutdown(grace).is_ok() {
            wait_until(py, None, || embedded.state() >= CollectorState::Stopped)?;
        }
        without_gil(py, || embedded.shutdown(grace)).map_err(|e| from_embed_error(py, &e))
    }

    /// The result of a collector in the host's loop: an error if data was lost.
    fn finish(&self, py: Python<'_>) -> PyResult<()> {
        let embedded = self.embedded.get()?;
        if matches!(embedded.state(), CollectorState::Created | CollectorState::Stopped | CollectorState::Failed) {
            // It has ended, so this does not wait.
            embedded.shutdown(Duration::ZERO).map_err(|e| from_embed_error(py, &e))?;
        }
        Ok(())
    }

    /// Its own metrics as a Prometheus page.
    fn metrics(&self, py: Python<'_>) -> PyResult<String> {
        let embedded = self.embedded.get()?;
        Ok(String::from_utf8_lossy(&without_gil(py, || embedded.metrics())).into_owned())
    }

    /// A snapshot, as a JSON object.
    fn snapshot(&self, py: Python<'_>) -> PyResult<String> {
        let embedded = self.embedded.get()?;
        Ok(without_gil(py, || embedded.snapshot().to_json()))
    }

    /// A queue of the changes of statuses from now on, instead of an earlier one.
    fn status_changes(&self) -> PyResult<StatusQueue> {
        let (queue, put) = StatusQueue::new();
        self.embedded.get()?.on_status_change(put);
        Ok(queue)
    }

    /// Its health, in JSON.
    fn health(&self) -> PyResult<String> {
        Ok(self.embedded.get()?.health())
    }

    /// The status of each component, as a JSON array.
    fn component_statuses(&self) -> PyResult<String> {
        Ok(self.embedded.get()?.component_statuses_json())
    }

    /// An input, by the id of its `inproc` receiver, or the only one there is; one from which `signal` is taken.
    #[pyo3(signature = (id=None, signal=None))]
    fn input(&self, id: Option<&str>, signal: Option<&str>) -> PyResult<Input> {
        let embedded = self.embedded.get()?;
        let ids = embedded.input_and_output_ids().0;
        let inputs: Vec<_> = ids.iter().map(|id| (id.as_str(), embedded.input_signals(id))).collect();
        let id = select_input(id, signal.map(signal_of).transpose()?, &inputs)?;
        let input: Option<inproc::Input> = embedded.input(&id);
        Ok(Input::new(&id, input.ok_or_else(|| not_found("receiver", &id, &ids))?))
    }

    /// An output, by the id of its `inproc` exporter, or the only one there is.
    #[pyo3(signature = (id=None))]
    fn output(&self, id: Option<&str>) -> PyResult<Output> {
        let embedded = self.embedded.get()?;
        let ids = embedded.input_and_output_ids().1;
        let id = select_id(id, &ids, "outputs")?;
        let output: Option<inproc::Output> = embedded.output(id);
        Ok(Output::new(id, output.ok_or_else(|| not_found("exporter", id, &ids))?))
    }

    /// The processor of that id, or the only one.
    #[pyo3(signature = (id=None))]
    fn processor(&self, id: Option<&str>) -> PyResult<Processor> {
        let embedded = self.embedded.get()?;
        let ids = embedded.processor_ids();
        let id = select_id(id, &ids, "processors")?;
        let processor = embedded.processor(id);
        Ok(Processor::new(id, processor.ok_or_else(|| not_found("processor", id, &ids))?))
    }
}

fn config_documents(documents: &[(String, String)]) -> Vec<ConfigDocument<'_>> {
    documents.iter().map(|(text, name)| ConfigDocument { name, text }).collect()
}

/// The id that is used if there are several and none is named.
const DEFAULT_ID: &str = "inproc";

/// The id to use: the named one; else the only one, or `inproc` among several. `kinds` is what there are several of.
fn select_id<'i>(id: Option<&'i str>, ids: &'i [String], kinds: &str) -> PyResult<&'i str> {
    match (id, ids) {
        (Some(id), _) => Ok(id),
        (None, [only]) => Ok(only),
        (None, many) if many.len() > 1 && !many.iter().any(|id| id == DEFAULT_ID) => {
            let text = format!("there are several {kinds}: {}; say which", many.join(", "));
            Err(errors::new_exception(ExceptionClass::Config, &text))
        }
        (None, _) => Ok(DEFAULT_ID),
    }
}

fn not_found(kind: &str, id: &str, ids: &[String]) -> PyErr {
    let available = if ids.is_empty() {
        format!("the configuration names no {kind} `inproc`")
    } else {
        format!("there are: {}", ids.join(", "))
    };
    errors::new_exception(ExceptionClass::Config, &format!("no pipeline has the {kind} `{id}`; {available}"))
}

/// The id of the input to use: the named one; else the only one from which the signal is taken, or `inproc` among
/// several.
fn select_input(id: Option<&str>, signal: Option<Signal>, inputs: &[(&str, Vec<Signal>)]) -> PyResult<String> {
    let takes = |signals: &[Signal]| signal.is_none_or(|signal| signals.contains(&signal));
    let signal_name = signal.map_or("telemetry", Signal::name);
    let all_inputs = || {
        let describe = |(id, signals): &(&str, Vec<Signal>)| {
            let signals: Vec<_> = signals.iter().map(|signal| signal.name()).collect();
            format!("{id} ({})", if signals.is_empty() { "unused".to_owned() } else { signals.join(", ") })
        };
        inputs.iter().map(describe).collect::<Vec<_>>().join(", ")
    };
    let config_error = |text: String| Err(errors::new_exception(ExceptionClass::Config, &text));
    if let Some(id) = id {
        return match inputs.iter().find(|(name, _)| *name == id) {
            Some((_, signals)) if !takes(signals) => config_error(format!(
                "no pipeline takes {signal_name} from the input `{id}`; the configuration has: {}",
                all_inputs()
            )),
            Some(_) => Ok(id.to_owned()),
            None => {
                let ids: Vec<_> = inputs.iter().map(|(id, _)| (*id).to_owned()).collect();
                Err(not_found("receiver", id, &ids))
            }
        };
    }
    let matching: Vec<_> = inputs.iter().filter(|(_, signals)| takes(signals)).map(|(id, _)| *id).collect();
    match matching.as_slice() {
        [only] => Ok((*only).to_owned()),
        [] if inputs.is_empty() => Err(not_found("receiver", DEFAULT_ID, &[])),
        [] => config_error(format!(
            "no pipeline takes {signal_name} from an input; the configuration has: {}",
            all_inputs()
        )),
        many if many.contains(&DEFAULT_ID) => Ok(DEFAULT_ID.to_owned()),
        many => config_error(format!("several inputs take {signal_name}: {}; say which", many.join(", "))),
    }
}

/// A collector in the host's own loop. It is used only on the thread that made it.
#[pyclass(module = "otelcore._otelcore")]
pub(crate) struct Driven {
    inner: Option<SendWrapper<ProcessOwned<otelcore::DrivenCollector>>>,
}

impl Driven {
    fn driven_on_this_thread(&mut self) -> PyResult<&mut SendWrapper<ProcessOwned<otelcore::DrivenCollector>>> {
        match &mut self.inner {
            Some(inner) if inner.valid() => Ok(inner),
            _ => Err(errors::new_exception(ExceptionClass::State, "the loop belongs to another thread")),
        }
    }
}

#[pymethods]
impl Driven {
    /// The descriptor to wait for; `None` after the end.
    fn fileno(&mut self) -> PyResult<Option<i32>> {
        Ok(self.driven_on_this_thread()?.get()?.descriptor())
    }

    /// The number of seconds until the next turn is due even if the descriptor is not readable; `None` is no limit.
    fn deadline(&mut self) -> PyResult<Option<f64>> {
        Ok(self.driven_on_this_thread()?.get()?.deadline().map(|left| left.as_secs_f64()))
    }

    /// Does the work that is due, without waiting. `False` when the collector has ended.
    fn turn(&mut self, py: Python<'_>) -> PyResult<bool> {
        let driven = self.driven_on_this_thread()?;
        driven.get()?;
        // The GIL is released, but the thread stays the same, as the wrapper requires.
        let result = without_gil(py, || driven.get_mut().map(otelcore::DrivenCollector::turn));
        result?.map_err(|e| from_embed_error(py, &e))
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        // The cycle collector may run in any thread.
        if let Some(inner) = self.inner.take_if(|inner| !inner.valid()) {
            std::mem::forget(inner);
        }
    }
}
