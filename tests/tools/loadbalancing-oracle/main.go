// Runs the Go exporter loadbalancing on the cases of standard input, with a gRPC server for each backend.
//
// Input, behind its length (u32, little endian): two frames of the same form. The first has one value a line: the signal,
// routing_key, the attributes of routing_attributes with commas between them, and the backends, by the numbers of the
// servers. The second is the body of a request, whose items have their number as span id (spans, log records) or time
// (points).
//
// Output for each input, behind its length: a byte, 0 for a result and 1 for the text of an error. The result has a line for
// each item: its number, and the endpoint of the server that received it.
package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/exporter/loadbalancingexporter"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc"

	"otelcore.invalid/tools/frames"
)

func main() { frames.Main(run) }

const servers = 16

func endpoint(number string) string {
	return "unix-abstract:otelcore-loadbalancing-oracle-" + number
}

func run(in *bufio.Reader, out *bufio.Writer) error {
	received := &items{}
	for number := range servers {
		if err := serve(fmt.Sprint(number), received); err != nil {
			return err
		}
	}
	return frames.Answer(in, out, func(input []byte) ([]byte, error) {
		parts, err := frames.Split(input)
		if err != nil {
			return nil, err
		}
		received.lines = nil
		err = export(strings.Split(string(parts[0]), "\n"), parts[1])
		sort.Strings(received.lines)
		return frames.Result([]byte(strings.Join(received.lines, "\n")), err), nil
	})
}

// What the servers have received in a case.
type items struct {
	mutex sync.Mutex
	lines []string
}

func (r *items) add(number uint64, server string) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.lines = append(r.lines, fmt.Sprintf("%020d %s", number, endpoint(server)))
}

func export(head []string, body []byte) error {
	var hostnames []any
	for _, number := range head[3:] {
		hostnames = append(hostnames, endpoint(number))
	}
	settings := map[string]any{
		"protocol": map[string]any{"otlp": map[string]any{
			"tls":              map[string]any{"insecure": true},
			"sending_queue":    map[string]any{"enabled": false},
			"retry_on_failure": map[string]any{"enabled": false},
			"wait_for_ready":   true,
		}},
		"resolver":    map[string]any{"static": map[string]any{"hostnames": hostnames}},
		"routing_key": head[1],
	}
	if head[2] != "" {
		settings["routing_attributes"] = strings.Split(head[2], ",")
	}
	factory := loadbalancingexporter.NewFactory()
	config := factory.CreateDefaultConfig()
	if err := confmap.NewFromStringMap(settings).Unmarshal(config); err != nil {
		return err
	}
	if err := config.(interface{ Validate() error }).Validate(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	params := exportertest.NewNopSettings(factory.Type())
	host := componenttest.NewNopHost()
	started := func(exp component.Component, err error) error {
		if err != nil {
			return err
		}
		return exp.Start(ctx, host)
	}
	switch head[0] {
	case "traces":
		request := ptraceotlp.NewExportRequest()
		if err := request.UnmarshalProto(body); err != nil {
			return err
		}
		exp, err := factory.CreateTraces(ctx, params, config)
		if err := started(exp, err); err != nil {
			return err
		}
		return stop(ctx, exp, exp.(exporter.Traces).ConsumeTraces(ctx, request.Traces()))
	case "metrics":
		request := pmetricotlp.NewExportRequest()
		if err := request.UnmarshalProto(body); err != nil {
			return err
		}
		exp, err := factory.CreateMetrics(ctx, params, config)
		if err := started(exp, err); err != nil {
			return err
		}
		return stop(ctx, exp, exp.(exporter.Metrics).ConsumeMetrics(ctx, request.Metrics()))
	default:
		request := plogotlp.NewExportRequest()
		if err := request.UnmarshalProto(body); err != nil {
			return err
		}
		exp, err := factory.CreateLogs(ctx, params, config)
		if err := started(exp, err); err != nil {
			return err
		}
		return stop(ctx, exp, exp.(exporter.Logs).ConsumeLogs(ctx, request.Logs()))
	}
}

func stop(ctx context.Context, exp component.Component, err error) error {
	return errors.Join(err, exp.Shutdown(ctx))
}

func serve(number string, received *items) error {
	listener, err := net.Listen("unix", "@otelcore-loadbalancing-oracle-"+number)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	ptraceotlp.RegisterGRPCServer(server, &traces{number: number, received: received})
	pmetricotlp.RegisterGRPCServer(server, &metrics{number: number, received: received})
	plogotlp.RegisterGRPCServer(server, &logs{number: number, received: received})
	go func() { _ = server.Serve(listener) }()
	return nil
}

func idNumber(id pcommon.SpanID) uint64 {
	return binary.BigEndian.Uint64(id[:])
}

type traces struct {
	ptraceotlp.UnimplementedGRPCServer
	number   string
	received *items
}

func (s *traces) Export(_ context.Context, request ptraceotlp.ExportRequest) (ptraceotlp.ExportResponse, error) {
	for _, rs := range request.Traces().ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, span := range ss.Spans().All() {
				s.received.add(idNumber(span.SpanID()), s.number)
			}
		}
	}
	return ptraceotlp.NewExportResponse(), nil
}

type logs struct {
	plogotlp.UnimplementedGRPCServer
	number   string
	received *items
}

func (s *logs) Export(_ context.Context, request plogotlp.ExportRequest) (plogotlp.ExportResponse, error) {
	for _, rl := range request.Logs().ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			for _, record := range sl.LogRecords().All() {
				s.received.add(idNumber(record.SpanID()), s.number)
			}
		}
	}
	return plogotlp.NewExportResponse(), nil
}

type metrics struct {
	pmetricotlp.UnimplementedGRPCServer
	number   string
	received *items
}

func (s *metrics) Export(_ context.Context, request pmetricotlp.ExportRequest) (pmetricotlp.ExportResponse, error) {
	for _, rm := range request.Metrics().ResourceMetrics().All() {
		for _, sm := range rm.ScopeMetrics().All() {
			for _, metric := range sm.Metrics().All() {
				s.addPoints(metric)
			}
		}
	}
	return pmetricotlp.NewExportResponse(), nil
}

func (s *metrics) addPoints(metric pmetric.Metric) {
	switch metric.Type() {
	case pmetric.MetricTypeGauge:
		for _, point := range metric.Gauge().DataPoints().All() {
			s.received.add(uint64(point.Timestamp()), s.number)
		}
	case pmetric.MetricTypeSum:
		for _, point := range metric.Sum().DataPoints().All() {
			s.received.add(uint64(point.Timestamp()), s.number)
		}
	case pmetric.MetricTypeHistogram:
		for _, point := range metric.Histogram().DataPoints().All() {
			s.received.add(uint64(point.Timestamp()), s.number)
		}
	case pmetric.MetricTypeExponentialHistogram:
		for _, point := range metric.ExponentialHistogram().DataPoints().All() {
			s.received.add(uint64(point.Timestamp()), s.number)
		}
	case pmetric.MetricTypeSummary:
		for _, point := range metric.Summary().DataPoints().All() {
			s.received.add(uint64(point.Timestamp()), s.number)
		}
	}
}
