//! Per receiver and stream: which messages came, once, twice, or out of order.

/// What the arrival of one message means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A first copy, in order; so many messages before it have not come (yet).
    New { skipped: u64 },
    /// A first copy, behind a later message of its stream.
    Late,
    /// A further copy.
    Again,
}

/// One stream as one receiver sees it.
#[derive(Clone, Debug)]
pub enum Stream {
    /// Order is promised: the next number expected, and the gaps behind it.
    Ordered { next: u64, missing: Gaps },
    /// Order is not promised (retained messages, members of a shared subscription): a bit each.
    Unordered { seen: Vec<u64> },
}

/// Ranges `[start, end)` that did not come, ascending; empty almost always.
type Gaps = Vec<(u64, u64)>;

/// Gaps that are remembered for one stream; past it the oldest is given up for lost, so that a
/// broker that drops every second message does not fill the generator's memory.
const GAPS_MAX: usize = 4_096;
/// Messages of an unordered stream; later ones cannot be told from strangers.
pub const UNORDERED_MAX: u64 = 1 << 30;

impl Stream {
    pub fn ordered() -> Self {
        Self::Ordered {
            next: 0,
            missing: Vec::new(),
        }
    }

    pub fn unordered() -> Self {
        Self::Unordered { seen: Vec::new() }
    }

    /// `None` for a number that no sender can have reached.
    pub fn on_arrival(&mut self, sequence: u64) -> Option<Arrival> {
        match self {
            Self::Ordered { next, .. } if sequence == *next => {
                *next += 1;
                Some(Arrival::New { skipped: 0 })
            }
            Self::Ordered { next, missing } => Some(on_disorder(next, missing, sequence)),
            Self::Unordered { seen } => on_unordered(seen, sequence),
        }
    }

    /// Ranges that are missing before the last message that came; the tail is not among them.
    pub fn gaps(&self) -> &[(u64, u64)] {
        match self {
            Self::Ordered { missing, .. } => missing,
            Self::Unordered { .. } => &[],
        }
    }
}

#[cold]
fn on_disorder(next: &mut u64, missing: &mut Gaps, sequence: u64) -> Arrival {
    if sequence > *next {
        let skipped = sequence - *next;
        if missing.len() == GAPS_MAX {
            missing.remove(0);
        }
        missing.push((*next, sequence));
        *next = sequence + 1;
        return Arrival::New { skipped };
    }
    let index = missing.partition_point(|(_, end)| *end <= sequence);
    match missing.get(index).copied() {
        Some((start, end)) if start <= sequence => {
            let rest = [(start, sequence), (sequence + 1, end)];
            missing.splice(index..=index, rest.into_iter().filter(|(a, b)| a < b));
            Arrival::Late
        }
        _ => Arrival::Again,
    }
}

fn on_unordered(seen: &mut Vec<u64>, sequence: u64) -> Option<Arrival> {
    if sequence >= UNORDERED_MAX {
        return None;
    }
    let (word, bit) = ((sequence / 64) as usize, 1 << (sequence % 64));
    if word >= seen.len() {
        seen.resize(word + 1, 0);
    }
    let is_new = seen[word] & bit == 0;
    seen[word] |= bit;
    Some(if is_new {
        Arrival::New { skipped: 0 }
    } else {
        Arrival::Again
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use Arrival::{Again, Late, New};

    const IN_ORDER: Arrival = New { skipped: 0 };

    #[test]
    fn disorder_is_told_apart() {
        let cases: [(&[u64], &[Arrival], u64); 6] = [
            (&[0, 1, 2], &[IN_ORDER, IN_ORDER, IN_ORDER], 0),
            (&[0, 2], &[IN_ORDER, New { skipped: 1 }], 1),
            (&[0, 2, 1], &[IN_ORDER, New { skipped: 1 }, Late], 0),
            (&[0, 0], &[IN_ORDER, Again], 0),
            (&[3, 1, 1], &[New { skipped: 3 }, Late, Again], 2),
            (
                &[2, 0, 1, 2, 3],
                &[New { skipped: 2 }, Late, Late, Again, IN_ORDER],
                0,
            ),
        ];
        for (sequences, expected, missing) in cases {
            let mut stream = Stream::ordered();
            let arrivals: Vec<_> = sequences
                .iter()
                .filter_map(|sequence| stream.on_arrival(*sequence))
                .collect();
            assert_eq!(arrivals, expected, "{sequences:?}");
            let lost: u64 = stream.gaps().iter().map(|(start, end)| end - start).sum();
            assert_eq!(lost, missing, "{sequences:?}");
        }
    }

    #[test]
    fn unordered_streams_know_only_new_and_again() {
        let mut stream = Stream::unordered();
        for sequence in [700, 3, 0] {
            assert_eq!(stream.on_arrival(sequence), Some(IN_ORDER));
            assert_eq!(stream.on_arrival(sequence), Some(Again));
        }
        assert_eq!(stream.on_arrival(UNORDERED_MAX), None);
    }

    #[test]
    fn gaps_are_bounded() {
        let mut stream = Stream::ordered();
        for sequence in 0..2 * GAPS_MAX as u64 {
            stream.on_arrival(2 * sequence + 1);
        }
        assert_eq!(stream.gaps().len(), GAPS_MAX);
        assert_eq!(stream.on_arrival(0), Some(Again));
    }
}
