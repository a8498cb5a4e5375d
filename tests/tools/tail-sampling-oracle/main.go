// Reads traces on standard input and writes which spans the Go processor tail_sampling passes on.
//
// Input, behind its length (u32, little endian): several frames of the same form, first the processor's section in YAML,
// then the bodies of trace export requests. After the last one the processor is shut down, which decides all traces.
// Output for each input, behind its length: a byte, 0 for the names of the spans that were passed on, sorted, one a
// line, and 1 for the text of an error.
package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/tailsamplingprocessor"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor/processortest"

	"otelcore.invalid/tools/componentconfig"
	"otelcore.invalid/tools/frames"
)

func main() {
	frames.MainAnswer(func(input []byte) ([]byte, error) {
		names, err := sample(input)
		return frames.Result([]byte(strings.Join(names, "\n")), err), nil
	})
}

func sample(input []byte) ([]string, error) {
	in := bytes.NewReader(input)
	yaml, err := frames.Read(in)
	if err != nil {
		return nil, err
	}
	factory := tailsamplingprocessor.NewFactory()
	config, err := componentconfig.Read(factory, yaml)
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	next := new(consumertest.TracesSink)
	p, err := factory.CreateTraces(ctx, processortest.NewNopSettings(factory.Type()), config, next)
	if err != nil {
		return nil, err
	}
	if err := p.Start(ctx, componenttest.NewNopHost()); err != nil {
		return nil, err
	}
	for {
		body, err := frames.Read(in)
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		traces, err := (&ptrace.ProtoUnmarshaler{}).UnmarshalTraces(body)
		if err != nil {
			return nil, err
		}
		if err := p.ConsumeTraces(ctx, traces); err != nil {
			return nil, err
		}
	}
	if err := p.Shutdown(ctx); err != nil {
		return nil, err
	}
	var names []string
	for _, traces := range next.AllTraces() {
		for _, rs := range traces.ResourceSpans().All() {
			for _, ss := range rs.ScopeSpans().All() {
				for _, span := range ss.Spans().All() {
					names = append(names, span.Name())
				}
			}
		}
	}
	slices.Sort(names)
	return names, nil
}
