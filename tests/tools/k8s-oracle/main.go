// Reads objects of a cluster and traces on standard input, and writes the resources that the Go processor k8s_attributes
// makes of them. The processor's API server is this program, on loopback.
//
// Input, behind its length (u32, little endian): frames of the same form: the processor's section in YAML; a JSON object
// with the objects of each resource ("pods": [..]); then pairs of a client's address and the body of a trace export
// request. Output for each input, behind its length: a byte, 0 for the attributes of the resources, one resource a line
// and one attribute, as JSON, a tab, sorted; and 1 for the text of an error.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/k8sattributesprocessor"
	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"go.opentelemetry.io/collector/processor/processortest"

	"otelcore.invalid/tools/componentconfig"
	"otelcore.invalid/tools/frames"
)

func main() { frames.Main(run) }

func run(in *bufio.Reader, out *bufio.Writer) error {
	cluster := &cluster{}
	server := httptest.NewServer(cluster)
	defer server.Close()
	folder, err := os.MkdirTemp("", "k8s-oracle")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	path := filepath.Join(folder, "config")
	config := fmt.Sprintf("{apiVersion: v1, kind: Config, current-context: c, clusters: [{name: c, cluster: {server: %q}}], "+
		"contexts: [{name: c, context: {cluster: c, user: u}}], users: [{name: u, user: {token: t}}]}", server.URL)
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		return err
	}
	os.Setenv("KUBECONFIG", path)
	return frames.Answer(in, out, func(input []byte) ([]byte, error) {
		lines, err := enrich(cluster, input)
		return frames.Result([]byte(strings.Join(lines, "\n")), err), nil
	})
}

// The API server: it lists the objects of the case, and its watches bring nothing.
type cluster struct {
	mutex   sync.Mutex
	objects map[string][]map[string]any
}

func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	w.Header().Set("Content-Type", "application/json")
	if query.Get("sendInitialEvents") != "" {
		w.WriteHeader(http.StatusUnprocessableEntity)
		fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422}`)
		return
	}
	if query.Get("watch") != "" {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return
	}
	resource := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	kind, version := "PodList", "v1"
	if resource != "pods" {
		kind, version = "PartialObjectMetadataList", "meta.k8s.io/v1"
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	items := []map[string]any{}
	for _, object := range c.objects[resource] {
		if resource != "pods" {
			object["kind"], object["apiVersion"] = "PartialObjectMetadata", version
		}
		items = append(items, object)
	}
	_ = json.NewEncoder(w).Encode(map[string]any{
		"kind": kind, "apiVersion": version, "metadata": map[string]any{"resourceVersion": "5"}, "items": items,
	})
}

func enrich(cluster *cluster, input []byte) ([]string, error) {
	in := bytes.NewReader(input)
	yaml, err := frames.Read(in)
	if err != nil {
		return nil, err
	}
	objects, err := frames.Read(in)
	if err != nil {
		return nil, err
	}
	cluster.mutex.Lock()
	cluster.objects = nil
	err = json.Unmarshal(objects, &cluster.objects)
	cluster.mutex.Unlock()
	if err != nil {
		return nil, err
	}
	factory := k8sattributesprocessor.NewFactory()
	config, err := componentconfig.Read(factory, yaml)
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	sink := new(consumertest.TracesSink)
	processor, err := factory.CreateTraces(ctx, processortest.NewNopSettings(factory.Type()), config, sink)
	if err != nil {
		return nil, err
	}
	if err := processor.Start(ctx, componenttest.NewNopHost()); err != nil {
		return nil, err
	}
	defer processor.Shutdown(ctx)
	for {
		address, err := frames.Read(in)
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		body, err := frames.Read(in)
		if err != nil {
			return nil, err
		}
		request := ptraceotlp.NewExportRequest()
		if err := request.UnmarshalProto(body); err != nil {
			return nil, err
		}
		with := ctx
		if ip := net.ParseIP(string(address)); ip != nil {
			with = client.NewContext(ctx, client.Info{Addr: &net.IPAddr{IP: ip}})
		}
		if err := processor.ConsumeTraces(with, request.Traces()); err != nil {
			return nil, err
		}
	}
	var lines []string
	for _, traces := range sink.AllTraces() {
		for _, resource := range traces.ResourceSpans().All() {
			lines = append(lines, show(resource.Resource().Attributes()))
		}
	}
	return lines, nil
}

func show(attributes pcommon.Map) string {
	var texts []string
	for key, value := range attributes.All() {
		text, _ := json.Marshal([]any{key, value.AsRaw()})
		texts = append(texts, string(text))
	}
	slices.Sort(texts)
	return strings.Join(texts, "\t")
}
