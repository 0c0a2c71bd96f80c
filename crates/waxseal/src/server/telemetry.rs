//! What operators see: a log line for each request that failed (for each one at level `debug`), and metrics in the OpenMetrics text format.
//!
//! Labels come from fixed sets (routes as templates, known methods, reason codes), never from what a client sends: a
//! million made-up paths are one series (CVE-2026-49835).

use crate::server::front::RequestId;
use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Instant;
use tracing_subscriber::EnvFilter;
use waxseal_formats::code::Code;

/// Variable with the log filter, such as `debug` or `waxseal::server=debug`.
pub const FILTER_VARIABLE: &str = "WAXSEAL_LOG";
/// Route of requests that match none.
const UNMATCHED: &str = "unmatched";
/// Upper bounds of the latency buckets, in seconds.
const BUCKETS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 10.0];
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// Its name in files and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// Starts logging to stderr. `default` is the filter where the environment has none. A second call changes nothing.
pub fn start_logging(format: LogFormat, default: &str) {
    let filter = EnvFilter::try_from_env(FILTER_VARIABLE).unwrap_or_else(|_| EnvFilter::new(default));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => subscriber.with_target(false).try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    service: &'static str,
    code: &'static str,
}

#[derive(Clone)]
struct Buckets;

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(BUCKETS)
    }
}

/// The metrics of an instance.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    seconds: Family<RouteLabels, Histogram, Buckets>,
    decisions: Family<DecisionLabels, Counter>,
}

impl Metrics {
    /// All metrics at zero. `extend` may register more, whose labels have to be from fixed sets as well.
    pub fn new(extend: impl FnOnce(&mut Registry)) -> Self {
        let mut registry = Registry::with_prefix("waxseal");
        let requests = Family::default();
        let seconds = Family::new_with_constructor(Buckets);
        let decisions = Family::default();
        registry.register("http_requests", "HTTP requests by method, route and status", requests.clone());
        registry.register("http_request_seconds", "Seconds until the answer began, by route", seconds.clone());
        registry.register(
            "decisions",
            "Requests granted (code `ok`) and refused, by service and reason",
            decisions.clone(),
        );
        extend(&mut registry);
        Self { registry, requests, seconds, decisions }
    }

    /// Counts a decision of a service: granted, or refused for a reason.
    pub fn decided(&self, service: &'static str, refusal: Option<Code>) {
        let code = refusal.map_or("ok", Code::as_str);
        self.decisions.get_or_create(&DecisionLabels { service, code }).inc();
    }

    /// The metrics as text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String fails for no reason but a metric that cannot be encoded: then the text is what came before it.
        if text::encode(&mut out, &self.registry).is_err() {
            tracing::error!("metrics cannot be encoded");
        }
        out
    }

    /// `GET /metrics`.
    pub fn routes(self: Arc<Self>) -> Router {
        let answer = |State(metrics): State<Arc<Self>>| async move {
            let content_type = HeaderValue::from_static(OPENMETRICS);
            ([(header::CONTENT_TYPE, content_type)], metrics.text()).into_response()
        };
        Router::new().route("/metrics", get(answer)).with_state(self)
    }

    /// Counts, times and logs every request of `routes`, its fallback included. A handler that puts its [`Code`] into
    /// the answer's extensions finds it in the log line.
    pub fn watch(self: &Arc<Self>, routes: Router) -> Router {
        routes.layer(middleware::from_fn_with_state(Arc::clone(self), watch))
    }

    fn observe(&self, method: &Method, route: &str, status: u16, seconds: f64) {
        let labels = RequestLabels { method: known(method), route: route.to_owned(), status };
        self.requests.get_or_create(&labels).inc();
        self.seconds.get_or_create(&RouteLabels { route: route.to_owned() }).observe(seconds);
    }
}

async fn watch(State(metrics): State<Arc<Metrics>>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or(UNMATCHED, MatchedPath::as_str).to_owned();
    let id = request.extensions().get::<RequestId>().cloned();
    let response = next.run(request).await;
    let seconds = start.elapsed().as_secs_f64();
    let status = response.status().as_u16();
    let code = response.extensions().get::<Code>().map(|code| code.as_str());
    metrics.observe(&method, &route, status, seconds);
    // What went well is counted; a line for each of ten thousand entries a second would cost as much as reading them.
    let request = id.as_ref().map(RequestId::as_str);
    if response.status().is_client_error() || response.status().is_server_error() {
        tracing::info!(request, method = known(&method), route, status, code, seconds, "request refused");
    } else {
        tracing::debug!(request, method = known(&method), route, status, code, seconds, "request");
    }
    response
}

/// A method as a label: any client can make up others.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::Metrics;
    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::http::{Method, Request, StatusCode};
    use axum::routing::get;
    use std::sync::Arc;
    use tower::ServiceExt as _;
    use waxseal_formats::code::Code;

    fn app(metrics: &Arc<Metrics>) -> Router {
        let routes = Router::new()
            .route("/tile/{*path}", get(|| async { "tile" }))
            .merge(Arc::clone(metrics).routes())
            .fallback(|| async { StatusCode::NOT_FOUND });
        metrics.watch(routes)
    }

    async fn ask(app: &Router, method: &str, path: &str) -> StatusCode {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let request = Request::builder().method(method).uri(path).body(Body::empty()).expect("a request");
        app.clone().oneshot(request).await.expect("an answer").status()
    }

    fn series(metrics: &Metrics) -> Vec<String> {
        metrics
            .text()
            .lines()
            .filter(|line| line.starts_with("waxseal_http_requests_total{"))
            .map(str::to_owned)
            .collect()
    }

    #[tokio::test]
    async fn cve_2026_49835_a_thousand_random_paths_and_methods_are_a_constant_number_of_series() {
        let metrics = Arc::new(Metrics::new(|_| {}));
        let app = app(&metrics);
        assert_eq!(ask(&app, "GET", "/tile/0/000").await, StatusCode::OK);
        assert_eq!(ask(&app, "GET", "/nothing").await, StatusCode::NOT_FOUND);
        assert_eq!(ask(&app, "BREW", "/nothing").await, StatusCode::NOT_FOUND);
        let before = series(&metrics);
        assert_eq!(before.len(), 3);
        for n in 0..1000 {
            ask(&app, "GET", &format!("/tile/0/{n}")).await;
            ask(&app, "GET", &format!("/x{n}?y={n}")).await;
            ask(&app, &format!("M{n}"), &format!("/x{n}")).await;
        }
        let after = series(&metrics);
        assert_eq!(after.len(), 3, "{after:?}");
        let line = r#"waxseal_http_requests_total{method="GET",route="/tile/{*path}",status="200"} 1001"#;
        assert!(after.iter().any(|series| series == line), "{after:?}");
        assert!(after.iter().any(|series| series.contains(r#"method="other",route="unmatched",status="404""#)));
    }

    #[tokio::test]
    async fn metrics_are_served_as_openmetrics() {
        let metrics = Arc::new(Metrics::new(|_| {}));
        metrics.decided("fulcio", None);
        metrics.decided("fulcio", Some(Code::RULE_DENIED));
        let request = Request::get("/metrics").body(Body::empty()).expect("a request");
        let response = app(&metrics).oneshot(request).await.expect("an answer");
        assert!(
            response.headers()["content-type"]
                .to_str()
                .is_ok_and(|kind| kind.starts_with("application/openmetrics-text"))
        );
        let text = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
        let text = String::from_utf8(text.to_vec()).expect("text");
        assert!(text.contains(r#"waxseal_decisions_total{service="fulcio",code="ok"} 1"#), "{text}");
        assert!(text.contains(r#"waxseal_decisions_total{service="fulcio",code="rule.denied"} 1"#));
        assert!(text.ends_with("# EOF\n"));
    }
}
