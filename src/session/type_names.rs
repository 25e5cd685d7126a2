//! Names of types that DataFusion's planner takes for others: `float` and `float(25)` are `double precision`, `float(24)` is `real`.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::{self, ExactNumberInfo};
use datafusion_pg_catalog::pg_catalog::oid_type_planner::PgOidTypePlanner;
use maru_core::{Error, ErrorKind};

/// Says what a name means wherever the planner reads one.
#[derive(Debug)]
pub(super) struct TypeNames;

impl TypePlanner for TypeNames {
    fn plan_type_field(&self, sql_type: &ast::DataType) -> DfResult<Option<FieldRef>> {
        // It knows `regclass` and its like, and was there before.
        let ast::DataType::Float(bits) = sql_type else {
            return PgOidTypePlanner.plan_type_field(sql_type);
        };
        let data_type = match bits {
            ExactNumberInfo::None | ExactNumberInfo::Precision(25..=53) => DataType::Float64,
            ExactNumberInfo::Precision(1..=24) => DataType::Float32,
            ExactNumberInfo::Precision(bits) => {
                let limit = if *bits == 0 { "at least 1 bit" } else { "less than 54 bits" };
                let message = format!("precision for type float must be {limit}");
                return Err(Error::new(ErrorKind::InvalidParameter, message).into());
            }
            ExactNumberInfo::PrecisionAndScale(..) => {
                return Err(Error::new(ErrorKind::Syntax, "type float has no scale").into());
            }
        };
        Ok(Some(Arc::new(Field::new("", data_type, true))))
    }
}
