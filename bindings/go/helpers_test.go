package otelcore_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	otelcore "github.com/otelcore/otelcore/bindings/go"
)

// A pipeline from an input through a batch processor to an output; tests replace parts of the text.
const through = `
receivers: {inproc/app: }
processors: {batch: {timeout: 10s}}
exporters: {inproc/out: }
service:
  telemetry: {metrics: {level: none}}
  pipelines: {traces: {receivers: [inproc/app], processors: [batch], exporters: [inproc/out]}}
`

var direct = strings.NewReplacer("processors: {batch: {timeout: 10s}}", "", "processors: [batch], ", "").Replace(through)

// spans is a trace request of n spans.
func spans(n int) []byte {
	scope := []byte{0x12, byte(4 * n)}
	for range n {
		scope = append(scope, 0x12, 2, 0x30, 1)
	}
	return append([]byte{0x0a, byte(4*n + 2)}, scope...)
}

// items counts the spans of a request, by the length and the bytes of the spans that these tests make.
func items(t *testing.T, request []byte) int {
	t.Helper()
	count, rest := 0, request
	var walk func(bytes []byte, depth int)
	walk = func(bytes []byte, depth int) {
		for len(bytes) > 0 {
			tag := bytes[0]
			length, used := 0, 1
			for shift := 0; ; shift += 7 {
				if used >= len(bytes) {
					t.Errorf("a length is cut: % x", request)
					return
				}
				b := bytes[used]
				length |= int(b&0x7f) << shift
				used++
				if b < 0x80 {
					break
				}
			}
			if tag != []byte{0x0a, 0x12, 0x12}[depth] || used+length > len(bytes) {
				t.Errorf("not a request as it was sent: % x", request)
				return
			}
			if depth == 2 {
				count++
			} else {
				walk(bytes[used:used+length], depth+1)
			}
			bytes = bytes[used+length:]
		}
	}
	walk(rest, 0)
	return count
}

func made(t testing.TB, config otelcore.Config) *otelcore.Collector {
	t.Helper()
	collector, err := otelcore.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = collector.Close() })
	return collector
}

func started(t testing.TB, yaml string) (*otelcore.Collector, *otelcore.Input, *otelcore.Output) {
	t.Helper()
	collector := made(t, otelcore.Config{YAML: yaml})
	if err := collector.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	input, err := collector.Input("inproc/app")
	if err != nil {
		t.Fatal(err)
	}
	output, err := collector.Output("inproc/out")
	if err != nil {
		t.Fatal(err)
	}
	return collector, input, output
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func next(t testing.TB, output *otelcore.Output) *otelcore.Batch {
	t.Helper()
	batch, err := output.Next(within(t, 10*time.Second))
	must(t, err)
	return batch
}

// eventually waits until a condition is true.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// threads returns the threads of collectors, by the names that the library gives them.
func threads() int {
	count := 0
	tasks, _ := os.ReadDir("/proc/self/task")
	for _, task := range tasks {
		name, _ := os.ReadFile("/proc/self/task/" + task.Name() + "/comm")
		if strings.HasPrefix(string(name), "otelcore") {
			count++
		}
	}
	return count
}

func TestMain(m *testing.M) {
	if behaviour := os.Getenv("OTELCORE_TEST_BEHAVIOUR"); behaviour != "" {
		runChild(behaviour)
		return
	}
	before := runtime.NumGoroutine()
	code := m.Run()
	// No test may leave a goroutine or a thread of a collector.
	for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before || threads() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			fmt.Printf("FAIL: left behind: %d threads, and of %d goroutines before\n", threads(), before)
			_ = pprof.Lookup("goroutine").WriteTo(os.Stdout, 1)
			code = 1
			break
		}
	}
	os.Exit(code)
}
