//! Matches among a million filters: as `match_*` of the other counts, but building the index under
//! valgrind takes minutes, so only on demand: `cargo bench -p micro --bench million`, with
//! gungraun's runner in the path.

use gungraun::prelude::*;
use micro::case::Workload;
use micro::index::Match;
use micro::subscriptions::Pattern;

fn prepare(pattern: Pattern) -> Match {
    let mut workload = Match::new(pattern, 1_000_000);
    workload.run();
    workload.verify();
    workload
}

#[library_benchmark(setup = prepare)]
#[bench::exact(Pattern::Exact)]
#[bench::plus(Pattern::Plus)]
#[bench::hash(Pattern::Hash)]
#[bench::mixed(Pattern::Mixed)]
fn match_60_names(mut workload: Match) -> Match {
    workload.run();
    workload
}

library_benchmark_group!(name = million, benchmarks = match_60_names);
main!(library_benchmark_groups = million);
