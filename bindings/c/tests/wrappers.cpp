// The C++ wrappers: ownership and moves, errors as exceptions, functions of the host that throw, batches and payloads that
// are taken and edited, a driven collector.
#include <otelcore.hpp>

#include <poll.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>

#define CHECK(condition)                                                            \
    do {                                                                            \
        if (!(condition)) {                                                         \
            std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            std::exit(1);                                                           \
        }                                                                           \
    } while (0)

using otelcore::Signal;
using otelcore::Status;
using std::chrono::milliseconds;

// A request with one span that has a name.
static const std::string one_span("\x0a\x08\x12\x06\x12\x04\x2a\x02hi", 10);

static const std::string through =
    "receivers: {inproc/app: }\nexporters: {inproc/out: {retry_on_failure: {initial_interval: 10ms}}}\n"
    "service:\n"
    "  telemetry: {metrics: {level: none}}\n"
    "  pipelines: {traces: {receivers: [inproc/app], exporters: [inproc/out]}}\n";

static const std::string processed =
    "receivers: {inproc/app: }\nprocessors: {inproc/change: }\nexporters: {inproc/out: }\n"
    "service:\n"
    "  telemetry: {metrics: {level: none}}\n"
    "  pipelines: {traces: {receivers: [inproc/app], processors: [inproc/change], exporters: [inproc/out]}}\n";

template <typename Function> static otelcore::Error failure_at(int line, Function function) {
    try {
        function();
    } catch (const otelcore::Error &error) {
        return error;
    }
    std::fprintf(stderr, "%d: nothing was thrown\n", line);
    std::exit(1);
}

static bool has(std::string_view text, std::string_view part) { return text.find(part) != text.npos; }

static void errors_are_exceptions() {
    auto config = failure_at(__LINE__, [] { otelcore::Collector("nonsense: {}", {"app.yaml", {}, {}, {}}); });
    CHECK(config.status() == Status::invalid_config && !config.is_retryable());
    CHECK(has(config.what(), "app.yaml:1:1"));
    otelcore::Collector collector(through);
    CHECK(failure_at(__LINE__, [&] { collector.input("inproc/none"); }).status() == Status::not_found);
    otelcore::Input input = collector.input("inproc/app");
    CHECK(failure_at(__LINE__, [&] { input.submit(Signal::traces, one_span); }).status() == Status::invalid_state);
    CHECK(input.accepts(Signal::traces) && !input.accepts(Signal::logs));
    collector.start();
    CHECK(failure_at(__LINE__, [&] { input.submit(Signal::traces, std::string("\x0a\x05x")); }).status() == Status::invalid_data);
    CHECK(input.try_submit(Signal::metrics, one_span) == Status::not_found);
    CHECK(failure_at(__LINE__, [&] { collector.start(); }).status() == Status::invalid_state);
}

static void handles_move_and_are_freed() {
    static_assert(!std::is_copy_constructible_v<otelcore::Collector> && std::is_nothrow_move_constructible_v<otelcore::Collector>);
    static_assert(!std::is_copy_constructible_v<otelcore::Batch> && !std::is_copy_constructible_v<otelcore::Payload>);
    otelcore::Collector first(through);
    otelcore::Collector second(std::move(first));
    CHECK(first.get() == nullptr && first.state() == otelcore::State::none);
    CHECK(failure_at(__LINE__, [&] { first.start(); }).status() == Status::invalid_argument);
    second.start();
    otelcore::Output output = second.output("inproc/out");
    otelcore::Input input = second.input("inproc/app");
    input.submit(Signal::traces, one_span);
    {
        auto unfinished = output.next(milliseconds(20000));
        CHECK(unfinished && unfinished->data().text() == one_span && unfinished->signal() == Signal::traces);
    }
    auto again = output.next(milliseconds(20000));
    CHECK(again);
    otelcore::Batch batch = std::move(*again);
    batch.finish();
    CHECK(batch.get() == nullptr && failure_at(__LINE__, [&] { batch.finish(); }).status() == Status::invalid_argument);
    input.submit(Signal::traces, one_span);
    output.next(milliseconds(20000)).value().retry_after(milliseconds(1));
    output.next(milliseconds(20000)).value().finish();
    Status reason = Status::ok;
    CHECK(!output.next(milliseconds(0), &reason) && reason == Status::timeout);
    output.wake();
    CHECK(!output.next(otelcore::no_limit, &reason) && reason == Status::cancelled);
    second.flush(milliseconds(20000));
    CHECK(second.is_flushed(second.begin_flush()));
    second.reload(through, milliseconds(1000));
    CHECK(has(second.health(), "running") && has(second.component_statuses(), "inproc/out"));
    second.shutdown(milliseconds(20000));
    CHECK(second.state() == otelcore::State::stopped);
    CHECK(!output.next(otelcore::no_limit, &reason) && reason == Status::closed);
    second = otelcore::Collector(through);
    CHECK(second.state() == otelcore::State::created);
}

static void exceptions_of_functions_do_not_leave_them() {
    std::mutex lock;
    std::vector<std::string> thrown, logged;
    otelcore::Options options;
    options.log_level = otelcore::LogLevel::warn;
    options.log = [&](const otelcore::LogRecord &record) {
        std::lock_guard<std::mutex> guard(lock);
        logged.emplace_back(std::string(record.component) + ": " + std::string(record.message) + std::string(record.fields));
        throw std::runtime_error("the log");
    };
    options.on_exception = [&](std::exception_ptr what) {
        std::lock_guard<std::mutex> guard(lock);
        try {
            std::rethrow_exception(what);
        } catch (const std::exception &e) {
            thrown.emplace_back(e.what());
        } catch (int number) {
            thrown.emplace_back(std::to_string(number));
        }
        throw std::runtime_error("also from here");
    };
    auto destroyed = std::make_shared<int>(0);
    {
        otelcore::Collector collector(through, std::move(options));
        otelcore::Output output = collector.output("inproc/out");
        std::atomic<int> calls{0};
        output.on_batch([&calls, destroyed](Signal, otelcore::Bytes otlp) -> Status {
            CHECK(otlp.text() == one_span);
            switch (calls++) {
            case 0: return Status::unavailable;
            case 1: throw 17;
            default: throw std::runtime_error("the batch");
            }
        });
        CHECK(destroyed.use_count() == 2);
        CHECK(failure_at(__LINE__, [&] { output.on_batch([destroyed](Signal, otelcore::Bytes) { return Status::ok; }); }).status() ==
              Status::invalid_state);
        CHECK(destroyed.use_count() == 2);
        collector.start();
        otelcore::Input input = collector.input("inproc/app");
        input.submit(Signal::traces, one_span);
        collector.flush(milliseconds(20000));
        CHECK(calls == 2);
        input.submit(Signal::traces, one_span);
        collector.shutdown(milliseconds(20000));
        CHECK(calls == 3);
    }
    CHECK(destroyed.use_count() == 1);
    auto count = [&](const char *text) { return std::count(thrown.begin(), thrown.end(), text); };
    CHECK(count("17") == 1 && count("the batch") == 1 && count("the log") >= 2);
    CHECK(std::any_of(logged.begin(), logged.end(), [](const std::string &line) { return has(line, "status -1"); }));
}

static void payload_is_edited(bool by_function) {
    otelcore::Collector collector(processed);
    otelcore::Processor processor = collector.processor("inproc/change");
    auto edit = [](otelcore::Payload &payload) {
        int spans = 0;
        payload.edit([&spans](otelcore::Item &item) {
            if (item.kind() == otelcore::ItemKind::resource) {
                item.set_attribute("service.name", "shop");
                return otelcore::Keep::keep;
            }
            if (item.kind() != otelcore::ItemKind::span) return otelcore::Keep::keep;
            spans++;
            CHECK(item.name() == "hi" && !item.attribute("number") && !item.body());
            item.set_attribute("number", 7u);
            item.set_attribute("flag", true);
            item.set_attribute("ratio", 0.5);
            item.set_attribute("raw", otelcore::Bytes(one_span));
            CHECK(item.attribute("number")->integer() == 7 && item.attribute("flag")->boolean());
            CHECK(item.attribute("flag")->type() == otelcore::Value::Type::boolean);
            CHECK(item.attribute("ratio")->number() == 0.5 && item.attribute("raw")->bytes().text() == one_span);
            CHECK(item.resource_attribute("service.name")->text() == "shop");
            item.remove_attribute("flag");
            CHECK(!item.attribute("flag"));
            item.set_name("renamed");
            CHECK(failure_at(__LINE__, [&] { item.set_body("no"); }).status() == Status::not_found);
            return otelcore::Keep::skip;
        });
        CHECK(spans == 1);
        bool is_thrown = false;
        try {
            payload.edit([](otelcore::Item &) -> otelcore::Keep { throw std::runtime_error("of the visit"); });
        } catch (const std::runtime_error &e) {
            is_thrown = has(e.what(), "of the visit");
        }
        CHECK(is_thrown);
        CHECK(failure_at(__LINE__, [&] { payload.replace(std::string("\x0a\x05x")); }).status() == Status::invalid_data);
        return Status::ok;
    };
    if (by_function) processor.on_payload([edit](otelcore::Payload &payload) {
        // It is lent: the returned value decides.
        CHECK(failure_at(__LINE__, [&] { payload.finish(); }).status() == Status::reentrant);
        return edit(payload);
    });
    collector.start();
    otelcore::Output output = collector.output("inproc/out");
    otelcore::Input input = collector.input("inproc/app");
    input.submit(Signal::traces, one_span);
    if (!by_function) {
        auto payload = processor.next(milliseconds(20000));
        CHECK(payload && payload->signal() == Signal::traces);
        edit(*payload);
        otelcore::Payload moved = std::move(*payload);
        moved.finish();
        CHECK(moved.get() == nullptr);
    }
    auto batch = output.next(milliseconds(20000));
    CHECK(batch && has(batch->data().text(), "renamed") && has(batch->data().text(), "shop"));
    batch->finish();
    if (!by_function) {
        input.submit(Signal::traces, one_span);
        CHECK(processor.next(milliseconds(20000)));  // and refuses it: the receiver sends it again, and nobody takes it
        Status reason = Status::ok;
        CHECK(failure_at(__LINE__, [&] { collector.shutdown(milliseconds(200)); }).status() == Status::timeout);
        CHECK(!processor.next(otelcore::no_limit, &reason) && reason == Status::closed);
        return;
    }
    collector.shutdown(milliseconds(20000));
}

static void loop_of_the_host_drives_it() {
    otelcore::Collector collector(through);
    int spans = 0;
    collector.output("inproc/out").on_batch([&](Signal, otelcore::Bytes) { return spans++, Status::ok; });
    collector.drive_start();
    otelcore::Input input = collector.input("inproc/app");
    for (int i = 0; i < 3; i++) input.submit(Signal::traces, one_span);
    bool is_running = true;
    while (is_running) {
        pollfd fd{collector.drive_fd(), POLLIN, 0};
        auto deadline = collector.drive_deadline();
        poll(&fd, 1, deadline ? static_cast<int>(std::min<milliseconds::rep>(deadline->count(), 1000)) : 1000);
        is_running = collector.drive_turn();
        if (spans == 3 && collector.state() == otelcore::State::running) collector.begin_shutdown(milliseconds(1000));
    }
    CHECK(spans == 3 && collector.state() == otelcore::State::stopped);
}

static void values_have_the_types_of_their_arguments() {
    using otelcore::Value;
    CHECK(Value().type() == Value::Type::empty && Value("text").text() == "text");
    CHECK(Value(true).type() == Value::Type::boolean && Value(1).type() == Value::Type::integer);
    CHECK(Value(1.0f).type() == Value::Type::number && Value(std::string("a")).type() == Value::Type::string);
    CHECK(Value(static_cast<const char *>(nullptr)).text().empty());
    bool is_thrown = false;
    try {
        Value(UINT64_MAX);
    } catch (const std::out_of_range &) {
        is_thrown = true;
    }
    CHECK(is_thrown);
    const std::vector<unsigned char> vector{1, 2};
    const std::array<std::byte, 2> array{std::byte{1}, std::byte{2}};
    CHECK(otelcore::Bytes(vector).size() == 2 && otelcore::Bytes(array).size() == 2);
}

static void state_is_data_and_documents_are_merged() {
    const std::vector<otelcore::ConfigDocument> documents = {
        {"base.yaml", through}, {"data", R"({"exporters": {"inproc/out": {"sending_queue": {"queue_size": 7}}}})"}};
    std::mutex lock;
    std::vector<std::string> changes;
    otelcore::Options options;
    options.on_exception = [](std::exception_ptr) {};
    otelcore::Collector collector(documents, std::move(options));
    collector.on_status_change([&](const otelcore_component_status &status) {
        std::lock_guard<std::mutex> guard(lock);
        changes.emplace_back(std::string(status.kind) + " " + status.id + " " + std::to_string(status.status));
        throw std::runtime_error("not passed on");
    });
    collector.start();
    collector.input("inproc/app").submit_json(Signal::traces, R"({"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"a"}]}]}]})");
    auto batch = collector.output("inproc/out").next(milliseconds(20000));
    otelcore::Snapshot snapshot = collector.snapshot();
    CHECK(batch && snapshot.state() == otelcore::State::running);
    auto queues = snapshot.queues();
    CHECK(queues.at(0).kind == std::string("exporter") && queues[0].capacity == 7 && queues[0].size == 1 && queues[0].oldest_age_ms >= 0);
    CHECK(snapshot.components().size() == 2 && snapshot.components()[0].changed_at_ns > 0);
    CHECK(snapshot.memory().held_bytes > 0 && has(snapshot.json(), "\"queue"));
    batch->finish();
    auto mistake = failure_at(__LINE__, [&] { collector.reload({documents[0], {"data", R"({"exporters": {"inproc/out": {"tmeout": 1}}})"}}); });
    CHECK(has(mistake.what(), "data:1:") && has(mistake.what(), "exporters::inproc/out::tmeout"));
    collector.shutdown(milliseconds(20000));
    std::lock_guard<std::mutex> guard(lock);
    CHECK(std::count(changes.begin(), changes.end(), "exporter inproc/out " + std::to_string(OTELCORE_COMPONENT_STOPPED)) == 1);
}

int main() {
    errors_are_exceptions();
    handles_move_and_are_freed();
    exceptions_of_functions_do_not_leave_them();
    payload_is_edited(true);
    payload_is_edited(false);
    loop_of_the_host_drives_it();
    values_have_the_types_of_their_arguments();
    state_is_data_and_documents_are_merged();
}
