//! Runs each case once under callgrind. `tests/micro` calls it and compares the counts.

use gungraun::prelude::*;
use micro::case::{Case, Size, Workload};

/// Not counted: gungraun counts the benchmark function alone.
fn prepare(name: &str) -> Box<dyn Workload> {
    let Some(case) = Case::named(name) else {
        panic!("no case {name}");
    };
    case.prepare(Size::Full)
}

// Gives the workload back, so that its end is not counted.
#[library_benchmark(setup = prepare)]
#[bench::decode_publish_v311("decode_publish_v311")]
#[bench::decode_publish_v5("decode_publish_v5")]
#[bench::match_exact_10("match_exact_10")]
#[bench::match_exact_1000("match_exact_1000")]
#[bench::match_exact_100000("match_exact_100000")]
#[bench::match_plus_10("match_plus_10")]
#[bench::match_plus_1000("match_plus_1000")]
#[bench::match_plus_100000("match_plus_100000")]
#[bench::match_hash_10("match_hash_10")]
#[bench::match_hash_1000("match_hash_1000")]
#[bench::match_hash_100000("match_hash_100000")]
#[bench::match_mixed_10("match_mixed_10")]
#[bench::match_mixed_1000("match_mixed_1000")]
#[bench::match_mixed_100000("match_mixed_100000")]
#[bench::single_qos0("single_qos0")]
#[bench::single_qos1("single_qos1")]
#[bench::single_qos2("single_qos2")]
#[bench::single_hop_qos0("single_hop_qos0")]
#[bench::single_hop_qos1("single_hop_qos1")]
#[bench::batch_qos0("batch_qos0")]
#[bench::batch_qos1("batch_qos1")]
#[bench::batch_qos2("batch_qos2")]
#[bench::batch_v5_qos0("batch_v5_qos0")]
#[bench::batch_v5_qos1("batch_v5_qos1")]
#[bench::batch_hop_qos0("batch_hop_qos0")]
#[bench::batch_hop_qos1("batch_hop_qos1")]
#[bench::batch_hop_qos2("batch_hop_qos2")]
#[bench::batch_filters_10_qos0("batch_filters_10_qos0")]
#[bench::batch_filters_100000_qos0("batch_filters_100000_qos0")]
#[bench::fan_out_1_qos0("fan_out_1_qos0")]
#[bench::fan_out_10_qos0("fan_out_10_qos0")]
#[bench::fan_out_100_qos0("fan_out_100_qos0")]
#[bench::fan_out_100_qos1("fan_out_100_qos1")]
#[bench::fan_out_100_qos2("fan_out_100_qos2")]
#[bench::fan_out_1000_qos0("fan_out_1000_qos0")]
#[bench::fan_out_1000_qos1("fan_out_1000_qos1")]
#[bench::ack_qos1("ack_qos1")]
#[bench::ack_qos2("ack_qos2")]
#[bench::journal_record("journal_record")]
#[bench::batch_journal_qos1("batch_journal_qos1")]
#[bench::batch_journal_qos2("batch_journal_qos2")]
#[bench::ack_journal_qos1("ack_journal_qos1")]
#[bench::ack_journal_qos2("ack_journal_qos2")]
#[bench::recover_session("recover_session")]
#[bench::recover_queued("recover_queued")]
#[bench::tls_open("tls_open")]
#[bench::tls_open_4k("tls_open_4k")]
#[bench::tls_seal("tls_seal")]
#[bench::tls_seal_4k("tls_seal_4k")]
#[bench::session_cycle_clean("session_cycle_clean")]
#[bench::session_cycle_resumed("session_cycle_resumed")]
fn case(mut workload: Box<dyn Workload>) -> Box<dyn Workload> {
    workload.run();
    workload
}

library_benchmark_group!(name = cases, benchmarks = case);
main!(library_benchmark_groups = cases);
