module otelcore.invalid/tools/kube/crds

go 1.26.8

// Not built: its custom resource definitions are read from the module's folder.
require github.com/prometheus-operator/prometheus-operator v0.93.1
