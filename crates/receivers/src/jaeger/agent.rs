//! The agent's API: Thrift in datagrams. A sender gets no response, so every datagram that is not accepted is counted,
//! and logged with its reason.
//!
//! Owns the socket. Sends payloads, and never waits for them: datagrams above the limit of those in the pipelines are
//! dropped.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use otelcore_pdata::Signal;
use otelcore_pipeline::{
    BuildContext, Counter, Cx, DatagramDrops, DatagramSocket, Endpoint, LogField, Logger, MAX_DATAGRAM_BYTES,
    MetricsLevel, Outcome, Payload, PeriodicCount, PipelineInput, ReceiverMetrics, StartError,
};
use otelcore_thrift::{Protocol, Reader};

use super::config::ThriftUdpConfig;
use super::thrift::{AgentMethod, read_arguments, read_method};
use crate::decode_error::DecodeError;
use crate::span_groups::SpanGroups;

/// The most datagrams and bytes that are read in one turn of the loop.
const MAX_DATAGRAMS_PER_TURN: usize = 128;
const MAX_BYTES_PER_TURN: usize = 256 << 10;

/// How often each reason for dropping datagrams is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// The pause after an error of the socket.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Why datagrams are dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum DropReason {
    NotThrift,
    Zipkin,
    TooLong,
    SocketBufferFull,
    QueueFull,
    NoMemory,
    Refused,
    SocketError,
}

impl DropReason {
    const ALL: [Self; 8] = [
        Self::NotThrift,
        Self::Zipkin,
        Self::TooLong,
        Self::SocketBufferFull,
        Self::QueueFull,
        Self::NoMemory,
        Self::Refused,
        Self::SocketError,
    ];

    /// The label of the metric.
    fn label(self) -> &'static str {
        match self {
            Self::NotThrift => "invalid",
            Self::Zipkin => "zipkin",
            Self::TooLong => "too_long",
            Self::SocketBufferFull => "socket_buffer_full",
            Self::QueueFull => "queue_full",
            Self::NoMemory => "no_memory",
            Self::Refused => "refused",
            Self::SocketError => "socket_error",
        }
    }

    /// What the log says.
    fn text(self) -> &'static str {
        match self {
            Self::NotThrift => {
                "the sender's bytes are no batch of the agent's protocol; each protocol has a port of its own"
            }
            Self::Zipkin => "emitZipkinBatch is not supported: send such spans to the receiver `zipkin`",
            Self::TooLong => "the datagrams are longer than `max_packet_size`",
            Self::SocketBufferFull => "they were not read in time: raise `socket_buffer_size`",
            Self::QueueFull => "as many as `queue_size` and `workers` allow are waiting for the pipeline",
            Self::NoMemory => "there is no memory for them within the limits of the collector",
            Self::Refused => "the pipeline has refused them",
            Self::SocketError => "the socket can't be read; it is tried again",
        }
    }
}

/// The counts of dropped datagrams.
struct Drops {
    transport: &'static str,
    /// By reason.
    counters: [Counter; DropReason::ALL.len()],
    logged: [PeriodicCount; DropReason::ALL.len()],
    log: Logger,
}

impl Drops {
    fn new(transport: &'static str, context: &BuildContext<'_>) -> Self {
        let counter = |reason: DropReason| {
            let labels = vec![
                ("receiver", context.id.to_string()),
                ("transport", transport.to_owned()),
                ("reason", reason.label().to_owned()),
            ];
            let help = "Number of datagrams that were not accepted.";
            context.telemetry.counter(MetricsLevel::Basic, "otelcol_receiver_jaeger_dropped_datagrams", help, labels)
        };
        Self {
            transport,
            counters: DropReason::ALL.map(counter),
            logged: DropReason::ALL.map(|_| PeriodicCount::new(LOG_INTERVAL)),
            log: context.log.clone(),
        }
    }

    /// Counts datagrams, and logs them if it is time. `cause` and `sender` are those of the last one.
    fn add(&mut self, cx: &Cx<'_>, reason: DropReason, count: u64, cause: &str, sender: Option<SocketAddr>) {
        if count == 0 {
            return;
        }
        if let Some(counter) = self.counters.get(reason as usize) {
            counter.add(count);
        }
        let Some(unlogged) = self.logged.get_mut(reason as usize).and_then(|logged| logged.add(cx.now(), count)) else {
            return;
        };
        let sender = sender.map(|sender| sender.to_string()).unwrap_or_default();
        let mut fields = vec![
            ("transport", LogField::Str(self.transport)),
            ("reason", LogField::Str(reason.text())),
            ("count", LogField::Uint(unlogged)),
        ];
        for (name, value) in [("error", cause), ("sender", &sender)] {
            if !value.is_empty() {
                fields.push((name, LogField::Str(value)));
            }
        }
        self.log.warn("datagrams for the Jaeger agent were dropped", &fields);
    }
}

/// A server of the agent's API.
pub(super) struct AgentServer {
    protocol: Protocol,
    /// The local key of its socket and of its timer; the numbers of its payloads have these bits above their lower 32.
    key: u64,
    host: String,
    port: u16,
    receive_buffer: Option<usize>,
    buffer_size: usize,
    /// The most payloads in the pipelines.
    max_in_flight: u64,
    in_flight: u64,
    socket: Option<Box<dyn DatagramSocket>>,
    buffer: Vec<u8>,
    /// What the socket had dropped when it was asked last.
    seen_drops: DatagramDrops,
    is_retry_set: bool,
    metrics: ReceiverMetrics,
    drops: Drops,
    log: Logger,
}

impl AgentServer {
    /// A server that is not open yet.
    pub(super) fn new(
        protocol: Protocol,
        config: &ThriftUdpConfig,
        key: u64,
        context: &BuildContext<'_>,
    ) -> Result<Self, StartError> {
        let Endpoint::Tcp { host, port } = config.address()? else {
            return Err(StartError::Config(format!("endpoint {:?} is no address", config.endpoint)));
        };
        let transport = match protocol {
            Protocol::Binary => "udp_thrift_binary",
            Protocol::Compact => "udp_thrift_compact",
        };
        let natural = |number: i64| u64::try_from(number).unwrap_or(0);
        Ok(Self {
            protocol,
            key,
            host,
            port,
            receive_buffer: usize::try_from(config.socket_buffer_size).ok().filter(|bytes| *bytes > 0),
            // No datagram is longer.
            buffer_size: usize::try_from(config.max_packet_size).unwrap_or(0).min(MAX_DATAGRAM_BYTES),
            max_in_flight: natural(config.queue_size).saturating_add(natural(config.workers)),
            in_flight: 0,
            socket: None,
            buffer: Vec::new(),
            seen_drops: DatagramDrops::default(),
            is_retry_set: false,
            metrics: ReceiverMetrics::new(context.telemetry, &context.id.to_string(), transport, context.signals),
            drops: Drops::new(transport, context),
            log: context.log.clone(),
        })
    }

    pub(super) fn key(&self) -> u64 {
        self.key
    }

    pub(super) fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let mut socket = cx.bind_udp(self.key, &self.host, self.port)?;
        if let Some(bytes) = self.receive_buffer {
            socket.set_receive_buffer(bytes)?;
        }
        let message = match self.protocol {
            Protocol::Binary => "Starting UDP server for Binary Thrift",
            Protocol::Compact => "Starting UDP server for Compact Thrift",
        };
        let local_addr = socket.local_addr();
        self.log.info(message, &[("endpoint", LogField::Str(&local_addr))]);
        cx.report_address(self.key, local_addr);
        self.buffer = vec![0; self.buffer_size];
        self.socket = Some(socket);
        Ok(())
    }

    /// Reads datagrams, as many as a turn may; the rest in the next turn.
    pub(super) fn handle_event(&mut self, cx: &mut Cx<'_>, is_timer: bool, input: &mut PipelineInput<'_>) {
        self.is_retry_set &= !is_timer;
        let Some(mut socket) = self.socket.take() else { return };
        let mut buffer = std::mem::take(&mut self.buffer);
        let (mut datagrams, mut bytes) = (0, 0);
        loop {
            if datagrams >= MAX_DATAGRAMS_PER_TURN || bytes >= MAX_BYTES_PER_TURN {
                cx.request_ready(self.key);
                break;
            }
            match socket.recv_from(&mut buffer) {
                Ok((length, sender)) => {
                    datagrams += 1;
                    bytes += length;
                    self.receive(cx, input, buffer.get(..length).unwrap_or_default(), sender);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => {
                    self.drops.add(cx, DropReason::SocketError, 1, &e.to_string(), None);
                    if !self.is_retry_set {
                        cx.set_timer(self.key, cx.now() + RETRY_PAUSE);
                        self.is_retry_set = true;
                    }
                    break;
                }
            }
        }
        let drops = socket.drops();
        let seen = std::mem::replace(&mut self.seen_drops, drops);
        self.drops.add(cx, DropReason::TooLong, drops.too_long.saturating_sub(seen.too_long), "", None);
        let buffer_full = drops.buffer_full.saturating_sub(seen.buffer_full);
        self.drops.add(cx, DropReason::SocketBufferFull, buffer_full, "", None);
        self.buffer = buffer;
        self.socket = Some(socket);
    }

    fn receive(&mut self, cx: &mut Cx<'_>, input: &mut PipelineInput<'_>, datagram: &[u8], sender: SocketAddr) {
        if self.in_flight >= self.max_in_flight {
            return self.drops.add(cx, DropReason::QueueFull, 1, "", Some(sender));
        }
        let mut held = input.budget().hold(0);
        let mut groups = SpanGroups::new(&mut held);
        let mut reader = Reader::new(self.protocol, datagram);
        let result = match read_method(&mut reader) {
            Ok(AgentMethod::EmitZipkinBatch) => {
                return self.drops.add(cx, DropReason::Zipkin, 1, "", Some(sender));
            }
            Ok(AgentMethod::EmitBatch) => read_arguments(&mut reader, &mut groups),
            Err(e) => Err(e),
        };
        match result {
            Ok(()) => {}
            Err(DecodeError::Invalid(why)) => {
                return self.drops.add(cx, DropReason::NotThrift, 1, &why, Some(sender));
            }
            Err(DecodeError::NoRoom(no_room)) => {
                return self.drops.add(cx, DropReason::NoMemory, 1, &no_room.to_string(), Some(sender));
            }
        }
        let body = groups.finish();
        let items = body.items();
        if items > 0 {
            self.in_flight += 1;
            // What was needed to make it is free again.
            let held = input.budget().hold(body.len() as u64);
            let payload = Payload { signal: Signal::Traces, body, metadata: None, held };
            input.send(cx, self.key | u64::from(items), payload);
        }
    }

    /// The outcome of a payload that was sent under `request`, if it is of this server. Its number has its count of spans.
    pub(super) fn settled(&mut self, cx: &Cx<'_>, request: u64, outcome: &Outcome) {
        self.in_flight = self.in_flight.saturating_sub(1);
        // The lower 32 bits.
        self.metrics.record_outcome(Signal::Traces, request as u32, outcome);
        let cause = match outcome {
            Outcome::Delivered => return,
            Outcome::Retry { why, .. } | Outcome::Permanent(why) => why.message.as_ref(),
            Outcome::Lost(_) => "",
        };
        self.drops.add(cx, DropReason::Refused, 1, cause, None);
    }

    pub(super) fn is_owner_of(&self, request: u64) -> bool {
        request & !u64::from(u32::MAX) == self.key
    }

    /// Accepts nothing more.
    pub(super) fn close(&mut self) {
        self.socket = None;
        self.buffer = Vec::new();
    }

    /// Whether every payload has its outcome.
    pub(super) fn is_closed(&self) -> bool {
        self.socket.is_none() && self.in_flight == 0
    }
}
