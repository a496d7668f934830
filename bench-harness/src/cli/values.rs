//! Values on the command line: sizes, CPU lists, address ranges.

use std::net::Ipv4Addr;

use crate::engine::SourceAddresses;
use crate::mqtt::Version;
use crate::transport::TlsVersion;

/// `65536`, `64KiB`, `1MiB`.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    let unit = units.iter().find(|(unit, _)| text.ends_with(unit));
    let (digits, factor) = match unit {
        Some((unit, factor)) => (&text[..text.len() - unit.len()], *factor),
        None => (text, 1),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("`{text}` is not a size like 65536 or 64KiB"))?;
    number
        .checked_mul(factor)
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| format!("`{text}` is out of range"))
}

/// `0,2-5`.
pub(super) fn cpus(text: &str) -> Result<Vec<usize>, String> {
    let wrong = || format!("`{text}` is not a list of CPUs like 0,2-5");
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.parse().map_err(|_| wrong())?;
        let last: usize = last.parse().map_err(|_| wrong())?;
        if last < first || last > 65_535 {
            return Err(wrong());
        }
        cpus.extend(first..=last);
    }
    Ok(cpus)
}

/// `127.1.0.0/24`: all addresses of the network but the first and the last.
pub(super) fn sources(text: &str) -> Result<SourceAddresses, String> {
    let wrong = || format!("`{text}` is not a network like 127.1.0.0/24");
    let (network, bits) = text.split_once('/').unwrap_or((text, "32"));
    let network: Ipv4Addr = network.parse().map_err(|_| wrong())?;
    let bits: u32 = bits.parse().map_err(|_| wrong())?;
    match bits {
        32 => Ok(SourceAddresses::Range {
            first: network,
            count: 1,
        }),
        8..=30 => {
            let mask = u32::MAX << (32 - bits);
            Ok(SourceAddresses::Range {
                first: Ipv4Addr::from((u32::from(network) & mask) + 1),
                count: !mask - 1,
            })
        }
        _ => Err(wrong()),
    }
}

pub(super) fn version(text: &str) -> Result<Version, String> {
    match text {
        "3.1.1" | "4" => Ok(Version::V311),
        "5.0" | "5" => Ok(Version::V50),
        _ => Err("known are 3.1.1 and 5.0".to_owned()),
    }
}

pub(super) fn tls_version(text: &str) -> Result<TlsVersion, String> {
    match text {
        "1.2" => Ok(TlsVersion::V1_2),
        "1.3" => Ok(TlsVersion::V1_3),
        _ => Err("known are 1.2 and 1.3".to_owned()),
    }
}

/// A positive number, with `K` and `M`.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    crate::scenario::positive(text)
}

pub(super) fn seconds(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('s').parse::<f64>() {
        Ok(seconds) if (0.0..=1e6).contains(&seconds) => Ok(seconds),
        _ => Err(format!("`{text}` is not a number of seconds")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_understood() {
        assert_eq!(bytes("64KiB"), Ok(65_536));
        assert_eq!(bytes("7"), Ok(7));
        assert_eq!(cpus("0,2-4"), Ok(vec![0, 2, 3, 4]));
        let range = SourceAddresses::Range {
            first: Ipv4Addr::new(127, 1, 0, 1),
            count: 254,
        };
        assert_eq!(sources("127.1.0.9/24"), Ok(range));
        let one = sources("127.0.0.5").unwrap();
        assert_eq!(one.of(70_000), Some(Ipv4Addr::new(127, 0, 0, 5)));
        assert_eq!(seconds("1.5s"), Ok(1.5));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "0", "-1", "1GB", "99999999999GiB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
        for text in ["", "a", "3-1", "1,,2"] {
            assert!(cpus(text).is_err(), "{text}");
        }
        for text in ["", "1.2.3", "1.2.3.4/31", "1.2.3.4/x", "1.2.3.4/0"] {
            assert!(sources(text).is_err(), "{text}");
        }
        for text in ["", "-1", "NaN", "inf"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
