//! Kubernetes manifests. Holds: they are read and checked, or refused; whatever they say of themselves or of each other,
//! it ends.

#[path = "../../crates/kubernetes/tests/survives/mod.rs"]
mod survives;

pub fn run(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        survives::survives(text);
    }
}
