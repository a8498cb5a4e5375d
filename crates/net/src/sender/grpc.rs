//! An exporter over gRPC: one message, one unary call.

use std::collections::BTreeMap;
use std::rc::Rc;

use http::uri::PathAndQuery;
use otelcore_http::{Code, Status};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    AttemptId, BuildContext, CallResult, ClientAuth, Cx, Delivery, Encode, Event, Exporter, Labels, Logger,
    MonotonicTime, Outcome, Outcomes, Payload, StartError, Telemetry, UsedMetadata,
};

use super::call_result;
use crate::config::GrpcClientConfig;
use crate::request_metrics::RpcMetrics;
use crate::{BodyParts, GrpcChannel, SharedTls, UnaryRequest};

/// What an exporter over gRPC defines: its messages (see [`Encode`]), its methods, and what responses mean.
///
/// Messages are made by copies of the protocol, on helper threads if they are long; all other methods are called on the
/// thread of the loop, on one value.
pub trait GrpcProtocol: Encode<Message = BodyParts> {
    /// Put in front of the statuses of failed calls in errors.
    const ERROR_PREFIX: &'static str = "";
    /// Whether the counts of what is sent have the peer's address as labels.
    const COUNTS_BY_DESTINATION: bool = false;

    /// The method that accepts items of this signal: `/package.Service/Method`.
    fn method(&self, signal: Signal) -> PathAndQuery;

    /// Whether a call with this status may be made again. By default as OTLP specifies.
    fn is_retryable(&self, status: &Status) -> bool {
        call_result::is_retryable(status)
    }

    /// What the response to a successful call with `items` items means.
    fn read_response(&mut self, signal: Signal, items: u32, response: &[u8], log: &Logger) -> CallResult {
        let _ = (signal, items, response, log);
        CallResult::Delivered { rejected: 0 }
    }
}

/// The exporter of a [`GrpcProtocol`].
#[derive(Debug)]
pub struct GrpcSender<P: GrpcProtocol> {
    protocol: P,
    channel: GrpcChannel,
    delivery: Delivery<P>,
    used_metadata: UsedMetadata,
    log: Logger,
    metrics: RpcMetrics,
    /// When the calls in flight began, by their token, where that is measured.
    started: BTreeMap<u64, MonotonicTime>,
}

/// Makes the exporters of several peers that have the same settings but for their endpoints, at any time.
#[derive(Clone)]
pub struct GrpcSenders<P: GrpcProtocol> {
    protocol: P,
    client: GrpcClientConfig,
    auth: Option<Rc<dyn ClientAuth>>,
    tls: SharedTls,
    exporter: String,
    telemetry: Telemetry,
    log: Logger,
}

impl<P: GrpcProtocol> std::fmt::Debug for GrpcSenders<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GrpcSenders").field("exporter", &self.exporter).finish_non_exhaustive()
    }
}

impl<P: GrpcProtocol> GrpcSenders<P> {
    /// For peers with these settings.
    ///
    /// # Errors
    /// The authenticator that the configuration names can't be used.
    pub fn new(protocol: P, client: &GrpcClientConfig, context: &BuildContext<'_>) -> Result<Self, StartError> {
        let auth = client.authenticator().map(|id| context.capabilities.get::<dyn ClientAuth>(&id)).transpose()?;
        Ok(Self {
            protocol,
            client: client.clone(),
            auth,
            tls: SharedTls::default(),
            exporter: context.id.to_string(),
            telemetry: context.telemetry.clone(),
            log: context.log.clone(),
        })
    }

    /// Loads the certificates for all peers, if connections are encrypted. For the start of a component: it reads files.
    ///
    /// # Errors
    /// What can't be read or used.
    pub fn load_tls(&self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        if self.client.tls.is_plaintext() { Ok(()) } else { self.tls.load(cx, &self.client.tls, &self.log) }
    }

    /// What the authenticator reads of the metadata of payloads.
    #[must_use]
    pub fn used_metadata(&self) -> UsedMetadata {
        self.auth.as_ref().map(|auth| auth.used_metadata()).unwrap_or_default()
    }

    /// An exporter for a peer, which connects when it is started.
    ///
    /// # Errors
    /// The endpoint, or a value that was not checked, is wrong.
    pub fn sender(&self, endpoint: &str) -> Result<GrpcSender<P>, StartError> {
        let client = GrpcClientConfig { endpoint: endpoint.to_owned(), ..self.client.clone() };
        let channel = GrpcChannel::new(Rc::new(client.channel()?), self.auth.clone(), self.log.clone(), 0);
        Ok(GrpcSender {
            used_metadata: self.used_metadata(),
            channel: channel.with_shared_tls(self.tls.clone()),
            delivery: Delivery::new(self.protocol.clone(), &self.exporter, &self.telemetry, self.log.clone()),
            protocol: self.protocol.clone(),
            log: self.log.clone(),
            metrics: RpcMetrics::of_client(&self.telemetry),
            started: BTreeMap::new(),
        })
    }
}

impl<P: GrpcProtocol> GrpcSender<P> {
    /// An exporter that connects when it is started.
    ///
    /// # Errors
    /// The authenticator that the configuration names can't be used, or a value that was not checked is wrong.
    pub fn new(protocol: P, client: &GrpcClientConfig, context: &BuildContext<'_>) -> Result<Self, StartError> {
        GrpcSenders::new(protocol, client, context)?.sender(&client.endpoint)
    }

    fn count_call(&self, cx: &Cx<'_>, started: Option<MonotonicTime>, signal: Signal, code: Code) {
        if started.is_some() {
            self.metrics.end(cx, started, self.protocol.method(signal).path(), code);
        }
    }

    fn result_of_status(&self, status: &Status) -> CallResult {
        call_result::result_of_grpc_status(status, self.protocol.is_retryable(status), P::ERROR_PREFIX)
    }

    /// Starts the calls that are ready and handles the results of ended ones, until there are none of either.
    fn advance(&mut self, cx: &mut Cx<'_>, outcomes: &mut Outcomes) {
        loop {
            if let Some(call) = self.delivery.poll_call(cx.now()) {
                let path = self.protocol.method(call.signal);
                self.started.extend(self.metrics.begin(cx).map(|now| (call.token, now)));
                let request =
                    UnaryRequest { path, message: call.content, deadline: call.deadline, metadata: call.metadata };
                self.channel.start_call(cx, call.token, request);
            } else if let Some((token, result)) = self.channel.poll_result() {
                let started = self.started.remove(&token);
                let Some((signal, items)) = self.delivery.call_info(token) else { continue };
                let code = result.as_ref().map_or_else(|status| status.code, |_| Code::Ok);
                self.count_call(cx, started, signal, code);
                let result = match result {
                    Err(status) => self.result_of_status(&status),
                    Ok(response) => self.protocol.read_response(signal, items, &response, &self.log),
                };
                self.delivery.handle_result(cx, token, result, outcomes);
            } else {
                return;
            }
        }
    }
}

impl<P: GrpcProtocol> Exporter for GrpcSender<P> {
    fn used_metadata(&self) -> UsedMetadata {
        self.used_metadata.clone()
    }

    fn destination_labels(&self, _: Signal) -> Labels {
        if P::COUNTS_BY_DESTINATION { destination_of(self.channel.endpoint()) } else { Labels::new() }
    }

    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.channel.start(cx)
    }

    fn send(
        &mut self,
        cx: &mut Cx<'_>,
        attempt: AttemptId,
        payload: &Payload,
        deadline: MonotonicTime,
        outcomes: &mut Outcomes,
    ) {
        if let Some(status) = self.channel.unavailable_status()
            && let CallResult::Retry { after, why } = self.result_of_status(&status)
        {
            self.count_call(cx, self.metrics.begin(cx), payload.signal, status.code);
            // Nothing is encoded for a peer that can't be reached.
            return outcomes.push(attempt, Outcome::Retry { after, why });
        }
        self.delivery.send(cx, attempt, payload, deadline, outcomes);
        self.advance(cx, outcomes);
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, outcomes: &mut Outcomes) {
        if !self.delivery.handle_event(cx, local, outcomes) {
            self.channel.handle_event(cx, local, &event);
        }
        self.advance(cx, outcomes);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.channel.close(cx);
    }
}

/// `host:port` as labels. Anything else, such as `dns:///host:port`, is an address without a port, as in the Go collector.
fn destination_of(endpoint: &str) -> Labels {
    let parts = endpoint.rsplit_once(':').and_then(|(host, port)| {
        let host = match host.strip_prefix('[') {
            Some(host) => host.strip_suffix(']')?,
            None if host.contains(':') => return None,
            None => host,
        };
        Some((host, port))
    });
    let Some((host, port)) = parts else { return vec![("server_address", endpoint.to_owned())] };
    let mut labels = vec![("server_address", host.to_owned())];
    if port.parse::<u16>().is_ok() {
        labels.push(("server_port", port.to_owned()));
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destination_is_host_and_port_or_the_whole_endpoint() {
        for (endpoint, address, port) in [
            ("gateway:4317", "gateway", Some("4317")),
            ("[::1]:4317", "::1", Some("4317")),
            ("dns:///gateway:4317", "dns:///gateway:4317", None),
            ("gateway", "gateway", None),
            ("gateway:otlp", "gateway", None),
        ] {
            let mut expected = vec![("server_address", address.to_owned())];
            expected.extend(port.map(|port| ("server_port", port.to_owned())));
            assert_eq!(destination_of(endpoint), expected, "{endpoint}");
        }
    }
}
