//! Pages of any telemetry: a scraper can read them in every format and escaping.

use otelcore_exporter_prometheus::oracle::{check_page, render_page};
use otelcore_exporter_prometheus::{PageConfig, TranslationStrategy};
use otelcore_exposition::{NameEscaping, NegotiatedFormat, PageFormat};

/// The first byte chooses the settings, the second where two bodies are divided.
pub(crate) fn run(data: &[u8]) {
    let [settings, first, bodies @ ..] = data else { return };
    let strategies = [
        TranslationStrategy::UnderscoreEscapingWithSuffixes,
        TranslationStrategy::UnderscoreEscapingWithoutSuffixes,
        TranslationStrategy::NoUtf8EscapingWithSuffixes,
        TranslationStrategy::NoTranslation,
    ];
    let config = PageConfig {
        strategy: strategies[usize::from(*settings) % 4],
        send_timestamps: settings & 4 != 0,
        without_scope_info: settings & 8 != 0,
        namespace: if settings & 16 != 0 { "n.s".to_owned() } else { String::new() },
        const_labels: if settings & 32 != 0 { vec![("a.b".to_owned(), "c".to_owned())] } else { vec![] },
        ..PageConfig::default()
    };
    let (first, second) = bodies.split_at(bodies.len() * usize::from(*first) / 255);
    let formats = [PageFormat::Text, PageFormat::OpenMetrics1, PageFormat::Protobuf];
    let escapings = [NameEscaping::Underscores, NameEscaping::Dots, NameEscaping::Values, NameEscaping::AllowUtf8];
    for format in formats {
        for escaping in escapings {
            let format = NegotiatedFormat { format, escaping };
            let page = render_page(&config, format, false, &[first, second]);
            assert!(
                check_page(format, &page).is_ok(),
                "{:?}\n{}",
                check_page(format, &page),
                String::from_utf8_lossy(&page)
            );
        }
    }
}
