// Shows the dumps of the Go collector's debug exporter.
//
// Input and output are frames, each behind its length (u32, little endian). An input has a byte for the signal (0 traces,
// 1 metrics, 2 logs), one for the verbosity (0 normal, 1 detailed), and the body of a request. The answer is the text of
// the log message.
package main

import (
	"context"
	"errors"

	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/exporter/debugexporter"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"otelcore.invalid/tools/frames"
)

// lastMessage is a core that keeps the text of the last record.
type lastMessage struct {
	zapcore.LevelEnabler
	text string
}

func (c *lastMessage) With([]zapcore.Field) zapcore.Core { return c }

func (c *lastMessage) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return checked.AddCore(entry, c)
}

func (c *lastMessage) Write(entry zapcore.Entry, _ []zapcore.Field) error {
	c.text = entry.Message
	return nil
}

func (c *lastMessage) Sync() error { return nil }

func main() {
	frames.MainAnswer(func(input []byte) ([]byte, error) {
		if len(input) < 2 {
			return nil, errors.New("an input has fewer than two bytes")
		}
		text, err := dump(input[0], input[1], input[2:])
		return []byte(text), err
	})
}

func dump(signal, verbosity byte, body []byte) (string, error) {
	ctx := context.Background()
	core := &lastMessage{LevelEnabler: zapcore.InfoLevel}
	factory := debugexporter.NewFactory()
	settings := exportertest.NewNopSettings(factory.Type())
	settings.Logger = zap.New(core)
	config := factory.CreateDefaultConfig()
	names := []string{"normal", "detailed"}
	section := map[string]any{"verbosity": names[verbosity%2], "sampling_initial": 1000000}
	if err := confmap.NewFromStringMap(section).Unmarshal(config); err != nil {
		return "", err
	}
	switch signal {
	case 0:
		request := ptraceotlp.NewExportRequest()
		if err := request.UnmarshalProto(body); err != nil {
			return "", err
		}
		exporter, err := factory.CreateTraces(ctx, settings, config)
		if err != nil {
			return "", err
		}
		if err := exporter.Start(ctx, componenttest.NewNopHost()); err != nil {
			return "", err
		}
		if err := exporter.ConsumeTraces(ctx, request.Traces()); err != nil {
			return "", err
		}
		return core.text, exporter.Shutdown(ctx)
	case 1:
		request := pmetricotlp.NewExportRequest()
		if err := request.UnmarshalProto(body); err != nil {
			return "", err
		}
		exporter, err := factory.CreateMetrics(ctx, settings, config)
		if err != nil {
			return "", err
		}
		if err := exporter.Start(ctx, componenttest.NewNopHost()); err != nil {
			return "", err
		}
		if err := exporter.ConsumeMetrics(ctx, request.Metrics()); err != nil {
			return "", err
		}
		return core.text, exporter.Shutdown(ctx)
	default:
		request := plogotlp.NewExportRequest()
		if err := request.UnmarshalProto(body); err != nil {
			return "", err
		}
		exporter, err := factory.CreateLogs(ctx, settings, config)
		if err != nil {
			return "", err
		}
		if err := exporter.Start(ctx, componenttest.NewNopHost()); err != nil {
			return "", err
		}
		if err := exporter.ConsumeLogs(ctx, request.Logs()); err != nil {
			return "", err
		}
		return core.text, exporter.Shutdown(ctx)
	}
}
