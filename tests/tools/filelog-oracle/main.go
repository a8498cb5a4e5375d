// Runs the Go receiver file_log on files that change, and writes the log records that it sends.
//
// Input, behind its length (u32, little endian): JSON with the receiver's section in YAML (config) and the steps. Each
// input has a directory of its own, whose path stands for DIR in the section. Output for each input, behind its length: a
// byte, 0 for a logs export request in protobuf, in which DIR stands for the path of the directory, and 1 for the text of
// an error.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/receiver/filelogreceiver"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"otelcore.invalid/tools/componentconfig"
	"otelcore.invalid/tools/frames"
)

// A step changes a file: write (append), replace (a new file), truncate, rename, remove, mkdir; or waits until the receiver
// has seen what was done (wait).
type step struct {
	Op   string `json:"op"`
	File string `json:"file"`
	To   string `json:"to"`
	Data []byte `json:"data"`
}

type input struct {
	Config string `json:"config"`
	Steps  []step `json:"steps"`
}

// How many inputs run at a time: each one mostly waits.
const parallel = 32

func main() { frames.Main(run) }

func run(in *bufio.Reader, out *bufio.Writer) error {
	var answers []chan []byte
	slots := make(chan struct{}, parallel)
	for {
		frame, err := frames.Read(in)
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		answer := make(chan []byte, 1)
		answers = append(answers, answer)
		slots <- struct{}{}
		go func() {
			defer func() { <-slots }()
			answer <- answerTo(frame)
		}()
	}
	for _, answer := range answers {
		if err := frames.Write(out, <-answer); err != nil {
			return err
		}
	}
	return nil
}

func answerTo(frame []byte) (answer []byte) {
	defer func() {
		if r := recover(); r != nil {
			answer = append([]byte{1}, fmt.Sprint("panic: ", r)...)
		}
	}()
	return frames.Result(play(frame))
}

func play(frame []byte) ([]byte, error) {
	var in input
	if err := json.Unmarshal(frame, &in); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "filelog-oracle")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	sink := new(consumertest.LogsSink)
	rcv, err := start(strings.ReplaceAll(in.Config, "DIR", dir), sink)
	if err != nil {
		return nil, err
	}
	for _, step := range in.Steps {
		if err := step.do(dir); err != nil {
			return nil, fmt.Errorf("%s %s: %w", step.Op, step.File, err)
		}
	}
	if err := rcv.Shutdown(context.Background()); err != nil {
		return nil, err
	}
	return marshal(sink.AllLogs(), dir)
}

var starting sync.Mutex

func start(yaml string, sink *consumertest.LogsSink) (receiver.Logs, error) {
	factory := filelogreceiver.NewFactory()
	config, err := componentconfig.Read(factory, []byte(yaml))
	if err != nil {
		return nil, err
	}
	starting.Lock()
	defer starting.Unlock()
	rcv, err := factory.CreateLogs(context.Background(), receivertest.NewNopSettings(factory.Type()), config, sink)
	if err != nil {
		return nil, err
	}
	return rcv, rcv.Start(context.Background(), componenttest.NewNopHost())
}

func (s step) do(dir string) error {
	path, to := filepath.Join(dir, s.File), filepath.Join(dir, s.To)
	switch s.Op {
	case "write", "replace":
		flags := os.O_CREATE | os.O_WRONLY | os.O_APPEND
		if s.Op == "replace" {
			if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
				return err
			}
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		file, err := os.OpenFile(path, flags, 0o644)
		if err != nil {
			return err
		}
		_, err = file.Write(s.Data)
		return errors.Join(err, file.Close())
	case "truncate":
		return os.Truncate(path, 0)
	case "copy":
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, data, 0o644)
	case "rename":
		return os.Rename(path, to)
	case "remove":
		return os.Remove(path)
	case "wait":
		time.Sleep(400 * time.Millisecond)
		return nil
	default:
		return fmt.Errorf("unknown step")
	}
}

// One request of all, with DIR for the directory.
func marshal(all []plog.Logs, dir string) ([]byte, error) {
	merged := plog.NewLogs()
	for _, logs := range all {
		logs.ResourceLogs().MoveAndAppendTo(merged.ResourceLogs())
	}
	for _, resource := range merged.ResourceLogs().All() {
		replace(resource.Resource().Attributes(), dir)
		for _, scope := range resource.ScopeLogs().All() {
			for _, record := range scope.LogRecords().All() {
				replace(record.Attributes(), dir)
				record.SetObservedTimestamp(0)
			}
		}
	}
	marshaler := plog.ProtoMarshaler{}
	return marshaler.MarshalLogs(merged)
}

func replace(attributes pcommon.Map, dir string) {
	for _, value := range attributes.All() {
		if value.Type() == pcommon.ValueTypeStr {
			value.SetStr(strings.ReplaceAll(value.Str(), dir, "DIR"))
		}
	}
}
