//! `/metrics`: what the process records, and what is sampled when somebody asks.

mod quorate;
mod redis;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use super::Admin;
use super::exposition::Exposition;

/// The bounds of the buckets of what is measured in seconds.
const SECONDS: [f64; 14] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];

/// Puts the process's recorder in place and describes what is recorded. Called once, before
/// anything makes a handle of a metric.
///
/// # Errors
/// If the process has a recorder already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let recorder = builder()?.install_recorder()?;
    describe();
    Ok(recorder)
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    let seconds = Matcher::Suffix("_seconds".to_owned());
    PrometheusBuilder::new().set_buckets_for_metric(seconds, &SECONDS)
}

/// A metric without a description is an error to those who check metrics.
fn describe() {
    cluster::transport::describe();
    routing::describe_metrics();
}

/// The text that Prometheus reads.
#[must_use]
pub(super) fn render(admin: &Admin) -> String {
    let node = &admin.node;
    node.metrics.publish(node);
    let mut out = Exposition::after(admin.recorder.render());
    quorate::write(admin, &mut out);
    redis::write(node, &mut out);
    out.into_text()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::admin::readiness::Readiness;
    use crate::config::Settings;
    use crate::node::Node;

    /// What a node alone shows, its recorder being that of the test.
    fn rendered() -> String {
        let recorder = builder().unwrap().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            describe();
            let node = Node::alone(Settings::default());
            let readiness = Readiness::of(&node);
            let stats = node.stats.thread();
            let get = crate::command::table::table().find(b"get").unwrap();
            stats.command(get).calls.add(3);
            stats.command(get).nanos.add(4_500_000);
            let admin = Admin {
                node: Arc::clone(&node),
                readiness,
                recorder: handle,
            };
            render(&admin)
        })
    }

    #[test]
    fn the_names_that_dashboards_read_are_there() {
        let text = rendered();
        for sample in [
            "redis_up 1",
            "redis_commands_total{cmd=\"get\"} 3",
            "redis_commands_duration_seconds_total{cmd=\"get\"} 0.0045",
            "redis_commands_processed_total 3",
            "redis_connected_clients 0",
            "redis_memory_max_bytes 0",
            "redis_keyspace_hits_total 0",
            "redis_evicted_keys_total 0",
            "redis_db_keys{db=\"db0\"} 0",
            "redis_cluster_state 1",
            "quorate_slots{role=\"primary\"} 16384",
            "quorate_cluster_slots{state=\"covered\"} 16384",
            "quorate_cluster_slots{state=\"waiting_for_operator\"} 0",
            "quorate_slots_lost_total 0",
            "quorate_metadata_voters 1",
            "quorate_ready 1",
        ] {
            assert!(
                text.lines().any(|line| line == sample),
                "{sample} in\n{text}"
            );
        }
    }

    #[test]
    fn no_metric_is_there_twice() {
        let text = rendered();
        let mut names: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
