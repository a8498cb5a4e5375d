//! The values of dimensions: of the resource, of the span and of an event, which of them counts, and what they add to keys
//! and attributes of series.

use otelcore_pdata::views::{AnyValue, KeyValue, RepeatedMessages};
use smallvec::SmallVec;

use crate::attribute_list::AttributeList;
use crate::globs::{self, GlobAttributes};
use crate::key::{Element, KeyHasher};
use crate::settings::{ListId, NamedDimension, Settings};
use crate::span_fields::SpanFields;

/// A value with its form in keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot<'a> {
    value: AnyValue<'a>,
    element: Element,
}

/// By the position of the name in [`Settings::names`].
pub(crate) type Slots<'a> = SmallVec<[Option<Slot<'a>>; 8]>;

/// Sets the slot of an attribute, if a dimension has its name.
#[inline]
pub(crate) fn fill_slot<'a>(
    settings: &Settings,
    hasher: &KeyHasher,
    slots: &mut Slots<'a>,
    attribute: &KeyValue<'a>,
    last_counts: bool,
    scratch: &mut Vec<u8>,
) {
    if let Some(slot) = settings.slot_of(attribute.key).and_then(|at| slots.get_mut(at))
        && (last_counts || slot.is_none())
    {
        let element = Element::of_value(hasher, attribute.value, scratch);
        *slot = Some(Slot { value: attribute.value, element });
    }
}

/// Empties the slots, one for each name.
#[inline]
pub(crate) fn clear_slots(settings: &Settings, slots: &mut Slots<'_>) {
    slots.clear();
    slots.resize(settings.names.len(), None);
}

/// What is known of a resource.
pub(crate) struct ResourceValues<'a> {
    pub(crate) id: u128,
    pub(crate) service: &'a [u8],
    pub(crate) service_element: Element,
    pub(crate) slots: Slots<'a>,
    pub(crate) globs: GlobAttributes<'a>,
}

impl<'a> ResourceValues<'a> {
    /// Reads the attributes of a resource; `None` without `service.name`.
    pub(crate) fn read(
        settings: &Settings,
        hasher: &KeyHasher,
        attributes: RepeatedMessages<'a, KeyValue<'a>>,
        scratch: &mut Vec<u8>,
    ) -> Option<Self> {
        let mut slots = Slots::new();
        clear_slots(settings, &mut slots);
        let (mut service, mut id) = (None, 0_u128);
        for attribute in attributes {
            if attribute.key == b"service.name" && service.is_none() {
                service = Some(match attribute.value {
                    AnyValue::String(name) => name,
                    _ => &[],
                });
            }
            fill_slot(settings, hasher, &mut slots, &attribute, false, scratch);
            let is_part = |key: &String| key.as_bytes() == attribute.key;
            if settings.resource_keys.is_empty() || settings.resource_keys.iter().any(is_part) {
                id = id.wrapping_add(hasher.hash_attribute(&attribute, scratch));
            }
        }
        let service = service?;
        let mut globs = GlobAttributes::default();
        if settings.has_globs {
            globs.fill(settings, hasher, attributes, false, scratch);
        }
        Some(Self { id, service, service_element: Element::new(hasher, service), slots, globs })
    }
}

/// The instrumentation scope, if its name is a dimension.
#[derive(Clone, Copy)]
pub(crate) struct ScopeValues<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) version: &'a [u8],
    pub(crate) elements: (Element, Element),
}

/// Where the values of one series come from.
pub(crate) struct Sources<'s, 'a> {
    pub(crate) settings: &'s Settings,
    pub(crate) instance_id: &'s [u8],
    pub(crate) span: &'s SpanFields<'a>,
    pub(crate) resource: &'s ResourceValues<'a>,
    pub(crate) scope: Option<&'s ScopeValues<'a>>,
    pub(crate) is_adjusted: bool,
    /// From the first one that counts to the last.
    pub(crate) slots: &'s [&'s Slots<'a>],
    pub(crate) globs: &'s [&'s GlobAttributes<'a>],
}

impl<'s, 'a> Sources<'s, 'a> {
    fn slot(&self, dimension: &NamedDimension) -> Option<Slot<'a>> {
        self.slots.iter().find_map(|slots| slots.get(dimension.slot).copied().flatten())
    }

    /// Appends the dimensions of a list. `defaults` has the elements of the default values.
    #[inline]
    pub(crate) fn put_key(&self, id: ListId, defaults: &[Element], glob_parts: &[u128; 4], key: &mut Vec<u8>) {
        for (dimension, default) in self.settings.list(id).named.iter().zip(defaults) {
            self.slot(dimension).map_or(*default, |slot| slot.element).put(key);
        }
        if self.settings.has_globs {
            key.extend_from_slice(&glob_parts.get(id as usize).copied().unwrap_or(0).to_le_bytes());
        }
    }

    /// The attributes of a series with the dimensions of two lists.
    pub(crate) fn attributes(&self, lists: [ListId; 2]) -> Box<[u8]> {
        let mut list: AttributeList<'s> = AttributeList::default();
        let Self { settings, span, .. } = *self;
        let base = &settings.base;
        if base.service_name {
            list.put_text(b"service.name", self.resource.service);
        }
        if base.span_name {
            list.put_text(b"span.name", span.name);
        }
        if base.span_kind {
            list.put_text(b"span.kind", span.kind_name());
        }
        if base.status_code {
            list.put_text(b"status.code", span.status_name());
        }
        if base.instance_id {
            list.put_text(b"collector.instance.id", self.instance_id);
        }
        if let Some(scope) = self.scope {
            list.put_text(b"span.instrumentation.scope.name", scope.name);
            if !scope.version.is_empty() {
                list.put_text(b"span.instrumentation.scope.version", scope.version);
            }
        }
        if settings.has_sampling_method {
            list.put_text(b"sampling.method", if self.is_adjusted { b"extrapolated" } else { b"counted" });
        }
        for id in lists {
            for dimension in &settings.list(id).named {
                let default = || dimension.default.as_deref().map(AnyValue::String);
                if let Some(value) = self.slot(dimension).map(|slot| slot.value).or_else(default)
                    && let Some(name) = settings.names.get(dimension.slot)
                {
                    list.put(name, value);
                }
            }
            globs::put_attributes(self.globs, id, &mut list);
        }
        list.encode()
    }
}
