"""Reads the manifests of deploy/: documents, and the pods in them, those that the operator would make included. It judges
nothing; check.py and apply.py do."""

import pathlib
from dataclasses import dataclass

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COLLECTOR = "ghcr.io/otelcore/otelcore"


@dataclass
class Pod:
    """A pod template, whichever way it came about."""

    where: str
    namespace: str
    labels: dict
    annotations: dict
    spec: dict
    made_by_operator: bool = False
    # The names of the volumes that a StatefulSet gives to each of its pods.
    claims: tuple = ()

    def containers(self):
        """Every container that runs as long as the pod: sidecars are init containers that restart always."""
        sidecars = [c for c in self.spec.get("initContainers", []) if c.get("restartPolicy") == "Always"]
        return sidecars + self.spec["containers"]

    def collectors(self):
        return [c for c in self.containers() if c["image"].startswith(COLLECTOR)]


def files():
    """The manifests: neither kustomizations, nor patches, nor values, nor what belongs to the image."""
    for path in sorted(DEPLOY.rglob("*.yaml")):
        part = path.relative_to(DEPLOY).parts[0]
        if part in ("image", "helm") or path.name in ("kustomization.yaml", "host-port.yaml", "policy.yaml"):
            continue
        yield path


def all_files():
    return [p for p in sorted(DEPLOY.rglob("*.yaml")) if p.relative_to(DEPLOY).parts[0] != "image"]


def load(path):
    return [d for d in yaml.safe_load_all(path.read_text()) if d is not None]


def name(doc):
    return f"{doc['kind']}/{doc['metadata']['name']}"


def of_collector(doc):
    """The pod that the operator makes of a resource, as far as the resource decides it."""
    spec = doc["spec"]
    probe = {"httpGet": {"path": "/", "port": 13133}}
    ports = [
        {"name": "health-check", "containerPort": 13133},
        {"name": "metrics", "containerPort": 8888},
        {"name": "otlp-grpc", "containerPort": 4317},
        {"name": "otlp-http", "containerPort": 4318},
    ]
    config = spec["config"] if isinstance(spec["config"], dict) else yaml.safe_load(spec["config"])
    if "prometheus" in config["exporters"]:
        port = config["exporters"]["prometheus"]["endpoint"].rsplit(":", 1)[1]
        ports.append({"name": "prometheus", "containerPort": int(port)})
    container = {
        "name": "otc-container",
        "image": spec["image"],
        "args": ["--config=/conf/collector.yaml"],
        "env": spec.get("env", []),
        "ports": ports,
        "volumeMounts": [{"name": "otc-internal", "mountPath": "/conf"}],
        **{k: spec[k] for k in ("resources", "securityContext", "lifecycle") if k in spec},
    }
    if "health_check" in config["service"].get("extensions", []):
        container |= {"livenessProbe": probe, "readinessProbe": probe, "startupProbe": probe}
    pod = {
        "containers": [container],
        # The operator has no field for the token; a collector of its own gets a service account without a role.
        "automountServiceAccountToken": False,
        "volumes": [{"name": "otc-internal", "configMap": {"name": "made"}}],
        **({"securityContext": spec["podSecurityContext"]} if "podSecurityContext" in spec else {}),
    }
    if spec.get("mode") == "sidecar":
        container["restartPolicy"] = "Always"
        app = {**container, "name": "app", "image": "app", "args": [], "volumeMounts": []}
        for key in ("ports", "livenessProbe", "readinessProbe", "startupProbe", "restartPolicy"):
            app.pop(key, None)
        pod |= {
            "initContainers": [container],
            "containers": [app],
            "terminationGracePeriodSeconds": 60,
            "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}, "runAsNonRoot": True},
        }
    elif "terminationGracePeriodSeconds" in spec:
        pod["terminationGracePeriodSeconds"] = spec["terminationGracePeriodSeconds"]
    return pod


def operators_labels(doc):
    if doc["spec"].get("mode") == "sidecar":
        return {"sidecar.opentelemetry.io/injected": f"{doc['metadata'].get('namespace')}.{doc['metadata']['name']}"}
    return {
        "app.kubernetes.io/managed-by": "opentelemetry-operator",
        "app.kubernetes.io/component": "opentelemetry-collector",
    }


def pods(docs, where):
    for doc in docs:
        at = f"{where} {name(doc)}"
        namespace = doc["metadata"].get("namespace", "default")
        if doc["kind"] in ("Deployment", "DaemonSet", "StatefulSet"):
            template = doc["spec"]["template"]
            meta = template["metadata"]
            claims = tuple(claim["metadata"]["name"] for claim in doc["spec"].get("volumeClaimTemplates", []))
            yield Pod(at, namespace, meta.get("labels", {}), meta.get("annotations", {}), template["spec"], claims=claims)
        elif doc["kind"] == "OpenTelemetryCollector":
            yield Pod(at, namespace, operators_labels(doc), doc["spec"].get("podAnnotations", {}), of_collector(doc), True)
