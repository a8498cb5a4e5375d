// Reads cases on standard input and writes what the Go collector's OTTL makes of them: the transform and filter
// processors, their checks of a configuration, and single expressions.
//
// Input: for each case a length (u32, little endian) and so many bytes: the operation and the signal (a byte each: see
// below, and 0 traces, 1 metrics, 2 logs), and three times a length and so many bytes: the text, the request's metadata as
// a JSON object of lists, and the body. Output for each: a length and so many bytes: a byte, 0 for a result and 1 for the
// text of an error, and the result or text.
//
//	0  transform: the text is the processor's section in YAML, the result the changed body
//	1  filter: the same; an empty body where everything is dropped
//	2  transform, the configuration is checked only; the result is empty
//	3  filter, the same
//	4  the text is a context's name, a space and a value expression; the result is its value for the first item of the
//	   body, as "type value"
//	5  the statements of OTTL's own end-to-end tests, of the file that the text names: a JSON object with their list
//
// A panic of a component is the error "panic: ...".
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/filterprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/transformprocessor"
	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/processortest"

	"otelcore.invalid/tools/frames"
)

var factories = []processor.Factory{transformprocessor.NewFactory(), filterprocessor.NewFactory()}

func main() {
	frames.MainAnswer(func(input []byte) ([]byte, error) {
		if len(input) < 2 {
			return nil, errors.New("a case has no operation")
		}
		texts, err := frames.Split(input[2:])
		if err != nil {
			return nil, err
		}
		if len(texts) != 3 {
			return nil, fmt.Errorf("a case has %d texts, not 3", len(texts))
		}
		return frames.Result(answerOf(input[0], input[1], texts)), nil
	})
}

func answerOf(operation, signal byte, texts [][]byte) (answer []byte, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			answer, err = nil, fmt.Errorf("panic: %v", cause)
		}
	}()
	var headers map[string][]string
	if err := json.Unmarshal(texts[1], &headers); err != nil {
		return nil, err
	}
	ctx := client.NewContext(context.Background(), client.Info{Metadata: client.NewMetadata(headers)})
	switch operation {
	case 0, 1:
		return process(ctx, factories[operation], signal, texts[0], texts[2])
	case 2, 3:
		_, err := configOf(factories[operation-2], texts[0])
		return nil, err
	case 4:
		return evaluate(ctx, string(texts[0]), signal, texts[2])
	case 5:
		return statementsOf(string(texts[0]))
	default:
		return nil, fmt.Errorf("no operation %d", operation)
	}
}

func configOf(factory processor.Factory, yaml []byte) (component.Config, error) {
	config := factory.CreateDefaultConfig()
	retrieved, err := confmap.NewRetrievedFromYAML(yaml)
	if err != nil {
		return nil, err
	}
	conf, err := retrieved.AsConf()
	if err != nil {
		return nil, err
	}
	if err := conf.Unmarshal(config); err != nil {
		return nil, err
	}
	if validator, ok := config.(interface{ Validate() error }); ok {
		if err := validator.Validate(); err != nil {
			return nil, err
		}
	}
	return config, nil
}

func process(ctx context.Context, factory processor.Factory, signal byte, yaml, body []byte) ([]byte, error) {
	config, err := configOf(factory, yaml)
	if err != nil {
		return nil, err
	}
	settings := processortest.NewNopSettings(factory.Type())
	switch signal {
	case 0:
		sink := new(consumertest.TracesSink)
		p, err := factory.CreateTraces(ctx, settings, config, sink)
		if err != nil {
			return nil, err
		}
		data, err := (&ptrace.ProtoUnmarshaler{}).UnmarshalTraces(body)
		if err != nil {
			return nil, err
		}
		if err := consume(ctx, p, func() error { return p.ConsumeTraces(ctx, data) }); err != nil {
			return nil, err
		}
		if len(sink.AllTraces()) == 0 {
			return nil, nil
		}
		return (&ptrace.ProtoMarshaler{}).MarshalTraces(sink.AllTraces()[0])
	case 1:
		sink := new(consumertest.MetricsSink)
		p, err := factory.CreateMetrics(ctx, settings, config, sink)
		if err != nil {
			return nil, err
		}
		data, err := (&pmetric.ProtoUnmarshaler{}).UnmarshalMetrics(body)
		if err != nil {
			return nil, err
		}
		if err := consume(ctx, p, func() error { return p.ConsumeMetrics(ctx, data) }); err != nil {
			return nil, err
		}
		if len(sink.AllMetrics()) == 0 {
			return nil, nil
		}
		return (&pmetric.ProtoMarshaler{}).MarshalMetrics(sink.AllMetrics()[0])
	default:
		sink := new(consumertest.LogsSink)
		p, err := factory.CreateLogs(ctx, settings, config, sink)
		if err != nil {
			return nil, err
		}
		data, err := (&plog.ProtoUnmarshaler{}).UnmarshalLogs(body)
		if err != nil {
			return nil, err
		}
		if err := consume(ctx, p, func() error { return p.ConsumeLogs(ctx, data) }); err != nil {
			return nil, err
		}
		if len(sink.AllLogs()) == 0 {
			return nil, nil
		}
		return (&plog.ProtoMarshaler{}).MarshalLogs(sink.AllLogs()[0])
	}
}

func consume(ctx context.Context, p component.Component, send func() error) error {
	if err := p.Start(ctx, nil); err != nil {
		return err
	}
	err := send()
	return errors.Join(err, p.Shutdown(ctx))
}
