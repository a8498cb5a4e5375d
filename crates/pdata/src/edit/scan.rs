//! Finds a message's own fields, which may follow its children, before its callback.

use super::context::Data;
use super::frame::{Frame, Level, Mode, OWN, SCHEMA_URL};
use super::message::Message;
use super::metrics::DATA;
use super::pass::OpenPart;
use crate::StepBudget;
use crate::wire_format::{MessageFields, WireValue};

/// Units for a field of which only tag and length are read, one after another.
const SCAN_UNITS: u64 = 10;

impl OpenPart {
    /// Finds a message's own fields, among those of its children; true when that is done.
    pub(super) fn scan(&mut self, part: &[u8], work: &mut StepBudget) -> bool {
        let room = self.output.limit;
        let Some(frame) = self.output.frames.last_mut() else { return true };
        let is_first = frame.at == frame.content;
        let (own, schema) = match frame.level {
            Level::Entry => (&mut self.cx.resource, &mut self.cx.resource_schema_url),
            Level::Scope => (&mut self.cx.scope, &mut self.cx.scope_schema_url),
            Level::Metric | Level::Data | Level::Span => {
                return Self::scan_metric(frame, &mut self.cx.data, &mut self.outer, part, work, room);
            }
        };
        if is_first {
            own.reset(0..0, &[], room);
            schema.reset(0..0, &[], room);
        }
        let mut fields = MessageFields::new(part.get(frame.at..frame.end).unwrap_or_default());
        let mut read = 0;
        while read < work.remaining() {
            read += SCAN_UNITS;
            let Some((number, wire)) = fields.next() else {
                work.charge(read);
                if frame.own_count > 1 {
                    let whole = part.get(frame.content..frame.end).unwrap_or_default();
                    let pieces = MessageFields::new(whole).filter_map(|(number, wire)| match wire {
                        WireValue::Len(piece) if number == OWN => Some(piece),
                        _ => None,
                    });
                    own.reset_joined(pieces, room);
                }
                return true;
            };
            let WireValue::Len(content) = wire else { continue };
            let next = frame.end - fields.rest().len();
            match number {
                OWN => {
                    own.reset(next - content.len()..next, &[], room);
                    frame.own_count += 1;
                }
                SCHEMA_URL => schema.reset(next - content.len()..next, &[], room),
                _ => {}
            }
        }
        frame.at = frame.end - fields.rest().len();
        work.charge(read);
        false
    }

    fn scan_metric(
        frame: &mut Frame,
        data: &mut Data,
        outer: &mut Message,
        part: &[u8],
        work: &mut StepBudget,
        room: usize,
    ) -> bool {
        if frame.at == frame.content {
            outer.reset(frame.content..frame.end, DATA, room);
            *data = Data::default();
        }
        let mut fields = MessageFields::new(part.get(frame.at..frame.end).unwrap_or_default());
        while !work.is_spent() {
            work.charge(StepBudget::UNITS_PER_FIELD);
            let Some((number, wire)) = fields.next() else {
                if data.number == 0 {
                    return true;
                }
                frame.mode = Mode::ScanData;
                frame.at = data.content.start;
                return false;
            };
            frame.at = frame.end - fields.rest().len();
            if let WireValue::Len(content) = wire
                && DATA.contains(&number)
            {
                *data = Data { number, content: frame.at - content.len()..frame.at, ..Data::default() };
            }
        }
        false
    }

    /// Finds temporality and monotonicity of a metric's data; true when that is done.
    pub(super) fn scan_data(&mut self, part: &[u8], work: &mut StepBudget) -> bool {
        let Some(frame) = self.output.frames.last_mut() else { return true };
        let data = &mut self.cx.data;
        let end = data.content.end;
        let mut fields = MessageFields::new(part.get(frame.at..end).unwrap_or_default());
        while !work.is_spent() {
            work.charge(StepBudget::UNITS_PER_FIELD);
            let Some((number, wire)) = fields.next() else { return true };
            frame.at = end - fields.rest().len();
            data.merge(number, wire);
        }
        false
    }
}
