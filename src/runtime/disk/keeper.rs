//! The keeper: one thread that makes, recycles and removes segment files for all shards.
//!
//! Everything that may block (filling with zeros, renaming, syncing directories, asking for free
//! space) happens here, so that no core ever waits for it. Cores order ahead of their need; the
//! answer comes as a [`Report`] with the core's bell.
//!
//! Two bounds of space. At the *watermark* (the limits of the configuration) every core is told to
//! refuse what would fill the disk; what is under way, acknowledgements and snapshots may go on
//! and need segments, too, or nothing could ever be freed: those are made as long as the system
//! gives space. Past *that* orders wait, and the journal with them. Both end by themselves: space
//! is looked at every second meanwhile.

use super::segment;
use super::space::{Shortage, SpaceLimits, free_bytes};
use super::{fail, space};
use crate::runtime::bell::Bell;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use tracing::{error, info, warn};

/// How soon an order that found no room, or a file that a backup holds, is looked at again.
const RETRY_TIME: Duration = Duration::from_secs(1);
/// Files that nobody needs and each shard keeps for its next segments; more are removed.
const RETIRED_MAX: usize = 1;
/// A backup under way locks this file: what it copies must stay as it is.
pub(super) const HOLD_FILE: &str = "backup.lock";

/// What a shard wants of the keeper.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    /// Segment `number` is to be usable.
    Prepare { shard: u16, number: u32 },
    /// Nothing in segment `number` is needed any more.
    Retire { shard: u16, number: u32 },
}

/// What the keeper tells a core.
#[derive(Debug)]
pub(super) enum Report {
    /// The segment can be written; its name and size are on the medium.
    Ready { number: u32, file: File },
    /// The watermark is reached, or is not any more.
    Full(bool),
}

/// What the keeper works with.
#[derive(Clone, Debug)]
pub(super) struct KeeperSettings {
    pub(super) data_dir: PathBuf,
    pub(super) segment_bytes: u64,
    pub(super) space: SpaceLimits,
}

/// One shard's side of the keeper.
#[derive(Debug)]
struct Desk {
    directory: PathBuf,
    reports: Sender<Report>,
    bell: Arc<Bell>,
    /// At most two: the shard orders one ahead.
    wanted: VecDeque<u32>,
    /// Ascending; the lowest is recycled first. Bounded by the shard's segments.
    retired: Vec<u32>,
    /// The system gave no space for what is wanted.
    stuck: bool,
}

impl Desk {
    fn report(&self, report: Report) {
        // Fails only if the core has ended.
        let _ = self.reports.send(report);
        self.bell.wake();
    }
}

/// A core's end of the queue to the keeper.
#[derive(Debug)]
pub(crate) struct KeeperLink {
    pub(super) orders: Sender<Order>,
    pub(super) reports: Receiver<Report>,
}

/// The keeper's thread. It ends when the last core's link is gone.
#[derive(Debug)]
pub(super) struct Keeper {
    settings: KeeperSettings,
    orders: Receiver<Order>,
    desks: Vec<Desk>,
    /// Of all segments of all shards.
    used_bytes: u64,
    /// The watermark is reached.
    full: bool,
    hold: File,
}

impl Keeper {
    /// Starts the thread; one link for each bell, by shard.
    ///
    /// # Errors
    /// The data directory cannot be used.
    pub(super) fn start(
        settings: KeeperSettings,
        bells: &[Arc<Bell>],
    ) -> io::Result<(JoinHandle<()>, Vec<KeeperLink>)> {
        space::survive_file_size_limit();
        let (orders, taken) = channel();
        let hold = open_hold_file(&settings.data_dir)?;
        let mut links = Vec::new();
        let mut desks = Vec::new();
        let mut used_bytes = 0;
        for (shard, bell) in (0u16..).zip(bells) {
            let directory = segment::shard_directory(&settings.data_dir, shard);
            segment::prepare_directory(&directory)?;
            used_bytes += bytes_of(&directory)?;
            let (reports, reported) = channel();
            links.push(KeeperLink {
                orders: orders.clone(),
                reports: reported,
            });
            desks.push(Desk {
                directory,
                reports,
                bell: Arc::clone(bell),
                wanted: VecDeque::new(),
                retired: Vec::new(),
                stuck: false,
            });
        }
        let keeper = Self {
            settings,
            orders: taken,
            desks,
            used_bytes,
            full: false,
            hold,
        };
        let thread = Builder::new()
            .name("disk".to_owned())
            .spawn(move || keeper.run())?;
        Ok((thread, links))
    }

    fn run(mut self) {
        self.look_at_space();
        while self.receive() {
            self.prepare_wanted();
            for index in 0..self.desks.len() {
                self.remove_retired(index);
            }
            self.look_at_space();
        }
    }

    /// Waits for orders and takes all that are there; false: no core is left.
    fn receive(&mut self) -> bool {
        let is_waiting = |desk: &Desk| !desk.wanted.is_empty() || desk.retired.len() > RETIRED_MAX;
        let first = if self.full || self.desks.iter().any(is_waiting) {
            self.orders.recv_timeout(RETRY_TIME)
        } else {
            self.orders
                .recv()
                .map_err(|_| RecvTimeoutError::Disconnected)
        };
        match first {
            Ok(order) => self.take(order),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return false,
        }
        while let Ok(order) = self.orders.try_recv() {
            self.take(order);
        }
        true
    }

    fn take(&mut self, order: Order) {
        match order {
            Order::Prepare { shard, number } => {
                self.desks[usize::from(shard)].wanted.push_back(number);
            }
            Order::Retire { shard, number } => {
                let desk = &mut self.desks[usize::from(shard)];
                // What has not the size of today's segments is removed by `remove_retired`.
                desk.retired.push(number);
                desk.retired.sort_unstable();
            }
        }
    }

    /// One for each shard in turn: no shard waits for what another one has ordered ahead.
    fn prepare_wanted(&mut self) {
        loop {
            let mut is_done = true;
            for index in 0..self.desks.len() {
                is_done &= !self.prepare_next(index);
            }
            if is_done {
                return;
            }
        }
    }

    /// False: the shard wants nothing, or there is no room for it.
    fn prepare_next(&mut self, index: usize) -> bool {
        let Some(number) = self.desks[index].wanted.front().copied() else {
            return false;
        };
        let prepared = self.prepare(index, number);
        let desk = &mut self.desks[index];
        match prepared {
            Ok(file) => {
                desk.wanted.pop_front();
                desk.stuck = false;
                desk.report(Report::Ready { number, file });
                true
            }
            Err(shortage) => {
                if !std::mem::replace(&mut desk.stuck, true) {
                    error!(
                        shard = index,
                        "no segment of the journal can be made: {shortage}; what is durable \
                         waits until there is space"
                    );
                }
                false
            }
        }
    }

    /// Tells the cores when the watermark is reached, and when it is not any more.
    fn look_at_space(&mut self) {
        let found = self.space();
        if found.is_err() == self.full {
            return;
        }
        self.full = !self.full;
        match found {
            Ok(()) => info!("there is space on the disk again: QoS 1 and 2 are taken"),
            Err(shortage) => warn!(
                used_bytes = self.used_bytes,
                "the disk's watermark is reached: {shortage}; QoS 1 and 2 are refused"
            ),
        }
        for desk in &self.desks {
            desk.report(Report::Full(self.full));
        }
    }

    /// Whether one more segment fits below the watermark. Files that nobody needs count as free.
    fn space(&self) -> Result<(), Shortage> {
        if self.desks.iter().any(|desk| desk.stuck) {
            return Err(Shortage::NoSegment);
        }
        let bytes = self.settings.segment_bytes;
        let retired = self.desks.iter().map(|desk| desk.retired.len() as u64);
        let reusable = retired.sum::<u64>() * bytes;
        let free = free_bytes(&self.settings.data_dir)
            .unwrap_or_else(|error| fail("free space could not be read", &error));
        let used = self.used_bytes.saturating_sub(reusable);
        self.settings
            .space
            .check(bytes, used, free.saturating_add(reusable))
    }

    fn prepare(&mut self, index: usize, number: u32) -> Result<File, Shortage> {
        let path = segment::segment_path(&self.desks[index].directory, number);
        if let Some(file) = self.take_existing(&path) {
            return Ok(file);
        }
        if let Some(recycled) = self.recycle(index, number) {
            return Ok(recycled);
        }
        let bytes = self.settings.segment_bytes;
        match segment::make(&self.desks[index].directory, number, bytes) {
            Ok(file) => {
                self.used_bytes += bytes;
                Ok(file)
            }
            Err(error) => match Shortage::of_error(&error) {
                Some(shortage) => Err(shortage),
                None => fail("a segment could not be made", &error),
            },
        }
    }

    /// A file made ahead by the last run that never began to write it.
    fn take_existing(&mut self, path: &Path) -> Option<File> {
        let bytes = std::fs::metadata(path).ok()?.len();
        if segment::is_whole(path, self.settings.segment_bytes) {
            return segment::open_for_writes(path).ok();
        }
        // Of another size: it is made anew.
        self.used_bytes = self.used_bytes.saturating_sub(bytes);
        None
    }

    /// Uses a file that nobody needs, unless a backup may be reading it.
    fn recycle(&mut self, index: usize, number: u32) -> Option<File> {
        let bytes = self.settings.segment_bytes;
        let directory = self.desks[index].directory.clone();
        let position = self.desks[index]
            .retired
            .iter()
            .position(|old| segment::is_whole(&segment::segment_path(&directory, *old), bytes))?;
        let _free = NotHeld::take(&self.hold)?;
        let old = self.desks[index].retired.remove(position);
        match segment::recycle(&directory, old, number) {
            Ok(file) => Some(file),
            Err(error) => fail("a segment could not be recycled", &error),
        }
    }

    /// Removes files that nobody needs, but for those that the next segments are made of.
    fn remove_retired(&mut self, index: usize) {
        let bytes = self.settings.segment_bytes;
        let Some(_free) = NotHeld::take(&self.hold) else {
            return;
        };
        let desk = &mut self.desks[index];
        let directory = &desk.directory;
        let mut kept = 0;
        let mut removed_bytes = 0;
        desk.retired.retain(|old| {
            let path = segment::segment_path(directory, *old);
            if kept < RETIRED_MAX && segment::is_whole(&path, bytes) {
                kept += 1;
                return true;
            }
            removed_bytes += remove(&path);
            false
        });
        self.used_bytes = self.used_bytes.saturating_sub(removed_bytes);
    }
}

/// Removes a segment and returns how many bytes that frees.
fn remove(path: &Path) -> u64 {
    let bytes = std::fs::metadata(path).map_or(0, |found| found.len());
    match std::fs::remove_file(path) {
        Ok(()) => bytes,
        Err(error) => {
            // It only takes space; recovery passes over it.
            warn!(path = %path.display(), %error, "a segment could not be removed");
            0
        }
    }
}

/// While it exists no backup begins.
struct NotHeld<'a>(&'a File);

impl<'a> NotHeld<'a> {
    fn take(hold: &'a File) -> Option<Self> {
        hold.try_lock().ok().map(|()| Self(hold))
    }
}

impl Drop for NotHeld<'_> {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

/// The file that a backup locks.
pub(super) fn open_hold_file(data_dir: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o640)
        .open(data_dir.join(HOLD_FILE))
}

fn bytes_of(directory: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for number in segment::list(directory)? {
        bytes += std::fs::metadata(segment::segment_path(directory, number))?.len();
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::tests::place;
    use super::*;

    const BYTES: u64 = 64 << 10;

    struct Fixture {
        data_dir: PathBuf,
        link: KeeperLink,
        thread: JoinHandle<()>,
    }

    fn start(name: &str, disk_bytes_max: Option<u64>) -> Fixture {
        let data_dir = place(name);
        std::fs::create_dir_all(&data_dir).unwrap();
        restart(data_dir, disk_bytes_max)
    }

    fn restart(data_dir: PathBuf, disk_bytes_max: Option<u64>) -> Fixture {
        restart_with(data_dir, BYTES, disk_bytes_max)
    }

    fn restart_with(data_dir: PathBuf, segment_bytes: u64, disk_bytes_max: Option<u64>) -> Fixture {
        let settings = KeeperSettings {
            data_dir: data_dir.clone(),
            segment_bytes,
            space: SpaceLimits {
                disk_bytes_max,
                free_bytes_min: 0,
            },
        };
        let bell = Arc::new(Bell::new().unwrap());
        let (thread, mut links) = Keeper::start(settings, &[bell]).unwrap();
        Fixture {
            data_dir,
            link: links.remove(0),
            thread,
        }
    }

    impl Fixture {
        fn prepare(&self, number: u32) {
            let order = Order::Prepare { shard: 0, number };
            self.link.orders.send(order).unwrap();
        }

        fn retire(&self, number: u32) {
            let order = Order::Retire { shard: 0, number };
            self.link.orders.send(order).unwrap();
        }

        fn report(&self) -> String {
            match self.link.reports.recv_timeout(Duration::from_secs(60)) {
                Ok(Report::Ready { number, .. }) => format!("ready {number}"),
                Ok(Report::Full(full)) => format!("full {full}"),
                Err(error) => panic!("{error}"),
            }
        }

        fn segments(&self) -> Vec<u32> {
            segment::list(&segment::shard_directory(&self.data_dir, 0)).unwrap()
        }

        fn end(self) -> PathBuf {
            drop(self.link);
            self.thread.join().unwrap();
            self.data_dir
        }
    }

    #[test]
    fn retired_segments_are_recycled_and_the_rest_removed() {
        let keeper = start("recycle", None);
        for number in 1..=4 {
            keeper.prepare(number);
            assert_eq!(keeper.report(), format!("ready {number}"));
        }
        for number in [2, 1, 3] {
            keeper.retire(number);
        }
        keeper.prepare(5);
        assert_eq!(keeper.report(), "ready 5");
        keeper.prepare(6);
        assert_eq!(keeper.report(), "ready 6");
        let left = keeper.segments();
        assert!(left.ends_with(&[4, 5, 6]), "{left:?}");
        assert!(left.len() <= 4, "{left:?}");
        std::fs::remove_dir_all(keeper.end()).unwrap();
    }

    #[test]
    fn watermark_is_told_and_ends_when_a_segment_retires() {
        let keeper = start("watermark", Some(2 * BYTES));
        keeper.prepare(1);
        assert_eq!(keeper.report(), "ready 1");
        keeper.prepare(2);
        assert_eq!(keeper.report(), "ready 2");
        assert_eq!(keeper.report(), "full true");
        // What is under way goes on.
        keeper.prepare(3);
        assert_eq!(keeper.report(), "ready 3");
        keeper.retire(1);
        keeper.retire(2);
        assert_eq!(keeper.report(), "full false");
        keeper.prepare(4);
        assert_eq!(keeper.report(), "ready 4");
        assert_eq!(keeper.report(), "full true");
        let data_dir = keeper.end();
        // What is there counts after a restart, too.
        let again = restart(data_dir, Some(2 * BYTES));
        assert_eq!(again.report(), "full true");
        std::fs::remove_dir_all(again.end()).unwrap();
    }

    #[test]
    fn order_waits_where_the_system_gives_no_space() {
        let data_dir = place("stuck");
        std::fs::create_dir_all(&data_dir).unwrap();
        // No disk has this much.
        let keeper = restart_with(data_dir, 1 << 60, None);
        assert_eq!(keeper.report(), "full true");
        keeper.prepare(1);
        let Fixture {
            data_dir,
            link,
            thread,
        } = keeper;
        drop(link.orders);
        thread.join().unwrap();
        assert!(link.reports.try_recv().is_err());
        let directory = segment::shard_directory(&data_dir, 0);
        assert_eq!(std::fs::read_dir(directory).unwrap().count(), 0);
        std::fs::remove_dir_all(data_dir).unwrap();
    }

    #[test]
    fn nothing_is_recycled_or_removed_while_a_backup_holds_the_files() {
        let keeper = start("held", None);
        keeper.prepare(1);
        assert_eq!(keeper.report(), "ready 1");
        let hold = open_hold_file(&keeper.data_dir).unwrap();
        hold.lock_shared().unwrap();
        keeper.retire(1);
        keeper.prepare(2);
        assert_eq!(keeper.report(), "ready 2");
        assert_eq!(keeper.segments(), [1, 2]);
        hold.unlock().unwrap();
        keeper.prepare(3);
        assert_eq!(keeper.report(), "ready 3");
        assert_eq!(keeper.segments(), [2, 3]);
        std::fs::remove_dir_all(keeper.end()).unwrap();
    }
}
