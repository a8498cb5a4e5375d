//! The merge of two trees: what is read later goes over what was read before.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::node::{ConfigNode, NodeValue};
use crate::steps;

/// Merges `over` into `base`: maps are merged key by key, every other value is replaced, also by null.
///
/// With `append`, the lists that the gate `confmap.enableMergeAppendOption` names are concatenated, without duplicates.
pub(crate) fn merge(base: &mut ConfigNode, over: ConfigNode, path: &mut String, append: bool) {
    match (&mut base.value, over.value) {
        (NodeValue::Map(map), NodeValue::Map(new)) => {
            for entry in new {
                steps::add(1);
                match map.get_mut(&entry.key) {
                    Some(old) => {
                        let length = path.len();
                        path.push_str("::");
                        path.push_str(&entry.key);
                        merge(&mut old.node, entry.node, path, append);
                        path.truncate(length);
                    }
                    None => map.insert(entry),
                }
            }
        }
        (NodeValue::List(items), NodeValue::List(new)) if append && is_appended_list(path) => {
            let name = |item: &ConfigNode| match &item.value {
                NodeValue::Str(text) => Some(text.clone()),
                _ => None,
            };
            let mut existing: BTreeSet<Arc<str>> = items.iter().filter_map(name).collect();
            // Items that are not strings are kept: each of them is refused later.
            items.extend(new.into_iter().filter(|item| name(item).is_none_or(|name| existing.insert(name))));
        }
        (_, value) => *base = ConfigNode { value, ..over },
    }
}

/// `service::extensions`, `service::**::receivers`, `service::**::exporters`.
fn is_appended_list(path: &str) -> bool {
    let inside = path.strip_prefix("::service::");
    inside.is_some_and(|p| p == "extensions" || matches!(p.rsplit("::").next(), Some("receivers" | "exporters")))
}
