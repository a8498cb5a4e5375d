//! Names of directories, made of those of components.
//!
//! Owns the form: that of the Go collector's files, `exporter_otlp_name_traces`, and the purpose at the end, so that both may
//! be in one directory. Touches no file.

use std::fmt::Write as _;

use otelcore_pipeline::StorageUser;
use sha2::{Digest, Sha256};

/// The longest name that every file system takes, less room for the ends of renamed directories.
const MAX_NAME_BYTES: usize = 255 - 32;

/// The name of the directory for a component and a purpose. Different users have different names.
pub(super) fn directory_name(user: &StorageUser<'_>) -> String {
    let mut raw = format!("{}_{}_{}", user.kind.name(), user.id.ty, user.id.name);
    if let Some(signal) = user.signal {
        let _ = write!(raw, "_{signal}");
    }
    let mut name = sanitize(&raw);
    if name.len() + 1 + user.purpose.len() > MAX_NAME_BYTES {
        name = Sha256::digest(name.as_bytes()).iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
    }
    format!("{name}.{}", user.purpose)
}

/// A tilde and the number of the character instead of each one that is not safe in a path, the tilde included.
fn sanitize(name: &str) -> String {
    name.chars().fold(String::with_capacity(name.len()), |mut safe, character| {
        if character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_') {
            safe.push(character);
        } else {
            let _ = write!(safe, "~{:04X}", u32::from(character));
        }
        safe
    })
}

#[cfg(test)]
mod tests {
    use otelcore_pdata::Signal;
    use otelcore_pipeline::ComponentKind;

    use super::*;

    fn name(id: &str, signal: Option<Signal>, purpose: &str) -> String {
        let id = id.parse().unwrap();
        directory_name(&StorageUser { kind: ComponentKind::Exporter, id: &id, signal, purpose })
    }

    #[test]
    fn name_is_that_of_the_go_collectors_file_with_the_purpose_at_its_end() {
        assert_eq!(name("otlp", Some(Signal::Traces), "queue"), "exporter_otlp__traces.queue");
        assert_eq!(name("otlp_grpc/a", Some(Signal::Logs), "queue"), "exporter_otlp_grpc_a_logs.queue");
        assert_eq!(name("otlp/a", None, "offsets"), "exporter_otlp_a.offsets");
    }

    #[test]
    fn characters_that_mean_something_in_paths_are_replaced() {
        assert_eq!(name("otlp/a/b", Some(Signal::Traces), "queue"), "exporter_otlp_a~002Fb_traces.queue");
        assert_eq!(name("otlp/..", Some(Signal::Traces), "queue"), "exporter_otlp_.._traces.queue");
        assert_eq!(name("otlp/ü", Some(Signal::Traces), "queue"), "exporter_otlp_~00FC_traces.queue");
        assert_ne!(name("otlp/ü", None, "q"), name("otlp/-00FC", None, "q"));
    }

    #[test]
    fn long_name_is_a_digest_and_still_different_for_each_component() {
        let (a, b) = (
            name(&format!("otlp/{}a", "x".repeat(1000)), None, "q"),
            name(&format!("otlp/{}b", "x".repeat(1000)), None, "q"),
        );
        assert!(a != b && a.len() == 64 + 2 && b.len() == 64 + 2, "{a} {b}");
    }
}
