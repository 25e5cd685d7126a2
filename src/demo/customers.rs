//! The customers, in SQLite.

use std::fs;
use std::path::Path;

use indicatif::ProgressBar;
use maru_core::Result;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode};
use sqlx::{ConnectOptions, Connection, QueryBuilder, Sqlite};

use super::data::cannot_write;
use super::random::Random;

const TABLE: u64 = 4;

/// Rows of one INSERT; SQLite takes at most 32,766 values in one.
const INSERT_ROWS: u64 = 1000;

const SURNAMES: &[&str] = &[
    "김", "이", "박", "최", "정", "강", "조", "윤", "장", "임", "한", "오", "서", "신", "권", "황",
    "안", "송",
];
const FIRST: &[&str] =
    &["민", "서", "지", "도", "하", "예", "수", "현", "유", "은", "시", "주", "태", "가", "나"];
const SECOND: &[&str] =
    &["준", "연", "우", "윤", "민", "호", "진", "아", "은", "영", "혁", "원", "빈", "라", "희"];
const CITIES: &[&str] = &[
    "서울", "부산", "인천", "대구", "대전", "광주", "수원", "울산", "고양", "용인", "창원", "성남",
    "청주", "전주", "천안", "제주",
];
const TIERS: &[&str] = &["basic", "basic", "silver", "gold", "vip"];

/// Makes the database file.
pub(super) async fn make(directory: &Path, rows: u64, bar: &ProgressBar) -> Result<()> {
    let path = directory.join("customers.db");
    fs::create_dir_all(directory).map_err(|cause| cannot_write(directory, cause))?;
    fill(&path, rows, bar).await.map_err(|cause| cannot_write(&path, cause))
}

async fn fill(path: &Path, rows: u64, bar: &ProgressBar) -> Result<(), sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Delete);
    let mut connection: SqliteConnection = options.connect().await?;
    let mut transaction = connection.begin().await?;
    sqlx::query(
        "CREATE TABLE customers (
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL,
            city TEXT NOT NULL,
            tier TEXT NOT NULL,
            birth_year INTEGER,
            joined DATE NOT NULL,
            phone TEXT
        )",
    )
    .execute(&mut *transaction)
    .await?;
    let mut random = Random::new(TABLE, 0);
    let mut id = 0;
    while id < rows {
        let end = rows.min(id + INSERT_ROWS);
        let mut insert: QueryBuilder<Sqlite> = QueryBuilder::new(
            "INSERT INTO customers (id, name, city, tier, birth_year, joined, phone) ",
        );
        insert.push_values(id + 1..=end, |mut row, id| {
            let random = &mut random;
            let name =
                format!("{}{}{}", random.pick(SURNAMES), random.pick(FIRST), random.pick(SECOND));
            let year = 2006 - random.skewed(60) as i64;
            let joined = format!(
                "20{:02}-{:02}-{:02}",
                10 + random.below(16),
                1 + random.below(12),
                1 + random.below(28)
            );
            let phone = format!("010-{:04}-{:04}", random.below(10_000), random.below(10_000));
            row.push_bind(id as i64)
                .push_bind(name)
                .push_bind(*random.pick(CITIES))
                .push_bind(*random.pick(TIERS))
                .push_bind((!random.once_in(25)).then_some(year))
                .push_bind(joined)
                .push_bind((!random.once_in(10)).then_some(phone));
        });
        insert.build().execute(&mut *transaction).await?;
        bar.inc(end - id);
        id = end;
    }
    transaction.commit().await?;
    connection.close().await
}
