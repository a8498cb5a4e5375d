//! One resource that is listed and watched: which request is next, and how long it waits after a failure.
//!
//! ```text
//!  list, page by page -> watch from the list's version -> (its time is over) -> watch from the last event's version
//!     ^                     |
//!     +--- 410 Gone --------+
//! ```
//! [`WatchMode`] says which of these there are. Where only the version of a list is needed, the list has one object.
//! A pure machine: it knows neither connections nor objects.

use std::time::Duration;

use otelcore_net::{is_unreserved, percent_escape};

/// Objects in a page of a list, as in client-go.
const PAGE_SIZE: u32 = 500;

/// Pauses after failures, as in client-go's reflector: each is up to twice as long, at random.
const MIN_PAUSE: Duration = Duration::from_millis(800);
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// A watch ends after five to ten minutes, as in client-go.
const MIN_WATCH: Duration = Duration::from_secs(300);

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum WatchMode {
    /// All objects, and then their changes. After a gap in the changes: all objects again.
    #[default]
    ListAndWatch,
    /// All objects once, and then changes. Changes in a gap are lost.
    ListOnceAndWatch,
    /// Changes only. Changes in a gap are lost.
    Watch {
        /// The version after which they begin; empty for the newest one.
        from: String,
    },
    /// All objects, at the start and whenever [`crate::WatchClient::list_again`] is called.
    List {
        /// The version that is listed; empty for the newest one.
        version: String,
    },
}

/// The resource to list and watch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WatchSpec {
    /// The path of the resource: `/api/v1/pods`, `/apis/apps/v1/namespaces/team/replicasets`.
    pub path: String,
    /// As in the query of the API: `app=web,tier!=cache`; empty for all objects.
    pub label_selector: String,
    /// As in the query of the API: `spec.nodeName=n1`; empty for all objects.
    pub field_selector: String,
    /// Only the metadata of the objects is needed.
    pub metadata_only: bool,
    /// What is asked for.
    pub mode: WatchMode,
}

impl WatchSpec {
    /// All objects of a resource in a group, or those of a namespace. The group of pods is empty.
    #[must_use]
    pub fn new(group: &str, version: &str, resource: &str, namespace: &str) -> Self {
        let root = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        let path = match namespace {
            "" => format!("{root}/{resource}"),
            namespace => format!("{root}/namespaces/{}/{resource}", escaped(namespace)),
        };
        Self { path, ..Self::default() }
    }

    /// The path of an object of this name.
    #[must_use]
    pub fn object_path(&self, name: &str) -> String {
        format!("{}/{}", self.path, escaped(name))
    }

    /// What is asked for, for logs: `pods`.
    #[must_use]
    pub fn resource(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

/// From which version a list begins.
#[derive(Clone, PartialEq, Eq, Debug)]
enum ListVersion {
    /// Any that the server has at hand: its cache answers, and not its database.
    Any,
    /// One that is not older.
    NotOlderThan(String),
    /// The newest one.
    Newest,
}

/// What the next request is.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Position {
    /// A page of a list; the first one has an empty token.
    List { continue_token: String },
    /// A watch from a version.
    Watch { version: String },
    /// Nothing until the list is asked for again.
    Idle,
}

#[derive(Debug)]
pub(crate) struct ListWatch {
    pub(crate) spec: WatchSpec,
    position: Position,
    list_version: ListVersion,
    /// The objects have been listed once.
    is_listed: bool,
    failures: u32,
}

impl ListWatch {
    pub(crate) fn new(spec: WatchSpec) -> Self {
        let position = match &spec.mode {
            WatchMode::Watch { from } if !from.is_empty() => Position::Watch { version: from.clone() },
            _ => Position::List { continue_token: String::new() },
        };
        Self { spec, position, list_version: ListVersion::Any, is_listed: false, failures: 0 }
    }

    /// Of a list only the version is needed.
    pub(crate) fn wants_version_only(&self) -> bool {
        match self.spec.mode {
            WatchMode::Watch { .. } => true,
            WatchMode::ListOnceAndWatch => self.is_listed,
            WatchMode::ListAndWatch | WatchMode::List { .. } => false,
        }
    }

    /// There is no next request.
    pub(crate) fn is_idle(&self) -> bool {
        self.position == Position::Idle
    }

    /// Whether a list can't be used without its version.
    pub(crate) fn needs_version(&self) -> bool {
        !matches!(self.spec.mode, WatchMode::List { .. })
    }

    /// The version of the last event, or of the list.
    pub(crate) fn version(&self) -> Option<&str> {
        match &self.position {
            Position::Watch { version } => Some(version),
            Position::List { .. } | Position::Idle => None,
        }
    }

    pub(crate) fn is_list(&self) -> bool {
        matches!(self.position, Position::List { .. })
    }

    /// Whether the next request is the first page of a list.
    pub(crate) fn is_first_page(&self) -> bool {
        matches!(&self.position, Position::List { continue_token } if continue_token.is_empty())
    }

    /// How long the next watch lasts.
    pub(crate) fn watch_duration(random: u64) -> Duration {
        MIN_WATCH + Duration::from_secs(random % MIN_WATCH.as_secs())
    }

    /// Path and query of the next request.
    pub(crate) fn target(&self, watch_duration: Duration) -> String {
        let mut query = match &self.position {
            Position::Idle => String::new(),
            Position::List { .. } if self.wants_version_only() => "limit=1".to_owned(),
            Position::List { continue_token } if continue_token.is_empty() => {
                match (&self.spec.mode, &self.list_version) {
                    (WatchMode::List { version }, _) if version.is_empty() => format!("limit={PAGE_SIZE}"),
                    (WatchMode::List { version }, _) => {
                        format!("limit={PAGE_SIZE}&resourceVersion={}&resourceVersionMatch=Exact", escaped(version))
                    }
                    (_, ListVersion::Any) => format!("limit={PAGE_SIZE}&resourceVersion=0"),
                    // With a limit this would be the version itself, which the server may not have any more.
                    (_, ListVersion::NotOlderThan(version)) => format!("resourceVersion={}", escaped(version)),
                    (_, ListVersion::Newest) => format!("limit={PAGE_SIZE}"),
                }
            }
            Position::List { continue_token } => format!("limit={PAGE_SIZE}&continue={}", escaped(continue_token)),
            Position::Watch { version } => format!(
                "watch=true&allowWatchBookmarks=true&timeoutSeconds={}&resourceVersion={}",
                watch_duration.as_secs(),
                escaped(version)
            ),
        };
        for (name, selector) in
            [("labelSelector", &self.spec.label_selector), ("fieldSelector", &self.spec.field_selector)]
        {
            if !selector.is_empty() {
                query.push_str(&format!("&{name}={}", escaped(selector)));
            }
        }
        format!("{}?{query}", self.spec.path)
    }

    /// A page has ended. True if it was the last one: then the watch begins, if there is one.
    pub(crate) fn end_page(&mut self, version: &str, continue_token: &str) -> bool {
        self.failures = 0;
        if !continue_token.is_empty() && !self.wants_version_only() {
            self.position = Position::List { continue_token: continue_token.to_owned() };
            return false;
        }
        self.is_listed = true;
        self.list_version = ListVersion::NotOlderThan(version.to_owned());
        self.position = match self.spec.mode {
            WatchMode::List { .. } => Position::Idle,
            _ => Position::Watch { version: version.to_owned() },
        };
        true
    }

    /// An event of the watch has this version.
    pub(crate) fn advance_to(&mut self, new_version: &str) {
        self.failures = 0;
        if let Position::Watch { version } = &mut self.position
            && !new_version.is_empty()
        {
            new_version.clone_into(version);
            self.list_version = ListVersion::NotOlderThan(new_version.to_owned());
        }
    }

    /// The server does not know the version any more: lists the newest one.
    pub(crate) fn restart_from_newest(&mut self) {
        self.restart();
        self.list_version = ListVersion::Newest;
    }

    /// Lists from the first page.
    pub(crate) fn restart(&mut self) {
        self.position = Position::List { continue_token: String::new() };
    }

    /// What has been listed is not known any more: lists as at the start.
    pub(crate) fn reset(&mut self) {
        self.restart();
        self.list_version = ListVersion::Any;
        self.is_listed = false;
    }

    /// A request has failed; returns the pause before the next one.
    pub(crate) fn fail(&mut self, random: u64) -> Duration {
        let pause = MIN_PAUSE.saturating_mul(1 << self.failures.min(6)).min(MAX_PAUSE);
        self.failures = self.failures.saturating_add(1);
        // After a restore of its database the server may never reach the version.
        if self.is_list() && self.failures > 2 && matches!(self.list_version, ListVersion::NotOlderThan(_)) {
            self.list_version = ListVersion::Any;
        }
        pause + pause.mul_f64((random % 1024) as f64 / 1024.0)
    }
}

/// A value in a path or a query, escaped.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    percent_escape(&mut out, text, is_unreserved);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_continues_page_by_page_and_ends_with_a_watch() {
        let spec = WatchSpec {
            label_selector: "app=web".to_owned(),
            field_selector: "spec.nodeName=n 1".to_owned(),
            ..WatchSpec::new("", "v1", "pods", "")
        };
        let selectors = "&labelSelector=app%3Dweb&fieldSelector=spec.nodeName%3Dn%201";
        let mut machine = ListWatch::new(spec);
        let target = |machine: &ListWatch| machine.target(Duration::from_secs(300));
        assert_eq!(target(&machine), format!("/api/v1/pods?limit=500&resourceVersion=0{selectors}"));
        assert!(!machine.end_page("7", "a/b"));
        assert_eq!(target(&machine), format!("/api/v1/pods?limit=500&continue=a%2Fb{selectors}"));
        assert!(machine.end_page("7", ""));
        let watch = "watch=true&allowWatchBookmarks=true&timeoutSeconds=300&resourceVersion=";
        assert_eq!(target(&machine), format!("/api/v1/pods?{watch}7{selectors}"));
        machine.advance_to("9");
        machine.advance_to("");
        assert_eq!(target(&machine), format!("/api/v1/pods?{watch}9{selectors}"));
        machine.restart();
        assert_eq!(target(&machine), format!("/api/v1/pods?resourceVersion=9{selectors}"));
        machine.restart_from_newest();
        assert_eq!(target(&machine), format!("/api/v1/pods?limit=500{selectors}"));
    }

    fn targets(mode: WatchMode) -> impl Fn(&ListWatch) -> String {
        move |machine| {
            assert_eq!(machine.spec.mode, mode);
            machine.target(Duration::from_secs(300)).trim_start_matches("/api/v1/pods?").to_owned()
        }
    }

    fn machine(mode: WatchMode) -> ListWatch {
        ListWatch::new(WatchSpec { mode, ..WatchSpec::new("", "v1", "pods", "") })
    }

    const WATCH: &str = "watch=true&allowWatchBookmarks=true&timeoutSeconds=300&resourceVersion=";

    #[test]
    fn watch_without_a_list_asks_for_the_version_of_one_object() {
        let mode = WatchMode::Watch { from: String::new() };
        let (mut machine, target) = (machine(mode.clone()), targets(mode));
        assert_eq!(target(&machine), "limit=1");
        assert!(machine.wants_version_only() && machine.end_page("7", "more"));
        assert_eq!((target(&machine), machine.version()), (format!("{WATCH}7"), Some("7")));
        machine.restart_from_newest();
        assert_eq!(target(&machine), "limit=1");
    }

    #[test]
    fn watch_from_a_version_begins_there_and_asks_for_the_newest_one_when_it_is_gone() {
        let mode = WatchMode::Watch { from: "41".to_owned() };
        let (mut machine, target) = (machine(mode.clone()), targets(mode));
        assert_eq!(target(&machine), format!("{WATCH}41"));
        machine.restart_from_newest();
        assert_eq!(target(&machine), "limit=1");
    }

    #[test]
    fn objects_are_listed_once_and_then_only_watched() {
        let mode = WatchMode::ListOnceAndWatch;
        let (mut machine, target) = (machine(mode.clone()), targets(mode));
        assert_eq!(target(&machine), "limit=500&resourceVersion=0");
        assert!(!machine.end_page("7", "more") && machine.end_page("7", ""));
        assert_eq!(target(&machine), format!("{WATCH}7"));
        machine.restart_from_newest();
        assert_eq!(target(&machine), "limit=1");
    }

    #[test]
    fn list_without_a_watch_ends_idle_and_is_repeated_on_request() {
        let mode = WatchMode::List { version: String::new() };
        let (mut machine, target) = (machine(mode.clone()), targets(mode));
        assert_eq!(target(&machine), "limit=500");
        assert!(!machine.end_page("7", "more"));
        assert_eq!(target(&machine), "limit=500&continue=more");
        assert!(machine.end_page("7", "") && machine.is_idle());
        machine.restart();
        assert_eq!(target(&machine), "limit=500");
        let mode = WatchMode::List { version: "9".to_owned() };
        assert_eq!(
            targets(mode.clone())(&self::machine(mode)),
            "limit=500&resourceVersion=9&resourceVersionMatch=Exact"
        );
    }

    #[test]
    fn path_has_the_group_and_the_namespace() {
        assert_eq!(
            WatchSpec::new("apps", "v1", "replicasets", "team").path,
            "/apis/apps/v1/namespaces/team/replicasets"
        );
        assert_eq!(WatchSpec::new("", "v1", "pods", "a/b").path, "/api/v1/namespaces/a%2Fb/pods");
        assert_eq!(WatchSpec::new("", "v1", "pods", "").resource(), "pods");
        assert_eq!(WatchSpec::new("", "v1", "pods", "a").object_path("b/c"), "/api/v1/namespaces/a/pods/b%2Fc");
    }

    #[test]
    fn pauses_grow_to_a_limit_and_success_ends_them() {
        let mut machine = ListWatch::new(WatchSpec::new("", "v1", "pods", ""));
        let pauses: Vec<u128> = (0..8).map(|_| machine.fail(0).as_millis()).collect();
        assert_eq!(pauses, [800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
        assert!(machine.fail(1023) < Duration::from_secs(60));
        machine.end_page("1", "");
        assert_eq!(machine.fail(512), Duration::from_millis(1200));
        assert!((300..600).contains(&ListWatch::watch_duration(u64::MAX).as_secs()));
    }
}
