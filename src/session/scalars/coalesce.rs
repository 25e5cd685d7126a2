//! `coalesce(d, '1900-01-01')`: the text is a date where the others are, as `coalesce(n, '0')` is a number; and so with
//! bytes, arrays and booleans.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::error::Result as DfResult;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature,
};
use maru_core::Result;

/// Puts the function in the place of DataFusion's.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    let inner = state.udf("coalesce")?;
    state.register_udf(Arc::new(ScalarUDF::from(Coalesce { inner })))?;
    Ok(())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Coalesce {
    inner: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for Coalesce {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        let families: [fn(&DataType) -> bool; 4] =
            [DataType::is_temporal, DataType::is_binary, DataType::is_list, |data_type| {
                *data_type == DataType::Boolean
            }];
        let is_open = |data_type: &DataType| data_type.is_string() || data_type.is_null();
        for is_member in families {
            let members = types.iter().filter(|data_type| is_member(data_type)).cloned();
            let members = members.collect::<Vec<_>>();
            let all = types.iter().all(|data_type| is_member(data_type) || is_open(data_type));
            if all && types.iter().any(DataType::is_string) && !members.is_empty() {
                let common = self.inner.coerce_types(&members)?;
                let common = common.first().cloned().unwrap_or(DataType::Null);
                return Ok(vec![common; types.len()]);
            }
        }
        self.inner.coerce_types(types)
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> DfResult<ExprSimplifyResult> {
        self.inner.simplify(args, info)
    }

    fn conditional_arguments<'a>(
        &self,
        args: &'a [Expr],
    ) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        self.inner.conditional_arguments(args)
    }

    fn short_circuits(&self) -> bool {
        self.inner.short_circuits()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        self.inner.invoke_with_args(args)
    }
}
