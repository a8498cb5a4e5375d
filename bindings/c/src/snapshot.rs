//! A collector at a moment as structs: components, queues, memory, own metrics; and the callback for changed statuses.
//!
//! A snapshot owns every text that its structs point at. Structs that may grow have their size in their first field: what a
//! program does not know is not written.

use std::ffi::{CString, c_char, c_void};
use std::sync::Arc;

use otelcore::pipeline::{ComponentStatusEntry, FamilyKind, QueueUnit as Unit, SeriesSample, SeriesValue};
use otelcore::{CollectorSnapshot, MetricSnapshot, QueueSnapshot};

use crate::boundary::{InCallback, run_export, run_export_or, unwind_in_child, write_out};
use crate::collector::{Collector, collector_object};
use crate::data::signal_number;
use crate::error::{CallError, Error};
use crate::observe::{Buffer, write_buffer};
use crate::per_process::current_depth;
use crate::table::HandleTable;
use crate::{CallbackUser, FreeFn, OTELCORE_NOT_FOUND, Signal, Status};

/// A collector at a moment. The caller frees it, and with it every text in its structs.
pub struct Snapshot(());

/// The status of a component.
pub type ComponentState = i32;

/// Not started yet.
pub const OTELCORE_COMPONENT_NONE: ComponentState = 0;
/// It is being started.
pub const OTELCORE_COMPONENT_STARTING: ComponentState = 1;
/// It runs without errors.
pub const OTELCORE_COMPONENT_OK: ComponentState = 2;
/// It has failed, and may succeed without a change.
pub const OTELCORE_COMPONENT_RECOVERABLE_ERROR: ComponentState = 3;
/// It has failed, and a person has to change something.
pub const OTELCORE_COMPONENT_PERMANENT_ERROR: ComponentState = 4;
/// A shutdown has begun.
pub const OTELCORE_COMPONENT_STOPPING: ComponentState = 6;
/// It has ended.
pub const OTELCORE_COMPONENT_STOPPED: ComponentState = 7;

/// The status of a component. Begin with OTELCORE_COMPONENT_STATUS_INIT: what is added later is then not written.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ComponentStatus {
    /// sizeof(otelcore_component_status).
    pub struct_size: usize,
    /// "receiver", "processor", "exporter", "connector" or "extension".
    pub kind: *const c_char,
    /// Its id.
    pub id: *const c_char,
    /// The pipeline of a processor, the signals of a connector, and otherwise empty.
    pub instance: *const c_char,
    /// Its status.
    pub status: ComponentState,
    /// The last error, while the status is an error; otherwise empty.
    pub message: *const c_char,
    /// When the status changed last, in nanoseconds since 1970.
    pub changed_at_ns: u64,
    /// The last error that it reported; it stays when the component works again. NULL where there is none.
    pub last_error: *const c_char,
    /// When it was reported last, in nanoseconds since 1970.
    pub last_error_at_ns: u64,
    /// How often in a row it was reported.
    pub last_error_count: u64,
    /// Where it listens, `address_count` texts; for a configured port 0 with the port that it got.
    pub addresses: *const *const c_char,
    /// How many addresses there are.
    pub address_count: usize,
}

/// The unit of a queue.
pub type QueueUnit = i32;

/// Requests.
pub const OTELCORE_UNIT_REQUESTS: QueueUnit = 0;
/// Spans, data points, log records.
pub const OTELCORE_UNIT_ITEMS: QueueUnit = 1;
/// Bytes.
pub const OTELCORE_UNIT_BYTES: QueueUnit = 2;

/// A queue: of an exporter, or of an input or a processor of the program. Begin with OTELCORE_QUEUE_STATUS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct QueueStatus {
    /// sizeof(otelcore_queue_status).
    pub struct_size: usize,
    /// "exporter", "receiver" or "processor".
    pub kind: *const c_char,
    /// The id of the component.
    pub id: *const c_char,
    /// What it carries; -1 is every signal.
    pub signal: Signal,
    /// The unit of `size` and `capacity`.
    pub unit: QueueUnit,
    /// How much it holds, what is being sent included.
    pub size: u64,
    /// The bound of `size`.
    pub capacity: u64,
    /// For how many milliseconds it has held its oldest payload. -1: it holds none, or it is the queue of an input or a processor of
    /// the program.
    pub oldest_age_ms: i64,
    /// It is on disk.
    pub is_on_disk: bool,
}

/// Memory, in bytes. Begin with OTELCORE_MEMORY_STATUS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MemoryStatus {
    /// sizeof(otelcore_memory_status).
    pub struct_size: usize,
    /// Telemetry that the collector holds, counted exactly.
    pub held_bytes: u64,
    /// State that components keep, such as series.
    pub kept_bytes: u64,
    /// The limit of a `memory_limiter`; 0 where there is none.
    pub limit_bytes: u64,
    /// Resident memory of the whole process.
    pub resident_bytes: u64,
}

/// A label of a series.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Label {
    /// Its name.
    pub name: *const c_char,
    /// Its value.
    pub value: *const c_char,
}

/// The kind of a metric.
pub type MetricKind = i32;

/// It only grows.
pub const OTELCORE_METRIC_COUNTER: MetricKind = 0;
/// It goes up and down.
pub const OTELCORE_METRIC_GAUGE: MetricKind = 1;
/// Counts by bounds.
pub const OTELCORE_METRIC_HISTOGRAM: MetricKind = 2;

/// A series of a metric of the collector's own. Begin with OTELCORE_METRIC_SERIES_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MetricSeries {
    /// sizeof(otelcore_metric_series).
    pub struct_size: usize,
    /// The metric's name.
    pub name: *const c_char,
    /// Its description.
    pub help: *const c_char,
    /// Its unit in UCUM; may be empty.
    pub unit: *const c_char,
    /// Its kind.
    pub kind: MetricKind,
    /// `label_count` labels, sorted by name.
    pub labels: *const Label,
    /// How many labels there are.
    pub label_count: usize,
    /// The value of a counter or gauge; the sum of a histogram's observations.
    pub value: f64,
    /// A histogram's upper bounds, ascending, without infinity: `bound_count` of them.
    pub bounds: *const f64,
    /// A histogram's counts by bucket, not cumulative: one more than there are bounds.
    pub counts: *const u64,
    /// How many bounds there are.
    pub bound_count: usize,
}

/// Gets a component when its status has changed. The struct and its texts are valid until it returns.
pub type StatusFn = Option<unsafe extern "C" fn(user: *mut c_void, status: *const ComponentStatus)>;

/// Texts for C, and what points at them.
struct OwnedComponent {
    fixed: ComponentStatus,
    // What `fixed` points at: none of these is moved or changed, only their owner.
    _texts: Vec<CString>,
    _addresses: Box<[*const c_char]>,
}

struct OwnedQueue {
    fixed: QueueStatus,
    _texts: Vec<CString>,
}

struct OwnedSeries {
    fixed: MetricSeries,
    _texts: Vec<CString>,
    _labels: Box<[Label]>,
    _bounds: Box<[f64]>,
    _counts: Box<[u64]>,
}

struct SnapshotObject {
    components: Vec<OwnedComponent>,
    queues: Vec<OwnedQueue>,
    memory: MemoryStatus,
    series: Vec<OwnedSeries>,
    snapshot: CollectorSnapshot,
}

// SAFETY: the pointers are to memory on the heap that the object itself owns, and that nothing writes to.
unsafe impl Send for SnapshotObject {}
// SAFETY: as above.
unsafe impl Sync for SnapshotObject {}

static SNAPSHOTS: HandleTable<Snapshot, SnapshotObject> = HandleTable::new(9);

/// Texts that are kept while C reads them.
#[derive(Default)]
struct Texts(Vec<CString>);

impl Texts {
    /// A pointer to a copy of the text, up to its first NUL.
    fn keep(&mut self, text: &str) -> *const c_char {
        let mut bytes = text.as_bytes().to_vec();
        bytes.retain(|byte| *byte != 0);
        let text = CString::new(bytes).unwrap_or_default();
        let pointer = text.as_ptr();
        self.0.push(text);
        pointer
    }
}

fn owned_component(entry: &ComponentStatusEntry) -> OwnedComponent {
    let mut texts = Texts::default();
    let addresses: Box<[_]> = entry.addresses.iter().map(|address| texts.keep(address)).collect();
    let last = entry.last_error.as_ref();
    let fixed = ComponentStatus {
        struct_size: size_of::<ComponentStatus>(),
        kind: texts.keep(entry.kind),
        id: texts.keep(&entry.id),
        instance: texts.keep(&entry.instance),
        status: entry.status.number().into(),
        message: texts.keep(&entry.message),
        changed_at_ns: entry.changed_at.0,
        last_error: last.map_or(std::ptr::null(), |error| texts.keep(&error.message)),
        last_error_at_ns: last.map_or(0, |error| error.at.0),
        last_error_count: last.map_or(0, |error| error.count),
        addresses: addresses.as_ptr(),
        address_count: addresses.len(),
    };
    OwnedComponent { fixed, _texts: texts.0, _addresses: addresses }
}

fn owned_queue(queue: &QueueSnapshot) -> OwnedQueue {
    let mut texts = Texts::default();
    let fixed = QueueStatus {
        struct_size: size_of::<QueueStatus>(),
        kind: texts.keep(queue.kind),
        id: texts.keep(&queue.id),
        signal: queue.signal.map_or(-1, signal_number),
        unit: match queue.unit {
            Unit::Requests => OTELCORE_UNIT_REQUESTS,
            Unit::Items => OTELCORE_UNIT_ITEMS,
            Unit::Bytes => OTELCORE_UNIT_BYTES,
        },
        size: queue.size,
        capacity: queue.capacity,
        oldest_age_ms: queue.oldest_age.map_or(-1, |age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX)),
        is_on_disk: queue.is_on_disk,
    };
    OwnedQueue { fixed, _texts: texts.0 }
}

fn owned_series(metric: &MetricSnapshot, sample: &SeriesSample) -> OwnedSeries {
    let mut texts = Texts::default();
    let labels = sample.labels.iter().map(|(name, value)| Label { name: texts.keep(name), value: texts.keep(value) });
    let labels: Box<[_]> = labels.collect();
    let (value, bounds, counts): (f64, Box<[f64]>, Box<[u64]>) = match &sample.value {
        SeriesValue::Number(value) => (*value, Box::default(), Box::default()),
        SeriesValue::Histogram { bounds, counts, sum } => (*sum, (*bounds).into(), counts.as_slice().into()),
    };
    let fixed = MetricSeries {
        struct_size: size_of::<MetricSeries>(),
        name: texts.keep(&metric.name),
        help: texts.keep(&metric.help),
        unit: texts.keep(&metric.unit),
        kind: match metric.kind {
            FamilyKind::Counter => OTELCORE_METRIC_COUNTER,
            FamilyKind::Gauge => OTELCORE_METRIC_GAUGE,
            FamilyKind::Histogram => OTELCORE_METRIC_HISTOGRAM,
        },
        labels: labels.as_ptr(),
        label_count: labels.len(),
        value,
        bounds: bounds.as_ptr(),
        counts: counts.as_ptr(),
        bound_count: bounds.len(),
    };
    OwnedSeries { fixed, _texts: texts.0, _labels: labels, _bounds: bounds, _counts: counts }
}

/// Takes a snapshot of a collector, in any of its states. The snapshot is the caller's to free.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_collector_snapshot(
    collector: *const Collector,
    out: *mut *mut Snapshot,
    err: *mut *mut Error,
) -> Status {
    run_export(err, || {
        if out.is_null() {
            return Err(CallError::invalid_argument("there is no place for the snapshot"));
        }
        let snapshot = collector_object(collector)?.embedded.snapshot();
        let memory = MemoryStatus {
            struct_size: size_of::<MemoryStatus>(),
            held_bytes: snapshot.memory.held_bytes,
            kept_bytes: snapshot.memory.kept_bytes,
            limit_bytes: snapshot.memory.limit_bytes.unwrap_or(0),
            resident_bytes: snapshot.memory.resident_bytes,
        };
        let metrics = snapshot.metrics.iter();
        let series = metrics.flat_map(|metric| metric.series.iter().map(|series| owned_series(metric, series)));
        let handle = SNAPSHOTS.insert(SnapshotObject {
            components: snapshot.components.iter().map(owned_component).collect(),
            queues: snapshot.queues.iter().map(owned_queue).collect(),
            memory,
            series: series.collect(),
            snapshot,
        });
        // SAFETY: not NULL, and the header asks for a place to write to.
        unsafe { write_out(out, handle) };
        Ok(())
    })
}

fn snapshot_object(snapshot: *const Snapshot) -> Result<Arc<SnapshotObject>, CallError> {
    SNAPSHOTS.get(snapshot).map_err(|error| CallError::invalid_handle("snapshot", error))
}

/// Writes as much of a struct as the program's version of it has, and leaves its size as it is.
///
/// # Safety
/// `out` is NULL or has as many bytes as its first field says.
unsafe fn write_sized<T: Copy>(out: *mut T, value: T) -> Result<(), CallError> {
    if out.is_null() || !out.is_aligned() {
        return Err(CallError::invalid_argument("there is no place for the struct"));
    }
    // SAFETY: not NULL and aligned; each of these structs begins with its size.
    let size = unsafe { out.cast::<usize>().read() };
    if !(size_of::<usize>()..=4096).contains(&size) {
        return Err(CallError::invalid_argument("the struct has no valid struct_size; begin with its _INIT"));
    }
    let head = size_of::<usize>();
    let len = size.min(size_of::<T>()) - head;
    // SAFETY: `size` bytes are the program's, and at most `size_of::<T>()` of ours are read.
    unsafe {
        std::ptr::copy_nonoverlapping((&raw const value).cast::<u8>().add(head), out.cast::<u8>().add(head), len)
    };
    Ok(())
}

fn at<T: Copy>(item: Option<&T>) -> Result<T, CallError> {
    item.copied().ok_or_else(|| CallError::new(OTELCORE_NOT_FOUND, "there are no more"))
}

/// The state of the collector; OTELCORE_STATE_NONE for an invalid handle.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_snapshot_state(snapshot: *const Snapshot) -> crate::State {
    run_export_or(crate::OTELCORE_STATE_NONE, || {
        snapshot_object(snapshot)
            .map_or(crate::OTELCORE_STATE_NONE, |object| crate::State::from(object.snapshot.state as u8))
    })
}

/// The component at this place, from 0 on. OTELCORE_NOT_FOUND: there are no more. Its texts stay until the snapshot is freed.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_snapshot_get_component(
    snapshot: *const Snapshot,
    index: usize,
    out: *mut ComponentStatus,
    err: *mut *mut Error,
) -> Status {
    run_export(err, || {
        let object = snapshot_object(snapshot)?;
        let value = at(object.components.get(index).map(|owned| &owned.fixed))?;
        // SAFETY: the header says so.
        unsafe { write_sized(out, value) }
    })
}

/// The queue at this place, from 0 on. OTELCORE_NOT_FOUND: there are no more. Its texts stay until the snapshot is freed.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_snapshot_get_queue(
    snapshot: *const Snapshot,
    index: usize,
    out: *mut QueueStatus,
    err: *mut *mut Error,
) -> Status {
    run_export(err, || {
        let object = snapshot_object(snapshot)?;
        let value = at(object.queues.get(index).map(|owned| &owned.fixed))?;
        // SAFETY: the header says so.
        unsafe { write_sized(out, value) }
    })
}

/// The memory.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_snapshot_get_memory(
    snapshot: *const Snapshot,
    out: *mut MemoryStatus,
    err: *mut *mut Error,
) -> Status {
    run_export(err, || {
        let object = snapshot_object(snapshot)?;
        // SAFETY: the header says so.
        unsafe { write_sized(out, object.memory) }
    })
}

/// The series of an own metric at this place, from 0 on; those of one metric follow each other. OTELCORE_NOT_FOUND: there are no
/// more. Its texts and numbers stay until the snapshot is freed.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_snapshot_get_series(
    snapshot: *const Snapshot,
    index: usize,
    out: *mut MetricSeries,
    err: *mut *mut Error,
) -> Status {
    run_export(err, || {
        let object = snapshot_object(snapshot)?;
        let value = at(object.series.get(index).map(|owned| &owned.fixed))?;
        // SAFETY: the header says so.
        unsafe { write_sized(out, value) }
    })
}

/// The whole snapshot as a JSON object: `state`, `error` (why it has failed, or null), `memory`, `components` as in
/// otelcore_collector_component_statuses(), `queues` and `metrics`; later versions may add keys.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_snapshot_json(
    snapshot: *const Snapshot,
    out: *mut *mut Buffer,
    err: *mut *mut Error,
) -> Status {
    run_export(err, || write_buffer(snapshot_object(snapshot)?.snapshot.to_json().into_bytes(), out))
}

/// Frees a snapshot. NULL is fine.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_snapshot_free(snapshot: *mut Snapshot) {
    run_export_or((), || drop(SNAPSHOTS.remove(snapshot)));
}

/// Has `call` called with each component whose status has changed, in the collector's thread, or in a turn of the host's. Once for
/// each collector, and best before the start. It must neither wait for the collector nor leave by an exception or longjmp.
/// `free_user`, which may be NULL, is called with `user` after the last call. Where this function fails, `user` stays the caller's.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_collector_set_status_callback(
    collector: *mut Collector,
    call: StatusFn,
    user: *mut c_void,
    free_user: FreeFn,
    err: *mut *mut Error,
) -> Status {
    run_export(err, || {
        let object = collector_object(collector)?;
        let call = call.ok_or_else(|| CallError::invalid_argument("the callback is NULL"))?;
        if object.has_status_callback.swap(true, std::sync::atomic::Ordering::AcqRel) {
            return Err(CallError::invalid_state("the collector has a status callback"));
        }
        let own = CallbackUser::new(user, free_user);
        object.embedded.on_status_change(move |entry| {
            let owned = owned_component(entry);
            let (depth_before, _inside) = (current_depth(), InCallback::enter());
            // SAFETY: the host's own function, with its own `user`, which is freed with this function; the struct is valid until it
            // returns.
            unsafe { call(own.user(), &raw const owned.fixed) };
            unwind_in_child(depth_before);
        });
        Ok(())
    })
}
