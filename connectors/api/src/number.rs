//! Numbers computed of a row: the little arithmetic that sources are asked for.

use arrow::datatypes::DataType;

/// A whole number or decimal made of columns and literals, NULL if one of its columns is. Whoever computes it has neither to
/// round nor to run over: it was made of types that hold every value on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Number {
    /// By index into the table's schema: whole numbers and decimals.
    Column(usize),
    /// `digits · 10^-scale`.
    Literal {
        digits: i128,
        scale: u8,
    },
    Arithmetic {
        op: ArithmeticOp,
        left: Box<Number>,
        right: Box<Number>,
    },
}

/// What can be done with two numbers without a digit too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArithmeticOp {
    Add,
    Subtract,
    Multiply,
}

impl ArithmeticOp {
    /// Returns the operator as SQL writes it.
    pub fn sql(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
        }
    }
}

/// A number with the type that the engine gives it, which holds all its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Computation {
    pub number: Number,
    pub data_type: DataType,
}

impl Number {
    /// Returns the columns that it is made of; one may come twice.
    pub fn columns(&self) -> Vec<usize> {
        match self {
            Self::Column(column) => vec![*column],
            Self::Literal { .. } => Vec::new(),
            Self::Arithmetic { left, right, .. } => {
                let mut columns = left.columns();
                columns.extend(right.columns());
                columns
            }
        }
    }
}
