//! The switches of metrics, and the macro that declares the metrics of a scraper.

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
    /// What the recorder needs of this metric.
    #[must_use]
    pub fn setting(&self, spec: &'static MetricSpec) -> MetricSetting {
        MetricSetting::new(spec, self.enabled, AggregationStrategy::Sum, &[])
    }

    /// The attributes as they are written.
    #[must_use]
    pub fn written_attributes(&self) -> &[String] {
        &[]
    }
}

impl MetricConfig {
    /// What the recorder needs of this metric.
    #[must_use]
    pub fn setting(&self, spec: &'static MetricSpec) -> MetricSetting {
        MetricSetting::new(spec, self.enabled, self.aggregation_strategy, &self.attributes)
    }

    /// The attributes as they are written.
    #[must_use]
    pub fn written_attributes(&self) -> &[String] {
        &self.attributes
    }
}

/// What the data of a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// A value of now.
    Gauge,
    /// A cumulative sum.
    Sum {
        /// It never decreases.
        is_monotonic: bool,
    },
}

/// What a metric is.
#[derive(Debug)]
pub struct MetricSpec {
    /// Its name.
    pub name: &'static str,
    /// Its unit, as UCUM.
    pub unit: &'static str,
    /// What it measures.
    pub description: &'static str,
    /// What its data is.
    pub kind: MetricKind,
    /// The keys of its points, in the order in which values are recorded.
    pub attributes: &'static [&'static str],
    /// Those of them that can't be left out.
    pub required: &'static [&'static str],
}

/// A metric as it is configured.
#[derive(Clone, Debug)]
pub struct MetricSetting {
    /// What the metric is.
    pub spec: &'static MetricSpec,
    /// Whether it is sent.
    pub is_enabled: bool,
    /// How points are joined whose attributes have become equal.
    pub strategy: AggregationStrategy,
    /// For each attribute, whether points have it.
    pub kept: Vec<bool>,
}

impl MetricSetting {
    /// `attributes` are those that points have.
    #[must_use]
    pub fn new(
        spec: &'static MetricSpec,
        is_enabled: bool,
        strategy: AggregationStrategy,
        attributes: &[String],
    ) -> Self {
        let is_kept = |key: &&str| spec.required.contains(key) || attributes.iter().any(|kept| kept == key);
        let kept = spec.attributes.iter().map(is_kept).collect();
        Self { spec, is_enabled, strategy, kept }
    }
}

/// Refuses attributes that a metric does not have. `s` is the section of all metrics.
pub fn check_attributes(s: &Section<'_>, spec: &MetricSpec, attributes: &[String]) {
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
    // A metric without other attributes has no list of them.
    let has_list = spec.attributes.len() > spec.required.len();
    for required in spec.required.iter().filter(|key| has_list && !attributes.iter().any(|kept| kept == *key)) {
        let message = format!("{required} is a required attribute for {} metric and must be included", spec.name);
        s.error(&format!("{}::attributes", spec.name), message);
    }
}

/// Declares the metrics of a scraper: the section `metrics`, and an enum with the position of each metric. The crate that
/// uses it depends on `otelcore_config`. Attributes that can't be left out follow the others: `["a"] required ["b"]`.
///
/// ```
/// otelcore_scraped_metrics::metric_table! {
///     /// The metrics of `load`.
///     LoadMetricsConfig LoadMetric {
///         // variant, field, name, on or off by default, gauge or sum or counter, unit, attributes, description
///         Load1 load_1 "system.cpu.load_average.1m" on gauge "{thread}" []
///             "Average CPU Load over 1 minute.";
///     }
/// }
/// let settings = LoadMetricsConfig::default().settings();
/// assert!(settings[LoadMetric::Load1 as usize].is_enabled);
/// ```
#[macro_export]
macro_rules! metric_table {
    (@type) => { $crate::MetricSwitchConfig };
    (@type $($attribute:literal)+) => { $crate::MetricConfig };
    (@on on) => { true };
    (@on off) => { false };
    (@strategy gauge) => { $crate::AggregationStrategy::Avg };
    (@strategy $kind:ident) => { $crate::AggregationStrategy::Sum };
    (@kind gauge) => { $crate::MetricKind::Gauge };
    (@kind sum) => { $crate::MetricKind::Sum { is_monotonic: false } };
    (@kind counter) => { $crate::MetricKind::Sum { is_monotonic: true } };
    (@default $enabled:ident $kind:ident [] $required:tt) => {
        $crate::MetricSwitchConfig { enabled: $crate::metric_table!(@on $enabled) }
    };
    (@default $enabled:ident $kind:ident [$($attribute:literal)+] [$($required:literal)*]) => {
        $crate::MetricConfig {
            enabled: $crate::metric_table!(@on $enabled),
            aggregation_strategy: $crate::metric_table!(@strategy $kind),
            attributes: vec![$($attribute.to_owned(),)+ $($required.to_owned(),)*],
        }
    };
    (
        $(#[doc = $doc:literal])*
        $name:ident $metric:ident {
            $(
                $variant:ident $field:ident $key:literal $enabled:ident $kind:ident $unit:literal
                [$($attribute:literal)*] $(required [$($required:literal)*])? $description:literal;
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
                    pub $field: $crate::metric_table!(@type $($attribute)*) = $crate::metric_table!(@default $enabled $kind [$($attribute)*] [$($($required)*)?]),
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
            const SPECS: &'static [$crate::MetricSpec] = &[
                $($crate::MetricSpec {
                    name: $key,
                    unit: $unit,
                    description: $description,
                    kind: $crate::metric_table!(@kind $kind),
                    attributes: &[$($attribute,)* $($($required,)*)?],
                    required: &[$($($required),*)?],
                },)+
            ];

            fn check(&mut self, s: &mut otelcore_config::Section<'_>) {
                let all = [$(self.$field.written_attributes()),+];
                for (spec, attributes) in Self::SPECS.iter().zip(all) {
                    $crate::check_attributes(s, spec, attributes);
                }
            }

            /// What the recorder needs, in the order of the table.
            pub(crate) fn settings(&self) -> Vec<$crate::MetricSetting> {
                let mut specs = Self::SPECS.iter();
                let mut settings = Vec::new();
                $(settings.extend(specs.next().map(|spec| self.$field.setting(spec)));)+
                settings
            }
        }
    };
}
