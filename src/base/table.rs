//! A hash table that grows in small steps, however large it is.
//!
//! A table that doubles hashes all its entries again, and each of ours must be fetched from where
//! its text is: at a million entries the core would serve nobody for tens of milliseconds. Here the
//! entries are divided into partitions by bits of their hash, and only a partition grows, or is
//! divided in two.

use hashbrown::HashTable;
use std::ops::Range;

/// Buckets of a full-sized partition; see [`Table::make_room`].
const PARTITION_BUCKETS: usize = 512;
/// Entries that so many buckets hold.
const PARTITION_ENTRIES: usize = PARTITION_BUCKETS / 8 * 7;
/// More than that are divided, fewer only cleared of what removals left.
const DIVIDED_ENTRIES_MIN: usize = PARTITION_ENTRIES / 4 * 3;
/// Expected entries of the fullest partition after [`Table::reserve`]: some will have more.
const RESERVED_ENTRIES: f64 = PARTITION_ENTRIES as f64 * 0.9;
/// Past that the entries of a partition have nearly the same hash, and no directory divides them.
const CELLS_PER_PARTITION_MAX: usize = 8;
/// Cells of a table with one partition; see [`Table::cell`].
const CELLS_MIN: usize = 4;
/// The shift that leaves so many.
const SHIFT_MAX: u32 = 62;
/// Where the 31 bits begin that choose the cell. They are not those that a partition goes by, which
/// are the lowest nine and the highest seven.
const CELL_BITS_FIRST: u32 = 26;

/// Entries found by a hash that the caller makes, like those of [`HashTable`]. One insert hashes at
/// most [`PARTITION_BUCKETS`] entries again, unless they all have the same hash. Bounded by its
/// owner.
///
/// A hash belongs to a cell of the directory, and neighbouring cells to a partition. When a
/// partition with a single cell is divided the directory doubles, which copies four bytes a cell.
/// Without an entry it has no memory, with few a table of the usual size.
#[derive(Debug)]
pub struct Table<T> {
    partitions: Vec<HashTable<T>>,
    /// Cell -> partition. A power of two, if there is any; the first quarter is never used.
    directory: Vec<u32>,
    shift: u32,
    len: usize,
}

impl<T> Table<T> {
    #[must_use]
    pub const fn new() -> Self {
        Self {
            partitions: Vec::new(),
            directory: Vec::new(),
            shift: SHIFT_MAX,
            len: 0,
        }
    }

    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    pub fn find(&self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<&T> {
        let partition = match &*self.partitions {
            // Nothing to choose, so nothing to wait for.
            [only] => only,
            all => all.get(*self.directory.get(self.cell(hash))? as usize)?,
        };
        partition.find(hash, is_it)
    }

    pub fn find_mut(&mut self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<&mut T> {
        self.partition_mut(hash)?.find_mut(hash, is_it)
    }

    /// Adds an entry, whether there is an equal one or not. `hash_of` gives the hash of any entry.
    pub fn insert_unique(&mut self, hash: u64, entry: T, hash_of: impl Fn(&T) -> u64) {
        if self.directory.is_empty() {
            self.directory = vec![0; CELLS_MIN];
            self.partitions = Vec::with_capacity(1);
            self.partitions.push(HashTable::new());
        }
        self.make_room(hash, &hash_of);
        if let Some(partition) = self.partition_mut(hash) {
            partition.insert_unique(hash, entry, hash_of);
            self.len += 1;
        }
    }

    pub fn remove(&mut self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<T> {
        let is_divided = self.partitions.len() > 1;
        let partition = self.partition_mut(hash)?;
        let (entry, _) = partition.find_entry(hash, is_it).ok()?.remove();
        if is_divided && partition.is_empty() {
            *partition = HashTable::new();
        }
        self.len -= 1;
        Some(entry)
    }

    /// So many more are to come: unless it is divided already, the table takes the shape that it
    /// will have, and hardly any entry is hashed again. One that comes to less is for
    /// [`Self::shrink_to_fit`].
    pub fn reserve(&mut self, additional: usize, hash_of: impl Fn(&T) -> u64) {
        let expected = self.len + additional;
        if self.partitions.len() > 1 || expected <= PARTITION_ENTRIES {
            return;
        }
        let entries = std::mem::take(&mut self.partitions).pop();
        self.shift = SHIFT_MAX;
        let mut cells = CELLS_MIN;
        while share(cells / CELLS_MIN..cells / CELLS_MIN + 1, cells) * expected as f64
            > RESERVED_ENTRIES
        {
            cells *= 2;
            self.shift -= 1;
        }
        self.directory = divisions(cells, expected);
        let count = self.directory.last().map_or(0, |&last| last as usize + 1);
        let partition = || HashTable::with_capacity(PARTITION_ENTRIES);
        self.partitions = std::iter::repeat_with(partition).take(count).collect();
        self.len = 0;
        for entry in entries.into_iter().flatten() {
            self.insert_unique(hash_of(&entry), entry, &hash_of);
        }
    }

    /// Gives back what holds no entries. Not in small steps.
    pub fn shrink_to_fit(&mut self, hash_of: impl Fn(&T) -> u64) {
        for partition in &mut self.partitions {
            partition.shrink_to_fit(&hash_of);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.partitions.iter().flatten()
    }

    /// Of the memory on the heap.
    #[must_use]
    pub fn allocated_bytes(&self) -> usize {
        let tables = self.partitions.iter().map(HashTable::allocation_size);
        tables.sum::<usize>()
            + self.partitions.capacity() * size_of::<HashTable<T>>()
            + self.directory.capacity() * size_of::<u32>()
    }

    /// Cells have the same width along x = u^2, where u in 1..2 is the hash: the first one in use
    /// gets twice as many entries as the last one. So partitions are at all stages between half
    /// full and full at any time. Were their shares alike they would all be divided at about the
    /// same number of entries, and the table would be half empty afterwards.
    #[inline]
    #[allow(
        clippy::cast_possible_truncation,
        reason = "31 bits are wanted, and 64 are a usize"
    )]
    const fn cell(&self, hash: u64) -> usize {
        let u = ((hash >> CELL_BITS_FIRST) as u32 | 1 << 31) as u64;
        ((u * u) >> self.shift) as usize
    }

    fn partition_mut(&mut self, hash: u64) -> Option<&mut HashTable<T>> {
        let number = *self.directory.get(self.cell(hash))?;
        self.partitions.get_mut(number as usize)
    }

    /// Divides or clears the partition of this hash if there is no more room in it. Up to its full
    /// size it grows by itself, and beyond that when its entries cannot be divided.
    fn make_room(&mut self, hash: u64, hash_of: &impl Fn(&T) -> u64) {
        let Some(partition) = self.partition_mut(hash) else {
            return;
        };
        let has_room = partition.len() < partition.capacity();
        if has_room || partition.num_buckets() < PARTITION_BUCKETS {
            return;
        }
        if partition.len() >= DIVIDED_ENTRIES_MIN {
            self.divide(self.cell(hash), hash_of);
        } else {
            let entries = std::mem::take(partition).into_iter();
            *partition = filled(entries.map(|entry| (hash_of(&entry), entry)).collect());
        }
    }

    fn divide(&mut self, cell: usize, hash_of: &impl Fn(&T) -> u64) {
        let mut cells = self.cells_of_partition(cell);
        if cells.len() == 1 {
            if self.directory.len() >= CELLS_PER_PARTITION_MAX * self.partitions.len() {
                return;
            }
            self.directory = self.directory.iter().flat_map(|&it| [it, it]).collect();
            self.shift -= 1;
            cells = 2 * cells.start..2 * cells.end;
        }
        let middle = cells.start + cells.len() / 2;
        let number = self.directory[middle] as usize;
        let entries = std::mem::take(&mut self.partitions[number]).into_iter();
        let entries = entries.map(|entry| (hash_of(&entry), entry));
        let (low, high) = entries.partition(|&(hash, _)| self.cell(hash) < middle);
        #[allow(
            clippy::cast_possible_truncation,
            reason = "each has hundreds of entries"
        )]
        self.directory[middle..cells.end].fill(self.partitions.len() as u32);
        self.partitions[number] = filled(low);
        self.partitions.push(filled(high));
    }

    /// The cells around this one that belong to the same partition.
    fn cells_of_partition(&self, cell: usize) -> Range<usize> {
        let is_same = |&at: &usize| self.directory.get(at) == self.directory.get(cell);
        let first = self.directory.len() / CELLS_MIN;
        let before = (first..cell).rev().take_while(is_same).count();
        let behind = (cell..self.directory.len()).take_while(is_same).count();
        cell - before..cell + behind
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// With room for one more.
fn filled<T>(entries: Vec<(u64, T)>) -> HashTable<T> {
    let mut table = HashTable::with_capacity(entries.len() + 1);
    for (hash, entry) in entries {
        // There is room: nothing is hashed again.
        table.insert_unique(hash, entry, |_| hash);
    }
    table
}

/// A directory in which pairs of cells are one partition where both together are not too many.
fn divisions(cells: usize, expected: usize) -> Vec<u32> {
    let mut number = 0;
    let mut directory = vec![0; cells / CELLS_MIN];
    while directory.len() < cells {
        let pair = directory.len()..(directory.len() + 2).min(cells);
        let is_one = share(pair.clone(), cells) * expected as f64 <= RESERVED_ENTRIES;
        directory.extend(pair.map(|_| number).take(if is_one { 2 } else { 1 }));
        number += 1;
    }
    directory
}

/// The part of all entries that some of so many cells will have; see [`Table::cell`].
fn share(of: Range<usize>, cells: usize) -> f64 {
    let u = |cell: usize| 2.0 * (cell as f64 / cells as f64).sqrt();
    u(of.end) - u(of.start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use std::cell::Cell;
    use std::collections::BTreeSet;

    fn well_mixed(entry: u32) -> u64 {
        Random::new(u64::from(entry)).next_u64()
    }

    /// Any sequence of operations leaves what a set would have, whatever the hashes are.
    fn equals_a_set(seed: u64, entries: u32, hash_of: fn(u32) -> u64) {
        let mut random = Random::new(seed);
        let mut table = Table::new();
        let mut model = BTreeSet::new();
        for operation in 0..10 * entries {
            let entry = u32::try_from(random.below(entries.into())).unwrap();
            let hash = hash_of(entry);
            let growing = (operation / (3 * entries)).is_multiple_of(2);
            if !random.chance(if growing { 3 } else { 1 }, 4) {
                let removed = table.remove(hash, |&other| other == entry);
                assert_eq!(removed.is_some(), model.remove(&entry));
            } else if model.insert(entry) {
                table.insert_unique(hash, entry, |&entry| hash_of(entry));
            }
            match random.below(10_000) {
                0 => table.shrink_to_fit(|&entry| hash_of(entry)),
                1 => table.reserve(3_000, |&entry| hash_of(entry)),
                _ => {}
            }
            assert_eq!(table.len(), model.len());
            let found = table.find_mut(hash, |&other| other == entry).copied();
            assert_eq!(found.is_some(), model.contains(&entry));
            assert_eq!(table.find(hash, |&other| other == entry).copied(), found);
        }
        assert!(table.iter().copied().collect::<BTreeSet<_>>() == model);
        for &entry in &model {
            assert!(table.remove(hash_of(entry), |&it| it == entry).is_some());
        }
        assert!(table.is_empty());
    }

    #[test]
    fn equals_a_set_while_growing_and_shrinking() {
        for seed in 0..4 {
            equals_a_set(seed, 5_000, well_mixed);
        }
    }

    #[test]
    fn equals_a_set_when_hashes_are_alike() {
        equals_a_set(1, 1_500, |_| 0);
        equals_a_set(2, 1_500, |_| u64::MAX);
        equals_a_set(3, 3_000, |entry| u64::from(entry % 3) << CELL_BITS_FIRST);
        // Only bits that partitions do not see differ.
        equals_a_set(4, 3_000, |entry| {
            well_mixed(entry) & !(u64::from(u32::MAX) << CELL_BITS_FIRST)
        });
    }

    #[test]
    fn no_insert_hashes_many_entries_again() {
        let count = 1_000_000;
        let calls = Cell::new(0);
        let hash_of = |&entry: &u32| {
            calls.set(calls.get() + 1);
            well_mixed(entry)
        };
        let mut table = Table::new();
        let (mut most, mut all) = (0, 0);
        for entry in 0..count {
            table.insert_unique(well_mixed(entry), entry, hash_of);
            most = most.max(calls.get());
            all += calls.replace(0);
        }
        assert!(most <= PARTITION_BUCKETS, "{most}");
        assert!(all <= 3 * count as usize, "{all}");
        assert!(table.directory.len() <= 4 * table.partitions.len());
    }

    #[test]
    fn entries_that_come_and_go_make_no_more_partitions() {
        let mut table = Table::new();
        let hash_of = |&entry: &u32| well_mixed(entry);
        for entry in 0..100_000_u32 {
            table.insert_unique(well_mixed(entry), entry, hash_of);
            if let Some(old) = entry.checked_sub(10_000) {
                assert!(table.remove(well_mixed(old), |&it| it == old).is_some());
            }
        }
        assert!(table.partitions.len() < 60, "{}", table.partitions.len());
        assert!(table.allocated_bytes() < 160_000);
    }

    #[test]
    fn memory_follows_the_number_of_entries() {
        let mut table = Table::new();
        for entry in 0..200_000_u32 {
            table.insert_unique(well_mixed(entry), entry, |&entry| well_mixed(entry));
            if entry >= 20_000 && entry % 5_000 == 0 {
                // A table that doubles takes between 5.7 and 11.4 bytes.
                let bytes = table.allocated_bytes() as f64 / f64::from(entry);
                assert!((7.5..9.2).contains(&bytes), "{bytes} at {entry}");
            }
        }
    }

    /// A table with entries up to `count`, five of them before it was told of the others, and how
    /// many were hashed again.
    fn reserved(count: u32, told: u32) -> (Table<u32>, u32) {
        let calls = Cell::new(0);
        let hash_of = |&entry: &u32| {
            calls.set(calls.get() + 1);
            well_mixed(entry)
        };
        let mut table = Table::new();
        for entry in 0..count {
            if entry == 5 {
                table.reserve(told as usize, hash_of);
            }
            table.insert_unique(well_mixed(entry), entry, hash_of);
        }
        table.shrink_to_fit(hash_of);
        let present = |&entry: &u32| table.find(well_mixed(entry), |&it| it == entry).is_some();
        assert!((0..count).all(|entry| present(&entry)));
        (table, calls.get())
    }

    #[test]
    fn reserved_table_hashes_few_entries_again_and_is_no_larger() {
        for count in [3_000, 50_000, 90_000, 150_000] {
            let (told, calls) = reserved(count, count - 5);
            let (grown, grown_calls) = reserved(count, 0);
            assert!(calls * 4 < grown_calls, "{calls} of {grown_calls}");
            let (bytes, grown_bytes) = (told.allocated_bytes(), grown.allocated_bytes());
            assert!(bytes * 10 < grown_bytes * 11, "{bytes} of {grown_bytes}");
            // Told of too many, it gives the room back, all but the partitions themselves.
            let (few, _) = reserved(count / 100, count);
            assert!(few.allocated_bytes() * 4 < bytes);
        }
    }
}
