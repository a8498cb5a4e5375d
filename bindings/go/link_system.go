//go:build otelcore_system

package otelcore

// #cgo pkg-config: otelcore
import "C"
