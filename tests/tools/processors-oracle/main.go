// Reads telemetry on standard input and writes what the attributes and resource processors of the Go collector make of it.
//
// Input: for each case the processor (a byte: 0 attributes, 1 resource), the signal (a byte: 0 traces, 1 metrics, 2 logs),
// and three times a length (u32, little endian) and so many bytes: the processor's section in YAML, the request's metadata
// as a JSON object of lists, the body. Output for each: a byte, 0 for a body and 1 for the text of an error, a length and so
// many bytes.
package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/attributesprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/resourceprocessor"
	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/processortest"
)

var factories = []processor.Factory{attributesprocessor.NewFactory(), resourceprocessor.NewFactory()}

func main() {
	in, out := bufio.NewReader(os.Stdin), bufio.NewWriter(os.Stdout)
	err := run(in, out)
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "processors-oracle:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	for {
		var head [2]byte
		if _, err := io.ReadFull(in, head[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		var texts [3][]byte
		for i := range texts {
			var length [4]byte
			if _, err := io.ReadFull(in, length[:]); err != nil {
				return err
			}
			texts[i] = make([]byte, binary.LittleEndian.Uint32(length[:]))
			if _, err := io.ReadFull(in, texts[i]); err != nil {
				return err
			}
		}
		answer, err := process(head[0], head[1], texts[0], texts[1], texts[2])
		status := byte(0)
		if err != nil {
			status, answer = 1, []byte(err.Error())
		}
		frame := binary.LittleEndian.AppendUint32([]byte{status}, uint32(len(answer)))
		if _, err := out.Write(append(frame, answer...)); err != nil {
			return err
		}
	}
}

func process(which, signal byte, yaml, metadata, body []byte) ([]byte, error) {
	factory := factories[which]
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
	var headers map[string][]string
	if err := json.Unmarshal(metadata, &headers); err != nil {
		return nil, err
	}
	ctx := client.NewContext(context.Background(), client.Info{Metadata: client.NewMetadata(headers)})
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
