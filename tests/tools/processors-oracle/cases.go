package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"go.opentelemetry.io/collector/component/componenttest"
)

// runCases answers inputs, each behind its length (u32, little endian), with outputs in the same form.
//
// Input: the processor (a byte: an index of factories), the signal (a byte: 0 traces, 1 metrics, 2 logs), the section in
// YAML behind its length, and bodies, each behind its length, which one instance gets one after another.
//
// Output: a byte, 1 and the text of an error if there is no instance, or 2 and a text if it panics. Otherwise 0, and for each body and for the shutdown
// a byte (0: the bodies that it passed on follow, 1: the text of an error), their number, and each behind its length.
func runCases(in io.Reader, out io.Writer) error {
	for {
		var length [4]byte
		if _, err := io.ReadFull(in, length[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		input := make([]byte, binary.LittleEndian.Uint32(length[:]))
		if _, err := io.ReadFull(in, input); err != nil {
			return err
		}
		if _, err := out.Write(appendFrame(nil, answerCase(input))); err != nil {
			return err
		}
	}
}

func appendFrame(to, frame []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(to, uint32(len(frame))), frame...)
}

func takeFrame(from *[]byte) []byte {
	length := binary.LittleEndian.Uint32(*from)
	frame := (*from)[4 : 4+length]
	*from = (*from)[4+length:]
	return frame
}

func answerCase(input []byte) (answer []byte) {
	defer func() {
		if reason := recover(); reason != nil {
			answer = append([]byte{2}, fmt.Sprint(reason)...)
		}
	}()
	ctx := context.Background()
	rest := input[2:]
	p, err := create(ctx, input[0], input[1], takeFrame(&rest))
	if err == nil {
		err = p.Start(ctx, componenttest.NewNopHost())
	}
	if err != nil {
		return append([]byte{1}, err.Error()...)
	}
	answer = []byte{0}
	put := func(bodies [][]byte, err error) {
		status := byte(0)
		if err != nil {
			status, bodies = 1, [][]byte{[]byte(err.Error())}
		}
		answer = binary.LittleEndian.AppendUint32(append(answer, status), uint32(len(bodies)))
		for _, body := range bodies {
			answer = appendFrame(answer, body)
		}
	}
	for len(rest) > 0 {
		if err := p.consume(takeFrame(&rest)); err != nil {
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
	return answer
}
