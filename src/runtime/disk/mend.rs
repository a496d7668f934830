//! Mending a damaged journal that lost nothing but messages.
//!
//! The caller holds the data directory's lock. What is damaged stays as it is: a snapshot of the
//! state without the lost messages is written behind it, and a start begins there. Until its end
//! is on the disk the journal is what it was.

use super::blocking::Files;
use super::error::DiskError;
use super::recover::{Reader, read_whole, unix_ms};
use super::segment;
use crate::base::ids::ShardId;
use crate::journal::{
    JournalError, Losses, PAGE_BYTES, Recovered, Recovery, SEGMENT_BYTES_MIN, Survey, Writer,
    WriterSettings,
};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Snapshot in memory between two writes, in bytes.
const GATHERED_MAX: usize = 1 << 20;

/// What makes the journal of a shard whole again.
#[derive(Debug)]
pub enum Remedy {
    /// It is.
    Nothing,
    /// Only messages are lost: [`Mending::carry_out`].
    Drop(Box<Mending>),
    /// Records of the state are damaged, or nothing can be read at all: a cut there, if
    /// [`crate::journal::Damage::is_healed_by_cut`].
    Cut(JournalError),
}

/// A journal that can go on without some messages.
#[derive(Debug)]
pub struct Mending {
    pub losses: Losses,
    directory: PathBuf,
    /// Without the lost messages.
    recovered: Recovered,
    /// Segments with damage.
    damaged: BTreeSet<u32>,
}

/// Reads a shard's journal three times at most, one segment in memory at a time.
///
/// # Errors
/// The system refuses.
pub fn remedy(data_dir: &Path, shard: u16) -> Result<Remedy, DiskError> {
    let directory = segment::shard_directory(data_dir, shard);
    let numbers =
        segment::list(&directory).map_err(|error| DiskError::system("read", &directory, error))?;
    let id = ShardId(shard);
    let mut reader = Reader::new(&directory, id, numbers.len());
    let mut survey = Survey::new(id);
    for number in &numbers {
        if let Err(error) = survey.read(*number, reader.read(*number)?) {
            return Ok(Remedy::Cut(error));
        }
    }
    let spared = survey.finish();
    let mut damaged: BTreeSet<u32> = spared.segments().collect();
    let mut recovery = Recovery::sparing(id, spared);
    for number in &numbers {
        if let Err(error) = recovery.read(*number, reader.read(*number)?) {
            return Ok(Remedy::Cut(error));
        }
    }
    let mut recovered = match recovery.finish() {
        Ok(recovered) => recovered,
        Err(error) => return Ok(Remedy::Cut(error)),
    };
    let wanted: Vec<u32> = recovered.wanted_segments().collect();
    let mut lost = BTreeSet::new();
    for number in wanted {
        let is_there = numbers.binary_search(&number).is_ok();
        let bytes = if is_there { reader.read(number)? } else { &[] };
        let before = lost.len();
        lost.extend(recovered.lost(number, bytes));
        if lost.len() > before && is_there {
            damaged.insert(number);
        }
    }
    if lost.is_empty() && damaged.is_empty() {
        return Ok(Remedy::Nothing);
    }
    drop(reader);
    Ok(Remedy::Drop(Box::new(Mending {
        losses: recovered.give_up(&lost),
        directory,
        recovered,
        damaged,
    })))
}

impl Mending {
    /// Copies the damaged segments aside and writes the journal's new beginning; returns where the
    /// copies are. `salt`: unknown to everybody outside.
    ///
    /// # Errors
    /// The system refuses; nothing has changed but that there may be copies.
    pub fn carry_out(&self, data_dir: &Path, salt: u64) -> Result<PathBuf, DiskError> {
        let copy = self.copy_damaged(data_dir)?;
        if let Err(error) = self.write_snapshot(salt) {
            self.remove_new();
            return Err(DiskError::system("write", &self.directory, error));
        }
        Ok(copy)
    }

    fn copy_damaged(&self, data_dir: &Path) -> Result<PathBuf, DiskError> {
        let root = data_dir.join(format!("damaged-{}", unix_ms()));
        let copies = segment::shard_directory(&root, self.recovered.shard().0);
        let system = |error| DiskError::system("make", &copies, error);
        segment::prepare_directory(&root).map_err(system)?;
        segment::prepare_directory(&copies).map_err(system)?;
        let mut buffer = Vec::new();
        for number in &self.damaged {
            let path = segment::segment_path(&self.directory, *number);
            read_whole(&path, &mut buffer)
                .map_err(|error| DiskError::system("read", &path, error))?;
            let copied = segment::segment_path(&copies, *number);
            segment::write_whole(&copied, &buffer, 0o640)
                .map_err(|error| DiskError::system("write", &copied, error))?;
        }
        Ok(root)
    }

    fn write_snapshot(&self, salt: u64) -> io::Result<()> {
        let segment_bytes = self.segment_bytes()?;
        let mut writer = Writer::new(self.recovered.writer_settings(WriterSettings {
            shard: self.recovered.shard(),
            epoch: 1,
            previous_epoch: 0,
            previous_last_block: 0,
            salt,
            first_segment: 1,
            segment_bytes,
            sync: true,
        }));
        for number in self.recovered.segments() {
            writer.add_recovered_segment(number);
        }
        let mut files = Files::new(&self.directory, u64::from(segment_bytes));
        self.recovered.write_snapshot(&mut writer, |writer| {
            if writer.gathered_bytes() < GATHERED_MAX {
                return Ok(());
            }
            writer.write_all();
            write_gathered(&mut files, writer)
        })?;
        write_gathered(&mut files, &mut writer)?;
        segment::sync_directory(&self.directory)
    }

    /// That of the present segments: what stood in them fits.
    fn segment_bytes(&self) -> io::Result<u32> {
        let mut bytes = u64::from(SEGMENT_BYTES_MIN);
        for number in self.recovered.segments() {
            let path = segment::segment_path(&self.directory, number);
            bytes = bytes.max(fs::metadata(path)?.len());
        }
        let page = u64::from(PAGE_BYTES);
        u32::try_from(bytes / page * page).map_err(io::Error::other)
    }

    /// What was written in vain takes space.
    fn remove_new(&self) {
        let last = self.recovered.segments().last().unwrap_or(0);
        let numbers = segment::list(&self.directory).unwrap_or_default();
        for number in numbers.into_iter().filter(|number| *number > last) {
            let _ = fs::remove_file(segment::segment_path(&self.directory, number));
        }
    }
}

/// Writes what the writer hands out, and makes the segments for it.
fn write_gathered(files: &mut Files<'_>, writer: &mut Writer) -> io::Result<()> {
    loop {
        while let Some(event) = writer.poll_segment() {
            if let Some(number) = files.on_event(event)? {
                writer.on_segment_ready(number);
            }
        }
        let Some(batch) = writer.poll() else {
            return Ok(());
        };
        files.write(&batch)?;
        writer.on_durable(batch);
    }
}
