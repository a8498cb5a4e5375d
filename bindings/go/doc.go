// Package otelcore is an OpenTelemetry Collector inside a Go program.
//
// A collector is made of the configuration that the Go collector takes. An inproc receiver in it is where the program
// puts telemetry in, an inproc exporter where it takes telemetry out; every other receiver and exporter speaks to the
// network as it does in the collector's binary.
//
//	collector, err := otelcore.New(otelcore.Config{YAML: yaml})
//	...
//	defer collector.Close()
//	if err := collector.Start(ctx); err != nil { ... }
//	input, err := collector.Input("inproc/app")
//	...
//	err = input.Submit(ctx, otelcore.Traces, request) // an ExportTraceServiceRequest in protobuf
//	...
//	err = collector.Shutdown(ctx) // delivers what it holds, or says what is left
//
// The package otelsdk beside it lets the OpenTelemetry SDK export this way.
//
// Every method may be called from any goroutine. What is used after its end answers [ErrClosed]; nothing crashes.
// Contexts bound every wait: a call whose context is done returns, and leaves no goroutine that waits.
//
// The collector runs in one thread of its own, which takes no signals and never calls Go. The library is linked
// statically; the build tag otelcore_system has pkg-config find a shared one.
package otelcore
