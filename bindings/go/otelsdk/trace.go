package otelsdk

import (
	"context"
	"errors"
	"sync"
	"time"

	otelcore "github.com/otelcore/otelcore/bindings/go"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// How long an upload waits before a retry where the collector gives no time.
const retryDelay = 100 * time.Millisecond

type traceClient struct {
	input *otelcore.Input

	mu      sync.Mutex
	stopped bool
	// Uploads that have not ended.
	uploads sync.WaitGroup
	// Cancelled when Stop no longer waits for the uploads.
	over context.Context
	end  context.CancelFunc
}

// NewTraceClient returns a client for [otlptrace.New] that submits spans to an input. An upload that finds the collector full
// is retried until its context is done; the SDK's span processors set a limit. The caller owns the input. Where no pipeline
// takes traces from it, otlptrace.New returns an error.
func NewTraceClient(input *otelcore.Input) otlptrace.Client {
	over, end := context.WithCancel(context.Background())
	return &traceClient{input: input, over: over, end: end}
}

var errStopped = errors.New("the trace client is stopped")

// Start has nothing to open; it checks that spans will be taken.
func (c *traceClient) Start(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return c.input.Accepts(otelcore.Traces)
}

// Stop accepts no more uploads, and waits for the running ones until its context is done.
func (c *traceClient) Stop(ctx context.Context) error {
	c.mu.Lock()
	c.stopped = true
	c.mu.Unlock()
	defer c.end()
	done := make(chan struct{})
	go func() {
		c.uploads.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		c.end()
		<-done
		return ctx.Err()
	}
}

func (c *traceClient) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.stopped {
		c.uploads.Add(1)
	}
	return !c.stopped
}

// UploadTraces submits spans. It may be called concurrently.
func (c *traceClient) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	if !c.begin() {
		return errStopped
	}
	defer c.uploads.Done()
	if len(spans) == 0 {
		return nil
	}
	// Has the same encoding as an ExportTraceServiceRequest, whose package would add a dependency on gRPC.
	request, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err != nil {
		return err
	}
	for {
		err := c.input.Submit(ctx, otelcore.Traces, request)
		var failure *otelcore.Error
		if !errors.As(err, &failure) || !failure.Retryable {
			return err
		}
		pause := time.NewTimer(max(failure.RetryAfter, retryDelay))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return errors.Join(ctx.Err(), err)
		case <-c.over.Done():
			pause.Stop()
			return errors.Join(errStopped, err)
		}
	}
}
