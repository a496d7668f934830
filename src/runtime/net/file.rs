//! Writes to and reads from files through the core's ring: no call of their own, no wait.
//!
//! Knows no journal; its user, the core's disk, says which file, which pages and where. A write
//! that asks for it is on the medium when it is over (RWF_DSYNC), so no second operation has to be
//! linked to it, and a link would break where the submission queue is full.

use super::Net;
use super::memory::Pages;
use super::operation::{Completion, Operation, UserData};
use io_uring::{opcode, types};
use std::ffi::CStr;
use std::fs::File;
use std::os::fd::AsRawFd;

/// The kernel's flag of a write that is over only when its data is on the medium.
const RWF_DSYNC: i32 = 0x2;

/// One write of whole pages.
#[derive(Debug)]
pub(crate) struct FileWrite<'a> {
    /// Comes back in [`FileDone`].
    pub(crate) token: u32,
    pub(crate) file: &'a File,
    /// Where the bytes begin; the first `bytes` of it belong to the kernel until the write is over.
    pub(crate) pages: &'a Pages,
    pub(crate) bytes: u32,
    pub(crate) offset: u64,
    /// Whether the write is over only when its data is on the medium.
    pub(crate) synced: bool,
}

/// One read.
#[derive(Debug)]
pub(crate) struct FileRead<'a> {
    /// Comes back in [`FileDone`].
    pub(crate) token: u32,
    pub(crate) file: &'a File,
    /// The `bytes` behind `start` belong to the kernel until the read is over.
    pub(crate) pages: &'a Pages,
    pub(crate) start: usize,
    pub(crate) bytes: u32,
    /// In the file.
    pub(crate) offset: u64,
}

/// Opening a file for reads.
#[derive(Debug)]
pub(crate) struct FileOpen<'a> {
    /// Comes back in [`FileDone`], whose result is the descriptor.
    pub(crate) token: u32,
    /// Belongs to the kernel until the file is open.
    pub(crate) path: &'a CStr,
}

/// Whose tokens they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FileKind {
    /// Writes and syncs.
    Write,
    /// Reads, and opening for them.
    Read,
}

impl FileKind {
    /// Kept where a slot has its generation.
    const fn user_data(self, token: u32) -> UserData {
        UserData::new(Operation::File, token, self as u32)
    }
}

/// An operation on a file that is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FileDone {
    pub(crate) kind: FileKind,
    pub(crate) token: u32,
    /// Bytes, or a negative error number.
    pub(crate) result: i32,
}

impl Net {
    /// Queues a write for the next entry. The caller keeps file and pages until it is over.
    pub(crate) fn write_file(&mut self, write: &FileWrite<'_>) {
        assert!(write.bytes as usize <= write.pages.len());
        let file = types::Fd(write.file.as_raw_fd());
        let flags = if write.synced { RWF_DSYNC } else { 0 };
        let entry = opcode::Write::new(file, write.pages.at(0), write.bytes)
            .offset(write.offset)
            .rw_flags(flags)
            .build();
        self.rings
            .push(entry, FileKind::Write.user_data(write.token));
    }

    /// Queues a read for the next entry. The caller keeps file and pages until it is over.
    pub(crate) fn read_file(&mut self, read: &FileRead<'_>) {
        assert!(read.bytes as usize <= read.pages.len() - read.start);
        let file = types::Fd(read.file.as_raw_fd());
        let entry = opcode::Read::new(file, read.pages.at(read.start), read.bytes)
            .offset(read.offset)
            .build();
        self.rings.push(entry, FileKind::Read.user_data(read.token));
    }

    /// Queues the opening of a file. The caller keeps the path until it is over.
    pub(crate) fn open_file(&mut self, open: &FileOpen<'_>) {
        let entry = opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), open.path.as_ptr())
            .flags(libc::O_RDONLY | libc::O_CLOEXEC)
            .build();
        self.rings.push(entry, FileKind::Read.user_data(open.token));
    }

    /// Queues a sync of the data of `file`, and with it of everything that the device has taken so
    /// far. The caller keeps the file until it is over.
    pub(crate) fn sync_file(&mut self, token: u32, file: &File) {
        let entry = opcode::Fsync::new(types::Fd(file.as_raw_fd()))
            .flags(types::FsyncFlags::DATASYNC)
            .build();
        self.rings.push(entry, FileKind::Write.user_data(token));
    }

    pub(super) fn on_file_done(&mut self, completion: Completion) {
        let kind = match completion.user_data.generation() {
            0 => FileKind::Write,
            _ => FileKind::Read,
        };
        self.files_done.push(FileDone {
            kind,
            token: completion.user_data.index(),
            result: completion.result,
        });
    }

    /// The next operation on a file that is over, in any order.
    pub(crate) fn poll_file_done(&mut self) -> Option<FileDone> {
        self.files_done.pop()
    }
}
