//! Prepared statements by name: those of `PREPARE` and those of a protocol are one list.

use std::sync::Arc;
use std::time::SystemTime;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::LogicalPlan;
use maru_core::{Error, ErrorKind, Result};
use maru_sql::{ExecutePrepared, ExplainExecute};

use super::execute::bind;
use super::open_texts::numeric;
use super::{Kind, Planned, Prepared, Session, StatementText, explain};
use crate::opaque::Opaque;
use crate::output::Body;

/// One prepared statement.
#[derive(Debug, Clone)]
pub struct Named {
    /// `None` for a text without a statement.
    pub prepared: Option<Prepared>,
    /// PostgreSQL's number of each parameter's type as it was declared; 0 where it was not.
    pub declared: Vec<u32>,
    /// The same as the engine's types; `None` where it was not.
    pub types: Vec<Option<DataType>>,
    /// The whole text.
    pub text: String,
    pub prepared_at: SystemTime,
    pub from_sql: bool,
}

impl Session {
    /// Returns the statement of this name.
    ///
    /// # Errors
    /// 26000.
    pub fn named(&self, name: &str) -> Result<Arc<Named>> {
        self.named.lock().get(name).cloned().ok_or_else(|| undefined(name))
    }

    /// Keeps a statement. The unnamed one takes the place of the one before.
    ///
    /// # Errors
    /// 42P05 if the name is taken.
    pub fn keep_named(&self, name: &str, statement: Named) -> Result<()> {
        let mut named = self.named.lock();
        if !name.is_empty() && named.contains_key(name) {
            let message = format!("prepared statement \"{name}\" already exists");
            return Err(Error::new(ErrorKind::DuplicatePrepared, message)
                .with_hint(format!("DEALLOCATE {} forgets it.", maru_core::quote_ident(name))));
        }
        named.insert(name.to_owned(), Arc::new(statement));
        Ok(())
    }

    /// Forgets a statement; returns whether there was one.
    pub fn forget_named(&self, name: &str) -> bool {
        self.named.lock().remove(name).is_some()
    }

    pub fn forget_all_named(&self) {
        self.named.lock().clear();
    }

    /// Returns all statements that have names, in order.
    pub(crate) fn all_named(&self) -> Vec<(String, Arc<Named>)> {
        let named = self.named.lock();
        let with_names = named.iter().filter(|(name, _)| !name.is_empty());
        with_names.map(|(name, statement)| (name.clone(), Arc::clone(statement))).collect()
    }

    /// Plans what `EXECUTE` runs, with its values.
    ///
    /// # Errors
    /// 26000 for an unknown name; 42601 for another number of values; those of the values and of the statement.
    pub(super) async fn prepare_execute(
        self: &Arc<Self>,
        execute: &ExecutePrepared,
        text: &StatementText,
    ) -> Result<Prepared> {
        let named = self.named(&execute.name)?;
        let Some(prepared) = &named.prepared else {
            return Err(Error::new(ErrorKind::InvalidStatement, "the prepared statement is empty"));
        };
        let (wanted, given) = (prepared.parameters.len(), execute.arguments.len());
        if wanted != given {
            let name = &execute.name;
            let message = format!("wrong number of parameters for prepared statement \"{name}\"");
            return Err(Error::new(ErrorKind::Syntax, message)
                .with_detail(format!("Expected {wanted} parameters but got {given}.")));
        }
        let Kind::Query { .. } = &prepared.kind else {
            return Ok(Prepared { text: text.clone(), ..prepared.clone() });
        };
        let values = self.values(execute).await?;
        let values = values.into_iter().zip(&prepared.parameters).map(|(value, to)| match to {
            Some(to) if value.data_type() != *to => of_type(value, to),
            _ => Ok(value),
        });
        let values = values.collect::<Result<Vec<_>>>()?;
        let again = match prepared.arguments.is_empty() {
            true => self.plan_again(prepared).await?,
            false => self.plan_with(prepared, &values).await?,
        };
        let Kind::Query { plan, tag, monitors } = &again.kind else {
            return Err(Error::internal("a query became a command"));
        };
        let plan = Opaque::new(bind((**plan).clone(), values)?);
        Ok(Prepared {
            parameters: Vec::new(),
            arguments: Vec::new(),
            text: text.clone(),
            kind: Kind::Query { plan, tag, monitors: *monitors },
            planned: Planned::now(self),
            ..again
        })
    }

    /// Plans the `EXPLAIN` of what `EXECUTE` runs, with its values.
    ///
    /// # Errors
    /// As [`Session::prepare_execute`]; 0A000 for what has no plan.
    pub(super) async fn explain_execute(
        self: &Arc<Self>,
        explain: ExplainExecute,
        text: &StatementText,
    ) -> Result<Prepared> {
        let ExplainExecute { options, execute } = explain;
        let prepared = self.prepare_execute(&execute, text).await?;
        let (plan, monitors) = match &prepared.kind {
            Kind::Query { plan, monitors, .. }
                if !matches!(**plan, LogicalPlan::Explain(_) | LogicalPlan::Analyze(_)) =>
            {
                ((**plan).clone(), *monitors)
            }
            _ => {
                let message =
                    format!("prepared statement \"{}\" has no plan to explain", execute.name);
                return Err(Error::unsupported(message));
            }
        };
        let plan = self.plan_explained(options, plan).await?;
        let schema = match explain::explained(&plan) {
            Some((_, _, shape)) => explain::schema(shape),
            None => Arc::new(plan.schema().as_arrow().clone()),
        };
        let kind = Kind::Query { plan: Opaque::new(plan), tag: "EXPLAIN", monitors };
        Ok(Prepared { schema: Some(schema), kind, ..prepared })
    }

    /// Computes the values of `EXECUTE`.
    async fn values(self: &Arc<Self>, execute: &ExecutePrepared) -> Result<Vec<ScalarValue>> {
        if execute.arguments.is_empty() {
            return Ok(Vec::new());
        }
        let list = execute.arguments.iter().map(ToString::to_string).collect::<Vec<_>>();
        let text = StatementText::one(format!("SELECT {}", list.join(", ")));
        let prepared = self.prepare_boxed(text, Vec::new()).await?;
        if !prepared.parameters.is_empty() {
            let message = "EXECUTE takes values, not parameters";
            return Err(Error::new(ErrorKind::UndefinedParameter, message));
        }
        let Body::Rows(rows) = self.execute_boxed(prepared, Vec::new()).await?.body else {
            return Err(Error::internal("values gave no rows"));
        };
        let batches = rows.collect().await?;
        let one = batches.iter().find(|batch| batch.num_rows() > 0);
        let one: &RecordBatch = one.ok_or_else(|| Error::internal("values gave no row"))?;
        Ok(one
            .columns()
            .iter()
            .map(|column| ScalarValue::try_from_array(column, 0))
            .collect::<Result<Vec<_>, _>>()?)
    }
}

/// Brings a value of `EXECUTE` to the type of its parameter. A numeric keeps its places: the parameter has those of the column beside it.
fn of_type(value: ScalarValue, to: &DataType) -> Result<ScalarValue> {
    if let DataType::Decimal128(..) = to {
        let read = value.try_as_str().flatten().and_then(numeric);
        if let Some(number) = read {
            return Ok(number);
        }
        if let ScalarValue::Decimal128(Some(_), ..) = &value {
            return Ok(value);
        }
    }
    Ok(value.cast_to(to)?)
}

pub(crate) fn undefined(name: &str) -> Error {
    let message = format!("prepared statement \"{name}\" does not exist");
    Error::new(ErrorKind::UndefinedPrepared, message)
}
