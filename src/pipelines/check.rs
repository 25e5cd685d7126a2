//! What is looked at when a pipeline is created: everything that can be known before the night in which it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::TableReference;
use maru_core::{Error, ErrorKind, Result, did_you_mean, line_column};
use maru_sql::{CreatePipeline, PipelineOption, PipelineStep, SqlPart, StepBody};

use super::definition::{
    Again, Body, CatchUp, Definition, Options, Parameter, ScheduleText, Step, with_value,
};
use super::order::{Node, order};
use super::parameters::{INTERVAL_END, INTERVAL_START, Kind, example, kind_of, substitute};
use super::schedule::{Schedule, zone};
use super::tables::{Effects, Named, effects, read_by, sql_name};
use super::{together, webhook};
use crate::catalog::resolve::require_table;
use crate::session::{Session, is_temporary_schema, word_position};

/// Steps of one pipeline.
const STEPS_MAX: usize = 500;

const OPTIONS: &[&str] = &[
    "retries",
    "retry_wait",
    "timeout",
    "step_timeout",
    "catch_up",
    "max_active_runs",
    "parallel",
    "publish",
    "on_failure",
];

/// A pipeline that may be kept.
#[derive(Debug)]
pub(crate) struct Checked {
    pub definition: Definition,
    pub webhook: Option<maru_core::Secret>,
    /// What its author should know.
    pub notices: Vec<String>,
}

/// Checks a pipeline as the session's role. `sql` is the whole statement.
///
/// # Errors
/// Whatever would be wrong with a step when it ran, as far as its tables are there by now; 42P02 unknown parameters, 42000 circles,
/// 22023 options, schedules and zones; each with its place in `sql`.
pub(crate) async fn check(
    session: &Arc<Session>,
    create: &CreatePipeline,
    sql: &str,
) -> Result<Checked> {
    let at = |error: Error, offset: usize| {
        let (line, column) = line_column(sql, offset);
        error.with_line_column(line, column)
    };
    if create.steps.len() > STEPS_MAX {
        return Err(Error::new(ErrorKind::LimitExceeded, "a pipeline of too many steps")
            .with_detail(format!("The limit is {STEPS_MAX} (pipeline_steps_max).")));
    }
    let session_zone = session.setting("timezone").unwrap_or_else(|| "UTC".to_owned());
    let mut time_zone = session_zone.clone();
    let mut schedule = None;
    if let Some(given) = &create.schedule {
        if let Some(name) = &given.time_zone {
            time_zone = zone(name).map_err(|error| at(error, given.zone_offset))?.name().to_owned();
        }
        Schedule::new(&given.cron, &time_zone).map_err(|error| at(error, given.cron_offset))?;
        schedule = Some(ScheduleText { cron: given.cron.clone(), time_zone: time_zone.clone() });
    }
    let (options, webhook) = options(&create.options, at)?;
    let parameters = parameters(session, create, schedule.is_some(), at).await?;
    names(&create.steps, at)?;
    if let Some(step) = create.steps.iter().find(|step| waits(step)) {
        may_wait(&step.name, &options).map_err(|error| at(error, step.offset))?;
    }
    variables(&create.steps, &parameters, at)?;

    let examples = examples(&parameters);
    let mut all = Vec::with_capacity(create.steps.len());
    for step in &create.steps {
        all.push(look_at(session, step, &examples, sql).await?);
    }
    if options.publish_at_once {
        together::check(session, &create.steps, &all, at).await?;
    }
    let nodes = create.steps.iter().zip(&all).map(|(step, seen)| Node {
        name: step.name.clone(),
        after: step.after.iter().map(|(name, _)| name.clone()).collect(),
        reads: seen.sources.clone(),
        writes: seen.writes(),
        removes: seen.removed(),
        checks: matches!(step.body, StepBody::Expect { fails: true, .. }),
    });
    let nodes = nodes.collect::<Vec<_>>();
    let order = order(&nodes)?;
    let before = before(&nodes, &order);
    for (index, step) in create.steps.iter().enumerate() {
        missing(
            session,
            step,
            &all[index],
            |made| {
                all.iter().enumerate().any(|(other, seen)| {
                    other != index
                        && seen.makes.iter().any(|table| table.full == made)
                        && before[index].contains(&other)
                })
            },
            sql,
        )
        .await?;
    }
    let mut notices = Vec::new();
    for (index, step) in create.steps.iter().enumerate() {
        let others = all.iter().enumerate().filter(|(other, _)| *other != index);
        let changed = others
            .flat_map(|(_, seen)| seen.makes.iter().chain(&seen.removes))
            .map(|table| table.full.as_str())
            .collect::<BTreeSet<_>>();
        let mut touched = all[index].sources.iter().map(String::as_str).chain(
            all[index].changes.iter().chain(&all[index].makes).map(|table| table.full.as_str()),
        );
        // What other steps make anew has other columns then.
        if touched.any(|table| changed.contains(table)) {
            continue;
        }
        try_out(session, step, &examples, sql).await?;
    }
    for (step, seen) in create.steps.iter().zip(&all) {
        if seen.again == Some(Again::Unknown) {
            notices.push(format!(
                "step \"{}\" is not repeated by itself if it is not known whether it has written; EXPLAIN PIPELINE tells why",
                step.name
            ));
        }
    }
    let steps = order.into_iter().map(|(index, after)| {
        let (step, seen) = (&create.steps[index], &all[index]);
        let shown = |tables: BTreeSet<String>| -> Vec<String> {
            tables.iter().map(|table| sql_name(table)).collect()
        };
        let mut writes = seen.writes();
        writes.extend(seen.removed());
        Step {
            name: step.name.clone(),
            after,
            when: step.when.as_ref().map(|query| query.text.clone()),
            value: step.value.clone(),
            body: match &step.body {
                StepBody::Statement(part) => Body::Statement(part.text.clone()),
                StepBody::Expect { name, query, fails, retries } => {
                    let (name, query) = (name.clone(), query.text.clone());
                    Body::Expect { name, query, fails: *fails, retries: *retries }
                }
            },
            reads: shown(seen.sources.clone()),
            writes: shown(writes),
            again: seen.again.unwrap_or(Again::Unknown),
        }
    });
    let mut definition = Definition::new(
        parameters,
        schedule,
        options,
        session.catalog(),
        session.setting("search_path").unwrap_or_default(),
        time_zone,
        steps.collect(),
    );
    definition.body = Some(create.body.clone());
    Ok(Checked { definition, webhook, notices })
}

/// Returns whether a step waits for what it expects.
fn waits(step: &PipelineStep) -> bool {
    matches!(step.body, StepBody::Expect { retries: true, .. })
}

/// Refuses a step that waits where it would not, or where others would wait for its tables.
pub(super) fn may_wait(name: &str, options: &Options) -> Result<()> {
    if options.publish_at_once {
        let message = format!("step \"{name}\" cannot wait, as all steps are published together");
        return Err(Error::unsupported(message).with_hint("Let a pipeline of its own wait."));
    }
    if options.retries == 0 {
        let message = format!("step \"{name}\" is to be tried again, but there are no retries");
        return Err(Error::new(ErrorKind::InvalidParameter, message)
            .with_hint("WITH (retries = 30, retry_wait = '10min') says how often, and when."));
    }
    Ok(())
}

/// For each step, all that come before it.
fn before(nodes: &[Node], order: &[(usize, Vec<String>)]) -> Vec<BTreeSet<usize>> {
    let mut before = vec![BTreeSet::new(); nodes.len()];
    for (index, after) in order {
        let mut all = BTreeSet::new();
        for (other, node) in nodes.iter().enumerate() {
            if after.contains(&node.name) {
                all.insert(other);
                all.extend(before[other].iter().copied());
            }
        }
        before[*index] = all;
    }
    before
}

fn examples(parameters: &[Parameter]) -> BTreeMap<String, String> {
    let given = parameters.iter().map(|p| (p.name.clone(), example(&p.data_type)));
    let own = [INTERVAL_START, INTERVAL_END];
    given.chain(own.map(|name| (name.to_owned(), example("timestamptz")))).collect()
}

async fn parameters(
    session: &Arc<Session>,
    create: &CreatePipeline,
    scheduled: bool,
    at: impl Fn(Error, usize) -> Error,
) -> Result<Vec<Parameter>> {
    let mut parameters: Vec<Parameter> = Vec::new();
    for given in &create.parameters {
        let taken = parameters.iter().any(|known| known.name == given.name)
            || [INTERVAL_START, INTERVAL_END].contains(&given.name.as_str());
        if taken {
            let message = format!("parameter \"{}\" is there already", given.name);
            return Err(at(Error::new(ErrorKind::DuplicateObject, message), given.offset));
        }
        let asked = format!("SELECT CAST(NULL AS {})", given.data_type);
        session.try_out(&asked).await.map_err(|error| at(unplaced(error), given.offset))?;
        if let Some(default) = &given.default {
            let values = examples(&parameters);
            let tried = async {
                let value = substitute(default, &values)?;
                let asked = format!("SELECT CAST(({}) AS {})", value.text, given.data_type);
                session.try_out(&asked).await
            };
            tried.await.map_err(|error| at(unplaced(error), given.offset))?;
        }
        if scheduled && !has_own_value(&given.data_type, given.default.as_deref()) {
            return Err(at(no_scheduled_value(&given.name), given.offset));
        }
        parameters.push(Parameter {
            name: given.name.clone(),
            data_type: given.data_type.clone(),
            default: given.default.clone(),
        });
    }
    Ok(parameters)
}

/// Returns whether a parameter has a value in the runs of a schedule, which give none.
pub(super) fn has_own_value(data_type: &str, default: Option<&str>) -> bool {
    default.is_some()
        || matches!(kind_of(data_type), Kind::Date | Kind::Timestamp | Kind::TimestampTz)
}

pub(super) fn no_scheduled_value(name: &str) -> Error {
    let message = format!("parameter \"{name}\" has no value in the runs of the schedule");
    Error::new(ErrorKind::InvalidParameter, message).with_hint(
        "Give it a DEFAULT. Only a date or timestamp gets the begin of the run's interval by itself.",
    )
}

/// Returns an error without its place, which is one in a text that the author never wrote.
pub(super) fn unplaced(error: Error) -> Error {
    let mut plain = Error::new(error.kind(), error.message());
    if let Some(detail) = error.detail() {
        plain = plain.with_detail(detail);
    }
    match error.hint() {
        Some(hint) => plain.with_hint(hint),
        None => plain,
    }
}

fn names(steps: &[PipelineStep], at: impl Fn(Error, usize) -> Error) -> Result<()> {
    for (index, step) in steps.iter().enumerate() {
        if steps[..index].iter().any(|known| known.name == step.name) {
            let message = format!("step \"{}\" is there twice", step.name);
            return Err(at(Error::new(ErrorKind::DuplicateObject, message), step.offset));
        }
    }
    for step in steps {
        for (name, offset) in &step.after {
            if steps.iter().any(|known| known.name == *name) {
                continue;
            }
            let error =
                Error::new(ErrorKind::UndefinedObject, format!("step \"{name}\" does not exist"));
            let error = match did_you_mean(name, steps.iter().map(|step| step.name.as_str())) {
                Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
                None => error,
            };
            return Err(at(error, *offset));
        }
    }
    Ok(())
}

/// Refuses variables of loops that mean something else, too.
fn variables(
    steps: &[PipelineStep],
    parameters: &[Parameter],
    at: impl Fn(Error, usize) -> Error,
) -> Result<()> {
    for step in steps {
        let Some((name, _)) = &step.value else { continue };
        let taken = parameters.iter().any(|parameter| parameter.name == *name)
            || [INTERVAL_START, INTERVAL_END].contains(&name.as_str());
        if taken {
            let message = format!("\"{name}\" is a parameter, and cannot be a loop's variable");
            return Err(at(Error::new(ErrorKind::DuplicateObject, message), step.offset));
        }
    }
    Ok(())
}

fn parts(step: &PipelineStep) -> impl Iterator<Item = &SqlPart> {
    let body = match &step.body {
        StepBody::Statement(part) => part,
        StepBody::Expect { query, .. } => query,
    };
    step.when.iter().chain([body])
}

/// Reads the parts of a step.
async fn look_at(
    session: &Arc<Session>,
    step: &PipelineStep,
    examples: &BTreeMap<String, String>,
    sql: &str,
) -> Result<Effects> {
    let (mut seen, mut found) = (Effects::default(), Effects::default());
    let examples = &with_value(examples, step.value.as_ref());
    for part in parts(step) {
        let in_part = |error: Error| error.of_part(sql, &part.text, part.offset);
        let values = substitute(&part.text, examples).map_err(in_part)?;
        // As it stands: places of errors are those of the text.
        let parsed = maru_sql::parse(&values.text).map_err(|error| {
            let error = error.locate(&values.text, 0);
            let place = error.position().map_or(0, |place| values.original(place - 1));
            let (line, column) = line_column(&part.text, place);
            unplaced_at(error, line, column).of_part(sql, &part.text, part.offset)
        })?;
        let is_query = matches!(parsed, maru_sql::Statement::Query { .. });
        let wants_query = !matches!(&step.body, StepBody::Statement(body) if body == part);
        if wants_query && !is_query {
            let what = "a condition is a query that gives one boolean";
            return Err(in_part(Error::new(ErrorKind::Syntax, what)));
        }
        if wants_query {
            if let maru_sql::Statement::Query { statement, .. } = &parsed {
                read_by(session, statement, &mut seen).await.map_err(in_part)?;
            }
            continue;
        }
        found = effects(session, &parsed).await.map_err(in_part)?;
    }
    for table in seen.reads.iter().chain(&found.reads).chain(&found.changes).chain(&found.removes) {
        refuse_temporary(session, table).await.map_err(|error| {
            let (line, column) = line_column(sql, step.offset);
            error.with_line_column(line, column)
        })?;
    }
    // Of what expects, there is nothing to hold back.
    found.held_back |= found.again.is_none();
    found.reads.append(&mut seen.reads);
    found.sources.append(&mut seen.sources);
    found.again.get_or_insert(Again::Reads);
    Ok(found)
}

/// Refuses temporary relations of the session, which runs do not see.
async fn refuse_temporary(session: &Arc<Session>, table: &Named) -> Result<()> {
    let TableReference::Bare { table: name } = &table.written else { return Ok(()) };
    for (catalog, schema) in session.bare_places() {
        if !is_temporary_schema(&schema) {
            continue;
        }
        if session.require_catalog(&catalog)?.table(&schema, name).await?.is_some() {
            let message = format!("temporary relation \"{name}\" cannot be used by a pipeline");
            return Err(Error::unsupported(message)
                .with_hint("Its runs have sessions of their own, which do not see it."));
        }
    }
    Ok(())
}

fn unplaced_at(error: Error, line: usize, column: usize) -> Error {
    unplaced(error).with_line_column(line, column)
}

/// Refuses tables that are not there and that no step before makes.
async fn missing(
    session: &Arc<Session>,
    step: &PipelineStep,
    seen: &Effects,
    is_made: impl Fn(&str) -> bool,
    sql: &str,
) -> Result<()> {
    let tables = seen.reads.iter().chain(&seen.changes).chain(&seen.removes);
    for table in tables {
        let Named { full, written, there } = table;
        if *there || is_made(full) {
            continue;
        }
        let Err(error) = require_table(session, written).await else { continue };
        for part in parts(step) {
            if let Some((line, column)) = word_position(&part.text, &written.to_string()) {
                return Err(error.with_line_column(line, column).of_part(
                    sql,
                    &part.text,
                    part.offset,
                ));
            }
        }
        let (line, column) = line_column(sql, step.offset);
        return Err(error.with_line_column(line, column));
    }
    Ok(())
}

/// Plans a step whose tables are all there.
async fn try_out(
    session: &Arc<Session>,
    step: &PipelineStep,
    examples: &BTreeMap<String, String>,
    sql: &str,
) -> Result<()> {
    let examples = &with_value(examples, step.value.as_ref());
    for part in parts(step) {
        let values = substitute(&part.text, examples)?;
        let prepared = session.try_out(&values.text).await.map_err(|error| {
            let place = error.position().map_or(0, |place| values.original(place - 1));
            let (line, column) = line_column(&part.text, place);
            unplaced_at(error, line, column).of_part(sql, &part.text, part.offset)
        })?;
        let is_condition = !matches!(&step.body, StepBody::Statement(body) if body == part);
        if is_condition {
            let columns = prepared.schema.as_ref().map(|schema| schema.fields().clone());
            // What stands beside the boolean of an expectation is told with it.
            let one = step.when.as_ref() == Some(part);
            let fits = columns.as_ref().is_some_and(|columns| {
                let boolean = columns.first().is_some_and(|column| {
                    matches!(column.data_type(), DataType::Boolean | DataType::Null)
                });
                boolean && (columns.len() == 1 || !one)
            });
            if !fits {
                let what = "a condition is a query that gives one boolean";
                return Err(Error::new(ErrorKind::TypeMismatch, what)
                    .with_hint("Write a comparison, such as SELECT count(*) > 0 FROM …")
                    .of_part(sql, &part.text, part.offset));
            }
        }
    }
    Ok(())
}

fn options(
    given: &[PipelineOption],
    at: impl Fn(Error, usize) -> Error,
) -> Result<(Options, Option<maru_core::Secret>)> {
    let mut options = Options::default();
    let mut hook = None;
    for option in given {
        let set = set_option(&mut options, &mut hook, option);
        set.map_err(|error| at(error, option.offset))?;
    }
    Ok((options, hook))
}

/// Reads `30s`, `1m`, `10min`, `2h`, `1d`, and a plain number as milliseconds.
fn duration_ms(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number = text[..end].parse::<u64>().ok()?;
    let unit = match text[end..].trim() {
        "" | "ms" => 1,
        "s" | "sec" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    // A year is for ever.
    number.checked_mul(unit).filter(|ms| *ms <= 366 * 86_400_000)
}

pub(super) fn no_option(name: &str) -> Error {
    let message = format!("a pipeline has no option \"{name}\"");
    let error = Error::new(ErrorKind::InvalidParameter, message);
    match did_you_mean(name, OPTIONS.iter().copied()) {
        Some(near) => error.with_hint(format!("Did you mean {near}?")),
        None => error.with_hint(format!("It has {}.", OPTIONS.join(", "))),
    }
}

pub(super) fn set_option(
    options: &mut Options,
    hook: &mut Option<maru_core::Secret>,
    option: &PipelineOption,
) -> Result<()> {
    let (name, value) = (option.name.as_str(), option.value.as_str());
    let wrong = |what: &str| {
        Error::new(ErrorKind::InvalidParameter, format!("invalid value for option {name}"))
            .with_hint(format!("It is {what}."))
    };
    let number = |least: u64, most: u64| match value.parse::<u64>() {
        Ok(n) if (least..=most).contains(&n) => Ok(n),
        _ => Err(wrong(&format!("a number from {least} to {most}"))),
    };
    let time = || duration_ms(value).ok_or_else(|| wrong("a time such as '30s', '10min' or '2h'"));
    if option.is_webhook && name != "on_failure" {
        return Err(wrong("no webhook; that is what on_failure takes"));
    }
    match name {
        "retries" => options.retries = u32::try_from(number(0, 100)?).unwrap_or(0),
        "retry_wait" => options.retry_wait_ms = time()?,
        "timeout" => options.timeout_ms = time()?,
        "step_timeout" => options.step_timeout_ms = time()?,
        "catch_up" => {
            options.catch_up = match value.to_lowercase().as_str() {
                "none" => CatchUp::None,
                "last" => CatchUp::Last,
                "all" => CatchUp::All,
                _ => return Err(wrong("'none', 'last' or 'all'")),
            }
        }
        "max_active_runs" => {
            options.max_active_runs = usize::try_from(number(1, 100)?).unwrap_or(1);
        }
        "parallel" => options.parallel = usize::try_from(number(1, 64)?).unwrap_or(1),
        "on_failure" if option.is_webhook => {
            webhook::check(value)?;
            *hook = Some(maru_core::Secret::new(value));
        }
        "on_failure" => return Err(wrong("webhook('https://…')")),
        "publish" => {
            options.publish_at_once = match value.to_lowercase().as_str() {
                "atomic" => true,
                "steps" => false,
                _ => {
                    return Err(wrong(
                        "'atomic' for all steps at once, or 'steps' for each by itself",
                    ));
                }
            }
        }
        _ => return Err(no_option(name)),
    }
    Ok(())
}
