"""Each check of check.py finds the error that it is made for."""

import copy
import unittest

import yaml

import check
import manifests
from manifests import DEPLOY

GATEWAY = "kustomize/gateway"


def gateway():
    return check.build(DEPLOY / GATEWAY)


def one(docs, kind):
    return next(d for d in docs if d["kind"] == kind)


def pod(docs, kind="Deployment"):
    return one(docs, kind)["spec"]["template"]["spec"]


class Checks(unittest.TestCase):
    def found(self, docs, *words):
        """One finding has all of these words."""
        lines = list(check.documents(docs, "x"))
        self.assertTrue(any(all(w in line for w in words) for line in lines), f"{words} in {lines}")

    def test_the_gateway_as_it_stands_has_nothing_wrong(self):
        self.assertEqual(list(check.documents(gateway(), "x")), [])

    def test_the_tutorials_own_port_is_found(self):
        docs = manifests.load(DEPLOY / "kustomize/tutorial/otel-collector.yaml")
        data = one(docs, "ConfigMap")["data"]
        data["otel-collector-config"] = data["otel-collector-config"].replace("0.0.0.0:8889", "0.0.0.0:9092")
        self.found(docs, "Service otel-collector", "nothing listens on 8889")
        self.found(docs, "prometheus.io/port", "nothing listens on 8889")

    def test_the_tutorials_own_health_check_is_found(self):
        docs = manifests.load(DEPLOY / "kustomize/tutorial/otel-collector.yaml")
        data = one(docs, "ConfigMap")["data"]
        data["otel-collector-config"] = data["otel-collector-config"].replace("endpoint: 0.0.0.0:13133", "path: /")
        self.found(docs, "health_check", "nothing outside of the pod reaches")

    def test_a_misspelt_field_is_found_in_objects_of_kubernetes(self):
        docs = gateway()
        pod(docs)["terminationGracePeriodSecond"] = 45
        self.found(docs, "Kubernetes 1.30", "terminationGracePeriodSecond")

    def test_a_misspelt_field_is_found_in_resources_of_the_operator(self):
        for file in ("v1alpha1/deployment.yaml", "v1beta1/deployment.yaml"):
            docs = manifests.load(DEPLOY / "operator" / file)
            docs[0]["spec"]["upgradeStrateg"] = "none"
            self.found(docs, "upgradeStrateg")

    def test_a_resources_own_pod_fields_are_checked_as_a_pods(self):
        docs = manifests.load(DEPLOY / "operator/v1beta1/daemonset.yaml")
        docs[0]["spec"]["resources"]["limit"] = {"memory": "1Gi"}
        self.found(docs, "limit")

    def test_a_configuration_is_a_text_in_the_old_version_and_an_object_in_the_new(self):
        docs = manifests.load(DEPLOY / "operator/v1beta1/daemonset.yaml")
        docs[0]["spec"]["config"] = yaml.safe_dump(docs[0]["spec"]["config"])
        self.found(docs, "config")
        docs = manifests.load(DEPLOY / "operator/v1alpha1/daemonset.yaml")
        docs[0]["spec"]["config"] = yaml.safe_load(docs[0]["spec"]["config"])
        self.found(docs, "config")

    def test_a_body_without_a_value_is_found_since_apply_would_drop_it(self):
        docs = manifests.load(DEPLOY / "operator/v1beta1/daemonset.yaml")
        docs[0]["spec"]["config"]["processors"]["batch"] = None
        self.found(docs, "batch")

    def test_a_field_of_a_monitor_and_a_port_that_no_pod_has_are_found(self):
        docs = manifests.load(DEPLOY / "monitoring/pod-monitor.yaml")
        self.assertEqual(list(check.monitored(docs[:2], gateway())), [])
        docs[0]["spec"]["podMetricsEndpoints"][0]["port"] = "metric"
        self.assertIn("no pod has a port metric", "".join(check.monitored(docs[:1], gateway())))
        docs[0]["spec"]["podMetricsEndpoint"] = []
        self.found(docs, "podMetricsEndpoint")

    def test_a_field_of_a_topic_a_user_or_a_trigger_that_is_not_known_is_found(self):
        for kind, where in (("KafkaTopic", "spec"), ("KafkaUser", "spec"), ("ScaledObject", "spec"), ("TriggerAuthentication", "spec")):
            docs = check.build(DEPLOY / "kustomize/kafka")
            one(docs, kind)[where]["misspelt"] = 1
            self.found(docs, kind, "misspelt")

    def test_gateways_and_topics_that_do_not_fit_are_found_by_the_collector(self):
        docs = check.build(DEPLOY / "kustomize/kafka")
        one(docs, "ScaledObject")["spec"]["maxReplicaCount"] = 13
        self.found(docs, "maxReplicaCount: 13", "12 partitions")
        data = next(d for d in docs if d["metadata"]["name"] == "otelcore-kafka-agent" and d["kind"] == "ConfigMap")["data"]
        data["collector.yaml"] = data["collector.yaml"].replace("partition_traces_by_id: true", "partition_traces_by_id: false")
        self.found(docs, "partition_traces_by_id", "tail_sampling")
        data["collector.yaml"] = data["collector.yaml"].replace("max_message_bytes: 1000000", "max_message_bytes: 2000000")
        self.found(docs, "max_message_bytes: 2000000", "permits 1048588")

    def test_whatever_pod_security_restricted_refuses_is_found(self):
        def change(key, value, whole=False):
            docs = gateway()
            target = pod(docs) if whole else pod(docs)["containers"][0]
            target["securityContext"][key] = value
            return docs

        self.found(change("runAsNonRoot", False, True), "runAsNonRoot")
        self.found(change("seccompProfile", {"type": "Unconfined"}, True), "seccompProfile")
        self.found(change("allowPrivilegeEscalation", True), "allowPrivilegeEscalation")
        self.found(change("capabilities", {"drop": ["ALL"], "add": ["NET_RAW"]}), "capabilities")
        self.found(change("readOnlyRootFilesystem", False), "readOnlyRootFilesystem")
        docs = gateway()
        pod(docs)["hostNetwork"] = True
        self.found(docs, "hostNetwork")
        docs = gateway()
        pod(docs)["volumes"].append({"name": "host", "hostPath": {"path": "/var"}})
        self.found(docs, "hostPath")

    def test_what_is_promised_of_every_collector_is_held(self):
        docs = gateway()
        pod(docs)["terminationGracePeriodSeconds"] = 30
        self.found(docs, "grace of 30 s")
        docs = gateway()
        pod(docs)["automountServiceAccountToken"] = True
        self.found(docs, "automountServiceAccountToken")
        docs = gateway()
        pod(docs)["containers"][0]["resources"]["limits"]["memory"] = "1Gi"
        self.found(docs, "memory's request and limit differ")
        docs = gateway()
        pod(docs)["containers"][0].pop("readinessProbe")
        self.found(docs, "no readinessProbe")
        docs = gateway()
        pod(docs)["containers"][0]["image"] = f"{manifests.COLLECTOR}:latest"
        self.found(docs, "is not that of version")

    def test_links_that_lead_nowhere_are_found(self):
        docs = gateway()
        one(docs, "Service")["spec"]["ports"][0]["targetPort"] = "otlp"
        self.found(docs, "no pod of it has otlp")
        docs = gateway()
        one(docs, "NetworkPolicy")["spec"]["ingress"][0]["ports"][0]["port"] = 4319
        self.found(docs, "no pod of it has that")
        docs = gateway()
        one(docs, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"] = "gateway"
        self.found(docs, "no workload gateway")
        docs = gateway()
        pod(docs)["volumes"][0]["configMap"]["name"] = "gateway"
        self.found(docs, "ConfigMap gateway is not in these files")
        docs = gateway()
        pod(docs)["containers"][0]["args"] = ["--config=/conf/config.yaml"]
        self.found(docs, "config.yaml", "puts no such file there")
        docs = gateway()
        one(docs, "Deployment")["spec"]["template"]["metadata"]["annotations"]["prometheus.io/port"] = "9092"
        self.found(docs, "prometheus.io/port", "nothing listens on 9092")
        docs = check.build(DEPLOY / "kustomize/agent-host-port")
        one(docs, "DaemonSet")["spec"]["updateStrategy"]["rollingUpdate"] = {"maxSurge": 1, "maxUnavailable": 0}
        self.found(docs, "maxSurge with a hostPort")

    def test_a_receiver_on_localhost_is_found(self):
        docs = gateway()
        data = one(docs, "ConfigMap")["data"]
        data["collector.yaml"] = data["collector.yaml"].replace("0.0.0.0:4318", "localhost:4318")
        self.found(docs, "localhost:4318", "nothing outside of the pod reaches")

    def test_the_collector_itself_is_asked(self):
        docs = gateway()
        data = one(docs, "ConfigMap")["data"]
        data["collector.yaml"] = data["collector.yaml"].replace("limit_percentage: 80", "limit_percent: 80")
        self.found(docs, "limit_percent")
        docs = gateway()
        pod(docs)["containers"][0]["env"] = []
        self.found(docs, "JAEGER_ENDPOINT")

    def test_a_kustomization_that_says_something_else_than_its_files_is_found(self):
        docs = gateway()
        other = copy.deepcopy(docs)
        self.assertTrue(check.same(docs, other))
        pod(other)["containers"][0]["image"] = "other"
        self.assertFalse(check.same(docs, other))

    def test_values_that_the_rendered_chart_does_not_have_are_found(self):
        self.assertTrue(check.is_part({"a": None, "b": {"c": 1}}, {"b": {"c": 1, "d": 2}}))
        self.assertFalse(check.is_part({"a": None}, {"a": {}}))
        self.assertFalse(check.is_part({"b": {"c": 2}}, {"b": {"c": 1}}))


if __name__ == "__main__":
    unittest.main()
