//! What the kernel gives back with each completion: which operation it was, on which slot, and
//! the generation of the slot's use.

/// What an operation was for. 0 to 255.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Operation {
    /// Its completion tells nothing: cancellations, closes.
    Ignored,
    Accept,
    Receive,
    Send,
    /// A socket that did not take everything is writable again.
    Writable,
    /// The peer was told that nothing more comes.
    ShutDown,
    /// A descriptor was sent to another core's ring.
    HandOver,
    /// Another core woke this one; the kernel posts it here for the sender.
    Doorbell,
    /// A thread without a ring woke this core.
    Event,
    /// One of the executor's own rings has something.
    Reactor,
    /// Another ring of this core has something.
    Ring,
    /// A write to or a read from a file of the journal; the index says which.
    File,
}

const OPERATIONS: [Operation; 12] = [
    Operation::Ignored,
    Operation::Accept,
    Operation::Receive,
    Operation::Send,
    Operation::Writable,
    Operation::ShutDown,
    Operation::HandOver,
    Operation::Doorbell,
    Operation::Event,
    Operation::Reactor,
    Operation::Ring,
    Operation::File,
];

/// Generations use 24 bits: a completion is never as late as sixteen million uses of its slot.
pub(super) const GENERATION_MASK: u32 = (1 << 24) - 1;

/// 8 bits operation, 24 bits generation, 32 bits index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct UserData(pub(super) u64);

impl UserData {
    pub(super) const fn new(operation: Operation, index: u32, generation: u32) -> Self {
        let generation = (generation & GENERATION_MASK) as u64;
        Self((operation as u64) << 56 | generation << 32 | index as u64)
    }

    /// For operations that belong to no slot.
    pub(super) const fn plain(operation: Operation) -> Self {
        Self::new(operation, 0, 0)
    }

    pub(super) fn operation(self) -> Operation {
        let number = (self.0 >> 56) as usize;
        OPERATIONS
            .get(number)
            .copied()
            .unwrap_or(Operation::Ignored)
    }

    #[allow(clippy::cast_possible_truncation, reason = "the low half is wanted")]
    pub(super) const fn index(self) -> u32 {
        self.0 as u32
    }

    #[allow(clippy::cast_possible_truncation, reason = "masked")]
    pub(super) const fn generation(self) -> u32 {
        (self.0 >> 32) as u32 & GENERATION_MASK
    }
}

/// One completion, copied from the ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completion {
    pub(super) user_data: UserData,
    pub(super) result: i32,
    pub(super) flags: u32,
}

impl Completion {
    /// The operation goes on: more completions follow.
    pub(super) fn has_more(&self) -> bool {
        io_uring::cqueue::more(self.flags)
    }

    /// The provided buffer that holds what was received.
    pub(super) fn buffer(&self) -> Option<u16> {
        io_uring::cqueue::buffer_select(self.flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_data_keeps_its_three_parts() {
        for operation in OPERATIONS {
            let data = UserData::new(operation, u32::MAX, GENERATION_MASK);
            assert_eq!(data.operation(), operation);
            assert_eq!(data.index(), u32::MAX);
            assert_eq!(data.generation(), GENERATION_MASK);
            let wrapped = UserData::new(operation, 5, GENERATION_MASK + 2);
            assert_eq!((wrapped.index(), wrapped.generation()), (5, 1));
        }
        assert_eq!(UserData(u64::MAX).operation(), Operation::Ignored);
    }
}
