//! Where a listener listens: `tcp://HOST:PORT` or `tls://HOST:PORT`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// What is spoken below MQTT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    Tcp,
    Tls,
}

impl Scheme {
    const ALL: [Self; 2] = [Self::Tcp, Self::Tls];

    /// As it stands before `://`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

/// A TCP address to listen on. The host may be a name; the runtime resolves it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenAddress {
    pub scheme: Scheme,
    /// An address without brackets, or a name.
    pub host: String,
    /// 0 takes a free one.
    pub port: u16,
}

impl ListenAddress {
    /// Reads a listener URL; says what is wrong with it.
    pub fn parse(url: &str) -> Result<Self, &'static str> {
        const FORM: &str =
            "must be tcp://HOST:PORT or tls://HOST:PORT, for example tcp://127.0.0.1:1883";
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(FORM);
        };
        let scheme = Scheme::ALL.into_iter().find(|it| it.name() == scheme);
        let scheme = scheme.ok_or("only tcp://HOST:PORT and tls://HOST:PORT are supported")?;
        let (host, port) = rest.rsplit_once(':').ok_or(FORM)?;
        let host = match host.strip_prefix('[') {
            Some(inner) => bracketed(inner)?,
            None => plain_host(host)?,
        };
        let plain = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = plain.then(|| port.parse().ok()).flatten();
        Ok(Self {
            scheme,
            host: host.to_owned(),
            port: port.ok_or("port must be 0 to 65535 (0 takes a free one)")?,
        })
    }

    /// Whether both cannot be listened on at one time, whatever is spoken there.
    #[must_use]
    pub fn collides_with(&self, other: &Self) -> bool {
        self.port != 0 && self.port == other.port && self.host == other.host
    }

    /// Whether only this machine can reach it. A name other than `localhost` counts as reachable
    /// from outside, whatever it resolves to today.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback(),
            Err(_) => self.host.eq_ignore_ascii_case("localhost"),
        }
    }
}

fn bracketed(inner: &str) -> Result<&str, &'static str> {
    const WRONG: &str = "brackets must hold an IPv6 address, for example tcp://[::1]:1883";
    let host = inner.strip_suffix(']').ok_or(WRONG)?;
    host.parse::<Ipv6Addr>().map_err(|_| WRONG)?;
    Ok(host)
}

fn plain_host(host: &str) -> Result<&str, &'static str> {
    if host.contains(':') {
        return Err("an IPv6 address must stand in brackets, for example tcp://[::1]:1883");
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if host.is_empty() || host.len() > 253 || !host.bytes().all(allowed) {
        return Err("HOST must be an address or a host name; 0.0.0.0 means all addresses");
    }
    Ok(host)
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.scheme.name();
        if self.host.contains(':') {
            write!(formatter, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_is_read_or_refused() {
        let good = [
            ("tcp://127.0.0.1:1883", "127.0.0.1", 1883, true),
            ("tcp://127.9.9.9:0", "127.9.9.9", 0, true),
            ("tcp://[::1]:1883", "::1", 1883, true),
            ("tcp://[::ffff:127.0.0.1]:1", "::ffff:127.0.0.1", 1, true),
            ("tcp://localhost:1883", "localhost", 1883, true),
            ("tcp://0.0.0.0:1883", "0.0.0.0", 1883, false),
            ("tcp://[::]:65535", "::", 65535, false),
            (
                "tls://broker-1.example:8883",
                "broker-1.example",
                8883,
                false,
            ),
            ("tls://[::1]:0", "::1", 0, true),
        ];
        for (url, host, port, loopback) in good {
            let address = ListenAddress::parse(url).unwrap();
            assert!(url.starts_with(address.scheme.name()), "{url}");
            assert_eq!((address.host.as_str(), address.port), (host, port));
            assert_eq!(address.is_loopback(), loopback, "{url}");
            assert_eq!(address.to_string(), url);
        }
        let bad = [
            "127.0.0.1:1883",
            "ssl://127.0.0.1:8883",
            "TLS://127.0.0.1:8883",
            "://127.0.0.1:8883",
            "tls://127.0.0.1",
            "ws://127.0.0.1:80/mqtt",
            "tcp://127.0.0.1",
            "tcp://:1883",
            "tcp://::1:1883",
            "tcp://[::1:1883",
            "tcp://[127.0.0.1]:1883",
            "tcp://127.0.0.1:65536",
            "tcp://127.0.0.1:+1",
            "tcp://127.0.0.1:",
            "tcp://127.0.0.1:1883/",
            "tcp://a b:1883",
            "",
        ];
        for url in bad {
            assert!(ListenAddress::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn one_port_of_one_host_collides_whatever_is_spoken() {
        let cases = [
            ("tcp://127.0.0.1:1", "tcp://127.0.0.1:1", true),
            ("tcp://127.0.0.1:1", "tls://127.0.0.1:1", true),
            ("tls://127.0.0.1:1", "tls://127.0.0.1:2", false),
            ("tls://127.0.0.1:1", "tls://127.0.0.2:1", false),
            ("tls://127.0.0.1:0", "tls://127.0.0.1:0", false),
        ];
        for (left, right, expected) in cases {
            let [one, other] = [left, right].map(|url| ListenAddress::parse(url).unwrap());
            assert_eq!(one.collides_with(&other), expected, "{left} {right}");
            assert_eq!(other.collides_with(&one), expected, "{left} {right}");
        }
    }
}
