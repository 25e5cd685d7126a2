//! `SET verify_pushdown` against a database that computes wrongly: each kind of step, one lie at a time.

use std::any::Any;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, new_null_array};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Decimal128Type, Int64Type, SchemaRef};
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::SessionConfig;
use futures::{StreamExt, TryStreamExt};
use maru_connect::{
    BatchStream, Join, Predicate, PushIntoSources, QueryContext, RemoteTable, SourceTable, Step,
    Verify, batch_stream,
};

use super::*;

/// Which step is computed wrongly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Scan,
    Aggregate,
    TopN,
    Compute,
    Join,
}

/// What is wrong with its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Nothing,
    /// The last column of the first row is one more.
    OffByOne,
    /// The last row does not come.
    RowLost,
    /// The first row comes twice.
    RowTwice,
    /// The first rows of an order begin with the second.
    FirstLeftOut,
    /// The last column of the first row is NULL.
    NoPartner,
}

/// A table of the real database that tells one lie.
#[derive(Debug, Clone)]
struct Liar {
    inner: Arc<dyn RemoteTable>,
    made_by: At,
    at: At,
    wrong: Wrong,
}

impl Liar {
    fn over(&self, inner: Arc<dyn RemoteTable>, made_by: At) -> Arc<dyn RemoteTable> {
        Arc::new(Self { inner, made_by, ..self.clone() })
    }

    fn lie(&self, rows: RecordBatch) -> RecordBatch {
        let n_rows = rows.num_rows();
        let first_with = |last: ArrayRef| {
            let mut columns = rows.columns().to_vec();
            let rest = rows.slice(1, n_rows - 1);
            columns.pop();
            let mut columns =
                columns.iter().map(|column| column.slice(0, 1)).collect::<Vec<ArrayRef>>();
            columns.push(last);
            let first = RecordBatch::try_new(rows.schema(), columns).unwrap();
            concat_batches(&rows.schema(), [&first, &rest]).unwrap()
        };
        let last = || rows.columns().last().unwrap().slice(0, 1);
        match self.wrong {
            Wrong::Nothing => rows.clone(),
            Wrong::OffByOne => first_with(more(&last())),
            Wrong::RowLost => rows.slice(0, n_rows - 1),
            Wrong::RowTwice => concat_batches(&rows.schema(), [&rows.slice(0, 1), &rows]).unwrap(),
            Wrong::FirstLeftOut => rows.slice(1, n_rows - 1),
            Wrong::NoPartner => first_with(new_null_array(last().data_type(), 1)),
        }
    }
}

fn more(value: &ArrayRef) -> ArrayRef {
    match value.data_type() {
        DataType::Int64 => {
            Arc::new(value.as_primitive::<Int64Type>().unary::<_, Int64Type>(|v| v + 1))
        }
        DataType::Decimal128(precision, scale) => {
            let more = value.as_primitive::<Decimal128Type>().unary::<_, Decimal128Type>(|v| v + 1);
            Arc::new(more.with_precision_and_scale(*precision, *scale).unwrap())
        }
        other => panic!("{other} is no number"),
    }
}

impl RemoteTable for Liar {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }

    fn supports(&self, predicate: &Predicate) -> bool {
        self.inner.supports(predicate)
    }

    fn supports_limit(&self) -> bool {
        self.inner.supports_limit()
    }

    fn unique_keys(&self) -> &[Vec<usize>] {
        self.inner.unique_keys()
    }

    fn derive(&self, input: &ScanRequest, step: &Step) -> Option<Arc<dyn RemoteTable>> {
        let (made_by, step) = match step {
            Step::Aggregate { .. } => (At::Aggregate, step.clone()),
            Step::Compute { .. } => (At::Compute, step.clone()),
            // One more, so that as many come as are asked for.
            Step::TopN { by, rows } if self.wrong == Wrong::FirstLeftOut => {
                (At::TopN, Step::TopN { by: by.clone(), rows: rows + 1 })
            }
            Step::TopN { .. } => (At::TopN, step.clone()),
        };
        Some(self.over(self.inner.derive(input, &step)?, made_by))
    }

    fn join(
        &self,
        input: &ScanRequest,
        other: &dyn RemoteTable,
        other_input: &ScanRequest,
        join: &Join,
    ) -> Option<Arc<dyn RemoteTable>> {
        let other = (other as &dyn Any).downcast_ref::<Self>()?;
        let joined = self.inner.join(input, other.inner.as_ref(), other_input, join)?;
        Some(self.over(joined, At::Join))
    }

    fn describe(&self, request: &ScanRequest) -> String {
        self.inner.describe(request)
    }

    fn read(&self, request: ScanRequest) -> BatchStream {
        let honest = self.inner.read(request);
        if self.made_by != self.at || self.wrong == Wrong::Nothing {
            return honest;
        }
        let this = self.clone();
        batch_stream(
            futures::stream::once(async move {
                let batches = honest.try_collect::<Vec<_>>().await?;
                let rows = concat_batches(&batches[0].schema(), &batches)?;
                Ok(this.lie(rows))
            })
            .boxed(),
        )
    }
}

/// The rows of a statement in text, sorted, over tables `t` and `g` of a database that lies.
async fn told(
    source: &SqliteSource,
    (at, wrong): (At, Wrong),
    verify: Verify,
    query_id: u64,
    sql: &str,
) -> Result<Vec<String>> {
    let context = QueryContext::new(query_id, Arc::default());
    let state = SessionStateBuilder::new()
        .with_default_features()
        .with_config(SessionConfig::new().with_extension(Arc::new(context)))
        .with_optimizer_rule(Arc::new(PushIntoSources))
        .build();
    let session = SessionContext::new_with_state(state);
    for name in ["t", "g"] {
        let Some(SourceTable::Remote(inner)) = source.table("main", name).await? else {
            panic!("no table {name}")
        };
        let liar = Arc::new(Liar { inner, made_by: At::Scan, at, wrong });
        let table = FederatedTable::new("lite", SourceTable::Remote(liar)).with_verify(verify);
        session.register_table(name, Arc::new(table))?;
    }
    let mut lines = Vec::new();
    for batch in session.sql(sql).await?.collect().await? {
        for row in 0..batch.num_rows() {
            let cells = batch.columns().iter().map(|c| array_value_to_string(c, row).unwrap());
            lines.push(cells.collect::<Vec<_>>().join("|"));
        }
    }
    lines.sort();
    Ok(lines)
}

async fn tables() -> (tempfile::TempDir, SqliteSource) {
    database(&[
        "CREATE TABLE t (id INTEGER PRIMARY KEY, grp INTEGER, price DECIMAL(10,2))",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40) \
         INSERT INTO t SELECT i, i % 6, i * 1.25 FROM n",
        "CREATE TABLE g (id INTEGER PRIMARY KEY, label TEXT)",
        "INSERT INTO g VALUES (1, 'one'), (2, 'two'), (3, 'three')",
    ])
    .await
}

const LIES: &[(At, &[Wrong], &str)] = &[
    (At::Scan, &[Wrong::RowLost, Wrong::RowTwice], "SELECT id, grp FROM t WHERE grp = 3"),
    (At::Scan, &[Wrong::RowLost], "SELECT id FROM t LIMIT 7"),
    (At::Scan, &[Wrong::RowLost], "SELECT id FROM t WHERE grp > 1 LIMIT 7"),
    (At::Aggregate, &[Wrong::OffByOne, Wrong::RowTwice], "SELECT count(*) FROM t"),
    (At::Aggregate, &[Wrong::OffByOne, Wrong::NoPartner], "SELECT min(id), max(id) FROM t"),
    (
        At::Aggregate,
        &[Wrong::OffByOne, Wrong::RowLost, Wrong::RowTwice],
        "SELECT grp, count(*) FROM t GROUP BY grp",
    ),
    (
        At::Aggregate,
        &[Wrong::RowLost, Wrong::RowTwice, Wrong::NoPartner],
        "SELECT DISTINCT grp FROM t",
    ),
    (
        At::TopN,
        &[Wrong::RowLost, Wrong::RowTwice, Wrong::FirstLeftOut, Wrong::OffByOne],
        "SELECT grp, id FROM t ORDER BY id DESC LIMIT 5",
    ),
    (At::TopN, &[Wrong::RowLost, Wrong::FirstLeftOut], "SELECT id FROM t ORDER BY id LIMIT 1"),
    (
        At::Join,
        &[Wrong::RowLost, Wrong::RowTwice, Wrong::NoPartner],
        "SELECT t.id, g.label FROM t JOIN g ON t.grp = g.id",
    ),
    (
        At::Join,
        &[Wrong::RowLost, Wrong::RowTwice],
        "SELECT t.id, g.label FROM t LEFT JOIN g ON t.grp = g.id",
    ),
    (
        At::Join,
        &[Wrong::RowLost, Wrong::RowTwice],
        "SELECT id FROM t WHERE grp IN (SELECT id FROM g)",
    ),
    (
        At::Join,
        &[Wrong::RowLost, Wrong::RowTwice],
        "SELECT id FROM t WHERE NOT EXISTS (SELECT 1 FROM g WHERE g.id = t.grp)",
    ),
    (
        At::Aggregate,
        &[Wrong::OffByOne, Wrong::RowLost],
        "SELECT g.label, count(*) FROM t JOIN g ON t.grp = g.id GROUP BY g.label",
    ),
];

#[tokio::test]
async fn every_step_that_is_computed_wrongly_is_told() {
    let (_dir, source) = tables().await;
    for (at, wrongs, sql) in LIES {
        let truth = told(&source, (*at, Wrong::Nothing), Verify::Off, 0, sql).await.unwrap();
        let verified = told(&source, (*at, Wrong::Nothing), Verify::All, 0, sql).await.unwrap();
        assert_eq!(verified, truth, "{sql}");
        for wrong in *wrongs {
            let what = format!("{wrong:?} at {at:?}: {sql}");
            // Without it, the source is believed: so the step is the source's, and the lie is one.
            let believed = told(&source, (*at, *wrong), Verify::Off, 0, sql).await.unwrap();
            assert_ne!(believed, truth, "{what}");
            let error = told(&source, (*at, *wrong), Verify::All, 0, sql).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PushdownDiffers, "{what}: {error}");
            let report = error.report();
            assert!(
                report.contains("It was sent: SELECT") && report.contains("lite.pushdown = off"),
                "{what}: {report}"
            );
        }
    }
}

#[tokio::test]
async fn some_statements_are_verified_by_a_sample() {
    let (_dir, source) = tables().await;
    let mut caught = Vec::new();
    for query_id in 1..=40 {
        let sql = "SELECT grp, count(*) FROM t GROUP BY grp";
        let lie = (At::Aggregate, Wrong::OffByOne);
        match told(&source, lie, Verify::Sample, query_id, sql).await {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::PushdownDiffers, "{error}");
                caught.push(query_id);
            }
        }
        let honest = (At::Aggregate, Wrong::Nothing);
        told(&source, honest, Verify::Sample, query_id, sql).await.unwrap();
    }
    // One statement in ten.
    assert_eq!(caught, [10, 20, 30, 40]);
}
