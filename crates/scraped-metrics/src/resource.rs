//! The attributes of resources: their switches, the filters of resources, and the macro that declares them.

use otelcore_config::{Section, config_struct};
use otelcore_go_regexp::GoRegexp;
use otelcore_pdata::build::AttributesWriter;

config_struct! {
    /// A value of a resource attribute, or a pattern for it.
    #[config(check = Self::check)]
    pub struct AttributeFilterConfig {
        /// The value.
        pub strict: String,
        /// A regular expression that matches a part of the value.
        pub regexp: String,
    }
}

impl AttributeFilterConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        match (self.strict.is_empty(), self.regexp.is_empty()) {
            (true, true) => {
                s.error_for_keys(&["strict", "regexp"], "must specify either strict or regex");
            }
            (false, false) => {
                s.error("regexp", "strict and regex cannot be used together");
            }
            _ => {}
        }
        if let Err(e) = GoRegexp::compile(&self.regexp) {
            s.error("regexp", e.to_string()).help(e.hint());
        }
    }
}

config_struct! {
    /// An attribute of a resource.
    pub struct ResourceAttributeConfig {
        /// Whether resources have the attribute.
        pub enabled: bool,
        /// Only resources with one of these values are sent.
        pub metrics_include: Vec<AttributeFilterConfig>,
        /// Resources with one of these values are not sent.
        pub metrics_exclude: Vec<AttributeFilterConfig>,
    }
}

/// Which values of a resource attribute are sent.
#[derive(Debug, Default)]
pub struct AttributeFilter {
    include: Vec<ValuePattern>,
    exclude: Vec<ValuePattern>,
}

#[derive(Debug)]
enum ValuePattern {
    Equal(String),
    Regexp(GoRegexp),
}

impl ValuePattern {
    fn compile(configs: &[AttributeFilterConfig]) -> Vec<Self> {
        let pattern = |config: &AttributeFilterConfig| {
            if config.regexp.is_empty() {
                return Some(Self::Equal(config.strict.clone()));
            }
            // The check of the configuration has refused other patterns.
            GoRegexp::compile(&config.regexp).ok().map(Self::Regexp)
        };
        configs.iter().filter_map(pattern).collect()
    }

    fn matches(&self, value: &str) -> bool {
        match self {
            Self::Equal(text) => text == value,
            Self::Regexp(regexp) => regexp.is_match(value.as_bytes()),
        }
    }
}

impl AttributeFilter {
    /// The filters of an attribute.
    #[must_use]
    pub fn new(config: &ResourceAttributeConfig) -> Self {
        Self {
            include: ValuePattern::compile(&config.metrics_include),
            exclude: ValuePattern::compile(&config.metrics_exclude),
        }
    }

    /// Whether a resource with this value is sent.
    #[must_use]
    pub fn includes(&self, value: &str) -> bool {
        (self.include.is_empty() || self.include.iter().any(|pattern| pattern.matches(value)))
            && !self.exclude.iter().any(|pattern| pattern.matches(value))
    }
}

impl ResourceAttributeConfig {
    /// An attribute without filters.
    #[must_use]
    pub fn switched(enabled: bool) -> Self {
        Self { enabled, ..Self::default() }
    }
}

/// An attribute as it is configured.
#[derive(Debug)]
pub struct AttributeSetting {
    /// Its key.
    pub key: &'static str,
    /// Whether resources have it.
    pub is_enabled: bool,
    /// Which values are sent.
    pub filter: AttributeFilter,
}

impl AttributeSetting {
    /// The attribute `key` as `config` says.
    #[must_use]
    pub fn new(key: &'static str, config: &ResourceAttributeConfig) -> Self {
        Self { key, is_enabled: config.enabled, filter: AttributeFilter::new(config) }
    }
}

/// The attributes of one resource after another, in the order in which they are set. See [`Recorder::emit_for`].
///
/// [`Recorder::emit_for`]: crate::Recorder::emit_for
#[derive(Debug)]
pub struct ResourceAttributes {
    settings: Vec<AttributeSetting>,
    values: Vec<(usize, String)>,
}

impl ResourceAttributes {
    /// A resource without attributes. The settings are those of a table, in its order.
    #[must_use]
    pub fn new(settings: Vec<AttributeSetting>) -> Self {
        Self { settings, values: Vec::new() }
    }

    /// Begins another resource.
    pub fn clear(&mut self) {
        self.values.clear();
    }

    /// Sets an attribute, unless it is disabled. The last value counts.
    pub fn set(&mut self, attribute: impl Into<usize>, value: &str) {
        let attribute = attribute.into();
        if !self.settings.get(attribute).is_some_and(|setting| setting.is_enabled) {
            return;
        }
        match self.values.iter_mut().find(|(known, _)| *known == attribute) {
            Some((_, old)) => value.clone_into(old),
            None => self.values.push((attribute, value.to_owned())),
        }
    }

    /// Whether the filters of all its attributes send the resource.
    #[must_use]
    pub fn is_sent(&self) -> bool {
        let includes = |(attribute, value): &(usize, String)| {
            self.settings.get(*attribute).is_none_or(|setting| setting.filter.includes(value))
        };
        self.values.iter().all(includes)
    }

    /// Whether resources have this attribute.
    #[must_use]
    pub fn is_enabled(&self, attribute: impl Into<usize>) -> bool {
        self.settings.get(attribute.into()).is_some_and(|setting| setting.is_enabled)
    }

    /// The key of an attribute.
    #[must_use]
    pub fn key(&self, attribute: impl Into<usize>) -> &'static str {
        self.settings.get(attribute.into()).map(|setting| setting.key).unwrap_or_default()
    }

    /// The attributes that are set, by their positions.
    pub fn values(&self) -> impl Iterator<Item = (usize, &str)> {
        self.values.iter().map(|(attribute, value)| (*attribute, value.as_str()))
    }

    /// Writes the attributes.
    pub fn write(&self, attributes: &mut AttributesWriter<'_>) {
        for (attribute, value) in &self.values {
            if let Some(setting) = self.settings.get(*attribute) {
                attributes.string(setting.key.as_bytes(), value.as_bytes());
            }
        }
    }
}

/// Declares the attributes of resources: the section `resource_attributes`, and an enum with the position of each
/// attribute. The crate that uses it depends on `otelcore_config`. A key that is deprecated says so behind `deprecated`:
/// it is warned of where it is enabled.
///
/// ```
/// otelcore_scraped_metrics::resource_attribute_table! {
///     /// The attributes of nodes.
///     NodeAttributesConfig NodeAttribute {
///         // variant, field, key, on or off by default, description
///         Name name "k8s.node.name" on "The name of the node.";
///         Disk disk "disk" off "Its disk." deprecated "This resource_attribute is deprecated";
///     }
/// }
/// let mut node = otelcore_scraped_metrics::ResourceAttributes::new(NodeAttributesConfig::default().settings());
/// node.set(NodeAttribute::Name, "n1");
/// node.set(NodeAttribute::Disk, "d1");
/// assert!(node.is_sent());
/// ```
#[macro_export]
macro_rules! resource_attribute_table {
    (@on on) => { true };
    (@on off) => { false };
    (@warn $s:ident $config:expr, $key:literal) => {};
    (@warn $s:ident $config:expr, $key:literal $warning:literal) => {
        if $config.enabled {
            $s.warn($key, concat!("`", $key, "` should not be enabled: ", $warning));
        }
    };
    (
        $(#[doc = $doc:literal])*
        $name:ident $attribute:ident {
            $(
                $variant:ident $field:ident $key:literal $enabled:ident $description:literal
                $(deprecated $warning:literal)?;
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
                    pub $field: $crate::ResourceAttributeConfig =
                        $crate::ResourceAttributeConfig::switched($crate::resource_attribute_table!(@on $enabled)),
                )+
            }
        }

        /// The position of each attribute.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $attribute {
            $(#[doc = $description] $variant,)+
        }

        impl From<$attribute> for usize {
            fn from(attribute: $attribute) -> Self {
                attribute as Self
            }
        }

        impl $name {
            #[allow(clippy::unused_self, clippy::needless_pass_by_ref_mut, unused_variables, reason = "of no use to some tables")]
            fn check(&mut self, s: &mut otelcore_config::Section<'_>) {
                $($crate::resource_attribute_table!(@warn s self.$field, $key $($warning)?);)+
            }

            /// What [`ResourceAttributes`] needs, in the order of the table.
            ///
            /// [`ResourceAttributes`]: otelcore_scraped_metrics::ResourceAttributes
            pub(crate) fn settings(&self) -> Vec<$crate::AttributeSetting> {
                vec![$($crate::AttributeSetting::new($key, &self.$field)),+]
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(strict: &str, regexp: &str) -> AttributeFilterConfig {
        AttributeFilterConfig { strict: strict.to_owned(), regexp: regexp.to_owned() }
    }

    #[test]
    fn resource_whose_value_is_excluded_or_not_included_is_not_sent() {
        let include = vec![filter("", "^a"), filter("b", "")];
        let config = ResourceAttributeConfig { enabled: true, metrics_include: include, metrics_exclude: Vec::new() };
        let excluding = ResourceAttributeConfig { metrics_exclude: vec![filter("x", "")], ..config.clone() };
        let excluding = ResourceAttributeConfig { metrics_include: Vec::new(), ..excluding };
        let off = ResourceAttributeConfig { enabled: false, ..config.clone() };
        let settings = [("one", &config), ("two", &excluding), ("off", &off)];
        let settings = settings.iter().map(|(key, config)| AttributeSetting::new(key, config)).collect();
        let mut resource = ResourceAttributes::new(settings);
        for (one, two, is_sent) in [("ab", "y", true), ("b", "x", false), ("bb", "y", false), ("b", "xx", true)] {
            resource.clear();
            resource.set(0_usize, "overwritten");
            resource.set(0_usize, one);
            resource.set(1_usize, two);
            resource.set(2_usize, "a disabled attribute has no filter");
            assert_eq!(resource.is_sent(), is_sent, "{one} {two}");
            assert_eq!(resource.values.len(), 2);
        }
        resource.clear();
        assert!(resource.is_sent(), "attributes that are not set have no filter");
    }
}
