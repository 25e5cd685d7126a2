//! One stripe: its streams are fetched, decoded, and brought into the shape of the table.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::array::timezone::Tz;
use arrow::datatypes::{Schema, SchemaRef};
use bytes::Bytes;
use chrono::{NaiveDate, NaiveTime, Offset, TimeZone};
use datafusion::physical_plan::metrics::Count;
use maru_core::{Error, Result};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use orc_prost::Message;
use orc_rust::array_decoder::NaiveStripeDecoder;
use orc_rust::projection::ProjectionMask;
use orc_rust::proto::StripeFooter;
use orc_rust::proto::column_encoding::Kind as Encoding;
use orc_rust::proto::stream::Kind;
use orc_rust::proto::r#type::Kind as Type;
use orc_rust::schema::RootDataType;
use orc_rust::stripe::{Stripe, StripeMetadata};

use super::bounds::{self, Bound};
use super::negative;
use super::sparse::Sparse;
use super::tail::{Tail, unpack};
use super::{no_orc, untrusted};
use crate::file_table::column_names::names_in_file;
use crate::file_table::file_error::in_file;
use crate::file_table::shape::Shape;

/// Entries that a dictionary may have.
const DICTIONARY_MAX: u32 = 1 << 27;

/// What one scan reads of one file.
pub(super) struct FileReader {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) meta: ObjectMeta,
    pub(super) tail: Arc<Tail>,
    /// The columns that are asked for.
    wanted: SchemaRef,
    /// What the file calls each of them.
    names: Vec<Option<String>>,
    root: RootDataType,
    decoded: SchemaRef,
    batch_rows: usize,
    bytes_scanned: Count,
}

impl FileReader {
    /// Prepares to read the columns of `table` with these indexes.
    pub(super) fn new(
        store: Arc<dyn ObjectStore>,
        meta: ObjectMeta,
        tail: Arc<Tail>,
        (table, columns): (&SchemaRef, &[usize]),
        batch_rows: usize,
        bytes_scanned: Count,
    ) -> Result<Self> {
        let names = names_of(table, &tail.schema);
        let names = columns.iter().map(|index| names[*index].clone()).collect::<Vec<_>>();
        let wanted = Arc::new(table.project(columns)?);
        let whole = tail.metadata.root_data_type();
        let read = names.iter().flatten().collect::<Vec<_>>();
        let root = whole.project(&ProjectionMask::named_roots(whole, &read));
        let fields = tail.decoded.fields().iter().filter(|field| read.contains(&field.name()));
        let decoded = Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()));
        Ok(Self { store, meta, tail, wanted, names, root, decoded, batch_rows, bytes_scanned })
    }

    /// Fetches the streams of a stripe that are needed.
    ///
    /// # Errors
    /// XX001 for a stripe that makes no sense, 58P01 and the like for what the store says.
    pub(super) async fn fetch(&self, number: usize) -> Result<Fetched> {
        let path = &self.meta.location;
        let info = self.tail.metadata.stripe_metadatas().get(number).cloned();
        let info = info.ok_or_else(|| Error::internal("a stripe that is not there"))?;
        let place = info.footer_offset()..info.footer_offset() + info.footer_length();
        let footer = self.store.get_range(path, place.clone()).await;
        let footer = footer.map_err(|error| in_file(path, error))?;
        let (streams, mean_time) = untrusted(path, || self.streams(&info, footer.clone()))?;
        let (indexes, streams): (Vec<_>, Vec<_>) = streams.into_iter().partition(|s| s.is_index);
        let ranges = streams.iter().map(|part| part.start..part.start + part.length);
        let ranges = ranges.collect::<Vec<_>>();
        let fetched = self.store.get_ranges(path, &ranges).await;
        let mut fetched = fetched.map_err(|error| in_file(path, error))?;
        let read = footer.len() + fetched.iter().map(Bytes::len).sum::<usize>();
        self.bytes_scanned.add(read);
        let mended = untrusted(path, || self.checked(&streams, &fetched))?;
        for (at, bytes) in mended {
            if let Some(stream) = fetched.get_mut(at) {
                *stream = bytes;
            }
        }
        let keys = streams.iter().map(|part| (part.start, part.length));
        let mut parts = keys.zip(fetched).collect::<HashMap<_, _>>();
        // The library takes them along with the rest, and looks at none.
        parts.extend(indexes.iter().map(|index| ((index.start, index.length), Bytes::new())));
        parts.insert((place.start, info.footer_length()), footer);
        let file = Sparse::of_parts(self.meta.size, parts);
        let shape = Shape { hybrid: self.tail.hybrid, times_in_nanos: true, mean_time };
        Ok(Fetched { info, file, shape })
    }

    /// Looks at the numbers of the streams that say so. Returns, by their place, those that are to be read in place of others.
    fn checked(&self, streams: &[Stream], fetched: &[Bytes]) -> Result<Vec<(usize, Bytes)>> {
        let packing = self.tail.metadata.compression();
        let mut mended = Vec::new();
        for (at, (part, bytes)) in streams.iter().zip(fetched).enumerate() {
            let Some(bound) = part.bound else { continue };
            let checked = bounds::check(bytes.clone(), packing, part.encoding, bound);
            let Err(why) = checked else { continue };
            let seconds = streams.iter().zip(fetched).enumerate().find(|(_, (other, _))| {
                part.mendable && other.column == part.column && other.is_data
            });
            let Some((first, (_, seconds))) = seconds else {
                return Err(no_orc(&self.meta.location, &why));
            };
            let both = negative::mend(seconds.clone(), bytes.clone(), packing, part.encoding);
            let (seconds, fractions) = both.map_err(|why| no_orc(&self.meta.location, &why))?;
            mended.extend([(first, seconds), (at, fractions)]);
        }
        Ok(mended)
    }

    /// Finds the streams of the wanted columns in the stripe's footer, and how far local mean time is from what its writer took
    /// for it.
    fn streams(&self, info: &StripeMetadata, footer: Bytes) -> Result<(Vec<Stream>, i64)> {
        let corrupt = |why: &str| no_orc(&self.meta.location, why);
        let footer = unpack(footer, self.tail.metadata.compression());
        let footer = StripeFooter::decode(footer.map_err(|why| corrupt(&why))?.as_slice())
            .map_err(|error| corrupt(&error.to_string()))?;
        if footer.columns.len() != self.tail.kinds.len() {
            return Err(corrupt("a stripe has other columns than the file"));
        }
        if let Some(zone) = &footer.writer_timezone
            && zone.parse::<Tz>().is_err()
        {
            let what = format!("times of an ORC file in time zone \"{zone}\" cannot be read");
            return Err(
                Error::unsupported(what).with_context("file", self.meta.location.to_string())
            );
        }
        let zone = footer.writer_timezone.as_deref().unwrap_or_default();
        let in_utc = ["", "UTC", "GMT", "Etc/UTC"].contains(&zone);
        let mean_time = if self.tail.by_java { mean_time(zone) } else { 0 };
        let mut at = info.offset();
        let mut wanted = Vec::new();
        for stream in &footer.streams {
            let (start, length, column) = (at, stream.length(), stream.column() as usize);
            at = at.checked_add(length).filter(|end| *end <= info.footer_offset()).ok_or_else(
                || corrupt(&format!("a stream of {length} bytes does not lie in its stripe")),
            )?;
            let encoding = footer.columns.get(column);
            let Some(encoding) = encoding.filter(|_| self.root.contains_column_index(column))
            else {
                continue;
            };
            if encoding.dictionary_size() > DICTIONARY_MAX {
                return Err(corrupt(&format!("a dictionary of {}", encoding.dictionary_size())));
            }
            if length == 0 {
                continue;
            }
            let is_index =
                [Kind::RowIndex, Kind::BloomFilter, Kind::BloomFilterUtf8].contains(&stream.kind());
            let bound = match (self.tail.kinds[column], stream.kind()) {
                (Type::List | Type::Map, Kind::Length) => Some(Bound::Items),
                (Type::Timestamp | Type::TimestampInstant, Kind::Secondary) => {
                    Some(Bound::Fraction)
                }
                _ => None,
            };
            let encoding = encoding.kind();
            let is_data = stream.kind() == Kind::Data;
            let mendable = bound == Some(Bound::Fraction) && self.tail.by_cpp && in_utc;
            wanted.push(Stream {
                start,
                length,
                column,
                is_index,
                is_data,
                bound,
                mendable,
                encoding,
            });
        }
        Ok((wanted, mean_time))
    }

    /// Returns the rows of a stripe.
    pub(super) fn decode(&self, stripe: Fetched) -> Result<Rows> {
        let path = self.meta.location.clone();
        let Fetched { info, mut file, shape } = stripe;
        let metadata = &self.tail.metadata;
        let decoder = untrusted(&path, || {
            let stripe = Stripe::new(&mut file, metadata, &self.root, &info);
            stripe
                .and_then(|stripe| {
                    NaiveStripeDecoder::new(stripe, Arc::clone(&self.decoded), self.batch_rows)
                })
                .map_err(|error| no_orc(&path, &error.to_string()))
        })?;
        Ok(Rows {
            decoder,
            path,
            schema: Arc::clone(&self.tail.schema),
            wanted: Arc::clone(&self.wanted),
            names: self.names.clone(),
            shape,
            left: info.number_of_rows(),
        })
    }
}

/// A stream of a stripe, by its place in the file.
struct Stream {
    start: u64,
    length: u64,
    /// The number of its column.
    column: usize,
    is_index: bool,
    is_data: bool,
    /// What its numbers may not go beyond.
    bound: Option<Bound>,
    /// Whether fractions of a second that are below zero mean the same to every reader of such a file.
    mendable: bool,
    encoding: Encoding,
}

/// A stripe whose bytes are there.
pub(super) struct Fetched {
    info: StripeMetadata,
    file: Sparse,
    shape: Shape,
}

/// Returns how far the standard time of a zone is from local mean time, in microseconds. Java has no local mean time: before
/// 1900 its old calendar takes the standard time of today.
fn mean_time(zone: &str) -> i64 {
    let Ok(zone) = zone.parse::<Tz>() else { return 0 };
    let seconds = |year, month| {
        let day = NaiveDate::from_ymd_opt(year, month, 15).unwrap_or_default();
        let offset = zone.offset_from_utc_datetime(&day.and_time(NaiveTime::MIN)).fix();
        i64::from(offset.local_minus_utc())
    };
    // In summer it is later, if there is a summer time.
    let standard = seconds(2026, 1).min(seconds(2026, 7));
    (standard - seconds(1800, 1)) * 1_000_000
}

/// The batches of a stripe. The last one is an error if the stripe holds fewer rows than it counts.
pub(super) struct Rows {
    decoder: NaiveStripeDecoder,
    path: Path,
    /// The columns of the file as a user sees them.
    schema: SchemaRef,
    wanted: SchemaRef,
    names: Vec<Option<String>>,
    shape: Shape,
    left: u64,
}

impl Rows {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let Self { decoder, path, .. } = self;
        let batch = untrusted(path, || {
            decoder.next().transpose().map_err(|error| no_orc(path, &error.to_string()))
        })?;
        let Some(batch) = batch else {
            return match self.left {
                0 => Ok(None),
                _ => Err(no_orc(&self.path, "a stripe holds fewer rows than it counts")),
            };
        };
        let n_rows = batch.num_rows() as u64;
        self.left = self
            .left
            .checked_sub(n_rows)
            .filter(|_| n_rows > 0)
            .ok_or_else(|| no_orc(&self.path, "a stripe holds other rows than it counts"))?;
        let names = self.names.iter().map(Option::as_deref).collect::<Vec<_>>();
        self.shape.adapt_named(&batch, &self.schema, &self.wanted, &names).map(Some)
    }
}

impl Iterator for Rows {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_batch();
        if next.is_err() {
            // Nothing follows an error.
            self.left = 0;
        }
        next.transpose()
    }
}

/// Returns what the file calls each column of the table. Old writers of Hive called columns `_col0`, `_col1` and so on;
/// then their order counts.
pub(super) fn names_of(table: &Schema, file: &Schema) -> Vec<Option<String>> {
    let in_file = file.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>();
    let numbered = |(number, name): (usize, &&str)| {
        name.strip_prefix("_col").and_then(|digits| digits.parse().ok()) == Some(number)
    };
    if !in_file.is_empty() && in_file.iter().enumerate().all(numbered) {
        let count = table.fields().len();
        return (0..count).map(|index| in_file.get(index).map(|name| (*name).to_owned())).collect();
    }
    let names = names_in_file(table, &in_file);
    names.into_iter().map(|name| name.map(str::to_owned)).collect()
}
