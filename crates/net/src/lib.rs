//! What all clients and servers share.
//!
//! [`Acceptor`] keeps a listening socket and its connections; [`GrpcChannel`] is a gRPC client with look-up, balancing
//! and reconnection; [`PageServer`] serves pages from memory. [`config`] reads the `confighttp` and `configgrpc`
//! sections of the Go collector. Nothing here opens a socket by itself: sockets come from the component's `World`.
#![forbid(unsafe_code)]

mod acceptor;
mod clock_check;
mod cors;
mod credential_checks;
mod deadlines;
mod grpc_channel;
mod http_client;
mod http_server;
mod idn;
pub mod ingest;
mod load_skew;
mod page_server;
mod proxy;
mod refusal_text;
mod request_metrics;
mod scraper;
mod sender;

pub mod config;
mod endpoint;
pub mod tls;
mod url;

pub use ::http::Method;
pub use acceptor::{AcceptErrorReporter, Acceptor, ListenError, ProtocolMachine, bind};
pub use credential_checks::{CheckResult, CredentialChecks, PendingCheck, TooManyChecks};
pub use grpc_channel::{GrpcChannel, SharedTls, UnaryRequest};
pub use http_client::{
    BodyParts, BodyRead, HeaderField, HttpClient, HttpErrorKind, HttpRequest, HttpRequestError, HttpResponse,
    HttpTimeouts, ResponseMode,
};
pub use http_server::{HttpListener, HttpServerConn};
pub use idn::IdnError;
pub use page_server::{
    MAX_CONCURRENT_REQUESTS, Page, PageHandler, PageResponse, PageServer, PageStep, authenticate, not_found,
    redirect_to_clean_path,
};
pub use proxy::{Proxy, ProxyError, ProxySelector, ProxyTunnel};
pub use refusal_text::{may_be_caused_by_content, mentions_invalid_utf8, parse_too_large};
pub use scraper::{
    MAX_PART, Pushed, ScrapeConsumer, ScrapeError, ScrapeReport, ScrapeSchedule, Scraper, ScraperConfig, TargetId,
    hash_target, scrape_offset, status_reason,
};
pub use sender::{
    EncodedBody, GrpcProtocol, GrpcSender, GrpcSenders, HttpProtocol, HttpSender, LeftOutItems, SentItems,
    parse_retry_after, result_of_grpc_status,
};
pub use url::{Url, UrlError, is_unreserved, percent_escape, query_escape};

pub use endpoint::{EndpointError, GrpcTarget, parse_listen_endpoint};

/// The `User-Agent` of our requests.
pub(crate) const USER_AGENT: &str = concat!("otelcore/", env!("CARGO_PKG_VERSION"));
