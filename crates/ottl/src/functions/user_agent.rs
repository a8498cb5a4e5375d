//! `UserAgent`: the browser and the operating system of a user agent's text.
//!
//! The rules are those of uap-core as of 2025-12 (licence: Apache-2.0), in `data/user_agents.tsv`: `A` for agents or `O` for
//! operating systems, a regular expression, and, behind tabs, templates of the name and of the parts of the version. The
//! first rule that matches and gives a name counts.

use std::sync::OnceLock;

use otelcore_go_regexp::{GoRegexp, Template};
use otelcore_pdata::Value as Tree;

use super::common::{required, take};
use super::entries::string_tree;
use crate::function::{Callable, Function, ParameterKind as Kind};
use crate::value::{Map, Value};

pub(super) const USER_AGENT: Function = Function {
    name: "UserAgent",
    parameters: &[required("UserAgent", Kind::String)],
    build: |_| {
        // All rules are compiled when the configuration is read.
        let rules = Rules::get();
        Ok(Callable::pure(|arguments| {
            let Value::String(text) = take(arguments, 0) else { return Ok(Value::Nil) };
            Ok(Value::Map(Map::native(rules.read(&text))))
        }))
    },
};

const RULES: &str = include_str!("data/user_agents.tsv");

/// The rules of agents and of operating systems, in their order.
struct Rules {
    agents: Vec<Rule>,
    systems: Vec<Rule>,
}

struct Rule {
    regexp: GoRegexp,
    name: Template,
    version: Vec<Template>,
}

/// What a text is about.
struct Product {
    name: Vec<u8>,
    version: Vec<u8>,
}

impl Rules {
    fn get() -> &'static Self {
        static RULES_ONCE: OnceLock<Rules> = OnceLock::new();
        RULES_ONCE.get_or_init(Self::compile)
    }

    fn compile() -> Self {
        let mut rules = Self { agents: Vec::new(), systems: Vec::new() };
        for line in RULES.lines() {
            let mut fields = line.split('\t');
            let is_agent = fields.next() == Some("A");
            let (list, parts) = if is_agent { (&mut rules.agents, 3) } else { (&mut rules.systems, 4) };
            // A test compiles them all.
            let Some(Ok(regexp)) = fields.next().map(GoRegexp::compile) else { continue };
            let mut group = 0;
            let mut template = || {
                group += 1;
                match fields.next() {
                    None | Some("") => Template::parse(&format!("${group}")),
                    Some(text) => Template::parse(text),
                }
            };
            let name = template();
            let version = (0..parts).map(|_| template()).collect();
            list.push(Rule { regexp, name, version });
        }
        rules
    }

    fn read(&self, text: &[u8]) -> Vec<(Vec<u8>, Tree)> {
        let (agent, system) = (find(&self.agents, text), find(&self.systems, text));
        let entry = |key: &str, value: &[u8]| (key.as_bytes().to_vec(), string_tree(value));
        let mut entries = vec![
            entry("user_agent.name", &agent.name),
            entry("user_agent.original", text),
            entry("user_agent.version", &agent.version),
            entry("os.name", &system.name),
        ];
        if !system.version.is_empty() {
            entries.push(entry("os.version", &system.version));
        }
        entries
    }
}

fn find(rules: &[Rule], text: &[u8]) -> Product {
    for rule in rules {
        let Some(groups) = rule.regexp.find(text) else { continue };
        let expand = |template: &Template| {
            let mut out = Vec::new();
            rule.regexp.expand(template, text, &groups, &mut out);
            out
        };
        let name = expand(&rule.name);
        if name.is_empty() {
            continue;
        }
        let mut version = Vec::new();
        for (index, template) in rule.version.iter().enumerate() {
            let part = expand(template);
            if !part.is_empty() {
                if index > 0 {
                    version.push(b'.');
                }
                version.extend_from_slice(&part);
            }
        }
        return Product { name, version };
    }
    Product { name: b"Other".to_vec(), version: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_of_the_file_compiles() {
        let rules = Rules::compile();
        assert_eq!(rules.agents.len() + rules.systems.len(), RULES.lines().count());
    }

    #[test]
    fn browser_and_system_are_found() {
        let text =
            b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/99.0.4844.82 Safari/537.36";
        let entries = Rules::get().read(text);
        let get = |key: &str| entries.iter().find(|(found, _)| found == key.as_bytes()).map(|(_, value)| value.clone());
        assert_eq!(get("user_agent.name"), Some(string_tree(b"Chrome")));
        assert_eq!(get("user_agent.version"), Some(string_tree(b"99.0.4844")));
        assert_eq!(get("os.name"), Some(string_tree(b"Linux")));
        assert_eq!(get("os.version"), None);
    }
}
