//! How time series go on, as rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Float64Array, StructArray, TimestampMicrosecondArray};
use maru_core::Result;
use maru_ml_kernels::Task;
use maru_ml_kernels::model::Model;
use maru_ml_kernels::seasonal::TimeUnit;

use super::{Table, two_sided, wrong_kind};
use crate::manifest::Version;

/// How each series goes on: a row for each step, with the interval that the value lies in by this chance.
pub fn forecast(version: &Version, horizon: usize, level: f64, task: &Task) -> Result<StructArray> {
    let Model::Forecasts(forecasts) = &version.artifact.model else {
        return Err(wrong_kind(version, "forecast", "model_type 'holt_winters' has one"));
    };
    let z = quantile(0.5 + level / 2.0);
    let seed = version.manifest.seed;
    let ahead = task.map(forecasts.series.len(), |index| {
        forecasts.series[index].model.ahead(horizon, seed, task)
    })?;
    let mut table = Table::default();
    let each = |n: usize| std::iter::repeat_n(n, horizon);
    let of = || (0..forecasts.series.len()).flat_map(each);
    if let Some((name, _)) = version.artifact.pipeline.inputs.get(1) {
        table = table.text(name, of().map(|index| forecasts.series[index].name.as_deref()));
    }
    let times = forecasts.series.iter().flat_map(|series| {
        (1..=horizon).map(move |steps| series.step.after(series.last, steps, forecasts.unit))
    });
    let times: ArrayRef = match forecasts.unit {
        TimeUnit::Days => Arc::new(Date32Array::from_iter_values(times.map(|days| days as i32))),
        TimeUnit::Seconds | TimeUnit::Instants => {
            let micros = times.map(|seconds| (seconds * 1e6).round() as i64);
            let zone = (forecasts.unit == TimeUnit::Instants).then_some("UTC");
            Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone_opt(zone))
        }
        TimeUnit::Number => Arc::new(Float64Array::from_iter_values(times)),
    };
    let all = ahead.concat();
    // Where there is no forecast, there is no interval.
    let known = |value: f64| value.is_finite().then_some(value);
    table
        .add("forecast_timestamp", times)
        .number("forecast_value", all.iter().map(|a| known(a.value)))
        .number("standard_error", all.iter().map(|a| known(a.deviation)))
        .number("confidence_level", all.iter().map(|_| Some(level)))
        .number(
            "prediction_interval_lower_bound",
            all.iter().map(|a| known(a.value - z * a.deviation)),
        )
        .number(
            "prediction_interval_upper_bound",
            all.iter().map(|a| known(a.value + z * a.deviation)),
        )
        .rows()
}

/// The number that a normally distributed one lies below with this chance, by halving what [`two_sided`] tells.
fn quantile(chance: f64) -> f64 {
    let (mut low, mut high) = (0.0, 40.0);
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if 1.0 - 0.5 * two_sided(middle) < chance { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_tables() {
        for (chance, z) in [(0.5, 0.0), (0.975, 1.959_963_984_540_054), (0.9, 1.281_551_565_544_6)]
        {
            assert!((quantile(chance) - z).abs() < 1e-9, "{chance}: {}", quantile(chance));
        }
    }
}
