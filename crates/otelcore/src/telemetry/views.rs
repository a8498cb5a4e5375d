//! `service::telemetry::metrics::views`: which own metrics are left out, renamed, or lose attributes.

use otelcore_config::{DiagnosticKind, Section, config_enum, config_struct};

config_struct! {
    /// One of `views`.
    #[config(check = Self::check)]
    pub(crate) struct ViewConfig {
        /// Which metrics it is about: all that fit each key.
        pub(crate) selector: Option<ViewSelectorConfig>,
        /// What they become.
        pub(crate) stream: ViewStreamConfig,
    }
}

impl ViewConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        let Some(selector) = &self.selector else {
            s.error_for_keys(&["selector"], "view: no selector provided")
                .kind(DiagnosticKind::Invalid)
                .help("write `selector: {instrument_name: NAME}`");
            return;
        };
        if selector.is_empty() {
            s.error("selector", "view_selector: empty selector not supporter")
                .kind(DiagnosticKind::Invalid)
                .help("write `instrument_name: NAME` in it");
        } else if selector.has_wildcard() && !self.stream.name.is_empty() {
            s.error("stream", "a view can't rename the several metrics that its 'instrument_name' selects")
                .help("leave `name` out, or write the name of one metric");
        }
    }
}

config_struct! {
    /// `selector`.
    pub(crate) struct ViewSelectorConfig {
        /// The name of the metric, in which `*` is any text and `?` any character.
        pub(crate) instrument_name: String,
        /// Its type.
        pub(crate) instrument_type: InstrumentType,
        /// The name of its scope.
        pub(crate) meter_name: String,
        /// The version of its scope: own metrics have none, so that no metric fits.
        pub(crate) meter_version: String,
        /// The schema of its scope: own metrics have none, so that no metric fits.
        pub(crate) meter_schema_url: String,
        /// Its unit.
        pub(crate) unit: String,
    }
}

config_enum! {
    /// The types of instruments.
    #[config(
        unknown = "invalid instrument type \"{word}\"",
        hint = "write counter, gauge, histogram, observable_counter, observable_gauge, observable_up_down_counter or up_down_counter"
    )]
    pub(crate) enum InstrumentType {
        /// Every type.
        Any = "",
        /// Counted.
        Counter = "counter",
        /// Set.
        Gauge = "gauge",
        /// A histogram.
        Histogram = "histogram",
        /// A counter that is read when metrics are collected.
        ObservableCounter = "observable_counter",
        /// A gauge that is read when metrics are collected.
        ObservableGauge = "observable_gauge",
        /// A sum that goes up and down and is read when metrics are collected.
        ObservableUpDownCounter = "observable_up_down_counter",
        /// A sum that goes up and down.
        UpDownCounter = "up_down_counter",
    }
}

impl ViewSelectorConfig {
    fn is_empty(&self) -> bool {
        let texts = [&self.instrument_name, &self.meter_name, &self.meter_version, &self.meter_schema_url, &self.unit];
        texts.iter().all(|text| text.is_empty()) && self.instrument_type == InstrumentType::Any
    }

    fn has_wildcard(&self) -> bool {
        self.instrument_name.contains(['*', '?'])
    }
}

config_struct! {
    /// `stream`.
    pub(crate) struct ViewStreamConfig {
        /// The new name.
        pub(crate) name: String,
        /// The new description.
        pub(crate) description: String,
        /// Which attributes points keep. Points that have the same ones then are joined.
        pub(crate) attribute_keys: AttributeKeysConfig,
        /// How values are joined.
        pub(crate) aggregation: ViewAggregationConfig,
    }
}

config_struct! {
    /// `attribute_keys`.
    #[config(check = Self::check)]
    pub(crate) struct AttributeKeysConfig {
        /// Only these are kept, unless the list is empty.
        pub(crate) included: Vec<String>,
        /// These are not kept.
        pub(crate) excluded: Vec<String>,
    }
}

impl AttributeKeysConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if let Some(key) = self.excluded.iter().find(|key| self.included.contains(key)) {
            s.error("excluded", format!("attribute cannot be in both include and exclude list: {key}"))
                .help("leave it out of one of the lists");
        }
    }

    /// Whether points keep the attribute.
    pub(crate) fn keeps(&self, key: &str) -> bool {
        let has = |list: &[String]| list.iter().any(|listed| listed == key);
        !has(&self.excluded) && (self.included.is_empty() || has(&self.included))
    }
}

/// Why the other aggregations are refused.
const OTHER_AGGREGATION: &str = "own metrics keep their types; write `drop: {}` or `default: {}`";

config_struct! {
    /// `aggregation`.
    #[config(unsupported("sum", OTHER_AGGREGATION))]
    #[config(unsupported("last_value", OTHER_AGGREGATION))]
    #[config(unsupported("explicit_bucket_histogram", OTHER_AGGREGATION))]
    #[config(unsupported("base2_exponential_bucket_histogram", OTHER_AGGREGATION))]
    pub(crate) struct ViewAggregationConfig {
        /// The metric is left out.
        pub(crate) drop: Option<NoKeysConfig>,
        /// As without a view.
        pub(crate) default: Option<NoKeysConfig>,
    }
}

config_struct! {
    /// A section without keys, which is written as `{}`.
    pub(crate) struct NoKeysConfig {}
}

#[cfg(test)]
mod tests {
    use otelcore_config::declare::Config;
    use otelcore_config::{Diagnostics, from_yaml};

    use super::*;

    fn messages(yaml: &str) -> Vec<String> {
        let d = Diagnostics::new();
        let node = from_yaml(yaml, &d).unwrap();
        let _ = ViewConfig::read_section(Section::new(Some(&node), "views", &d), &ViewConfig::default());
        d.items().into_iter().map(|item| item.message).collect()
    }

    #[test]
    fn mistakes_are_reported() {
        for (yaml, message) in [
            ("{stream: {name: a}}", "view: no selector provided"),
            ("{selector: {instrument_type: ''}}", "view_selector: empty selector not supporter"),
            ("{selector: {instrument_type: meter}}", "invalid instrument type \"meter\""),
            (
                "{selector: {instrument_name: a}, stream: {attribute_keys: {included: [a], excluded: [b, a]}}}",
                "attribute cannot be in both include and exclude list: a",
            ),
            (
                "{selector: {instrument_name: 'a*'}, stream: {name: b}}",
                "a view can't rename the several metrics that its 'instrument_name' selects",
            ),
        ] {
            assert!(messages(yaml).contains(&message.to_owned()), "{yaml}: {:?}", messages(yaml));
        }
        let refused = messages("{selector: {instrument_name: a}, stream: {aggregation: {sum: {x: 1}}}}");
        assert!(refused[0].starts_with("'sum' is not supported: "), "{refused:?}");
        assert!(messages("{selector: {unit: s}, stream: {aggregation: {drop: {}}}}").is_empty());
    }
}
