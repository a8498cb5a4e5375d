//! What a peer's error means for a payload, by the rules of the OTLP specification and with the Go collector's messages.

use std::time::Duration;

use otelcore_http::status::code_from_http;
use otelcore_http::{Code, Status, date};
use otelcore_pipeline::{CallResult, Error};

use crate::refusal_text::{may_be_caused_by_content, mentions_invalid_utf8, parse_too_large};
use crate::{HttpErrorKind, HttpRequestError, HttpResponse, Url};

/// How much of the body of an error response is searched for a reason.
const MAX_SEARCHED_BODY: usize = 1024;

/// What servers with TLS answer, Go's among them, if the request is not encrypted.
const PLAINTEXT_TO_TLS: &str = "Client sent an HTTP request to an HTTPS server";

/// Whether OTLP permits another attempt after this status. RESOURCE_EXHAUSTED may be retried only if the peer says when.
pub(super) fn is_retryable(status: &Status) -> bool {
    match status.code {
        Code::Canceled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::ResourceExhausted => status.retry_after.is_some(),
        _ => false,
    }
}

/// An error of the pipeline, with the text of Go's gRPC statuses.
fn error_of_status(prefix: &str, status: &Status) -> Error {
    let text = format!("{prefix}rpc error: code = {} desc = {}", status.code.name(), status.message);
    Error { code: Some(u32::from(status.code.number())), message: text.into() }
}

/// The result of a gRPC call that ended with the error `status`. `prefix` is put in front of its text.
#[must_use]
pub fn result_of_grpc_status(status: &Status, retryable: bool, prefix: &str) -> CallResult {
    let why = error_of_status(prefix, status);
    if let Some(limit) = parse_too_large(&status.message) {
        CallResult::TooLarge { limit, why }
    } else if retryable && !mentions_invalid_utf8(&status.message) {
        CallResult::Retry { after: status.retry_after, why }
    } else {
        CallResult::Refused { why, may_be_invalid_text: may_be_caused_by_content(status.code) }
    }
}

/// The result of an HTTP request without a response.
pub(super) fn result_of_http_error(e: &HttpRequestError) -> CallResult {
    let why = Error::new(format!("failed to make an HTTP request: {e}"));
    match e.kind {
        HttpErrorKind::Network | HttpErrorKind::Timeout | HttpErrorKind::Closed => {
            CallResult::Retry { after: None, why }
        }
        HttpErrorKind::InvalidRequest | HttpErrorKind::TooLarge => {
            CallResult::Refused { why, may_be_invalid_text: false }
        }
    }
}

/// The result of an HTTP response that is not 2xx. `message` is the peer's own reason, if it gives one.
pub(super) fn result_of_error_response(
    url: &Url,
    response: &HttpResponse,
    message: Option<&str>,
    retryable: bool,
    wall_nanos: u64,
) -> CallResult {
    let mut text =
        format!("error exporting items, request to {url} responded with HTTP Status Code {}", response.status);
    let body_start = response.body.get(..response.body.len().min(MAX_SEARCHED_BODY)).unwrap_or_default();
    let is_plaintext_to_tls = response.status == 400 && String::from_utf8_lossy(body_start).contains(PLAINTEXT_TO_TLS);
    let message = message.filter(|text| !text.is_empty()).or_else(|| is_plaintext_to_tls.then_some(PLAINTEXT_TO_TLS));
    if let Some(message) = message {
        text.push_str(&format!(", Message={message}, Details=[]"));
    }
    let searched_text = format!("{text} {}", String::from_utf8_lossy(body_start));
    let why = error_of_status("", &Status::new(code_from_http(response.status), text));
    match (response.status, parse_too_large(&searched_text)) {
        (413, limit) => CallResult::TooLarge { limit: limit.flatten(), why },
        (400..600, Some(limit)) => CallResult::TooLarge { limit, why },
        (status, None) if retryable && !mentions_invalid_utf8(&searched_text) => {
            let after = response.header("retry-after").filter(|_| matches!(status, 429 | 503));
            CallResult::Retry { after: after.and_then(|value| parse_retry_after(value, wall_nanos)), why }
        }
        (status, _) => CallResult::Refused { why, may_be_invalid_text: !matches!(status, 401 | 403..=405) },
    }
}

/// The result of a 2xx response whose body is an HTML page: it does not come from a server that accepts telemetry, so it
/// is not a success.
pub(super) fn result_of_html_page(url: &Url, response: &HttpResponse) -> Option<CallResult> {
    let start = response.body.trim_ascii_start();
    let begins_with = |mark: &[u8]| start.get(..mark.len()).is_some_and(|b| b.eq_ignore_ascii_case(mark));
    let content_type = response.media_type();
    let is_html = |kind: &[u8]| content_type.eq_ignore_ascii_case(kind);
    let is_page = is_html(b"text/html") || is_html(b"application/xhtml+xml");
    if start.is_empty() || !is_page && !begins_with(b"<!doctype html") && !begins_with(b"<html") {
        return None;
    }
    let text = format!(
        "error exporting items, request to {url} responded with HTTP Status Code {} and a page ({}), not with an answer to \
         telemetry: is the URL right? It begins with {:?}",
        response.status,
        String::from_utf8_lossy(content_type),
        response.body_start()
    );
    Some(CallResult::Retry { after: None, why: Error::new(text) })
}

/// `Retry-After`: whole seconds, or a date, which is compared with `wall_nanos`, the nanoseconds since 1970.
#[must_use]
pub fn parse_retry_after(value: &[u8], wall_nanos: u64) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds.min(u64::from(u32::MAX))));
    }
    let at = date::parse_http_date(text)?;
    Some(Duration::from_secs(at.saturating_sub(wall_nanos / 1_000_000_000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result_of(status: &Status) -> CallResult {
        result_of_grpc_status(status, is_retryable(status), "")
    }

    #[test]
    fn retry_after_in_seconds_or_as_a_date_is_read() {
        assert_eq!(parse_retry_after(b"7", 0), Some(Duration::from_secs(7)));
        let wall_nanos = 784_111_770 * 1_000_000_000;
        assert_eq!(parse_retry_after(b"Sun, 06 Nov 1994 08:49:37 GMT", wall_nanos), Some(Duration::from_secs(7)));
        assert_eq!(parse_retry_after(b"Sun, 06 Nov 1994 08:49:37 GMT", 2 * wall_nanos), Some(Duration::ZERO));
        for bad in ["", "-1", "1.5", "soon", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 25:49:37 GMT"] {
            assert_eq!(parse_retry_after(bad.as_bytes(), 0), None, "{bad}");
        }
    }

    #[test]
    fn status_is_retryable_as_in_the_specification() {
        let retryable = |status: Status| matches!(result_of(&status), CallResult::Retry { .. });
        for number in 1..17 {
            let code = Code::from_number(number);
            let expected = matches!(number, 1 | 4 | 10 | 11 | 14 | 15);
            assert_eq!(retryable(Status::new(code, "")), expected, "{number}");
        }
        let busy = || Status::new(Code::ResourceExhausted, "busy");
        assert!(retryable(busy().with_retry_after(Duration::ZERO)));
        let CallResult::Refused { why, .. } = result_of(&busy()) else { panic!() };
        assert_eq!((why.code, &*why.message), (Some(8), "rpc error: code = ResourceExhausted desc = busy"));
    }

    #[test]
    fn refusal_for_size_or_text_is_neither_retryable_nor_final() {
        let large = Status::new(Code::ResourceExhausted, "grpc: received message larger than max (9 vs. 8)");
        assert!(matches!(result_of(&large), CallResult::TooLarge { limit: Some(8), .. }));
        let text = Status::new(Code::Unavailable, "string field contains invalid UTF-8");
        assert!(matches!(result_of(&text), CallResult::Refused { may_be_invalid_text: true, .. }));
        let unauthenticated = Status::new(Code::Unauthenticated, "no");
        assert!(matches!(result_of(&unauthenticated), CallResult::Refused { may_be_invalid_text: false, .. }));
    }

    #[test]
    fn response_with_an_html_page_is_an_error() {
        let url = Url::parse("http://peer/").unwrap();
        for (content_type, body, expected) in [
            ("application/x-protobuf", "\n\u{0}", false),
            ("application/json", "{}", false),
            ("text/html", "", false),
            ("", "  ", false),
            ("text/html", "hello", true),
            ("Text/HTML; charset=utf-8", "<p>", true),
            ("text/plain", "\r\n<!DOCTYPE html><html>", true),
            ("", "<HTML><head>", true),
            ("text/plain", "ok", false),
            ("application/xml", "<ok/>", false),
        ] {
            let response = HttpResponse::for_tests(200, content_type, body);
            assert_eq!(result_of_html_page(&url, &response).is_some(), expected, "{content_type} {body}");
        }
    }

    #[test]
    fn error_response_is_retryable_splittable_or_final() {
        let url = Url::parse("http://peer/").unwrap();
        let result = |status, body| {
            let response = HttpResponse::for_tests(status, "text/plain", body);
            result_of_error_response(&url, &response, None, matches!(status, 429 | 502..=504), 0)
        };
        assert!(matches!(result(503, "busy"), CallResult::Retry { after: None, .. }));
        assert!(matches!(result(503, "invalid UTF-8"), CallResult::Refused { may_be_invalid_text: true, .. }));
        assert!(matches!(result(413, ""), CallResult::TooLarge { limit: None, .. }));
        assert!(matches!(result(400, "http: request body too large"), CallResult::TooLarge { .. }));
        assert!(matches!(result(400, "bad"), CallResult::Refused { may_be_invalid_text: true, .. }));
        assert!(matches!(result(403, "no"), CallResult::Refused { may_be_invalid_text: false, .. }));
    }
}
