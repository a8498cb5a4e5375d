//! One operator of a pipeline, and what it is given.

use otelcore_expr::Program;

use crate::blocks::ParserBlocks;
use crate::context::RunContext;
use crate::entry::{Entry, EntryEnvironment};
use crate::field::Field;
use crate::parsers::container::Container;
use crate::parsers::{Parse, parse_with};
use crate::recombine::Recombine;
use crate::results::{OnError, OperatorName, Results};
use crate::template::TextTemplate;
use crate::transforms::Transform;

/// A route of a router.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) condition: Program,
    pub(crate) attributes: Vec<(String, TextTemplate)>,
    pub(crate) output_ids: Vec<String>,
    pub(crate) outputs: Vec<usize>,
}

/// What a parser does: it parses a field into another, and then what is in `blocks`.
pub(crate) struct ParserAction {
    pub(crate) parse_from: Field,
    pub(crate) parse_to: Field,
    pub(crate) blocks: ParserBlocks,
    pub(crate) parser: Box<dyn Parse>,
}

/// What an operator does.
pub(crate) enum Action {
    Transform(Box<dyn Transform>),
    Parse(Box<ParserAction>),
    Container(Box<Container>),
    Recombine(Box<Recombine>),
    Filter { condition: Program, drop_per_mille: u64 },
    Router(Vec<Route>),
}

/// An operator.
pub(crate) struct Operator {
    pub(crate) id: String,
    pub(crate) type_name: &'static str,
    pub(crate) on_error: OnError,
    pub(crate) condition: Option<Program>,
    pub(crate) action: Action,
    /// `output`, as it is written.
    pub(crate) output_ids: Vec<String>,
    /// The operators that its entries go to; the number of operators is the end of the pipeline.
    pub(crate) outputs: Vec<usize>,
}

impl Operator {
    /// Processes entries in their order.
    pub(crate) fn process(&mut self, entries: Vec<Entry>, context: &RunContext<'_>, results: &mut Results) {
        let name = OperatorName { id: &self.id, type_name: self.type_name, on_error: self.on_error };
        for mut entry in entries {
            // Filters and routers have conditions of their own.
            let has_condition = !matches!(self.action, Action::Filter { .. } | Action::Router(_));
            if has_condition && let Some(condition) = &self.condition {
                match condition.holds(&EntryEnvironment { entry: &entry, context }) {
                    Ok(true) => {}
                    Ok(false) => {
                        results.entries.push(entry);
                        continue;
                    }
                    Err(error) => {
                        name.handle_error(entry, format!("running if expr: {error}"), results);
                        continue;
                    }
                }
            }
            match &mut self.action {
                Action::Transform(transform) => match transform.transform(&mut entry, context) {
                    Ok(()) => results.entries.push(entry),
                    Err(error) => name.handle_error(entry, error, results),
                },
                Action::Parse(action) => {
                    let ParserAction { parse_from, parse_to, blocks, parser } = &mut **action;
                    let parsed = parse_with(&mut entry, parse_from, parse_to, blocks, &mut **parser, context);
                    match parsed.and_then(|()| parser.finish(&mut entry)) {
                        Ok(()) => results.entries.push(entry),
                        Err(error) => name.handle_error(entry, error, results),
                    }
                }
                Action::Container(container) => container.process(entry, &name, context, results),
                Action::Recombine(recombine) => recombine.process(entry, &name, context, results),
                Action::Filter { condition, drop_per_mille } => {
                    match condition.holds(&EntryEnvironment { entry: &entry, context }) {
                        Ok(false) => results.entries.push(entry),
                        Ok(true) => {
                            if random_per_mille(context.seed, &entry, results.entries.len()) >= *drop_per_mille {
                                results.entries.push(entry);
                            }
                        }
                        Err(error) => results.fail(&name, "", format!("Running expressing returned an error: {error}")),
                    }
                }
                Action::Router(routes) => route(routes, entry, &name, context, results),
            }
        }
    }
}

/// A number below 1000 for a decision about an entry.
fn random_per_mille(seed: u64, entry: &Entry, position: usize) -> u64 {
    // SplitMix64: the seed is another one in each run.
    let mut z = seed ^ entry.observed_nanos.rotate_left(17) ^ (position as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % 1000
}

fn route(routes: &[Route], mut entry: Entry, name: &OperatorName<'_>, context: &RunContext<'_>, results: &mut Results) {
    for (index, route) in routes.iter().enumerate() {
        match route.condition.holds(&EntryEnvironment { entry: &entry, context }) {
            Ok(false) => {}
            Err(error) => results.fail(name, "", format!("Running expression returned an error: {error}")),
            Ok(true) => {
                let mut added = Vec::with_capacity(route.attributes.len());
                for (key, template) in &route.attributes {
                    match template.render(&entry, context) {
                        Ok(text) => added.push((key, text)),
                        Err(error) => return results.fail(name, "drop", format!("Failed to label entry: {error}")),
                    }
                }
                for (key, text) in added {
                    entry.attributes.insert(otelcore_expr::key(key.as_bytes()), otelcore_expr::Value::String(text));
                }
                match results.routed.iter_mut().find(|(found, _)| *found == index) {
                    Some((_, entries)) => entries.push(entry),
                    None => results.routed.push((index, vec![entry])),
                }
                return;
            }
        }
    }
}
