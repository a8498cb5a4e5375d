//! Attributes that globs of dimensions match: those of the span, those of its resource that the span does not have, and for
//! an event its own between both.
//!
//! What an attribute adds to a key is added up in any order. The sum of a resource is made once, and for a span only what
//! its own keys hide is taken out, so that the work for a span depends on its own attributes.

use otelcore_pdata::views::{AnyValue, KeyValue};

use crate::attribute_list::AttributeList;
use crate::key::{Element, KeyHasher};
use crate::settings::{ListId, Settings};

/// An attribute, and which lists of dimensions match it.
#[derive(Clone, Copy, Debug)]
struct Entry<'a> {
    key: &'a [u8],
    value: AnyValue<'a>,
    /// By [`ListId`].
    matches: [bool; 4],
    hash: u128,
}

/// The attributes of a resource, a span or an event, by key, each key once.
#[derive(Debug, Default)]
pub(crate) struct GlobAttributes<'a> {
    entries: Vec<Entry<'a>>,
    /// The sums of the hashes, by [`ListId`].
    sums: [u128; 4],
}

impl<'a> GlobAttributes<'a> {
    /// Takes attributes in their place. Of equal keys the first counts, or the last.
    pub(crate) fn fill(
        &mut self,
        settings: &Settings,
        hasher: &KeyHasher,
        attributes: impl Iterator<Item = KeyValue<'a>>,
        last_counts: bool,
        scratch: &mut Vec<u8>,
    ) {
        self.entries.clear();
        self.entries.extend(attributes.map(|attribute| {
            let matches = settings.lists().each_ref().map(|list| list.matches(attribute.key));
            let hash = if matches.contains(&true) {
                let element = Element::of_value(hasher, attribute.value, scratch);
                hasher.hash_entry(attribute.key, &element, scratch)
            } else {
                0
            };
            Entry { key: attribute.key, value: attribute.value, matches, hash }
        }));
        if last_counts {
            self.entries.reverse();
        }
        self.entries.sort_by_key(|entry| entry.key);
        self.entries.dedup_by_key(|entry| entry.key);
        self.sums = [0; 4];
        for entry in &self.entries {
            for (sum, is_match) in self.sums.iter_mut().zip(entry.matches) {
                if is_match {
                    *sum = sum.wrapping_add(entry.hash);
                }
            }
        }
    }

    fn find(&self, key: &[u8]) -> Option<&Entry<'a>> {
        let at = self.entries.binary_search_by_key(&key, |entry| entry.key).ok()?;
        self.entries.get(at)
    }
}

/// Subtracts what entries of `hidden` add, of those whose keys `above` has too.
fn hide(sums: &mut [u128; 4], above: &GlobAttributes<'_>, hidden: &GlobAttributes<'_>) {
    for entry in above.entries.iter().filter_map(|entry| hidden.find(entry.key)) {
        for (sum, is_match) in sums.iter_mut().zip(entry.matches) {
            if is_match {
                *sum = sum.wrapping_sub(entry.hash);
            }
        }
    }
}

/// What the attributes of some levels, the first one on top, add to keys, by [`ListId`].
pub(crate) fn key_parts(levels: &[&GlobAttributes<'_>]) -> [u128; 4] {
    let mut parts = [0_u128; 4];
    for level in levels {
        for (part, sum) in parts.iter_mut().zip(level.sums) {
            *part = part.wrapping_add(sum);
        }
    }
    match levels {
        [top, bottom] => hide(&mut parts, top, bottom),
        [top, middle, bottom] => {
            hide(&mut parts, top, middle);
            hide(&mut parts, middle, bottom);
            for entry in top.entries.iter().filter(|entry| middle.find(entry.key).is_none()) {
                if let Some(hidden) = bottom.find(entry.key) {
                    for (part, is_match) in parts.iter_mut().zip(hidden.matches) {
                        if is_match {
                            *part = part.wrapping_sub(hidden.hash);
                        }
                    }
                }
            }
        }
        _ => {}
    }
    parts
}

/// Adds the attributes that a list matches.
pub(crate) fn put_attributes<'a>(levels: &[&GlobAttributes<'a>], id: ListId, list: &mut AttributeList<'a>) {
    for (at, level) in levels.iter().enumerate() {
        let above = levels.get(..at).unwrap_or_default();
        for entry in &level.entries {
            let is_match = entry.matches.get(id as usize) == Some(&true);
            if is_match && above.iter().all(|level| level.find(entry.key).is_none()) {
                list.put(entry.key, entry.value);
            }
        }
    }
}
