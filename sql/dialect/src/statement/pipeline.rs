//! Statements on pipelines and their runs.

use super::{Name, OptionList};

#[derive(Debug, Clone)]
pub enum PipelineStatement {
    Create(Box<CreatePipeline>),
    /// `DROP PIPELINE [IF EXISTS] name`
    Drop {
        name: Name,
        if_exists: bool,
    },
    /// `ALTER PIPELINE name …`
    Alter {
        name: Name,
        change: PipelineChange,
    },
    /// `SHOW CREATE PIPELINE name`
    ShowCreate(Name),
    Run(RunPipeline),
    Backfill(BackfillPipeline),
    /// `EXPLAIN PIPELINE name`
    Explain(Name),
    /// `CANCEL RUN n`
    CancelRun(i64),
    /// `RESUME RUN n [WITH (unknown = 'repeat' | 'done')]`
    ResumeRun {
        run: i64,
        options: OptionList,
    },
}

/// What `ALTER PIPELINE` changes.
#[derive(Debug, Clone)]
pub enum PipelineChange {
    /// `PAUSE`, or `RESUME`
    Pause(bool),
    /// `SET (option = value, …)`; their offsets say nothing.
    Set(Vec<PipelineOption>),
    /// `RESET (option, …)`
    Reset(Vec<String>),
    /// `SET SCHEDULE 'cron' [TIME ZONE 'zone']`
    Schedule { cron: String, time_zone: Option<String> },
    /// `DROP SCHEDULE`
    NoSchedule,
}

/// `CREATE [OR REPLACE] PIPELINE [IF NOT EXISTS] name [(parameter type [DEFAULT value], …)] [SCHEDULE 'cron' [TIME ZONE 'zone']]
/// [WITH (…)] AS BEGIN step; … END`. Offsets are characters from the start of the statement.
#[derive(Debug, Clone)]
pub struct CreatePipeline {
    pub name: Name,
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub parameters: Vec<PipelineParameter>,
    pub schedule: Option<PipelineSchedule>,
    pub options: Vec<PipelineOption>,
    /// What stands between `BEGIN` and `END`, as it was written.
    pub body: String,
    pub steps: Vec<PipelineStep>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineParameter {
    pub name: String,
    pub data_type: String,
    /// An expression, as it was written.
    pub default: Option<String>,
    pub offset: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineSchedule {
    pub cron: String,
    pub cron_offset: usize,
    pub time_zone: Option<String>,
    pub zone_offset: usize,
}

/// `name = value`, or `name = webhook('url')`.
#[derive(Clone, PartialEq, Eq)]
pub struct PipelineOption {
    pub name: String,
    pub value: String,
    pub is_webhook: bool,
    pub offset: usize,
}

impl std::fmt::Debug for PipelineOption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The address of a webhook is as good as a password.
        f.write_str(&self.name)
    }
}

/// `STEP name [FOR variable IN (literal, …)] [AFTER step, …] [WHEN (query)] { AS statement | EXPECT 'name' (query) [ON VIOLATION
/// FAIL | WARN | RETRY] }`. A loop comes as a step for each value, `name_1` and so on; `AFTER name` is after all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineStep {
    pub name: String,
    pub offset: usize,
    /// Of a loop: its variable and this step's value, as SQL.
    pub value: Option<(String, String)>,
    /// Names with their offsets.
    pub after: Vec<(String, usize)>,
    pub when: Option<SqlPart>,
    pub body: StepBody,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepBody {
    Statement(SqlPart),
    Expect {
        name: String,
        query: SqlPart,
        fails: bool,
        /// It is asked again, as often as the pipeline's steps are tried, before it fails.
        retries: bool,
    },
}

/// A part of a text that is SQL itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlPart {
    pub text: String,
    pub offset: usize,
}

/// `RUN PIPELINE name [(parameter => value, …)] [WITH (async = true, steps = 'step, …', from_step = 'step')]`
#[derive(Debug, Clone)]
pub struct RunPipeline {
    pub name: Name,
    /// Expressions, as they were written.
    pub arguments: Vec<(String, String)>,
    pub options: OptionList,
}

/// `BACKFILL PIPELINE name FROM 'time' TO 'time' [WITH (again = true)]`
#[derive(Debug, Clone)]
pub struct BackfillPipeline {
    pub name: Name,
    pub from: RangeEnd,
    pub to: RangeEnd,
    pub options: OptionList,
}

/// One end of a range of times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RangeEnd {
    Text(String),
    /// `$1`: the text comes beside the statement.
    Value(String),
}
