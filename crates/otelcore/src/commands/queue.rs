//! `queue`: what is in the queues on disk of a `file_storage` directory, whether it is intact, and ways to take it out.
//!
//! `ls`, `verify` and `export` change nothing. `replay` marks delivered what it has delivered.

mod find;
mod list;
mod replay;

use std::io::Write;

use otelcore_pdata::{Rope, Signal, json};
use otelcore_reactor::with_files;
use otelcore_storage::{Damage, Record};

use self::find::{FoundQueue, OpenQueue, find_queues};
use super::args::{Command, Invocation, QueueAction};
use super::{Terminal, print_error};
use crate::registry::Registry;

/// How many bytes are read at a time.
const READ_BYTES: usize = 4 << 20;

/// Runs the command.
pub(super) fn run(invocation: &Invocation, registry: &Registry, terminal: &mut Terminal<'_>) -> u8 {
    let Command::Queue { action, directory } = &invocation.command else { return 1 };
    let queues = match find_queues(directory) {
        Ok((queues, notes)) => {
            notes.iter().for_each(|note| drop(writeln!(terminal.err, "{note}")));
            queues
        }
        Err(e) => return print_error(terminal, &e),
    };
    if *action == QueueAction::List {
        return list::list(&queues, registry, terminal);
    }
    let mut code = 0;
    for queue in &queues {
        let result = match action {
            QueueAction::List => Ok(true),
            QueueAction::Verify => verify(queue, terminal),
            QueueAction::Export { dead: false } => export(queue, terminal),
            QueueAction::Export { dead: true } => export_dead(queue, terminal),
            QueueAction::Replay { endpoint } => replay::replay(queue, endpoint, &invocation.set, registry, terminal),
        };
        match result {
            Ok(true) => {}
            Ok(false) => code = 1,
            Err(e) => code = print_error(terminal, &e),
        }
    }
    code
}

fn signal_of(record: &Record) -> Option<Signal> {
    Signal::ALL.into_iter().find(|signal| *signal as u8 == record.meta.kind)
}

/// What a part of a file that is no record says to the user.
fn describe(damage: &Damage) -> String {
    let Damage { segment, bytes, sequences } = damage;
    let requests = match sequences.end.saturating_sub(sequences.start) {
        0 => "how many requests were there is not known".to_owned(),
        count => format!("{count} requests are lost (numbers {} to {})", sequences.start, sequences.end - 1),
    };
    format!("damaged: {bytes} bytes in {}: {requests}", segment.display())
}

/// Passes each record of a queue to `on_record`, delivered ones too, and what is wrong to `on_problem`. Progress goes to `err`.
fn read_records(
    queue: &FoundQueue,
    open: &mut OpenQueue,
    err: &mut dyn Write,
    on_record: &mut dyn FnMut(&Record, bool) -> Result<(), String>,
    on_problem: &mut dyn FnMut(String),
) -> Result<(), String> {
    let reader = &mut open.reader;
    if reader.are_marks_damaged() {
        on_problem("damaged: the list of what was delivered; some of what follows may have been delivered".to_owned());
    }
    if reader.missing_records() > 0 {
        on_problem(format!("missing: files with {} requests that were not delivered", reader.missing_records()));
    }
    let mut progress = Progress::new(&queue.name);
    while let Some(step) = with_files(|files| reader.read(files, READ_BYTES)).map_err(|e| e.to_string())? {
        step.damage.iter().for_each(|damage| on_problem(describe(damage)));
        for record in &step.records {
            on_record(record, reader.is_delivered(record.sequence))?;
        }
        let (done, all) = reader.progress();
        progress.show(err, done, all);
    }
    Ok(())
}

/// Reads everything. False where something is damaged.
fn verify(queue: &FoundQueue, terminal: &mut Terminal<'_>) -> Result<bool, String> {
    let mut open = OpenQueue::open(queue)?;
    let mut problems = Vec::new();
    let (mut requests, mut items, mut bytes, mut delivered) = (0_u64, 0_u64, 0_u64, 0_u64);
    let result = read_records(
        queue,
        &mut open,
        terminal.err,
        &mut |record, is_delivered| {
            requests += 1;
            items += u64::from(record.meta.items);
            bytes += record.body.len() as u64;
            delivered += u64::from(is_delivered);
            Ok(())
        },
        &mut |problem| problems.push(problem),
    );
    // What can't be read is bad too, and the rest is still reported.
    problems.extend(result.err());
    let (mut dead, mut torn) = (0_u64, open.reader.torn_bytes());
    let read = read_dead(&open, &mut |step| {
        dead += step.records.len() as u64;
        torn += step.torn_bytes;
        problems.extend(step.damage.iter().map(describe));
        Ok(())
    });
    problems.extend(read.err());
    let name = &queue.name;
    let line = format!("{name}: intact: {requests} requests, {items} items, {bytes} bytes");
    let _ = writeln!(terminal.out, "{line}; of these delivered: {delivered} requests; dead: {dead} requests");
    if torn > 0 {
        let _ = writeln!(
            terminal.out,
            "{name}: {torn} bytes at the end of files were being written at a crash; nothing acknowledged is in them"
        );
    }
    for problem in &problems {
        let _ = writeln!(terminal.out, "{name}: {problem}");
    }
    Ok(problems.is_empty())
}

/// Passes each step of the folder `dead` to `on_step`.
fn read_dead(
    open: &OpenQueue,
    on_step: &mut dyn FnMut(&otelcore_storage::DeadStep) -> Result<(), String>,
) -> Result<(), String> {
    let mut dead = with_files(|files| open.reader.dead_records(files)).map_err(|e| e.to_string())?;
    while let Some(step) = with_files(|files| dead.read(files, READ_BYTES)).map_err(|e| e.to_string())? {
        on_step(&step)?;
    }
    Ok(())
}

/// Writes a request as a line of OTLP/JSON. False where it has a signal that is not known.
fn write_line(record: &Record, out: &mut dyn Write) -> Result<bool, String> {
    let Some(signal) = signal_of(record) else { return Ok(false) };
    let mut line = Vec::new();
    json::encode(signal, &Rope::new(record.body.clone(), record.meta.items), &mut line);
    line.push(b'\n');
    out.write_all(&line).and_then(|()| out.flush()).map_err(|e| format!("write stdout: {e}"))?;
    Ok(true)
}

/// Writes each request that is not delivered. False where something is damaged.
fn export(queue: &FoundQueue, terminal: &mut Terminal<'_>) -> Result<bool, String> {
    let mut open = OpenQueue::open(queue)?;
    let (mut problems, mut unknown) = (Vec::new(), 0_u64);
    let out = &mut *terminal.out;
    let result = read_records(
        queue,
        &mut open,
        terminal.err,
        &mut |record, is_delivered| {
            if !is_delivered && !write_line(record, out)? {
                unknown += 1;
            }
            Ok(())
        },
        &mut |problem| problems.push(problem),
    );
    if unknown > 0 {
        problems
            .push(format!("{unknown} requests have a signal that this version does not know; they are not written"));
    }
    for problem in &problems {
        let _ = writeln!(terminal.err, "{}: {problem}", queue.name);
    }
    result.map(|()| problems.is_empty())
}

/// Writes each request that was given up, and the reason to standard error. False where something is damaged.
fn export_dead(queue: &FoundQueue, terminal: &mut Terminal<'_>) -> Result<bool, String> {
    let open = OpenQueue::open(queue)?;
    let (out, err, name) = (&mut *terminal.out, &mut *terminal.err, &queue.name);
    let mut is_intact = true;
    read_dead(&open, &mut |step| {
        for dead in &step.records {
            let is_known = write_line(&dead.record, out)?;
            is_intact &= is_known;
            let note = if is_known { "" } else { "not written, its signal is not known: " };
            let _ = writeln!(err, "{name}: a request with {} items: {note}{}", dead.record.meta.items, dead.reason);
        }
        for damage in &step.damage {
            is_intact = false;
            let _ = writeln!(err, "{name}: {}", describe(damage));
        }
        Ok(())
    })?;
    Ok(is_intact)
}

/// Says on standard error, at most once a second, how far long work is.
struct Progress<'a> {
    name: &'a str,
    shown_at: u64,
}

impl<'a> Progress<'a> {
    fn new(name: &'a str) -> Self {
        Self { name, shown_at: otelcore_reactor::unix_time_nanos() }
    }

    fn show(&mut self, err: &mut dyn Write, done: u64, all: u64) {
        let now = otelcore_reactor::unix_time_nanos();
        if now.saturating_sub(self.shown_at) >= 1_000_000_000 {
            self.shown_at = now;
            let percent = done.saturating_mul(100) / all.max(1);
            let _ = writeln!(err, "{}: {done} of {all} bytes ({percent}%)", self.name);
        }
    }
}
