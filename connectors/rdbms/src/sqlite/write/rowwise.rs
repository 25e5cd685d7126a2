//! Rows changed one by one: how they are found again, and the SQL that changes them.

use maru_core::Result;
use sqlx::{AssertSqlSafe, Row};

use super::target::{Column, Target, list};
use super::{Plan, STAGED, Session, failure};
use crate::sqlite::quoted;
use crate::sqlite::types::Mapping;
use crate::write::{changed_in_between, changed_twice, computed_by_the_table, is_given};

/// Returns where a row is and what it is: its number and all its values.
pub(crate) fn place<'a>(alias: &str, names: impl Iterator<Item = &'a str>) -> String {
    let values = names.map(|name| format!(" || ',' || quote({alias}{name})")).collect::<String>();
    format!("({alias}_rowid_ || ' '{values})")
}

/// The number at the beginning of a place.
const ROW_ID: &str = "CAST(s.place AS INTEGER)";

impl Target {
    /// Returns the columns that come before the table's own.
    pub fn leading() -> Vec<Column> {
        let column = |name: &str, mapping| Column {
            name: name.to_owned(),
            declared: String::new(),
            mapping,
            is_computed: false,
        };
        vec![column("place", Mapping::Text), column("op", Mapping::Integer)]
    }

    /// Returns the columns of a staging table for changes.
    pub fn staged_changes(&self) -> String {
        let own = (0..self.columns.len()).map(|number| format!(", c_{number}")).collect::<String>();
        format!("place, op{own}")
    }

    /// Returns statements that SQLite can check before there are rows.
    pub fn check_changes(&self) -> Vec<String> {
        let table = self.quoted();
        vec![format!("DELETE FROM {table} WHERE _rowid_ = 0")]
    }
}

impl Session {
    /// Deletes, updates and inserts what was staged. A row that is not what it was when it was read fails all of it.
    pub async fn change(&mut self, plan: &Plan) -> Result<u64> {
        let target = &plan.target;
        let table = target.quoted();
        let mut set = Vec::new();
        let (mut names, mut values) = (Vec::new(), Vec::new());
        let (mut updated, mut inserted) = (Vec::new(), Vec::new());
        for (number, column) in target.columns.iter().enumerate() {
            let name = quoted(&column.name);
            if column.is_computed {
                updated.push(format!("t.{name} IS NOT s.c_{number}"));
                inserted.push(format!("s.c_{number} IS NOT NULL"));
            } else {
                set.push(format!("{name} = s.c_{number}"));
                if is_given(&plan.request.columns, &column.name) {
                    names.push(column.name.clone());
                    values.push(format!("s.c_{number}"));
                }
            }
        }
        if self
            .number(plan, format!("SELECT count(place) - count(DISTINCT place) FROM {STAGED}"))
            .await?
            > 0
        {
            return Err(changed_twice(&target.name));
        }
        let all = target.all.iter().map(|name| quoted(name)).collect::<Vec<_>>();
        let same = place("t.", all.iter().map(String::as_str));
        let wanted =
            self.number(plan, format!("SELECT count(*) FROM {STAGED} WHERE op <> 0")).await?;
        let found = format!(
            "SELECT count(*) FROM {STAGED} AS s JOIN {table} AS t ON t._rowid_ = {ROW_ID} \
             WHERE s.op <> 0 AND {same} = s.place"
        );
        if self.number(plan, found).await? != wanted {
            return Err(changed_in_between(&target.name));
        }
        if !updated.is_empty() {
            let sql = format!(
                "SELECT count(*) FROM {STAGED} AS s LEFT JOIN {table} AS t ON t._rowid_ = {ROW_ID} \
                 WHERE (s.op = 1 AND ({})) OR (s.op = 0 AND ({}))",
                updated.join(" OR "),
                inserted.join(" OR ")
            );
            if self.number(plan, sql).await? > 0 {
                return Err(computed_by_the_table(&target.name));
            }
        }
        let mut statements = vec![format!(
            "DELETE FROM {table} WHERE _rowid_ IN (SELECT {ROW_ID} FROM {STAGED} AS s WHERE s.op = 2)"
        )];
        if !set.is_empty() {
            statements.push(format!(
                "UPDATE {table} AS t SET {} FROM {STAGED} AS s WHERE s.op = 1 AND t._rowid_ = {ROW_ID}",
                set.join(", ")
            ));
            statements.push(format!(
                "INSERT INTO {table} ({}) SELECT {} FROM {STAGED} AS s WHERE s.op = 0",
                list(&names),
                values.join(", ")
            ));
        }
        let peer = plan.file.peer();
        let mut n_rows = 0;
        for sql in statements {
            let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *self.connection).await;
            n_rows += done.map_err(|error| failure::write_error(&peer, error))?.rows_affected();
        }
        Ok(n_rows)
    }

    async fn number(&mut self, plan: &Plan, sql: String) -> Result<i64> {
        let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(&mut *self.connection).await;
        let row = row.map_err(|error| failure::write_error(&plan.file.peer(), error))?;
        Ok(row.get::<i64, _>(0))
    }
}
