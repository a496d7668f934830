//! The relay's sockets on one io_uring.
//!
//! A turn is one system call: it submits the sends of the last turn, which run to their end
//! inside it, and waits for receives. A send that took everything leaves no completion; one that
//! did not is finished by an ordinary send that the kernel waits with.

use std::io;
use std::net::TcpListener;
use std::os::fd::AsRawFd as _;

use io_uring::squeue::{self, Flags};
use io_uring::types::{Fd, Fixed};
use io_uring::{IoUring, cqueue, opcode};

use super::pages::Pool;
use super::relay::Relay;

const SUBMISSIONS: u32 = 4_096;
const COMPLETIONS: u32 = 16_384;
/// A saturated pair has 64 KiB under way: one receive.
const BUFFER_BYTES: usize = 64 * 1024;
const BUFFERS: u16 = 256;
const BUFFER_GROUP: u16 = 0;
/// No waiting inside the send, and no completion unless something is left.
const NOW: i32 = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
const LATER: i32 = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Accept,
    Receive,
    /// Of what the last turn gathered.
    Send,
    /// Of what did not fit.
    SendRest,
    Close,
}

impl Operation {
    const ALL: [Self; 5] = [
        Self::Accept,
        Self::Receive,
        Self::Send,
        Self::SendRest,
        Self::Close,
    ];

    fn user_data(self, slot: u32, generation: u32) -> u64 {
        // 20 bits of slot are more than a table can have.
        u64::from(generation) << 28 | u64::from(slot) << 8 | self as u64
    }
}

#[derive(Default)]
struct Socket {
    generation: u32,
    is_open: bool,
    /// What a send left over; untouched while `is_blocked`.
    rest: Vec<u8>,
    is_blocked: bool,
}

pub(super) struct Server {
    ring: IoUring,
    listener: TcpListener,
    pool: Pool,
    relay: Relay,
    sockets: Vec<Socket>,
    /// Buffers that the sends of this turn still read.
    used_buffers: Vec<u16>,
    /// Connections to which this turn sends.
    sending: Vec<u32>,
    touched: Vec<u32>,
    completions: Vec<(u64, i32, u32)>,
    is_accepting: bool,
}

impl Server {
    pub(super) fn new(listener: TcpListener) -> io::Result<Self> {
        let limit = crate::engine::system::raise_descriptor_limit();
        let table = u32::try_from(limit).unwrap_or(u32::MAX).min(1 << 19);
        let ring: IoUring = IoUring::builder()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_cqsize(COMPLETIONS)
            .build(SUBMISSIONS)?;
        ring.submitter().register_files_sparse(table)?;
        let mut pool = Pool::new(BUFFERS, BUFFER_BYTES)?;
        let (address, count) = pool.list();
        // SAFETY: the list is as large as told, page aligned, and lives as long as the ring.
        unsafe {
            ring.submitter()
                .register_buf_ring_with_flags(address, count, BUFFER_GROUP, 0)
        }?;
        for buffer in 0..pool.count() {
            pool.give(buffer);
        }
        pool.publish();
        Ok(Self {
            ring,
            listener,
            pool,
            relay: Relay::default(),
            sockets: Vec::new(),
            used_buffers: Vec::new(),
            sending: Vec::new(),
            touched: Vec::new(),
            completions: Vec::new(),
            is_accepting: false,
        })
    }

    pub(super) fn serve(mut self) -> io::Result<()> {
        self.accept()?;
        loop {
            match self.ring.submit_and_wait(1) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            self.turn()?;
        }
    }

    fn turn(&mut self) -> io::Result<()> {
        let mut completions = std::mem::take(&mut self.completions);
        let entries = self.ring.completion();
        completions.extend(entries.map(|entry| (entry.user_data(), entry.result(), entry.flags())));
        // What was not sent lies in buffers that go back to the kernel right after.
        for (user_data, result, _) in &completions {
            self.on_sent(*user_data, *result)?;
        }
        self.finish_sends();
        for (user_data, result, flags) in completions.drain(..) {
            self.on_completion(user_data, result, flags)?;
        }
        self.completions = completions;
        self.send_touched()
    }

    fn name(&self, user_data: u64) -> Option<(Operation, u32)> {
        let operation = *Operation::ALL.get((user_data & 0xFF) as usize)?;
        let slot = (user_data >> 8 & 0xF_FFFF) as u32;
        if operation == Operation::Accept {
            return Some((operation, slot));
        }
        let generation = self.sockets.get(slot as usize)?.generation;
        (user_data == operation.user_data(slot, generation)).then_some((operation, slot))
    }

    /// Only failed and partial sends complete.
    fn on_sent(&mut self, user_data: u64, result: i32) -> io::Result<()> {
        match self.name(user_data) {
            Some((Operation::Send, slot)) => self.on_partial_send(slot, result),
            Some((Operation::SendRest, slot)) => self.on_rest_sent(slot, result),
            _ => Ok(()),
        }
    }

    fn on_partial_send(&mut self, slot: u32, result: i32) -> io::Result<()> {
        let count = match result {
            _ if result >= 0 => result as usize,
            _ if result == -libc::EAGAIN => 0,
            _ => return self.break_off(slot),
        };
        let out = self.relay.connection(slot).out.get(&self.pool);
        let rest = &mut self.sockets[slot as usize].rest;
        rest.clear();
        rest.extend_from_slice(&out[count.min(out.len())..]);
        self.send_rest(slot)
    }

    fn on_rest_sent(&mut self, slot: u32, result: i32) -> io::Result<()> {
        let socket = &mut self.sockets[slot as usize];
        socket.is_blocked = false;
        if !socket.is_open {
            return self.release(slot);
        }
        if usize::try_from(result) != Ok(socket.rest.len()) {
            return self.break_off(slot);
        }
        self.relay.touch(slot);
        Ok(())
    }

    fn send_rest(&mut self, slot: u32) -> io::Result<()> {
        let socket = &mut self.sockets[slot as usize];
        if socket.rest.is_empty() {
            return Ok(());
        }
        socket.is_blocked = true;
        let (start, length) = (socket.rest.as_ptr(), socket.rest.len() as u32);
        let user_data = Operation::SendRest.user_data(slot, socket.generation);
        let entry = opcode::Send::new(Fixed(slot), start, length).flags(LATER);
        self.push(&entry.build().user_data(user_data))
    }

    /// Everything that the last turn sent has left, or its rest is copied.
    fn finish_sends(&mut self) {
        for slot in self.sending.drain(..) {
            self.relay.connection(slot).out.clear();
        }
        for buffer in self.used_buffers.drain(..) {
            self.pool.give(buffer);
        }
        self.pool.publish();
    }

    fn on_completion(&mut self, user_data: u64, result: i32, flags: u32) -> io::Result<()> {
        // The buffer comes back even when its connection is gone.
        let buffer = cqueue::buffer_select(flags);
        self.used_buffers.extend(buffer);
        let Some((operation, slot)) = self.name(user_data) else {
            return Ok(());
        };
        match operation {
            Operation::Accept => self.on_accepted(result, cqueue::more(flags)),
            Operation::Receive => self.on_received(slot, result, buffer, cqueue::more(flags)),
            Operation::Close => {
                if !self.is_accepting {
                    return self.accept();
                }
                Ok(())
            }
            Operation::Send | Operation::SendRest => Ok(()),
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        self.is_accepting = true;
        let entry =
            opcode::AcceptMulti::new(Fd(self.listener.as_raw_fd())).allocate_file_index(true);
        self.push(&entry.build().user_data(Operation::Accept.user_data(0, 0)))
    }

    fn on_accepted(&mut self, result: i32, goes_on: bool) -> io::Result<()> {
        if let Ok(slot) = u32::try_from(result) {
            let index = slot as usize;
            if self.sockets.len() <= index {
                self.sockets.resize_with(index + 1, Socket::default);
            }
            self.sockets[index].is_open = true;
            self.relay.open(slot);
            self.receive(slot)?;
        }
        if goes_on {
            return Ok(());
        }
        self.is_accepting = false;
        // A full table accepts again when a slot is free.
        if result >= 0 {
            return self.accept();
        }
        Ok(())
    }

    fn receive(&mut self, slot: u32) -> io::Result<()> {
        let generation = self.sockets[slot as usize].generation;
        let entry = opcode::RecvMulti::new(Fixed(slot), BUFFER_GROUP).build();
        self.push(&entry.user_data(Operation::Receive.user_data(slot, generation)))
    }

    fn on_received(
        &mut self,
        slot: u32,
        result: i32,
        buffer: Option<u16>,
        goes_on: bool,
    ) -> io::Result<()> {
        if !self.sockets[slot as usize].is_open {
            return Ok(());
        }
        match (usize::try_from(result), buffer) {
            (Ok(length), Some(buffer)) if length > 0 => {
                let range = self.pool.range(buffer, length);
                if self.relay.on_bytes(slot, &self.pool, range).is_err() {
                    self.break_off(slot)?;
                }
            }
            _ if result == -libc::ENOBUFS => {}
            _ => return self.close(slot),
        }
        if goes_on { Ok(()) } else { self.receive(slot) }
    }

    /// One send per connection that has something to say.
    fn send_touched(&mut self) -> io::Result<()> {
        let mut touched = std::mem::take(&mut self.touched);
        self.relay.take_touched(&mut touched);
        for slot in &touched {
            let socket = &mut self.sockets[*slot as usize];
            if !socket.is_open {
                continue;
            }
            let out = &mut self.relay.connection(*slot).out;
            if socket.is_blocked {
                out.own(&self.pool);
                if self.relay.is_overfull(*slot) {
                    self.break_off(*slot)?;
                }
                continue;
            }
            let bytes = out.get(&self.pool);
            if bytes.is_empty() {
                continue;
            }
            let user_data = Operation::Send.user_data(*slot, socket.generation);
            let send = opcode::Send::new(Fixed(*slot), bytes.as_ptr(), bytes.len() as u32);
            let entry = send.flags(NOW).build().user_data(user_data);
            self.push(&entry.flags(Flags::SKIP_SUCCESS))?;
            self.sending.push(*slot);
        }
        self.touched = touched;
        Ok(())
    }

    /// Ends a connection of ours: its receive then ends like one that the client has ended.
    fn break_off(&mut self, slot: u32) -> io::Result<()> {
        self.relay.close(slot);
        let entry = opcode::Shutdown::new(Fixed(slot), libc::SHUT_RDWR).build();
        self.push(&entry.flags(Flags::SKIP_SUCCESS).user_data(u64::MAX))
    }

    /// Nothing more will be received.
    fn close(&mut self, slot: u32) -> io::Result<()> {
        let socket = &mut self.sockets[slot as usize];
        if !socket.is_open {
            return Ok(());
        }
        socket.is_open = false;
        if socket.is_blocked {
            // The waiting send reads our memory until it completes, with an error now.
            return self.break_off(slot);
        }
        self.relay.close(slot);
        self.release(slot)
    }

    /// Gives the slot back; completions of its old connection are for an old generation.
    fn release(&mut self, slot: u32) -> io::Result<()> {
        let socket = &mut self.sockets[slot as usize];
        socket.generation = (socket.generation + 1) & 0xF_FFFF;
        let user_data = Operation::Close.user_data(slot, socket.generation);
        let entry = opcode::Close::new(Fixed(slot)).build();
        self.push(&entry.user_data(user_data))
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        loop {
            // SAFETY: what an entry points to is not moved or freed before the operation is over:
            // receive buffers and output until `finish_sends`, the rest of a send until it
            // completes.
            let pushed = unsafe { self.ring.submission().push(entry) };
            if pushed.is_ok() {
                return Ok(());
            }
            self.ring.submit()?;
        }
    }
}
