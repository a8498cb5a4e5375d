//! What a detector knows: the answers to its questions so far, and the question that has no answer yet.
//!
//! Performs no IO: [`crate::detection`] gets what is asked.

use std::net::IpAddr;
use std::time::Duration;

use otelcore_http::Bytes;

/// The most questions of one detector.
pub(crate) const MAX_QUESTIONS: usize = 256;

/// The most bytes of all answers of one detector.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// The error of answers beyond one of these limits.
const TOO_MUCH_DATA: &str = "the service has more data than is read";

/// The error of a question after the time limit, as Go writes it.
pub(crate) const DEADLINE_EXCEEDED: &str = "context deadline exceeded";

/// Why a detector has no result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Halt {
    /// A question has no answer yet.
    Waiting,
    /// It can't be detected.
    Failed(String),
}

impl From<String> for Halt {
    fn from(error: String) -> Self {
        Self::Failed(error)
    }
}

/// The HTTP client that a request is made with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ClientKind {
    /// Services of clouds, with the settings of the processor.
    Metadata,
    /// The Kubernetes API server.
    Kubernetes,
    /// The API server of OpenShift, with the settings of its detector.
    OpenShift,
}

/// A request to a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) url: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) client: ClientKind,
    /// Times that the request is made until it has a response below 500.
    pub(crate) max_attempts: u32,
    /// The longest pause between two of them.
    pub(crate) max_backoff: Duration,
}

impl Request {
    pub(crate) fn get(url: impl Into<String>) -> Self {
        Self {
            method: "GET",
            url: url.into(),
            headers: Vec::new(),
            client: ClientKind::Metadata,
            max_attempts: 1,
            max_backoff: Duration::ZERO,
        }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// A question of a detector.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Question {
    /// The content of a file.
    File(String),
    /// The network interfaces, with their addresses.
    Interfaces,
    /// A response over HTTP.
    Http(Request),
    /// A response of a server at a socket in the file system: its path, and the target of a GET request.
    Unix(String, String),
}

/// A network interface.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) index: u32,
    pub(crate) is_up: bool,
    pub(crate) is_loopback: bool,
    /// `02-42-ac-11-00-02` in upper case; empty for none.
    pub(crate) mac: String,
    pub(crate) addresses: Vec<IpAddr>,
}

/// A response over HTTP.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    /// The header field `Metadata-Flavor`; empty without one.
    pub(crate) metadata_flavor: String,
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Reply {
    Bytes(Bytes),
    Interfaces(Vec<Interface>),
    Http(Response),
}

/// An answer, or why there is none.
pub(crate) type Answer = Result<Reply, String>;

/// The questions and answers of one detector.
#[derive(Default, Debug)]
pub(crate) struct KnownAnswers {
    answers: Vec<(Question, Answer)>,
    /// The bytes of the answers.
    bytes: usize,
    asked: Option<Question>,
    /// For the log.
    warnings: Vec<String>,
}

impl KnownAnswers {
    /// The question that has no answer.
    pub(crate) fn asked(&self) -> Option<&Question> {
        self.asked.as_ref()
    }

    /// Answers the question that has no answer.
    pub(crate) fn answer(&mut self, answer: Answer) {
        let Some(question) = self.asked.take() else { return };
        self.bytes += match &answer {
            Ok(Reply::Bytes(bytes)) => bytes.len(),
            Ok(Reply::Http(response)) => response.body.len(),
            Ok(Reply::Interfaces(_)) | Err(_) => 0,
        };
        let answer = if self.bytes > MAX_ANSWER_BYTES { Err(TOO_MUCH_DATA.to_owned()) } else { answer };
        self.answers.push((question, answer));
    }

    pub(crate) fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }
}

/// What a detector can ask.
pub(crate) struct Answers<'a> {
    known: &'a mut KnownAnswers,
    env: &'a dyn Fn(&str) -> Option<String>,
    is_expired: bool,
}

impl<'a> Answers<'a> {
    /// After the time limit (`is_expired`) every new question has an error as its answer.
    pub(crate) fn new(known: &'a mut KnownAnswers, env: &'a dyn Fn(&str) -> Option<String>, is_expired: bool) -> Self {
        known.warnings.clear();
        if is_expired {
            known.answer(Err(DEADLINE_EXCEEDED.to_owned()));
        }
        Self { known, env, is_expired }
    }

    /// A variable of the environment, empty if it is not set.
    pub(crate) fn env(&self, name: &str) -> String {
        (self.env)(name).unwrap_or_default()
    }

    /// A variable of the environment.
    pub(crate) fn lookup_env(&self, name: &str) -> Option<String> {
        (self.env)(name)
    }

    /// Logs a warning, when the detector has ended.
    pub(crate) fn warn(&mut self, text: String) {
        self.known.warnings.push(text);
    }

    fn ask(&mut self, question: Question) -> Result<Answer, Halt> {
        if let Some((_, answer)) = self.known.answers.iter().find(|(known, _)| *known == question) {
            return Ok(answer.clone());
        }
        if self.is_expired {
            return Ok(Err(DEADLINE_EXCEEDED.to_owned()));
        }
        if self.known.answers.len() >= MAX_QUESTIONS {
            return Err(Halt::Failed(TOO_MUCH_DATA.to_owned()));
        }
        self.known.asked = Some(question);
        Err(Halt::Waiting)
    }

    /// The content of a file.
    pub(crate) fn file(&mut self, path: impl Into<String>) -> Result<Result<Bytes, String>, Halt> {
        Ok(match self.ask(Question::File(path.into()))? {
            Ok(Reply::Bytes(bytes)) => Ok(bytes),
            Ok(_) => Err("not a file".to_owned()),
            Err(error) => Err(error),
        })
    }

    /// The content of a file as text; `None` if it can't be read.
    pub(crate) fn text(&mut self, path: impl Into<String>) -> Result<Option<String>, Halt> {
        Ok(self.file(path)?.ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    pub(crate) fn interfaces(&mut self) -> Result<Result<Vec<Interface>, String>, Halt> {
        Ok(match self.ask(Question::Interfaces)? {
            Ok(Reply::Interfaces(interfaces)) => Ok(interfaces),
            Ok(_) => Err("no interfaces".to_owned()),
            Err(error) => Err(error),
        })
    }

    fn response(&mut self, question: Question) -> Result<Result<Response, String>, Halt> {
        Ok(match self.ask(question)? {
            Ok(Reply::Http(response)) => Ok(response),
            Ok(_) => Err("no response".to_owned()),
            Err(error) => Err(error),
        })
    }

    /// The response to a request, of any status.
    pub(crate) fn http(&mut self, request: Request) -> Result<Result<Response, String>, Halt> {
        self.response(Question::Http(request))
    }

    /// The response of a server at a socket in the file system.
    pub(crate) fn unix(&mut self, path: &str, target: &str) -> Result<Result<Response, String>, Halt> {
        self.response(Question::Unix(path.to_owned(), target.to_owned()))
    }
}
