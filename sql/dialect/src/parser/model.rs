//! `CREATE MODEL` and the other statements on models; `ML.PREDICT(MODEL m, TABLE t)` among the tables of a query.

use maru_core::{Error, ErrorKind, Result};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::Words;
use crate::statement::*;

/// The functions of schema `ml` that stand in the place of a table. What they are called in the syntax tree has `ml_` in front,
/// which is another way to write them.
pub const TABLE_FUNCTIONS: &[&str] = &[
    "predict",
    "explain_predict",
    "detect_anomalies",
    "transform",
    "evaluate",
    "confusion_matrix",
    "roc_curve",
    "precision_recall_curve",
    "thresholds",
    "lift",
    "calibration",
    "cross_validate",
    "forecast",
    "global_explain",
    "describe_data",
    "validate_data_skew",
    "validate_data_drift",
    "weights",
    "advanced_weights",
    "feature_importance",
    "feature_info",
    "trial_info",
    "training_info",
    "principal_components",
    "principal_component_info",
    "centroids",
];

impl Words<'_> {
    /// Reads a statement on models; `None` leaves the text untouched.
    pub(super) fn model(&mut self) -> Result<Option<Statement>> {
        let or_replace = self.sees(&["create", "or", "replace", "model"]);
        let statement = if self.take(&["create", "or", "replace", "model"])
            || self.take(&["create", "model"])
        {
            ModelStatement::Create(Box::new(self.create_model(or_replace)?))
        } else if self.take(&["alter", "model"]) {
            ModelStatement::Alter(self.alter_model()?)
        } else if self.take(&["drop", "model"]) {
            let if_exists = self.take(&["if", "exists"]);
            let name = self.name()?;
            let version = self.version()?;
            ModelStatement::Drop(DropModel { name, if_exists, version })
        } else if self.take(&["export", "model"]) {
            self.export_model()?
        } else if self.take(&["retrain", "model"]) {
            self.retrain_model()?
        } else if self.take(&["cancel", "training", "job"]) {
            ModelStatement::CancelJob(self.whole_number("the number of a training job")?)
        } else {
            return Ok(None);
        };
        Ok(Some(Statement::Model(Box::new(statement))))
    }

    fn create_model(&mut self, or_replace: bool) -> Result<CreateModel> {
        let if_not_exists = self.take(&["if", "not", "exists"]);
        let name = self.name()?;
        let mut transform = Vec::new();
        if self.take(&["transform"]) {
            self.token(&Token::LParen, "(")?;
            transform = self.0.parser.parse_comma_separated(|parser| parser.parse_select_item())?;
            self.token(&Token::RParen, ")")?;
        }
        let mut train_where = None;
        let mut options = Vec::new();
        loop {
            if train_where.is_none() && self.take(&["train", "where"]) {
                train_where = Some(self.0.parser.parse_expr()?);
            } else if self.take(&["options"]) || self.take(&["with"]) {
                // OPTIONS (…) WITH (async = true) are one list.
                self.model_options(&mut options)?;
            } else {
                break;
            }
        }
        // A model that is imported has no rows to learn from.
        let query = match self.take(&["as"]) {
            true => Some(self.0.parser.parse_query()?),
            false if options.is_empty() => {
                return Err(self.unexpected("OPTIONS (…) or AS and a query"));
            }
            false => None,
        };
        Ok(CreateModel { name, or_replace, if_not_exists, transform, train_where, options, query })
    }

    /// Reads `(name = value, …)`, after what has been read of the kind already.
    fn model_options(&mut self, options: &mut Vec<(String, sqlparser::ast::Expr)>) -> Result<()> {
        self.token(&Token::LParen, "(")?;
        let n_before = options.len();
        while !self.0.parser.consume_token(&Token::RParen) {
            if options.len() > n_before {
                self.token(&Token::Comma, ", or )")?;
            }
            let name = self.ident()?.to_lowercase();
            self.token(&Token::Eq, "=")?;
            if options.iter().any(|(known, _)| *known == name) {
                return Err(Error::new(
                    ErrorKind::Syntax,
                    format!("option {name} is given more than once"),
                ));
            }
            options.push((name, self.0.parser.parse_expr()?));
        }
        Ok(())
    }

    fn alter_model(&mut self) -> Result<AlterModel> {
        let if_exists = self.take(&["if", "exists"]);
        let name = self.name()?;
        let change = if self.take(&["set", "default", "version"]) {
            ModelChange::Default(self.whole_number("the number of a version")?)
        } else if self.take(&["rollback"]) {
            ModelChange::Rollback
        } else if self.take(&["set", "alias"]) {
            let alias = self.ident()?;
            self.token(&Token::Eq, "=")?;
            ModelChange::Alias(alias, self.whole_number("the number of a version")?)
        } else if self.take(&["drop", "alias"]) {
            ModelChange::DropAlias(self.ident()?)
        } else if self.take(&["rename", "to"]) {
            ModelChange::Rename(self.ident()?)
        } else if self.take(&["set", "options"]) {
            let mut options = Vec::new();
            self.model_options(&mut options)?;
            ModelChange::Options(options)
        } else if self.take(&["set", "comment"]) {
            let none = self.take(&["null"]);
            ModelChange::Comment(if none { None } else { Some(self.string()?) })
        } else {
            return Err(self.unexpected(
                "SET DEFAULT VERSION, ROLLBACK, SET ALIAS, DROP ALIAS, SET OPTIONS, SET COMMENT, RENAME TO or OWNER TO",
            ));
        };
        Ok(AlterModel { name, if_exists, change })
    }

    fn export_model(&mut self) -> Result<ModelStatement> {
        let name = self.name()?;
        let version = self.version()?;
        self.expect(&["to"])?;
        let location = self.string()?;
        let mut format = None;
        self.take(&["with"]);
        if matches!(self.0.parser.peek_token().token, Token::LParen) {
            for (option, value) in self.option_list()?.0 {
                if !option.eq_ignore_ascii_case("format") {
                    return Err(Error::new(
                        ErrorKind::InvalidParameter,
                        format!("EXPORT MODEL has no option \"{option}\""),
                    )
                    .with_hint("It has format: 'onnx' or 'native'."));
                }
                format = Some(value.to_lowercase());
            }
        }
        Ok(ModelStatement::Export(ExportModel { name, version, location, format }))
    }

    fn retrain_model(&mut self) -> Result<ModelStatement> {
        let name = self.name()?;
        let mut drift = None;
        if self.take(&["when", "drift"]) {
            self.token(&Token::Gt, "> and a number")?;
            let number = match self.0.parser.peek_token().token {
                Token::Number(text, _) => text.parse::<f64>().ok(),
                _ => None,
            };
            drift = Some(number.ok_or_else(|| self.unexpected("a number"))?);
            self.0.parser.next_token();
        }
        let mut options = Vec::new();
        if self.take(&["options"]) || self.take(&["with"]) {
            self.model_options(&mut options)?;
        }
        Ok(ModelStatement::Retrain(RetrainModel { name, drift, options }))
    }

    fn version(&mut self) -> Result<Option<i64>> {
        match self.take(&["version"]) {
            true => self.whole_number("the number of a version").map(Some),
            false => Ok(None),
        }
    }

    pub(super) fn whole_number(&mut self, what: &str) -> Result<i64> {
        let number = match self.0.parser.peek_token().token {
            Token::Number(text, _) => text.parse().ok(),
            _ => None,
        };
        let number = number.ok_or_else(|| self.unexpected(what))?;
        self.0.parser.next_token();
        Ok(number)
    }
}

fn is_word(token: Option<&TokenWithSpan>, wanted: &str) -> bool {
    matches!(token.map(|t| &t.token), Some(Token::Word(word))
        if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted))
}

fn is_space(token: &TokenWithSpan) -> bool {
    matches!(token.token, Token::Whitespace(_))
}

/// Writes `ml_predict('m', (SELECT * FROM t))` for `ML.PREDICT(MODEL m, TABLE t)`, which PostgreSQL's dialect cannot read.
///
/// # Errors
/// 42883 for a function that is called with a model, and is none of those.
pub(super) fn rewrite(tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>> {
    let speaks = |t: &TokenWithSpan| match &t.token {
        Token::Word(word) => {
            word.value.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("ml"))
                || word.value.eq_ignore_ascii_case("profile")
        }
        _ => false,
    };
    if !tokens.iter().any(speaks) {
        return Ok(tokens);
    }
    let visible = |from: usize| (from..tokens.len()).find(|at| !is_space(&tokens[*at]));
    let mut written = Vec::with_capacity(tokens.len());
    // For each open parenthesis, whether it is one of a function of ours.
    let mut open = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let token = &tokens[at];
        match &token.token {
            Token::Word(word) if word.quote_style.is_none() => {
                if let Some((name, paren)) = function(&tokens, at) {
                    let word = Word { value: name, quote_style: None, keyword: Keyword::NoKeyword };
                    written.push(TokenWithSpan { token: Token::Word(word), span: token.span });
                    written.push(tokens[paren].clone());
                    open.push(true);
                    at = paren + 1;
                    continue;
                }
                if let Some(name) = unknown_function(&tokens, at) {
                    return Err(no_such_function(name));
                }
                let starts = written.iter().rev().find(|t: &&TokenWithSpan| !is_space(t));
                let starts = matches!(starts.map(|t| &t.token), Some(Token::LParen | Token::Comma));
                let ours = starts && open.last() == Some(&true);
                if ours
                    && is_word(Some(token), "struct")
                    && let Some((named, end)) = named_fields(&tokens, at)
                {
                    written.extend(named);
                    at = end;
                    continue;
                }
                if ours && is_word(Some(token), "model") {
                    if let Some((text, end)) = model_name(&tokens, at + 1) {
                        let token = Token::SingleQuotedString(text);
                        written.push(TokenWithSpan { token, span: tokens[at].span });
                        at = end;
                        continue;
                    }
                } else if ours && is_word(Some(token), "table") {
                    let name = visible(at + 1).filter(|name| {
                        matches!(tokens[*name].token, Token::Word(_) | Token::SingleQuotedString(_))
                    });
                    if let Some(name) = name {
                        let of = |token: Token| TokenWithSpan { token, span: tokens[at].span };
                        let keyword = |text: &str, keyword| {
                            of(Token::Word(Word {
                                value: text.to_owned(),
                                quote_style: None,
                                keyword,
                            }))
                        };
                        let space =
                            || of(Token::Whitespace(sqlparser::tokenizer::Whitespace::Space));
                        written.extend([
                            of(Token::LParen),
                            keyword("SELECT", Keyword::SELECT),
                            space(),
                            of(Token::Mul),
                            space(),
                            keyword("FROM", Keyword::FROM),
                            space(),
                        ]);
                        let mut end = name + 1;
                        while let (Some(dot), Some(next)) =
                            (visible(end), visible(end).and_then(|dot| visible(dot + 1)))
                        {
                            if tokens[dot].token != Token::Period {
                                break;
                            }
                            end = next + 1;
                        }
                        written.extend(tokens[name..end].iter().cloned());
                        written.push(of(Token::RParen));
                        at = end;
                        continue;
                    }
                }
            }
            Token::LParen => open.push(false),
            Token::RParen => {
                open.pop();
            }
            _ => {}
        }
        written.push(token.clone());
        at += 1;
    }
    Ok(written)
}

/// Returns the name of a function that begins here, takes `MODEL name`, and is none of ours.
fn unknown_function(tokens: &[TokenWithSpan], at: usize) -> Option<&str> {
    if !is_word(tokens.get(at), "ml") {
        return None;
    }
    let mut next = tokens.get(at + 1..)?.iter().filter(|token| !is_space(token));
    let [dot, name, paren, model, of] =
        [next.next()?, next.next()?, next.next()?, next.next()?, next.next()?];
    let Token::Word(name) = &name.token else { return None };
    // An ordinary expression may begin with a column of this name: `model IS NULL`.
    let names_one = match &of.token {
        Token::Word(word) => word.quote_style.is_some() || word.keyword == Keyword::NoKeyword,
        _ => false,
    };
    let is_call = dot.token == Token::Period && paren.token == Token::LParen;
    (is_call && is_word(Some(model), "model") && names_one).then_some(name.value.as_str())
}

fn no_such_function(name: &str) -> Error {
    let shown = |name: &str| format!("ML.{}", name.to_uppercase());
    let error = Error::new(
        ErrorKind::UndefinedFunction,
        format!("function {} does not exist", shown(name)),
    );
    match maru_core::did_you_mean(name, TABLE_FUNCTIONS.iter().copied()) {
        Some(near) => error.with_hint(format!("Did you mean {}?", shown(near))),
        None => {
            let all = TABLE_FUNCTIONS.iter().map(|name| shown(name)).collect::<Vec<_>>();
            error.with_hint(format!("Functions on models are {}.", all.join(", ")))
        }
    }
}

/// Writes `threshold => 0.7, …` for `STRUCT(0.7 AS threshold, …)`, as BigQuery names arguments; tells where it ends. `None` for a
/// structure of another form.
fn named_fields(tokens: &[TokenWithSpan], from: usize) -> Option<(Vec<TokenWithSpan>, usize)> {
    let paren = (from + 1..tokens.len()).find(|at| !is_space(&tokens[*at]))?;
    if tokens[paren].token != Token::LParen {
        return None;
    }
    let mut written = Vec::new();
    let mut field = Vec::new();
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(paren + 1) {
        match token.token {
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen if depth == 0 => {
                written.extend(named_field(&field)?);
                return Some((written, at + 1));
            }
            Token::RParen | Token::RBracket => depth = depth.checked_sub(1)?,
            Token::Comma if depth == 0 => {
                written.extend(named_field(&field)?);
                written.push(token.clone());
                field.clear();
                continue;
            }
            _ => {}
        }
        if !is_space(token) {
            field.push(token.clone());
        }
    }
    None
}

/// Writes `name => value` for `value AS name`.
fn named_field(field: &[TokenWithSpan]) -> Option<Vec<TokenWithSpan>> {
    let [value @ .., as_word, name] = field else { return None };
    let is_name = matches!(name.token, Token::Word(_));
    if value.is_empty() || !is_word(Some(as_word), "as") || !is_name {
        return None;
    }
    let arrow = TokenWithSpan { token: Token::RArrow, span: as_word.span };
    let mut written = vec![name.clone(), arrow];
    written.extend_from_slice(value);
    Some(written)
}

/// What `profile(TABLE t)` is called in the syntax tree.
pub const PROFILE: &str = "__profile";

/// Returns the name of a table function that begins here, and where its parenthesis is.
fn function(tokens: &[TokenWithSpan], at: usize) -> Option<(String, usize)> {
    let visible = |from: usize| (from..tokens.len()).find(|at| !is_space(&tokens[*at]));
    let Token::Word(word) = &tokens[at].token else { return None };
    let (name, paren) = if word.value.eq_ignore_ascii_case("ml") {
        let dot = visible(at + 1).filter(|dot| tokens[*dot].token == Token::Period)?;
        let name = visible(dot + 1)?;
        let Token::Word(word) = &tokens[name].token else { return None };
        (word.value.to_lowercase(), visible(name + 1)?)
    } else if word.value.eq_ignore_ascii_case("profile") {
        let paren = visible(at + 1).filter(|paren| tokens[*paren].token == Token::LParen)?;
        let first = visible(paren + 1).map(|first| &tokens[first]);
        // Another function of this name takes no table.
        let is_ours =
            first.is_some_and(|first| first.token == Token::LParen) || is_word(first, "table");
        return is_ours.then(|| (PROFILE.to_owned(), paren));
    } else {
        let name = word.value.to_lowercase().strip_prefix("ml_")?.to_owned();
        (name, visible(at + 1)?)
    };
    let known = TABLE_FUNCTIONS.contains(&name.as_str());
    (known && tokens[paren].token == Token::LParen).then(|| (format!("ml_{name}"), paren))
}

/// Reads `name[.name…][@alias | @version]` or `name VERSION n`; gives it as one text, and where it ends.
fn model_name(tokens: &[TokenWithSpan], from: usize) -> Option<(String, usize)> {
    let visible = |from: usize| (from..tokens.len()).find(|at| !is_space(&tokens[*at]));
    let mut at = visible(from)?;
    let mut text = String::new();
    let mut end = at;
    while let Token::Word(word) = &tokens[at].token {
        let shown = match word.quote_style {
            Some(_) => maru_core::quote_ident(&word.value),
            None => maru_core::quote_ident(&word.value.to_lowercase()),
        };
        text.push_str(&shown);
        end = at + 1;
        match visible(end).map(|next| (next, &tokens[next].token)) {
            Some((dot, Token::Period)) => {
                text.push('.');
                at = visible(dot + 1)?;
            }
            Some((sign, Token::AtSign)) => {
                let next = visible(sign + 1)?;
                match &tokens[next].token {
                    Token::Word(word) => text.push_str(&format!("@{}", word.value.to_lowercase())),
                    Token::Number(number, _) => text.push_str(&format!("@{number}")),
                    _ => return None,
                }
                return Some((text, next + 1));
            }
            Some((word, _)) if is_word(tokens.get(word), "version") => {
                let number = visible(word + 1)?;
                let Token::Number(version, _) = &tokens[number].token else { break };
                text.push_str(&format!("@{version}"));
                return Some((text, number + 1));
            }
            _ => break,
        }
    }
    (!text.is_empty()).then_some((text, end))
}

#[cfg(test)]
mod tests {
    use crate::MaruDialect;
    use sqlparser::tokenizer::Tokenizer;

    use super::*;
    use crate::parse;

    fn rewritten(sql: &str) -> String {
        let tokens = Tokenizer::new(&MaruDialect, sql).tokenize_with_location().unwrap();
        rewrite(tokens).unwrap().iter().map(|token| token.token.to_string()).collect()
    }

    #[test]
    fn writes_calls_that_can_be_read() {
        for (sql, expected) in [
            (
                "SELECT * FROM ML.PREDICT(MODEL mes.Defect, TABLE mes.today) p",
                "SELECT * FROM ml_predict('mes.defect', (SELECT * FROM mes.today)) p",
            ),
            (
                "FROM ml . evaluate ( MODEL \"M\"@prod, (SELECT (1) FROM t), threshold => 0.3)",
                "FROM ml_evaluate( '\"M\"@prod', (SELECT (1) FROM t), threshold => 0.3)",
            ),
            ("FROM ml_weights(MODEL m VERSION 3)", "FROM ml_weights('m@3')"),
            (
                "FROM ML.FORECAST(MODEL m, STRUCT(3 AS horizon, (0.8) AS confidence_level))",
                "FROM ml_forecast('m', horizon=>3,confidence_level=>(0.8))",
            ),
            (
                "FROM ML.DETECT_ANOMALIES(MODEL m, struct ( $1 as contamination ), TABLE t)",
                "FROM ml_detect_anomalies('m', contamination=>$1, (SELECT * FROM t))",
            ),
            ("FROM Profile(TABLE a.b)", "FROM __profile((SELECT * FROM a.b))"),
            ("FROM profile((SELECT 1 AS a)) p", "FROM __profile((SELECT 1 AS a)) p"),
        ] {
            assert_eq!(rewritten(sql), expected);
            let whole =
                if sql.starts_with("FROM") { format!("SELECT * {sql}") } else { sql.to_owned() };
            parse(&whole).unwrap();
        }
        for sql in [
            "SELECT model FROM ml.predict",
            "SELECT ml.pca(x) OVER ()",
            "SELECT f(model, table_)",
            "SELECT profile(a) FROM profile",
            "SELECT ml.f(model IS NULL)",
        ] {
            assert_eq!(rewritten(sql), sql);
        }
        let error = parse("SELECT * FROM ML.PREDICTS(MODEL m, TABLE t)").unwrap_err();
        assert_eq!(error.hint(), Some("Did you mean ML.PREDICT?"));
    }

    #[test]
    fn reads_a_model_with_all_clauses() {
        let sql = "CREATE OR REPLACE MODEL mes.defect \
            TRANSFORM (ML.PCA(ML.MIN_MAX_SCALER(ARRAY[a, b]) OVER (), 3) OVER () AS pc, label) \
            TRAIN WHERE ML.OUTLIER_SCORE(pc, 'isolation_forest', seed => 7) OVER () < 0.65 \
            OPTIONS (model_type = 'logistic_reg', input_label_cols = ['label'], l2_reg = HPARAM_RANGE(0.0, 10.0), \
            l1_reg = HPARAM_CANDIDATES([0, 0.1])) AS SELECT a, b, label FROM t WHERE dt < DATE '2026-01-01'";
        let Statement::Model(statement) = parse(sql).unwrap() else { panic!("no model") };
        let ModelStatement::Create(create) = *statement else { panic!("not made") };
        assert!(create.or_replace && create.train_where.is_some());
        let sql = "CREATE MODEL m OPTIONS (model_type = 'kmeans') WITH (async = true) AS WITH t AS (SELECT 1 AS a) SELECT a FROM t";
        let Statement::Model(statement) = parse(sql).unwrap() else { panic!("no model") };
        let ModelStatement::Create(in_background) = *statement else { panic!("not made") };
        assert_eq!(in_background.options.len(), 2);
        assert_eq!((create.transform.len(), create.options.len()), (2, 4));
        for sql in [
            "ALTER MODEL m SET DEFAULT VERSION 4",
            "ALTER MODEL m ROLLBACK",
            "ALTER MODEL m SET ALIAS prod = 3",
            "ALTER MODEL m SET OPTIONS (description = 'of the press')",
            "DROP MODEL IF EXISTS m VERSION 2",
            "EXPORT MODEL m TO 'hdfs:///m.onnx' (format = 'onnx')",
            "CANCEL TRAINING JOB 3",
            "RETRAIN MODEL m",
            "CREATE MODEL m OPTIONS (model_type = 'onnx', path = 's3://b/m.onnx')",
            "RETRAIN MODEL s.m WHEN DRIFT > 0.25 WITH (async = true)",
        ] {
            assert!(matches!(parse(sql).unwrap(), Statement::Model(_)), "{sql}");
        }
    }
}
