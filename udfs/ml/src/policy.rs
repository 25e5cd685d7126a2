//! What becomes of rows to predict that are not as those of training: NULL in a column, a category that training did not see.

use arrow::array::{Array, ArrayRef};
use maru_core::{Error, ErrorKind, Result};
use maru_ml_kernels::{Frame, Task};

use crate::manifest::Version;

/// What is done with such a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Treatment {
    /// It is predicted, with what training has learnt for this.
    #[default]
    Fill,
    /// Its predictions are NULL.
    Null,
    /// The statement fails.
    Error,
}

impl Treatment {
    /// Reads `'fill'`, `'null'` or `'error'`.
    pub fn named(name: &str) -> Option<Self> {
        match name.to_lowercase().as_str() {
            "fill" => Some(Self::Fill),
            "null" => Some(Self::Null),
            "error" => Some(Self::Error),
            _ => None,
        }
    }
}

/// What a statement says of its rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Policy {
    pub on_null: Treatment,
    pub on_unseen: Treatment,
}

const HINT: &str =
    "'fill' predicts such rows with what training has learnt for them, 'null' gives NULL for them.";

impl Policy {
    /// # Errors
    /// 0A000 for what nothing is known of.
    pub(crate) fn check(&self, version: &Version) -> Result<()> {
        if version.runtime.is_some() && self.on_unseen != Treatment::Fill {
            return Err(Error::unsupported("on_unseen is not known of an imported model")
                .with_detail("The categories that it was trained on stand nowhere in its file.")
                .with_hint("Leave on_unseen out, and filter the rows of the query."));
        }
        Ok(())
    }

    /// Returns the rows whose predictions are NULL; `None` if there are none.
    ///
    /// # Errors
    /// 22004 and 22023 if it is said that such rows are errors.
    pub(crate) fn left_out(
        &self,
        version: &Version,
        frame: &Frame,
        task: &Task,
    ) -> Result<Option<Vec<bool>>> {
        let mut left_out = None;
        if self.on_null != Treatment::Fill {
            for (name, column) in &frame.columns {
                let rows = (0..column.len()).map(|row| column.text(row).is_none());
                self.nulls(name, rows.collect(), &mut left_out)?;
            }
        }
        if self.on_unseen != Treatment::Fill {
            let unseen = version.artifact.pipeline.unseen(frame, task)?;
            if let (Treatment::Error, Some((column, category))) = (self.on_unseen, &unseen.example)
            {
                return Err(Error::new(
                    ErrorKind::InvalidParameter,
                    format!("column \"{column}\" has a category that training did not see"),
                )
                .with_detail(format!("It is \"{category}\"."))
                .with_hint(format!("on_unseen says what becomes of it: {HINT}")));
            }
            merge(&mut left_out, unseen.rows);
        }
        Ok(left_out)
    }

    /// The same of the columns of an imported model.
    ///
    /// # Errors
    /// 22004 if it is said that NULL is an error.
    pub(crate) fn left_out_of_arrays(
        &self,
        version: &Version,
        arrays: &[ArrayRef],
    ) -> Result<Option<Vec<bool>>> {
        let mut left_out = None;
        if self.on_null != Treatment::Fill {
            for ((name, _), array) in version.artifact.pipeline.inputs.iter().zip(arrays) {
                let rows = match array.logical_nulls() {
                    Some(nulls) => nulls.iter().map(|valid| !valid).collect(),
                    None => Vec::new(),
                };
                self.nulls(name, rows, &mut left_out)?;
            }
        }
        Ok(left_out)
    }

    fn nulls(&self, name: &str, rows: Vec<bool>, left_out: &mut Option<Vec<bool>>) -> Result<()> {
        if self.on_null == Treatment::Error && rows.contains(&true) {
            return Err(Error::new(
                ErrorKind::NullNotAllowed,
                format!("column \"{name}\" of the rows to predict has NULL"),
            )
            .with_hint(format!("on_null says what becomes of it: {HINT}")));
        }
        merge(left_out, rows);
        Ok(())
    }
}

/// Adds rows to those that are left out.
pub(crate) fn merge(left_out: &mut Option<Vec<bool>>, rows: Vec<bool>) {
    if !rows.contains(&true) {
        return;
    }
    match left_out {
        Some(known) => known.iter_mut().zip(rows).for_each(|(known, more)| *known |= more),
        None => *left_out = Some(rows),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_left_out_for_any_reason() {
        let mut left_out = None;
        merge(&mut left_out, vec![false, false, false]);
        assert_eq!(left_out, None);
        merge(&mut left_out, vec![false, true, false]);
        merge(&mut left_out, Vec::new());
        merge(&mut left_out, vec![true, false, false]);
        assert_eq!(left_out, Some(vec![true, true, false]));
        assert_eq!(Treatment::named("NULL"), Some(Treatment::Null));
        assert_eq!(Treatment::named("skip"), None);
    }
}
