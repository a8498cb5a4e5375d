/* libotelcore for C++17: owners of the handles of otelcore.h. SPDX-License-Identifier: Apache-2.0
 *
 * Only a layer: no state of its own but the functions that were given to it, and no link to anything but libotelcore and
 * the standard library. What a function means, and which thread may call it, is in otelcore.h.
 *
 * Ownership. A value of these types owns a handle and frees it in its destructor. They can be moved, not copied; one that
 * was moved from, or finished, has a NULL handle, and its calls throw Error with Status::invalid_argument. Views (Bytes,
 * std::string_view, Value) are borrowed: see each function.
 *
 * Errors are exceptions of the type Error: a constructor has no other way to fail, and what is checked nowhere is not lost.
 * What fails in normal operation has a form that returns instead: Input::try_submit() for a collector that is full, and
 * an empty optional from next() where nothing came. Destructors do not throw and do not report: call shutdown() for that.
 *
 * Functions of the host program (log, batches, payloads, visits) are std::function objects. They are called from C, so
 * no exception leaves them: it ends the call with Status::host_exception, which is refused permanently and reported, and
 * is given to Options::on_exception. Payload::edit() is different: it is called by the program itself, and throws what
 * the visit threw when the pass is over.
 */
#ifndef OTELCORE_HPP
#define OTELCORE_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "otelcore.h"

namespace otelcore {

/** The result of a call; see otelcore_status. */
enum class Status : otelcore_status {
    ok = OTELCORE_OK,
    invalid_argument = OTELCORE_INVALID_ARGUMENT,
    invalid_config = OTELCORE_INVALID_CONFIG,
    invalid_data = OTELCORE_INVALID_DATA,
    not_found = OTELCORE_NOT_FOUND,
    invalid_state = OTELCORE_INVALID_STATE,
    overloaded = OTELCORE_OVERLOADED,
    timeout = OTELCORE_TIMEOUT,
    closed = OTELCORE_CLOSED,
    io = OTELCORE_IO,
    unavailable = OTELCORE_UNAVAILABLE,
    reentrant = OTELCORE_REENTRANT,
    forked = OTELCORE_FORKED,
    panic = OTELCORE_PANIC,
    cancelled = OTELCORE_CANCELLED,
    /** A function of the host program has thrown. Only what the functions here return to the collector has this value. */
    host_exception = -1,
};

/** A kind of telemetry. */
enum class Signal : otelcore_signal {
    traces = OTELCORE_TRACES,
    metrics = OTELCORE_METRICS,
    logs = OTELCORE_LOGS,
};

/** The state of a collector. */
enum class State : otelcore_state {
    none = OTELCORE_STATE_NONE,
    created = OTELCORE_STATE_CREATED,
    starting = OTELCORE_STATE_STARTING,
    running = OTELCORE_STATE_RUNNING,
    stopping = OTELCORE_STATE_STOPPING,
    stopped = OTELCORE_STATE_STOPPED,
    failed = OTELCORE_STATE_FAILED,
};

/** How urgent a record of the collector's own log is. */
enum class LogLevel : otelcore_log_level {
    debug = OTELCORE_LOG_DEBUG,
    info = OTELCORE_LOG_INFO,
    warn = OTELCORE_LOG_WARN,
    error = OTELCORE_LOG_ERROR,
};

/** What an item is. */
enum class ItemKind : otelcore_item_kind {
    resource = OTELCORE_ITEM_RESOURCE,
    scope = OTELCORE_ITEM_SCOPE,
    span = OTELCORE_ITEM_SPAN,
    event = OTELCORE_ITEM_EVENT,
    link = OTELCORE_ITEM_LINK,
    metric = OTELCORE_ITEM_METRIC,
    point = OTELCORE_ITEM_POINT,
    log = OTELCORE_ITEM_LOG,
};

/** What is done with an item: it stays and its contents are visited; it stays as it is; it is dropped. */
enum class Keep : otelcore_keep {
    keep = OTELCORE_KEEP,
    skip = OTELCORE_SKIP,
    drop = OTELCORE_DROP,
};

/** A time limit. */
using Milliseconds = std::chrono::milliseconds;

/** No time limit. */
inline constexpr Milliseconds no_limit{-1};

/** Why a call has failed. what() is the library's message: for a configuration all mistakes, each with its place. */
class Error : public std::runtime_error {
public:
    Error(Status status, const std::string &message, bool is_retryable = false, Milliseconds retry_after = {})
        : std::runtime_error(message), status_(status), is_retryable_(is_retryable), retry_after_(retry_after) {}

    Status status() const noexcept { return status_; }
    /** Whether the same call may succeed later. */
    bool is_retryable() const noexcept { return is_retryable_; }
    /** After what time a retry is useful; zero where that is not known. */
    Milliseconds retry_after() const noexcept { return retry_after_; }

private:
    Status status_;
    bool is_retryable_;
    Milliseconds retry_after_;
};

/** Bytes that someone else owns. */
class Bytes {
public:
    constexpr Bytes() noexcept = default;
    constexpr Bytes(const std::uint8_t *data, std::size_t size) noexcept : data_(data), size_(size) {}
    /** Of a container of single bytes: std::string, std::string_view, std::vector<std::uint8_t>, std::array. */
    template <typename Container,
              typename Element = std::remove_pointer_t<decltype(std::declval<const Container &>().data())>,
              typename = std::enable_if_t<sizeof(Element) == 1 && !std::is_same_v<Container, Bytes>>>
    Bytes(const Container &container) noexcept
        : data_(reinterpret_cast<const std::uint8_t *>(container.data())), size_(container.size()) {}

    constexpr const std::uint8_t *data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }
    constexpr bool empty() const noexcept { return size_ == 0; }
    constexpr const std::uint8_t *begin() const noexcept { return data_; }
    constexpr const std::uint8_t *end() const noexcept { return data_ + size_; }
    std::string_view text() const noexcept {
        return size_ == 0 ? std::string_view{} : std::string_view(reinterpret_cast<const char *>(data_), size_);
    }

private:
    const std::uint8_t *data_ = nullptr;
    std::size_t size_ = 0;
};

namespace detail {

inline void free_handle(otelcore_collector *handle) noexcept { otelcore_collector_free(handle); }
inline void free_handle(otelcore_input *handle) noexcept { otelcore_input_free(handle); }
inline void free_handle(otelcore_output *handle) noexcept { otelcore_output_free(handle); }
inline void free_handle(otelcore_processor *handle) noexcept { otelcore_processor_free(handle); }
inline void free_handle(otelcore_snapshot *handle) noexcept { otelcore_snapshot_free(handle); }
inline void free_handle(otelcore_buffer *handle) noexcept { otelcore_buffer_free(handle); }
inline void free_handle(otelcore_error *handle) noexcept { otelcore_error_free(handle); }
// One that is dropped unfinished is given again.
inline void free_handle(otelcore_batch *handle) noexcept {
    if (handle != nullptr) otelcore_batch_finish(handle, OTELCORE_UNAVAILABLE, nullptr);
}
inline void free_handle(otelcore_payload *handle) noexcept {
    if (handle != nullptr) otelcore_payload_finish(handle, OTELCORE_UNAVAILABLE, nullptr);
}

struct Free {
    template <typename T> void operator()(T *handle) const noexcept { free_handle(handle); }
};

template <typename T> using Handle = std::unique_ptr<T, Free>;

[[noreturn]] inline void throw_error(otelcore_status status, otelcore_error *raw) {
    Handle<otelcore_error> error(raw);
    throw Error(static_cast<Status>(status), otelcore_error_message(raw), otelcore_error_is_retryable(raw),
                Milliseconds(static_cast<Milliseconds::rep>(otelcore_error_retry_after_ms(raw))));
}

/** Calls a function of the library with `arguments` and a place for its error. */
template <typename Function, typename... Arguments> void call(Function function, Arguments... arguments) {
    otelcore_error *error = nullptr;
    if (otelcore_status status = function(arguments..., &error); status != OTELCORE_OK) throw_error(status, error);
}

inline std::string take_text(otelcore_buffer *raw) {
    Handle<otelcore_buffer> buffer(raw);
    std::size_t len = 0;
    const std::uint8_t *data = otelcore_buffer_data(raw, &len);
    return std::string(reinterpret_cast<const char *>(data), len);
}

/** What gets the exceptions of functions that are called from C. */
using ExceptionHandler = std::function<void(std::exception_ptr)>;

inline void report(const std::shared_ptr<ExceptionHandler> &handler) noexcept {
    try {
        if (handler && *handler) (*handler)(std::current_exception());
    } catch (...) {
        // There is no further place to report it to.
    }
}

/** A function of the host program, and what its exceptions are given to. */
template <typename Function> struct Callback {
    Function function;
    std::shared_ptr<ExceptionHandler> on_exception;

    static void destroy(void *user) noexcept { delete static_cast<Callback *>(user); }
};

inline std::int64_t limit(Milliseconds timeout) noexcept { return timeout.count(); }

inline std::uint64_t pause_ms(Milliseconds pause) noexcept {
    return pause.count() < 0 ? 0 : static_cast<std::uint64_t>(pause.count());
}

/** A text that may be NULL. */
inline std::string_view view(const char *text) noexcept { return text == nullptr ? std::string_view{} : text; }

}  // namespace detail

/** A value of an attribute, or a body. One that was read is borrowed until its item changes. */
class Value {
public:
    enum class Type : otelcore_value_type {
        empty = OTELCORE_VALUE_EMPTY,
        string = OTELCORE_VALUE_STRING,
        boolean = OTELCORE_VALUE_BOOL,
        integer = OTELCORE_VALUE_INT,
        number = OTELCORE_VALUE_DOUBLE,
        bytes = OTELCORE_VALUE_BYTES,
        array = OTELCORE_VALUE_ARRAY,
        map = OTELCORE_VALUE_MAP,
    };

    Value() noexcept : raw_{OTELCORE_VALUE_EMPTY, 0, 0, nullptr, 0} {}
    Value(std::string_view text) noexcept : Value(OTELCORE_VALUE_STRING, Bytes(text)) {}
    Value(const char *text) noexcept : Value(detail::view(text)) {}
    Value(const std::string &text) noexcept : Value(std::string_view(text)) {}
    Value(Bytes bytes) noexcept : Value(OTELCORE_VALUE_BYTES, bytes) {}
    /** A boolean, an integer (of 64 bits, signed: a larger unsigned one throws std::out_of_range) or a number. */
    template <typename T, typename = std::enable_if_t<std::is_arithmetic_v<T>>>
    Value(T value) : raw_{OTELCORE_VALUE_EMPTY, 0, 0, nullptr, 0} {
        if constexpr (std::is_floating_point_v<T>) {
            raw_.value_type = OTELCORE_VALUE_DOUBLE;
            raw_.number = static_cast<double>(value);
        } else {
            if constexpr (std::is_unsigned_v<T> && sizeof(T) >= sizeof(std::int64_t)) {
                if (value > static_cast<T>(INT64_MAX)) throw std::out_of_range("otelcore: an integer has 63 bits");
            }
            raw_.value_type = std::is_same_v<T, bool> ? OTELCORE_VALUE_BOOL : OTELCORE_VALUE_INT;
            raw_.integer = static_cast<std::int64_t>(value);
        }
    }
    explicit Value(const otelcore_value &raw) noexcept : raw_(raw) {}
    /** A list, as an `ArrayValue` in protobuf. */
    static Value array(Bytes protobuf) noexcept { return Value(OTELCORE_VALUE_ARRAY, protobuf); }
    /** A map, as a `KeyValueList` in protobuf. */
    static Value map(Bytes protobuf) noexcept { return Value(OTELCORE_VALUE_MAP, protobuf); }

    Type type() const noexcept { return static_cast<Type>(raw_.value_type); }
    /** Its text; empty for another type. */
    std::string_view text() const noexcept { return type() == Type::string ? bytes().text() : std::string_view{}; }
    bool boolean() const noexcept { return type() == Type::boolean && raw_.integer != 0; }
    std::int64_t integer() const noexcept { return type() == Type::integer ? raw_.integer : 0; }
    double number() const noexcept { return type() == Type::number ? raw_.number : 0; }
    /** The bytes of a text, bytes, list or map. */
    Bytes bytes() const noexcept { return Bytes(raw_.data, raw_.len); }
    const otelcore_value &raw() const noexcept { return raw_; }

private:
    Value(otelcore_value_type type, Bytes bytes) noexcept : raw_{type, 0, 0, bytes.data(), bytes.size()} {}

    otelcore_value raw_;
};

/** An item of a payload in Payload::edit(). It is valid in the call that got it, on the thread of that call. */
class Item {
public:
    explicit Item(otelcore_item *item) noexcept : item_(item) {}

    ItemKind kind() const noexcept { return static_cast<ItemKind>(otelcore_item_get_kind(item_)); }
    /** The name, until the item changes; none for kinds without one. */
    std::optional<std::string_view> name() const noexcept {
        std::size_t len = 0;
        const char *name = otelcore_item_get_name(item_, &len);
        if (name == nullptr) return std::nullopt;
        return std::string_view(name, len);
    }
    void set_name(const std::string &name) { detail::call(otelcore_item_set_name, item_, name.c_str()); }

    std::optional<Value> attribute(const std::string &key) const {
        return find(otelcore_item_get_attribute, key.c_str());
    }
    /** An attribute of the resource that the item belongs to. */
    std::optional<Value> resource_attribute(const std::string &key) const {
        return find(otelcore_item_get_resource_attribute, key.c_str());
    }
    void set_attribute(const std::string &key, const Value &value) {
        detail::call(otelcore_item_set_attribute, item_, key.c_str(), &value.raw());
    }
    void remove_attribute(const std::string &key) {
        detail::call(otelcore_item_remove_attribute, item_, key.c_str());
    }
    /** The body of a log record; none for other items. */
    std::optional<Value> body() const { return find(otelcore_item_get_body); }
    void set_body(const Value &value) { detail::call(otelcore_item_set_body, item_, &value.raw()); }

    otelcore_item *get() const noexcept { return item_; }

private:
    template <typename Function, typename... Arguments>
    std::optional<Value> find(Function function, Arguments... arguments) const {
        otelcore_value value{};
        otelcore_error *error = nullptr;
        otelcore_status status = function(item_, arguments..., &value, &error);
        if (status == OTELCORE_OK) return Value(value);
        if (status != OTELCORE_NOT_FOUND) detail::throw_error(status, error);
        otelcore_error_free(error);
        return std::nullopt;
    }

    otelcore_item *item_;
};

/** A request in a pipeline. One that is destroyed unfinished is refused, and its sender may send it again. */
class Payload {
public:
    Payload(Payload &&other) noexcept = default;
    Payload &operator=(Payload &&other) noexcept = default;

    Signal signal() const noexcept { return static_cast<Signal>(otelcore_payload_signal(get())); }
    /** The request in protobuf, until it is replaced, edited or finished. */
    Bytes data() const noexcept {
        std::size_t len = 0;
        const std::uint8_t *data = otelcore_payload_data(get(), &len);
        return Bytes(data, len);
    }
    /** Replaces the request by a copy of `otlp`, a request of the same signal. */
    void replace(Bytes otlp) { detail::call(otelcore_payload_replace, get(), otlp.data(), otlp.size()); }
    /** Calls `visit`, a function of an Item & that returns a Keep, for each item, from the outside to the inside. What it
     * throws ends the visits and is thrown when the pass is over; what was changed before stays changed. */
    template <typename Visit> void edit(Visit &&visit) {
        struct Visits {
            std::remove_reference_t<Visit> *visit;
            std::exception_ptr thrown;
        } visits{&visit, nullptr};
        otelcore_visit_fn call = [](void *user, otelcore_item *raw) -> otelcore_keep {
            Visits &self = *static_cast<Visits *>(user);
            if (self.thrown) return OTELCORE_SKIP;
            try {
                Item item(raw);
                return static_cast<otelcore_keep>(static_cast<Keep>((*self.visit)(item)));
            } catch (...) {
                self.thrown = std::current_exception();
                return OTELCORE_SKIP;
            }
        };
        otelcore_error *error = nullptr;
        otelcore_status status = otelcore_payload_edit(get(), call, &visits, &error);
        detail::Handle<otelcore_error> owned(error);
        if (visits.thrown) std::rethrow_exception(visits.thrown);
        if (status != OTELCORE_OK) detail::throw_error(status, owned.release());
    }

    /** Ends it: Status::ok passes it on as it is now, Status::unavailable, overloaded and timeout refuse it so that its
     * sender may send it again, and anything else refuses it permanently. Not in a function for its own payload: there
     * the returned value decides. */
    void finish(Status status = Status::ok) { end(otelcore_payload_finish, static_cast<otelcore_status>(status)); }
    /** Refuses it, so that its sender may send it again, not before this pause is over. */
    void retry_after(Milliseconds pause) { end(otelcore_payload_retry_after, detail::pause_ms(pause)); }

    otelcore_payload *get() const noexcept { return lent_ != nullptr ? lent_ : owned_.get(); }

private:
    friend class Processor;
    struct Lent {};

    explicit Payload(otelcore_payload *owned) noexcept : owned_(owned) {}
    Payload(otelcore_payload *lent, Lent) noexcept : lent_(lent) {}

    template <typename Function, typename Argument> void end(Function function, Argument argument) {
        if (lent_ != nullptr) throw Error(Status::reentrant, "the payload is lent: the returned value decides about it");
        otelcore_error *error = nullptr;
        otelcore_status status = function(get(), argument, &error);
        // One that is being edited can be ended afterwards: it stays.
        if (status != OTELCORE_REENTRANT) static_cast<void>(owned_.release());
        if (status != OTELCORE_OK) detail::throw_error(status, error);
    }

    detail::Handle<otelcore_payload> owned_;
    /** That of a call of the collector, which ends it. */
    otelcore_payload *lent_ = nullptr;
};

/** A batch of telemetry from an output. One that is destroyed unfinished is given again. */
class Batch {
public:
    Signal signal() const noexcept { return static_cast<Signal>(otelcore_batch_signal(handle_.get())); }
    /** The request in protobuf, until it is finished. */
    Bytes data() const noexcept {
        std::size_t len = 0;
        const std::uint8_t *data = otelcore_batch_data(handle_.get(), &len);
        return Bytes(data, len);
    }
    /** Reports its result: Status::ok when it is delivered, Status::unavailable, overloaded and timeout to get it again,
     * anything else to have it dropped, and reported. */
    void finish(Status status = Status::ok) {
        detail::call(otelcore_batch_finish, handle_.release(), static_cast<otelcore_status>(status));
    }
    /** Asks for another delivery, not before this pause is over. */
    void retry_after(Milliseconds pause) {
        detail::call(otelcore_batch_retry_after, handle_.release(), detail::pause_ms(pause));
    }

    otelcore_batch *get() const noexcept { return handle_.get(); }

private:
    friend class Output;
    explicit Batch(otelcore_batch *handle) noexcept : handle_(handle) {}

    detail::Handle<otelcore_batch> handle_;
};

/** The input of an `inproc` receiver. Any thread may use it. It may outlive its collector. */
class Input {
public:
    /** Copies `otlp`, an `Export*ServiceRequest` in protobuf; see otelcore_input_submit(). */
    void submit(Signal signal, Bytes otlp) const {
        detail::call(otelcore_input_submit, handle_.get(), static_cast<otelcore_signal>(signal), otlp.data(), otlp.size());
    }
    /** The same, with the result as a value. */
    [[nodiscard]] Status try_submit(Signal signal, Bytes otlp) const noexcept {
        return static_cast<Status>(otelcore_input_submit(handle_.get(), static_cast<otelcore_signal>(signal), otlp.data(),
                                                         otlp.size(), nullptr));
    }
    /** The same for a request in OTLP/JSON. */
    void submit_json(Signal signal, std::string_view json) const {
        detail::call(otelcore_input_submit_json, handle_.get(), static_cast<otelcore_signal>(signal), json.data(), json.size());
    }
    /** Whether a pipeline takes this signal from the input. */
    bool accepts(Signal signal) const {
        otelcore_error *error = nullptr;
        otelcore_status status = otelcore_input_accepts(handle_.get(), static_cast<otelcore_signal>(signal), &error);
        if (status != OTELCORE_OK && status != OTELCORE_NOT_FOUND) detail::throw_error(status, error);
        otelcore_error_free(error);
        return status == OTELCORE_OK;
    }

    otelcore_input *get() const noexcept { return handle_.get(); }

private:
    friend class Collector;
    explicit Input(otelcore_input *handle) noexcept : handle_(handle) {}

    detail::Handle<otelcore_input> handle_;
};

namespace detail {

/** Waits for what an output or a processor gives next. `reason`, which may be NULL, says why there is nothing. */
template <typename Handle, typename Owner, typename Next>
std::optional<Handle *> next(Next function, Owner *owner, Milliseconds timeout, Status *reason) {
    Handle *handle = nullptr;
    otelcore_error *error = nullptr;
    otelcore_status status = function(owner, limit(timeout), &handle, &error);
    if (reason != nullptr) *reason = static_cast<Status>(status);
    if (status == OTELCORE_OK) return handle;
    if (status != OTELCORE_TIMEOUT && status != OTELCORE_CANCELLED && status != OTELCORE_CLOSED) throw_error(status, error);
    otelcore_error_free(error);
    return std::nullopt;
}

}  // namespace detail

/** The output of an `inproc` exporter. Any thread may use it. It may outlive its collector. */
class Output {
public:
    /** The next batch. Empty where none came in time, wake() ended the wait, or the collector has ended and there will be
     * none again; `reason`, which may be NULL, says which: Status::timeout, cancelled or closed. */
    std::optional<Batch> next(Milliseconds timeout = no_limit, Status *reason = nullptr) const {
        auto handle = detail::next<otelcore_batch>(otelcore_output_next, handle_.get(), timeout, reason);
        if (!handle) return std::nullopt;
        return Batch(*handle);
    }
    /** Passes every batch to `function` in the thread of the collector's loop, instead of next(). Before the start, and
     * once for each output. It returns what Batch::finish() takes, must not wait for the collector, and is destroyed
     * when the collector has ended. */
    void on_batch(std::function<Status(Signal, Bytes)> function) {
        using Taker = detail::Callback<std::function<Status(Signal, Bytes)>>;
        auto taker = std::make_unique<Taker>(Taker{std::move(function), on_exception_});
        otelcore_export_fn call = [](void *user, otelcore_signal signal, const std::uint8_t *otlp,
                                     std::size_t len) -> otelcore_status {
            Taker &self = *static_cast<Taker *>(user);
            try {
                return static_cast<otelcore_status>(self.function(static_cast<Signal>(signal), Bytes(otlp, len)));
            } catch (...) {
                detail::report(self.on_exception);
                return static_cast<otelcore_status>(Status::host_exception);
            }
        };
        otelcore_free_fn destroy = Taker::destroy;
        detail::call(otelcore_output_set_callback, handle_.get(), call, static_cast<void *>(taker.get()), destroy);
        static_cast<void>(taker.release());
    }
    /** Ends all waits in next(). */
    void wake() const { detail::call(otelcore_output_wake, handle_.get()); }

    otelcore_output *get() const noexcept { return handle_.get(); }

private:
    friend class Collector;
    Output(otelcore_output *handle, std::shared_ptr<detail::ExceptionHandler> on_exception) noexcept
        : handle_(handle), on_exception_(std::move(on_exception)) {}

    detail::Handle<otelcore_output> handle_;
    std::shared_ptr<detail::ExceptionHandler> on_exception_;
};

/** The host program's side of the `inproc` processors of one id. Any thread may use it. It may outlive its collector. */
class Processor {
public:
    /** The next payload, as Output::next(). Finish it within `timeout` of the processor's configuration. */
    std::optional<Payload> next(Milliseconds timeout = no_limit, Status *reason = nullptr) const {
        auto handle = detail::next<otelcore_payload>(otelcore_processor_next, handle_.get(), timeout, reason);
        if (!handle) return std::nullopt;
        return Payload(*handle);
    }
    /** Has `function` called for each payload in a thread of its own, instead of next(). Before the start, and once for
     * each processor. It returns what Payload::finish() takes, and is destroyed after the last call. */
    void on_payload(std::function<Status(Payload &)> function) {
        using Taker = detail::Callback<std::function<Status(Payload &)>>;
        auto taker = std::make_unique<Taker>(Taker{std::move(function), on_exception_});
        otelcore_process_fn call = [](void *user, otelcore_payload *raw) -> otelcore_status {
            Taker &self = *static_cast<Taker *>(user);
            try {
                Payload payload(raw, Payload::Lent{});
                return static_cast<otelcore_status>(self.function(payload));
            } catch (...) {
                detail::report(self.on_exception);
                return static_cast<otelcore_status>(Status::host_exception);
            }
        };
        otelcore_free_fn destroy = Taker::destroy;
        detail::call(otelcore_processor_set_callback, handle_.get(), call, static_cast<void *>(taker.get()), destroy);
        static_cast<void>(taker.release());
    }
    /** Ends all waits in next(). */
    void wake() const { detail::call(otelcore_processor_wake, handle_.get()); }

    otelcore_processor *get() const noexcept { return handle_.get(); }

private:
    friend class Collector;
    Processor(otelcore_processor *handle, std::shared_ptr<detail::ExceptionHandler> on_exception) noexcept
        : handle_(handle), on_exception_(std::move(on_exception)) {}

    detail::Handle<otelcore_processor> handle_;
    std::shared_ptr<detail::ExceptionHandler> on_exception_;
};

/** A collector at a moment. The structs are those of otelcore.h; their texts and numbers stay until the snapshot is destroyed. */
class Snapshot {
public:
    State state() const noexcept { return static_cast<State>(otelcore_snapshot_state(handle_.get())); }
    std::vector<otelcore_component_status> components() const {
        return all(otelcore_snapshot_get_component, otelcore_component_status OTELCORE_COMPONENT_STATUS_INIT);
    }
    std::vector<otelcore_queue_status> queues() const {
        return all(otelcore_snapshot_get_queue, otelcore_queue_status OTELCORE_QUEUE_STATUS_INIT);
    }
    std::vector<otelcore_metric_series> series() const {
        return all(otelcore_snapshot_get_series, otelcore_metric_series OTELCORE_METRIC_SERIES_INIT);
    }
    otelcore_memory_status memory() const {
        otelcore_memory_status memory = OTELCORE_MEMORY_STATUS_INIT;
        detail::call(otelcore_snapshot_get_memory, handle_.get(), &memory);
        return memory;
    }
    /** Everything as a JSON object; see otelcore_snapshot_json(). */
    std::string json() const {
        otelcore_buffer *buffer = nullptr;
        detail::call(otelcore_snapshot_json, handle_.get(), &buffer);
        return detail::take_text(buffer);
    }

    otelcore_snapshot *get() const noexcept { return handle_.get(); }

private:
    friend class Collector;
    explicit Snapshot(otelcore_snapshot *handle) noexcept : handle_(handle) {}

    template <typename Function, typename T> std::vector<T> all(Function function, T empty) const {
        std::vector<T> found;
        for (;;) {
            T value = empty;
            otelcore_error *error = nullptr;
            otelcore_status status = function(handle_.get(), found.size(), &value, &error);
            if (status != OTELCORE_OK && status != OTELCORE_NOT_FOUND) detail::throw_error(status, error);
            otelcore_error_free(error);
            if (status == OTELCORE_NOT_FOUND) return found;
            found.push_back(value);
        }
    }

    detail::Handle<otelcore_snapshot> handle_;
};

/** A part of a configuration: YAML, or JSON. */
struct ConfigDocument {
    /** How messages call it. */
    std::string name;
    std::string text;
};

/** A record of the collector's own log, until the function that gets it returns. */
struct LogRecord {
    LogLevel level;
    /** "exporter inproc/out" for one; empty for the collector itself. */
    std::string_view component;
    std::string_view message;
    /** A JSON object. */
    std::string_view fields;
};

/** What a host decides about a collector. */
struct Options {
    /** How messages call the configuration. */
    std::string config_name = "config.yaml";
    /** The least urgent records that `log` gets. */
    LogLevel log_level = LogLevel::info;
    /** Gets the collector's own log. Any thread may call it, and calls may overlap. */
    std::function<void(const LogRecord &)> log;
    /** Gets what functions of the host program throw where they are called from C. Any thread may call it. */
    std::function<void(std::exception_ptr)> on_exception;
};

/** A collector. Any thread may use it. Its destructor ends it at once: call shutdown() to have everything delivered. */
class Collector {
public:
    /** Reads and checks a configuration, and opens nothing. */
    explicit Collector(std::string_view yaml, Options options = {})
        : on_exception_(std::make_shared<detail::ExceptionHandler>(std::move(options.on_exception))) {
        open(options, otelcore_collector_new, yaml.data(), yaml.size());
    }

    /** The same for documents that are merged in their order; see otelcore_collector_new_merged(). */
    explicit Collector(const std::vector<ConfigDocument> &documents, Options options = {})
        : on_exception_(std::make_shared<detail::ExceptionHandler>(std::move(options.on_exception))) {
        std::vector<otelcore_config> configs = views(documents);
        const otelcore_config *data = configs.data();
        open(options, otelcore_collector_new_merged, data, configs.size());
    }

    /** Starts it on a thread of its own, and returns when everything listens. */
    void start() { detail::call(otelcore_collector_start, handle_.get()); }

    /** Starts it in the caller's loop; see otelcore_collector_drive_start(). */
    void drive_start() { detail::call(otelcore_collector_drive_start, handle_.get()); }
    /** The descriptor to wait for; -1 where nothing drives it. */
    int drive_fd() const noexcept { return otelcore_collector_drive_fd(handle_.get()); }
    /** After what time a turn is due in any case; empty where that is never. */
    std::optional<Milliseconds> drive_deadline() const noexcept {
        std::int64_t ms = otelcore_collector_drive_deadline_ms(handle_.get());
        if (ms < 0) return std::nullopt;
        return Milliseconds(ms);
    }
    /** Does what there is to do, without waiting. False when the collector has ended. */
    bool drive_turn() {
        bool running = false;
        detail::call(otelcore_collector_drive_turn, handle_.get(), &running);
        return running;
    }

    /** Waits until all that was accepted before this call is delivered, or reported as lost. */
    void flush(Milliseconds timeout = no_limit) {
        detail::call(otelcore_collector_flush, handle_.get(), detail::limit(timeout));
    }
    /** Begins a flush without waiting for it; the result is for is_flushed(). */
    std::uint64_t begin_flush() {
        std::uint64_t mark = 0;
        detail::call(otelcore_collector_begin_flush, handle_.get(), &mark);
        return mark;
    }
    bool is_flushed(std::uint64_t mark) const noexcept { return otelcore_collector_is_flushed(handle_.get(), mark); }

    /** Changes it to another configuration while it runs; see otelcore_collector_reload(). */
    void reload(std::string_view yaml, Milliseconds grace = no_limit) {
        detail::call(otelcore_collector_reload, handle_.get(), yaml.data(), yaml.size(), detail::limit(grace));
    }

    /** The same for documents that are merged in their order. */
    void reload(const std::vector<ConfigDocument> &documents, Milliseconds grace = no_limit) {
        std::vector<otelcore_config> configs = views(documents);
        const otelcore_config *data = configs.data();
        detail::call(otelcore_collector_reload_merged, handle_.get(), data, configs.size(), detail::limit(grace));
    }

    /** Takes nothing new, delivers what it holds, and ends. Throws Status::timeout where something was not delivered. */
    void shutdown(Milliseconds timeout = no_limit) {
        detail::call(otelcore_collector_shutdown, handle_.get(), detail::limit(timeout));
    }
    /** Begins a shutdown without waiting for it. */
    void begin_shutdown(Milliseconds timeout = no_limit) {
        detail::call(otelcore_collector_begin_shutdown, handle_.get(), detail::limit(timeout));
    }

    State state() const noexcept { return static_cast<State>(otelcore_collector_state(handle_.get())); }

    /** The input of the `inproc` receiver of this id, "inproc/app" for one. */
    Input input(const std::string &id) const {
        otelcore_input *handle = nullptr;
        detail::call(otelcore_collector_input, handle_.get(), id.c_str(), &handle);
        return Input(handle);
    }
    /** The output of the `inproc` exporter of this id. */
    Output output(const std::string &id) const {
        otelcore_output *handle = nullptr;
        detail::call(otelcore_collector_output, handle_.get(), id.c_str(), &handle);
        return Output(handle, on_exception_);
    }
    /** The processor of this id. A collector with a processor that the program has not asked for does not start. */
    Processor processor(const std::string &id) const {
        otelcore_processor *handle = nullptr;
        detail::call(otelcore_collector_processor, handle_.get(), id.c_str(), &handle);
        return Processor(handle, on_exception_);
    }

    /** Its state, components, queues, memory and own metrics at this moment. */
    Snapshot snapshot() const {
        otelcore_snapshot *handle = nullptr;
        detail::call(otelcore_collector_snapshot, handle_.get(), &handle);
        return Snapshot(handle);
    }
    /** Has `function` called with each component whose status has changed, in the collector's thread. Once, and best before the
     * start. It must not wait for the collector; what it is given is valid until it returns. */
    void on_status_change(std::function<void(const otelcore_component_status &)> function) {
        using Taker = detail::Callback<std::function<void(const otelcore_component_status &)>>;
        auto taker = std::make_unique<Taker>(Taker{std::move(function), on_exception_});
        otelcore_status_fn call = [](void *user, const otelcore_component_status *status) {
            Taker &self = *static_cast<Taker *>(user);
            try {
                self.function(*status);
            } catch (...) {
                detail::report(self.on_exception);
            }
        };
        otelcore_free_fn destroy = Taker::destroy;
        detail::call(otelcore_collector_set_status_callback, handle_.get(), call, static_cast<void *>(taker.get()), destroy);
        static_cast<void>(taker.release());
    }

    /** Its health in JSON; see otelcore_collector_health(). */
    std::string health() const { return text(otelcore_collector_health); }
    /** The status of each component in JSON; see otelcore_collector_component_statuses(). */
    std::string component_statuses() const { return text(otelcore_collector_component_statuses); }
    /** Its own metrics as a page in Prometheus' text format. */
    std::string metrics() const {
        otelcore_buffer *buffer = nullptr;
        detail::call(otelcore_collector_metrics, handle_.get(), otelcore_format{OTELCORE_FORMAT_PROMETHEUS}, &buffer);
        return detail::take_text(buffer);
    }

    otelcore_collector *get() const noexcept { return handle_.get(); }

private:
    template <typename Function, typename... Arguments>
    void open(Options &options, Function function, Arguments... arguments) {
        otelcore_options raw = OTELCORE_OPTIONS_INIT;
        raw.config_name = options.config_name.c_str();
        raw.log_level = static_cast<otelcore_log_level>(options.log_level);
        using Log = detail::Callback<std::function<void(const LogRecord &)>>;
        std::unique_ptr<Log> log;
        if (options.log) {
            log = std::make_unique<Log>(Log{std::move(options.log), on_exception_});
            raw.log = [](void *user, otelcore_log_level level, const char *component, const char *message,
                         const char *fields) {
                Log &self = *static_cast<Log *>(user);
                try {
                    self.function(LogRecord{static_cast<LogLevel>(level), component, message, fields});
                } catch (...) {
                    detail::report(self.on_exception);
                }
            };
            raw.log_user = log.get();
            raw.log_free = Log::destroy;
        }
        otelcore_collector *handle = nullptr;
        const otelcore_options *passed = &raw;
        detail::call(function, arguments..., passed, &handle);
        static_cast<void>(log.release());
        handle_.reset(handle);
    }

    static std::vector<otelcore_config> views(const std::vector<ConfigDocument> &documents) {
        std::vector<otelcore_config> configs;
        for (const ConfigDocument &document : documents) {
            configs.push_back({document.name.c_str(), document.text.data(), document.text.size()});
        }
        return configs;
    }

    template <typename Function> std::string text(Function function) const {
        otelcore_buffer *buffer = nullptr;
        detail::call(function, handle_.get(), &buffer);
        return detail::take_text(buffer);
    }

    std::shared_ptr<detail::ExceptionHandler> on_exception_;
    detail::Handle<otelcore_collector> handle_;
};

}  // namespace otelcore

#endif  // OTELCORE_HPP
