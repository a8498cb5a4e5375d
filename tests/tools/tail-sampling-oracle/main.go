// Reads traces on standard input and writes which spans the Go processor tail_sampling passes on.
//
// Input, behind its length (u32, little endian): several frames of the same form, first the processor's section in YAML,
// then the bodies of trace export requests. After the last one the processor is shut down, which decides all traces.
// Output for each input, behind its length: a byte, 0 for the names of the spans that were passed on, sorted, one a
// line, and 1 for the text of an error.
package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/tailsamplingprocessor"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/xconfmap"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor/processortest"
)

func main() {
	in, out := bufio.NewReader(os.Stdin), bufio.NewWriter(os.Stdout)
	err := run(in, out)
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "tail-sampling-oracle:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	for {
		input, err := readFrame(in)
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		names, err := sample(input)
		answer := append([]byte{0}, strings.Join(names, "\n")...)
		if err != nil {
			answer = append([]byte{1}, err.Error()...)
		}
		if err := binary.Write(out, binary.LittleEndian, uint32(len(answer))); err != nil {
			return err
		}
		if _, err := out.Write(answer); err != nil {
			return err
		}
	}
}

func readFrame(in io.Reader) ([]byte, error) {
	var size uint32
	if err := binary.Read(in, binary.LittleEndian, &size); err != nil {
		return nil, err
	}
	frame := make([]byte, size)
	_, err := io.ReadFull(in, frame)
	return frame, err
}

func sample(input []byte) ([]string, error) {
	frames := strings.NewReader(string(input))
	yaml, err := readFrame(frames)
	if err != nil {
		return nil, err
	}
	factory := tailsamplingprocessor.NewFactory()
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
	if err := xconfmap.Validate(config); err != nil {
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
		body, err := readFrame(frames)
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
