//! PostgreSQL's grammar as the parser is to read it for Maru.

use std::any::TypeId;

use sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};

/// [`PostgreSqlDialect`], except that the name of an argument is an identifier: `f(name => 1)`.
///
/// The parser's PostgreSQL takes any expression for that name, for the sake of `json_object('k': v)`, which Maru does not have.
/// So it reads each argument twice, the name that it might be and then the value, and needs twice the time for each level of calls in
/// calls: thirty `replace(…)` in one another never end (sqlparser 0.62). Whoever parses what a user wrote, or a text with a
/// piece of it inside, takes this dialect.
#[derive(Debug, Clone, Copy, Default)]
pub struct MaruDialect;

const BASE: PostgreSqlDialect = PostgreSqlDialect {};

/// What PostgreSQL says, for each of these.
macro_rules! as_postgresql {
    ($($method:ident),* $(,)?) => {
        $(
            fn $method(&self) -> bool {
                BASE.$method()
            }
        )*
    };
}

impl Dialect for MaruDialect {
    /// The parser asks `is PostgreSqlDialect` here and there.
    fn dialect(&self) -> TypeId {
        BASE.dialect()
    }

    fn supports_named_fn_args_with_expr_name(&self) -> bool {
        false
    }

    fn identifier_quote_style(&self, identifier: &str) -> Option<char> {
        BASE.identifier_quote_style(identifier)
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        BASE.is_delimited_identifier_start(ch)
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        BASE.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        BASE.is_identifier_part(ch)
    }

    fn is_custom_operator_part(&self, ch: char) -> bool {
        BASE.is_custom_operator_part(ch)
    }

    /// What follows one of these words and is wrong is not read again as if the word were a name, each level twice as often as the
    /// one around it. PostgreSQL reserves them all.
    fn is_reserved_for_identifier(&self, keyword: Keyword) -> bool {
        let reserved = [
            Keyword::ARRAY,
            Keyword::CASE,
            Keyword::CAST,
            Keyword::CURRENT_DATE,
            Keyword::CURRENT_TIME,
            Keyword::CURRENT_TIMESTAMP,
            Keyword::LOCALTIME,
            Keyword::LOCALTIMESTAMP,
            Keyword::NOT,
            Keyword::TRY_CAST,
            Keyword::SAFE_CAST,
        ];
        reserved.contains(&keyword) || BASE.is_reserved_for_identifier(keyword)
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        BASE.get_next_precedence(parser)
    }

    fn prec_value(&self, precedence: Precedence) -> u8 {
        BASE.prec_value(precedence)
    }

    as_postgresql!(
        supports_unicode_string_literal,
        supports_filter_during_aggregation,
        supports_group_by_expr,
        allow_extract_custom,
        allow_extract_single_quotes,
        supports_create_index_with_clause,
        supports_explain_with_utility_options,
        supports_listen_notify,
        supports_factorial_operator,
        supports_bitwise_shift_operators,
        supports_comment_on,
        supports_load_extension,
        supports_named_fn_args_with_colon_operator,
        supports_empty_projections,
        supports_nested_comments,
        supports_string_escape_constant,
        supports_numeric_literal_underscores,
        supports_array_typedef_with_brackets,
        supports_geometric_types,
        supports_set_names,
        supports_alter_column_type_using,
        supports_notnull_operator,
        supports_interval_options,
        supports_insert_table_alias,
        supports_create_table_like_parenthesized,
        supports_select_wildcard_with_alias,
        supports_comma_separated_trim,
        supports_xml_expressions,
        supports_comment_optimizer_hint,
    );
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn parsed(sql: &str) -> Vec<sqlparser::ast::Statement> {
        Parser::parse_sql(&MaruDialect, sql).unwrap()
    }

    #[test]
    fn reads_what_postgresql_reads() {
        for sql in [
            "SELECT f(a => 1, b := 2), count(*) FILTER (WHERE x NOTNULL), 1_000, U&'\\0041', E'\\n' FROM t",
            "SELECT a -> 'b' ->> 'c', x::numeric(10, 2), 5 & 3, 1 << 2, a @> b, interval '1' day, trim('a', 'b') FROM t",
            "SELECT extract('year' FROM d), ARRAY[1, 2][1], t.* FROM \"T\" AS t ORDER BY a COLLATE \"C\" /* a /* b */ */",
            "CREATE TABLE t (a int[], b text)",
        ] {
            let theirs = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap();
            assert_eq!(format!("{}", parsed(sql)[0]), format!("{}", theirs[0]), "{sql}");
        }
    }

    #[test]
    fn the_time_of_calls_in_calls_does_not_double() {
        let calls = 20;
        let sql = format!("SELECT {}a{}", "replace(".repeat(calls), ", 'x', 'y')".repeat(calls));
        let began = Instant::now();
        parsed(&sql);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
}
