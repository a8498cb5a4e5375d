//! Mistakes with their place: collected, never thrown, and rendered with the line they are about.
//!
//! A [`Diagnostics`] is a shared handle: clones push into the same list, so that every [`crate::Section`] can hold one.
//! Nothing here decides what is a mistake.

use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::node::Origin;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can be used, and somebody should look.
    Warning,
}

/// What went wrong, for tools and tests to match on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A source cannot be read, or its URI names no known scheme.
    Source,
    /// Not YAML, or YAML that is no map at the top.
    InvalidYaml,
    /// The same key twice in one map.
    DuplicateKey,
    /// A `${..}` that cannot be resolved.
    Expansion,
    /// An environment variable that is not set and has no default.
    UnsetVariable,
    /// Nested or grown beyond the bounds.
    Limit,
    /// A key that nobody asked for.
    UnknownKey,
    /// A value of another type than the field.
    WrongType,
    /// A number outside of the field's range.
    OutOfRange,
    /// The right type, but no value that the field knows.
    BadValue,
    /// A component or pipeline id that breaks the rules.
    BadId,
    /// Two ids that are the same after trimming.
    DuplicateId,
    /// A component type that is not built in.
    UnknownComponent,
    /// A pipeline or the service names what is not configured.
    UndefinedReference,
    /// An option of the Go collector that is not built yet.
    Unsupported,
    /// An old spelling.
    Deprecated,
    /// A rule of a component or of the service.
    Invalid,
    /// The configuration and the manifests around it do not fit.
    Deployment,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What went wrong.
    pub kind: Kind,
    /// Where, if there is a place.
    pub origin: Option<Origin>,
    /// `receivers::otlp::protocols::grpc`; may be empty.
    pub path: String,
    /// Holds the Go collector's own sentence, so that it can be searched for.
    pub message: String,
    /// A second place with a word about it.
    pub related: Option<(Origin, String)>,
    /// What to write instead.
    pub help: Option<String>,
    /// More to know.
    pub note: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", Visible(&self.path))?;
        }
        write!(f, "{}", Visible(&self.message))
    }
}

/// The list of mistakes. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    items: Arc<Mutex<Vec<Diagnostic>>>,
}

impl Diagnostics {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Diagnostic>> {
        // A panic elsewhere leaves the list whole: every change is one push.
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a finished diagnostic.
    pub fn push(&self, item: Diagnostic) {
        self.lock().push(item);
    }

    /// Adds an error; what the returned draft is told before it drops goes with it.
    pub fn error<'o>(
        &self,
        origin: impl Into<Option<&'o Origin>>,
        path: &str,
        message: impl Into<String>,
    ) -> Draft<'_> {
        self.draft(Severity::Error, Kind::Invalid, origin.into(), path, message.into())
    }

    /// Adds a warning; what the returned draft is told before it drops goes with it.
    pub fn warn<'o>(&self, origin: impl Into<Option<&'o Origin>>, path: &str, message: impl Into<String>) -> Draft<'_> {
        self.draft(Severity::Warning, Kind::Invalid, origin.into(), path, message.into())
    }

    fn draft(&self, severity: Severity, kind: Kind, origin: Option<&Origin>, path: &str, message: String) -> Draft<'_> {
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
        Draft { list: self, item: Some(item) }
    }

    /// Whether any of them is an error.
    pub fn has_errors(&self) -> bool {
        self.lock().iter().any(|i| i.severity == Severity::Error)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// None at all.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// All of them: by source, line and column; those without a place last.
    pub fn items(&self) -> Vec<Diagnostic> {
        let mut items = self.lock().clone();
        items.sort_by(|a, b| {
            let place = |i: &Diagnostic| i.origin.as_ref().map(|o| (o.source.clone(), o.line, o.column));
            let (a, b) = (place(a), place(b));
            a.is_none().cmp(&b.is_none()).then_with(|| a.cmp(&b))
        });
        items
    }

    /// Writes all of them, each with its line.
    pub fn render(&self, w: &mut dyn Write, color: bool) -> fmt::Result {
        for (index, item) in self.items().iter().enumerate() {
            if index > 0 {
                writeln!(w)?;
            }
            item.render(w, color)?;
        }
        Ok(())
    }

    /// [`Diagnostics::render`] into a string.
    pub fn to_text(&self, color: bool) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.render(&mut text, color);
        text
    }
}

/// A diagnostic that joins the list when this drops.
#[derive(Debug)]
pub struct Draft<'d> {
    list: &'d Diagnostics,
    item: Option<Diagnostic>,
}

impl Draft<'_> {
    fn with(mut self, change: impl FnOnce(&mut Diagnostic)) -> Self {
        if let Some(item) = &mut self.item {
            change(item);
        }
        self
    }

    /// What to write instead.
    pub fn hint(self, help: impl Into<String>) -> Self {
        self.with(|i| i.help = Some(help.into()))
    }

    /// What to write instead, if it is known.
    pub fn maybe_hint(self, help: Option<String>) -> Self {
        self.with(|i| i.help = help)
    }

    /// More to know.
    pub fn note(self, note: impl Into<String>) -> Self {
        self.with(|i| i.note = Some(note.into()))
    }

    /// What kind of mistake it is.
    pub fn kind(self, kind: Kind) -> Self {
        self.with(|i| i.kind = kind)
    }

    /// A second place, such as the first of two equal keys.
    pub fn related(self, origin: &Origin, word: impl Into<String>) -> Self {
        self.with(|i| i.related = Some((origin.clone(), word.into())))
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if let Some(item) = self.item.take() {
            self.list.push(item);
        }
    }
}

/// Terminal colours, or nothing.
struct Paint {
    head: &'static str,
    frame: &'static str,
    bold: &'static str,
    off: &'static str,
}

impl Paint {
    const fn new(severity: Severity, color: bool) -> Self {
        match (color, severity) {
            (false, _) => Self { head: "", frame: "", bold: "", off: "" },
            (true, Severity::Error) => {
                Self { head: "\x1b[1;31m", frame: "\x1b[1;34m", bold: "\x1b[1m", off: "\x1b[0m" }
            }
            (true, Severity::Warning) => {
                Self { head: "\x1b[1;33m", frame: "\x1b[1;34m", bold: "\x1b[1m", off: "\x1b[0m" }
            }
        }
    }
}

impl Diagnostic {
    /// Writes the message, the place, the line with the mistake underlined, and the help.
    pub fn render(&self, w: &mut dyn Write, color: bool) -> fmt::Result {
        let paint = Paint::new(self.severity, color);
        let word = if self.severity == Severity::Error { "error" } else { "warning" };
        writeln!(w, "{}{word}{}{}: {}{}", paint.head, paint.off, paint.bold, Visible(&self.message), paint.off)?;
        let lines = [self.origin.as_ref(), self.related.as_ref().map(|(o, _)| o)];
        let gutter = lines.iter().flatten().map(|o| o.line.to_string().len()).max().unwrap_or(1);
        match &self.origin {
            Some(origin) => {
                place(w, &paint, gutter, "-->", origin, &self.path)?;
                excerpt(w, &paint, gutter, origin, paint.head, '^', "")?;
            }
            None if !self.path.is_empty() => {
                writeln!(w, "{:gutter$}{}-->{} ({})", "", paint.frame, paint.off, Visible(&self.path))?;
            }
            None => {}
        }
        if let Some((origin, word)) = &self.related {
            place(w, &paint, gutter, ":::", origin, "")?;
            excerpt(w, &paint, gutter, origin, paint.frame, '-', word)?;
        }
        for (label, text) in [("help", &self.help), ("note", &self.note)] {
            if let Some(text) = text {
                writeln!(
                    w,
                    "{:gutter$} {}={} {}{label}{}: {}",
                    "",
                    paint.frame,
                    paint.off,
                    paint.bold,
                    paint.off,
                    Visible(text)
                )?;
            }
        }
        Ok(())
    }
}

fn place(w: &mut dyn Write, paint: &Paint, gutter: usize, arrow: &str, origin: &Origin, path: &str) -> fmt::Result {
    let (frame, off) = (paint.frame, paint.off);
    write!(w, "{:gutter$}{frame}{arrow}{off} {}:{}:{}", "", Visible(&origin.source), origin.line, origin.column)?;
    if path.is_empty() { writeln!(w) } else { writeln!(w, "  ({})", Visible(path)) }
}

/// Longer lines are not worth a terminal; what is cut away is always right of the mistake or left of it in full.
const SHOWN: usize = 160;

fn excerpt(
    w: &mut dyn Write,
    p: &Paint,
    gutter: usize,
    origin: &Origin,
    ink: &str,
    mark: char,
    word: &str,
) -> fmt::Result {
    if origin.text.secret {
        return Ok(());
    }
    let Some(line) = origin.text.line(origin.line) else { return Ok(()) };
    let column = usize::try_from(origin.column).unwrap_or(usize::MAX).saturating_sub(1);
    let skip = if column + 40 > SHOWN { column.saturating_sub(40) } else { 0 };
    let shown: String = line.chars().skip(skip).take(SHOWN).map(visible).collect();
    let lead: String =
        line.chars().skip(skip).take(column - skip).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    let room = shown.trim_end().chars().count().saturating_sub(column - skip);
    let width = usize::try_from(origin.width).unwrap_or(usize::MAX).clamp(1, room.max(1));
    let underline: String = std::iter::repeat_n(mark, width).collect();
    let (frame, off) = (p.frame, p.off);
    writeln!(w, "{:gutter$} {frame}|{off}", "")?;
    writeln!(w, "{frame}{:>gutter$} |{off} {}", origin.line, shown.trim_end())?;
    let space = if word.is_empty() { "" } else { " " };
    writeln!(w, "{:gutter$} {frame}|{off} {lead}{ink}{underline}{space}{}{off}", "", Visible(word))
}

/// A configuration must not be able to drive the terminal.
fn visible(c: char) -> char {
    if c.is_control() && c != '\t' { '\u{fffd}' } else { c }
}

struct Visible<'t>(&'t str);

impl fmt::Display for Visible<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| f.write_char(if c == '\n' { c } else { visible(c) }))
    }
}
