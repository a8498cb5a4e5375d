package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	"go.opentelemetry.io/collector/component/componenttest"

	"otelcore.invalid/tools/frames"
)

// runCases answers inputs, each behind its length (u32, little endian), with outputs in the same form.
//
// Input: the processor (a byte: an index of factories), the signal (a byte: 0 traces, 1 metrics, 2 logs), the section in
// YAML behind its length, and bodies, each behind its length, which one instance gets one after another.
//
// Output: a byte, 1 and the text of an error if there is no instance, or 2 and a text if it panics. Otherwise 0, and for each body and for the shutdown
// a byte (0: the bodies that it passed on follow, 1: the text of an error), their number, and each behind its length.
func runCases(in *bufio.Reader, out *bufio.Writer) error {
	return frames.Answer(in, out, func(input []byte) ([]byte, error) { return answerCase(input), nil })
}

func answerCase(input []byte) (answer []byte) {
	defer func() {
		if reason := recover(); reason != nil {
			answer = append([]byte{2}, fmt.Sprint(reason)...)
		}
	}()
	ctx := context.Background()
	parts, err := frames.Split(input[2:])
	if err != nil || len(parts) == 0 {
		panic("an input has no section")
	}
	p, err := create(ctx, input[0], input[1], parts[0])
	if err == nil {
		err = p.Start(ctx, componenttest.NewNopHost())
	}
	if err != nil {
		return append([]byte{1}, err.Error()...)
	}
	out := bytes.NewBuffer([]byte{0})
	put := func(bodies [][]byte, err error) {
		status := byte(0)
		if err != nil {
			status, bodies = 1, [][]byte{[]byte(err.Error())}
		}
		out.WriteByte(status)
		_ = binary.Write(out, binary.LittleEndian, uint32(len(bodies)))
		for _, body := range bodies {
			_ = frames.Write(out, body)
		}
	}
	for _, body := range parts[1:] {
		if err := p.consume(body); err != nil {
			put(nil, err)
		} else {
			put(p.take())
		}
	}
	if err := p.Shutdown(ctx); err != nil {
		put(nil, err)
	} else {
		put(p.take())
	}
	return out.Bytes()
}
