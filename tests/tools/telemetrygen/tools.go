//go:build tools

// Package tools pins telemetrygen, which makes traces, metrics and logs for the tests.
package tools

import _ "github.com/open-telemetry/opentelemetry-collector-contrib/cmd/telemetrygen"
