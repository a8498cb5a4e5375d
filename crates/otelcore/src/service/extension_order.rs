//! The order in which extensions are created and started: after those whose capabilities they ask for, otherwise that of
//! the configuration. Creates nothing.

use std::collections::BTreeMap;

use otelcore_config::ComponentId;
use otelcore_pipeline::{StartError, order_by_needs};

use crate::plan::ComponentConfigs;

/// `started` in an order in which each extension comes after its dependencies.
///
/// # Errors
/// A dependency that is not started, or a cycle with its path; the messages are those of the Go collector.
pub(super) fn extension_order<'p>(
    started: &'p [ComponentId],
    configs: &ComponentConfigs,
) -> Result<Vec<&'p ComponentId>, StartError> {
    let failed = |why: String| StartError::Config(format!("failed to build extensions: {why}"));
    let index: BTreeMap<&ComponentId, usize> = started.iter().enumerate().map(|(i, id)| (id, i)).collect();
    let mut needs: Vec<Vec<usize>> = Vec::new();
    for id in started {
        let mut of_extension = Vec::new();
        for dependency in configs.get(id).map(|config| config.dependencies()).unwrap_or_default() {
            let found = index.get(&dependency).copied();
            let found = found.ok_or_else(|| {
                failed(format!("unable to find extension {dependency} on which extension {id} depends"))
            })?;
            of_extension.push(found);
        }
        needs.push(of_extension);
    }
    let name = |i: &usize| started.get(*i);
    match order_by_needs(&needs) {
        Ok(order) => Ok(order.iter().filter_map(name).collect()),
        Err(cycle) => {
            // From the extension that is needed to the one that needs it, and back to the first.
            let first = cycle.path.first();
            let ids = first.into_iter().chain(cycle.path.iter().rev()).filter_map(name);
            let path: Vec<String> = ids.map(ToString::to_string).collect();
            Err(failed(format!("unable to order extensions by dependencies, cycle found [{}]", path.join(" -> "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use otelcore_pipeline::{BuildContext, Component, ComponentConfig};

    use super::*;

    struct Needs(Vec<ComponentId>);

    impl ComponentConfig for Needs {
        fn create(&self, _: &BuildContext<'_>) -> Result<Component, StartError> {
            Err(StartError::Config(String::new()))
        }

        fn dependencies(&self) -> Vec<ComponentId> {
            self.0.clone()
        }
    }

    /// Each extension as `name: what it needs`.
    fn order(extensions: &[&str]) -> Result<Vec<String>, String> {
        let ids = |text: &str| text.split_whitespace().map(|id| id.parse().unwrap()).collect::<Vec<ComponentId>>();
        let parts = |text: &str| text.split_once(':').map(|(id, needs)| (ids(id).remove(0), ids(needs))).unwrap();
        let started: Vec<ComponentId> = extensions.iter().map(|text| parts(text).0).collect();
        let configs = extensions
            .iter()
            .map(|text| (parts(text).0, Arc::new(Needs(parts(text).1)) as Arc<dyn ComponentConfig>))
            .collect();
        let order = extension_order(&started, &configs).map_err(|e| e.to_string())?;
        Ok(order.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn extensions_that_need_each_other_start_in_the_order_of_their_needs() {
        assert_eq!(order(&["c:", "a:", "b:"]).unwrap(), ["c", "a", "b"]);
        assert_eq!(order(&["a: b", "b: c/x", "c/x:", "d:"]).unwrap(), ["c/x", "b", "a", "d"]);
    }

    #[test]
    fn extension_whose_dependency_is_missing_is_an_error() {
        let error = order(&["a: b"]).unwrap_err();
        assert_eq!(error, "failed to build extensions: unable to find extension b on which extension a depends");
    }

    #[test]
    fn extensions_in_a_cycle_are_an_error_with_the_path() {
        let error = order(&["x:", "a: b", "b: c", "c: a"]).unwrap_err();
        let expected =
            "failed to build extensions: unable to order extensions by dependencies, cycle found [a -> c -> b -> a]";
        assert_eq!(error, expected);
    }
}
