//! The detector `system`: the host, from files of the kernel and of the distribution.

use otelcore_pdata::Value;

use super::system_hosts::{HostsFile, find_canonical};
use super::system_platform::{description, os_build_id, platform};
use crate::answers::{Answers, Halt};
use crate::config::SystemConfig;
use crate::detected::{DetectedResource, ResourceBuilder};

const CPU_ATTRIBUTES: [&str; 6] = [
    "host.cpu.cache.l2.size",
    "host.cpu.family",
    "host.cpu.model.id",
    "host.cpu.model.name",
    "host.cpu.stepping",
    "host.cpu.vendor.id",
];

/// The name that the kernel has for the host.
pub(super) fn hostname(answers: &mut Answers<'_>) -> Result<Result<String, String>, Halt> {
    let name = answers.file("/proc/sys/kernel/hostname")?;
    Ok(name.map(|name| String::from_utf8_lossy(&name).trim().to_owned()))
}

pub(super) fn detect(config: &SystemConfig, answers: &mut Answers<'_>) -> Result<DetectedResource, Halt> {
    let is_enabled = |key: &str| config.resource_attributes.is_enabled(key);
    let mut resource = ResourceBuilder::new(&is_enabled);
    resource.set_str("host.name", host_name(config, answers)?);
    resource.set_str("os.type", os_type());
    resource.set_str("host.arch", host_arch());
    if is_enabled("os.version") || is_enabled("os.name") {
        let (name, version) = platform(answers)?;
        resource.set_str("os.version", version);
        resource.set_str("os.name", name);
    }
    if is_enabled("os.build.id") {
        resource.set_str("os.build.id", os_build_id(answers)?);
    }
    if is_enabled("os.description") {
        let description = description(answers)?;
        resource.set_str("os.description", description.map_err(|e| format!("failed getting OS description: {e}"))?);
    }
    if is_enabled("host.id") {
        match host_id(answers)? {
            Some(id) => resource.set_str("host.id", id),
            None => answers.warn(
                "failed to get host ID: host id not found in: /etc/machine-id or /var/lib/dbus/machine-id".to_owned(),
            ),
        }
    }
    if ["host.ip", "host.mac", "host.interface"].into_iter().any(is_enabled) {
        add_interfaces(&mut resource, answers)?;
    }
    if CPU_ATTRIBUTES.into_iter().any(is_enabled) {
        add_cpu(&mut resource, answers)?;
    }
    Ok(resource.finish())
}

/// The first name that a source has.
fn host_name(config: &SystemConfig, answers: &mut Answers<'_>) -> Result<String, Halt> {
    let defaults = ["dns".to_owned(), "os".to_owned()];
    let sources =
        if config.hostname_sources.is_empty() { defaults.as_slice() } else { config.hostname_sources.as_slice() };
    let own = hostname(answers)?;
    for source in sources {
        let Ok(own) = &own else { break };
        if source == "os" {
            return Ok(own.clone());
        }
        let hosts = answers.text("/etc/hosts")?.unwrap_or_default();
        let found = match source.as_str() {
            "dns" => find_canonical(&hosts, own),
            "cname" => HostsFile::parse(&hosts).canonical_name(own),
            _ => HostsFile::parse(&hosts).reverse_name(own),
        };
        if let Some(name) = found {
            return Ok(name);
        }
    }
    Err(Halt::Failed("all hostname sources failed to get hostname".to_owned()))
}

fn os_type() -> &'static str {
    match std::env::consts::OS {
        "macos" => "darwin",
        "dragonfly" => "dragonflybsd",
        other => other,
    }
}

/// The architecture in the words of the semantic conventions.
fn host_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "arm" => "arm32",
        "powerpc64" => "ppc64",
        "x86" => "x86",
        other => other,
    }
}

fn host_id(answers: &mut Answers<'_>) -> Result<Option<String>, Halt> {
    for path in ["/etc/machine-id", "/var/lib/dbus/machine-id"] {
        if let Some(id) = answers.text(path)? {
            return Ok(Some(id.trim().to_owned()).filter(|id| !id.is_empty()));
        }
    }
    Ok(None)
}

fn add_interfaces(resource: &mut ResourceBuilder<'_>, answers: &mut Answers<'_>) -> Result<(), Halt> {
    let interfaces = answers.interfaces()?;
    let interfaces = interfaces.map_err(|e| format!("failed to get host network interfaces: {e}"))?;
    resource.set_strings("host.interface", interfaces.iter().map(|interface| interface.name.clone()).collect());
    let used = || interfaces.iter().filter(|interface| interface.is_up && !interface.is_loopback);
    let addresses = used().flat_map(|interface| &interface.addresses).filter(|address| !address.is_loopback());
    resource.set_strings("host.ip", addresses.map(ToString::to_string).collect());
    resource.set_strings("host.mac", used().map(|interface| interface.mac.clone()).collect());
    Ok(())
}

/// The first processor of `/proc/cpuinfo`.
#[derive(Default)]
struct Cpu {
    vendor: String,
    family: String,
    model: String,
    model_name: String,
    stepping: i64,
    cache_size: i64,
}

fn add_cpu(resource: &mut ResourceBuilder<'_>, answers: &mut Answers<'_>) -> Result<(), Halt> {
    let proc = Some(answers.env("HOST_PROC")).filter(|path| !path.is_empty()).unwrap_or_else(|| "/proc".to_owned());
    let info = answers.file(format!("{proc}/cpuinfo"))?;
    let info = info.map_err(|e| format!("failed getting host cpuinfo: could not read {proc}/cpuinfo: {e}"))?;
    let Some(cpu) = parse_cpu_info(&String::from_utf8_lossy(&info)) else { return Ok(()) };
    resource.set_str("host.cpu.vendor.id", cpu.vendor);
    resource.set_str("host.cpu.family", cpu.family);
    if !cpu.model.is_empty() {
        resource.set_str("host.cpu.model.id", cpu.model);
    }
    resource.set_str("host.cpu.model.name", cpu.model_name);
    resource.set_str("host.cpu.stepping", cpu.stepping.to_string());
    resource.set("host.cpu.cache.l2.size", Value::Int(cpu.cache_size));
    Ok(())
}

fn parse_cpu_info(info: &str) -> Option<Cpu> {
    let mut cpu: Option<Cpu> = None;
    for (key, value) in info.lines().filter_map(|line| line.split_once(':')) {
        let (key, value) = (key.trim(), value.trim());
        if matches!(key, "processor" | "cpu number") {
            if cpu.is_some() {
                break;
            }
            cpu = Some(Cpu::default());
        }
        let Some(cpu) = &mut cpu else { continue };
        match key {
            "vendorId" | "vendor_id" => cpu.vendor = value.to_owned(),
            "CPU implementer" => cpu.vendor = implementer(value).to_owned(),
            "cpu family" | "marchid" => cpu.family = value.to_owned(),
            "model" | "CPU part" | "mimpid" => cpu.model = value.to_owned(),
            "Model Name" | "model name" | "cpu" | "uarch" => cpu.model_name = value.to_owned(),
            "stepping" | "CPU revision" => cpu.stepping = value.parse().unwrap_or(0),
            "cache size" => cpu.cache_size = value.trim_end_matches(" KB").parse().unwrap_or(0),
            _ => {}
        }
    }
    cpu
}

/// The vendor of an Arm processor.
fn implementer(code: &str) -> &'static str {
    match code {
        "0x41" => "ARM",
        "0x42" => "Broadcom",
        "0x43" => "Cavium",
        "0x44" => "DEC",
        "0x46" => "Fujitsu",
        "0x48" => "HiSilicon",
        "0x49" => "Infineon",
        "0x4d" => "Motorola/Freescale",
        "0x4e" => "NVIDIA",
        "0x50" => "APM",
        "0x51" => "Qualcomm",
        "0x56" => "Marvell",
        "0x61" => "Apple",
        "0x69" => "Intel",
        "0xc0" => "Ampere",
        _ => "",
    }
}
