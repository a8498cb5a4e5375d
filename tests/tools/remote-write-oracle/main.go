// Answers for the Go remote write exporter. Inputs are on standard input, answers on standard output, each behind its
// length (u32, little endian).
//
// An input is the length (u32) of a configuration as YAML, without an endpoint, the configuration, and the body of an
// ExportMetricsServiceRequest. The exporter runs in this process and sends to a server of this process. The answer is a
// list of frames: the error of the exporter, empty without one, then each body that the server received, decompressed,
// in the order of arrival.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"

	"github.com/golang/snappy"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/featuregate"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"gopkg.in/yaml.v3"

	"github.com/open-telemetry/opentelemetry-collector-contrib/exporter/prometheusremotewriteexporter"

	"otelcore.invalid/tools/frames"
)

const sendingVersion2 = "exporter.prometheusremotewritexporter.enableSendingRW2"

func main() {
	frames.Main(func(in *bufio.Reader, out *bufio.Writer) error {
		if err := featuregate.GlobalRegistry().Set(sendingVersion2, true); err != nil {
			return err
		}
		server := newServer()
		defer server.http.Close()
		return frames.Answer(in, out, func(input []byte) ([]byte, error) {
			var answer bytes.Buffer
			err := remoteWrite(server, input, &answer)
			return answer.Bytes(), err
		})
	})
}

// server keeps the bodies of the requests that it gets.
type server struct {
	http   *httptest.Server
	mutex  sync.Mutex
	bodies [][]byte
}

func newServer() *server {
	s := &server{}
	s.http = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		compressed, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body, err := snappy.Decode(nil, compressed)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.mutex.Lock()
		defer s.mutex.Unlock()
		s.bodies = append(s.bodies, body)
	}))
	return s
}

func remoteWrite(s *server, input []byte, out io.Writer) error {
	size := binary.LittleEndian.Uint32(input)
	config, body := input[4:4+size], input[4+size:]
	section := map[string]any{}
	if err := yaml.Unmarshal(config, &section); err != nil {
		return err
	}
	section["endpoint"] = s.http.URL
	section["remote_write_queue"] = map[string]any{"enabled": false, "num_consumers": 1}
	section["retry_on_failure"] = map[string]any{"enabled": false}
	factory := prometheusremotewriteexporter.NewFactory()
	settings := factory.CreateDefaultConfig()
	if err := confmap.NewFromStringMap(section).Unmarshal(settings); err != nil {
		return err
	}
	ctx := context.Background()
	exporter, err := factory.CreateMetrics(ctx, exportertest.NewNopSettings(factory.Type()), settings)
	if err != nil {
		return err
	}
	if err := exporter.Start(ctx, componenttest.NewNopHost()); err != nil {
		return err
	}
	request := pmetricotlp.NewExportRequest()
	if err := request.UnmarshalProto(body); err != nil {
		return err
	}
	s.bodies = nil
	message := ""
	if err := exporter.ConsumeMetrics(ctx, request.Metrics()); err != nil {
		message = err.Error()
	}
	if err := exporter.Shutdown(ctx); err != nil {
		return err
	}
	if err := frames.Write(out, []byte(message)); err != nil {
		return err
	}
	for _, body := range s.bodies {
		if err := frames.Write(out, body); err != nil {
			return err
		}
	}
	return nil
}
