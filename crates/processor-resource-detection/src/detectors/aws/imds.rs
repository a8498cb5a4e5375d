//! The instance metadata service of EC2, with its session tokens (version 2), and without them where it has none.

use std::time::Duration;

use serde_json::Value;

use super::super::{json_document, plain_text};
use crate::answers::{Answers, Halt, Request, Response};

/// Where it is, by IPv4 and by IPv6.
const ENDPOINTS: [&str; 2] = ["http://169.254.169.254", "http://[fd00:ec2::254]"];

/// How requests are repeated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repetition {
    pub(super) max_attempts: u32,
    pub(super) max_backoff: Duration,
}

/// One collector's view of the service.
pub(super) struct Imds {
    endpoint: String,
    token: Option<String>,
    repetition: Repetition,
}

/// Asks for a session token. The error says why the service can't be used.
pub(super) fn open(answers: &mut Answers<'_>, repetition: Repetition) -> Result<Result<Imds, String>, Halt> {
    if answers.env("AWS_EC2_METADATA_DISABLED").eq_ignore_ascii_case("true") {
        return Ok(Err("access disabled to EC2 IMDS via client option, or \"AWS_EC2_METADATA_DISABLED\" \
                       environment variable"
            .to_owned()));
    }
    let mut endpoint = answers.env("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    if endpoint.is_empty() {
        let by_ipv6 = answers.env("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE").eq_ignore_ascii_case("ipv6");
        endpoint = ENDPOINTS[usize::from(by_ipv6)].to_owned();
    }
    let endpoint = endpoint.trim_end_matches('/').to_owned();
    let request = Request { method: "PUT", ..Request::get(format!("{endpoint}/latest/api/token")) };
    let request = repeated(request.header("x-aws-ec2-metadata-token-ttl-seconds", "300"), repetition);
    let token = match answers.http(request)? {
        Ok(response) => match response.status {
            200 => Some(plain_text(response).map_err(Halt::Failed)?),
            // The service has no tokens.
            403..=405 => None,
            status => return Ok(Err(format!("failed to get API token: the response has status {status}"))),
        },
        Err(error) => return Ok(Err(format!("failed to get API token: {error}"))),
    };
    Ok(Ok(Imds { endpoint, token, repetition }))
}

fn repeated(request: Request, repetition: Repetition) -> Request {
    let Repetition { max_attempts, max_backoff } = repetition;
    Request { max_attempts, max_backoff, ..request }
}

impl Imds {
    fn get(&self, answers: &mut Answers<'_>, path: &str) -> Result<Result<Response, String>, Halt> {
        let mut request = Request::get(format!("{}/latest/{path}", self.endpoint));
        if let Some(token) = &self.token {
            request = request.header("x-aws-ec2-metadata-token", token.clone());
        }
        answers.http(repeated(request, self.repetition))
    }

    /// `/latest/meta-data/..` as text.
    pub(super) fn metadata(&self, answers: &mut Answers<'_>, path: &str) -> Result<Result<String, String>, Halt> {
        let response = self.get(answers, &format!("meta-data/{path}"))?.and_then(plain_text);
        Ok(response.map_err(|e| format!("failed to get {path} from IMDS: {e}")))
    }

    /// The instance's identity document.
    pub(super) fn identity_document(&self, answers: &mut Answers<'_>) -> Result<Result<Value, String>, Halt> {
        let response = self.get(answers, "dynamic/instance-identity/document")?;
        let document = response.and_then(|response| json_document(&response));
        Ok(document.map_err(|e| format!("failed to get instance identity document: {e}")))
    }
}
