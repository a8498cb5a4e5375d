//! A crash at every disk operation of short runs, and again at every operation of the recovery.

use otelcore_reactor::SimDisk;

use super::model::Model;
use super::rig::small_config;

/// A short run: several segments, marks, a removal, a close.
fn short_run(model: &mut Model, rounds: usize) -> Result<(), String> {
    model.rest()?;
    for round in 0..rounds {
        for length in [300, 700, 40] {
            model.append(length + round);
        }
        if round % 4 == 3 {
            model.append(5000);
        }
        model.rest()?;
        model.read();
        model.rest()?;
        model.mark(1, 2 + round as u64);
        model.rest()?;
        if round % 5 == 3 {
            model.bury();
        }
    }
    Ok(())
}

/// How many operations the run has.
fn operations(rounds: usize) -> u64 {
    let mut model = Model::new(SimDisk::new(1), small_config());
    short_run(&mut model, rounds).unwrap();
    model.rig.disk.operations()
}

#[test]
fn crash_at_every_operation_loses_nothing() {
    let operations = operations(14);
    assert!((150..2000).contains(&operations), "{operations}");
    for at in 0..operations {
        for seed in 0..6 {
            let mut model = Model::new(SimDisk::new(seed * 1000 + at), small_config());
            model.rig.disk.crash_after(at);
            let result = short_run(&mut model, 14).and_then(|()| model.finish(true));
            assert_eq!(result, Ok(()), "crash at {at}, seed {seed}");
        }
    }
}

#[test]
fn crash_at_every_operation_of_a_recovery_loses_nothing() {
    let operations = operations(6);
    let mut crashes = 0;
    for at in 0..operations {
        for again in 0..60 {
            let mut model = Model::new(SimDisk::new(at * 100 + again), small_config());
            model.rig.disk.crash_after(at);
            model.crash_again_after = Some(again);
            let result = short_run(&mut model, 6).and_then(|()| model.finish(true));
            assert_eq!(result, Ok(()), "crash at {at}, and {again} operations later");
            // The crash came when the recovery had ended.
            if !model.coverage.contains_key("crash in recovery") {
                break;
            }
            crashes += 1;
        }
    }
    assert!(crashes > 5 * operations, "{crashes} in {operations}");
}
