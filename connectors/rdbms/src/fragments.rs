//! Groups, orders and joins as SQL: the parts that all databases share.
//!
//! A derived table is a query in parentheses with a plan for each of its columns, so it is read, filtered and derived from like
//! any table. What differs is how a database writes a key that is equal exactly where the engine's is, an aggregate with the
//! engine's result, and an order that is the engine's own.

use arrow::datatypes::SchemaRef;
use maru_connect::{Aggregate, Computation, Join, ScanRequest, SortBy, Step, TableStatistics};

use crate::render::Conditions;

/// Bytes that a name of a derived column may have; PostgreSQL cuts at 63.
const NAME_BYTES_MAX: usize = 60;

/// A column of a derived table: what computes it, and how it is read then.
pub(crate) struct Computed<C> {
    pub sql: String,
    /// What stands in GROUP BY, if it is not `sql`.
    pub group: Option<String>,
    /// Its name is not its own yet.
    pub column: C,
}

/// The rows an aggregate is about: all of its group, or those of a condition. `CASE` makes the others NULL, which aggregates pass
/// over; `FILTER` is not known everywhere.
pub(crate) struct Filtered(Option<String>);

impl Filtered {
    /// Returns what is counted for `count(*)`.
    pub fn rows(&self) -> String {
        match &self.0 {
            None => "*".to_owned(),
            Some(condition) => format!("CASE WHEN {condition} THEN 1 END"),
        }
    }

    /// Returns the argument.
    pub fn values(&self, argument: &str) -> String {
        match &self.0 {
            None => argument.to_owned(),
            Some(condition) => format!("CASE WHEN {condition} THEN {argument} END"),
        }
    }

    pub fn is_everything(&self) -> bool {
        self.0.is_none()
    }
}

/// A query that can stand in FROM, and its columns.
pub(crate) struct Derived<C> {
    pub from: String,
    pub columns: Vec<C>,
    pub schema: SchemaRef,
    pub statistics: TableStatistics,
    /// Sets of columns in which rows differ.
    pub unique: Vec<Vec<usize>>,
}

/// How one database computes what the engine would. `None` means: not proven equal, keep it there.
pub(crate) trait Fragments: Conditions {
    type Column: Clone;

    fn from(&self) -> &str;

    fn columns(&self) -> &[Self::Column];

    fn statistics(&self) -> TableStatistics;

    /// Returns a name as the database quotes it.
    fn quote(name: &str) -> String;

    /// Returns the column as it is written above `from`.
    fn name(column: &Self::Column) -> &str;

    /// Returns the column under another name, quoted already.
    fn renamed(column: &Self::Column, name: &str, quoted: String) -> Self::Column;

    /// Returns what stands on either side of `=` in a join.
    fn equal(&self, column: usize) -> Option<String>;

    /// Returns the column as a key of groups.
    fn key(&self, column: usize) -> Option<Computed<Self::Column>>;

    /// Returns an aggregate whose values have the type that [`maru_connect::AggregateFunction::result_type`] says, over what `of`
    /// says of its argument.
    fn aggregate(&self, aggregate: &Aggregate, of: &Filtered) -> Option<Computed<Self::Column>>;

    /// Returns a number whose values have the type that is said.
    fn computation(&self, computation: &Computation) -> Option<Computed<Self::Column>> {
        let _ = computation;
        None
    }

    /// Sets of columns in which rows differ.
    fn unique(&self) -> &[Vec<usize>] {
        &[]
    }

    /// Returns a condition that every value satisfies which the engine can hold, and by which the database refuses any other: what is
    /// computed of a column there must not pass over values that would be an error to read. `None` if there are no such values,
    /// or none that the rest would let pass.
    fn sound(&self, column: usize) -> Option<String> {
        let _ = column;
        None
    }

    /// Returns the same for a column that is joined by, whose values nobody reads.
    fn sound_key(&self, column: usize) -> Option<String> {
        self.sound(column)
    }

    /// Returns what stands in ORDER BY.
    fn order(&self, by: &SortBy) -> Option<String>;

    /// Returns the query that `step` makes of `input`.
    fn derived(
        &self,
        schema: &SchemaRef,
        input: &ScanRequest,
        step: &Step,
    ) -> Option<Derived<Self::Column>> {
        let schema = step.schema(schema, input)?;
        let used: Vec<usize> = match step {
            Step::Aggregate { keys, aggregates } => {
                let arguments = aggregates.iter().filter_map(|aggregate| aggregate.column);
                keys.iter().copied().chain(arguments).collect()
            }
            // What is read, is seen.
            Step::Compute { .. } => Vec::new(),
            Step::TopN { by, .. } => by.iter().map(|by| by.column).collect(),
        };
        let rows = self.rows(input, used, Self::sound)?;
        let known = self.statistics().n_rows;
        match step {
            Step::Aggregate { keys, aggregates } => {
                let mut computed =
                    keys.iter().map(|key| self.key(*key)).collect::<Option<Vec<_>>>()?;
                let group =
                    computed.iter().map(|key| key.group.as_ref().unwrap_or(&key.sql).clone());
                let group = group.collect::<Vec<_>>().join(", ");
                for aggregate in aggregates {
                    let filter = match &aggregate.filter {
                        Some(filter) => Some(self.condition(filter)?),
                        None => None,
                    };
                    computed.push(self.aggregate(aggregate, &Filtered(filter))?);
                }
                let tail = match keys.as_slice() {
                    [] => rows,
                    _ => format!("{rows} GROUP BY {group}"),
                };
                let n_rows = keys.is_empty().then_some(1);
                Some(Derived {
                    statistics: TableStatistics { n_rows, n_bytes: None },
                    unique: vec![(0..keys.len()).collect()],
                    ..select::<Self>(computed, &schema, &tail)?
                })
            }
            Step::Compute { numbers } => {
                let mut computed = self.plain(input)?;
                for number in numbers {
                    computed.push(self.computation(number)?);
                }
                let place = |column: &usize| input.projection.iter().position(|at| at == column);
                let keys = self.unique().iter();
                let keys = keys.filter_map(|key| key.iter().map(place).collect::<Option<_>>());
                Some(Derived {
                    statistics: TableStatistics { n_rows: known, n_bytes: None },
                    unique: keys.collect(),
                    ..select::<Self>(computed, &schema, &rows)?
                })
            }
            Step::TopN { by, rows: n } => {
                let order = by.iter().map(|by| self.order(by)).collect::<Option<Vec<_>>>()?;
                let tail = format!("{rows} ORDER BY {} LIMIT {n}", order.join(", "));
                let n_rows = Some(known.map_or(*n, |known| known.min(*n)));
                Some(Derived {
                    statistics: TableStatistics { n_rows, n_bytes: None },
                    ..select::<Self>(self.plain(input)?, &schema, &tail)?
                })
            }
        }
    }

    /// Returns the query that joins `input` with another table's.
    fn derived_join(
        &self,
        schemas: (&SchemaRef, &SchemaRef),
        input: &ScanRequest,
        other: &Self,
        other_input: &ScanRequest,
        join: &Join,
    ) -> Option<Derived<Self::Column>> {
        let schema = join.schema((schemas.0, input), (schemas.1, other_input))?;
        let mut computed = Vec::new();
        let mut conditions = [Vec::new(), Vec::new()];
        let mut sides = Vec::new();
        let (lefts, rights): (Vec<_>, Vec<_>) = join.on.iter().copied().unzip();
        for (side, (this, input, on)) in
            [(self, input, lefts), (other, other_input, rights)].into_iter().enumerate()
        {
            let alias = if side == 0 { "l" } else { "r" };
            let mut list = Vec::new();
            let seen = side == 0 || !join.kind.keeps_left_only();
            let plain = if seen { this.plain(input)? } else { Vec::new() };
            for (position, column) in plain.into_iter().enumerate() {
                let name = Self::quote(&format!("c{position}"));
                list.push(format!("{} AS {name}", column.sql));
                computed.push(Computed { sql: format!("{alias}.{name}"), ..column });
            }
            for (position, column) in on.iter().copied().enumerate() {
                let name = Self::quote(&format!("k{position}"));
                list.push(format!("{} AS {name}", this.equal(column)?));
                conditions[side].push(format!("{alias}.{name}"));
            }
            let rows = this.rows(input, on, Self::sound_key)?;
            sides.push(format!("(SELECT {}{rows}) AS {alias}", list.join(", ")));
        }
        let on = conditions[0].iter().zip(&conditions[1]).map(|(l, r)| format!("{l} = {r}"));
        let on = on.collect::<Vec<_>>().join(" AND ");
        let kind = join.kind.sql();
        let known = [self.statistics().n_rows, other.statistics().n_rows];
        let (tail, n_rows) = if join.kind.keeps_left_only() {
            let tail =
                format!(" FROM {} WHERE {kind} (SELECT 1 FROM {} WHERE {on})", sides[0], sides[1]);
            (tail, known[0])
        } else {
            let n_rows = known[0].zip(known[1]).map(|(left, right)| left.max(right));
            (format!(" FROM {} {kind} {} ON {on}", sides[0], sides[1]), n_rows)
        };
        Some(Derived {
            statistics: TableStatistics { n_rows, n_bytes: None },
            ..select::<Self>(computed, &schema, &tail)?
        })
    }

    /// Returns the columns asked for, as they are.
    fn plain(&self, input: &ScanRequest) -> Option<Vec<Computed<Self::Column>>> {
        input
            .projection
            .iter()
            .map(|index| {
                let column = self.columns().get(*index)?;
                let sql = Self::name(column).to_owned();
                Some(Computed { sql, group: None, column: column.clone() })
            })
            .collect()
    }

    /// Returns FROM and WHERE of `input`, of which these columns are computed with, if they are `sound`.
    fn rows(
        &self,
        input: &ScanRequest,
        mut used: Vec<usize>,
        sound: fn(&Self, usize) -> Option<String>,
    ) -> Option<String> {
        let mut conditions = self.all(&input.filters)?;
        used.sort_unstable();
        used.dedup();
        let sound = used.into_iter().filter_map(|column| sound(self, column));
        let mut from = self.from().to_owned();
        if let Some(limit) = input.limit {
            let filter = filter(&conditions);
            from = format!("(SELECT * FROM {from}{filter} LIMIT {limit}) AS some_rows");
            conditions.clear();
        }
        conditions.extend(sound);
        Some(format!(" FROM {from}{}", filter(&conditions)))
    }
}

fn filter(conditions: &[String]) -> String {
    match conditions {
        [] => String::new(),
        all => format!(" WHERE {}", all.join(" AND ")),
    }
}

/// Writes the query in its parentheses. A query has columns.
fn select<F: Fragments + ?Sized>(
    computed: Vec<Computed<F::Column>>,
    schema: &SchemaRef,
    tail: &str,
) -> Option<Derived<F::Column>> {
    if computed.is_empty() {
        return None;
    }
    let mut list = Vec::new();
    let mut columns = Vec::new();
    for (position, (computed, field)) in computed.into_iter().zip(schema.fields()).enumerate() {
        let name = match field.name() {
            name if name.len() <= NAME_BYTES_MAX => name.clone(),
            _ => format!("maru_column_{position}"),
        };
        let quoted = F::quote(&name);
        list.push(match computed.sql == quoted {
            true => quoted.clone(),
            false => format!("{} AS {quoted}", computed.sql),
        });
        columns.push(F::renamed(&computed.column, field.name(), quoted));
    }
    Some(Derived {
        from: format!("(SELECT {}{tail}) AS derived", list.join(", ")),
        columns,
        schema: SchemaRef::clone(schema),
        statistics: TableStatistics::default(),
        unique: Vec::new(),
    })
}
