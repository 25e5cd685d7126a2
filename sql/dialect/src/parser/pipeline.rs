//! `CREATE PIPELINE`, and the other statements on pipelines and their runs.
//!
//! Steps are statements in a statement: they are cut out of the text as they stand, so that the places of errors in them can be told
//! in the whole, and so that they are read by the same rules as anywhere else.

mod steps;

use crate::MaruDialect;
use maru_core::{Error, ErrorKind, Result, line_column};
use sqlparser::ast;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use datafusion::sql::parser::DFParserBuilder;

use super::Words;
use crate::statement::*;
use steps::Steps;

/// Reads the words of `CREATE PIPELINE`; `None` for any other statement.
pub(super) fn create(sql: &str, tokens: &[TokenWithSpan]) -> Result<Option<Statement>> {
    let visible = tokens.iter().filter(|token| !is_space(&token.token)).collect::<Vec<_>>();
    let sees = |words: &[&str]| {
        words.iter().enumerate().all(|(i, word)| visible.get(i).is_some_and(|t| is_word(t, word)))
    };
    let or_replace = sees(&["create", "or", "replace", "pipeline"]);
    if !or_replace && !sees(&["create", "pipeline"]) {
        return Ok(None);
    }
    let places = Places::new(sql);
    let mut depth = 0_usize;
    let body = visible.iter().position(|token| {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && is_word(token, "as")
    });
    let head = body.map_or(visible.as_slice(), |body| &visible[..body]);
    let head = head.iter().map(|token| (*token).clone()).collect::<Vec<_>>();
    let mut words = Words(
        DFParserBuilder::new(head)
            .with_dialect(&MaruDialect)
            .with_recursion_limit(maru_core::limits::NESTING_MAX)
            .build()?,
    );
    let mut create = words.pipeline_head(or_replace, &places)?;
    let Some(body) = body else { return Err(words.unexpected("AS BEGIN")) };
    let body_words = &visible[body + 1..];
    let first = body_words.first().copied();
    let (text, offset) = match first.map(|token| &token.token) {
        Some(Token::DollarQuotedString(text)) => {
            let start = first.map_or(0, |token| places.start(token));
            let tag = text.tag.as_deref().map_or(0, |tag| tag.chars().count());
            if let Some(more) = body_words.get(1).filter(|token| token.token != Token::EOF) {
                return Err(unexpected(&places, Some(*more), "end of statement"));
            }
            (text.value.clone(), start + tag + 2)
        }
        Some(Token::Word(word)) if word.value.eq_ignore_ascii_case("begin") => {
            let end = body_words.iter().rposition(|token| token.token != Token::EOF).unwrap_or(0);
            if end == 0 || !is_word(body_words[end], "end") {
                return Err(unexpected(&places, None, "END behind the last step"));
            }
            let start = first.map_or(0, |token| places.start(token)) + "begin".len();
            (places.slice(start, places.start(body_words[end])), start)
        }
        _ => return Err(unexpected(&places, first, "BEGIN, or the steps in $$ … $$")),
    };
    create.steps = Steps::new(sql, &text, offset)?.read()?;
    create.body = text;
    if create.steps.is_empty() {
        return Err(Error::new(ErrorKind::Syntax, "a pipeline needs a step")
            .with_hint("STEP name AS statement;"));
    }
    Ok(Some(Statement::Pipeline(Box::new(PipelineStatement::Create(Box::new(create))))))
}

fn is_space(token: &Token) -> bool {
    matches!(token, Token::Whitespace(_))
}

fn is_word(token: &TokenWithSpan, wanted: &str) -> bool {
    matches!(&token.token, Token::Word(word)
        if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted))
}

fn unexpected(places: &Places<'_>, token: Option<&TokenWithSpan>, expected: &str) -> Error {
    let token = token.filter(|token| token.token != Token::EOF);
    let (message, offset) = match token {
        Some(token) => {
            (format!("syntax error at or near \"{}\"", token.token), places.start(token))
        }
        None => ("syntax error at end of input".to_owned(), places.chars.len()),
    };
    let (line, column) = line_column(places.sql, offset);
    Error::new(ErrorKind::Syntax, message)
        .with_detail(format!("Expected {expected}."))
        .with_line_column(line, column)
}

/// Where tokens stand in a text, in characters.
struct Places<'a> {
    sql: &'a str,
    chars: Vec<char>,
    lines: Vec<usize>,
}

impl<'a> Places<'a> {
    fn new(sql: &'a str) -> Self {
        let chars = sql.chars().collect::<Vec<_>>();
        let mut lines = vec![0];
        lines.extend(chars.iter().enumerate().filter(|(_, c)| **c == '\n').map(|(i, _)| i + 1));
        Self { sql, chars, lines }
    }

    fn at(&self, place: sqlparser::tokenizer::Location) -> usize {
        let line = usize::try_from(place.line).unwrap_or(1).saturating_sub(1);
        let column = usize::try_from(place.column).unwrap_or(1).saturating_sub(1);
        (self.lines.get(line).copied().unwrap_or(0) + column).min(self.chars.len())
    }

    fn start(&self, token: &TokenWithSpan) -> usize {
        match token.token {
            Token::EOF => self.chars.len(),
            _ => self.at(token.span.start),
        }
    }

    fn slice(&self, from: usize, to: usize) -> String {
        self.chars[from.min(to)..to].iter().collect()
    }

    /// The text between two places without white space around it, and where it begins.
    fn part(&self, mut from: usize, mut to: usize) -> (String, usize) {
        while from < to && self.chars[from].is_whitespace() {
            from += 1;
        }
        while to > from && self.chars[to - 1].is_whitespace() {
            to -= 1;
        }
        (self.slice(from, to), from)
    }
}

impl Words<'_> {
    fn pipeline_head(&mut self, or_replace: bool, places: &Places<'_>) -> Result<CreatePipeline> {
        let opening: &[&str] = match or_replace {
            true => &["create", "or", "replace", "pipeline"],
            false => &["create", "pipeline"],
        };
        self.expect(opening)?;
        let if_not_exists = self.take(&["if", "not", "exists"]);
        let name = self.name()?;
        let mut parameters = Vec::new();
        if self.0.parser.consume_token(&Token::LParen) {
            while !self.0.parser.consume_token(&Token::RParen) {
                if !parameters.is_empty() {
                    self.token(&Token::Comma, ", or )")?;
                }
                let offset = places.at(self.0.parser.peek_token().span.start);
                let name = self.ident()?;
                let data_type = self.0.parser.parse_data_type()?.to_string();
                let default = match self.take(&["default"]) {
                    true => Some(self.0.parser.parse_expr()?.to_string()),
                    false => None,
                };
                parameters.push(PipelineParameter { name, data_type, default, offset });
            }
        }
        let (mut schedule, mut options) = (None, Vec::new());
        loop {
            if schedule.is_none() && self.take(&["schedule"]) {
                let cron_offset = places.at(self.0.parser.peek_token().span.start);
                let cron = self.string()?;
                let mut zone_offset = cron_offset;
                let mut time_zone = None;
                if self.take(&["time", "zone"]) {
                    zone_offset = places.at(self.0.parser.peek_token().span.start);
                    time_zone = Some(self.string()?);
                }
                schedule = Some(PipelineSchedule { cron, cron_offset, time_zone, zone_offset });
            } else if options.is_empty() && self.take(&["with"]) {
                options = self.pipeline_options(places)?;
            } else {
                break;
            }
        }
        if self.0.parser.peek_token().token != Token::EOF {
            return Err(self.unexpected("SCHEDULE, WITH or AS"));
        }
        Ok(CreatePipeline {
            name,
            or_replace,
            if_not_exists,
            parameters,
            schedule,
            options,
            body: String::new(),
            steps: Vec::new(),
        })
    }

    fn pipeline_options(&mut self, places: &Places<'_>) -> Result<Vec<PipelineOption>> {
        let mut options: Vec<PipelineOption> = Vec::new();
        self.token(&Token::LParen, "(")?;
        while !self.0.parser.consume_token(&Token::RParen) {
            if !options.is_empty() {
                self.token(&Token::Comma, ", or )")?;
            }
            let place = self.0.parser.peek_token().span.start;
            let name = self.ident()?.to_lowercase();
            if options.iter().any(|known| known.name == name) {
                return Err(Error::new(
                    ErrorKind::Syntax,
                    format!("option {name} is given more than once"),
                )
                .with_line_column(place.line as usize, place.column as usize));
            }
            self.token(&Token::Eq, "=")?;
            let is_webhook = self.take(&["webhook"]);
            let value = match is_webhook {
                true => {
                    self.token(&Token::LParen, "(")?;
                    let url = self.string()?;
                    self.token(&Token::RParen, ")")?;
                    url
                }
                false => self.option_value()?,
            };
            options.push(PipelineOption { name, value, is_webhook, offset: places.at(place) });
        }
        Ok(options)
    }

    /// Reads a statement on pipelines other than `CREATE`; `None` leaves the text untouched.
    pub(super) fn pipeline(&mut self) -> Result<Option<Statement>> {
        let statement = if self.take(&["drop", "pipeline"]) {
            let if_exists = self.take(&["if", "exists"]);
            PipelineStatement::Drop { name: self.name()?, if_exists }
        } else if self.take(&["alter", "pipeline"]) {
            let name = self.name()?;
            PipelineStatement::Alter { name, change: self.pipeline_change()? }
        } else if self.take(&["show", "create", "pipeline"]) {
            PipelineStatement::ShowCreate(self.name()?)
        } else if self.take(&["run", "pipeline"]) {
            let name = self.name()?;
            let arguments = self.run_arguments()?;
            let options = self.with_options()?;
            PipelineStatement::Run(RunPipeline { name, arguments, options })
        } else if self.take(&["backfill", "pipeline"]) {
            let name = self.name()?;
            self.expect(&["from"])?;
            let from = self.range_end()?;
            self.expect(&["to"])?;
            let to = self.range_end()?;
            let options = self.with_options()?;
            PipelineStatement::Backfill(BackfillPipeline { name, from, to, options })
        } else if self.take(&["explain", "pipeline"]) {
            PipelineStatement::Explain(self.name()?)
        } else if self.take(&["cancel", "run"]) {
            PipelineStatement::CancelRun(self.whole_number("the number of a run")?)
        } else if self.take(&["resume", "run"]) {
            let run = self.whole_number("the number of a run")?;
            PipelineStatement::ResumeRun { run, options: self.with_options()? }
        } else {
            return Ok(None);
        };
        Ok(Some(Statement::Pipeline(Box::new(statement))))
    }

    fn pipeline_change(&mut self) -> Result<PipelineChange> {
        if self.take(&["pause"]) {
            Ok(PipelineChange::Pause(true))
        } else if self.take(&["resume"]) {
            Ok(PipelineChange::Pause(false))
        } else if self.take(&["set", "schedule"]) {
            let cron = self.string()?;
            let time_zone = if self.take(&["time", "zone"]) { Some(self.string()?) } else { None };
            Ok(PipelineChange::Schedule { cron, time_zone })
        } else if self.take(&["drop", "schedule"]) {
            Ok(PipelineChange::NoSchedule)
        } else if self.take(&["set"]) {
            Ok(PipelineChange::Set(self.pipeline_options(&Places::new(""))?))
        } else if self.take(&["reset"]) {
            self.token(&Token::LParen, "(")?;
            let mut names = vec![self.ident()?];
            while self.0.parser.consume_token(&Token::Comma) {
                names.push(self.ident()?);
            }
            self.token(&Token::RParen, ")")?;
            Ok(PipelineChange::Reset(names))
        } else {
            Err(self.unexpected("PAUSE, RESUME, SET, RESET, DROP SCHEDULE or OWNER TO"))
        }
    }

    fn range_end(&mut self) -> Result<RangeEnd> {
        if let Token::Placeholder(written) = self.0.parser.peek_token().token {
            self.0.parser.next_token();
            return Ok(RangeEnd::Value(written));
        }
        self.string().map(RangeEnd::Text)
    }

    fn with_options(&mut self) -> Result<OptionList> {
        if self.take(&["with"]) { self.option_list() } else { Ok(OptionList::default()) }
    }

    fn run_arguments(&mut self) -> Result<Vec<(String, String)>> {
        let mut arguments: Vec<(String, String)> = Vec::new();
        if !self.0.parser.consume_token(&Token::LParen) {
            return Ok(arguments);
        }
        while !self.0.parser.consume_token(&Token::RParen) {
            if !arguments.is_empty() {
                self.token(&Token::Comma, ", or )")?;
            }
            let name = self.ident()?;
            self.token(&Token::RArrow, "=>")?;
            let value: ast::Expr = self.0.parser.parse_expr()?;
            arguments.push((name, value.to_string()));
        }
        Ok(arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    const DAILY: &str = "CREATE OR REPLACE PIPELINE mart.daily (target date, n int DEFAULT 1 + 2)
  SCHEDULE '0 2 * * *' TIME ZONE 'Asia/Seoul'
  WITH (retries = 3, on_failure = webhook('https://h/x'))
AS BEGIN
  STEP a AS INSERT INTO t SELECT CASE WHEN x THEN 1 END FROM u WHERE dt = :target;
  STEP b AFTER a WHEN (SELECT (true)) AS DELETE FROM t;
  STEP c EXPECT 'some; rows' (SELECT count(*) > 0 FROM t) ON VIOLATION WARN;
END";

    #[test]
    fn a_loop_is_a_step_for_each_value() {
        let sql = "CREATE PIPELINE p AS BEGIN
  STEP load FOR region IN ('a, b', -3, DATE '2026-01-01', NULL) AS INSERT INTO t VALUES (:region);
  STEP last AFTER load AS SELECT 1;
END";
        let steps = created(sql).steps;
        let values = steps.iter().filter_map(|step| step.value.as_ref());
        let values = values.map(|(name, value)| format!("{name} = {value}")).collect::<Vec<_>>();
        assert_eq!(
            values,
            ["region = 'a, b'", "region = (-3)", "region = DATE '2026-01-01'", "region = NULL"]
        );
        let after = steps[4].after.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>();
        assert_eq!(after, ["load_1", "load_2", "load_3", "load_4"]);
        for wrong in ["FOR x IN ()", "FOR x IN (a)", "FOR x IN (1", "FOR x (1)", "FOR x IN (- 'a')"]
        {
            let sql = sql.replace("FOR region IN ('a, b', -3, DATE '2026-01-01', NULL)", wrong);
            assert_eq!(parse(&sql).unwrap_err().sqlstate(), "42601", "{wrong}");
        }
    }

    fn created(sql: &str) -> CreatePipeline {
        match parse(sql).unwrap() {
            Statement::Pipeline(statement) => match *statement {
                PipelineStatement::Create(create) => *create,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reads_a_pipeline_with_places() {
        let create = created(DAILY);
        assert_eq!(create.parameters[1].default.as_deref(), Some("1 + 2"));
        assert_eq!(create.schedule.unwrap().time_zone.as_deref(), Some("Asia/Seoul"));
        assert!(create.options[1].is_webhook);
        let [a, b, c] = create.steps.as_slice() else { panic!("three steps") };
        let StepBody::Statement(part) = &a.body else { panic!("a statement") };
        let cut = DAILY.chars().skip(part.offset).take(6).collect::<String>();
        assert_eq!((cut.as_str(), part.text.ends_with(":target")), ("INSERT", true));
        assert_eq!(b.after[0].0, "a");
        assert_eq!(b.when.as_ref().unwrap().text, "SELECT (true)");
        assert!(
            matches!(&c.body, StepBody::Expect { name, fails: false, .. } if name == "some; rows")
        );
        assert_eq!(crate::split(&format!("{DAILY}; SELECT 1")).unwrap().len(), 2);
    }

    #[test]
    fn reads_what_a_pipeline_is_changed_to() {
        let change = |sql: &str| match parse(&format!("ALTER PIPELINE mart.p {sql}")).unwrap() {
            Statement::Pipeline(statement) => match *statement {
                PipelineStatement::Alter { change, .. } => change,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
        let PipelineChange::Set(options) =
            change("SET (retries = 5, on_failure = webhook('https://h/x'))")
        else {
            panic!("options")
        };
        assert_eq!((options[0].value.as_str(), options[1].is_webhook), ("5", true));
        assert!(
            matches!(change("RESET (retries, timeout)"), PipelineChange::Reset(names) if names.len() == 2)
        );
        assert!(matches!(
            change("SET SCHEDULE '0 2 * * *' TIME ZONE 'Asia/Seoul'"),
            PipelineChange::Schedule { time_zone: Some(_), .. }
        ));
        assert!(matches!(change("DROP SCHEDULE"), PipelineChange::NoSchedule));
        for wrong in ["SET", "SET schedule", "RESET ()", "DROP", "SET (retries 5)"] {
            let error = parse(&format!("ALTER PIPELINE p {wrong}")).unwrap_err();
            assert_eq!(error.sqlstate(), "42601", "{wrong}");
        }
    }

    #[test]
    fn reads_steps_in_dollars() {
        let sql = "create pipeline p as $x$ step a as select 1; $x$";
        let StepBody::Statement(part) = created(sql).steps[0].body.clone() else { panic!() };
        assert_eq!((part.text.as_str(), part.offset), ("select 1", 35));
    }

    #[test]
    fn errors_have_their_place_in_the_whole() {
        for (sql, place) in [
            ("CREATE PIPELINE p AS BEGIN\n STEP a SELECT 1; END", (2, 9)),
            ("CREATE PIPELINE p (a) AS BEGIN STEP a AS SELECT 1; END", (1, 21)),
            ("CREATE PIPELINE p AS SELECT 1", (1, 22)),
            ("CREATE PIPELINE p AS $$\nSTEP a AS ; $$", (2, 11)),
            ("CREATE PIPELINE p AS BEGIN STEP a WHEN SELECT 1; END", (1, 40)),
        ] {
            let error = parse(sql).unwrap_err();
            let (line, column) =
                line_column(sql, error.clone().locate(sql, 0).position().unwrap() - 1);
            assert_eq!((error.sqlstate(), (line, column)), ("42601", place), "{sql}: {error:?}");
        }
    }
}
