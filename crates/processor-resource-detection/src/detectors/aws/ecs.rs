//! The detector `ecs`: the task metadata endpoint of ECS, version 4 or 3.

use serde_json::Value;

use super::super::{json_document, text};
use crate::answers::{Answers, Halt, Request};
use crate::config::EcsConfig;
use crate::detected::{DetectedResource, ResourceBuilder};

pub(crate) fn detect(config: &EcsConfig, answers: &mut Answers<'_>) -> Result<DetectedResource, Halt> {
    let variables = ["ECS_CONTAINER_METADATA_URI_V4", "ECS_CONTAINER_METADATA_URI"];
    let endpoints = variables.map(|name| answers.env(name).trim().to_owned());
    let Some(endpoint) = endpoints.into_iter().find(|endpoint| endpoint.starts_with("http")) else {
        return Ok(DetectedResource::default());
    };
    let endpoint = endpoint.trim_end_matches('/');
    let mut document = |path: &str| -> Result<Value, Halt> {
        let response = answers.http(Request::get(format!("{endpoint}{path}")))?;
        let document = response.and_then(|response| json_document(&response));
        document.map_err(|e| Halt::Failed(format!("unable to fetch task metadata: {e}")))
    };
    let task = document("/task")?;
    let own = document("")?;

    let is_enabled = |key: &str| config.resource_attributes.is_enabled(key);
    let mut resource = ResourceBuilder::new(&is_enabled);
    resource.set_str("cloud.provider", "aws");
    resource.set_str("cloud.platform", "aws_ecs");
    let arn = text(&task, "TaskARN");
    resource.set_str("aws.ecs.task.arn", arn);
    resource.set_str("aws.ecs.task.family", text(&task, "Family"));
    resource.set_str("aws.ecs.task.revision", text(&task, "Revision"));
    let (region, account, task_id) = parse_task_arn(arn);
    let optional = [
        ("cloud.account.id", account),
        ("cloud.region", region),
        ("aws.ecs.task.id", task_id),
        ("cloud.availability_zone", text(&task, "AvailabilityZone")),
    ];
    for (key, value) in optional.into_iter().filter(|(_, value)| !value.is_empty()) {
        resource.set_str(key, value);
    }
    let cluster = text(&task, "Cluster");
    let is_arn = cluster.contains(':');
    let full = || format!("arn:aws:ecs:{region}:{account}:cluster/{cluster}");
    resource.set_str("aws.ecs.cluster.arn", if is_arn { cluster.to_owned() } else { full() });
    let launch_type = text(&task, "LaunchType").to_lowercase();
    if matches!(launch_type.as_str(), "ec2" | "fargate") {
        resource.set_str("aws.ecs.launchtype", launch_type);
    }
    add_logs(&task, &own, account, &mut resource);
    Ok(resource.finish())
}

/// Region, account and id of the task; empty for an ARN of another form.
fn parse_task_arn(arn: &str) -> (&str, &str, &str) {
    let parts: Vec<&str> = arn.split(':').collect();
    match parts.as_slice() {
        [_, _, _, region, account, task, ..] => (*region, *account, task.rsplit('/').next().unwrap_or_default()),
        _ => ("", "", ""),
    }
}

/// The logs of the task's other running containers that go to CloudWatch.
fn add_logs(task: &Value, own: &Value, account: &str, resource: &mut ResourceBuilder<'_>) {
    let containers = task.get("Containers").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut lists: [Vec<String>; 4] = Default::default();
    let own_id = text(own, "DockerId");
    for container in containers {
        let options = container.get("LogOptions").unwrap_or(&Value::Null);
        let option = |name: &str| text(options, name);
        let (group, region, stream) = (option("awslogs-group"), option("awslogs-region"), option("awslogs-stream"));
        let is_other = text(container, "Type") == "NORMAL"
            && text(container, "KnownStatus") == "RUNNING"
            && text(container, "LogDriver") == "awslogs"
            && text(container, "DockerId") != own_id;
        if !is_other || (group.is_empty() && region.is_empty() && stream.is_empty()) {
            continue;
        }
        let group_arn = format!("arn:aws:logs:{region}:{account}:log-group:{group}");
        let stream_arn = format!("{group_arn}:log-stream:{stream}");
        for (list, value) in lists.iter_mut().zip([group.to_owned(), group_arn, stream.to_owned(), stream_arn]) {
            list.push(value);
        }
    }
    let keys = ["aws.log.group.names", "aws.log.group.arns", "aws.log.stream.names", "aws.log.stream.arns"];
    for (key, list) in keys.into_iter().zip(lists).filter(|(_, list)| !list.is_empty()) {
        resource.set_strings(key, list);
    }
}
