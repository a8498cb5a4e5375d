//! One discovery of the server's resources: its requests and their responses, until everything is known.

use otelcore_kubernetes_client::{ApiClient, ApiServer, Discovery, KubernetesApiConfig};
use otelcore_pipeline::{Cx, Event, Logger};

/// The discovery. It uses the receiver's local keys from `base` on.
pub(crate) struct DiscoveryRun {
    client: ApiClient,
    discovery: Discovery,
}

impl DiscoveryRun {
    pub(crate) fn begin(cx: &mut Cx<'_>, server: ApiServer, api: &KubernetesApiConfig, log: Logger, base: u64) -> Self {
        let mut run = Self { client: ApiClient::new(server, api, cx, log, base), discovery: Discovery::default() };
        if let Some(request) = run.discovery.poll_request() {
            run.client.request(cx, request);
        }
        run
    }

    /// An event under one of its keys. Returns what was found, or why nothing can be; then it has ended.
    pub(crate) fn handle_event(
        &mut self,
        cx: &mut Cx<'_>,
        local: u64,
        event: &Event<'_>,
    ) -> Option<Result<Discovery, String>> {
        self.client.handle_event(cx, local, event);
        while let Some((_, response)) = self.client.poll_response() {
            if let Err(error) = self.discovery.handle_response(response) {
                return Some(Err(error));
            }
            match self.discovery.poll_request() {
                Some(request) => drop(self.client.request(cx, request)),
                None => {
                    self.client.close(cx);
                    return Some(Ok(std::mem::take(&mut self.discovery)));
                }
            }
        }
        None
    }

    pub(crate) fn close(&mut self, cx: &mut Cx<'_>) {
        self.client.close(cx);
    }
}
