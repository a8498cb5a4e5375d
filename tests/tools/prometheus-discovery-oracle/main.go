// Answers what Prometheus makes of relabelling configurations, target labels, durations, and of what its discoveries of
// files, HTTP and Kubernetes read. The server of a case is this program, on loopback.
//
// Input, behind its length (u32, little endian): a JSON object, of which "kind" says what is asked. Output for each input,
// behind its length: a JSON object with "error", or with the result.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	commonconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/dns"
	"github.com/prometheus/prometheus/discovery/file"
	httpsd "github.com/prometheus/prometheus/discovery/http"
	"github.com/prometheus/prometheus/discovery/kubernetes"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/scrape"
	"go.yaml.in/yaml/v2"

	"otelcore.invalid/tools/frames"
)

type input struct {
	Kind        string                      `json:"kind"`
	YAML        string                      `json:"yaml"`
	Scheme      string                      `json:"scheme"`
	Text        string                      `json:"text"`
	Labels      map[string]string           `json:"labels"`
	Target      model.LabelSet              `json:"target"`
	Group       model.LabelSet              `json:"group"`
	Name        string                      `json:"name"`
	Body        string                      `json:"body"`
	ContentType string                      `json:"content_type"`
	Status      int                         `json:"status"`
	Objects     map[string][]map[string]any `json:"objects"`
}

type group struct {
	Source  string              `json:"source"`
	Labels  map[string]string   `json:"labels"`
	Targets []map[string]string `json:"targets"`
}

type output struct {
	Error  string            `json:"error,omitempty"`
	Keep   bool              `json:"keep,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`
	URL    string            `json:"url,omitempty"`
	Text   string            `json:"text,omitempty"`
	Groups []group           `json:"groups,omitempty"`
}

func main() {
	frames.Main(func(in *bufio.Reader, out *bufio.Writer) error {
		cluster := &cluster{}
		server := httptest.NewServer(cluster)
		defer server.Close()
		return frames.Answer(in, out, func(frame []byte) ([]byte, error) {
			var asked input
			if err := json.Unmarshal(frame, &asked); err != nil {
				return nil, err
			}
			result, err := answer(cluster, server.URL, &asked)
			if err != nil {
				result = output{Error: err.Error()}
			}
			return json.Marshal(result)
		})
	})
}

func answer(cluster *cluster, server string, asked *input) (output, error) {
	switch asked.Kind {
	case "relabel":
		return relabelled(asked)
	case "populate":
		return populated(asked)
	case "duration":
		duration, err := model.ParseDuration(asked.Text)
		return output{Text: duration.String()}, err
	case "config":
		return output{}, checked(asked)
	case "file":
		return fromFile(asked)
	case "http":
		return fromHTTP(cluster, server, asked)
	case "kubernetes":
		return fromKubernetes(cluster, server, asked)
	}
	return output{}, fmt.Errorf("unknown kind %q", asked.Kind)
}

func scheme(name string) model.ValidationScheme {
	if name == "legacy" {
		return model.LegacyValidation
	}
	return model.UTF8Validation
}

func relabelled(asked *input) (output, error) {
	var rules []*relabel.Config
	if err := yaml.UnmarshalStrict([]byte(asked.YAML), &rules); err != nil {
		return output{}, err
	}
	for _, rule := range rules {
		if err := rule.Validate(scheme(asked.Scheme)); err != nil {
			return output{}, err
		}
	}
	builder := labels.NewBuilder(labels.FromMap(asked.Labels))
	if !relabel.ProcessBuilder(builder, rules...) {
		return output{}, nil
	}
	return output{Keep: true, Labels: builder.Labels().Map()}, nil
}

func populated(asked *input) (output, error) {
	var scraped config.ScrapeConfig
	if err := yaml.UnmarshalStrict([]byte(asked.YAML), &scraped); err != nil {
		return output{}, err
	}
	if err := scraped.Validate(config.DefaultGlobalConfig); err != nil {
		return output{}, err
	}
	builder := labels.NewBuilder(labels.EmptyLabels())
	found, err := scrape.PopulateLabels(builder, &scraped, asked.Target, asked.Group)
	if err != nil || found.IsEmpty() {
		return output{}, err
	}
	target := scrape.NewTarget(found, &scraped, asked.Target, asked.Group)
	return output{Keep: true, Labels: found.Map(), URL: target.URL().String()}, nil
}

func checked(asked *input) error {
	var into any
	switch asked.Name {
	case "file":
		into = &file.SDConfig{}
	case "http":
		into = &httpsd.SDConfig{}
	case "dns":
		into = &dns.SDConfig{}
	case "kubernetes":
		into = &kubernetes.SDConfig{}
	case "client":
		into = &commonconfig.HTTPClientConfig{}
	default:
		return fmt.Errorf("unknown name %q", asked.Name)
	}
	return yaml.UnmarshalStrict([]byte(asked.YAML), into)
}

// The text of the attribute "err" of the first error that is logged.
type firstError struct {
	mutex sync.Mutex
	text  string
}

func (e *firstError) Enabled(context.Context, slog.Level) bool { return true }
func (e *firstError) WithAttrs([]slog.Attr) slog.Handler       { return e }
func (e *firstError) WithGroup(string) slog.Handler            { return e }
func (e *firstError) Handle(_ context.Context, record slog.Record) error {
	record.Attrs(func(attribute slog.Attr) bool {
		e.mutex.Lock()
		defer e.mutex.Unlock()
		if attribute.Key == "err" && record.Level >= slog.LevelError && e.text == "" {
			e.text = attribute.Value.String()
		}
		return true
	})
	return nil
}

func (e *firstError) get() string {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	return e.text
}

func options(conf discovery.Config, logger *slog.Logger) (discovery.DiscovererOptions, func(), error) {
	registry := prometheus.NewRegistry()
	refresh := discovery.NewRefreshMetrics(registry)
	metrics := conf.NewDiscovererMetrics(registry, refresh)
	if err := metrics.Register(); err != nil {
		return discovery.DiscovererOptions{}, nil, err
	}
	return discovery.DiscovererOptions{Logger: logger, Metrics: metrics, SetName: "job"}, metrics.Unregister, nil
}

func plain(set model.LabelSet) map[string]string {
	found := map[string]string{}
	for name, value := range set {
		found[string(name)] = string(value)
	}
	return found
}

func shown(found map[string]*targetgroup.Group) []group {
	groups := []group{}
	for _, one := range found {
		targets := []map[string]string{}
		for _, target := range one.Targets {
			targets = append(targets, plain(target))
		}
		slices.SortFunc(targets, func(a, b map[string]string) int {
			left, _ := json.Marshal(a)
			right, _ := json.Marshal(b)
			return strings.Compare(string(left), string(right))
		})
		groups = append(groups, group{Source: one.Source, Labels: plain(one.Labels), Targets: targets})
	}
	slices.SortFunc(groups, func(a, b group) int { return strings.Compare(a.Source, b.Source) })
	return groups
}

// Runs a discovery until it has found that many groups, or has sent something where the number is negative, or has
// logged an error.
func discovered(discoverer discovery.Discoverer, count int, failed *firstError) map[string]*targetgroup.Group {
	ctx, cancel := context.WithCancel(context.Background())
	found := map[string]*targetgroup.Group{}
	updates := make(chan []*targetgroup.Group)
	var running sync.WaitGroup
	running.Go(func() { discoverer.Run(ctx, updates) })
	deadline := time.After(5 * time.Second)
	sent := false
	for (len(found) < count || count < 0 && !sent) && failed.get() == "" {
		select {
		case groups := <-updates:
			sent = true
			for _, one := range groups {
				found[one.Source] = one
			}
			continue
		case <-time.After(20 * time.Millisecond):
			continue
		case <-deadline:
		}
		break
	}
	cancel()
	done := make(chan struct{})
	go func() {
		running.Wait()
		close(done)
	}()
	for {
		select {
		case <-updates:
		case <-done:
			return found
		}
	}
}

func fromFile(asked *input) (output, error) {
	folder, err := os.MkdirTemp("", "prometheus-discovery-oracle")
	if err != nil {
		return output{}, err
	}
	defer os.RemoveAll(folder)
	if err := os.Chdir(folder); err != nil {
		return output{}, err
	}
	if err := os.WriteFile(filepath.Join(folder, asked.Name), []byte(asked.Body), 0o600); err != nil {
		return output{}, err
	}
	conf := &file.SDConfig{Files: []string{asked.Name}, RefreshInterval: model.Duration(time.Hour)}
	failed := &firstError{}
	opts, unregister, err := options(conf, slog.New(failed))
	if err != nil {
		return output{}, err
	}
	defer unregister()
	discoverer, err := conf.NewDiscoverer(opts)
	if err != nil {
		return output{}, err
	}
	found := discovered(discoverer, -1, failed)
	if text := failed.get(); text != "" {
		return output{}, errors.New(text)
	}
	return output{Groups: shown(found)}, nil
}

func fromHTTP(cluster *cluster, server string, asked *input) (output, error) {
	conf := httpsd.DefaultSDConfig
	conf.URL = server + "/sd"
	opts, unregister, err := options(&conf, slog.New(&firstError{}))
	if err != nil {
		return output{}, err
	}
	defer unregister()
	discoverer, err := httpsd.NewDiscovery(&conf, opts)
	if err != nil {
		return output{}, err
	}
	cluster.set(asked)
	groups, err := discoverer.Refresh(context.Background())
	if err != nil {
		return output{}, err
	}
	found := map[string]*targetgroup.Group{}
	for _, one := range groups {
		one.Source = strings.TrimPrefix(one.Source, server)
		one.Labels["__meta_url"] = model.LabelValue(strings.TrimPrefix(string(one.Labels["__meta_url"]), server))
		found[one.Source] = one
	}
	return output{Groups: shown(found)}, nil
}

func fromKubernetes(cluster *cluster, server string, asked *input) (output, error) {
	var conf kubernetes.SDConfig
	if err := yaml.UnmarshalStrict([]byte(asked.YAML), &conf); err != nil {
		return output{}, err
	}
	parsed, err := url.Parse(server)
	if err != nil {
		return output{}, err
	}
	conf.APIServer = commonconfig.URL{URL: parsed}
	failed := &firstError{}
	opts, unregister, err := options(&conf, slog.New(failed))
	if err != nil {
		return output{}, err
	}
	defer unregister()
	cluster.set(asked)
	discoverer, err := conf.NewDiscoverer(opts)
	if err != nil {
		return output{}, err
	}
	resource := map[kubernetes.Role]string{
		kubernetes.RoleNode: "nodes", kubernetes.RolePod: "pods", kubernetes.RoleService: "services",
		kubernetes.RoleEndpoint: "endpoints", kubernetes.RoleEndpointSlice: "endpointslices", kubernetes.RoleIngress: "ingresses",
	}[conf.Role]
	count := 0
	for _, object := range asked.Objects[resource] {
		status, _ := object["status"].(map[string]any)
		addresses, _ := status["addresses"].([]any)
		if resource != "nodes" || len(addresses) > 0 {
			count++
		}
	}
	return output{Groups: shown(discovered(discoverer, count, failed))}, nil
}

// The server: it answers with the body of a case, or lists its objects; watches bring nothing.
type cluster struct {
	mutex sync.Mutex
	asked *input
}

func (c *cluster) set(asked *input) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.asked = asked
}

func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mutex.Lock()
	asked := c.asked
	c.mutex.Unlock()
	if r.URL.Path == "/sd" {
		w.Header().Set("Content-Type", asked.ContentType)
		w.WriteHeader(asked.Status)
		fmt.Fprint(w, asked.Body)
		return
	}
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
	known := map[string][2]string{
		"pods": {"PodList", "v1"}, "nodes": {"NodeList", "v1"}, "services": {"ServiceList", "v1"},
		"endpoints": {"EndpointsList", "v1"}, "namespaces": {"NamespaceList", "v1"},
		"endpointslices": {"EndpointSliceList", "discovery.k8s.io/v1"}, "ingresses": {"IngressList", "networking.k8s.io/v1"},
		"replicasets": {"ReplicaSetList", "apps/v1"}, "jobs": {"JobList", "batch/v1"},
	}[resource]
	items := []map[string]any{}
	items = append(items, asked.Objects[resource]...)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"kind": known[0], "apiVersion": known[1], "metadata": map[string]any{"resourceVersion": "5"}, "items": items,
	})
}
