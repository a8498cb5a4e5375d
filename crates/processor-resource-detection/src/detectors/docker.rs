//! The detector `docker`: the daemon that `DOCKER_HOST` names, by default at `/var/run/docker.sock`.

use serde_json::Value;

use super::{json_document, text};
use crate::answers::{Answers, Halt, Request};
use crate::config::DockerConfig;
use crate::detected::{DetectedResource, ResourceBuilder};

const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";

pub(super) fn detect(config: &DockerConfig, answers: &mut Answers<'_>) -> Result<DetectedResource, Halt> {
    let is_enabled = |key: &str| config.resource_attributes.is_enabled(key);
    let mut resource = ResourceBuilder::new(&is_enabled);
    let info = get(answers, "/info", "failed getting OS type: failed to fetch Docker OS type")?;
    resource.set_str("host.name", text(&info, "Name"));
    resource.set_str("os.type", text(&info, "OSType"));
    if is_enabled("container.name") || is_enabled("container.image.name") {
        let hostname = super::system::hostname(answers)?.map_err(Halt::Failed)?;
        let error = "failed getting container info: failed to fetch container information";
        let container = get(answers, &format!("/containers/{hostname}/json"), error)?;
        resource.set_str("container.name", text(&container, "Name"));
        resource.set_str("container.image.name", text(&container, "Image"));
    }
    Ok(resource.finish())
}

fn get(answers: &mut Answers<'_>, target: &str, what: &str) -> Result<Value, Halt> {
    let mut host = answers.env("DOCKER_HOST");
    if host.is_empty() {
        host = DEFAULT_HOST.to_owned();
    }
    let response = match host.split_once("://") {
        Some(("unix", path)) => answers.unix(path, target)?,
        Some(("tcp" | "http", address)) if answers.env("DOCKER_TLS_VERIFY").is_empty() => {
            answers.http(Request::get(format!("http://{}{target}", address.trim_end_matches('/'))))?
        }
        _ => Err(format!("DOCKER_HOST={host}: only unix:// and tcp:// without TLS are supported")),
    };
    let document = response.and_then(|response| json_document(&response));
    document.map_err(|e| Halt::Failed(format!("{what}: {e}")))
}
