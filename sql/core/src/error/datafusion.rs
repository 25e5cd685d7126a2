//! What DataFusion, arrow and the object stores report, in Maru's terms.
//!
//! An error of ours that travelled through DataFusion comes back as it was. The rest is told apart by variant first
//! and, where DataFusion has only a text, by the few phrases that `tests.rs` pins: every upgrade runs them.

use arrow::error::ArrowError;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::parquet::errors::ParquetError;
use datafusion::sql::sqlparser::parser::ParserError;

use super::phrases::from_phrase;
use crate::{Error, ErrorKind, did_you_mean};

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        Self::External(Box::new(error))
    }
}

impl From<Error> for ArrowError {
    fn from(error: Error) -> Self {
        Self::ExternalError(Box::new(error))
    }
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        from_datafusion(&error)
    }
}

impl From<ArrowError> for Error {
    fn from(error: ArrowError) -> Self {
        from_arrow(&error)
    }
}

impl From<object_store::Error> for Error {
    fn from(error: object_store::Error) -> Self {
        from_object_store(&error)
    }
}

impl From<ParserError> for Error {
    fn from(error: ParserError) -> Self {
        from_parser(&error)
    }
}

fn from_datafusion(error: &DataFusionError) -> Error {
    match error {
        DataFusionError::External(inner) => from_foreign(inner.as_ref()),
        DataFusionError::Shared(inner) => from_datafusion(inner),
        DataFusionError::Context(_, inner) => from_datafusion(inner),
        DataFusionError::Diagnostic(diagnostic, inner) => {
            let error = from_datafusion(inner);
            match (&diagnostic.span, error.position()) {
                // Line and column, not yet an offset: the door that knows the text turns it into one.
                (Some(span), None) => {
                    error.with_line_column(span.start.line as usize, span.start.column as usize)
                }
                _ => error,
            }
        }
        DataFusionError::Collection(errors) => {
            errors.first().map_or_else(|| Error::internal("empty error list"), from_datafusion)
        }
        DataFusionError::ArrowError(inner, _) => from_arrow(inner),
        DataFusionError::ParquetError(inner) => from_parquet(inner),
        DataFusionError::ObjectStore(inner) => from_object_store(inner),
        DataFusionError::IoError(inner) => from_io(inner),
        DataFusionError::SQL(inner, _) => from_parser(inner),
        DataFusionError::NotImplemented(text) if text.contains("Unsupported CAST") => {
            Error::new(ErrorKind::CannotCast, lower_first(&first_line(text)))
        }
        DataFusionError::NotImplemented(text) => Error::unsupported(first_line(text)),
        DataFusionError::SchemaError(inner, _) => from_schema(inner),
        DataFusionError::Plan(text) => from_plan_text(text),
        DataFusionError::Execution(text) => from_execution_text(text),
        DataFusionError::Configuration(text) => {
            Error::new(ErrorKind::InvalidParameter, first_line(text))
        }
        DataFusionError::ResourcesExhausted(text) => out_of_memory(text),
        DataFusionError::ExecutionJoin(inner) if inner.is_cancelled() => Error::cancelled(),
        other => Error::internal(first_line(&other.to_string())),
    }
}

/// Reports an error behind a `dyn Error`: ours as it was, known ones by their own rules.
fn from_foreign(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Error {
    from_known(error)
        .unwrap_or_else(|| Error::new(ErrorKind::RemoteFailed, first_line(&error.to_string())))
}

fn from_known(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Option<Error> {
    if let Some(ours) = error.downcast_ref::<Error>() {
        return Some(ours.clone());
    }
    if let Some(inner) = error.downcast_ref::<DataFusionError>() {
        return Some(from_datafusion(inner));
    }
    if let Some(inner) = error.downcast_ref::<ArrowError>() {
        return Some(from_arrow(inner));
    }
    if let Some(inner) = error.downcast_ref::<ParquetError>() {
        return Some(from_parquet(inner));
    }
    if let Some(inner) = error.downcast_ref::<object_store::Error>() {
        return Some(from_object_store(inner));
    }
    error.downcast_ref::<std::io::Error>().map(from_io)
}

fn from_arrow(error: &ArrowError) -> Error {
    match error {
        ArrowError::DivideByZero => Error::new(ErrorKind::DivisionByZero, "division by zero"),
        ArrowError::ArithmeticOverflow(text) => {
            Error::new(ErrorKind::OutOfRange, "value out of range").with_detail(sentence(text))
        }
        ArrowError::CastError(text) | ArrowError::ParseError(text) => from_cast_text(text),
        ArrowError::CsvError(text) => {
            Error::new(ErrorKind::BadFileFormat, format!("invalid CSV: {}", first_line(text)))
        }
        ArrowError::JsonError(text) => {
            Error::new(ErrorKind::BadFileFormat, format!("invalid JSON: {}", first_line(text)))
        }
        ArrowError::ParquetError(text) => corrupted("Parquet", text),
        ArrowError::ExternalError(inner) => from_foreign(inner.as_ref()),
        ArrowError::IoError(_, inner) => from_io(inner),
        ArrowError::NotYetImplemented(text) => Error::unsupported(first_line(text)),
        ArrowError::MemoryError(text) => out_of_memory(text),
        ArrowError::OffsetOverflowError(_) => Error::new(
            ErrorKind::LimitExceeded,
            "a text or list column of one batch is larger than 2 GB",
        ),
        ArrowError::ComputeError(text) | ArrowError::InvalidArgumentError(text) => {
            from_execution_text(text)
        }
        other => Error::internal(first_line(&other.to_string())),
    }
}

fn from_parquet(error: &ParquetError) -> Error {
    match error {
        // What is no error of a store is one of decoding: text that is no UTF-8, a number that does not fit.
        ParquetError::External(inner) => {
            from_known(inner.as_ref()).unwrap_or_else(|| corrupted("Parquet", &inner.to_string()))
        }
        other => corrupted("Parquet", &other.to_string()),
    }
}

fn corrupted(format: &str, text: &str) -> Error {
    let text = text.trim_start_matches("Parquet error: ").trim_start_matches("External: ");
    Error::new(ErrorKind::DataCorrupted, format!("invalid {format} file: {}", first_line(text)))
}

fn from_io(error: &std::io::Error) -> Error {
    if let Some(ours) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        return ours.clone();
    }
    // Writers of files wrap what the store says.
    if let Some(store) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
        return from_object_store(store);
    }
    let kind = match error.kind() {
        std::io::ErrorKind::NotFound => ErrorKind::FileNotFound,
        kind if is_full(kind) => return disk_full(&error.to_string()),
        std::io::ErrorKind::PermissionDenied => ErrorKind::NotAllowed,
        _ => ErrorKind::Io,
    };
    Error::new(kind, first_line(&error.to_string()))
}

fn is_full(kind: std::io::ErrorKind) -> bool {
    matches!(
        kind,
        std::io::ErrorKind::StorageFull
            | std::io::ErrorKind::QuotaExceeded
            | std::io::ErrorKind::FileTooLarge
    )
}

fn disk_full(text: &str) -> Error {
    Error::new(ErrorKind::DiskFull, "no space left to write to")
        .with_detail(sentence(&first_line(text)))
        .with_hint("Make room there, and run the statement again.")
}

/// Returns whether an error comes of a disk that is full, however deep it lies.
fn comes_of_full_disk(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<std::io::Error>().is_some_and(|error| is_full(error.kind())) {
            return true;
        }
        next = error.source();
    }
    false
}

/// Tells that the whole bucket is missing, which S3 answers for any object of it.
fn no_bucket(error: &object_store::Error) -> Option<Error> {
    let first: &(dyn std::error::Error + 'static) = error;
    let text = std::iter::successors(Some(first), |error| error.source())
        .map(ToString::to_string)
        .find(|text| text.contains("NoSuchBucket"))?;
    let name = text.split_once("<BucketName>").and_then(|(_, rest)| rest.split_once("</"));
    let message = match name {
        Some((name, _)) => format!("no such bucket: \"{name}\""),
        None => "no such bucket".to_owned(),
    };
    Some(
        Error::new(ErrorKind::InvalidOption, message).with_hint(
            "Check the bucket of the table's location, and the endpoint of the catalog.",
        ),
    )
}

fn from_object_store(error: &object_store::Error) -> Error {
    use object_store::Error as Store;
    // A store of our own says what is wrong in our words.
    let inner = match error {
        Store::NotFound { source, .. }
        | Store::PermissionDenied { source, .. }
        | Store::Unauthenticated { source, .. }
        | Store::Generic { source, .. } => source.downcast_ref::<Error>(),
        _ => None,
    };
    if let Some(ours) = inner {
        return ours.clone();
    }
    if comes_of_full_disk(error) {
        return disk_full(&error.to_string());
    }
    if let Some(error) = no_bucket(error) {
        return error;
    }
    match error {
        Store::NotFound { path, .. } => Error::new(
            ErrorKind::FileNotFound,
            format!("file \"{path}\" does not exist"),
        )
        .with_hint(
            "Another program may have removed it while the statement ran. Run the statement again.",
        ),
        Store::PermissionDenied { path, .. } | Store::Unauthenticated { path, .. } => Error::new(
            ErrorKind::RemoteAuthentication,
            format!("the store refuses access to \"{path}\""),
        )
        .with_hint("Check the keys of the catalog's secret and what they may read."),
        Store::NotImplemented { .. } | Store::NotSupported { .. } => {
            Error::unsupported(first_line(&error.to_string()))
        }
        // The library knows a refusal to read an object, but not one to list.
        other
            if ["AccessDenied", "403 Forbidden"]
                .iter()
                .any(|what| other.to_string().contains(what)) =>
        {
            Error::new(ErrorKind::RemoteAuthentication, "the store refuses access")
                .with_detail(sentence(&first_line(&other.to_string())))
                .with_hint(
                    "Check the keys of the catalog's secret and what they may read and list.",
                )
        }
        other => {
            let text = other.to_string();
            let gone =
                ["error sending request", "Connection refused", "timed out", "connect error"];
            let kind = if gone.iter().any(|phrase| text.contains(phrase)) {
                ErrorKind::RemoteUnavailable
            } else {
                ErrorKind::RemoteFailed
            };
            Error::new(kind, format!("could not read from the store: {}", first_line(&text)))
        }
    }
}

fn from_parser(error: &ParserError) -> Error {
    match error {
        ParserError::RecursionLimitExceeded => {
            Error::new(ErrorKind::LimitExceeded, "statement is nested too deeply").with_detail(
                format!("The limit is {} levels (nesting_max).", crate::limits::NESTING_MAX),
            )
        }
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => {
            let (text, place) = split_location(text);
            let message = match text.strip_prefix("Expected: ") {
                Some(rest) => match rest.split_once(", found: ") {
                    Some((_, "EOF")) => "syntax error at end of input".to_owned(),
                    Some((_, found)) => format!("syntax error at or near \"{found}\""),
                    None => format!("syntax error: {}", lower_first(text)),
                },
                None => format!("syntax error: {}", lower_first(text)),
            };
            let mut error = Error::new(ErrorKind::Syntax, message);
            if let Some((expected, _)) =
                text.strip_prefix("Expected: ").and_then(|rest| rest.split_once(", found: "))
            {
                error = error.with_detail(format!("Expected {expected}."));
            }
            match place {
                Some((line, column)) => error.with_line_column(line, column),
                None => error,
            }
        }
    }
}

/// Returns the name of a column as somebody has written it; `None` for one that a plan has added.
fn written(name: &str) -> Option<&str> {
    let name = name.split_once('\u{1}').map_or(name, |(name, _)| name);
    let is_added = name.is_empty()
        || name.starts_with('$')
        || [" of the row", " of the order"].iter().any(|what| name.contains(what));
    (!is_added).then_some(name)
}

fn from_schema(error: &SchemaError) -> Error {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let names = valid_fields.iter().filter_map(|field| written(&field.name));
            let names = names.collect::<Vec<_>>();
            let column = match &field.relation {
                Some(relation) => format!("{}.{}", relation.table(), field.name),
                None => field.name.clone(),
            };
            let error = Error::new(
                ErrorKind::UndefinedColumn,
                format!("column \"{column}\" does not exist"),
            );
            match did_you_mean(&field.name, names.iter().copied()) {
                Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
                None if names.is_empty() => error,
                None => {
                    let mut shown = names.iter().take(12).copied().collect::<Vec<_>>().join(", ");
                    if names.len() > 12 {
                        shown.push_str(", …");
                    }
                    error.with_hint(format!("Columns here: {shown}."))
                }
            }
        }
        SchemaError::AmbiguousReference { field } => Error::new(
            ErrorKind::AmbiguousColumn,
            format!("column reference \"{}\" is ambiguous", field.name),
        )
        .with_hint("Write the table's name or alias before the column: t.column."),
        SchemaError::DuplicateQualifiedField { name, .. }
        | SchemaError::DuplicateUnqualifiedField { name } => Error::new(
            ErrorKind::AmbiguousColumn,
            format!("column \"{name}\" is there more than once"),
        )
        .with_hint("Give one of them another name with AS."),
    }
}

/// Returns what a function of ours has refused arguments with. DataFusion keeps the text of it alone.
fn from_coercion(text: &str) -> Option<Error> {
    let (_, ours) = text.split_once("user-defined coercion failed with: External error: ")?;
    let error = Error::new(ErrorKind::UndefinedFunction, first_line(ours));
    Some(error.with_hint("CAST the argument to a type that the function takes: x::numeric."))
}

fn from_plan_text(text: &str) -> Error {
    if let Some(ours) = from_coercion(text) {
        return ours;
    }
    let line = first_line(text);
    if let Some(error) = from_phrase(text, &line) {
        return error;
    }
    let quoted = |line: &str| line.split('\'').nth(1).unwrap_or_default().to_owned();
    let (kind, message) = if line.starts_with("table '") && line.contains("not found") {
        (ErrorKind::UndefinedTable, format!("table \"{}\" does not exist", quoted(&line)))
    } else if line.starts_with("Invalid function '") {
        let name = quoted(&line);
        // DataFusion names the nearest by edit distance, however far; the engine knows the list and says it better.
        return Error::new(
            ErrorKind::UndefinedFunction,
            format!("function \"{name}\" does not exist"),
        );
    } else if line.starts_with("table function") && line.contains("not found") {
        let error = Error::new(
            ErrorKind::UndefinedFunction,
            format!("table function \"{}\" does not exist", quoted(&line)),
        );
        return error.with_hint("Run SHOW FUNCTIONS to list them all.");
    } else if line.contains("failed to match any signature")
        || line.contains("No function matches the given name and argument types")
        || line.contains("coercion from")
        || line.contains("Failed to coerce arguments")
        || line.contains("function requires")
        || line.contains("does not support")
    {
        let detail = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let error = Error::new(ErrorKind::UndefinedFunction, lower_first(&line));
        let rest = detail.skip(1).collect::<Vec<_>>().join(" ");
        return if rest.is_empty() { error } else { error.with_detail(rest) };
    } else if let Some(column) = ungrouped_column(&line) {
        return Error::new(
            ErrorKind::Grouping,
            format!(
                "column \"{column}\" must appear in the GROUP BY clause or be used in an aggregate function"
            ),
        );
    } else if line.contains("GROUP BY") || line.to_lowercase().contains("aggregate function") {
        (ErrorKind::Grouping, lower_first(&line))
    } else if line.contains("Cannot infer common argument type")
        || line.contains("Cannot coerce")
        || line.contains("Cannot automatically convert")
        || line.contains("incompatible types")
        || line.contains("cannot be converted to")
        || line.contains("have the same type")
    {
        (ErrorKind::TypeMismatch, lower_first(&line))
    } else if line.contains("cast") || line.contains("Cast") {
        return from_cast_text(&line);
    } else if line.contains("laceholder") {
        (ErrorKind::UndefinedParameter, lower_first(&line))
    } else {
        (ErrorKind::InvalidStatement, lower_first(&line))
    };
    Error::new(kind, message)
}

/// Reads the column out of DataFusion's remark on a column that is neither grouped nor aggregated.
fn ungrouped_column(line: &str) -> Option<&str> {
    let (head, _) = line.split_once("\" must appear in the GROUP BY clause")?;
    head.rsplit_once('"').map(|(_, column)| column)
}

fn from_execution_text(text: &str) -> Error {
    if let Some(ours) = from_coercion(text) {
        return ours;
    }
    let line = first_line(text);
    let lower = line.to_lowercase();
    if lower.contains("divide by zero") || lower.contains("division by zero") {
        Error::new(ErrorKind::DivisionByZero, "division by zero")
    } else if lower.contains("to store in a decimal") {
        numeric_overflow(&line)
    } else if lower.contains("overflow") || lower.contains("out of range") {
        Error::new(ErrorKind::OutOfRange, "value out of range").with_detail(sentence(&line))
    } else if lower.contains("cast") || lower.contains("error parsing") {
        from_cast_text(&line)
    } else if lower.contains("subquery returned more than one row") {
        Error::new(
            ErrorKind::Cardinality,
            "more than one row returned by a subquery used as an expression",
        )
        .with_hint("Take one of them: LIMIT 1 with an ORDER BY, or an aggregate such as max().")
    } else {
        Error::new(ErrorKind::InvalidParameter, lower_first(&line))
    }
}

/// The error for a number that a numeric type has no room for. The greatest one that it has tells how many digits stand behind the point.
fn numeric_overflow(line: &str) -> Error {
    let error = Error::new(ErrorKind::OutOfRange, "numeric field overflow");
    let read = || {
        let (_, rest) = line.rsplit_once(" of precision ")?;
        let (precision, bound) = rest.split_once(". M")?;
        let precision = precision.parse::<usize>().ok()?;
        let bound = bound.trim_start_matches(|c: char| !c.is_ascii_digit());
        let digits = bound.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
        let scale = digits.trim_end_matches('.').split_once('.').map_or(0, |(_, part)| part.len());
        Some((precision, scale, precision.checked_sub(scale)?))
    };
    match read() {
        None => error.with_detail(sentence(line)),
        Some((precision, scale, whole)) => {
            let most = if whole == 0 { "1".to_owned() } else { format!("10^{whole}") };
            error.with_detail(format!(
                "A field with precision {precision}, scale {scale} must round to an absolute value less than {most}."
            ))
        }
    }
}

fn field_out_of_range(value: &str) -> Error {
    let what = format!("date/time field value out of range: \"{value}\"");
    Error::new(ErrorKind::DatetimeField, what)
        .with_hint("Use TRY_CAST to get NULL where a value does not fit.")
}

/// Returns whether a text has the fields of a date, or those of a time of day, so that their values must be what is wrong.
fn has_fields(text: &str) -> bool {
    let text = text.trim();
    let marks = |mark: char| text.matches(mark).count();
    let plain = |c: char| c.is_ascii_digit() || "-: .+TZ".contains(c);
    text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(plain)
        && (marks('-') >= 2 || (1..=2).contains(&marks(':')))
}

/// Returns whether a text is a whole number, so that only its size can have been wrong.
fn is_whole(text: &str) -> bool {
    let text = text.trim();
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit())
}

/// Reports a failed cast or parse in PostgreSQL's words where the value and the type are in the text.
fn from_cast_text(text: &str) -> Error {
    let line = first_line(text);
    let lower = line.to_lowercase();
    if lower.contains("unsupported cast") || lower.contains("not supported") {
        return Error::new(ErrorKind::CannotCast, lower_first(&line));
    }
    // "Cannot cast string 'abc' to value of Int32 type"
    if let Some((value, rest)) =
        line.split_once("string '").and_then(|(_, rest)| rest.rsplit_once("' to value of "))
    {
        let target = rest.split(' ').next().unwrap_or_default();
        let is_time = ["Date", "Time"].iter().any(|prefix| target.starts_with(prefix));
        if is_time && has_fields(value) {
            return field_out_of_range(value);
        }
        if target.starts_with("Int") && is_whole(value) {
            let name = sql_type_name(target);
            let what = format!("value \"{value}\" is out of range for type {name}");
            return Error::new(ErrorKind::OutOfRange, what)
                .with_hint("Use TRY_CAST to get NULL where a value does not fit.");
        }
        return Error::new(
            if is_time { ErrorKind::InvalidDatetime } else { ErrorKind::InvalidText },
            format!("invalid input syntax for type {}: \"{value}\"", sql_type_name(target)),
        )
        .with_hint("Use TRY_CAST to get NULL where a value does not fit.");
    }
    if lower.contains("timestamp") || lower.contains("date") || lower.contains("time from") {
        // "Error parsing timestamp from '2024-01-01 25:00:00': error parsing time"
        let value = line.split_once(" from '").and_then(|(_, rest)| rest.rsplit_once("': "));
        if let Some((value, _)) = value.filter(|(value, _)| has_fields(value)) {
            return field_out_of_range(value);
        }
        return Error::new(
            ErrorKind::InvalidDatetime,
            format!("invalid input syntax for date or time: {}", lower_first(&line)),
        );
    }
    if lower.contains("can't cast value")
        || lower.contains("too large")
        || lower.contains("overflow")
    {
        return Error::new(ErrorKind::OutOfRange, "value out of range")
            .with_detail(sentence(&line));
    }
    Error::new(ErrorKind::InvalidText, lower_first(&line))
        .with_hint("Use TRY_CAST to get NULL where a value does not fit.")
}

fn out_of_memory(text: &str) -> Error {
    Error::new(ErrorKind::OutOfMemory, "out of memory: the statement needs more than it may use")
        .with_detail(sentence(&first_line(text)))
        .with_hint(
            "Raise query_memory_limit or memory_limit, or let the statement touch fewer rows.",
        )
}

/// Returns PostgreSQL's name of the arrow types that casts name in their errors.
fn sql_type_name(arrow: &str) -> &str {
    match arrow {
        "Int8" | "Int16" | "UInt8" => "smallint",
        "Int32" | "UInt16" => "integer",
        "Int64" | "UInt32" | "UInt64" => "bigint",
        "Float32" => "real",
        "Float64" => "double precision",
        "Boolean" => "boolean",
        "Date32" | "Date64" => "date",
        other if other.starts_with("Decimal") => "numeric",
        other if other.starts_with("Timestamp") => "timestamp",
        other => other,
    }
}

fn split_location(text: &str) -> (&str, Option<(usize, usize)>) {
    let Some((head, place)) = text.rsplit_once(" at Line: ") else { return (text, None) };
    let mut numbers = place.split(", Column: ").map(|n| n.trim().parse::<usize>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(line), Some(column)) => (head, Some((line, column))),
        _ => (text, None),
    }
}

/// Returns the first line, without DataFusion's prefixes and without the Rust value that some texts end in.
fn first_line(text: &str) -> String {
    let text = text
        .trim_start_matches("Error during planning: ")
        .trim_start_matches("Execution error: ")
        .trim_start_matches("This feature is not implemented: ");
    let line = text.lines().next().unwrap_or_default();
    let line = match line.split_once(" { ") {
        Some((head, _)) => head.rsplit_once(' ').map_or(head, |(head, _)| head),
        None => line,
    };
    line.trim_end_matches('.').to_owned()
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next();
    match (first, chars.clone().next()) {
        // An abbreviation such as UNION keeps its capitals.
        (Some(first), Some(second)) if !second.is_uppercase() => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

fn sentence(text: &str) -> String {
    let text = first_line(text);
    if text.ends_with('.') { text } else { format!("{text}.") }
}
