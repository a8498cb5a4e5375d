#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| otelcore_fuzz::run("jaeger_json", data));
