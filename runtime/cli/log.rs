//! What abide tells those who look for a fault: `ABIDE_LOG=debug` on stderr. It never logs what an MCP connection carries:
//! secrets are in it.

use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Targets whose lines hold secrets, or may.
const SECRET: [&str; 3] = ["rmcp", "hyper", "reqwest"];

/// What sends the last spans when it is dropped; without the feature `otel` there are none.
#[cfg(feature = "otel")]
pub(super) type Exporting = Option<super::telemetry::Exporting>;
/// What sends the last spans when it is dropped; without the feature `otel` there are none.
#[cfg(not(feature = "otel"))]
pub(super) type Exporting = ();

/// Starts to log if the user asks for it, as `LEVEL` or `TARGET=LEVEL,...`. A filter that cannot be read is said to be so.
pub(super) fn start() -> Exporting {
    let asked = std::env::var("ABIDE_LOG").ok().filter(|text| !text.is_empty());
    let wanted = asked.and_then(|text| {
        let read = filter(&text);
        if read.is_none() {
            eprintln!(
                "ABIDE_LOG={text:?} is not a filter and is ignored: write it like debug, or abide=debug,abide_mcp=info"
            );
        }
        read
    });
    let lines = wanted.map(|filter| {
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false).with_filter(filter)
    });
    // Another subscriber, of the program whose command line this is, stays.
    #[cfg(feature = "otel")]
    {
        let (spans, exporting) = super::telemetry::layer().unzip();
        if lines.is_some() || spans.is_some() {
            let _ = tracing_subscriber::registry().with(lines).with(spans).try_init();
        }
        exporting
    }
    #[cfg(not(feature = "otel"))]
    if lines.is_some() {
        let _ = tracing_subscriber::registry().with(lines).try_init();
    }
}

fn filter(text: &str) -> Option<Targets> {
    let asked: Targets = text.parse().ok()?;
    let kept = asked.iter().filter(|(target, _)| !SECRET.iter().any(|secret| target.starts_with(secret)));
    let kept: Vec<(String, LevelFilter)> = kept.map(|(target, level)| (target.to_owned(), level)).collect();
    let default = asked.default_level().unwrap_or(LevelFilter::OFF);
    let quiet = SECRET.iter().map(|secret| ((*secret).to_owned(), LevelFilter::OFF));
    Some(Targets::new().with_default(default).with_targets(kept.into_iter().chain(quiet)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use tracing::Level;

    use super::*;

    #[test]
    fn what_may_hold_secrets_is_never_logged() {
        for text in ["trace", "rmcp=trace", "rmcp::service=trace,abide=debug", "abide=trace,hyper=trace"] {
            let filter = filter(text).unwrap();
            for target in ["rmcp", "rmcp::service", "hyper::client", "reqwest::connect"] {
                assert!(!filter.would_enable(target, &Level::ERROR), "{text}: {target}");
            }
        }
        let filter = filter("abide=debug").unwrap();
        assert!(filter.would_enable("abide::host", &Level::DEBUG) && !filter.would_enable("other", &Level::ERROR));
    }
}
