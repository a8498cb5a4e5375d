//! The detector `lambda`: variables of the Lambda runtime.

use crate::answers::{Answers, Halt};
use crate::config::LambdaConfig;
use crate::detected::{DetectedResource, ResourceBuilder};

pub(crate) fn detect(config: &LambdaConfig, answers: &mut Answers<'_>) -> Result<DetectedResource, Halt> {
    let name = answers.env("AWS_LAMBDA_FUNCTION_NAME");
    if name.is_empty() {
        return Ok(DetectedResource::default());
    }
    let is_enabled = |key: &str| config.resource_attributes.is_enabled(key);
    let mut resource = ResourceBuilder::new(&is_enabled);
    resource.set_str("cloud.provider", "aws");
    resource.set_str("cloud.platform", "aws_lambda");
    resource.set_str("faas.name", name);
    for (key, variable) in [
        ("cloud.region", "AWS_REGION"),
        ("faas.version", "AWS_LAMBDA_FUNCTION_VERSION"),
        ("faas.instance", "AWS_LAMBDA_LOG_STREAM_NAME"),
        ("faas.max_memory", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE"),
    ] {
        if let Some(value) = answers.lookup_env(variable) {
            resource.set_str(key, value);
        }
    }
    for (key, variable) in
        [("aws.log.group.names", "AWS_LAMBDA_LOG_GROUP_NAME"), ("aws.log.stream.names", "AWS_LAMBDA_LOG_STREAM_NAME")]
    {
        if let Some(value) = answers.lookup_env(variable) {
            resource.set_strings(key, vec![value]);
        }
    }
    Ok(resource.finish())
}
