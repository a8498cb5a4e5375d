//! Cutting a body at an item count.
//!
//! Whole entries are sliced, not copied. Only the one entry that does not fit is cut, at its resource, scope, metric
//! and item boundaries, each wrapper's other fields re-emitted in both halves. Every item, and every byte that is not
//! an item, is in the result; wrappers may be there twice.

use bytes::Bytes;

use crate::rope::Part;
use crate::wire::{Fields, Wire, put_bytes, put_len, raw_fields};
use crate::{Rope, Signal};

/// Takes the first `max` items off `rope`; what is left stays in it. All of it when it has no more than `max`.
#[must_use]
pub fn split_off(signal: Signal, rope: &mut Rope, max: u32) -> Rope {
    if rope.items() <= max {
        return std::mem::take(rope);
    }
    let mut taken = Rope::default();
    let mut rest = Rope::default();
    for part in rope.take_parts() {
        let room = max - taken.items();
        if room == 0 {
            rest.push(part);
        } else if part.items <= room {
            taken.push(part);
        } else {
            cut_part(signal, &part, room, &mut taken, &mut rest);
        }
    }
    *rope = rest;
    taken
}

/// One level of nesting: which fields are its children, and what those are.
struct Level {
    /// Field numbers of the children.
    children: &'static [u32],
    /// `None`: each child is an item.
    below: Option<&'static Self>,
}

static BODY: Level = Level { children: &[1], below: Some(&RESOURCE) };
static RESOURCE: Level = Level { children: &[2], below: Some(&SCOPE) };
static SCOPE: Level = Level { children: &[2], below: None };

static METRIC_BODY: Level = Level { children: &[1], below: Some(&METRIC_RESOURCE) };
static METRIC_RESOURCE: Level = Level { children: &[2], below: Some(&METRIC_SCOPE) };
static METRIC_SCOPE: Level = Level { children: &[2], below: Some(&METRIC) };
static METRIC: Level = Level { children: &[5, 7, 9, 10, 11], below: Some(&POINTS) };
static POINTS: Level = Level { children: &[1], below: None };

fn body_level(signal: Signal) -> &'static Level {
    match signal {
        Signal::Metrics => &METRIC_BODY,
        Signal::Traces | Signal::Logs => &BODY,
    }
}

fn count(level: &Level, message: &[u8]) -> u32 {
    let mut items = 0_u32;
    for (number, value) in Fields::new(message) {
        if let Wire::Len(child) = value
            && level.children.contains(&number)
        {
            items = items.saturating_add(level.below.map_or(1, |below| count(below, child)));
        }
    }
    items
}

/// Cuts a body that has more than `room` items; `room` is not zero.
fn cut_part(signal: Signal, part: &Part, room: u32, taken: &mut Rope, rest: &mut Rope) {
    let level = body_level(signal);
    let whole = &part.bytes;
    let mut fields = Fields::new(whole);
    let mut items = 0;
    loop {
        let start = whole.len() - fields.rest().len();
        let Some((number, value)) = fields.next() else { break };
        let end = whole.len() - fields.rest().len();
        let (Wire::Len(entry), Some(below)) = (value, level.below) else { continue };
        if !level.children.contains(&number) {
            continue;
        }
        let here = count(below, entry);
        if items + here <= room {
            items += here;
            continue;
        }
        taken.push(Part { bytes: whole.slice(..start), items });
        let keep = room - items;
        if keep == 0 {
            rest.push(Part { bytes: whole.slice(start..), items: part.items - items });
            return;
        }
        let (left, right) = cut(below, entry, keep);
        taken.push(Part { bytes: wrap(number, &left), items: keep });
        rest.push(Part { bytes: wrap(number, &right), items: here - keep });
        rest.push(Part { bytes: whole.slice(end..), items: part.items - items - here });
        return;
    }
    // The count of the walk and of this function agree, so the loop has returned.
    rest.push(part.clone());
}

fn wrap(number: u32, content: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(content.len() + 12);
    put_bytes(&mut out, number, content);
    out.into()
}

/// Cuts `message` so that the first half has `room` items. Fields that are not children go into both halves.
fn cut(level: &Level, message: &[u8], mut room: u32) -> (Vec<u8>, Vec<u8>) {
    let mut left = Vec::with_capacity(message.len());
    let mut right = Vec::with_capacity(message.len());
    let mut full = false;
    for (raw, number, value) in raw_fields(message) {
        let child = match value {
            Wire::Len(child) if level.children.contains(&number) => child,
            _ => {
                left.extend_from_slice(raw);
                right.extend_from_slice(raw);
                continue;
            }
        };
        let here = level.below.map_or(1, |below| count(below, child));
        if full || room == 0 && here > 0 {
            full = true;
            right.extend_from_slice(raw);
        } else if here <= room {
            room -= here;
            left.extend_from_slice(raw);
        } else if let Some(below) = level.below {
            let (l, r) = cut(below, child, room);
            put_len(&mut left, number, l.len());
            left.extend_from_slice(&l);
            put_len(&mut right, number, r.len());
            right.extend_from_slice(&r);
            room = 0;
            full = true;
        }
    }
    (left, right)
}
