package otelsdk

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	otelcore "github.com/otelcore/otelcore/bindings/go"
	"google.golang.org/protobuf/encoding/protowire"
)

// Codes of gRPC, for a google.rpc.Status.
const (
	invalidArgument   = 3
	notFound          = 5
	resourceExhausted = 8
	unimplemented     = 12
	unavailable       = 14
	internal          = 13
)

const protobuf = "application/x-protobuf"

type transport struct{ input *otelcore.Input }

// NewTransport returns an [http.RoundTripper] that submits the requests of OTLP/HTTP exporters to an input:
// /v1/traces, /v1/metrics and /v1/logs in protobuf, plain or gzip, under any host and prefix. The responses are those of a
// collector: 200; 429 and Retry-After where it is full; 400 for an invalid request; 503 before its start. After the end
// of the collector the error is that of [otelcore.Input.Submit].
func NewTransport(input *otelcore.Input) http.RoundTripper { return &transport{input: input} }

var paths = map[string]otelcore.Signal{
	"/v1/traces":  otelcore.Traces,
	"/v1/metrics": otelcore.Metrics,
	"/v1/logs":    otelcore.Logs,
}

func signalOf(path string) (otelcore.Signal, bool) {
	for suffix, signal := range paths {
		if strings.HasSuffix(path, suffix) {
			return signal, true
		}
	}
	return 0, false
}

// RoundTrip submits the body of a request.
func (t *transport) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Body != nil {
		defer request.Body.Close()
	}
	signal, known := signalOf(request.URL.Path)
	switch kind, _, _ := mime.ParseMediaType(request.Header.Get("Content-Type")); {
	case !known:
		return refuse(request, http.StatusNotFound, unimplemented, "no signal at "+request.URL.Path), nil
	case request.Method != http.MethodPost:
		return refuse(request, http.StatusMethodNotAllowed, unimplemented, "the method is not POST"), nil
	case kind != protobuf:
		return refuse(request, http.StatusUnsupportedMediaType, unimplemented, fmt.Sprintf("the Content-Type %q is not %s", kind, protobuf)), nil
	}
	body, err := read(request)
	var bad *unreadable
	if errors.As(err, &bad) {
		return refuse(request, bad.status, invalidArgument, bad.why), nil
	} else if err != nil {
		return nil, err
	}
	return t.submit(request, signal, body)
}

func (t *transport) submit(request *http.Request, signal otelcore.Signal, body []byte) (*http.Response, error) {
	err := t.input.Submit(request.Context(), signal, body)
	var failure *otelcore.Error
	switch {
	case err == nil:
		// An empty message: no partial success to report.
		return answer(request, http.StatusOK, nil), nil
	case !errors.As(err, &failure) || failure.Code == otelcore.Closed:
		return nil, err
	case failure.Retryable:
		response := refuse(request, http.StatusTooManyRequests, resourceExhausted, failure.Message)
		seconds := max((failure.RetryAfter+time.Second-1)/time.Second, 1)
		response.Header.Set("Retry-After", strconv.FormatInt(int64(seconds), 10))
		return response, nil
	case failure.Code == otelcore.InvalidData:
		return refuse(request, http.StatusBadRequest, invalidArgument, failure.Message), nil
	case failure.Code == otelcore.NotFound:
		return refuse(request, http.StatusNotFound, notFound, failure.Message), nil
	case failure.Code == otelcore.InvalidState:
		return refuse(request, http.StatusServiceUnavailable, unavailable, failure.Message), nil
	}
	return refuse(request, http.StatusInternalServerError, internal, failure.Message), nil
}

// An error of reading the body, with the status of the response.
type unreadable struct {
	status int
	why    string
}

func (u *unreadable) Error() string { return u.why }

func read(request *http.Request) ([]byte, error) {
	if request.Body == nil {
		return nil, nil
	}
	switch coding := request.Header.Get("Content-Encoding"); coding {
	case "", "identity":
		return io.ReadAll(request.Body)
	case "gzip":
		packed, err := io.ReadAll(request.Body)
		if err != nil {
			return nil, err
		}
		reader, err := gzip.NewReader(bytes.NewReader(packed))
		if err == nil {
			var body []byte
			if body, err = io.ReadAll(reader); err == nil {
				return body, nil
			}
		}
		return nil, &unreadable{http.StatusBadRequest, "the body is no gzip: " + err.Error()}
	default:
		return nil, &unreadable{http.StatusUnsupportedMediaType, fmt.Sprintf("the Content-Encoding %q is not gzip", coding)}
	}
}

// refuse returns a response with a google.rpc.Status, as OTLP/HTTP requires.
func refuse(request *http.Request, status, code int, message string) *http.Response {
	body := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(code))
	body = protowire.AppendString(protowire.AppendTag(body, 2, protowire.BytesType), message)
	return answer(request, status, body)
}

func answer(request *http.Request, status int, body []byte) *http.Response {
	return &http.Response{
		Status:        fmt.Sprintf("%d %s", status, http.StatusText(status)),
		StatusCode:    status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        http.Header{"Content-Type": {protobuf}},
		Body:          io.NopCloser(bytes.NewReader(body)),
		ContentLength: int64(len(body)),
		Request:       request,
	}
}
