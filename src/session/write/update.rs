//! `DELETE`, `UPDATE`, `MERGE INTO`: a query gives rows of the table as they are to be, with what was done to them. Tables of files
//! get every row, and write anew what they must; databases get those that change, with what finds them again.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::Column;
use datafusion::logical_expr::conditional_expressions::CaseBuilder;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, lit, when};
use maru_connect::{DEFAULTED_KEY, OMITTED_KEY, RowOp, SourceTable, WriteMode};
use maru_core::{Error, ErrorKind, Options, Result, quote_ident};
use maru_sql::ast;
use maru_sql::{Delete, Merge, MergeAction, MergeWhen, Name, Returning, Update};

use super::assign::assign_one;
use super::condition::{
    act_of_hits, has_subquery, hits, refuse_repeated, refuse_unclear, with_others,
};
use super::insert::{fields_of, sets};
use super::node::{Writing, node, telling};
use super::policed::Checked;
use super::target::{Target, find};
use super::{Outcome, literals};
use crate::access::{Command, Object, Privilege, WritePolicies};
use crate::catalog::version;
use crate::session::Session;
use crate::session::policies::with_stand_ins;

/// Names of columns that no table has.
const ROW: &str = "$row";
const ACT: &str = "$act";
const THERE: &str = "$there";
pub(super) const OP: &str = "$op";

/// What becomes of rows that an action is for.
struct Action {
    op: RowOp,
    /// Columns with their new values.
    sets: Vec<(FieldRef, ast::Expr)>,
}

/// How the rows of a statement are found.
struct Changes {
    /// What the target is called in the query.
    alias: String,
    /// After `FROM`.
    from: String,
    /// The number of the action for a row, from 1; NULL for none.
    act: String,
    actions: Vec<Action>,
    /// Columns that rows get the defaults of their system in.
    defaulted: Vec<String>,
    /// Whether rows of the source stand beside those of the target.
    joined: bool,
    /// Whether no action may be for a row of the target that has a match.
    partial: bool,
    /// What stands under names that only `from` has.
    plans: Vec<(String, LogicalPlan)>,
    /// What policies say of rows as they come to be.
    new: Option<String>,
    /// What is told of rows, and of which.
    returning: Option<(Returning, RowOp)>,
    /// What the history of the table calls it.
    what: &'static str,
}

/// Rows that a condition holds for.
struct Found {
    /// After `FROM`.
    from: String,
    plans: Vec<(String, LogicalPlan)>,
}

/// How the target takes changed rows.
#[derive(Debug, Clone)]
enum Taking {
    /// All its rows anew.
    Anew,
    /// Those that change, which it finds again by these columns.
    InPlace(SchemaRef),
}

impl Taking {
    fn of(target: &Target) -> Result<Self> {
        match &target.table {
            SourceTable::Files(_) => Ok(Self::Anew),
            SourceTable::Remote(table) => match table.with_row_identity() {
                Some((identity, _)) => Ok(Self::InPlace(identity.columns)),
                None => Err(Error::unsupported(format!(
                    "rows of {} cannot be changed",
                    target.object()
                ))
                .with_detail("Its source does not tell how to find a row again: it has no key.")
                .with_hint("Change them in the source.")),
            },
            _ => Err(Error::internal("a view is changed")),
        }
    }

    /// Returns what the query calls the target.
    fn name_of(&self, table: &Name) -> Name {
        let mut table = table.clone();
        if let (Self::InPlace(_), Some(last)) = (self, table.0.last_mut()) {
            *last = version::identified(last);
        }
        table
    }
}

impl Session {
    pub(super) async fn plan_delete(self: &Arc<Self>, delete: Delete) -> Result<Outcome> {
        let target = find(self, &delete.table, "delete from").await?;
        let policies = self.may_change_seen(&target, Privilege::Delete, &[])?;
        let taking = Taking::of(&target)?;
        let (table, alias) = (&delete.table, &delete.alias);
        let found =
            self.find_hits(&target, &taking, table, alias, delete.selection, policies).await?;
        let changes = Changes {
            from: found.from,
            act: act_of_hits(&delete.alias),
            alias: delete.alias,
            actions: vec![Action { op: RowOp::Delete, sets: Vec::new() }],
            defaulted: Vec::new(),
            joined: false,
            partial: false,
            plans: found.plans,
            new: None,
            returning: delete.returning.map(|returning| (returning, RowOp::Delete)),
            what: "DELETE",
        };
        Ok(Outcome::Plan(self.plan_changes(target, taking, changes).await?, "DELETE"))
    }

    pub(super) async fn plan_update(self: &Arc<Self>, update: Update) -> Result<Outcome> {
        let target = find(self, &update.table, "update").await?;
        let given = update.sets.iter().map(|(name, _)| name);
        target.require_shown(&self.rights(), Privilege::Update, given)?;
        let (defaulted, sets) = set_to_default(&target, update.sets)?;
        let sets = self::sets(&target, sets)?;
        let names = sets.iter().map(|(field, _)| field.name().clone());
        let names = names.chain(defaulted.iter().cloned()).collect::<Vec<_>>();
        let policies = self.may_change_seen(&target, Privilege::Update, &names)?;
        if policies.is_some() && !defaulted.is_empty() {
            return Err(Error::unsupported(format!(
                "policies of {} look at new rows, and its system alone knows the defaults of its columns",
                target.object()
            ))
            .with_hint("Write the values."));
        }
        let new = policies.as_ref().map(|policies| policies.new.clone());
        let taking = Taking::of(&target)?;
        // A subquery is joined to all rows, and one that fails would tell of those that are hidden.
        if matches!(taking, Taking::Anew)
            && new.is_some()
            && sets.iter().any(|(_, value)| has_subquery(value))
        {
            return Err(Error::unsupported(format!(
                "policies of {} choose its rows, and their new values cannot come from subqueries",
                target.object()
            ))
            .with_hint("Update its rows as its owner, or as a role with BYPASSRLS."));
        }
        let (table, alias) = (&update.table, &update.alias);
        let found =
            self.find_hits(&target, &taking, table, alias, update.selection, policies).await?;
        let changes = Changes {
            from: found.from,
            act: act_of_hits(&update.alias),
            alias: update.alias,
            actions: vec![Action { op: RowOp::Update, sets }],
            defaulted,
            joined: false,
            partial: false,
            plans: found.plans,
            new,
            returning: update.returning.map(|returning| (returning, RowOp::Update)),
            what: "UPDATE",
        };
        Ok(Outcome::Plan(self.plan_changes(target, taking, changes).await?, "UPDATE"))
    }

    pub(super) async fn plan_merge(self: &Arc<Self>, merge: Merge) -> Result<Outcome> {
        let target = find(self, &merge.table, "merge into").await?;
        let taking = Taking::of(&target)?;
        let schema = target.columns();
        let mut actions = Vec::new();
        let mut act = "CASE".to_owned();
        let alias = quote_ident(&merge.alias);
        let row = format!("{alias}.{}", quote_ident(ROW));
        let there = quote_ident(THERE);
        let mut inserts = false;
        let sure = merge.clauses.iter().any(|clause| {
            clause.when == MergeWhen::Matched
                && clause.condition.is_none()
                && !matches!(clause.action, MergeAction::Nothing)
        });
        let idle = |clause: &maru_sql::MergeClause| {
            clause.when == MergeWhen::Matched && matches!(clause.action, MergeAction::Nothing)
        };
        let partial = !sure || merge.clauses.iter().any(idle);
        for clause in merge.clauses {
            let when = match clause.when {
                MergeWhen::Matched => format!("{row} IS NOT NULL AND {there}"),
                MergeWhen::NotMatchedByTarget => format!("{row} IS NULL"),
                MergeWhen::NotMatchedBySource => format!("{row} IS NOT NULL AND {there} IS NULL"),
            };
            if let Some(condition) = &clause.condition {
                refuse_unclear(condition)?;
            }
            let condition = match &clause.condition {
                Some(condition) => format!("{when} AND ({condition})"),
                None => when,
            };
            let action = match clause.action {
                MergeAction::Nothing => None,
                MergeAction::Delete => {
                    self.may_change(&target, Privilege::Delete, &[])?;
                    Some(Action { op: RowOp::Delete, sets: Vec::new() })
                }
                MergeAction::Update(given) => {
                    let shown = given.iter().map(|(name, _)| name);
                    target.require_shown(&self.rights(), Privilege::Update, shown)?;
                    let sets = sets(&target, given)?;
                    let names = sets.iter().map(|(f, _)| f.name().clone()).collect::<Vec<_>>();
                    self.may_change(&target, Privilege::Update, &names)?;
                    Some(Action { op: RowOp::Update, sets })
                }
                MergeAction::Insert { columns, values } => {
                    target.require_shown(&self.rights(), Privilege::Insert, &columns)?;
                    let names = match columns.is_empty() {
                        true => schema.fields().iter().map(|f| f.name().clone()).collect(),
                        false => columns,
                    };
                    if names.len() != values.len() {
                        return Err(Error::new(
                            ErrorKind::Syntax,
                            "INSERT of MERGE has another number of values than of columns",
                        ));
                    }
                    self.may_change(&target, Privilege::Insert, &names)?;
                    inserts = true;
                    let fields = fields_of(&target, &schema, &names)?;
                    let mut given = fields.into_iter().zip(values).collect::<Vec<_>>();
                    let is_said = |(_, value): &(FieldRef, ast::Expr)| !literals::is_default(value);
                    // What is not named, its system fills in.
                    if matches!(taking, Taking::InPlace(_)) && given.iter().any(is_said) {
                        given.retain(is_said);
                    }
                    let sets = given.into_iter().map(|(field, value)| {
                        let value = literals::without_default(&target, &field, value)?;
                        Ok((field, value))
                    });
                    let mut sets = sets.collect::<Result<Vec<_>>>()?;
                    sets.extend(target.other_defaults(&names)?);
                    Some(Action { op: RowOp::Insert, sets })
                }
            };
            let number = match action {
                None => 0,
                Some(action) => {
                    actions.push(action);
                    actions.len()
                }
            };
            act.push_str(&format!(" WHEN {condition} THEN {number}"));
        }
        if actions.is_empty() {
            // No clause has asked for a right on rows that are read.
            target.require(&self.rights(), Privilege::Select, &[])?;
        }
        act.push_str(" END");
        let join = if inserts { "FULL" } else { "LEFT" };
        // Rows that are written anew must each come once, whatever they are joined with.
        let number = match taking {
            Taking::Anew => "row_number() OVER ()",
            Taking::InPlace(_) => "1",
        };
        let from = format!(
            "(SELECT {alias}.*, {number} AS {} FROM {} AS {alias}) AS {alias} {join} JOIN \
             (SELECT *, TRUE AS {there} FROM {}) AS {} ON {}",
            quote_ident(ROW),
            taking.name_of(&merge.table),
            merge.source,
            quote_ident(&merge.source_alias),
            merge.on,
        );
        let changes = Changes {
            alias: merge.alias,
            from,
            act,
            actions,
            defaulted: Vec::new(),
            joined: true,
            partial,
            plans: Vec::new(),
            new: None,
            returning: merge.returning.map(|returning| (returning, RowOp::Update)),
            what: merge.tag,
        };
        Ok(Outcome::Plan(self.plan_changes(target, taking, changes).await?, merge.tag))
    }

    /// Finds the rows that a condition holds for, among those that policies leave.
    async fn find_hits(
        self: &Arc<Self>,
        target: &Target,
        taking: &Taking,
        table: &Name,
        alias: &str,
        condition: Option<ast::Expr>,
        policies: Option<WritePolicies>,
    ) -> Result<Found> {
        let in_place = matches!(taking, Taking::InPlace(_));
        let table = taking.name_of(table);
        let Some(policies) = policies else {
            let from = hits(in_place, &table, alias, condition)?;
            return Ok(Found { from, plans: Vec::new() });
        };
        let written = taking.name_of(&Name(vec![target.name.clone()]));
        let written = written.0.last().cloned().unwrap_or_default();
        let identity = match taking {
            Taking::Anew => None,
            Taking::InPlace(identity) => Some(identity),
        };
        let parts = self.part_rows(target, &written, identity, &policies).await?;
        let seen = hits(in_place, &parts.seen, alias, condition)?;
        let from = match &parts.hidden {
            None => seen,
            Some(hidden) => with_others(&seen, hidden, alias),
        };
        Ok(Found { from, plans: parts.plans })
    }

    /// Asks for a privilege on rows that are read to be written again, and returns which rows these may be.
    fn may_change_seen(
        &self,
        target: &Target,
        privilege: Privilege,
        columns: &[String],
    ) -> Result<Option<WritePolicies>> {
        let (rights, object) = (self.rights(), target.object());
        target.require_privilege(&rights, privilege, columns)?;
        if rights.policies(&object).is_some_and(|policies| !policies.masks.is_empty()) {
            return Err(masked(&object));
        }
        rights.require(Privilege::Select, &object)?;
        let command = match privilege {
            Privilege::Delete => Command::Delete,
            _ => Command::Update,
        };
        Ok(rights.write_policies(&object, command))
    }

    /// Asks for a privilege on rows that are read to be written again, for a statement that asks no policies.
    fn may_change(&self, target: &Target, privilege: Privilege, columns: &[String]) -> Result<()> {
        let rights = self.rights();
        target.require(&rights, privilege, columns)?;
        let object = target.object();
        if rights.policies(&object).is_some() {
            return Err(masked(&object));
        }
        // Their other columns are read.
        rights.require(Privilege::Select, &object)
    }

    async fn plan_changes(
        self: &Arc<Self>,
        target: Target,
        taking: Taking,
        changes: Changes,
    ) -> Result<LogicalPlan> {
        let schema = target.columns();
        let in_place = matches!(taking, Taking::InPlace(_));
        let Changes { alias, from, act, actions, joined, partial, plans, new, .. } = changes;
        let (returning, what, defaulted) = (changes.returning, changes.what, changes.defaulted);
        let alias = quote_ident(&alias);
        let mut items = schema
            .fields()
            .iter()
            .map(|field| format!("{alias}.{}", quote_ident(field.name())))
            .collect::<Vec<_>>();
        if joined && !in_place {
            items.push(format!("{alias}.{}", quote_ident(ROW)));
        }
        if let Taking::InPlace(identity) = &taking {
            items.extend(identity.fields().iter().enumerate().map(|(at, field)| {
                let (name, shown) = (quote_ident(field.name()), quote_ident(&identity_name(at)));
                format!("{alias}.{name} AS {shown}")
            }));
        }
        items.push(format!("({act}) AS {}", quote_ident(ACT)));
        for (index, action) in actions.iter().enumerate() {
            for (field, value) in &action.sets {
                let mut value = value.clone();
                literals::cast_to(&mut value, field);
                let name = quote_ident(&value_name(index + 1, field));
                items.push(format!(
                    "CASE WHEN ({act}) = {} THEN ({value}) END AS {name}",
                    index + 1
                ));
            }
        }
        // Rows of the source that no clause is for are nowhere.
        let filter = match (in_place, joined) {
            (true, _) => format!(" WHERE ({act}) > 0"),
            (false, true) => {
                let row = format!("{alias}.{}", quote_ident(ROW));
                let filter = format!(" WHERE {row} IS NOT NULL OR ({act}) > 0");
                // Of the matches of a row, those without an action count where no other has one.
                match partial {
                    false => filter,
                    true => format!(
                        "{filter} QUALIFY ({act}) > 0 OR max(CASE WHEN ({act}) > 0 THEN 1 ELSE 0 END) \
                         OVER (PARTITION BY {row}) = 0"
                    ),
                }
            }
            (false, false) => String::new(),
        };
        let sql = format!("SELECT {} FROM {from}{filter}", items.join(", "));
        let maru_sql::Statement::Query { statement, .. } = maru_sql::parse(&sql)? else {
            return Err(Error::internal("a query is none"));
        };
        let plan = match *statement {
            datafusion::sql::parser::Statement::Statement(inner) => match *inner {
                ast::Statement::Query(query) => {
                    with_stand_ins(plans, self.plan_source(query)).await?
                }
                _ => return Err(Error::internal("a query is none")),
            },
            _ => return Err(Error::internal("a query is none")),
        };
        refuse_repeated(&plan, ACT)?;
        let zone = self.setting("timezone").unwrap_or_default();
        let plan = settled(plan, &schema, &actions, joined, &taking, &zone)?;
        let mut checked = match &new {
            Some(new) => self.check_rows(&target, plan, new, Some((OP, RowOp::Update))).await?,
            None => Checked { plan, columns: Vec::new() },
        };
        if actions.iter().any(|action| action.op != RowOp::Delete) {
            checked.plan = self.constrained(&target, checked.plan, true).await?;
        }
        let (plan, returned) = match returning {
            None => (checked.plan, None),
            Some((returning, op)) => {
                let told = self.told(&target, checked.plan, returning, Some(op));
                let (plan, returned) = told.await?;
                (plan, Some(returned))
            }
        };
        let mut fields = schema.fields().to_vec();
        if in_place {
            fields = marked(&target.object(), fields, &actions)?;
            for field in &mut fields {
                if defaulted.contains(field.name()) {
                    *field = noted(field, DEFAULTED_KEY);
                }
            }
        } else {
            if joined {
                fields.push(Arc::new(Field::new(ROW, DataType::UInt64, true)));
            }
            fields.push(Arc::new(Field::new(OP, DataType::Int8, true)));
        }
        let moved = match &target.table {
            SourceTable::Files(files) => actions
                .iter()
                .filter(|action| action.op == RowOp::Update)
                .flat_map(|action| &action.sets)
                .any(|(set, _)| files.partition_columns.iter().any(|p| p.name() == set.name())),
            _ => true,
        };
        let writing = Writing {
            session: Arc::downgrade(self),
            checks: target.checks(),
            attached: target.attached,
            schema: target.schema,
            table: target.name,
            mode: match taking {
                Taking::Anew => WriteMode::Rewrite { numbered: joined, moved, what },
                Taking::InPlace(_) => WriteMode::Change,
            },
            columns: Arc::new(Schema::new(fields)),
            options: Options::default(),
            owner: None,
            checked: checked.columns,
        };
        match returned {
            None => node(plan, writing),
            Some(returned) => telling(plan, writing, returned),
        }
    }
}

/// Marks the columns that rows are inserted without: their system fills them in.
///
/// # Errors
/// 0A000 for clauses that name different columns.
fn marked(object: &Object, fields: Vec<FieldRef>, actions: &[Action]) -> Result<Vec<FieldRef>> {
    let names = |action: &Action| {
        let names = action.sets.iter().map(|(field, _)| field.name().clone());
        names.collect::<BTreeSet<_>>()
    };
    let mut inserts = actions.iter().filter(|action| action.op == RowOp::Insert);
    let Some(given) = inserts.next().map(names) else { return Ok(fields) };
    if inserts.any(|action| names(action) != given) {
        return Err(Error::unsupported(format!(
            "INSERT of MERGE cannot name other columns of {object} in another clause"
        ))
        .with_detail("Its system fills in what is not named, for all rows alike.")
        .with_hint("Name the same columns in each WHEN NOT MATCHED."));
    }
    let marked = fields.into_iter().map(|field| {
        if given.contains(field.name()) {
            return field;
        }
        noted(&field, OMITTED_KEY)
    });
    Ok(marked.collect())
}

pub(super) fn noted(field: &FieldRef, key: &str) -> FieldRef {
    let mut metadata = field.metadata().clone();
    metadata.insert(key.to_owned(), "true".to_owned());
    Arc::new(field.as_ref().clone().with_metadata(metadata))
}

/// Columns with what they are set to.
type Given = Vec<(String, ast::Expr)>;

/// Takes out what is set to `DEFAULT`, where the system of the table says itself what that is.
///
/// # Errors
/// 42703, 42701
fn set_to_default(target: &Target, given: Given) -> Result<(Vec<String>, Given)> {
    if !matches!(target.attached.connector, "postgres" | "mysql") {
        return Ok((Vec::new(), given));
    }
    let names = given.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    fields_of(target, &target.columns(), &names)?;
    let parts = given.into_iter().partition::<Vec<_>, _>(|(_, value)| literals::is_default(value));
    let (defaulted, others) = parts;
    Ok((defaulted.into_iter().map(|(name, _)| name).collect(), others))
}

pub(super) fn masked(object: &Object) -> Error {
    Error::new(
        ErrorKind::NotAllowed,
        format!("columns of {object} are masked, and its rows cannot be written again"),
    )
    .with_hint("Write as its owner.")
}

fn identity_name(at: usize) -> String {
    format!("$identity {at}")
}

fn value_name(action: usize, field: &Field) -> String {
    format!("${action} {}", field.name())
}

/// Chooses each column's value by the action, and tells the operation.
fn settled(
    plan: LogicalPlan,
    schema: &Schema,
    actions: &[Action],
    joined: bool,
    taking: &Taking,
    zone: &str,
) -> Result<LogicalPlan> {
    let named = |name: &str| -> Result<(Expr, Field)> {
        let (qualifier, field) = plan
            .schema()
            .iter()
            .find(|(_, field)| field.name() == name)
            .ok_or_else(|| Error::internal(format!("a query lost its column {name}")))?;
        Ok((Expr::Column(Column::new(qualifier.cloned(), field.name())), field.as_ref().clone()))
    };
    let is_taken = |name: &str| schema.fields().iter().any(|field| field.name() == name);
    let (act, _) = named(ACT)?;
    let is = |number: usize| -> Result<Expr> {
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        Ok(cast(act.clone(), DataType::Int64).eq(lit(number)))
    };
    let mut exprs = Vec::new();
    for (index, field) in schema.fields().iter().enumerate() {
        let (qualifier, old) = plan.schema().qualified_field(index);
        let old = Expr::Column(Column::new(qualifier.cloned(), old.name()));
        let mut choice: Option<CaseBuilder> = None;
        for (number, action) in actions.iter().enumerate() {
            let Some((set, _)) = action.sets.iter().find(|(set, _)| set.name() == field.name())
            else {
                continue;
            };
            let (value, from) = named(&value_name(number + 1, set))?;
            let value = assign_one(value, &from, set, &plan, zone)?;
            choice = Some(match choice {
                None => when(is(number + 1)?, value),
                Some(mut cases) => cases.when(is(number + 1)?, value),
            });
        }
        let value = match choice {
            None => old,
            Some(mut cases) => cases.otherwise(old)?,
        };
        exprs.push(value.alias(field.name()));
    }
    if joined && matches!(taking, Taking::Anew) {
        let (row, _) = named(ROW)?;
        exprs.push(cast(row, DataType::UInt64).alias(ROW));
    }
    let mut ops: Option<CaseBuilder> = None;
    for (number, action) in actions.iter().enumerate() {
        let op = lit(action.op as i8);
        ops = Some(match ops {
            None => when(is(number + 1)?, op),
            Some(mut cases) => cases.when(is(number + 1)?, op),
        });
    }
    let op = match ops {
        None => cast(lit(datafusion::common::ScalarValue::Null), DataType::Int8),
        Some(cases) => cases.end()?,
    };
    match taking {
        Taking::Anew => exprs.push(op.alias(OP)),
        Taking::InPlace(identity) => {
            let mut first = Vec::with_capacity(identity.fields().len() + 1);
            for (at, field) in identity.fields().iter().enumerate() {
                let name = identity_name(at);
                first.push(named(&name)?.0.alias(if is_taken(field.name()) {
                    &name
                } else {
                    field.name()
                }));
            }
            first.push(op.alias(OP));
            exprs.splice(0..0, first);
        }
    }
    Ok(LogicalPlanBuilder::from(plan).project(exprs)?.build()?)
}
