//! What PostgreSQL's catalog is taken apart by: access control lists, numbers of roles and of functions.
//!
//! Source: PostgreSQL 16, 9.27.

use std::sync::Arc;

use arrow::array::{AsArray, StructArray};
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::ScalarValue;
use datafusion::common::utils::SingleRowListArrayBuilder;
use maru_core::{Error, Result};

use super::text::text;
use super::{Kind, Row, RowFunction};
use crate::access::{acl, role_of_oid, role_oid};
use crate::catalog::function_oid;

pub(super) const FUNCTIONS: &[RowFunction] = &[
    RowFunction {
        name: "aclexplode",
        forms: &[&[Kind::Array], &[Kind::Any]],
        returns: |_| {
            let item = DataType::Struct(privilege());
            DataType::List(Arc::new(Field::new_list_field(item, true)))
        },
        compute: aclexplode,
        syntax: "aclexplode(list)",
        description: "Returns the privileges of an access control list as rows: grantor, grantee, privilege_type, is_grantable.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "pg_get_userbyid",
        forms: &[&[Kind::Whole]],
        compute: |row| {
            let oid = row.whole(0);
            Ok(text(role_of_oid(oid).unwrap_or_else(|| format!("unknown (OID={oid})"))))
        },
        syntax: "pg_get_userbyid(oid)",
        description: "Returns the name of a role by its OID.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "maru_function_oid",
        forms: &[&[Kind::Text]],
        returns: |_| DataType::Int32,
        compute: |row| Ok(ScalarValue::Int32(function_oid(row.text(0)))),
        syntax: "maru_function_oid(name)",
        description: "Returns the OID of a function of PostgreSQL's catalog, which its other tables have the name of.",
        ..RowFunction::BASE
    },
];

fn privilege() -> Fields {
    Fields::from(vec![
        Field::new("grantor", DataType::Int32, true),
        Field::new("grantee", DataType::Int32, true),
        Field::new("privilege_type", DataType::Utf8, true),
        Field::new("is_grantable", DataType::Boolean, true),
    ])
}

fn aclexplode(row: &Row) -> Result<ScalarValue> {
    let lines = match &row.values[0] {
        ScalarValue::List(list) => arrow::compute::cast(&list.value(0), &DataType::Utf8)?,
        _ => return Err(Error::internal("an access control list is an array")),
    };
    let mut items = Vec::new();
    for line in lines.as_string::<i32>().iter().flatten() {
        items.extend(acl::read(line).ok_or_else(|| {
            super::invalid(format!("\"{line}\" is no item of an access control list"))
        })?);
    }
    // Everybody is number zero.
    let grantee = |item: &acl::Item| item.grantee.as_deref().map_or(0, role_oid);
    let columns = [
        items.iter().map(|item| ScalarValue::from(role_oid(&item.grantor))).collect::<Vec<_>>(),
        items.iter().map(|item| ScalarValue::from(grantee(item))).collect(),
        items.iter().map(|item| ScalarValue::from(item.privilege.as_str())).collect(),
        items.iter().map(|item| ScalarValue::from(item.grantable)).collect(),
    ];
    let fields = privilege();
    let columns = columns.into_iter().zip(&fields).map(|(values, field)| match values.is_empty() {
        true => Ok(arrow::array::new_empty_array(field.data_type())),
        false => Ok(ScalarValue::iter_to_array(values)?),
    });
    let rows = StructArray::try_new(fields.clone(), columns.collect::<Result<_>>()?, None)?;
    Ok(SingleRowListArrayBuilder::new(Arc::new(rows)).build_list_scalar())
}
