//! Converters of XML.

use std::collections::BTreeMap;

use otelcore_pdata::Value as ValueTree;

use super::common::{MAX_RESULT_BYTES, error, optional, quote, required, text, too_large};
use super::entries::{Entries, string_tree};
use super::xml_tree::decoder::{Attribute, Decoder, Token};
use super::xml_tree::{MAX_DEPTH, Node, NodeId, NodeKind, ROOT, Tree};
use super::xpath::{Found, XPath};
use crate::error::{BuildError, EvalError};
use crate::function::{Arguments, Callable, Function, ParameterKind as Kind};
use crate::value::{Map, TreeMap, Value};

/// Compiles the path of an argument.
fn xpath(arguments: &mut Arguments, index: usize, default: &str) -> Result<XPath, BuildError> {
    let path = arguments.literal_string(index)?.unwrap_or_default();
    let path = if path.is_empty() { default } else { &path };
    XPath::compile(path).map_err(|reason| BuildError::new(format!("invalid xpath: {reason}")))
}

fn parse(text: &[u8]) -> Result<Tree, EvalError> {
    Tree::parse(text).map_err(error)
}

fn select(path: &XPath, tree: &Tree) -> Result<Vec<Found>, EvalError> {
    path.select(tree).map_err(error)
}

pub(super) const PARSE_XML: Function = Function {
    name: "ParseXML",
    parameters: &[required("Target", Kind::String)],
    build: |_| {
        Ok(Callable::pure(|arguments| {
            let map = parse_elements(text(arguments, 0)).map_err(|reason| error(reason.to_string()))?;
            Ok(Value::Map(Map::owned(map)))
        }))
    },
};

/// An element that is being read.
#[derive(Default)]
struct Element {
    tag: String,
    attributes: Vec<Attribute>,
    text: String,
    children: Vec<ValueTree>,
}

impl Element {
    fn into_map(self) -> TreeMap {
        let mut entries = Entries::default();
        entries.put(b"tag", string_tree(self.tag.as_bytes()));
        if !self.text.is_empty() {
            entries.put(b"content", string_tree(self.text.as_bytes()));
        }
        if !self.attributes.is_empty() {
            let mut attributes = Entries::default();
            for attribute in &self.attributes {
                attributes.put(attribute.name.local.as_bytes(), string_tree(attribute.value.as_bytes()));
            }
            entries.put(b"attributes", ValueTree::Map(attributes.into_map()));
        }
        if !self.children.is_empty() {
            entries.put(b"children", ValueTree::Array(self.children));
        }
        entries.into_map()
    }
}

/// The first element of a text, and what is in it.
fn parse_elements(text: &[u8]) -> Result<TreeMap, String> {
    let mut decoder = Decoder::new(text);
    let mut open: Vec<Element> = Vec::new();
    loop {
        let token = decoder.next().map_err(|reason| {
            if open.is_empty() {
                format!("unmarshal xml: {reason}")
            } else {
                format!("unmarshal xml: decode next token: {reason}")
            }
        })?;
        match token {
            None => return Err("unmarshal xml: EOF".to_owned()),
            Some(Token::Start { name, attributes, .. }) => {
                if open.len() > MAX_DEPTH {
                    return Err(format!("unmarshal xml: exceeded maximum XML nesting depth of {MAX_DEPTH}"));
                }
                open.push(Element { tag: name.local, attributes, ..Element::default() });
            }
            Some(Token::Text(text) | Token::CData(text)) => {
                if let Some(element) = open.last_mut() {
                    element.text.push_str(text.trim());
                }
            }
            Some(Token::End) => {
                let Some(element) = open.pop() else { continue };
                match open.last_mut() {
                    Some(parent) => parent.children.push(ValueTree::Map(element.into_map())),
                    None if decoder.is_at_end() => return Ok(element.into_map()),
                    None => return Err("trailing bytes after parsing xml".to_owned()),
                }
            }
            Some(_) => {}
        }
    }
}

pub(super) const PARSE_SIMPLIFIED_XML: Function = Function {
    name: "ParseSimplifiedXML",
    parameters: &[required("Target", Kind::String)],
    build: |_| {
        Ok(Callable::pure(|arguments| {
            let tree = parse(text(arguments, 0))?;
            Ok(Value::Map(Map::owned(simplified(&tree, ROOT))))
        }))
    },
};

/// The elements in an element, by their names: a text, a map, or a list of those. Depth is bounded by the parser.
fn simplified(tree: &Tree, parent: NodeId) -> TreeMap {
    let elements: Vec<NodeId> =
        tree.children(parent).iter().copied().filter(|id| tree.node(*id).kind == NodeKind::Element).collect();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for id in &elements {
        *counts.entry(&tree.node(*id).data).or_default() += 1;
    }
    let mut entries = Entries::default();
    for id in &elements {
        let node = tree.node(*id);
        if node.children.is_empty() {
            continue;
        }
        let is_list = counts.get(&*node.data).is_some_and(|count| *count > 1);
        if is_list && entries.get_mut(node.data.as_bytes()).is_none() {
            entries.put(node.data.as_bytes(), ValueTree::Array(Vec::new()));
        }
        let value = match leaf_text(tree, *id) {
            Some(text) => string_tree(text.as_bytes()),
            None => match simplified(tree, *id) {
                map if map.is_empty() => continue,
                map => ValueTree::Map(map),
            },
        };
        match entries.get_mut(node.data.as_bytes()) {
            Some(ValueTree::Array(values)) if is_list => values.push(value),
            _ => entries.put(node.data.as_bytes(), value),
        }
    }
    entries.into_map()
}

/// The first text of an element without elements, unless it is empty.
fn leaf_text(tree: &Tree, id: NodeId) -> Option<&str> {
    let children = || tree.children(id).iter().map(|child| tree.node(*child));
    if children().any(|child| child.kind == NodeKind::Element) {
        return None;
    }
    let text = children().find(|child| matches!(child.kind, NodeKind::Text | NodeKind::CData));
    text.map(|text| &*text.data).filter(|text| !text.is_empty())
}

pub(super) const GET_XML: Function = Function {
    name: "GetXML",
    parameters: &[required("Target", Kind::String), required("XPath", Kind::LiteralString)],
    build: |arguments| {
        let path = xpath(arguments, 1, "")?;
        Ok(Callable::pure(move |arguments| {
            let target = text(arguments, 0);
            if target.is_empty() {
                return Ok(Value::str(""));
            }
            let tree = parse(target)?;
            let mut selected = Tree::empty();
            let mut out = Vec::new();
            for found in select(&path, &tree)? {
                let kind = tree.node(found.node).kind;
                match (found.attribute, kind) {
                    (None, NodeKind::Element | NodeKind::Text) => tree.put_xml(found.node, &mut out),
                    (Some(_), _) | (None, NodeKind::CData) => {
                        let id = selected.push(ROOT, Node::new(NodeKind::Text, found.text));
                        selected.put_xml(id, &mut out);
                    }
                    _ => {}
                }
                // Nodes that are inside one another are written several times.
                if out.len() > MAX_RESULT_BYTES {
                    return Err(too_large("GetXML"));
                }
            }
            Ok(Value::string(out))
        }))
    },
};

pub(super) const INSERT_XML: Function = Function {
    name: "InsertXML",
    parameters: &[
        required("Target", Kind::String),
        required("XPath", Kind::LiteralString),
        required("SubDocument", Kind::String),
    ],
    build: |arguments| {
        let path = xpath(arguments, 1, "")?;
        Ok(Callable::pure(move |arguments| {
            let target = text(arguments, 0);
            let mut tree = if target.is_empty() { Tree::empty() } else { parse(target)? };
            let inserted = parse(text(arguments, 2))?;
            let mut failed = Vec::new();
            let found = select(&path, &tree)?;
            // What is inserted is bounded as the other results of statements are: by what a record may have.
            if found.len().saturating_mul(inserted.len()) > MAX_INSERTED {
                return Err(error(format!("InsertXML would insert more than {MAX_INSERTED} nodes")));
            }
            if found.len().saturating_mul(inserted.to_xml().len()) > MAX_RESULT_BYTES {
                return Err(too_large("InsertXML"));
            }
            for found in found {
                let node = tree.node(found.node);
                let is_parent = matches!(node.kind, NodeKind::Element | NodeKind::Document);
                if is_parent && found.attribute.is_none() {
                    tree.graft(found.node, &inserted);
                } else {
                    let data = quote(found.data.as_bytes());
                    failed.push(format!("InsertXML XPath selected non-element: {data}"));
                }
            }
            if failed.is_empty() { Ok(Value::string(tree.to_xml())) } else { Err(error(failed.join("\n"))) }
        }))
    },
};

/// Nodes that one call inserts.
const MAX_INSERTED: usize = 100_000;

pub(super) const REMOVE_XML: Function = Function {
    name: "RemoveXML",
    parameters: &[required("Target", Kind::String), required("XPath", Kind::LiteralString)],
    build: |arguments| {
        let path = xpath(arguments, 1, "")?;
        Ok(Callable::pure(move |arguments| {
            let target = text(arguments, 0);
            if target.is_empty() {
                return Ok(Value::str(""));
            }
            let mut tree = parse(target)?;
            let found = select(&path, &tree)?;
            let mut removed = vec![false; tree.len()];
            for found in &found {
                if found.attribute.is_some() {
                    continue;
                }
                match tree.node(found.node).kind {
                    NodeKind::Element | NodeKind::Comment | NodeKind::CData => {
                        if let Some(is_removed) = removed.get_mut(found.node) {
                            *is_removed = true;
                        }
                    }
                    NodeKind::Text => {
                        if let Some(node) = tree.node_mut(found.node) {
                            node.data.clear();
                        }
                    }
                    _ => {}
                }
            }
            remove_attributes(&mut tree, found.iter());
            tree.remove_marked(&removed);
            Ok(Value::string(tree.to_xml()))
        }))
    },
};

/// Removes the selected attributes that have no prefix.
fn remove_attributes<'f>(tree: &mut Tree, found: impl Iterator<Item = &'f Found>) {
    let mut names: BTreeMap<NodeId, BTreeMap<&str, usize>> = BTreeMap::new();
    for found in found.filter(|found| found.attribute.is_some()) {
        *names.entry(found.node).or_default().entry(&found.data).or_default() += 1;
    }
    for (id, mut names) in names {
        let Some(node) = tree.node_mut(id) else { continue };
        node.attributes.retain(|attribute| match names.get_mut(&*attribute.local) {
            Some(left) if attribute.space.is_empty() && *left > 0 => {
                *left -= 1;
                false
            }
            _ => true,
        });
    }
}

pub(super) const CONVERT_ATTRIBUTES_TO_ELEMENTS_XML: Function = Function {
    name: "ConvertAttributesToElementsXML",
    parameters: &[required("Target", Kind::String), optional("XPath", Kind::LiteralString)],
    build: |arguments| {
        let path = xpath(arguments, 1, "//@*")?;
        Ok(Callable::pure(move |arguments| {
            let mut tree = parse(text(arguments, 0))?;
            let found = select(&path, &tree)?;
            for found in found.iter().filter(|found| found.attribute.is_some()) {
                let element = tree.push(found.node, Node::new(NodeKind::Element, found.data.clone()));
                tree.push(element, Node::new(NodeKind::Text, found.text.clone()));
            }
            remove_attributes(&mut tree, found.iter());
            Ok(Value::string(tree.to_xml()))
        }))
    },
};

pub(super) const CONVERT_TEXT_TO_ELEMENTS_XML: Function = Function {
    name: "ConvertTextToElementsXML",
    parameters: &[
        required("Target", Kind::String),
        optional("XPath", Kind::LiteralString),
        optional("ElementName", Kind::LiteralString),
    ],
    build: |arguments| {
        let path = xpath(arguments, 1, "/")?;
        let name = arguments.literal_string(2)?.filter(|name| !name.is_empty()).unwrap_or_else(|| "value".to_owned());
        Ok(Callable::pure(move |arguments| {
            let mut tree = parse(text(arguments, 0))?;
            let mut is_done = vec![false; tree.len()];
            for found in select(&path, &tree)?.iter().filter(|found| found.attribute.is_none()) {
                wrap_texts(&mut tree, found.node, &name, &mut is_done);
            }
            Ok(Value::string(tree.to_xml()))
        }))
    },
};

/// Makes elements of texts that are beside other texts or elements, in a node and below it.
fn wrap_texts(tree: &mut Tree, id: NodeId, name: &str, is_done: &mut [bool]) {
    let mut pending = vec![id];
    while let Some(id) = pending.pop() {
        // What is below several of the selected nodes is converted once; it would be the same.
        match is_done.get_mut(id) {
            Some(done) if !*done => *done = true,
            _ => continue,
        }
        if !matches!(tree.node(id).kind, NodeKind::Element | NodeKind::Document) {
            continue;
        }
        let children = tree.children(id).to_vec();
        let of_kind =
            |kind| children.iter().copied().filter(|child| tree.node(*child).kind == kind).collect::<Vec<_>>();
        let (texts, elements) = (of_kind(NodeKind::Text), of_kind(NodeKind::Element));
        pending.extend(&elements);
        if texts.is_empty() || texts.len() + elements.len() <= 1 {
            continue;
        }
        for child in texts {
            let Some(node) = tree.node_mut(child) else { continue };
            let text = std::mem::replace(&mut node.data, name.to_owned());
            node.kind = NodeKind::Element;
            tree.push(child, Node::new(NodeKind::Text, text));
        }
    }
}
