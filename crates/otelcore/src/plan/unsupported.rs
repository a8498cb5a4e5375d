//! Components of the Go distributions that are in users' files and are not built in here yet, by old and new id.
//!
//! They are errors like every unknown type. With this module the error can say that the type is not misspelled, and
//! where else the configuration names the component.

use std::collections::BTreeMap;

use otelcore_config::{ComponentId, ConfigNode, SourceLocation, steps};
use otelcore_pipeline::ComponentKind;

/// Type names without underscores: `filestats` also matches `file_stats`, `logdedup` `log_dedup`. Those of all
/// distributions of the Go collector from 0.86 to 0.159, and a few of older ones. Types that are built in are found
/// before.
const RECEIVERS: &str = "
    activedirectoryds aerospike apache apachespark awscloudwatch awscontainerinsight awscontainerinsightreceiver
    awsecscontainermetrics awsfirehose awslambda awss3 awsxray azureblob azureeventhub azuremonitor bigip carbon
    chrony ciscoos cloudflare cloudfoundry collectd couchdb datadog dockerstats elasticsearch envoyals expvar
    faro file filestats flinkmetrics fluentforward github gitlab googlecloudmonitoring googlecloudpubsub
    googlecloudspanner haproxy httpcheck huaweicloudcesreceiver icmpcheck iis influxdb jmx
    journald libhoney loki macosunifiedlogging
    memcached mongodb mongodbatlas mysql namedpipe netflow nginx nsxt ntp opencensus oracledb otelarrow
    otlpjsonfile podman podmanstats postgresql pprof profiling prometheusremotewrite prometheussimple
    pulsar purefa purefb rabbitmq receivercreator redis riak saphana sapm sematext signalfx simpleprometheus
    skywalking snmp snowflake solace splunkenterprise splunkhec sqlquery sqlserver sshcheck statsd stef syslog
    systemd tcpcheck tcplog tlscheck udplog vcenter wavefront webhookevent windowseventlog windowsperfcounters
    windowsservice yanggrpc zookeeper
";
const PROCESSORS: &str = "
    cardinalityguardian coralogix datadog deltatorate drain experimentalmetricsgeneration
    genainormalizer geoip interval isolationforest k8stagger logdedup logstransform
    metricsgeneration metricstarttime queuedretry remoteobserver remotetap routing schema
    servicegraph spanmetrics sumologic unroll
";
const EXPORTERS: &str = "
    alibabacloudlogservice awscloudwatchlogs awsemf awskinesis awss3 awsxray azureblob azuredataexplorer
    azuremonitor bmchelix carbon cassandra clickhouse coralogix datadog dataset doris dynatrace elasticsearch
    f5cloud faro googlecloud googlecloudpubsub googlecloudstorage googlemanagedprometheus honeycombmarker
    influxdb instana jaegerthrift jaegerthrifthttp kineticadb logicmonitor logzio mezmo
    opencensus opensearch otelarrow parquet pulsar rabbitmq sapm sematext sentry signalfx
    skywalking splunkhec stef sumologic syslog tanzuobservability tencentcloudlogservice tinybird
";
const EXTENSIONS: &str = "
    ack asapauth asapclient avrologencoding awscloudwatchmetricstreamsencoding awsiamdbauth awslogsencoding
    awsproxy azureauth azureencoding cfgardenobserver cgroupruntime datadog dbstorage dockerobserver ecsobserver
    ecstaskobserver googleclientauth googlecloudlogentryencoding healthcheckv2
    hostobserver httpforwarder jaegerencoding jaegerquery jaegerremotesampling jsonlogencoding
    k8sobserver kafkatopicsobserver memorylimiter oauth2client oauth2clientauth oidc oidcauth opamp otlpencoding
    pebbletailstorage redisstorage remotetap sigv4auth skywalkingencoding solarwindsapmsettings sumologic
    textencoding zipkinencoding
";

const CONNECTORS: &str = "
    datadog exceptions forward grafanacloud metricsaslogs otlpjson signaltometrics slowsql
";

const fn names_of_kind(kind: ComponentKind) -> &'static str {
    match kind {
        ComponentKind::Receiver => RECEIVERS,
        ComponentKind::Processor => PROCESSORS,
        ComponentKind::Exporter => EXPORTERS,
        ComponentKind::Connector => CONNECTORS,
        ComponentKind::Extension => EXTENSIONS,
    }
}

/// The types of the Go distributions that a configuration can't use here, without underscores, by name.
///
/// A type that is both built in and in these lists (a connector that has the name of a removed processor) is among them:
/// the registry says what is built in.
pub fn unsupported_types(kind: ComponentKind) -> impl Iterator<Item = &'static str> {
    names_of_kind(kind).split_whitespace()
}

/// Whether a type that is not built in is one that the Go collector has.
pub(super) fn is_known_type(kind: ComponentKind, ty: &str) -> bool {
    contains_type(names_of_kind(kind), ty)
}

/// The names of all connectors, for suggestions.
pub(super) fn connector_names() -> impl Iterator<Item = &'static str> {
    CONNECTORS.split_whitespace()
}

fn contains_type(names: &str, ty: &str) -> bool {
    let normalized = ty.replace('_', "");
    names.split_whitespace().any(|name| name == normalized)
}

/// Where a component is named, other than in its own section.
#[derive(Debug, Default)]
pub(super) struct UsePlaces {
    /// Pipelines by id.
    pipelines: Vec<String>,
    /// Named in `service::extensions`.
    is_in_service: bool,
    /// The first of these places.
    pub(super) first_origin: Option<SourceLocation>,
}

impl UsePlaces {
    /// ` and in the pipelines logs, traces`: the part of the message that follows `here`.
    pub(super) fn message_suffix(&self) -> String {
        match self.pipelines.as_slice() {
            [] if self.is_in_service => " and in `service::extensions`".to_owned(),
            [] => String::new(),
            [one] => format!(" and in the pipeline {one}"),
            more => format!(" and in the pipelines {}", more.join(", ")),
        }
    }
}

/// The most pipelines that a message names.
const MAX_NAMED_PIPELINES: usize = 20;

/// Every component that pipelines and the service name, found in one walk over the tree.
#[derive(Debug, Default)]
pub(super) struct ComponentUses {
    /// By the section that a name is looked up in.
    places: BTreeMap<(&'static str, ComponentId), UsePlaces>,
}

impl ComponentUses {
    pub(super) fn collect(root: &ConfigNode) -> Self {
        let mut component_uses = Self::default();
        for (id, origin) in ids(root.get_path("service::extensions")) {
            let places = component_uses.add(super::section_name(ComponentKind::Extension), id, origin);
            places.is_in_service = true;
        }
        for pipeline in root.get_path("service::pipelines").and_then(ConfigNode::as_map).into_iter().flatten() {
            for list in
                [ComponentKind::Receiver, ComponentKind::Processor, ComponentKind::Exporter].map(super::section_name)
            {
                for (id, origin) in ids(pipeline.node.get_path(list)) {
                    let sections: &[&'static str] = if list == "processors" {
                        &[list]
                    } else {
                        &[list, super::section_name(ComponentKind::Connector)]
                    };
                    for section in sections {
                        let places = component_uses.add(section, id.clone(), origin);
                        let is_listed = places.pipelines.last().is_some_and(|last| *last == *pipeline.key);
                        if !is_listed && places.pipelines.len() < MAX_NAMED_PIPELINES {
                            places.pipelines.push(pipeline.key.to_string());
                        }
                    }
                }
            }
        }
        component_uses
    }

    fn add(&mut self, section: &'static str, id: ComponentId, origin: &SourceLocation) -> &mut UsePlaces {
        steps::add(1);
        let places = self.places.entry((section, id)).or_default();
        places.first_origin.get_or_insert_with(|| origin.clone());
        places
    }

    /// Where a component of a kind is named; `None` where nothing names it.
    pub(super) fn of_component(&self, kind: ComponentKind, id: &ComponentId) -> Option<&UsePlaces> {
        self.places.get(&(super::section_name(kind), id.clone()))
    }
}

fn ids(list: Option<&ConfigNode>) -> impl Iterator<Item = (ComponentId, &SourceLocation)> {
    let items = list.map(ConfigNode::items).unwrap_or_default().iter();
    items.filter_map(|node| Some((node.as_str()?.parse().ok()?, &node.origin)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_of_the_go_collector_is_known_by_old_and_new_id() {
        for (kind, ids) in [
            (ComponentKind::Receiver, &["filestats", "file_stats", "docker_stats"][..]),
            (ComponentKind::Processor, &["logdedup", "log_dedup"]),
            (ComponentKind::Exporter, &["google_cloud_storage", "aws_xray"]),
            (ComponentKind::Extension, &["k8s_observer", "oidc", "healthcheckv2"]),
        ] {
            assert!(ids.iter().all(|id| is_known_type(kind, id)), "{ids:?}");
        }
        assert!(!is_known_type(ComponentKind::Receiver, "oltp"));
        let is_connector = |id| is_known_type(ComponentKind::Connector, id);
        assert!(is_connector("signal_to_metrics") && is_connector("forward") && !is_connector("exception"));
    }

    #[test]
    fn lists_are_sorted_and_alphanumeric() {
        for list in [RECEIVERS, PROCESSORS, EXPORTERS, EXTENSIONS, CONNECTORS] {
            assert!(list.split_whitespace().is_sorted_by(|a, b| a < b));
            assert!(list.split_whitespace().all(|name| name.bytes().all(|b| b.is_ascii_alphanumeric())));
        }
    }

    #[test]
    fn message_names_the_pipelines_that_use_the_component() {
        let d = otelcore_config::Diagnostics::new();
        let text = "service:\n  extensions: [zpages]\n  pipelines:\n    logs: {receivers: [otlp]}\n    traces: {receivers: [otlp, kafka]}\n    traces/2: {receivers: [kafka]}\n";
        let root = otelcore_config::from_yaml(text, &d).unwrap();
        let component_uses = ComponentUses::collect(&root);
        let id = |text: &str| text.parse::<ComponentId>().unwrap();
        let places = component_uses.of_component(ComponentKind::Receiver, &id("kafka")).unwrap();
        assert_eq!(places.message_suffix(), " and in the pipelines traces, traces/2");
        assert_eq!(places.first_origin.as_ref().unwrap().line, 5);
        let service = component_uses.of_component(ComponentKind::Extension, &id("zpages")).unwrap();
        assert_eq!(service.message_suffix(), " and in `service::extensions`");
        assert_eq!(
            component_uses.of_component(ComponentKind::Connector, &id("otlp")).unwrap().message_suffix(),
            " and in the pipelines logs, traces"
        );
        assert!(component_uses.of_component(ComponentKind::Receiver, &id("zipkin")).is_none());
    }
}
