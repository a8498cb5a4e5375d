//! Mistakes in a configuration that errors of an exporter point to: each is one line of the log, once, with what to write.
//!
//! Recognizes texts of our own clients and of the usual servers. Changes nothing of what happens with the data.

use crate::{LogField, Logger};

/// A mistake that an error points to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mistake {
    TlsToPlaintext,
    PlaintextToTls,
    Certificate,
    GrpcToHttp,
    HttpToGrpc,
    Path,
    Page,
    Coding,
    Name,
    LocalAddress,
    Credentials,
    Validity,
}

/// The mistakes that were logged, one bit each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct LoggedMistakes(u16);

impl LoggedMistakes {
    /// Logs what an error points to, unless that was logged before.
    pub(super) fn log(&mut self, error: &str, log: &Logger) {
        let Some(mistake) = recognize(error) else { return };
        let bit = 1 << mistake as u16;
        if self.0 & bit != 0 {
            return;
        }
        self.0 |= bit;
        let fields = [("error", LogField::Str(error))];
        match mistake {
            Mistake::TlsToPlaintext => log.warn(
                "The exporter speaks TLS, and what answers does not: write `tls: {insecure: true}`, or `http://` in the URL.",
                &fields,
            ),
            Mistake::PlaintextToTls => log.warn(
                "The exporter does not speak TLS, and what answers does: write `https://` in the URL, or leave out `insecure: true`.",
                &fields,
            ),
            Mistake::Certificate => log.warn(
                "The certificate of the destination is not accepted: write `tls: {ca_file: ...}` with the certificate of its authority.",
                &fields,
            ),
            Mistake::Validity => log.warn(
                "The certificate of the destination is not valid at the time of this machine: set its clock, or renew the certificate.",
                &fields,
            ),
            Mistake::GrpcToHttp => log.warn(
                "The exporter speaks gRPC, and what answers speaks HTTP/1: use the port of gRPC (4317), or the exporter `otlp_http`.",
                &fields,
            ),
            Mistake::HttpToGrpc => log.warn(
                "The exporter speaks HTTP/1, and what answers speaks gRPC: use the port of HTTP (4318), or the exporter `otlp_grpc`.",
                &fields,
            ),
            Mistake::Path => log.warn(
                "The destination does not know the path of the request: check the URL; `otlp_http` adds `/v1/traces` to `endpoint` itself.",
                &fields,
            ),
            Mistake::Page => log.warn(
                "The destination answers with a web page: the URL is that of a site or a proxy, not of a receiver of telemetry.",
                &fields,
            ),
            Mistake::Coding => log.warn(
                "The destination does not take the coding of the requests: write `compression: gzip` or `compression: none`.",
                &fields,
            ),
            Mistake::Name => log.warn(
                "The name of the destination is not found: check it, and whether it is known where the collector runs.",
                &fields,
            ),
            Mistake::LocalAddress => log.warn(
                "Nothing listens at this address of the collector's own machine. In a container, localhost is the container itself.",
                &fields,
            ),
            Mistake::Credentials => log.warn(
                "The destination does not accept the credentials: check `auth`, `headers` and the token.",
                &fields,
            ),
        }
    }
}

/// What an error points to. The first that fits: those whose texts are the most certain stand first.
fn recognize(error: &str) -> Option<Mistake> {
    let has = |parts: &[&str]| parts.iter().any(|part| error.contains(part));
    let has_all = |parts: &[&str]| parts.iter().all(|part| error.contains(part));
    let is_http = has(&["failed to make an HTTP request"]);
    if has(&["InvalidContentType", "first record does not look like a TLS handshake"]) {
        Some(Mistake::TlsToPlaintext)
    } else if has(&["the peer speaks TLS, not HTTP/2", "HTTP request to an HTTPS server"]) {
        Some(Mistake::PlaintextToTls)
    } else if has(&["certificate not valid yet", "certificate expired", "certificate has expired or is not yet valid"])
    {
        Some(Mistake::Validity)
    } else if has(&["invalid peer certificate", "certificate signed by unknown authority"]) {
        Some(Mistake::Certificate)
    } else if is_http && has(&["malformed HTTP response: not HTTP/1", "NoApplicationProtocol"]) {
        Some(Mistake::HttpToGrpc)
    } else if has(&[
        "the peer speaks HTTP/1, not HTTP/2",
        "received unexpected content-type",
        "unexpected HTTP status code received from server",
    ]) || has_all(&[":4318", "closed by the peer"])
    {
        Some(Mistake::GrpcToHttp)
    } else if has_all(&["responded with HTTP Status Code", "and a page ("]) {
        Some(Mistake::Page)
    } else if has(&["HTTP Status Code 404", "HTTP Status Code 405"]) {
        Some(Mistake::Path)
    } else if has(&["HTTP Status Code 415", "Decompressor is not installed", "unsupported compression"]) {
        Some(Mistake::Coding)
    } else if has(&["no such host", "produced zero addresses"]) {
        Some(Mistake::Name)
    } else if has(&["connection refused"]) && has(&["dial tcp 127.", "dial tcp [::1]", "//localhost"]) {
        Some(Mistake::LocalAddress)
    } else if has(&[
        "HTTP Status Code 401",
        "HTTP Status Code 403",
        "code = Unauthenticated",
        "code = PermissionDenied",
    ]) {
        Some(Mistake::Credentials)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_our_clients_and_the_usual_servers_are_recognized() {
        for (error, expected) in [
            (
                "rpc error: code = Unavailable desc = connection error: desc = \"transport: authentication handshake failed: tls: \
                 received corrupt message of type InvalidContentType\"",
                Some(Mistake::TlsToPlaintext),
            ),
            (
                "dial tcp 127.0.0.1:14317: protocol error: the peer speaks TLS, not HTTP/2",
                Some(Mistake::PlaintextToTls),
            ),
            ("tls: invalid peer certificate: UnknownIssuer", Some(Mistake::Certificate)),
            (
                "tls: invalid peer certificate: certificate expired: verification time 2 (UNIX), but certificate is not valid after 1",
                Some(Mistake::Validity),
            ),
            (
                "failed to make an HTTP request: Post \"http://127.0.0.1:4317/v1/traces\": net/http: HTTP/1.x transport connection \
                 broken: malformed HTTP response: not HTTP/1",
                Some(Mistake::HttpToGrpc),
            ),
            ("dial tcp 127.0.0.1:4318: closed by the peer", Some(Mistake::GrpcToHttp)),
            ("dial tcp 127.0.0.1:4317: closed by the peer", None),
            ("request to http://a/v1/traces/v1/traces responded with HTTP Status Code 404", Some(Mistake::Path)),
            (
                "request to http://a responded with HTTP Status Code 200 and a page (text/html), not",
                Some(Mistake::Page),
            ),
            ("grpc: Decompressor is not installed for grpc-encoding \"zstd\"", Some(Mistake::Coding)),
            ("lookup backend on 10.0.0.10:53: no such host", Some(Mistake::Name)),
            ("dial tcp 127.0.0.1:4317: connect: connection refused", Some(Mistake::LocalAddress)),
            ("dial tcp 10.0.0.1:4317: connect: connection refused", None),
            ("rpc error: code = Unauthenticated desc = bad token", Some(Mistake::Credentials)),
            ("rpc error: code = Unavailable desc = overloaded", None),
        ] {
            assert_eq!(recognize(error), expected, "{error}");
        }
    }
}
