// Prints the keys of the configurations of Go components: one line for each key, with its component, its path, its type
// and its default, separated by tabs. The file keys.tsv is its output: `GONOSUMDB='*' go run . > keys.tsv` renews it.
//
// The keys come from two sources: the structs that the factories create, by their mapstructure tags, which have types and
// defaults; and the files config.schema.yaml of the modules, which have a key that a struct reads in a method of its own.
package main

import (
	"encoding"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"reflect"
	"sort"
	"strings"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/connector/countconnector"
	"github.com/open-telemetry/opentelemetry-collector-contrib/connector/spanmetricsconnector"
	"github.com/open-telemetry/opentelemetry-collector-contrib/exporter/fileexporter"
	"github.com/open-telemetry/opentelemetry-collector-contrib/exporter/prometheusexporter"
	"github.com/open-telemetry/opentelemetry-collector-contrib/exporter/prometheusremotewriteexporter"
	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/basicauthextension"
	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/bearertokenauthextension"
	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/healthcheckextension"
	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/pprofextension"
	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/storage/filestorage"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/attributesprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/cumulativetodeltaprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/deltatocumulativeprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/filterprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/groupbyattrsprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/groupbytraceprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/k8sattributesprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/metricstransformprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/probabilisticsamplerprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/redactionprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/resourcedetectionprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/resourceprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/spanprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/tailsamplingprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/transformprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/receiver/hostmetricsreceiver"
	"github.com/open-telemetry/opentelemetry-collector-contrib/receiver/jaegerreceiver"
	"github.com/open-telemetry/opentelemetry-collector-contrib/receiver/kubeletstatsreceiver"
	"github.com/open-telemetry/opentelemetry-collector-contrib/receiver/zipkinreceiver"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/exporter/debugexporter"
	"go.opentelemetry.io/collector/exporter/otlpexporter"
	"go.opentelemetry.io/collector/exporter/otlphttpexporter"
	"go.opentelemetry.io/collector/extension/zpagesextension"
	"go.opentelemetry.io/collector/processor/batchprocessor"
	"go.opentelemetry.io/collector/processor/memorylimiterprocessor"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"gopkg.in/yaml.v3"
)

type component struct {
	name, module string
	config       any
}

const (
	core    = "go.opentelemetry.io/collector/"
	contrib = "github.com/open-telemetry/opentelemetry-collector-contrib/"
)

var components = []component{
	{"receivers/otlp", core + "receiver/otlpreceiver", otlpreceiver.NewFactory().CreateDefaultConfig()},
	{"processors/attributes", contrib + "processor/attributesprocessor", attributesprocessor.NewFactory().CreateDefaultConfig()},
	{"processors/batch", core + "processor/batchprocessor", batchprocessor.NewFactory().CreateDefaultConfig()},
	{"processors/filter", contrib + "processor/filterprocessor", filterprocessor.NewFactory().CreateDefaultConfig()},
	{"processors/memory_limiter", core + "processor/memorylimiterprocessor", memorylimiterprocessor.NewFactory().CreateDefaultConfig()},
	{"processors/resource", contrib + "processor/resourceprocessor", resourceprocessor.NewFactory().CreateDefaultConfig()},
	{"processors/cumulativetodelta", contrib + "processor/cumulativetodeltaprocessor", cumulativetodeltaprocessor.NewFactory().CreateDefaultConfig()},
	{"processors/groupbyattrs", contrib + "processor/groupbyattrsprocessor", groupbyattrsprocessor.NewFactory().CreateDefaultConfig()},
	{"processors/metrics_transform", contrib + "processor/metricstransformprocessor", metricstransformprocessor.NewFactory().CreateDefaultConfig()},
	{"processors/probabilistic_sampler", contrib + "processor/probabilisticsamplerprocessor", probabilisticsamplerprocessor.NewFactory().CreateDefaultConfig()},
	{"processors/span", contrib + "processor/spanprocessor", spanprocessor.NewFactory().CreateDefaultConfig()},
	{"processors/deltatocumulative", contrib + "processor/deltatocumulativeprocessor", deltatocumulativeprocessor.NewFactory().CreateDefaultConfig()},
	{"processors/groupbytrace", contrib + "processor/groupbytraceprocessor", groupbytraceprocessor.NewFactory().CreateDefaultConfig()},
	{"processors/redaction", contrib + "processor/redactionprocessor", redactionprocessor.NewFactory().CreateDefaultConfig()},
	{"processors/transform", contrib + "processor/transformprocessor", transformprocessor.NewFactory().CreateDefaultConfig()},
	{"connectors/count", contrib + "connector/countconnector", countconnector.NewFactory().CreateDefaultConfig()},
	{"connectors/span_metrics", contrib + "connector/spanmetricsconnector", spanmetricsconnector.NewFactory().CreateDefaultConfig()},
	{"exporters/debug", core + "exporter/debugexporter", debugexporter.NewFactory().CreateDefaultConfig()},
	{"exporters/otlp_grpc", core + "exporter/otlpexporter", otlpexporter.NewFactory().CreateDefaultConfig()},
	{"exporters/otlp_http", core + "exporter/otlphttpexporter", otlphttpexporter.NewFactory().CreateDefaultConfig()},
	{"exporters/prometheus", contrib + "exporter/prometheusexporter", prometheusexporter.NewFactory().CreateDefaultConfig()},
	{"extensions/basicauth", contrib + "extension/basicauthextension", basicauthextension.NewFactory().CreateDefaultConfig()},
	{"extensions/bearertokenauth", contrib + "extension/bearertokenauthextension", bearertokenauthextension.NewFactory().CreateDefaultConfig()},
	{"extensions/health_check", contrib + "extension/healthcheckextension", healthcheckextension.NewFactory().CreateDefaultConfig()},
	{"exporters/file", contrib + "exporter/fileexporter", fileexporter.NewFactory().CreateDefaultConfig()},
	{"exporters/prometheus_remote_write", contrib + "exporter/prometheusremotewriteexporter", prometheusremotewriteexporter.NewFactory().CreateDefaultConfig()},
	{"extensions/file_storage", contrib + "extension/storage/filestorage", filestorage.NewFactory().CreateDefaultConfig()},
	{"extensions/pprof", contrib + "extension/pprofextension", pprofextension.NewFactory().CreateDefaultConfig()},
	{"extensions/zpages", core + "extension/zpagesextension", zpagesextension.NewFactory().CreateDefaultConfig()},
	{"processors/k8s_attributes", contrib + "processor/k8sattributesprocessor", k8sattributesprocessor.NewFactory().CreateDefaultConfig()},
	{"processors/resource_detection", contrib + "processor/resourcedetectionprocessor", resourcedetectionprocessor.NewFactory().CreateDefaultConfig()},
	{"processors/tail_sampling", contrib + "processor/tailsamplingprocessor", tailsamplingprocessor.NewFactory().CreateDefaultConfig()},
	{"receivers/host_metrics", contrib + "receiver/hostmetricsreceiver", hostmetricsreceiver.NewFactory().CreateDefaultConfig()},
	{"receivers/kubelet_stats", contrib + "receiver/kubeletstatsreceiver", kubeletstatsreceiver.NewFactory().CreateDefaultConfig()},
	{"receivers/jaeger", contrib + "receiver/jaegerreceiver", jaegerreceiver.NewFactory().CreateDefaultConfig()},
	{"receivers/zipkin", contrib + "receiver/zipkinreceiver", zipkinreceiver.NewFactory().CreateDefaultConfig()},
}

// key is what is known of one key.
type key struct{ kind, value string }

type keys map[string]key

func join(above, name string) string {
	if above == "" {
		return name
	}
	return above + "::" + name
}

var (
	duration  = reflect.TypeOf(time.Duration(0))
	unmarshal = reflect.TypeOf((*encoding.TextUnmarshaler)(nil)).Elem()
)

// add adds the keys of a value at a path.
func (k keys) add(at string, value reflect.Value, depth int) {
	t := value.Type()
	if depth > 12 {
		k[at] = key{"any", ""}
		return
	}
	switch {
	case t == duration:
		k[at] = key{"duration", value.Interface().(time.Duration).String()}
		return
	case strings.HasPrefix(t.Name(), "Optional["):
		// The value is hidden; its defaults are those of a section that is turned on.
		present := value.MethodByName("HasValue").Call(nil)[0].Bool()
		copied := reflect.New(t)
		copied.Elem().Set(value)
		inner := copied.MethodByName("GetOrInsertDefault").Call(nil)[0].Elem()
		if inner.Kind() == reflect.Struct {
			k[at] = key{"section", map[bool]string{true: "on", false: "off"}[present]}
			k.fields(at, inner, depth)
		} else {
			k.add(at, inner, depth+1)
		}
		return
	case t.Name() == "MapList":
		k[at] = key{"headers", ""}
		return
	case t.Kind() != reflect.Pointer && reflect.PointerTo(t).Implements(unmarshal):
		text := ""
		if m, ok := value.Interface().(encoding.TextMarshaler); ok {
			if b, err := m.MarshalText(); err == nil {
				text = string(b)
			}
		} else if t.Kind() == reflect.String {
			text = value.String()
		}
		if t.Name() == "ID" || t.PkgPath() == core+"config/configopaque" {
			text = ""
		}
		k[at] = key{"text", text}
		return
	}
	switch t.Kind() {
	case reflect.Pointer:
		if value.IsNil() {
			k.add(at, reflect.New(t.Elem()).Elem(), depth+1)
			found := k[at]
			found.value = ""
			k[at] = found
		} else {
			k.add(at, value.Elem(), depth+1)
		}
	case reflect.Struct:
		k[at] = key{"section", ""}
		k.fields(at, value, depth)
	case reflect.Bool:
		k[at] = key{"bool", fmt.Sprint(value.Interface())}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		k[at] = key{"integer", fmt.Sprintf("%d", value.Interface())}
	case reflect.Float32, reflect.Float64:
		k[at] = key{"number", fmt.Sprint(value.Interface())}
	case reflect.String:
		k[at] = key{"text", value.String()}
	case reflect.Slice, reflect.Array:
		k[at] = key{"list", ""}
		if t.Elem().Kind() == reflect.Struct && !reflect.PointerTo(t.Elem()).Implements(unmarshal) {
			k.fields(at+"[]", reflect.New(t.Elem()).Elem(), depth)
		}
	case reflect.Map:
		k[at] = key{"map", ""}
		if t.Elem().Kind() == reflect.Struct {
			k.fields(at+"::NAME", reflect.New(t.Elem()).Elem(), depth)
		}
	default:
		k[at] = key{"any", ""}
	}
}

func (k keys) fields(at string, value reflect.Value, depth int) {
	for i := range value.NumField() {
		field := value.Type().Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("mapstructure"), ",")
		if strings.Contains(options, "squash") {
			inner := value.Field(i)
			if inner.Kind() == reflect.Pointer {
				if inner.IsNil() {
					inner = reflect.New(inner.Type().Elem())
				}
				inner = inner.Elem()
			}
			k.fields(at, inner, depth)
			continue
		}
		if !field.IsExported() || name == "-" || strings.Contains(options, "remain") {
			continue
		}
		if name == "" {
			name = strings.ToLower(field.Name)
		}
		k.add(join(at, name), value.Field(i), depth+1)
	}
}

// ---- config.schema.yaml

type schemas struct{ folders map[string]string }

// find returns the folder of a Go package.
func (s schemas) find(pkg string) (string, bool) {
	for module, rest := pkg, ""; module != "." && module != "/"; module, rest = path.Dir(module), path.Join(path.Base(module), rest) {
		if folder, ok := s.folders[module]; ok {
			return filepath.Join(folder, rest), true
		}
	}
	return "", false
}

type schema struct {
	Properties map[string]schema `yaml:"properties"`
	AllOf      []schema          `yaml:"allOf"`
	Items      *schema           `yaml:"items"`
	Ref        string            `yaml:"$ref"`
	Type       string            `yaml:"type"`
	Format     string            `yaml:"format"`
	Defs       map[string]schema `yaml:"$defs"`
}

func (s schemas) read(pkg string) (schema, bool) {
	folder, ok := s.find(pkg)
	if !ok {
		return schema{}, false
	}
	text, err := os.ReadFile(filepath.Join(folder, "config.schema.yaml"))
	if err != nil {
		return schema{}, false
	}
	var read schema
	if err := yaml.Unmarshal(text, &read); err != nil {
		panic(err)
	}
	return read, true
}

// resolve follows a reference such as /config/configtls.config, ./internal.option or a name of the same file.
func (s schemas) resolve(pkg, ref string) (string, schema, bool) {
	dot := strings.LastIndex(ref, ".")
	target, name := "", ref
	if dot >= 0 && strings.Contains(ref, "/") {
		target, name = ref[:dot], ref[dot+1:]
	}
	switch {
	case strings.HasPrefix(target, "/"):
		root := core
		if strings.HasPrefix(pkg, contrib) {
			root = contrib
		}
		target = strings.TrimSuffix(root, "/") + target
	case strings.HasPrefix(target, "."):
		target = path.Join(pkg, target)
	case target == "":
		target = pkg
	}
	file, ok := s.read(target)
	if !ok {
		return target, schema{}, false
	}
	if found, ok := file.Defs[name]; ok {
		return target, found, true
	}
	return target, file, name == "config"
}

func (s schemas) add(k keys, at, pkg string, of schema, depth int) {
	if depth > 20 {
		return
	}
	if of.Ref != "" {
		if target, found, ok := s.resolve(pkg, of.Ref); ok {
			s.add(k, at, target, found, depth+1)
		}
	}
	for _, part := range of.AllOf {
		s.add(k, at, pkg, part, depth+1)
	}
	for name, inner := range of.Properties {
		below := join(at, name)
		if _, known := k[below]; !known {
			kind := map[string]string{"boolean": "bool", "integer": "integer", "number": "number", "string": "text", "array": "list", "object": "section"}[inner.Type]
			if inner.Format == "duration" {
				kind = "duration"
			}
			if kind == "" {
				kind = "any"
			}
			k[below] = key{kind, ""}
		}
		if found := k[below]; found.kind != "headers" {
			s.add(k, below, pkg, inner, depth+1)
		}
	}
	if of.Items != nil && at != "" {
		s.add(k, at+"[]", pkg, *of.Items, depth+1)
	}
}

func main() {
	s := schemas{map[string]string{}}
	out, err := exec.Command("go", "list", "-e", "-mod=mod", "-m", "-json=Path,Dir", "all").Output()
	if err != nil {
		panic(err)
	}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); decoder.More(); {
		var module struct{ Path, Dir string }
		if err := decoder.Decode(&module); err != nil {
			panic(err)
		}
		if module.Dir != "" {
			s.folders[module.Path] = module.Dir
		}
	}
	for _, c := range components {
		k := keys{}
		k.fields("", reflect.Indirect(reflect.ValueOf(c.config)), 0)
		// The file of the Jaeger receiver has its protocols one level above the key that they are below.
		if file, ok := s.read(c.module); ok && c.name != "receivers/jaeger" {
			s.add(k, "", c.module, file, 0)
		}
		if host, ok := c.config.(*hostmetricsreceiver.Config); ok {
			scrapers := map[string]any{}
			for at := range k {
				if name, ok := strings.CutPrefix(at, "scrapers::"); ok {
					scrapers[name] = nil
				}
			}
			if err := confmap.NewFromStringMap(map[string]any{"scrapers": scrapers}).Unmarshal(host); err != nil {
				panic(err)
			}
			for name, scraper := range host.Scrapers {
				at := "scrapers::" + name.String()
				k[at] = key{"section", "off"}
				k.fields(at, reflect.Indirect(reflect.ValueOf(scraper)), 0)
			}
		}
		paths := make([]string, 0, len(k))
		for at := range k {
			paths = append(paths, at)
		}
		sort.Strings(paths)
		for _, at := range paths {
			fmt.Printf("%s\t%s\t%s\t%s\n", c.name, at, k[at].kind, strings.ReplaceAll(k[at].value, "\n", " "))
		}
	}
}
