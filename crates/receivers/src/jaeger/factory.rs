//! The `jaeger` receiver as a type of component.

use otelcore_pdata::Signal;
use otelcore_pipeline::{
    BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, Endpoint, ListenAddress, ReadFile,
    ServedProtocol, StartError,
};

use super::config::{JaegerProtocolsConfig, JaegerReceiverConfig};
use super::protocol::TRACES_PATH;
use super::receiver::JaegerReceiver;

/// The `jaeger` receiver.
#[derive(Clone, Copy, Debug)]
pub struct JaegerReceiverFactory;

impl ComponentType for JaegerReceiverFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Receiver,
        type_name: "jaeger",
        aliases: &[],
        signals: &[Signal::Traces],
        stability: "Beta",
    };
    type Config = JaegerReceiverConfig;

    fn create(&self, config: &JaegerReceiverConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        Ok(Component::Receiver(Box::new(JaegerReceiver::new(config, context)?)))
    }

    fn check_files(&self, config: &JaegerReceiverConfig, read: ReadFile<'_>) -> Result<(), StartError> {
        let JaegerProtocolsConfig { grpc, thrift_http, .. } = &config.protocols;
        grpc.get().map_or(Ok(()), |grpc| grpc.check_files(read))?;
        thrift_http.get().map_or(Ok(()), |http| http.check_files(read))
    }

    fn listen_addresses(&self, config: &JaegerReceiverConfig) -> Vec<ListenAddress> {
        let address = |(key, _, endpoint): (&str, &str, Result<Endpoint, StartError>)| {
            let (config_key, protocol, path) = match key {
                "grpc" => ("protocols::grpc::endpoint", ServedProtocol::Grpc, ""),
                "thrift_http" => ("protocols::thrift_http::endpoint", ServedProtocol::Http, TRACES_PATH),
                "thrift_binary" => ("protocols::thrift_binary::endpoint", ServedProtocol::Datagrams, ""),
                _ => ("protocols::thrift_compact::endpoint", ServedProtocol::Datagrams, ""),
            };
            Some(ListenAddress { endpoint: endpoint.ok()?, config_key, protocol, path: path.to_owned() })
        };
        config.protocols.addresses().filter_map(address).collect()
    }
}
