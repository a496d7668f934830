//! The list of cases: what is counted, under which name.

use crate::batch::{Batch, Mix};
use crate::index::{Decode, Match};
use crate::journal::{Records, Recover};
use crate::session::Cycle;
use crate::subscriptions::Pattern;
use crate::tls::{self, Way};

/// How much input a case gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Size {
    /// For the ordinary tests.
    Tiny,
    /// What is counted.
    Full,
}

/// Something that can be done again and again at the same cost.
pub trait Workload {
    /// What has to happen before each run and is not counted.
    fn arrange(&mut self) {}

    /// Does the work once.
    fn run(&mut self);

    /// The counts are given per unit; so many are in one `run`.
    fn units(&self) -> u32;

    /// Panics when the runs so far have not done what the case is about.
    fn verify(&mut self);
}

/// One thing that is counted.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub name: &'static str,
    prepare: fn(Size) -> Box<dyn Workload>,
}

impl Case {
    /// Builds the surroundings, runs the work often enough that pools and tables have their
    /// size, and arranges the run that is counted.
    #[must_use]
    pub fn prepare(&self, size: Size) -> Box<dyn Workload> {
        let mut workload = (self.prepare)(size);
        for _ in 0..WARM_UP_RUNS {
            workload.arrange();
            workload.run();
        }
        workload.verify();
        workload.arrange();
        workload
    }

    /// The case of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        CASES.iter().find(|case| case.name == name).copied()
    }
}

/// Two are needed: what the first run hands to the driver comes back before the second.
const WARM_UP_RUNS: usize = 3;

macro_rules! cases {
    ($($name:ident: $prepare:expr,)*) => {
        /// All cases, by subject.
        pub const CASES: &[Case] = &[
            $(Case { name: stringify!($name), prepare: $prepare },)*
        ];
    };
}

cases! {
    decode_publish_v311: |_| Box::new(Decode::v311()),
    decode_publish_v5: |_| Box::new(Decode::v5()),

    match_exact_10: |size| Match::boxed(Pattern::Exact, 10, size),
    match_exact_1000: |size| Match::boxed(Pattern::Exact, 1_000, size),
    match_exact_100000: |size| Match::boxed(Pattern::Exact, 100_000, size),
    match_plus_10: |size| Match::boxed(Pattern::Plus, 10, size),
    match_plus_1000: |size| Match::boxed(Pattern::Plus, 1_000, size),
    match_plus_100000: |size| Match::boxed(Pattern::Plus, 100_000, size),
    match_hash_10: |size| Match::boxed(Pattern::Hash, 10, size),
    match_hash_1000: |size| Match::boxed(Pattern::Hash, 1_000, size),
    match_hash_100000: |size| Match::boxed(Pattern::Hash, 100_000, size),
    match_mixed_10: |size| Match::boxed(Pattern::Mixed, 10, size),
    match_mixed_1000: |size| Match::boxed(Pattern::Mixed, 1_000, size),
    match_mixed_100000: |size| Match::boxed(Pattern::Mixed, 100_000, size),

    single_qos0: |_| Batch::boxed(&Mix { qos: 0, ..Mix::SINGLE }),
    single_qos1: |_| Batch::boxed(&Mix { qos: 1, ..Mix::SINGLE }),
    single_qos2: |_| Batch::boxed(&Mix { qos: 2, ..Mix::SINGLE }),
    single_hop_qos0: |_| Batch::boxed(&Mix { hop: true, ..Mix::SINGLE }),
    single_hop_qos1: |_| Batch::boxed(&Mix { qos: 1, hop: true, ..Mix::SINGLE }),

    batch_qos0: |_| Batch::boxed(&Mix::PAIR),
    batch_qos1: |_| Batch::boxed(&Mix { qos: 1, ..Mix::PAIR }),
    batch_qos2: |_| Batch::boxed(&Mix { qos: 2, ..Mix::PAIR }),
    batch_v5_qos0: |_| Batch::boxed(&Mix { v5: true, ..Mix::PAIR }),
    batch_v5_qos1: |_| Batch::boxed(&Mix { v5: true, qos: 1, ..Mix::PAIR }),
    batch_hop_qos0: |_| Batch::boxed(&Mix { hop: true, ..Mix::PAIR }),
    batch_hop_qos1: |_| Batch::boxed(&Mix { hop: true, qos: 1, ..Mix::PAIR }),
    batch_hop_qos2: |_| Batch::boxed(&Mix { hop: true, qos: 2, ..Mix::PAIR }),
    batch_filters_10_qos0: |_| Batch::boxed(&Mix { other_filters: 10, ..Mix::WILDCARD }),
    batch_filters_100000_qos0: |size| Batch::boxed(&Mix {
        other_filters: if size == Size::Tiny { 100 } else { 100_000 },
        ..Mix::WILDCARD
    }),

    fan_out_1_qos0: |_| Batch::boxed(&Mix::fan_out(1, 0)),
    fan_out_10_qos0: |_| Batch::boxed(&Mix::fan_out(10, 0)),
    fan_out_100_qos0: |_| Batch::boxed(&Mix::fan_out(100, 0)),
    fan_out_100_qos1: |_| Batch::boxed(&Mix::fan_out(100, 1)),
    fan_out_100_qos2: |_| Batch::boxed(&Mix::fan_out(100, 2)),
    fan_out_1000_qos0: |size| Batch::boxed(&Mix::fan_out(wide(size), 0)),
    fan_out_1000_qos1: |size| Batch::boxed(&Mix::fan_out(wide(size), 1)),

    ack_qos1: |_| Batch::boxed(&Mix { qos: 1, ..Mix::ACKNOWLEDGE }),
    ack_qos2: |_| Batch::boxed(&Mix { qos: 2, ..Mix::ACKNOWLEDGE }),

    journal_record: |_| Box::new(Records::new()),
    batch_journal_qos1: |_| Batch::boxed(&Mix { journal: true, qos: 1, ..Mix::PAIR }),
    batch_journal_qos2: |_| Batch::boxed(&Mix { journal: true, qos: 2, ..Mix::PAIR }),
    ack_journal_qos1: |_| Batch::boxed(&Mix { journal: true, qos: 1, ..Mix::ACKNOWLEDGE }),
    ack_journal_qos2: |_| Batch::boxed(&Mix { journal: true, qos: 2, ..Mix::ACKNOWLEDGE }),
    recover_session: |size| Box::new(Recover::sessions(size)),
    recover_queued: |size| Box::new(Recover::queued(size)),

    tls_open: |_| Box::new(tls::Records::new(Way::Open, tls::SMALL_BYTES)),
    tls_open_4k: |_| Box::new(tls::Records::new(Way::Open, tls::LARGE_BYTES)),
    tls_seal: |_| Box::new(tls::Records::new(Way::Seal, tls::SMALL_BYTES)),
    tls_seal_4k: |_| Box::new(tls::Records::new(Way::Seal, tls::LARGE_BYTES)),

    session_cycle_clean: |_| Box::new(Cycle::new(true)),
    session_cycle_resumed: |_| Box::new(Cycle::new(false)),
}

const fn wide(size: Size) -> u16 {
    match size {
        Size::Tiny => 20,
        Size::Full => 1000,
    }
}
