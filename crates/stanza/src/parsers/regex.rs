//! `regex_parser`.

use otelcore_expr::{Key, Map, Value, View, key};
use otelcore_go_regexp::{CaptureLocations, GoRegexp};

use super::{Parse, string};
use crate::context::RunContext;
use crate::entry::Entry;

/// Parses a text by the named groups of a pattern.
pub(crate) struct RegexParser {
    pattern: GoRegexp,
    /// By group; `None` for one without a name.
    keys: Vec<Option<Key>>,
    locations: CaptureLocations,
}

/// The names of the groups; `None` for a group without one.
fn named_groups(pattern: &GoRegexp) -> Vec<Option<Key>> {
    pattern.group_names().iter().map(|name| (!name.is_empty()).then(|| key(name.as_bytes()))).collect()
}

impl RegexParser {
    pub(crate) fn new(pattern: GoRegexp) -> Self {
        let (keys, locations) = (named_groups(&pattern), pattern.capture_locations());
        Self { pattern, keys, locations }
    }
}

impl Parse for RegexParser {
    fn parse(&mut self, value: View<'_>, _: &Entry, _: &RunContext<'_>) -> Result<Value, String> {
        let text = string(value, |found| format!("type '{found}' cannot be parsed as regex"))?;
        let mut map = Map::new();
        let keys = &self.keys;
        let mut is_match = false;
        self.pattern.capture(text, &mut self.locations, |group, found| {
            is_match = true;
            if let Some(Some(name)) = keys.get(group) {
                map.insert(name.clone(), Value::String(found.to_vec()));
            }
        });
        if is_match { Ok(Value::Map(map)) } else { Err("regex pattern does not match".to_owned()) }
    }
}
