//! Recognises refusals by their text: that a message is too large, or that a string in it is not UTF-8.
//!
//! gRPC has no status of its own for either, and proxies change statuses. The texts are those of the libraries and
//! servers in use. If the text is misread, a message is split, or searched for invalid text, without need.

use otelcore_http::Code;

/// grpc-go and gRPC C++, gRPC Java, .NET, tonic; Go's `http.MaxBytesReader`; names of HTTP's 413.
const TOO_LARGE: [&str; 10] = [
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
const INVALID_TEXT: [&str; 3] = ["utf-8", "utf8", "unicode"];

/// Whether a refusal says that the message is too large: `Some` if so, with the limit if the text has one.
#[must_use]
pub fn says_too_large(message: &str) -> Option<Option<u64>> {
    let message = message.get(..message.floor_char_boundary(4096)).unwrap_or_default().to_ascii_lowercase();
    let at = TOO_LARGE.iter().find_map(|words| message.find(words))?;
    // Two numbers are the size and the limit, in either order; the limit is the smaller one.
    let numbers = message.get(at..).unwrap_or_default().split(|c: char| !c.is_ascii_digit());
    Some(numbers.filter(|digits| !digits.is_empty()).take(2).filter_map(|digits| digits.parse().ok()).min())
}

/// Whether a refusal with this code can be because of the content of the message. Refusals because of the sender or the
/// path are not.
#[must_use]
pub fn may_be_for_content(code: Code) -> bool {
    !matches!(code, Code::Unauthenticated | Code::PermissionDenied | Code::Unimplemented | Code::NotFound)
}

/// Whether a refusal mentions the encoding of text.
#[must_use]
pub fn says_invalid_text(message: &str) -> bool {
    let message = message.get(..message.floor_char_boundary(4096)).unwrap_or_default().to_ascii_lowercase();
    INVALID_TEXT.iter().any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_for_size_are_known_in_the_words_of_each_library() {
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
            assert_eq!(says_too_large(message), Some(limit), "{message}");
        }
        for other in ["", "queue is full (8)", "too many requests", "the tenant's limit of 4194304 spans is reached"] {
            assert_eq!(says_too_large(other), None, "{other}");
        }
    }

    #[test]
    fn refusals_for_text_are_known_in_the_words_of_each_library() {
        assert!(says_invalid_text("grpc: error unmarshalling request: string field contains invalid UTF-8"));
        assert!(says_invalid_text(
            "failed to decode Protobuf message: Span.name: invalid string value: data is not UTF-8 encoded"
        ));
        assert!(!says_invalid_text("no such tenant"));
    }
}
