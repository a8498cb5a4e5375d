//! The detector `ec2`: the instance metadata service.

use otelcore_go_regexp::GoRegexp;

use super::super::text;
use super::imds::{self, Imds, Repetition};
use crate::answers::{Answers, Halt, MAX_QUESTIONS};
use crate::config::Ec2Config;
use crate::detected::{DetectedResource, ResourceBuilder};

/// Attributes, and the members of the identity document that they are from.
pub(super) const DOCUMENT: [(&str, &str); 6] = [
    ("cloud.region", "region"),
    ("cloud.account.id", "accountId"),
    ("cloud.availability_zone", "availabilityZone"),
    ("host.id", "instanceId"),
    ("host.image.id", "imageId"),
    ("host.type", "instanceType"),
];

pub(crate) fn detect(
    config: &Ec2Config,
    tags: Option<&GoRegexp>,
    answers: &mut Answers<'_>,
) -> Result<DetectedResource, Halt> {
    let max_attempts = u32::try_from(config.max_attempts).unwrap_or(u32::MAX);
    let repetition = Repetition { max_attempts, max_backoff: config.max_backoff };
    let opened = match imds::open(answers, repetition)? {
        Ok(imds) => imds.metadata(answers, "instance-id")?.map(|_| imds),
        Err(error) => Err(error),
    };
    let imds = match opened {
        Ok(imds) => imds,
        Err(error) if config.fail_on_missing_metadata => return Err(Halt::Failed(error)),
        Err(_) => return Ok(DetectedResource::default()),
    };
    let failed = |what: &'static str| move |error: String| Halt::Failed(format!("failed getting {what}: {error}"));
    let document = imds.identity_document(answers)?.map_err(failed("identity document"))?;
    let hostname = imds.metadata(answers, "hostname")?.map_err(failed("hostname"))?;

    let is_enabled = |key: &str| config.resource_attributes.is_enabled(key);
    let mut resource = ResourceBuilder::new(&is_enabled);
    resource.set_str("cloud.provider", "aws");
    resource.set_str("cloud.platform", "aws_ec2");
    for (key, member) in DOCUMENT {
        resource.set_str(key, text(&document, member));
    }
    resource.set_str("host.name", hostname);
    if let Some(patterns) = tags.filter(|_| config.tags_from_imds) {
        add_tags(patterns, &imds, &mut resource, answers)?;
    }
    Ok(resource.finish())
}

fn add_tags(
    patterns: &GoRegexp,
    imds: &Imds,
    resource: &mut ResourceBuilder<'_>,
    answers: &mut Answers<'_>,
) -> Result<(), Halt> {
    let keys = match imds.metadata(answers, "tags/instance")? {
        Ok(keys) => keys,
        Err(error) => {
            answers.warn(format!("failed to fetch tags from IMDS: {error}"));
            return Ok(());
        }
    };
    let is_wanted = |key: &&str| !key.is_empty() && patterns.is_match(key.as_bytes());
    // Far more than an instance can have: what a peer sends must not become as many questions.
    for key in keys.lines().map(str::trim).filter(is_wanted).take(MAX_QUESTIONS) {
        match imds.metadata(answers, &format!("tags/instance/{key}"))? {
            Ok(value) => resource.set_always(&format!("ec2.tag.{key}"), &value),
            Err(error) => answers.warn(format!("failed to get tag value for key {key:?}: {error}")),
        }
    }
    Ok(())
}
