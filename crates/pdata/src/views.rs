//! Borrowed views of OTLP messages.
//!
//! A view is made in one pass over a message: it has the scalars and slices that were found, in any field order, and
//! searches for repeated fields again each time they are requested. It reads bytes that [`crate::check`] has accepted;
//! for other bytes it may miss fields, but it never panics. Names and numbers are those of opentelemetry-proto; a
//! scalar that occurs twice has its last value.

mod common;
mod logs;
mod metrics;
mod traces;

use std::marker::PhantomData;

pub use common::{AnyValue, EntityRef, KeyValue, Resource, Scope};
pub use logs::{LogRecord, ResourceLogs, ScopeLogs};
pub use metrics::{
    Buckets, Exemplar, ExponentialHistogramPoint, Gauge, Histogram, HistogramPoint, Metric, MetricData, NumberPoint,
    NumberValue, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryPoint, Temporality, ValueAtQuantile,
};
pub use traces::{Event, Link, ResourceSpans, ScopeSpans, Span, Status};

use crate::Rope;
use crate::wire_format::{MessageFields, WireValue, decode_zigzag32, read_varint};

/// A message that can be read from its bytes.
pub trait View<'a>: Sized {
    /// Reads the message, without its tag and length.
    fn parse(raw: &'a [u8]) -> Self;
}

/// A field value that can be read from its encoded form; `None` if the wire type is not that of the field.
trait FromWireValue<'a>: Sized {
    fn from_wire_value(wire: WireValue<'a>) -> Option<Self>;
}

/// Part of a oneof, which has several field numbers.
trait MergeOneof<'a> {
    fn merge_oneof(&mut self, number: u32, wire: WireValue<'a>);
}

impl<'a> FromWireValue<'a> for &'a [u8] {
    #[inline]
    fn from_wire_value(wire: WireValue<'a>) -> Option<Self> {
        if let WireValue::Len(v) = wire { Some(v) } else { None }
    }
}

impl FromWireValue<'_> for u64 {
    #[inline]
    fn from_wire_value(wire: WireValue<'_>) -> Option<Self> {
        match wire {
            WireValue::Varint(v) | WireValue::Fixed64(v) => Some(v),
            WireValue::Len(_) | WireValue::Fixed32(_) => None,
        }
    }
}

impl FromWireValue<'_> for u32 {
    #[inline]
    fn from_wire_value(wire: WireValue<'_>) -> Option<Self> {
        match wire {
            // Protobuf keeps the low bits of a varint that is too large for its field.
            WireValue::Varint(v) => Some(v as Self),
            WireValue::Fixed32(v) => Some(v),
            WireValue::Len(_) | WireValue::Fixed64(_) => None,
        }
    }
}

impl FromWireValue<'_> for i32 {
    #[inline]
    fn from_wire_value(wire: WireValue<'_>) -> Option<Self> {
        // An enum; the low 32 bits, as for every int32.
        if let WireValue::Varint(v) = wire { Some(v as Self) } else { None }
    }
}

impl FromWireValue<'_> for bool {
    #[inline]
    fn from_wire_value(wire: WireValue<'_>) -> Option<Self> {
        if let WireValue::Varint(v) = wire { Some(v != 0) } else { None }
    }
}

impl FromWireValue<'_> for f64 {
    #[inline]
    fn from_wire_value(wire: WireValue<'_>) -> Option<Self> {
        if let WireValue::Fixed64(v) = wire { Some(Self::from_bits(v)) } else { None }
    }
}

impl<'a, T: FromWireValue<'a>> FromWireValue<'a> for Option<T> {
    #[inline]
    fn from_wire_value(wire: WireValue<'a>) -> Option<Self> {
        T::from_wire_value(wire).map(Some)
    }
}

/// A `sint32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sint32(pub i32);

impl FromWireValue<'_> for Sint32 {
    #[inline]
    fn from_wire_value(wire: WireValue<'_>) -> Option<Self> {
        if let WireValue::Varint(v) = wire { Some(Self(decode_zigzag32(v))) } else { None }
    }
}

/// A repeated message field. Each iteration searches the message again.
#[derive(Clone, Copy, Debug)]
pub struct RepeatedMessages<'a, V> {
    fields: MessageFields<'a>,
    number: u32,
    view: PhantomData<fn() -> V>,
}

impl<'a, V> RepeatedMessages<'a, V> {
    /// The messages under field `number` of the message `raw`.
    #[must_use]
    pub fn new(raw: &'a [u8], number: u32) -> Self {
        Self { fields: MessageFields::new(raw), number, view: PhantomData }
    }

    /// The bytes that have not been read yet; an iterator over them continues at the position of this one.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.fields.rest()
    }
}

impl<'a, V: View<'a>> Iterator for RepeatedMessages<'a, V> {
    type Item = V;

    #[inline]
    fn next(&mut self) -> Option<V> {
        loop {
            match self.fields.next()? {
                (number, WireValue::Len(raw)) if number == self.number => return Some(V::parse(raw)),
                _ => {}
            }
        }
    }
}

/// `repeated fixed64` or `repeated double`, packed or not; yields the bits.
#[derive(Clone, Copy, Debug)]
pub struct RepeatedFixed64<'a> {
    fields: MessageFields<'a>,
    number: u32,
    packed: &'a [u8],
}

impl<'a> RepeatedFixed64<'a> {
    pub(crate) fn new(raw: &'a [u8], number: u32) -> Self {
        Self { fields: MessageFields::new(raw), number, packed: &[] }
    }
}

impl Iterator for RepeatedFixed64<'_> {
    type Item = u64;

    #[inline]
    fn next(&mut self) -> Option<u64> {
        loop {
            if let Some((first, rest)) = self.packed.split_first_chunk::<8>() {
                self.packed = rest;
                return Some(u64::from_le_bytes(*first));
            }
            match self.fields.next()? {
                (number, WireValue::Len(packed)) if number == self.number => self.packed = packed,
                (number, WireValue::Fixed64(v)) if number == self.number => return Some(v),
                _ => {}
            }
        }
    }
}

/// `repeated uint64` as varints, packed or not.
#[derive(Clone, Copy, Debug)]
pub struct RepeatedVarints<'a> {
    fields: MessageFields<'a>,
    number: u32,
    packed: &'a [u8],
}

impl<'a> RepeatedVarints<'a> {
    pub(crate) fn new(raw: &'a [u8], number: u32) -> Self {
        Self { fields: MessageFields::new(raw), number, packed: &[] }
    }
}

impl Iterator for RepeatedVarints<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        loop {
            if let Some((v, rest)) = read_varint(self.packed) {
                self.packed = rest;
                return Some(v);
            }
            match self.fields.next()? {
                (number, WireValue::Len(packed)) if number == self.number => self.packed = packed,
                (number, WireValue::Varint(v)) if number == self.number => return Some(v),
                _ => {}
            }
        }
    }
}

/// The `Resource*` entries of a body, through all parts of its rope.
pub fn resource_entries<'a, V: View<'a> + 'a>(rope: &'a Rope) -> impl Iterator<Item = V> + 'a {
    rope.parts().iter().flat_map(|part| RepeatedMessages::new(&part.bytes, 1))
}

/// Declares a view: its scalars by field number, then its repeated messages, then its oneof.
macro_rules! view {
    (
        $(#[$doc:meta])*
        $name:ident<$lt:lifetime> {
            $( $(#[$fdoc:meta])* $number:literal $field:ident: $ty:ty, )*
            $( repeated $(#[$rdoc:meta])* $rnumber:literal $rfield:ident: $rty:ty, )*
            $( oneof $(#[$odoc:meta])* $ofield:ident: $oty:ty, )?
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $name<$lt> {
            /// The message's own bytes.
            pub raw: &$lt [u8],
            $( $(#[$fdoc])* pub $field: $ty, )*
            $( $(#[$odoc])* pub $ofield: $oty, )?
        }

        impl<$lt> View<$lt> for $name<$lt> {
            #[inline]
            fn parse(raw: &$lt [u8]) -> Self {
                let mut view = Self::default();
                view.raw = raw;
                for (number, wire) in MessageFields::new(raw) {
                    match number {
                        $( $number => {
                            if let Some(v) = <$ty as FromWireValue<$lt>>::from_wire_value(wire) {
                                view.$field = v;
                            }
                        } )*
                        _ => {
                            let _ = &wire;
                            $( view.$ofield.merge_oneof(number, wire); )?
                        }
                    }
                }
                view
            }
        }

        impl<$lt> FromWireValue<$lt> for $name<$lt> {
            #[inline]
            fn from_wire_value(wire: WireValue<$lt>) -> Option<Self> {
                if let WireValue::Len(raw) = wire { Some(Self::parse(raw)) } else { None }
            }
        }

        impl<$lt> $name<$lt> {
            $(
                $(#[$rdoc])*
                #[must_use]
                pub fn $rfield(&self) -> RepeatedMessages<$lt, $rty> {
                    RepeatedMessages::new(self.raw, $rnumber)
                }
            )*
        }
    };
}
use view;
