//! `system.models`, `model_versions`, `training_jobs`.

use datafusion::common::ScalarValue;
use futures::FutureExt;
use maru_core::Result;

use super::ColumnKind::{Boolean, Integer, Real, Text, TextList, Timestamp};
use super::engine_tables::watches;
use super::{Row, TableSpec, boolean, integer, text, text_or_null, timestamp};
use crate::access::Object;
use crate::catalog::BUILTIN;
use crate::models::ModelFacts;
use crate::session::Session;

pub(super) static MODELS: TableSpec = TableSpec {
    name: "models",
    doc: "Models; ML.PREDICT takes their names.",
    columns: &[
        ("schema", Text),
        ("name", Text),
        ("model_type", Text),
        ("default_version", Integer),
        ("n_versions", Integer),
        ("owner", Text),
        ("comment", Text),
    ],
    rows: |session, _| async { Ok(models(session)) }.boxed(),
};

pub(super) static MODEL_VERSIONS: TableSpec = TableSpec {
    name: "model_versions",
    doc: "Versions of models with their metrics and what they were trained on.",
    columns: &[
        ("schema", Text),
        ("model", Text),
        ("version", Integer),
        ("is_default", Boolean),
        ("aliases", TextList),
        ("model_type", Text),
        ("state", Text),
        ("metrics", Text),
        ("features", TextList),
        ("options", Text),
        ("n_rows", Integer),
        ("n_train_rows", Integer),
        ("n_evaluate_rows", Integer),
        ("n_outliers", Integer),
        ("n_bytes", Integer),
        ("created", Timestamp),
        ("created_by", Text),
        ("duration_ms", Integer),
        ("query", Text),
        ("sources", TextList),
        ("remarks", TextList),
    ],
    rows: |session, _| async { versions(session) }.boxed(),
};

pub(super) static TRAINING_JOBS: TableSpec = TableSpec {
    name: "training_jobs",
    doc: "Trainings that run or wait, and past ones; CANCEL TRAINING JOB takes a job_id.",
    columns: &[
        ("job_id", Integer),
        ("schema", Text),
        ("model", Text),
        ("user_name", Text),
        ("state", Text),
        ("trials", Integer),
        ("trials_done", Integer),
        ("iterations", Integer),
        ("loss", Real),
        ("started", Timestamp),
        ("elapsed_ms", Integer),
        ("version", Integer),
        ("sqlstate", Text),
        ("error", Text),
    ],
    rows: |session, _| async { Ok(jobs(session)) }.boxed(),
};

fn seen(session: &Session) -> Vec<(Object, ModelFacts)> {
    let rights = session.rights();
    let all = session.engine().inner.models.all().into_iter();
    let with_object = all.map(|model| (Object::model(BUILTIN, &model.schema, &model.name), model));
    with_object.filter(|(object, _)| rights.sees(object)).collect()
}

fn models(session: &Session) -> Vec<Row> {
    let rights = session.rights();
    seen(session)
        .into_iter()
        .map(|(object, model)| {
            let default = model.versions.iter().find(|version| version.is_default);
            vec![
                text(model.schema.as_str()),
                text(model.name.as_str()),
                text_or_null(default.map(|version| version.manifest.model_type.clone())),
                integer(model.default_version),
                integer(i64::try_from(model.versions.len()).unwrap_or(i64::MAX)),
                text(rights.rules().owner(&object)),
                text_or_null(model.comment.clone()),
            ]
        })
        .collect()
}

fn list(values: &[String]) -> ScalarValue {
    let values =
        values.iter().map(|value| ScalarValue::Utf8(Some(value.clone()))).collect::<Vec<_>>();
    ScalarValue::List(ScalarValue::new_list_nullable(&values, &arrow::datatypes::DataType::Utf8))
}

fn versions(session: &Session) -> Result<Vec<Row>> {
    let count = |n: u64| integer(i64::try_from(n).unwrap_or(i64::MAX));
    let rights = session.rights();
    let mut rows = Vec::new();
    for (object, model) in seen(session) {
        let inside = rights.looks_into(&object);
        for version in &model.versions {
            let manifest = &version.manifest;
            let metrics = manifest
                .metrics
                .iter()
                .map(|(name, value)| (name.clone(), serde_json::json!(value)));
            let metrics = metrics.collect::<serde_json::Map<_, _>>();
            let options = manifest.options.iter().map(|(name, value)| format!("{name} = {value}"));
            let features =
                manifest.features.iter().map(|feature| feature.name.clone()).collect::<Vec<_>>();
            let sources = manifest.sources.iter();
            let sources = sources.filter(|name| inside || rights.sees_named(name, None));
            let sources = sources.cloned().collect::<Vec<_>>();
            rows.push(vec![
                text(model.schema.as_str()),
                text(model.name.as_str()),
                integer(version.version),
                boolean(version.is_default),
                list(&version.aliases),
                text(manifest.model_type.as_str()),
                text(match (version.is_damaged, manifest.converged) {
                    (true, _) => "damaged",
                    (false, true) => "ready",
                    (false, false) => "ready, not converged",
                }),
                text(serde_json::Value::Object(metrics).to_string()),
                list(&features),
                text(options.collect::<Vec<_>>().join(", ")),
                count(manifest.n_rows),
                count(manifest.n_train),
                count(manifest.n_evaluate),
                count(manifest.n_outliers),
                integer(version.n_bytes),
                timestamp(manifest.created_us),
                text(manifest.created_by.as_str()),
                count(manifest.duration_ms),
                text_or_null(inside.then(|| manifest.query.clone())),
                list(&sources),
                list(&manifest.remarks),
            ]);
        }
    }
    Ok(rows)
}

fn jobs(session: &Session) -> Vec<Row> {
    let rights = session.rights();
    let now = crate::engine::history::micros(std::time::SystemTime::now());
    let jobs = session.engine().inner.models.jobs.all().into_iter();
    jobs.map(|job| (job.facts(), job.progress()))
        .filter(|(job, _)| watches(&rights, &job.user_name))
        .map(|(job, (steps, loss))| {
            vec![
                integer(job.job_id),
                text(job.schema),
                text(job.model),
                text(job.user_name),
                text(job.state),
                integer(job.trials),
                integer(job.trials_done),
                integer(i64::try_from(steps).unwrap_or(i64::MAX)),
                ScalarValue::Float64(loss),
                timestamp(job.started_us),
                integer((job.ended_us.unwrap_or(now) - job.started_us) / 1000),
                ScalarValue::Int64(job.version),
                text_or_null(job.sqlstate),
                text_or_null(job.error),
            ]
        })
        .collect()
}
