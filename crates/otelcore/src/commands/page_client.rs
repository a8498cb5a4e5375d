//! Requests of commands to the live page of a running collector.
//!
//! It is a collector whose only part is an HTTP client, so that TLS, proxies and messages are those of every exporter. Owns the
//! address and the exchange; what is read is given to the command as it arrives.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use otelcore_config::{Diagnostics, EffectiveValue, FeatureGates, config_struct, print};
use otelcore_http::Bytes;
use otelcore_net::config::HttpClientConfig;
use otelcore_net::{BodyRead, HttpClient, HttpRequest, HttpTimeouts, Method, ResponseMode, Url};
use otelcore_pipeline::{
    BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, Cx, Event, Extension, MonotonicTime,
    NoopLogSink, StartError, World as _,
};
use otelcore_reactor::{RealWorld, Signals};

use super::args::GivenFlags;
use super::{SystemSources, Terminal};
use crate::plan::Plan;
use crate::registry::Registry;
use crate::service::{BuildInfo, Collector};

/// Where the page of a collector with the default configuration is.
const DEFAULT_URL: &str = "http://localhost:55679";

/// How long the command waits for an event, at most.
const TURN: Duration = Duration::from_millis(200);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest text of a response that is not a success.
const MAX_ERROR_TEXT: usize = 16 << 10;
const TOKEN: u64 = 0;

/// The page of a running collector.
#[derive(Clone, Debug)]
pub(super) struct PageTarget {
    base: String,
    headers: Vec<(String, String)>,
    tls: Vec<(&'static str, EffectiveValue)>,
}

/// What the command wants after it has looked at what has arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wanted {
    More,
    /// Ends the request.
    Enough,
}

/// How a request has ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Ended {
    /// The response is complete.
    Complete,
    /// The command had enough.
    Enough,
    /// A signal came.
    Interrupted,
}

/// Why a request has failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum RequestFailure {
    /// There was no response, or it ended early: a later request may succeed.
    NoResponse(String),
    /// The response is an error.
    Refused(String),
}

impl std::fmt::Display for RequestFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::NoResponse(text) | Self::Refused(text)) = self;
        f.write_str(text)
    }
}

impl PageTarget {
    /// The target that a command line names.
    pub(super) fn read(url: Option<&str>, flags: &GivenFlags) -> Result<Self, String> {
        let url = url.unwrap_or(DEFAULT_URL);
        let base = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let base = base.trim_end_matches('/').to_owned();
        Url::parse(&base).map_err(|e| format!("{url:?} is not a URL: {e}: write {DEFAULT_URL}"))?;
        let mut headers = Vec::new();
        for field in flags.values("header") {
            let pair = field.split_once('=').ok_or_else(|| format!("--header {field:?}: write NAME=VALUE"))?;
            headers.push((pair.0.to_owned(), pair.1.to_owned()));
        }
        let mut tls = Vec::new();
        tls.extend(flags.value("ca-file").map(|file| ("ca_file", EffectiveValue::Str(file.replace('$', "$$")))));
        if flags.is_on("insecure-skip-verify", false) {
            tls.push(("insecure_skip_verify", EffectiveValue::Bool(true)));
        }
        Ok(Self { base, headers, tls })
    }

    /// The URL without a path.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Requests a path. `handle` is called with each part of a successful response as it arrives, and with an empty one at least five
    /// times a second.
    pub(super) fn get(
        &self,
        path: &str,
        idle_timeout: Option<Duration>,
        signals: &Rc<Signals>,
        terminal: &mut Terminal<'_>,
        handle: &mut dyn FnMut(&[u8], &mut Terminal<'_>) -> Wanted,
    ) -> Result<Ended, RequestFailure> {
        let refused = |e: String| RequestFailure::Refused(e);
        let url = Url::parse(&format!("{}{path}", self.base)).map_err(|e| refused(e.to_string()))?;
        let exchange = SharedExchange::default();
        let mut registry = Registry::default();
        registry.add(PageClientFactory { url: Arc::new(url), idle_timeout, exchange: exchange.clone() });
        let plan = self.plan(&registry, terminal).map_err(refused)?;
        let collector = Collector::with_log(plan, BuildInfo::default(), Arc::new(NoopLogSink));
        let mut world = RealWorld::new().map_err(|e| refused(e.to_string()))?;
        world.set_signals(signals).map_err(|e| refused(e.to_string()))?;
        let mut event_loop = collector.start(world).map_err(|e| refused(e.to_string()))?;
        let (mut received, mut error_text) = (Vec::new(), Vec::new());
        let ended = loop {
            let deadline = event_loop.now() + TURN;
            event_loop.turn(deadline, &mut received).map_err(|e| refused(e.to_string()))?;
            if !received.is_empty() {
                break Ok(Ended::Interrupted);
            }
            let (status, data, ended) = exchange.get().take();
            let is_success = status.is_none_or(|status| status == 200);
            let mut wanted = Wanted::More;
            for part in &data {
                if !is_success {
                    let room = MAX_ERROR_TEXT.saturating_sub(error_text.len());
                    error_text.extend_from_slice(part.get(..room).unwrap_or(part));
                } else if wanted == Wanted::More {
                    wanted = handle(part, terminal);
                }
            }
            if data.is_empty() {
                wanted = handle(&[], terminal);
            }
            match ended {
                _ if wanted == Wanted::Enough => break Ok(Ended::Enough),
                Some(Ok(())) if is_success => break Ok(Ended::Complete),
                Some(Ok(())) => {
                    let text = String::from_utf8_lossy(&error_text).trim().to_owned();
                    let status = status.unwrap_or(0);
                    let text = format!("{}{path} answered with {status}: {text}", self.base);
                    break Err(RequestFailure::Refused(text));
                }
                Some(Err(e)) => break Err(RequestFailure::NoResponse(e)),
                None => {}
            }
        };
        event_loop.close(Duration::ZERO);
        let deadline = event_loop.now() + TURN;
        let _ = event_loop.turn(deadline, &mut received);
        ended
    }

    /// A configuration with the client, and a pipeline that does nothing.
    fn plan(&self, registry: &Registry, terminal: &Terminal<'_>) -> Result<Plan, String> {
        let map = |entries: Vec<(String, EffectiveValue)>| EffectiveValue::Map(entries.into_iter().collect());
        let text = |text: &str| EffectiveValue::Str(text.replace('$', "$$"));
        let headers = self.headers.iter().map(|(name, value)| (name.clone(), text(value))).collect();
        let tls = self.tls.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let client = map(vec![("headers".to_owned(), map(headers)), ("tls".to_owned(), map(tls))]);
        let yaml = format!(
            "extensions: {{page_client: {}}}\nreceivers: {{nop: }}\nexporters: {{nop: }}\nservice:\n  extensions: [page_client]\n  \
             telemetry: {{logs: {{level: error}}, metrics: {{level: none}}}}\n  \
             pipelines: {{traces: {{receivers: [nop], exporters: [nop]}}}}\n",
            print::to_json(&client, false).trim()
        );
        let (d, gates) = (Diagnostics::new(), FeatureGates::parse::<&str>(&[]).0);
        let sources = SystemSources::new(terminal.env);
        let root = otelcore_config::load(&[format!("yaml:{yaml}")], &[], &sources, &gates, &d);
        let plan = root.and_then(|root| Plan::parse(&root, registry, &gates, &d));
        plan.ok_or_else(|| d.render_to_string(false))
    }
}

/// Waits before another attempt. True if a signal came.
pub(super) fn pause(signals: &Rc<Signals>, time: Duration) -> Result<bool, String> {
    let mut world = RealWorld::new().map_err(|e| e.to_string())?;
    world.set_signals(signals).map_err(|e| e.to_string())?;
    let deadline = world.now() + time;
    world.wait_for_signals(deadline).map(|signals| !signals.is_empty()).map_err(|e| e.to_string())
}

/// A request and what has arrived of its response.
#[derive(Debug, Default)]
struct Exchange {
    status: Option<u16>,
    data: VecDeque<Bytes>,
    ended: Option<Result<(), String>>,
}

impl Exchange {
    /// The status, and what has arrived since the last call.
    fn take(&mut self) -> (Option<u16>, VecDeque<Bytes>, Option<Result<(), String>>) {
        (self.status, std::mem::take(&mut self.data), self.ended.clone())
    }
}

#[derive(Clone, Debug, Default)]
struct SharedExchange(Arc<Mutex<Exchange>>);

impl SharedExchange {
    fn get(&self) -> MutexGuard<'_, Exchange> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

config_struct! {
    /// Requests a page.
    pub struct PageClientConfig {
        /// The client.
        #[config(flatten)]
        pub client: HttpClientConfig,
    }
}

#[derive(Clone, Debug)]
struct PageClientFactory {
    url: Arc<Url>,
    idle_timeout: Option<Duration>,
    exchange: SharedExchange,
}

impl ComponentType for PageClientFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Extension,
        type_name: "page_client",
        aliases: &[],
        signals: &[],
        stability: "Development",
    };
    type Config = PageClientConfig;

    fn create(&self, config: &PageClientConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let client = HttpClient::new(config.client.clone().into(), None, context.log.clone(), 0);
        Ok(Component::Extension(Box::new(PageClient { factory: self.clone(), client })))
    }
}

struct PageClient {
    factory: PageClientFactory,
    client: HttpClient,
}

impl PageClient {
    fn read(&mut self, cx: &mut Cx<'_>) {
        let mut exchange = self.factory.exchange.get();
        while let Some((_, result)) = self.client.poll_result() {
            match result {
                Ok(response) => exchange.status = Some(response.status),
                Err(e) => exchange.ended = Some(Err(e.to_string())),
            }
        }
        while let Some(token) = self.client.poll_readable() {
            loop {
                match self.client.read_body(cx, token) {
                    BodyRead::Data(data) => exchange.data.push_back(data),
                    BodyRead::Pending => break,
                    BodyRead::End => {
                        exchange.ended = Some(Ok(()));
                        break;
                    }
                    BodyRead::Failed(e) => {
                        exchange.ended = Some(Err(e.to_string()));
                        break;
                    }
                }
            }
        }
    }
}

impl Extension for PageClient {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.client.start(cx, &[&self.factory.url])?;
        let mut request = HttpRequest::new(Method::GET, self.factory.url.clone());
        request.timeouts =
            HttpTimeouts { connect: Some(CONNECT_TIMEOUT), head: Some(HEAD_TIMEOUT), idle: self.factory.idle_timeout };
        request.response = ResponseMode::Streamed;
        self.client.start_request(cx, TOKEN, request);
        self.read(cx);
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>) {
        self.client.handle_event(cx, local, &event);
        self.read(cx);
    }

    fn close(&mut self, cx: &mut Cx<'_>, _: MonotonicTime) {
        self.client.close(cx);
    }
}
