// Reads telemetry on standard input and writes what processors of the Go collector make of it.
//
// With the argument `cases`, see cases.go. Otherwise for the attributes and resource processors:
// Input: for each case the processor (a byte: 0 attributes, 1 resource), the signal (a byte: 0 traces, 1 metrics, 2 logs),
// and three times a length (u32, little endian) and so many bytes: the processor's section in YAML, the request's metadata
// as a JSON object of lists, the body. Output for each: a byte, 0 for a body and 1 for the text of an error, a length and so
// many bytes.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/attributesprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/cumulativetodeltaprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/deltatocumulativeprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/groupbyattrsprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/groupbytraceprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/metricstransformprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/probabilisticsamplerprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/redactionprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/resourceprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/spanprocessor"
	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/processortest"

	"otelcore.invalid/tools/componentconfig"
	"otelcore.invalid/tools/frames"
)

// The index of a processor is its number in the inputs.
var factories = []processor.Factory{
	attributesprocessor.NewFactory(),
	resourceprocessor.NewFactory(),
	metricstransformprocessor.NewFactory(),
	cumulativetodeltaprocessor.NewFactory(),
	groupbyattrsprocessor.NewFactory(),
	probabilisticsamplerprocessor.NewFactory(),
	spanprocessor.NewFactory(),
	redactionprocessor.NewFactory(),
	deltatocumulativeprocessor.NewFactory(),
	groupbytraceprocessor.NewFactory(),
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "cases" {
		frames.Main(runCases)
		return
	}
	frames.Main(run)
}

func run(in *bufio.Reader, out *bufio.Writer) error {
	for {
		var head [2]byte
		if _, err := io.ReadFull(in, head[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		var texts [3][]byte
		for i := range texts {
			var err error
			if texts[i], err = frames.Read(in); err != nil {
				return err
			}
		}
		answer, err := process(head[0], head[1], texts[0], texts[1], texts[2])
		status := byte(0)
		if err != nil {
			status, answer = 1, []byte(err.Error())
		}
		if err := errors.Join(out.WriteByte(status), frames.Write(out, answer)); err != nil {
			return err
		}
	}
}

func process(which, signal byte, yaml, metadata, body []byte) ([]byte, error) {
	var headers map[string][]string
	if err := json.Unmarshal(metadata, &headers); err != nil {
		return nil, err
	}
	ctx := client.NewContext(context.Background(), client.Info{Metadata: client.NewMetadata(headers)})
	p, err := create(ctx, which, signal, yaml)
	if err != nil {
		return nil, err
	}
	if err := p.Start(ctx, componenttest.NewNopHost()); err != nil {
		return nil, err
	}
	if err := errors.Join(p.consume(body), p.Shutdown(ctx)); err != nil {
		return nil, err
	}
	bodies, err := p.take()
	if err != nil {
		return nil, err
	}
	return bodies[0], nil
}

// instance is a processor with what it passes on.
type instance struct {
	component.Component
	consume func(body []byte) error
	// take returns what was passed on since the last call.
	take func() ([][]byte, error)
}

func create(ctx context.Context, which, signal byte, yaml []byte) (*instance, error) {
	if int(which) >= len(factories) {
		return nil, fmt.Errorf("no processor has the index %d", which)
	}
	factory := factories[which]
	config, err := componentconfig.Read(factory, yaml)
	if err != nil {
		return nil, err
	}
	settings := processortest.NewNopSettings(factory.Type())
	switch signal {
	case 0:
		next := new(consumertest.TracesSink)
		p, err := factory.CreateTraces(ctx, settings, config, next)
		if err != nil {
			return nil, err
		}
		return &instance{p, func(body []byte) error {
			data, err := (&ptrace.ProtoUnmarshaler{}).UnmarshalTraces(body)
			if err != nil {
				return err
			}
			return p.ConsumeTraces(ctx, data)
		}, func() ([][]byte, error) {
			all := next.AllTraces()
			next.Reset()
			return marshalAll(all, (&ptrace.ProtoMarshaler{}).MarshalTraces)
		}}, nil
	case 1:
		next := new(consumertest.MetricsSink)
		p, err := factory.CreateMetrics(ctx, settings, config, next)
		if err != nil {
			return nil, err
		}
		return &instance{p, func(body []byte) error {
			data, err := (&pmetric.ProtoUnmarshaler{}).UnmarshalMetrics(body)
			if err != nil {
				return err
			}
			return p.ConsumeMetrics(ctx, data)
		}, func() ([][]byte, error) {
			all := next.AllMetrics()
			next.Reset()
			return marshalAll(all, (&pmetric.ProtoMarshaler{}).MarshalMetrics)
		}}, nil
	default:
		next := new(consumertest.LogsSink)
		p, err := factory.CreateLogs(ctx, settings, config, next)
		if err != nil {
			return nil, err
		}
		return &instance{p, func(body []byte) error {
			data, err := (&plog.ProtoUnmarshaler{}).UnmarshalLogs(body)
			if err != nil {
				return err
			}
			return p.ConsumeLogs(ctx, data)
		}, func() ([][]byte, error) {
			all := next.AllLogs()
			next.Reset()
			return marshalAll(all, (&plog.ProtoMarshaler{}).MarshalLogs)
		}}, nil
	}
}

func marshalAll[T any](all []T, marshal func(T) ([]byte, error)) ([][]byte, error) {
	var bodies [][]byte
	for _, one := range all {
		body, err := marshal(one)
		if err != nil {
			return nil, err
		}
		bodies = append(bodies, body)
	}
	return bodies, nil
}
