//! Keys that name an extension: `storage` and `k8s_leader_elector`.

use otelcore_config::{ComponentId, Section};
#[cfg(any(feature = "k8s_events", feature = "k8s_objects"))]
use otelcore_pipeline::{BuildContext, ComponentKind, StartError, Storage, StorageUser, ValueStore};

/// Refuses a text that is no id. An empty one names no extension.
pub(crate) fn check_id(s: &Section<'_>, key: &str, text: &str, example: &str) {
    if !text.is_empty()
        && let Err(error) = text.parse::<ComponentId>()
    {
        s.error(key, format!("'{key}' {error}")).help(format!("write the id of an extension such as `{example}`"));
    }
}

#[cfg(any(feature = "k8s_events", feature = "k8s_objects"))]
/// The values that a receiver keeps in the storage that is named; `None` without one. Both names of a type have the same
/// values.
pub(crate) fn open_values(
    storage: &str,
    type_name: &str,
    context: &BuildContext<'_>,
) -> Result<Option<Box<dyn ValueStore>>, StartError> {
    let Ok(storage) = storage.parse::<ComponentId>() else { return Ok(None) };
    let id = ComponentId { ty: type_name.to_owned(), name: context.id.name.clone() };
    let user = StorageUser { kind: ComponentKind::Receiver, id: &id, signal: None, purpose: "versions" };
    Ok(Some(context.capabilities.get::<dyn Storage>(&storage)?.open_values(&user)))
}
