// Answers for the translator of the Go Loki exporter. Inputs are on standard input, answers on standard output, each
// behind its length (u32, little endian).
//
// An input is a byte of bits that turn off the default labels exporter, job, instance and level, and the body of an
// ExportLogsServiceRequest. The answer is a list of frames, three for each tenant: the tenant, the number of records
// that could not be translated, as text, and the body of its push request, not compressed.
package main

import (
	"bytes"
	"strconv"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/translator/loki"

	"otelcore.invalid/tools/frames"
)

func main() { frames.MainAnswer(pushLogs) }

func pushLogs(input []byte) ([]byte, error) {
	enabled := map[string]bool{}
	for bit, name := range []string{"exporter", "job", "instance", "level"} {
		enabled[name] = input[0]&(1<<bit) == 0
	}
	request := plogotlp.NewExportRequest()
	if err := request.UnmarshalProto(input[1:]); err != nil {
		return nil, err
	}
	var answer bytes.Buffer
	for tenant, push := range loki.LogsToLokiRequests(request.Logs(), enabled) {
		body, err := push.PushRequest.Marshal()
		if err != nil {
			return nil, err
		}
		dropped := strconv.Itoa(push.Report.NumDropped)
		for _, frame := range [][]byte{[]byte(tenant), []byte(dropped), body} {
			if err := frames.Write(&answer, frame); err != nil {
				return nil, err
			}
		}
	}
	return answer.Bytes(), nil
}
