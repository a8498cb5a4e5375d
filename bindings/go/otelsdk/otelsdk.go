// Package otelsdk lets the OpenTelemetry SDK export to a collector in the same process, through the stock exporters.
//
// Traces go through a client of otlptrace:
//
//	exporter, err := otlptrace.New(ctx, otelsdk.NewTraceClient(input))
//
// Metrics and logs have no such client; their HTTP exporters take a transport, which never opens a connection:
//
//	client := &http.Client{Transport: otelsdk.NewTransport(input)}
//	metrics, err := otlpmetrichttp.New(ctx, otlpmetrichttp.WithHTTPClient(client))
//	logs, err := otlploghttp.New(ctx, otlploghttp.WithHTTPClient(client))
//
// Shut the providers down before the collector: they then submit what they hold, and the collector delivers it.
package otelsdk
