//! The `pprof` extension: the address at which the Go collector serves profiles of its runtime.
//!
//! Owns the server and a page that says which tools profile this process. Makes no profiles: there is no Go runtime whose
//! goroutines, heap and locks could be sampled, and a library installs no signal handler in the process of its host.

use otelcore_config::{Section, config_struct};
use otelcore_net::config::{DialerConfig, HttpServerConfig, ListenConfig};
use otelcore_net::{Page, PageServer, not_found};
use otelcore_pipeline::{
    BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, Cx, Event, Extension, ListenAddress, Logger,
    ServedProtocol, StartError,
};

const DEFAULT_ENDPOINT: &str = "localhost:1777";

/// Where the pages are in the Go collector.
const ROOT: &str = "/debug/pprof";

const NO_GO_RUNTIME: &str = "it configures Go's runtime, which is not here";

/// The answer to requests of profiles.
const EXPLANATION: &str = "otelcore has no Go runtime, so there are no profiles of goroutines, heap and locks.\n\
    CPU:    perf record -g -p PID -- sleep 30\n\
    memory: the metrics otelcol_process_memory_rss and otelcore_held_bytes of service::telemetry\n";

config_struct! {
    /// Serves a page in place of the profiles of Go's runtime, which is not here.
    #[config(check = Self::check)]
    pub struct PprofConfig {
        /// Address to listen at.
        pub endpoint: String = DEFAULT_ENDPOINT.to_owned(),
        /// For clients.
        pub dialer: DialerConfig,
        /// The fraction of blocking events in profiles.
        #[config(ignored = NO_GO_RUNTIME)]
        pub block_profile_fraction: i64,
        /// The fraction of contentions of locks in profiles.
        #[config(ignored = NO_GO_RUNTIME)]
        pub mutex_profile_fraction: i64,
        /// The file of a CPU profile from start to shutdown.
        #[config(ignored = "no CPU profile is made")]
        pub save_to_file: String,
    }
}

impl PprofConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if self.endpoint.is_empty() {
            s.start_error("endpoint", "\"endpoint\" is required when using the \"pprof\" extension")
                .help(format!("write `endpoint: {DEFAULT_ENDPOINT}`"));
        } else if let Err(e) = ListenConfig::at(&self.endpoint).address() {
            s.start_error("endpoint", e.to_string()).help("write `endpoint: \"host:port\"`");
        }
        let fractions = [
            ("block_profile_fraction", self.block_profile_fraction),
            ("mutex_profile_fraction", self.mutex_profile_fraction),
        ];
        for (key, _) in fractions.into_iter().filter(|(_, fraction)| *fraction > 0) {
            s.warn(key, format!("'{key}' has no effect: {NO_GO_RUNTIME}"));
        }
        if !self.save_to_file.is_empty() {
            s.warn("save_to_file", "'save_to_file' has no effect: no CPU profile is made")
                .help("`perf record` makes one");
        }
    }
}

/// The `pprof` extension.
#[derive(Clone, Copy, Debug)]
pub struct PprofFactory;

impl ComponentType for PprofFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Extension,
        type_name: "pprof",
        aliases: &[],
        signals: &[],
        stability: "Beta",
    };
    type Config = PprofConfig;

    fn create(&self, config: &PprofConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let server = HttpServerConfig::for_page_server(&config.endpoint);
        let pages = PageServer::new(&server, None, context.log.clone(), context.telemetry);
        Ok(Component::Extension(Box::new(PprofExtension { pages, log: context.log.clone() })))
    }

    fn listen_addresses(&self, config: &PprofConfig) -> Vec<ListenAddress> {
        let address = |endpoint| ListenAddress {
            endpoint,
            config_key: "endpoint",
            protocol: ServedProtocol::Other,
            path: String::new(),
        };
        ListenConfig::at(&config.endpoint).address().ok().map(address).into_iter().collect()
    }
}

struct PprofExtension {
    pages: PageServer,
    log: Logger,
}

impl Extension for PprofExtension {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.pages.open(cx, 0)?;
        self.log.warn("'pprof' serves no profiles: there is no Go runtime. Its page says what to use instead.", &[]);
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>) {
        self.pages.handle_event(cx, local, &event, |_, head| page(head.path()));
    }
}

fn page(path: &str) -> Page {
    match path.strip_prefix(ROOT) {
        Some("" | "/") => Page::text(200, EXPLANATION),
        Some(profile) if profile.starts_with('/') => Page::text(501, EXPLANATION),
        _ => not_found(),
    }
}

#[cfg(test)]
mod tests {
    use otelcore_config::declare::Config;

    use super::*;

    fn messages(yaml: &str) -> Vec<String> {
        let d = otelcore_config::Diagnostics::new();
        let node = otelcore_config::from_yaml(yaml, &d).unwrap();
        let section = Section::new(Some(&node), "extensions::pprof", &d);
        let _ = PprofConfig::read_section(section, &PprofConfig::default());
        d.items().into_iter().map(|item| item.message).collect()
    }

    #[test]
    fn request_of_a_profile_is_answered_with_the_tool_to_use() {
        assert_eq!(page("/debug/pprof/").status, 200);
        for profile in ["heap", "profile", "goroutine"] {
            let page = page(&format!("/debug/pprof/{profile}"));
            assert_eq!((page.status, &page.body[0][..]), (501, EXPLANATION.as_bytes()));
        }
        assert_eq!(page("/debug/pprofx").status, 404);
        assert_eq!(page("/").status, 404);
    }

    #[test]
    fn settings_without_effect_are_named() {
        assert_eq!(messages("{}"), [""; 0]);
        assert_eq!(messages("{block_profile_fraction: 0, mutex_profile_fraction: 0}"), [""; 0]);
        let all = messages("{block_profile_fraction: 3, mutex_profile_fraction: 5, save_to_file: cpu.out}");
        assert_eq!(all.len(), 3, "{all:?}");
        assert!(all.iter().all(|message| message.contains("has no effect")), "{all:?}");
    }

    #[test]
    fn endpoint_that_is_empty_or_has_no_port_is_an_error() {
        assert_eq!(messages("endpoint: ''"), ["\"endpoint\" is required when using the \"pprof\" extension"]);
        assert_eq!(messages("endpoint: localhost").len(), 1);
    }
}
