//! `uri_parser`.

use otelcore_expr::{Value, View};
use otelcore_go_text::url;
use otelcore_pdata::Value as Tree;

use super::{Parse, from_tree, string};
use crate::context::RunContext;
use crate::entry::Entry;

/// Parses a URI, or the query of one, into a map.
pub(crate) struct UriParser;

impl Parse for UriParser {
    fn parse(&mut self, value: View<'_>, _: &Entry, _: &RunContext<'_>) -> Result<Value, String> {
        let text = string(value, |found| format!("type '{found}' cannot be parsed as URI"))?;
        url::parse_request_uri(text).map(|map| from_tree(Tree::Map(map)))
    }
}
