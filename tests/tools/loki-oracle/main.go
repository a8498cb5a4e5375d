// Answers for the translator of the Go Loki exporter. Inputs are on standard input, answers on standard output, each
// behind its length (u32, little endian).
//
// An input is a byte of bits that turn off the default labels exporter, job, instance and level, and the body of an
// ExportLogsServiceRequest. The answer is a list of frames, three for each tenant: the tenant, the number of records
// that could not be translated, as text, and the body of its push request, not compressed.
package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/translator/loki"
)

func main() {
	in, out := bufio.NewReader(os.Stdin), bufio.NewWriter(os.Stdout)
	err := run(in, out)
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "loki-oracle:", err)
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
		if err := pushLogs(input, &answer); err != nil {
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

func pushLogs(input []byte, out io.Writer) error {
	enabled := map[string]bool{}
	for bit, name := range []string{"exporter", "job", "instance", "level"} {
		enabled[name] = input[0]&(1<<bit) == 0
	}
	request := plogotlp.NewExportRequest()
	if err := request.UnmarshalProto(input[1:]); err != nil {
		return err
	}
	for tenant, push := range loki.LogsToLokiRequests(request.Logs(), enabled) {
		body, err := push.PushRequest.Marshal()
		if err != nil {
			return err
		}
		dropped := strconv.Itoa(push.Report.NumDropped)
		for _, frame := range [][]byte{[]byte(tenant), []byte(dropped), body} {
			if err := writeFrame(out, frame); err != nil {
				return err
			}
		}
	}
	return nil
}
