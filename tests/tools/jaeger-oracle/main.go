// Reads trace export requests on standard input and writes what the Go translator makes of them.
//
// Input: bodies of ExportTraceServiceRequest, each behind its length (u32, little endian). Output for each body: a count
// (u32), then that many encoded jaeger.api_v2.PostSpansRequest, each behind its length. A body that the Go codec refuses
// has the count 0xffffffff.
package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/jaegertracing/jaeger-idl/proto-gen/api_v2"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/translator/jaeger"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"otelcore.invalid/tools/frames"
)

func main() {
	frames.Main(func(in *bufio.Reader, out *bufio.Writer) error {
		for {
			body, err := frames.Read(in)
			if errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			if err := translate(body, out); err != nil {
				return err
			}
		}
	})
}

func translate(body []byte, out io.Writer) error {
	request := ptraceotlp.NewExportRequest()
	if err := request.UnmarshalProto(body); err != nil {
		fmt.Fprintln(os.Stderr, "jaeger-oracle:", err)
		return binary.Write(out, binary.LittleEndian, uint32(math.MaxUint32))
	}
	batches := jaeger.ProtoFromTraces(request.Traces())
	if err := binary.Write(out, binary.LittleEndian, uint32(len(batches))); err != nil {
		return err
	}
	for _, batch := range batches {
		encoded, err := (&api_v2.PostSpansRequest{Batch: *batch}).Marshal()
		if err != nil {
			return err
		}
		if err := frames.Write(out, encoded); err != nil {
			return err
		}
	}
	return nil
}
