//! `validate --explain`: the pipelines as text, and each diagnostic with what its code means.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use otelcore_config::{ComponentId, Diagnostics, codes};
use otelcore_pipeline::CollectorDescription;

/// The pipelines, each as a drawing.
pub(super) fn draw_pipelines(description: &CollectorDescription) -> String {
    let mut out = String::from("Pipelines:\n");
    for pipeline in &description.pipelines {
        let names = |ids: &[ComponentId], mark: &str| ids.iter().map(|id| format!("{id}{mark}")).collect::<Vec<_>>();
        let mut sources = names(&pipeline.receivers, "");
        sources.extend(names(&pipeline.source_connectors, " (connector)"));
        let mut targets = names(&pipeline.exporters, "");
        targets.extend(names(&pipeline.target_connectors, " (connector)"));
        let processors = names(&pipeline.processors, "");
        let _ = writeln!(out, "\n  {}", pipeline.id);
        out.push_str(&draw(&sources, &processors, &targets));
    }
    if !description.extensions.is_empty() {
        let extensions: Vec<String> = description.extensions.iter().map(ToString::to_string).collect();
        let _ = writeln!(out, "\nExtensions: {}", extensions.join(", "));
    }
    out
}

/// One pipeline: sources on the left, processors in the first line, targets on the right.
fn draw(sources: &[String], processors: &[String], targets: &[String]) -> String {
    let left = sources.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let chain: String = processors.iter().map(|name| format!("-> {name} ")).collect();
    let middle = chain.chars().count();
    let mut out = String::new();
    for row in 0..sources.len().max(targets.len()).max(1) {
        let source = sources.get(row).map_or("", String::as_str);
        let joint = match (row, sources.len()) {
            (0, 0..=1) => "-",
            (row, count) if count > 1 && row < count => "+",
            _ => " ",
        };
        let dash = if row < sources.len() { "-" } else { " " };
        let chain = if row == 0 { chain.as_str() } else { "" };
        let _ = write!(out, "    {source:left$} {dash}{joint}{chain:middle$}");
        if let Some(target) = targets.get(row) {
            let joint = match (row, targets.len()) {
                (_, 1) => "-",
                _ => "+",
            };
            let lead = if row == 0 { "-" } else { " " };
            let _ = write!(out, "{lead}{joint}-> {target}");
        }
        let trimmed = out.trim_end().len();
        out.truncate(trimmed);
        out.push('\n');
    }
    out
}

/// Each diagnostic with its place, and what its code means, which stands once for each code.
pub(super) fn explain_diagnostics(diagnostics: &Diagnostics) -> String {
    let mut out = String::new();
    let mut explained = BTreeSet::new();
    let (items, omitted) = diagnostics.shown_items();
    for item in items {
        let code = item.kind.code();
        let one = Diagnostics::new();
        one.push(item);
        out.push('\n');
        out.push_str(one.render_to_string(false).trim_end());
        out.push_str("\n\n");
        if let Some(entry) = codes::find(code).filter(|_| explained.insert(code)) {
            for line in entry.markdown().trim_start_matches("## ").trim_end().lines() {
                let line = format!("    {line}");
                let _ = writeln!(out, "{}", line.trim_end());
            }
        }
    }
    if let Some(more) = omitted {
        let _ = writeln!(out, "\n{more}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(sources: &[&str], processors: &[&str], targets: &[&str]) -> String {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        draw(&owned(sources), &owned(processors), &owned(targets))
    }

    #[test]
    fn pipeline_is_drawn_from_left_to_right() {
        assert_eq!(drawn(&["otlp"], &[], &["debug"]), "    otlp -----> debug\n");
        let (gap, last) = (" ".repeat(21), " ".repeat(34));
        assert_eq!(
            drawn(&["otlp", "jaeger"], &["limiter", "batch"], &["debug", "otlp/a", "b"]),
            format!("    otlp   -+-> limiter -> batch -+-> debug\n    jaeger -+{gap}+-> otlp/a\n{last}+-> b\n")
        );
    }

    #[test]
    fn code_is_explained_once() {
        let d = Diagnostics::new();
        let _ = d.warn(None, "a", "first".to_owned());
        let _ = d.warn(None, "b", "second".to_owned());
        let text = explain_diagnostics(&d);
        assert!(text.contains("first") && text.contains("second"), "{text}");
        assert_eq!(text.matches("What to do").count(), 1, "{text}");
    }
}
