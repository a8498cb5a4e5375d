// Package componentconfig makes the configurations of Go components from their sections in YAML.
package componentconfig

import (
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/xconfmap"
)

// Read returns the default configuration of a component with what the section says, checked as the collector does.
func Read(factory component.Factory, section []byte) (component.Config, error) {
	config := factory.CreateDefaultConfig()
	retrieved, err := confmap.NewRetrievedFromYAML(section)
	if err != nil {
		return nil, err
	}
	conf, err := retrieved.AsConf()
	if err != nil {
		return nil, err
	}
	if err := conf.Unmarshal(config); err != nil {
		return nil, err
	}
	return config, xconfmap.Validate(config)
}
