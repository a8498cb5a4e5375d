// Answers for the encoding `jaeger_json` of the Go exporter and receiver `kafka`. Inputs are on standard input, answers on
// standard output, each behind its length (u32, little endian). The first byte of an input says what follows:
//
// 0: an ExportTraceServiceRequest; the answer is the key and the value of each message, as frames. 1: the value of a
// message; the answer is 1 and the body of an ExportTraceServiceRequest, or 0 and the error.
//
// What the components do with these libraries is in packages of theirs that are internal, and is repeated here.
package main

import (
	"bytes"

	"github.com/gogo/protobuf/jsonpb"
	"github.com/jaegertracing/jaeger-idl/model/v1"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	translator "github.com/open-telemetry/opentelemetry-collector-contrib/pkg/translator/jaeger"

	"otelcore.invalid/tools/frames"
)

func main() {
	frames.MainAnswer(func(input []byte) ([]byte, error) {
		if input[0] == 0 {
			return messages(input[1:])
		}
		answer, err := telemetry(input[1:])
		if err != nil {
			return append([]byte{0}, err.Error()...), nil
		}
		return append([]byte{1}, answer...), nil
	})
}

func messages(body []byte) ([]byte, error) {
	request := ptraceotlp.NewExportRequest()
	if err := request.UnmarshalProto(body); err != nil {
		return nil, err
	}
	var out, value bytes.Buffer
	for _, batch := range translator.ProtoFromTraces(request.Traces()) {
		for _, span := range batch.Spans {
			span.Process = batch.Process
			value.Reset()
			if err := (&jsonpb.Marshaler{}).Marshal(&value, span); err != nil {
				return nil, err
			}
			if err := frames.Write(&out, []byte(span.TraceID.String())); err != nil {
				return nil, err
			}
			if err := frames.Write(&out, value.Bytes()); err != nil {
				return nil, err
			}
		}
	}
	return out.Bytes(), nil
}

func telemetry(value []byte) ([]byte, error) {
	span := &model.Span{}
	if err := jsonpb.Unmarshal(bytes.NewReader(value), span); err != nil {
		return nil, err
	}
	traces, err := translator.ProtoToTraces([]*model.Batch{{Spans: []*model.Span{span}, Process: span.Process}})
	if err != nil {
		return nil, err
	}
	return ptraceotlp.NewExportRequestFromTraces(traces).MarshalProto()
}
