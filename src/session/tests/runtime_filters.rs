//! What scans learn at run time: the same rows with it and without, and fewer of them from the sources.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use super::*;

/// More than the planner reads as a join's first side without knowing the other.
const BIG_ROWS: i64 = 160_000;

/// A generator of numbers, the same in each run.
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    pub(super) fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }
}

fn write(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, values)| (name, values, true)),
    )
    .unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(4000)).build();
    let file = File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// Files `lake.d.big` (sorted by id), `lake.d.few`, `lake.d.parts` (partitions by k); SQLite's `lite.main.small`, `big`,
/// `none`; the memory connector's `m`.
pub(super) async fn sources() -> Fixture {
    let maru = fixture().await;
    let dir = maru._dir.path().join("src");
    let text = |n: i64| (n % 11 != 5).then(|| format!("k{}", n % 50));
    let big = |ids: std::ops::Range<i64>| -> Vec<(&str, ArrayRef)> {
        vec![
            (
                "id",
                Arc::new(ids.clone().map(|n| (n % 97 != 3).then_some(n)).collect::<Int64Array>()),
            ),
            ("t", Arc::new(ids.clone().map(text).collect::<StringArray>())),
            ("v", Arc::new(ids.map(|n| n % 7).collect::<Int64Array>())),
        ]
    };
    write(&dir.join("lake/d/big/a.parquet"), big(0..BIG_ROWS));
    let few = [Some(7), None, Some(12_345), Some(39_999), Some(7), Some(-1), Some(3)];
    write(
        &dir.join("lake/d/few/a.parquet"),
        vec![
            ("id", Arc::new(Int64Array::from(few.to_vec()))),
            (
                "t",
                Arc::new(StringArray::from(vec![
                    Some("k1"),
                    None,
                    Some("k2"),
                    Some("zz"),
                    Some("K1"),
                    Some(""),
                    Some("k1 "),
                ])),
            ),
            (
                "v",
                Arc::new(Int64Array::from(vec![
                    Some(1),
                    Some(2),
                    None,
                    Some(4),
                    Some(5),
                    Some(6),
                    Some(0),
                ])),
            ),
        ],
    );
    for k in 0..8_i64 {
        write(&dir.join(format!("lake/d/parts/k={k}/a.parquet")), big(k * 100..k * 100 + 100));
    }
    let options = SqliteConnectOptions::new().filename(dir.join("t.db")).create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    for sql in [
        "CREATE TABLE small (id INTEGER, t TEXT, v INTEGER)",
        "INSERT INTO small VALUES (5, 'k5', 1), (6, 'k6', 2), (NULL, NULL, 3), (39998, 'K5', 4), (6, 'k6', NULL)",
        "CREATE TABLE none (id INTEGER, t TEXT, v INTEGER)",
        "CREATE TABLE big (id INTEGER, t TEXT, v INTEGER)",
        "INSERT INTO big WITH RECURSIVE c(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM c WHERE n < 6000) \
         SELECT CASE n % 13 WHEN 4 THEN NULL ELSE n * 3 END, CASE n % 9 WHEN 1 THEN NULL ELSE 'k' || (n % 60) END, n % 5 FROM c",
    ] {
        sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
    let path = dir.display();
    maru.run(&format!(
        "CREATE CATALOG lake USING file WITH (path = '{path}/lake'); \
         CREATE CATALOG lite USING sqlite WITH (path = '{path}/t.db'); \
         CREATE CATALOG m USING memory WITH (rows = 100)"
    ))
    .await
    .unwrap();
    maru
}

impl Fixture {
    /// Returns the rows sorted, so that they can be compared.
    pub(super) async fn sorted(&self, sql: &str) -> Vec<String> {
        let rows = self.rows(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let mut rows = rows.lines().map(str::to_owned).collect::<Vec<_>>();
        rows.sort();
        rows
    }

    /// Returns what `EXPLAIN ANALYZE` says of a catalog: the line of what it was sent, and the rows that came back.
    async fn received(&self, catalog: &str, sql: &str) -> (String, usize) {
        let report = self.rows(&format!("EXPLAIN ANALYZE {sql}")).await.unwrap();
        let lines = report.lines().collect::<Vec<_>>();
        let start = format!("  {catalog} is ");
        let at = lines.iter().position(|line| line.starts_with(&start)).unwrap();
        let rows = lines[at..].iter().find_map(|line| line.trim().strip_prefix("came back: "));
        let rows = rows.unwrap().split(' ').next().unwrap().parse().unwrap();
        let learned = lines[at + 1..].iter().take_while(|line| line.starts_with("    "));
        let text = std::iter::once(&lines[at]).chain(learned).copied().collect::<Vec<_>>();
        (text.join("\n"), rows)
    }

    async fn same_on_and_off(&self, sql: &str) {
        self.run("SET runtime_filters = on").await.unwrap();
        let on = self.sorted(sql).await;
        self.run("SET runtime_filters = off").await.unwrap();
        let off = self.sorted(sql).await;
        self.run("SET runtime_filters = on").await.unwrap();
        assert_eq!(on, off, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fewer_rows_cross_in_both_directions() {
    let maru = sources().await;
    let to_files = "SELECT l.id, l.v FROM lite.main.small s JOIN lake.d.big l ON l.id = s.id";
    let to_remote = "SELECT b.id, b.v FROM lake.d.few f JOIN lite.main.big b ON b.id = f.id";
    let value =
        "SELECT count(*) FROM lite.main.big WHERE id > (SELECT max(id) - 142000 FROM lake.d.big)";
    let to_parts = "SELECT count(*) FROM m.sample.numbers s JOIN lake.d.parts p ON p.k = s.n WHERE s.square IN (25, 36)";
    maru.run("SET runtime_filters = off").await.unwrap();
    assert_eq!(maru.received("lake", to_files).await.1, BIG_ROWS as usize);
    assert_eq!(maru.received("lite", to_remote).await.1, 6001);
    assert_eq!(maru.received("lite", value).await.1, 6001);
    assert_eq!(maru.received("lake", to_parts).await.1, 800);
    maru.run("SET runtime_filters = on").await.unwrap();
    let (text, rows) = maru.received("lake", to_files).await;
    assert_eq!(rows, 8000, "{text}");
    assert!(text.contains("id is one of 3 keys"), "{text}");
    let (text, rows) = maru.received("lite", to_remote).await;
    assert_eq!(rows, 2, "{text}");
    assert!(text.contains("`id` IN ("), "{text}");
    let (text, rows) = maru.received("lite", value).await;
    assert_eq!(rows, 1, "{text}");
    assert!(text.contains("`id` > 17999"), "{text}");
    let (text, rows) = maru.received("lake", to_parts).await;
    assert_eq!(rows, 200, "{text}");
    assert!(text.contains("files left out: 6"), "{text}");
    let empty = "SELECT b.id FROM lite.main.none s JOIN lake.d.big b ON b.id = s.id";
    assert_eq!(maru.received("lake", empty).await.1, 0);
    let plan = maru.rows(&format!("EXPLAIN {to_remote}")).await.unwrap();
    assert!(plan.contains("added at run time: id: keys of a join"), "{plan}");
    maru.run("SET pushdown = off").await.unwrap();
    assert_eq!(maru.received("lite", to_remote).await.1, 6001);
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_bound_only_the_range_is_asked_for() {
    let maru = sources().await;
    let many = "SELECT count(*) FROM (SELECT n + 3000 AS n FROM more.sample.numbers) s JOIN lake.d.big l ON l.id = s.n";
    maru.run("CREATE CATALOG more USING memory WITH (rows = 2000)").await.unwrap();
    let (text, rows) = maru.received("lake", many).await;
    assert!(text.contains("id from 3000 to 4999"), "{text}");
    assert_eq!(rows, 8000, "{text}");
    maru.same_on_and_off(many).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_the_same_on_and_off() {
    let maru = sources().await;
    for sql in [
        // Names that stand twice, from which the planner's own filters lose rows.
        "SELECT * FROM (SELECT s.id, l.id, l.v FROM lite.main.small s JOIN lake.d.big l ON l.id = s.id) q",
        "SELECT a.*, b.* FROM lite.main.small a JOIN (SELECT x.id, y.id AS yid, y.v FROM lake.d.few x JOIN lake.d.big y ON x.v = y.v AND x.id = y.id) b ON a.v = b.v",
        "SELECT id FROM lake.d.few WHERE id NOT IN (SELECT id FROM lite.main.small)",
        "SELECT id FROM lake.d.few WHERE id NOT IN (SELECT id FROM lite.main.none)",
        "SELECT id FROM lake.d.few INTERSECT SELECT id FROM lite.main.big",
        "SELECT id FROM lake.d.few EXCEPT SELECT id FROM lite.main.big",
        "SELECT s.id, l.id FROM lite.main.small s JOIN lake.d.big l ON l.id IS NOT DISTINCT FROM s.id",
        // Before a limit, a window or a whole aggregate no row may be left out.
        "SELECT s.id, q.id, q.r FROM lite.main.small s JOIN (SELECT id, row_number() OVER (ORDER BY id) AS r FROM lake.d.big) q ON q.id = s.id",
        "SELECT s.id, q.id FROM lite.main.small s JOIN (SELECT id FROM lake.d.big ORDER BY id LIMIT 6) q ON q.id = s.id",
        "SELECT s.id, q.n FROM lite.main.small s JOIN (SELECT count(*) AS n FROM lake.d.few) q ON q.n > s.v",
        "SELECT s.id, q.n FROM lite.main.small s JOIN (SELECT id, count(*) AS n FROM lake.d.big GROUP BY id) q ON q.id = s.id",
        "SELECT s.id, q.n FROM lite.main.small s JOIN (SELECT id, v, count(*) AS n FROM lake.d.few GROUP BY GROUPING SETS ((id), (v), ())) q ON q.id = s.id",
        "SELECT s.id, q.id FROM lite.main.small s JOIN (SELECT id FROM lake.d.big UNION ALL SELECT id FROM lite.main.big UNION ALL SELECT n FROM m.sample.numbers) q ON q.id = s.id",
        "SELECT s.id, q.id FROM lite.main.small s JOIN (SELECT b.id FROM lake.d.few f LEFT JOIN lake.d.big b ON b.id = f.id) q ON q.id = s.id",
        "WITH RECURSIVE r(id) AS (SELECT 3 UNION ALL SELECT l.id + 3 FROM r JOIN lake.d.big l ON l.id = r.id WHERE l.id < 40) SELECT * FROM r",
        "SELECT count(*) FROM lite.main.big WHERE id > (SELECT max(id) FROM lite.main.none)",
        "SELECT count(*) FROM lake.d.big WHERE id = (SELECT max(id) FROM lite.main.small)",
        "SELECT count(*) FROM lake.d.big WHERE t >= (SELECT max(t) FROM lite.main.small) OR v = 1",
        "SELECT count(*) FROM m.sample.numbers WHERE half > (SELECT avg(v) FROM lite.main.small)",
        "SELECT l.id FROM lake.d.few l WHERE EXISTS (SELECT 1 FROM lite.main.big b WHERE b.id = l.id) OR l.v = 1",
    ] {
        maru.same_on_and_off(sql).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_joins_give_the_same_rows() {
    let maru = sources().await;
    let mut random = Numbers(20_261_125);
    let tables = [
        "lite.main.small",
        "lite.main.none",
        "lite.main.big",
        "lake.d.few",
        "lake.d.big",
        "(SELECT id, t, v FROM lake.d.parts)",
        "(SELECT k AS id, t, v FROM lake.d.parts)",
        "(SELECT n AS id, name AS t, square AS v FROM m.sample.numbers)",
        "(SELECT id, max(t) AS t, count(*) AS v FROM lake.d.big GROUP BY id)",
        "(SELECT id, t, v FROM lite.main.big WHERE v < 3)",
        "(SELECT id, t, v FROM lake.d.big WHERE v = 2 UNION ALL SELECT id, t, v FROM lite.main.small)",
    ];
    let mut n_filtered = 0;
    for round in 0..40 {
        let (a, b, c) = (random.pick(&tables), random.pick(&tables), random.pick(&tables));
        let on = random.pick(&[
            "a.id = b.id",
            "a.id = b.id AND a.t = b.t",
            "a.id = b.id AND a.v < b.v",
            "a.id = b.v",
        ]);
        let kind = random.pick(&["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]);
        let condition = random.pick(&[
            "true",
            "a.v IN (1, 2, 4)",
            "b.id > 10",
            "a.id IN (SELECT id FROM lite.main.small)",
            "NOT EXISTS (SELECT 1 FROM lite.main.big z WHERE z.id = a.id)",
            "EXISTS (SELECT 1 FROM lake.d.few z WHERE z.id = b.id AND z.v > 0)",
            "a.id <= (SELECT max(id) FROM lake.d.few)",
            "b.t > (SELECT min(t) FROM lite.main.small)",
        ]);
        let sql = match random.below(3) {
            0 => format!(
                "SELECT count(*), count(c.id), min(a.t), sum(c.v) FROM {a} a {kind} {b} b ON {on} JOIN {c} c ON c.id = a.id WHERE {condition}"
            ),
            1 => format!(
                "SELECT count(*), count(a.id), count(b.id), sum(a.v), max(b.t) FROM {a} a {kind} {b} b ON {on} WHERE {condition}"
            ),
            _ => format!(
                "SELECT count(*), count(a.id), sum(c.v) FROM {c} c LEFT JOIN ({a} a {kind} {b} b ON {on}) ON c.id = b.id WHERE {condition}"
            ),
        };
        maru.run(&format!("SET target_partitions = {}", 1 + round % 4)).await.unwrap();
        n_filtered += usize::from(
            maru.rows(&format!("EXPLAIN {sql}")).await.unwrap().contains("at run time"),
        );
        maru.same_on_and_off(&sql).await;
    }
    assert!(n_filtered > 12, "{n_filtered} of 40 plans have a filter");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_is_heard_in_a_join_with_keys() {
    let maru = sources().await;
    maru.run("CREATE CATALOG huge USING memory WITH (rows = 1000000000)").await.unwrap();
    let session = Arc::clone(&maru.session);
    let cancel = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        session.cancel();
    });
    let sql = "SELECT count(*) FROM (SELECT n FROM huge.sample.numbers WHERE square % 1000003 = 17) s JOIN lake.d.big l ON l.id = s.n";
    let start = std::time::Instant::now();
    assert_eq!(maru.error(sql).await.sqlstate(), "57014");
    assert!(start.elapsed() < Duration::from_secs(20));
    cancel.await.unwrap();
}
