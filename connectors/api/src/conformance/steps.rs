//! Groups, orders and joins that a source computes, held against the engine's own.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::{SortColumn, SortOptions, lexsort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::logical_expr::JoinType;
use datafusion::prelude::SessionContext;
use maru_core::Result;

use super::{Subject, broken, cases, ensure, numbers, reading};
use crate::{
    Aggregate, AggregateFunction, Join, JoinKind, Predicate, RemoteTable, ScanRequest, SortBy,
    SourceTable, Step,
};

const FUNCTIONS: [AggregateFunction; 4] = [
    AggregateFunction::Count,
    AggregateFunction::Sum,
    AggregateFunction::Min,
    AggregateFunction::Max,
];

/// Asks for each aggregate of each column, groups by each column and by pairs, the first rows of each order, and joins of the
/// table with itself; each over all rows and over filtered ones. The declared capabilities are what was seen.
pub(super) async fn hold(
    subject: &Subject<'_>,
    table: &SourceTable,
    whole: &RecordBatch,
) -> Result<()> {
    let SourceTable::Remote(remote) = table else { return Ok(()) };
    let schema = remote.schema();
    let inputs = inputs(remote, whole)?;
    let (mut aggregated, mut ordered, mut joined) = (0, 0, 0);
    let filter = inputs.get(1).and_then(|(request, _)| request.filters.first());
    for (request, rows) in &inputs {
        for step in aggregates(&schema, filter) {
            aggregated += usize::from(aggregate(remote, request, rows, &step).await?);
        }
        numbers::hold(remote, request, rows).await?;
        for by in orders(&schema) {
            ordered += usize::from(top_n(remote, request, rows, by).await?);
        }
        for column in 0..schema.fields().len() {
            joined += join(remote, request, rows, column).await?;
        }
    }
    let declared = subject.connector.spec().capabilities;
    for (name, declared, seen) in [
        ("aggregate", declared.aggregate, aggregated),
        ("top_n", declared.top_n, ordered),
        ("join", declared.join, joined),
    ] {
        ensure(declared == (seen > 0), || {
            format!("declared {name} = {declared}, but {seen} were computed by the source")
        })?;
    }
    Ok(())
}

/// All rows, and the rows of some filter.
fn inputs(
    remote: &Arc<dyn RemoteTable>,
    whole: &RecordBatch,
) -> Result<Vec<(ScanRequest, RecordBatch)>> {
    let all = ScanRequest::all(&remote.schema());
    let mut inputs = vec![(all.clone(), whole.clone())];
    let of_values = |filter: &Predicate| !matches!(filter, Predicate::IsNull { .. });
    let mut filters = cases::predicates(whole)?;
    filters.retain(|filter| of_values(filter) && remote.supports(filter));
    if let Some(filter) = filters.into_iter().nth(1) {
        let keep = crate::evaluate::rows(&filter, whole)?;
        let rows = arrow::compute::filter_record_batch(whole, &keep)?;
        inputs.push((ScanRequest { filters: vec![filter], ..all }, rows));
    }
    Ok(inputs)
}

fn aggregates(schema: &SchemaRef, filter: Option<&Predicate>) -> Vec<Step> {
    let n_columns = schema.fields().len();
    let count = Aggregate { function: AggregateFunction::Count, column: None, filter: None };
    let filtered = Aggregate { filter: filter.cloned(), ..count.clone() };
    let both = vec![count.clone(), filtered.clone()];
    let mut steps = vec![
        Step::Aggregate { keys: vec![], aggregates: vec![count.clone()] },
        Step::Aggregate { keys: vec![], aggregates: both },
    ];
    for column in 0..n_columns {
        for function in FUNCTIONS {
            let aggregate = Aggregate { function, column: Some(column), filter: None };
            if filter.is_some() {
                let aggregates = vec![Aggregate { filter: filter.cloned(), ..aggregate.clone() }];
                steps.push(Step::Aggregate { keys: vec![(column + 1) % n_columns], aggregates });
            }
            for keys in [vec![], vec![(column + 1) % n_columns]] {
                steps.push(Step::Aggregate { keys, aggregates: vec![aggregate.clone()] });
            }
        }
        steps.push(Step::Aggregate { keys: vec![column], aggregates: vec![] });
        steps.push(Step::Aggregate {
            keys: vec![column, (column + 2) % n_columns],
            aggregates: vec![count.clone()],
        });
    }
    steps
}

/// Compares with the engine's aggregates. Returns whether the source computed it.
async fn aggregate(
    remote: &Arc<dyn RemoteTable>,
    input: &ScanRequest,
    rows: &RecordBatch,
    step: &Step,
) -> Result<bool> {
    let Some(derived) = remote.derive(input, step) else { return Ok(false) };
    let Step::Aggregate { keys, aggregates } = step else { return Ok(false) };
    let schema = step.schema(&remote.schema(), input).ok_or_else(|| broken("no such result"))?;
    ensure(derived.schema().fields() == schema.fields(), || {
        format!("{step:?} has columns {:?}, not {schema:?}", derived.schema())
    })?;
    let session = SessionContext::new();
    let quoted = |index: &usize| format!("\"c{index}\"");
    let mut renamed = rename(rows)?;
    for (at, aggregate) in aggregates.iter().enumerate() {
        if let Some(filter) = &aggregate.filter {
            let kept = crate::evaluate::rows(filter, rows)?;
            renamed = with_column(&renamed, &format!("kept{at}"), Arc::new(kept))?;
        }
    }
    session.register_batch("rows", renamed)?;
    let mut list = keys.iter().map(quoted).collect::<Vec<_>>();
    for (at, (Aggregate { function, column, filter }, field)) in
        aggregates.iter().zip(&schema.fields()[keys.len()..]).enumerate()
    {
        let argument = column.as_ref().map_or_else(|| "*".to_owned(), quoted);
        let result = arrow_type(field.data_type());
        let filter =
            filter.as_ref().map_or_else(String::new, |_| format!(" FILTER (WHERE kept{at})"));
        list.push(format!("arrow_cast({}({argument}){filter}, '{result}')", function.sql()));
    }
    let group = match keys.as_slice() {
        [] => String::new(),
        keys => format!(" GROUP BY {}", keys.iter().map(quoted).collect::<Vec<_>>().join(", ")),
    };
    let sql = format!("SELECT {} FROM rows{group}", list.join(", "));
    let wanted = session.sql(&sql).await?.collect().await?;
    let derived = SourceTable::Remote(derived);
    let got = reading::read(&derived, &ScanRequest::all(&derived.schema())).await?;
    reading::same_rows(&got, &wanted, || format!("{step:?} of {input:?}"))?;
    Ok(true)
}

fn arrow_type(data_type: &DataType) -> String {
    data_type.to_string().replace('\'', "''")
}

fn with_column(rows: &RecordBatch, name: &str, values: ArrayRef) -> Result<RecordBatch> {
    let mut fields = rows.schema().fields().iter().cloned().collect::<Vec<_>>();
    fields.push(Arc::new(Field::new(name, values.data_type().clone(), true)));
    let columns = rows.columns().iter().cloned().chain([values]).collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// Names the columns by their number, so that SQL can say them.
fn rename(rows: &RecordBatch) -> Result<RecordBatch> {
    let fields = rows.schema();
    let fields = fields
        .fields()
        .iter()
        .enumerate()
        .map(|(index, field)| field.as_ref().clone().with_name(format!("c{index}")));
    let schema = Schema::new(fields.collect::<Vec<_>>());
    Ok(RecordBatch::try_new(Arc::new(schema), rows.columns().to_vec())?)
}

fn orders(schema: &SchemaRef) -> Vec<Vec<SortBy>> {
    let n_columns = schema.fields().len();
    let mut orders = Vec::new();
    for column in 0..n_columns {
        for (descending, nulls_first) in
            [(false, false), (false, true), (true, false), (true, true)]
        {
            let by = SortBy { column, descending, nulls_first };
            orders.push(vec![by]);
            orders.push(vec![by, SortBy { column: (column + 1) % n_columns, ..by }]);
        }
    }
    orders
}

/// The sort keys of the first rows are certain, and all rows are rows of the table.
async fn top_n(
    remote: &Arc<dyn RemoteTable>,
    input: &ScanRequest,
    rows: &RecordBatch,
    by: Vec<SortBy>,
) -> Result<bool> {
    let n_rows = rows.num_rows();
    let mut computed = false;
    for n in [1, n_rows / 2 + 1, n_rows + 3] {
        let step = Step::TopN { by: by.clone(), rows: n };
        let Some(derived) = remote.derive(input, &step) else { return Ok(computed) };
        computed = true;
        let derived = SourceTable::Remote(derived);
        let got = reading::read(&derived, &ScanRequest::all(&derived.schema())).await?;
        let columns = by
            .iter()
            .map(|by| SortColumn {
                values: Arc::clone(rows.column(by.column)),
                options: Some(SortOptions {
                    descending: by.descending,
                    nulls_first: by.nulls_first,
                }),
            })
            .collect::<Vec<_>>();
        let first = lexsort_to_indices(&columns, Some(n))?;
        let wanted = take_record_batch(rows, &first)?;
        let keys = by.iter().map(|by| by.column).collect::<BTreeSet<_>>();
        let keys = keys.into_iter().collect::<Vec<_>>();
        let got_keys =
            got.iter().map(|batch| batch.project(&keys)).collect::<Result<Vec<_>, _>>()?;
        let what = || format!("{step:?} of {input:?}");
        reading::same_rows(&got_keys, &[wanted.project(&keys)?], what)?;
        reading::among(&got, std::slice::from_ref(rows), what)?;
    }
    Ok(computed)
}

/// Joins the table with itself, in every kind, on a column. Returns how many joins the source computed.
async fn join(
    remote: &Arc<dyn RemoteTable>,
    input: &ScanRequest,
    rows: &RecordBatch,
    column: usize,
) -> Result<usize> {
    let mut computed = 0;
    for (kind, join_type) in [
        (JoinKind::Inner, JoinType::Inner),
        (JoinKind::Left, JoinType::Left),
        (JoinKind::Right, JoinType::Right),
        (JoinKind::Full, JoinType::Full),
        (JoinKind::Semi, JoinType::LeftSemi),
        (JoinKind::Anti, JoinType::LeftAnti),
    ] {
        let join = Join { kind, on: vec![(column, column)] };
        let Some(derived) = remote.join(input, remote.as_ref(), input, &join) else { continue };
        computed += 1;
        let session = SessionContext::new();
        session.register_batch("l", rename(rows)?)?;
        session.register_batch("r", rename(rows)?)?;
        let name = format!("c{column}");
        let left = session.table("l").await?;
        let right = session.table("r").await?;
        let on = [name.as_str()];
        let wanted = left.join(right, join_type, &on, &on, None)?.collect().await?;
        let derived = SourceTable::Remote(derived);
        let got = reading::read(&derived, &ScanRequest::all(&derived.schema())).await?;
        reading::same_rows(&got, &wanted, || format!("{join:?} of {input:?}"))?;
    }
    Ok(computed)
}
