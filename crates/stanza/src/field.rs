//! A place in an entry: `body`, `body.key`, `attributes["a.b"].c`, `resource.key`.

use std::fmt;

use otelcore_expr::{Key, Map, Value, View, key};

use crate::entry::Entry;

/// The part of an entry in which a field is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Root {
    Body,
    Attributes,
    Resource,
}

/// A place in an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Field {
    pub(crate) root: Root,
    pub(crate) keys: Vec<Key>,
}

/// Levels of maps that a field may name.
const MAX_KEYS: usize = 50;

impl Field {
    /// The body as a whole.
    #[must_use]
    pub fn body() -> Self {
        Self { root: Root::Body, keys: Vec::new() }
    }

    /// The attributes as a whole.
    #[must_use]
    pub fn attributes() -> Self {
        Self { root: Root::Attributes, keys: Vec::new() }
    }

    /// One attribute.
    #[must_use]
    pub fn attribute(name: &'static str) -> Self {
        Self { root: Root::Attributes, keys: vec![Key::Borrowed(name.as_bytes())] }
    }

    /// A key of the body.
    #[must_use]
    pub(crate) fn body_key(name: &'static str) -> Self {
        Self { root: Root::Body, keys: vec![Key::Borrowed(name.as_bytes())] }
    }

    /// Parses a field. Only where `is_rootable`, it may be all attributes or the whole resource.
    ///
    /// # Errors
    /// The sentence of the Go collector.
    pub fn parse(text: &str, is_rootable: bool) -> Result<Self, String> {
        let mut keys = split(text).map_err(|reason| format!("splitting field: {reason}"))?.into_iter();
        let root = match keys.next().unwrap_or_default() {
            "body" => Root::Body,
            "attributes" => Root::Attributes,
            "resource" => Root::Resource,
            _ => return Err("unrecognized prefix".to_owned()),
        };
        let keys: Vec<Key> = keys.map(|name| key(name.as_bytes())).collect();
        if keys.len() > MAX_KEYS {
            return Err(format!("the field has more than {MAX_KEYS} keys"));
        }
        if keys.is_empty() && !is_rootable && root != Root::Body {
            let name = if root == Root::Attributes { "attributes" } else { "resource" };
            return Err(format!("{name} cannot be referenced without subfield"));
        }
        Ok(Self { root, keys })
    }

    /// The value there.
    #[must_use]
    pub fn get<'e>(&self, entry: &'e Entry) -> Option<View<'e>> {
        let (mut value, keys) = match (self.root, self.keys.split_first()) {
            (Root::Body, _) => (entry.body.view(), &self.keys[..]),
            (Root::Attributes, None) => (View::Map(&entry.attributes), &self.keys[..]),
            (Root::Resource, None) => (View::Map(&entry.resource), &self.keys[..]),
            (Root::Attributes, Some((first, rest))) => (entry.attributes.get(first)?.view(), rest),
            (Root::Resource, Some((first, rest))) => (entry.resource.get(first)?.view(), rest),
        };
        for key in keys {
            let View::Map(map) = value else { return None };
            value = map.get(key)?.view();
        }
        Some(value)
    }

    /// Sets the value there. A map is merged into the one that is there; missing maps on the way are made.
    ///
    /// # Errors
    /// All attributes, or the whole resource, can only be a map.
    pub fn set(&self, entry: &mut Entry, value: Value) -> Result<(), String> {
        if let Value::Map(entries) = value {
            let mut map = self.root_map(entry);
            for key in &self.keys {
                map = nested_map(map, key);
            }
            map.extend(entries);
            return Ok(());
        }
        let Some((last, parents)) = self.keys.split_last() else {
            if self.root == Root::Body {
                entry.body = value;
                return Ok(());
            }
            let name = if self.root == Root::Attributes { "attributes" } else { "resource" };
            return Err(format!("cannot set {name} root"));
        };
        let mut map = self.root_map(entry);
        for key in parents {
            map = nested_map(map, key);
        }
        map.insert(last.clone(), value);
        Ok(())
    }

    fn root_map<'e>(&self, entry: &'e mut Entry) -> &'e mut Map {
        match self.root {
            Root::Attributes => &mut entry.attributes,
            Root::Resource => &mut entry.resource,
            Root::Body => entry.body.make_map(),
        }
    }

    /// Removes the value there and returns it.
    pub fn delete(&self, entry: &mut Entry) -> Option<Value> {
        let Some((last, parents)) = self.keys.split_last() else {
            return Some(match self.root {
                Root::Body => std::mem::take(&mut entry.body),
                Root::Attributes => Value::Map(std::mem::take(&mut entry.attributes)),
                Root::Resource => Value::Map(std::mem::take(&mut entry.resource)),
            });
        };
        let mut map = match (self.root, &mut entry.body) {
            (Root::Attributes, _) => &mut entry.attributes,
            (Root::Resource, _) => &mut entry.resource,
            (Root::Body, Value::Map(map)) => map,
            (Root::Body, _) => return None,
        };
        for key in parents {
            let Some(Value::Map(inner)) = map.get_mut(key) else { return None };
            map = inner;
        }
        map.remove(last)
    }

    /// The field around this one; a root is its own.
    pub(crate) fn parent(&self) -> Self {
        let mut parent = self.clone();
        parent.keys.pop();
        parent
    }

    /// A field in this one.
    pub(crate) fn child(&self, key: Key) -> Self {
        let mut child = self.clone();
        child.keys.push(key);
        child
    }
}

fn nested_map<'m>(map: &'m mut Map, key: &Key) -> &'m mut Map {
    map.entry(key.clone()).or_default().make_map()
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.root {
            Root::Body => "body",
            Root::Attributes => "attributes",
            Root::Resource => "resource",
        })?;
        let has_dots = self.keys.iter().any(|key| key.contains(&b'.'));
        for key in &self.keys {
            let key = String::from_utf8_lossy(key);
            if has_dots {
                write!(f, "['{key}']")?;
            } else {
                write!(f, ".{key}")?;
            }
        }
        Ok(())
    }
}

/// Where the text is between two keys.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Begin,
    InBracket,
    InQuote(char),
    AfterQuote,
    AfterBracket,
    InName,
}

/// The keys of a path in the notation of JSON: names with dots between them, and quoted names in brackets.
fn split(text: &str) -> Result<Vec<&str>, &'static str> {
    let mut keys = Vec::new();
    let (mut state, mut start) = (State::Begin, 0);
    for (at, c) in text.char_indices() {
        let found = text.get(start..at).unwrap_or_default();
        state = match (state, c) {
            (State::Begin, '[') => State::InBracket,
            (State::Begin, _) => {
                start = at;
                State::InName
            }
            (State::InBracket, '\'' | '"') => {
                start = at + 1;
                State::InQuote(c)
            }
            (State::InBracket, _) => return Err("strings in brackets must be surrounded by quotes"),
            (State::InQuote(quote), c) if c == quote => {
                keys.push(found);
                State::AfterQuote
            }
            (State::InQuote(_), _) => state,
            (State::AfterQuote, ']') => State::AfterBracket,
            (State::AfterQuote, _) => return Err("found characters between closed quote and closing bracket"),
            (State::AfterBracket, '.') => {
                start = at + 1;
                State::InName
            }
            (State::AfterBracket | State::InName, '[') => {
                if state == State::InName {
                    keys.push(found);
                }
                State::InBracket
            }
            (State::AfterBracket, _) => {
                return Err("bracketed access must be followed by a dot or another bracketed access");
            }
            (State::InName, '.') => {
                keys.push(found);
                start = at + 1;
                State::InName
            }
            (State::InName, _) => State::InName,
        };
    }
    match state {
        State::InBracket | State::AfterQuote => return Err("found unclosed left bracket"),
        State::InQuote('"') => return Err("found unclosed double quote"),
        State::InQuote(_) => return Err("found unclosed single quote"),
        State::InName => keys.push(text.get(start..).unwrap_or_default()),
        State::Begin | State::AfterBracket => {}
    }
    if keys.is_empty() { Err("fields size is 0") } else { Ok(keys) }
}
