//! Items of a payload that is being edited.
//!
//! A handle is a number that is valid during one call of the host's function, on the thread of that call; it is compared
//! with the number of the item that is visited, and no memory behind it is read.

use std::cell::Cell;
use std::ffi::{c_char, c_void};
use std::ptr::NonNull;

use otelcore::inproc::{self, Visit};
use otelcore::pdata::check_value;
use otelcore::pdata::views::AnyValue;

use crate::boundary::{InCallback, bytes_from_c, run_export, run_export_or, text_from_c, write_out};
use crate::error::{CallError, Error};
use crate::{OTELCORE_INVALID_DATA, OTELCORE_NOT_FOUND, Status};

/// An item of a payload in otelcore_payload_edit(). It is valid in the call that got it, on the thread of that call.
pub struct Item(());

/// What an item is.
pub type ItemKind = i32;

/// A resource, also one that is absent.
pub const OTELCORE_ITEM_RESOURCE: ItemKind = 0;
/// An instrumentation scope, also one that is absent.
pub const OTELCORE_ITEM_SCOPE: ItemKind = 1;
/// A span.
pub const OTELCORE_ITEM_SPAN: ItemKind = 2;
/// An event of a span.
pub const OTELCORE_ITEM_EVENT: ItemKind = 3;
/// A link of a span.
pub const OTELCORE_ITEM_LINK: ItemKind = 4;
/// A metric.
pub const OTELCORE_ITEM_METRIC: ItemKind = 5;
/// A data point.
pub const OTELCORE_ITEM_POINT: ItemKind = 6;
/// A log record.
pub const OTELCORE_ITEM_LOG: ItemKind = 7;

/// What is done with an item.
pub type Keep = i32;

/// It stays, and what it contains is visited.
pub const OTELCORE_KEEP: Keep = 0;
/// It stays, and what it contains stays as it is.
pub const OTELCORE_SKIP: Keep = 1;
/// It is dropped, with what it contains.
pub const OTELCORE_DROP: Keep = 2;

/// Visits an item, and returns what is done with it: OTELCORE_KEEP, OTELCORE_SKIP or OTELCORE_DROP. It must not leave by an
/// exception or longjmp.
pub type VisitFn = Option<unsafe extern "C" fn(user: *mut c_void, item: *mut Item) -> Keep>;

/// The type of a value.
pub type ValueType = i32;

/// No value.
pub const OTELCORE_VALUE_EMPTY: ValueType = 0;
/// A text: `data`, `len` bytes of UTF-8.
pub const OTELCORE_VALUE_STRING: ValueType = 1;
/// `integer` is 0 or 1.
pub const OTELCORE_VALUE_BOOL: ValueType = 2;
/// `integer`.
pub const OTELCORE_VALUE_INT: ValueType = 3;
/// `number`.
pub const OTELCORE_VALUE_DOUBLE: ValueType = 4;
/// `data`, `len` bytes.
pub const OTELCORE_VALUE_BYTES: ValueType = 5;
/// A list: `data` is an `ArrayValue` in protobuf.
pub const OTELCORE_VALUE_ARRAY: ValueType = 6;
/// A map: `data` is a `KeyValueList` in protobuf.
pub const OTELCORE_VALUE_MAP: ValueType = 7;

/// A value of an attribute, or a body. `data` of a value that was read stays until the item changes.
#[repr(C)]
pub struct Value {
    /// Which of the fields below has the value.
    pub value_type: ValueType,
    /// OTELCORE_VALUE_BOOL and OTELCORE_VALUE_INT.
    pub integer: i64,
    /// OTELCORE_VALUE_DOUBLE.
    pub number: f64,
    /// All others; NULL is fine if `len` is 0.
    pub data: *const u8,
    /// The bytes of `data`.
    pub len: usize,
}

/// The item that is visited on this thread.
#[derive(Clone, Copy)]
struct Visited {
    handle: usize,
    item: Option<NonNull<c_void>>,
}

thread_local! {
    static VISITED: Cell<Visited> = const { Cell::new(Visited { handle: 0, item: None }) };
    static NEXT: Cell<u32> = const { Cell::new(0) };
}

/// The top byte of an item's handle; `table` has those of objects.
const HANDLE: usize = 0xe8 << 56;

/// Restores the item that was visited before, also after a panic.
struct Restore(Visited);

impl Drop for Restore {
    fn drop(&mut self) {
        VISITED.set(self.0);
    }
}

/// Calls the host's function for an item. `None`: it returned no value of [`Keep`].
pub(crate) fn visit_item(item: &mut inproc::Item<'_, '_>, call: impl FnOnce(*mut Item) -> Keep) -> Option<Visit> {
    NEXT.set(NEXT.get().wrapping_add(1));
    let handle = HANDLE | NEXT.get() as usize;
    let _restore = Restore(VISITED.replace(Visited { handle, item: Some(NonNull::from(item).cast()) }));
    let _inside = InCallback::enter();
    match call(std::ptr::without_provenance_mut(handle)) {
        OTELCORE_KEEP => Some(Visit::Keep),
        OTELCORE_SKIP => Some(Visit::Skip),
        OTELCORE_DROP => Some(Visit::Drop),
        _ => None,
    }
}

fn with_item<T>(
    item: *const Item,
    body: impl FnOnce(&mut inproc::Item<'_, '_>) -> Result<T, CallError>,
) -> Result<T, CallError> {
    let visited = VISITED.get();
    let Some(pointer) = visited.item.filter(|_| item.addr() == visited.handle) else {
        return Err(CallError::invalid_argument("this is no item that is being visited on this thread"));
    };
    // While `body` runs, no other call on this thread can reach the item.
    let _restore = Restore(VISITED.replace(Visited { handle: 0, item: None }));
    // SAFETY: `visit_item` has this pointer from a `&mut` that it does not use before the call of the host's function, in
    // which we are, has returned; the number is this item's, and the line above permits one borrow at a time.
    body(unsafe { pointer.cast::<inproc::Item<'_, '_>>().as_mut() })
}

/// Runs the body of an exported function of an item and a text, which `argument` names in messages.
fn with_item_and_text(
    item: *const Item,
    text: *const c_char,
    argument: &'static str,
    err: *mut *mut Error,
    body: impl FnOnce(&mut inproc::Item<'_, '_>, &[u8]) -> Result<(), CallError>,
) -> Status {
    run_export(err, || {
        // SAFETY: the header says that it is a text.
        let text = unsafe { text_from_c(text, argument)? };
        with_item(item, |item| body(item, text.as_bytes()))
    })
}

fn no_such(item: &inproc::Item<'_, '_>, what: &str) -> CallError {
    let kind = format!("{:?}", item.kind()).to_lowercase();
    CallError::new(OTELCORE_NOT_FOUND, format!("a {kind} has no {what}"))
}

/// What an item is; -1 for an invalid handle.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_item_get_kind(item: *const Item) -> ItemKind {
    run_export_or(-1, || with_item(item, |item| Ok(item.kind() as ItemKind)).unwrap_or(-1))
}

/// The name of a scope, span, event or metric, or the event name of a log record, and how many bytes it has; it does not
/// end with a NUL. It stays until the item changes. NULL for other kinds, and for an invalid handle.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_item_get_name(item: *const Item, len: *mut usize) -> *const c_char {
    let none = (std::ptr::null(), 0);
    let (name, size) = run_export_or(none, || {
        with_item(item, |item| Ok(item.name().map_or(none, |name| (name.as_ptr().cast(), name.len())))).unwrap_or(none)
    });
    // SAFETY: NULL, or a place to write to, as the header says.
    unsafe { write_out(len, size) };
    name
}

/// Sets the name. OTELCORE_NOT_FOUND: this kind of item has none.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_item_set_name(item: *mut Item, name: *const c_char, err: *mut *mut Error) -> Status {
    with_item_and_text(item, name, "the name", err, |item, name| {
        if item.set_name(name) { Ok(()) } else { Err(no_such(item, "name")) }
    })
}

/// The value of an attribute. OTELCORE_NOT_FOUND: there is none of this key.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_item_get_attribute(
    item: *const Item,
    key: *const c_char,
    out: *mut Value,
    err: *mut *mut Error,
) -> Status {
    with_item_and_text(item, key, "the key", err, |item, key| write_value(item.attribute(key), out))
}

/// The value of an attribute of the resource that the item belongs to. OTELCORE_NOT_FOUND: there is none of this key.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_item_get_resource_attribute(
    item: *const Item,
    key: *const c_char,
    out: *mut Value,
    err: *mut *mut Error,
) -> Status {
    with_item_and_text(item, key, "the key", err, |item, key| write_value(item.resource_attribute(key), out))
}

/// Sets an attribute, whether or not the item has it. OTELCORE_NOT_FOUND: a metric has no attributes; its points have.
/// OTELCORE_INVALID_DATA: `data` of a list or map is not valid.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_item_set_attribute(
    item: *mut Item,
    key: *const c_char,
    value: *const Value,
    err: *mut *mut Error,
) -> Status {
    with_item_and_text(item, key, "the key", err, |item, key| {
        // SAFETY: the header says that it is a value.
        let value = unsafe { value_from_c(value)? };
        match item.attributes() {
            Some(mut attributes) => {
                attributes.upsert(key, value);
                Ok(())
            }
            None => Err(no_such(item, "attributes")),
        }
    })
}

/// Removes an attribute; it is no error if the item does not have it.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_item_remove_attribute(item: *mut Item, key: *const c_char, err: *mut *mut Error) -> Status {
    with_item_and_text(item, key, "the key", err, |item, key| {
        item.attributes().map(|mut attributes| attributes.remove(key));
        Ok(())
    })
}

/// The body of a log record. OTELCORE_NOT_FOUND for other items.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_item_get_body(item: *const Item, out: *mut Value, err: *mut *mut Error) -> Status {
    run_export(err, || with_item(item, |item| write_value(item.body(), out)))
}

/// Sets the body of a log record. OTELCORE_NOT_FOUND for other items.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_item_set_body(item: *mut Item, value: *const Value, err: *mut *mut Error) -> Status {
    run_export(err, || {
        // SAFETY: the header says that it is a value.
        let value = unsafe { value_from_c(value)? };
        with_item(item, |item| if item.set_body(value) { Ok(()) } else { Err(no_such(item, "body")) })
    })
}

fn write_value(value: Option<AnyValue<'_>>, out: *mut Value) -> Result<(), CallError> {
    let value = value.ok_or_else(|| CallError::new(OTELCORE_NOT_FOUND, "there is no such value"))?;
    let (mut integer, mut number, mut bytes) = (0, 0.0, &[][..]);
    let value_type = match value {
        AnyValue::Empty => OTELCORE_VALUE_EMPTY,
        AnyValue::String(text) => {
            bytes = text;
            OTELCORE_VALUE_STRING
        }
        AnyValue::Bool(b) => {
            integer = i64::from(b);
            OTELCORE_VALUE_BOOL
        }
        AnyValue::Int(n) => {
            integer = n;
            OTELCORE_VALUE_INT
        }
        AnyValue::Double(n) => {
            number = n;
            OTELCORE_VALUE_DOUBLE
        }
        AnyValue::Bytes(data) => {
            bytes = data;
            OTELCORE_VALUE_BYTES
        }
        AnyValue::Array(raw) => {
            bytes = raw;
            OTELCORE_VALUE_ARRAY
        }
        AnyValue::Map(raw) => {
            bytes = raw;
            OTELCORE_VALUE_MAP
        }
    };
    // SAFETY: NULL, or a place to write to, as the header says.
    unsafe { write_out(out, Value { value_type, integer, number, data: bytes.as_ptr(), len: bytes.len() }) };
    Ok(())
}

/// A value that C passed in.
///
/// # Safety
/// `value` is NULL or a value whose `data` are `len` bytes that are not written to during `'a`.
unsafe fn value_from_c<'a>(value: *const Value) -> Result<AnyValue<'a>, CallError> {
    if value.is_null() || !value.is_aligned() {
        return Err(CallError::invalid_argument("the value is NULL, or not aligned"));
    }
    // SAFETY: not NULL and aligned; the rest is guaranteed by the caller.
    let value = unsafe { &*value };
    // SAFETY: guaranteed by the caller.
    let bytes = || unsafe { bytes_from_c(value.data, value.len) };
    match value.value_type {
        OTELCORE_VALUE_EMPTY => Ok(AnyValue::Empty),
        OTELCORE_VALUE_STRING => match std::str::from_utf8(bytes()?) {
            Ok(text) => Ok(AnyValue::String(text.as_bytes())),
            Err(_) => Err(CallError::invalid_argument("the text is not UTF-8")),
        },
        OTELCORE_VALUE_BOOL => Ok(AnyValue::Bool(value.integer != 0)),
        OTELCORE_VALUE_INT => Ok(AnyValue::Int(value.integer)),
        OTELCORE_VALUE_DOUBLE => Ok(AnyValue::Double(value.number)),
        OTELCORE_VALUE_BYTES => Ok(AnyValue::Bytes(bytes()?)),
        OTELCORE_VALUE_ARRAY => checked(AnyValue::Array(bytes()?), "ArrayValue"),
        OTELCORE_VALUE_MAP => checked(AnyValue::Map(bytes()?), "KeyValueList"),
        _ => Err(CallError::invalid_argument("a value of this type can't be set")),
    }
}

/// The same value, if its bytes are those of the message that `what` names.
fn checked<'a>(value: AnyValue<'a>, what: &str) -> Result<AnyValue<'a>, CallError> {
    let mut raw = Vec::new();
    value.encode(&mut raw);
    match check_value(&raw) {
        Ok(()) => Ok(value),
        Err(error) => Err(CallError::new(OTELCORE_INVALID_DATA, format!("the value is no {what}: {error}"))),
    }
}
