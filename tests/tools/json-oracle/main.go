// Reads bodies on standard input and writes what the Go collector's codec makes of them.
//
// Input: for each body what to do (a byte: 0 writes protobuf as JSON, 1 reads JSON into protobuf), the signal (a byte: 0
// traces, 1 metrics, 2 logs), a length (u32, little endian) and so many bytes. Output for each: a byte, 0 for a body and 1
// for the text of an error, a length and so many bytes.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"otelcore.invalid/tools/frames"
)

// What the requests of all signals have.
type request interface {
	MarshalProto() ([]byte, error)
	UnmarshalProto([]byte) error
	MarshalJSON() ([]byte, error)
	UnmarshalJSON([]byte) error
}

func main() { frames.Main(run) }

func run(in *bufio.Reader, out *bufio.Writer) error {
	for {
		var head [2]byte
		if _, err := io.ReadFull(in, head[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		body, err := frames.Read(in)
		if err != nil {
			return err
		}
		answer, err := translate(head[0], head[1], body)
		status := byte(0)
		if err != nil {
			status, answer = 1, []byte(err.Error())
		}
		if err := errors.Join(out.WriteByte(status), frames.Write(out, answer)); err != nil {
			return err
		}
	}
}

func translate(what, signal byte, body []byte) (answer []byte, err error) {
	// A panic of the codec counts as a refusal, too.
	defer func() {
		if caught := recover(); caught != nil {
			err = fmt.Errorf("panic: %v", caught)
		}
	}()
	var r request
	switch signal {
	case 0:
		r = ptraceotlp.NewExportRequest()
	case 1:
		r = pmetricotlp.NewExportRequest()
	case 2:
		r = plogotlp.NewExportRequest()
	default:
		return nil, fmt.Errorf("unknown signal %d", signal)
	}
	if what == 0 {
		if err := r.UnmarshalProto(body); err != nil {
			return nil, err
		}
		return r.MarshalJSON()
	}
	if err := r.UnmarshalJSON(body); err != nil {
		return nil, err
	}
	return r.MarshalProto()
}
