//! Which paths each context has, and what they are resolved to.

use super::{
    ContextType, DataPointField, Field, LogField, MetricField, RequestField, ResolvedPath, ResourceField, ScopeField,
    Segment, SpanEventField, SpanField, UnknownPath, enums,
};

/// A path below the name of a context.
struct Path {
    /// One or two names.
    names: &'static [&'static str],
    field: Field,
    /// Whether the last of them can have keys.
    has_keys: bool,
}

const fn plain(names: &'static [&'static str], field: Field) -> Path {
    Path { names, field, has_keys: false }
}

const fn keyed(names: &'static [&'static str], field: Field) -> Path {
    Path { names, field, has_keys: true }
}

/// The paths below one name.
struct PathTable {
    /// The context that Go's messages name.
    context: &'static str,
    /// Where Go's messages say that the paths are documented.
    documentation: &'static str,
    /// The first names of all paths.
    names: &'static [&'static str],
    paths: &'static [Path],
}

macro_rules! table {
    ($name:ident, $context:literal, $documentation:literal, [$( $kind:ident $names:expr => $field:expr, )*], $first:expr) => {
        static $name: PathTable = PathTable {
            context: $context,
            documentation: concat!(
                "https://github.com/open-telemetry/opentelemetry-collector-contrib/tree/main/pkg/ottl/contexts/",
                $documentation
            ),
            names: $first,
            paths: &[ $( $kind(&$names, $field), )* ],
        };
    };
}

table!(RESOURCE_PATHS, "resource", "ottlresource", [
    keyed ["attributes"] => Field::Resource(ResourceField::Attributes),
    plain ["dropped_attributes_count"] => Field::Resource(ResourceField::DroppedAttributesCount),
    plain ["schema_url"] => Field::Resource(ResourceField::SchemaUrl),
], &["attributes", "dropped_attributes_count", "schema_url", "cache"]);

table!(SCOPE_PATHS, "instrumentation_scope", "ottlscope", [
    plain ["name"] => Field::Scope(ScopeField::Name),
    plain ["version"] => Field::Scope(ScopeField::Version),
    keyed ["attributes"] => Field::Scope(ScopeField::Attributes),
    plain ["dropped_attributes_count"] => Field::Scope(ScopeField::DroppedAttributesCount),
    plain ["schema_url"] => Field::Scope(ScopeField::SchemaUrl),
], &["name", "version", "attributes", "dropped_attributes_count", "schema_url", "cache"]);

table!(SPAN_PATHS, "span", "ottlspan", [
    plain ["trace_id"] => Field::Span(SpanField::TraceId),
    plain ["trace_id", "string"] => Field::Span(SpanField::TraceIdString),
    plain ["span_id"] => Field::Span(SpanField::SpanId),
    plain ["span_id", "string"] => Field::Span(SpanField::SpanIdString),
    keyed ["trace_state"] => Field::Span(SpanField::TraceState),
    plain ["parent_span_id"] => Field::Span(SpanField::ParentSpanId),
    plain ["parent_span_id", "string"] => Field::Span(SpanField::ParentSpanIdString),
    plain ["name"] => Field::Span(SpanField::Name),
    plain ["kind"] => Field::Span(SpanField::Kind),
    plain ["kind", "string"] => Field::Span(SpanField::KindString),
    plain ["kind", "deprecated_string"] => Field::Span(SpanField::KindDeprecatedString),
    plain ["start_time_unix_nano"] => Field::Span(SpanField::StartTimeUnixNano),
    plain ["end_time_unix_nano"] => Field::Span(SpanField::EndTimeUnixNano),
    plain ["start_time"] => Field::Span(SpanField::StartTime),
    plain ["end_time"] => Field::Span(SpanField::EndTime),
    keyed ["attributes"] => Field::Span(SpanField::Attributes),
    plain ["dropped_attributes_count"] => Field::Span(SpanField::DroppedAttributesCount),
    plain ["events"] => Field::Span(SpanField::Events),
    plain ["dropped_events_count"] => Field::Span(SpanField::DroppedEventsCount),
    plain ["links"] => Field::Span(SpanField::Links),
    plain ["dropped_links_count"] => Field::Span(SpanField::DroppedLinksCount),
    plain ["status"] => Field::Span(SpanField::Status),
    plain ["status", "code"] => Field::Span(SpanField::StatusCode),
    plain ["status", "message"] => Field::Span(SpanField::StatusMessage),
    plain ["flags"] => Field::Span(SpanField::Flags),
], &[
    "trace_id", "span_id", "trace_state", "parent_span_id", "name", "kind", "start_time_unix_nano",
    "end_time_unix_nano", "start_time", "end_time", "attributes", "dropped_attributes_count", "events",
    "dropped_events_count", "links", "dropped_links_count", "status", "flags", "cache",
]);

table!(SPAN_EVENT_PATHS, "spanevent", "ottlspanevent", [
    plain ["time_unix_nano"] => Field::SpanEvent(SpanEventField::TimeUnixNano),
    plain ["time"] => Field::SpanEvent(SpanEventField::Time),
    plain ["name"] => Field::SpanEvent(SpanEventField::Name),
    keyed ["attributes"] => Field::SpanEvent(SpanEventField::Attributes),
    plain ["dropped_attributes_count"] => Field::SpanEvent(SpanEventField::DroppedAttributesCount),
    plain ["event_index"] => Field::SpanEvent(SpanEventField::EventIndex),
], &["time_unix_nano", "time", "name", "attributes", "dropped_attributes_count", "event_index", "cache"]);

table!(METRIC_PATHS, "metric", "ottlmetric", [
    plain ["name"] => Field::Metric(MetricField::Name),
    plain ["description"] => Field::Metric(MetricField::Description),
    plain ["unit"] => Field::Metric(MetricField::Unit),
    plain ["type"] => Field::Metric(MetricField::Type),
    plain ["aggregation_temporality"] => Field::Metric(MetricField::AggregationTemporality),
    plain ["is_monotonic"] => Field::Metric(MetricField::IsMonotonic),
    plain ["data_points"] => Field::Metric(MetricField::DataPoints),
    keyed ["metadata"] => Field::Metric(MetricField::Metadata),
], &[
    "name", "description", "unit", "type", "aggregation_temporality", "is_monotonic", "data_points", "metadata",
    "cache",
]);

table!(DATA_POINT_PATHS, "datapoint", "ottldatapoint", [
    keyed ["attributes"] => Field::DataPoint(DataPointField::Attributes),
    plain ["start_time_unix_nano"] => Field::DataPoint(DataPointField::StartTimeUnixNano),
    plain ["time_unix_nano"] => Field::DataPoint(DataPointField::TimeUnixNano),
    plain ["start_time"] => Field::DataPoint(DataPointField::StartTime),
    plain ["time"] => Field::DataPoint(DataPointField::Time),
    plain ["value_double"] => Field::DataPoint(DataPointField::ValueDouble),
    plain ["value_int"] => Field::DataPoint(DataPointField::ValueInt),
    plain ["exemplars"] => Field::DataPoint(DataPointField::Exemplars),
    plain ["flags"] => Field::DataPoint(DataPointField::Flags),
    plain ["count"] => Field::DataPoint(DataPointField::Count),
    plain ["sum"] => Field::DataPoint(DataPointField::Sum),
    plain ["bucket_counts"] => Field::DataPoint(DataPointField::BucketCounts),
    plain ["explicit_bounds"] => Field::DataPoint(DataPointField::ExplicitBounds),
    plain ["scale"] => Field::DataPoint(DataPointField::Scale),
    plain ["zero_count"] => Field::DataPoint(DataPointField::ZeroCount),
    plain ["positive"] => Field::DataPoint(DataPointField::Positive),
    plain ["positive", "offset"] => Field::DataPoint(DataPointField::PositiveOffset),
    plain ["positive", "bucket_counts"] => Field::DataPoint(DataPointField::PositiveBucketCounts),
    plain ["negative"] => Field::DataPoint(DataPointField::Negative),
    plain ["negative", "offset"] => Field::DataPoint(DataPointField::NegativeOffset),
    plain ["negative", "bucket_counts"] => Field::DataPoint(DataPointField::NegativeBucketCounts),
    plain ["quantile_values"] => Field::DataPoint(DataPointField::QuantileValues),
], &[
    "attributes", "start_time_unix_nano", "time_unix_nano", "start_time", "time", "value_double", "value_int",
    "exemplars", "flags", "count", "sum", "bucket_counts", "explicit_bounds", "scale", "zero_count", "positive",
    "negative", "quantile_values", "cache",
]);

table!(LOG_PATHS, "log", "ottllog", [
    plain ["time_unix_nano"] => Field::Log(LogField::TimeUnixNano),
    plain ["observed_time_unix_nano"] => Field::Log(LogField::ObservedTimeUnixNano),
    plain ["time"] => Field::Log(LogField::Time),
    plain ["observed_time"] => Field::Log(LogField::ObservedTime),
    plain ["severity_number"] => Field::Log(LogField::SeverityNumber),
    plain ["severity_text"] => Field::Log(LogField::SeverityText),
    keyed ["body"] => Field::Log(LogField::Body),
    plain ["body", "string"] => Field::Log(LogField::BodyString),
    keyed ["attributes"] => Field::Log(LogField::Attributes),
    plain ["dropped_attributes_count"] => Field::Log(LogField::DroppedAttributesCount),
    plain ["flags"] => Field::Log(LogField::Flags),
    plain ["trace_id"] => Field::Log(LogField::TraceId),
    plain ["trace_id", "string"] => Field::Log(LogField::TraceIdString),
    plain ["span_id"] => Field::Log(LogField::SpanId),
    plain ["span_id", "string"] => Field::Log(LogField::SpanIdString),
    plain ["event_name"] => Field::Log(LogField::EventName),
], &[
    "time_unix_nano", "observed_time_unix_nano", "time", "observed_time", "severity_number", "severity_text", "body",
    "attributes", "dropped_attributes_count", "flags", "trace_id", "span_id", "event_name", "cache",
]);

table!(REQUEST_PATHS, "otelcol", "ottlotelcol", [
    keyed ["client", "metadata"] => Field::Request(RequestField::ClientMetadata),
    keyed ["client", "auth", "attributes"] => Field::Request(RequestField::ClientAuthAttributes),
    keyed ["grpc", "metadata"] => Field::Request(RequestField::GrpcMetadata),
], &["client", "grpc"]);

fn table_of(context: &str) -> &'static PathTable {
    match context {
        "resource" => &RESOURCE_PATHS,
        "scope" | "instrumentation_scope" => &SCOPE_PATHS,
        "spanevent" => &SPAN_EVENT_PATHS,
        "metric" => &METRIC_PATHS,
        "datapoint" => &DATA_POINT_PATHS,
        "log" => &LOG_PATHS,
        "otelcol" => &REQUEST_PATHS,
        _ => &SPAN_PATHS,
    }
}

fn resolve(context: &str, path: &[Segment<'_>]) -> Result<ResolvedPath, UnknownPath> {
    let table = table_of(context);
    let unknown = |segment: usize, valid: &'static [&'static str]| {
        let names: Vec<&str> = path.iter().map(|segment| segment.name).collect();
        let name = names.get(segment).copied().unwrap_or_default();
        let full = [&[context], &names[..]].concat().join(".");
        let PathTable { context, documentation, .. } = *table;
        UnknownPath {
            message: format!(
                "segment \"{name}\" from path \"{full}\" is not a valid path nor a valid OTTL keyword for the {context} context - review {documentation} to see all valid paths"
            ),
            segment,
            valid,
        }
    };
    if let ("otelcol", [first, second, ..]) = (context, path)
        && first.name == "client"
        && second.name == "addr"
    {
        let message = "the path \"otelcol.client.addr\" is not supported yet".to_owned();
        return Err(UnknownPath { message, segment: 1, valid: &["auth", "metadata"] });
    }
    // The longest match.
    let matches = |found: &&Path| {
        found.names.len() <= path.len() && found.names.iter().zip(path).all(|(name, segment)| *name == segment.name)
    };
    let found = table.paths.iter().filter(matches).max_by_key(|found| found.names.len());
    let Some(found) = found else {
        let is_first_known = path.first().is_some_and(|first| table.names.contains(&first.name));
        return Err(unknown(usize::from(is_first_known && path.len() > 1), table.names));
    };
    let used = found.names.len();
    // A name that another path has a second name below is followed by one of these.
    let has_longer = table.paths.iter().any(|other| other.names.len() > used && other.names.starts_with(found.names));
    if has_longer && path.len() > used {
        return Err(unknown(used, &[]));
    }
    Ok(ResolvedPath { field: found.field, segments: used, keyed: found.has_keys.then(|| used - 1) })
}

/// Resources of any signal.
pub const RESOURCE: ContextType = ContextType {
    name: "resource",
    path_contexts: &["resource", "otelcol"],
    resolve,
    enum_value: |_| None,
    enum_symbols: &[],
};

/// Instrumentation scopes of any signal.
pub const SCOPE: ContextType = ContextType {
    name: "scope",
    path_contexts: &["scope", "resource", "otelcol"],
    resolve,
    enum_value: |_| None,
    enum_symbols: &[],
};

/// Spans.
pub const SPAN: ContextType = ContextType {
    name: "span",
    path_contexts: &["span", "resource", "instrumentation_scope", "scope", "otelcol"],
    resolve,
    enum_value: enums::span,
    enum_symbols: enums::SPAN_SYMBOLS,
};

/// Events of spans.
pub const SPAN_EVENT: ContextType = ContextType {
    name: "spanevent",
    path_contexts: &["spanevent", "span", "resource", "instrumentation_scope", "scope", "otelcol"],
    resolve,
    enum_value: enums::span,
    enum_symbols: enums::SPAN_SYMBOLS,
};

/// Metrics.
pub const METRIC: ContextType = ContextType {
    name: "metric",
    path_contexts: &["metric", "instrumentation_scope", "scope", "resource", "otelcol"],
    resolve,
    enum_value: enums::metric,
    enum_symbols: enums::METRIC_SYMBOLS,
};

/// Data points.
pub const DATA_POINT: ContextType = ContextType {
    name: "datapoint",
    path_contexts: &["datapoint", "resource", "instrumentation_scope", "scope", "metric", "otelcol"],
    resolve,
    enum_value: enums::data_point,
    enum_symbols: enums::DATA_POINT_SYMBOLS,
};

/// Log records.
pub const LOG: ContextType = ContextType {
    name: "log",
    path_contexts: &["log", "instrumentation_scope", "scope", "resource", "otelcol"],
    resolve,
    enum_value: enums::log,
    enum_symbols: enums::LOG_SYMBOLS,
};

/// The fields of all paths of a context.
#[cfg(test)]
pub(super) fn fields(context: &str) -> impl Iterator<Item = Field> {
    table_of(context).paths.iter().map(|path| path.field)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(context: &str, path: &str) -> Result<ResolvedPath, UnknownPath> {
        let segments: Vec<Segment<'_>> = path.split('.').map(|name| Segment { name, has_keys: false }).collect();
        resolve(context, &segments)
    }

    #[test]
    fn first_names_of_all_paths_are_listed_and_resolved() {
        for context in ["resource", "scope", "span", "spanevent", "metric", "datapoint", "log", "otelcol"] {
            let table = table_of(context);
            for path in table.paths {
                assert!(table.names.contains(&path.names[0]), "{context} {:?}", path.names);
                let found = resolved(context, &path.names.join(".")).unwrap();
                assert_eq!((found.field, found.segments), (path.field, path.names.len()));
                assert_eq!(found.keyed, path.has_keys.then(|| path.names.len() - 1));
            }
            let firsts = table.names.iter().filter(|name| **name != "cache");
            assert!(firsts.clone().all(|name| table.paths.iter().any(|path| path.names[0] == *name)), "{context}");
        }
    }

    #[test]
    fn unknown_segment_is_named_with_the_valid_ones() {
        let unknown = resolved("span", "nam").unwrap_err();
        assert_eq!((unknown.segment, unknown.valid.contains(&"name")), (0, true));
        assert_eq!(
            unknown.message,
            "segment \"nam\" from path \"span.nam\" is not a valid path nor a valid OTTL keyword for the span context - \
             review https://github.com/open-telemetry/opentelemetry-collector-contrib/tree/main/pkg/ottl/contexts/ottlspan \
             to see all valid paths"
        );
        assert_eq!(resolved("span", "status.x").unwrap_err().segment, 1);
        // What follows a path that has nothing below it is found by the compiler.
        assert_eq!(resolved("span", "name.x").unwrap().segments, 1);
        assert_eq!(resolved("otelcol", "client").unwrap_err().segment, 0);
        assert_eq!(resolved("otelcol", "client.auth").unwrap_err().segment, 1);
        assert!(resolved("otelcol", "client.addr").unwrap_err().message.contains("not supported yet"));
    }
}
