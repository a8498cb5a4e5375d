//! The pages that the Go extension has, below `/debug`.
//!
//! Owns their content. The facts are those of the Go collector 0.155, the words are not.

use std::time::Duration;

use otelcore_config::ComponentId;
use otelcore_pdata::text::{put_json_string, put_rfc3339};
use otelcore_pipeline::{Budget, CollectorDescription, PipelineDescription, ProcessSample, WallTime};

use super::html::plain_page;

/// Processors that declare in the Go collector that they do not change data.
const READING_PROCESSORS: [&str; 2] = ["memory_limiter", "tail_sampling"];

/// Whether the Go collector gives a pipeline data of its own, because a processor of it changes them.
fn mutates_data(pipeline: &PipelineDescription) -> bool {
    pipeline.processors.iter().any(|id| !READING_PROCESSORS.contains(&id.ty.as_ref()))
}

fn id_list(ids: &[ComponentId], connectors: &[ComponentId]) -> String {
    let connectors = connectors.iter().map(|id| format!("{id} (connector)"));
    ids.iter().map(ToString::to_string).chain(connectors).collect::<Vec<_>>().join(", ")
}

/// `/debug/servicez`.
pub(super) fn service_page(description: &CollectorDescription, now: WallTime, uptime: Duration) -> String {
    plain_page(&format!("Service {}", description.command), |html| {
        html.table("Build Info", &["Property", "Value"])
            .row(&["Command", &description.command])
            .row(&["Description", "A small OpenTelemetry Collector"])
            .row(&["Version", &description.version])
            .end_table();
        let mut started = Vec::new();
        let uptime = u64::try_from(uptime.as_nanos()).unwrap_or(u64::MAX);
        put_rfc3339(&mut started, now.0.saturating_sub(uptime));
        html.table("Runtime Info", &["Property", "Value"])
            .row(&["StartTimestamp", &String::from_utf8_lossy(&started)])
            .row(&["OS", std::env::consts::OS])
            .row(&["Arch", std::env::consts::ARCH])
            .end_table()
            .raw("<ul><li><a href=\"pipelinez\">Pipelines</a></li><li><a href=\"extensionz\">Extensions</a></li>")
            .raw("<li><a href=\"featurez\">Features</a></li></ul>\n");
    })
}

/// `/debug/pipelinez`. Pipelines are sorted by name.
pub(super) fn pipelines_page(description: &CollectorDescription) -> String {
    let mut pipelines: Vec<(String, &PipelineDescription)> =
        description.pipelines.iter().map(|pipeline| (pipeline.id.to_string(), pipeline)).collect();
    pipelines.sort_by(|a, b| a.0.cmp(&b.0));
    plain_page("Pipelines", |html| {
        let columns = ["FullName", "InputType", "MutatesData", "Receivers", "Processors", "Exporters"];
        html.table("Pipelines that run", &columns);
        for (name, pipeline) in pipelines {
            html.row(&[
                &name,
                pipeline.signal.name(),
                if mutates_data(pipeline) { "true" } else { "false" },
                &id_list(&pipeline.receivers, &pipeline.source_connectors),
                &pipeline.processors.iter().map(ToString::to_string).collect::<Vec<_>>().join(" → "),
                &id_list(&pipeline.exporters, &pipeline.target_connectors),
            ]);
        }
        html.end_table();
        html.raw("<p>MutatesData says whether a processor of the pipeline declares in the Go collector that it changes data. ");
        html.raw("Here data of several pipelines are shared until one of them changes its own.</p>\n");
    })
}

/// `/debug/extensionz`.
pub(super) fn extensions_page(description: &CollectorDescription) -> String {
    let mut names: Vec<String> = description.extensions.iter().map(ToString::to_string).collect();
    names.sort_unstable();
    plain_page("Extensions", |html| {
        html.table("Extensions that run", &["FullName"]);
        for name in &names {
            html.row(&[name]);
        }
        html.end_table();
    })
}

/// `/debug/featurez`.
pub(super) fn features_page(description: &CollectorDescription) -> String {
    plain_page("Feature Gates", |html| {
        html.table("Feature gates of the command line", &["ID", "Enabled", "Description", "Stage"]);
        for (gate, enabled) in description.feature_gates.iter() {
            html.row(&[gate.id, if enabled { "true" } else { "false" }, gate.description, &gate.stage.to_string()]);
        }
        html.end_table();
    })
}

/// `/debug/tracez`.
pub(super) fn traces_page() -> String {
    plain_page("Trace Spans", |html| {
        html.raw("<p>This collector makes no spans of its own work yet, so there is nothing to show here. ");
        html.raw("The <a href=\"/\">live page</a> shows what passes each component.</p>\n");
    })
}

/// `/debug/expvarz`: those variables of Go's that have a meaning here, and the own counts of bytes. Arguments of the command
/// line are left out: they may be secrets.
pub(super) fn expvar_json(description: &CollectorDescription, process: &ProcessSample, budget: &Budget) -> Vec<u8> {
    let mut out = b"{\n\"cmdline\": [".to_vec();
    put_json_string(&mut out, description.command.as_bytes());
    let text = format!(
        "],\n\"memstats\": {{\"Alloc\":{0},\"HeapAlloc\":{0},\"Sys\":{1}}},\n\
         \"otelcore\": {{\"resident_bytes\":{2},\"held_bytes\":{3},\"kept_bytes\":{4}}}\n}}\n",
        process.anonymous,
        process.virtual_size,
        process.resident,
        budget.held(),
        budget.kept(),
    );
    out.extend_from_slice(text.as_bytes());
    out
}
