//! The connections of the collector by listener and destination: who is connected, since when, and with how many bytes.
//!
//! Owns what is read of them for a moment, and its table. Nothing is counted for it: the system has the bytes.

use std::time::Duration;

use otelcore_pipeline::{CollectorView, ConnectionGroup, ConnectionLimits, Cx, OpenConnection};

use super::html::Html;
use super::json_writer::Json;
use super::text::bytes;

/// What is shown at most; further ones are counted.
const LIMITS: ConnectionLimits = ConnectionLimits { groups: 50, connections: 8 };

/// The longest table, in bytes of the page; the data interface has all groups.
const MAX_TABLE: usize = 8 << 10;

/// The connections at a moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Connections {
    /// With the kind and the id of the component; both are empty for one that the collector has for itself.
    pub(super) groups: Vec<(&'static str, String, ConnectionGroup)>,
    pub(super) omitted: usize,
}

impl Connections {
    /// Asks the world.
    pub(super) fn read(cx: &mut Cx<'_>, view: &CollectorView) -> Self {
        let found = cx.connections(LIMITS);
        let owners = view.statuses().owners();
        let groups = found.groups.into_iter().map(|group| {
            let (kind, id) = owners.get(&group.owner).cloned().unwrap_or_default();
            (kind, id, group)
        });
        Self { groups: groups.collect(), omitted: found.omitted }
    }

    /// Appends the member `connections` of a state.
    pub(super) fn put(&self, json: &mut Json) {
        json.key("connections").begin(b'{').key("groups").begin(b'[');
        for (kind, id, group) in &self.groups {
            json.begin(b'{').key("kind").string(kind).key("id").string(id).key("role").string(group.role.name());
            json.key("network").string(group.network).key("address").string(&group.address);
            json.key("count").value(group.count).key("oldest").begin(b'[');
            for open in &group.connections {
                json.begin(b'{').key("peer").string(&open.peer).key("protocol").string(open.protocol);
                json.key("encrypted").value(open.is_encrypted).key("age_ms").value(open.age.as_millis());
                json.key("received_bytes").optional(open.received).key("sent_bytes").optional(open.sent).end(b'}');
            }
            json.end(b']').end(b'}');
        }
        json.end(b']').key("omitted").value(self.omitted).end(b'}');
    }

    /// Appends the section of the page.
    pub(super) fn write(&self, html: &mut Html) {
        html.raw(
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-labelledby=\"h-connections\"><table><thead><tr>",
        );
        for (name, class) in
            [("Component", ""), ("Where", ""), ("Connections", "n"), ("Protocol", ""), ("Peers, the oldest first", "")]
        {
            html.raw("<th scope=\"col\" class=\"").raw(class).raw("\">").raw(name).raw("</th>");
        }
        html.raw("</tr></thead><tbody id=\"connections\">\n");
        let (start, mut shown) = (html.len(), 0);
        for (kind, id, group) in &self.groups {
            if html.len() - start > MAX_TABLE {
                break;
            }
            shown += 1;
            html.raw("<tr><th scope=\"row\">").text(if id.is_empty() { "own telemetry" } else { id });
            html.raw(" <span class=\"dim\">").raw(kind).raw("</span></th>").cell(&place(group));
            html.raw("<td class=\"n\">")
                .number(group.count)
                .raw("</td>")
                .cell(&protocols(&group.connections))
                .raw("<td>");
            for open in &group.connections {
                html.raw("<div>").text(&line(open)).raw("</div>");
            }
            let more = group.count.saturating_sub(group.connections.len());
            if more > 0 {
                html.raw("<div>and ").number(more).raw(" more</div>");
            }
            html.raw("</td></tr>\n");
        }
        html.raw("</tbody></table></div>\n<p class=\"dim\" id=\"connections-more\">");
        let omitted = self.omitted + self.groups.len() - shown;
        if omitted > 0 {
            html.raw("There are ").number(omitted).raw(" further listeners and destinations.");
        }
        html.raw("</p>\n");
    }
}

/// `listens at 127.0.0.1:4317`; the script writes it in the same way.
fn place(group: &ConnectionGroup) -> String {
    let verb = match group.role.name() {
        "listener" => "listens at",
        _ => "connects to",
    };
    let network = if group.network == "tcp" { String::new() } else { format!(" ({})", group.network) };
    format!("{verb} {}{network}", group.address)
}

/// What connections carry: `gRPC, TLS`.
fn protocols(connections: &[OpenConnection]) -> String {
    let mut found: Vec<&str> = connections.iter().map(|open| open.protocol).filter(|name| !name.is_empty()).collect();
    found.sort_unstable();
    found.dedup();
    if connections.iter().any(|open| open.is_encrypted) {
        found.push("TLS");
    }
    found.join(", ")
}

/// A connection on a line.
fn line(open: &OpenConnection) -> String {
    let mut text =
        if open.peer.is_empty() { duration(open.age) } else { format!("{}, {}", open.peer, duration(open.age)) };
    if let (Some(received), Some(sent)) = (open.received, open.sent) {
        text.push_str(&format!(", {} received, {} sent", bytes(received), bytes(sent)));
    }
    text
}

/// As the script writes it.
fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use otelcore_pipeline::SocketRole;

    use super::*;

    fn example() -> Connections {
        let open = |peer: &str, seconds| OpenConnection {
            peer: peer.to_owned(),
            protocol: "gRPC",
            is_encrypted: true,
            age: Duration::from_secs(seconds),
            received: Some(2048),
            sent: Some(10),
        };
        let group = |role, address: &str, count, connections| ConnectionGroup {
            owner: 1,
            role,
            network: "tcp",
            address: address.to_owned(),
            count,
            connections,
        };
        let listener = group(SocketRole::Listener, "127.0.0.1:4317", 5, vec![open("10.0.0.1:999", 61), open("<b>", 5)]);
        let destination = group(SocketRole::Destination, "10.0.0.9:443", 1, Vec::new());
        Connections {
            groups: vec![("receiver", "otlp".to_owned(), listener), ("", String::new(), destination)],
            omitted: 3,
        }
    }

    #[test]
    fn table_has_each_listener_and_destination_with_its_oldest_peers() {
        let mut html = Html::default();
        example().write(&mut html);
        let text = html.finish();
        for part in [
            "otlp <span class=\"dim\">receiver</span>",
            "<td>listens at 127.0.0.1:4317</td><td class=\"n\">5</td><td>gRPC, TLS</td>",
            "<div>10.0.0.1:999, 1 min 1 s, 2.0 KiB received, 10 B sent</div><div>&lt;b&gt;, 5 s,",
            "and 3 more",
            "own telemetry",
            "connects to 10.0.0.9:443",
            "There are 3 further",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn table_is_bounded() {
        let mut many = example();
        many.groups = vec![many.groups[0].clone(); 2000];
        let mut html = Html::default();
        many.write(&mut html);
        assert!(html.len() < MAX_TABLE + 3000);
        assert!(html.finish().contains("further listeners and destinations"));
    }

    #[test]
    fn state_has_each_group() {
        let mut json = Json::default();
        example().put(&mut json);
        let text = json.text();
        assert!(
            text.starts_with(
                "\"connections\":{\"groups\":[{\"kind\":\"receiver\",\"id\":\"otlp\",\"role\":\"listener\","
            ),
            "{text}"
        );
        assert!(
            text.contains("\"encrypted\":true,\"age_ms\":61000,\"received_bytes\":2048,\"sent_bytes\":10}"),
            "{text}"
        );
        assert!(text.ends_with("\"omitted\":3}"), "{text}");
    }
}
