//! Hive's type names, as the metastore writes them: `array<struct<id:bigint,price:decimal(10,2)>>`.

use std::sync::Arc;

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Field, Fields, TimeUnit};
use maru_core::{Error, ErrorKind, Result, limits};

/// Returns the type under which Maru reads columns of a Hive type. Timestamps have microseconds.
///
/// # Errors
/// HV004 for a type Maru does not have (`uniontype`, intervals), or text that is no type.
pub(crate) fn parse(text: &str) -> Result<DataType> {
    let mut parser = Parser { text, rest: text, depth: 0 };
    let parsed = parser.parse_type()?;
    match parser.rest.trim() {
        "" => Ok(parsed),
        rest => Err(parser.bad(&format!("\"{rest}\" follows the type"))),
    }
}

struct Parser<'a> {
    text: &'a str,
    rest: &'a str,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn bad(&self, why: &str) -> Error {
        let text = format!("Hive type \"{}\" is not understood: {why}", self.text);
        Error::new(ErrorKind::RemoteTypeUnsupported, text)
    }

    fn parse_type(&mut self) -> Result<DataType> {
        if self.depth > limits::NESTING_MAX {
            return Err(self.bad("it is nested too deep"));
        }
        self.depth += 1;
        let word = self.word();
        let parsed = match word.to_ascii_lowercase().as_str() {
            "boolean" => DataType::Boolean,
            "tinyint" => DataType::Int8,
            "smallint" => DataType::Int16,
            "int" | "integer" => DataType::Int32,
            "bigint" => DataType::Int64,
            "float" => DataType::Float32,
            "double" | "double precision" => DataType::Float64,
            "decimal" | "numeric" => self.parse_decimal()?,
            "string" => DataType::Utf8,
            "char" | "varchar" => {
                // The length bounds what Hive writes; a longer text in a file is given as it is.
                self.parse_numbers()?;
                DataType::Utf8
            }
            "binary" => DataType::Binary,
            "date" => DataType::Date32,
            // The second is Spark's.
            "timestamp" | "timestamp_ntz" => DataType::Timestamp(TimeUnit::Microsecond, None),
            "timestamp with local time zone" => {
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
            }
            "array" => {
                self.expect('<')?;
                let item = self.parse_type()?;
                self.expect('>')?;
                DataType::List(Arc::new(Field::new_list_field(item, true)))
            }
            "map" => self.parse_map()?,
            "struct" => self.parse_struct()?,
            "uniontype" | "void" | "interval_year_month" | "interval_day_time" => {
                let text = format!("Hive type \"{word}\" has no counterpart in Maru");
                return Err(Error::new(ErrorKind::RemoteTypeUnsupported, text));
            }
            _ => return Err(self.bad(&format!("\"{word}\" is no type"))),
        };
        self.depth -= 1;
        Ok(parsed)
    }

    fn parse_decimal(&mut self) -> Result<DataType> {
        let (precision, scale) = match self.parse_numbers()?.as_slice() {
            [] => (10, 0),
            [precision] => (*precision, 0),
            [precision, scale] => (*precision, *scale),
            _ => return Err(self.bad("a decimal has precision and scale")),
        };
        if precision == 0 || precision > DECIMAL128_MAX_PRECISION || scale > precision {
            return Err(self.bad("precision or scale is out of range"));
        }
        Ok(DataType::Decimal128(precision, scale as i8))
    }

    fn parse_map(&mut self) -> Result<DataType> {
        self.expect('<')?;
        let key = Field::new("key", self.parse_type()?, false);
        self.expect(',')?;
        let value = Field::new("value", self.parse_type()?, true);
        self.expect('>')?;
        let entries = DataType::Struct(Fields::from(vec![key, value]));
        Ok(DataType::Map(Arc::new(Field::new("entries", entries, false)), false))
    }

    fn parse_struct(&mut self) -> Result<DataType> {
        self.expect('<')?;
        let mut fields = Vec::new();
        loop {
            let Some(end) = self.rest.find(':') else {
                return Err(self.bad("a field has no type"));
            };
            let name = self.rest[..end].trim().trim_matches('`').to_owned();
            self.rest = &self.rest[end + 1..];
            fields.push(Field::new(name, self.parse_type()?, true));
            if !self.take(',') {
                break;
            }
        }
        self.expect('>')?;
        Ok(DataType::Struct(fields.into()))
    }

    /// Reads `(10,2)` if it is there.
    fn parse_numbers(&mut self) -> Result<Vec<u8>> {
        if !self.take('(') {
            return Ok(Vec::new());
        }
        let Some(end) = self.rest.find(')') else { return Err(self.bad("\")\" is missing")) };
        // A varchar may be longer than a byte counts, and its length is not needed.
        let numbers = self.rest[..end].split(',').map(|n| n.trim().parse::<u32>());
        let numbers = numbers.collect::<Result<Vec<_>, _>>();
        let numbers = numbers.map_err(|_| self.bad("a number was expected"))?;
        self.rest = &self.rest[end + 1..];
        Ok(numbers.into_iter().map(|n| n.min(u32::from(u8::MAX)) as u8).collect())
    }

    fn word(&mut self) -> &'a str {
        let end = self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ' '));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        word.trim()
    }

    fn take(&mut self, wanted: char) -> bool {
        match self.rest.trim_start().strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, wanted: char) -> Result<()> {
        if self.take(wanted) { Ok(()) } else { Err(self.bad(&format!("\"{wanted}\" is missing"))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_primitive() {
        let table = [
            ("boolean", DataType::Boolean),
            ("tinyint", DataType::Int8),
            ("smallint", DataType::Int16),
            ("int", DataType::Int32),
            ("BIGINT", DataType::Int64),
            ("float", DataType::Float32),
            ("double", DataType::Float64),
            ("decimal", DataType::Decimal128(10, 0)),
            ("decimal(38, 18)", DataType::Decimal128(38, 18)),
            ("decimal(5)", DataType::Decimal128(5, 0)),
            ("string", DataType::Utf8),
            ("varchar(65535)", DataType::Utf8),
            ("char(3)", DataType::Utf8),
            ("binary", DataType::Binary),
            ("date", DataType::Date32),
            ("timestamp", DataType::Timestamp(TimeUnit::Microsecond, None)),
            ("timestamp_ntz", DataType::Timestamp(TimeUnit::Microsecond, None)),
            (
                "timestamp with local time zone",
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            ),
        ];
        for (text, wanted) in table {
            assert_eq!(parse(text).unwrap(), wanted, "{text}");
        }
    }

    #[test]
    fn reads_nested_types() {
        let nested =
            "array<struct<id:bigint,tags:map<string,decimal(10,2)>,`odd name`:array<int>>>";
        let shown = format!("{}", parse(nested).unwrap());
        let wanted = "List(Struct(\"id\": Int64, \"tags\": Map(\"entries\": non-null Struct(\"key\": non-null Utf8, \
                      \"value\": Decimal128(10, 2)), unsorted), \"odd name\": List(Int32)))";
        assert_eq!(shown, wanted);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        let deep = format!("{}int{}", "array<".repeat(500), ">".repeat(500));
        let texts = [
            "uniontype<int,string>",
            "interval_day_time",
            "int4",
            "",
            "array<int",
            "map<int>",
            "struct<a>",
            "decimal(39,2)",
            "decimal(3,4)",
            "decimal(x)",
            "int int",
            "array<int>>",
            &deep,
        ];
        for text in texts {
            assert_eq!(parse(text).unwrap_err().sqlstate(), "HV004", "{text}");
        }
    }
}
