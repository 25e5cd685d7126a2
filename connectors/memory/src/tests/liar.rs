//! A source that breaks one promise at a time: the suite must notice each.

use maru_connect::{
    BatchStream, Committed, Predicate, RemoteTable, ScanRequest, WriteJob, WriteRequest, Written,
    batch_stream,
};

use super::*;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Lie {
    None,
    IgnoresFilters,
    FiltersTooMuch,
    IgnoresLimit,
    ReversesColumns,
    MiscountsRowsWithoutColumns,
    HangsInClose,
    ShowsItsPassword,
    HasATableOfEveryName,
    NeverFilters,
    TakesRows,
}

#[derive(Debug)]
struct Liar {
    inner: Arc<dyn Source>,
    lie: Lie,
}

impl Source for Liar {
    fn check(&self) -> BoxFuture<'_, Result<String>> {
        match self.lie {
            Lie::ShowsItsPassword => ready(Ok("as maru:hunter2".to_owned())).boxed(),
            _ => self.inner.check(),
        }
    }

    fn schemas(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        self.inner.schemas()
    }

    fn tables<'a>(&'a self, schema: &'a str) -> BoxFuture<'a, Result<Vec<TableEntry>>> {
        self.inner.tables(schema)
    }

    fn table<'a>(
        &'a self,
        schema: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<SourceTable>>> {
        let name = if self.lie == Lie::HasATableOfEveryName { "numbers" } else { name };
        async move {
            Ok(self.inner.table(schema, name).await?.map(|table| match table {
                SourceTable::Remote(inner) => {
                    SourceTable::Remote(Arc::new(LyingTable { inner, lie: self.lie }))
                }
                other => other,
            }))
        }
        .boxed()
    }

    fn begin_write(&self, request: WriteRequest) -> BoxFuture<'_, Result<Arc<dyn WriteJob>>> {
        match self.lie {
            Lie::TakesRows => ready(Ok(Arc::new(Nothing) as Arc<dyn WriteJob>)).boxed(),
            _ => self.inner.begin_write(request),
        }
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        match self.lie {
            Lie::HangsInClose => futures::future::pending().boxed(),
            _ => self.inner.close(),
        }
    }
}

/// A write that goes nowhere.
#[derive(Debug)]
struct Nothing;

impl WriteJob for Nothing {
    fn describe(&self) -> String {
        "nothing".to_owned()
    }

    fn max_streams(&self) -> usize {
        1
    }

    fn write(self: Arc<Self>, _: BatchStream) -> BoxFuture<'static, Result<Written>> {
        ready(Ok(Written::default())).boxed()
    }

    fn commit(self: Arc<Self>) -> BoxFuture<'static, Result<Committed>> {
        ready(Ok(Committed::default())).boxed()
    }

    fn abort(self: Arc<Self>) -> BoxFuture<'static, ()> {
        ready(()).boxed()
    }
}

#[derive(Debug)]
pub(super) struct LyingTable {
    pub(super) inner: Arc<dyn RemoteTable>,
    pub(super) lie: Lie,
}

impl RemoteTable for LyingTable {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }

    fn supports(&self, predicate: &Predicate) -> bool {
        self.lie != Lie::NeverFilters && self.inner.supports(predicate)
    }

    fn describe(&self, request: &ScanRequest) -> String {
        self.inner.describe(request)
    }

    fn read(&self, mut request: ScanRequest) -> BatchStream {
        let no_columns = request.projection.is_empty();
        let filters = !request.filters.is_empty();
        match self.lie {
            Lie::IgnoresFilters => request.filters.clear(),
            Lie::IgnoresLimit => request.limit = None,
            Lie::ReversesColumns => request.projection.reverse(),
            _ => {}
        }
        let all = self.inner.read(request);
        match self.lie {
            Lie::MiscountsRowsWithoutColumns if no_columns => batch_stream(all.take(3)),
            Lie::FiltersTooMuch if filters => batch_stream(all.skip(1)),
            _ => all,
        }
    }
}

async fn told(lie: Lie) -> Result<conformance::Report> {
    let inner = opened(&[("rows", "100"), ("batch_rows", "30")]).await?;
    let source = Arc::new(Liar { inner, lie });
    let subject = Subject::new(&MEMORY, source, "sample", "numbers")
        .with_secrets(&["hunter2"])
        .with_patience(Duration::from_secs(3));
    conformance::hold(subject).await
}

#[tokio::test]
async fn the_suite_notices_every_lie() {
    told(Lie::None).await.unwrap();
    for (lie, said) in [
        (Lie::IgnoresFilters, "rows instead of"),
        (Lie::FiltersTooMuch, "rows instead of"),
        (Lie::IgnoresLimit, "rows came for"),
        (Lie::ReversesColumns, "was promised"),
        (Lie::MiscountsRowsWithoutColumns, "rows instead of"),
        (Lie::HangsInClose, "close() takes longer than"),
        (Lie::ShowsItsPassword, "a secret is shown"),
        (Lie::HasATableOfEveryName, "a table that is not there was opened"),
        (Lie::NeverFilters, "declared filter = true, pushed 0"),
        (Lie::TakesRows, "declared write = false, but a write was begun"),
    ] {
        let error = told(lie).await.unwrap_err();
        assert!(error.primary().contains(said), "{lie:?}: {error}");
        assert!(!error.report().contains("hunter2"));
    }
}
