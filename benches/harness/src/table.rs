//! Medians, ratios, and the tables that contain them.

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::programs::Program;
use crate::rows::{BenchRow, RowLoad};

/// One figure of a result, in the order in which `run` returns them; ratios are calculated from the first.
struct Column {
    title: &'static str,
    digits: usize,
    /// The worst round is the result, not the median.
    worst: bool,
}

/// The column of an application's cost beyond the floor; another column compares it with ours.
const ADDED: &str = "added to the floor";

const fn column(title: &'static str, digits: usize) -> Column {
    Column { title, digits, worst: false }
}

/// The titles of a row that has one without its processor: what the same program uses more than there, and its ratio to
/// ours divided by its ratio to ours there.
const PROCESSED: &str = "added to the row without | ratio to the ratio without";

/// Rows that pass everything on have no last column.
const REQUESTS: [Column; 7] = [
    column("CPU s per M items", 3),
    column("bytes out per item", 1),
    column("peak MB", 1),
    column("idle MB", 1),
    column("listening ms", 1),
    Column { title: "lost", digits: 0, worst: true },
    column("passed on %", 2),
];
const HELD: [Column; 5] = [
    column("MB with traces", 1),
    column("MB before", 1),
    column("peak MB", 1),
    column("KB per trace", 2),
    column("traces", 0),
];
const IDLE: [Column; 3] = [column("KB per connection", 1), column("MB before", 1), column("MB with them", 1)];
const ACTIVE: [Column; 6] = [
    column("p99 ms", 1),
    column("p50 ms", 1),
    column("longest ms", 1),
    column("small per s", 0),
    column("large per s", 1),
    Column { title: "failed", digits: 0, worst: true },
];

const APP: [Column; 7] = [
    column("CPU s per M items", 3),
    column("export mean ms", 3),
    column("p50 ms", 3),
    column("p99 ms", 3),
    column("peak MB", 1),
    Column { title: "failed", digits: 0, worst: true },
    Column { title: "lost", digits: 0, worst: true },
];
const SUBMIT: [Column; 3] =
    [column("CPU s per M items", 4), column("items per s", 0), column("allocations per call", 2)];

/// One table for each kind of row.
#[derive(Default)]
pub(crate) struct Tables {
    tables: [String; 7],
    /// The first figure of each program of each row so far.
    first_figures: HashMap<(&'static str, &'static str), f64>,
}

impl Tables {
    /// Adds a row with the rounds of each of its programs.
    pub(crate) fn add(&mut self, row: &BenchRow, rounds: &[Vec<Vec<f64>>]) {
        let (table, columns): (_, &[Column]) = match row.load {
            RowLoad::Requests { .. } if row.without.is_some() => (5, &REQUESTS),
            RowLoad::Requests { .. } => (0, &REQUESTS[..6]),
            RowLoad::Idle { .. } => (1, &IDLE),
            RowLoad::Active { .. } => (2, &ACTIVE),
            RowLoad::App { .. } => (3, &APP),
            RowLoad::Submit { .. } => (4, &SUBMIT),
            RowLoad::Held { .. } => (6, &HELD),
        };
        // The titles of figures between the ratios and the other columns.
        let more = match table {
            3 => format!("{ADDED} | added to ours | "),
            5 => format!("{PROCESSED} | "),
            _ => String::new(),
        };
        let (out, first_figures) = (&mut self.tables[table], &mut self.first_figures);
        let width = columns.len() + 4 + more.matches('|').count();
        if out.is_empty() {
            let titles: Vec<&str> = columns.iter().skip(1).map(|c| c.title).collect();
            let _ = writeln!(
                out,
                "| row | program | {} | to ours | to the floor | {more}{} |",
                columns[0].title,
                titles.join(" | ")
            );
            let _ = writeln!(out, "|{}", "---|".repeat(width));
        }
        let first = |rounds: &Vec<Vec<f64>>| median(rounds.iter().filter_map(|score| score.first().copied()), false);
        let our_first = rounds.first().map_or(f64::NAN, first);
        let lower_bound = row.programs.iter().zip(rounds).find(|(program, _)| program.is_lower_bound);
        let lower_bound = lower_bound.map_or(f64::NAN, |(_, rounds)| first(rounds));
        for (program, rounds) in row.programs.iter().zip(rounds).filter(|(_, rounds)| !rounds.is_empty()) {
            let figure = |i: usize, c: &Column| {
                format_figure(median(rounds.iter().filter_map(|score| score.get(i).copied()), c.worst), c.digits)
            };
            let rest: Vec<String> = columns.iter().enumerate().skip(1).map(|(i, c)| figure(i, c)).collect();
            let (first_figure, share) = (figure(0, &columns[0]), first(rounds));
            let (to_ours, to_floor) = (format_figure(share / our_first, 2), format_figure(share / lower_bound, 2));
            let mut rest = rest.join(" | ");
            first_figures.insert((row.name, program.name), share);
            if table == 5 {
                let without = |program: &Program| {
                    let key = (row.without.unwrap_or_default(), program.name);
                    first_figures.get(&key).copied().unwrap_or(f64::NAN)
                };
                let ratio_without = row.programs.first().map_or(f64::NAN, |ours| without(program) / without(ours));
                rest = format!(
                    "{} | {} | {rest}",
                    format_figure(share - without(program), columns[0].digits),
                    format_figure(share / our_first / ratio_without, 2)
                );
            }
            if table == 3 {
                let (added_cost, our_added_cost) = (share - lower_bound, our_first - lower_bound);
                rest = format!(
                    "{} | {} | {rest}",
                    format_figure(added_cost, columns[0].digits),
                    format_figure(added_cost / our_added_cost, 2)
                );
            }
            let _ =
                writeln!(out, "| {} | {} | {first_figure} | {to_ours} | {to_floor} | {rest} |", row.name, program.name);
        }
        if !row.target.is_empty() {
            let _ = writeln!(out, "| | bar: {} |{}", row.target, " |".repeat(width - 2));
        }
    }

    pub(crate) fn finish(self) -> String {
        self.tables.into_iter().filter(|table| !table.is_empty()).collect::<Vec<_>>().join("\n")
    }
}

fn format_figure(figure: f64, digits: usize) -> String {
    if figure.is_finite() { format!("{figure:.digits$}") } else { String::new() }
}

fn median(figures: impl Iterator<Item = f64>, worst: bool) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    let at = if worst { figures.len().saturating_sub(1) } else { figures.len().saturating_sub(1) / 2 };
    figures.get(at).copied().unwrap_or(f64::NAN)
}
