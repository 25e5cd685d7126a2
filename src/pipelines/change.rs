//! `ALTER PIPELINE … SET`: a pipeline's options and schedule change, and its steps stay as they were checked.

use std::sync::Arc;

use maru_core::{Error, Result};
use maru_sql::{PipelineChange, PipelineOption};

use super::Entry;
use super::check::{has_own_value, may_wait, no_option, no_scheduled_value, set_option};
use super::definition::{Body, Options, ScheduleText};
use super::schedule::{Schedule, zone};

/// Changes what is known of a pipeline. If it fails, `entry` may be changed in part.
///
/// # Errors
/// 22023 options, schedules and zones; 0A000 what only a look at the steps could allow.
pub(super) fn apply(entry: &mut Entry, change: &PipelineChange) -> Result<()> {
    match change {
        PipelineChange::Pause(paused) => {
            entry.paused = *paused;
            Ok(())
        }
        PipelineChange::Set(given) => set(entry, given),
        PipelineChange::Reset(names) => reset(entry, names),
        PipelineChange::Schedule { cron, time_zone } => schedule(entry, cron, time_zone.as_deref()),
        PipelineChange::NoSchedule => {
            Arc::make_mut(&mut entry.definition).schedule = None;
            Ok(())
        }
    }
}

fn set(entry: &mut Entry, given: &[PipelineOption]) -> Result<()> {
    let mut options = entry.definition.options.clone();
    for option in given {
        set_option(&mut options, &mut entry.webhook, option)?;
    }
    keep(entry, options)
}

fn reset(entry: &mut Entry, names: &[String]) -> Result<()> {
    let plain = Options::default();
    let mut options = entry.definition.options.clone();
    for name in names {
        match name.to_lowercase().as_str() {
            "retries" => options.retries = plain.retries,
            "retry_wait" => options.retry_wait_ms = plain.retry_wait_ms,
            "timeout" => options.timeout_ms = plain.timeout_ms,
            "step_timeout" => options.step_timeout_ms = plain.step_timeout_ms,
            "catch_up" => options.catch_up = plain.catch_up,
            "max_active_runs" => options.max_active_runs = plain.max_active_runs,
            "parallel" => options.parallel = plain.parallel,
            "publish" => options.publish_at_once = plain.publish_at_once,
            "on_failure" => entry.webhook = None,
            _ => return Err(no_option(name)),
        }
    }
    keep(entry, options)
}

/// Keeps options that the steps go with.
fn keep(entry: &mut Entry, options: Options) -> Result<()> {
    if options.publish_at_once && !entry.definition.options.publish_at_once {
        return Err(Error::unsupported("a pipeline cannot be altered to publish = 'atomic'")
            .with_detail("Its steps were not looked at for that.")
            .with_hint("CREATE OR REPLACE PIPELINE … WITH (publish = 'atomic') looks at them."));
    }
    for step in &entry.definition.steps {
        if matches!(step.body, Body::Expect { retries: true, .. }) {
            may_wait(&step.name, &options)?;
        }
    }
    Arc::make_mut(&mut entry.definition).options = options;
    Ok(())
}

/// Without a zone, the times are those of the zone that the pipeline has.
fn schedule(entry: &mut Entry, cron: &str, time_zone: Option<&str>) -> Result<()> {
    let definition = Arc::make_mut(&mut entry.definition);
    if let Some(name) = time_zone {
        zone(name)?.name().clone_into(&mut definition.time_zone);
    }
    Schedule::new(cron, &definition.time_zone)?;
    let without = definition
        .parameters
        .iter()
        .find(|parameter| !has_own_value(&parameter.data_type, parameter.default.as_deref()));
    if let Some(parameter) = without {
        return Err(no_scheduled_value(&parameter.name));
    }
    let time_zone = definition.time_zone.clone();
    definition.schedule = Some(ScheduleText { cron: cron.to_owned(), time_zone });
    Ok(())
}
