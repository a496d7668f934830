//! Histograms per measure and second, their merging, and the interval log.
//!
//! Everything is recorded into the histogram of the running interval; totals are the sum of the
//! intervals of all generator threads. Histograms are merged, percentiles never averaged.
//! Values are microseconds, 1 us to 60 s with three digits; longer ones count as 60 s.

use std::io;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

use crate::result::Percentiles;

pub const INTERVAL_NS: u64 = 1_000_000_000;
const VALUE_MAX_US: u64 = 60_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Measure {
    Latency,
    AckLatency,
    ConnectLatency,
    SendLag,
}

impl Measure {
    pub const ALL: [Self; 4] = [
        Self::Latency,
        Self::AckLatency,
        Self::ConnectLatency,
        Self::SendLag,
    ];

    /// The tag in the interval log.
    pub fn tag(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::AckLatency => "ack-latency",
            Self::ConnectLatency => "connect-latency",
            Self::SendLag => "send-lag",
        }
    }
}

pub fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, VALUE_MAX_US, 3).expect("constant bounds are valid")
}

/// `None` for a histogram without values.
pub fn percentiles(histogram: &Histogram<u64>) -> Option<Percentiles> {
    let at = |quantile| histogram.value_at_quantile(quantile).min(histogram.max());
    (!histogram.is_empty()).then(|| Percentiles {
        count: histogram.len(),
        min: histogram.min(),
        mean: histogram.mean(),
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: at(0.999),
        p9999: at(0.9999),
        max: histogram.max(),
    })
}

/// What one generator thread saw in one second, in a form that travels between processes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IntervalRecord {
    /// Seconds since the start of the measured window; past its end is the drain.
    pub index: u32,
    pub sent: u64,
    pub delivered: u64,
    pub acknowledged: u64,
    /// Compressed histograms in Base64, as in the interval log; one per measure with values.
    pub histograms: Vec<(Measure, String)>,
}

/// The recording side: one per generator thread.
pub struct Recorder {
    window_start_ns: u64,
    window_end_ns: u64,
    interval: IntervalRecord,
    /// In the order of `Measure::ALL`.
    histograms: [Histogram<u64>; 4],
    records: Vec<IntervalRecord>,
}

impl Recorder {
    /// Records nothing until a window is set.
    pub fn new() -> Self {
        Self {
            window_start_ns: u64::MAX,
            window_end_ns: u64::MAX,
            interval: IntervalRecord::default(),
            histograms: [(); 4].map(|()| new_histogram()),
            records: Vec::new(),
        }
    }

    pub fn set_window(&mut self, start_ns: u64, end_ns: u64) {
        self.window_start_ns = start_ns;
        self.window_end_ns = end_ns;
    }

    /// When the running interval ends; `roll` is due then.
    pub fn interval_end_ns(&self) -> u64 {
        let index = u64::from(self.interval.index);
        self.window_start_ns
            .saturating_add((index + 1) * INTERVAL_NS)
    }

    /// Closes the intervals that are over.
    pub fn roll(&mut self, now_ns: u64) {
        if now_ns < self.interval_end_ns() {
            return;
        }
        let index = (now_ns - self.window_start_ns) / INTERVAL_NS;
        self.close_interval();
        self.interval.index = u32::try_from(index).unwrap_or(u32::MAX);
    }

    /// Counts and latencies of what was meant to happen, or happened, outside the window are left
    /// out. A latency counts when its beginning lies in the window, however long it lasts.
    pub fn record(&mut self, measure: Measure, begin_ns: u64, now_ns: u64) {
        if begin_ns >= self.window_start_ns && begin_ns < self.window_end_ns {
            let micros = now_ns.saturating_sub(begin_ns) / 1_000;
            self.histograms[measure as usize].saturating_record(micros);
        }
    }

    pub fn count_sent(&mut self, now_ns: u64) {
        self.interval.sent += u64::from(self.is_inside(now_ns));
    }

    pub fn count_delivered(&mut self, now_ns: u64) {
        self.interval.delivered += u64::from(self.is_inside(now_ns));
    }

    pub fn count_acknowledged(&mut self, now_ns: u64) {
        self.interval.acknowledged += u64::from(self.is_inside(now_ns));
    }

    fn is_inside(&self, now_ns: u64) -> bool {
        now_ns >= self.window_start_ns && now_ns < self.window_end_ns
    }

    pub fn finish(mut self) -> Vec<IntervalRecord> {
        self.close_interval();
        self.records
    }

    fn close_interval(&mut self) {
        for measure in Measure::ALL {
            let histogram = &mut self.histograms[measure as usize];
            if !histogram.is_empty() {
                let text = to_text(histogram);
                self.interval.histograms.push((measure, text));
                histogram.reset();
            }
        }
        let interval = std::mem::take(&mut self.interval);
        let is_empty = interval.sent + interval.delivered + interval.acknowledged == 0
            && interval.histograms.is_empty();
        if !is_empty {
            self.records.push(interval);
        }
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

fn to_text(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new()
        .serialize(histogram, &mut bytes)
        .expect("a vector takes everything");
    STANDARD.encode(bytes)
}

fn from_text(text: &str) -> Option<Histogram<u64>> {
    let bytes = STANDARD.decode(text).ok()?;
    Deserializer::new().deserialize(&mut bytes.as_slice()).ok()
}

/// All generator threads together.
pub struct Merged {
    /// In the order of `Measure::ALL`.
    pub totals: [Histogram<u64>; 4],
    /// By second.
    pub intervals: Vec<MergedInterval>,
}

pub struct MergedInterval {
    pub index: u32,
    pub sent: u64,
    pub delivered: u64,
    pub acknowledged: u64,
    pub histograms: [Histogram<u64>; 4],
}

impl Merged {
    pub fn total(&self, measure: Measure) -> &Histogram<u64> {
        &self.totals[measure as usize]
    }

    /// Standard interval log in milliseconds of maximum, one tag per measure.
    pub fn write_log(&self, start_unix: Duration, out: &mut impl io::Write) -> io::Result<()> {
        let mut serializer = V2DeflateSerializer::new();
        let mut log = IntervalLogWriterBuilder::new()
            .add_comment("values in microseconds, maxima in milliseconds")
            .with_start_time(UNIX_EPOCH + start_unix)
            .with_base_time(UNIX_EPOCH + start_unix)
            .with_max_value_divisor(1_000.0)
            .begin_log_with(out, &mut serializer)?;
        for interval in &self.intervals {
            for measure in Measure::ALL {
                let histogram = &interval.histograms[measure as usize];
                if histogram.is_empty() {
                    continue;
                }
                let start = Duration::from_secs(u64::from(interval.index));
                let length = Duration::from_nanos(INTERVAL_NS);
                log.write_histogram(histogram, start, length, Tag::new(measure.tag()))
                    .map_err(|error| io::Error::other(format!("{error:?}")))?;
            }
        }
        Ok(())
    }
}

/// `None` when a record does not hold a histogram, as from another program's worker.
pub fn merge<'a>(records: impl Iterator<Item = &'a IntervalRecord>) -> Option<Merged> {
    let mut sorted: Vec<_> = records.collect();
    sorted.sort_by_key(|record| record.index);
    let mut merged = Merged {
        totals: [(); 4].map(|()| new_histogram()),
        intervals: Vec::new(),
    };
    for record in sorted {
        let is_next = merged
            .intervals
            .last()
            .is_none_or(|last| last.index < record.index);
        if is_next {
            merged.intervals.push(MergedInterval {
                index: record.index,
                sent: 0,
                delivered: 0,
                acknowledged: 0,
                histograms: [(); 4].map(|()| new_histogram()),
            });
        }
        let interval = merged.intervals.last_mut()?;
        interval.sent += record.sent;
        interval.delivered += record.delivered;
        interval.acknowledged += record.acknowledged;
        for (measure, text) in &record.histograms {
            let histogram = from_text(text)?;
            interval.histograms[*measure as usize]
                .add(&histogram)
                .ok()?;
            merged.totals[*measure as usize].add(&histogram).ok()?;
        }
    }
    Some(merged)
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;

    const SECOND: u64 = INTERVAL_NS;

    fn recorded(latencies_us: &[u64]) -> Vec<IntervalRecord> {
        let mut recorder = Recorder::new();
        recorder.record(Measure::Latency, 5, 10);
        recorder.set_window(SECOND, 3 * SECOND);
        for (index, micros) in latencies_us.iter().enumerate() {
            let begin = SECOND + index as u64 * (SECOND / 2);
            recorder.roll(begin);
            recorder.count_sent(begin);
            recorder.record(Measure::Latency, begin, begin + micros * 1_000);
        }
        recorder.record(Measure::Latency, 3 * SECOND, 4 * SECOND);
        recorder.count_delivered(3 * SECOND);
        recorder.finish()
    }

    #[test]
    fn merging_is_the_histogram_of_all_values() {
        let (one, other) = (
            recorded(&[10, 20, 30, 40]),
            recorded(&[1_000, 2_000, 3_000]),
        );
        let merged = merge(one.iter().chain(&other)).unwrap();
        let mut expected = new_histogram();
        for micros in [10, 20, 30, 40, 1_000, 2_000, 3_000] {
            expected.record(micros).unwrap();
        }
        assert_eq!(merged.total(Measure::Latency), &expected);
        assert_eq!(merged.intervals.len(), 2);
        assert_eq!(merged.intervals[0].sent, 4);
        assert_eq!(merged.intervals[0].histograms[0].len(), 4);
        let delivered: u64 = merged.intervals.iter().map(|i| i.delivered).sum();
        assert_eq!(delivered, 0, "outside the window");
        assert_eq!(percentiles(merged.total(Measure::Latency)).unwrap().p50, 40);
        assert_eq!(percentiles(merged.total(Measure::SendLag)), None);
    }

    #[test]
    fn records_that_are_not_ours_are_refused() {
        let mut record = recorded(&[1])[0].clone();
        record.histograms[0].1 = "AAAA".to_owned();
        assert!(merge([&record].into_iter()).is_none());
    }

    #[test]
    fn standard_tools_can_read_the_log() {
        let records = recorded(&[10, 20, 30]);
        let mut text = Vec::new();
        let merged = merge(records.iter()).unwrap();
        merged.write_log(Duration::from_secs(9), &mut text).unwrap();
        let intervals = IntervalLogIterator::new(&text)
            .filter_map(|entry| match entry.unwrap() {
                LogEntry::Interval(interval) => Some(interval),
                _ => None,
            })
            .map(|interval| {
                let histogram = from_text(interval.encoded_histogram()).unwrap();
                assert_eq!(interval.tag().unwrap().as_str(), "latency");
                (interval.start_timestamp().as_secs(), histogram.len())
            });
        assert_eq!(intervals.collect::<Vec<_>>(), [(0, 2), (1, 1)]);
    }
}
