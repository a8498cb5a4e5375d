//! Component types whose configuration is declared: one trait, from which the rest of a [`Factory`] follows.
//!
//! This module reads no key itself and creates no component; it connects [`ComponentType`] to [`Factory`].

use otelcore_config::declare::{Config, Description};
use otelcore_config::{ComponentId, Section, Severity};
use otelcore_pdata::Signal;

use crate::{BuildContext, Component, ComponentConfig, ComponentInfo, Factory, ListenAddress, ReadFile, StartError};

/// A type of component. Its reader, its diagnostics, its JSON Schema and its page of the reference follow from the
/// declaration of its configuration; see [`otelcore_config::declare`].
///
/// ```
/// use otelcore_config::config_struct;
/// use otelcore_pdata::Signal;
/// use otelcore_pipeline::{
///     Ack, BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, Cx, Downstream, Payload, Processor,
///     StartError,
/// };
///
/// config_struct! {
///     /// Passes everything on.
///     pub struct PassConfig {
///         /// Text for the log.
///         pub greeting: String = "hello".to_owned(),
///     }
/// }
///
/// /// The `pass` processor.
/// #[derive(Clone, Copy, Debug)]
/// pub struct PassFactory;
///
/// impl ComponentType for PassFactory {
///     const INFO: ComponentInfo = ComponentInfo {
///         kind: ComponentKind::Processor,
///         type_name: "pass",
///         aliases: &[],
///         signals: &Signal::ALL,
///         stability: "Alpha",
///     };
///     type Config = PassConfig;
///
///     fn create(&self, config: &PassConfig, _: &BuildContext<'_>) -> Result<Component, StartError> {
///         Ok(Component::Processor(Box::new(Pass { greeting: config.greeting.clone() })))
///     }
/// }
///
/// struct Pass {
///     greeting: String,
/// }
///
/// impl Processor for Pass {
///     fn process(&mut self, _: &mut Cx<'_>, payload: Payload, ack: Ack, downstream: &mut Downstream) {
///         downstream.send(payload, ack);
///     }
/// }
/// // `registry.add(PassFactory)` is all that a collector needs.
/// ```
pub trait ComponentType: Clone + Send + Sync + 'static {
    /// What it is.
    const INFO: ComponentInfo;

    /// For connectors: each signal that they accept, with each one that they make of it.
    const SIGNAL_PAIRS: &'static [(Signal, Signal)] = &[];

    /// Its configuration.
    type Config: Config + Send + Sync + 'static;

    /// Makes one instance: one for each id, and for processors one for each pipeline.
    ///
    /// # Errors
    /// The setting that can't be satisfied.
    fn create(&self, config: &Self::Config, build: &BuildContext<'_>) -> Result<Component, StartError>;

    /// Called when the section of `id` has been read without errors, before anything is created: a type that shares
    /// state with its host notes the id.
    fn prepare(&self, id: &ComponentId) {
        let _ = id;
    }

    /// Checks the files that a configuration names, as far as `read` gives them, without opening anything else.
    ///
    /// # Errors
    /// The reason why an instance would not start.
    fn check_files(&self, config: &Self::Config, read: ReadFile<'_>) -> Result<(), StartError> {
        let _ = (config, read);
        Ok(())
    }

    /// The extensions whose capabilities an instance asks for, where it is an extension itself: they are created and
    /// started before it.
    fn dependencies(&self, config: &Self::Config) -> Vec<ComponentId> {
        let _ = config;
        Vec::new()
    }

    /// For receivers: see [`ComponentConfig::awaits_delivery`].
    fn awaits_delivery(&self, config: &Self::Config) -> bool {
        let _ = config;
        false
    }

    /// The sockets that an instance opens, for checks that compare them with the environment of the collector.
    fn listen_addresses(&self, config: &Self::Config) -> Vec<ListenAddress> {
        let _ = config;
        Vec::new()
    }
}

/// A type and a configuration of it.
struct Configured<T: ComponentType> {
    component_type: T,
    config: T::Config,
}

impl<T: ComponentType> Factory for T {
    fn info(&self) -> ComponentInfo {
        T::INFO
    }

    fn signal_pairs(&self) -> &'static [(Signal, Signal)] {
        T::SIGNAL_PAIRS
    }

    fn parse(&self, id: &ComponentId, section: Section<'_>) -> Option<Box<dyn ComponentConfig>> {
        let d = section.diagnostics().clone();
        let before = d.count(Severity::Error);
        let config = T::Config::read_section(section, &T::Config::default());
        if d.count(Severity::Error) > before {
            return None;
        }
        self.prepare(id);
        Some(Box::new(Configured { component_type: self.clone(), config }))
    }

    fn description(&self) -> Option<Description> {
        Some(T::Config::description())
    }
}

impl<T: ComponentType> ComponentConfig for Configured<T> {
    fn create(&self, build: &BuildContext<'_>) -> Result<Component, StartError> {
        self.component_type.create(&self.config, build)
    }

    fn check_files(&self, read: ReadFile<'_>) -> Result<(), StartError> {
        self.component_type.check_files(&self.config, read)
    }

    fn dependencies(&self) -> Vec<ComponentId> {
        self.component_type.dependencies(&self.config)
    }

    fn awaits_delivery(&self) -> bool {
        self.component_type.awaits_delivery(&self.config)
    }

    fn listen_addresses(&self) -> Vec<ListenAddress> {
        self.component_type.listen_addresses(&self.config)
    }
}

#[cfg(test)]
mod tests {
    use otelcore_config::{Diagnostics, config_struct, from_yaml};
    use otelcore_pdata::Signal;

    use super::*;
    use crate::{ComponentKind, Cx, Extension};

    config_struct! {
        struct ExampleConfig {
            /// A number.
            #[config(at_least(1, "`size` must be positive"))]
            size: i64 = 3,
        }
    }

    #[derive(Clone, Copy)]
    struct Example;

    struct ExampleExtension;

    impl Extension for ExampleExtension {
        fn set_ready(&mut self, _: &mut Cx<'_>, _: bool) {}
    }

    impl ComponentType for Example {
        const INFO: ComponentInfo = ComponentInfo {
            kind: ComponentKind::Extension,
            type_name: "example",
            aliases: &[],
            signals: &Signal::ALL,
            stability: "Beta",
        };
        type Config = ExampleConfig;

        fn create(&self, config: &ExampleConfig, _: &BuildContext<'_>) -> Result<Component, StartError> {
            if config.size > 3 {
                return Err(StartError::Config("too large".to_owned()));
            }
            Ok(Component::Extension(Box::new(ExampleExtension)))
        }
    }

    fn parse(yaml: &str) -> (bool, Vec<String>) {
        let d = Diagnostics::new();
        let node = from_yaml(yaml, &d).unwrap();
        let section = Section::new(Some(&node), "extensions::example", &d);
        let id = "example".parse().unwrap();
        let settings = Factory::parse(&Example, &id, section);
        (settings.is_some(), d.items().into_iter().map(|item| item.message).collect())
    }

    #[test]
    fn component_type_is_a_factory_that_reads_its_declared_configuration() {
        assert_eq!(parse("size: 2"), (true, Vec::new()));
        assert_eq!(parse("size: 0"), (false, vec!["`size` must be positive".to_owned()]));
        assert_eq!(parse("sise: 1"), (false, vec!["'extensions::example' has invalid keys: sise".to_owned()]));
        assert_eq!(Factory::info(&Example).type_name, "example");
        assert_eq!(
            Factory::description(&Example).unwrap().fields.iter().map(|field| field.key).collect::<Vec<_>>(),
            ["size"]
        );
    }
}
