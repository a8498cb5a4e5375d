// Package frames is what the programs have in common that answer with a Go component: a test writes inputs to their
// standard input and reads answers from their standard output. A frame is so many bytes behind their number (u32, little
// endian).
package frames

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Read returns the next frame, or io.EOF where none begins.
func Read(in io.Reader) ([]byte, error) {
	var size uint32
	if err := binary.Read(in, binary.LittleEndian, &size); err != nil {
		return nil, err
	}
	frame := make([]byte, size)
	if _, err := io.ReadFull(in, frame); err != nil {
		return nil, io.ErrUnexpectedEOF
	}
	return frame, nil
}

// Write writes one frame.
func Write(out io.Writer, frame []byte) error {
	if err := binary.Write(out, binary.LittleEndian, uint32(len(frame))); err != nil {
		return err
	}
	_, err := out.Write(frame)
	return err
}

// Split returns the frames of which an input consists.
func Split(input []byte) ([][]byte, error) {
	var all [][]byte
	in := bytes.NewReader(input)
	for {
		frame, err := Read(in)
		if errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all = append(all, frame)
	}
}

// Result is an answer behind a byte that is 0, or the text of an error behind one that is 1.
func Result(answer []byte, err error) []byte {
	if err != nil {
		return append([]byte{1}, err.Error()...)
	}
	return append([]byte{0}, answer...)
}

// Answer writes an answer for each frame until the input ends.
func Answer(in *bufio.Reader, out *bufio.Writer, answer func(input []byte) ([]byte, error)) error {
	for {
		// A caller may wait for the answers before it writes the next input.
		if in.Buffered() == 0 {
			if err := out.Flush(); err != nil {
				return err
			}
		}
		input, err := Read(in)
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		result, err := answer(input)
		if err != nil {
			return err
		}
		if err := Write(out, result); err != nil {
			return err
		}
	}
}

// Main runs a program between standard input and output. Its error is written to standard error, and the program ends
// with status 1.
func Main(run func(in *bufio.Reader, out *bufio.Writer) error) {
	in, out := bufio.NewReader(os.Stdin), bufio.NewWriter(os.Stdout)
	err := run(in, out)
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(os.Args[0]), err)
		os.Exit(1)
	}
}

// MainAnswer is Main for a program that answers each frame by itself.
func MainAnswer(answer func(input []byte) ([]byte, error)) {
	Main(func(in *bufio.Reader, out *bufio.Writer) error { return Answer(in, out, answer) })
}
