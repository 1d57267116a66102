//! The status page: for somebody who opens the admin port in a browser. One document without
//! scripts or files of its own.

use std::fmt::Write as _;

use super::readiness::Report;
use crate::topology::status::{ClusterStatus, NodeStatus, human};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;\
    padding:0 1em;color:#222;background:#fff}table{border-collapse:collapse;width:100%}\
    th,td{text-align:left;padding:.3em .8em .3em 0;border-bottom:1px solid #ddd}\
    td.n,th.n{text-align:right}.bad{color:#b00020}.good{color:#1b6e3a}code{font-size:.95em}\
    @media(prefers-color-scheme:dark){body{color:#ddd;background:#1a1a1a}\
    th,td{border-color:#444}.bad{color:#ff7b8a}.good{color:#7bd99a}}";

/// The page of a node.
pub(super) fn page(status: &ClusterStatus, readiness: &Report) -> String {
    let mut body = String::new();
    let me = status.nodes.iter().find(|node| node.id == status.me);
    let name = me.map_or_else(
        || status.me.short(),
        |node| format!("{}:{}", node.host, node.port),
    );
    let title = format!("Quorate: {}", escaped(&name));
    let version = env!("CARGO_PKG_VERSION");
    push(
        &mut body,
        &format!(
            "<h1>{title}</h1>\n<p>Version {version}, node <code>{}</code>. ",
            status.me
        ),
    );
    push(
        &mut body,
        "<a href=\"/metrics\">metrics</a> <a href=\"/readyz\">readiness</a></p>\n",
    );
    push(&mut body, &standing(status, readiness));
    push(&mut body, &slots(status));
    push(&mut body, &nodes(status));
    push(&mut body, &usage(status));
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style></head>\n<body>\n{body}</body></html>\n"
    )
}

fn push(out: &mut String, text: &str) {
    out.write_str(text).expect("a string takes all");
}

fn standing(status: &ClusterStatus, readiness: &Report) -> String {
    let problems = status.problems();
    let mut text = String::new();
    if problems.is_empty() {
        text += "<p class=\"good\">The cluster is healthy.</p>\n";
    } else {
        text += "<ul class=\"bad\">\n";
        for problem in problems {
            text += &format!("<li>{}</li>\n", escaped(&problem));
        }
        text += "</ul>\n";
    }
    if !readiness.is_ready() {
        let report = escaped(&readiness.to_string());
        text += &format!("<p class=\"bad\">This node is:</p><pre>{report}</pre>\n");
    }
    text
}

fn slots(status: &ClusterStatus) -> String {
    let (slots, total) = (status.slots, cluster::SLOTS);
    let lineage = status.lineage.as_deref().unwrap_or("none yet");
    format!(
        "<h2>Slots</h2>\n<p>{} of {total} have a primary, {} wait for an operator, {} fewer than W \
         copies, {} fewer than N, {} are being copied. N = {}, W = {}, R = {}; on loss: {}. Map \
         version {}, lineage <code>{lineage}</code>.</p>\n",
        slots.covered,
        status.waiting,
        slots.below_w,
        slots.short,
        slots.learning,
        status.replication_factor,
        status.write_quorum,
        status.read_quorum,
        status.on_loss,
        status.version,
    )
}

fn nodes(status: &ClusterStatus) -> String {
    let mut text = String::from(
        "<h2>Nodes</h2>\n<table>\n<tr><th>node</th><th>address</th><th>zone</th><th>metadata</th>\
         <th>state</th><th class=\"n\">leads</th><th class=\"n\">copies</th>\
         <th class=\"n\">learning</th></tr>\n",
    );
    status.nodes.iter().for_each(|node| text += &row(node));
    text + "</table>\n"
}

fn row(node: &NodeStatus) -> String {
    let class = if node.standing == crate::topology::Standing::Up {
        "good"
    } else {
        "bad"
    };
    format!(
        "<tr><td><code>{}</code></td><td>{}:{}</td><td>{}</td><td>{}</td>\
         <td class=\"{class}\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
         <td class=\"n\">{}</td></tr>\n",
        node.id.short(),
        escaped(&node.host),
        node.port,
        escaped(&node.zone),
        node.metadata.as_deref().unwrap_or("?"),
        node.state(),
        node.led,
        node.copies,
        node.learning + node.moving + node.lost,
    )
}

fn usage(status: &ClusterStatus) -> String {
    let usage = status.usage;
    let limit = match usage.memory_bytes_max {
        0 => "no limit".to_owned(),
        bytes => format!("a limit of {}", human(bytes)),
    };
    format!(
        "<h2>This node</h2>\n<p>{} keys in the slots that it leads, {} of them expiring. {} of \
         data, \
         {limit}. {} clients. Up for {} s.</p>\n",
        usage.keys,
        usage.expiring,
        human(usage.memory_bytes),
        usage.clients,
        usage.uptime_seconds
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::status::Usage;
    use crate::topology::tests::{formed, seen};

    #[test]
    fn the_page_shows_the_nodes_and_what_is_wrong() {
        let local = "127.0.0.1:6379".parse().unwrap();
        let usage = Usage {
            keys: 12,
            memory_bytes: 3 << 20,
            ..Usage::default()
        };
        let mut status = ClusterStatus::seen(&seen(formed(3), 2), local, usage);
        status.nodes[2].zone = "<b>".to_owned();
        let page = page(&status, &Report::default());
        for expected in [
            "<h1>Quorate: 10.0.0.1:6379</h1>",
            "<li>node 02020202 (10.0.0.2:6379) is down</li>",
            "16384 of 16384 have a primary",
            "<td>&lt;b&gt;</td>",
            "12 keys in the slots that it leads",
            "3.0 MiB of data, no limit",
        ] {
            assert!(page.contains(expected), "{expected} in {page}");
        }
    }
}
