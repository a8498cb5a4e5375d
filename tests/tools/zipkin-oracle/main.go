// Answers for the Go exporter and the Go receiver. Inputs are on standard input, answers on standard output, each behind
// its length (u32, little endian). The first byte of an input says what it is:
//
// 0 and 1: the body of an ExportTraceServiceRequest, whose spans the exporter writes as JSON or as protobuf. Each span is
// translated by itself, so that one that can't be translated does not lose the others. The answer is the result of each
// span behind a length; a result of length 0 means that the span can't be translated.
//
// 2 to 5: a body that is posted to the receiver, in version 1 as JSON or Thrift, or in version 2 as JSON or protobuf,
// behind a byte that is 1 if tags are parsed. The answer is 1 and the body of an ExportTraceServiceRequest, or 0 and the
// error.
package main

import (
	"bytes"
	"io"

	"github.com/openzipkin/zipkin-go/proto/zipkin_proto3"
	"github.com/openzipkin/zipkin-go/reporter"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/translator/zipkin/zipkinv1"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/translator/zipkin/zipkinv2"

	"otelcore.invalid/tools/frames"
)

func main() {
	frames.MainAnswer(func(input []byte) ([]byte, error) {
		answerTo := translate
		if input[0] >= 2 {
			answerTo = receive
		}
		var answer bytes.Buffer
		err := answerTo(input, &answer)
		return answer.Bytes(), err
	})
}

func translate(input []byte, out io.Writer) error {
	var serializer reporter.SpanSerializer = reporter.JSONSerializer{}
	if input[0] == 1 {
		serializer = zipkin_proto3.SpanSerializer{}
	}
	request := ptraceotlp.NewExportRequest()
	if err := request.UnmarshalProto(input[1:]); err != nil {
		return err
	}
	for _, rs := range request.Traces().ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, span := range ss.Spans().All() {
				one := ptrace.NewTraces()
				oneResource := one.ResourceSpans().AppendEmpty()
				rs.Resource().CopyTo(oneResource.Resource())
				oneScope := oneResource.ScopeSpans().AppendEmpty()
				ss.Scope().CopyTo(oneScope.Scope())
				span.CopyTo(oneScope.Spans().AppendEmpty())
				if err := frames.Write(out, encode(one, serializer)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func receive(input []byte, out io.Writer) error {
	parseTags := input[1] == 1
	unmarshalers := []ptrace.Unmarshaler{
		zipkinv1.NewJSONTracesUnmarshaler(parseTags),
		zipkinv1.NewThriftTracesUnmarshaler(),
		zipkinv2.NewJSONTracesUnmarshaler(parseTags),
		zipkinv2.NewProtobufTracesUnmarshaler(false, parseTags),
	}
	traces, err := unmarshalers[input[0]-2].UnmarshalTraces(input[2:])
	if err != nil {
		_, err = io.WriteString(out, "\x00"+err.Error())
		return err
	}
	body, err := ptraceotlp.NewExportRequestFromTraces(traces).MarshalProto()
	if err != nil {
		return err
	}
	_, err = out.Write(append([]byte{1}, body...))
	return err
}

func encode(traces ptrace.Traces, serializer reporter.SpanSerializer) []byte {
	spans, err := zipkinv2.FromTranslator{}.FromTraces(traces)
	if err != nil {
		return nil
	}
	encoded, err := serializer.Serialize(spans)
	if err != nil {
		return nil
	}
	return encoded
}
