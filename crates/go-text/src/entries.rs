//! The entries of maps that are made of texts.

use otelcore_pdata::Value as Tree;

/// A decoded map: keys and values in their order.
pub type TreeMap = Vec<(Vec<u8>, Tree)>;

/// Entries of a map, in the order in which they were added. Keys are few in most results; an index of them keeps the work
/// small for texts with very many.
#[derive(Debug, Default)]
pub struct Entries {
    entries: TreeMap,
    positions: std::collections::BTreeMap<Vec<u8>, usize>,
}

/// Maps up to this length are searched without an index.
const SMALL: usize = 16;

impl Entries {
    /// Sets the value of a key; a key that is new comes last.
    pub fn put(&mut self, key: &[u8], value: Tree) {
        if self.entries.len() > SMALL && self.positions.is_empty() {
            self.positions = self.entries.iter().enumerate().map(|(at, (key, _))| (key.clone(), at)).collect();
        }
        if let Some(old) = self.get_mut(key) {
            *old = value;
            return;
        }
        if !self.positions.is_empty() {
            self.positions.insert(key.to_vec(), self.entries.len());
        }
        self.entries.push((key.to_vec(), value));
    }

    /// The value of a key.
    pub fn get_mut(&mut self, key: &[u8]) -> Option<&mut Tree> {
        let position = if self.positions.is_empty() {
            self.entries.iter().position(|(found, _)| found == key)
        } else {
            self.positions.get(key).copied()
        };
        position.and_then(|at| self.entries.get_mut(at)).map(|(_, value)| value)
    }

    /// The entries.
    #[must_use]
    pub fn into_map(self) -> TreeMap {
        self.entries
    }
}

/// A string as a value.
#[must_use]
pub fn string_tree(text: &[u8]) -> Tree {
    Tree::String(text.to_vec())
}
