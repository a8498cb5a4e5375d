//! Mistakes that are planted in the code, each of which the random runs must find; and one that must be found on one seed
//! in a hundred, which shows that failures are reported.

use super::random_runs::run;
use crate::faults::Fault;

/// How many runs may be needed.
const MAX_RUNS: u64 = 1000;

/// The kind of run in which a fault is found early, as the remainder of a seed by 8; `None` for any.
fn kind_of_run(fault: Fault) -> Option<u64> {
    match fault {
        Fault::ChecksumWithoutPosition => Some(7),
        Fault::RetrySync => Some(5),
        Fault::StopAtFirstBadRecord | Fault::IgnoreMarkChecksum | Fault::TrustTornHeader => Some(6),
        Fault::RewriteMarksInPlace | Fault::IgnoreMaxBytes => Some(1),
        Fault::ForgetGroupOnItsWay | Fault::GiveUpUnreadable => Some(4),
        Fault::ForgetGaps | Fault::ForgetTornGroup => Some(3),
        _ => None,
    }
}

#[test]
fn each_planted_fault_is_found_within_a_thousand_runs() {
    let mut missed = Vec::new();
    for fault in Fault::ALL {
        let seed_of = |number| kind_of_run(fault).map_or(number, |kind| number * 8 + kind);
        match (0..MAX_RUNS).find_map(|number| run(seed_of(number), Some(fault)).err()) {
            Some(text) => println!("{fault:?}: {text}"),
            None => missed.push(fault),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}

#[test]
fn canary_fails_on_one_seed_in_a_hundred() {
    let failed: Vec<u64> = (0..300).filter(|seed| super::random_runs::run_with_canary(*seed).is_err()).collect();
    assert_eq!(failed, [37, 137, 237]);
}
