//! A journal written by a thread that may wait: for the move to another number of cores.

use super::segment;
use crate::journal::{JournalBatch, SegmentEvent};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The segments of one shard.
#[derive(Debug)]
pub(super) struct Files<'a> {
    directory: &'a Path,
    segment_bytes: u64,
    open: VecDeque<(u32, File)>,
}

impl<'a> Files<'a> {
    pub(super) const fn new(directory: &'a Path, segment_bytes: u64) -> Self {
        Self {
            directory,
            segment_bytes,
            open: VecDeque::new(),
        }
    }

    /// Makes or removes a segment; the number of one that is ready.
    pub(super) fn on_event(&mut self, event: SegmentEvent) -> io::Result<Option<u32>> {
        match event {
            SegmentEvent::Wanted(number) => {
                segment::make(self.directory, number, self.segment_bytes)?;
                let path = segment::segment_path(self.directory, number);
                let file = File::options().write(true).open(path)?;
                self.open.push_back((number, file));
                Ok(Some(number))
            }
            // Of the old shard's directory, which goes as a whole.
            SegmentEvent::Free(_) => Ok(None),
        }
    }

    /// Writes a batch; it is on the medium at the return.
    pub(super) fn write(&mut self, batch: &JournalBatch) -> io::Result<()> {
        for write in batch.writes() {
            while self
                .open
                .front()
                .is_some_and(|(number, _)| *number < write.segment)
            {
                self.open.pop_front();
            }
            let Some((_, file)) = self.open.front() else {
                return Err(io::Error::other(
                    "a write is for a segment that is not open",
                ));
            };
            file.write_all_at(write.bytes, u64::from(write.offset))?;
            file.sync_data()?;
        }
        Ok(())
    }
}
