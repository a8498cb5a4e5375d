// Reads a cluster of Kafka once with the receiver `kafkametrics` of the Go collector. The receiver is of release 0.145: what
// followed is not in the module proxy.
//
// An input on standard input is a frame: four bytes of length, little-endian, and the section of the receiver in YAML. The
// answer on standard output is such a frame too: 0 and what the first scrape has sent, as an ExportMetricsServiceRequest, or
// 1 and an error. Scrapes that send nothing are passed over.
package main

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/receiver"
	noopmetric "go.opentelemetry.io/otel/metric/noop"
	nooptrace "go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/zap"

	"github.com/open-telemetry/opentelemetry-collector-contrib/receiver/kafkametricsreceiver"

	"otelcore.invalid/tools/componentconfig"
	"otelcore.invalid/tools/frames"
)

const timeLimit = time.Minute

type host struct{}

func (host) GetExtensions() map[component.ID]component.Component { return nil }

func main() {
	frames.MainAnswer(func(section []byte) ([]byte, error) { return frames.Result(scrape(section)), nil })
}

func scrape(section []byte) ([]byte, error) {
	factory := kafkametricsreceiver.NewFactory()
	config, err := componentconfig.Read(factory, section)
	if err != nil {
		return nil, err
	}
	sent := make(chan pmetric.Metrics, 1)
	next, err := consumer.NewMetrics(func(_ context.Context, metrics pmetric.Metrics) error {
		if metrics.DataPointCount() > 0 {
			select {
			case sent <- metrics:
			default:
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	log, err := zap.NewProduction()
	if err != nil {
		return nil, err
	}
	settings := receiver.Settings{
		ID: component.NewID(factory.Type()),
		TelemetrySettings: component.TelemetrySettings{
			Logger:         log,
			MeterProvider:  noopmetric.NewMeterProvider(),
			TracerProvider: nooptrace.NewTracerProvider(),
		},
	}
	ctx := context.Background()
	metrics, err := factory.CreateMetrics(ctx, settings, config, next)
	if err != nil {
		return nil, err
	}
	if err := metrics.Start(ctx, host{}); err != nil {
		return nil, err
	}
	defer metrics.Shutdown(ctx)
	select {
	case found := <-sent:
		return pmetricotlp.NewExportRequestFromMetrics(found).MarshalProto()
	case <-time.After(timeLimit):
		return nil, errors.New("no scrape has sent anything")
	}
}
