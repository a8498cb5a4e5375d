//! The credentials and the further header fields of a client, some of which are in files.
//!
//! Files are read at the start, and then every [`READ_INTERVAL`] by a job on a helper thread. A request while a file can't be
//! read fails with the reason, as in Prometheus. Never shows the content of a file.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use otelcore_pipeline::{
    ClientAuth, CredentialsUnavailable, Cx, Event, FileSystem, JobResult, OutgoingHeaders, TimerId,
};

use crate::http_config::PrometheusHttpConfig;

/// The time between two reads of the files.
const READ_INTERVAL: Duration = Duration::from_secs(5);
/// The largest file, in bytes.
const MAX_FILE_BYTES: usize = 1 << 20;

/// The text of each file, or why it can't be read.
type Contents = BTreeMap<String, Result<String, String>>;

/// A text, or a file with it.
#[derive(Debug)]
enum TextSource {
    Text(String),
    File(String),
}

impl TextSource {
    fn new(text: &str, path: &str) -> Self {
        if path.is_empty() { Self::Text(text.to_owned()) } else { Self::File(path.to_owned()) }
    }
}

enum Authorization {
    None,
    Basic(TextSource, TextSource),
    Other(String, TextSource),
}

struct Reading {
    contents: Contents,
    job: Option<JobResult<Contents>>,
    timer: Option<TimerId>,
}

/// Applies the credentials of a client to its requests. It uses one local key of the component.
pub struct HttpCredentials {
    local: u64,
    authorization: Authorization,
    headers: Vec<(String, Vec<TextSource>)>,
    reading: RefCell<Reading>,
}

impl std::fmt::Debug for HttpCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpCredentials").field("local", &self.local).finish_non_exhaustive()
    }
}

impl HttpCredentials {
    /// The credentials of a client. `local` is the key of their timer and their jobs.
    #[must_use]
    pub fn new(config: &PrometheusHttpConfig, local: u64) -> Rc<Self> {
        let authorization = match (&config.basic_auth, &config.authorization) {
            (Some(basic), _) => Authorization::Basic(
                TextSource::new(&basic.username, &basic.username_file),
                TextSource::new(&basic.password.0, &basic.password_file),
            ),
            (None, Some(other)) => {
                let kind = match other.kind.trim() {
                    "" => "Bearer",
                    kind => kind,
                };
                let credentials = TextSource::new(&other.credentials.0, &other.credentials_file);
                Authorization::Other(kind.to_owned(), credentials)
            }
            (None, None) if config.bearer_token.0.is_empty() && config.bearer_token_file.is_empty() => {
                Authorization::None
            }
            (None, None) => {
                let token = TextSource::new(&config.bearer_token.0, &config.bearer_token_file);
                Authorization::Other("Bearer".to_owned(), token)
            }
        };
        let headers = config.http_headers.iter().map(|(name, header)| {
            let texts = header.values.iter().chain(&header.secrets.0).map(|text| TextSource::Text(text.clone()));
            let files = header.files.iter().map(|path| TextSource::File(path.clone()));
            (name.clone(), texts.chain(files).collect())
        });
        let headers: Vec<(String, Vec<TextSource>)> = headers.collect();
        let reading = RefCell::new(Reading { contents: Contents::new(), job: None, timer: None });
        Rc::new(Self { local, authorization, headers, reading })
    }

    fn files(&self) -> Vec<String> {
        let of_authorization: Vec<&TextSource> = match &self.authorization {
            Authorization::None => Vec::new(),
            Authorization::Basic(username, password) => vec![username, password],
            Authorization::Other(_, credentials) => vec![credentials],
        };
        let all = of_authorization.into_iter().chain(self.headers.iter().flat_map(|(_, texts)| texts));
        let mut files: Vec<String> = all
            .filter_map(|text| match text {
                TextSource::File(path) => Some(path.clone()),
                TextSource::Text(_) => None,
            })
            .collect();
        files.sort();
        files.dedup();
        files
    }

    /// Reads the files. A file that can't be read fails the requests until it can.
    pub fn start(&self, cx: &mut Cx<'_>) {
        let files = self.files();
        if files.is_empty() {
            return;
        }
        let contents = files.into_iter().map(|path| {
            let content = cx.read_file(&path).map_err(|error| error.to_string()).and_then(|bytes| text_of(&bytes));
            (path, content)
        });
        let contents = contents.collect();
        let mut reading = self.reading.borrow_mut();
        reading.contents = contents;
        reading.timer = Some(cx.set_timer(self.local, cx.now() + READ_INTERVAL));
    }

    /// Handles an event under the key.
    pub fn handle_event(&self, cx: &mut Cx<'_>, event: &Event<'_>) {
        let mut reading = self.reading.borrow_mut();
        if matches!(event, Event::Timer) {
            let files = self.files();
            reading.timer = None;
            reading.job = cx.run_file_job(self.local, move |system| read_files(system, files)).ok();
            if reading.job.is_some() {
                return;
            }
        } else if let Some(contents) = reading.job.take().and_then(|job| job.take()) {
            reading.contents = contents;
        }
        if reading.timer.is_none() {
            reading.timer = Some(cx.set_timer(self.local, cx.now() + READ_INTERVAL));
        }
    }

    /// Stops reading files.
    pub fn close(&self, cx: &mut Cx<'_>) {
        if let Some(timer) = self.reading.borrow_mut().timer.take() {
            cx.cancel_timer(timer);
        }
    }

    fn text(&self, source: &TextSource, what: &str) -> Result<String, CredentialsUnavailable> {
        match source {
            TextSource::Text(text) => Ok(text.clone()),
            TextSource::File(path) => match self.reading.borrow().contents.get(path) {
                Some(Ok(text)) => Ok(text.clone()),
                Some(Err(error)) => Err(CredentialsUnavailable(format!("unable to read {what}: {error}"))),
                None => Err(CredentialsUnavailable(format!("unable to read {what}: {path} has not been read yet"))),
            },
        }
    }
}

impl ClientAuth for HttpCredentials {
    fn apply(&self, _: &mut Cx<'_>, headers: &mut OutgoingHeaders<'_>) -> Result<(), CredentialsUnavailable> {
        for (name, texts) in &self.headers {
            for text in texts {
                let value = self.text(text, "headers file")?;
                headers.add(name, value);
            }
        }
        match &self.authorization {
            Authorization::None => {}
            Authorization::Basic(username, password) => {
                let (username, password) =
                    (self.text(username, "username file")?, self.text(password, "password file")?);
                let encoded = STANDARD.encode(format!("{username}:{password}"));
                headers.set("Authorization", format!("Basic {encoded}"));
            }
            Authorization::Other(kind, credentials) => {
                let credentials = self.text(credentials, "authorization credentials")?;
                headers.set("Authorization", format!("{kind} {credentials}"));
            }
        }
        Ok(())
    }
}

fn read_files(system: &mut dyn FileSystem, files: Vec<String>) -> Contents {
    let read = |path: String| {
        let content = system.read(Path::new(&path), MAX_FILE_BYTES).map_err(|error| error.to_string());
        let content = content.and_then(|bytes| text_of(&bytes));
        (path, content)
    };
    files.into_iter().map(read).collect()
}

fn text_of(bytes: &[u8]) -> Result<String, String> {
    if bytes.len() > MAX_FILE_BYTES {
        return Err("the file is larger than 1 MiB".to_owned());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "the file is no text".to_owned())?;
    Ok(text.trim().to_owned())
}
