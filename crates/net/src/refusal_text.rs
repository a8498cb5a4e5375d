//! Recognises refusals by their text: that a message is too large, or that a string in it is not UTF-8.
//!
//! gRPC has no status of its own for either, and proxies change statuses. The texts are those of the libraries and
//! servers in use. If the text is misread, a message is split, or searched for invalid text, without need.

use otelcore_http::Code;

/// grpc-go and gRPC C++, gRPC Java, .NET, tonic; Go's `http.MaxBytesReader`; names of HTTP's 413.
const TOO_LARGE_PHRASES: [&str; 10] = [
    "message larger than max",
    "message after decompression larger than max",
    "exceeds maximum size",
    "exceeds the maximum configured message size",
    "message length too large",
    "request body too large",
    "request entity too large",
    "payload too large",
    "content too large",
    "decompressed body larger than",
];

/// Go's protobuf, and prost; other libraries use one of these words too.
const INVALID_UTF8_WORDS: [&str; 3] = ["utf-8", "utf8", "unicode"];

/// Whether the message of a refusal means that the request is too large: `Some` if so, with the limit if there is one.
#[must_use]
pub fn parse_too_large(message: &str) -> Option<Option<u64>> {
    let message = message.get(..message.floor_char_boundary(4096)).unwrap_or_default().to_ascii_lowercase();
    let at = TOO_LARGE_PHRASES.iter().find_map(|words| message.find(words))?;
    // Two numbers are the size and the limit, in either order; the limit is the smaller one.
    let numbers = message.get(at..).unwrap_or_default().split(|c: char| !c.is_ascii_digit());
    Some(numbers.filter(|digits| !digits.is_empty()).take(2).filter_map(|digits| digits.parse().ok()).min())
}

/// Whether a refusal with this code can be because of the content of the message. Refusals because of the sender or the
/// path are not.
#[must_use]
pub fn may_be_caused_by_content(code: Code) -> bool {
    !matches!(code, Code::Unauthenticated | Code::PermissionDenied | Code::Unimplemented | Code::NotFound)
}

/// Whether a refusal mentions the encoding of text.
#[must_use]
pub fn mentions_invalid_utf8(message: &str) -> bool {
    let message = message.get(..message.floor_char_boundary(4096)).unwrap_or_default().to_ascii_lowercase();
    INVALID_UTF8_WORDS.iter().any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_large_messages_of_each_library_are_recognised() {
        for (message, limit) in [
            ("grpc: received message larger than max (5242980 vs. 4194304)", Some(4_194_304)),
            ("grpc: received message after decompression larger than max 4194304", Some(4_194_304)),
            ("grpc: received message after decompression larger than max (5 vs. 4)", Some(4)),
            ("trying to send message larger than max (5242980 vs. 4194304)", Some(4_194_304)),
            ("Received message larger than max (5242980 vs. 4194304)", Some(4_194_304)),
            ("gRPC message exceeds maximum size 4194304: 5242980", Some(4_194_304)),
            ("Received message exceeds the maximum configured message size.", None),
            (
                "Error, decoded message length too large: found 5242980 bytes, the limit is: 4194304 bytes",
                Some(4_194_304),
            ),
            ("unexpected HTTP status code received from server: 413 (Payload Too Large)", None),
            ("http: request body too large", None),
        ] {
            assert_eq!(parse_too_large(message), Some(limit), "{message}");
        }
        for other in ["", "queue is full (8)", "too many requests", "the tenant's limit of 4194304 spans is reached"] {
            assert_eq!(parse_too_large(other), None, "{other}");
        }
    }

    #[test]
    fn invalid_utf8_messages_of_each_library_are_recognised() {
        assert!(mentions_invalid_utf8("grpc: error unmarshalling request: string field contains invalid UTF-8"));
        assert!(mentions_invalid_utf8(
            "failed to decode Protobuf message: Span.name: invalid string value: data is not UTF-8 encoded"
        ));
        assert!(!mentions_invalid_utf8("no such tenant"));
    }
}
