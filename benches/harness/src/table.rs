//! Medians, ratios, and the tables that contain them.

use std::fmt::Write as _;

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

const REQUESTS: [Column; 6] = [
    column("CPU s per M items", 3),
    column("bytes out per item", 1),
    column("peak MB", 1),
    column("idle MB", 1),
    column("listening ms", 1),
    Column { title: "lost", digits: 0, worst: true },
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
pub(crate) struct Tables([String; 5]);

impl Tables {
    /// Adds a row with the rounds of each of its programs.
    pub(crate) fn add(&mut self, row: &BenchRow, rounds: &[Vec<Vec<f64>>]) {
        let (table, columns): (_, &[Column]) = match row.load {
            RowLoad::Requests { .. } => (0, &REQUESTS),
            RowLoad::Idle { .. } => (1, &IDLE),
            RowLoad::Active { .. } => (2, &ACTIVE),
            RowLoad::App { .. } => (3, &APP),
            RowLoad::Submit { .. } => (4, &SUBMIT),
        };
        let (out, added) = (&mut self.0[table], matches!(row.load, RowLoad::App { .. }));
        if out.is_empty() {
            let titles: Vec<&str> = columns.iter().skip(1).map(|c| c.title).collect();
            let _ = writeln!(
                out,
                "| row | program | {} | to ours | to the floor | {}{} |",
                columns[0].title,
                if added { format!("{ADDED} | added to ours | ") } else { String::new() },
                titles.join(" | ")
            );
            let _ = writeln!(out, "|{}", "---|".repeat(columns.len() + if added { 6 } else { 4 }));
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
            if added {
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
            let _ =
                writeln!(out, "| | bar: {} |{}", row.target, " |".repeat(columns.len() + if added { 4 } else { 2 }));
        }
    }

    pub(crate) fn finish(self) -> String {
        self.0.into_iter().filter(|table| !table.is_empty()).collect::<Vec<_>>().join("\n")
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
