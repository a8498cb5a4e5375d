//! The `zpages` extension: pages about the running collector.
//!
//! Owns the server, the choice of a page, and what several requests share: the graph of the configuration that runs, and the
//! state of the last moment. It reads what exists anyway (descriptions, statuses, own metrics), when a page is requested or
//! watched; only the last records of the own log are kept before. Edges are counted while a client watches, and samples of telemetry
//! are made while one asks for them. It never changes the collector.

mod connections;
mod debug_pages;
mod graph;
mod grouping;
mod host_check;
mod html;
mod json;
mod json_writer;
mod layout;
mod live_page;
mod picture;
mod sample_job;
mod sample_text;
mod samples;
mod state;
mod text;
mod watchers;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore_config::{config_struct, print};
use otelcore_http::Bytes;
use otelcore_http::h1::RequestHead;
use otelcore_net::config::{HttpServerConfig, ListenConfig};
use otelcore_net::{ListenError, Page, PageHandler, PageResponse, PageServer, PageStep, not_found};
use otelcore_pipeline::{
    BuildContext, CollectorDescription, CollectorView, Component, ComponentInfo, ComponentKind, ComponentType, Cx,
    EdgePlace, Event, Extension, ListenAddress, MonotonicTime, ReadFile, ServedProtocol, StartError,
};

use self::connections::Connections;
use self::graph::ComponentGraph;
use self::grouping::{Drawing, View};
use self::host_check::HostCheck;
use self::live_page::LivePage;
use self::samples::{SampleRequest, SampleStream, Samples};
use self::state::Snapshot;
use self::watchers::{EventStream, MAX_WATCHERS, Watchers};

const DEFAULT_ENDPOINT: &str = "localhost:55679";

/// The server's keys begin here.
const SERVER_KEY: u64 = 1;

/// The local key of the timer that runs while there are watchers.
const TICK_KEY: u64 = 0;

/// The time between two events.
const TICK: Duration = Duration::from_secs(1);

/// Requests within this time get the same state.
const MAX_STATE_AGE: Duration = Duration::from_millis(250);

/// How long a watcher's response lasts where the server has no limit for one.
const MAX_STREAM_TIME: Duration = Duration::from_mins(5);

config_struct! {
    /// Serves pages about the running collector: its pipelines, extensions, feature gates and versions.
    pub struct ZPagesConfig {
        /// Its server.
        #[config(flatten)]
        pub server: HttpServerConfig = default_server(),
        /// Counts of the process, as JSON.
        pub expvar: ExpvarConfig,
    }
}

config_struct! {
    /// `expvar`.
    pub struct ExpvarConfig {
        /// Whether `/debug/expvarz` is served.
        pub enabled: bool,
    }
}

fn default_server() -> HttpServerConfig {
    let blank_endpoint = (
        "\"endpoint\" is required when using the \"zpages\" extension",
        "write `endpoint: localhost:55679`, or leave `endpoint` out",
    );
    let listen = ListenConfig { blank_endpoint: Some(blank_endpoint), ..ListenConfig::at(DEFAULT_ENDPOINT) };
    HttpServerConfig { listen, ..HttpServerConfig::for_page_server(DEFAULT_ENDPOINT) }
}

/// The `zpages` extension.
#[derive(Clone, Copy, Debug)]
pub struct ZPagesFactory;

impl ComponentType for ZPagesFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Extension,
        type_name: "zpages",
        aliases: &[],
        signals: &[],
        stability: "Beta",
    };
    type Config = ZPagesConfig;

    fn create(&self, config: &ZPagesConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let auth = config.server.authenticator(context.capabilities)?;
        let server = PageServer::new(&config.server, auth, context.log.clone(), context.telemetry)
            .with_request_metrics(&config.server, context.telemetry);
        let view = context.capabilities.of_service::<CollectorView>();
        let view = view.ok_or_else(|| StartError::Config("zpages runs only in a service".to_owned()))?;
        view.recent_log().keep();
        let host_check = HostCheck::new(config.server.listen.address().ok().as_ref());
        let write_timeout = Some(config.server.write_timeout).filter(|timeout| !timeout.is_zero());
        let pages = Pages {
            view: (*view).clone(),
            shows_details: host_check.is_local() || config.server.auth.get().is_some(),
            host_check,
            has_expvar: config.expvar.enabled,
            stream_time: write_timeout.map_or(MAX_STREAM_TIME, |timeout| (timeout * 2 / 3).min(MAX_STREAM_TIME)),
            graph: None,
            state: None,
            watchers: Watchers::new(),
            samples: Samples::default(),
            is_ticking: false,
        };
        Ok(Component::Extension(Box::new(ZPagesExtension { config: config.clone(), server, pages })))
    }

    fn check_files(&self, config: &ZPagesConfig, read: ReadFile<'_>) -> Result<(), StartError> {
        config.server.check_files(read)
    }

    fn listen_addresses(&self, config: &ZPagesConfig) -> Vec<ListenAddress> {
        let address = |endpoint| ListenAddress {
            endpoint,
            config_key: "endpoint",
            protocol: ServedProtocol::Other,
            path: String::new(),
        };
        config.server.listen.address().ok().map(address).into_iter().collect()
    }
}

struct ZPagesExtension {
    config: ZPagesConfig,
    server: PageServer<StreamedBody>,
    pages: Pages,
}

impl Extension for ZPagesExtension {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let failed = |e: ListenError| {
            let address = &self.config.server.listen.endpoint;
            StartError::from(e).in_context(format_args!("failed to bind to address {address}"))
        };
        self.server.open(cx, SERVER_KEY).map(|_| ()).map_err(failed)
    }

    fn set_ready(&mut self, cx: &mut Cx<'_>, ready: bool) {
        if !ready {
            self.pages.watchers.close();
            self.pages.samples.close();
            self.server.resume(cx, &mut self.pages);
        }
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>) {
        if local == TICK_KEY {
            self.pages.tick(cx);
            self.server.resume(cx, &mut self.pages);
        } else if Samples::owns_key(local) {
            self.pages.samples.handle_event(cx, local);
            self.server.resume(cx, &mut self.pages);
        } else {
            self.server.handle_event_with(cx, local, &event, &mut self.pages);
        }
    }
}

/// What does not change until the next reload.
struct KnownGraph {
    generation: u64,
    description: Arc<CollectorDescription>,
    graph: ComponentGraph,
    /// Where each edge is in the running graph.
    edge_places: Vec<Option<EdgePlace>>,
}

/// The state of a moment.
struct KnownState {
    read_at: MonotonicTime,
    snapshot: Snapshot,
    json: Bytes,
}

/// Makes the pages.
struct Pages {
    view: CollectorView,
    host_check: HostCheck,
    has_expvar: bool,
    /// Whether log and configuration are shown: only this machine, or clients that are authenticated, can read them.
    shows_details: bool,
    stream_time: Duration,
    graph: Option<Rc<KnownGraph>>,
    state: Option<Rc<KnownState>>,
    watchers: Watchers,
    samples: Samples,
    /// A state is made each second, and edges are counted.
    is_ticking: bool,
}

/// A response that is made piece by piece.
enum StreamedBody {
    Events(EventStream),
    Samples(SampleStream),
}

impl Drop for Pages {
    fn drop(&mut self) {
        if self.is_ticking {
            self.view.taps().count(Vec::new());
        }
    }
}

impl PageHandler for Pages {
    type Body = StreamedBody;

    fn respond(&mut self, cx: &mut Cx<'_>, head: &RequestHead) -> PageResponse<StreamedBody> {
        if let Err(host) = self.host_check.check(head) {
            return PageResponse::Whole(foreign_host(&host));
        }
        if head.path() == "/api/v1/samples" && head.method() != "HEAD" {
            return match self.open_samples(cx, head) {
                Ok(stream) => PageResponse::Streamed(StreamedBody::Samples(stream)),
                Err((status, text)) => PageResponse::Whole(with_headers(Page::text(status, text))),
            };
        }
        if head.path() != "/events" || head.method() == "HEAD" {
            return PageResponse::Whole(self.page(cx, head));
        }
        let Some(stream) = self.watchers.add(cx.now() + self.stream_time) else {
            let text = format!("{MAX_WATCHERS} clients watch already; /api/v1/state has the same data.\n");
            return PageResponse::Whole(with_headers(Page::text(503, text)));
        };
        if !self.is_ticking {
            self.tick(cx);
        }
        PageResponse::Streamed(StreamedBody::Events(stream))
    }

    fn poll_body(&mut self, cx: &mut Cx<'_>, stream: &mut StreamedBody) -> PageStep {
        let step = match stream {
            StreamedBody::Events(stream) => self.watchers.poll(stream, cx.now()),
            StreamedBody::Samples(stream) => Samples::poll(cx, stream),
        };
        match step {
            PageStep::Head(page) => PageStep::Head(with_headers(page)),
            step => step,
        }
    }
}

impl Pages {
    /// Begins to look at the edge that a request names. `Err` is the status and the text of another response.
    fn open_samples(&mut self, cx: &mut Cx<'_>, head: &RequestHead) -> Result<SampleStream, (u16, String)> {
        if !self.shows_details {
            return Err((403, HIDDEN.to_owned()));
        }
        let known = self.graph();
        let bad_request = |text: String| (400, format!("{}\n", text.trim_end()));
        let request = SampleRequest::parse(head).map_err(bad_request)?;
        let index = request.find_edge(&known.graph).map_err(bad_request)?;
        let place = known.edge_places.get(index).cloned().flatten();
        let signal = known.graph.edges.get(index).map(|edge| edge.signal);
        let (Some(signal), Some(place)) = (signal, place) else {
            return Err((404, format!("edge {index} can't be looked at\n")));
        };
        self.samples.open(cx, self.view.taps(), (signal, place), &request, cx.now() + self.stream_time)
    }

    /// Makes the next event, as long as there are watchers.
    fn tick(&mut self, cx: &mut Cx<'_>) {
        self.is_ticking = self.watchers.count() > 0;
        if !self.is_ticking {
            self.state = None;
            self.view.taps().count(Vec::new());
            return;
        }
        let graph = self.graph();
        let places: Vec<EdgePlace> = graph.edge_places.iter().flatten().cloned().collect();
        if places.iter().any(|place| self.view.taps().counts(place).is_none()) {
            self.view.taps().count(places);
        }
        let state = self.read_state(cx, &graph);
        self.watchers.set_event(&state.json);
        cx.set_timer(TICK_KEY, cx.now() + TICK);
    }

    fn page(&mut self, cx: &mut Cx<'_>, head: &RequestHead) -> Page {
        let (_, description) = self.view.description();
        let page = match head.path() {
            "/" => return self.live_page(cx, head),
            "/debug/servicez" => debug_pages::service_page(&description, cx.wall_time(), cx.sample_process().uptime),
            "/debug/pipelinez" => debug_pages::pipelines_page(&description),
            "/debug/extensionz" => debug_pages::extensions_page(&description),
            "/debug/featurez" => debug_pages::features_page(&description),
            "/debug/tracez" => debug_pages::traces_page(),
            "/debug/expvarz" if self.has_expvar => {
                return json_page(debug_pages::expvar_json(&description, &cx.sample_process(), self.view.budget()));
            }
            "/api/v1/graph" => {
                let known = self.graph();
                return json_page(json::graph_json(known.generation, &known.description, &known.graph));
            }
            "/api/v1/state" => return json_page(self.state(cx).json.clone()),
            "/api/v1/log" | "/api/v1/config" if !self.shows_details => {
                return with_headers(Page::text(403, HIDDEN));
            }
            "/api/v1/log" => return json_page(json::log_json(&self.view.recent_log().records(), first_record(head))),
            "/api/v1/config" => {
                let text = print::to_yaml(&description.config, true);
                return with_headers(Page::new(200, "application/yaml; charset=utf-8", text));
            }
            _ => return not_found(),
        };
        html_page(page, "'none'", "style-src 'unsafe-inline'")
    }

    fn live_page(&mut self, cx: &mut Cx<'_>, head: &RequestHead) -> Page {
        let (known, state) = (self.graph(), self.state(cx));
        let log = self.shows_details.then(|| self.view.recent_log().records());
        let nonce = format!("{:016x}{:016x}", cx.random(), cx.random());
        let view = View::parse(head.query().unwrap_or_default(), known.graph.pipelines.len());
        let drawing = Drawing::new(&known.graph, &view);
        let places = layout::place(&drawing.graph);
        let page = LivePage {
            description: &known.description,
            graph: &known.graph,
            drawing: &drawing,
            places: &places,
            view: &view,
            snapshot: &state.snapshot,
            log: log.as_deref(),
            nonce: &nonce,
        };
        let policy = format!("style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'");
        html_page(page.write(), "'self'", &policy)
    }

    /// The graph of the configuration that runs.
    fn graph(&mut self) -> Rc<KnownGraph> {
        let (generation, description) = self.view.description();
        if let Some(known) = self.graph.as_ref().filter(|known| known.generation == generation) {
            return known.clone();
        }
        let graph = ComponentGraph::new(&description);
        let edge_places = graph.edges.iter().map(|edge| graph.place(&description, edge)).collect();
        let known = Rc::new(KnownGraph { generation, description, graph, edge_places });
        // A state of another graph has other nodes.
        (self.graph, self.state) = (Some(known.clone()), None);
        known
    }

    /// The state, not older than [`MAX_STATE_AGE`].
    fn state(&mut self, cx: &mut Cx<'_>) -> Rc<KnownState> {
        let (graph, now) = (self.graph(), cx.now());
        match self.state.as_ref().filter(|state| now.since(state.read_at) < MAX_STATE_AGE) {
            Some(state) => state.clone(),
            None => self.read_state(cx, &graph),
        }
    }

    fn read_state(&mut self, cx: &mut Cx<'_>, known: &KnownGraph) -> Rc<KnownState> {
        let mut snapshot = Snapshot::read(cx, &self.view, known.generation, &known.graph);
        if self.is_ticking {
            let counts = |place: &Option<EdgePlace>| self.view.taps().counts(place.as_ref()?);
            snapshot.passed = known.edge_places.iter().map(counts).collect();
        }
        snapshot.connections = self.shows_details.then(|| Connections::read(cx, &self.view));
        let json = json::state_json(&snapshot).into();
        let state = Rc::new(KnownState { read_at: cx.now(), snapshot, json });
        self.state = Some(state.clone());
        state
    }
}

/// The response to requests for what other machines may not read.
const HIDDEN: &str = "Shown at a loopback address or with `auth` only: write `endpoint: localhost:55679` or `auth:` at the \
                      extension `zpages`.\n";

/// `from` of a request for the log.
fn first_record(head: &RequestHead) -> u64 {
    let pairs = head.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(name, _)| *name == "from").find_map(|(_, value)| value.parse().ok()).unwrap_or(0)
}

/// The response to a request whose `Host` is a name of another site.
fn foreign_host(host: &str) -> Page {
    let text = format!(
        "This page is served at a loopback address, and the request names the host {host:?}.\n\
         Use http://localhost or the address itself. To serve other names, set `endpoint` of the extension `zpages` to an address \
         that other machines reach.\n"
    );
    with_headers(Page::text(403, text))
}

/// A page with forms to `forms`.
fn html_page(text: String, forms: &str, policy: &str) -> Page {
    let policy = format!(
        "default-src 'none'; img-src data:; base-uri 'none'; form-action {forms}; frame-ancestors 'none'; {policy}"
    );
    with_headers(Page::new(200, "text/html; charset=utf-8", text)).header("Content-Security-Policy", policy)
}

fn json_page(json: impl Into<Bytes>) -> Page {
    with_headers(Page::new(200, "application/json; charset=utf-8", json))
}

fn with_headers(page: Page) -> Page {
    page.header("X-Content-Type-Options", "nosniff")
        .header("Referrer-Policy", "no-referrer")
        .header("Cache-Control", "no-store")
}

#[cfg(test)]
mod tests;
