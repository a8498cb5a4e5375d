//! The detector `gcp`: the metadata server of Google Cloud, and the variables of its serverless platforms.

use super::plain_text;
use crate::answers::{Answers, Halt, Request};
use crate::config::GcpConfig;
use crate::detected::{DetectedResource, ResourceBuilder};

const SERVER: &str = "169.254.169.254";

/// The products of Google Cloud that are distinguished.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Platform {
    KubernetesEngine,
    CloudFunctions,
    CloudRun,
    CloudRunJob,
    AppEngineStandard,
    AppEngineFlex,
    ComputeEngine,
    Unknown,
}

pub(super) fn detect(config: &GcpConfig, answers: &mut Answers<'_>) -> Result<DetectedResource, Halt> {
    let is_enabled = |key: &str| config.resource_attributes.is_enabled(key);
    let mut resource = ResourceBuilder::new(&is_enabled);
    let bare_metal = ["BMS_PROJECT_ID", "BMS_REGION", "BMS_INSTANCE_ID"].map(|name| answers.env(name));
    if bare_metal.iter().all(|value| !value.is_empty()) {
        resource.set_str("cloud.provider", "gcp");
        resource.set_str("cloud.platform", "gcp_bare_metal_solution");
        for (key, value) in ["cloud.account.id", "cloud.region", "host.name"].into_iter().zip(bare_metal) {
            resource.set_str(key, value);
        }
        return Ok(resource.finish());
    }
    if !is_on_google_cloud(answers)? {
        return Ok(DetectedResource::default());
    }
    resource.set_str("cloud.provider", "gcp");
    resource.set_str("cloud.account.id", needed(answers, "project/project-id")?.trim());
    match platform(answers)? {
        Platform::KubernetesEngine => add_kubernetes_engine(&mut resource, answers)?,
        Platform::CloudRun => {
            resource.set_str("cloud.platform", "gcp_cloud_run");
            add_function(&mut resource, answers, &[("faas.version", "K_REVISION")])?;
        }
        Platform::CloudRunJob => {
            resource.set_str("cloud.platform", "gcp_cloud_run");
            let variables = [
                ("gcp.cloud_run.job.execution", "CLOUD_RUN_EXECUTION"),
                ("gcp.cloud_run.job.task_index", "CLOUD_RUN_TASK_INDEX"),
            ];
            add_function(&mut resource, answers, &variables)?;
        }
        Platform::CloudFunctions => {
            resource.set_str("cloud.platform", "gcp_cloud_functions");
            add_function(&mut resource, answers, &[("faas.version", "K_REVISION")])?;
        }
        Platform::AppEngineFlex => {
            add_app_engine(&mut resource, answers)?;
            add_zone_and_region(&mut resource, answers)?;
        }
        Platform::AppEngineStandard => {
            add_app_engine(&mut resource, answers)?;
            resource.set_str("cloud.availability_zone", zone(answers)?);
            resource.set_str("cloud.region", last_part(&needed(answers, "instance/region")?));
        }
        Platform::ComputeEngine => add_compute_engine(&mut resource, answers)?,
        Platform::Unknown => {}
    }
    Ok(resource.finish())
}

/// A value of the metadata server. The inner error says why there is none; `None`: it is not defined.
fn metadata(answers: &mut Answers<'_>, path: &str) -> Result<Result<Option<String>, String>, Halt> {
    let mut server = answers.env("GCE_METADATA_HOST");
    if server.is_empty() {
        server = SERVER.to_owned();
    }
    let url = format!("http://{server}/computeMetadata/v1/{path}");
    let request = Request::get(url).header("Metadata-Flavor", "Google");
    Ok(match answers.http(request)? {
        Ok(response) if response.status == 404 => Ok(None),
        response => response.and_then(plain_text).map(Some).map_err(|e| format!("{path}: {e}")),
    })
}

/// A value without which the detector fails.
fn needed(answers: &mut Answers<'_>, path: &str) -> Result<String, Halt> {
    let value = metadata(answers, path)?.map_err(Halt::Failed)?;
    value.ok_or_else(|| Halt::Failed(format!("metadata: GCE metadata {path:?} not defined")))
}

fn needed_env(answers: &Answers<'_>, names: &[&str]) -> Result<String, Halt> {
    let value = names.iter().find_map(|name| answers.lookup_env(name));
    value.ok_or_else(|| Halt::Failed(format!("environment variable not found: {}", names.join(", "))))
}

/// Whether the metadata server is there. A variable that names it is proof enough, as in Google's library.
fn is_on_google_cloud(answers: &mut Answers<'_>) -> Result<bool, Halt> {
    if !answers.env("GCE_METADATA_HOST").is_empty() {
        return Ok(true);
    }
    let request = Request::get(format!("http://{SERVER}/")).header("Metadata-Flavor", "Google");
    Ok(answers.http(request)?.is_ok_and(|response| response.metadata_flavor == "Google"))
}

fn platform(answers: &mut Answers<'_>) -> Result<Platform, Halt> {
    let is_set = |answers: &Answers<'_>, name: &str| answers.lookup_env(name).is_some();
    if is_set(answers, "KUBERNETES_SERVICE_HOST")
        && matches!(metadata(answers, "instance/attributes/cluster-location")?, Ok(Some(_)))
    {
        return Ok(Platform::KubernetesEngine);
    }
    let by_variable = [
        ("FUNCTION_TARGET", Platform::CloudFunctions),
        ("K_CONFIGURATION", Platform::CloudRun),
        ("CLOUD_RUN_JOB", Platform::CloudRunJob),
    ];
    if let Some((_, platform)) = by_variable.into_iter().find(|(name, _)| is_set(answers, name)) {
        return Ok(platform);
    }
    if answers.env("GAE_ENV") == "standard" {
        return Ok(Platform::AppEngineStandard);
    }
    if is_set(answers, "GAE_SERVICE") {
        return Ok(Platform::AppEngineFlex);
    }
    let is_machine = matches!(metadata(answers, "instance/machine-type")?, Ok(Some(_)));
    Ok(if is_machine { Platform::ComputeEngine } else { Platform::Unknown })
}

fn last_part(path: &str) -> &str {
    path.trim().rsplit('/').next().unwrap_or_default()
}

fn zone(answers: &mut Answers<'_>) -> Result<String, Halt> {
    Ok(last_part(&needed(answers, "instance/zone")?).to_owned())
}

fn add_zone_and_region(resource: &mut ResourceBuilder<'_>, answers: &mut Answers<'_>) -> Result<(), Halt> {
    let zone = zone(answers)?;
    let parts: Vec<&str> = zone.splitn(3, '-').collect();
    let [country, region, _] = parts.as_slice() else {
        return Err(Halt::Failed(format!("zone was not in the expected format: country-region-zone.  Got {zone}")));
    };
    resource.set_str("cloud.region", format!("{country}-{region}"));
    resource.set_str("cloud.availability_zone", zone.clone());
    Ok(())
}

fn add_kubernetes_engine(resource: &mut ResourceBuilder<'_>, answers: &mut Answers<'_>) -> Result<(), Halt> {
    resource.set_str("cloud.platform", "gcp_kubernetes_engine");
    let location = needed(answers, "instance/attributes/cluster-location")?;
    match location.matches('-').count() {
        1 => resource.set_str("cloud.region", location),
        2 => resource.set_str("cloud.availability_zone", location),
        _ => return Err(Halt::Failed(format!("unrecognized format for cluster location: {location}"))),
    }
    resource.set_str("k8s.cluster.name", needed(answers, "instance/attributes/cluster-name")?);
    resource.set_str("host.id", needed(answers, "instance/id")?.trim());
    // Workload identity does not have it.
    if let Ok(Some(name)) = metadata(answers, "instance/name")? {
        resource.set_str("host.name", name.trim());
    }
    Ok(())
}

fn add_function(
    resource: &mut ResourceBuilder<'_>,
    answers: &mut Answers<'_>,
    variables: &[(&str, &str)],
) -> Result<(), Halt> {
    resource.set_str("faas.name", needed_env(answers, &["K_SERVICE", "CLOUD_RUN_JOB"])?);
    for (key, variable) in variables {
        resource.set_str(key, needed_env(answers, &[*variable])?);
    }
    resource.set_str("faas.instance", needed(answers, "instance/id")?.trim());
    resource.set_str("cloud.region", last_part(&needed(answers, "instance/region")?));
    Ok(())
}

fn add_app_engine(resource: &mut ResourceBuilder<'_>, answers: &Answers<'_>) -> Result<(), Halt> {
    resource.set_str("cloud.platform", "gcp_app_engine");
    for (key, variable) in
        [("faas.name", "GAE_SERVICE"), ("faas.version", "GAE_VERSION"), ("faas.instance", "GAE_INSTANCE")]
    {
        resource.set_str(key, needed_env(answers, &[variable])?);
    }
    Ok(())
}

fn add_compute_engine(resource: &mut ResourceBuilder<'_>, answers: &mut Answers<'_>) -> Result<(), Halt> {
    resource.set_str("cloud.platform", "gcp_compute_engine");
    add_zone_and_region(resource, answers)?;
    resource.set_str("host.type", needed(answers, "instance/machine-type")?);
    resource.set_str("host.id", needed(answers, "instance/id")?.trim());
    let name = needed(answers, "instance/name")?;
    resource.set_str("host.name", name.trim());
    resource.set_str("gcp.gce.instance.name", name.trim());
    resource.set_str("gcp.gce.instance.hostname", needed(answers, "instance/hostname")?.trim());
    let creator = metadata(answers, "instance/attributes/created-by")?.map_err(Halt::Failed)?.unwrap_or_default();
    if let ["projects", _, kind @ ("zones" | "regions"), location, "instanceGroupManagers", group] =
        creator.split('/').collect::<Vec<_>>().as_slice()
        && !location.is_empty()
        && !group.is_empty()
    {
        resource.set_str("gcp.gce.instance_group_manager.name", *group);
        let kind = if *kind == "zones" { "zone" } else { "region" };
        resource.set_str(&format!("gcp.gce.instance_group_manager.{kind}"), *location);
    }
    Ok(())
}
