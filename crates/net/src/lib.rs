//! What all clients and servers share.
//!
//! [`Acceptor`] keeps a listening socket and its connections; [`Channel`] is a gRPC client with look-up, balancing and
//! reconnection; [`PageServer`] answers GET requests from memory. [`settings`] reads the `confighttp` and `configgrpc`
//! sections of the Go collector. Nothing here opens a socket by itself: sockets come from the component's `World`.
#![forbid(unsafe_code)]

mod acceptor;
mod channel;
mod cors;
mod credentials;
mod http_client;
mod http_server;
mod idn;
mod pages;
mod proxy;
mod refusals;
mod schedule;

pub mod settings;
mod target;
pub mod tls;

pub use acceptor::{AcceptReport, Acceptor, Machine, bind};
pub use channel::{Channel, NewCall};
pub use credentials::{CheckResult, CredentialChecks, PendingCheck, TooManyChecks};
pub use http_client::{CallError, Fault, HttpChannel, NewRequest, Response, Url, UrlError};
pub use http_server::{HttpConn, HttpListener};
pub use idn::NotAscii;
pub use pages::{Answer, MAX_OPEN, Next, Page, PageServer, Pages, authenticate, not_found, redirect};
pub use proxy::{Proxies, Proxy, Tunnel};
pub use refusals::{may_be_for_content, says_invalid_text, says_too_large};

pub use target::{Target, TargetError, listen_endpoint};
