//! Single requests to the API server: what is neither a list nor a watch.
//!
//! Requests are sent in their order, with the token and within the rate of the configuration. A response is read as a whole,
//! up to a limit. What the responses mean is not known here.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore_net::{
    BodyParts, HttpClient, HttpRequest, HttpRequestError, HttpResponse, HttpTimeouts, Method, ResponseMode, Url,
};
use otelcore_pipeline::{Cx, Event, Logger, MonotonicTime, TimerId};
use serde::Deserialize;

use crate::config::KubernetesApiConfig;
use crate::server::ApiServer;
use crate::token::{RequestRate, TokenSource};

/// The longest part of a refusal that is in an error message.
const MAX_ERROR_TEXT: usize = 300;

/// Local keys, from the base on.
const TIMER_KEY: u64 = 1;
const TOKEN_KEY: u64 = 2;
const HTTP_KEYS: u64 = 16;

/// A request.
#[derive(Clone, Debug)]
pub struct ApiRequest {
    /// `GET`, `POST` or `PUT`.
    pub method: Method,
    /// Path and query: `/apis?timeout=32s`.
    pub target: String,
    /// The media types of the response.
    pub accept: &'static str,
    /// JSON; empty for none.
    pub body: Vec<u8>,
    /// The limit for all of it.
    pub timeout: Duration,
    /// A longer response is an error.
    pub max_bytes: usize,
}

impl ApiRequest {
    /// A request for JSON.
    #[must_use]
    pub fn get(target: impl Into<String>, timeout: Duration, max_bytes: usize) -> Self {
        let (method, accept) = (Method::GET, "application/json");
        Self { method, target: target.into(), accept, body: Vec::new(), timeout, max_bytes }
    }
}

/// A response.
#[derive(Clone, Debug)]
pub struct ApiResponse {
    /// The status of HTTP.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl ApiResponse {
    /// What the server says of a request that it refuses, for an error message.
    #[must_use]
    pub fn refusal(&self) -> String {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Status {
            message: String,
        }
        let message = serde_json::from_slice::<Status>(&self.body).map(|status| status.message).unwrap_or_default();
        let message: String = message.chars().take(MAX_ERROR_TEXT).collect();
        match message.as_str() {
            "" => format!("status {}", self.status),
            message => format!("status {}: {message}", self.status),
        }
    }
}

/// Sends single requests, until it is closed. It uses the component's local keys from `base` on.
#[derive(Debug)]
pub struct ApiClient {
    server: ApiServer,
    http: HttpClient,
    log: Logger,
    base: u64,
    credentials: TokenSource,
    rate: RequestRate,
    waiting: VecDeque<(u64, ApiRequest)>,
    failed: VecDeque<(u64, String)>,
    next_token: u64,
    timer: Option<(MonotonicTime, TimerId)>,
}

impl ApiClient {
    /// A client for a server that was found with this configuration.
    #[must_use]
    pub fn new(server: ApiServer, config: &KubernetesApiConfig, cx: &Cx<'_>, log: Logger, base: u64) -> Self {
        // Without HttpClient::start there is no proxy: the server is in the cluster, as in the Go collector.
        let http = HttpClient::new(Rc::new(server.client.clone()), None, log.clone(), base + HTTP_KEYS);
        Self {
            credentials: TokenSource::new(&server.credentials),
            rate: RequestRate::new(config.requests_per_second(), config.burst(), cx.now()),
            server,
            http,
            log,
            base,
            waiting: VecDeque::new(),
            failed: VecDeque::new(),
            next_token: 0,
            timer: None,
        }
    }

    /// Sends a request, at once or when the rate permits it. Returns the number under which its response comes.
    pub fn request(&mut self, cx: &mut Cx<'_>, request: ApiRequest) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        self.waiting.push_back((token, request));
        self.send_waiting(cx);
        token
    }

    /// Gives a request up; it gets no response.
    pub fn cancel(&mut self, cx: &mut Cx<'_>, token: u64) {
        self.waiting.retain(|(waiting, _)| *waiting != token);
        self.failed.retain(|(failed, _)| *failed != token);
        self.http.cancel_request(cx, token);
    }

    /// Handles an event under one of its keys.
    pub fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: &Event<'_>) {
        match local.wrapping_sub(self.base) {
            TIMER_KEY => self.timer = None,
            TOKEN_KEY => self.credentials.end_reading(cx.now(), &self.log),
            HTTP_KEYS.. => self.http.handle_event(cx, local, event),
            _ => {}
        }
        self.send_waiting(cx);
    }

    /// The next response, or why there is none. To be called after each call of [`ApiClient::request`] and
    /// [`ApiClient::handle_event`], until there is none left.
    pub fn poll_response(&mut self) -> Option<(u64, Result<ApiResponse, String>)> {
        if let Some((token, error)) = self.failed.pop_front() {
            return Some((token, Err(error)));
        }
        let (token, result): (u64, Result<HttpResponse, HttpRequestError>) = self.http.poll_result()?;
        let result = match result {
            Ok(response) => {
                if response.status == 401 {
                    self.credentials.expire();
                }
                Ok(ApiResponse { status: response.status, body: response.body.to_vec() })
            }
            Err(error) => Err(error.to_string()),
        };
        Some((token, result))
    }

    /// Closes all connections.
    pub fn close(&mut self, cx: &mut Cx<'_>) {
        self.waiting.clear();
        self.http.close(cx);
        if let Some((_, id)) = self.timer.take() {
            cx.cancel_timer(id);
        }
    }

    fn send_waiting(&mut self, cx: &mut Cx<'_>) {
        while !self.waiting.is_empty() {
            if !self.credentials.is_ready(cx, self.base + TOKEN_KEY) {
                return;
            }
            if !self.rate.take(cx.now()) {
                if self.timer.is_none() {
                    let at = self.rate.next_at(cx.now());
                    self.timer = Some((at, cx.set_timer(self.base + TIMER_KEY, at)));
                }
                return;
            }
            if let Some((token, request)) = self.waiting.pop_front() {
                self.send(cx, token, request);
            }
        }
    }

    fn send(&mut self, cx: &mut Cx<'_>, token: u64, request: ApiRequest) {
        let url = match Url::parse(&format!("{}{}", self.server.url, request.target)) {
            Ok(url) => url,
            Err(error) => return self.failed.push_back((token, error.to_string())),
        };
        let mut http = HttpRequest::new(request.method, Arc::new(url));
        http.headers.push(("Accept".into(), request.accept.into()));
        http.headers.extend(self.credentials.header().map(|value| ("Authorization".into(), value.into())));
        if !request.body.is_empty() {
            http.headers.push(("Content-Type".into(), "application/json".into()));
            http.body = BodyParts::from_iter([request.body.into()]);
        }
        http.timeouts = HttpTimeouts { connect: Some(request.timeout), head: Some(request.timeout), idle: None };
        http.deadline = cx.now() + request.timeout;
        http.response = ResponseMode::Whole { max_bytes: request.max_bytes };
        self.http.start_request(cx, token, http);
    }
}
