//! Random runs from seeds, with faults of every kind.
//!
//! `OTELCORE_STORAGE_SEEDS` sets how many; `OTELCORE_STORAGE_SEED` runs one.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use otelcore_reactor::{DiskFaults, SimDisk};

use super::model::Model;
use super::rig::{Random, small_config};
use crate::LogConfig;
use crate::faults::{Fault, plant};

/// What may happen in a run.
#[derive(Clone, Copy, Default)]
struct Chaos {
    crashes: bool,
    kills: bool,
    faults: bool,
    flips: bool,
    misdirects: bool,
}

impl Chaos {
    fn of_seed(seed: u64) -> Self {
        let none = Self::default();
        match seed % 8 {
            0 => none,
            1 | 2 => Self { crashes: true, ..none },
            3 => Self { crashes: true, kills: true, ..none },
            4 => Self { faults: true, ..none },
            5 => Self { faults: true, crashes: true, kills: true, ..none },
            6 => Self { flips: true, ..none },
            _ => Self { misdirects: true, crashes: true, ..none },
        }
    }
}

#[derive(Debug)]
pub(super) struct Report {
    trace: u64,
    coverage: BTreeMap<String, u64>,
}

fn random_faults(random: &mut Random, model: &Model) -> DiskFaults {
    let none = DiskFaults::default();
    let used: u64 =
        model.rig.disk.paths().iter().filter_map(|path| model.rig.disk.content(path)).map(|c| c.len() as u64).sum();
    match random.below(7) {
        0 => DiskFaults { sync_errors: 200, ..none },
        1 => DiskFaults { sync_errors: 1000, ..none },
        2 => DiskFaults { write_errors: 100, ..none },
        3 => DiskFaults { capacity: Some(used + random.below(6000) as u64), ..none },
        4 => DiskFaults { is_read_only: true, ..none },
        5 => DiskFaults { read_errors: 300, ..none },
        _ => DiskFaults { read_errors: 50, write_errors: 50, sync_errors: 50, ..none },
    }
}

fn drive(model: &mut Model, random: &mut Random, chaos: Chaos, steps: usize) -> Result<(), String> {
    for _ in 0..steps {
        match random.below(100) {
            0..30 => {
                let length = if random.below(40) == 0 { 8000 } else { random.below(900) };
                model.append(length);
            }
            30..52 => model.run_job(random.below(model.rig.jobs.len())),
            52..64 => model.read(),
            64..78 => model.mark(random.next(), 1 + random.below(6) as u64),
            78..80 => model.bury(),
            80..82 => model.rig.log.sync_marks(),
            82..85 => model.rig.log.retry(),
            85..89 if chaos.faults => {
                let faults = if random.below(2) == 0 { DiskFaults::default() } else { random_faults(random, model) };
                model.set_faults(faults);
            }
            85..89 if chaos.misdirects && model.is_open() => {
                model.set_faults(DiskFaults { misdirected_writes: 150, ..DiskFaults::default() });
            }
            89..91 if chaos.flips => model.flip_bit(),
            91..94 if chaos.crashes => model.rig.disk.crash_after(random.below(25) as u64),
            94..96 if chaos.kills => model.kill(|| random.below(8) as u64),
            96 => {
                model.rig.log.close();
                model.rest()?;
                model.restart();
            }
            97 => model.second_process()?,
            _ => model.rest()?,
        }
        model.poll()?;
    }
    model.finish(chaos.crashes || chaos.kills || chaos.faults)
}

/// One run. An error says which invariant does not hold.
pub(super) fn run(seed: u64, fault: Option<Fault>) -> Result<Report, String> {
    let mut random = Random(seed);
    let max_bytes = (random.below(3) > 0).then(|| 20_000 + random.below(30_000) as u64);
    let config = LogConfig { max_bytes, ..small_config() };
    let mut model = Model::new(SimDisk::new(seed ^ 0x5eed), config);
    model.is_verbose = env("OTELCORE_STORAGE_SEED") == Some(seed);
    plant(fault);
    let steps = 80 + random.below(160);
    let result = catch_unwind(AssertUnwindSafe(|| drive(&mut model, &mut random, Chaos::of_seed(seed), steps)));
    plant(None);
    let misdirected = model.rig.disk.misdirected();
    if misdirected > 0 {
        *model.coverage.entry("misdirected write".to_owned()).or_default() += misdirected;
    }
    match result {
        Ok(Ok(())) => Ok(Report { trace: model.trace, coverage: model.coverage }),
        Ok(Err(text)) => Err(format!("seed {seed}: {text}")),
        Err(_) => Err(format!("seed {seed}: panic")),
    }
}

/// A short run without faults, of which one in a hundred is made to fail.
pub(super) fn run_with_canary(seed: u64) -> Result<(), String> {
    let mut random = Random(seed);
    let mut model = Model::new(SimDisk::new(seed), small_config());
    if seed % 100 == 37 {
        model.expects_another_record = true;
    }
    drive(&mut model, &mut random, Chaos::default(), 30)
}

fn env(name: &str) -> Option<u64> {
    // Clippy's rule is for the product: a test reads its own switch.
    #[allow(clippy::disallowed_methods)]
    std::env::var(name).ok()?.parse().ok()
}

/// What the fixed seeds must have met.
const KINDS: &[&str] = &[
    "Durable",
    "Refused",
    "Read",
    "ReadFailed",
    "Quarantined",
    "TornTail",
    "MarksDamaged",
    "Trouble",
    "Working",
    "Buried",
    "Closed",
    "Recovered",
    "OpenFailed",
    "full",
    "busy",
    "bit flip",
    "misdirected write",
    "second process",
    "crash in recovery",
    "crash in write",
    "crash in read",
    "crash in maintenance",
    "kill in recovery",
    "kill in write",
    "kill in read",
    "kill in maintenance",
    "group written again",
    "marks written anew",
    "refused: no space",
    "refused: read-only",
    "refused: broken",
];

#[test]
fn random_runs_keep_the_invariants_and_meet_every_kind_of_fault() {
    if let Some(seed) = env("OTELCORE_STORAGE_SEED") {
        return drop(run(seed, None).unwrap());
    }
    let seeds = env("OTELCORE_STORAGE_SEEDS").unwrap_or(1000);
    let mut coverage: BTreeMap<String, u64> = BTreeMap::new();
    let mut failures = Vec::new();
    for seed in 0..seeds {
        match run(seed, None) {
            Ok(report) => {
                for (kind, count) in &report.coverage {
                    *coverage.entry(kind.clone()).or_default() += count;
                }
                if seed % 10 == 0 {
                    let again = run(seed, None).unwrap();
                    assert_eq!((again.trace, again.coverage), (report.trace, report.coverage), "seed {seed} differs");
                }
            }
            Err(text) => failures.push(text),
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {seeds} runs failed:\n{}",
        failures.len(),
        failures.iter().take(20).cloned().collect::<Vec<_>>().join("\n")
    );
    println!("{coverage:?}");
    for kind in KINDS {
        assert!(coverage.contains_key(*kind), "no run has met: {kind}");
    }
}
