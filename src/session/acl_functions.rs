//! What psql's `\dp` reads of columns' access control lists and of policies, by the OID of the table: a statement that asks for an array
//! of them (`rewrite/clients.rs`) asks these functions. The text of a view is told likewise.

use std::sync::{Arc, Weak};

use arrow::array::{Array, ArrayRef, AsArray, ListBuilder, StringArray, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type};
use datafusion::error::Result as DfResult;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use maru_core::Error;

use super::Session;
use super::owner_session::{OwnerSession, add};
use crate::access::{Command, Object, Rights, acl};

/// What a list is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum About {
    Columns,
    Policies,
    /// The query of a view, as text.
    View,
}

const FUNCTIONS: &[(&str, About)] = &[
    ("maru_column_acls", About::Columns),
    ("maru_policies", About::Policies),
    ("pg_get_viewdef", About::View),
];

/// Registers the functions of a session with its state.
pub(super) fn register(state: &mut SessionState, session: &Weak<Session>) {
    for (name, about) in FUNCTIONS {
        let signature = match about {
            // Whether it should be pretty, or how wide, is the same here.
            About::View => Signature::one_of(
                vec![TypeSignature::Any(1), TypeSignature::Any(2)],
                Volatility::Stable,
            ),
            _ => Signature::any(1, Volatility::Stable),
        };
        let session = OwnerSession::new(session);
        let function = AclFunction { name, about: *about, signature, session };
        add(state, function);
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct AclFunction {
    name: &'static str,
    about: About,
    signature: Signature,
    session: OwnerSession,
}

impl ScalarUDFImpl for AclFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(match self.about {
            About::View => DataType::Utf8,
            _ => DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let session = self.session.get()?;
        let oids = match args.args.first() {
            Some(oids) => cast(&oids.to_array(args.number_rows)?, &DataType::Int64)?,
            None => return Err(Error::internal("a list of rights of nothing").into()),
        };
        let oids = oids.as_primitive::<Int64Type>();
        let rights = session.rights();
        let known = session.known_oids();
        if self.about == About::View {
            let text = |row: usize| {
                let oid = oids.is_valid(row).then(|| oids.value(row))?;
                known.view(oid, &rights)
            };
            let texts = (0..oids.len()).map(text).collect::<StringArray>();
            return Ok(ColumnarValue::Array(Arc::new(texts)));
        }
        let mut lists = ListBuilder::new(StringBuilder::new());
        for row in 0..oids.len() {
            let object = oids.is_valid(row).then(|| known.table(oids.value(row))).flatten();
            let list = object.map(|object| match self.about {
                About::Columns => column_acls(&rights, object),
                About::Policies => policies(&rights, object),
                About::View => Vec::new(),
            });
            match list.filter(|list| !list.is_empty()) {
                Some(list) => {
                    list.iter().for_each(|line| lists.values().append_value(line));
                    lists.append(true);
                }
                None => lists.append(false),
            }
        }
        Ok(ColumnarValue::Array(Arc::new(lists.finish()) as ArrayRef))
    }
}

/// `column:`, and below it its list, for each column with one.
fn column_acls(rights: &Rights, object: &Object) -> Vec<String> {
    if !rights.sees(object) {
        return Vec::new();
    }
    let grants = rights.rules().grants.keys().filter(|grant| grant.object == *object);
    let mut columns = grants.filter_map(|grant| grant.column.as_deref()).collect::<Vec<_>>();
    columns.sort_unstable();
    columns.dedup();
    let lines = columns.into_iter().map(|column| {
        let list = acl::granted(rights, object, Some(column));
        format!("{column}:\n  {}", list.join("\n  "))
    });
    lines.collect()
}

/// Policies of a table that one owns, each with its statement, conditions and roles, as psql writes them.
fn policies(rights: &Rights, object: &Object) -> Vec<String> {
    if !rights.owns(object) {
        return Vec::new();
    }
    let of_table = rights.rules().policies.iter().filter(|((table, _), _)| table == object);
    let lines = of_table.map(|((_, name), policy)| {
        let kind = if policy.permissive { "" } else { " (RESTRICTIVE)" };
        let roles = policy.roles.iter().flatten().cloned().collect::<Vec<_>>();
        let to = match roles.is_empty() || policy.roles.iter().any(Option::is_none) {
            true => String::new(),
            false => format!("\n  to: {}", roles.join(", ")),
        };
        let command = match policy.command {
            Command::All => String::new(),
            command => format!(" ({})", command.letter()),
        };
        let using = policy.using.iter().map(|using| format!("\n  (u): {using}"));
        let check = policy.check.iter().map(|check| format!("\n  (c): {check}"));
        let conditions = using.chain(check).collect::<String>();
        format!("{name}{kind}{command}:{conditions}{to}")
    });
    lines.collect()
}
