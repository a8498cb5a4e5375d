package otelcore_test

import (
	"context"
	"errors"
	"testing"
	"time"

	otelcore "github.com/otelcore/otelcore/bindings/go"
)

func TestCloseEndsAShutdownThatWouldGoOnForEver(t *testing.T) {
	collector, input, _ := started(t, through)
	must(t, input.Submit(t.Context(), otelcore.Traces, spans(6)))
	ended := make(chan error, 1)
	go func() { ended <- collector.Shutdown(context.Background()) }()
	eventually(t, "it drains", func() bool { return collector.State() == otelcore.Stopping })
	begun := time.Now()
	must(t, collector.Close())
	if took := time.Since(begun); took > 500*time.Millisecond {
		t.Error(took)
	}
	if err := <-ended; !errors.Is(err, otelcore.ErrTimeout) && !errors.Is(err, otelcore.ErrClosed) {
		t.Error(err)
	}
}
