//! Components of the Go distributions that are in users' files and are not built in here yet, by old and new id.
//!
//! They are errors like every unknown type. With this module the error can say that the type is not misspelled, and
//! where else the configuration names the component.

use std::collections::BTreeMap;

use otelcore_config::{ComponentId, Node, Origin, steps};
use otelcore_pipeline::Kind;

/// Type names without underscores: `filelog` also matches `file_log`, `k8sattributes` `k8s_attributes`. Those of all
/// distributions of the Go collector from 0.86 to 0.159, and a few of older ones. Types that are built in are found
/// before.
const RECEIVERS: &str = "
    activedirectoryds aerospike apache apachespark awscloudwatch awscontainerinsight awscontainerinsightreceiver
    awsecscontainermetrics awsfirehose awslambda awss3 awsxray azureblob azureeventhub azuremonitor bigip carbon
    chrony ciscoos cloudflare cloudfoundry collectd couchdb datadog dockerstats elasticsearch envoyals expvar
    faro file filelog filestats flinkmetrics fluentforward github gitlab googlecloudmonitoring googlecloudpubsub
    googlecloudspanner haproxy hostmetrics httpcheck huaweicloudcesreceiver icmpcheck iis influxdb jaeger jmx
    journald k8scluster k8sevents k8sobjects kafka kafkametrics kubeletstats libhoney loki macosunifiedlogging
    memcached mongodb mongodbatlas mysql namedpipe netflow nginx nsxt ntp opencensus oracledb otelarrow
    otlpjsonfile podman podmanstats postgresql pprof profiling prometheus prometheusremotewrite prometheussimple
    pulsar purefa purefb rabbitmq receivercreator redis riak saphana sapm sematext signalfx simpleprometheus
    skywalking snmp snowflake solace splunkenterprise splunkhec sqlquery sqlserver sshcheck statsd stef syslog
    systemd tcpcheck tcplog tlscheck udplog vcenter wavefront webhookevent windowseventlog windowsperfcounters
    windowsservice yanggrpc zipkin zookeeper
";
const PROCESSORS: &str = "
    attributes cardinalityguardian coralogix cumulativetodelta datadog deltatocumulative deltatorate drain
    experimentalmetricsgeneration filter genainormalizer geoip groupbyattrs groupbytrace interval
    isolationforest k8sattributes k8stagger logdedup logstransform metricsgeneration metricstarttime
    metricstransform probabilisticsampler queuedretry redaction remoteobserver remotetap resource
    resourcedetection routing schema servicegraph span spanmetrics sumologic tailsampling transform unroll
";
const EXPORTERS: &str = "
    alibabacloudlogservice awscloudwatchlogs awsemf awskinesis awss3 awsxray azureblob azuredataexplorer
    azuremonitor bmchelix carbon cassandra clickhouse coralogix datadog dataset doris dynatrace elasticsearch
    f5cloud faro file googlecloud googlecloudpubsub googlecloudstorage googlemanagedprometheus honeycombmarker
    influxdb instana jaegerthrift jaegerthrifthttp kafka kineticadb loadbalancing logicmonitor logzio loki mezmo
    opencensus opensearch otelarrow parquet prometheusremotewrite pulsar rabbitmq sapm sematext sentry signalfx
    skywalking splunkhec stef sumologic syslog tanzuobservability tencentcloudlogservice tinybird zipkin
";
const EXTENSIONS: &str = "
    ack asapauth asapclient avrologencoding awscloudwatchmetricstreamsencoding awsiamdbauth awslogsencoding
    awsproxy azureauth azureencoding cfgardenobserver cgroupruntime datadog dbstorage dockerobserver ecsobserver
    ecstaskobserver filestorage googleclientauth googlecloudlogentryencoding headerssetter healthcheckv2
    hostobserver httpforwarder jaegerencoding jaegerquery jaegerremotesampling jsonlogencoding k8sleaderelector
    k8sobserver kafkatopicsobserver memorylimiter oauth2client oauth2clientauth oidc oidcauth opamp otlpencoding
    pebbletailstorage pprof redisstorage remotetap sigv4auth skywalkingencoding solarwindsapmsettings sumologic
    textencoding zipkinencoding zpages
";

const CONNECTORS: &str = "
    count datadog exceptions failover forward grafanacloud metricsaslogs otlpjson roundrobin routing
    servicegraph signaltometrics slowsql spanmetrics sum
";

/// Whether a type that is not built in is one that the Go collector has.
pub(super) fn is(kind: Kind, ty: &str) -> bool {
    listed(
        match kind {
            Kind::Receiver => RECEIVERS,
            Kind::Processor => PROCESSORS,
            Kind::Exporter => EXPORTERS,
            Kind::Extension => EXTENSIONS,
        },
        ty,
    )
}

/// Whether the Go collector has such a connector.
pub(super) fn is_connector(ty: &str) -> bool {
    listed(CONNECTORS, ty)
}

/// The names of all connectors, for suggestions.
pub(super) fn connectors() -> impl Iterator<Item = &'static str> {
    CONNECTORS.split_whitespace()
}

fn listed(names: &str, ty: &str) -> bool {
    let plain = ty.replace('_', "");
    names.split_whitespace().any(|name| name == plain)
}

/// Where a component is named, other than in its own section.
#[derive(Debug, Default)]
pub(super) struct Uses {
    /// Pipelines by id.
    pipelines: Vec<String>,
    /// Named in `service::extensions`.
    service: bool,
    /// The first of these places.
    pub(super) first: Option<Origin>,
}

impl Uses {
    /// ` and in the pipelines logs, traces`: the part of the message that follows `here`.
    pub(super) fn sentence(&self) -> String {
        match self.pipelines.as_slice() {
            [] if self.service => " and in `service::extensions`".to_owned(),
            [] => String::new(),
            [one] => format!(" and in the pipeline {one}"),
            more => format!(" and in the pipelines {}", more.join(", ")),
        }
    }
}

/// The most pipelines that a message names.
const MOST_NAMED: usize = 20;

/// Every component that pipelines and the service name, found in one walk over the tree.
#[derive(Debug, Default)]
pub(super) struct Named {
    /// By the section that a name is looked up in.
    uses: BTreeMap<(&'static str, ComponentId), Uses>,
}

impl Named {
    pub(super) fn of(root: &Node) -> Self {
        let mut named = Self::default();
        for (id, origin) in ids(root.at("service::extensions")) {
            let uses = named.add(super::section_name(Kind::Extension), id, origin);
            uses.service = true;
        }
        for pipeline in root.at("service::pipelines").and_then(Node::as_map).into_iter().flatten() {
            for list in [Kind::Receiver, Kind::Processor, Kind::Exporter].map(super::section_name) {
                for (id, origin) in ids(pipeline.node.at(list)) {
                    let sections: &[&'static str] = if list == "processors" { &[list] } else { &[list, CONNECTED] };
                    for section in sections {
                        let uses = named.add(section, id.clone(), origin);
                        let again = uses.pipelines.last().is_some_and(|last| *last == *pipeline.key);
                        if !again && uses.pipelines.len() < MOST_NAMED {
                            uses.pipelines.push(pipeline.key.to_string());
                        }
                    }
                }
            }
        }
        named
    }

    fn add(&mut self, section: &'static str, id: ComponentId, origin: &Origin) -> &mut Uses {
        steps::add(1);
        let uses = self.uses.entry((section, id)).or_default();
        uses.first.get_or_insert_with(|| origin.clone());
        uses
    }

    /// Where a component of a kind is named; `None` where nothing names it.
    pub(super) fn uses(&self, kind: Kind, id: &ComponentId) -> Option<&Uses> {
        self.uses.get(&(super::section_name(kind), id.clone()))
    }

    /// Where a connector is named.
    pub(super) fn connects(&self, id: &ComponentId) -> Option<&Uses> {
        self.uses.get(&(CONNECTED, id.clone()))
    }
}

/// Receivers and exporters of pipelines, which connectors can be.
const CONNECTED: &str = "connectors";

fn ids(list: Option<&Node>) -> impl Iterator<Item = (ComponentId, &Origin)> {
    let items = list.map(Node::items).unwrap_or_default().iter();
    items.filter_map(|node| Some((node.as_str()?.parse().ok()?, &node.origin)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_new_ids_are_known() {
        for (kind, ids) in [
            (
                Kind::Receiver,
                &["filelog", "file_log", "hostmetrics", "host_metrics", "kubelet_stats", "k8s_objects"][..],
            ),
            (Kind::Processor, &["k8sattributes", "k8s_attributes", "resourcedetection", "resource_detection"]),
            (Kind::Exporter, &["load_balancing", "prometheusremotewrite"]),
            (Kind::Extension, &["file_storage", "k8s_leader_elector", "zpages", "pprof", "healthcheckv2"]),
        ] {
            assert!(ids.iter().all(|id| is(kind, id)), "{ids:?}");
        }
        assert!(!is(Kind::Receiver, "oltp"));
        assert!(is_connector("span_metrics") && is_connector("forward") && !is_connector("spanmetric"));
    }

    #[test]
    fn names_of_the_lists_are_sorted_and_plain() {
        for list in [RECEIVERS, PROCESSORS, EXPORTERS, EXTENSIONS, CONNECTORS] {
            assert!(list.split_whitespace().is_sorted_by(|a, b| a < b));
            assert!(list.split_whitespace().all(|name| name.bytes().all(|b| b.is_ascii_alphanumeric())));
        }
    }

    #[test]
    fn the_pipelines_that_name_it_are_told() {
        let d = otelcore_config::Diagnostics::new();
        let text = "service:\n  extensions: [zpages]\n  pipelines:\n    logs: {receivers: [otlp]}\n    traces: {receivers: [otlp, jaeger]}\n    traces/2: {receivers: [jaeger]}\n";
        let root = otelcore_config::from_yaml(text, &d).unwrap();
        let named = Named::of(&root);
        let id = |text: &str| text.parse::<ComponentId>().unwrap();
        let found = named.uses(Kind::Receiver, &id("jaeger")).unwrap();
        assert_eq!(found.sentence(), " and in the pipelines traces, traces/2");
        assert_eq!(found.first.as_ref().unwrap().line, 5);
        let service = named.uses(Kind::Extension, &id("zpages")).unwrap();
        assert_eq!(service.sentence(), " and in `service::extensions`");
        assert_eq!(named.connects(&id("otlp")).unwrap().sentence(), " and in the pipelines logs, traces");
        assert!(named.uses(Kind::Receiver, &id("zipkin")).is_none());
    }
}
