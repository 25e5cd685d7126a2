//! The end of an ORC file: its types, stripes and statistics.
//!
//! orc-rust takes a file at its word. Sizes, types that hold themselves, and what it does not tell (calendar, statistics
//! that are not there) are looked at here first, so that no file makes it reserve memory or recurse without end. Source:
//! Apache ORC specification v1, "File Tail".

use std::any::Any;
use std::collections::HashMap;
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use datafusion::execution::cache::cache_manager::{
    CachedFileMetadataEntry, FileMetadata as CachedMetadata, FileMetadataCache,
};
use maru_core::{Error, Result};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use orc_prost::Message;
use orc_rust::compression::{Compression, Decompressor};
use orc_rust::proto::r#type::Kind;
use orc_rust::proto::{CalendarKind, Footer, Metadata, PostScript, StripeStatistics, Type};
use orc_rust::reader::metadata::{FileMetadata, read_metadata};

use super::sparse::Sparse;
use super::{no_orc, untrusted};
use crate::file_table::shape::NANOS;

/// Bytes that are read first; most tails are smaller.
const GUESS_BYTES: u64 = 32 << 10;
/// Bytes that footer and metadata may have together, packed or not.
const PART_BYTES_MAX: u64 = 256 << 20;
/// Bytes that a compressed chunk may have; the format has 23 bits for it.
const CHUNK_BYTES_MAX: u64 = 1 << 23;
/// Types within types.
const DEPTH_MAX: usize = 64;

/// Writers by their number in the footer.
const WRITER_JAVA: u32 = 0;
const WRITER_CPP: u32 = 1;

/// What the end of a file tells.
pub(super) struct Tail {
    pub(super) metadata: FileMetadata,
    /// The columns as the decoder gives them: times are [`NANOS`].
    pub(super) decoded: SchemaRef,
    /// The columns as a user sees them.
    pub(super) schema: SchemaRef,
    /// Whether the file is of the Java library.
    pub(super) by_java: bool,
    /// Whether the file is of the C++ library.
    pub(super) by_cpp: bool,
    /// Whether dates before 1582 are counted by the Julian calendar.
    pub(super) hybrid: bool,
    /// Of each stripe, and in it of each column by its number; empty if the writer left them out or got them wrong.
    pub(super) statistics: Vec<StripeStatistics>,
    /// The kinds of the columns by their number.
    pub(super) kinds: Vec<Kind>,
    n_bytes: usize,
}

impl CachedMetadata for Tail {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn memory_size(&self) -> usize {
        // Read statistics take about as much again as their bytes, twice over.
        self.n_bytes * 4
    }

    fn extra_info(&self) -> datafusion::common::HashMap<String, String> {
        datafusion::common::HashMap::new()
    }
}

/// Reads the end of a file, or takes it from the cache.
///
/// # Errors
/// XX001 if the file is not valid ORC, 0A000 for what cannot be read (encryption, unions), 58P01 if it is gone; each
/// names the file.
pub(super) async fn read(
    store: &Arc<dyn ObjectStore>,
    meta: &ObjectMeta,
    cache: Option<&FileMetadataCache>,
) -> Result<Arc<Tail>> {
    if let Some(known) = cache.and_then(|cache| cached(meta, cache)) {
        return Ok(known);
    }
    let corrupt = |why: &str| no_orc(&meta.location, why);
    let fetch = |range: Range<u64>| async move {
        let bytes = store.get_range(&meta.location, range).await;
        bytes.map_err(|error| crate::file_table::file_error::in_file(&meta.location, error))
    };
    let guess = meta.size.saturating_sub(GUESS_BYTES)..meta.size;
    let last = fetch(guess.clone()).await?;
    let postscript = untrusted(&meta.location, || postscript(&last).map_err(|why| corrupt(&why)))?;
    let length = postscript.length(meta.size).map_err(|why| corrupt(&why))?;
    let bytes = if length <= last.len() as u64 {
        last
    } else {
        let before = fetch(meta.size - length..guess.start).await?;
        Bytes::from([before, last].concat())
    };
    let tail = untrusted(&meta.location, || parse(meta, &postscript, bytes))?;
    let tail = Arc::new(tail);
    if let Some(cache) = cache {
        let entry = CachedFileMetadataEntry::new(meta.clone(), Arc::clone(&tail) as _);
        cache.put(&meta.location, entry);
    }
    Ok(tail)
}

/// Returns the end of a file if the cache has it.
pub(super) fn cached(meta: &ObjectMeta, cache: &FileMetadataCache) -> Option<Arc<Tail>> {
    let known = cache.get(&meta.location).filter(|known| known.is_valid_for(meta))?;
    (known.file_metadata as Arc<dyn Any + Send + Sync>).downcast::<Tail>().ok()
}

/// The last bytes, and how many of them they are.
struct Script {
    postscript: PostScript,
    n_bytes: u64,
}

impl Script {
    /// Returns how many bytes the whole tail has.
    fn length(&self, size: u64) -> std::result::Result<u64, String> {
        let footer = self.postscript.footer_length();
        let metadata = self.postscript.metadata_length();
        match footer.checked_add(metadata).filter(|both| *both <= PART_BYTES_MAX) {
            Some(both) if both + self.n_bytes <= size => Ok(both + self.n_bytes),
            _ => Err(format!("a footer of {footer} and metadata of {metadata} bytes")),
        }
    }
}

fn postscript(last: &[u8]) -> std::result::Result<Script, String> {
    let not_one = || "it does not end as one".to_owned();
    let (n_bytes, rest) = last.split_last().ok_or_else(not_one)?;
    let start = rest.len().checked_sub(usize::from(*n_bytes)).ok_or_else(not_one)?;
    let postscript = PostScript::decode(&rest[start..]).map_err(|_| not_one())?;
    if postscript.magic.as_deref() != Some("ORC") {
        return Err(not_one());
    }
    let chunk = postscript.compression_block_size();
    if chunk > CHUNK_BYTES_MAX {
        return Err(format!("compressed chunks of {chunk} bytes"));
    }
    Ok(Script { postscript, n_bytes: u64::from(*n_bytes) + 1 })
}

fn parse(meta: &ObjectMeta, script: &Script, bytes: Bytes) -> Result<Tail> {
    let corrupt = |why: &str| no_orc(&meta.location, why);
    let unsupported =
        |what: String| Error::unsupported(what).with_context("file", meta.location.to_string());
    let n_bytes = bytes.len();
    if let [major, minor] = script.postscript.version[..]
        && (major, minor) > (0, 12)
    {
        return Err(unsupported(format!("ORC files of version {major}.{minor} cannot be read")));
    }
    let end = n_bytes - script.n_bytes as usize;
    let middle = end - script.postscript.footer_length() as usize;
    let start = middle - script.postscript.metadata_length() as usize;
    // The library knows the compression, and takes all of the tail for granted: what it will read is read here first,
    // with an end to it.
    let packing = packing(&script.postscript);
    let footer = unpack(bytes.slice(middle..end), packing).map_err(|why| corrupt(&why))?;
    let footer = Footer::decode(footer.as_slice()).map_err(|error| corrupt(&error.to_string()))?;
    let statistics = unpack(bytes.slice(start..middle), packing).map_err(|why| corrupt(&why))?;
    let statistics =
        Metadata::decode(statistics.as_slice()).map_err(|error| corrupt(&error.to_string()))?;
    if footer.encryption.is_some() {
        return Err(unsupported("encrypted ORC files cannot be read".to_owned()));
    }
    check_stripes(&footer, meta.size).map_err(|why| corrupt(&why))?;
    check_types(&footer.types).map_err(|why| corrupt(&why))?;
    if let Some(what) = footer.types.iter().find_map(unreadable) {
        return Err(unsupported(format!("ORC files with {what} cannot be read")));
    }
    let calendar = footer.calendar();
    let by_java = footer.writer.unwrap_or(WRITER_JAVA) == WRITER_JAVA;
    let mut reader = Sparse::of_end(meta.size, bytes);
    let metadata = read_metadata(&mut reader).map_err(|error| corrupt(&error.to_string()))?;
    let found = metadata.root_data_type().create_arrow_schema(&HashMap::new());
    let mapped = |map: fn(&DataType) -> DataType| {
        let fields = found
            .fields()
            .iter()
            .map(|field| Field::new(field.name(), map_leaves(field.data_type(), map), true));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    };
    Ok(Tail {
        metadata,
        by_java,
        by_cpp: footer.writer == Some(WRITER_CPP),
        decoded: mapped(in_nanos),
        schema: mapped(in_micros),
        // Java's writer counted by both calendars until it learned to say so; the others never did.
        hybrid: calendar == CalendarKind::JulianGregorian
            || calendar == CalendarKind::UnknownCalendar && by_java,
        // Java's first writer merged the bounds of text wrongly (HIVE-8732).
        statistics: match by_java && script.postscript.writer_version() == 0 {
            true => Vec::new(),
            false => statistics.stripe_stats,
        },
        kinds: footer.types.iter().map(Type::kind).collect(),
        n_bytes,
    })
}

/// The compression of a file, got from the library by way of a tail that has nothing but it.
fn packing(postscript: &PostScript) -> Option<Compression> {
    let root = Type { kind: Some(Kind::Struct as i32), ..Type::default() };
    let footer = Footer { types: vec![root], ..Footer::default() }.encode_to_vec();
    // Chunks that are kept as they are have an odd length in their head.
    let mut file = Vec::new();
    if postscript.compression() != orc_rust::proto::CompressionKind::None {
        file.extend_from_slice(&((footer.len() as u32) << 1 | 1).to_le_bytes()[..3]);
    }
    file.extend_from_slice(&footer);
    let script = PostScript {
        footer_length: Some(file.len() as u64),
        metadata_length: Some(0),
        compression: postscript.compression,
        compression_block_size: postscript.compression_block_size,
        ..PostScript::default()
    };
    let script = script.encode_to_vec();
    file.extend_from_slice(&script);
    file.push(script.len() as u8);
    read_metadata(&mut Bytes::from(file)).ok().and_then(|metadata| metadata.compression())
}

/// Unpacks a part of the tail, or of a stripe.
pub(super) fn unpack(
    bytes: Bytes,
    packing: Option<Compression>,
) -> std::result::Result<Vec<u8>, String> {
    let mut unpacked = Vec::new();
    Decompressor::new(bytes, packing, Vec::new())
        .take(PART_BYTES_MAX + 1)
        .read_to_end(&mut unpacked)
        .map_err(|error| error.to_string())?;
    match unpacked.len() as u64 > PART_BYTES_MAX {
        true => Err(format!("a footer of more than {} MiB", PART_BYTES_MAX >> 20)),
        false => Ok(unpacked),
    }
}

/// Stripes lie within the file and hold the rows that it counts.
fn check_stripes(footer: &Footer, size: u64) -> std::result::Result<(), String> {
    let mut n_rows = 0_u64;
    for stripe in &footer.stripes {
        let lengths = [stripe.index_length(), stripe.data_length(), stripe.footer_length()];
        let end = lengths.iter().try_fold(stripe.offset(), |end, part| end.checked_add(*part));
        if end.is_none_or(|end| end > size) || stripe.footer_length() > PART_BYTES_MAX {
            return Err(format!("a stripe at {} does not lie in the file", stripe.offset()));
        }
        n_rows = n_rows.saturating_add(stripe.number_of_rows());
    }
    if n_rows != footer.number_of_rows() {
        let counted = footer.number_of_rows();
        return Err(format!("it counts {counted} rows, but its stripes hold {n_rows}"));
    }
    Ok(())
}

/// The first type is a row, and types hold only types behind themselves.
fn check_types(types: &[Type]) -> std::result::Result<(), String> {
    if types.first().is_none_or(|root| root.kind() != Kind::Struct) {
        return Err("its rows have no columns".to_owned());
    }
    let mut depths = vec![0_usize; types.len()];
    for (number, inner) in types.iter().enumerate() {
        for held in &inner.subtypes {
            let held = *held as usize;
            if held <= number || held >= types.len() || depths[number] >= DEPTH_MAX {
                return Err(format!("type {number} holds type {held}"));
            }
            depths[held] = depths[number] + 1;
        }
    }
    Ok(())
}

fn unreadable(of: &Type) -> Option<String> {
    match of.kind() {
        Kind::Union => Some("a union of several types".to_owned()),
        Kind::Decimal if !(1..=38).contains(&of.precision()) || of.scale() > of.precision() => {
            Some(format!("a decimal({},{})", of.precision(), of.scale()))
        }
        _ => None,
    }
}

fn in_nanos(leaf: &DataType) -> DataType {
    match leaf {
        DataType::Timestamp(..) => NANOS,
        other => other.clone(),
    }
}

fn in_micros(leaf: &DataType) -> DataType {
    match leaf {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        other => other.clone(),
    }
}

/// Changes the types that hold no others.
fn map_leaves(of: &DataType, map: fn(&DataType) -> DataType) -> DataType {
    let field = |field: &Arc<Field>| {
        Arc::new(Field::clone(field).with_data_type(map_leaves(field.data_type(), map)))
    };
    match of {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
        DataType::List(item) => DataType::List(field(item)),
        DataType::Map(entries, sorted) => DataType::Map(field(entries), *sorted),
        leaf => map(leaf),
    }
}
