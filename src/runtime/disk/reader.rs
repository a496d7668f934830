//! One core's reads: messages of queues that wait on the disk, through the core's ring.
//!
//! The shard says which bytes of which segment; each request opens its file if that is not open,
//! reads, and is answered. Reads go through the page cache: queues of many sessions lie close
//! together, so one page serves several. Nothing here waits.

use crate::base::time::Instant;
use crate::journal::Place;
use crate::runtime::disk::segment;
use crate::runtime::net::{FileDone, FileOpen, FileRead, Net, Pages};
use crate::shard::Shard;
use crate::shard::interface::{ReadError, ReadRequest};
use std::collections::VecDeque;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::rc::Rc;
use tracing::{error, warn};

/// Files that stay open for the next reads.
const FILES_KEPT: usize = 4;
/// Pages of one read; kept for the next one, unless a large message asked for more.
const PAGES_BYTES: usize = 256 << 10;
const PAGES_KEPT: usize = 8;

/// A request on its way.
#[derive(Debug)]
struct Reading {
    request: ReadRequest,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The kernel looks at the path.
    Opening { _path: CString },
    /// The kernel writes to the pages behind the first `done` bytes.
    Reading {
        file: Rc<File>,
        pages: Pages,
        done: u32,
    },
}

#[derive(Debug)]
pub(super) struct Reader {
    directory: PathBuf,
    /// By segment, the one used last at the end.
    files: VecDeque<(u32, Rc<File>)>,
    /// By the shard's token.
    under_way: Vec<Option<Reading>>,
    pages: Vec<Pages>,
}

impl Reader {
    pub(super) const fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            files: VecDeque::new(),
            under_way: Vec::new(),
            pages: Vec::new(),
        }
    }

    /// Takes what the shard wants to have back.
    pub(super) fn drain(&mut self, net: &mut Net, shard: &mut Shard, now: Instant) {
        while let Some(request) = shard.poll_journal_read(now) {
            let slot = request.token as usize;
            if self.under_way.len() <= slot {
                self.under_way.resize_with(slot + 1, || None);
            }
            match self.open_file(request.segment) {
                Some(file) => self.read(net, shard, now, request, file),
                None => self.open(net, request),
            }
        }
    }

    fn open_file(&mut self, segment: u32) -> Option<Rc<File>> {
        let position = self.files.iter().position(|(it, _)| *it == segment)?;
        let entry = self.files.remove(position)?;
        let file = Rc::clone(&entry.1);
        self.files.push_back(entry);
        Some(file)
    }

    fn open(&mut self, net: &mut Net, request: ReadRequest) {
        let path = segment::segment_path(&self.directory, request.segment);
        let path = CString::new(path.into_os_string().into_vec()).unwrap_or_default();
        net.open_file(&FileOpen {
            token: request.token,
            path: &path,
        });
        self.under_way[request.token as usize] = Some(Reading {
            request,
            state: State::Opening { _path: path },
        });
    }

    fn read(
        &mut self,
        net: &mut Net,
        shard: &mut Shard,
        now: Instant,
        request: ReadRequest,
        file: Rc<File>,
    ) {
        let wanted = (request.bytes as usize).max(PAGES_BYTES);
        let kept = self.pages.pop().filter(|pages| pages.len() >= wanted);
        let pages = match kept.map_or_else(|| Pages::new(wanted), Ok) {
            Ok(pages) => pages,
            Err(error) => {
                warn!(%error, "no memory to read queued messages");
                shard.on_journal_read(now, request.token, Err(ReadError::NotNow));
                return;
            }
        };
        queue_read(net, &request, &file, &pages, 0);
        self.under_way[request.token as usize] = Some(Reading {
            request,
            state: State::Reading {
                file,
                pages,
                done: 0,
            },
        });
    }

    /// The kernel has opened a file or read.
    pub(super) fn on_done(
        &mut self,
        net: &mut Net,
        shard: &mut Shard,
        now: Instant,
        done: FileDone,
    ) {
        let slot = self.under_way.get_mut(done.token as usize);
        let Some(Reading { request, state }) = slot.and_then(Option::take) else {
            return;
        };
        match state {
            State::Opening { .. } => match opened(done.result) {
                Ok(file) => {
                    let file = Rc::new(file);
                    self.keep_file(request.segment, &file);
                    self.read(net, shard, now, request, file);
                }
                Err(error) => give_up(shard, now, &request, &error),
            },
            State::Reading {
                file,
                pages,
                done: before,
            } => {
                let state = match read_bytes(done.result) {
                    Ok(bytes) => Ok(before + bytes),
                    Err(error) => Err(error),
                };
                match state {
                    Ok(all) if all >= request.bytes => {
                        // SAFETY: the kernel has read so much into the pages, and is done.
                        let bytes = unsafe { pages.slice(request.bytes as usize) };
                        answer(shard, now, &request, Ok(bytes));
                        self.keep_pages(pages);
                    }
                    Ok(all) => {
                        queue_read(net, &request, &file, &pages, all);
                        let state = State::Reading {
                            file,
                            pages,
                            done: all,
                        };
                        self.under_way[request.token as usize] = Some(Reading { request, state });
                    }
                    Err(error) => {
                        give_up(shard, now, &request, &error);
                        self.keep_pages(pages);
                    }
                }
            }
        }
    }

    fn keep_file(&mut self, segment: u32, file: &Rc<File>) {
        if self.files.len() == FILES_KEPT {
            self.files.pop_front();
        }
        self.files.push_back((segment, Rc::clone(file)));
    }

    fn keep_pages(&mut self, pages: Pages) {
        if pages.len() == PAGES_BYTES && self.pages.len() < PAGES_KEPT {
            self.pages.push(pages);
        }
    }

    /// The segment's file is going to be another one.
    pub(super) fn forget(&mut self, segment: u32) {
        self.files.retain(|(number, _)| *number != segment);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // The kernel may still use what these own.
        for reading in self.under_way.drain(..).flatten() {
            std::mem::forget(reading);
        }
    }
}

fn queue_read(net: &mut Net, request: &ReadRequest, file: &File, pages: &Pages, done: u32) {
    net.read_file(&FileRead {
        token: request.token,
        file,
        pages,
        start: done as usize,
        bytes: request.bytes - done,
        offset: u64::from(request.offset) + u64::from(done),
    });
}

fn opened(result: i32) -> io::Result<File> {
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    // SAFETY: the kernel has just opened this descriptor for us, and nobody else knows it.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(result) }))
}

/// Bytes that came; none when the kernel was interrupted. The end of the file is an error: the
/// shard asks for nothing behind it.
fn read_bytes(result: i32) -> io::Result<u32> {
    match result {
        error if error == -libc::EINTR || error == -libc::EAGAIN => Ok(0),
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        count => u32::try_from(count).map_err(|_| io::Error::from_raw_os_error(-count)),
    }
}

fn give_up(shard: &mut Shard, now: Instant, request: &ReadRequest, error: &io::Error) {
    let segment = request.segment;
    warn!(%error, segment, offset = request.offset, "queued messages cannot be read");
    answer(shard, now, request, Err(cause_of(error)));
}

/// Whether it is the medium, or something that may pass.
fn cause_of(error: &io::Error) -> ReadError {
    let is_damage = matches!(
        error.raw_os_error(),
        None | Some(libc::EIO | libc::ENOENT | libc::EBADMSG | libc::EUCLEAN | libc::ENODATA)
    );
    if is_damage {
        ReadError::Damaged
    } else {
        ReadError::NotNow
    }
}

fn answer(
    shard: &mut Shard,
    now: Instant,
    request: &ReadRequest,
    result: Result<&[u8], ReadError>,
) {
    if let Some(place) = shard.on_journal_read(now, request.token, result) {
        log_lost(place);
    }
}

fn log_lost(place: Place) {
    let (segment, offset) = (place.segment(), place.offset());
    error!(
        segment,
        offset, "a queued message is damaged on the disk and lost to its session"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_medium_loses_messages() {
        let table = [
            (libc::EIO, ReadError::Damaged),
            (libc::ENOENT, ReadError::Damaged),
            (libc::EMFILE, ReadError::NotNow),
            (libc::ENOMEM, ReadError::NotNow),
        ];
        for (error, cause) in table {
            assert_eq!(cause_of(&io::Error::from_raw_os_error(error)), cause);
        }
        assert_eq!(cause_of(&read_bytes(0).unwrap_err()), ReadError::Damaged);
        assert_eq!(read_bytes(-libc::EINTR).unwrap(), 0);
        assert_eq!(read_bytes(7).unwrap(), 7);
    }
}
