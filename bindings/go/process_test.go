package otelcore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	otelcore "github.com/otelcore/otelcore/bindings/go"
)

func TestUnderPressureOfTheGarbageCollectorWhatIsForgottenIsFreed(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(1))
	stop := make(chan struct{})
	var pressure sync.WaitGroup
	pressure.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				runtime.GC()
			}
		}
	})
	yaml := strings.Replace(direct, "inproc/out: }", "inproc/out: {retry_on_failure: {initial_interval: 1ms}}}", 1)
	collector, input, output := started(t, yaml)
	for i := range 100 {
		// A body that only the call refers to.
		must(t, input.Submit(t.Context(), otelcore.Traces, append([]byte{}, spans(1+i%9)...)))
	}
	came := 0
	for i := 0; came < 100; i++ {
		batch := next(t, output)
		if i%10 == 3 {
			// Not finished: it is delivered again when it is garbage-collected.
			continue
		}
		if n := items(t, batch.Data()); n < 1 || n > 9 {
			t.Fatal(n)
		}
		came++
		must(t, batch.Ack())
	}
	must(t, collector.Flush(within(t, 10*time.Second)))
	// Collectors that are not closed: those that never ran are freed by the garbage collector; those that ran need a shutdown.
	for i := range 20 {
		forgotten, err := otelcore.New(otelcore.Config{YAML: through})
		must(t, err)
		if i%2 == 0 {
			must(t, forgotten.Start(t.Context()))
			must(t, forgotten.Shutdown(within(t, 5*time.Second)))
		}
	}
	// A running collector stays alive even if only its input refers to it.
	must(t, func() error {
		held, err := otelcore.New(otelcore.Config{YAML: direct})
		must(t, err)
		must(t, held.Start(t.Context()))
		in, err := held.Input("inproc/app")
		must(t, err)
		for range 5 {
			runtime.GC()
			time.Sleep(time.Millisecond)
		}
		must(t, in.Submit(t.Context(), otelcore.Traces, spans(1)))
		_ = held.Shutdown(within(t, 10*time.Millisecond))
		return nil
	}())
	close(stop)
	pressure.Wait()
	must(t, collector.Shutdown(within(t, 5*time.Second)))
}

func TestManyLivesLeaveNoThreadAndNoDescriptor(t *testing.T) {
	descriptors := func() int {
		entries, _ := os.ReadDir("/proc/self/fd")
		return len(entries)
	}
	live := func() {
		collector, input, output := started(t, direct)
		must(t, input.Submit(t.Context(), otelcore.Traces, spans(1)))
		must(t, next(t, output).Ack())
		must(t, collector.Shutdown(within(t, 5*time.Second)))
		must(t, collector.Close())
	}
	live()
	before, tasks := descriptors(), threads()
	for range 50 {
		live()
	}
	if now := descriptors(); now > before+2 {
		t.Errorf("%d descriptors, %d before", now, before)
	}
	if now := threads(); now > tasks {
		t.Errorf("%d threads of collectors, %d before", now, tasks)
	}
}

func TestAProcessThatIsStartedMeanwhileDisturbsNothing(t *testing.T) {
	collector, input, output := started(t, direct)
	out, err := exec.Command("echo", "done").Output()
	must(t, err)
	if string(out) != "done\n" {
		t.Fatalf("%q", out)
	}
	must(t, input.Submit(t.Context(), otelcore.Traces, spans(1)))
	must(t, next(t, output).Ack())
	must(t, collector.Shutdown(within(t, 5*time.Second)))
}

// runChild runs the test case in the child process.
func runChild(behaviour string) {
	collector, err := otelcore.New(otelcore.Config{YAML: direct})
	if err == nil {
		err = collector.Start(context.Background())
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(9)
	}
	input, _ := collector.Input("inproc/app")
	output, _ := collector.Output("inproc/out")
	if err := input.Submit(context.Background(), otelcore.Traces, spans(2)); err != nil {
		fmt.Println(err)
		os.Exit(9)
	}
	// One goroutine always waits in C.
	go func() {
		for {
			if _, err := output.Next(context.Background()); err != nil {
				return
			}
		}
	}()
	time.Sleep(10 * time.Millisecond)
	switch behaviour {
	case "returns":
		return
	case "exits":
		os.Exit(7)
	case "panics":
		panic("of the host's own")
	case "terminated":
		// A signal for which Go keeps the default action.
		_ = syscall.Kill(syscall.Getpid(), syscall.SIGTERM)
		time.Sleep(10 * time.Second)
	case "catches":
		interrupted, stop := signal.NotifyContext(context.Background(), syscall.SIGINT)
		defer stop()
		_ = syscall.Kill(syscall.Getpid(), syscall.SIGINT)
		<-interrupted.Done()
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		err := collector.Shutdown(ctx)
		fmt.Println(collector.State(), errors.Is(err, otelcore.ErrTimeout))
		_ = collector.Close()
	case "faults":
		// Go's handler turns it into a panic, in a process with a thread that Go did not start.
		defer func() {
			fmt.Println("recovered:", recover())
			_ = collector.Close()
		}()
		var none *struct{ a [8]int }
		fmt.Println(none.a[3])
	}
}

func TestAProcessEndsAsItsHostWants(t *testing.T) {
	self, err := os.Executable()
	must(t, err)
	for behaviour, want := range map[string]string{
		"returns":    "exit status 0: ",
		"exits":      "exit status 7: ",
		"panics":     "exit status 2: panic: of the host's own",
		"terminated": "signal: terminated: ",
		"catches":    "exit status 0: stopped true\n",
		"faults":     "exit status 0: recovered: runtime error: invalid memory address or nil pointer dereference\n",
	} {
		command := exec.CommandContext(within(t, 20*time.Second), self)
		command.Env = append(os.Environ(), "OTELCORE_TEST_BEHAVIOUR="+behaviour)
		output, _ := command.CombinedOutput()
		if got := fmt.Sprintf("%v: %s", command.ProcessState, output); !strings.HasPrefix(got, want) || want[len(want)-1] != 'n' && behaviour == "returns" && got != want {
			t.Errorf("%s: %q", behaviour, got)
		}
	}
}
