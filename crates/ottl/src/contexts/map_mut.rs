//! A map under edit, in the payload or decoded.

use otelcore_pdata::Value as Tree;
use otelcore_pdata::edit::AttributesMut;
use otelcore_pdata::views::{AnyValue, View};

use crate::error::EvalError;
use crate::value::{TreeMap, Value};

/// A map that an editor changes in place. A key that occurs twice is not legal in OTLP; the first one is read and
/// written, and a removal removes all.
#[derive(Debug)]
pub enum MapMut<'a> {
    /// Attributes in the payload.
    Attributes(AttributesMut<'a>),
    /// A decoded map.
    Tree(&'a mut TreeMap),
}

/// What to do with an entry in [`MapMut::for_each`].
#[derive(Debug)]
pub enum Change<'a> {
    /// It stays.
    Keep,
    /// It is removed.
    Remove,
    /// Its value is replaced.
    SetValue(Value<'a>),
    /// Its key is replaced.
    SetKey(Vec<u8>),
}

impl MapMut<'_> {
    /// The number of entries. Takes a walk over the map.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Attributes(attributes) => attributes.iter().count(),
            Self::Tree(tree) => tree.len(),
        }
    }

    /// Whether it has no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Attributes(attributes) => attributes.iter().next().is_none(),
            Self::Tree(tree) => tree.is_empty(),
        }
    }

    /// The value under `key`; [`Value::Nil`] for an empty one. Takes a walk over the map.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<Value<'_>> {
        match self {
            Self::Attributes(attributes) => attributes.get(key).map(Value::from_any),
            Self::Tree(tree) => tree.iter().find(|(found, _)| found == key).map(|(_, value)| Value::from_tree(value)),
        }
    }

    /// The entries in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Value<'_>)> {
        let (raw, tree) = match self {
            Self::Attributes(attributes) => (Some(attributes.iter()), None),
            Self::Tree(tree) => (None, Some(tree.iter())),
        };
        let raw = raw.into_iter().flatten().map(|entry| (entry.key, Value::from_any(entry.value)));
        let tree = tree.into_iter().flatten().map(|(key, value)| (&key[..], Value::from_tree(value)));
        raw.chain(tree)
    }

    /// Sets the value under `key`, or adds an entry at the end. Takes a walk over the map.
    ///
    /// # Errors
    /// The value can't be that of an attribute.
    pub fn upsert(&mut self, key: &[u8], value: &Value<'_>) -> Result<(), EvalError> {
        match self {
            Self::Attributes(attributes) => attributes.upsert(key, value.to_any(&mut Vec::new())?),
            Self::Tree(tree) => {
                let value = value.to_tree()?;
                match tree.iter_mut().find(|(found, _)| found == key) {
                    Some((_, old)) => *old = value,
                    None => tree.push((key.to_vec(), value)),
                }
            }
        }
        Ok(())
    }

    /// Adds an entry at the end without looking for its key.
    ///
    /// # Errors
    /// The value can't be that of an attribute.
    pub fn push(&mut self, key: &[u8], value: &Value<'_>) -> Result<(), EvalError> {
        match self {
            Self::Attributes(attributes) => {
                attributes.push(key, value.to_any(&mut Vec::new())?);
            }
            Self::Tree(tree) => tree.push((key.to_vec(), value.to_tree()?)),
        }
        Ok(())
    }

    /// Removes every entry with this key. Returns whether there was one.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        match self {
            Self::Attributes(attributes) => attributes.remove(key),
            Self::Tree(tree) => {
                let before = tree.len();
                tree.retain(|(found, _)| found != key);
                tree.len() != before
            }
        }
    }

    /// Removes the entries for which `keep` returns false.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8], Value<'_>) -> bool) {
        match self {
            Self::Attributes(attributes) => {
                attributes.retain(|entry| keep(entry.key, Value::from_any(entry.value)));
            }
            Self::Tree(tree) => tree.retain(|(key, value)| keep(key, Value::from_tree(value))),
        }
    }

    /// Changes entries in one pass: `change` is called once for each, in their order. A change to the value already
    /// there is none.
    ///
    /// # Errors
    /// The first error of `change`, or of a value that can't be that of an attribute. Entries before it are changed.
    pub fn for_each(
        &mut self,
        mut change: impl for<'v> FnMut(&'v [u8], Value<'v>) -> Result<Change<'v>, EvalError>,
    ) -> Result<(), EvalError> {
        let mut result = Ok(());
        match self {
            Self::Attributes(attributes) => {
                let mut scratch = Vec::new();
                attributes.for_each(|attribute| {
                    if result.is_err() {
                        return;
                    }
                    let view = attribute.view();
                    match change(view.key, Value::from_any(view.value)) {
                        Ok(Change::Keep) => {}
                        Ok(Change::Remove) => attribute.remove(),
                        Ok(Change::SetKey(key)) => attribute.set(&key, view.value),
                        Ok(Change::SetValue(value)) => match value.to_any(&mut scratch) {
                            Ok(value) => attribute.set_value(value),
                            Err(error) => result = Err(error),
                        },
                        Err(error) => result = Err(error),
                    }
                });
            }
            Self::Tree(tree) => tree.retain_mut(|(key, value)| {
                if result.is_err() {
                    return true;
                }
                let changed = match change(key, Value::from_tree(value)) {
                    Ok(Change::Keep) => return true,
                    Ok(Change::Remove) => return false,
                    Ok(Change::SetKey(new)) => Ok(Err(new)),
                    Ok(Change::SetValue(new)) => new.to_tree().map(Ok),
                    Err(error) => Err(error),
                };
                match changed {
                    Ok(Ok(new)) => *value = new,
                    Ok(Err(new)) => *key = new,
                    Err(error) => result = Err(error),
                }
                true
            }),
        }
        result
    }

    /// Removes all entries.
    pub fn clear(&mut self) {
        match self {
            Self::Attributes(attributes) => attributes.clear(),
            Self::Tree(tree) => tree.clear(),
        }
    }

    /// The map decoded to full depth.
    #[must_use]
    pub fn to_tree(&self) -> TreeMap {
        match self {
            Self::Attributes(attributes) => {
                attributes.iter().map(|entry| (entry.key.to_vec(), Tree::decode(entry.value))).collect()
            }
            Self::Tree(tree) => tree.to_vec(),
        }
    }

    /// Replaces all entries.
    pub fn replace_all(&mut self, entries: TreeMap) {
        match self {
            Self::Attributes(attributes) => {
                attributes.clear();
                let mut raw = Vec::new();
                for (key, value) in &entries {
                    raw.clear();
                    value.encode(&mut raw);
                    attributes.push(key, AnyValue::parse(&raw));
                }
            }
            Self::Tree(tree) => **tree = entries,
        }
    }
}
