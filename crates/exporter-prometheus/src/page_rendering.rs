//! The state of a page that is being rendered: its position, and what is written but not yet copied to a piece.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use otelcore_exposition::protobuf::FamilyMessage;
use otelcore_exposition::{MetricType, NameEscaper, NameEscaping, NegotiatedFormat, write_family_header};
use otelcore_pipeline::{Budget, Kept, MonotonicTime};

use crate::label_sets::LabelSetKey;
use crate::page_series::{EscapedName, SeriesLines, text_dialect};

/// Bytes of one piece of a page, at most.
pub const PIECE_SIZE: usize = 64 << 10;
/// Bytes that are written at once, at most. Longer lines, and series of many lines, are written line by line.
pub(crate) const MAX_DIRECT_WRITE: usize = PIECE_SIZE / 2;
/// Bytes of the metrics of one protobuf message after which it ends, unless its name and help are longer.
const MESSAGE_SIZE: usize = PIECE_SIZE / 4;

/// A page that is being rendered.
#[derive(Debug)]
pub struct PageRendering {
    pub(crate) format: NegotiatedFormat,
    /// How names are escaped, by the format and the names that there may be.
    pub(crate) escaper: NameEscaper,
    pub(crate) started_at: MonotonicTime,
    /// Expired series have been removed, and the families of names have been updated.
    pub(crate) families_updated: bool,
    /// Whether `target_info` has not been written yet.
    pub(crate) target_info_pending: bool,
    pub(crate) stage: RenderStage,
    /// Long pieces of a line, to be copied.
    pub(crate) pending: VecDeque<Fragment>,
    pub(crate) series: VecDeque<SeriesLines>,
    /// In protobuf, the series of the family that are not in a message yet.
    pub(crate) message: FamilyMessage,
    /// Whether these are native histograms. Prometheus takes the histograms of a message as those of one kind.
    pub(crate) message_is_native: bool,
    pub(crate) written: u64,
    /// The charge for the memory of the rendering.
    pub(crate) kept: Kept,
}

#[derive(Debug)]
pub(crate) enum RenderStage {
    /// Before the name that follows this one. The series of this family are sorted.
    Names {
        after: Option<Rc<[u8]>>,
        sorted: Option<usize>,
    },
    /// Before the name that follows this one, which is that of this family: so many series must be sorted.
    Sorting {
        after: Option<Rc<[u8]>>,
        family: usize,
        left: usize,
    },
    /// Within a family, after this series.
    Family(StartedFamily, Option<LabelSetKey>),
    /// Within `target_info`.
    TargetInfo(TargetInfoPosition),
    Done,
}

impl RenderStage {
    pub(crate) fn after_name(after: Option<Rc<[u8]>>) -> Self {
        Self::Names { after, sorted: None }
    }
}

/// A family whose HELP and TYPE are on the page.
#[derive(Clone, Debug)]
pub(crate) struct StartedFamily {
    pub(crate) name: Rc<[u8]>,
    pub(crate) escaped_name: EscapedName,
    pub(crate) help: Rc<[u8]>,
    pub(crate) seq: u64,
    pub(crate) kind: MetricType,
}

#[derive(Debug)]
pub(crate) struct TargetInfoPosition {
    pub(crate) name: EscapedName,
    /// A family of the same name.
    pub(crate) family: Option<StartedFamily>,
    /// After this line.
    pub(crate) last_key: Option<LabelSetKey>,
    /// The name after which the page continues.
    pub(crate) resume_after: Option<Rc<[u8]>>,
}

#[derive(Debug)]
pub(crate) struct Fragment {
    pub(crate) bytes: Rc<[u8]>,
    pub(crate) position: usize,
    pub(crate) charged: u64,
}

/// Bytes charged for a page: one piece and its compressed form.
const RENDERING_BYTES: u64 = (2 * PIECE_SIZE) as u64;

impl PageRendering {
    /// A page that begins at `now`. Its memory is charged to `budget` as kept state.
    #[must_use]
    pub fn new(now: MonotonicTime, format: NegotiatedFormat, budget: &Arc<Budget>) -> Self {
        Self {
            format,
            escaper: format.escaping.into(),
            started_at: now,
            families_updated: false,
            target_info_pending: false,
            stage: RenderStage::after_name(None),
            pending: VecDeque::new(),
            series: VecDeque::new(),
            message: FamilyMessage::default(),
            message_is_native: false,
            written: 0,
            kept: budget.keep(RENDERING_BYTES),
        }
    }

    /// Whether names that are not legacy names are escaped on it.
    pub(crate) fn is_escaped(&self) -> bool {
        self.format.escaping != NameEscaping::AllowUtf8
    }

    /// Copies the pending fragments. True when none is left.
    pub(crate) fn flush_fragments(&mut self, out: &mut Vec<u8>) -> bool {
        while let Some(fragment) = self.pending.front_mut() {
            let rest = fragment.bytes.get(fragment.position..).unwrap_or_default();
            let n = rest.len().min(PIECE_SIZE.saturating_sub(out.len()));
            out.extend_from_slice(rest.get(..n).unwrap_or_default());
            fragment.position += n;
            if n < rest.len() {
                return false;
            }
            self.kept.shrink(fragment.charged);
            self.pending.pop_front();
        }
        true
    }

    /// Whether nothing is pending.
    pub(crate) fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.series.is_empty()
    }

    pub(crate) fn push_series(&mut self, lines: SeriesLines) {
        self.kept.grow(lines.charged_bytes());
        self.series.push_back(lines);
    }

    /// Adds bytes that belong to the registry as well.
    pub(crate) fn push_shared(&mut self, bytes: Rc<[u8]>) {
        self.pending.push_back(Fragment { bytes, position: 0, charged: 0 });
    }

    pub(crate) fn push_fragment(&mut self, bytes: Vec<u8>) {
        let charged = bytes.len() as u64;
        self.kept.grow(charged);
        self.pending.push_back(Fragment { bytes: bytes.into(), position: 0, charged });
    }

    /// Adds the next line of the series that is written line by line to the pending fragments. False when there is no
    /// such series.
    pub(crate) fn next_line(&mut self) -> bool {
        let Some(lines) = self.series.front_mut() else { return false };
        if let Some(line) = lines.next_line() {
            self.push_fragment(line.start);
            self.push_shared(line.block);
            self.push_fragment(line.end);
        } else {
            self.kept.shrink(lines.charged_bytes());
            self.series.pop_front();
        }
        true
    }

    /// Begins a family: in text HELP and TYPE, in protobuf nothing yet.
    pub(crate) fn begin_family(&mut self, out: &mut Vec<u8>, name: &EscapedName, help: &[u8], kind: MetricType) {
        let Some(dialect) = text_dialect(self.format.format) else { return };
        // Each byte may be escaped.
        if 2 * (help.len() + name.len()) + 32 <= MAX_DIRECT_WRITE {
            return write_family_header(out, dialect, name.view(), help, kind);
        }
        let mut header = Vec::with_capacity(help.len() + 2 * name.len() + 32);
        write_family_header(&mut header, dialect, name.view(), help, kind);
        self.push_fragment(header);
    }

    /// Ends a protobuf message if it is long enough, or if it is the last one of its family.
    pub(crate) fn end_message(
        &mut self,
        out: &mut Vec<u8>,
        name: &EscapedName,
        (help, kind): (&[u8], MetricType),
        is_last: bool,
    ) {
        let enough = MESSAGE_SIZE.max(name.len() + help.len());
        if is_last || self.message.len() >= enough {
            self.write_message(Some(out), name, (help, kind));
        }
    }

    /// Writes what is in the protobuf message: to `out` if there is room, or else as a fragment.
    pub(crate) fn write_message(
        &mut self,
        out: Option<&mut Vec<u8>>,
        name: &EscapedName,
        (help, kind): (&[u8], MetricType),
    ) {
        if self.message.is_empty() {
            return;
        }
        let len = self.message.len() + name.len() + help.len() + 32;
        if let Some(out) = out.filter(|out| self.is_idle() && out.len() + len <= PIECE_SIZE) {
            return self.message.finish(out, name.text(), help, kind);
        }
        let mut bytes = Vec::with_capacity(len);
        self.message.finish(&mut bytes, name.text(), help, kind);
        self.push_fragment(bytes);
    }
}
