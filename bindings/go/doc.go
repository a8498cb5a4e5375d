// Package otelcore is an OpenTelemetry Collector inside a Go program.
//
// A collector is created from a configuration of the Go collector. Through an inproc receiver in it the program submits
// telemetry, through an inproc processor it changes telemetry, and through an inproc exporter it gets telemetry; every other receiver and exporter uses the network
// as it does in the collector's binary.
//
//	collector, err := otelcore.New(otelcore.Config{YAML: yaml})
//	...
//	defer collector.Close()
//	if err := collector.Start(ctx); err != nil { ... }
//	input, err := collector.Input("inproc/app")
//	...
//	err = input.Submit(ctx, otelcore.Traces, request) // an ExportTraceServiceRequest in protobuf
//	...
//	err = collector.Shutdown(ctx) // delivers what it holds, or reports what was not delivered
//
// The package otelsdk beside it lets the OpenTelemetry SDK export this way.
//
// Every method may be called from any goroutine. Calls after the end return [ErrClosed]; nothing crashes.
// Contexts bound every wait: a call whose context is done returns, and leaves no goroutine that waits.
//
// The collector runs in one thread of its own, which takes no signals and never calls Go. The library is linked
// statically; with the build tag otelcore_system, pkg-config finds a shared one.
package otelcore
