//! stub
use arrow::datatypes::SchemaRef;
use futures::future::BoxFuture;
use maru_connect::*;
use maru_core::{Error, Options, Result};
use std::collections::BTreeMap;
pub static CONNECTORS: &[&dyn Connector] = &[];
#[derive(Debug)]
pub struct Stores;
impl StoreOpener for Stores {
    fn open_store<'a>(
        &'a self,
        _: &'a str,
        _: &'a url::Url,
        _: &'a Options,
    ) -> BoxFuture<'a, Result<OpenedStore>> {
        Box::pin(async { Err(Error::unsupported("x")) })
    }
}
#[derive(Debug)]
pub struct LocationTable {
    pub format: String,
    pub options: BTreeMap<String, String>,
    pub columns: Option<SchemaRef>,
    pub partition_columns: Option<SchemaRef>,
}
pub async fn open_location_table(
    _c: &str,
    _s: OpenedStore,
    _l: LocationTable,
) -> Result<SourceTable> {
    Err(Error::unsupported("x"))
}
