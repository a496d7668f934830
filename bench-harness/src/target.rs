//! Where the broker is: `tcp://HOST:PORT`, `tls://`, `ws://` and `wss://` with a path.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub is_tls: bool,
    pub is_websocket: bool,
    pub host: String,
    pub port: u16,
    /// With its slash; empty without WebSocket.
    pub path: String,
}

impl Target {
    /// The first address that the host's name has.
    pub fn address(&self) -> io::Result<SocketAddr> {
        (self.host.as_str(), self.port)
            .to_socket_addrs()?
            .next()
            .ok_or_else(|| io::Error::other(format!("no address for {}", self.host)))
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| format!("`{text}`: a URL like tcp://HOST:PORT is needed"))?;
        let (is_tls, is_websocket, default_port) = match scheme {
            "tcp" => (false, false, 1883),
            "tls" => (true, false, 8883),
            "ws" => (false, true, 8083),
            "wss" => (true, true, 8084),
            _ => return Err(format!("`{scheme}`: known are tcp, tls, ws, wss")),
        };
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) if is_websocket => (authority, format!("/{path}")),
            Some((_, path)) if !path.is_empty() => {
                return Err(format!("`{text}`: a path is for WebSocket only"));
            }
            Some((authority, _)) => (authority, String::new()),
            None if is_websocket => (rest, "/mqtt".to_owned()),
            None => (rest, String::new()),
        };
        let (host, port) = split_port(authority, default_port)?;
        if host.is_empty() {
            return Err(format!("`{text}`: no host"));
        }
        Ok(Self {
            is_tls,
            is_websocket,
            host,
            port,
            path,
        })
    }
}

fn split_port(authority: &str, default_port: u16) -> Result<(String, u16), String> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or("`[` without `]`")?;
            (host, after.strip_prefix(':'))
        }
        None => match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = match port {
        Some(text) => text
            .parse()
            .map_err(|_| format!("`{text}` is not a port"))?,
        None => default_port,
    };
    Ok((host.to_owned(), port))
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match (self.is_websocket, self.is_tls) {
            (false, false) => "tcp",
            (false, true) => "tls",
            (true, false) => "ws",
            (true, true) => "wss",
        };
        if self.host.contains(':') {
            write!(formatter, "{scheme}://[{}]:{}", self.host, self.port)?;
        } else {
            write!(formatter, "{scheme}://{}:{}", self.host, self.port)?;
        }
        formatter.write_str(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_and_put_together() {
        let cases = [
            ("tcp://localhost", "tcp://localhost:1883"),
            ("tcp://127.0.0.1:5000/", "tcp://127.0.0.1:5000"),
            ("tls://[::1]:9", "tls://[::1]:9"),
            ("ws://a:1", "ws://a:1/mqtt"),
            ("wss://a/x/y", "wss://a:8084/x/y"),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), expected);
        }
        for text in [
            "localhost:1",
            "udp://a",
            "tcp://a/x",
            "tcp://:1",
            "tcp://a:b",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
