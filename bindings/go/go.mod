module github.com/otelcore/otelcore/bindings/go

go 1.26
