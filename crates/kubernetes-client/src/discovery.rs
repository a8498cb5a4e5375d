//! Which resources the API server has, by its discovery documents.
//!
//! ```text
//!  /api, /apis -> (all resources at once, where the server aggregates them)
//!             \-> one document for each group and version
//! ```
//! As client-go: of each group the preferred version of a resource, else the first one that has it. A pure machine: it gives
//! out requests and takes their responses. A group whose document can't be read is left out and named.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::api_client::{ApiRequest, ApiResponse};

const TIMEOUT: Duration = Duration::from_secs(32);
/// The longest document. The one of a cluster with a thousand resources has about 400 KiB.
const MAX_BYTES: usize = 4 << 20;
/// The most documents that are asked for.
const MAX_DOCUMENTS: usize = 2000;

/// Aggregated documents, where the server has them.
const ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
    application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

/// A resource.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiResource {
    /// The group; empty for the one of pods.
    pub group: String,
    /// Its version.
    pub version: String,
    /// The name in paths: `pods`.
    pub name: String,
    /// The kind of its objects: `Pod`.
    pub kind: String,
}

impl ApiResource {
    /// `apiVersion` of its objects.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }
}

#[derive(Debug)]
struct GroupVersion {
    version: String,
    /// `None` until its document is read.
    resources: Option<Vec<NameAndKind>>,
}

#[derive(Debug)]
struct Group {
    name: String,
    preferred: String,
    versions: Vec<GroupVersion>,
}

#[derive(Debug)]
struct NameAndKind {
    name: String,
    kind: String,
}

/// A document to ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Document {
    /// `/api`, the group of pods.
    Core,
    /// `/apis`.
    Groups,
    /// Of a version of a group.
    Version { group: usize, version: usize },
}

/// The machine.
#[derive(Debug)]
pub struct Discovery {
    waiting: VecDeque<Document>,
    requested: Option<Document>,
    groups: Vec<Group>,
    failed: Vec<String>,
}

impl Default for Discovery {
    fn default() -> Self {
        let waiting = VecDeque::from([Document::Core, Document::Groups]);
        Self { waiting, requested: None, groups: Vec::new(), failed: Vec::new() }
    }
}

impl Discovery {
    /// The next request; one at a time. `None` when everything is known.
    pub fn poll_request(&mut self) -> Option<ApiRequest> {
        let document = self.waiting.pop_front()?;
        self.requested = Some(document);
        let target = match document {
            Document::Core => "/api".to_owned(),
            Document::Groups => "/apis".to_owned(),
            Document::Version { group, version } => {
                let group = self.groups.get(group)?;
                let version = group.versions.get(version)?;
                match group.name.as_str() {
                    "" => format!("/api/{}", version.version),
                    name => format!("/apis/{name}/{}", version.version),
                }
            }
        };
        let is_root = matches!(document, Document::Core | Document::Groups);
        let mut request = ApiRequest::get(target, TIMEOUT, MAX_BYTES);
        if is_root {
            request.accept = ACCEPT;
        }
        Some(request)
    }

    /// The response to the request that was given out last.
    ///
    /// # Errors
    /// Nothing can be discovered.
    pub fn handle_response(&mut self, response: Result<ApiResponse, String>) -> Result<(), String> {
        match self.requested.take() {
            None => Ok(()),
            Some(document @ (Document::Core | Document::Groups)) => self.handle_root(document, response),
            Some(Document::Version { group, version }) => {
                self.handle_version(group, version, response);
                Ok(())
            }
        }
    }

    fn handle_root(&mut self, document: Document, response: Result<ApiResponse, String>) -> Result<(), String> {
        let path = if document == Document::Core { "/api" } else { "/apis" };
        let response = response.map_err(|error| format!("GET {path}: {error}"))?;
        match response.status {
            200 => {}
            // Without the permission for one of them, the other is used.
            403 | 404 => return Ok(()),
            _ => return Err(format!("GET {path}: {}", response.refusal())),
        }
        let root: RootDocument = parse(&response.body).map_err(|error| format!("GET {path}: {error}"))?;
        let first = self.groups.len();
        if root.kind == "APIGroupDiscoveryList" {
            self.groups.extend(root.items.into_iter().map(AggregatedGroup::into_group));
        } else if document == Document::Core {
            let versions = root.versions.iter().map(|version| unread(version.clone())).collect();
            let preferred = root.versions.into_iter().next().unwrap_or_default();
            self.groups.push(Group { name: String::new(), preferred, versions });
        } else {
            let group = |group: PlainGroup| Group {
                name: group.name,
                preferred: group.preferred_version.version,
                versions: group.versions.into_iter().map(|version| unread(version.version)).collect(),
            };
            self.groups.extend(root.groups.into_iter().map(group));
        }
        for (index, group) in self.groups.iter().enumerate().skip(first) {
            let unread = group.versions.iter().enumerate().filter(|(_, version)| version.resources.is_none());
            self.waiting.extend(unread.map(|(version, _)| Document::Version { group: index, version }));
        }
        if self.waiting.len() > MAX_DOCUMENTS {
            return Err(format!("GET {path}: more than {MAX_DOCUMENTS} versions of groups"));
        }
        Ok(())
    }

    fn handle_version(&mut self, group: usize, version: usize, response: Result<ApiResponse, String>) {
        let Some(group) = self.groups.get_mut(group) else { return };
        let Some(version) = group.versions.get_mut(version) else { return };
        let resources = response.and_then(|response| match response.status {
            200 => parse::<ResourceList>(&response.body),
            _ => Err(response.refusal()),
        });
        match resources {
            Ok(list) => {
                let all = list.resources.into_iter();
                version.resources = Some(all.map(|r| NameAndKind { name: r.name, kind: r.kind }).collect());
            }
            Err(error) => self.failed.push(format!("{}/{}: {error}", group.name, version.version)),
        }
    }

    /// The groups whose documents could not be read, and why.
    #[must_use]
    pub fn failed_groups(&self) -> &[String] {
        &self.failed
    }

    /// Whether a version of a group has a kind of objects.
    #[must_use]
    pub fn has_kind(&self, group: &str, version: &str, kind: &str) -> bool {
        let groups = self.groups.iter().filter(|known| known.name == group);
        let versions = groups.flat_map(|group| &group.versions).filter(|known| known.version == version);
        versions.flat_map(|version| version.resources.iter().flatten()).any(|resource| resource.kind == kind)
    }

    /// The resources, in the order of their groups.
    #[must_use]
    pub fn resources(&self) -> Vec<ApiResource> {
        let mut found = Vec::new();
        for group in &self.groups {
            let mut positions = BTreeMap::new();
            for version in &group.versions {
                let resources = version.resources.iter().flatten().filter(|resource| !resource.name.contains('/'));
                for NameAndKind { name, kind } in resources {
                    let resource = ApiResource {
                        group: group.name.clone(),
                        version: version.version.clone(),
                        name: name.clone(),
                        kind: kind.clone(),
                    };
                    match positions.get(name).and_then(|at: &usize| found.get_mut(*at)) {
                        None => {
                            positions.insert(name, found.len());
                            found.push(resource);
                        }
                        Some(known) if version.version == group.preferred => *known = resource,
                        Some(_) => {}
                    }
                }
            }
        }
        found
    }
}

fn unread(version: String) -> GroupVersion {
    GroupVersion { version, resources: None }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| format!("the response is not valid: {error}"))
}

/// The members of the three documents that `/api` and `/apis` can have.
#[derive(Default, Deserialize)]
#[serde(default)]
struct RootDocument {
    kind: String,
    versions: Vec<String>,
    groups: Vec<PlainGroup>,
    items: Vec<AggregatedGroup>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PlainGroup {
    name: String,
    versions: Vec<PlainVersion>,
    preferred_version: PlainVersion,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PlainVersion {
    version: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResourceList {
    resources: Vec<PlainResource>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PlainResource {
    name: String,
    kind: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AggregatedGroup {
    metadata: Named,
    versions: Vec<AggregatedVersion>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AggregatedVersion {
    version: String,
    freshness: String,
    resources: Vec<AggregatedResource>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct AggregatedResource {
    resource: String,
    response_kind: Option<Kind>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Kind {
    kind: String,
}

impl AggregatedGroup {
    fn into_group(self) -> Group {
        let preferred = self.versions.first().map(|version| version.version.clone()).unwrap_or_default();
        let version = |version: AggregatedVersion| {
            // What the aggregator could not read lately is not used, as in client-go.
            let is_stale = version.freshness == "Stale";
            let resources = version.resources.into_iter().filter(|_| !is_stale);
            let resource = |r: AggregatedResource| NameAndKind {
                name: r.resource,
                kind: r.response_kind.unwrap_or_default().kind,
            };
            GroupVersion { version: version.version, resources: Some(resources.map(resource).collect()) }
        };
        Group { name: self.metadata.name, preferred, versions: self.versions.into_iter().map(version).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a discovery; `respond` has the status and the document of each path.
    fn discover(respond: impl Fn(&str) -> (u16, &'static str)) -> (Result<Vec<String>, String>, Vec<String>) {
        let mut discovery = Discovery::default();
        let mut paths = Vec::new();
        while let Some(request) = discovery.poll_request() {
            let (status, body) = respond(&request.target);
            paths.push(request.target);
            let response = ApiResponse { status, body: body.as_bytes().to_vec() };
            if let Err(error) = discovery.handle_response(Ok(response)) {
                return (Err(error), paths);
            }
        }
        let text = |r: ApiResource| format!("{} {} {}", r.api_version(), r.name, r.kind);
        (Ok(discovery.resources().into_iter().map(text).collect()), paths)
    }

    #[test]
    fn preferred_versions_are_found_in_single_documents() {
        let (found, paths) = discover(|path| match path {
            "/api" => (200, r#"{"kind":"APIVersions","versions":["v1"]}"#),
            "/apis" => (
                200,
                r#"{"groups":[{"name":"batch","versions":[{"version":"v1beta1"},{"version":"v1"}],
                "preferredVersion":{"version":"v1"}},{"name":"broken","versions":[{"version":"v1"}]}]}"#,
            ),
            "/api/v1" => (200, r#"{"resources":[{"name":"pods","kind":"Pod"},{"name":"pods/log","kind":"Pod"}]}"#),
            "/apis/batch/v1beta1" => {
                (200, r#"{"resources":[{"name":"jobs","kind":"OldJob"},{"name":"old","kind":"Old"}]}"#)
            }
            "/apis/batch/v1" => (200, r#"{"resources":[{"name":"jobs","kind":"Job"}]}"#),
            _ => (503, "{}"),
        });
        assert_eq!(found.unwrap(), ["v1 pods Pod", "batch/v1 jobs Job", "batch/v1beta1 old Old"]);
        assert_eq!(paths.len(), 6);
    }

    #[test]
    fn aggregated_documents_need_no_further_requests() {
        let (found, paths) = discover(|path| match path {
            "/api" => (
                200,
                r#"{"kind":"APIGroupDiscoveryList","items":[{"metadata":{},"versions":[{"version":"v1","resources":
                [{"resource":"events","responseKind":{"kind":"Event"}}]}]}]}"#,
            ),
            _ => (
                200,
                r#"{"kind":"APIGroupDiscoveryList","items":[{"metadata":{"name":"events.k8s.io"},"versions":[
                {"version":"v1","resources":[{"resource":"events","responseKind":{"kind":"Event"}}]},
                {"version":"v0","freshness":"Stale","resources":[{"resource":"gone"}]}]}]}"#,
            ),
        });
        assert_eq!(found.unwrap(), ["v1 events Event", "events.k8s.io/v1 events Event"]);
        assert_eq!(paths, ["/api", "/apis"]);
    }

    #[test]
    fn root_document_that_is_refused_or_damaged_is_an_error() {
        let (found, _) = discover(|_| (500, r#"{"message":"etcd is down"}"#));
        assert_eq!(found.unwrap_err(), "GET /api: status 500: etcd is down");
        let (found, _) = discover(|_| (200, "<html>"));
        assert!(found.unwrap_err().starts_with("GET /api: the response is not valid: "));
        let (found, _) = discover(|_| (403, "{}"));
        assert_eq!(found.unwrap(), Vec::<String>::new());
    }
}
