//! Writes HTML. Every text that comes from a configuration, a peer or an error goes through [`Html::text`].
//!
//! Owns the escapes and the frame of the plain pages. Knows nothing of what is shown.

use std::fmt::Write;

/// A document that is being written.
#[derive(Debug, Default)]
pub(super) struct Html(String);

impl Html {
    /// Appends markup as it is.
    pub(super) fn raw(&mut self, markup: &str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Appends a text with escapes; also inside of attributes in quotes.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // Characters that are not allowed in HTML.
                c if c.is_control() && !matches!(c, '\n' | '\t') => self.0.push('\u{fffd}'),
                c => self.0.push(c),
            }
        }
        self
    }

    /// Appends a number, or anything else that needs no escapes.
    pub(super) fn number(&mut self, value: impl std::fmt::Display) -> &mut Self {
        // Writing to a string does not fail.
        let _ = write!(self.0, "{value}");
        self
    }

    /// A cell of a table.
    pub(super) fn cell(&mut self, text: &str) -> &mut Self {
        self.raw("<td>").text(text).raw("</td>")
    }

    /// A row of a table with these texts, the first as the row's header.
    pub(super) fn row(&mut self, cells: &[&str]) -> &mut Self {
        self.raw("<tr>");
        for (index, cell) in cells.iter().enumerate() {
            let name = if index == 0 { "th scope=\"row\"" } else { "td" };
            self.raw("<").raw(name).raw(">").text(cell).raw(if index == 0 { "</th>" } else { "</td>" });
        }
        self.raw("</tr>\n")
    }

    /// The begin of a table, up to its body.
    pub(super) fn table(&mut self, caption: &str, columns: &[&str]) -> &mut Self {
        self.raw("<table><caption>").text(caption).raw("</caption><thead><tr>");
        for column in columns {
            self.raw("<th scope=\"col\">").text(column).raw("</th>");
        }
        self.raw("</tr></thead><tbody>\n")
    }

    /// The end of a table.
    pub(super) fn end_table(&mut self) -> &mut Self {
        self.raw("</tbody></table>\n")
    }

    /// The number of bytes so far.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The whole text.
    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// The style of the plain pages.
const PLAIN_STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:1rem;color-scheme:light dark}\
    table{border-collapse:collapse;margin:1rem 0}caption{text-align:left;font-weight:600}\
    th,td{text-align:left;padding:.25rem .75rem;border-bottom:1px solid #8886;vertical-align:top}";

/// A plain page with links to the others around what `write` writes.
pub(super) fn plain_page(title: &str, write: impl FnOnce(&mut Html)) -> String {
    let mut html = Html::default();
    html.raw("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>").text(title);
    html.raw(
        "</title><meta name=\"viewport\" content=\"width=device-width\"><link rel=\"icon\" href=\"data:,\"><style>",
    );
    html.raw(PLAIN_STYLE).raw("</style></head><body>\n<nav><a href=\"/\">Live page</a>");
    for page in ["servicez", "pipelinez", "extensionz", "featurez", "tracez"] {
        html.raw(" <a href=\"/debug/").raw(page).raw("\">").raw(page).raw("</a>");
    }
    html.raw("</nav>\n<h1>").text(title).raw("</h1>\n");
    write(&mut html);
    html.raw("</body></html>\n");
    html.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_can_end_no_element_and_no_attribute() {
        let mut html = Html::default();
        html.text("<script>'\"&\u{0}\u{1b}é\n</td>");
        assert_eq!(html.finish(), "&lt;script&gt;&#39;&quot;&amp;\u{fffd}\u{fffd}é\n&lt;/td&gt;");
    }

    #[test]
    fn row_has_a_header_and_escaped_cells() {
        let mut html = Html::default();
        html.table("c<", &["a"]).row(&["x", "<y>"]).end_table();
        let expected = "<table><caption>c&lt;</caption><thead><tr><th scope=\"col\">a</th></tr></thead><tbody>\n\
            <tr><th scope=\"row\">x</th><td>&lt;y&gt;</td></tr>\n</tbody></table>\n";
        assert_eq!(html.finish(), expected);
    }
}
