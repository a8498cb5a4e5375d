//! Operators joined by their outputs.
//!
//! Owns the operators and what they keep. Entries leave it in the order in which they came, as far as operators keep it.

use std::collections::BTreeMap;

use crate::build::{BuildError, build};
use crate::config::OperatorConfig;
use crate::context::{Failure, RunContext};
use crate::entry::Entry;
use crate::operator::{Action, Operator};
use crate::results::Results;

/// How many ways from the first operator to the end there may be: on each, an entry is copied.
const MAX_PATHS: u64 = 1000;

/// A pipeline of operators. Without operators, entries leave it as they come.
pub struct OperatorPipeline {
    operators: Vec<Operator>,
    failures: Vec<Failure>,
}

impl std::fmt::Debug for OperatorPipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ids: Vec<&str> = self.operators.iter().map(|operator| operator.id.as_str()).collect();
        f.debug_struct("OperatorPipeline").field("operators", &ids).finish_non_exhaustive()
    }
}

impl OperatorPipeline {
    /// Compiles and joins operators.
    ///
    /// # Errors
    /// The index of the operator that is wrong, and why.
    pub fn build(configs: &[OperatorConfig]) -> Result<Self, (usize, BuildError)> {
        let mut operators = Vec::with_capacity(configs.len());
        for (index, config) in configs.iter().enumerate() {
            operators.push(build(config).map_err(|error| (index, error))?);
        }
        rename_duplicates(&mut operators);
        let by_id = ids(&operators)?;
        let end = operators.len();
        for (index, operator) in operators.iter_mut().enumerate() {
            let fail = |key, message| (index, BuildError { key, message, hint: None });
            let find = |id: &String| by_id.get(id).copied().ok_or_else(|| format!("operator '{id}' does not exist"));
            if let Action::Router(routes) = &mut operator.action {
                for route in routes {
                    let found: Result<Vec<usize>, String> = route.output_ids.iter().map(find).collect();
                    route.outputs =
                        found.map_err(|e| fail("routes", format!("failed to set outputs on route: {e}")))?;
                }
                continue;
            }
            operator.outputs = if operator.output_ids.is_empty() {
                vec![(index + 1).min(end)]
            } else {
                let found: Result<Vec<usize>, String> = operator.output_ids.iter().map(find).collect();
                found.map_err(|e| fail("output", e))?
            };
            let mut sorted = operator.outputs.clone();
            sorted.sort_unstable();
            if sorted.windows(2).any(|pair| pair.first() == pair.get(1)) {
                let message = "operators cannot be connected, because a connection already exists";
                return Err(fail("output", message.to_owned()));
            }
        }
        check_paths(&operators)?;
        Ok(Self { operators, failures: Vec::new() })
    }

    /// Processes entries, and appends those that leave the pipeline to `out`.
    pub fn process(&mut self, entries: Vec<Entry>, context: &RunContext<'_>, out: &mut Vec<Entry>) {
        self.run(vec![(0, entries)], context, out);
    }

    /// Sends what operators have kept for too long, and appends what leaves the pipeline to `out`.
    pub fn handle_timeout(&mut self, context: &RunContext<'_>, out: &mut Vec<Entry>) {
        for index in 0..self.operators.len() {
            let mut results = Results::default();
            match self.operators.get_mut(index).map(|operator| &mut operator.action) {
                Some(Action::Recombine(recombine)) => recombine.flush_old(context.now_nanos, &mut results),
                Some(Action::Container(container)) => {
                    container.recombine.flush_old(context.now_nanos, &mut results);
                }
                _ => continue,
            }
            self.send_on(index, results, context, out);
        }
    }

    /// Sends everything that operators keep.
    pub fn drain(&mut self, context: &RunContext<'_>, out: &mut Vec<Entry>) {
        for index in 0..self.operators.len() {
            let mut results = Results::default();
            match self.operators.get_mut(index).map(|operator| &mut operator.action) {
                Some(Action::Recombine(recombine)) => recombine.flush_all(&mut results),
                Some(Action::Container(container)) => container.recombine.flush_all(&mut results),
                _ => continue,
            }
            self.send_on(index, results, context, out);
        }
    }

    /// When [`OperatorPipeline::handle_timeout`] has something to do, in nanoseconds since the epoch.
    #[must_use]
    pub fn next_timeout(&self) -> Option<u64> {
        let recombines = self.operators.iter().filter_map(|operator| match &operator.action {
            Action::Recombine(recombine) => recombine.next_flush(),
            Action::Container(container) => container.recombine.next_flush(),
            _ => None,
        });
        recombines.min()
    }

    /// Entries that operators keep.
    #[must_use]
    pub fn held_entries(&self) -> u64 {
        let recombines = self.operators.iter().map(|operator| match &operator.action {
            Action::Recombine(recombine) => recombine.held_entries(),
            Action::Container(container) => container.recombine.held_entries(),
            _ => 0,
        });
        recombines.sum()
    }

    /// What could not be processed since the last call.
    pub fn take_failures(&mut self) -> Vec<Failure> {
        std::mem::take(&mut self.failures)
    }

    fn send_on(&mut self, index: usize, results: Results, context: &RunContext<'_>, out: &mut Vec<Entry>) {
        let mut work = Vec::new();
        self.deliver(index, results, &mut work);
        self.run(work, context, out);
    }

    /// Works until nothing is left. What an operator has made comes before what was there already.
    fn run(&mut self, mut work: Vec<(usize, Vec<Entry>)>, context: &RunContext<'_>, out: &mut Vec<Entry>) {
        while let Some((index, entries)) = work.pop() {
            if entries.is_empty() {
                continue;
            }
            let Some(operator) = self.operators.get_mut(index) else {
                out.extend(entries);
                continue;
            };
            let mut results = Results::default();
            operator.process(entries, context, &mut results);
            self.deliver(index, results, &mut work);
        }
    }

    /// Gives the results of an operator to its outputs. The first output is worked on first.
    fn deliver(&mut self, index: usize, results: Results, work: &mut Vec<(usize, Vec<Entry>)>) {
        self.add_failures(results.failures);
        let Some(operator) = self.operators.get(index) else { return };
        if let Action::Router(routes) = &operator.action {
            for (route, entries) in results.routed.into_iter().rev() {
                copy_to(routes.get(route).map_or(&[][..], |route| &route.outputs), entries, work);
            }
        } else {
            copy_to(&operator.outputs, results.entries, work);
        }
    }

    fn add_failures(&mut self, failures: Vec<Failure>) {
        for failure in failures {
            let same =
                |known: &&mut Failure| known.operator_id == failure.operator_id && known.action == failure.action;
            match self.failures.iter_mut().find(same) {
                Some(known) => known.count += failure.count,
                None => self.failures.push(failure),
            }
        }
    }
}

/// Adds entries for each output, the last one first.
fn copy_to(outputs: &[usize], entries: Vec<Entry>, work: &mut Vec<(usize, Vec<Entry>)>) {
    let Some((first, others)) = outputs.split_first() else { return };
    for output in others.iter().rev() {
        work.push((*output, entries.clone()));
    }
    work.push((*first, entries));
}

/// Gives operators whose id is their type a number, from the second one of a type on.
fn rename_duplicates(operators: &mut [Operator]) {
    let mut used: std::collections::BTreeSet<String> = operators.iter().map(|operator| operator.id.clone()).collect();
    let mut next: BTreeMap<&'static str, u32> = BTreeMap::new();
    for operator in operators.iter_mut().filter(|operator| operator.id == operator.type_name) {
        let number = next.entry(operator.type_name).or_default();
        if *number > 0 {
            let id = loop {
                let id = format!("{}{number}", operator.type_name);
                if used.insert(id.clone()) {
                    break id;
                }
                *number += 1;
            };
            operator.id = id;
        }
        *number += 1;
    }
}

fn ids(operators: &[Operator]) -> Result<BTreeMap<String, usize>, (usize, BuildError)> {
    let mut by_id = BTreeMap::new();
    for (index, operator) in operators.iter().enumerate() {
        if by_id.insert(operator.id.clone(), index).is_some() {
            let message = format!("operator with id '{}' already exists in pipeline", operator.id);
            let hint = Some("ensure that each operator has a unique `type` or `id`".to_owned());
            return Err((index, BuildError { key: "id", message, hint }));
        }
    }
    Ok(by_id)
}

fn outputs_of(operator: &Operator) -> Vec<usize> {
    match &operator.action {
        Action::Router(routes) => routes.iter().flat_map(|route| route.outputs.iter().copied()).collect(),
        _ => operator.outputs.clone(),
    }
}

/// Refuses circles, and pipelines that copy entries too often.
fn check_paths(operators: &[Operator]) -> Result<(), (usize, BuildError)> {
    let end = operators.len();
    let outputs: Vec<Vec<usize>> = operators.iter().map(outputs_of).collect();
    // The number of inputs that are not counted yet, and the number of ways from the first operator.
    let mut inputs = vec![0_usize; end + 1];
    outputs.iter().flatten().for_each(|output| {
        if let Some(count) = inputs.get_mut(*output) {
            *count += 1;
        }
    });
    let mut ways = vec![0_u64; end + 1];
    if let Some(first) = ways.first_mut() {
        *first = 1;
    }
    let mut ready: Vec<usize> = (0..=end).filter(|index| inputs.get(*index) == Some(&0)).collect();
    let mut done = 0;
    while let Some(index) = ready.pop() {
        done += 1;
        let here = ways.get(index).copied().unwrap_or(0);
        for output in outputs.get(index).into_iter().flatten() {
            if let (Some(count), Some(total)) = (inputs.get_mut(*output), ways.get_mut(*output)) {
                *count -= 1;
                *total = total.saturating_add(here);
                if *count == 0 {
                    ready.push(*output);
                }
            }
        }
    }
    if done <= end {
        let index = (0..end).find(|index| inputs.get(*index).is_some_and(|count| *count > 0)).unwrap_or(0);
        let message = "pipeline has a circular dependency".to_owned();
        let hint = Some("ensure that all operators are connected in a straight, acyclic line".to_owned());
        return Err((index, BuildError { key: "output", message, hint }));
    }
    if ways.iter().any(|ways| *ways > MAX_PATHS) {
        let message = format!("an entry would be copied more than {MAX_PATHS} times");
        return Err((0, BuildError { key: "output", message, hint: None }));
    }
    Ok(())
}
