//! Components of the Go distributions that people have in their files and that are not built here yet, by old and new id.
//!
//! They are errors like every unknown type; this module only lets the error say that it is no misspelling, and where the
//! configuration names the component besides.

use otelcore_config::{ComponentId, Node, Origin};
use otelcore_pipeline::Kind;

/// Type names without underscores: `filelog` stands for `file_log` too, `k8sattributes` for `k8s_attributes`. Those of the
/// k8s distribution, of the chart's presets and of kube-stack, and a few that are common elsewhere.
const RECEIVERS: &str = "
    awsxray carbon cloudfoundry collectd dockerstats filelog fluentforward hostmetrics httpcheck influxdb jaeger
    journald k8scluster k8sevents k8sobjects kafka kafkametrics kubeletstats loki mysql nginx opencensus
    otelarrow otlpjsonfile postgresql profiling prometheus receivercreator redis sapm signalfx skywalking
    splunkhec statsd syslog tcplog udplog wavefront windowseventlog zipkin
";
const PROCESSORS: &str = "
    attributes coralogix cumulativetodelta deltatocumulative deltatorate filter geoip groupbyattrs groupbytrace
    interval isolationforest k8sattributes logdedup logstransform metricsgeneration metricstransform
    probabilisticsampler redaction remotetap resource resourcedetection routing span spanmetrics tailsampling
    transform
";
const EXPORTERS: &str = "
    awsemf awsxray azuremonitor clickhouse datadog elasticsearch file googlecloud googlemanagedprometheus
    influxdb jaegerthrift kafka loadbalancing loki opencensus opensearch otelarrow prometheusremotewrite pulsar
    sapm signalfx splunkhec syslog zipkin
";
const EXTENSIONS: &str = "
    ack asapclient awsproxy azureauth cgroupruntime dbstorage dockerobserver ecsobserver filestorage
    googleclientauth headerssetter healthcheckv2 hostobserver httpforwarder jaegerquery jaegerremotesampling
    jsonlogencoding k8sleaderelector k8sobserver oauth2client oidc opamp otlpencoding pprof redisstorage
    remotetap sigv4auth textencoding zpages
";

/// Whether a type that is not built in is one that the Go collector has.
pub(super) fn is(kind: Kind, ty: &str) -> bool {
    let plain = ty.replace('_', "");
    let known = match kind {
        Kind::Receiver => RECEIVERS,
        Kind::Processor => PROCESSORS,
        Kind::Exporter => EXPORTERS,
        Kind::Extension => EXTENSIONS,
    };
    known.split_whitespace().any(|name| name == plain)
}

/// Where a component is named besides its section.
#[derive(Debug, Default)]
pub(super) struct Uses {
    /// Pipelines by id.
    pipelines: Vec<String>,
    /// Named in `service::extensions`.
    service: bool,
    /// The first place.
    pub(super) first: Option<Origin>,
}

impl Uses {
    /// ` and in the pipelines logs, traces`, for behind `here`.
    pub(super) fn sentence(&self) -> String {
        match self.pipelines.as_slice() {
            [] if self.service => " and in `service::extensions`".to_owned(),
            [] => String::new(),
            [one] => format!(" and in the pipeline {one}"),
            more => format!(" and in the pipelines {}", more.join(", ")),
        }
    }

    fn look(&mut self, list: Option<&Node>, id: &ComponentId) -> bool {
        let names = |node: &&Node| node.as_str().and_then(|text| text.parse::<ComponentId>().ok()).as_ref() == Some(id);
        let Some(found) = list.map(Node::items).unwrap_or_default().iter().find(names) else { return false };
        self.first.get_or_insert_with(|| found.origin.clone());
        true
    }
}

/// Where a component of a kind is named.
pub(super) fn uses(root: &Node, kind: Kind, id: &ComponentId) -> Uses {
    if kind == Kind::Extension {
        let mut uses = Uses::default();
        uses.service = uses.look(root.at("service::extensions"), id);
        return uses;
    }
    in_pipelines(root, &[super::section_name(kind)], id)
}

/// Where a connector is named.
pub(super) fn connects(root: &Node, id: &ComponentId) -> Uses {
    in_pipelines(root, &["receivers", "exporters"], id)
}

fn in_pipelines(root: &Node, lists: &[&str], id: &ComponentId) -> Uses {
    let mut uses = Uses::default();
    for pipeline in root.at("service::pipelines").and_then(Node::as_map).into_iter().flatten() {
        // Every list is looked at, so that the first place is the first of the file.
        let found = lists.iter().filter(|list| uses.look(pipeline.node.at(list), id)).count();
        if found > 0 {
            uses.pipelines.push(pipeline.key.to_string());
        }
    }
    uses
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
    }

    #[test]
    fn the_pipelines_that_name_it_are_told() {
        let d = otelcore_config::Diagnostics::new();
        let text = "service:\n  extensions: [zpages]\n  pipelines:\n    logs: {receivers: [otlp]}\n    traces: {receivers: [otlp, jaeger]}\n    traces/2: {receivers: [jaeger]}\n";
        let root = otelcore_config::from_yaml(text, &d).unwrap();
        let found = uses(&root, Kind::Receiver, &"jaeger".parse().unwrap());
        assert_eq!(found.sentence(), " and in the pipelines traces, traces/2");
        assert_eq!(found.first.unwrap().line, 5);
        assert_eq!(
            uses(&root, Kind::Extension, &"zpages".parse().unwrap()).sentence(),
            " and in `service::extensions`"
        );
        assert_eq!(uses(&root, Kind::Receiver, &"zipkin".parse().unwrap()).sentence(), "");
    }
}
