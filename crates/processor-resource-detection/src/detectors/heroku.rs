//! The detector `heroku`: variables that Heroku sets where dyno metadata are on.

use super::ResourceBuilder;
use crate::answers::{Answers, Halt};
use crate::config::HerokuConfig;
use crate::detected::DetectedResource;

/// Attributes, and the variables that they are from.
const VARIABLES: [(&str, &str); 6] = [
    ("service.instance.id", "HEROKU_DYNO_ID"),
    ("heroku.app.id", "HEROKU_APP_ID"),
    ("service.name", "HEROKU_APP_NAME"),
    ("heroku.release.creation_timestamp", "HEROKU_RELEASE_CREATED_AT"),
    ("service.version", "HEROKU_RELEASE_VERSION"),
    ("heroku.release.commit", "HEROKU_SLUG_COMMIT"),
];

pub(super) fn detect(config: &HerokuConfig, answers: &mut Answers<'_>) -> Result<DetectedResource, Halt> {
    let is_enabled = |key: &str| config.resource_attributes.is_enabled(key);
    let mut resource = ResourceBuilder::new(&is_enabled);
    if answers.lookup_env("HEROKU_APP_ID").is_some() {
        resource.set_str("cloud.provider", "heroku");
    }
    for (key, variable) in VARIABLES {
        if let Some(value) = answers.lookup_env(variable) {
            resource.set_str(key, value);
        }
    }
    Ok(resource.finish())
}
