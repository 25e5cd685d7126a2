//! Rows as they come from a query, put into an order that depends on their values alone.
//!
//! A parallel engine gives rows in any order; what is learnt from them must not depend on it. So rows are ordered by a hash of
//! their values. Many rows are dealt out to buckets by the first bits of their hashes while they come, each bucket is then
//! sorted on its own: both passes stay within the processor's caches, where ordering all rows at the end would jump about
//! in all of memory. Several may gather at once, each some of the rows, and are put together before the end.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringArray};
use arrow::compute::concat;
use maru_core::{Error, ErrorKind, Result};
use parking_lot::Mutex;

use crate::frame::{Column, Frame, hash_rows};
use crate::pipeline::Kind;
use crate::task::{Task, cut};

/// Buckets that rows are dealt out to by the first bits of their hashes.
const BUCKETS: usize = 256;
/// Rows from which on they are dealt out at once.
const ROWS_DEALT: usize = 1 << 16;
/// Bytes of a bucket that are asked for at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// Rows in the order of the hashes of their values, and these hashes.
#[derive(Debug)]
pub struct Ordered {
    pub frame: Frame,
    pub hashes: Vec<u64>,
}

impl Ordered {
    /// Orders rows that are there as a whole.
    ///
    /// # Errors
    /// As [`Gatherer::push`] and [`Gatherer::finish`].
    pub fn new(frame: &Frame, task: &Task) -> Result<Self> {
        let kind = |column: &Column| match column {
            Column::Number(_) => Kind::Number,
            Column::Text(_) => Kind::Text,
        };
        let named = frame.columns.iter().map(|(name, column)| (name.clone(), kind(column)));
        let mut gatherer = Gatherer::new(named.collect());
        let columns = frame.columns.iter().map(|(_, column)| column.clone()).collect::<Vec<_>>();
        gatherer.push(&columns)?;
        gatherer.finish(task)
    }
}

/// Gathers rows.
#[derive(Debug)]
pub struct Gatherer {
    columns: Vec<(String, Kind)>,
    n_rows: usize,
    /// Text stays as it came; rows of it are picked in the end.
    texts: Vec<Vec<StringArray>>,
    numbers: Numbers,
}

#[derive(Debug)]
enum Numbers {
    /// By column, in the order in which they came.
    Plain(Vec<Vec<f64>>, Vec<u64>),
    Dealt(Vec<Bucket>),
}

/// Rows of a range of hashes: what orders them with the number of the row, and their numbers in chunks of `n_chunk` rows,
/// column after column. A chunk that another gatherer has not filled has no rows behind its end.
#[derive(Debug, Default)]
struct Bucket {
    keys: Vec<(u64, u32)>,
    chunks: Vec<Box<[f64]>>,
    n_rows: usize,
}

/// In the place of a row that is not there.
const NO_ROW: (u64, u32) = (u64::MAX, u32::MAX);

impl Default for Numbers {
    fn default() -> Self {
        Self::Plain(Vec::new(), Vec::new())
    }
}

fn bucket_of(hash: u64) -> usize {
    (hash >> 56) as usize
}

/// Rows of a chunk of so many columns, a power of two.
fn chunk_rows(n_numbers: usize) -> usize {
    let rows = CHUNK_BYTES / 8 / n_numbers.max(1);
    (rows.max(16) + 1).next_power_of_two() / 2
}

impl Gatherer {
    /// `columns` are names and kinds.
    pub fn new(columns: Vec<(String, Kind)>) -> Self {
        let of_kind = |kind| columns.iter().filter(|(_, k)| *k == kind).count();
        let texts = vec![Vec::new(); of_kind(Kind::Text)];
        let numbers = Numbers::Plain(vec![Vec::new(); of_kind(Kind::Number)], Vec::new());
        Self { columns, n_rows: 0, texts, numbers }
    }

    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Adds rows, given by column.
    ///
    /// # Errors
    /// 54000 for more rows than `u32` counts, XX000 for columns of another kind than was said.
    pub fn push(&mut self, rows: &[Column]) -> Result<()> {
        let n = rows.first().map_or(0, Column::len);
        let all = counted(self.n_rows + n)?;
        let kinds = self.columns.iter().map(|(_, kind)| *kind);
        let same = |(kind, column): (Kind, &Column)| match column {
            Column::Number(_) => kind == Kind::Number,
            Column::Text(_) => kind == Kind::Text,
        };
        if rows.len() != self.columns.len() || !kinds.zip(rows).all(same) {
            return Err(Error::internal("a column changed its kind"));
        }
        let hashes = hash_rows(rows.iter(), 0..n);
        let mut numbers = Vec::with_capacity(rows.len());
        let mut texts = self.texts.iter_mut();
        for column in rows {
            match column {
                Column::Number(values) => numbers.push(values.as_slice()),
                Column::Text(values) => {
                    if let Some(text) = texts.next() {
                        text.push(values.clone());
                    }
                }
            }
        }
        match &mut self.numbers {
            Numbers::Plain(columns, known) => {
                for (all, values) in columns.iter_mut().zip(&numbers) {
                    all.extend_from_slice(values);
                }
                known.extend(hashes);
                if all >= ROWS_DEALT {
                    let (columns, known) = (std::mem::take(columns), std::mem::take(known));
                    let mut buckets = Vec::new();
                    buckets.resize_with(BUCKETS, Bucket::default);
                    deal_plain(&mut buckets, &columns, &known, 0);
                    self.numbers = Numbers::Dealt(buckets);
                }
            }
            Numbers::Dealt(buckets) => deal(buckets, &numbers, &hashes, self.n_rows as u32),
        }
        self.n_rows = all;
        Ok(())
    }

    /// Takes the rows of another one of the same columns.
    ///
    /// # Errors
    /// 54000 for more rows than `u32` counts.
    pub fn append(&mut self, other: Self) -> Result<()> {
        let all = counted(self.n_rows + other.n_rows)?;
        let first = self.n_rows as u32;
        for (texts, more) in self.texts.iter_mut().zip(other.texts) {
            texts.extend(more);
        }
        self.numbers = match (std::mem::take(&mut self.numbers), other.numbers) {
            (Numbers::Plain(mut columns, mut hashes), Numbers::Plain(more, more_hashes)) => {
                columns.iter_mut().zip(more).for_each(|(all, more)| all.extend(more));
                hashes.extend(more_hashes);
                Numbers::Plain(columns, hashes)
            }
            (Numbers::Dealt(mut buckets), Numbers::Plain(columns, hashes)) => {
                deal_plain(&mut buckets, &columns, &hashes, first);
                Numbers::Dealt(buckets)
            }
            (Numbers::Plain(columns, hashes), Numbers::Dealt(mut buckets)) => {
                let moved = buckets.iter_mut().flat_map(|bucket| &mut bucket.keys);
                moved.for_each(|(_, row)| *row += first);
                deal_plain(&mut buckets, &columns, &hashes, 0);
                Numbers::Dealt(buckets)
            }
            (Numbers::Dealt(mut buckets), Numbers::Dealt(more)) => {
                let n_numbers = self.columns.iter().filter(|(_, k)| *k == Kind::Number).count();
                let n_chunk = chunk_rows(n_numbers);
                for (bucket, more) in buckets.iter_mut().zip(more) {
                    bucket.keys.resize(bucket.chunks.len() * n_chunk, NO_ROW);
                    let moved = more.keys.iter().map(|(hash, row)| (*hash, row + first));
                    bucket.keys.extend(moved);
                    bucket.chunks.extend(more.chunks);
                    bucket.n_rows += more.n_rows;
                }
                Numbers::Dealt(buckets)
            }
        };
        self.n_rows = all;
        Ok(())
    }

    /// Puts the rows in order.
    ///
    /// # Errors
    /// 54000 for text of more bytes than an Arrow array holds; 57014 if the task is cancelled.
    pub fn finish(self, task: &Task) -> Result<Ordered> {
        let Self { columns, n_rows, texts, numbers } = self;
        let (order, hashes, numbers) = match numbers {
            Numbers::Plain(columns, hashes) => plain(columns, hashes),
            Numbers::Dealt(buckets) => {
                let n_numbers = columns.iter().filter(|(_, kind)| *kind == Kind::Number).count();
                sorted(buckets, n_numbers, n_rows, task)?
            }
        };
        let texts = texts.iter().map(|parts| {
            let whole = Column::Text(concatenated(parts)?);
            let picked = task.map_rows(n_rows, 8, |rows| match whole.select(&order[rows])? {
                Column::Text(picked) => Ok(picked),
                Column::Number(_) => Err(Error::internal("text became something else")),
            })?;
            Ok(Column::Text(concatenated(&picked)?))
        });
        let texts = texts.collect::<Result<Vec<_>>>()?;
        let (mut numbers, mut texts) = (numbers.into_iter(), texts.into_iter());
        let mut ordered = Vec::with_capacity(columns.len());
        for (name, kind) in columns {
            let column = match kind {
                Kind::Number => numbers.next().map(Column::number),
                Kind::Text => texts.next(),
            };
            ordered.push((name, column.ok_or_else(|| Error::internal("a column was lost"))?));
        }
        Ok(Ordered { frame: Frame { n_rows, columns: ordered }, hashes })
    }
}

fn counted(n_rows: usize) -> Result<usize> {
    match u32::try_from(n_rows) {
        Ok(_) => Ok(n_rows),
        Err(_) => Err(Error::new(ErrorKind::LimitExceeded, "too many rows to train on")
            .with_detail(format!("The query gave more than {}.", u32::MAX))
            .with_hint("Train on a sample: AS SELECT … WHERE random() < 0.1.")),
    }
}

fn deal_plain(buckets: &mut [Bucket], columns: &[Vec<f64>], hashes: &[u64], first: u32) {
    let columns = columns.iter().map(Vec::as_slice).collect::<Vec<_>>();
    deal(buckets, &columns, hashes, first);
}

/// Deals rows out to buckets: a batch at a time, whose columns then lie in the nearest cache.
fn deal(buckets: &mut [Bucket], columns: &[&[f64]], hashes: &[u64], first: u32) {
    const BATCH: usize = 8192;
    let n_chunk = chunk_rows(columns.len());
    let mut order = Vec::with_capacity(BATCH);
    for start in (0..hashes.len()).step_by(BATCH) {
        let hashes = &hashes[start..(start + BATCH).min(hashes.len())];
        // The rows of each bucket side by side.
        let mut ends = [0_u32; BUCKETS];
        hashes.iter().for_each(|hash| ends[bucket_of(*hash)] += 1);
        let sizes = ends;
        let mut end = 0;
        for place in &mut ends {
            end += *place;
            *place = end - *place;
        }
        order.clear();
        order.resize(hashes.len(), 0_u16);
        for (row, hash) in hashes.iter().enumerate() {
            let place = &mut ends[bucket_of(*hash)];
            order[*place as usize] = row as u16;
            *place += 1;
        }
        let mut rows = order.as_slice();
        for (bucket, size) in buckets.iter_mut().zip(sizes) {
            let (mut own, others) = rows.split_at(size as usize);
            rows = others;
            while !own.is_empty() {
                let filled = bucket.keys.len() % n_chunk;
                if filled == 0 {
                    bucket.chunks.push(vec![0.0; n_chunk * columns.len()].into_boxed_slice());
                }
                let (now, later) = own.split_at(own.len().min(n_chunk - filled));
                own = later;
                let key = |row: &u16| {
                    let row = usize::from(*row);
                    (hashes[row], first + (start + row) as u32)
                };
                bucket.keys.extend(now.iter().map(key));
                bucket.n_rows += now.len();
                let Some(chunk) = bucket.chunks.last_mut() else { continue };
                for (to, from) in chunk.chunks_exact_mut(n_chunk).zip(columns) {
                    let from = &from[start..start + hashes.len()];
                    for (to, row) in to[filled..].iter_mut().zip(now) {
                        *to = from[usize::from(*row)];
                    }
                }
            }
        }
    }
}

type Parts = (Vec<u32>, Vec<u64>, Vec<Vec<f64>>);

/// Orders few rows.
fn plain(columns: Vec<Vec<f64>>, hashes: Vec<u64>) -> Parts {
    let mut keys = hashes.into_iter().zip(0_u32..).collect::<Vec<_>>();
    keys.sort_unstable();
    let pick = |column: Vec<f64>| keys.iter().map(|(_, row)| column[*row as usize]).collect();
    let columns = columns.into_iter().map(pick).collect();
    let (hashes, order) = keys.iter().copied().unzip();
    (order, hashes, columns)
}

/// Orders the rows of each bucket and puts the buckets one after another.
fn sorted(buckets: Vec<Bucket>, n_numbers: usize, n_rows: usize, task: &Task) -> Result<Parts> {
    let n_chunk = chunk_rows(n_numbers);
    let sizes = buckets.iter().map(|bucket| bucket.n_rows).collect::<Vec<_>>();
    let mut order = vec![0_u32; n_rows];
    let mut hashes = vec![0_u64; n_rows];
    let mut columns = (0..n_numbers).map(|_| vec![0.0; n_rows]).collect::<Vec<_>>();
    // Where each bucket writes: its rows of every column.
    let mut places = buckets.into_iter().map(|bucket| (bucket, Vec::new())).collect::<Vec<_>>();
    for column in &mut columns {
        let parts = cut(column, sizes.iter().copied());
        places.iter_mut().zip(parts).for_each(|((_, columns), part)| columns.push(part));
    }
    let sizes = || sizes.iter().copied();
    let keys = cut(&mut order, sizes()).zip(cut(&mut hashes, sizes()));
    let places = places.into_iter().zip(keys).map(|one| Mutex::new(Some(one))).collect::<Vec<_>>();
    task.map(places.len(), |index| {
        // Taken, so that the memory of a bucket is given back when it is done.
        let Some(((bucket, columns), (order, hashes))) = places[index].lock().take() else {
            return Ok(());
        };
        let mut sorted = Vec::with_capacity(bucket.n_rows);
        let placed = bucket.keys.iter().zip(0_u32..).filter(|(key, _)| **key != NO_ROW);
        sorted.extend(placed.map(|((hash, _), place)| (*hash, place)));
        sorted.sort_unstable();
        for ((hash, place), (order, to)) in sorted.iter().zip(order.iter_mut().zip(hashes)) {
            (*order, *to) = (bucket.keys[*place as usize].1, *hash);
        }
        let shift = n_chunk.trailing_zeros();
        for (nth, to) in columns.into_iter().enumerate() {
            for (to, (_, place)) in to.iter_mut().zip(&sorted) {
                let place = *place as usize;
                *to = bucket.chunks[place >> shift][nth * n_chunk + (place & (n_chunk - 1))];
            }
        }
        Ok(())
    })?;
    drop(places);
    Ok((order, hashes, columns))
}

fn concatenated(parts: &[StringArray]) -> Result<StringArray> {
    if parts.is_empty() {
        return Ok(StringArray::from(Vec::<Option<&str>>::new()));
    }
    let parts = parts.iter().map(|part| part as &dyn Array).collect::<Vec<_>>();
    let all: ArrayRef = concat(&parts).map_err(|error| {
        Error::new(ErrorKind::LimitExceeded, "the text columns are too large to train on")
            .with_cause(error)
            .with_hint("Train on a sample, or leave long texts out.")
    })?;
    let all = Arc::clone(&all);
    all.as_any()
        .downcast_ref::<StringArray>()
        .cloned()
        .ok_or_else(|| Error::internal("text became something else"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn rows(n: usize) -> Vec<(f64, f64, Option<String>)> {
        let mut random = Random::new(3, 0);
        let one = |at: usize| {
            let text = (!at.is_multiple_of(7)).then(|| format!("t{}", random.below(50)));
            let gap = at.is_multiple_of(11);
            (random.below(1000) as f64, if gap { f64::NAN } else { random.next_f64() }, text)
        };
        (0..n).map(one).collect()
    }

    fn gathered(rows: &[(f64, f64, Option<String>)], batch: usize, threads: usize) -> Ordered {
        let kinds = [("a", Kind::Number), ("t", Kind::Text), ("b", Kind::Number)];
        let kinds = kinds.map(|(name, kind)| (name.to_owned(), kind));
        let new = || Gatherer::new(kinds.clone().into());
        // The first one takes most, so that some have dealt their rows out and some have not.
        let mut gatherers = (0..threads).map(|_| new()).collect::<Vec<_>>();
        for (at, part) in rows.chunks(batch).enumerate() {
            let texts = StringArray::from_iter(part.iter().map(|row| row.2.clone()));
            let a = Column::number(part.iter().map(|row| row.0).collect());
            let b = Column::number(part.iter().map(|row| row.1).collect());
            let turn = if at % 7 < 5 { 0 } else { at % threads };
            gatherers[turn].push(&[a, Column::Text(texts), b]).unwrap();
        }
        let mut gatherers = gatherers.into_iter();
        let mut all = gatherers.next().unwrap();
        gatherers.for_each(|one| all.append(one).unwrap());
        all.finish(&Task::single().with_threads(threads)).unwrap()
    }

    fn shown(ordered: &Ordered) -> Vec<(u64, Vec<Option<String>>)> {
        let columns = &ordered.frame.columns;
        let row = |row: usize| {
            let text = |(_, column): &(String, Column)| column.text(row).map(|text| text.into());
            columns.iter().map(text).collect()
        };
        ordered.hashes.iter().copied().zip((0..ordered.frame.n_rows).map(row)).collect()
    }

    #[test]
    fn the_order_is_that_of_the_values_alone() {
        for n in [0, 1, 1000, ROWS_DEALT - 1, ROWS_DEALT, 150_001, 600_000] {
            let rows = rows(n);
            let first = shown(&gathered(&rows, 8192, 1));
            assert_eq!(first.len(), n);
            assert!(first.is_sorted_by_key(|(hash, _)| *hash));
            let mut other = rows.clone();
            other.reverse();
            other.rotate_left(n / 3);
            for threads in [2, 3] {
                assert!(first == shown(&gathered(&other, 777, threads)), "{n} rows");
            }
            // Nothing is lost, nothing comes twice.
            let mut lines = first.iter().map(|(_, row)| format!("{row:?}")).collect::<Vec<_>>();
            let text = |one: &f64| (!one.is_nan()).then(|| crate::frame::number_text(*one));
            let line = |(a, b, t): &(f64, f64, Option<String>)| {
                format!("{:?}", vec![text(a), t.clone(), text(b)])
            };
            let mut wanted = rows.iter().map(line).collect::<Vec<_>>();
            lines.sort();
            wanted.sort();
            assert!(lines == wanted, "{n} rows");
        }
    }
}
