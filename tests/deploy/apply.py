"""Applies deploy/ to an API server, strictly, and prints its result for each file. scripts/api-server starts one.

Every manifest and kustomization is applied (server-side, strict validation), read back, and taken away; every pod in them is
created as a dry run, which is when pod security is enforced; and broken copies must be refused, or the rest proves nothing."""

import copy
import json
import os
import pathlib
import subprocess
import sys

import yaml

import check
import manifests
from manifests import DEPLOY, ROOT

BIN = ROOT / "tests/tools/bin"
KUBE = "1.36.3"


def kubectl(*args, stdin=None):
    return subprocess.run(
        [BIN / "kubectl", *args], input=stdin, capture_output=True, text=True, timeout=120, check=False,
    )


def apply(docs, *extra):
    return kubectl(
        "apply", "--server-side", "--force-conflicts", "--validate=strict", *extra, "-f", "-", stdin=yaml.safe_dump_all(docs),
    )


def definitions():
    """The custom resource definitions: Prometheus's from its operator's module, OpenTelemetry's from a checkout of its
    operator where OTEL_OPERATOR names one, and otherwise our own, made of the shape in crd/."""
    folder = pathlib.Path(os.environ["PROMETHEUS_CRDS"])
    names = ("podmonitors", "servicemonitors", "prometheusrules")
    paths = [folder / f"monitoring.coreos.com_{n}.yaml" for n in names]
    checkout = os.environ.get("OTEL_OPERATOR")
    if checkout:
        bases = pathlib.Path(checkout) / "config/crd/bases"
        paths += [bases / f"opentelemetry.io_{n}.yaml" for n in ("opentelemetrycollectors", "instrumentations")]
        return [*open_definitions(), *(d for p in paths for d in manifests.load(p))], "the operator's"
    docs = [*open_definitions(), *(d for p in paths for d in manifests.load(p))]
    for kind, versions in (("OpenTelemetryCollector", ("v1alpha1", "v1beta1")), ("Instrumentation", ("v1alpha1",))):
        docs.append(own_definition(kind, versions))
    return docs, "made of tests/deploy/crd"


# Kinds whose definitions are not taken from where they come from: `check.py` compares them with the shape in crd/.
FOREIGN = {
    "kafka.strimzi.io/v1": ("KafkaTopic", "KafkaUser"),
    "keda.sh/v1alpha1": ("ScaledObject", "TriggerAuthentication"),
}


def open_definitions():
    """Definitions that accept every field."""
    for group_version, kinds in FOREIGN.items():
        group, version = group_version.split("/")
        for kind in kinds:
            plural = kind.lower() + "s"
            schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
            yield {
                "apiVersion": "apiextensions.k8s.io/v1",
                "kind": "CustomResourceDefinition",
                "metadata": {"name": f"{plural}.{group}"},
                "spec": {
                    "group": group,
                    "scope": "Namespaced",
                    "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
                    "versions": [{"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
                },
            }


def own_definition(kind, versions):
    plural = kind.lower() + "s"
    schema = json.loads((ROOT / f"tests/deploy/crd/{kind.lower()}.json").read_text())

    def of_version(version):
        spec = structural(schema["properties"]["spec"], schema)
        for rule in schema.get("allOf", []):
            wanted = rule["if"]["properties"].get("apiVersion")
            if wanted:
                side = rule["then" if wanted["const"].endswith(f"/{version}") else "else"]
                own = side["properties"]["spec"]["properties"]
                spec["properties"] |= {k: structural(v, schema) for k, v in own.items() if v is not False}
        return {"type": "object", "properties": {"spec": spec}}

    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.opentelemetry.io"},
        "spec": {
            "group": "opentelemetry.io",
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "versions": [
                {
                    "name": v, "served": True, "storage": v == versions[-1],
                    "schema": {"openAPIV3Schema": of_version(v)},
                }
                for v in versions
            ],
        },
    }


def structural(schema, root):
    """A JSON schema in the form that the API server takes, without references, booleans and constants; it is strict validation
    that closes an object there."""
    if schema is True:
        return {"x-kubernetes-preserve-unknown-fields": True}
    if "$ref" in schema:
        return structural(root["$defs"][schema["$ref"].rsplit("/", 1)[1]], root)
    out = {k: v for k, v in schema.items() if k in ("type", "enum", "required", "minimum", "pattern")}
    if "properties" in schema:
        out["properties"] = {k: structural(v, root) for k, v in schema["properties"].items()}
    elif isinstance(schema.get("additionalProperties"), dict):
        out["additionalProperties"] = structural(schema["additionalProperties"], root)
    elif schema.get("type") == "object":
        out["x-kubernetes-preserve-unknown-fields"] = True
    if "items" in schema:
        out["items"] = structural(schema["items"], root)
        # A schema with only required fields accepts all other fields.
        if "required" in out["items"] and "properties" not in out["items"]:
            out["items"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    if "enum" in out:
        out.setdefault("type", "string")
    return out


def kept(said, stored):
    """The paths where the server stored something else than was sent: a field that it dropped without an error."""
    def walk(a, b, at):
        if isinstance(a, dict) and isinstance(b, dict):
            for k, v in a.items():
                if k not in b:
                    if v not in (None, {}, [], False):
                        yield f"{at}.{k} was dropped"
                else:
                    yield from walk(v, b[k], f"{at}.{k}")
        elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
            for i, (x, y) in enumerate(zip(a, b, strict=True)):
                yield from walk(x, y, f"{at}[{i}]")
        elif a != b:
            yield f"{at}: {a!r} became {b!r}"
    return list(walk(said, stored, ""))


def get(doc):
    group, _, version = doc["apiVersion"].rpartition("/")
    kind = f"{doc['kind']}.{version}.{group}" if group else doc["kind"]
    spaces = ["-n", doc["metadata"]["namespace"]] if "namespace" in doc["metadata"] else []
    run = kubectl("get", kind, doc["metadata"]["name"], *spaces, "-o", "json")
    return json.loads(run.stdout) if run.returncode == 0 else {}


def pods_run(docs, where):
    """The first complaint of pod security, or of anything else, about a pod of these documents."""
    for pod in manifests.pods(docs, where):
        spec = copy.deepcopy(pod.spec)
        claimed = [{"name": claim, "persistentVolumeClaim": {"claimName": f"{claim}-0"}} for claim in pod.claims]
        spec["volumes"] = [*spec.get("volumes", []), *claimed]
        body = {
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "made", "namespace": pod.namespace, "labels": pod.labels, "annotations": pod.annotations},
            "spec": spec,
        }
        run = kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=yaml.safe_dump(body))
        if run.returncode != 0:
            return f"{pod.where}: {run.stderr.strip()}"
    return None


def play(docs, where):
    """What is wrong with these documents, by the server; nothing stays behind but namespaces."""
    objects = [d for d in docs if d["kind"] != "Namespace"]
    run = apply(docs)
    # The tutorial's version is here because it is the tutorial's; any other warning is an error.
    said = [x for x in run.stderr.splitlines() if "v1alpha1 is deprecated" not in x]
    if run.returncode != 0 or any("Warning" in x for x in said):
        wrong = said
    else:
        wrong = [f"{manifests.name(d)}{x}" for d in docs for x in kept(d, get(d))]
        complaint = pods_run(docs, where)
        wrong += [complaint] if complaint else []
    kubectl("delete", "--ignore-not-found", "--wait=false", "-f", "-", stdin=yaml.safe_dump_all(objects))
    return wrong


def break_at(doc, path, value):
    out = copy.deepcopy(doc)
    at = out
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return out


def controls():
    """Broken documents, and the server's expected message for each."""
    def one(file, kind):
        return next(d for d in manifests.load(DEPLOY / file) if d["kind"] == kind)

    deployment = one("kustomize/gateway/gateway.yaml", "Deployment")
    resource = one("operator/v1beta1/deployment.yaml", "OpenTelemetryCollector")
    alpha = one("operator/v1alpha1/deployment.yaml", "OpenTelemetryCollector")
    monitor = one("monitoring/pod-monitor.yaml", "PodMonitor")
    policy = one("kustomize/gateway/network-policy.yaml", "NetworkPolicy")
    template = ("spec", "template", "spec")
    probe = (*template, "containers", 0, "livenessProbe", "httpGet")
    protocol = ("spec", "ingress", 0, "ports", 0, "protocol")
    for what, doc, path, value in (
        ("a misspelt field of a pod", deployment, (*template, "terminationGracePeriodSecond"), 45),
        ("a probe with a wrong type", deployment, probe, []),
        ("a policy for a protocol that is none", policy, protocol, "HTTP"),
        ("a misspelt field of a collector", resource, ("spec", "upgradeStrateg"), "none"),
        ("a mode that is none", resource, ("spec", "mode"), "daemon"),
        ("a v1beta1 configuration as a text", resource, ("spec", "config"), "receivers: {}"),
        ("a v1alpha1 configuration as an object", alpha, ("spec", "config"), {"receivers": {}}),
        ("a misspelt field of a monitor", monitor, ("spec", "podMetricsEndpoint"), []),
    ):
        yield what, break_at(doc, path, value), path[-1]


def refused():
    """Controls that were not refused, or for another reason."""
    rows = []
    for what, doc, word in controls():
        run = apply([doc], "--dry-run=server")
        rows.append((what, [] if run.returncode != 0 and word in run.stderr else [f"taken: {run.stdout}{run.stderr}"]))
    root = next(d for d in manifests.load(DEPLOY / "kustomize/gateway/gateway.yaml") if d["kind"] == "Deployment")
    root = break_at(root, ("spec", "template", "spec", "securityContext", "runAsNonRoot"), False)
    said = pods_run([root], "control") or ""
    rows.append(("a pod that may run as root", [] if "runAsNonRoot" in said else [f"taken: {said}"]))
    return rows


def chart_facts(docs):
    """Of what the chart renders, the objects that decide how the pod runs, without what changes with each version."""
    out = []
    for doc in docs:
        if doc and doc["kind"] in ("ConfigMap", "Service", "Deployment", "DaemonSet", "StatefulSet"):
            doc = copy.deepcopy(doc)
            doc["metadata"].pop("labels")
            template = doc.get("spec", {}).get("template")
            if template:
                template["metadata"]["annotations"].pop("checksum/config", None)
                if not template["metadata"]["annotations"]:
                    template["metadata"].pop("annotations")
                doc["spec"].pop("revisionHistoryLimit", None)
            out.append(doc)
    return out


def charts(checkout):
    """The real charts with our values: what they render is applied, and is what tests/deploy/chart has."""
    def render(chart, values, namespace):
        run = subprocess.run(
            [BIN / "helm", "template", "x", f"{checkout}/charts/{chart}", "-n", namespace, "--kube-version", KUBE,
             "-f", DEPLOY / "helm" / values],
            capture_output=True, text=True, timeout=60, check=True,
        )
        return [d for d in yaml.safe_load_all(run.stdout) if d]

    for mode in ("deployment", "daemonset", "statefulset"):
        values = f"values-{mode}.yaml"
        namespace = "observability-agent" if mode == "daemonset" else "observability"
        docs = render("opentelemetry-collector", values, namespace)
        wrong = play(docs, values)
        facts = {manifests.name(d): d for d in manifests.load(ROOT / f"tests/deploy/chart/{mode}.yaml")}
        now = {manifests.name(d): d for d in chart_facts(docs)}
        if facts != now:
            wrong.append(f"tests/deploy/chart/{mode}.yaml is not what the chart renders any more")
        yield f"helm/{values} with the chart", len(docs), wrong
    # Its hooks are for helm alone; its own pods are not checked.
    docs = [d for d in render("opentelemetry-operator", "values-operator.yaml", "default") if d["kind"] != "Pod"]
    run = apply(docs, "--dry-run=server")
    wrong = [] if run.returncode == 0 else [run.stderr.strip()]
    container = next(d for d in docs if d["kind"] == "Deployment")["spec"]["template"]["spec"]["containers"][0]
    if f"--collector-image={manifests.COLLECTOR}:{check.version()}" not in container["args"]:
        wrong.append("the operator's --collector-image is not ours")
    if any(d["kind"] in ("Certificate", "Issuer") for d in docs):
        wrong.append("it still asks for cert-manager")
    if not any(d["kind"] == "Secret" and "tls.crt" in d.get("data", {}) for d in docs):
        wrong.append("no certificate was generated")
    yield "helm/values-operator.yaml with the chart", len(docs), wrong


def main():
    crds, whose = definitions()
    run = kubectl("create", "-f", "-", stdin=yaml.safe_dump_all(crds))
    if run.returncode != 0:
        raise SystemExit(run.stderr)
    kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
    for folder in ("namespace", "agent-host-port"):
        run = kubectl("apply", "--server-side", "-f", str(DEPLOY / f"kustomize/{folder}/namespace.yaml"))
        if run.returncode != 0:
            raise SystemExit(run.stderr)
    run = kubectl("create", "namespace", "kafka")
    if run.returncode != 0:
        raise SystemExit(run.stderr)

    rows = []
    for path in manifests.files():
        docs = manifests.load(path)
        rows.append((str(path.relative_to(DEPLOY)), len(docs), play(docs, "")))
    for path in sorted(DEPLOY.rglob("kustomization.yaml")):
        docs = check.build(path.parent)
        rows.append((f"-k {path.parent.relative_to(DEPLOY)}", len(docs), play(docs, "")))
    if os.environ.get("OTEL_CHARTS"):
        rows += charts(os.environ["OTEL_CHARTS"])

    bad = 0
    chart = ""
    if os.environ.get("OTEL_CHARTS"):
        about = yaml.safe_load((pathlib.Path(os.environ["OTEL_CHARTS"]) / "charts/opentelemetry-collector/Chart.yaml").read_text())
        chart = f" Chart {about['name']} {about['version']}."
    print(f"kube-apiserver {KUBE}. OpenTelemetry's resource definitions: {whose}.{chart}\n")
    print("| what | objects | taken |\n|---|---|---|")
    for what, count, wrong in rows:
        bad += bool(wrong)
        print(f"| {what} | {count} | {'yes' if not wrong else 'NO'} |")
    print("\n| broken on purpose | refused |\n|---|---|")
    against = refused()
    for what, wrong in against:
        bad += bool(wrong)
        print(f"| {what} | {'yes' if not wrong else 'NO'} |")
    for what, wrong in [(w, x) for w, _, x in rows] + against:
        for line in wrong:
            print(f"api-server: {what}: {line}", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
