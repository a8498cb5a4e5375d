// Reads trace export requests on standard input and writes the spans that the Go exporter makes of them.
//
// Input: a byte, 0 for JSON and 1 for protobuf, and the body of an ExportTraceServiceRequest, behind their length (u32,
// little endian). Each span is translated by itself, so that one that can't be translated does not lose the others.
// Output for each input, behind its length: for each span its result behind a length; a result of length 0 means that
// the span can't be translated.
package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/openzipkin/zipkin-go/proto/zipkin_proto3"
	"github.com/openzipkin/zipkin-go/reporter"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/translator/zipkin/zipkinv2"
)

func main() {
	in, out := bufio.NewReader(os.Stdin), bufio.NewWriter(os.Stdout)
	err := run(in, out)
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "zipkin-oracle:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	for {
		var size uint32
		if err := binary.Read(in, binary.LittleEndian, &size); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		input := make([]byte, size)
		if _, err := io.ReadFull(in, input); err != nil {
			return err
		}
		var answer bytes.Buffer
		if err := translate(input, &answer); err != nil {
			return err
		}
		if err := writeFrame(out, answer.Bytes()); err != nil {
			return err
		}
	}
}

func writeFrame(out io.Writer, frame []byte) error {
	if err := binary.Write(out, binary.LittleEndian, uint32(len(frame))); err != nil {
		return err
	}
	_, err := out.Write(frame)
	return err
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
				if err := writeFrame(out, encode(one, serializer)); err != nil {
					return err
				}
			}
		}
	}
	return nil
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
