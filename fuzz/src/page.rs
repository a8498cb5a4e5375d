//! Pages that a scraper reads: the events are the same in one piece and divided, and the memory is in proportion.

use otelcore_exposition::PageFormat;
use otelcore_exposition::parse::{PageParser, ParserLimits};

/// Small limits, so that short inputs exceed them.
const LIMITS: ParserLimits = ParserLimits { max_entry_bytes: 1024, max_family_bytes: 4096, max_native_buckets: 16 };

/// The first byte chooses the format, the second the length of the pieces.
pub(crate) fn run(data: &[u8]) {
    let [format, piece, page @ ..] = data else { return };
    let format = match format % 3 {
        0 => PageFormat::Text,
        1 => PageFormat::OpenMetrics1,
        _ => PageFormat::Protobuf,
    };
    let whole = events(format, page, page.len().max(1));
    let divided = events(format, page, usize::from(*piece).max(1));
    let is_ok = |events: &[String]| events.last().is_none_or(|e| !e.starts_with("error"));
    assert_eq!(is_ok(&whole), is_ok(&divided));
    if is_ok(&whole) || format != PageFormat::Protobuf {
        assert_eq!(whole, divided);
    }
}

fn events(format: PageFormat, page: &[u8], piece: usize) -> Vec<String> {
    let mut parser = PageParser::new(format, LIMITS).with_classic_histograms();
    let mut events = Vec::new();
    for piece in page.chunks(piece) {
        parser.handle_data(piece);
        poll(&mut parser, &mut events);
        assert!(parser.buffered() <= LIMITS.max_family_bytes);
    }
    parser.handle_end();
    poll(&mut parser, &mut events);
    assert_eq!(parser.buffered(), 0);
    assert!(events.len() <= 4 * page.len() + 4);
    events
}

fn poll(parser: &mut PageParser, events: &mut Vec<String>) {
    while let Some(event) = parser.poll_event() {
        match event {
            Ok(event) => events.push(format!("{event:?}")),
            Err(e) => events.push(format!("error {e}")),
        }
    }
}
