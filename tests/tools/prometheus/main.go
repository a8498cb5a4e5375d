//go:build tools

// Package prometheus pins Prometheus 3, with its dependencies, for scripts/prometheus.
package prometheus

import _ "github.com/prometheus/prometheus/cmd/prometheus"
