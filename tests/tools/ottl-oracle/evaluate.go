package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl/contexts/ottldatapoint"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl/contexts/ottllog"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl/contexts/ottlmetric"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl/contexts/ottlresource"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl/contexts/ottlscope"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl/contexts/ottlspan"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl/contexts/ottlspanevent"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl/ottlfuncs"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

var settings component.TelemetrySettings = componenttest.NewNopTelemetrySettings()

func evaluate(ctx context.Context, text string, signal byte, body []byte) ([]byte, error) {
	name, expression, ok := strings.Cut(text, " ")
	if !ok {
		return nil, errors.New("no context")
	}
	var value any
	var err error
	switch signal {
	case 0:
		data, bad := (&ptrace.ProtoUnmarshaler{}).UnmarshalTraces(body)
		if bad != nil {
			return nil, bad
		}
		resource := data.ResourceSpans().At(0)
		scope := resource.ScopeSpans().At(0)
		switch name {
		case "span":
			parser, bad := ottlspan.NewParser(ottlfuncs.StandardFuncs[*ottlspan.TransformContext](), settings)
			value, err = valueOf(ctx, parser, bad, expression, ottlspan.NewTransformContextPtr(resource, scope, scope.Spans().At(0)))
		case "spanevent":
			parser, bad := ottlspanevent.NewParser(ottlfuncs.StandardFuncs[*ottlspanevent.TransformContext](), settings)
			span := scope.Spans().At(0)
			value, err = valueOf(ctx, parser, bad, expression, ottlspanevent.NewTransformContextPtr(resource, scope, span, span.Events().At(0), ottlspanevent.WithEventIndex(0)))
		case "resource":
			parser, bad := ottlresource.NewParser(ottlfuncs.StandardFuncs[*ottlresource.TransformContext](), settings)
			value, err = valueOf(ctx, parser, bad, expression, ottlresource.NewTransformContextPtr(resource.Resource(), resource))
		case "scope":
			parser, bad := ottlscope.NewParser(ottlfuncs.StandardFuncs[*ottlscope.TransformContext](), settings)
			value, err = valueOf(ctx, parser, bad, expression, ottlscope.NewTransformContextPtr(scope.Scope(), resource.Resource(), scope, resource))
		default:
			err = errors.New("no such context")
		}
	case 1:
		data, bad := (&pmetric.ProtoUnmarshaler{}).UnmarshalMetrics(body)
		if bad != nil {
			return nil, bad
		}
		resource := data.ResourceMetrics().At(0)
		scope := resource.ScopeMetrics().At(0)
		metric := scope.Metrics().At(0)
		switch name {
		case "metric":
			parser, bad := ottlmetric.NewParser(ottlfuncs.StandardFuncs[*ottlmetric.TransformContext](), settings)
			value, err = valueOf(ctx, parser, bad, expression, ottlmetric.NewTransformContextPtr(resource, scope, metric))
		case "datapoint":
			parser, bad := ottldatapoint.NewParser(ottlfuncs.StandardFuncs[*ottldatapoint.TransformContext](), settings)
			value, err = valueOf(ctx, parser, bad, expression, ottldatapoint.NewTransformContextPtr(resource, scope, metric, firstPoint(metric)))
		default:
			err = errors.New("no such context")
		}
	default:
		data, bad := (&plog.ProtoUnmarshaler{}).UnmarshalLogs(body)
		if bad != nil {
			return nil, bad
		}
		resource := data.ResourceLogs().At(0)
		scope := resource.ScopeLogs().At(0)
		if name != "log" {
			return nil, errors.New("no such context")
		}
		parser, bad := ottllog.NewParser(ottlfuncs.StandardFuncs[*ottllog.TransformContext](), settings)
		value, err = valueOf(ctx, parser, bad, expression, ottllog.NewTransformContextPtr(resource, scope, scope.LogRecords().At(0)))
	}
	if err != nil {
		return nil, err
	}
	return []byte(render(value)), nil
}

func valueOf[K any](ctx context.Context, parser ottl.Parser[K], bad error, expression string, item K) (any, error) {
	if bad != nil {
		return nil, bad
	}
	parsed, err := parser.ParseValueExpression(expression)
	if err != nil {
		return nil, err
	}
	return parsed.Eval(ctx, item)
}

func firstPoint(metric pmetric.Metric) any {
	switch metric.Type() {
	case pmetric.MetricTypeGauge:
		return metric.Gauge().DataPoints().At(0)
	case pmetric.MetricTypeSum:
		return metric.Sum().DataPoints().At(0)
	case pmetric.MetricTypeHistogram:
		return metric.Histogram().DataPoints().At(0)
	case pmetric.MetricTypeExponentialHistogram:
		return metric.ExponentialHistogram().DataPoints().At(0)
	case pmetric.MetricTypeSummary:
		return metric.Summary().DataPoints().At(0)
	}
	return nil
}

// Type and value in a form that another language can make as well: strings in JSON, doubles by their bits, bytes in hex.
func render(value any) string {
	switch v := value.(type) {
	case nil:
		return "nil"
	case string:
		quoted, _ := json.Marshal(v)
		return "string " + string(quoted)
	case bool:
		return "bool " + strconv.FormatBool(v)
	case int64:
		return "int " + strconv.FormatInt(v, 10)
	case float64:
		return "double " + strconv.FormatUint(math.Float64bits(v), 16)
	case []byte:
		return "bytes " + hex.EncodeToString(v)
	case pcommon.TraceID:
		return "trace_id " + hex.EncodeToString(v[:])
	case pcommon.SpanID:
		return "span_id " + hex.EncodeToString(v[:])
	case time.Time:
		_, offset := v.Zone()
		return fmt.Sprintf("time %d.%09d%+d %s", v.Unix(), v.Nanosecond(), offset, v.Format(time.RFC3339Nano))
	case time.Duration:
		return "duration " + strconv.FormatInt(int64(v), 10)
	case pcommon.Map:
		var parts []string
		for key, value := range v.All() {
			quoted, _ := json.Marshal(key)
			parts = append(parts, string(quoted)+": "+render(plain(value)))
		}
		return "map {" + strings.Join(parts, ", ") + "}"
	case pcommon.Slice:
		var parts []string
		for _, value := range v.All() {
			parts = append(parts, render(plain(value)))
		}
		return "list [" + strings.Join(parts, ", ") + "]"
	case pcommon.Value:
		return render(plain(v))
	case map[string]any:
		m := pcommon.NewMap()
		if err := m.FromRaw(v); err == nil {
			return render(m)
		}
	case []any:
		return renderList(v)
	case []string:
		return renderList(v)
	case []int64:
		return renderList(v)
	case []float64:
		return renderList(v)
	case []bool:
		return renderList(v)
	case []uint64:
		list := make([]int64, len(v))
		for i, value := range v {
			list[i] = int64(value)
		}
		return renderList(list)
	}
	return fmt.Sprintf("%T", value)
}

func renderList[T any](list []T) string {
	parts := make([]string, len(list))
	for i, value := range list {
		parts[i] = render(value)
	}
	return "list [" + strings.Join(parts, ", ") + "]"
}

func plain(value pcommon.Value) any {
	switch value.Type() {
	case pcommon.ValueTypeStr:
		return value.Str()
	case pcommon.ValueTypeBool:
		return value.Bool()
	case pcommon.ValueTypeInt:
		return value.Int()
	case pcommon.ValueTypeDouble:
		return value.Double()
	case pcommon.ValueTypeBytes:
		return value.Bytes().AsRaw()
	case pcommon.ValueTypeMap:
		return value.Map()
	case pcommon.ValueTypeSlice:
		return value.Slice()
	}
	return nil
}
