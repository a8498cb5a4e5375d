// Package examples runs the examples beside a real Jaeger and a real Prometheus, where scripts/tools has installed them.
package examples

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func free(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

func get(url string) string {
	response, err := http.Get(url)
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return string(body)
}

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never came: %s", what)
		}
	}
}

// jaeger is a running one: the address for spans, and the address for queries.
func jaeger(t *testing.T) (collector, query string) {
	t.Helper()
	binary, err := filepath.Abs("../../tests/tools/bin/jaeger-all-in-one")
	must(t, err)
	if _, err := os.Stat(binary); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("Jaeger is missing; run scripts/tools")
		}
		t.Skip("Jaeger is missing; run scripts/tools")
	}
	collector, query = free(t), free(t)
	command := exec.Command(binary, "--collector.otlp.enabled=false",
		"--processor.jaeger-compact.server-host-port=127.0.0.1:0", "--processor.jaeger-binary.server-host-port=127.0.0.1:0",
		"--processor.zipkin-compact.server-host-port=127.0.0.1:0", "--http-server.host-port=127.0.0.1:0",
		"--collector.http-server.host-port=127.0.0.1:0", "--query.grpc-server.host-port=127.0.0.1:0",
		"--collector.grpc-server.host-port="+collector, "--query.http-server.host-port="+query,
		"--admin.http.host-port="+free(t))
	command.Env = append(os.Environ(), "SPAN_STORAGE_TYPE=memory")
	must(t, command.Start())
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	until(t, "Jaeger", func() bool {
		conn, err := net.Dial("tcp", collector)
		if err == nil {
			conn.Close()
		}
		return err == nil && get("http://"+query+"/api/services") != ""
	})
	return collector, query
}

// prometheus is a running one that scrapes a page: its address for queries.
func prometheus(t *testing.T, page string) (address string) {
	t.Helper()
	if _, err := exec.LookPath("prometheus"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("Prometheus is missing; run scripts/tools")
		}
		t.Skip("Prometheus is missing; run scripts/tools")
	}
	dir, address := t.TempDir(), free(t)
	config := filepath.Join(dir, "prometheus.yml")
	text := "global: {scrape_interval: 200ms}\nscrape_configs: [{job_name: app, static_configs: [{targets: [%q]}]}]\n"
	must(t, os.WriteFile(config, fmt.Appendf(nil, text, page), 0o600))
	command := exec.Command("prometheus", "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address)
	must(t, command.Start())
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	return address
}

// built is an example's program, with the race detector.
func built(t *testing.T, name string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), name)
	if output, err := exec.Command("go", "build", "-race", "-o", binary, "./"+name).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	return binary
}

func TestTheTutorialsSpansReachJaegerWithOnlyTheExporterSwapped(t *testing.T) {
	theirs, err := os.ReadFile("../tutorial/main.go")
	must(t, err)
	ours, err := os.ReadFile("tutorial/main.go")
	must(t, err)
	// Apart from the exporter it is the same program.
	_, rest, found := strings.Cut(string(theirs), "\twho, err := ")
	if !found || !strings.HasSuffix(string(ours), "\twho, err := "+rest) {
		t.Error("examples/tutorial/main.go is another program")
	}
	grpc, query := jaeger(t)
	command := exec.Command(built(t, "tutorial"))
	command.Env = append(os.Environ(), "JAEGER="+grpc)
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	var traces string
	until(t, "eleven spans in Jaeger", func() bool {
		traces = get("http://" + query + "/api/traces?service=test-service")
		return strings.Count(traces, `"operationName"`) == 11
	})
	for _, part := range []string{"CollectorExporter-Example", "Sample-0", "Sample-9", "attrA", "chocolate", "attrC", "vanilla", "test-tracer"} {
		if !strings.Contains(traces, part) {
			t.Errorf("no %s in %s", part, traces)
		}
	}
	if n := strings.Count(traces, `"CHILD_OF"`); n != 10 {
		t.Errorf("%d children in %s", n, traces)
	}
}

func TestThreeSignalsGoWhereTheConfigurationSaysAndAnInterruptLosesNone(t *testing.T) {
	grpc, query := jaeger(t)
	page := free(t)
	command := exec.Command(built(t, "signals"))
	command.Env = append(os.Environ(), "JAEGER="+grpc, "PAGE="+page)
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	must(t, command.Start())
	t.Cleanup(func() { _ = command.Process.Kill() })
	until(t, "the page", func() bool {
		text := get("http://" + page + "/metrics")
		return strings.Contains(text, "orders_total{") && strings.Contains(text, "} 10")
	})
	scraper := prometheus(t, page)
	until(t, "the counter in Prometheus", func() bool {
		return strings.Contains(get("http://"+scraper+"/api/v1/query?query=orders_total"), `"10"]`)
	})
	must(t, command.Process.Signal(syscall.SIGINT))
	if err := command.Wait(); err != nil {
		t.Fatalf("%v: %s", err, output.String())
	}
	var traces string
	until(t, "ten spans in Jaeger", func() bool {
		traces = get("http://" + query + "/api/traces?service=go-example&limit=100")
		return strings.Count(traces, `"operationName"`) == 10
	})
	for i := range 10 {
		if name := fmt.Sprintf("order-%d", i); !strings.Contains(traces, name) {
			t.Errorf("no %s in %s", name, traces)
		}
	}
	if !strings.Contains(output.String(), "bytes of logs") {
		t.Error(output.String())
	}
}

func TestTheProcessorDropsHealthChecksAndSetsTheRegion(t *testing.T) {
	output, err := exec.Command(built(t, "process")).CombinedOutput()
	if err != nil || string(output) != "false true\n" {
		t.Errorf("%v: %s", err, output)
	}
}
