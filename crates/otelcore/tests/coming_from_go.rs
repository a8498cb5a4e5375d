//! The pages `docs/from-go`: for each component type of the Go collector whether it is here, which of its keys are accepted and
//! refused, and where it differs on purpose. Made of the registry, the declarations, the facts of the Go components
//! (`tests/tools/config-oracle/keys.tsv`) and `DIFFERENCES.md`.
//!
//! `OTELCORE_REFERENCE=write cargo test -p otelcore --test coming_from_go` writes the pages.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "files of the repository")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use otelcore::config::declare::{Field, Shape, Status};
use otelcore::pipeline::ComponentKind;
use otelcore::{Registry, unsupported_types};

const KINDS: [(ComponentKind, &str, &str); 5] = [
    (ComponentKind::Receiver, "receiver", "receivers"),
    (ComponentKind::Processor, "processor", "processors"),
    (ComponentKind::Exporter, "exporter", "exporters"),
    (ComponentKind::Connector, "connector", "connectors"),
    (ComponentKind::Extension, "extension", "extensions"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A row of `DIFFERENCES.md`: what it is about, Go's behaviour, ours, the reason.
struct Row {
    cells: Vec<String>,
    /// The title above it.
    chapter: String,
}

/// The cells of a row of a table. A bar in a span of code or after a backslash is part of a cell.
fn cells(line: &str) -> Vec<String> {
    let (mut cells, mut cell, mut in_code, mut is_escaped) = (Vec::new(), String::new(), false, false);
    for c in line.trim().trim_start_matches('|').chars() {
        match c {
            '|' if !in_code && !is_escaped => cells.push(std::mem::take(&mut cell).trim().to_owned()),
            _ => {
                in_code ^= c == '`';
                cell.push(c);
            }
        }
        is_escaped = c == '\\';
    }
    cells
}

fn differences() -> Vec<Row> {
    let text = std::fs::read_to_string(root().join("DIFFERENCES.md")).unwrap();
    let (mut rows, mut chapter) = (Vec::new(), String::new());
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            title.clone_into(&mut chapter);
        } else if line.starts_with("| ") && !line.starts_with("| where ") {
            let cells = cells(line);
            assert_eq!(cells.len(), 4, "a row has four cells: {line}");
            rows.push(Row { cells, chapter: chapter.clone() });
        }
    }
    assert!(rows.len() > 300, "{}", rows.len());
    rows
}

/// Type names and older names of a kind, with the type that they are.
fn names(registry: &Registry, kind: ComponentKind) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for factory in registry.all_of_kind(kind) {
        let info = factory.info();
        for name in std::iter::once(&info.type_name).chain(info.aliases) {
            names.insert((*name).to_owned(), info.type_name.to_owned());
        }
    }
    names
}

/// The components that a row is about, by kind and type: the names in front of the first colon, of the kind that is written before
/// them. Without a kind it is the first of exporters, processors, connectors, extensions and receivers that has the name.
fn components_of(row: &Row, all: &[(ComponentKind, BTreeMap<String, String>)]) -> Vec<(ComponentKind, String)> {
    let subject = row.cells[0].split(": ").next().unwrap();
    let mut found = Vec::new();
    let mut kinds: Vec<ComponentKind> = Vec::new();
    for (index, part) in subject.split('`').enumerate() {
        if index % 2 == 0 {
            let words = part.split([' ', ',']).filter_map(|word| {
                KINDS.iter().find(|(_, singular, plural)| word == *singular || word == *plural).map(|(kind, ..)| *kind)
            });
            let written: Vec<_> = words.collect();
            if !written.is_empty() {
                kinds = written;
            } else if !part.trim().trim_matches(',').trim().is_empty() && !matches!(part.trim(), "and" | ", ") {
                // Other words: what follows is a part of what the row is about, such as a key.
                if index > 0 {
                    break;
                }
                kinds = Vec::new();
            }
            continue;
        }
        let name = part.split("::").next().unwrap();
        let candidates: Vec<_> = all.iter().filter(|(_, names)| names.contains_key(name)).collect();
        let chosen = candidates.iter().find(|(kind, _)| kinds.contains(kind));
        let chosen = if kinds.is_empty() { candidates.first() } else { chosen };
        let Some((kind, names)) = chosen else { break };
        found.push((*kind, names[name].clone()));
    }
    found
}

fn collect<'f>(above: &str, fields: &'f [Field], all: &mut BTreeMap<String, &'f Field>) {
    for field in fields {
        let path = if above.is_empty() { field.key.to_owned() } else { format!("{above}::{}", field.key) };
        let below = match field.shape {
            Shape::List(_) | Shape::TextsOrList(_) => format!("{path}[]"),
            Shape::Map(_) => format!("{path}::NAME"),
            _ => path.clone(),
        };
        collect(&below, field.shape.fields(), all);
        all.insert(path, field);
    }
}

/// The keys of the Go components by component, such as `receivers/otlp`.
fn go_keys() -> BTreeMap<String, BTreeSet<String>> {
    let facts = std::fs::read_to_string(root().join("tests/tools/config-oracle/keys.tsv")).unwrap();
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in facts.lines() {
        let (component, rest) = line.split_once('\t').unwrap();
        all.entry(component.to_owned()).or_default().insert(rest.split('\t').next().unwrap().to_owned());
    }
    all
}

/// The sentence about the keys of a component.
fn about_keys(keys: &BTreeMap<String, &Field>, go: Option<&BTreeSet<String>>) -> String {
    let used = |path: &str| keys.get(path).is_some_and(|field| !matches!(field.status, Status::Unsupported(_)));
    let old = keys.values().filter(|f| matches!(f.status, Status::Deprecated(_)) || f.old_key.is_some()).count();
    let mut text = match go {
        Some(go) => {
            let accepted = go.iter().filter(|path| used(path)).count();
            let own: Vec<&String> = keys
                .iter()
                .filter(|(path, field)| matches!(field.status, Status::Used) && !go.contains(*path))
                .map(|(path, _)| path)
                .collect();
            let mut text = format!("{accepted} of Go's {} keys are accepted", go.len());
            // A section with keys of its own is one thing to name.
            let named: Vec<&&String> =
                own.iter().filter(|path| !own.iter().any(|above| path.starts_with(&format!("{above}::")))).collect();
            if (1..=12).contains(&named.len()) {
                let list: Vec<String> = named.iter().map(|path| format!("`{path}`")).collect();
                let _ = write!(text, ", and these that Go 0.155 does not have: {}", list.join(", "));
            }
            text
        }
        None => format!("{} keys", keys.len()),
    };
    if old > 0 {
        let _ = write!(text, "; {old} old {} accepted with a warning", if old == 1 { "key is" } else { "keys are" });
    }
    text + "."
}

/// The keys that are refused, one for each section: what is below is refused too.
fn refused_keys(keys: &BTreeMap<String, &Field>) -> String {
    let mut out = String::new();
    for (path, field) in keys {
        if let Status::Unsupported(sentence) = field.status {
            let _ = writeln!(out, "| `{path}` | {} |", sentence.replace('|', "\\|").replace('<', "&lt;"));
        }
    }
    out
}

fn put_rows<'r>(page: &mut String, rows: impl Iterator<Item = &'r Row>) {
    page.push_str("| where | Go collector | otelcore | why |\n|---|---|---|---|\n");
    for row in rows {
        let _ = writeln!(page, "| {} |", row.cells.join(" | "));
    }
}

fn pages() -> BTreeMap<String, String> {
    const GENERATED: &str =
        "Generated from the registry, the declarations of the configurations and `DIFFERENCES.md`; do not edit.";
    let (registry, rows, go_keys) = (Registry::default(), differences(), go_keys());
    let order = [
        ComponentKind::Exporter,
        ComponentKind::Processor,
        ComponentKind::Connector,
        ComponentKind::Extension,
        ComponentKind::Receiver,
    ];
    let all: Vec<_> = order.map(|kind| (kind, names(&registry, kind))).into_iter().collect();
    let subjects: Vec<_> = rows.iter().map(|row| components_of(row, &all)).collect();
    let mut pages = BTreeMap::new();
    for (kind, singular, plural) in KINDS {
        let mut table =
            String::from("| type | older names | keys | refused keys | differences |\n|---|---|---|---|---|\n");
        let mut details = String::new();
        for factory in registry.all_of_kind(kind) {
            let (info, description) = (factory.info(), factory.description().unwrap());
            let name = info.type_name;
            let mut keys = BTreeMap::new();
            collect("", &description.fields, &mut keys);
            let go = go_keys.get(&format!("{plural}/{name}"));
            let refused = refused_keys(&keys);
            let of_type = (kind, name.to_owned());
            let own: Vec<&Row> =
                rows.iter().zip(&subjects).filter(|(_, of)| of.contains(&of_type)).map(|(row, _)| row).collect();
            let older: Vec<String> = info.aliases.iter().map(|alias| format!("`{alias}`")).collect();
            let number = |count: usize| if count == 0 { "none".to_owned() } else { count.to_string() };
            let _ = writeln!(
                table,
                "| [`{name}`](#{name}) | {} | {} | {} | {} |",
                older.join(", "),
                keys.len(),
                number(refused.lines().count()),
                number(own.len())
            );
            let _ = write!(
                details,
                "\n## {name}\n\n{} [Every key](../reference/{plural}/{name}.md). {}\n",
                description.doc.split("\n\n").next().unwrap().replace('\n', " "),
                about_keys(&keys, go)
            );
            if !refused.is_empty() {
                let _ = write!(details, "\n| refused key | reason |\n|---|---|\n{refused}");
            }
            if !own.is_empty() {
                details.push('\n');
                put_rows(&mut details, own.into_iter());
            }
        }
        let built_in = &all.iter().find(|(of, _)| *of == kind).unwrap().1;
        let missing: Vec<String> = unsupported_types(kind)
            .filter(|ty| !built_in.keys().any(|name| name.replace('_', "") == *ty))
            .map(|ty| format!("`{ty}`"))
            .collect();
        let page = format!(
            "# {}{} of the Go collector\n\n{GENERATED}\n\n\"Keys\" counts the keys and sections of the type. A refused key is an error that names it, unless \
             its value turns nothing on.\n\n{table}\n## Not built in\n\nA configuration that uses one of these {plural} is refused with an error that names it and \
             the pipelines that use it; underscores are left out here.\n\n{}\n{details}",
            plural[..1].to_uppercase(),
            &plural[1..],
            if missing.is_empty() { "None.".to_owned() } else { missing.join(", ") + "." },
        );
        pages.insert(format!("{plural}.md"), page);
        assert!(!singular.is_empty());
    }
    let mut page = format!(
        "# What no single component decides\n\n{GENERATED}\n\nThe deliberate differences that concern configurations, protocols, own telemetry and the process.\n"
    );
    let chapters: Vec<&str> = {
        let mut seen = BTreeSet::new();
        rows.iter().map(|row| row.chapter.as_str()).filter(|chapter| seen.insert(*chapter)).collect()
    };
    for chapter in chapters {
        let common: Vec<&Row> = rows
            .iter()
            .zip(&subjects)
            .filter(|(row, of)| row.chapter == chapter && of.is_empty())
            .map(|(row, _)| row)
            .collect();
        if common.is_empty() {
            continue;
        }
        let _ = write!(page, "\n## {}\n\n", if chapter.is_empty() { "Everywhere" } else { chapter });
        put_rows(&mut page, common.into_iter());
    }
    pages.insert("everywhere.md".to_owned(), page);
    pages
}

#[test]
fn pages_for_users_of_the_go_collector_are_what_the_sources_say() {
    let writes = std::env::var("OTELCORE_REFERENCE").is_ok_and(|v| v == "write");
    let folder = root().join("docs/from-go");
    for (name, page) in &pages() {
        let path = folder.join(name);
        if writes {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, page).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            &written == page,
            "docs/from-go/{name} is not up to date: OTELCORE_REFERENCE=write cargo test -p otelcore --test coming_from_go"
        );
    }
}

#[test]
fn every_difference_is_on_exactly_one_kind_of_page() {
    let pages = pages();
    for row in differences() {
        let text = format!("| {} |", row.cells.join(" | "));
        let of = pages.iter().filter(|(_, page)| page.contains(&text)).count();
        assert!(of >= 1, "{text} is on no page");
    }
}
