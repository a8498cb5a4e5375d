"""Reads the manifests of deploy/: documents, the pods in them (those that the operator would make included), and the
collector configurations in those. It judges nothing; check.py and apply.py do."""

import pathlib
from dataclasses import dataclass, field

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COLLECTOR = "ghcr.io/otelcore/otelcore"

# What the downward API says, where a configuration is looked at outside a pod.
DOWNWARD = {"status.podIP": "10.0.0.1", "status.hostIP": "10.0.0.2"}


@dataclass
class Pod:
    """A pod template, whichever way it came about."""

    where: str
    namespace: str
    labels: dict
    annotations: dict
    spec: dict
    made_by_operator: bool = False

    def containers(self):
        """Every container that runs as long as the pod: sidecars are init containers that restart always."""
        sidecars = [c for c in self.spec.get("initContainers", []) if c.get("restartPolicy") == "Always"]
        return sidecars + self.spec["containers"]

    def collectors(self):
        return [c for c in self.containers() if c["image"].startswith(COLLECTOR)]


@dataclass
class Config:
    """A collector's configuration and the environment that it would be read in."""

    where: str
    text: str
    env: dict = field(default_factory=dict)

    @property
    def tree(self):
        return yaml.safe_load(self.text)


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


def pods(docs, where):
    for doc in docs:
        at = f"{where} {name(doc)}"
        namespace = doc["metadata"].get("namespace", "default")
        if doc["kind"] in ("Deployment", "DaemonSet", "StatefulSet"):
            template = doc["spec"]["template"]
            meta = template["metadata"]
            yield Pod(at, namespace, meta.get("labels", {}), meta.get("annotations", {}), template["spec"])
        elif doc["kind"] == "OpenTelemetryCollector":
            yield Pod(at, namespace, {}, doc["spec"].get("podAnnotations", {}), of_collector(doc), True)


def environment(container):
    out = {}
    for entry in container.get("env", []):
        if "value" in entry:
            out[entry["name"]] = entry["value"].replace("$$", "$")
        else:
            path = entry.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath", "")
            out[entry["name"]] = DOWNWARD.get(path, "stand-in")
    return out


def mounted(pod, container, docs):
    """The text behind the container's --config, through mount, volume and ConfigMap; a sentence where the chain breaks."""
    line = container.get("command", [])[1:] + container.get("args", [])
    path = next((a.removeprefix("--config=") for a in line if a.startswith("--config=")), None)
    if path is None:
        return None, "has no --config"
    folder, file = path.rsplit("/", 1)
    mount = next((m for m in container.get("volumeMounts", []) if m["mountPath"] == folder), None)
    if mount is None:
        return None, f"nothing is mounted at {folder}"
    volume = next((v for v in pod.spec.get("volumes", []) if v["name"] == mount["name"]), None)
    if volume is None or "configMap" not in volume:
        return None, f"no ConfigMap behind the mount {mount['name']}"
    wanted = volume["configMap"]["name"]
    data = next((d["data"] for d in docs if d["kind"] == "ConfigMap" and d["metadata"]["name"] == wanted), None)
    if data is None:
        return None, f"no ConfigMap {wanted}"
    items = volume["configMap"].get("items")
    key = file if items is None else next((i["key"] for i in items if i["path"] == file), None)
    if key not in data:
        return None, f"ConfigMap {wanted} has no {file}"
    return data[key], None


def configs(docs, where):
    """Every configuration in the documents, and what keeps one from being found."""
    found, broken = [], []
    for doc in docs:
        if doc["kind"] == "OpenTelemetryCollector":
            config = doc["spec"]["config"]
            text = config if isinstance(config, str) else yaml.safe_dump(config, sort_keys=False)
            found.append(Config(f"{where} {name(doc)}", text, environment(doc["spec"])))
    for pod in pods(docs, where):
        if pod.made_by_operator:
            continue
        for container in pod.collectors():
            text, why = mounted(pod, container, docs)
            if why:
                broken.append(f"{pod.where}: {container['name']}: {why}")
            else:
                found.append(Config(pod.where, text, environment(container)))
    return found, broken
