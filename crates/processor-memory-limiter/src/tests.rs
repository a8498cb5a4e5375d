//! Tests of the limits, and of when data is refused.

use super::*;

#[test]
fn soft_limit_without_a_spike_is_a_fifth_below_the_hard_limit() {
    let mib = |hard, spike| limits_in_bytes(&MemoryLimit::Mib { hard, spike }, 0);
    assert_eq!(mib(100, 0), (100 * MIB, 20 * MIB));
    assert_eq!(mib(100, 30), (100 * MIB, 30 * MIB));
    let percent = |hard, spike| limits_in_bytes(&MemoryLimit::Percentage { hard, spike }, 2 << 30);
    assert_eq!(percent(75, 15), ((2 << 30) * 75 / 100, (2 << 30) * 15 / 100));
    assert_eq!(percent(50, 0), (1 << 30, (1 << 30) / 5), "a fifth of the limit, not of the total");
    assert_eq!(limits_in_bytes(&MemoryLimit::Percentage { hard: 100, spike: 1 }, u64::MAX).0, u64::MAX);
}

#[test]
fn payload_with_resident_memory_above_the_hard_limit_may_use_a_quarter_of_the_soft_limit() {
    let shared = SharedState::new();
    assert!(!shared.refuses((u64::MAX - 1, 0), 0), "before the start nothing is refused");
    shared.soft_limit.store(80, Ordering::Relaxed);
    assert!(!shared.refuses((79, 0), 10));
    assert!(shared.refuses((80, 0), 10), "its own bytes count against the soft limit");
    shared.is_resident_over.store(true, Ordering::Relaxed);
    assert!(shared.refuses((30, 0), 10));
    assert!(!shared.refuses((29, 0), 10), "the allocator's free memory takes so much without growing");
    assert!(!shared.refuses((79, 0), 79), "a lone payload is not what keeps resident memory up");
    assert!(!shared.refuses((0, 0), 0));
}

#[test]
fn payload_with_much_kept_state_may_use_a_quarter_of_the_soft_limit() {
    let shared = SharedState::new();
    shared.soft_limit.store(80, Ordering::Relaxed);
    assert!(!shared.refuses((39, 40), 10));
    assert!(shared.refuses((40, 40), 10), "held and kept bytes count together");
    assert!(!shared.refuses((19, 1000), 10), "kept state alone does not refuse what may only update it");
    assert!(shared.refuses((20, 1000), 10));
    shared.is_resident_over.store(true, Ordering::Relaxed);
    assert!(!shared.refuses((19, 60), 0), "nor does resident memory that kept state holds up");
    assert!(shared.refuses((20, 60), 0));
}

#[test]
fn new_state_with_resident_memory_above_the_hard_limit_has_no_room() {
    let (shared, budget) = (SharedState::new(), Arc::new(Budget::default()));
    budget.set_limit(1000);
    shared.set_resident_over(true, &budget);
    shared.set_resident_over(true, &budget);
    assert!(!budget.has_room());
    shared.set_resident_over(false, &budget);
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
fn config_with_errors_is_reported_as_in_the_go_collector() {
    assert_eq!(parse("check_interval: 1s\nlimit_percentage: 75\nspike_limit_percentage: 15"), Vec::<String>::new());
    let messages = parse("spike_limit_mib: 3");
    assert_eq!(
        messages,
        ["'check_interval' must be greater than zero", "'limit_mib' or 'limit_percentage' must be greater than zero"]
    );
    assert_eq!(
        parse("check_interval: 1s\nlimit_mib: 10\nspike_limit_mib: 10"),
        ["'spike_limit_mib' must be smaller than 'limit_mib'"]
    );
    let messages = parse("check_interval: 1s\nlimit_mib: 10\nmin_gc_interval_when_soft_limited: 5s");
    assert_eq!(messages, ["'min_gc_interval_when_soft_limited' has no effect: there is no garbage collector to run"]);
}
