//! The receiver: passes events and outcomes to the servers of the collector's API and of the agent's.

use otelcore_net::ingest::Ingest;
use otelcore_pipeline::{BuildContext, Cx, Event, MonotonicTime, Outcome, PipelineInput, Receiver, StartError};
use otelcore_thrift::Protocol;

use super::agent::AgentServer;
use super::config::JaegerReceiverConfig;
use super::protocol::{JaegerProtocol, new_ingest};

/// The local keys and the numbers of payloads of the agent's servers have this bit; those of [`Ingest`] are lower.
const AGENT_BIT: u64 = 1 << 62;
/// Distinguishes one server from the other.
const SERVER_STEP: u64 = 1 << 32;

pub(super) struct JaegerReceiver {
    collector: Ingest<JaegerProtocol>,
    agents: Vec<AgentServer>,
}

impl JaegerReceiver {
    pub(super) fn new(config: &JaegerReceiverConfig, context: &BuildContext<'_>) -> Result<Self, StartError> {
        let protocols = &config.protocols;
        let collector = new_ingest(protocols.grpc.get(), protocols.thrift_http.get(), context)?;
        let udp =
            [(Protocol::Binary, protocols.thrift_binary.get()), (Protocol::Compact, protocols.thrift_compact.get())];
        let mut agents = Vec::new();
        for ((protocol, config), number) in udp.into_iter().zip(0..) {
            if let Some(config) = config {
                let key = AGENT_BIT | (number * SERVER_STEP);
                agents.push(AgentServer::new(protocol, config, key, context)?);
            }
        }
        Ok(Self { collector, agents })
    }
}

impl Receiver for JaegerReceiver {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.agents.iter_mut().try_for_each(|agent| agent.open(cx))?;
        self.collector.open(cx)
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, input: &mut PipelineInput<'_>) {
        if local & AGENT_BIT == 0 {
            return self.collector.handle_event(cx, local, event, input);
        }
        if let Some(agent) = self.agents.iter_mut().find(|agent| agent.key() == local) {
            agent.handle_event(cx, matches!(event, Event::Timer), input);
        }
    }

    fn settled(&mut self, cx: &mut Cx<'_>, request: u64, outcome: Outcome) {
        if request & AGENT_BIT == 0 {
            return self.collector.settled(cx, request, outcome);
        }
        if let Some(agent) = self.agents.iter_mut().find(|agent| agent.is_owner_of(request)) {
            agent.settled(cx, request, &outcome);
        }
    }

    fn flush(&mut self, cx: &mut Cx<'_>) {
        self.collector.flush(cx);
    }

    fn close(&mut self, cx: &mut Cx<'_>, deadline: MonotonicTime) {
        self.agents.iter_mut().for_each(AgentServer::close);
        self.collector.close(cx, deadline);
    }

    fn is_closed(&self) -> bool {
        self.collector.is_closed() && self.agents.iter().all(AgentServer::is_closed)
    }
}
