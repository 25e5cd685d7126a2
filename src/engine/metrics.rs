//! Metrics in Prometheus' text format.

use maru_core::{Error, Result};
use prometheus::{
    Encoder, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts,
    Registry, TextEncoder,
};

use super::Engine;

/// The process's counters. Gauges of what is now are read off the engine when asked for.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Ended statements by state.
    pub queries: IntCounterVec,
    pub query_seconds: Histogram,
    pub rows: IntCounter,
    /// Bytes from sources by catalog.
    pub source_bytes: IntCounterVec,
    pub spilled_bytes: IntCounter,
    /// Runs of pipelines that are over, and their steps, by state.
    pub pipeline_runs: IntCounterVec,
    pub pipeline_steps: IntCounterVec,
    /// Times of schedules that no run was started for.
    pub pipeline_missed: IntCounter,
    pipeline_runs_active: IntGauge,
    source_wait_seconds: GaugeVec,
    running: IntGauge,
    queued: IntGauge,
    sessions: IntGauge,
    memory: IntGauge,
}

impl Metrics {
    pub fn new() -> Result<Self> {
        let build = || -> prometheus::Result<Self> {
            let registry = Registry::new();
            let metrics = Self {
                queries: IntCounterVec::new(
                    Opts::new("maru_queries_total", "Statements that have ended, by state"),
                    &["state"],
                )?,
                query_seconds: Histogram::with_opts(
                    HistogramOpts::new(
                        "maru_query_seconds",
                        "Time from start to end of statements",
                    )
                    .buckets(vec![0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 600.0]),
                )?,
                rows: IntCounter::new("maru_rows_total", "Rows given to clients")?,
                source_bytes: IntCounterVec::new(
                    Opts::new("maru_source_bytes_total", "Bytes read from sources, by catalog"),
                    &["catalog"],
                )?,
                spilled_bytes: IntCounter::new(
                    "maru_spilled_bytes_total",
                    "Bytes spilled to disk",
                )?,
                pipeline_runs: IntCounterVec::new(
                    Opts::new(
                        "maru_pipeline_runs_total",
                        "Runs of pipelines that are over, by state",
                    ),
                    &["state"],
                )?,
                pipeline_steps: IntCounterVec::new(
                    Opts::new("maru_pipeline_steps_total", "Steps of runs that are over, by state"),
                    &["state"],
                )?,
                pipeline_missed: IntCounter::new(
                    "maru_pipeline_missed_total",
                    "Times of schedules that no run was started for",
                )?,
                pipeline_runs_active: IntGauge::new(
                    "maru_pipeline_runs_active",
                    "Runs of pipelines that run or wait now",
                )?,
                source_wait_seconds: GaugeVec::new(
                    Opts::new(
                        "maru_source_wait_seconds",
                        "Time that queries waited for max_queries_per_second, by catalog",
                    ),
                    &["catalog"],
                )?,
                running: IntGauge::new("maru_queries_running", "Statements that run or wait now")?,
                queued: IntGauge::new("maru_queries_queued", "Statements that wait for a place")?,
                sessions: IntGauge::new("maru_sessions", "Open sessions")?,
                memory: IntGauge::new("maru_memory_bytes", "Bytes that statements hold now")?,
                registry,
            };
            for collector in [
                &metrics.queries,
                &metrics.source_bytes,
                &metrics.pipeline_runs,
                &metrics.pipeline_steps,
            ] {
                metrics.registry.register(Box::new(collector.clone()))?;
            }
            for counter in [&metrics.rows, &metrics.spilled_bytes, &metrics.pipeline_missed] {
                metrics.registry.register(Box::new(counter.clone()))?;
            }
            let gauges = [
                &metrics.running,
                &metrics.queued,
                &metrics.sessions,
                &metrics.memory,
                &metrics.pipeline_runs_active,
            ];
            for gauge in gauges {
                metrics.registry.register(Box::new(gauge.clone()))?;
            }
            metrics.registry.register(Box::new(metrics.query_seconds.clone()))?;
            metrics.registry.register(Box::new(metrics.source_wait_seconds.clone()))?;
            Ok(metrics)
        };
        build().map_err(|error| Error::internal("could not register metrics").with_cause(error))
    }

    pub(super) fn text(&self, engine: &Engine) -> String {
        let signed = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.running.set(signed(engine.inner.queries.running().len()));
        self.queued.set(signed(engine.inner.admission.n_waiting()));
        self.sessions.set(signed(engine.sessions().len()));
        self.memory.set(signed(engine.inner.governor.used_bytes()));
        self.pipeline_runs_active.set(signed(engine.inner.pipelines.n_active()));
        self.source_wait_seconds.reset();
        for catalog in engine.inner.catalogs.every() {
            if let Some(waited) = catalog.source().ok().map(|source| source.waited())
                && !waited.is_zero()
            {
                let gauge = self.source_wait_seconds.with_label_values(&[&catalog.name]);
                // Catalogs of single users share their name.
                gauge.add(waited.as_secs_f64());
            }
        }
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::warn!(error = %error, "could not encode metrics");
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}
