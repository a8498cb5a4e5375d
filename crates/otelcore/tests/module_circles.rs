//! Modules of one crate that use each other in a circle, found by reading the paths in the sources.
//!
//! Compared are modules that have the same parent: an edge `a -> b` exists where `a`, or a module below it, names an
//! item of `b` or below it, by `crate::`, `super::` or `self::`; a name that a parent re-exports leads to the module
//! that it comes from. That a child uses items of its own parent is not an edge. Comments, strings, doc tests and
//! `#[cfg(test)]` items are skipped.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The path of a module or of an item, without the crate.
type ModulePath = Vec<String>;

/// What one source file names.
#[derive(Default)]
struct SourceFile {
    /// The paths of its `use` declarations by the name that each one introduces.
    imports: BTreeMap<String, ModulePath>,
    /// All paths that begin with `crate`, `super` or `self`, and those of its `use` declarations.
    paths: Vec<ModulePath>,
    /// The child modules that only tests have.
    test_modules: BTreeSet<String>,
}

/// Words and punctuation of a source, without comments and literals. `::` is one token.
fn tokens(source: &str) -> Vec<String> {
    let chars: Vec<char> = source.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut i = 0;
    while i < chars.len() {
        match at(i) {
            '/' if at(i + 1) == '/' => {
                while i < chars.len() && at(i) != '\n' {
                    i += 1;
                }
            }
            '/' if at(i + 1) == '*' => {
                i += 2;
                while i < chars.len() && (at(i), at(i + 1)) != ('*', '/') {
                    i += 1;
                }
                i += 2;
            }
            '"' => i = end_of_string(&chars, i),
            '\'' if at(i + 1) == '\\' || at(i + 2) == '\'' => {
                i += if at(i + 1) == '\\' { 3 } else { 2 };
                while i < chars.len() && at(i) != '\'' {
                    i += 1;
                }
                i += 1;
            }
            c if is_word(c) => {
                let start = i;
                while is_word(at(i)) {
                    i += 1;
                }
                let word: String = chars[start..i].iter().collect();
                let hashes = (i..).take_while(|j| at(*j) == '#').count();
                if matches!(word.as_str(), "r" | "br" | "cr") && at(i + hashes) == '"' {
                    i = end_of_raw_string(&chars, i + hashes + 1, hashes);
                } else {
                    found.push(word);
                }
            }
            ':' if at(i + 1) == ':' => {
                found.push("::".to_owned());
                i += 2;
            }
            c => {
                if !c.is_whitespace() {
                    found.push(c.to_string());
                }
                i += 1;
            }
        }
    }
    found
}

fn end_of_string(chars: &[char], quote: usize) -> usize {
    let mut i = quote + 1;
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    i + 1
}

fn end_of_raw_string(chars: &[char], content: usize, hashes: usize) -> usize {
    (content..chars.len())
        .find(|i| chars[*i] == '"' && (1..=hashes).all(|n| chars.get(i + n) == Some(&'#')))
        .map_or(chars.len(), |quote| quote + 1 + hashes)
}

/// The index after the item that begins at `start`: after its `;`, or after the brace that closes its body.
fn end_of_item(tokens: &[String], start: usize) -> usize {
    let mut depth = 0_usize;
    for (i, token) in tokens.iter().enumerate().skip(start) {
        match token.as_str() {
            ";" if depth == 0 => return i + 1,
            "{" => depth += 1,
            "}" if depth <= 1 => return i + 1,
            "}" => depth -= 1,
            _ => {}
        }
    }
    tokens.len()
}

/// Reads the tree of a `use` declaration that begins at `*i`, and adds its paths after `prefix` to `file`.
fn read_use_tree(tokens: &[String], i: &mut usize, prefix: &[String], file: &mut SourceFile) {
    let mut path = prefix.to_vec();
    while let Some(token) = tokens.get(*i) {
        match token.as_str() {
            "{" => {
                while tokens.get(*i).is_some_and(|t| t != "}") {
                    *i += 1;
                    if tokens.get(*i).is_some_and(|t| t != "}") {
                        read_use_tree(tokens, i, &path, file);
                    }
                }
                *i += 1;
                return;
            }
            "," | ";" | "}" => break,
            "as" => {
                *i += 1;
                if let Some(name) = tokens.get(*i) {
                    file.imports.insert(name.clone(), path.clone());
                }
            }
            "::" | "*" => {}
            "self" if !path.is_empty() => {}
            _ => path.push(token.clone()),
        }
        *i += 1;
    }
    if let Some(name) = path.last() {
        file.imports.entry(name.clone()).or_insert_with(|| path.clone());
    }
    file.paths.push(path);
}

fn read_source(source: &str) -> SourceFile {
    let tokens = tokens(source);
    let is_at =
        |i: usize, words: &[&str]| words.iter().enumerate().all(|(n, w)| tokens.get(i + n).is_some_and(|t| t == w));
    let mut file = SourceFile::default();
    let mut i = 0;
    while i < tokens.len() {
        if is_at(i, &["#", "[", "cfg", "(", "test", ")", "]"]) {
            let end = end_of_item(&tokens, i + 7);
            if let Some(name) = tokens[i + 7..end].iter().skip_while(|t| *t != "mod").nth(1) {
                file.test_modules.insert(name.clone());
            }
            i = end;
        } else if is_at(i, &["use"]) {
            i += 1;
            read_use_tree(&tokens, &mut i, &[], &mut file);
        } else if ["crate", "super", "self"].iter().any(|w| is_at(i, &[w, "::"])) {
            let mut path = vec![tokens[i].clone()];
            i += 1;
            while is_at(i, &["::"])
                && tokens.get(i + 1).is_some_and(|t| t.starts_with(|c: char| c.is_alphabetic() || c == '_'))
            {
                path.push(tokens[i + 1].clone());
                i += 2;
            }
            file.paths.push(path);
        } else {
            i += 1;
        }
    }
    file
}

/// The sources below `folder` by module path.
fn read_modules(folder: &Path, module: &ModulePath, modules: &mut BTreeMap<ModulePath, SourceFile>) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        let name = entry.file_stem().and_then(|s| s.to_str()).expect("a name").to_owned();
        let mut path = module.clone();
        if entry.is_dir() {
            path.push(name);
            read_modules(&entry, &path, modules);
        } else if entry.extension().is_some_and(|e| e == "rs") {
            if !["lib", "main", "mod"].contains(&name.as_str()) {
                path.push(name);
            }
            modules.insert(path, read_source(&fs::read_to_string(&entry).expect("a text")));
        }
    }
}

/// The module that `path`, as it is written in `module`, leads to. `None` for what is outside the crate.
fn resolve(
    modules: &BTreeMap<ModulePath, SourceFile>,
    module: &ModulePath,
    path: &[String],
    depth: u32,
) -> Option<ModulePath> {
    let mut current = module.clone();
    let mut rest = path;
    match path.first().map(String::as_str) {
        Some("crate") => {
            current.clear();
            rest = &path[1..];
        }
        Some("self") => rest = &path[1..],
        Some("super") => {
            while let Some((_, tail)) = rest.split_first().filter(|(head, _)| *head == "super") {
                current.pop()?;
                rest = tail;
            }
        }
        Some(name) => {
            let child = [module.as_slice(), &[name.to_owned()]].concat();
            if !modules.contains_key(&child) {
                return None;
            }
        }
        None => return None,
    }
    for (i, name) in rest.iter().enumerate() {
        current.push(name.clone());
        if modules.contains_key(&current) {
            continue;
        }
        current.pop();
        let import = modules.get(&current).and_then(|file| file.imports.get(name));
        return match import {
            Some(import) if depth < 8 && import != &rest[i..] => resolve(modules, &current, import, depth + 1),
            _ => Some(current),
        };
    }
    Some(current)
}

/// The edges between modules of the same parent, by the parent.
fn edges(modules: &BTreeMap<ModulePath, SourceFile>) -> BTreeMap<ModulePath, BTreeMap<String, BTreeSet<String>>> {
    let mut found: BTreeMap<ModulePath, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for (module, file) in modules {
        for target in file.paths.iter().filter_map(|path| resolve(modules, module, path, 0)) {
            let common = module.iter().zip(&target).take_while(|(a, b)| a == b).count();
            if let (Some(from), Some(to)) = (module.get(common), target.get(common)) {
                let parent = found.entry(module[..common].to_vec()).or_default();
                parent.entry(from.clone()).or_default().insert(to.clone());
            }
        }
    }
    found
}

fn reachable(edges: &BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from.to_owned()];
    while let Some(module) = open.pop() {
        for next in edges.get(&module).into_iter().flatten() {
            if seen.insert(next.clone()) {
                open.push(next.clone());
            }
        }
    }
    seen
}

/// The circles of a crate: the parent module and the modules that reach each other.
fn circles(source_folder: &Path) -> BTreeSet<(String, BTreeSet<String>)> {
    let mut modules = BTreeMap::new();
    read_modules(source_folder, &Vec::new(), &mut modules);
    let test_modules: Vec<ModulePath> = modules
        .iter()
        .flat_map(|(module, file)| {
            file.test_modules.iter().map(|name| [module.as_slice(), std::slice::from_ref(name)].concat())
        })
        .collect();
    modules.retain(|module, _| !test_modules.iter().any(|test| module.starts_with(test)));
    let mut found = BTreeSet::new();
    for (parent, edges) in edges(&modules) {
        let reach: BTreeMap<&String, BTreeSet<String>> = edges.keys().map(|m| (m, reachable(&edges, m))).collect();
        for (module, targets) in &reach {
            if targets.contains(*module) {
                let is_mutual = |other: &&String| reach.get(other).is_some_and(|back| back.contains(*module));
                found.insert((parent.join("::"), targets.iter().filter(is_mutual).cloned().collect()));
            }
        }
    }
    found
}

#[test]
fn modules_of_each_crate_use_each_other_in_no_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut folders: Vec<String> = fs::read_dir(root.join("crates"))
        .expect("the crates")
        .map(|entry| format!("crates/{}", entry.expect("an entry").file_name().to_string_lossy()))
        .filter(|folder| root.join(folder).join("src").is_dir())
        .collect();
    folders.push("bindings/c".to_owned());
    let mut errors = Vec::new();
    for folder in &folders {
        for (parent, circle) in &circles(&root.join(folder).join("src")) {
            errors.push(format!("{folder}: modules of `{parent}` use each other in a circle: {circle:?}"));
        }
    }
    assert!(errors.is_empty(), "{}", errors.join("\n"));
}

#[test]
fn circle_through_nested_use_and_re_export_is_found() {
    let source = |text: &str| read_source(text);
    let module = |name: &str| vec![name.to_owned()];
    let modules = BTreeMap::from([
        (Vec::new(), source("mod a; mod b; mod c; pub use c::{Item as Renamed, other::{self}};")),
        (module("a"), source("use crate::{b::{One, Two}, Error};\n// crate::d\nconst X: &str = \"crate::d\";")),
        (module("b"), source("fn f<'a>(x: &'a str) -> char { crate::Renamed::new(); '\"' }")),
        (module("c"), source("#[cfg(test)]\nmod tests { use crate::d; }\nfn f() { super::a::f(r#\"crate::d\"#) }")),
        (module("d"), source("use crate::a;")),
    ]);
    let edges = &edges(&modules)[&Vec::new()];
    assert_eq!(edges["a"], BTreeSet::from(["b".to_owned()]));
    assert_eq!(edges["b"], BTreeSet::from(["c".to_owned()]));
    assert_eq!(edges["c"], BTreeSet::from(["a".to_owned()]));
    assert!(reachable(edges, "a").contains("a"));
    assert!(!reachable(edges, "d").contains("d"));
}
