//! The admin port: metrics, health and a status page over HTTP, for Prometheus, probes and people.
//!
//! It shows and changes nothing. What it shows is sampled when somebody asks, away from the threads
//! that serve clients and from the loop that keeps leases.

mod exposition;
mod listener;
pub mod metrics;
mod page;
pub mod readiness;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;

use crate::node::Node;
use crate::topology::status::ClusterStatus;
use listener::Bounded;
use readiness::Readiness;

/// How often the recorder puts its samples in order, whether somebody reads them or not.
const UPKEEP: Duration = Duration::from_secs(5);

/// What the admin port speaks of.
pub struct Admin {
    /// The node.
    pub node: Arc<Node>,
    /// Whether clients should be sent to it.
    pub readiness: Readiness,
    /// The metrics that the process records: see [`metrics::install`].
    pub recorder: PrometheusHandle,
}

/// Serves the admin port until the future is dropped.
///
/// # Errors
/// If the listener fails for good.
pub async fn serve(listener: TcpListener, admin: Arc<Admin>) -> io::Result<()> {
    let recorder = admin.recorder.clone();
    let local = listener.local_addr()?;
    let settings = &admin.node.settings;
    let life = settings.timings.admin_connection.0;
    let listener = Bounded::new(listener, settings.limits.admin_connections_max, life);
    let router = Router::new()
        .route("/", get(page))
        .route("/metrics", get(metrics_text))
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .with_state((admin, local));
    let upkeep = async {
        let mut ticks = tokio::time::interval(UPKEEP);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            recorder.run_upkeep();
        }
    };
    tokio::select! {
        ended = axum::serve(listener, router) => ended,
        () = upkeep => Ok(()),
    }
}

type Shared = State<(Arc<Admin>, SocketAddr)>;

async fn metrics_text(State((admin, _)): Shared) -> Response {
    let text = sampled(move || metrics::render(&admin)).await;
    let text_of_prometheus = "text/plain; version=0.0.4; charset=utf-8";
    text.map(|text| ([(header::CONTENT_TYPE, text_of_prometheus)], text))
        .into_response()
}

async fn readyz(State((admin, _)): Shared) -> Response {
    let report = sampled(move || admin.readiness.report()).await;
    let answer = |report: readiness::Report| {
        let code = if report.is_ready() {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        (code, report.to_string())
    };
    report.map(answer).into_response()
}

async fn page(State((admin, local)): Shared) -> Response {
    let page = sampled(move || {
        let node = &admin.node;
        let status = ClusterStatus::of(node, local);
        page::page(&status, &admin.readiness.report())
    });
    page.await.map(Html).into_response()
}

/// Looks at every slot, so it takes milliseconds: not on the thread that keeps leases.
async fn sampled<T: Send + 'static>(
    sample: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StatusCode> {
    let sampled = tokio::task::spawn_blocking(sample).await;
    sampled.map_err(|error| {
        tracing::error!(%error, "the admin port cannot answer");
        StatusCode::INTERNAL_SERVER_ERROR
    })
}
