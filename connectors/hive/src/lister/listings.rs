//! Directories that need not be listed again, since nothing was made, removed or renamed in them.
//!
//! Ten thousand partitions are ten thousand questions to a NameNode, whereas it tells of a thousand directories at once when
//! each of them changed. What that does not tell (a file that grows where it lies) is seen when the table is opened anew,
//! after `CATALOG_TTL_S` seconds at most.

use std::collections::HashMap;
use std::sync::Arc;

use futures::{StreamExt, stream};
use object_store::ObjectMeta;
use object_store::path::Path;
use parking_lot::Mutex;

use super::HiveFiles;
use super::found::Found;

/// Partitions in one directory for which it pays to ask for their marks.
const MARKED_MIN: usize = 32;
/// One in so many partitions has to be wanted for it.
const MARKED_SHARE: usize = 10;
/// Questions for marks at once.
const QUESTIONS: usize = 4;
/// Files that are remembered of one table.
const FILES_MAX: usize = 100_000;

/// What directories held when they had a mark.
#[derive(Debug, Default)]
pub(super) struct Listings(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    directories: HashMap<Path, (u64, Arc<Vec<ObjectMeta>>)>,
    n_files: usize,
}

impl Listings {
    pub(super) fn get(&self, directory: &Path, mark: u64) -> Option<Arc<Vec<ObjectMeta>>> {
        let kept = self.0.lock();
        let (known, files) = kept.directories.get(directory)?;
        (*known == mark).then(|| Arc::clone(files))
    }

    /// Keeps what was listed after the mark had been read. Marks say nothing of what lies further below.
    pub(super) fn keep(&self, directory: &Path, mark: u64, files: &Arc<Vec<ObjectMeta>>) {
        let depth = directory.parts().count() + 1;
        if files.iter().any(|file| file.location.parts().count() != depth) {
            return;
        }
        let mut kept = self.0.lock();
        if let Some((_, old)) = kept.directories.remove(directory) {
            kept.n_files -= old.len();
        }
        if kept.n_files + files.len() <= FILES_MAX {
            kept.n_files += files.len();
            kept.directories.insert(directory.clone(), (mark, Arc::clone(files)));
        }
    }
}

impl HiveFiles {
    /// Returns the marks of directories, where many are wanted of one that holds them. Without a mark a directory is listed.
    pub(super) async fn marks(&self, found: &[Arc<Found>]) -> HashMap<Path, u64> {
        let none = HashMap::new();
        let Some(directories) = self.opened.directories.as_ref() else { return none };
        if found.len() < MARKED_MIN || found.len() * MARKED_SHARE < self.n_listed() {
            return none;
        }
        let mut parents: HashMap<Path, usize> = HashMap::new();
        for one in found.iter().filter(|one| one.layout.is_none()) {
            let mut parts = one.path.parts().collect::<Vec<_>>();
            if parts.pop().is_some() {
                *parents.entry(parts.into_iter().collect()).or_default() += 1;
            }
        }
        let parents = parents.into_iter().filter(|(_, wanted)| *wanted >= MARKED_MIN);
        let ask = |(parent, _)| async move { directories.marks(&parent).await };
        let marks = stream::iter(parents.map(ask).collect::<Vec<_>>());
        let marks = marks.buffer_unordered(QUESTIONS).collect::<Vec<_>>().await;
        // Where it does not answer, listing says why.
        marks.into_iter().flatten().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn believes_a_listing_as_long_as_the_mark_is_the_same() {
        let file = |path: &str| ObjectMeta {
            location: Path::parse(path).unwrap(),
            last_modified: Default::default(),
            size: 1,
            e_tag: None,
            version: None,
        };
        let listings = Listings::default();
        let (flat, deep) = (Path::from("t/p=1"), Path::from("t/p=2"));
        listings.keep(&flat, 7, &Arc::new(vec![file("t/p=1/a"), file("t/p=1/b")]));
        assert_eq!(listings.get(&flat, 7).map(|files| files.len()), Some(2));
        assert!(listings.get(&flat, 8).is_none() && listings.get(&deep, 7).is_none());
        listings.keep(&flat, 8, &Arc::new(Vec::new()));
        assert_eq!(listings.get(&flat, 8).map(|files| files.len()), Some(0));
        assert!(listings.get(&flat, 7).is_none());
        listings.keep(&deep, 7, &Arc::new(vec![file("t/p=2/UNION_1/a")]));
        assert!(listings.get(&deep, 7).is_none());
        assert_eq!(listings.0.lock().n_files, 0);
    }
}
