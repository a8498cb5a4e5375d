//! The messages around an item: its resource and scope, and the metric of a point or the span of an event.
//!
//! They can be read from below, and written: such a change takes effect for all items of the entry that are visited
//! later, and is written to the payload when the entry closes.

use std::ops::Range;

use super::attributes::AttributesMut;
use super::message::{Message, MessageMut};
use crate::schema::{resource, scope};
use crate::views::{AnyValue, Resource, Scope, View};

/// What is known of the messages that are open.
#[derive(Debug, Default)]
pub(super) struct Contexts {
    pub(super) resource: Message,
    pub(super) resource_schema_url: Message,
    pub(super) scope: Message,
    pub(super) scope_schema_url: Message,
    pub(super) data: Data,
    /// Whole fields that follow the metric that is open.
    pub(super) appended: Vec<u8>,
    /// Whole fields in place of the metric that is open.
    pub(super) replacement: Option<Vec<u8>>,
    /// Most bytes that `appended` and `replacement` may each have.
    pub(super) room: usize,
    /// A metric did not fit into `room` and was not added.
    pub(super) overflow: bool,
}

/// The data of a metric, without its points.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Data {
    /// The number of its field in the metric; zero if there is none.
    pub(super) number: u32,
    /// The message in its part.
    pub(super) content: Range<usize>,
    pub(super) temporality: i32,
    pub(super) is_monotonic: bool,
    pub(super) new_temporality: Option<i32>,
    pub(super) new_is_monotonic: Option<bool>,
}

impl Contexts {
    /// Bytes read and written by callbacks.
    pub(super) fn take_cost(&mut self) -> u64 {
        self.resource.take_cost() + self.scope.take_cost()
    }

    pub(super) fn has_overflow(&self) -> bool {
        let messages = [&self.resource, &self.resource_schema_url, &self.scope, &self.scope_schema_url];
        self.overflow || messages.iter().any(|message| message.overflow)
    }
}

/// The fields of a resource, and of a scope, that are not repeated.
pub(super) const RESOURCE_FIELDS: &[u32] = &[resource::DROPPED_ATTRIBUTES_COUNT];
pub(super) const SCOPE_FIELDS: &[u32] = &[scope::NAME, scope::VERSION, scope::DROPPED_ATTRIBUTES_COUNT];

/// Setters, by the fields of a message in [`crate::schema`].
macro_rules! setters {
    ($type:ident in $module:ident { $( $(#[$doc:meta])* $name:ident: $kind:ident $field:ident, )* }) => {
        impl $type<'_> {
            $(
                $(#[$doc])*
                pub fn $name(&mut self, v: $crate::edit::context::setter_type!($kind)) {
                    $crate::edit::context::setter_call!(self.message(), $kind, $crate::schema::$module::$field, v);
                }
            )*
        }
    };
}
pub(super) use setters;

macro_rules! setter_type {
    (text) => { &[u8] };
    (id16) => { Option<&[u8; 16]> };
    (id8) => { Option<&[u8; 8]> };
    (uint32) => { u32 };
    (uint64) => { u64 };
    (int32) => { i32 };
    (fixed64) => { u64 };
    (fixed32) => { u32 };
    (double) => { f64 };
    (optional_double) => { Option<f64> };
}
pub(super) use setter_type;

macro_rules! setter_call {
    ($message:expr, text, $number:expr, $v:expr) => {
        $message.text($number, $v)
    };
    ($message:expr, id16, $number:expr, $v:expr) => {
        $message.text($number, $v.map_or(&[][..], |id| &id[..]))
    };
    ($message:expr, id8, $number:expr, $v:expr) => {
        $message.text($number, $v.map_or(&[][..], |id| &id[..]))
    };
    ($message:expr, uint32, $number:expr, $v:expr) => {
        $message.uint($number, u64::from($v))
    };
    ($message:expr, uint64, $number:expr, $v:expr) => {
        $message.uint($number, $v)
    };
    // An int32 is encoded with the sign in all 64 bits.
    ($message:expr, int32, $number:expr, $v:expr) => {
        $message.uint($number, i64::from($v).cast_unsigned())
    };
    ($message:expr, fixed64, $number:expr, $v:expr) => {
        $message.fixed64($number, $v)
    };
    ($message:expr, fixed32, $number:expr, $v:expr) => {
        $message.fixed32($number, $v)
    };
    ($message:expr, double, $number:expr, $v:expr) => {
        $message.double($number, $v)
    };
    ($message:expr, optional_double, $number:expr, $v:expr) => {
        $message.optional_double($number, $v)
    };
}
pub(super) use setter_call;

/// A resource, with the schema URL of its entry.
#[derive(Debug)]
pub struct ResourceMut<'a> {
    pub(super) part: &'a [u8],
    pub(super) cx: &'a mut Contexts,
}

impl ResourceMut<'_> {
    fn message(&mut self) -> MessageMut<'_> {
        MessageMut { source: self.part, message: &mut self.cx.resource }
    }

    /// The resource as it is now.
    #[must_use]
    pub fn view(&self) -> Resource<'_> {
        Resource::parse(self.cx.resource.read(self.part))
    }

    /// The value of one of its attributes.
    #[must_use]
    pub fn attribute(&self, key: &[u8]) -> Option<AnyValue<'_>> {
        self.cx.resource.attribute(self.part, resource::ATTRIBUTES, key)
    }

    /// Its attributes.
    pub fn attributes(&mut self) -> AttributesMut<'_> {
        AttributesMut::new(self.message(), resource::ATTRIBUTES)
    }

    /// The schema URL of the entry.
    #[must_use]
    pub fn schema_url(&self) -> &[u8] {
        self.cx.resource_schema_url.raw(self.part)
    }

    /// Sets the schema URL of the entry.
    pub fn set_schema_url(&mut self, v: &[u8]) {
        if v != self.schema_url() {
            MessageMut { source: self.part, message: &mut self.cx.resource_schema_url }.replace(v);
        }
    }
}

setters!(ResourceMut in resource {
    /// Sets how many attributes the sender dropped.
    set_dropped_attributes_count: uint32 DROPPED_ATTRIBUTES_COUNT,});

/// An instrumentation scope, with the schema URL of its entry.
#[derive(Debug)]
pub struct ScopeMut<'a> {
    pub(super) part: &'a [u8],
    pub(super) cx: &'a mut Contexts,
}

impl ScopeMut<'_> {
    fn message(&mut self) -> MessageMut<'_> {
        MessageMut { source: self.part, message: &mut self.cx.scope }
    }

    /// The scope as it is now.
    #[must_use]
    pub fn view(&self) -> Scope<'_> {
        Scope::parse(self.cx.scope.read(self.part))
    }

    /// The value of one of its attributes.
    #[must_use]
    pub fn attribute(&self, key: &[u8]) -> Option<AnyValue<'_>> {
        self.cx.scope.attribute(self.part, scope::ATTRIBUTES, key)
    }

    /// Its attributes.
    pub fn attributes(&mut self) -> AttributesMut<'_> {
        AttributesMut::new(self.message(), scope::ATTRIBUTES)
    }

    /// The schema URL of the entry.
    #[must_use]
    pub fn schema_url(&self) -> &[u8] {
        self.cx.scope_schema_url.raw(self.part)
    }

    /// Sets the schema URL of the entry.
    pub fn set_schema_url(&mut self, v: &[u8]) {
        if v != self.schema_url() {
            MessageMut { source: self.part, message: &mut self.cx.scope_schema_url }.replace(v);
        }
    }
}

setters!(ScopeMut in scope {
    /// Sets the name of the library.
    set_name: text NAME,
    /// Sets its version.
    set_version: text VERSION,
    /// Sets how many attributes the sender dropped.
    set_dropped_attributes_count: uint32 DROPPED_ATTRIBUTES_COUNT,});

/// Access to the resource, and to the scope.
macro_rules! contexts {
    ($type:ident: resource) => {
        impl $type<'_> {
            /// The resource.
            #[must_use]
            pub fn resource(&self) -> $crate::views::Resource<'_> {
                $crate::views::View::parse(self.cx.resource.read(self.part))
            }

            /// The value of one of the resource's attributes.
            #[inline]
            #[must_use]
            pub fn resource_attribute(&self, key: &[u8]) -> Option<$crate::views::AnyValue<'_>> {
                self.cx.resource.attribute(self.part, $crate::schema::resource::ATTRIBUTES, key)
            }

            /// The resource, of which only fields that are not repeated may be read. However often items read them, the
            /// resource is walked a few times only.
            #[must_use]
            pub fn resource_fields(&self) -> $crate::views::Resource<'_> {
                $crate::views::View::parse(self.cx.resource.fields(self.part, $crate::edit::context::RESOURCE_FIELDS))
            }

            /// The schema URL of the resource's entry.
            #[must_use]
            pub fn resource_schema_url(&self) -> &[u8] {
                self.cx.resource_schema_url.raw(self.part)
            }

            /// The resource, to be changed for all items of its entry that are visited later.
            pub fn resource_mut(&mut self) -> $crate::edit::ResourceMut<'_> {
                $crate::edit::ResourceMut { part: self.part, cx: self.cx }
            }
        }
    };
    ($type:ident: scope) => {
        $crate::edit::context::contexts!($type: resource);

        impl $type<'_> {
            /// The instrumentation scope.
            #[must_use]
            pub fn scope(&self) -> $crate::views::Scope<'_> {
                $crate::views::View::parse(self.cx.scope.read(self.part))
            }

            /// The value of one of the scope's attributes.
            #[inline]
            #[must_use]
            pub fn scope_attribute(&self, key: &[u8]) -> Option<$crate::views::AnyValue<'_>> {
                self.cx.scope.attribute(self.part, $crate::schema::scope::ATTRIBUTES, key)
            }

            /// The scope, of which only fields that are not repeated may be read. However often items read them, the
            /// scope is walked a few times only.
            #[must_use]
            pub fn scope_fields(&self) -> $crate::views::Scope<'_> {
                $crate::views::View::parse(self.cx.scope.fields(self.part, $crate::edit::context::SCOPE_FIELDS))
            }

            /// The schema URL of the scope's entry.
            #[must_use]
            pub fn scope_schema_url(&self) -> &[u8] {
                self.cx.scope_schema_url.raw(self.part)
            }

            /// The scope, to be changed for all items of its entry that are visited later.
            pub fn scope_mut(&mut self) -> $crate::edit::ScopeMut<'_> {
                $crate::edit::ScopeMut { part: self.part, cx: self.cx }
            }
        }
    };
}
pub(super) use contexts;

contexts!(ScopeMut: resource);
