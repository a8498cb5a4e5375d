//! The `file` section.

use std::sync::Arc;
use std::time::Duration;

use otelcore_config::declare::Optional;
use otelcore_config::{GoDuration, Section, config_enum, config_struct};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, ExporterQueueConfig, StartError,
};

use crate::exporter::FileExporter;
use crate::paths::GroupedPath;
use crate::rotation::Rotation;
use crate::writer::WriterSettings;

/// The permission bits of directories that are made.
const DEFAULT_DIRECTORY_MODE: u32 = 0o755;

/// The largest size of a file with `rotation` when `max_megabytes` is zero, in MiB.
const DEFAULT_MAX_MEGABYTES: u64 = 100;

config_enum! {
    /// The format of requests.
    #[config(unknown = "format type is not supported", hint = "write json or proto")]
    pub enum FileFormat {
        /// OTLP/JSON, one request a line.
        Json = "json",
        /// Protobuf, each request behind its length: four bytes, the most significant first.
        Proto = "proto",
    }
}

config_enum! {
    /// The compression of requests.
    #[config(unknown = "compression is not supported", hint = "write zstd, or leave the key out")]
    pub enum FileCompression {
        /// None.
        None = "",
        /// zstd: each request by itself, behind its length.
        Zstd = "zstd",
    }
}

config_struct! {
    /// `compression_params`.
    pub struct FileCompressionParamsConfig {
        /// The level of zstd; zero is its default.
        pub level: i32 = 0,
    }
}

config_struct! {
    /// `rotation`: a file that is full gets another name, and a new one is begun.
    pub struct RotationConfig {
        /// The largest size of a file; zero for 100.
        #[config(unit = "MiB")]
        pub max_megabytes: u32,
        /// How long files that are full are kept; zero for no limit.
        #[config(unit = "days")]
        pub max_days: u32,
        /// How many files that are full are kept; zero for no limit.
        pub max_backups: u32 = 100,
        /// Names files by local time.
        #[config(no_effect = "files are named by UTC")]
        pub localtime: bool,
    }
}

config_struct! {
    /// `group_by`: one file for each value of a resource attribute.
    pub struct GroupByConfig {
        /// Turns it on.
        pub enabled: bool,
        /// The attribute whose value takes the place of `*` in `path`.
        pub resource_attribute: String = "fileexporter.path_segment".to_owned(),
        /// How many files are used at a time.
        #[config(at_least(1, "`max_open_files` must be positive"))]
        pub max_open_files: usize = 100,
    }
}

config_struct! {
    /// Writes telemetry to files.
    #[config(check = Self::check)]
    #[config(unsupported("encoding", "encoding extensions are not supported yet"))]
    pub struct FileExporterConfig {
        /// The file. With `group_by`, a `*` stands for the value of the attribute.
        pub path: String,
        /// Writes at the end of a file that exists, in place of making it empty at the start.
        pub append: bool,
        /// Rotation.
        pub rotation: Optional<RotationConfig> = Optional::on_null(RotationConfig::default()),
        /// The format of requests.
        pub format: FileFormat,
        /// The compression of requests.
        pub compression: FileCompression = FileCompression::None,
        /// Parameters of the compression.
        pub compression_params: FileCompressionParamsConfig,
        /// The longest time until what was received is in the file.
        #[config(ignored = "requests are written at once")]
        #[config(at_least(GoDuration::ZERO, "flush_interval must be larger than zero"))]
        pub flush_interval: Duration = Duration::from_secs(1),
        /// One file for each value of a resource attribute.
        pub group_by: GroupByConfig,
        /// Makes the directory of the file if it does not exist.
        pub create_directory: bool,
        /// The permission bits of directories that are made, in octal.
        pub directory_permissions: String,
    }
}

/// The permission bits that an octal number stands for.
fn parse_directory_mode(text: &str) -> Result<u32, &'static str> {
    match u32::from_str_radix(text.trim_start_matches("0o"), 8) {
        Err(_) => Err("directory_permissions value must be a valid octal representation"),
        Ok(mode) if mode & !0o777 != 0 => Err("directory_permissions contain invalid bits for file access"),
        Ok(mode) => Ok(mode),
    }
}

impl FileExporterConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if self.path.is_empty() {
            s.error("path", "path must be non-empty").help("write `path: /data/telemetry.json`");
        }
        if self.append && self.rotation.is_on() {
            s.error("append", "append and rotation enabled at the same time is not supported");
        }
        if self.group_by.enabled {
            self.check_grouping(s);
        }
        if self.compression == FileCompression::Zstd && !matches!(self.compression_params.level, 0 | 1 | 3 | 6 | 11) {
            let level = self.compression_params.level;
            let message = format!(
                "invalid compression_params: unsupported parameters {{Level:{level}}} for compression type \"zstd\""
            );
            s.error("compression_params", message).help("write a level of 1, 3, 6 or 11");
        }
        if !self.create_directory && !self.directory_permissions.is_empty() {
            s.error("directory_permissions", "directory_permissions requires create_directory to be true");
        } else if let Some(Err(why)) = self.directory_mode() {
            s.error("directory_permissions", why).help("write an octal number in quotes, as \"0755\"");
        }
    }

    fn check_grouping(&self, s: &Section<'_>) {
        match self.path.split('*').collect::<Vec<_>>()[..] {
            ["", _] => {
                s.error("path", "path must not start with * when group_by is enabled");
            }
            [_, _] => {}
            _ => {
                s.error("path", "path must contain exactly one * when group_by is enabled");
            }
        }
        if self.group_by.resource_attribute.is_empty() {
            s.error("group_by", "resource_attribute must not be empty when group_by is enabled");
        }
    }

    fn directory_mode(&self) -> Option<Result<u32, &'static str>> {
        (!self.directory_permissions.is_empty()).then(|| parse_directory_mode(&self.directory_permissions))
    }

    fn writer_settings(&self) -> WriterSettings {
        let rotation = self.rotation.get().map(|rotation| Rotation {
            max_bytes: match rotation.max_megabytes {
                0 => DEFAULT_MAX_MEGABYTES << 20,
                megabytes => u64::from(megabytes) << 20,
            },
            max_days: rotation.max_days,
            max_backups: rotation.max_backups as usize,
        });
        let grouped = self.group_by.enabled.then(|| self.path.split_once('*')).flatten();
        let is_compressed = self.compression == FileCompression::Zstd;
        WriterSettings {
            path: self.path.clone().into(),
            grouped: grouped.map(|(prefix, suffix)| GroupedPath::new(prefix.as_bytes(), suffix.as_bytes())),
            attribute: self.group_by.resource_attribute.clone().into_bytes(),
            max_files: self.group_by.max_open_files,
            // Files of a rotation are never made empty: they are the ones to be kept.
            is_truncated: !self.append && rotation.is_none(),
            makes_directory: self.create_directory || rotation.is_some() || self.group_by.enabled,
            rotation,
            is_json: self.format == FileFormat::Json,
            zstd_level: is_compressed.then_some(self.compression_params.level),
            directory_mode: self.directory_mode().and_then(Result::ok).unwrap_or(DEFAULT_DIRECTORY_MODE),
        }
    }
}

/// The `file` exporter.
#[derive(Clone, Copy, Debug)]
pub struct FileExporterFactory;

impl ComponentType for FileExporterFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Exporter,
        type_name: "file",
        aliases: &[],
        signals: &Signal::ALL,
        stability: "Alpha",
    };
    type Config = FileExporterConfig;

    fn create(&self, config: &FileExporterConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let exporter = FileExporter::new(Arc::new(config.writer_settings()), context.log.clone());
        Ok(Component::Exporter(Box::new(exporter), ExporterQueueConfig::without_queue()))
    }
}
