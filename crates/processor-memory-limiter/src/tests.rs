//! Tests of the limits, and of when data is refused.

use super::*;

#[test]
fn the_soft_limit_is_a_fifth_below_the_hard_one_unless_said() {
    let mib = |hard, spike| limits(&Limit::Mib { hard, spike }, 0);
    assert_eq!(mib(100, 0), (100 * MIB, 20 * MIB));
    assert_eq!(mib(100, 30), (100 * MIB, 30 * MIB));
    let percent = |hard, spike| limits(&Limit::Percentage { hard, spike }, 2 << 30);
    assert_eq!(percent(75, 15), ((2 << 30) * 75 / 100, (2 << 30) * 15 / 100));
    assert_eq!(percent(50, 0), (1 << 30, (1 << 30) / 5), "a fifth of the limit, not of the total");
    assert_eq!(limits(&Limit::Percentage { hard: 100, spike: 1 }, u64::MAX).0, u64::MAX);
}

#[test]
fn held_bytes_count_at_once_and_resident_memory_leaves_a_quarter_of_the_limit() {
    let checker = Checker::new();
    assert!(!checker.refuses((u64::MAX - 1, 0), 0), "before the start nothing is refused");
    checker.soft.store(80, Ordering::Relaxed);
    assert!(!checker.refuses((79, 0), 10));
    assert!(checker.refuses((80, 0), 10), "its own bytes count against the soft limit");
    checker.process_over.store(true, Ordering::Relaxed);
    assert!(checker.refuses((30, 0), 10));
    assert!(!checker.refuses((29, 0), 10), "the allocator's free memory takes so much without growing");
    assert!(!checker.refuses((79, 0), 79), "a lone payload is not what keeps resident memory up");
    assert!(!checker.refuses((0, 0), 0));
}

#[test]
fn kept_bytes_count_with_held_ones_and_leave_a_part_of_the_limit_free() {
    let checker = Checker::new();
    checker.soft.store(80, Ordering::Relaxed);
    assert!(!checker.refuses((39, 40), 10));
    assert!(checker.refuses((40, 40), 10), "held and kept bytes count together");
    assert!(!checker.refuses((19, 1000), 10), "kept state alone does not refuse what may only update it");
    assert!(checker.refuses((20, 1000), 10));
    checker.process_over.store(true, Ordering::Relaxed);
    assert!(!checker.refuses((19, 60), 0), "nor does resident memory that kept state holds up");
    assert!(checker.refuses((20, 60), 0));
}

#[test]
fn resident_memory_above_the_hard_limit_stops_new_state() {
    let (checker, budget) = (Checker::new(), Arc::new(Budget::default()));
    budget.set_limit(1000);
    checker.sampled(true, &budget);
    checker.sampled(true, &budget);
    assert!(!budget.has_room());
    checker.sampled(false, &budget);
    assert!(budget.has_room());
}

fn parse(yaml: &str) -> Vec<String> {
    let d = otelcore_config::Diagnostics::new();
    let node = otelcore_config::from_yaml(yaml, &d).unwrap();
    let section = otelcore_config::Section::new(Some(&node), "processors::memory_limiter", &d);
    let id = "memory_limiter".parse().unwrap();
    let _ = otelcore_pipeline::Factory::parse(&MemoryLimiterFactory, &id, section);
    d.items().into_iter().map(|item| item.message).collect()
}

#[test]
fn mistakes_are_told_in_the_go_collectors_words() {
    assert_eq!(parse("check_interval: 1s\nlimit_percentage: 75\nspike_limit_percentage: 15"), Vec::<String>::new());
    let found = parse("spike_limit_mib: 3");
    assert_eq!(
        found,
        ["'check_interval' must be greater than zero", "'limit_mib' or 'limit_percentage' must be greater than zero"]
    );
    assert_eq!(
        parse("check_interval: 1s\nlimit_mib: 10\nspike_limit_mib: 10"),
        ["'spike_limit_mib' must be smaller than 'limit_mib'"]
    );
    let found = parse("check_interval: 1s\nlimit_mib: 10\nmin_gc_interval_when_soft_limited: 5s");
    assert_eq!(found, ["'min_gc_interval_when_soft_limited' has no effect: there is no garbage collector to run"]);
}
