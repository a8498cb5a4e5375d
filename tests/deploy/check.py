"""Checks deploy/ offline: every object against the schemas of the oldest and the newest Kubernetes that it is for, every
custom resource against the shape in crd/, every kustomization as it is built, every pod against what is promised of it,
and every collector configuration with the collector itself. Prints what is wrong, one line each."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter

import jsonschema
import kubernetes_validate
import yaml

import manifests
from manifests import DEPLOY, ROOT

# preStop's `sleep` came with 1.30; the newest is the newest that the validator knows.
VERSIONS = ("1.30", "1.37")
# The collector's --shutdown-timeout.
DRAIN = 25
SHAPES = {
    "OpenTelemetryCollector": "opentelemetrycollector",
    "Instrumentation": "instrumentation",
    "PodMonitor": "monitoring",
    "ServiceMonitor": "monitoring",
    "PrometheusRule": "monitoring",
    "KafkaTopic": "strimzi",
    "KafkaUser": "strimzi",
    "ScaledObject": "keda",
    "TriggerAuthentication": "keda",
}


def shape(doc):
    """What is wrong with an object by its schema alone."""
    if doc["kind"] in SHAPES:
        schema = json.loads((ROOT / "tests/deploy/crd" / f"{SHAPES[doc['kind']]}.json").read_text())
        errors = jsonschema.Draft202012Validator(schema).iter_errors(doc)
        return [f"{e.json_path}: {e.message[:200]}" for e in errors]
    out = []
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(doc, version, strict=True)
        except kubernetes_validate.ValidationError as e:
            out.append(f"Kubernetes {version}: {'.'.join(map(str, e.path))}: {e.message[:200]}")
        except kubernetes_validate.SchemaNotFoundError:
            out.append(f"Kubernetes {version} has no {doc['apiVersion']} {doc['kind']}")
    return out


def operators_pod(pod):
    """The resource's own pod fields, checked as those of a pod."""
    return shape({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "made"}, "spec": pod.spec})


# The only path of the node that a pod has, and the namespace that permits it. It belongs to root, and so does the process.
HOST_PATH, HOST_PATH_NAMESPACE = "/var/lib/otelcore-agent", "observability-agent"


def has_host_path(pod):
    """Whether a pod keeps its queue on the node."""
    paths = {v["hostPath"]["path"] for v in pod.spec.get("volumes", []) if "hostPath" in v}
    return paths == {HOST_PATH} and pod.namespace == HOST_PATH_NAMESPACE


def restricted(pod):
    """The rules of pod security `restricted` that a pod of this kind can break."""
    whole = pod.spec.get("securityContext", {})
    if whole.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "seccompProfile is not RuntimeDefault"
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.spec.get(field):
            yield f"{field} is set"
    for volume in pod.spec.get("volumes", []):
        if "hostPath" in volume and not has_host_path(pod):
            yield f"volume {volume['name']} is a hostPath"
    for c in pod.containers():
        own = c.get("securityContext", {})
        if not own.get("runAsNonRoot", whole.get("runAsNonRoot")) and not has_host_path(pod):
            yield f"{c['name']}: runAsNonRoot is not set"
        if own.get("allowPrivilegeEscalation") is not False:
            yield f"{c['name']}: allowPrivilegeEscalation is not false"
        if own.get("capabilities") != {"drop": ["ALL"]}:
            yield f"{c['name']}: capabilities are not all dropped"
        if own.get("readOnlyRootFilesystem") is not True:
            yield f"{c['name']}: readOnlyRootFilesystem is not true"


def promised(pod):
    """The properties that deploy/README.md states for every collector."""
    if pod.spec.get("automountServiceAccountToken") is not False:
        yield "automountServiceAccountToken is not false"
    grace = pod.spec.get("terminationGracePeriodSeconds", 30)
    for c in pod.collectors():
        stop = c.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        if grace < stop + DRAIN + 5:
            yield f"{c['name']}: a grace of {grace} s is too short for preStop {stop} s and the drain, {DRAIN} s"
        user = c["securityContext"].get("runAsUser", pod.spec.get("securityContext", {}).get("runAsUser"))
        if user != (0 if has_host_path(pod) else 10001):
            yield f"{c['name']}: the user is {user}, not 10001"
        if c["image"] != f"{manifests.COLLECTOR}:{version()}":
            yield f"{c['name']}: image {c['image']} is not that of version {version()}"
        resources = c.get("resources", {})
        requests, limits = resources.get("requests", {}), resources.get("limits", {})
        if not requests.get("memory") or requests.get("memory") != limits.get("memory"):
            yield f"{c['name']}: memory's request and limit differ"
        if not requests.get("cpu"):
            yield f"{c['name']}: no CPU request"
        if "cpu" in limits:
            yield f"{c['name']}: a CPU limit"
        sidecar = c.get("restartPolicy") == "Always"
        for probe in ("livenessProbe", "startupProbe" if sidecar else "readinessProbe"):
            if probe not in c:
                yield f"{c['name']}: no {probe}"


def selected(labels, selector):
    """Whether a label selector takes these labels; of expressions, those that test whether a label exists."""
    there = {"Exists": True, "DoesNotExist": False}
    return all(labels.get(k) == v for k, v in selector.get("matchLabels", {}).items()) and all(
        (e["key"] in labels) == there[e["operator"]] for e in selector.get("matchExpressions", [])
    )


def links(docs, where):
    """Selectors that match no pod, and names of ports that no container has."""
    templates = list(manifests.pods(docs, where))

    def names(pods):
        return {p.get("name") for pod in pods for c in pod.containers() for p in c.get("ports", [])}

    def numbers(pods):
        return {p["containerPort"] for pod in pods for c in pod.containers() for p in c.get("ports", [])}

    for doc in docs:
        at, spec = f"{where} {manifests.name(doc)}", doc.get("spec", {})
        if doc["kind"] == "Service":
            found = [p for p in templates if selected(p.labels, {"matchLabels": spec["selector"]})]
            for port in spec["ports"]:
                target = port.get("targetPort", port["port"])
                if target not in names(found) | numbers(found):
                    yield f"{at}: port {port.get('name')}: no pod of it has {target}"
        elif doc["kind"] == "NetworkPolicy":
            found = [p for p in templates if selected(p.labels, spec["podSelector"])]
            for rule in spec.get("ingress", []):
                for port in rule["ports"]:
                    if port["port"] not in names(found) | numbers(found):
                        yield f"{at}: port {port['port']}: no pod of it has that"
        elif doc["kind"] in ("HorizontalPodAutoscaler", "PodDisruptionBudget", "ScaledObject"):
            target = spec.get("scaleTargetRef", {}).get("name", doc["metadata"]["name"])
            if not any(d["kind"] in ("Deployment", "StatefulSet") and d["metadata"]["name"] == target for d in docs):
                yield f"{at}: no workload {target}"
        elif doc["kind"] in ("Deployment", "DaemonSet", "StatefulSet"):
            if not selected(spec["template"]["metadata"]["labels"], spec["selector"]):
                yield f"{at}: selects other pods than its own"
            if doc["kind"] == "DaemonSet" and spec.get("updateStrategy", {}).get("rollingUpdate", {}).get("maxSurge"):
                if any("hostPort" in p for c in spec["template"]["spec"]["containers"] for p in c.get("ports", [])):
                    yield f"{at}: maxSurge with a hostPort"


def monitored(monitors, docs):
    """Monitors that find no port of any pod or Service."""
    templates = list(manifests.pods(docs, ""))
    for doc in monitors:
        spec = doc.get("spec", {})
        wanted = spec.get("selector")
        for end in spec.get("podMetricsEndpoints", []):
            if not any(
                selected(pod.labels, wanted) and end["port"] == p.get("name")
                for pod in templates for c in pod.containers() for p in c.get("ports", [])
            ):
                yield f"{manifests.name(doc)}: no pod has a port {end['port']}"
        for end in spec.get("endpoints", []):
            if not any(
                d["kind"] == "Service" and selected(d["metadata"]["labels"], wanted)
                and end["port"] == p.get("name") for d in docs for p in d.get("spec", {}).get("ports", [])
            ):
                yield f"{manifests.name(doc)}: no Service has a port {end['port']}"


def version():
    return re.search(r'^version = "(.+)"', (ROOT / "Cargo.toml").read_text(), re.M)[1]


def validate(docs):
    """The findings of the collector itself: its configurations, and whether ports, probes, mounts and memory fit them."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump_all(docs, file, sort_keys=False)
        file.flush()
        run = subprocess.run(
            [os.environ["OTELCORE_BIN"], "validate", f"--config=k8s:{file.name}"],
            env={}, capture_output=True, text=True, timeout=30, check=False,
        )
    lines = [x.replace(file.name, "") for x in run.stderr.splitlines()]
    # The removal of `jaeger` from the Go collector is not reported here.
    said = [
        f"{x} {where.strip()}" if where.lstrip().startswith("-->") else x
        for x, where in zip(lines, [*lines[1:], ""], strict=False)
        if x.startswith(("warning:", "error:")) and "removed from the Go collector" not in x
    ]
    return said or ([] if run.returncode == 0 else lines[-1:] or [f"exit code {run.returncode}"])


def documents(docs, where):
    """Everything that can be wrong with a set of documents that belong together."""
    for doc in docs:
        yield from (f"{where} {manifests.name(doc)}: {x}" for x in shape(doc))
    pods = list(manifests.pods(docs, where))
    for pod in pods:
        yield from (f"{pod.where}: {x}" for x in (*restricted(pod), *promised(pod)))
        if pod.made_by_operator:
            yield from (f"{pod.where}: {x}" for x in operators_pod(pod))
    yield from links(docs, where)
    if any(pod.collectors() for pod in pods):
        yield from (f"{where}: {x}" for x in validate(docs))


def build(folder):
    """A kustomization's documents."""
    tool = ROOT / "tests/tools/bin/kustomize"
    command = [str(tool), "build"] if tool.exists() else ["kubectl", "kustomize"]
    run = subprocess.run([*command, str(folder)], capture_output=True, text=True, timeout=60, check=False)
    if run.returncode != 0:
        raise SystemExit(f"{folder}: {run.stderr}")
    return [d for d in yaml.safe_load_all(run.stdout) if d]


def same(plain, built):
    """A kustomization without patches is its files, whichever way they are applied."""
    def key(doc):
        return json.dumps(doc, sort_keys=True)

    return Counter(map(key, plain)) == Counter(map(key, built))


def is_part(small, large):
    """Whether all of `small` is in `large`; a null in `small` means that the key is absent."""
    if isinstance(small, dict):
        return isinstance(large, dict) and all(
            (k not in large) if v is None else k in large and is_part(v, large[k]) for k, v in small.items()
        )
    return small == large


def values():
    """The values of the collector's chart, beside what the chart makes of them (tests/deploy/chart)."""
    for mode in ("deployment", "daemonset", "statefulset"):
        given = yaml.safe_load((DEPLOY / f"helm/values-{mode}.yaml").read_text())
        docs = manifests.load(ROOT / f"tests/deploy/chart/{mode}.yaml")
        yield from documents(docs, f"helm/values-{mode}.yaml as rendered")
        relay = next(yaml.safe_load(d["data"]["relay"]) for d in docs if d["kind"] == "ConfigMap")
        if not is_part(given["config"], relay):
            yield f"helm/values-{mode}.yaml: its `config` is not what chart/{mode}.yaml has"
        pod = next(manifests.pods(docs, mode))
        container = pod.spec["containers"][0]
        pairs = {
            "podSecurityContext": pod.spec["securityContext"],
            "securityContext": container["securityContext"],
            "resources": container["resources"],
            "lifecycleHooks": container["lifecycle"],
            "terminationGracePeriodSeconds": pod.spec["terminationGracePeriodSeconds"],
            "image": dict(zip(("repository", "tag"), container["image"].split(":"), strict=True)),
        }
        yield from (
            f"helm/values-{mode}.yaml: `{k}` is not what chart/{mode}.yaml has" for k, v in pairs.items() if given[k] != v
        )
    operator = yaml.safe_load((DEPLOY / "helm/values-operator.yaml").read_text())
    image = operator["manager"]["collectorImage"]
    if (image["repository"], image["tag"]) != (manifests.COLLECTOR, version()):
        yield "helm/values-operator.yaml: another image than that of this version"
    hooks = operator["admissionWebhooks"]
    if hooks["certManager"]["enabled"] or not hooks["autoGenerateCert"]["enabled"]:
        yield "helm/values-operator.yaml: the chart's own certificate needs certManager off and autoGenerateCert on"


def described():
    """Each file says when to use it, and the README has a link to it."""
    readme = (DEPLOY / "README.md").read_text()
    for path in manifests.all_files():
        short = str(path.relative_to(DEPLOY))
        if not path.read_text().startswith("# Use it when "):
            yield f"{short}: does not open with when to use it"
        # A patch belongs to its kustomization, and that to its folder.
        whole = path.parent.name != "helm" and path not in set(manifests.files())
        link = str(path.parent.relative_to(DEPLOY)) if whole else short
        if f"]({link})" not in readme:
            yield f"{short}: README.md has no link to {link}"
    for link in re.findall(r"\]\(([^)#:]+)\)", readme):
        if not (DEPLOY / link).exists():
            yield f"README.md: no {link}"


def everything():
    yield from described()
    together = []
    for path in manifests.files():
        if "kustomize" not in path.parts:
            docs = manifests.load(path)
            yield from documents(docs, str(path.relative_to(DEPLOY)))
            together += docs
    for path in sorted(DEPLOY.rglob("kustomization.yaml")):
        folder = path.parent
        where = str(folder.relative_to(DEPLOY))
        built = build(folder)
        yield from documents(built, where)
        kustomization = yaml.safe_load(path.read_text())
        if not {"patches", "namespace"} & kustomization.keys() and not any(".." in r for r in kustomization["resources"]):
            plain = [d for r in kustomization["resources"] for d in manifests.load(folder / r)]
            if not same(plain, built):
                yield f"{where}: its files do not say the same when they are applied one by one"
            if where.startswith("kustomize"):
                together += built
    monitors = [d for p in (DEPLOY / "monitoring").glob("*.yaml") for d in manifests.load(p)]
    yield from monitored([d for d in monitors if d["kind"].endswith("Monitor")], together)
    yield from values()


def main():
    wrong = list(everything())
    for line in wrong:
        print(f"deploy: {line}")
    print(f"deploy: {len(list(manifests.files()))} manifests, {len(wrong)} mistakes")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
