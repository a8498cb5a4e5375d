//! One backend: the exporter that sends to it, the pieces that it has, and those that wait for it.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore_net::GrpcSender;
use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::{
    AttemptId, AttemptOutcome, Cx, Event, Exporter, Held, Metadata, MonotonicTime, Outcome, Outcomes, Payload,
    StartError, TimerId,
};

use super::metrics::BackendMetrics;
use crate::grpc::OtlpGrpc;

/// The port of a backend without one.
const DEFAULT_PORT: &str = "4317";

/// What is sent to a backend of a payload.
pub(super) struct Piece {
    /// The attempt that it belongs to.
    pub(super) attempt: AttemptId,
    pub(super) signal: Signal,
    pub(super) body: Rope,
    pub(super) metadata: Option<Arc<Metadata>>,
    /// How long a request may take.
    pub(super) timeout: Option<Duration>,
    /// The charge of what was copied for it.
    pub(super) held: Held,
}

/// A piece whose request has ended.
pub(super) struct EndedPiece {
    pub(super) piece: Piece,
    pub(super) outcome: AttemptOutcome,
}

/// See the module.
pub(super) struct Backend {
    number: u32,
    /// `host:port`.
    pub(super) target: String,
    sender: GrpcSender<OtlpGrpc>,
    in_flight: BTreeMap<u64, (Piece, MonotonicTime)>,
    waiting: VecDeque<Piece>,
    waiting_bytes: usize,
    next_piece: u64,
    max_in_flight: usize,
    /// It is not on the ring any more; it is closed at the latest when this timer ends.
    pub(super) retirement: Option<TimerId>,
    metrics: Rc<BackendMetrics>,
}

impl Backend {
    /// A backend whose exporter is started; `number` is that of its part of the component.
    ///
    /// # Errors
    /// The reason why it can't be.
    pub(super) fn start(
        cx: &mut Cx<'_>,
        number: u32,
        target: &str,
        mut sender: GrpcSender<OtlpGrpc>,
        max_in_flight: usize,
        metrics: Rc<BackendMetrics>,
    ) -> Result<Self, StartError> {
        sender.start(&mut cx.for_part(number))?;
        Ok(Self {
            number,
            target: target.to_owned(),
            sender,
            in_flight: BTreeMap::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            next_piece: 0,
            max_in_flight,
            retirement: None,
            metrics,
        })
    }

    /// Whether it has nothing to send and nothing in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.waiting.is_empty()
    }

    /// Bytes of the pieces that wait.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    pub(super) fn push(&mut self, piece: Piece) {
        self.waiting_bytes += piece.body.len();
        self.waiting.push_back(piece);
    }

    /// The pieces that wait, to be routed again.
    pub(super) fn take_waiting(&mut self) -> VecDeque<Piece> {
        self.waiting_bytes = 0;
        std::mem::take(&mut self.waiting)
    }

    /// Begins requests while there are pieces and fewer than the limit are in flight, at most `max` of them.
    pub(super) fn send_waiting(&mut self, cx: &mut Cx<'_>, max: &mut usize, ended: &mut Vec<EndedPiece>) {
        while *max > 0
            && self.in_flight.len() < self.max_in_flight
            && let Some(piece) = self.waiting.pop_front()
        {
            *max -= 1;
            self.waiting_bytes -= piece.body.len();
            let number = self.next_piece;
            self.next_piece += 1;
            let now = cx.now();
            let deadline = piece.timeout.map_or(MonotonicTime::NEVER, |timeout| now + timeout);
            let payload = Payload {
                signal: piece.signal,
                body: piece.body.clone(),
                metadata: piece.metadata.clone(),
                held: piece.held.clone(),
            };
            let attempt = AttemptId { signal: piece.signal as u8, number };
            self.in_flight.insert(number, (piece, now));
            let mut outcomes = Outcomes::default();
            self.sender.send(&mut cx.for_part(self.number), attempt, &payload, deadline, &mut outcomes);
            self.end_pieces(now, &mut outcomes, ended);
        }
    }

    /// Whether pieces wait although requests could be begun.
    pub(super) fn can_send(&self) -> bool {
        !self.waiting.is_empty() && self.in_flight.len() < self.max_in_flight
    }

    pub(super) fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, ended: &mut Vec<EndedPiece>) {
        let mut outcomes = Outcomes::default();
        self.sender.handle_event(&mut cx.for_part(self.number), local, event, &mut outcomes);
        self.end_pieces(cx.now(), &mut outcomes, ended);
    }

    fn end_pieces(&mut self, now: MonotonicTime, outcomes: &mut Outcomes, ended: &mut Vec<EndedPiece>) {
        for (attempt, outcome) in outcomes.drain() {
            let Some((piece, began)) = self.in_flight.remove(&attempt.number) else { continue };
            let success = match &outcome {
                AttemptOutcome::Whole(outcome) => matches!(outcome, Outcome::Delivered),
                AttemptOutcome::Pieces(partial) => partial.refused.is_none() && partial.retry.is_none(),
            };
            self.metrics.record(now.since(began), success);
            ended.push(EndedPiece { piece, outcome });
        }
    }

    /// Closes its connections. Returns the pieces that it had, in flight and waiting.
    pub(super) fn close(mut self, cx: &mut Cx<'_>) -> Vec<Piece> {
        self.sender.close(&mut cx.for_part(self.number));
        if let Some(id) = self.retirement.take() {
            cx.cancel_timer(id);
        }
        self.in_flight.into_values().map(|(piece, _)| piece).chain(self.waiting).collect()
    }
}

/// The address to connect to for an endpoint, with the port 4317 if it has none.
pub(super) fn target_of(endpoint: &str) -> String {
    if endpoint.parse::<std::net::Ipv6Addr>().is_ok() {
        format!("[{endpoint}]:{DEFAULT_PORT}")
    } else if !endpoint.contains(':') || endpoint.ends_with(']') {
        format!("{endpoint}:{DEFAULT_PORT}")
    } else {
        endpoint.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoint_without_a_port_has_the_port_of_otlp() {
        for (endpoint, expected) in [
            ("backend", "backend:4317"),
            ("backend:55690", "backend:55690"),
            ("10.0.0.1", "10.0.0.1:4317"),
            ("[fd00::1]", "[fd00::1]:4317"),
            ("[fd00::1]:1", "[fd00::1]:1"),
            ("fd00::1", "[fd00::1]:4317"),
            ("https://backend:443", "https://backend:443"),
        ] {
            assert_eq!(target_of(endpoint), expected);
        }
    }
}
