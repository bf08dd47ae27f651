//! Spans over OTLP (HTTP, JSON) to where the usual variables say (`OTEL_EXPORTER_OTLP_ENDPOINT` and its kin). It exports nothing unless one of them
//! is set, and only the spans of `abide_llm::observe`: they hold no prompt, no answer and no argument.

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;

/// The variables that say where spans go.
const WHERE: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];

/// Sends what is left when it is dropped.
pub(super) struct Exporting(SdkTracerProvider);

impl Drop for Exporting {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown() {
            eprintln!("abide: not every span could be exported: {error}");
        }
    }
}

/// The layer that exports, if anything says where to.
pub(super) fn layer<S>() -> Option<(impl Layer<S>, Exporting)>
where
    S: tracing::Subscriber + for<'s> LookupSpan<'s>,
{
    WHERE.iter().find(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))?;
    // Installs the one TLS provider that the exporter's client needs as well.
    drop(abide_llm::http_client(|builder| builder));
    let exporter = match SpanExporter::builder().with_http().build() {
        Ok(exporter) => exporter,
        Err(error) => {
            eprintln!("abide: spans cannot be exported: {error}: correct {} or unset it", WHERE.join(" or "));
            return None;
        }
    };
    let service = std::env::var("OTEL_SERVICE_NAME").unwrap_or_else(|_| "abide".to_owned());
    let resource = Resource::builder().with_service_name(service).build();
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
    let only = Targets::new().with_target(abide_llm::observe::TARGET, LevelFilter::INFO);
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("abide"));
    let layer = layer.with_location(false).with_threads(false).with_target(false).with_filter(only);
    Some((layer, Exporting(provider)))
}
