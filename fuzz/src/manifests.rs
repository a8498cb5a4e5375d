//! Kubernetes manifests. Checks: they are read and checked, or refused; and this ends for every reference of a manifest
//! to itself or to others.

#[path = "../../crates/kubernetes/tests/survives/mod.rs"]
mod survives;

pub fn run(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        survives::survives(text);
    }
}
