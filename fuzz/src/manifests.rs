//! Kubernetes manifests. Checks: they are read and checked, or refused; and this ends for every reference of a manifest
//! to itself or to others.

#[path = "../../crates/kubernetes/tests/all_operations/mod.rs"]
mod all_operations;

pub fn run(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        all_operations::run_all_operations(text);
    }
}
