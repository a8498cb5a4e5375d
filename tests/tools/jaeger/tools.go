//go:build tools

// Package tools pins Jaeger v1 for the tests: its collector takes PostSpans on 14250.
package tools

import _ "github.com/jaegertracing/jaeger/cmd/all-in-one"
