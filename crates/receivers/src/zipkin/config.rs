//! The `zipkin` section of receivers.

use otelcore_config::config_struct;
use otelcore_net::config::{HttpServerConfig, ListenConfig};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, ListenAddress, ReadFile, ServedProtocol,
    StartError,
};

use crate::zipkin::protocol::{V2_PATH, new_receiver};

config_struct! {
    /// Receives spans of Zipkin's API, versions 1 and 2: JSON, protobuf and Thrift over HTTP.
    pub struct ZipkinReceiverConfig {
        /// The server.
        #[config(flatten)]
        pub server: HttpServerConfig =
            HttpServerConfig { listen: ListenConfig::at("localhost:9411"), ..HttpServerConfig::default() },
        /// Tags that look like integers, decimal numbers or booleans become attributes of those types.
        pub parse_string_tags: bool = false,
    }
}

/// The `zipkin` receiver.
#[derive(Clone, Copy, Debug)]
pub struct ZipkinReceiverFactory;

impl ComponentType for ZipkinReceiverFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Receiver,
        type_name: "zipkin",
        aliases: &[],
        signals: &[Signal::Traces],
        stability: "Beta",
    };
    type Config = ZipkinReceiverConfig;

    fn create(&self, config: &ZipkinReceiverConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        Ok(Component::Receiver(Box::new(new_receiver(&config.server, config.parse_string_tags, context)?)))
    }

    fn check_files(&self, config: &ZipkinReceiverConfig, read: ReadFile<'_>) -> Result<(), StartError> {
        config.server.check_files(read)
    }

    fn listen_addresses(&self, config: &ZipkinReceiverConfig) -> Vec<ListenAddress> {
        let address = |endpoint| ListenAddress {
            endpoint,
            config_key: "endpoint",
            protocol: ServedProtocol::Http,
            path: V2_PATH.to_owned(),
        };
        config.server.listen.address().ok().map(address).into_iter().collect()
    }
}
