//! Writes the fields of a message that are none of its children: a resource, a scope, a schema URL, the name of a
//! metric.
//!
//! They can change before they are read, afterwards, and from below, when they are in the output already.

use super::frame::{Frame, Level, Mode, OWN, Own, SCHEMA_URL};
use super::pass::{OpenPart, Place, Role, role};
use crate::Signal;
use crate::schema::sum;
use crate::wire_format::{WireValue, put_bytes_field, raw_fields};

impl OpenPart {
    /// Before the children of a message: writes what its callback has added or, in a metric, changed.
    pub(super) fn begin_own(&mut self, part: &[u8]) {
        let Some(frame) = self.output.frames.last() else { return };
        let Frame { level, content, own_count, .. } = *frame;
        let (own, is_unchanged) = match level {
            Level::Entry => (&self.cx.resource, self.cx.resource_schema_url.writes == 0),
            Level::Scope => (&self.cx.scope, self.cx.scope_schema_url.writes == 0),
            Level::Metric => (&self.outer, !self.cx.data.is_changed(2) && !self.cx.data.is_changed(3)),
            Level::Data | Level::Span => return,
        };
        let writes = own.writes;
        if writes == 0 && is_unchanged && frame.mode == Mode::Keep {
            // Nothing to do in it.
            if let Some(frame) = self.output.frames.last_mut() {
                frame.at = frame.end;
            }
            return;
        }
        if writes == 0 || level != Level::Metric && own_count > 0 {
            return;
        }
        self.output.flush(part, content);
        let start = self.output.out.len();
        if level == Level::Metric {
            self.output.out.extend_from_slice(self.outer.raw(part));
        } else {
            put_bytes_field(&mut self.output.out, OWN, own.raw(part));
        }
        let end = self.output.out.len();
        if let Some(frame) = self.output.frames.last_mut() {
            frame.own = Own::Output(start, end);
            frame.own_writes = writes;
            frame.has_shell = level == Level::Metric;
        }
    }

    /// The resource of an entry, or the scope of its items, among its fields.
    pub(super) fn pass_own(&mut self, level: Level, place: Place, source: &[u8]) {
        let own = if level == Level::Entry { &self.cx.resource } else { &self.cx.scope };
        let is_open = self.output.is_open();
        let Some(frame) = self.output.frames.last_mut() else { return };
        if own.writes == 0 {
            if !is_open {
                frame.own = Own::Source(place.start, place.next);
                return;
            }
            self.output.flush(source, place.next);
            let end = self.output.out.len();
            if let Some(frame) = self.output.frames.last_mut() {
                frame.own = Own::Output(end - (place.next - place.start), end);
            }
            return;
        }
        let is_written = frame.own != Own::Ahead;
        self.output.flush(source, place.start);
        self.output.pass(place.next);
        if is_written {
            return;
        }
        let start = self.output.out.len();
        put_bytes_field(&mut self.output.out, OWN, own.raw(source));
        let end = self.output.out.len();
        if let Some(frame) = self.output.frames.last_mut() {
            frame.own = Own::Output(start, end);
            frame.own_writes = own.writes;
        }
    }

    pub(super) fn pass_schema(&mut self, level: Level, place: Place, source: &[u8]) {
        let url = if level == Level::Entry { &self.cx.resource_schema_url } else { &self.cx.scope_schema_url };
        if url.writes == 0 {
            return;
        }
        self.output.flush(source, place.start);
        self.output.pass(place.next);
        let Some(frame) = self.output.frames.last_mut() else { return };
        if frame.schema_writes != url.writes {
            frame.schema_writes = url.writes;
            put_bytes_field(&mut self.output.out, SCHEMA_URL, url.raw(source));
        }
    }

    pub(super) fn pass_data_field(&mut self, place: Place, source: &[u8]) {
        if self.cx.data.is_changed(place.number) {
            self.output.flush(source, place.start);
            self.output.pass(place.next);
            self.put_data_field(place.number);
        }
    }

    /// Writes temporality or monotonicity, if it was set and has not been written.
    pub(super) fn put_data_field(&mut self, number: u32) {
        let data = &self.cx.data;
        let Some(frame) = self.output.frames.last_mut() else { return };
        let is_written = match number {
            sum::AGGREGATION_TEMPORALITY => {
                std::mem::replace(&mut frame.temporality, data.new_temporality) == data.new_temporality
            }
            _ => std::mem::replace(&mut frame.is_monotonic, data.new_is_monotonic) == data.new_is_monotonic,
        };
        if !is_written {
            data.put_changed(number, &mut self.output.out);
        }
    }

    /// Writes what has changed since a resource or scope was passed.
    pub(super) fn end_own(&mut self, level: Level, end: usize, source: &[u8]) {
        let (own, url) = match level {
            Level::Entry => (&self.cx.resource, &self.cx.resource_schema_url),
            _ => (&self.cx.scope, &self.cx.scope_schema_url),
        };
        let Some(frame) = self.output.frames.last() else { return };
        let Frame { own_writes, schema_writes, .. } = *frame;
        if own.writes != own_writes {
            let mut field = Vec::new();
            put_bytes_field(&mut field, OWN, own.raw(source));
            match frame.own {
                Own::Ahead => {
                    self.output.flush(source, end);
                    self.output.out.extend_from_slice(&field);
                }
                Own::Source(start, next) => {
                    self.output.flush(source, start);
                    self.output.out.extend_from_slice(&field);
                    self.output.pass(next);
                }
                Own::Output(from, to) => {
                    self.output.flush(source, end);
                    self.output.replace(from..to, &field);
                }
            }
        }
        if url.writes != schema_writes {
            self.output.flush(source, end);
            put_bytes_field(&mut self.output.out, SCHEMA_URL, url.raw(source));
        }
    }

    /// Writes what has changed in a metric or span since its own fields were passed: all of these come first.
    pub(super) fn end_shell(&mut self, end: usize, source: &[u8]) {
        let Some(frame) = self.output.frames.last() else { return };
        if frame.own_writes == self.outer.writes {
            return;
        }
        let level = frame.level;
        self.output.flush(source, end);
        let Some(frame) = self.output.frames.last() else { return };
        let content = frame.out_content;
        let children = self.output.out.split_off(content.min(self.output.out.len()));
        self.output.out.extend_from_slice(self.outer.raw(source));
        for (raw, number, wire) in raw_fields(&children) {
            let role = role(Signal::Metrics, level, number);
            if matches!(wire, WireValue::Len(_)) && matches!(role, Role::Message(_) | Role::Item(_)) {
                self.output.out.extend_from_slice(raw);
            }
        }
    }
}
