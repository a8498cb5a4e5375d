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
    Buckets, Data, Exemplar, ExponentialHistogramPoint, Gauge, Histogram, HistogramPoint, Metric, Number, NumberPoint,
    ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryPoint, Temporality, ValueAtQuantile,
};
pub use traces::{Event, Link, ResourceSpans, ScopeSpans, Span, Status};

use crate::Rope;
use crate::wire::{Fields, Wire, varint, zigzag32};

/// A message that can be read from its bytes.
pub trait View<'a>: Sized {
    /// Reads the message, without its tag and length.
    fn parse(raw: &'a [u8]) -> Self;
}

/// A field value that can be read from its encoded form; `None` if the wire type is not that of the field.
trait Take<'a>: Sized {
    fn take(wire: Wire<'a>) -> Option<Self>;
}

/// Part of a oneof, which has several field numbers.
trait Merge<'a> {
    fn merge(&mut self, number: u32, wire: Wire<'a>);
}

impl<'a> Take<'a> for &'a [u8] {
    #[inline]
    fn take(wire: Wire<'a>) -> Option<Self> {
        if let Wire::Len(v) = wire { Some(v) } else { None }
    }
}

impl Take<'_> for u64 {
    #[inline]
    fn take(wire: Wire<'_>) -> Option<Self> {
        match wire {
            Wire::Varint(v) | Wire::Fixed64(v) => Some(v),
            Wire::Len(_) | Wire::Fixed32(_) => None,
        }
    }
}

impl Take<'_> for u32 {
    #[inline]
    fn take(wire: Wire<'_>) -> Option<Self> {
        match wire {
            // Protobuf keeps the low bits of a varint that is too large for its field.
            Wire::Varint(v) => Some(v as Self),
            Wire::Fixed32(v) => Some(v),
            Wire::Len(_) | Wire::Fixed64(_) => None,
        }
    }
}

impl Take<'_> for i32 {
    #[inline]
    fn take(wire: Wire<'_>) -> Option<Self> {
        // An enum; the low 32 bits, as for every int32.
        if let Wire::Varint(v) = wire { Some(v as Self) } else { None }
    }
}

impl Take<'_> for bool {
    #[inline]
    fn take(wire: Wire<'_>) -> Option<Self> {
        if let Wire::Varint(v) = wire { Some(v != 0) } else { None }
    }
}

impl Take<'_> for f64 {
    #[inline]
    fn take(wire: Wire<'_>) -> Option<Self> {
        if let Wire::Fixed64(v) = wire { Some(Self::from_bits(v)) } else { None }
    }
}

impl<'a, T: Take<'a>> Take<'a> for Option<T> {
    #[inline]
    fn take(wire: Wire<'a>) -> Option<Self> {
        T::take(wire).map(Some)
    }
}

/// A `sint32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Zigzag(pub i32);

impl Take<'_> for Zigzag {
    #[inline]
    fn take(wire: Wire<'_>) -> Option<Self> {
        if let Wire::Varint(v) = wire { Some(Self(zigzag32(v))) } else { None }
    }
}

/// A repeated message field. Each iteration searches the message again.
#[derive(Clone, Copy, Debug)]
pub struct Repeated<'a, V> {
    fields: Fields<'a>,
    number: u32,
    view: PhantomData<fn() -> V>,
}

impl<'a, V> Repeated<'a, V> {
    /// The messages under field `number` of the message `raw`.
    #[must_use]
    pub fn new(raw: &'a [u8], number: u32) -> Self {
        Self { fields: Fields::new(raw), number, view: PhantomData }
    }

    /// The bytes that have not been read yet; an iterator over them continues at the position of this one.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.fields.rest()
    }
}

impl<'a, V: View<'a>> Iterator for Repeated<'a, V> {
    type Item = V;

    #[inline]
    fn next(&mut self) -> Option<V> {
        loop {
            match self.fields.next()? {
                (number, Wire::Len(raw)) if number == self.number => return Some(V::parse(raw)),
                _ => {}
            }
        }
    }
}

/// `repeated fixed64` or `repeated double`, packed or not; yields the bits.
#[derive(Clone, Copy, Debug)]
pub struct Fixed64s<'a> {
    fields: Fields<'a>,
    number: u32,
    packed: &'a [u8],
}

impl<'a> Fixed64s<'a> {
    pub(crate) fn new(raw: &'a [u8], number: u32) -> Self {
        Self { fields: Fields::new(raw), number, packed: &[] }
    }
}

impl Iterator for Fixed64s<'_> {
    type Item = u64;

    #[inline]
    fn next(&mut self) -> Option<u64> {
        loop {
            if let Some((first, rest)) = self.packed.split_first_chunk::<8>() {
                self.packed = rest;
                return Some(u64::from_le_bytes(*first));
            }
            match self.fields.next()? {
                (number, Wire::Len(packed)) if number == self.number => self.packed = packed,
                (number, Wire::Fixed64(v)) if number == self.number => return Some(v),
                _ => {}
            }
        }
    }
}

/// `repeated uint64` as varints, packed or not.
#[derive(Clone, Copy, Debug)]
pub struct Varints<'a> {
    fields: Fields<'a>,
    number: u32,
    packed: &'a [u8],
}

impl<'a> Varints<'a> {
    pub(crate) fn new(raw: &'a [u8], number: u32) -> Self {
        Self { fields: Fields::new(raw), number, packed: &[] }
    }
}

impl Iterator for Varints<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        loop {
            if let Some((v, rest)) = varint(self.packed) {
                self.packed = rest;
                return Some(v);
            }
            match self.fields.next()? {
                (number, Wire::Len(packed)) if number == self.number => self.packed = packed,
                (number, Wire::Varint(v)) if number == self.number => return Some(v),
                _ => {}
            }
        }
    }
}

/// The `Resource*` entries of a body, through all parts of its rope.
pub fn entries<'a, V: View<'a> + 'a>(rope: &'a Rope) -> impl Iterator<Item = V> + 'a {
    rope.parts().iter().flat_map(|part| Repeated::new(&part.bytes, 1))
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
                for (number, wire) in Fields::new(raw) {
                    match number {
                        $( $number => {
                            if let Some(v) = <$ty as Take<$lt>>::take(wire) {
                                view.$field = v;
                            }
                        } )*
                        _ => {
                            let _ = &wire;
                            $( view.$ofield.merge(number, wire); )?
                        }
                    }
                }
                view
            }
        }

        impl<$lt> Take<$lt> for $name<$lt> {
            #[inline]
            fn take(wire: Wire<$lt>) -> Option<Self> {
                if let Wire::Len(raw) = wire { Some(Self::parse(raw)) } else { None }
            }
        }

        impl<$lt> $name<$lt> {
            $(
                $(#[$rdoc])*
                #[must_use]
                pub fn $rfield(&self) -> Repeated<$lt, $rty> {
                    Repeated::new(self.raw, $rnumber)
                }
            )*
        }
    };
}
use view;
