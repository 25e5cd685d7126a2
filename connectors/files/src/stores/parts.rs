//! Long listings of S3, asked for in several parts at once.
//!
//! S3 gives a thousand names an answer, and the next question needs the last name of the answer before. A listing of ten
//! thousand files is ten questions one after the other, each of which waits for the network. Once a place has been listed,
//! every thousandth of its names is known: the next listing asks for the names between each two of them at once. What is
//! new, gone or changed since is in the answers as ever.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;

/// Names in one answer.
const PAGE: usize = if cfg!(test) { 10 } else { 1000 };

/// Parts that are asked for at once.
const CONCURRENT_PARTS: usize = 8;

/// Places whose names are kept in mind.
const PLACES_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct ListedInParts {
    inner: Arc<dyn ObjectStore>,
    places: Arc<Mutex<HashMap<Path, Arc<Vec<Path>>>>>,
}

impl ListedInParts {
    pub(super) fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, places: Arc::default() }
    }

    /// Lists from the beginning to the end, or from part to part if they are known.
    fn names(&self, place: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        let known = self.places.lock().get(place).cloned();
        let Some(known) = known else { return self.inner.list(Some(place)) };
        let (store, place) = (Arc::clone(&self.inner), place.clone());
        stream::iter(0..=known.len())
            .map(move |part| {
                let after = part.checked_sub(1).map(|before| known[before].clone());
                let last = known.get(part).cloned();
                part_of(Arc::clone(&store), place.clone(), after, last)
            })
            .buffered(CONCURRENT_PARTS)
            .map_ok(|part| stream::iter(part.into_iter().map(Ok)))
            .try_flatten()
            .boxed()
    }
}

/// Lists the names after `after` up to `last`. Where `last` is still there it is the last one of its answer, and what comes after
/// it is not asked for.
async fn part_of(
    store: Arc<dyn ObjectStore>,
    place: Path,
    after: Option<Path>,
    last: Option<Path>,
) -> Result<Vec<ObjectMeta>> {
    let mut listed = match &after {
        Some(after) => store.list_with_offset(Some(&place), after),
        None => store.list(Some(&place)),
    };
    let mut part = Vec::with_capacity(PAGE);
    while let Some(meta) = listed.try_next().await? {
        // Names come in order; one before the part would be of a server that does not know where to begin.
        if after.as_ref().is_some_and(|after| meta.location <= *after) {
            continue;
        }
        if last.as_ref().is_some_and(|last| meta.location > *last) {
            break;
        }
        let ends = last.as_ref() == Some(&meta.location);
        part.push(meta);
        if ends {
            break;
        }
    }
    Ok(part)
}

/// What a listing has seen so far.
struct Seen {
    /// Every thousandth name.
    names: Vec<Path>,
    count: usize,
    last: Option<Path>,
    /// Whether each name came after the one before. Where they do not, a part would not know where it ends.
    in_order: bool,
}

impl Seen {
    fn add(&mut self, name: &Path) {
        self.in_order &= self.last.as_ref().is_none_or(|last| last < name);
        self.last = Some(name.clone());
        self.count += 1;
        if self.count.is_multiple_of(PAGE) {
            self.names.push(name.clone());
        }
    }
}

impl fmt::Display for ListedInParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for ListedInParts {
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let place = prefix.cloned().unwrap_or_default();
        let seen = Seen { names: Vec::new(), count: 0, last: None, in_order: true };
        let state = (self.names(&place), seen, Arc::clone(&self.places), place);
        stream::try_unfold(state, |(mut names, mut seen, places, place)| async move {
            if let Some(meta) = names.try_next().await? {
                seen.add(&meta.location);
                return Ok(Some((meta, (names, seen, places, place))));
            }
            let mut places = places.lock();
            places.remove(&place);
            if seen.in_order && !seen.names.is_empty() && places.len() < PLACES_MAX {
                places.insert(place, Arc::new(seen.names));
            }
            Ok(None)
        })
        .boxed()
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn lists_what_is_there_however_often_it_changes() {
        let inner = Arc::new(InMemory::new());
        let store = ListedInParts::new(Arc::clone(&inner) as Arc<dyn ObjectStore>);
        let place = Path::from("t");
        let put = async |n: usize| {
            let path = Path::from(format!("t/p={}/{n:03}", n % 7));
            inner.put(&path, "x".into()).await.unwrap();
        };
        let names = async |listed: BoxStream<'static, Result<ObjectMeta>>| {
            let names = listed.map_ok(|meta| meta.location).try_collect::<Vec<_>>();
            names.await.unwrap()
        };
        for n in 0..95 {
            put(n).await;
            inner.put(&Path::from(format!("u/{n}")), "x".into()).await.unwrap();
        }
        for turn in 0..6 {
            let wanted = names(inner.list(Some(&place))).await;
            assert_eq!(names(store.list(Some(&place))).await, wanted, "turn {turn}");
            let parts = store.places.lock().get(&place).map(|names| names.len());
            assert_eq!(parts, Some(wanted.len() / PAGE));
            // New ones before, between and behind; the borders of parts go.
            for n in 100 + turn * 20..115 + turn * 20 {
                put(n).await;
            }
            for gone in wanted.iter().skip(PAGE - 1).step_by(PAGE).step_by(2) {
                inner.delete(gone).await.unwrap();
            }
        }
        for gone in names(inner.list(Some(&place))).await {
            inner.delete(&gone).await.unwrap();
        }
        assert!(names(store.list(Some(&place))).await.is_empty());
        assert!(store.places.lock().is_empty());
    }
}
