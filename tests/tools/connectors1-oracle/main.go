// Reads telemetry on standard input and writes the metrics that Go connectors make of it.
//
// Input, behind its length (u32, little endian): several frames of the same form: the type of the connector, its section
// in YAML, then steps. The first byte of a step says what it is: `t`, `m` and `l` are followed by the body of an export
// request of traces, metrics or logs; `a` by a number of nanoseconds (u64, little endian), by which the clock of the
// connector advances: it then makes one export for each of its intervals that ends.
// Output for each input, behind its length: a byte, 0 for frames with the bodies of metrics requests in their order, 1
// for the text of an error.
package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/open-telemetry/opentelemetry-collector-contrib/connector/countconnector"
	"github.com/open-telemetry/opentelemetry-collector-contrib/connector/spanmetricsconnector"
	"github.com/open-telemetry/opentelemetry-collector-contrib/connector/sumconnector"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/connector"
	"go.opentelemetry.io/collector/connector/connectortest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"otelcore.invalid/tools/componentconfig"
	"otelcore.invalid/tools/frames"
)

// start is the time at which every case begins.
var start = time.Unix(1_700_000_000, 0)

func main() {
	frames.MainAnswer(func(input []byte) ([]byte, error) { return frames.Result(answer(input)), nil })
}

// sink passes on what a connector exports.
type sink chan pmetric.Metrics

func (sink) Capabilities() consumer.Capabilities { return consumer.Capabilities{} }

func (s sink) ConsumeMetrics(_ context.Context, m pmetric.Metrics) error {
	s <- m
	return nil
}

func answer(input []byte) ([]byte, error) {
	in := bytes.NewReader(input)
	name, err := frames.Read(in)
	if err != nil {
		return nil, err
	}
	yaml, err := frames.Read(in)
	if err != nil {
		return nil, err
	}
	var factory connector.Factory
	switch string(name) {
	case "span_metrics":
		factory = spanmetricsconnector.NewFactory()
	case "count":
		factory = countconnector.NewFactory()
	case "sum":
		factory = sumconnector.NewFactory()
	default:
		return nil, fmt.Errorf("no connector %q", name)
	}
	config, err := componentconfig.Read(factory, yaml)
	if err != nil {
		return nil, err
	}
	clock := clockwork.NewFakeClockAt(start)
	ctx := clockwork.AddToContext(context.Background(), clock)
	settings := connectortest.NewNopSettings(factory.Type())
	next := make(sink, 64)
	d := &driver{ctx: ctx, clock: clock, next: next}
	if s, ok := config.(*spanmetricsconnector.Config); ok {
		d.interval = s.MetricsFlushInterval
	}
	if d.traces, err = factory.CreateTracesToMetrics(ctx, settings, config, next); err != nil {
		return nil, err
	}
	if d.interval == 0 {
		if d.metrics, err = factory.CreateMetricsToMetrics(ctx, settings, config, next); err != nil {
			return nil, err
		}
		if d.logs, err = factory.CreateLogsToMetrics(ctx, settings, config, next); err != nil {
			return nil, err
		}
	}
	if err := d.traces.Start(ctx, componenttest.NewNopHost()); err != nil {
		return nil, err
	}
	for {
		step, err := frames.Read(in)
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		if err := d.step(step); err != nil {
			return nil, err
		}
	}
	if err := d.traces.Shutdown(ctx); err != nil {
		return nil, err
	}
	return d.out.Bytes(), nil
}

type driver struct {
	ctx      context.Context
	clock    *clockwork.FakeClock
	interval time.Duration
	elapsed  time.Duration
	next     sink
	traces   connector.Traces
	metrics  connector.Metrics
	logs     connector.Logs
	out      bytes.Buffer
}

func (d *driver) step(step []byte) error {
	body := step[1:]
	switch step[0] {
	case 't':
		traces, err := (&ptrace.ProtoUnmarshaler{}).UnmarshalTraces(body)
		if err != nil {
			return err
		}
		err = d.traces.ConsumeTraces(d.ctx, traces)
		if d.interval != 0 {
			return err
		}
		return d.takeOrNote(err)
	case 'm':
		metrics, err := (&pmetric.ProtoUnmarshaler{}).UnmarshalMetrics(body)
		if err != nil {
			return err
		}
		return d.takeOrNote(d.metrics.ConsumeMetrics(d.ctx, metrics))
	case 'l':
		logs, err := (&plog.ProtoUnmarshaler{}).UnmarshalLogs(body)
		if err != nil {
			return err
		}
		return d.takeOrNote(d.logs.ConsumeLogs(d.ctx, logs))
	case 'a':
		left := time.Duration(binary.LittleEndian.Uint64(body))
		for left > 0 {
			until := d.interval - d.elapsed%d.interval
			if left < until {
				d.clock.Advance(left)
				d.elapsed += left
				break
			}
			d.clock.Advance(until)
			d.elapsed += until
			left -= until
			if err := d.take(<-d.next); err != nil {
				return err
			}
			// The state is reset before the export, so that nothing of it is left to wait for.
		}
		return nil
	}
	return fmt.Errorf("no step %q", step[0])
}

// takeOrNote writes what was exported, or that the connector has refused the payload.
func (d *driver) takeOrNote(err error) error {
	if err != nil {
		return frames.Write(&d.out, append([]byte("refused: "), err.Error()...))
	}
	select {
	case m := <-d.next:
		return d.take(m)
	default:
		return frames.Write(&d.out, nil)
	}
}

func (d *driver) take(m pmetric.Metrics) error {
	body, err := (&pmetric.ProtoMarshaler{}).MarshalMetrics(m)
	if err != nil {
		return err
	}
	return frames.Write(&d.out, body)
}
