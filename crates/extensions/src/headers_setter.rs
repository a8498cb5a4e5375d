//! The `headers_setter` extension: header fields that clients send, with values that are written, or that came with the
//! telemetry.
//!
//! A client asks it once for each request, with the metadata of the telemetry in it. It reads no telemetry and keeps
//! nothing between requests.

use std::rc::Rc;

use otelcore_config::declare::OpaqueString;
use otelcore_config::{ComponentId, Section, config_enum, config_struct};
use otelcore_pipeline::{
    BuildContext, ClientAuth, Component, ComponentInfo, ComponentKind, ComponentType, CredentialsUnavailable, Cx,
    Extension, Metadata, OfferedCapabilities, OutgoingHeaders, RequestProtocol, StartError, UsedMetadata,
};

use crate::header_syntax::{is_field_value, is_header_name, remove_last_line_breaks};

config_enum! {
    /// What is done with a header field.
    pub enum HeaderAction {
        /// As `upsert`, with a warning that it is to be written.
        Unspecified = "",
        /// Sets the field if the request does not have it.
        Insert = "insert",
        /// Sets the field if the request has it.
        Update = "update",
        /// Sets the field.
        Upsert = "upsert",
        /// Removes the field.
        Delete = "delete",
    }
}

config_struct! {
    /// A header field.
    #[config(check = Self::check)]
    pub struct HeaderConfig {
        /// What is done with the field.
        pub action: HeaderAction = HeaderAction::Unspecified,
        /// The name of the field.
        pub key: Option<String>,
        /// The value.
        pub value: Option<String>,
        /// The name of a header of the request that brought the telemetry: its value is the value. The receiver needs
        /// `include_metadata: true`, and `batch` the name in `metadata_keys`.
        pub from_context: Option<String>,
        /// An attribute that the receiver's authenticator knows of the sender, such as `username`.
        pub from_attribute: Option<String>,
        /// The value where the telemetry has no such header or attribute.
        pub default_value: OpaqueString,
    }
}

config_struct! {
    /// Sets header fields of requests, with values that are written or that came with the telemetry.
    #[config(check = Self::check)]
    pub struct HeadersSetterConfig {
        /// The fields, in this order.
        pub headers: Vec<HeaderConfig>,
        /// Another authenticator of clients, whose fields are sent as well.
        pub additional_auth: String,
    }
}

const ONE_LINE_HINT: &str = "a line break or a control character is inside of it; a header is one line";

impl HeaderConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        match self.key.as_deref() {
            None | Some("") => {
                s.error("key", "missing header name");
            }
            Some(name) if !is_header_name(name) => {
                s.start_error("key", "'key' is no name that a header can have");
            }
            Some(_) => {}
        }
        for text in self.value.iter_mut().chain([&mut self.default_value.0]) {
            remove_last_line_breaks(text);
        }
        if self.value.as_deref().is_some_and(|value| !is_field_value(value)) {
            s.start_error("value", "'value' has characters that a header can't have").help(ONE_LINE_HINT);
        }
        if !is_field_value(&self.default_value.0) {
            s.start_error("default_value", "'default_value' has characters that a header can't have")
                .help(ONE_LINE_HINT);
        }
        if self.action == HeaderAction::Delete {
            return;
        }
        let sources =
            [("value", &self.value), ("from_context", &self.from_context), ("from_attribute", &self.from_attribute)];
        let written: Vec<&str> = sources.iter().filter(|(_, source)| source.is_some()).map(|(key, _)| *key).collect();
        match written.as_slice() {
            [] => drop(s.error_for_keys(
                &["value", "from_context", "from_attribute"],
                "missing header source, must be 'from_context', 'from_attribute' or 'value'",
            )),
            [_] => {}
            [.., last] => {
                drop(s.error(last, "invalid header source, must either 'from_context', 'from_attribute' or 'value'"))
            }
        }
    }

    fn compile(&self) -> Option<HeaderRule> {
        let default = || self.default_value.0.clone();
        let source = match (&self.value, &self.from_attribute, &self.from_context) {
            _ if self.action == HeaderAction::Delete => ValueSource::Fixed(String::new()),
            (Some(value), ..) => ValueSource::Fixed(value.clone()),
            (None, Some(name), _) => ValueSource::Attribute { name: name.clone(), default: default() },
            (None, None, Some(name)) => ValueSource::Metadata { name: name.to_ascii_lowercase(), default: default() },
            (None, None, None) => return None,
        };
        Some(HeaderRule { action: self.action, name: self.key.clone()?, source })
    }
}

impl HeadersSetterConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if self.headers.is_empty() {
            s.error("headers", "missing headers configuration");
        }
        if !self.additional_auth.is_empty()
            && let Err(e) = self.additional_auth.parse::<ComponentId>()
        {
            s.error("additional_auth", e.to_string());
        }
    }

    fn additional_auth(&self) -> Option<ComponentId> {
        self.additional_auth.parse().ok()
    }
}

/// The `headers_setter` extension.
#[derive(Clone, Copy, Debug)]
pub struct HeadersSetterFactory;

impl ComponentType for HeadersSetterFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Extension,
        type_name: "headers_setter",
        aliases: &[],
        signals: &[],
        stability: "Alpha",
    };
    type Config = HeadersSetterConfig;

    fn create(&self, config: &HeadersSetterConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        for _ in config.headers.iter().filter(|header| header.action == HeaderAction::Unspecified) {
            context.log.warn(
                "The action was not provided, using 'upsert'. In future versions, we'll require this to be explicitly set",
                &[],
            );
        }
        let additional = config.additional_auth().map(|id| context.capabilities.get(&id)).transpose()?;
        let rules = config.headers.iter().filter_map(HeaderConfig::compile).collect();
        Ok(Component::Extension(Box::new(HeadersSetterExtension(Rc::new(HeadersSetter { rules, additional })))))
    }

    fn dependencies(&self, config: &HeadersSetterConfig) -> Vec<ComponentId> {
        config.additional_auth().into_iter().collect()
    }
}

struct HeadersSetterExtension(Rc<HeadersSetter>);

impl Extension for HeadersSetterExtension {
    fn offer_capabilities(&self, offered: &mut OfferedCapabilities) {
        offered.add::<dyn ClientAuth>(self.0.clone());
    }
}

struct HeadersSetter {
    rules: Vec<HeaderRule>,
    additional: Option<Rc<dyn ClientAuth>>,
}

struct HeaderRule {
    action: HeaderAction,
    name: String,
    source: ValueSource,
}

enum ValueSource {
    Fixed(String),
    /// A header of the request that brought the telemetry, its name in lower case.
    Metadata {
        name: String,
        default: String,
    },
    /// What the receiver's authenticator knows of the sender.
    Attribute {
        name: String,
        default: String,
    },
}

impl ValueSource {
    fn value<'v>(&'v self, metadata: Option<&'v Metadata>) -> Result<&'v str, CredentialsUnavailable> {
        match self {
            Self::Fixed(value) => Ok(value),
            Self::Metadata { name, default } => match metadata.map_or(&[][..], |metadata| metadata.get(name)) {
                [] => Ok(default),
                [value] => Ok(value),
                values => Err(CredentialsUnavailable(format!(
                    "failed to determine the source: {} source keys found in the context, can't determine which one to use",
                    values.len()
                ))),
            },
            Self::Attribute { name, default } => {
                Ok(metadata.and_then(|metadata| metadata.auth_attribute(name)).unwrap_or(default))
            }
        }
    }
}

impl HeaderRule {
    fn apply(&self, headers: &mut OutgoingHeaders<'_>) -> Result<(), CredentialsUnavailable> {
        let value = self.source.value(headers.metadata())?;
        // As in the Go collector, an empty field counts as absent over HTTP, and as present over gRPC.
        let is_http = headers.protocol() == RequestProtocol::Http;
        let exists = headers.get(&self.name).is_some_and(|old| !(is_http && old.is_empty()));
        match self.action {
            HeaderAction::Insert if exists => {}
            HeaderAction::Update if !exists => {}
            HeaderAction::Delete => headers.remove(&self.name),
            _ => headers.set(&self.name, value.to_owned()),
        }
        Ok(())
    }
}

impl HeadersSetter {
    fn apply_rules(&self, headers: &mut OutgoingHeaders<'_>) -> Result<(), CredentialsUnavailable> {
        self.rules.iter().try_for_each(|rule| rule.apply(headers))
    }
}

impl ClientAuth for HeadersSetter {
    /// In the order of the Go collector: over gRPC the other authenticator comes first, over HTTP last.
    fn apply(&self, cx: &mut Cx<'_>, headers: &mut OutgoingHeaders<'_>) -> Result<(), CredentialsUnavailable> {
        match (&self.additional, headers.protocol()) {
            (None, _) => self.apply_rules(headers),
            (Some(additional), RequestProtocol::Grpc) => {
                additional.apply(cx, headers)?;
                self.apply_rules(headers)
            }
            (Some(additional), RequestProtocol::Http) => {
                self.apply_rules(headers)?;
                additional.apply(cx, headers)
            }
        }
    }

    fn used_metadata(&self) -> UsedMetadata {
        let mut used = UsedMetadata::default();
        for rule in &self.rules {
            match &rule.source {
                ValueSource::Fixed(_) => {}
                ValueSource::Metadata { name, .. } => used.headers.push(name.clone()),
                ValueSource::Attribute { name, .. } => used.auth_attributes.push(name.clone()),
            }
        }
        used.merge(self.additional.as_ref().map(|additional| additional.used_metadata()).unwrap_or_default());
        used
    }

    fn requires_tls(&self) -> bool {
        self.additional.as_ref().is_some_and(|additional| additional.requires_tls())
    }
}
