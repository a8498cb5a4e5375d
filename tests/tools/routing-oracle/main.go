// Runs the Go connectors routing, failover and servicegraph on the cases of standard input.
//
// Input, behind its length (u32, little endian): several frames of the same form. The first has the type of the connector
// and the signal in its first line, and the connector's section in YAML after it. What the others are depends on the type:
//
//	routing       ids of pipelines, one a line; headers of the request, `name: value`, one a line; bodies of requests
//	failover      ids of pipelines; steps: `fail` with the pipelines that fail from now on, `send`, `tick`
//	servicegraph  bodies of trace requests; an empty one waits until what is not paired has expired
//
// Output for each input, behind its length: a byte, 0 for a result and 1 for the text of an error. The result of routing is
// frames: the id of a pipeline and what it received, joined to one body; that of failover is, one line a payload, the pipelines
// that received it; that of servicegraph is the last body of metrics.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/connector/failoverconnector"
	"github.com/open-telemetry/opentelemetry-collector-contrib/connector/routingconnector"
	"github.com/open-telemetry/opentelemetry-collector-contrib/connector/servicegraphconnector"
	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/connector"
	"go.opentelemetry.io/collector/connector/connectortest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pipeline"

	"otelcore.invalid/tools/componentconfig"
	"otelcore.invalid/tools/frames"
)

func main() { frames.Main(run) }

// Cases that wait for timers run at the same time.
const parallel = 32

func run(in *bufio.Reader, out *bufio.Writer) error {
	var inputs [][]byte
	for {
		input, err := frames.Read(in)
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		inputs = append(inputs, input)
	}
	answers := make([][]byte, len(inputs))
	places := make(chan struct{}, parallel)
	var all sync.WaitGroup
	for i, input := range inputs {
		places <- struct{}{}
		all.Add(1)
		go func() {
			defer func() { <-places; all.Done() }()
			answers[i] = answer(input)
		}()
	}
	all.Wait()
	for _, answer := range answers {
		if err := frames.Write(out, answer); err != nil {
			return err
		}
	}
	return nil
}

func answer(input []byte) []byte {
	parts, err := frames.Split(input)
	if err != nil || len(parts) == 0 {
		return []byte("\x01bad input")
	}
	head, yaml, _ := strings.Cut(string(parts[0]), "\n")
	kind, signal, _ := strings.Cut(head, " ")
	var result []byte
	switch kind {
	case "routing":
		result, err = route(signal, yaml, parts[1:])
	case "failover":
		result, err = failOver(yaml, parts[1:])
	case "servicegraph":
		result, err = serviceGraph(yaml, parts[1:])
	default:
		err = fmt.Errorf("unknown connector %q", kind)
	}
	return frames.Result(result, err)
}

func lines(frame []byte) []string {
	return strings.FieldsFunc(string(frame), func(r rune) bool { return r == '\n' })
}

func pipelines(frame []byte) ([]pipeline.ID, error) {
	var ids []pipeline.ID
	for _, line := range lines(frame) {
		var id pipeline.ID
		if err := id.UnmarshalText([]byte(line)); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

func route(signal, yaml string, parts [][]byte) ([]byte, error) {
	factory := routingconnector.NewFactory()
	config, err := componentconfig.Read(factory, []byte(yaml))
	if err != nil {
		return nil, err
	}
	ids, err := pipelines(parts[0])
	if err != nil {
		return nil, err
	}
	headers := map[string][]string{}
	for _, line := range lines(parts[1]) {
		name, value, _ := strings.Cut(line, ": ")
		headers[name] = append(headers[name], value)
	}
	ctx := client.NewContext(context.Background(), client.Info{Metadata: client.NewMetadata(headers)})
	settings := connectortest.NewNopSettings(factory.Type())
	switch signal {
	case "traces":
		return routeTraces(ctx, factory, settings, config, ids, parts[2:])
	case "metrics":
		return routeMetrics(ctx, factory, settings, config, ids, parts[2:])
	default:
		return routeLogs(ctx, factory, settings, config, ids, parts[2:])
	}
}

func joined(ids []pipeline.ID, body func(pipeline.ID) ([]byte, error)) ([]byte, error) {
	var out bytes.Buffer
	for _, id := range ids {
		received, err := body(id)
		if err != nil {
			return nil, err
		}
		if err := errors.Join(frames.Write(&out, []byte(id.String())), frames.Write(&out, received)); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

func routeTraces(ctx context.Context, factory connector.Factory, settings connector.Settings, config component.Config, ids []pipeline.ID, bodies [][]byte) ([]byte, error) {
	sinks, consumers := map[pipeline.ID]*consumertest.TracesSink{}, map[pipeline.ID]consumer.Traces{}
	for _, id := range ids {
		sinks[id] = new(consumertest.TracesSink)
		consumers[id] = sinks[id]
	}
	c, err := factory.CreateTracesToTraces(ctx, settings, config, connector.NewTracesRouter(consumers))
	if err != nil {
		return nil, err
	}
	for _, body := range bodies {
		data, err := (&ptrace.ProtoUnmarshaler{}).UnmarshalTraces(body)
		if err != nil {
			return nil, err
		}
		if err := c.ConsumeTraces(ctx, data); err != nil {
			return nil, err
		}
	}
	return joined(ids, func(id pipeline.ID) ([]byte, error) {
		all := ptrace.NewTraces()
		for _, data := range sinks[id].AllTraces() {
			copied := ptrace.NewTraces()
			data.CopyTo(copied)
			copied.ResourceSpans().MoveAndAppendTo(all.ResourceSpans())
		}
		return (&ptrace.ProtoMarshaler{}).MarshalTraces(all)
	})
}

func routeMetrics(ctx context.Context, factory connector.Factory, settings connector.Settings, config component.Config, ids []pipeline.ID, bodies [][]byte) ([]byte, error) {
	sinks, consumers := map[pipeline.ID]*consumertest.MetricsSink{}, map[pipeline.ID]consumer.Metrics{}
	for _, id := range ids {
		sinks[id] = new(consumertest.MetricsSink)
		consumers[id] = sinks[id]
	}
	c, err := factory.CreateMetricsToMetrics(ctx, settings, config, connector.NewMetricsRouter(consumers))
	if err != nil {
		return nil, err
	}
	for _, body := range bodies {
		data, err := (&pmetric.ProtoUnmarshaler{}).UnmarshalMetrics(body)
		if err != nil {
			return nil, err
		}
		if err := c.ConsumeMetrics(ctx, data); err != nil {
			return nil, err
		}
	}
	return joined(ids, func(id pipeline.ID) ([]byte, error) {
		all := pmetric.NewMetrics()
		for _, data := range sinks[id].AllMetrics() {
			copied := pmetric.NewMetrics()
			data.CopyTo(copied)
			copied.ResourceMetrics().MoveAndAppendTo(all.ResourceMetrics())
		}
		return (&pmetric.ProtoMarshaler{}).MarshalMetrics(all)
	})
}

func routeLogs(ctx context.Context, factory connector.Factory, settings connector.Settings, config component.Config, ids []pipeline.ID, bodies [][]byte) ([]byte, error) {
	sinks, consumers := map[pipeline.ID]*consumertest.LogsSink{}, map[pipeline.ID]consumer.Logs{}
	for _, id := range ids {
		sinks[id] = new(consumertest.LogsSink)
		consumers[id] = sinks[id]
	}
	c, err := factory.CreateLogsToLogs(ctx, settings, config, connector.NewLogsRouter(consumers))
	if err != nil {
		return nil, err
	}
	for _, body := range bodies {
		data, err := (&plog.ProtoUnmarshaler{}).UnmarshalLogs(body)
		if err != nil {
			return nil, err
		}
		if err := c.ConsumeLogs(ctx, data); err != nil {
			return nil, err
		}
	}
	return joined(ids, func(id pipeline.ID) ([]byte, error) {
		all := plog.NewLogs()
		for _, data := range sinks[id].AllLogs() {
			copied := plog.NewLogs()
			data.CopyTo(copied)
			copied.ResourceLogs().MoveAndAppendTo(all.ResourceLogs())
		}
		return (&plog.ProtoMarshaler{}).MarshalLogs(all)
	})
}

// The interval in the sections of the cases is shorter, so that one has passed.
const tick = 150 * time.Millisecond

const settle = 2 * time.Millisecond

func failOver(yaml string, parts [][]byte) ([]byte, error) {
	factory := failoverconnector.NewFactory()
	config, err := componentconfig.Read(factory, []byte(yaml))
	if err != nil {
		return nil, err
	}
	ids, err := pipelines(parts[0])
	if err != nil {
		return nil, err
	}
	failing := map[string]bool{}
	var received []string
	consumers := map[pipeline.ID]consumer.Traces{}
	for _, id := range ids {
		name := id.String()
		sink, err := consumer.NewTraces(func(context.Context, ptrace.Traces) error {
			if failing[name] {
				return errors.New("fails")
			}
			received = append(received, name)
			return nil
		})
		if err != nil {
			return nil, err
		}
		consumers[id] = sink
	}
	ctx := context.Background()
	settings := connectortest.NewNopSettings(factory.Type())
	c, err := factory.CreateTracesToTraces(ctx, settings, config, connector.NewTracesRouter(consumers))
	if err != nil {
		return nil, err
	}
	if err := c.Start(ctx, componenttest.NewNopHost()); err != nil {
		return nil, err
	}
	var results []string
	for _, step := range lines(parts[1]) {
		words := strings.Fields(step)
		switch words[0] {
		case "fail":
			clear(failing)
			for _, name := range words[1:] {
				failing[name] = true
			}
		case "tick":
			time.Sleep(tick)
		case "send":
			received = nil
			result := "ok"
			if err := c.ConsumeTraces(ctx, ptrace.NewTraces()); err != nil {
				result = err.Error()
			}
			results = append(results, result+": "+strings.Join(received, " "))
			// A level that fails at once after it was brought back is never tried again, if this comes before the end of
			// the goroutine that tried it.
			time.Sleep(settle)
		}
	}
	return []byte(strings.Join(results, "\n")), c.Shutdown(ctx)
}

// Longer than `ttl` and `store_expiration_loop` of the cases together.
const expiry = 1500 * time.Millisecond

func serviceGraph(yaml string, bodies [][]byte) ([]byte, error) {
	factory := servicegraphconnector.NewFactory()
	config, err := componentconfig.Read(factory, []byte(yaml))
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	next := new(consumertest.MetricsSink)
	c, err := factory.CreateTracesToMetrics(ctx, connectortest.NewNopSettings(factory.Type()), config, next)
	if err != nil {
		return nil, err
	}
	if err := c.Start(ctx, componenttest.NewNopHost()); err != nil {
		return nil, err
	}
	for _, body := range bodies {
		if len(body) == 0 {
			time.Sleep(expiry)
		}
		data, err := (&ptrace.ProtoUnmarshaler{}).UnmarshalTraces(body)
		if err != nil {
			return nil, err
		}
		if err := c.ConsumeTraces(ctx, data); err != nil {
			return nil, err
		}
	}
	if err := c.Shutdown(ctx); err != nil {
		return nil, err
	}
	all := next.AllMetrics()
	if len(all) == 0 {
		return nil, nil
	}
	return (&pmetric.ProtoMarshaler{}).MarshalMetrics(all[len(all)-1])
}
