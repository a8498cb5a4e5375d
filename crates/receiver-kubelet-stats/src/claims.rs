//! Looks up what the claims of volumes stand for: a claim names a persistent volume, and that has a source.
//!
//! ```text
//! claim -> GET persistentvolumeclaims/NAME -> GET persistentvolumes/NAME -> source
//! ```
//! What was found is kept as long as the volume is reported, as in the Go receiver; what was not found is asked for again
//! at the next scrape. Asks a bounded number of questions at once; does not know when a scrape begins.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use otelcore_kubernetes_client::{ApiClient, ApiRequest, ApiResponse, WatchSpec};
use otelcore_pipeline::{Cx, Event, MonotonicTime};
use serde::Deserialize;

use crate::pods::PersistentSource;
use crate::summary::{answer, or_default};
use crate::writer::{Claim, ClaimedVolumes, MAX_CLAIMS, VolumeKey};

/// Requests at once.
const MAX_CONCURRENT: usize = 8;
/// The longest object that is read.
const MAX_OBJECT: usize = 1 << 20;

answer! {
    PersistentVolumeClaim {
        spec: ClaimSpec,
    }

    ClaimSpec {
        volume_name: String,
    }

    PersistentVolume {
        spec: PersistentSource,
    }
}

/// A request in progress.
#[derive(Debug)]
enum Question {
    /// Which persistent volume the claim has.
    Claim(Claim),
    /// What that is.
    Volume(Claim),
}

/// The lookups of a receiver.
#[derive(Debug)]
pub(crate) struct ClaimLookups {
    client: ApiClient,
    /// What is behind claims.
    known: BTreeMap<VolumeKey, PersistentSource>,
    waiting: VecDeque<Claim>,
    asked: BTreeMap<u64, Question>,
    found: ClaimedVolumes,
    deadline: MonotonicTime,
}

impl ClaimLookups {
    pub(crate) fn new(client: ApiClient) -> Self {
        Self {
            client,
            known: BTreeMap::new(),
            waiting: VecDeque::new(),
            asked: BTreeMap::new(),
            found: BTreeMap::new(),
            deadline: MonotonicTime(0),
        }
    }

    /// Begins to look up the claims of a scrape, until `deadline`.
    pub(crate) fn begin(&mut self, cx: &mut Cx<'_>, claims: Vec<Claim>, deadline: MonotonicTime) {
        let mut known = std::mem::take(&mut self.known);
        self.found.clear();
        self.waiting.clear();
        self.deadline = deadline;
        for claim in claims {
            match known.remove(&claim.volume) {
                Some(source) => {
                    self.found.insert(claim.volume.clone(), Ok(source.clone()));
                    self.known.insert(claim.volume, source);
                }
                None if self.waiting.len() < MAX_CLAIMS => self.waiting.push_back(claim),
                None => {}
            }
        }
        self.advance(cx);
    }

    /// What was found, when all is looked up.
    pub(crate) fn take_found(&mut self) -> Option<ClaimedVolumes> {
        (self.waiting.is_empty() && self.asked.is_empty()).then(|| std::mem::take(&mut self.found))
    }

    /// Handles an event of the client.
    pub(crate) fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: &Event<'_>) {
        self.client.handle_event(cx, local, event);
        self.advance(cx);
    }

    pub(crate) fn close(&mut self, cx: &mut Cx<'_>) {
        self.client.close(cx);
    }

    fn advance(&mut self, cx: &mut Cx<'_>) {
        loop {
            while let Some((token, result)) = self.client.poll_response() {
                if let Some(question) = self.asked.remove(&token) {
                    self.handle_response(cx, question, result);
                }
            }
            if self.asked.len() >= MAX_CONCURRENT {
                return;
            }
            let Some(claim) = self.waiting.pop_front() else { return };
            self.ask(cx, Question::Claim(claim), None);
        }
    }

    /// Sends a question. A question about a volume has its name.
    fn ask(&mut self, cx: &mut Cx<'_>, question: Question, volume: Option<&str>) {
        let left = if self.deadline > cx.now() { self.deadline.since(cx.now()) } else { Duration::ZERO };
        if left.is_zero() {
            let (Question::Claim(claim) | Question::Volume(claim)) = question;
            let error = Err("the time of the scrape is over".to_owned());
            self.found.insert(claim.volume, error);
            return;
        }
        let path = match (&question, volume) {
            (Question::Claim(claim), _) => {
                WatchSpec::new("", "v1", "persistentvolumeclaims", &claim.namespace).object_path(&claim.name)
            }
            (Question::Volume(_), volume) => {
                WatchSpec::new("", "v1", "persistentvolumes", "").object_path(volume.unwrap_or_default())
            }
        };
        let token = self.client.request(cx, ApiRequest::get(path, left, MAX_OBJECT));
        self.asked.insert(token, question);
    }

    fn handle_response(&mut self, cx: &mut Cx<'_>, question: Question, result: Result<ApiResponse, String>) {
        match question {
            Question::Claim(claim) => {
                let read = read_object::<PersistentVolumeClaim>("persistentvolumeclaims", result);
                let name = read.and_then(|object| match object.spec.volume_name {
                    name if name.is_empty() => {
                        Err(format!("PersistentVolumeClaim {} does not have a volume name", claim.name))
                    }
                    name => Ok(name),
                });
                match name {
                    Ok(name) => self.ask(cx, Question::Volume(claim), Some(&name)),
                    Err(error) => drop(self.found.insert(claim.volume, Err(error))),
                }
            }
            Question::Volume(claim) => {
                let source = read_object::<PersistentVolume>("persistentvolumes", result).map(|volume| volume.spec);
                if let Ok(source) = &source {
                    self.known.insert(claim.volume.clone(), source.clone());
                }
                self.found.insert(claim.volume, source);
            }
        }
    }
}

/// An object of the API server, or its refusal.
fn read_object<T: for<'de> Deserialize<'de>>(resource: &str, result: Result<ApiResponse, String>) -> Result<T, String> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Status {
        #[serde(deserialize_with = "or_default")]
        message: String,
    }
    let response = result?;
    if response.status == 200 {
        return serde_json::from_slice(&response.body).map_err(|error| error.to_string());
    }
    let message = serde_json::from_slice::<Status>(&response.body).map(|status| status.message).unwrap_or_default();
    let mut error = if message.is_empty() { response.refusal() } else { message };
    if response.status == 403 {
        error.push_str(&format!("; grant `get` on {resource} to the collector's account"));
    }
    Err(error)
}
