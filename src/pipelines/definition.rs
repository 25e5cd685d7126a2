//! What a pipeline is, in the form in which it is kept.

use std::collections::BTreeMap;

use maru_core::{ErrorKind, Result, ResultExt};
use serde::{Deserialize, Serialize};

use super::schedule::Schedule;

/// A pipeline as it was checked when it was created.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Definition {
    /// Of this form.
    version: u32,
    pub parameters: Vec<Parameter>,
    pub schedule: Option<ScheduleText>,
    pub options: Options,
    /// Where bare names are looked up.
    pub catalog: String,
    pub search_path: String,
    /// The zone that times are shown and cast in.
    pub time_zone: String,
    /// In an order in which each comes after those that it needs.
    pub steps: Vec<Step>,
    /// The steps as they were written. Runs, and what an earlier version has kept, are without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Whether somebody was noted as its owner. One that was made before that was so for all is the superuser's if there is none.
    #[serde(default)]
    pub owned: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Parameter {
    pub name: String,
    pub data_type: String,
    /// An expression over the other values that a run has.
    pub default: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ScheduleText {
    pub cron: String,
    pub time_zone: String,
}

/// What becomes of the times at which nobody could start a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CatchUp {
    None,
    Last,
    All,
}

impl CatchUp {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Last => "last",
            Self::All => "all",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Options {
    /// Tries after the first one.
    pub retries: u32,
    pub retry_wait_ms: u64,
    /// Of a run; zero for none.
    pub timeout_ms: u64,
    /// Of one try of a step; zero for none.
    pub step_timeout_ms: u64,
    pub catch_up: CatchUp,
    pub max_active_runs: usize,
    /// Steps of one run side by side.
    pub parallel: usize,
    /// Whether what the steps write is seen when all of them have succeeded.
    #[serde(default)]
    pub publish_at_once: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            retries: 0,
            retry_wait_ms: 60_000,
            timeout_ms: 0,
            step_timeout_ms: 0,
            catch_up: CatchUp::Last,
            max_active_runs: 1,
            parallel: 4,
            publish_at_once: false,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Step {
    pub name: String,
    /// All steps that come before it at once: those it names, and those found from its tables.
    pub after: Vec<String>,
    pub when: Option<String>,
    /// Of a loop: its variable and this step's value, as SQL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<(String, String)>,
    pub body: Body,
    /// Full names, sorted.
    pub reads: Vec<String>,
    pub writes: Vec<String>,
    pub again: Again,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Body {
    Statement(String),
    Expect {
        name: String,
        query: String,
        fails: bool,
        /// It is asked again before it fails: what it waits for may come.
        #[serde(default)]
        retries: bool,
    },
}

impl Step {
    /// Returns what stands for names in this step: the values of the run, and its own.
    pub(crate) fn values(&self, of_run: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        with_value(of_run, self.value.as_ref())
    }
}

/// Adds the value of a loop to others.
pub(super) fn with_value(
    values: &BTreeMap<String, String>,
    of_loop: Option<&(String, String)>,
) -> BTreeMap<String, String> {
    let mut values = values.clone();
    values.extend(of_loop.cloned());
    values
}

impl Body {
    pub(crate) fn sql(&self) -> &str {
        match self {
            Self::Statement(sql) | Self::Expect { query: sql, .. } => sql,
        }
    }
}

/// What a second try of a step does if nobody knows how the first one ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Again {
    /// It writes nothing.
    Reads,
    /// The target keeps the work with what is committed, and the second try finds it.
    Kept,
    /// It ends in the same rows, however often it is done.
    Same,
    /// It could write rows twice: it is not tried again by itself.
    Unknown,
}

impl Again {
    pub(crate) fn may_repeat(self) -> bool {
        self != Self::Unknown
    }

    pub(crate) fn doc(self) -> &'static str {
        match self {
            Self::Reads => "reads only",
            Self::Kept => "the target remembers the commit",
            Self::Same => "gives the same rows again",
            Self::Unknown => "asks: a lost commit may have happened",
        }
    }
}

impl Definition {
    pub(crate) const VERSION: u32 = 1;

    pub(crate) fn new(
        parameters: Vec<Parameter>,
        schedule: Option<ScheduleText>,
        options: Options,
        catalog: String,
        search_path: String,
        time_zone: String,
        steps: Vec<Step>,
    ) -> Self {
        Self {
            version: Self::VERSION,
            parameters,
            schedule,
            options,
            catalog,
            search_path,
            time_zone,
            steps,
            body: None,
            owned: true,
        }
    }

    pub(crate) fn encode(&self) -> Result<String> {
        serde_json::to_string(self)
            .or_error(ErrorKind::Internal, || "could not encode a pipeline".to_owned())
    }

    /// Returns the form that is kept with each run.
    pub(crate) fn encode_for_run(&self) -> Result<String> {
        Self { body: None, ..self.clone() }.encode()
    }

    /// # Errors
    /// XX001 for what this version cannot read.
    pub(crate) fn decode(text: &str) -> Result<Self> {
        serde_json::from_str(text)
            .or_error(ErrorKind::DataCorrupted, || "a stored pipeline is damaged".to_owned())
    }

    pub(crate) fn step(&self, name: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.name == name)
    }

    /// # Errors
    /// 22023 for a zone that is not known any more.
    pub(crate) fn schedule(&self) -> Result<Option<Schedule>> {
        let text = self.schedule.as_ref();
        text.map(|text| Schedule::new(&text.cron, &text.time_zone)).transpose()
    }
}
