// The collector in a C++ program: it submits spans, a function of the program changes them in the pipeline, and another one
// takes what comes out.
#include <otelcore.hpp>

#include <atomic>
#include <cstdio>

static const char yaml[] = R"(
receivers: {inproc/app: }
processors:
  inproc/enrich: {timeout: 2s}
  batch: {timeout: 100ms}
exporters: {inproc/out: }
service:
  pipelines: {traces: {receivers: [inproc/app], processors: [inproc/enrich, batch], exporters: [inproc/out]}}
)";

// A field of a protobuf message whose value has less than 128 bytes.
static std::string field(int number, const std::string &value) {
    return std::string{static_cast<char>(number << 3 | 2), static_cast<char>(value.size())} + value;
}

// An ExportTraceServiceRequest with one span; a program with an SDK gets it from its OTLP encoder.
static std::string span(const std::string &name) {
    std::string ids = field(1, std::string(16, '\1')) + field(2, std::string(8, '\2'));
    std::string service = field(1, field(1, "service.name") + field(2, field(1, "shop")));
    return field(1, field(1, service) + field(2, field(2, ids + field(5, name))));
}

int main() try {
    otelcore::Options options;
    options.log_level = otelcore::LogLevel::warn;
    options.log = [](const otelcore::LogRecord &record) {
        std::fprintf(stderr, "[%.*s] %.*s\n", static_cast<int>(record.component.size()), record.component.data(),
                     static_cast<int>(record.message.size()), record.message.data());
    };
    otelcore::Collector collector(yaml, std::move(options));

    // A step of the pipeline, in a thread of its own: it marks resources, and drops the spans of health checks.
    collector.processor("inproc/enrich").on_payload([](otelcore::Payload &payload) {
        payload.edit([](otelcore::Item &item) {
            if (item.kind() == otelcore::ItemKind::resource) item.set_attribute("cloud.region", "eu-north-1");
            bool is_health = item.kind() == otelcore::ItemKind::span && item.name() == "health";
            return is_health ? otelcore::Keep::drop : otelcore::Keep::keep;
        });
        return otelcore::Status::ok;
    });

    // The end of the pipeline, in the collector's own thread.
    std::atomic<int> orders{0};
    collector.output("inproc/out").on_batch([&orders](otelcore::Signal, otelcore::Bytes otlp) {
        std::string_view text = otlp.text();
        for (std::size_t at = 0; (at = text.find("order", at)) != text.npos; at++) orders++;
        return otelcore::Status::ok;
    });

    collector.start();
    otelcore::Input input = collector.input("inproc/app");
    for (int n = 0; n < 20; n++) input.submit(otelcore::Signal::traces, span(n % 4 == 0 ? "health" : "order"));
    collector.shutdown(std::chrono::seconds(5));
    std::printf("%d of 20 spans came out\nstopped\n", orders.load());
} catch (const otelcore::Error &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
