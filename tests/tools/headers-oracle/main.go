// Command headers-oracle answers what Go's headers_setter makes of the header fields of requests.
//
// It reads frames (a length of four bytes, little-endian, and a case as JSON) and writes a frame for each: the error after
// "error: ", or the fields as sorted lines.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sort"
	"strings"

	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/headerssetterextension"
	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/xconfmap"
	"go.opentelemetry.io/collector/extension/extensionauth"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"google.golang.org/grpc/credentials"

	"otelcore.invalid/tools/frames"
)

type input struct {
	Config map[string]any      `json:"config"`
	Grpc   bool                `json:"grpc"`
	Fields map[string]string   `json:"fields"`
	From   map[string][]string `json:"metadata"`
	Auth   map[string]string   `json:"auth"`
}

// authData is what the authenticator of a receiver knows of a sender.
type authData map[string]string

func (a authData) GetAttribute(name string) any {
	if value, ok := a[name]; ok {
		return value
	}
	return nil
}

func (a authData) GetAttributeNames() []string { return nil }

// fixedAuth is the other authenticator: it sets one field.
type fixedAuth struct {
	component.StartFunc
	component.ShutdownFunc
}

func (fixedAuth) RoundTripper(base http.RoundTripper) (http.RoundTripper, error) {
	return roundTrip(func(req *http.Request) (*http.Response, error) {
		req.Header.Set("Authorization", "fixed")
		return base.RoundTrip(req)
	}), nil
}

func (fixedAuth) PerRPCCredentials() (credentials.PerRPCCredentials, error) { return fixedAuth{}, nil }
func (fixedAuth) RequireTransportSecurity() bool                            { return true }
func (fixedAuth) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "fixed"}, nil
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

type host map[component.ID]component.Component

func (h host) GetExtensions() map[component.ID]component.Component { return h }

var errSent = errors.New("sent")

func fields(in input) ([]string, error) {
	factory := headerssetterextension.NewFactory()
	config := factory.CreateDefaultConfig()
	if err := confmap.NewFromStringMap(in.Config).Unmarshal(config); err != nil {
		return nil, err
	}
	if err := xconfmap.Validate(config); err != nil {
		return nil, err
	}
	ctx := context.Background()
	extension, err := factory.Create(ctx, extensiontest.NewNopSettings(factory.Type()), config)
	if err != nil {
		return nil, err
	}
	if err := extension.Start(ctx, host{component.MustNewID("fixed"): fixedAuth{}}); err != nil {
		return nil, err
	}
	ctx = client.NewContext(ctx, client.Info{Auth: authData(in.Auth), Metadata: client.NewMetadata(in.From)})
	var lines []string
	if in.Grpc {
		creds, err := extension.(extensionauth.GRPCClient).PerRPCCredentials()
		if err != nil {
			return nil, err
		}
		metadata, err := creds.GetRequestMetadata(ctx)
		if err != nil {
			return nil, err
		}
		for name, value := range metadata {
			lines = append(lines, strings.ToLower(name)+": "+value)
		}
		return lines, nil
	}
	transport, err := extension.(extensionauth.HTTPClient).RoundTripper(roundTrip(func(req *http.Request) (*http.Response, error) {
		for name, values := range req.Header {
			for _, value := range values {
				lines = append(lines, strings.ToLower(name)+": "+value)
			}
		}
		return nil, errSent
	}))
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://peer/", nil)
	if err != nil {
		return nil, err
	}
	for name, value := range in.Fields {
		req.Header.Set(name, value)
	}
	if _, err := transport.RoundTrip(req); !errors.Is(err, errSent) {
		return nil, err
	}
	return lines, nil
}

func answer(frame []byte) (text string) {
	defer func() {
		if r := recover(); r != nil {
			text = fmt.Sprint("panic: ", r)
		}
	}()
	var in input
	if err := json.Unmarshal(frame, &in); err != nil {
		return "error: " + err.Error()
	}
	lines, err := fields(in)
	if err != nil {
		return "error: " + err.Error()
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

func main() {
	frames.MainAnswer(func(input []byte) ([]byte, error) { return []byte(answer(input)), nil })
}
