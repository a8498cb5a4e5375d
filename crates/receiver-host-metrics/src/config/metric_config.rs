//! The switches of metrics, and the macro that declares the metrics of a scraper.
//!
//! A metric is written once, in a table: its name, unit, description, kind and attributes. The table gives the section
//! `metrics` of the scraper with its defaults, and what the recorder needs to write the metric.

use otelcore_config::{Section, config_enum, config_struct};

config_enum! {
    /// How the values of points are joined whose attributes have become equal.
    #[config(
        unknown = "invalid aggregation strategy \"{word}\", valid strategies: [sum, avg, min, max]",
        hint = "write sum, avg, min or max"
    )]
    pub enum AggregationStrategy {
        /// Their sum.
        Sum = "sum",
        /// Their average.
        Avg = "avg",
        /// The smallest one.
        Min = "min",
        /// The largest one.
        Max = "max",
    }
}

config_struct! {
    /// The switch of a metric without attributes.
    pub struct MetricSwitchConfig {
        /// Whether the metric is sent.
        pub enabled: bool,
    }
}

config_struct! {
    /// The switches of a metric with attributes.
    pub struct MetricConfig {
        /// Whether the metric is sent.
        pub enabled: bool,
        /// How points are joined that differ only in attributes that are left out.
        pub aggregation_strategy: AggregationStrategy,
        /// The attributes that its points have.
        pub attributes: Vec<String>,
    }
}

impl MetricSwitchConfig {
    pub(crate) fn setting(&self, spec: &'static MetricSpec) -> MetricSetting {
        MetricSetting::new(spec, self.enabled, AggregationStrategy::Sum, &[])
    }

    pub(crate) fn written_attributes(&self) -> &[String] {
        &[]
    }
}

impl MetricConfig {
    pub(crate) fn setting(&self, spec: &'static MetricSpec) -> MetricSetting {
        MetricSetting::new(spec, self.enabled, self.aggregation_strategy, &self.attributes)
    }

    pub(crate) fn written_attributes(&self) -> &[String] {
        &self.attributes
    }
}

/// What the data of a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetricKind {
    Gauge,
    /// Cumulative.
    Sum {
        is_monotonic: bool,
    },
}

/// What a metric is.
#[derive(Debug)]
pub(crate) struct MetricSpec {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) description: &'static str,
    pub(crate) kind: MetricKind,
    /// The keys of its points, in the order in which values are recorded.
    pub(crate) attributes: &'static [&'static str],
}

/// A metric as it is configured.
#[derive(Clone, Debug)]
pub(crate) struct MetricSetting {
    pub(crate) spec: &'static MetricSpec,
    pub(crate) is_enabled: bool,
    pub(crate) strategy: AggregationStrategy,
    /// For each attribute, whether points have it.
    pub(crate) kept: Vec<bool>,
}

impl MetricSetting {
    pub(crate) fn new(
        spec: &'static MetricSpec,
        is_enabled: bool,
        strategy: AggregationStrategy,
        attributes: &[String],
    ) -> Self {
        let kept = spec.attributes.iter().map(|key| attributes.iter().any(|kept| kept == key)).collect();
        Self { spec, is_enabled, strategy, kept }
    }
}

/// Refuses attributes that a metric does not have.
pub(crate) fn check_attributes(s: &Section<'_>, spec: &MetricSpec, attributes: &[String]) {
    for attribute in attributes {
        if !spec.attributes.contains(&attribute.as_str()) {
            let message = format!(
                "metric {} doesn't have an attribute {attribute}, valid attributes: [{}]",
                spec.name,
                spec.attributes.join(", ")
            );
            s.error(&format!("{}::attributes", spec.name), message);
        }
    }
}

/// Declares the metrics of a scraper: the section `metrics`, and an enum with the position of each metric.
macro_rules! metric_table {
    (@type) => { $crate::config::MetricSwitchConfig };
    (@type $($attribute:literal)+) => { $crate::config::MetricConfig };
    (@on on) => { true };
    (@on off) => { false };
    (@strategy gauge) => { $crate::config::AggregationStrategy::Avg };
    (@strategy $kind:ident) => { $crate::config::AggregationStrategy::Sum };
    (@kind gauge) => { $crate::config::MetricKind::Gauge };
    (@kind sum) => { $crate::config::MetricKind::Sum { is_monotonic: false } };
    (@kind counter) => { $crate::config::MetricKind::Sum { is_monotonic: true } };
    (@default $enabled:ident $kind:ident) => {
        $crate::config::MetricSwitchConfig { enabled: metric_table!(@on $enabled) }
    };
    (@default $enabled:ident $kind:ident $($attribute:literal)+) => {
        $crate::config::MetricConfig {
            enabled: metric_table!(@on $enabled),
            aggregation_strategy: metric_table!(@strategy $kind),
            attributes: vec![$($attribute.to_owned()),+],
        }
    };
    (
        $(#[doc = $doc:literal])*
        $name:ident $metric:ident {
            $(
                $variant:ident $field:ident $key:literal $enabled:ident $kind:ident $unit:literal
                [$($attribute:literal)*] $description:literal;
            )+
        }
    ) => {
        otelcore_config::config_struct! {
            $(#[doc = $doc])*
            #[config(check = Self::check)]
            pub struct $name {
                $(
                    #[doc = $description]
                    #[config(key = $key)]
                    pub $field: metric_table!(@type $($attribute)*) = metric_table!(@default $enabled $kind $($attribute)*),
                )+
            }
        }

        /// The position of each metric.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $metric {
            $($variant,)+
        }

        impl From<$metric> for usize {
            fn from(metric: $metric) -> Self {
                metric as Self
            }
        }

        impl $name {
            const SPECS: &'static [$crate::config::MetricSpec] = &[
                $($crate::config::MetricSpec {
                    name: $key,
                    unit: $unit,
                    description: $description,
                    kind: metric_table!(@kind $kind),
                    attributes: &[$($attribute),*],
                },)+
            ];

            fn check(&mut self, s: &mut otelcore_config::Section<'_>) {
                let all = [$(self.$field.written_attributes()),+];
                for (spec, attributes) in Self::SPECS.iter().zip(all) {
                    $crate::config::check_attributes(s, spec, attributes);
                }
            }

            /// What the recorder needs, in the order of the table.
            pub(crate) fn settings(&self) -> Vec<$crate::config::MetricSetting> {
                let mut specs = Self::SPECS.iter();
                let mut settings = Vec::new();
                $(settings.extend(specs.next().map(|spec| self.$field.setting(spec)));)+
                settings
            }
        }
    };
}

pub(crate) use metric_table;
