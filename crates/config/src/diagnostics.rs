//! Mistakes with their place in a source: collected in a list, not returned as errors, and rendered with the source
//! line.
//!
//! A [`Diagnostics`] is a shared handle: clones push into the same list, so that every [`crate::Section`] can hold one.
//! The number of diagnostics that are kept and shown, and the steps spent on suggestions, are bounded; diagnostics
//! beyond the bound are only counted. This module does not decide what is a mistake.

use std::cell::RefCell;
use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::node::SourceLocation;
use crate::{codes, suggest};

/// How many errors, and how many warnings, a list keeps. More are counted.
const MAX_KEPT: usize = 1000;

/// How many errors, and how many warnings, are shown.
pub const MAX_SHOWN: usize = 100;

/// Bytes of a text of a diagnostic. A longer text is truncated: keys and values can be as long as a file.
const MAX_TEXT: usize = 4096;

/// Steps that all suggestions of one list may take together.
const SUGGESTION_STEPS: u64 = 4_000_000;

/// How severe it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// The configuration can be used, but the user should check it.
    Warning,
}

/// What went wrong, for tools and tests to match on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DiagnosticKind {
    /// A source cannot be read, or its URI names no known scheme.
    Source,
    /// Not YAML, or YAML whose root is not a map.
    InvalidYaml,
    /// The same key twice in one map.
    DuplicateKey,
    /// A `${..}` that cannot be resolved.
    Expansion,
    /// An environment variable that is not set and has no default.
    UnsetVariable,
    /// Nesting or expansion beyond the limits.
    Limit,
    /// A key that is not one of the keys of its section.
    UnknownKey,
    /// A value of another type than the field.
    WrongType,
    /// A number outside of the field's range.
    OutOfRange,
    /// The right type, but not a value that the field accepts.
    BadValue,
    /// A component or pipeline id that breaks the rules.
    BadId,
    /// Two ids that are the same after trimming.
    DuplicateId,
    /// A component type that is not built in.
    UnknownComponent,
    /// A pipeline or the service names a component that is not configured.
    UndefinedReference,
    /// An option of the Go collector that is not implemented yet.
    Unsupported,
    /// A key, component or form that is deprecated.
    Deprecated,
    /// A rule of a component or of the service.
    Invalid,
    /// The configuration and the Kubernetes manifests do not match each other.
    Deployment,
}

impl DiagnosticKind {
    /// Every kind.
    pub const ALL: [Self; 18] = [
        Self::Source,
        Self::InvalidYaml,
        Self::DuplicateKey,
        Self::Expansion,
        Self::UnsetVariable,
        Self::Limit,
        Self::UnknownKey,
        Self::WrongType,
        Self::OutOfRange,
        Self::BadValue,
        Self::BadId,
        Self::DuplicateId,
        Self::UnknownComponent,
        Self::UndefinedReference,
        Self::Unsupported,
        Self::Deprecated,
        Self::Invalid,
        Self::Deployment,
    ];

    /// Its code in [`crate::codes`].
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Source => "OC101",
            Self::InvalidYaml => "OC102",
            Self::DuplicateKey => "OC103",
            Self::Expansion => "OC104",
            Self::UnsetVariable => "OC105",
            Self::Limit => "OC106",
            Self::UnknownKey => "OC107",
            Self::WrongType => "OC108",
            Self::OutOfRange => "OC109",
            Self::BadValue => "OC110",
            Self::BadId => "OC111",
            Self::DuplicateId => "OC112",
            Self::UnknownComponent => "OC113",
            Self::UndefinedReference => "OC114",
            Self::Unsupported => "OC115",
            Self::Deprecated => codes::DEPRECATED,
            Self::Invalid => codes::INVALID,
            Self::Deployment => "OC118",
        }
    }
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How severe it is.
    pub severity: Severity,
    /// What went wrong.
    pub kind: DiagnosticKind,
    /// Where, if there is a place.
    pub origin: Option<SourceLocation>,
    /// `receivers::otlp::protocols::grpc`; may be empty.
    pub path: String,
    /// Contains the Go collector's own message, so that users can search for it.
    pub message: String,
    /// A second place, with a short text about it.
    pub related: Option<(SourceLocation, String)>,
    /// What to write instead.
    pub help: Option<String>,
    /// Additional information.
    pub note: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", WithoutControls(&self.path))?;
        }
        write!(f, "{}", WithoutControls(&self.message))
    }
}

/// The list of mistakes. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    list: Arc<Mutex<List>>,
}

#[derive(Debug)]
struct List {
    items: Vec<Diagnostic>,
    errors: usize,
    warnings: usize,
    suggestion_steps: u64,
}

impl Default for List {
    fn default() -> Self {
        Self { items: Vec::new(), errors: 0, warnings: 0, suggestion_steps: SUGGESTION_STEPS }
    }
}

impl Diagnostics {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        // After a panic of another thread the list is still consistent: every change is one push.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a finished diagnostic. Beyond the first thousand of its severity it is only counted.
    pub fn push(&self, mut item: Diagnostic) {
        let mut list = self.lock();
        let count = if item.severity == Severity::Error { &mut list.errors } else { &mut list.warnings };
        *count = count.saturating_add(1);
        if *count <= MAX_KEPT {
            item.truncate_texts();
            list.items.push(item);
        }
    }

    /// Whether one more diagnostic of this severity would be kept. If not, its place and message need not be computed.
    pub fn would_keep(&self, severity: Severity) -> bool {
        let list = self.lock();
        let count = if severity == Severity::Error { list.errors } else { list.warnings };
        count < MAX_KEPT
    }

    /// The candidate that is most likely meant by `name`, as [`crate::nearest_name`] finds it. All calls on one list
    /// share a budget; when it is used up, the answer is `None`.
    pub fn nearest_name<T: AsRef<str>>(&self, name: &str, candidates: impl IntoIterator<Item = T>) -> Option<T> {
        let mut remaining_steps = self.lock().suggestion_steps;
        let found = if remaining_steps > 0 && self.would_keep(Severity::Error) {
            suggest::nearest_within_budget(name, candidates, &mut remaining_steps)
        } else {
            None
        };
        self.lock().suggestion_steps = remaining_steps;
        found
    }

    /// Adds an error when the returned draft is dropped; until then the draft's methods add to it.
    pub fn error<'o>(
        &self,
        origin: impl Into<Option<&'o SourceLocation>>,
        path: &str,
        message: impl Into<String>,
    ) -> DiagnosticDraft<'_> {
        self.draft(Severity::Error, DiagnosticKind::Invalid, origin.into(), path, message.into())
    }

    /// Adds a warning when the returned draft is dropped; until then the draft's methods add to it.
    pub fn warn<'o>(
        &self,
        origin: impl Into<Option<&'o SourceLocation>>,
        path: &str,
        message: impl Into<String>,
    ) -> DiagnosticDraft<'_> {
        self.draft(Severity::Warning, DiagnosticKind::Invalid, origin.into(), path, message.into())
    }

    fn draft(
        &self,
        severity: Severity,
        kind: DiagnosticKind,
        origin: Option<&SourceLocation>,
        path: &str,
        message: String,
    ) -> DiagnosticDraft<'_> {
        let path = path.to_owned();
        let item = Diagnostic {
            severity,
            kind,
            origin: origin.cloned(),
            path,
            message,
            related: None,
            help: None,
            note: None,
        };
        DiagnosticDraft { target: DraftTarget::List(self), item: Some(item) }
    }

    /// A draft that is put into `deferred` together with a key, until it is known whether the key is misspelt.
    pub(crate) fn deferred_draft<'d>(
        &'d self,
        severity: Severity,
        origin: Option<&SourceLocation>,
        path: &str,
        message: String,
        deferred: &'d RefCell<Vec<(Arc<str>, Diagnostic)>>,
        key: Arc<str>,
    ) -> DiagnosticDraft<'d> {
        let mut draft = self.draft(severity, DiagnosticKind::Invalid, origin, path, message);
        draft.target = DraftTarget::Deferred(deferred, key);
        draft
    }

    /// A draft that is discarded: its mistake follows from one that is reported already.
    pub(crate) const fn discarded_draft(&self) -> DiagnosticDraft<'_> {
        DiagnosticDraft { target: DraftTarget::List(self), item: None }
    }

    /// Whether any diagnostic is an error.
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// How many there are of a severity, kept or not.
    pub fn count(&self, severity: Severity) -> usize {
        let list = self.lock();
        if severity == Severity::Error { list.errors } else { list.warnings }
    }

    /// How many there are, kept or not.
    pub fn len(&self) -> usize {
        let list = self.lock();
        list.errors.saturating_add(list.warnings)
    }

    /// Whether there is no diagnostic.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The diagnostics that are kept, sorted by source, line and column; those without a place are last.
    pub fn items(&self) -> Vec<Diagnostic> {
        let mut items = self.lock().items.clone();
        items.sort_by(|a, b| {
            let place = |i: &Diagnostic| i.origin.as_ref().map(|o| (o.source.clone(), o.line, o.column));
            let (a, b) = (place(a), place(b));
            a.is_none().cmp(&b.is_none()).then_with(|| a.cmp(&b))
        });
        items
    }

    /// The first [`MAX_SHOWN`] errors and warnings of [`Diagnostics::items`], and a line with the number of the others.
    pub fn shown_items(&self) -> (Vec<Diagnostic>, Option<String>) {
        let (mut errors, mut warnings) = (0_usize, 0_usize);
        let mut items = self.items();
        items.retain(|item| {
            let count = if item.severity == Severity::Error { &mut errors } else { &mut warnings };
            *count += 1;
            *count <= MAX_SHOWN
        });
        let more = [(Severity::Error, "error"), (Severity::Warning, "warning")].map(|(severity, word)| {
            let more = self.count(severity).saturating_sub(MAX_SHOWN);
            (more > 0).then(|| format!("{more} more {word}{}", if more == 1 { "" } else { "s" }))
        });
        let more: Vec<String> = more.into_iter().flatten().collect();
        (items, (!more.is_empty()).then(|| format!("and {}", more.join(" and "))))
    }

    /// Writes the diagnostics of [`Diagnostics::shown_items`], each with its source line, and how many more there are.
    pub fn render(&self, w: &mut dyn Write, color: bool) -> fmt::Result {
        let (items, more) = self.shown_items();
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                writeln!(w)?;
            }
            item.render(w, color)?;
        }
        match more {
            Some(more) => writeln!(w, "\n{more}"),
            None => Ok(()),
        }
    }

    /// [`Diagnostics::render`] into a string.
    pub fn render_to_string(&self, color: bool) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.render(&mut text, color);
        text
    }
}

/// A diagnostic that is added to the list when the draft is dropped.
#[derive(Debug)]
pub struct DiagnosticDraft<'d> {
    target: DraftTarget<'d>,
    item: Option<Diagnostic>,
}

#[derive(Debug)]
enum DraftTarget<'d> {
    List(&'d Diagnostics),
    Deferred(&'d RefCell<Vec<(Arc<str>, Diagnostic)>>, Arc<str>),
}

impl DiagnosticDraft<'_> {
    fn modify(mut self, change: impl FnOnce(&mut Diagnostic)) -> Self {
        if let Some(item) = &mut self.item {
            change(item);
        }
        self
    }

    /// What to write instead.
    pub fn help(self, help: impl Into<String>) -> Self {
        self.modify(|i| i.help = Some(help.into()))
    }

    /// What to write instead, if it is known.
    pub fn maybe_help(self, help: Option<String>) -> Self {
        self.modify(|i| i.help = help)
    }

    /// Additional information.
    pub fn note(self, note: impl Into<String>) -> Self {
        self.modify(|i| i.note = Some(note.into()))
    }

    /// What kind of mistake it is.
    pub fn kind(self, kind: DiagnosticKind) -> Self {
        self.modify(|i| i.kind = kind)
    }

    /// A second place, such as the first of two equal keys.
    pub fn related(self, origin: &SourceLocation, label: impl Into<String>) -> Self {
        self.modify(|i| i.related = Some((origin.clone(), label.into())))
    }
}

impl Drop for DiagnosticDraft<'_> {
    fn drop(&mut self) {
        let Some(item) = self.item.take() else { return };
        match &self.target {
            DraftTarget::List(list) => list.push(item),
            DraftTarget::Deferred(waiting, key) => waiting.borrow_mut().push((key.clone(), item)),
        }
    }
}

/// Escape codes for terminal colours, or empty strings.
struct Colors {
    severity: &'static str,
    frame: &'static str,
    bold: &'static str,
    reset: &'static str,
}

impl Colors {
    const fn new(severity: Severity, color: bool) -> Self {
        match (color, severity) {
            (false, _) => Self { severity: "", frame: "", bold: "", reset: "" },
            (true, Severity::Error) => {
                Self { severity: "\x1b[1;31m", frame: "\x1b[1;34m", bold: "\x1b[1m", reset: "\x1b[0m" }
            }
            (true, Severity::Warning) => {
                Self { severity: "\x1b[1;33m", frame: "\x1b[1;34m", bold: "\x1b[1m", reset: "\x1b[0m" }
            }
        }
    }
}

impl Diagnostic {
    fn truncate_texts(&mut self) {
        let texts = [Some(&mut self.path), Some(&mut self.message), self.help.as_mut(), self.note.as_mut()];
        for text in texts.into_iter().flatten().filter(|text| text.len() > MAX_TEXT) {
            let mut end = MAX_TEXT;
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
            text.push('\u{2026}');
            text.shrink_to_fit();
        }
    }

    /// Writes the message, the code, the place, the line with the mistake underlined, and the help.
    pub fn render(&self, w: &mut dyn Write, color: bool) -> fmt::Result {
        let paint = Colors::new(self.severity, color);
        let word = if self.severity == Severity::Error { "error" } else { "warning" };
        writeln!(
            w,
            "{}{word}{}{}: {}{} [{}]",
            paint.severity,
            paint.reset,
            paint.bold,
            WithoutControls(&self.message),
            paint.reset,
            self.kind.code()
        )?;
        let lines = [self.origin.as_ref(), self.related.as_ref().map(|(o, _)| o)];
        let gutter = lines.iter().flatten().map(|o| o.line.to_string().len()).max().unwrap_or(1);
        match &self.origin {
            Some(origin) => {
                write_location(w, &paint, gutter, "-->", origin, &self.path)?;
                write_source_line(w, &paint, gutter, origin, paint.severity, '^', "")?;
            }
            None if !self.path.is_empty() => {
                writeln!(w, "{:gutter$}{}-->{} ({})", "", paint.frame, paint.reset, WithoutControls(&self.path))?;
            }
            None => {}
        }
        if let Some((origin, word)) = &self.related {
            write_location(w, &paint, gutter, ":::", origin, "")?;
            write_source_line(w, &paint, gutter, origin, paint.frame, '-', word)?;
        }
        for (label, text) in [("help", &self.help), ("note", &self.note)] {
            if let Some(text) = text {
                writeln!(
                    w,
                    "{:gutter$} {}={} {}{label}{}: {}",
                    "",
                    paint.frame,
                    paint.reset,
                    paint.bold,
                    paint.reset,
                    WithoutControls(text)
                )?;
            }
        }
        Ok(())
    }
}

fn write_location(
    w: &mut dyn Write,
    paint: &Colors,
    gutter: usize,
    arrow: &str,
    origin: &SourceLocation,
    path: &str,
) -> fmt::Result {
    let (frame, off) = (paint.frame, paint.reset);
    write!(
        w,
        "{:gutter$}{frame}{arrow}{off} {}:{}:{}",
        "",
        WithoutControls(&origin.source),
        origin.line,
        origin.column
    )?;
    if path.is_empty() { writeln!(w) } else { writeln!(w, "  ({})", WithoutControls(path)) }
}

/// Characters of a source line that are shown. A longer line is cut on the right; if the mistake is far to the right,
/// also on the left, up to 40 characters before the mistake.
const MAX_LINE_WIDTH: usize = 160;

fn write_source_line(
    w: &mut dyn Write,
    colors: &Colors,
    gutter: usize,
    origin: &SourceLocation,
    color: &str,
    mark: char,
    label: &str,
) -> fmt::Result {
    if origin.text.secret {
        return Ok(());
    }
    let column = usize::try_from(origin.column).unwrap_or(usize::MAX).saturating_sub(1);
    let skip = if column.saturating_add(40) > MAX_LINE_WIDTH { column.saturating_sub(40) } else { 0 };
    let from = u32::try_from(skip).unwrap_or(u32::MAX).saturating_add(1);
    let Some(line) = origin.text.rest_of_line(origin.line, from, MAX_LINE_WIDTH * 4) else { return Ok(()) };
    let shown: String = line.chars().take(MAX_LINE_WIDTH).map(replace_control).collect();
    let padding: String = line.chars().take(column - skip).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    let available = shown.trim_end().chars().count().saturating_sub(column - skip);
    let width = usize::try_from(origin.width).unwrap_or(usize::MAX).clamp(1, available.max(1));
    let underline: String = std::iter::repeat_n(mark, width).collect();
    let (frame, off) = (colors.frame, colors.reset);
    writeln!(w, "{:gutter$} {frame}|{off}", "")?;
    writeln!(w, "{frame}{:>gutter$} |{off} {}", origin.line, shown.trim_end())?;
    let space = if label.is_empty() { "" } else { " " };
    writeln!(w, "{:gutter$} {frame}|{off} {padding}{color}{underline}{space}{}{off}", "", WithoutControls(label))
}

/// Replaces control characters, so that a configuration cannot send escape codes to the terminal.
fn replace_control(c: char) -> char {
    if c.is_control() && c != '\t' { '\u{fffd}' } else { c }
}

struct WithoutControls<'t>(&'t str);

impl fmt::Display for WithoutControls<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| f.write_char(if c == '\n' { c } else { replace_control(c) }))
    }
}
