//! Which files of a table are looked into to find its columns.

use maru_core::limits::INFER_FILES_MAX;
use object_store::ObjectMeta;

/// Files taken by their names, and as many by their age.
const HALF: usize = INFER_FILES_MAX / 2;

/// The first files by name and the newest: tables that grow get their new columns at the end. Does not depend on the
/// order of the listing.
#[derive(Debug, Default)]
pub(crate) struct Sample {
    first: Vec<ObjectMeta>,
    newest: Vec<ObjectMeta>,
}

impl Sample {
    /// Takes a file into account; one that was added before changes nothing.
    pub(crate) fn add(&mut self, meta: ObjectMeta) {
        let mut taken = self.first.iter().chain(&self.newest);
        if taken.any(|file| file.location == meta.location) {
            return;
        }
        let at = self.first.partition_point(|file| file.location < meta.location);
        let left_over = if at < HALF {
            self.first.insert(at, meta);
            (self.first.len() > HALF).then(|| self.first.pop()).flatten()
        } else {
            Some(meta)
        };
        let Some(meta) = left_over else { return };
        let is_newer = |file: &ObjectMeta| {
            (file.last_modified, &file.location) > (meta.last_modified, &meta.location)
        };
        let at = self.newest.partition_point(is_newer);
        if at < HALF {
            self.newest.insert(at, meta);
            self.newest.truncate(HALF);
        }
    }

    /// Returns the files in the order of their names.
    pub(crate) fn files(self) -> Vec<ObjectMeta> {
        let mut files = self.first;
        files.extend(self.newest);
        files.sort_by(|a, b| a.location.cmp(&b.location));
        files
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;
    use object_store::path::Path;

    #[test]
    fn takes_the_first_and_the_newest_whatever_the_order() {
        let file = |n: i64, age: i64| ObjectMeta {
            location: Path::from(format!("f{n:03}")),
            last_modified: DateTime::from_timestamp(age, 0).unwrap(),
            size: 1,
            e_tag: None,
            version: None,
        };
        // The newest ones lie in the middle.
        let all = (0..100).map(|n| file(n, if (40..50).contains(&n) { 1000 + n } else { n }));
        let mut all = all.collect::<Vec<_>>();
        let wanted = (0..8).chain(42..50).map(|n| format!("f{n:03}")).collect::<Vec<_>>();
        for turned in [false, true] {
            if turned {
                all.reverse();
            }
            let mut sample = Sample::default();
            all.iter().chain(&all).cloned().for_each(|meta| sample.add(meta));
            let names = sample.files().iter().map(|m| m.location.to_string()).collect::<Vec<_>>();
            assert_eq!(names, wanted);
        }
    }
}
