//! A document of XML as a tree, and its text, as Go's `xmlquery` has them.

pub(in crate::functions) mod decoder;

use std::collections::{BTreeMap, BTreeSet};

use self::decoder::{Attribute, Decoder, MAX_NAME_BYTES, Name, Token};
use crate::functions::case::trim_space;

/// Levels of elements in a document. Go has ten thousand.
pub(in crate::functions) const MAX_DEPTH: usize = 1_000;

/// The number of a node in its document. In a document that was not changed, the order of nodes is that of the text.
pub(in crate::functions) type NodeId = usize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::functions) enum NodeKind {
    Document,
    Declaration,
    Element,
    Text,
    CData,
    Comment,
    Directive,
    Instruction,
}

/// An attribute: `space` is the prefix, or the namespace if that has none.
#[derive(Clone, Debug)]
pub(in crate::functions) struct NodeAttribute {
    pub(in crate::functions) space: String,
    pub(in crate::functions) local: String,
    pub(in crate::functions) value: String,
}

#[derive(Clone, Debug)]
pub(in crate::functions) struct Node {
    pub(in crate::functions) kind: NodeKind,
    /// The name of an element, or the content.
    pub(in crate::functions) data: String,
    pub(in crate::functions) prefix: String,
    pub(in crate::functions) attributes: Vec<NodeAttribute>,
    pub(in crate::functions) parent: Option<NodeId>,
    pub(in crate::functions) children: Vec<NodeId>,
}

impl Node {
    pub(in crate::functions) fn new(kind: NodeKind, data: impl Into<String>) -> Self {
        Self {
            kind,
            data: data.into(),
            prefix: String::new(),
            attributes: Vec::new(),
            parent: None,
            children: Vec::new(),
        }
    }
}

/// A tree of nodes; the first one is the document.
#[derive(Debug)]
pub(in crate::functions) struct Tree {
    nodes: Vec<Node>,
}

pub(in crate::functions) const ROOT: NodeId = 0;

/// The prefixes of namespaces while a document is read.
struct Prefixes {
    /// The prefix that stands for a namespace, and the level of the element that declared it.
    by_namespace: BTreeMap<String, (String, usize)>,
    /// Bytes of the prefixes that attributes have.
    bytes: usize,
}

impl Prefixes {
    fn new() -> Self {
        let xml = ("http://www.w3.org/XML/1998/namespace".to_owned(), ("xml".to_owned(), 0));
        Self { by_namespace: BTreeMap::from([xml]), bytes: 0 }
    }

    /// Takes the declarations of an element.
    fn declare(&mut self, attributes: &[Attribute], level: usize) {
        for Attribute { name, value } in attributes {
            if name.local == "xmlns" {
                // The default namespace has no prefix, unless an element above has given it one.
                match self.by_namespace.get_mut(value) {
                    Some((known, at)) if *at >= level => (known.clear(), *at = level).1,
                    Some(_) => {}
                    None => drop(self.by_namespace.insert(value.clone(), (String::new(), level))),
                }
            } else if name.space == "xmlns" {
                self.by_namespace.insert(value.clone(), (name.local.clone(), level));
            }
        }
    }

    fn of(&self, namespace: &str) -> Option<&str> {
        self.by_namespace.get(namespace).map(|(prefix, _)| &**prefix)
    }
}

impl Tree {
    pub(in crate::functions) fn empty() -> Self {
        Self { nodes: vec![Node::new(NodeKind::Document, "")] }
    }

    /// Parses a document. Its declaration is a node only if the text begins with it.
    ///
    /// # Errors
    /// It is not XML, it has no element, or it is nested too deeply.
    pub(in crate::functions) fn parse(text: &[u8]) -> Result<Self, String> {
        let mut tree = Self::empty();
        tree.read(text).map_err(|reason| format!("parse xml: {reason}"))?;
        let root = tree.children(ROOT);
        if !root.iter().any(|child| tree.node(*child).kind == NodeKind::Element) {
            return Err("parse xml: xmlquery: invalid XML document".to_owned());
        }
        // As the Go collector: the first node is taken for a declaration that was added.
        if !text.starts_with(b"<?xml")
            && let Some(first) = root.first().copied()
        {
            tree.detach(first);
        }
        Ok(tree)
    }

    fn read(&mut self, text: &[u8]) -> Result<(), String> {
        let mut decoder = Decoder::new(text);
        let mut open = vec![ROOT];
        let mut prefixes = Prefixes::new();
        // What is in front of a document's first element or instruction belongs to nothing.
        let mut has_begun = false;
        while let Some(token) = decoder.next()? {
            let parent = open.last().copied().unwrap_or(ROOT);
            let node = match token {
                Token::Start { name, prefix, attributes } => {
                    if !has_begun {
                        has_begun = true;
                        self.push(parent, declaration(&[("version", "1.0")]));
                    }
                    if open.len() > MAX_DEPTH {
                        return Err(format!("exceeded maximum XML nesting depth of {MAX_DEPTH}"));
                    }
                    let node = element(name, &prefix, attributes, &mut prefixes, open.len())?;
                    open.push(self.push(parent, node));
                    continue;
                }
                Token::End => {
                    open.pop();
                    continue;
                }
                Token::ProcessingInstruction { target, content } => {
                    has_begun = true;
                    instruction(&target, &content)
                }
                Token::Text(text) => Node::new(NodeKind::Text, text),
                Token::CData(text) => Node::new(NodeKind::CData, text),
                Token::Comment(text) => Node::new(NodeKind::Comment, text),
                Token::Directive(text) => Node::new(NodeKind::Directive, text),
            };
            if has_begun {
                self.push(parent, node);
            }
        }
        Ok(())
    }

    pub(in crate::functions) fn node(&self, id: NodeId) -> &Node {
        static NONE: Node = Node {
            kind: NodeKind::Comment,
            data: String::new(),
            prefix: String::new(),
            attributes: Vec::new(),
            parent: None,
            children: Vec::new(),
        };
        self.nodes.get(id).unwrap_or(&NONE)
    }

    pub(in crate::functions) fn node_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(id)
    }

    pub(in crate::functions) fn children(&self, id: NodeId) -> &[NodeId] {
        &self.node(id).children
    }

    /// Nodes of the document, also those that were taken out.
    pub(in crate::functions) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Adds a node as the last child.
    pub(in crate::functions) fn push(&mut self, parent: NodeId, node: Node) -> NodeId {
        let id = self.nodes.len();
        self.nodes.push(Node { parent: Some(parent), ..node });
        if let Some(parent) = self.nodes.get_mut(parent) {
            parent.children.push(id);
        }
        id
    }

    /// Takes a node out of its parent's children.
    pub(in crate::functions) fn detach(&mut self, id: NodeId) {
        let parent = self.node_mut(id).and_then(|node| node.parent.take());
        if let Some(parent) = parent.and_then(|parent| self.nodes.get_mut(parent)) {
            parent.children.retain(|child| *child != id);
        }
    }

    /// Copies the children of another tree's document to the end of a node's children.
    pub(in crate::functions) fn graft(&mut self, parent: NodeId, other: &Self) {
        let mut pending: Vec<(NodeId, NodeId)> =
            other.children(ROOT).iter().rev().map(|child| (parent, *child)).collect();
        while let Some((parent, from)) = pending.pop() {
            let node = other.node(from);
            let copy = self.push(parent, Node { children: Vec::new(), ..node.clone() });
            pending.extend(node.children.iter().rev().map(|child| (copy, *child)));
        }
    }

    /// The text inside a node, without comments, and the number of nodes that were read for it.
    pub(in crate::functions) fn inner_text(&self, id: NodeId) -> (String, usize) {
        let (mut out, mut visited) = (String::new(), 0);
        let mut pending = vec![id];
        while let Some(id) = pending.pop() {
            visited += 1;
            let node = self.node(id);
            match node.kind {
                NodeKind::Text | NodeKind::CData => out.push_str(&node.data),
                NodeKind::Comment => {}
                _ => pending.extend(node.children.iter().rev()),
            }
        }
        (out, visited)
    }

    /// The XML of the children of the document.
    pub(in crate::functions) fn to_xml(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for child in self.children(ROOT) {
            self.put_xml(*child, &mut out);
        }
        out
    }

    /// Appends the XML of a node.
    pub(in crate::functions) fn put_xml(&self, id: NodeId, out: &mut Vec<u8>) {
        enum Work {
            Open(NodeId, bool),
            Close(NodeId),
        }
        let mut pending = vec![Work::Open(id, true)];
        while let Some(work) = pending.pop() {
            match work {
                Work::Close(id) => {
                    out.extend_from_slice(b"</");
                    put_name(self.node(id), out);
                    out.push(b'>');
                }
                Work::Open(id, keeps_spaces) => {
                    let node = self.node(id);
                    let keeps_spaces = match node.attributes.iter().find(|a| a.space == "xml" && a.local == "space") {
                        Some(attribute) if attribute.value == "preserve" => true,
                        Some(attribute) if attribute.value == "default" => false,
                        _ => keeps_spaces,
                    };
                    if put_leaf(node, keeps_spaces, out) {
                        continue;
                    }
                    let is_declaration = node.kind == NodeKind::Declaration;
                    out.extend_from_slice(if is_declaration { b"<?" } else { b"<" });
                    put_name(node, out);
                    put_attributes(node, out);
                    out.extend_from_slice(if is_declaration { b"?>" } else { b">" });
                    if !is_declaration {
                        pending.push(Work::Close(id));
                    }
                    pending.extend(node.children.iter().rev().map(|child| Work::Open(*child, keeps_spaces)));
                }
            }
        }
    }
}

fn put_name(node: &Node, out: &mut Vec<u8>) {
    if !node.prefix.is_empty() {
        out.extend_from_slice(node.prefix.as_bytes());
        out.push(b':');
    }
    out.extend_from_slice(node.data.as_bytes());
}

fn put_attributes(node: &Node, out: &mut Vec<u8>) {
    for attribute in &node.attributes {
        out.push(b' ');
        if !attribute.space.is_empty() {
            out.extend_from_slice(attribute.space.as_bytes());
            out.push(b':');
        }
        out.extend_from_slice(attribute.local.as_bytes());
        out.extend_from_slice(b"=\"");
        put_escaped(&attribute.value, out);
        out.push(b'"');
    }
}

/// Appends a node that has no children. Returns false if it may have some.
fn put_leaf(node: &Node, keeps_spaces: bool, out: &mut Vec<u8>) -> bool {
    let (open, close) = match node.kind {
        NodeKind::Text => {
            let text = if keeps_spaces { node.data.as_bytes() } else { trim_space(node.data.as_bytes()) };
            put_escaped(&String::from_utf8_lossy(text), out);
            return true;
        }
        NodeKind::CData => ("<![CDATA[", "]]>"),
        NodeKind::Comment => ("<!--", "-->"),
        NodeKind::Directive => ("<!", ">"),
        NodeKind::Instruction => ("<?", "?>"),
        NodeKind::Document | NodeKind::Declaration | NodeKind::Element => return false,
    };
    out.extend_from_slice(open.as_bytes());
    out.extend_from_slice(node.data.as_bytes());
    out.extend_from_slice(close.as_bytes());
    true
}

/// As Go's `html.EscapeString`.
fn put_escaped(text: &str, out: &mut Vec<u8>) {
    for b in text.bytes() {
        match b {
            b'&' => out.extend_from_slice(b"&amp;"),
            b'\'' => out.extend_from_slice(b"&#39;"),
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            b'"' => out.extend_from_slice(b"&#34;"),
            b => out.push(b),
        }
    }
}

fn declaration(attributes: &[(&str, &str)]) -> Node {
    let attribute = |(name, value): &(&str, &str)| NodeAttribute {
        space: String::new(),
        local: (*name).to_owned(),
        value: (*value).to_owned(),
    };
    Node { attributes: attributes.iter().map(attribute).collect(), ..Node::new(NodeKind::Declaration, "xml") }
}

fn instruction(target: &str, content: &str) -> Node {
    if target != "xml" {
        let content = content.trim();
        let separator = if content.is_empty() { "" } else { " " };
        return Node::new(NodeKind::Instruction, format!("{target}{separator}{content}"));
    }
    let (mut attributes, mut names) = (Vec::new(), BTreeSet::new());
    for pair in content.split(' ').map(str::trim) {
        if let Some((name, value)) = pair.split_once('=').filter(|(name, _)| !name.is_empty())
            && names.insert(name)
        {
            attributes.push((name, value.trim_matches(['"', '\''])));
        }
    }
    declaration(&attributes)
}

fn element(
    name: Name,
    prefix: &str,
    attributes: Vec<Attribute>,
    prefixes: &mut Prefixes,
    level: usize,
) -> Result<Node, String> {
    prefixes.declare(&attributes, level);
    let mut node = Node::new(NodeKind::Element, name.local);
    if !name.space.is_empty() {
        match prefixes.of(&name.space) {
            Some(known) if known == prefix => node.prefix = prefix.to_owned(),
            Some(_) => {}
            None => {
                return Err(format!("xmlquery: invalid XML document, namespace {} is missing", name.space));
            }
        }
    }
    for Attribute { name, value } in attributes {
        let space = match prefixes.of(&name.space) {
            Some(prefix) => prefix.to_owned(),
            None => name.space,
        };
        prefixes.bytes += space.len();
        if prefixes.bytes > MAX_NAME_BYTES {
            return Err(format!("the prefixes of all attributes are larger than {MAX_NAME_BYTES} bytes"));
        }
        node.attributes.push(NodeAttribute { space, local: name.local, value });
    }
    Ok(node)
}

impl Tree {
    /// Takes all marked nodes out of their parents' children, in one pass.
    pub(in crate::functions) fn remove_marked(&mut self, is_removed: &[bool]) {
        for node in &mut self.nodes {
            node.children.retain(|child| !is_removed.get(*child).copied().unwrap_or(false));
        }
    }
}
