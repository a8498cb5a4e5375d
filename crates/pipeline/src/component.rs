//! The traits of components, and what they are given.
//!
//! Receivers, processors, exporters and extensions are trait objects that the graph owns and calls one at a time. Their
//! methods (`handle_event`, `settled` and others) pass data and results on through the value that they are given
//! ([`PipelineInput`], [`Downstream`], [`Outcomes`]). None of them blocks, and none is called while it runs.

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;

use otelcore_config::declare::Description;
use otelcore_config::{ComponentId, PipelineId, Section};
use otelcore_pdata::Signal;

use crate::ack::{AckTarget, Settlements};
use crate::item_flow::ItemChanges;
use crate::{
    Ack, AckRecorder, AttemptId, Budget, Capabilities, Cx, Endpoint, Event, ExporterQueueConfig, ItemFlow, Labels,
    Logger, MonotonicTime, OfferedCapabilities, Outcome, Outcomes, Payload, StartError, Telemetry, UsedMetadata,
};

/// Receives telemetry from outside.
pub trait Receiver {
    /// Binds sockets. Data may arrive from now on.
    ///
    /// # Errors
    /// The reason why it can't start, for example a port that is in use.
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError>;

    /// An event under one of its keys.
    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, input: &mut PipelineInput<'_>);

    /// The outcome of a payload that it sent with [`PipelineInput::send`] under `request`.
    fn settled(&mut self, cx: &mut Cx<'_>, request: u64, outcome: Outcome);

    /// Called when the graph has nothing left to do in this turn: the receiver writes the responses that
    /// [`Receiver::settled`] has made, all at once.
    fn flush(&mut self, cx: &mut Cx<'_>) {
        let _ = cx;
    }

    /// Accepts nothing new from now on, and finishes the requests that have begun by `deadline`.
    fn close(&mut self, cx: &mut Cx<'_>, deadline: MonotonicTime);

    /// True when, after [`Receiver::close`], every request has its response.
    fn is_closed(&self) -> bool;

    /// Items that it has taken custody of and not passed on, for the report at shutdown.
    fn held_items(&self) -> u64 {
        0
    }
}

/// Changes, groups or refuses telemetry between receivers and exporters.
pub trait Processor {
    /// Prepares the processor: sets timers, for example.
    ///
    /// # Errors
    /// The reason why it can't start.
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let _ = cx;
        Ok(())
    }

    /// Processes a payload: passes payload and ack on, or settles the ack.
    fn process(&mut self, cx: &mut Cx<'_>, payload: Payload, ack: Ack, downstream: &mut Downstream);

    /// An event under one of its keys.
    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, downstream: &mut Downstream) {
        let _ = (cx, local, event, downstream);
    }

    /// The outcome of a payload that it sent under an ack of its own ([`Downstream::new_ack`]).
    fn settled(&mut self, cx: &mut Cx<'_>, ack_id: u64, outcome: Outcome, downstream: &mut Downstream) {
        let _ = (cx, ack_id, outcome, downstream);
    }

    /// The refusal that a payload would get now, so that a receiver can refuse before it reads the body.
    fn refusal(&self) -> Option<Outcome> {
        None
    }

    /// Passes on all data that it holds back. Data that arrives later is held back as usual.
    fn flush(&mut self, cx: &mut Cx<'_>, downstream: &mut Downstream) {
        let _ = (cx, downstream);
    }

    /// Passes on all data that it holds back. Called during a shutdown, after the receivers are closed or their time is
    /// over.
    fn drain(&mut self, cx: &mut Cx<'_>, downstream: &mut Downstream) {
        let _ = (cx, downstream);
    }

    /// Items that it holds: those that it was given and has neither passed on, refused nor dropped. Items that it has passed
    /// on under acks of its own are among them until they are settled. Zero means that it is drained. Called after each
    /// other call, so it takes the same time however many items there are.
    fn held_items(&self) -> u64 {
        0
    }
}

/// Joins pipelines: it is at the end of some, like an exporter, and at the begin of others, like a receiver. It may change
/// the signal.
pub trait Connector {
    /// Prepares the connector: sets timers, for example. The pipelines that it feeds have started.
    ///
    /// # Errors
    /// The reason why it can't start.
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let _ = cx;
        Ok(())
    }

    /// Processes a payload from a pipeline: passes payloads and ack on, or settles the ack. A connector that passes pieces
    /// to several pipelines joins them with [`Ack::into_pieces`], copies with [`Ack::branch`].
    fn process(&mut self, cx: &mut Cx<'_>, payload: Payload, ack: Ack, output: &mut ConnectorOutput);

    /// An event under one of its keys.
    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, output: &mut ConnectorOutput) {
        let _ = (cx, local, event, output);
    }

    /// The outcome of a payload that it sent under an ack of its own ([`ConnectorOutput::new_ack`]).
    fn settled(&mut self, cx: &mut Cx<'_>, ack_id: u64, outcome: Outcome, output: &mut ConnectorOutput) {
        let _ = (cx, ack_id, outcome, output);
    }

    /// The refusal that a payload of this signal would get now, so that a receiver can refuse before it reads the body.
    fn refusal(&self, signal: Signal) -> Option<Outcome> {
        let _ = signal;
        None
    }

    /// Passes on all data that it holds back. Data that arrives later is held back as usual.
    fn flush(&mut self, cx: &mut Cx<'_>, output: &mut ConnectorOutput) {
        let _ = (cx, output);
    }

    /// Passes on all data that it holds back. Called during a shutdown, after the pipelines that lead to it are drained.
    fn drain(&mut self, cx: &mut Cx<'_>, output: &mut ConnectorOutput) {
        let _ = (cx, output);
    }

    /// The process ends now, whatever is left: settles the acks that it holds with
    /// [`LossReason::Shutdown`](crate::LossReason::Shutdown). An ack that it does not settle is dropped, and its sender
    /// does not learn why the payload was lost.
    fn abort(&mut self) {}

    /// Items that it holds, for the report at shutdown. Zero means that it is drained.
    fn held_items(&self) -> u64 {
        0
    }

    /// Items that it is responsible for now, by their signal: those that it has taken and neither passed on, refused nor
    /// dropped, and those that it has made. Items that it has passed on under acks of its own are among them until they
    /// are settled. Called after each other call.
    fn items(&self) -> HeldItems {
        HeldItems { input: self.held_items(), output: 0 }
    }
}

/// The items that a connector holds.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct HeldItems {
    /// Of the signal that it accepts.
    pub input: u64,
    /// Of the signal that it makes, if that is another one.
    pub output: u64,
}

/// Sends telemetry to its destination, or prints it.
pub trait Exporter {
    /// Binds sockets, begins connections. A peer that can't be reached is no error.
    ///
    /// # Errors
    /// The reason why it can't start.
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let _ = cx;
        Ok(())
    }

    /// Sends one payload and reports its outcome through `outcomes`, now or after a later event. The attempt ends at
    /// `deadline`.
    fn send(
        &mut self,
        cx: &mut Cx<'_>,
        attempt: AttemptId,
        payload: &Payload,
        deadline: MonotonicTime,
        outcomes: &mut Outcomes,
    );

    /// An event under one of its keys.
    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, outcomes: &mut Outcomes) {
        let _ = (cx, local, event, outcomes);
    }

    /// What it reads of the metadata of payloads. A queue on disk keeps nothing else.
    fn used_metadata(&self) -> UsedMetadata {
        UsedMetadata::default()
    }

    /// Labels of the counts of what is sent: the place that items of this signal go to, where there is one.
    fn destination_labels(&self, signal: Signal) -> Labels {
        let _ = signal;
        Labels::new()
    }

    /// Closes connections and sockets. [`Exporter::send`] is not called any more.
    fn close(&mut self, cx: &mut Cx<'_>) {
        let _ = cx;
    }
}

/// Serves the collector itself, for example with health checks.
pub trait Extension {
    /// Binds sockets; runs before any pipeline starts.
    ///
    /// # Errors
    /// The reason why it can't start.
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let _ = cx;
        Ok(())
    }

    /// Every pipeline has started and queues on disk are open (`true`), or shutdown has begun (`false`).
    fn set_ready(&mut self, cx: &mut Cx<'_>, ready: bool) {
        let _ = (cx, ready);
    }

    /// An event under one of its keys.
    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>) {
        let _ = (cx, local, event);
    }

    /// The last step of a shutdown, when nothing is left in any pipeline, or the end of an extension that a change of the configuration
    /// removes: it sends what it still holds by `deadline`, and is waited for until [`Extension::is_closed`].
    fn close(&mut self, cx: &mut Cx<'_>, deadline: MonotonicTime) {
        let _ = (cx, deadline);
    }

    /// True when, after [`Extension::close`], it holds nothing that is to be sent.
    fn is_closed(&self) -> bool {
        true
    }

    /// Adds what it offers to other components. Called once, after it is created.
    fn offer_capabilities(&self, offered: &mut OfferedCapabilities) {
        let _ = offered;
    }
}

/// Collects the payloads that a processor passes on to the next component of its pipeline.
#[derive(Debug, Default)]
pub struct Downstream {
    pub(crate) payloads: Vec<(Payload, Ack)>,
    /// Where outcomes are queued, and the owner number of the processor.
    pub(crate) ack_target: Option<(Rc<Settlements>, u32)>,
    pub(crate) changes: ItemChanges,
}

/// What a component reports of the items that it does not pass on as they came. Items that it was given are passed on,
/// held, refused or dropped: all others are missing in the sum of its metrics.
macro_rules! impl_item_reports {
    () => {
        /// Refuses a payload of so many items: its sender gets an outcome other than [`Outcome::Delivered`].
        pub fn refuse(&mut self, ack: Ack, items: u32, outcome: Outcome) {
            self.record_refused(u64::from(items));
            ack.settle(outcome);
        }

        /// Reports items whose sender has got an outcome other than [`Outcome::Delivered`].
        pub fn record_refused(&mut self, items: u64) {
            self.changes.refused = self.changes.refused.saturating_add(items);
        }

        /// Reports items that end here, and why, in one or two words with `_` between them. Their sender gets no error.
        pub fn record_dropped(&mut self, reason: &'static str, items: u64) {
            self.changes.add_dropped(reason, items);
        }

        /// Reports items that were made here, and why.
        pub fn record_created(&mut self, reason: &'static str, items: u64) {
            self.changes.add_created(reason, items);
        }
    };
}

impl Downstream {
    /// Passes a payload on.
    pub fn send(&mut self, payload: Payload, ack: Ack) {
        self.payloads.push((payload, ack));
    }

    /// An ack of the processor's own: its outcome is reported through [`Processor::settled`] under `ack_id`.
    pub fn new_ack(&self, ack_id: u64) -> Ack {
        match &self.ack_target {
            Some((settlements, owner)) => settlements.new_own_ack(AckTarget::Processor(*owner, ack_id)),
            None => Ack::detached(),
        }
    }

    impl_item_reports!();

    /// The same with acks that are reported to `acks`, for tests of single processors.
    #[must_use]
    pub fn with_recorder(acks: &AckRecorder) -> Self {
        Self { ack_target: Some((acks.settlements().clone(), 0)), ..Self::default() }
    }

    /// Counts what the processor has reported and passed on, except for what it has passed on under acks of its own: that
    /// counts when it is delivered.
    pub fn count_into(&self, flow: &mut ItemFlow) {
        flow.apply(&self.changes);
        let own = self.ack_target.as_ref().map(|(_, owner)| *owner);
        for (payload, ack) in &self.payloads {
            match ack.target() {
                Some(AckTarget::Processor(owner, _)) if own == Some(owner) => {
                    ack.add_sent(payload.signal, payload.items());
                }
                _ => flow.record_outgoing(u64::from(payload.items())),
            }
        }
    }

    /// The payloads that were passed on under acks of the processor's own: the number of each ack, and items.
    pub fn sent_under_own_acks(&self) -> impl Iterator<Item = (u64, u64)> {
        self.payloads.iter().filter_map(|(payload, ack)| match ack.target() {
            Some(AckTarget::Processor(_, ack_id)) => Some((ack_id, u64::from(payload.items()))),
            _ => None,
        })
    }

    /// The payloads that were passed on, for tests of single processors.
    pub fn take(&mut self) -> Vec<(Payload, Ack)> {
        std::mem::take(&mut self.payloads)
    }
}

/// Collects the payloads that a connector passes on to the pipelines that it feeds.
#[derive(Debug, Default)]
pub struct ConnectorOutput {
    pub(crate) payloads: Vec<(Option<usize>, Payload, Ack)>,
    /// Where outcomes are queued, and the owner number of the connector.
    pub(crate) ack_target: Option<(Rc<Settlements>, u32)>,
    /// Refused and dropped items are of the signal that the connector accepts, created ones of the one that it makes.
    pub(crate) changes: ItemChanges,
    /// Items of the signal that it makes that were dropped.
    pub(crate) output_changes: ItemChanges,
}

impl ConnectorOutput {
    /// Passes a payload on to every pipeline of its signal that the connector feeds: one that accepts it means success.
    pub fn send(&mut self, payload: Payload, ack: Ack) {
        self.payloads.push((None, payload, ack));
    }

    /// Passes a payload on to one pipeline, by its index in [`BuildContext::output_pipelines`]. The ack of a payload whose
    /// signal is not the pipeline's is settled as permanently refused.
    pub fn send_to(&mut self, pipeline: usize, payload: Payload, ack: Ack) {
        self.payloads.push((Some(pipeline), payload, ack));
    }

    /// An ack of the connector's own: its outcome is reported through [`Connector::settled`] under `ack_id`.
    pub fn new_ack(&self, ack_id: u64) -> Ack {
        match &self.ack_target {
            Some((settlements, owner)) => settlements.new_own_ack(AckTarget::Connector(*owner, ack_id)),
            None => Ack::detached(),
        }
    }

    impl_item_reports!();

    /// Reports items of the signal that the connector makes and that end here, and why.
    pub fn record_output_dropped(&mut self, reason: &'static str, items: u64) {
        self.output_changes.add_dropped(reason, items);
    }

    /// The same with acks that are reported to `acks`, for tests of single connectors.
    #[must_use]
    pub fn with_recorder(acks: &AckRecorder) -> Self {
        Self { ack_target: Some((acks.settlements().clone(), 0)), ..Self::default() }
    }

    /// Counts what the connector has reported and passed on, except for what it has passed on under acks of its own: that
    /// counts when it is delivered. `made` has the counts of the signal that it makes, if that is another one.
    pub fn count_into(&self, taken: &mut ItemFlow, made: Option<&mut ItemFlow>) {
        taken.apply_ended(&self.changes);
        let made = made.unwrap_or(taken);
        made.apply_created(&self.changes);
        made.apply(&self.output_changes);
        let own = self.ack_target.as_ref().map(|(_, owner)| *owner);
        for (_, payload, ack) in &self.payloads {
            match ack.target() {
                Some(AckTarget::Connector(owner, _)) if own == Some(owner) => {
                    ack.add_sent(payload.signal, payload.items());
                }
                _ => made.record_outgoing(u64::from(payload.items())),
            }
        }
    }

    /// The payloads that were passed on under acks of the connector's own: the number of each ack, and items.
    pub fn sent_under_own_acks(&self) -> impl Iterator<Item = (u64, u64)> {
        self.payloads.iter().filter_map(|(_, payload, ack)| match ack.target() {
            Some(AckTarget::Connector(_, ack_id)) => Some((ack_id, u64::from(payload.items()))),
            _ => None,
        })
    }

    /// The payloads that were passed on, each with the pipeline if it is for one, for tests of single connectors.
    pub fn take(&mut self) -> Vec<(Option<usize>, Payload, Ack)> {
        std::mem::take(&mut self.payloads)
    }
}

/// The pipelines of a graph, as a [`PipelineInput`] sees them. Receivers are numbered.
pub(crate) trait InputTarget {
    /// `is_new`: the payload has not been refused before.
    fn accept_payload(&mut self, cx: &mut Cx<'_>, receiver: usize, request: u64, payload: Payload, is_new: bool);
    fn refusal(&self, receiver: usize, signal: Signal) -> Option<Outcome>;
    fn budget(&self) -> &Arc<Budget>;
}

/// The interface through which a receiver sends payloads into its pipelines.
pub struct PipelineInput<'a> {
    pub(crate) target: &'a mut dyn InputTarget,
    pub(crate) receiver: usize,
}

impl std::fmt::Debug for PipelineInput<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PipelineInput").field("receiver", &self.receiver).finish_non_exhaustive()
    }
}

impl PipelineInput<'_> {
    /// Sends a payload into every pipeline of its signal; [`Receiver::settled`] reports its outcome under `request`.
    pub fn send(&mut self, cx: &mut Cx<'_>, request: u64, payload: Payload) {
        self.target.accept_payload(cx, self.receiver, request, payload, true);
    }

    /// Sends a payload again that was refused before, and that the receiver has kept: its items have been counted.
    pub fn resend(&mut self, cx: &mut Cx<'_>, request: u64, payload: Payload) {
        self.target.accept_payload(cx, self.receiver, request, payload, false);
    }

    /// The refusal that a payload of this signal would get now, if a limiter refuses.
    #[must_use]
    pub fn refusal(&self, signal: Signal) -> Option<Outcome> {
        self.target.refusal(self.receiver, signal)
    }

    /// The count of held bytes, to which bodies are charged.
    #[must_use]
    pub fn budget(&self) -> &Arc<Budget> {
        self.target.budget()
    }
}

/// The kinds of component.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ComponentKind {
    /// Receives telemetry from outside.
    Receiver,
    /// Changes, groups or refuses it.
    Processor,
    /// Sends it to its destination.
    Exporter,
    /// Joins pipelines.
    Connector,
    /// Serves the collector itself.
    Extension,
}

impl ComponentKind {
    /// `receiver`, `processor`, `exporter`, `connector`, `extension`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Receiver => "receiver",
            Self::Processor => "processor",
            Self::Exporter => "exporter",
            Self::Connector => "connector",
            Self::Extension => "extension",
        }
    }
}

/// Describes what a factory makes.
#[derive(Clone, Copy, Debug)]
pub struct ComponentInfo {
    /// Its kind.
    pub kind: ComponentKind,
    /// The type part of its ids.
    pub type_name: &'static str,
    /// Older type names that still work, each with a warning that names the new one.
    pub aliases: &'static [&'static str],
    /// The signals that it can serve, for connectors those that they accept; empty for extensions.
    pub signals: &'static [Signal],
    /// `Stable`, `Beta` and so on, for `components`.
    pub stability: &'static str,
}

/// Makes components of one type. A [`ComponentType`](crate::ComponentType) is one; its
/// reader, checks and description are those of the declaration.
pub trait Factory: Send + Sync {
    /// What it makes.
    fn info(&self) -> ComponentInfo;

    /// Reads the user's section. All mistakes are added to the section's diagnostics; `None` when it can't be used.
    fn parse(&self, id: &ComponentId, section: Section<'_>) -> Option<Box<dyn ComponentConfig>>;

    /// For connectors: each signal that they accept, with each one that they make of it.
    fn signal_pairs(&self) -> &'static [(Signal, Signal)] {
        &[]
    }

    /// Describes its section, for the JSON Schema and the reference. `None` if its keys are not known.
    fn description(&self) -> Option<Description> {
        None
    }
}

/// A component's configuration, checked; makes instances of it. Any thread may read it; instances are used only on the
/// thread of the loop.
pub trait ComponentConfig: Send + Sync + Any {
    /// Makes one instance: one for each id, and for processors one for each pipeline.
    ///
    /// # Errors
    /// The setting that can't be satisfied.
    fn create(&self, context: &BuildContext<'_>) -> Result<Component, StartError>;

    /// Checks the files that it names, as far as `read_file` gives them, without opening anything else.
    ///
    /// # Errors
    /// The reason why an instance would not start.
    fn check_files(&self, read_file: ReadFile<'_>) -> Result<(), StartError> {
        let _ = read_file;
        Ok(())
    }

    /// The extensions whose capabilities an instance asks for, where it is an extension itself: they are created and
    /// started before it.
    fn dependencies(&self) -> Vec<ComponentId> {
        Vec::new()
    }

    /// For receivers: whether an instance keeps a position in its source that must not pass what is not delivered. Queues in memory and
    /// processors behind it then give it the outcome of the delivery, and not of their own acceptance.
    fn awaits_delivery(&self) -> bool {
        false
    }

    /// The sockets that an instance opens, for checks that compare them with the environment of the collector.
    fn listen_addresses(&self) -> Vec<ListenAddress> {
        Vec::new()
    }
}

/// Gives the bytes of a file by its path; `None` where the file is not available here.
pub type ReadFile<'a> = &'a dyn Fn(&str) -> Option<Vec<u8>>;

/// A socket that a component opens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenAddress {
    /// The address.
    pub endpoint: Endpoint,
    /// The key of the address below the component, such as `protocols::grpc::endpoint`.
    pub config_key: &'static str,
    /// What is served there.
    pub protocol: ServedProtocol,
    /// The only path that is served; empty for any or none.
    pub path: String,
}

/// What is served at a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ServedProtocol {
    /// Telemetry is received over gRPC.
    Grpc,
    /// Telemetry is received over HTTP.
    Http,
    /// The page that health probes request.
    Health,
    /// A Prometheus page.
    Metrics,
    /// Datagrams: the port is one of UDP.
    Datagrams,
    /// Something else.
    Other,
}

/// What an instance is made from.
#[derive(Debug)]
pub struct BuildContext<'a> {
    /// Its id, as the user wrote it.
    pub id: &'a ComponentId,
    /// The signals of the pipelines that use it; for a connector, of those that end in it.
    pub signals: &'a [Signal],
    /// For a connector: the pipelines that it feeds.
    pub output_pipelines: &'a [PipelineId],
    /// The registry of its metrics.
    pub telemetry: &'a Telemetry,
    /// Its logger.
    pub log: Logger,
    /// The count of held bytes.
    pub budget: &'a Arc<Budget>,
    /// What the extensions offer that it may name, for example in `auth`.
    pub capabilities: &'a Capabilities,
    /// For a processor: its pipeline leads to a queue on disk, or comes from a receiver that awaits delivery. A processor that
    /// collects data then takes custody of nothing, but gives each sender the outcome of what comes after it, so that what is
    /// acknowledged is on disk or delivered.
    pub forwards_outcomes: bool,
}

/// An instance.
#[expect(clippy::large_enum_variant, reason = "made once for each instance, and taken apart at once")]
pub enum Component {
    /// Receives telemetry from outside.
    Receiver(Box<dyn Receiver>),
    /// Changes, groups or refuses it.
    Processor(Box<dyn Processor>),
    /// Sends it to its destination, through a queue with these settings for each signal.
    Exporter(Box<dyn Exporter>, ExporterQueueConfig),
    /// Joins pipelines.
    Connector(Box<dyn Connector>),
    /// Serves the collector itself.
    Extension(Box<dyn Extension>),
}

impl std::fmt::Debug for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Receiver(_) => "Receiver",
            Self::Processor(_) => "Processor",
            Self::Exporter(..) => "Exporter",
            Self::Connector(_) => "Connector",
            Self::Extension(_) => "Extension",
        })
    }
}
