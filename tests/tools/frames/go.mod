module otelcore.invalid/tools/frames

go 1.25.0
