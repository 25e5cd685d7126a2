//! `RETRAIN MODEL`: the statement that trained a model, once more, as a new version.

use std::sync::Arc;

use futures::StreamExt;
use maru_core::{Error, ErrorKind, Result};
use maru_ml::Version;
use maru_sql::{CreateModel, ModelStatement, Name, RetrainModel, Statement, ast};

use crate::access::Privilege;
use crate::output::{Body, Output};
use crate::session::Session;

/// Writes the statement so that it can be read again.
pub(super) fn text(create: &CreateModel) -> String {
    let list = |items: Vec<String>| items.join(", ");
    let mut text = format!("CREATE OR REPLACE MODEL {}", create.name);
    if !create.transform.is_empty() {
        let items = create.transform.iter().map(ToString::to_string).collect();
        text += &format!(" TRANSFORM ({})", list(items));
    }
    if let Some(condition) = &create.train_where {
        text += &format!(" TRAIN WHERE {condition}");
    }
    let options = create.options.iter().map(|(name, value)| format!("{name} = {value}"));
    text += &format!(" OPTIONS ({})", list(options.collect()));
    if let Some(query) = &create.query {
        text += &format!(" AS {query}");
    }
    text
}

/// # Errors
/// 55000 for a model that an older version has trained; as `CREATE OR REPLACE MODEL`.
pub(super) async fn retrain(session: &Arc<Session>, retrain: &RetrainModel) -> Result<Output> {
    let (schema, name, object) = session.require_model(&retrain.name)?;
    let rights = session.rights();
    rights.require_owner(&object)?;
    rights.require(Privilege::Execute, &object)?;
    let version = session.engine().inner.models.version(&schema, &name, None)?;
    let mut create = trained_by(&version)?;
    create.name = Name(vec![schema.clone(), name.clone()]);
    create.or_replace = true;
    for (option, value) in &retrain.options {
        create.options.retain(|(known, _)| known != option);
        create.options.push((option.clone(), value.clone()));
    }
    if let Some(limit) = retrain.drift {
        let model = Name(vec![schema, name.clone()]);
        let (drift, column) = drift(session, &model, &create).await?;
        if drift <= limit {
            return Ok(Output::command("RETRAIN MODEL").with_notice(format!(
                "not trained: the greatest drift is {drift:.4}, of column \"{column}\", and not above {limit}"
            )));
        }
    }
    let mut output = super::create(session, &create).await?;
    output.body = Body::Command { tag: "RETRAIN MODEL".to_owned() };
    Ok(output)
}

/// Returns the query whose rows a model would learn from again; `None` for one that was imported.
///
/// # Errors
/// 42704 if there is no such model; 55000 for one that an older version has trained.
pub(crate) fn learns_from(session: &Arc<Session>, name: &Name) -> Result<Option<ast::Query>> {
    let (schema, name, _) = session.require_model(name)?;
    let version = session.engine().inner.models.version(&schema, &name, None)?;
    Ok(trained_by(&version)?.query.map(|query| *query))
}

/// Reads the statement that trained a version.
fn trained_by(version: &Version) -> Result<CreateModel> {
    let again = |text: &str| {
        Error::new(
            ErrorKind::WrongState,
            format!("model \"{}\" cannot be trained again from what is kept of it", version.name),
        )
        .with_detail(text.to_owned())
        .with_hint("CREATE OR REPLACE MODEL with the whole statement trains a new version.")
    };
    let statement = version.manifest.statement.as_str();
    if statement.is_empty() {
        return Err(again("An older version of Maru has trained it."));
    }
    let Statement::Model(parsed) = maru_sql::parse(statement).map_err(|_| again(statement))? else {
        return Err(again(statement));
    };
    match *parsed {
        ModelStatement::Create(create) => Ok(*create),
        _ => Err(again(statement)),
    }
}

/// Returns the greatest population stability index of a column, and which one it is.
async fn drift(
    session: &Arc<Session>,
    model: &Name,
    create: &CreateModel,
) -> Result<(f64, String)> {
    use arrow::array::AsArray;
    let Some(query) = &create.query else {
        return Err(Error::new(
            ErrorKind::WrongObjectType,
            "an imported model has learnt from no rows of Maru's",
        )
        .with_hint("RETRAIN MODEL without WHEN DRIFT reads its file again."));
    };
    let sql = format!(
        "SELECT input, value FROM ML.VALIDATE_DATA_SKEW(MODEL {model}, ({query})) WHERE metric = 'psi'"
    );
    let (_, output) = session.read(&sql).await?;
    let Body::Rows(mut rows) = output.body else {
        return Err(Error::internal("a query gave no rows"));
    };
    let mut most = (0.0, String::new());
    while let Some(batch) = rows.stream.next().await {
        let batch = batch?;
        let names = arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Utf8)
            .map_err(|error| Error::internal("names are no text").with_cause(error))?;
        let names = names.as_string::<i32>();
        let values = batch.column(1).as_primitive::<arrow::datatypes::Float64Type>();
        for (name, value) in names.iter().zip(values) {
            if let (Some(name), Some(value)) = (name, value)
                && value > most.0
            {
                most = (value, name.to_owned());
            }
        }
    }
    Ok(most)
}
