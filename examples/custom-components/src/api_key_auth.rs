//! The `api_key_auth` extension: permits requests that have a key in their header field `x-api-key`.
//!
//! An extension offers a capability, here [`ServerAuth`], under its id; a receiver names the id in its `auth` section
//! and asks for the capability when it is created. Any crate may define further capabilities.

use std::borrow::Cow;
use std::rc::Rc;

use otelcore::config::config_struct;
use otelcore::config::declare::OpaqueString;
use otelcore::pdata::Signal;
use otelcore::pipeline::{
    Authentication, BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, Cx, Extension,
    OfferedCapabilities, ServerAuth, StartError, Unauthenticated,
};

config_struct! {
    /// Permits requests that have a key in their header field `x-api-key`.
    pub struct ApiKeyAuthConfig {
        /// The key.
        pub key: OpaqueString,
    }
}

/// Makes `api_key_auth` extensions.
#[derive(Clone, Copy, Debug)]
pub struct ApiKeyAuthFactory;

impl ComponentType for ApiKeyAuthFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Extension,
        type_name: "api_key_auth",
        aliases: &[],
        signals: &Signal::ALL,
        stability: "Development",
    };
    type Config = ApiKeyAuthConfig;

    fn create(&self, config: &ApiKeyAuthConfig, _: &BuildContext<'_>) -> Result<Component, StartError> {
        let key = config.key.0.as_bytes().to_vec();
        if key.is_empty() {
            return Err(StartError::Config("'key' must not be empty".to_owned()));
        }
        Ok(Component::Extension(Box::new(ApiKeyAuth(Rc::new(ApiKey(key))))))
    }
}

struct ApiKeyAuth(Rc<ApiKey>);

impl Extension for ApiKeyAuth {
    fn offer_capabilities(&self, offered: &mut OfferedCapabilities) {
        offered.add::<dyn ServerAuth>(self.0.clone());
    }
}

struct ApiKey(Vec<u8>);

impl ServerAuth for ApiKey {
    fn authenticate<'h>(&self, _: &mut Cx<'_>, header: &dyn Fn(&str) -> Option<Cow<'h, [u8]>>) -> Authentication {
        let sent = header("x-api-key").unwrap_or_default();
        // Compares every byte, so that the time does not depend on how many of them are right.
        let differences = self.0.iter().zip(sent.iter()).filter(|(a, b)| a != b).count();
        if sent.len() == self.0.len() && differences == 0 {
            Authentication::Granted
        } else {
            Authentication::Refused(Unauthenticated("missing or wrong x-api-key".to_owned()))
        }
    }
}
