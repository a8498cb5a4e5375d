//go:build !otelcore_system

package otelcore_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A program with this package and another Rust archive, which panics.
const beside = `package main

// %s
// int other_panics(void);
// _Bool other_starts_a_program(void);
import "C"

import (
	"context"
	"fmt"

	otelcore "github.com/otelcore/otelcore/bindings/go"
)

func main() {
	collector, err := otelcore.New(otelcore.Config{YAML: %q})
	if err != nil {
		panic(err)
	}
	defer collector.Close()
	if err := collector.Start(context.Background()); err != nil {
		panic(err)
	}
	fmt.Println(C.other_panics(), C.other_starts_a_program(), collector.Shutdown(context.Background()))
}
`

func TestBesideAnotherRustArchiveAProgramLinksAndOutlivesItsPanic(t *testing.T) {
	rustc, err := exec.LookPath("rustc")
	if err != nil {
		t.Skip("rustc is not installed, which makes the other archive")
	}
	here, err := os.Getwd()
	must(t, err)
	folder := t.TempDir()
	run := func(name string, arguments ...string) string {
		command := exec.CommandContext(within(t, 5*time.Minute), name, arguments...)
		command.Dir = folder
		output, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", command.Args, err, output)
		}
		return string(output)
	}
	write := func(name, text string) { must(t, os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600)) }
	archive := filepath.Join(folder, "libother.a")
	run(rustc, "--edition=2024", "--crate-type=staticlib", "-o", archive, filepath.Join(here, "../c/tests/other.rs"))
	const module = "github.com/otelcore/otelcore/bindings/go"
	write("go.mod", fmt.Sprintf("module beside\n\ngo 1.26\n\nrequire %s v0.0.0\n\nreplace %s => %s\n", module, module, here))
	// cgo's flags of a program come before those of its packages, the linker's own come last.
	for order, flags := range map[string][2]string{
		"first": {"#cgo LDFLAGS: " + archive, "-lm"},
		"last":  {"", archive},
	} {
		write("main.go", fmt.Sprintf(beside, flags[0], direct))
		for _, mode := range []string{"exe", "pie"} {
			program := filepath.Join(folder, mode+order)
			run("go", "build", "-buildmode="+mode, "-ldflags=-extldflags="+flags[1], "-o", program, ".")
			if output := run(program); !strings.Contains(output, "of the other archive") || !strings.HasSuffix(output, "42 true <nil>\n") {
				t.Errorf("%s, the other archive %s: %s", mode, order, output)
			}
		}
	}
}
