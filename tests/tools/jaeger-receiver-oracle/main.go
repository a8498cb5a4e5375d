// Answers for the Go receiver `jaeger`. Inputs are on standard input, answers on standard output, each behind its length
// (u32, little endian). The first byte of an input says what follows:
//
// 0: a PostSpansRequest; 1: a Batch in Thrift's binary protocol, as it is posted over HTTP; 2 and 3: a message for the
// agent, in the binary and in the compact protocol.
//
// The answer is 1 and the body of an ExportTraceServiceRequest, or 0 and the error.
package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/apache/thrift/lib/go/thrift"
	"github.com/jaegertracing/jaeger-idl/model/v1"
	"github.com/jaegertracing/jaeger-idl/proto-gen/api_v2"
	"github.com/jaegertracing/jaeger-idl/thrift-gen/agent"
	"github.com/jaegertracing/jaeger-idl/thrift-gen/jaeger"
	"github.com/jaegertracing/jaeger-idl/thrift-gen/zipkincore"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	translator "github.com/open-telemetry/opentelemetry-collector-contrib/pkg/translator/jaeger"

	"otelcore.invalid/tools/frames"
)

func main() {
	frames.MainAnswer(func(input []byte) ([]byte, error) {
		answer, err := answerTo(input)
		if err != nil {
			return append([]byte{0}, err.Error()...), nil
		}
		return append([]byte{1}, answer...), nil
	})
}

func answerTo(input []byte) ([]byte, error) {
	traces, err := translate(input[0], input[1:])
	if err != nil {
		return nil, err
	}
	return ptraceotlp.NewExportRequestFromTraces(traces).MarshalProto()
}

func translate(format byte, body []byte) (ptrace.Traces, error) {
	switch format {
	case 0:
		var request api_v2.PostSpansRequest
		if err := request.Unmarshal(body); err != nil {
			return ptrace.Traces{}, err
		}
		return translator.ProtoToTraces([]*model.Batch{&request.Batch})
	case 1:
		batch := &jaeger.Batch{}
		if err := thrift.NewTDeserializer().Read(context.Background(), batch, body); err != nil {
			return ptrace.Traces{}, err
		}
		return translator.ThriftToTraces(batch)
	}
	buffer := thrift.NewTMemoryBuffer()
	if _, err := buffer.Write(body); err != nil {
		return ptrace.Traces{}, err
	}
	factory := thrift.TProtocolFactory(thrift.NewTBinaryProtocolFactoryConf(nil))
	if format == 3 {
		factory = thrift.NewTCompactProtocolFactoryConf(nil)
	}
	received := &handler{traces: ptrace.NewTraces()}
	protocol := factory.GetProtocol(buffer)
	if ok, err := agent.NewAgentProcessor(received).Process(context.Background(), protocol, protocol); !ok || err != nil {
		return ptrace.Traces{}, fmt.Errorf("processor failed: %w", err)
	}
	return received.traces, nil
}

// handler keeps what the agent is sent.
type handler struct {
	traces ptrace.Traces
}

func (h *handler) EmitBatch(_ context.Context, batch *jaeger.Batch) (err error) {
	if batch != nil {
		h.traces, err = translator.ThriftToTraces(batch)
	}
	return err
}

func (*handler) EmitZipkinBatch(context.Context, []*zipkincore.Span) error {
	return errors.New("unsupported receiver")
}
