//! One core's writes: one batch of the journal at a time, through the core's ring.
//!
//! A batch is written piece by piece in its order, each piece on the medium before the next one
//! begins (unless the batch asks for less). When writes before it were not synced, a sync of the
//! device follows the last piece instead: a synced write alone need not take others with it. The
//! batch goes back to the shard when all of it is written:
//! that is when acknowledgements leave. Records gather in the shard meanwhile, so under load the
//! batches grow by themselves.
//!
//! A write that fails is never tried again: nobody knows what the medium holds then. The process
//! ends, and the next start recovers what was durable.

use super::keeper::{KeeperLink, Order, Report};
use super::reader::Reader;
use super::{JournalOptions, fail, segment};
use crate::base::ids::ShardId;
use crate::base::time::Instant;
use crate::journal::{JournalBatch, SegmentEvent, Write};
use crate::runtime::net::{FileDone, FileKind, FileWrite, Net, Pages};
use crate::shard::Shard;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// Pages that the kernel writes from; a longer batch goes through them in several pieces.
const STAGING_BYTES: usize = 1 << 20;

/// A batch whose writing is under way.
#[derive(Debug)]
struct Writing {
    batch: Box<JournalBatch>,
    /// Which of its writes, how much of that one is done, and how much is under way.
    index: usize,
    done: usize,
    piece: usize,
    /// Everything is written, and the sync of the device is under way.
    syncing: bool,
}

/// One core's journal files.
#[derive(Debug)]
pub(crate) struct Disk {
    shard: u16,
    keeper: KeeperLink,
    /// Segments that are ready, by number: the one being written and those made ahead. Older ones
    /// are closed when a newer one is begun.
    files: VecDeque<(u32, File)>,
    /// Shared only with the kernel.
    staging: Rc<Pages>,
    writing: Option<Writing>,
    /// The device may still hold writes that it has not put on the medium.
    unsynced: bool,
    /// At the disk's watermark: bytes of messages that the journal had to keep when it was reached,
    /// or when the last snapshot was asked for.
    live_when_full: Option<u64>,
    segment_bytes: u64,
    /// The shard had nothing to write when it was asked last.
    idle: bool,
    sync_delay: Duration,
    /// Not before this time the next batch is taken.
    next_batch: Instant,
    /// Numbers the operations, so that an answer is that of the piece under way.
    token: u32,
    reader: Reader,
    /// What the keeper said before the core began to serve.
    first_report: Option<Report>,
}

impl Disk {
    pub(crate) fn new(
        shard: ShardId,
        keeper: KeeperLink,
        options: &JournalOptions,
    ) -> io::Result<Self> {
        Ok(Self {
            shard: shard.0,
            keeper,
            files: VecDeque::new(),
            staging: Rc::new(Pages::new(STAGING_BYTES)?),
            writing: None,
            unsynced: false,
            live_when_full: None,
            segment_bytes: u64::from(options.segment_bytes),
            idle: true,
            sync_delay: options.settings.sync_delay,
            next_batch: Instant::ZERO,
            token: 0,
            reader: Reader::new(segment::shard_directory(&options.data_dir, shard.0)),
            first_report: None,
        })
    }

    /// Blocks until the shard's first segment is made, or the keeper says that there is no space:
    /// without this the first client would wait while zeros are written. For the start only.
    pub(crate) fn await_keeper(&mut self, shard: &mut Shard) {
        self.order_segments(shard);
        // Fails only if the keeper has ended: its failure ends the process.
        self.first_report = self.keeper.reports.recv().ok();
    }

    /// When [`Disk::drain`] has to be called again, besides when something happens.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        (!self.idle && self.writing.is_none()).then_some(self.next_batch)
    }

    /// Takes what the kernel and the keeper have done. Before the shard is asked what to send.
    pub(crate) fn complete(&mut self, net: &mut Net, shard: &mut Shard, now: Instant) {
        while let Some(report) = self.next_report() {
            self.on_report(net, shard, now, report);
        }
        while let Some(done) = net.poll_file_done() {
            match done.kind {
                FileKind::Write => self.on_done(net, shard, now, done),
                FileKind::Read => self.reader.on_done(net, shard, now, done),
            }
        }
    }

    fn next_report(&mut self) -> Option<Report> {
        self.first_report
            .take()
            .or_else(|| self.keeper.reports.try_recv().ok())
    }

    fn on_report(&mut self, net: &mut Net, shard: &mut Shard, now: Instant, report: Report) {
        let counters = net.counters_mut();
        match report {
            Report::Ready { number, file } => {
                counters.journal_segments += 1;
                self.files.push_back((number, file));
                shard.on_segment_ready(now, number);
            }
            Report::Full(full) => {
                counters.disk_full += u64::from(full);
                self.live_when_full = full.then(|| shard.journal_live_bytes());
                if full {
                    shard.begin_snapshot();
                }
                shard.on_disk_full(now, full);
            }
        }
    }

    /// Gives the keeper the shard's orders and the kernel the next reads and the next batch.
    pub(crate) fn drain(&mut self, net: &mut Net, shard: &mut Shard, now: Instant) {
        self.order_segments(shard);
        // Before the writes: what a read waits for is written now.
        self.reader.drain(net, shard, now);
        if self.writing.is_some() {
            return;
        }
        self.idle = false;
        if now < self.next_batch {
            return;
        }
        let batch = shard.poll_journal();
        // A snapshot may want to read before it goes on.
        self.reader.drain(net, shard, now);
        match batch {
            None => self.idle = true,
            Some(batch) => {
                self.next_batch = now + self.sync_delay;
                self.writing = Some(Writing {
                    batch,
                    index: 0,
                    done: 0,
                    piece: 0,
                    syncing: false,
                });
                self.go_on(net, shard, now);
            }
        }
    }

    fn order_segments(&mut self, shard: &mut Shard) {
        while let Some(order) = shard.poll_segment() {
            let shard = self.shard;
            let order = match order {
                SegmentEvent::Wanted(number) => Order::Prepare { shard, number },
                SegmentEvent::Free(number) => {
                    self.reader.forget(number);
                    Order::Retire { shard, number }
                }
            };
            // The keeper lives as long as any link to it.
            let _ = self.keeper.orders.send(order);
        }
    }

    /// Queues the next piece of the batch under way, then the sync if it takes one; gives the batch
    /// back when all is done.
    fn go_on(&mut self, net: &mut Net, shard: &mut Shard, now: Instant) {
        let Some(writing) = &mut self.writing else {
            return;
        };
        let needs_sync = writing.batch.needs_sync();
        if let Some(piece) = writing.next_piece(self.staging.len()) {
            let counters = net.counters_mut();
            counters.journal_writes += 1;
            counters.journal_bytes += piece.bytes.len() as u64;
            self.staging.fill(0, piece.bytes);
            net.write_file(&FileWrite {
                token: self.token,
                file: open_file(&mut self.files, piece.segment),
                pages: &self.staging,
                bytes: u32::try_from(piece.bytes.len()).unwrap_or(u32::MAX),
                offset: piece.offset,
                synced: needs_sync && !self.unsynced,
            });
            self.unsynced |= !needs_sync;
        } else if needs_sync && self.unsynced {
            writing.syncing = true;
            self.unsynced = false;
            match self.files.front() {
                Some((_, file)) => net.sync_file(self.token, file),
                None => fail("a batch without a segment", &writing.batch.sequence()),
            }
        } else if let Some(writing) = self.writing.take() {
            shard.on_durable(now, writing.batch);
            self.reclaim(shard);
        }
    }

    /// At the watermark segments must not wait for the next ordinary snapshot to become free: one
    /// begins when as much is not needed any more as a segment holds.
    fn reclaim(&mut self, shard: &mut Shard) {
        let Some(before) = self.live_when_full else {
            return;
        };
        let live = shard.journal_live_bytes();
        if before.saturating_sub(live) >= self.segment_bytes && !shard.is_snapshot_open() {
            self.live_when_full = Some(live);
            shard.begin_snapshot();
        } else {
            // What was added since is no reason to wait longer.
            self.live_when_full = Some(before.max(live));
        }
    }

    fn on_done(&mut self, net: &mut Net, shard: &mut Shard, now: Instant, done: FileDone) {
        let Some(writing) = &mut self.writing else {
            fail("an operation that nobody asked for is over", &done.token);
        };
        assert_eq!(done.token, self.token, "one operation at a time");
        self.token = self.token.wrapping_add(1);
        let outcome = if writing.syncing {
            synced(done.result).map(|()| 0)
        } else {
            written(done.result, writing.piece)
        };
        match outcome {
            Ok(bytes) => writing.done += bytes,
            Err(error) => fail("a write or sync of the journal", &error),
        }
        self.go_on(net, shard, now);
    }
}

/// What one operation of the kernel writes.
struct Piece<'a> {
    segment: u32,
    /// Bytes from the beginning of the segment.
    offset: u64,
    bytes: &'a [u8],
}

impl Writing {
    /// The first `bytes_max` of what is not written yet; `None`: all is.
    fn next_piece(&mut self, bytes_max: usize) -> Option<Piece<'_>> {
        let whole = self.batch.writes().nth(self.index)?.bytes.len();
        if self.done == whole {
            self.index += 1;
            self.done = 0;
        }
        let Write {
            segment,
            offset,
            bytes,
        } = self.batch.writes().nth(self.index)?;
        let rest = &bytes[self.done..];
        self.piece = rest.len().min(bytes_max);
        Some(Piece {
            segment,
            offset: u64::from(offset) + self.done as u64,
            bytes: &rest[..self.piece],
        })
    }
}

/// The file of `segment`; closes those before it, which are complete.
fn open_file(files: &mut VecDeque<(u32, File)>, segment: u32) -> &File {
    while files.front().is_some_and(|(number, _)| *number < segment) {
        files.pop_front();
    }
    match files.front() {
        Some((number, file)) if *number == segment => file,
        _ => fail("a write is for a segment that is not open", &segment),
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.writing.is_some() {
            // The kernel may still read these pages.
            std::mem::forget(Rc::clone(&self.staging));
        }
    }
}

/// How much of a piece is written: nothing yet (interrupted before it began), or all of it.
/// Anything in between is a failure.
fn written(result: i32, piece: usize) -> io::Result<usize> {
    match result {
        error if error == -libc::EINTR || error == -libc::EAGAIN => Ok(0),
        error @ ..0 => Err(io::Error::from_raw_os_error(-error)),
        count if usize::try_from(count) == Ok(piece) => Ok(piece),
        count => Err(io::Error::other(format!(
            "only {count} of {piece} bytes were written"
        ))),
    }
}

/// A sync that fails is never tried again: the kernel may have dropped what it could not write.
fn synced(result: i32) -> io::Result<()> {
    match result {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_pieces_count_as_written() {
        assert_eq!(written(4096, 4096).unwrap(), 4096);
        assert_eq!(written(-libc::EINTR, 4096).unwrap(), 0);
        let short = written(512, 4096).unwrap_err().to_string();
        assert_eq!(short, "only 512 of 4096 bytes were written");
        let failed = written(-libc::EIO, 4096).unwrap_err();
        assert_eq!(failed.raw_os_error(), Some(libc::EIO));
    }
}
