// The header and its callbacks can be used from C++.
#include <otelcore.h>
#include <atomic>
#include <memory>
#include <string>

struct Free {
    void operator()(otelcore_collector *c) const { otelcore_collector_free(c); }
    void operator()(otelcore_input *i) const { otelcore_input_free(i); }
    void operator()(otelcore_output *o) const { otelcore_output_free(o); }
};

int main() {
    const std::string yaml =
        "receivers: {inproc: }\nexporters: {inproc: }\n"
        "service: {telemetry: {metrics: {level: none}}, pipelines: {logs: {receivers: [inproc], exporters: [inproc]}}}\n";
    otelcore_collector *made = nullptr;
    otelcore_options options = OTELCORE_OPTIONS_INIT;
    if (otelcore_collector_new(yaml.data(), yaml.size(), &options, &made, nullptr) != OTELCORE_OK) return 1;
    std::unique_ptr<otelcore_collector, Free> collector(made);
    otelcore_output *out = nullptr;
    otelcore_input *in = nullptr;
    std::atomic<int> bytes{0};
    auto take = [](void *user, otelcore_signal, const uint8_t *, size_t len) -> otelcore_status {
        *static_cast<std::atomic<int> *>(user) += static_cast<int>(len);
        return OTELCORE_OK;
    };
    if (otelcore_collector_output(made, "inproc", &out, nullptr) != OTELCORE_OK) return 2;
    std::unique_ptr<otelcore_output, Free> output(out);
    if (otelcore_output_set_callback(out, take, &bytes, nullptr, nullptr) != OTELCORE_OK) return 3;
    if (otelcore_collector_start(made, nullptr) != OTELCORE_OK) return 4;
    if (otelcore_collector_input(made, "inproc", &in, nullptr) != OTELCORE_OK) return 5;
    std::unique_ptr<otelcore_input, Free> input(in);
    const uint8_t one[] = {0x0a, 0x04, 0x12, 0x02, 0x12, 0x00};
    if (otelcore_input_submit(in, OTELCORE_LOGS, one, sizeof one, nullptr) != OTELCORE_OK) return 6;
    if (otelcore_collector_shutdown(made, 5000, nullptr) != OTELCORE_OK) return 7;
    return bytes == static_cast<int>(sizeof one) ? 0 : 8;
}
